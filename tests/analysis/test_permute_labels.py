"""Label permutation: each relabeling is a whole refit, p is uniform where labels say nothing, small where they do."""

import numpy as np
import pytest
from scipy.stats import kstest

from analysis.design import compute_frame_times
from analysis.permute_labels import RoiRun, permute_labels
from analysis.single_trials import respond_to_trials
from protocols.errors import InputError

DIFFERENCE = {"a": 1.0, "b": -1.0}


def draw_noise(shape: tuple[int, int], rng: np.random.Generator, rho: float = 0.5) -> np.ndarray:
    noise = rng.standard_normal((shape[0] + 30, shape[1]))
    for volume in range(1, len(noise)):
        noise[volume] += rho * noise[volume - 1]
    return noise[30:]


def make_run(stim_ids: list[str], rng: np.random.Generator, responses: dict[str, float] | None = None, rois: int = 3) -> RoiRun:
    """Show images in a random order, with autocorrelated noise; `responses` of an image are the same in every ROI."""
    order = list(rng.permutation(stim_ids))
    volumes = 3 * len(order) + 15
    times = compute_frame_times(volumes, 1.0, 0.5)
    trials = respond_to_trials(times, 1.3 + 3.0 * np.arange(len(order)), np.full(len(order), 1.0), "glover")
    nuisance = np.column_stack([np.ones(volumes), np.linspace(-1, 1, volumes)])
    amplitudes = np.array([(responses or {}).get(stim_id, 0.0) for stim_id in order])
    return RoiRun(trials @ amplitudes[:, None] + draw_noise((volumes, rois), rng) * np.arange(1, rois + 1), trials, nuisance, order)


def label(count: int, prefix: str = "") -> dict[str, str]:
    """Name images, two thirds of condition a, one third of b."""
    return {f"{prefix}image{n}": "a" if n % 3 else "b" for n in range(count)}


def test_the_first_labeling_is_the_ordinary_least_squares_fit() -> None:
    rng = np.random.default_rng(0)
    conditions = label(12)
    runs = [make_run(list(conditions), rng, {"image0": 2.0}) for _ in range(2)]
    expected = []
    for run in runs:
        columns = [run.trials[:, [conditions[s] == name for s in run.stim_ids]].sum(axis=1) for name in "ab"]
        expected.append(np.array([1, -1]) @ np.linalg.lstsq(np.column_stack([*columns, run.nuisance]), run.series)[0][:2])
    np.testing.assert_allclose(permute_labels(runs, conditions, DIFFERENCE, rng, 50).estimate, np.mean(expected, axis=0), atol=1e-12)


def test_p_is_uniform_where_labels_say_nothing() -> None:
    rng = np.random.default_rng(1)
    conditions = label(9, "first ") | label(9, "second ")
    ids = [[name for name in conditions if name.startswith(run)] for run in ("first", "second")]
    p, corrected = [], []
    for _ in range(400):
        test = permute_labels([make_run(names, rng) for names in ids], conditions, DIFFERENCE, rng, 99)
        p.append(test.p)
        corrected.append(test.p_corrected.min())
    for roi in range(3):
        assert kstest(np.array(p)[:, roi] - rng.uniform(0, 0.01, 400), "uniform").pvalue > 0.01
    assert 0.025 < np.mean(np.array(p) <= 0.05) < 0.075
    assert np.mean(np.array(corrected) <= 0.05) < 0.08


def test_images_with_their_own_responses_in_every_run_are_no_effect_of_their_condition() -> None:
    rng = np.random.default_rng(2)
    conditions = label(12)
    p = []
    for _ in range(300):
        own = dict(zip(conditions, 4 * rng.standard_normal(12), strict=True))
        runs = [make_run(list(conditions), rng, own, rois=1) for _ in range(4)]
        p.append(float(permute_labels(runs, conditions, DIFFERENCE, rng, 99).p[0]))
    assert kstest(np.array(p) - rng.uniform(0, 0.01, 300), "uniform").pvalue > 0.01
    assert np.mean(np.array(p) <= 0.05) < 0.09


def test_an_effect_of_the_condition_is_found() -> None:
    rng = np.random.default_rng(3)
    conditions = label(18)
    runs = [make_run(list(conditions), rng, {name: 6.0 * (kind == "a") for name, kind in conditions.items()}) for _ in range(3)]
    test = permute_labels(runs, conditions, DIFFERENCE, rng, 499)  # of 18,564
    assert test.labelings == 500
    assert test.p_floor == 1 / 500
    assert test.p[0] == test.p_corrected[0] == test.p_floor
    assert (test.p_corrected >= test.p).all()
    assert test.estimate[0] == pytest.approx(6.0, abs=1.0)


@pytest.mark.parametrize(("count", "labelings", "floor"), [(4, 6, 2 / 6), (5, 10, 1 / 10), (8, 70, 2 / 70)])
def test_few_labelings_are_all_tried_and_have_a_floor(count: int, labelings: int, floor: float) -> None:
    rng = np.random.default_rng(4)
    conditions = {f"image{n}": "a" if n < count // 2 else "b" for n in range(count)}
    effect = {name: 30.0 * (kind == "a") for name, kind in conditions.items()}
    test = permute_labels([make_run(list(conditions), rng, effect)], conditions, DIFFERENCE, rng, 99)
    assert test.labelings == labelings
    assert test.p_floor == test.p[0] == floor
    assert (np.abs(test.p * labelings - np.round(test.p * labelings)) < 1e-9).all()
    again = permute_labels([make_run(list(conditions), rng, effect)], conditions, DIFFERENCE, np.random.default_rng(99), 99)
    assert again.p[0] == test.p[0]


def test_images_shown_more_often_change_places_only_among_themselves() -> None:
    rng = np.random.default_rng(5)
    conditions = {"once1": "a", "once2": "b", "twice1": "a", "twice2": "b"}
    run = make_run(["once1", "once2", "twice1", "twice1", "twice2", "twice2"], rng)
    assert permute_labels([run], conditions, DIFFERENCE, rng).p_floor == 2 / 4


def test_images_of_other_conditions_keep_their_labels() -> None:
    rng = np.random.default_rng(8)
    conditions = {"one": "a", "two": "a", "three": "b", "four": "b", "five": "c", "six": "c"}
    test = permute_labels([make_run(list(conditions), rng, {"five": 50.0, "six": 50.0})], conditions, DIFFERENCE, rng, 200)
    assert test.labelings == 6
    assert (np.abs(test.estimate) < 20).all()


def test_a_run_without_a_condition_is_left_out() -> None:
    rng = np.random.default_rng(6)
    conditions = label(9) | {"other0": "a", "other1": "c"}
    run, lacking = make_run([f"image{n}" for n in range(9)], rng), make_run(["other0", "other1"], rng)
    both = permute_labels([run, lacking], conditions, DIFFERENCE, rng, 20)
    np.testing.assert_array_equal(both.estimate, permute_labels([run], conditions, DIFFERENCE, rng, 20).estimate)


@pytest.mark.parametrize(
    ("shown", "conditions", "message"),
    [
        (["x", "y"], {"x": "a"}, r"image 'y' has no condition; name the stimulus set"),
        (["x", "y"], {"x": "a", "y": "c"}, r"no run has all conditions of the contrast \(a, b\); show them within a run"),
        (["x", "y", "y"], {"x": "a", "y": "b"}, r"no labels can change places: no two images of different conditions are shown equally"),
    ],
)
def test_what_cannot_be_tested_is_refused(shown: list[str], conditions: dict[str, str], message: str) -> None:
    rng = np.random.default_rng(7)
    with pytest.raises(InputError, match=message):
        permute_labels([make_run(shown, rng)], conditions, DIFFERENCE, rng)
