"""statsmodels' mixed model beside the crossed test: the same estimate, a row where it applies and none where it does not."""

import numpy as np
import pytest

from analysis.crossed import estimate_effect
from analysis.image_responses import ImageResponses, average_runs, split_sets
from analysis.mixedlm import COLUMNS, tabulate_mixedlm
from protocols.protocol import Contrast
from protocols.roi_table import RoiTable
from tests.analysis.tables import draw_table

NATURAL = Contrast(name="own_vs_natural", expression="target - natural")
OTHER = Contrast(name="own_vs_other", expression="target - other")


def draw(subjects: int = 4, **settings: float) -> ImageResponses:
    return average_runs(draw_table(np.random.default_rng(1), rois=("V3", "LO", "EBA"), subjects=subjects, **settings), keep_gaps=True)


def test_the_estimate_and_its_error_are_those_of_the_crossed_test() -> None:
    responses = draw(effect=1.0, subject_sd=0.8, image_sd=0.5)
    rows = tabulate_mixedlm(responses, [NATURAL])
    assert list(rows) == list(COLUMNS)
    assert list(rows["roi"]) == ["V3", "LO", "EBA"]
    for row in rows.to_dict("records"):
        sets, weights = split_sets(responses, NATURAL.expression, row["roi"])
        effect = estimate_effect([responses.select(row["roi"], images) for images in sets], weights)
        assert row["estimate_psc"] == pytest.approx(effect.estimate, abs=1e-6)
        assert row["se_psc"] == pytest.approx(effect.se, rel=0.15)  # one variance of images for both sides
        assert row["z"] == pytest.approx(row["estimate_psc"] / row["se_psc"])
        assert row["ci_high"] - row["ci_low"] == pytest.approx(2 * 1.96 * row["se_psc"], rel=1e-3)


def test_several_sets_one_subject_and_equal_responses_have_no_row() -> None:
    responses = draw(effect=1.0)
    assert len(tabulate_mixedlm(responses, [OTHER])) == 0
    assert len(tabulate_mixedlm(draw(subjects=1), [NATURAL])) == 0
    table = draw_table(np.random.default_rng(2), rois=("V3", "LO"), subjects=2)
    flat = RoiTable(table.table.assign(response_psc=1.0))
    assert len(tabulate_mixedlm(average_runs(flat, keep_gaps=True), [NATURAL])) == 0


def test_a_table_too_long_for_it_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    responses = draw()
    monkeypatch.setattr("analysis.mixedlm._MOST_RESPONSES", 10)
    assert len(tabulate_mixedlm(responses, [NATURAL])) == 0
