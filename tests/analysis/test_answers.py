"""One seed with an effect and one without, from the plan to the page, smallest: what the report says is true."""

from pathlib import Path

import pytest

from tests.benchmarks.bench_answers import judge
from tests.benchmarks.planted_answers import Base, Size, Truth, analyze, make_base, read_words, scan

ROIS = ("V3", "LO", "EBA", "FFA")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    """Four ROIs, without which specificity could not reach .05."""
    size = Size(subjects=3, runs=1, repetitions=1, per_cell=3, voxels=4, rois=ROIS)
    return make_base(tmp_path_factory.mktemp("answers") / "base", size)


@pytest.mark.slow
def test_an_effect_that_is_there_is_told(base: Base, tmp_path: Path) -> None:
    truth = Truth("effect", dict.fromkeys(ROIS, 6.0))
    answer = analyze(base, scan(base, tmp_path, truth, 1), tmp_path)
    found = judge(truth, answer)
    assert (found["right"], found["said"], found["flags"]) == (True, 4, "-")
    words = read_words(tmp_path / "group" / "report.html")
    assert "Images made for 4 of 4 ROIs drive their own ROI more than the other images (3 subjects" in words


def test_an_effect_that_is_not_there_is_not_claimed(base: Base, tmp_path: Path) -> None:
    truth = Truth("everywhere", {}, 6.0)
    found = judge(truth, analyze(base, scan(base, tmp_path, truth, 1, rehearse=False), tmp_path, page=False))
    assert (found["right"], found["said"], found["claims"], found["specific"], found["flags"]) == (True, 0, 0, False, "-")
