"""Fit `mixedlm` and `interlace-lme` to the tables of `tests.analysis.crossed_tables`: prints JSON of estimate, SE and df.

They are no dependency of the project. In an environment of their own (`pip install mixedlm==1.3.0 interlace-lme==0.3.2`),
`python -m tests.benchmarks.make_mixed_oracles > tests/analysis/mixed_oracles.json`.
"""

import json
import sys
import warnings

import interlace
import mixedlm
import pandas as pd

from tests.analysis.crossed_tables import DESIGNS, draw_design


def tabulate(name: str) -> tuple[pd.DataFrame, bool]:
    """Return the rows as labels, with `code` .5 for the first set and -.5 for the second, and whether cells repeat."""
    table = draw_design(name)
    labels = {"subject": [f"s{one}" for one in table.subject], "image": [f"i{one}" for one in table.image]}
    cell = [f"{s}{i}" for s, i in zip(labels["subject"], labels["image"], strict=True)]
    return pd.DataFrame({**labels, "cell": cell, "code": 0.5 - table.group, "y": table.response}), table.repeated


def fit_mixedlm(rows: pd.DataFrame, repeated: bool) -> list[float]:
    """Return estimate, standard error and degrees of freedom of `code`."""
    formula = "y ~ code + (1|subject) + (0 + code|subject) + (1|image)" + (" + (1|cell)" if repeated else "")
    fit = mixedlm.lmer(formula, rows)
    place = list(fit.fixef()).index("code")
    return [float(fit.fixef()["code"]), float(fit.vcov()[place, place] ** 0.5), float(mixedlm.satterthwaite_df(fit).df[place])]


def fit_interlace(rows: pd.DataFrame, repeated: bool) -> list[float]:
    """Return the same by interlace."""
    random = ["(1|subject)", "(0 + code|subject)", "(1|image)"] + (["(1|cell)"] if repeated else [])
    fit = interlace.fit("y ~ code", rows, random=random)
    return [float(fit.fe_params["code"]), float(fit.fe_bse["code"]), float(fit.fe_df["code"])]


def main() -> None:
    """Print the numbers of both for every table."""
    numbers = {}
    for name in DESIGNS:
        rows, repeated = tabulate(name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            numbers[name] = {"mixedlm": fit_mixedlm(rows, repeated), "interlace": fit_interlace(rows, repeated)}
        print(name, numbers[name], file=sys.stderr, flush=True)
    print(json.dumps(numbers, indent=1))


if __name__ == "__main__":
    main()
