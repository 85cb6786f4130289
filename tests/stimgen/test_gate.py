"""The gate: what an image does by models that did not make it, against what natural images do."""

import numpy as np
import pytest

from stimgen.gate import Gate, judge_images

NATURAL = np.array([-1.0, 0.0, 0.5, 2.0])


def judge(predicted, judged, high=0.1, compare=True, natural=NATURAL, **rules):
    columns = [np.atleast_1d(np.asarray(one, dtype=float)) for one in (predicted, judged, natural)]
    return judge_images(*columns, np.full(len(columns[0]), high), Gate(**rules), compare)


def test_the_percentile_counts_natural_images_that_do_less():
    verdicts = judge([4.0, 4.0, 4.0, 4.0], [-2.0, 0.5, 1.0, 3.0], least_percentile=75, least_ratio=0)
    assert verdicts["drive_percentile"].tolist() == [0, 50, 75, 100]
    assert verdicts["gate"].tolist() == ["flag", "flag", "pass", "pass"]


def test_what_only_its_own_model_answers_to_is_flagged():
    verdicts = judge([6.0, 6.0, 8.0, -1.0], [3.0, 2.1, 2.5, 2.5], least_ratio=0.35)
    np.testing.assert_allclose(verdicts["drive_ratio"], [0.5, 0.35, 0.3125, np.nan], atol=1e-4)
    assert verdicts["gate"].tolist() == ["pass", "pass", "flag", "pass"]  # without predicted drive there is no ratio to reach


def test_fine_noise_is_flagged_whatever_it_drives():
    assert [judge(4.0, 4.0, high).loc[0, "gate"] for high in (0.35, 0.36)] == ["pass", "flag"]
    assert judge(4.0, 4.0, 0.36, most_high_frequency=0.4).loc[0, "gate"] == "pass"


def test_a_distance_has_no_ratio_and_may_pass():
    """The judged rating of a match is minus a distance: never positive, near 0 at its best."""
    natural = -np.abs(NATURAL - 5)
    verdicts = judge([-0.1, -0.1], [-0.2, -4.0], compare=False, natural=natural)
    assert verdicts["drive_ratio"].isna().all()
    assert verdicts["drive_percentile"].tolist() == [100, 75]
    assert verdicts["gate"].tolist() == ["pass", "flag"]
    assert judge([4.0], [1.0], compare=False, natural=[0.0]).loc[0, "gate"] == "pass"


def test_without_a_judge_there_is_no_verdict():
    verdicts = judge([4.0, -1.0], [np.nan, np.nan], natural=[np.nan])
    assert verdicts["drive_predicted"].tolist() == [4.0, -1.0]
    assert verdicts[["drive_judged", "drive_ratio", "drive_percentile", "gate"]].isna().all(axis=None)


@pytest.mark.parametrize("rules", [{}, {"least_percentile": 50.0}])
def test_the_default_rules_ask_for_more_than_95_percent_of_natural_images(rules):
    natural = np.arange(100.0)
    assert judge(90.0, 93.5, natural=natural, **rules).loc[0, "gate"] == ("pass" if rules else "flag")
    assert judge(90.0, 94.5, natural=natural, **rules).loc[0, "gate"] == "pass"
