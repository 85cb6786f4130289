"""What stands beside the group's tests: written by the verb, read back, the same on every run, refused with another set."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.supplement import FILES, Supplement, collect_supplement, describe_subjects
from protocols.errors import InputError
from protocols.roi_table import RoiTable
from protocols.stimulus_set import StimulusSet
from tests.analysis.planted import ROIS, make_protocol, make_set
from tests.analysis.program import run_analysis
from tests.analysis.tables import draw_table


@pytest.fixture(scope="module")
def stimuli(tmp_path_factory: pytest.TempPathFactory) -> StimulusSet:
    return make_set(tmp_path_factory.mktemp("shown") / "set")


@pytest.fixture(scope="module")
def table() -> RoiTable:
    return draw_table(np.random.default_rng(0), rois=ROIS, per_set=3, runs=2, effect=2.0, subject_sd=0.1, image_sd=0.2, residual_sd=0.2)


def test_the_verb_writes_every_table_that_the_data_allow(table: RoiTable, stimuli: StimulusSet, tmp_path: Path) -> None:
    table.write(tmp_path / "roi_table.tsv")
    make_protocol().write(tmp_path / "plan.json")
    for out in ("one", "two"):
        printed = run_analysis(
            *("group", tmp_path / "roi_table.tsv", "--protocol", tmp_path / "plan.json", "--set", stimuli.folder, "--out", tmp_path / out)
        )
    found = Supplement.read(tmp_path / "one").tables
    assert set(found) == {"subjects.tsv", "prevalence.tsv", "mixedlm.tsv", "prediction.tsv", "gain.tsv"}
    for name, columns in FILES.items():
        assert name not in found or list(found[name]) == list(columns)
        assert name not in found or (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert (tmp_path / "one" / "group.json").read_bytes() == (tmp_path / "two" / "group.json").read_bytes()
    assert len(found["subjects.tsv"]) == 4 * 3 * 4
    assert found["subjects.tsv"]["positive"].all()
    assert "V3, target - other: 4 of 4 subjects show it alone; to be expected in 100% of people (95 % interval 37% to 100%)" in printed
    assert "note: 4 subjects: read each one's own result (subjects.tsv)" in printed
    run_analysis("group", tmp_path / "roi_table.tsv", "--protocol", tmp_path / "plan.json", "--out", tmp_path / "bare")
    assert set(Supplement.read(tmp_path / "bare").tables) == {"subjects.tsv", "prevalence.tsv", "mixedlm.tsv"}


def test_only_primary_contrasts_are_told_in_words(table: RoiTable) -> None:
    contrasts = make_protocol().contrasts
    sentences = describe_subjects(collect_supplement(table, contrasts, 0.05, None), contrasts)
    assert [sentence.split(":")[0] for sentence in sentences] == [f"{roi}, target - other" for roi in ROIS]


def test_another_set_is_refused(table: RoiTable, stimuli: StimulusSet) -> None:
    renamed = RoiTable(table.table.assign(stim_id=table.table["stim_id"].replace("targetLO1", "targetLO9")))
    with pytest.raises(InputError, match="lacks 'targetLO9', which the ROI table has"):
        collect_supplement(renamed, make_protocol().contrasts, 0.05, stimuli)


def test_writing_then_reading_is_identity(table: RoiTable, stimuli: StimulusSet, tmp_path: Path) -> None:
    supplement = collect_supplement(table, make_protocol().contrasts, 0.05, stimuli)
    supplement.write(tmp_path)
    again = Supplement.read(tmp_path)
    for name, rows in supplement.tables.items():
        pd.testing.assert_frame_equal(again.tables[name], rows.reset_index(drop=True), check_dtype=False)
