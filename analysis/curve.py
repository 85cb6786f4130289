"""The same plan asked of RoiTables that were made with other choices (HRF, noise, confounds, regions) in; a specification curve out.

After Simonsohn, Simmons and Nelson 2020, Nature Human Behaviour 4:1208: whether a result hangs on a choice that could have been made
otherwise. Only the planned table is ever claimed from; the curve is shown beside it.
"""

from collections.abc import Mapping

import pandas as pd

from analysis.group import Question, analyze
from protocols.errors import InputError
from protocols.roi_table import RoiTable
from protocols.tables import Columns

PLANNED = "as planned"
COLUMNS: Columns = {
    "variant": "text",
    "contrast": "text",
    "expression": "text",
    "roi": "text",
    "estimate_psc": "number",
    "ci_low": "number",
    "ci_high": "number",
    "p": "number",
}


def trace_curve(table: RoiTable, variants: Mapping[str, RoiTable], question: Question) -> pd.DataFrame:
    """Return the question's tests in the planned table and in each variant (`COLUMNS`), by contrast and ROI, smallest estimate first.

    Raises
    ------
    InputError
        When a variant cannot be tested, or has other subjects or images than the planned table.
    """
    rows = []
    for name, one in {PLANNED: table, **variants}.items():
        for column in ("subject", "stim_id"):
            differing = set(one.table[column]) ^ set(table.table[column])
            if differing:
                found = sorted(differing)[0]
                raise InputError(
                    f"variant {name!r}: {one.where} differs in {column} {found!r} from the planned table; make it of the same data"
                )
        tests = analyze(one, question).tests
        tests = tests[tests["family"] != "gate"]
        rows.append(tests.assign(variant=name)[list(COLUMNS)])
    curve = pd.concat(rows, ignore_index=True)
    asked = curve[curve["variant"] == PLANNED]
    order = {key: place for place, key in enumerate(zip(asked["contrast"], asked["roi"], strict=True))}
    place = pd.Series([order.get(key, -1) for key in zip(curve["contrast"], curve["roi"], strict=True)])
    curve, place = curve[place >= 0], place[place >= 0]
    return curve.assign(place=place).sort_values(["place", "estimate_psc"], kind="stable").drop(columns="place").reset_index(drop=True)


def summarize_curve(curve: pd.DataFrame) -> pd.DataFrame:
    """Return for each contrast and ROI: planned estimate, smallest and largest, and in how many of all its interval is above 0."""
    rows = []
    for (expression, roi), part in curve.groupby(["expression", "roi"], sort=False):
        planned = part.loc[part["variant"] == PLANNED, "estimate_psc"]
        above = int((part["ci_low"] > 0).sum())
        rows.append((expression, roi, float(planned.iloc[0]), part["estimate_psc"].min(), part["estimate_psc"].max(), above, len(part)))
    return pd.DataFrame(rows, columns=["expression", "roi", "planned", "smallest", "largest", "above", "variants"])
