"""Does a model speak of people it was not fitted on? Every subject's test responses predicted by the other subjects' models."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from stimgen.accuracy import FittedSubject
from stimgen.bootstrap import FEWEST_DISTINCT, bootstrap_correlation
from stimgen.ridge import correlate

COLUMNS = ["subject", "roi", "other_subjects", "test_images", "own_r", "others_r", "others_r_low", "others_r_high", "roi_noise_ceiling"]


def score_left_out_subjects(fitted: Sequence[FittedSubject], seed: int) -> pd.DataFrame:
    """Return one row per subject and ROI that other subjects have: leave-one-subject-out accuracy of the ROI's mean response.

    `others_r` is the correlation, over the subject's test images, of its measured response with the mean of the other subjects'
    predictions (each in z units). Neither the subject nor the images took part in fitting those; `own_r` is of the subject's own model.
    Test images that another subject's model was fitted to (where runs are kept whole, say, and differ between subjects) are left out.
    """
    rows = []
    for one in fitted:
        for roi in one.rois:
            others = [other for other in fitted if other is not one and roi in other.rois]
            unseen = _find_unseen(one, others)
            if not others or len(unseen) < FEWEST_DISTINCT:
                continue
            measured = one.measure_roi(roi)[unseen]
            predicted = np.mean([_predict_for(other, roi, one.index[one.is_test][unseen]) for other in others], axis=0)
            groups = [one.test_groups[position] for position in unseen]
            low, high = bootstrap_correlation(measured, predicted, groups, np.random.default_rng(seed))
            own = correlate(measured, one.average_roi(roi, one.fit.test_predictions)[unseen])
            values = (len(others), len(measured), float(own[0]), float(correlate(measured, predicted)[0]), float(low[0]), float(high[0]))
            rows.append((one.data.subject, roi, *values, one.data.roi_ceiling[roi]))
    return pd.DataFrame(rows, columns=COLUMNS)


def _find_unseen(one: FittedSubject, others: Sequence[FittedSubject]) -> npt.NDArray[np.int64]:
    """Return the positions of those test images that none of the others' models was fitted to."""
    fitted_to = [other.index[~other.is_test] for other in others]
    return np.flatnonzero(~np.isin(one.index[one.is_test], np.concatenate([one.index[:0], *fitted_to])))


def _predict_for(other: FittedSubject, roi: str, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return the other subject's predicted ROI response to the images `rows`, by a model of training images, in z units."""
    position = {int(row): number for number, row in enumerate(np.concatenate([other.index[other.is_test], other.fit.extra_index]))}
    both = np.concatenate([other.fit.test_predictions, other.fit.extra_predictions])
    predicted = other.average_roi(roi, both[[position[int(row)] for row in rows]]).astype(np.float64)
    z: npt.NDArray[np.float64] = (predicted - predicted.mean()) / max(float(predicted.std()), 1e-12)
    return z
