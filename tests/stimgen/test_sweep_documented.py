"""data/README.md names the settings of a sweep with their defaults, and every key of its card."""

import dataclasses
import re
from pathlib import Path

from stimgen.optimize import Ascent
from stimgen.sweep import describe_sweep, plan_sweep
from stimgen.sweep_settings import SweepSettings
from tests.stimgen.small_sweep import make_place, make_settings, make_wish, write_lab

README = (Path(__file__).resolve().parents[2] / "data" / "README.md").read_text(encoding="utf-8")
SECTION = README.split("\n## Sweep\n", 1)[1].split("\n## ", 1)[0]


def test_defaults_are_those_of_the_code():
    settings = SweepSettings()
    assert [field.name for field in dataclasses.fields(settings)] == ["size_px", "image", "ascent"]
    (size,) = [line for line in SECTION.splitlines() if line.startswith("- `size_px` ")]
    assert size.endswith(f"; default {settings.size_px}.")
    (rule,) = [line for line in SECTION.splitlines() if "`[ascent]`" in line]
    assert settings.image == type(settings.image)()
    own = {name: value for name, value in vars(settings.ascent).items() if value != getattr(Ascent(), name)}
    told = dict(re.findall(r"`(\w+)` (?:is )?([\d.]+\d)", rule))
    assert told == {name: f"{value:g}" for name, value in own.items()}


def test_each_key_of_the_card_is_named(tmp_path):
    place, wish, settings = make_place(tmp_path, *write_lab(tmp_path)), make_wish(most=1), make_settings()
    card = describe_sweep(plan_sweep(place, wish, settings), place, wish, settings, tmp_path / "out")
    assert [key for key in [*card, *card["model"], *card["pool"]] if f"`{key}`" not in SECTION] == []
