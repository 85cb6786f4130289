"""A lock in, a BIDS Stats Model out (`model-LABEL_smdl.json`): the planned contrasts, for other programs to read.

Stats Models know no random images: their dataset node is a t-test over subjects, with the false positives that follow from it where
images are few. The description says so. Weights are those of the group analysis, so that each side is a mean over its images.
"""

import re
from typing import Any

from analysis.image_responses import split_sets
from analysis.lock import Lock, describe_images

_VERSION = "1.0.0"
_ABOUT = (
    "The contrasts of {lock}, exported by voxdrive. Each is of one ROI, which its name ends in: look at it there. The dataset node "
    "tests over subjects only; the planned test (analysis group) counts images as random too, which BIDS Stats Models cannot say."
)


def export_stats_model(lock: Lock) -> dict[str, Any]:
    """Return the BIDS Stats Model 1.0 of a lock: run, subject (fixed effects) and dataset nodes."""
    contrasts = _list_contrasts(lock)
    regressors = list(dict.fromkeys(name for contrast in contrasts for name in contrast["ConditionList"]))
    run = {
        "Level": "Run",
        "Name": "run",
        "GroupBy": ["run", "session", "subject"],
        "Transformations": {
            "Transformer": "pybids-transforms-v1",
            "Instructions": [
                {"Name": "Factor", "Input": ["trial_type"]},
                {"Name": "Convolve", "Input": ["trial_type.*"], "Model": "glover"},
            ],
        },
        "Model": {"X": [*regressors, 1], "Type": "glm"},
        "Contrasts": contrasts,
    }
    dummy = {"Test": "t"}
    subject = {
        "Level": "Subject",
        "Name": "subject",
        "GroupBy": ["subject", "contrast"],
        "Model": {"X": [1], "Type": "meta"},
        "DummyContrasts": dummy,
    }
    dataset = {"Level": "Dataset", "Name": "dataset", "GroupBy": ["contrast"], "Model": {"X": [1], "Type": "glm"}, "DummyContrasts": dummy}
    return {
        "Name": lock.plan.task,
        "BIDSModelVersion": _VERSION,
        "Description": _ABOUT.format(lock=f"the locked plan {lock.sha256[:12]}"),
        "Input": {"task": [lock.plan.task]},
        "Nodes": [run, subject, dataset],
        "Edges": [{"Source": "run", "Destination": "subject"}, {"Source": "subject", "Destination": "dataset"}],
    }


def _list_contrasts(lock: Lock) -> list[dict[str, Any]]:
    """Return every planned contrast in every ROI that it applies to; a trial type is `condition_TARGET`, as in events."""
    responses = describe_images(lock.images)
    rows = []
    for contrast in lock.plan.contrasts:
        for roi in lock.plan.rois:
            found = split_sets(responses, contrast.expression, roi)
            if found is None:
                continue
            weights: dict[str, float] = {}
            for images, weight in zip(*found, strict=True):
                condition, target = responses.images.loc[images[0], ["condition", "target"]]
                name = f"trial_type.{condition}" if target is None else f"trial_type.{condition}_{target}"
                weights[name] = weights.get(name, 0.0) + weight
            label = re.sub(r"\W", "_", f"{contrast.name}_{roi}")
            rows.append(
                {"Name": label, "ConditionList": list(weights), "Weights": [round(one, 12) for one in weights.values()], "Test": "t"}
            )
    return rows
