"""data/README.md names every fit setting once, with its default as the code has it."""

import dataclasses
import re
from pathlib import Path

import pytest
from pydantic_core import PydanticUndefined

from stimgen.fit_settings import FitSettings
from stimgen.networks import Preprocessing

README = (Path(__file__).resolve().parents[2] / "data" / "README.md").read_text(encoding="utf-8")
SECTION = README.split("\n## Fit settings\n", 1)[1].split("\n## ", 1)[0]
FIELDS = [(settings, field.name) for settings in (FitSettings, Preprocessing) for field in dataclasses.fields(settings)]


def show(default):
    if isinstance(default, tuple):
        return ", ".join(str(one) for one in default)
    return f"`{default}`" if isinstance(default, str) else str(default)


@pytest.mark.parametrize(("settings", "name"), FIELDS, ids=[name for _, name in FIELDS])
def test_each_setting_stands_once_with_its_default(settings, name):
    rules = [line for line in SECTION.splitlines() if line.startswith(f"- `{name}` ")]
    assert len(rules) == 1
    default = settings.__pydantic_fields__[name].default
    if default == ():
        assert rules[0].endswith("default empty.")
    elif default is not PydanticUndefined and default is not None:
        assert rules[0].endswith(f"default {show(default)}.")
    elif default is PydanticUndefined:
        assert "default" not in rules[0]


def test_no_setting_is_documented_that_there_is_not():
    named = re.findall(r"^- `(\w+)` M", SECTION, flags=re.MULTILINE)
    assert sorted(named) == sorted(name for _, name in FIELDS)
