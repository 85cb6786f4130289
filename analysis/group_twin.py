"""Contrasts as they were tested in; the permutation twin's columns beside each, and what it says of the claims, out."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.decision import GATE
from analysis.image_responses import ImageResponses
from analysis.permutation import PermutedTest, permute_contrasts

COLUMNS = ("p_permutation", "p_permutation_corrected", "p_permutation_floor", "p_images", "p_subjects", "p_both")


def arrange_test(
    responses: ImageResponses, roi: str, sets: Sequence[Sequence[str]], weights: Sequence[float], family: str
) -> PermutedTest | None:
    """Return what to permute: the images that every subject with the ROI saw; None where a set has fewer than 2 of them."""
    images = [image for one in sets for image in one]
    values = responses.select(roi, images)
    present = np.isfinite(values).any(axis=1)
    shared = np.isfinite(values[present]).all(axis=0)
    labels = np.repeat(np.arange(len(sets)), [len(one) for one in sets])[shared]
    if np.bincount(labels, minlength=len(sets)).min() < 2:
        return None
    kept = tuple(image for image, seen in zip(images, shared, strict=True) if seen)
    return PermutedTest(family, kept, values[:, shared], labels, np.asarray(weights, dtype=np.float64))


def add_twin(tests: pd.DataFrame, arranged: Sequence[PermutedTest | None]) -> pd.DataFrame:
    """Return the tests with the twin's `COLUMNS`, NaN where there is nothing to permute; a gate by exact relabeling is its own twin.

    `arranged` has an entry for each test that is no gate, in their order.
    """
    added = tests.assign(**dict.fromkeys(COLUMNS, np.nan))
    gate = added["family"] == GATE
    exact = gate & added["p_floor"].notna()
    for name in ("p_permutation", "p_permutation_corrected", "p_images"):
        added.loc[exact, name] = added.loc[exact, "p"]
    added.loc[exact, "p_permutation_floor"] = added.loc[exact, "p_floor"]
    places = [place for place, one in zip(added.index[~gate], arranged, strict=True) if one is not None]
    twins = permute_contrasts([one for one in arranged if one is not None]) if places else []
    for place, twin in zip(places, twins, strict=True):
        added.loc[place, list(COLUMNS)] = [twin.p, twin.p_corrected, twin.p_floor, twin.p_images, twin.p_subjects, twin.p_both]
    return added


def note_twin(tests: pd.DataFrame, alpha: float) -> list[str]:
    """Say where the twin cannot decide, and which claims it does not bear out."""
    rows = tests[tests["family"] != GATE]
    weak = rows["p_permutation_floor"] > alpha
    notes = []
    if weak.any():
        floor = rows.loc[weak, "p_permutation_floor"].max()
        notes.append(
            f"permutation cannot give a p below {floor:.4g} with these subjects and images: it neither supports nor denies a claim"
        )
    doubtful = rows[rows["claimed"] & ~weak & (rows["p_permutation_corrected"] > alpha)]
    notes += [
        f"permutation does not bear out the claim of {row['contrast']} in {row['roi']} (corrected p {row['p_permutation_corrected']:.3f})"
        for row in doubtful.to_dict("records")
    ]
    return notes
