"""What matching photometry afterwards cost the target images: their drive before and after."""

from collections.abc import Sequence

import numpy as np

from stimgen.judge import Scorer, rate_goal
from stimgen.make import Made, Studio
from stimgen.natural_controls import predict_arrays


def measure_loss(studio: Studio, judges: Sequence[Scorer], made: Sequence[Made]) -> dict[str, dict[str, float]]:
    """Return by target the mean drive, z, by makers and judges, before matching and after; nothing where images were not matched so."""
    lost: dict[str, dict[str, float]] = {}
    for label in dict.fromkeys(one.job.wanted.label for one in made):
        own = [one for one in made if one.job.wanted.label == label]
        before = [one.unmatched for one in own if one.unmatched is not None]
        if len(before) < len(own):
            continue
        drives = {}
        for role, scorers in (("predicted", studio.makers), ("judged", judges)):
            for time, images in (("before", before), ("after", [one.image for one in own])):
                if scorers:
                    rating = rate_goal(own[0].job.wanted.goal, scorers, [predict_arrays(scorer, images) for scorer in scorers])
                    drives[f"{role}_{time}"] = round(float(np.mean(rating)), 4)
        lost[label] = drives
    return lost
