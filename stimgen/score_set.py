"""Score a saved set: every PNG re-read from disk, predicted by its makers and judged by models that took no part in making it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from protocols.stimulus_set import JUDGED, PREDICTED
from stimgen.gate import FLAG, Gate, judge_images
from stimgen.goal import Goal
from stimgen.image_files import read_image
from stimgen.judge import Scorer, average_scores, predict_files, rate_goal, read_goal
from stimgen.order import CONTROLS, OTHER, TARGET, TargetsFile, Wanted
from stimgen.photometry import high_frequency_share

_TOLERANCE = 0.25  # z: how far a bound may be missed on the saved image and still count as met
MAKER, JUDGE = "maker", "judge"
Responses = Sequence[Float[np.ndarray, "images _voxels"]]


@dataclass(frozen=True)
class Scored:
    """A scored set.

    Attributes
    ----------
    table
        The set's table with `predicted_<roi>`, `judged_<roi>`, `subjects` and the columns of `judge_images`.
    missed
        By target, the bounds that its images miss on average.
    scores
        What each image does for its own target by each model: `stim_id model role drive`.
    """

    table: pd.DataFrame
    missed: dict[str, list[str]]
    scores: pd.DataFrame


def score_set(
    table: pd.DataFrame, folder: Path, wanted: Sequence[Wanted], makers: Sequence[Scorer], judges: Sequence[Scorer], gate: Gate
) -> Scored:
    """Predict every saved image by its makers and its judges."""
    paths = [folder / name for name in table["stim_file"]]
    predicted, judged = ([predict_files(one.model, paths) for one in scorers] for scorers in (makers, judges))
    scored = table
    for prefix, scorers, responses in ((PREDICTED, makers, predicted), (JUDGED, judges, judged)):
        if scorers:
            scores = average_scores([one.score(some) for one, some in zip(scorers, responses, strict=True)])
            scored = pd.concat([scored, scores.astype(np.float64).round(4).add_prefix(prefix)], axis=1)
    high = np.array([high_frequency_share(read_image(path, int(width))) for path, width in zip(paths, table["width_px"], strict=True)])
    parts, missed = [], {}
    drives: list[pd.DataFrame] = []
    for one in wanted:
        rows = np.flatnonzero(table["target"] == one.label)
        own, others = ([some[rows] for some in responses] for responses in (predicted, judged))
        verdicts = _judge(one.goal, makers, own, judges, others, high[rows], gate)
        parts.append(verdicts.assign(subjects=" ".join(one.target.subjects or _list_subjects(makers))).set_index(rows))
        for role, scorers, responses in ((MAKER, makers, own), (JUDGE, judges, others)):
            for scorer, some in zip(scorers, responses, strict=True):
                drive = rate_goal(one.goal, [scorer], [some]).round(4)
                drives.append(pd.DataFrame({"stim_id": table["stim_id"].iloc[rows], "model": scorer.name, "role": role, "drive": drive}))
        made = (table["condition"].iloc[rows] == TARGET).to_numpy()
        missed[one.label] = find_missed(one.goal, makers, [some[made] for some in own])
    return Scored(scored.join(pd.concat(parts)), {label: bounds for label, bounds in missed.items() if bounds}, pd.concat(drives))


def _list_subjects(makers: Sequence[Scorer]) -> list[str]:
    return sorted({str(subject) for maker in makers for subject in maker.model.voxels["subject"]})


def _judge(
    goal: Goal,
    makers: Sequence[Scorer],
    predicted: Responses,
    judges: Sequence[Scorer],
    judged: Responses,
    high_frequency: Float[np.ndarray, " images"],
    gate: Gate,
) -> pd.DataFrame:
    ratings = rate_goal(goal, makers, predicted)
    if not judges:
        return judge_images(ratings, np.full(len(ratings), np.nan), np.full(1, np.nan), high_frequency, gate, compare=True)
    natural = rate_goal(goal, judges, [judge.pool for judge in judges])
    return judge_images(ratings, rate_goal(goal, judges, judged), natural, high_frequency, gate, compare=goal.score != "match")


def find_missed(goal: Goal, makers: Sequence[Scorer], predicted: Responses) -> list[str]:
    """Return the bounds that the images of a goal miss on average, by their makers: each with the nearest point that was reached."""
    if not len(predicted[0]):
        return []
    means = {name: float(z.mean()) for name, z in read_goal(goal, makers, predicted).items()}
    return goal.find_violations(means, _TOLERANCE)


def count_flagged(table: pd.DataFrame) -> dict[str, int]:
    """Return for each target how many of its own images did not pass the gate; targets without such are left out."""
    flagged = table[(table["condition"] == TARGET) & (table["gate"] == FLAG)]
    return {str(label): int(count) for label, count in flagged.groupby("target", sort=False).size().items()}


def describe_set(
    order: TargetsFile,
    makers: Sequence[Scorer],
    judges: Sequence[Scorer],
    pool_size: int,
    diversity: dict[str, float],
    missed: dict[str, list[str]],
) -> dict[str, Any]:
    """Return the set's sidecar: the columns' meanings, which models made and judged it, and what was found of each target."""
    units = "z units of the natural pool"
    levels = {
        TARGET: "made by gradient ascent to drive the target",
        **{level: CONTROLS[level] for level in order.controls if level != OTHER},
    }
    return {
        "stim_id": {"Description": "Name of the image"},
        "stim_file": {"Description": "File of the image"},
        "condition": {"Description": "Kind of image", "Levels": levels},
        "target": {"Description": "ROI (or voxel, or contrast) the image was made or chosen for"},
        "method": {"Description": "How the image was made or chosen"},
        "seed": {"Description": "Seed that it was made with; n/a for photographs"},
        "sha256": {"Description": "sha256 of the file, hexadecimal"},
        "width_px": {"Description": "Width of the image", "Units": "pixels"},
        "height_px": {"Description": "Height of the image", "Units": "pixels"},
        "source_image": {"Description": "Image of the pool that it is or started from, or stim_id of the set that it was scrambled from"},
        "mean_luminance": {"Description": "Mean luminance on the display described in photometry, relative to white", "Units": "0-1"},
        "rms_contrast": {"Description": "Standard deviation of luminance over its mean"},
        "slope": {"Description": "Slope of log amplitude of luminance on log spatial frequency"},
        "saturation": {"Description": "Root mean square distance of the channels' light from luminance, over mean luminance"},
        "control_of": {"Description": "stim_id of the target image that the image is a control of; n/a for target images"},
        "dose": {"Description": "percentile of natural images that a target image was made to come near to, where targets have doses"},
        "dose_roi": {"Description": "ROI in which it was"},
        "subjects": {"Description": "Subjects whose voxels the image was made for, by the fit of the models; space between"},
        "profile": {"Description": "Images of one number were brought to the same luminance, contrast, slope and saturation"},
        "source": {"Description": "Photograph that the image is, or was made from"},
        "license": {"Description": "License of that photograph"},
        "predicted_<roi>": {"Description": "Response predicted by the generating models", "Units": units},
        "judged_<roi>": {"Description": "Response predicted by models that took no part in making the images", "Units": units},
        "drive_predicted": {"Description": "What the image does for its own target, by the generating models", "Units": units},
        "drive_judged": {"Description": "The same by models that took no part in making it", "Units": units},
        "drive_ratio": {"Description": "drive_judged over drive_predicted; n/a where the latter is not positive"},
        "drive_percentile": {"Description": "Percentage of natural images whose drive_judged is lower"},
        "gate": {"Description": "pass or flag, by the rules in gate_rules; n/a without a judge"},
        "gate_rules": vars(order.gate),
        "diversity": {label: None if np.isnan(value) else round(value, 4) for label, value in diversity.items()},
        "missed_bounds": missed,
        "models": [maker.name for maker in makers],
        "judges": [judge.name for judge in judges],
        "pool_images": pool_size,
        "size_px": order.size_px,
    }
