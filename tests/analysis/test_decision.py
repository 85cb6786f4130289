"""The decision rule: Holm as statsmodels has it, nothing before its turn, and a family-wise error that is held."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from analysis.decision import correct_holm, decide_claims


def make_tests(gate: float | None, primary: list[float], secondary: list[float], sign: float = 1.0) -> pd.DataFrame:
    rows = [] if gate is None else [("gate", "all", sign, gate)]
    rows += [("primary", f"R{number}", sign, p) for number, p in enumerate(primary)]
    rows += [("secondary", f"R{number}", sign, p) for number, p in enumerate(secondary)]
    return pd.DataFrame(rows, columns=["family", "roi", "estimate_psc", "p"])


def list_claims(tests: pd.DataFrame) -> list[str]:
    decided = decide_claims(tests, 0.05)
    return [f"{family} {roi}" for family, roi in decided.loc[decided["claimed"], ["family", "roi"]].itertuples(index=False)]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_statsmodels(p: list[float]) -> None:
    np.testing.assert_allclose(correct_holm(p), multipletests(p, method="holm")[1], atol=1e-12)


def test_all_hold_in_order() -> None:
    assert list_claims(make_tests(0.008, [0.001, 0.02], [0.001, 0.01])) == [
        "gate all",
        "primary R0",
        "primary R1",
        "secondary R0",
        "secondary R1",
    ]


def test_nothing_is_claimed_behind_a_closed_gate() -> None:
    assert list_claims(make_tests(0.06, [1e-9, 1e-9], [1e-9, 1e-9])) == []


def test_secondary_waits_for_its_own_primary() -> None:
    decided = decide_claims(make_tests(0.01, [0.001, 0.2], [0.001, 1e-9]), 0.05)
    assert list(decided.loc[decided["claimed"], "roi"]) == ["all", "R0", "R0"]
    assert np.isnan(decided["p_corrected"].iloc[-1])
    assert decided["p_corrected"].iloc[-2] == pytest.approx(0.002)  # corrected for both, although one was not reached


def test_secondary_waits_for_every_primary_of_its_roi() -> None:
    tests = pd.concat([make_tests(0.01, [0.001], [0.001]), make_tests(None, [0.9], [])], ignore_index=True)
    assert list_claims(tests) == ["gate all", "primary R0"]


def test_the_wrong_direction_is_never_claimed() -> None:
    assert list_claims(make_tests(0.01, [1e-6], [1e-6], sign=-1.0)) == ["gate all"]


def test_without_a_gate_primary_tests_decide() -> None:
    assert list_claims(make_tests(None, [0.001], [])) == ["primary R0"]


def test_selected_secondary_tests_hold_their_family_wise_error() -> None:
    """Primary effects are real, secondary nulls true, and both share the own images' noise: the case that naive selection fails."""
    rng = np.random.default_rng(0)
    errors = 0
    for _ in range(200):
        own, other, natural = rng.standard_normal((3, 5))
        z_primary, z_secondary = (own - other) / np.sqrt(2) + 2.2, (own - natural) / np.sqrt(2)
        primary, secondary = (2 * stats.norm.sf(np.abs(z)) for z in (z_primary, z_secondary))
        tests = make_tests(0.01, list(primary), list(secondary))
        tests["estimate_psc"] = np.concatenate([[1], z_primary, z_secondary])
        decided = decide_claims(tests, 0.05)
        errors += bool(decided.loc[decided["family"] == "secondary", "claimed"].any())
    assert errors <= stats.binom.ppf(0.999, 200, 0.05)
