"""Responses of subjects to images and contrasts in; each subject's own result, and how many subjects show the effect, out.

A subject alone is tested over images: the interval holds for new images shown to this person. Below six subjects a group's t alone says
little about people; who shows the effect, and in what share of people it is to be expected (`analysis/prevalence.py`), says more.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from analysis.crossed import estimate_effect
from analysis.image_responses import ImageResponses, split_sets
from analysis.prevalence import PrevalenceSettings, estimate_prevalence
from protocols.errors import InputError
from protocols.protocol import Contrast
from protocols.tables import Columns

COLUMNS: Columns = {
    "subject": "text",
    "contrast": "text",
    "expression": "text",
    "roi": "text",
    "estimate_psc": "number",
    "ci_low": "number",
    "ci_high": "number",
    "t": "number",
    "df": "number",
    "p": "number",
    "positive": "integer",
    "images": "integer",
}
PREVALENCE_COLUMNS: Columns = {
    "contrast": "text",
    "expression": "text",
    "roi": "text",
    "positive": "integer",
    "subjects": "integer",
    "prevalence": "number",
    "hpd_low": "number",
    "hpd_high": "number",
    "exact_low": "number",
    "exact_high": "number",
    "ratio": "number",
}
_FEWEST_IMAGES = 2


def tabulate_subjects(responses: ImageResponses, contrasts: Sequence[Contrast], alpha: float) -> pd.DataFrame:
    """Return a row for each contrast, ROI and subject who saw at least two images of each set (`COLUMNS`).

    `p` is one-sided in the contrast's direction, so that without an effect a subject is `positive` with probability alpha.
    """
    rows = []
    for contrast in contrasts:
        for roi in responses.by_roi:
            found = split_sets(responses, contrast.expression, roi)
            for place, subject in enumerate(responses.subjects if found else []):
                sets, weights = found or ([], [])
                values = [_select(responses, roi, images, place) for images in sets]
                if min(map(len, values)) >= _FEWEST_IMAGES:
                    rows.append((subject, contrast.name, contrast.expression, roi, *_test_alone(values, weights, alpha)))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def tabulate_prevalence(subjects: pd.DataFrame, settings: PrevalenceSettings) -> pd.DataFrame:
    """Return how many subjects are positive in each contrast and ROI, and what prevalence that speaks for (`PREVALENCE_COLUMNS`)."""
    rows = []
    for (contrast, expression, roi), part in subjects.groupby(["contrast", "expression", "roi"], sort=False):
        found = estimate_prevalence(int(part["positive"].sum()), len(part), settings)
        rows.append((contrast, expression, roi, *dataclasses.astuple(found)))
    return pd.DataFrame(rows, columns=list(PREVALENCE_COLUMNS))


def describe_prevalence(row: pd.Series) -> str:
    """Say one row of `tabulate_prevalence` in words, with the exact interval."""
    return (
        f"{row['roi']}, {row['expression']}: {row['positive']} of {row['subjects']} subjects show it alone; to be expected in "
        f"{row['prevalence']:.0%} of people (95 % interval {row['exact_low']:.0%} to {row['exact_high']:.0%})"
    )


def _select(responses: ImageResponses, roi: str, images: Sequence[str], place: int) -> Float[np.ndarray, " images"]:
    """Return a subject's responses to those of some images that were shown to the subject."""
    values = responses.select(roi, images)[place]
    shown: Float[np.ndarray, " images"] = values[~np.isnan(values)]
    return shown


def _test_alone(values: Sequence[Float[np.ndarray, " _"]], weights: Sequence[float], alpha: float) -> tuple[float | int, ...]:
    """Test one subject's contrast over images; a side's weights are shared out anew among the images that the subject saw."""
    shares = np.array([np.sign(weight) * len(one) for weight, one in zip(weights, values, strict=True)])
    shares = shares / np.where(shares > 0, shares[shares > 0].sum(), -shares[shares < 0].sum())
    try:
        effect = estimate_effect([one[None] for one in values], shares.tolist())
    except InputError:  # all responses are equal: nothing can be said, and nothing was found
        estimate = float(sum(share * one.mean() for share, one in zip(shares, values, strict=True)))
        return estimate, estimate, estimate, 0.0, 1.0, 1.0, 0, sum(map(len, values))
    p = effect.p / 2 if effect.estimate > 0 else 1 - effect.p / 2
    numbers = (effect.estimate, effect.ci_low, effect.ci_high, effect.t, effect.df, p)
    return *numbers, int(p <= alpha), effect.images
