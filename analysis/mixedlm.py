"""Responses to images and contrasts in; what statsmodels' mixed model says of them, where it applies, for comparison alone, out.

The model has subjects, their differences between the two sets, and images as crossed random effects. It tests by z, as if variances were
known, and has one variance of images for both sides: claims come from `analysis.crossed` and `analysis.unbalanced`, which do neither.
"""

import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.image_responses import ImageResponses, split_sets
from protocols.protocol import Contrast
from protocols.tables import Columns

COLUMNS: Columns = {
    "contrast": "text",
    "expression": "text",
    "roi": "text",
    "estimate_psc": "number",
    "se_psc": "number",
    "ci_low": "number",
    "ci_high": "number",
    "z": "number",
    "p": "number",
    "converged": "integer",
}
_MOST_RESPONSES = 1000  # its matrices are as wide as the table is long
_PARTS = {"subject": "0 + C(subject)", "slope": "0 + C(subject):code", "image": "0 + C(image)"}


def tabulate_mixedlm(responses: ImageResponses, contrasts: Sequence[Contrast]) -> pd.DataFrame:
    """Return a row (`COLUMNS`) for each contrast of two sets and each ROI in which two or more subjects saw both."""
    rows = []
    for contrast in contrasts:
        for roi in responses.by_roi:
            found = split_sets(responses, contrast.expression, roi)
            table = _lay_out(responses, roi, found[0]) if found and len(found[0]) == 2 else None
            if table is not None and table["subject"].nunique() > 1 and len(table) <= _MOST_RESPONSES:
                rows += [(contrast.name, contrast.expression, roi, *numbers) for numbers in _fit(table)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _lay_out(responses: ImageResponses, roi: str, sets: Sequence[Sequence[str]]) -> pd.DataFrame | None:
    """Return one row per response: `subject image code y`, code being 1/2 in the first set and -1/2 in the second."""
    parts = []
    for images, code in zip(sets, (0.5, -0.5), strict=True):
        values = responses.select(roi, images)
        subject, image = np.nonzero(np.isfinite(values))
        parts.append(pd.DataFrame({"subject": subject, "image": np.asarray(images)[image], "code": code, "y": values[subject, image]}))
    both = set(parts[0]["subject"]) & set(parts[1]["subject"])
    table = pd.concat(parts, ignore_index=True)
    table = table[table["subject"].isin(both)]
    varies = len(table) > 0 and float(np.ptp(table["y"])) > 0
    return table if varies and table.groupby("code")["image"].nunique().min() > 1 else None


def _fit(table: pd.DataFrame) -> list[tuple[float | int, ...]]:
    """Return estimate, standard error, interval, z, p and whether the optimum was found; nothing where there is none to be found."""
    from statsmodels.regression.mixed_linear_model import MixedLM

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of boundaries and of optima that were not found: the column `converged` says so
        try:
            model = MixedLM.from_formula("y ~ code", groups=np.ones(len(table)), vc_formula=_PARTS, re_formula="0", data=table)
            fitted = model.fit(reml=True)
        except np.linalg.LinAlgError:
            return []
        low, high = fitted.conf_int().loc["code"]
        told = (fitted.params["code"], fitted.bse["code"], low, high, fitted.tvalues["code"], fitted.pvalues["code"])
        numbers = [float(one) for one in told]
        return [(*numbers, int(fitted.converged))] if np.isfinite(numbers).all() else []
