"""Choose target images for a scan: those that drive, differ, and look alike over targets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from jaxtyping import Float
from PIL import Image

from protocols.errors import InputError
from protocols.stimulus_set import JUDGED, TABLE, StimulusSet
from protocols.tables import Columns, check_columns
from stimgen.diversity import measure_diversity
from stimgen.gate import FLAG
from stimgen.look import COLUMNS_OF_LIGHT
from stimgen.order import TARGET
from stimgen.set_check import read_drives

_THUMBNAIL_PX = 16
_LEAST_SPREAD = 1e-9


@dataclass(frozen=True)
class Weights:
    """What a unit of diversity (1 - cosine), and of imbalance (standard deviations between targets), is worth in z of drive."""

    diversity: float = 1.0
    balance: float = 1.0


@dataclass(frozen=True)
class Candidates:
    """Target images of a set: `drive` in z, `thumbnails` centered and of length 1, `light` in standard deviations over all of them."""

    table: pd.DataFrame
    drive: Float[np.ndarray, " images"]
    thumbnails: Float[np.ndarray, "images pixels"]
    light: Float[np.ndarray, "images looks"]

    def rate(self, chosen: Mapping[str, Sequence[int]], weights: Weights) -> float:
        """Return the worth of a choice: mean drive, plus diversity within targets, less the largest difference between targets."""
        every = [index for indices in chosen.values() for index in indices]
        diversity = np.nan_to_num([measure_diversity(self.thumbnails[list(indices)]) for indices in chosen.values()])
        return float(self.drive[every].mean() + weights.diversity * diversity.mean() - weights.balance * self.measure_imbalance(chosen))

    def measure_imbalance(self, chosen: Mapping[str, Sequence[int]]) -> float:
        """Return the largest difference of two targets' mean light, in standard deviations."""
        means = [self.light[list(indices)].mean(axis=0) for indices in chosen.values()]
        return max((float(np.abs(one - other).max()) for one, other in combinations(means, 2)), default=0.0)


def read_candidates(stimulus_set: StimulusSet) -> Candidates:
    """Return the set's target images, by judged drive where there is one, and otherwise by predicted drive.

    Light is what the table tells of every one of them: a column with an n/a does not count.

    Raises
    ------
    InputError
        When the set has none, one has no target, nothing tells what they drive, or a column of light holds anything but numbers.
    """
    made = stimulus_set.table["condition"] == TARGET
    if not made.any():
        raise InputError(f"{stimulus_set.folder}: has no images of condition {TARGET!r} to choose from")
    aimless = made & stimulus_set.table["target"].isna()
    if aimless.any():
        row = int(np.flatnonzero(aimless)[0])
        raise InputError(f"{stimulus_set.folder / TABLE} row {row + 2}: a target image without a target; name what it was made for")
    drives = read_drives(stimulus_set)[made.to_numpy()].reset_index(drop=True)
    judged = any(str(name).startswith(JUDGED) for name in stimulus_set.table.columns) and drives["drive_judged"].notna().all()
    drive = drives["drive_judged" if judged else "drive_predicted"].to_numpy(dtype=float)
    if np.isnan(drive).any():
        raise InputError(f"{stimulus_set.folder}: nothing tells what every target image drives; generate it anew with --judge")
    table = stimulus_set.table[made].reset_index(drop=True)
    looks: Columns = {name: "optional number" for name in COLUMNS_OF_LIGHT if name in table.columns}
    known = check_columns(stimulus_set.table, looks, str(stimulus_set.folder / TABLE))[made]
    light = known[list(looks)].dropna(axis="columns").to_numpy()
    spread = np.maximum(light.std(axis=0), _LEAST_SPREAD)
    thumbnails = np.stack([_describe(stimulus_set, name) for name in table["stim_file"]])
    return Candidates(table, drive, thumbnails, (light - light.mean(axis=0)) / spread)


def _describe(stimulus_set: StimulusSet, name: str) -> Float[np.ndarray, " pixels"]:
    with Image.open(stimulus_set.folder / name) as image:
        small = np.asarray(image.convert("RGB").resize((_THUMBNAIL_PX, _THUMBNAIL_PX), Image.Resampling.BOX), dtype=np.float64)
    centered = small - small.mean(axis=(0, 1))
    length = np.linalg.norm(centered)
    flat: Float[np.ndarray, " pixels"] = (centered / length if length > 0 else centered).ravel()
    return flat


def select_images(candidates: Candidates, per_target: int, weights: Weights) -> dict[str, list[int]]:
    """Choose `per_target` images of each target; by target, their indices among the candidates.

    Images that pass the gate come first; from those with the largest drive, one image at a time is exchanged for another of its target
    for as long as the choice becomes better.

    Raises
    ------
    InputError
        When a target has too few images.
    """
    eligible = {
        str(target): _list_eligible(candidates, rows, per_target) for target, rows in candidates.table.groupby("target", sort=False)
    }
    chosen = {target: sorted(indices, key=lambda index: -candidates.drive[index])[:per_target] for target, indices in eligible.items()}
    worth = candidates.rate(chosen, weights)
    while True:
        better = max(_list_exchanges(candidates, chosen, eligible, weights), key=lambda one: one[0], default=(worth, chosen))
        if better[0] <= worth + 1e-12:
            return {target: sorted(indices) for target, indices in chosen.items()}
        worth, chosen = better


def _list_eligible(candidates: Candidates, rows: pd.DataFrame, per_target: int) -> list[int]:
    """Return the target's images that pass the gate; of the flagged ones the best as well, where those do not suffice."""
    if len(rows) < per_target:
        raise InputError(f"target {rows['target'].iloc[0]!r} has {len(rows)} images, {per_target} are asked for; lower --per-target")
    flagged = rows["gate"] == FLAG if "gate" in rows.columns else pd.Series(False, index=rows.index)
    passing = list(rows.index[~flagged])
    others = sorted(rows.index[flagged], key=lambda index: -candidates.drive[index])
    return passing if len(passing) >= per_target else passing + others[: per_target - len(passing)]


def _list_exchanges(
    candidates: Candidates, chosen: Mapping[str, list[int]], eligible: Mapping[str, list[int]], weights: Weights
) -> list[tuple[float, dict[str, list[int]]]]:
    """Return every choice that differs by one image, with its worth."""
    exchanges = []
    for target, indices in chosen.items():
        for leaves in indices:
            kept = [index for index in indices if index != leaves]
            for comes in [index for index in eligible[target] if index not in indices]:
                other = {**chosen, target: [*kept, comes]}
                exchanges.append((candidates.rate(other, weights), other))
    return exchanges


def find_companions(stimulus_set: StimulusSet, stim_ids: Sequence[str]) -> list[str]:
    """Return the chosen target images with every control that is tied to one of them, in the set's order.

    Where the table has no `control_of` (sets of an earlier version), a control is tied to the target image that its `source_image` names,
    and a photograph to the target image of the same target and place in the table.

    Raises
    ------
    InputError
        When the set does not tell which control belongs to which image.
    """
    table = stimulus_set.table
    tied = table["control_of"] if "control_of" in table.columns else _tie_controls(stimulus_set)
    return list(table["stim_id"][table["stim_id"].isin(stim_ids) | tied.isin(stim_ids)])


def _tie_controls(stimulus_set: StimulusSet) -> "pd.Series[str]":
    """Return the stim_id of the target image that each image is a control of; None for the target images."""
    table = stimulus_set.table
    made = table["condition"] == TARGET
    place = table.groupby(["condition", "target"], dropna=False).cumcount()
    keys = pd.MultiIndex.from_arrays([table["target"], place])
    at_place = dict(zip(keys[made], table["stim_id"][made], strict=True))
    by_source = table["source_image"].where(table["source_image"].isin(table["stim_id"][made]), None)
    tied = [None if own else source or at_place.get(key) for own, source, key in zip(made, by_source, keys, strict=True)]
    lost = np.flatnonzero(pd.isna(pd.Series(tied, dtype=object)) & ~made)
    if len(lost):
        where, stim_id = f"{stimulus_set.folder / TABLE} row {lost[0] + 2}", table["stim_id"][lost[0]]
        raise InputError(
            f"{where}: does not tell which target image {stim_id} is a control of; add a column control_of, or generate the set anew"
        )
    return pd.Series(tied, index=table.index, dtype=object)
