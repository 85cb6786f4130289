"""Variance inflation and efficiency, against definitions worked out another way."""

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.outliers_influence import variance_inflation_factor

from analysis.design import Design, DesignSettings, build_design, compute_frame_times
from analysis.efficiency import describe_design


def make_design(spacing_s: float, seed: int = 1) -> Design:
    rng = np.random.default_rng(seed)
    onsets = 4.0 + np.arange(24) * spacing_s
    events = pd.DataFrame({"onset": onsets, "duration": 1.5, "name": rng.permutation(["a", "b", "c"] * 8)})
    times = compute_frame_times(int(onsets[-1] / 2) + 12, 2.0, 0.5)
    confounds = pd.DataFrame({"motion": np.cumsum(rng.standard_normal(len(times)))})
    return build_design(events, "name", times, confounds, DesignSettings(), "run")


def weigh(design: Design, **weights: float) -> np.ndarray:
    return np.array([weights.get(name, 0.0) for name in design.matrix.columns])


def test_regressors_have_the_usual_variance_inflation_factor() -> None:
    design = make_design(4.0)
    table = describe_design(design, {})
    assert list(table["name"]) == [name for name in design.matrix if name != "constant"]
    expected = [variance_inflation_factor(design.values, place) for place in range(len(table))]
    np.testing.assert_allclose(table["vif"], expected, rtol=1e-8)


def test_efficiency_is_the_inverse_of_the_contrasts_variance() -> None:
    design = make_design(5.0)
    contrasts = {"aMinusB": weigh(design, a=0.4, b=-0.4), "a": weigh(design, a=1.0)}
    table = describe_design(design, contrasts).set_index("name")
    inverse = np.linalg.inv(design.values.T @ design.values)
    for label, c in contrasts.items():
        row = table[table["kind"] == "contrast"].loc[label]
        assert row["efficiency"] == pytest.approx(1 / (c @ inverse @ c), rel=1e-8)
    assert table[table["kind"] == "regressor"].loc["a", "vif"] == pytest.approx(table[table["kind"] == "contrast"].loc["a", "vif"])


def test_collinear_conditions_hurt_their_difference_and_not_their_mean() -> None:
    rng = np.random.default_rng(3)
    shared = rng.standard_normal(300)
    matrix = pd.DataFrame({"a": shared + 0.4 * rng.standard_normal(300), "b": shared + 0.4 * rng.standard_normal(300), "constant": 1.0})
    design = Design(matrix, {"a": 1.0, "b": 1.0}, {"a": 1, "b": 1}, np.eye(2, 3), np.arange(300), ("task", "task", "drift"))
    weights = {"difference": np.array([1.0, -1.0, 0.0]), "mean": np.array([0.5, 0.5, 0.0])}
    table = describe_design(design, weights).set_index("name")
    r = np.corrcoef(matrix["a"], matrix["b"])[0, 1]
    assert table.loc["difference", "vif"] == pytest.approx(1 / (1 - r), rel=0.02)  # equal variances: (2 + 2r) / (1 - r^2) / 2
    assert table.loc["mean", "vif"] == pytest.approx(1 / (1 + r), rel=0.02)
    assert table.loc["a", "vif"] == pytest.approx(1 / (1 - r**2), rel=1e-6)
