"""A set's scores are those of its PNGs: computed here afresh, by the definitions, with nothing but the models' predictions."""

import numpy as np
import pandas as pd
import pytest

from stimgen.features import read_batch
from stimgen.gate import Gate
from stimgen.image_files import write_png
from stimgen.judge import make_scorer
from stimgen.order import plan_order
from stimgen.score_set import count_flagged, describe_set, score_set
from tests.stimgen.conftest import make_order
from tests.stimgen.tiny import make_tiny_model

TARGETS = (
    {"roi": "V3"},
    {"contrast": "V3 - LO", "name": "diff"},
    {"up": ["LO"], "down": ["EBA"], "name": "sides", "level": 50.0},
    {"pattern": {"V3": 1.0, "EBA": -1.0}},
)
LABELS = ["V3", "diff", "sides", "pattern"]


@pytest.fixture
def judges(natural):
    return [make_scorer("judge", make_tiny_model(seed=seed, cv_r=(0.2, 0.6, 0.1, 0.4, 0.5)), natural.image_paths()) for seed in (2, 3)]


@pytest.fixture
def table(tmp_path):
    """Images of noise: two for each target, then one natural image for each."""
    rows, rng = [], np.random.default_rng(5)
    for condition, label in [("target", label) for label in LABELS for _ in range(2)] + [("natural", label) for label in LABELS]:
        name = f"i{len(rows)}.png"
        write_png(rng.uniform(0, 1, (8, 8, 3)).astype(np.float32), tmp_path / name)
        rows.append({"stim_id": f"i{len(rows)}", "stim_file": name, "condition": condition, "target": label, "width_px": 8})
    return pd.DataFrame(rows)


def z_by_hand(scorer, paths):
    """Return an ROI's z of images by its definition: the weighted mean of voxels, standardized by the natural pool's."""
    model = scorer.model
    responses = model.predict(read_batch(model.space.backbone, paths)).numpy()
    columns = {}
    for roi in ("V3", "LO", "EBA"):
        weights = np.where(model.voxels["roi"] == roi, np.clip(model.voxels["cv_r"], 0, None) ** 2, 0)
        pool = scorer.pool @ weights
        columns[roi] = (responses @ weights - pool.mean()) / pool.std()
    return pd.DataFrame(columns)


def rate_by_hand(z):
    """Return images x targets: what images do for each of `TARGETS`."""
    distance = np.sqrt(((z["V3"] - 1) ** 2 + (z["EBA"] + 1) ** 2) / 2)
    sides = np.minimum(z["LO"], -z["EBA"])
    return pd.DataFrame({"V3": z["V3"], "diff": z["V3"] - z["LO"], "sides": sides, "pattern": -distance})


def pick_own(rated, table):
    return np.array([rated.loc[row, label] for row, label in enumerate(table["target"])])


def test_every_column_is_that_of_the_saved_files(table, natural, makers, judges, tmp_path):
    made = score_set(table, tmp_path, plan_order(make_order(*TARGETS), makers), makers, judges, Gate())
    scored = made.table
    pd.testing.assert_frame_equal(scored[table.columns], table)
    paths = [tmp_path / name for name in table["stim_file"]]
    by_makers, by_judges = (sum(z_by_hand(one, paths) for one in models) / len(models) for models in (makers, judges))
    for prefix, z in (("predicted_", by_makers), ("judged_", by_judges)):
        for roi in z.columns:
            np.testing.assert_allclose(scored[prefix + roi], z[roi], atol=2e-3)
    predicted, judged = (pick_own(rate_by_hand(z), table) for z in (by_makers, by_judges))
    np.testing.assert_allclose(scored["drive_predicted"], predicted, atol=2e-3)
    np.testing.assert_allclose(scored["drive_judged"], judged, atol=2e-3)
    has_ratio = (scored["drive_predicted"] > 0) & (table["target"] != "pattern")
    assert (scored["drive_ratio"].notna() == has_ratio).all()
    assert has_ratio.any()
    ratio = scored["drive_judged"] / scored["drive_predicted"]
    np.testing.assert_allclose(scored["drive_ratio"][has_ratio], ratio[has_ratio], rtol=0.02, atol=2e-3)
    pool = rate_by_hand(sum(z_by_hand(one, natural.image_paths()) for one in judges) / 2)
    percentile = [100 * np.mean(pool[label] < drive) for label, drive in zip(table["target"], judged, strict=True)]
    np.testing.assert_allclose(scored["drive_percentile"], percentile, atol=0.01)
    assert set(scored["gate"]) <= {"pass", "flag"}
    assert set(scored["subjects"]) == {"01"}
    by_role = made.scores.groupby(["role", "stim_id"], sort=False)["drive"].mean()
    for role, column in (("maker", "drive_predicted"), ("judge", "drive_judged")):
        mean = by_role[role][table["stim_id"]].to_numpy()
        linear = table["target"].isin(["V3", "diff"])  # the mean over models of the others is not the mean of their drives
        np.testing.assert_allclose(mean[linear], scored[column][linear], atol=2e-3)
    assert set(zip(made.scores["model"], made.scores["role"], strict=True)) == {("m0", "maker"), ("m1", "maker"), ("judge", "judge")}


def test_without_judges_nothing_is_judged(table, makers, tmp_path):
    scored = score_set(table, tmp_path, plan_order(make_order(*TARGETS), makers), makers, [], Gate()).table
    assert not [name for name in scored.columns if name.startswith("judged_")]
    assert scored[["drive_judged", "drive_ratio", "drive_percentile", "gate"]].isna().all(axis=None)
    assert scored["drive_predicted"].notna().all()
    assert count_flagged(scored) == {}


def test_a_bound_that_the_images_miss_is_named_with_the_nearest_point_reached(table, makers, tmp_path):
    missed = score_set(table, tmp_path, plan_order(make_order(*TARGETS), makers), makers, [], Gate()).missed
    paths = [tmp_path / name for name in table["stim_file"][(table["target"] == "sides") & (table["condition"] == "target")]]
    reached = (sum(z_by_hand(one, paths) for one in makers) / 2).mean()
    assert missed == {"sides": [f"LO >= 50.00 (reached {reached['LO']:.2f})", f"EBA <= -50.00 (reached {reached['EBA']:.2f})"]}


def test_a_bound_missed_by_less_than_a_quarter_z_counts_as_met(table, makers, tmp_path):
    paths = [tmp_path / name for name in table["stim_file"][:2]]
    reached = float((sum(z_by_hand(one, paths) for one in makers) / 2)["LO"].mean())
    found = []
    for margin in (0.2, 0.3):
        side = {"up": ["LO"], "level": reached + margin} if reached > 0 else {"down": ["LO"], "level": margin - reached}
        own = table[:2].assign(target="LO")
        found.append(score_set(own, tmp_path, plan_order(make_order({**side, "name": "LO"}), makers), makers, [], Gate()).missed)
    assert [list(missed) for missed in found] == [[], ["LO"]]


def test_flagged_images_are_counted_by_target_without_the_controls():
    rows = [
        ("target", "V3", "flag"),
        ("target", "V3", "flag"),
        ("target", "LO", "pass"),
        ("natural", "LO", "flag"),
        ("target", "EBA", "flag"),
    ]
    assert count_flagged(pd.DataFrame(rows, columns=["condition", "target", "gate"])) == {"V3": 2, "EBA": 1}


def test_the_sidecar_tells_the_rules_the_diversity_and_what_was_missed(makers, judges):
    order = make_order({"roi": "V3"}, gate={"least_ratio": 0.5})
    missed = {"V3": ["LO <= 0.50 (reached 0.90)"]}
    described = describe_set(order, makers, judges, 12, {"V3": 0.123456, "LO": float("nan")}, missed)
    assert described["diversity"] == {"V3": 0.1235, "LO": None}
    assert described["missed_bounds"] == missed
    rules = {"least_percentile": 95.0, "least_ratio": 0.5, "most_high_frequency": 0.35, "action": "flag"}
    assert described["gate_rules"] == rules
    assert (described["models"], described["judges"]) == (["m0", "m1"], ["judge", "judge"])
    assert (described["pool_images"], described["size_px"]) == (12, 32)
