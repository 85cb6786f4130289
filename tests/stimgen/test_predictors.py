"""Models on one feature space share a forward pass, which computes no layer that nobody reads."""

import numpy as np
import pytest
import torch

from protocols.errors import InputError
from stimgen.goal import Goal
from stimgen.objective import Ensemble
from stimgen.predictors import build_panel
from stimgen.readings import Term, fold_terms
from tests.stimgen.tiny import draw_images, make_scorer, make_space, make_tiny_backbone, make_tiny_model, make_voxels

V3 = Goal("V3", factors={"V3": 1.0})
ALL = ("first", "second", "third")


@pytest.fixture
def backbone():
    return make_tiny_backbone()


def make_deep_model(backbone, seed=0, layers=ALL, silent=(), faint=(), voxels=None):
    """Return a model that reads several layers of a backbone; `silent` ones with weight zero, `faint` ones nearly."""
    space = make_space(backbone, layers)
    model = make_tiny_model(seed=seed, backbone=backbone, space=space, voxels=voxels)
    for layer, weight in ((silent, 0.0), (faint, 0.01)):
        for name in layer:
            model.readout.coefficients[space.layer_of_feature == layers.index(name)] *= weight
    return model


def count_runs(module):
    """Return a list that grows by the number of images whenever the module runs."""
    runs = []
    module.register_forward_hook(lambda _module, _inputs, output: runs.append(len(output)))
    return runs


def read(panel, images):
    return torch.cat([predictor.read(images, False)[0] for predictor in panel.predictors])


def test_models_on_one_feature_space_share_a_forward_pass(backbone):
    models = [make_deep_model(backbone, seed) for seed in (0, 1)]
    other = make_deep_model(make_tiny_backbone(seed=3), 2)
    panel = build_panel([make_scorer(model) for model in (*models, other)], [V3], Ensemble())
    runs = count_runs(backbone.module.first)
    images = draw_images(4, 8, seed=3)
    z = read(panel, images)
    assert runs == [4]
    assert [len(predictor.readers) for predictor in panel.predictors] == [2, 1]
    alone = torch.stack([full_reading(model, images) for model in (*models, other)])
    torch.testing.assert_close(z[:, :, 0], alone, atol=1e-4, rtol=1e-4)


def test_models_that_pool_differently_do_not_share_a_forward_pass(backbone):
    one, other = make_deep_model(backbone), make_deep_model(backbone, layers=("second", "third"))
    assert len(build_panel([make_scorer(one), make_scorer(other)], [V3], Ensemble()).predictors) == 2


def test_a_layer_of_zero_weight_is_not_run(backbone):
    model = make_deep_model(backbone, silent=("third",))
    scorer = make_scorer(model)
    full = fold_terms([Term("V3")], model, scorer.pool)
    panel = build_panel([scorer], [V3], Ensemble())
    runs = count_runs(backbone.module.third)
    images = draw_images(3, 8, seed=3)
    z = read(panel, images)
    assert runs == []
    assert [layer.name for layer in panel.predictors[0].layers] == ["first", "second"]
    torch.testing.assert_close(z[0], full.read(model.space.extract(images)), atol=1e-4, rtol=1e-4)


def test_a_silent_layer_in_the_middle_is_not_read(backbone):
    model = make_deep_model(backbone, silent=("second",))
    panel = build_panel([make_scorer(model)], [V3], Ensemble())
    assert [layer.name for layer in panel.predictors[0].layers] == ["first", "third"]
    images = draw_images(3, 8, seed=3)
    torch.testing.assert_close(read(panel, images)[0, :, 0], full_reading(model, images), atol=1e-4, rtol=1e-4)


def full_reading(model, images):
    return fold_terms([Term("V3")], model, make_scorer(model).pool).read(model.space.extract(images))[:, 0]


def test_layers_of_a_space_in_another_order_are_taken_as_the_network_runs_them(backbone):
    model = make_deep_model(backbone, layers=("third", "first", "second"))
    panel = build_panel([make_scorer(model)], [V3], Ensemble())
    assert [layer.name for layer in panel.predictors[0].layers] == list(ALL)
    images = draw_images(3, 8, seed=3)
    torch.testing.assert_close(read(panel, images)[0, :, 0], full_reading(model, images), atol=1e-4, rtol=1e-4)


def test_a_deep_layer_without_share_is_left_out_and_predictions_over_the_pool_stay(backbone):
    model = make_deep_model(backbone, faint=("third",))
    scorer = make_scorer(model)
    full = fold_terms([Term("V3")], model, scorer.pool).read(torch.from_numpy(scorer.features)).numpy()[:, 0]
    assert len(build_panel([scorer], [V3], Ensemble()).predictors[0].layers) == 3
    panel = build_panel([scorer], [V3], Ensemble(), depth_share=0.95)
    predictor = panel.predictors[0]
    assert [layer.name for layer in predictor.layers][-1] != "third"
    columns = predictor.space.find_columns(predictor.layers)
    short = predictor.readers[0].read(torch.from_numpy(scorer.features[:, columns])).numpy()[:, 0]
    assert np.corrcoef(short, full)[0, 1] >= 0.95
    assert short.mean() == pytest.approx(full.mean(), abs=1e-3)  # what is left out counts as its mean


def test_a_layer_that_a_goal_needs_is_kept_however_small_its_share_in_another(backbone):
    """V3 lives in the first layer and LO in the third: for both, or for their difference, all must run."""
    model = make_deep_model(backbone)
    inside = model.space.layer_of_feature
    is_v3, is_lo = (model.voxels["roi"].to_numpy() == roi for roi in ("V3", "LO"))
    model.readout.coefficients[np.ix_(inside != 0, is_v3)] = 0
    model.readout.coefficients[np.ix_(inside != 2, is_lo)] = 0
    scorer = make_scorer(model)

    def layers(*goals):
        return [layer.name for layer in build_panel([scorer], goals, Ensemble(), 0.99).predictors[0].layers]

    assert layers(V3) == ["first"]
    assert layers(Goal("LO", factors={"LO": 1.0})) == ["third"]
    assert layers(V3, Goal("LO", factors={"LO": 1.0})) == ["first", "third"]
    assert layers(Goal("held", factors={"V3": 1.0}, low={"LO": -0.5}, high={"LO": 0.5})) == ["first", "third"]
    assert layers(Goal("match", matches={"V3": 1.0, "LO": 1.0})) == ["first", "third"]


def test_a_member_per_subject_reads_what_that_subject_has(backbone):
    table = make_voxels((0.5, 0.3, 0.6, 0.6), ("V3", "LO", "V3", "EBA"))
    table["subject"] = ["01", "01", "02", "02"]
    model = make_deep_model(backbone, voxels=table)
    goals = [V3, Goal("pair", low={"LO": 1.0}, high={"EBA": -1.0})]
    panel = build_panel([make_scorer(model)], goals, Ensemble(members="subjects"))
    assert panel.terms == (Term("V3"), Term("LO"), Term("EBA"))
    assert panel.known.tolist() == [[True, True, False], [True, False, True]]
    assert len(panel.predictors) == 1
    assert read(panel, draw_images(3, 8)).shape == (2, 3, 3)


@pytest.mark.parametrize("depth_share", [1.0, 0.9])
def test_a_network_none_of_whose_subjects_has_a_term_is_not_run(backbone, depth_share):
    other = make_tiny_backbone(seed=1)
    models = [make_deep_model(backbone), make_deep_model(other, voxels=make_voxels((0.5, 0.4), ("V3", "V3"), "02"))]
    scorers = [make_scorer(model) for model in models]
    panel = build_panel(scorers, [Goal("LO", factors={"LO": 1.0})], Ensemble(members="subjects"), depth_share)
    assert [predictor.space.backbone.weights_sha256 for predictor in panel.predictors] == [backbone.weights_sha256]
    assert panel.known.tolist() == [[True]]
    assert read(panel, draw_images(3, 8)).shape == (1, 3, 1)


def test_a_term_that_no_subject_has_is_refused(backbone):
    model = make_deep_model(backbone)
    with pytest.raises(InputError, match="'FFA': no subject of the models has it, or none can be predicted; choose another"):
        build_panel([make_scorer(model)], [V3, Goal("t", factors={"FFA": 1.0})], Ensemble(members="subjects"))
    with pytest.raises(InputError, match="'FFA': neither an ROI of the model"):
        build_panel([make_scorer(model)], [Goal("t", factors={"FFA": 1.0})], Ensemble())


@pytest.mark.parametrize("depth_share", [1.0, 0.5])
def test_a_reading_is_differentiable_through_the_layers_that_are_read(backbone, depth_share):
    panel = build_panel([make_scorer(make_deep_model(backbone))], [V3], Ensemble(), depth_share)
    images = draw_images(2, 8).requires_grad_(True)
    read(panel, images).sum().backward()
    assert torch.isfinite(images.grad).all()
    assert float(images.grad.abs().max()) > 0
