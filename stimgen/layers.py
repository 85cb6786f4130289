"""Names and patterns of layers in, a network's layers in the order in which they run out; and a table of all of them."""

import difflib
from collections.abc import Sequence
from fnmatch import fnmatchcase

import pandas as pd

from protocols.errors import InputError
from stimgen.backbone import Backbone


def match_layers(backbone: Backbone, patterns: Sequence[str]) -> list[str]:
    """Return the layers that names and shell patterns choose, in the order in which the network runs them, each once.

    `*`, `?` and `[...]` match within one of a name's parts between dots, `**` any number of parts: `_blocks.*` chooses
    `_blocks.0` but not `_blocks.0._bn1`, and `**.relu` every `relu`. A pattern passes over layers that do not run or give no
    maps; a layer's full name does not.

    Raises
    ------
    InputError
        When an entry chooses nothing (the nearest names are given), or names a layer that does not run or gives no maps.
    """
    readable = [name for name, shape in backbone.trace().items() if shape is not None]
    chosen: set[str] = set()
    for pattern in patterns:
        matched = [name for name in readable if name == pattern or _matches(name.split("."), pattern.split("."))]
        if not matched and not set("*?[") & set(pattern):
            backbone.check_layers([pattern])
            backbone.activations(backbone.draw_probe(), [pattern])  # refuses it and says why
        if not matched:
            nearest = ", ".join(difflib.get_close_matches(pattern, readable, n=3) or backbone.default_layers)
            raise InputError(f"layers {pattern!r}: matches no layer of {backbone.name} that runs and gives maps; the nearest are {nearest}")
        chosen.update(matched)
    return [name for name in readable if name in chosen]


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_matches(parts[count:], pattern[1:]) for count in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


def list_layers(backbone: Backbone) -> pd.DataFrame:
    """Return a table of every layer that runs, in order of execution: `layer module channels height width`.

    `module` is the layer's class; its map's size is missing where what it gives cannot be read as maps.
    """
    shapes = backbone.trace()
    kinds = [type(backbone.module.get_submodule(name)).__name__ for name in shapes]
    sizes = [shape or (pd.NA,) * 3 for shape in shapes.values()]
    table = pd.DataFrame(sizes, columns=["channels", "height", "width"], dtype="Int64")
    return table.assign(layer=list(shapes), module=kinds)[["layer", "module", "channels", "height", "width"]]
