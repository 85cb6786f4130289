"""A TOML file in, a frozen pydantic dataclass out; an unknown key is refused with the nearest right one.

Every configuration class of the project is made with `@config` and read with `read_config`, so that its
defaults stand once, in the class. People write TOML; programs write the same settings, resolved, as JSON.
"""

import dataclasses
import difflib
import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, dataclass_transform, get_args

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from protocols.errors import InputError
from protocols.tables import write_text

T = TypeVar("T")


@dataclass_transform(frozen_default=True, kw_only_default=True)
def config(cls: type[T]) -> type[T]:
    """Make `cls` a frozen, keyword-only pydantic dataclass that forbids unknown keys."""
    strict = ConfigDict(extra="forbid", str_strip_whitespace=True, allow_inf_nan=False)
    made: type[T] = dataclass(frozen=True, kw_only=True, config=strict)(cls)  # type: ignore[assignment]
    return made


def read_config(path: Path, cls: type[T]) -> T:
    """Read the TOML (or resolved JSON) file at `path` into the `@config` class `cls`.

    Raises
    ------
    InputError
        Naming the file, the key, what was found and, for an unknown key, the nearest right one.
    """
    if path.is_dir():
        raise InputError(f"{path}: is a folder; name the TOML file itself")
    try:
        text = path.read_text(encoding="utf-8-sig")
        values = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (tomllib.TOMLDecodeError, json.JSONDecodeError, UnicodeDecodeError) as problem:
        raise InputError(f"{path}: cannot be parsed: {problem}") from None
    return parse_config(values, cls, str(path))


def parse_config(values: Mapping[str, Any], cls: type[T], where: str) -> T:
    """Check `values` against the `@config` class `cls`; `where` opens every refusal."""
    try:
        return TypeAdapter(cls).validate_python(values)
    except ValidationError as problem:
        raise InputError("\n".join(_describe(error, cls, where) for error in problem.errors())) from None


def config_values(settings: object) -> dict[str, Any]:
    """Return a `@config` object as plain JSON values, defaults included."""
    values: dict[str, Any] = TypeAdapter(type(settings)).dump_python(settings, mode="json")
    return values


def write_config(settings: object, path: Path) -> None:
    """Write a `@config` object, resolved, as JSON that `read_config` reads back to an equal object."""
    write_text(json.dumps(config_values(settings), indent=2) + "\n", path)


def _describe(error: Any, cls: type, where: str) -> str:
    location: tuple[str | int, ...] = error["loc"]
    key = _dotted(location)
    if error["type"] == "unexpected_keyword_argument":
        known = _keys_at(cls, location[:-1])
        nearest = difflib.get_close_matches(str(location[-1]), known, n=1)
        hint = f"did you mean {nearest[0]!r}?" if nearest else f"known keys: {', '.join(known)}"
        return f"{where}: unknown key {key!r}; {hint}"
    if error["type"] == "missing":
        return f"{where}: key {key!r} is missing; add it"
    rule = error["msg"].removeprefix("Value error, ")
    if isinstance(error["input"], Mapping):  # a rule between the keys of a table; the table itself would bury the message
        return f"{where}: {key}: {rule}" if location else f"{where}: {rule}"
    return f"{where}: key {key!r} is {error['input']!r}: {rule}"


def _dotted(location: Sequence[str | int]) -> str:
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in location]
    return "".join(parts).lstrip(".") or "(whole file)"


def _keys_at(cls: type, location: Sequence[str | int]) -> list[str]:
    """Return the field names of the configuration class that `location` leads to inside `cls`."""
    current: Any = cls
    for part in location:
        if isinstance(part, str) and dataclasses.is_dataclass(current):
            current = {field.name: field.type for field in dataclasses.fields(current)}.get(part, current)
        current = _innermost_config(current)
    return [field.name for field in dataclasses.fields(current)] if dataclasses.is_dataclass(current) else []


def _innermost_config(annotation: Any) -> Any:
    """Return the configuration class inside `tuple[C, ...]`, `C | None` or `dict[str, C]`, or the annotation itself."""
    if dataclasses.is_dataclass(annotation):
        return annotation
    found = (_innermost_config(argument) for argument in get_args(annotation))
    return next((inner for inner in found if dataclasses.is_dataclass(inner)), annotation)
