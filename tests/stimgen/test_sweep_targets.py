"""A sweep's targets: those above the threshold, a spread over ROIs where there are too many, and clear refusals."""

import numpy as np
import pytest

from protocols.errors import InputError
from stimgen.sweep_targets import choose_targets, list_targets
from tests.stimgen.tiny import make_voxels

VOXELS = make_voxels((0.5, 0.45, 0.05, 0.6, 0.3, -0.1, 0.4), ("V3", "V3", "V3", "LO", "LO", "EBA", "EBA")).assign(i=np.arange(7))


def choose(**asked):
    return list(choose_targets(VOXELS, **{"min_r": 0.1, **asked})["target_id"])


def test_voxels_at_the_threshold_or_above_come_in_the_models_order_with_all_its_columns():
    table = choose_targets(VOXELS, 0.3)
    assert list(table["target_id"]) == ["01_V3001", "01_V3002", "01_LO004", "01_LO005", "01_EBA007"]
    assert list(table["i"]) == [0, 1, 3, 4, 6]
    assert list(table["voxel_id"]) == list(table["target_id"])


def test_an_unpredictable_voxel_is_no_target_whatever_the_threshold():
    assert "01_EBA006" not in choose(min_r=-1.0)
    assert "01_V3003" in choose(min_r=-1.0)


def test_rois_take_turns_the_most_accurate_first():
    assert choose(most=1) == ["01_LO004"]
    assert choose(most=3) == ["01_V3001", "01_LO004", "01_EBA007"]
    assert choose(most=4) == ["01_V3001", "01_V3002", "01_LO004", "01_EBA007"]
    assert choose(most=99) == choose()


def test_subjects_and_rois_narrow_the_choice():
    assert choose(rois=["V3"]) == ["01_V3001", "01_V3002"]
    assert choose(subjects=["01"]) == choose()


def test_a_parcel_is_as_accurate_as_its_voxels_by_squared_r():
    voxels = VOXELS.assign(noise_ceiling=[0.8, np.nan, 0.1, 0.6, 0.3, np.nan, np.nan])
    table = choose_targets(voxels, 0.1, parcels=True).set_index("roi")
    weights = np.array([0.5, 0.45, 0.05]) ** 2
    assert table.loc["V3", "cv_r"] == pytest.approx(np.average([0.5, 0.45, 0.05], weights=weights))
    assert table.loc["V3", "noise_ceiling"] == pytest.approx(np.average([0.8, 0.1], weights=weights[[0, 2]]))
    assert np.isnan(table.loc["EBA", "noise_ceiling"])
    assert list(table["target_id"]) == ["01_V3", "01_LO", "01_EBA"]


def test_targets_are_voxels_or_parcels():
    assert [target.voxel_id for target in list_targets(choose_targets(VOXELS, 0.5), False)] == ["01_V3001", "01_LO004"]
    assert {target.voxel_id for target in list_targets(choose_targets(VOXELS, 0.1, parcels=True), True)} == {None}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"min_r": 0.9}, r"no voxel has a cross-validated r of 0\.9 or more; the best has 0\.600; give a lower --min-r"),
        ({"min_r": 0.9, "parcels": True}, r"no parcel has a cross-validated r of 0\.9"),
        ({"rois": ["FFA"]}, "--roi 'FFA': not in the model; it has V3, LO, EBA"),
        ({"subjects": ["02"]}, "--subject '02': not in the model; it has 01"),
    ],
)
def test_what_is_not_there_is_said(asked, message):
    with pytest.raises(InputError, match=message):
        choose(**asked)


def test_a_model_that_predicts_nothing_is_refused():
    with pytest.raises(InputError, match="none is predictable; fit another model"):
        choose_targets(VOXELS.assign(cv_r=-0.1), 0.1)
