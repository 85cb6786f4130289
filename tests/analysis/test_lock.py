"""The locked plan: what is changed after locking is told, what was not locked is exploratory, and the lock itself cannot be edited."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.asked import UNLOCKED, answer, ask
from analysis.exclusions import exclude_runs
from analysis.lock import Lock, choose_plan, describe_changes, group_images, lock_plan
from analysis.stats_model import export_stats_model
from protocols.errors import InputError
from protocols.protocol import Exclusions
from protocols.roi_table import RoiTable
from protocols.stimulus_set import StimulusSet
from tests.analysis.planted import ROIS, Study, make_protocol, make_set
from tests.analysis.program import run_analysis
from tests.analysis.tables import draw_table


@pytest.fixture(scope="module")
def stimuli(tmp_path_factory: pytest.TempPathFactory) -> StimulusSet:
    return make_set(tmp_path_factory.mktemp("locked") / "set")


@pytest.fixture
def files(tmp_path: Path, stimuli: StimulusSet) -> Path:
    """A protocol, its lock beside it, and a table of the set's images with effects everywhere, in one ROI more than planned."""
    make_protocol().write(tmp_path / "plan.json")
    run_analysis("lock", tmp_path / "plan.json", "--set", stimuli.folder)
    draw_set_table(1.5).write(tmp_path / "roi_table.tsv")
    return tmp_path


def draw_set_table(effect: float, rois: tuple[str, ...] = (*ROIS, "PPA")) -> RoiTable:
    table = draw_table(np.random.default_rng(0), rois=rois, per_set=3, effect=effect, subject_sd=0.1, image_sd=0.1, residual_sd=0.1).table
    return RoiTable(table[table["target"].isin(ROIS)])


def group(files: Path, *more: object) -> tuple[str, pd.DataFrame, dict[str, object]]:
    out = files / f"out{len(list(files.iterdir()))}"
    printed = run_analysis("group", files / "roi_table.tsv", "--protocol", files / "plan.json", *more, "--out", out)
    return printed, pd.read_csv(out / "group.tsv", sep="\t"), json.loads((out / "group.json").read_text())


def test_a_lock_names_plan_and_images_and_reads_back(files: Path, stimuli: StimulusSet) -> None:
    lock = Lock.read(files / "plan.lock.json")
    assert lock.plan.rois == ROIS
    assert lock.plan.alpha == 0.05
    assert [contrast.family for contrast in lock.plan.contrasts] == ["primary", "secondary", "secondary"]
    assert lock.set_sha256 == stimuli.sha256
    assert sum(len(one.stim_ids) for one in lock.images) == len(stimuli.table)
    assert dataclasses.replace(lock, created="", code_version="").sha256 == lock.sha256
    assert dataclasses.replace(lock, set_sha256="0").sha256 != lock.sha256


def test_locking_twice_gives_the_same_hash_and_never_replaces(files: Path, stimuli: StimulusSet) -> None:
    run_analysis("lock", files / "plan.json", "--set", stimuli.folder, "--out", files / "again.json")
    assert Lock.read(files / "again.json").sha256 == Lock.read(files / "plan.lock.json").sha256
    with pytest.raises(InputError, match=r"plan.lock.json: exists already, and a lock is never replaced"):
        run_analysis("lock", files / "plan.json", "--set", stimuli.folder)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda v: v["plan"].update(alpha=0.1), "was edited after locking"),
        (lambda v: v["images"][0]["stim_ids"].pop(), "was edited after locking"),
        (lambda v: v.update(format_version=2), "format_version 2; this version reads 1"),
        (lambda v: v.pop("images"), "has no 'images', so it is no lock"),
        (lambda v: v["plan"].update(alfa=0.1), "unknown key 'alfa'; did you mean 'alpha'"),
    ],
)
def test_an_edited_lock_is_refused(files: Path, edit: object, message: str) -> None:
    path = files / "plan.lock.json"
    values = json.loads(path.read_text())
    edit(values)
    path.write_text(json.dumps(values))
    with pytest.raises(InputError, match=message):
        Lock.read(path)


def test_only_what_was_locked_can_be_claimed(files: Path) -> None:
    printed, tests, summary = group(files, "--contrast", "natural - scrambled", "--contrast", "target - natural - other")
    planned = tests[tests["planned"]]
    assert set(planned["roi"]) == {"all", *ROIS}
    assert planned["claimed"].all()
    rest = tests[~tests["planned"]]
    assert set(rest["family"]) == {"exploratory"}
    assert not rest["claimed"].any()
    assert set(rest["expression"]) == {"natural - scrambled", "target - natural - other"}
    assert summary["lock"]["sha256"] == Lock.read(files / "plan.lock.json").sha256
    assert UNLOCKED not in printed


def test_a_region_that_was_not_locked_is_exploratory_and_changes_no_claim(files: Path) -> None:
    contrasts = [{"name": "a", "expression": "target - natural"}, {"name": "b", "expression": "natural - scrambled", "family": "secondary"}]
    make_protocol(contrasts=contrasts, rois=["V3", "LO"]).write(files / "narrow.json")
    bids_set = files.parent / "set"
    make_set(bids_set)
    run_analysis("lock", files / "narrow.json", "--set", bids_set)
    run_analysis("group", files / "roi_table.tsv", "--protocol", files / "narrow.json", "--out", files / "wide")
    tests = pd.read_csv(files / "wide" / "group.tsv", sep="\t")
    assert set(tests.loc[tests["planned"], "roi"]) == {"all", "V3", "LO"}
    assert {"EBA", "FFA"} <= set(tests.loc[tests["family"] == "exploratory", "roi"])
    table = RoiTable.read(files / "roi_table.tsv")
    RoiTable(table.table[table.table["roi"].isin(["V3", "LO"])]).write(files / "few.tsv")
    run_analysis("group", files / "few.tsv", "--protocol", files / "narrow.json", "--out", files / "few")
    few = pd.read_csv(files / "few" / "group.tsv", sep="\t")
    pd.testing.assert_frame_equal(tests[tests["planned"]].reset_index(drop=True), few)
    assert "PPA" in json.loads((files / "wide" / "group.json").read_text())["rois"]


def test_the_lock_alone_is_the_plan(files: Path) -> None:
    run_analysis("group", files / "roi_table.tsv", "--lock", files / "plan.lock.json", "--out", files / "alone")
    _, tests, _ = group(files)
    pd.testing.assert_frame_equal(pd.read_csv(files / "alone" / "group.tsv", sep="\t"), tests)


CHANGES = {
    "alpha": ({"alpha": 0.1}, r"alpha: locked 0.05, now 0.1"),
    "ROIs": ({"rois": ["V3"]}, r'rois: locked \["V3", "LO", "EBA", "FFA"\], now \["V3"\]'),
    "a contrast less": ({"contrasts": [{"name": "own_vs_other", "expression": "target - other"}]}, "contrast 'own_vs_natural': taken out"),
    "family": (
        {"contrasts": [{"name": "own_vs_natural", "expression": "target - natural"}]},
        "contrast 'own_vs_natural': family locked 'secondary', now 'primary'",
    ),
    "expression": (
        {"contrasts": [{"name": "own_vs_other", "expression": "target - natural"}]},
        "contrast 'own_vs_other': expression locked 'target - other', now 'target - natural'",
    ),
    "a contrast more": ({"contrasts": [{"name": "new", "expression": "target - natural"}]}, "contrast 'new': added"),
    "exclusions": ({"exclusions": {"fd_mean_mm": 0.4}}, 'exclusions: locked .*"fd_mean_mm": null.* now .*"fd_mean_mm": 0.4'),
    "conditions": ({"conditions": ["target", "natural", "scrambled", "rival"]}, 'conditions: locked .* now .*"rival"'),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_plan_changed_after_locking_is_refused_with_what_changed(files: Path, change: str) -> None:
    settings, message = CHANGES[change]
    make_protocol(**settings).write(files / "plan.json")
    with pytest.raises(InputError, match=f"(?s)plan.json: the plan was changed after it was locked .*{message}"):
        group(files)


def test_the_same_plan_has_no_changes_and_scanner_settings_are_free(files: Path) -> None:
    protocol = make_protocol(screen={"distance_cm": 120.0}, trigger={"source": "serial:COM3"}, rois=ROIS)
    assert describe_changes(Lock.read(files / "plan.lock.json").plan, choose_plan(protocol)) == []


def test_without_a_lock_the_result_says_so(files: Path) -> None:
    (files / "plan.lock.json").rename(files / "elsewhere.json")
    printed, tests, summary = group(files)
    assert summary["lock"] is None
    assert f"note: {UNLOCKED}" in printed
    assert tests["planned"].all()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda t: t.assign(stim_id=t["stim_id"].replace("targetLO1", "targetLO9")),
            "'targetLO9' is not in the stimulus set that was locked",
        ),
        (
            lambda t: t.assign(target=t["target"].where(t["stim_id"] != "targetLO1", "V3")),
            "'targetLO1' is target for V3, it was locked as target for LO",
        ),
        (lambda t: t.assign(roi=t["roi"] + "x"), "has none of the planned ROIs V3, LO, EBA, FFA"),
    ],
)
def test_images_and_regions_other_than_locked_are_refused(files: Path, spoil: object, message: str) -> None:
    RoiTable(spoil(RoiTable.read(files / "roi_table.tsv").table)).write(files / "roi_table.tsv")
    with pytest.raises(InputError, match=message):
        group(files)


def test_a_table_made_with_another_set_is_refused(study: Study, roi_folder: Path, stimuli: StimulusSet, tmp_path: Path) -> None:
    run_analysis("lock", study.protocol, "--set", study.stimuli, "--out", tmp_path / "lock.json")
    run_analysis("group", roi_folder, "--lock", tmp_path / "lock.json", "--out", tmp_path / "group")
    assert json.loads((tmp_path / "group" / "group.json").read_text())["lock"]["set_sha256"] == StimulusSet.read(study.stimuli).sha256
    run_analysis("lock", study.protocol, "--set", stimuli.folder, "--out", tmp_path / "other.json")
    with pytest.raises(InputError, match="was made with another stimulus set"):
        run_analysis("group", roi_folder, "--lock", tmp_path / "other.json", "--out", tmp_path / "refused")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"contrasts": []}, "has no primary contrast"),
        (
            {"conditions": ["target", "houses"], "contrasts": [{"name": "a", "expression": "target - houses"}]},
            "no condition 'houses' in .*set",
        ),
        ({"contrasts": [{"name": "a", "expression": "target - other"}], "rois": ["PPA"]}, "contrast 'a' applies to none of PPA"),
    ],
)
def test_what_cannot_be_tested_cannot_be_locked(stimuli: StimulusSet, settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        lock_plan(make_protocol(**settings), stimuli, "plan.toml")


def test_a_planned_contrast_is_not_asked_again(files: Path) -> None:
    with pytest.raises(InputError, match="'target - other' is planned already, as 'own_vs_other'"):
        ask(files / "plan.json", None, ["target - other"])
    with pytest.raises(InputError, match="give --protocol or --lock, or --contrast"):
        ask(None, None, [])


def test_a_bare_contrast_is_exploratory() -> None:
    result = answer(draw_set_table(3.0, ROIS), ask(None, None, ["target - natural"]))
    assert not result.tests["claimed"].any()
    assert not result.summary["planned"]


def test_the_stats_model_has_the_weights_of_the_group_analysis(files: Path, stimuli: StimulusSet) -> None:
    run_analysis(
        "lock", files / "plan.json", "--set", stimuli.folder, "--out", files / "l.json", "--smdl", files / "model-planted_smdl.json"
    )
    model = json.loads((files / "model-planted_smdl.json").read_text())
    assert model == export_stats_model(Lock.read(files / "l.json"))
    assert (model["BIDSModelVersion"], model["Input"]) == ("1.0.0", {"task": ["planted"]})
    assert [(node["Level"], node["Model"]["Type"]) for node in model["Nodes"]] == [("Run", "glm"), ("Subject", "meta"), ("Dataset", "glm")]
    contrasts = {one["Name"]: dict(zip(one["ConditionList"], one["Weights"], strict=True)) for one in model["Nodes"][0]["Contrasts"]}
    assert len(contrasts) == 12
    third = pytest.approx(-1 / 3)
    assert contrasts["own_vs_other_LO"] == {
        "trial_type.target_LO": 1,
        "trial_type.target_V3": third,
        "trial_type.target_EBA": third,
        "trial_type.target_FFA": third,
    }
    assert set(model["Nodes"][0]["Model"]["X"]) == {1, *(name for one in contrasts.values() for name in one)}


def test_conditions_that_are_not_shown_are_not_locked(stimuli: StimulusSet) -> None:
    assert {one.condition for one in group_images(stimuli.table, ("target", "natural"))} == {"target", "natural"}
    assert len(group_images(stimuli.table, ())) == 12


def make_quality(table: RoiTable, **spoiled: dict[str, float]) -> pd.DataFrame:
    runs = table.table.drop_duplicates(["subject", "session", "run"])[["subject", "session", "run"]].reset_index(drop=True)
    quality = runs.assign(volumes=100, volumes_left_out=0, fd_mean_mm=0.1)
    for name, values in spoiled.items():
        subject, run = name[1:].split("_")
        row = (quality["subject"] == subject) & (quality["run"] == int(run))
        quality.loc[row, list(values)] = list(values.values())
    return quality


def test_planned_exclusions_leave_out_runs_and_subjects_and_say_so() -> None:
    table = draw_table(np.random.default_rng(1), runs=3, subjects=3)
    quality = make_quality(table, s01_2={"fd_mean_mm": 0.9}, s02_1={"volumes_left_out": 40}, s02_3={"volumes_left_out": 50})
    rules = Exclusions(fd_mean_mm=0.5, left_out=0.3, fewest_runs=2)
    kept, notes = exclude_runs(table, rules, quality)
    assert set(zip(kept.table["subject"], kept.table["run"], strict=True)) == {("01", 1), ("01", 3), ("03", 1), ("03", 2), ("03", 3)}
    assert notes == [
        "sub-01_ses-01_run-02 was left out, as planned: mean displacement 0.90 mm, above 0.5",
        "sub-02_ses-01_run-01 was left out, as planned: 40% of volumes left out, more than 30%",
        "sub-02_ses-01_run-03 was left out, as planned: 50% of volumes left out, more than 30%",
        "sub-02 was left out, as planned: 1 runs, fewer than 2",
    ]
    assert exclude_runs(table, Exclusions(), None) == (table, [])


def test_exclusions_refuse_what_was_not_measured() -> None:
    table = draw_table(np.random.default_rng(1), runs=2, subjects=2)
    rules = Exclusions(fd_mean_mm=0.5)
    with pytest.raises(InputError, match="leaves out runs by fd_mean_mm; name with --qc"):
        exclude_runs(table, rules, None)
    with pytest.raises(InputError, match="has no run sub-01_ses-01_run-01"):
        exclude_runs(table, rules, make_quality(table).iloc[1:])
    with pytest.raises(InputError, match="nothing is left after the planned exclusions"):
        exclude_runs(table, Exclusions(fewest_runs=3), None)


def test_exclusions_reach_the_verb(study: Study, bids: Path, roi_folder: Path, tmp_path: Path) -> None:
    run_analysis("qc", bids, "--task", "planted", "--out", tmp_path / "qc")
    make_protocol(exclusions={"fd_mean_mm": 1e-6}).write(tmp_path / "strict.json")
    with pytest.raises(InputError, match="nothing is left after the planned exclusions"):
        run_analysis("group", roi_folder, "--protocol", tmp_path / "strict.json", "--qc", tmp_path / "qc", "--out", tmp_path / "out")
    make_protocol(exclusions={"fd_mean_mm": 1e6}).write(tmp_path / "mild.json")
    run_analysis("group", roi_folder, "--protocol", tmp_path / "mild.json", "--qc", tmp_path / "qc", "--out", tmp_path / "out")
