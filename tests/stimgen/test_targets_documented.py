"""data/README.md names every setting of a targets file once in its own table, with its default as the code has it."""

import dataclasses
import re
from pathlib import Path

import pytest
from pydantic.dataclasses import is_pydantic_dataclass
from pydantic_core import PydanticUndefined

from stimgen.order import TargetsFile
from stimgen.target import KINDS, Target

README = (Path(__file__).resolve().parents[2] / "data" / "README.md").read_text(encoding="utf-8")
SECTION = README.split("\n## Targets file\n", 1)[1].split("\n## ", 1)[0]


def find_tables(settings, heading):
    """Yield every class of settings with the words that open its lines, from the file itself down."""
    yield settings, heading
    for field in dataclasses.fields(settings):
        if is_pydantic_dataclass(field.type):
            inside = heading.removeprefix("Table `[").removesuffix("]`")
            yield from find_tables(field.type, f"Table `[{inside}.{field.name}]`" if inside else f"Table `[{field.name}]`")


TABLES = [*find_tables(TargetsFile, ""), (Target, "Tables `targets`")]
FIELDS = [
    pytest.param(heading, settings, field.name, id=f"{settings.__name__}.{field.name}")
    for settings, heading in TABLES
    for field in dataclasses.fields(settings)
    if not is_pydantic_dataclass(field.type)
]


def list_rules(heading):
    """Return the lines under a heading (empty: the section's own)."""
    parts = re.split(r"\n(?=Tables? `|The work folder)", SECTION)
    (part,) = [part for part in parts if re.match(rf"{re.escape(heading)}[:,;]", part)] if heading else parts[:1]
    return [line for line in part.splitlines() if line.startswith("- `")]


def show(default):
    if isinstance(default, tuple):
        return ", ".join(show(one) for one in default)
    return f"`{default}`" if isinstance(default, str) else str(default)


@pytest.mark.parametrize(("heading", "settings", "name"), FIELDS)
def test_each_setting_stands_once_in_its_table_with_its_default(heading, settings, name):
    (rule,) = [rule for rule in list_rules(heading) if rule.startswith(f"- `{name}` M")]
    default = settings.__pydantic_fields__[name].default
    assert (" MAY be " in rule) == (default is None)
    if default in ((), ""):
        assert rule.endswith("; default empty.")
    elif default is not PydanticUndefined and default is not None:
        assert rule.endswith(f"; default {show(default)}.")
    elif default is PydanticUndefined:
        assert "default" not in rule


@pytest.mark.parametrize(("settings", "heading"), TABLES, ids=[settings.__name__ for settings, _ in TABLES])
def test_no_setting_is_documented_that_there_is_not(settings, heading):
    named = [re.match(r"- `(\w+)` ", rule)[1] for rule in list_rules(heading)]
    fields = [field.name for field in dataclasses.fields(settings) if not is_pydantic_dataclass(field.type)]
    assert sorted(named) == sorted(fields)


def test_each_limit_is_that_of_the_code():
    """A number in a rule's words is the bound that pydantic checks."""
    for settings, heading in TABLES:
        for rule in list_rules(heading):
            name = re.match(r"- `(\w+)` ", rule)[1]
            metadata = settings.__pydantic_fields__[name].metadata
            limits = [getattr(bound, side) for bound in metadata for side in ("ge", "gt", "le", "lt") if hasattr(bound, side)]
            for limit in limits:
                assert re.search(rf"\b{limit:g}\b", rule.rpartition("; default")[0] or rule), (settings.__name__, name, limit)


def test_each_kind_of_target_is_named_in_the_rule_of_exactly_one():
    (rule,) = [line for line in SECTION.splitlines() if line.startswith("- A target MUST have exactly one of")]
    assert set(re.findall(r"`(\w+)`", rule)) == {*KINDS, "down"}
