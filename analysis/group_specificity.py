"""Responses of all ROIs in; the specificity gate, each ROI's own images against every other set, and dissociations of pairs, out."""

from collections.abc import Iterator
from itertools import combinations, permutations
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from analysis.crossed import Effect
from analysis.decision import correct_holm
from analysis.image_responses import ImageResponses
from analysis.map_contrasts import TARGET
from analysis.specificity import Specificity, count_own_wins, estimate_specificity, relabel_sets, relabel_wins
from analysis.unbalanced import ImageSet, estimate_contrast
from protocols.errors import InputError

MIN_SETS_TO_RELABEL = 4  # 1 / 3! is above any usual alpha
OWN, PAIR = "own against best other", "pair dissociation"
COLUMNS = ("comparison", "roi", "other", "estimate_psc", "ci_low", "ci_high", "t", "df", "p", "p_corrected", "method", "subjects", "images")


def gate_specificity(responses: ImageResponses) -> tuple[tuple[Effect, Specificity | None] | None, dict[str, Any], list[str]]:
    """Return the gate's estimate and exact test, the counts of ROIs that their own images drive most with their null, and notes.

    The exact test is None where there are too few image sets; the gate itself where fewer than 2 ROIs have images of their own.
    """
    k = len(responses.targets)
    if k < 2:
        return None, {}, [f"specificity needs images made for at least 2 measured ROIs, the table has {k}; contrasts are tested without it"]
    matrix = responses.matrix()
    whole = np.isfinite(matrix).all(axis=(1, 2))
    if not whole.any():
        raise InputError("specificity: no subject has responses of every targeted ROI to images of every set; leave an ROI out")
    subjects = [subject for subject, complete in zip(responses.subjects, whole, strict=True) if complete]
    sets = [_stack(responses, made)[:, whole] for made in responses.targets]
    try:
        effect = estimate_specificity(sets)
    except InputError as problem:
        raise InputError(f"specificity: {problem}") from None
    per_subject, overall = count_own_wins(matrix[whole])
    chance = relabel_wins(matrix[whole])
    wins: dict[str, Any] = {
        **{"rois": k, "per_subject": dict(zip(subjects, per_subject, strict=True)), "mean": overall},
        **{"p": chance.p, "p_floor": chance.p_floor},
    }
    relabeled = relabel_sets(matrix[whole]) if k >= MIN_SETS_TO_RELABEL else None
    return (effect, relabeled), wins, _note(k, len(responses.subjects) - len(subjects))


def tabulate_specificity(responses: ImageResponses) -> pd.DataFrame:
    """Return the comparisons of targeted ROIs and their image sets (`COLUMNS`), p Holm-corrected within each kind of comparison.

    *Own against best other*: one ROI's own images minus the other target images that drive it most. The p is the largest over all others,
    each tested (an intersection-union test), so that choosing the best costs nothing. *Pair dissociation*: images made for ROI A minus
    those made for B, in A minus in B: the interaction, with subjects and images both random.
    """
    rows = [*_compare_own(responses), *_compare_pairs(responses)] if len(responses.targets) > 1 else []
    table = pd.DataFrame(rows, columns=[name for name in COLUMNS if name != "p_corrected"])
    table["p_corrected"] = np.nan
    for kind in (OWN, PAIR):
        same = table["comparison"] == kind
        table.loc[same, "p_corrected"] = correct_holm(table.loc[same, "p"].to_list())
    return table[list(COLUMNS)]


def _compare_own(responses: ImageResponses) -> Iterator[dict[str, Any]]:
    for roi in responses.targets:
        own = responses.select_set(roi, responses.images_of(TARGET, roi))
        others = [other for other in responses.targets if other != roi]
        effects = [estimate_contrast([own, responses.select_set(roi, responses.images_of(TARGET, other))], [1.0, -1.0]) for other in others]
        best = int(np.argmin([effect.estimate for effect in effects]))
        each = [effect.p if effect.estimate > 0 else 1.0 for effect in effects]
        yield _lay_out(OWN, roi, others[best], effects[best], p=max(each))


def _compare_pairs(responses: ImageResponses) -> Iterator[dict[str, Any]]:
    for a, b in combinations(responses.targets, 2):
        sets = []
        for made in (a, b):
            images = responses.images_of(TARGET, made)
            sets.append(hold_means(responses.select(a, images) - responses.select(b, images)))
        effect = estimate_contrast(sets, [1.0, -1.0])
        yield _lay_out(PAIR, a, b, effect, effect.p)


def hold_means(means: Float[np.ndarray, "subjects images"]) -> ImageSet:
    """Return an image set of what was computed from several responses: seen or not, the number of runs no longer counts."""
    return ImageSet(means, np.isfinite(means).astype(int), np.zeros_like(means))


def _lay_out(kind: str, roi: str, other: str, effect: Effect, p: float) -> dict[str, Any]:
    return {
        **{"comparison": kind, "roi": roi, "other": other, "estimate_psc": effect.estimate, "ci_low": effect.ci_low},
        **{"ci_high": effect.ci_high, "t": effect.t, "df": effect.df, "p": p, "method": effect.method},
        **{"subjects": effect.subjects, "images": effect.images},
    }


def _stack(responses: ImageResponses, made: str) -> Float[np.ndarray, "rois subjects images"]:
    return np.stack([responses.select(roi, responses.images_of(TARGET, made)) for roi in responses.targets])


def _note(k: int, left_out: int) -> list[str]:
    notes = [f"specificity is of the subjects that have every targeted ROI and image set; {left_out} left out"] if left_out else []
    if k < MIN_SETS_TO_RELABEL:
        ways = len(list(permutations(range(k))))
        notes.append(f"{k} image sets can be relabeled in {ways} ways only, so the gate is the crossed test of the interaction")
    return notes
