"""BIDS's inheritance principle: which JSON (and events) files apply to a run, and what they say about its timing."""

import re
from pathlib import Path
from typing import Any

from analysis.images import load_image
from protocols.errors import InputError
from protocols.run_name import RunName
from protocols.tables import read_json

_ENTITY = re.compile(r"(?:^|_)([a-z]+)-([0-9A-Za-z]+)(?=_|$)")
_NOT_RAW = frozenset({"space", "res", "den", "hemi", "desc"})  # entities that only derivatives have
_LONGEST_TR_S = 100.0  # more is milliseconds: BIDS's unit is the second
_MID_VOLUME = 0.5


def parse_entities(file_name: str) -> dict[str, str]:
    """Return the entities of a BIDS file name, `{"sub": "01", "task": "T", ...}`; a run's number without leading zeros."""
    entities = dict(_ENTITY.findall(file_name.split(".", maxsplit=1)[0]))
    if "run" in entities:
        entities["run"] = entities["run"].lstrip("0")
    return entities


def find_applicable(root: Path, folder: Path, entities: dict[str, str], suffix: str) -> list[Path]:
    """Return the files `..._SUFFIX` that apply to a file with these entities in `root/folder`, the most general first.

    A file applies when it stands in the folder or one above it, up to `root`, and has no entity that the other has not.
    """
    folders = [root, *(root / part for part in reversed(folder.parents[:-1])), root / folder]
    return [path for place in folders for path in _list_applicable(place, entities, suffix)]


def find_events(bids: Path, name: RunName, bold: Path) -> Path | None:
    """Return the events file that a run without one of its own inherits, from the nearest folder, or None."""
    found = find_applicable(bids, name.folder, _list_raw_entities(bold), "events.tsv")
    return found[-1] if found else None


def read_timing(bids: Path, derivatives: Path, name: RunName, bold: Path) -> tuple[float, float]:
    """Return a run's repetition time in seconds, and the moment of it that a volume stands for, 0-1.

    The preprocessed BOLD's sidecars go before the raw BOLD's, and the nearer before the more general. Without RepetitionTime it is
    the NIfTI header's. The moment is StartTime / RepetitionTime, which fMRIPrep writes where it corrected slice timing, and the
    middle where nothing is said.

    Raises
    ------
    InputError
        When there is no repetition time, or a value cannot be one.
    """
    values: dict[str, Any] = {}
    folder = bold.parent.relative_to(derivatives)
    for path in (
        *find_applicable(bids, name.folder, _list_raw_entities(bold), "bold.json"),
        *find_applicable(derivatives, folder, parse_entities(bold.name), "bold.json"),
    ):
        values.update(read_json(path, "copy it again"))
    tr_s = _read_number(values, "RepetitionTime", bold)
    if tr_s is None:
        tr_s = read_header_tr(bold)
    if tr_s is None or not 0 < tr_s < _LONGEST_TR_S:
        found = "its sidecars and header give no repetition time" if tr_s is None else f"its RepetitionTime is {tr_s:g} s"
        raise InputError(f"{bold}: {found}; write RepetitionTime, in seconds, into the JSON beside it")
    start_s = _read_number(values, "StartTime", bold)
    if start_s is None:
        return tr_s, _MID_VOLUME
    if not 0 <= start_s <= tr_s:
        raise InputError(
            f"{bold}: its StartTime is {start_s:g} s, which is not within the repetition time of {tr_s:g} s; mend the JSON beside it"
        )
    return tr_s, start_s / tr_s


def read_header_tr(bold: Path) -> float | None:
    """Return the repetition time, in seconds, of a 4-D NIfTI file's header; None where it has none."""
    if not bold.name.endswith((".nii", ".nii.gz")):
        return None
    header = load_image(bold).header
    zooms = header.get_zooms()
    tr_s = float(zooms[3]) * (1e-3 if header.get_xyzt_units()[1] == "msec" else 1.0) if len(zooms) > 3 else 0.0
    return tr_s if tr_s > 0 else None


def _list_applicable(folder: Path, entities: dict[str, str], suffix: str) -> list[Path]:
    candidates = [path for path in sorted(folder.glob(f"*{suffix}")) if path.name == suffix or path.name.endswith(f"_{suffix}")]
    applicable = [path for path in candidates if parse_entities(path.name).items() <= entities.items()]
    return sorted(applicable, key=lambda path: len(parse_entities(path.name)))


def _list_raw_entities(bold: Path) -> dict[str, str]:
    return {key: value for key, value in parse_entities(bold.name).items() if key not in _NOT_RAW}


def _read_number(values: dict[str, Any], key: str, bold: Path) -> float | None:
    value = values.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InputError(f"{bold}: its {key} is {value!r}, expected a number of seconds; mend the JSON beside it")
    return float(value)
