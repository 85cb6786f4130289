"""A BIDS file name in, its entities and suffix out; a file in, the sidecars that describe it out."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.sidecars import find_applicable, parse_entities
from protocols.tables import read_json

_EXTENSION = re.compile(r"\.(nii\.gz|nii|func\.gii|label\.gii|shape\.gii|gii|annot|tsv\.gz|tsv|npy|json)$")


@dataclass(frozen=True)
class BidsName:
    """A file's name, taken apart: `sub-01_hemi-L_label-FFA_mask.nii.gz` has three entities and the suffix `mask`."""

    entities: dict[str, str]
    suffix: str

    @classmethod
    def parse(cls, file_name: str) -> "BidsName":
        """Read a name; what is no entity is left out."""
        return cls(parse_entities(file_name), strip_extension(file_name).rsplit("_", maxsplit=1)[-1])

    def get(self, entity: str) -> str | None:
        """Return an entity's label; None where the name lacks it."""
        return self.entities.get(entity)

    def agrees(self, other: "BidsName", entities: tuple[str, ...]) -> bool:
        """Say whether two names have the same labels of `entities`, as far as both have them."""
        return all(self.entities[name] == other.entities[name] for name in entities if name in self.entities and name in other.entities)


def strip_extension(file_name: str) -> str:
    """Return a name without its extension, `.nii.gz` and `.func.gii` being one."""
    return _EXTENSION.sub("", file_name)


def name_sidecar(path: Path) -> Path:
    """Return the path of a file's own JSON sidecar."""
    return path.with_name(strip_extension(path.name) + ".json")


def read_sidecar(path: Path, root: Path | None = None) -> dict[str, Any]:
    """Return what the JSON sidecars of a file say, from `root` (or its own folder) down, the nearest and most specific last."""
    top = root if root is not None and root in path.parents else path.parent
    own = BidsName.parse(path.name)
    shared = find_applicable(top, path.parent.relative_to(top), own.entities, f"{own.suffix}.json")
    values: dict[str, Any] = {}
    for sidecar in dict.fromkeys([*shared, name_sidecar(path)]):
        if sidecar.is_file():
            values |= read_json(sidecar, "copy it again")
    return values
