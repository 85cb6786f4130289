"""What a targets file may ask for: what is refused, and the goals that its targets become."""

import numpy as np
import pytest

from protocols.errors import InputError
from stimgen.judge import make_scorer
from stimgen.order import check_order, expand_targets, plan_order
from tests.stimgen.conftest import make_order
from tests.stimgen.tiny import make_tiny_backbone, make_tiny_model

WITHOUT_EBA = {"cv_r": (0.4, 0.3, 0.2, 0.6), "rois": ("V3", "V3", "V3", "LO")}


def expand(order, *models):
    check_order(order)
    return [target.label for target in expand_targets(order, models or [make_tiny_model()])]


def standardize(maker, weights):
    """Return the z of a weighted mean of voxels for the pool."""
    response = maker.pool @ (np.asarray(weights) / np.sum(weights))
    return (response - response.mean()) / response.std()


@pytest.mark.parametrize(
    ("targets", "settings", "message"),
    [
        ([], {}, "targets.toml: key 'targets' is"),
        ([{"roi": "V3"}], {"size_px": 16}, "targets.toml: key 'size_px' is 16"),
        ([{"roi": "V3"}], {"seed": -1}, "targets.toml: key 'seed' is -1"),
        ([{"roi": "V3"}], {"candidates": 0}, "targets.toml: key 'candidates' is 0"),
        ([{"roi": "V3"}], {"cuont": 3}, "targets.toml: unknown key 'cuont'; did you mean 'count'"),
        ([{"roi": "V3"}], {"ascent": {"step": 3}}, "targets.toml: unknown key 'ascent.step'; did you mean 'steps'"),
        ([{"roi": "V3"}], {"ascent": {"jitter": {"scale": 1.0}}}, "targets.toml: key 'ascent.jitter.scale' is 1.0"),
        ([{"roi": "V3"}], {"ascent": {"learning_rate": float("nan")}}, "targets.toml: key 'ascent.learning_rate' is nan"),
        ([{"roi": "V3"}], {"gate": {"action": "refues"}}, "targets.toml: key 'gate.action' is 'refues'"),
        ([{"roi": "V3"}], {"ensemble": {"combine": "best"}}, "targets.toml: key 'ensemble.combine' is 'best'"),
        ([{"roi": "V3"}], {"controls": ["naturl"]}, "controls: 'naturl' is not known; choose from natural, median, worst, rival, "),
        (
            [{"roi": "V3"}],
            {"image": {"parameterization": "furier"}},
            "image: parameterization 'furier' is not known; choose from fourier, pixels, maco, edit, or your own generator as package",
        ),
        ([{"roi": "V3"}, {"roi": "V3"}], {}, "targets: two are named 'V3'; give each its own 'name'"),
        ([{"roi": "V3"}, {"roi": "LO", "name": "v3"}], {}, "targets: two are named 'V3'; give each its own 'name'"),
        ([{"quadrants": ["V3", "LO"]}, {"up": ["V3", "LO"]}], {}, "targets: two are named 'V3upLOup'; give each its own 'name'"),
        ([{"each_voxel_of": "V3"}, {"roi": "EBA", "name": "01v3002"}], {}, "targets: two are named '01V3002'; give each its own 'name'"),
    ],
)
def test_an_order_that_makes_no_sense_is_refused(targets, settings, message):
    with pytest.raises(InputError, match=message):
        expand(make_order(*targets, **settings))


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({"roi": "FFA", "name": "faces"}, r"target 'faces': 'FFA': neither an ROI of the model \(V3, LO, EBA\) nor a voxel"),
        ({"roi": "V3", "hold": ["FFA"]}, "target 'V3': 'FFA': neither"),
        ({"quadrants": ["V3", "FFA"], "name": "q"}, "target 'qV3upFFAup': 'FFA': neither"),
        ({"pattern": {"V3": 1.0, "RSC": 0.0}}, "target 'pattern': 'RSC': neither"),
        (
            {"voxel": "01_V3099", "name": "v"},
            "target 'v': '01_V3099': neither an ROI of the model .* nor a voxel; its voxels are named like",
        ),
        ({"voxel": "01_V3003", "name": "v"}, r"target 'v': voxel '01_V3003': not predictable \(cross-validated r is 0 or less\)"),
        ({"each_voxel_of": "FFA"}, "target 'FFA': ROI 'FFA' has no predictable voxel in the model"),
        ({"roi": "V3", "subjects": ["07"]}, "target 'V3': ROI 'V3': the model has none of subject 07; it has 01"),
    ],
)
def test_a_target_that_the_model_does_not_have_is_refused_by_name(target, message):
    with pytest.raises(InputError, match=message):
        expand(make_order({"roi": "LO"}, target))


def test_every_model_must_have_every_target(natural):
    models = [make_tiny_model(), make_tiny_model(**WITHOUT_EBA, seed=1)]
    with pytest.raises(InputError, match=r"target 'bodies': 'EBA': neither an ROI of the model \(V3, LO\) nor a voxel"):
        expand(make_order({"roi": "V3"}, {"roi": "EBA", "name": "bodies"}), *models)
    assert expand(make_order({"roi": "V3"}), *models) == ["V3"]


def test_with_a_member_per_subject_a_model_may_lack_a_target():
    models = [make_tiny_model(), make_tiny_model(**WITHOUT_EBA, seed=1)]
    assert expand(make_order({"roi": "EBA"}, ensemble={"members": "subjects"}), *models) == ["EBA"]


def test_targets_of_several_are_expanded_in_place():
    order = make_order({"roi": "LO"}, {"each_voxel_of": "V3", "name": "v"}, {"quadrants": ["V3", "EBA"]}, {"roi": "EBA"})
    quadrants = ["V3upEBAup", "V3upEBAdown", "EBAupV3down", "V3downEBAdown"]
    assert expand(order) == ["LO", "v01V3001", "v01V3002", *quadrants, "EBA"]


def test_a_dose_is_the_mean_over_makers_of_the_z_at_its_percentile(makers):
    order = make_order(
        {"roi": "V3", "dose": 80, "name": "roi"},
        {"voxel": "01_LO004", "dose": 25, "name": "voxel"},
        {"voxels": ["01_V3001", "01_EBA005"], "dose": 50, "name": "voxels"},
        {"roi": "LO"},
    )
    wanted = plan_order(order, makers)
    accuracy = np.array([0.5, 0.3, 0, 0.6, 0.2]) ** 2  # of the tiny model; what cannot be predicted does not count
    terms = {
        "V3": (80, accuracy * [1, 1, 1, 0, 0]),
        "01_LO004": (25, accuracy * [0, 0, 0, 1, 0]),
        "01_V3001+01_EBA005": (50, accuracy * [1, 0, 0, 0, 1]),
    }
    for one, (term, (percentile, weights)) in zip(wanted, terms.items(), strict=False):
        expected = np.mean([np.percentile(standardize(maker, weights), percentile) for maker in makers])
        assert one.goal.matches == {term: pytest.approx(expected, abs=1e-5)}
        assert (one.goal.score, list(one.goal.own), dict(one.goal.factors)) == ("match", [term], {})
    assert wanted[-1].goal.matches == {}


def test_only_rois_that_every_maker_has_count_against_a_target(makers, natural):
    lacking = make_scorer("m2", make_tiny_model(**WITHOUT_EBA, backbone=make_tiny_backbone(2)), natural.image_paths())
    (both,) = plan_order(make_order({"roi": "V3"}), makers)
    (common,) = plan_order(make_order({"roi": "V3"}), [*makers, lacking])
    assert both.goal.factors == {"V3": 1.0, "LO": -0.25, "EBA": -0.25}
    assert common.goal.factors == {"V3": 1.0, "LO": -0.5}
    assert both.goal.own == common.goal.own == {"V3": 1.0}


def test_each_target_has_its_own_count_or_the_files(makers):
    order = make_order({"roi": "V3", "count": 1}, {"each_voxel_of": "V3", "count": 2}, {"roi": "LO"}, count=5)
    assert [(one.label, one.count) for one in plan_order(order, makers)] == [("V3", 1), ("01V3001", 2), ("01V3002", 2), ("LO", 5)]


def test_an_roi_that_cannot_be_predicted_does_not_count_against_others_and_can_still_not_be_a_target(natural):
    model = make_tiny_model(cv_r=(0.5, 0.3, 0.2, 0.6, -0.1))
    maker = make_scorer("m", model, natural.image_paths())
    (wanted,) = plan_order(make_order({"roi": "V3"}), [maker])
    assert wanted.goal.factors == {"V3": 1.0, "LO": -0.5}
    with pytest.raises(InputError, match="target 'EBA': ROI 'EBA': no voxel is predictable"):
        plan_order(make_order({"roi": "EBA"}), [maker])
