"""Planted faults: each raises its own flag and no other; clean data raise none, whatever their noise and size."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from analysis import flags
from analysis.checks import Known, check_table
from analysis.flags import FLAGS, Flag
from protocols.roi_table import RoiTable

ROIS = ("V3", "LO", "EBA", "FFA", "RSC")


def draw_study(
    rng: np.random.Generator, *, subjects: int = 4, runs: int = 4, per_set: int = 12, own_sd: float = 0.5, shared_sd: float = 0.7,
    noise_sd: float = 0.6, effect: float = 0.5,
) -> pd.DataFrame:  # fmt: skip
    """Draw runs of subjects who share some of their responses to images and have some of their own."""
    images = [(f"{kind}{roi}{n}", kind, roi) for kind in ("target", "natural") for roi in ROIS for n in range(per_set)]
    ids, kinds, targets = zip(*images, strict=True)
    size = (len(ROIS), len(images))
    made = np.array([[effect * (kind == "target" and target == roi) for _, kind, target in images] for roi in ROIS])
    shared = made + shared_sd * rng.standard_normal(size) + 0.5 * rng.standard_normal((len(ROIS), 1))
    tables = []
    for subject in range(1, subjects + 1):
        own = shared + own_sd * rng.standard_normal(size)
        for run in range(1, runs + 1):
            values = own + noise_sd * rng.standard_normal(size)
            cells = pd.DataFrame({"response_psc": values.ravel(), "roi": np.repeat(ROIS, len(images)), "stim_id": np.tile(ids, len(ROIS))})
            cells["condition"], cells["target"] = np.tile(kinds, len(ROIS)), np.tile(targets, len(ROIS))
            tables.append(cells.assign(subject=f"{subject:02d}", session="01", run=run))
    return pd.concat(tables, ignore_index=True).assign(hemisphere="LR", se_psc=0.1, n_voxels=40)


def make_stimuli(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.drop_duplicates("stim_id")[["stim_id", "condition", "target"]].reset_index(drop=True)


def make_quality(rows: pd.DataFrame) -> pd.DataFrame:
    runs = rows.drop_duplicates(["subject", "session", "run"])[["subject", "session", "run"]].reset_index(drop=True)
    return runs.assign(tr_s=2.0, task_motion_r2=0.1, task_motion_chance=0.15, lag_volumes=0.1)


def find_run(rows: pd.DataFrame, subject: str, run: int) -> pd.Series:
    return (rows["subject"] == subject) & (rows["run"] == run)


def swap(rows: pd.DataFrame, one: pd.Series, other: pd.Series) -> pd.DataFrame:
    """Exchange the responses of two parts of a table whose rows are in the same order."""
    values = rows["response_psc"].copy()
    values[one], values[other] = rows.loc[other, "response_psc"].to_numpy(), rows.loc[one, "response_psc"].to_numpy()
    return rows.assign(response_psc=values)


def shuffle_events(rows: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Give a run the events of another one: every response is another image's."""
    chosen = find_run(rows, "02", 3)
    values = rows.loc[chosen, "response_psc"].to_numpy().reshape(len(ROIS), -1)
    return rows.assign(response_psc=rows["response_psc"].where(~chosen)).fillna(
        {"response_psc": pd.Series(values[:, rng.permutation(values.shape[1])].ravel(), index=rows.index[chosen])}
    )


def copy_run(rows: pd.DataFrame) -> pd.DataFrame:
    values = rows["response_psc"].copy()
    values[find_run(rows, "03", 4)] = rows.loc[find_run(rows, "03", 2), "response_psc"].to_numpy()
    return rows.assign(response_psc=values)


def cell(rows: pd.DataFrame, subject: str, run: int, roi: str) -> pd.Series:
    return find_run(rows, subject, run) & (rows["roi"] == roi)


def forget(rows: pd.DataFrame, rng: np.random.Generator, chosen: pd.Series) -> pd.DataFrame:
    """Replace responses by noise alone."""
    return rows.assign(response_psc=rows["response_psc"].where(~chosen, 0.6 * rng.standard_normal(len(rows))))


Fault = Callable[[pd.DataFrame, np.random.Generator], pd.DataFrame]
FAULTS: dict[str, tuple[Fault, str]] = {
    flags.EVENTS: (shuffle_events, "sub-02_ses-01_run-03"),
    flags.SUBJECT: (lambda t, _: swap(t, find_run(t, "01", 2), find_run(t, "04", 2)), "sub-01_ses-01_run-02"),
    flags.REGION: (
        lambda t, _: swap(t, (t["subject"] == "03") & (t["roi"] == "FFA"), (t["subject"] == "03") & (t["roi"] == "EBA")),
        "sub-03 EBA",
    ),
    flags.UNLIKE: (lambda t, rng: forget(t, rng, (t["subject"] == "03") & (t["roi"] == "FFA")), "sub-03 FFA"),
    flags.DUPLICATE: (lambda t, _: copy_run(t), "sub-03_ses-01_run-04"),
    flags.DROPPED: (lambda t, _: t[~find_run(t, "02", 4)], "sub-02"),
    flags.UNSEEN: (lambda t, _: t[(t["subject"] != "04") | (t["stim_id"] != "targetLO1")], "sub-04"),
    flags.SCALE: (
        lambda t, _: t.assign(response_psc=t["response_psc"] * np.where(find_run(t, "01", 4), 100.0, 1.0)),
        "sub-01_ses-01_run-04",
    ),
    flags.MASK: (lambda t, _: t.assign(n_voxels=t["n_voxels"].where(~cell(t, "02", 1, "LO"), 22)), "sub-02_ses-01_run-01 LO"),
    flags.LABELS: (lambda t, _: t.assign(target=t["target"].where(t["stim_id"] != "targetLO1", "V3")), "targetLO1"),
    flags.FLAT: (
        lambda t, _: t.assign(response_psc=t["response_psc"].where(~cell(t, "02", 1, "LO"), 0.0)),
        "sub-02_ses-01_run-01 LO",
    ),
}


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("flag", FAULTS)
def test_a_planted_fault_raises_its_flag(flag: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    clean = draw_study(rng)
    spoil, where = FAULTS[flag]
    found = check_table(RoiTable(spoil(clean, rng)), Known(make_stimuli(clean), make_quality(clean), None))
    assert {one.name for one in found} == {flag}
    assert where in [one.where for one in found]


def test_motion_that_follows_the_task_raises_its_flag() -> None:
    rows = draw_study(np.random.default_rng(2))
    quality = make_quality(rows)
    quality.loc[5, "task_motion_r2"] = 0.4
    assert check_table(RoiTable(rows), Known(quality=quality)) == [
        Flag(flags.MOTION, "sub-02_ses-01_run-02", "R2 0.40, 0.15 by chance"),
    ]


def test_another_repetition_time_raises_its_flag() -> None:
    rows = draw_study(np.random.default_rng(2))
    quality = make_quality(rows)
    quality.loc[5, "tr_s"] = 2.2
    assert check_table(RoiTable(rows), Known(quality=quality)) == [Flag(flags.TIME, "sub-02_ses-01_run-02", "2.2 s, mostly 2 s")]


def test_a_region_without_signal_but_for_rounding_is_flat() -> None:
    rows = draw_study(np.random.default_rng(4))
    faint = rows["response_psc"].where(~cell(rows, "02", 1, "LO"), 0.001 * rows["response_psc"])
    assert [one.name for one in check_table(RoiTable(rows.assign(response_psc=faint)), Known())] == [flags.FLAT]


def test_two_runs_that_fit_each_others_subject_are_found_where_neither_alone_is() -> None:
    """What images add to both differences is added."""
    rows = draw_study(np.random.default_rng(0), subjects=2, own_sd=0.35, noise_sd=0.9)
    swapped = swap(rows, find_run(rows, "01", 2), find_run(rows, "02", 2))
    found = check_table(RoiTable(swapped), Known())
    assert [(one.name, one.where) for one in found] == [(flags.SUBJECT, f"sub-{who}_ses-01_run-02") for who in ("01", "02")]
    assert all("fit each other's subject" in one.found for one in found)


def test_a_run_that_is_noisier_than_the_others_is_not_taken_for_another() -> None:
    for seed in range(5):
        rng = np.random.default_rng([10, seed])
        rows = draw_study(rng, subjects=3)
        noise = np.where(find_run(rows, "02", 3), 2.5, 0.0) * rng.standard_normal(len(rows))
        found = check_table(RoiTable(rows.assign(response_psc=rows["response_psc"] + noise)), Known())
        assert flags.EVENTS not in [one.name for one in found], seed


def test_a_copied_run_does_not_make_the_others_look_wrong() -> None:
    rows = draw_study(np.random.default_rng(11), noise_sd=1.5)
    assert {one.name for one in check_table(RoiTable(copy_run(rows)), Known())} == {flags.DUPLICATE}


def test_runs_that_were_planned_and_images_that_nobody_saw_are_missed() -> None:
    rows = draw_study(np.random.default_rng(3))
    stimuli = make_stimuli(rows)
    seen = RoiTable(rows[rows["stim_id"] != "naturalFFA0"])
    found = check_table(seen, Known(stimuli, None, 5))
    assert [one.name for one in found] == [flags.DROPPED] * 4 + [flags.UNSEEN]
    assert found[0].found == "4 runs, 5 were planned"
    assert found[-1] == Flag(flags.UNSEEN, "all subjects", "1 images of the set were shown to nobody, such as naturalFFA0")


def test_images_made_for_other_subjects_are_not_missed() -> None:
    rows = draw_study(np.random.default_rng(4))
    stimuli = make_stimuli(rows).assign(subjects=None)
    stimuli.loc[stimuli["stim_id"] == "targetV30", "subjects"] = "01 02"
    kept = rows[(rows["stim_id"] != "targetV30") | rows["subject"].isin(["01", "02"])]
    assert check_table(RoiTable(kept), Known(stimuli)) == []
    assert [one.name for one in check_table(RoiTable(kept), Known())] == [flags.UNSEEN] * 2


def test_clean_data_raise_no_flag() -> None:
    """50 studies of many sizes, from clear responses to noise alone, with subjects alike or not."""
    for seed in range(50):
        rng = np.random.default_rng([7, seed])
        rows = draw_study(
            rng,
            subjects=int(rng.integers(1, 7)),
            runs=int(rng.integers(1, 6)),
            per_set=int(rng.integers(1, 6)),
            own_sd=float(rng.choice([0.0, 0.3, 1.0])),
            shared_sd=float(rng.choice([0.0, 0.3, 1.0])),
            noise_sd=float(rng.choice([0.1, 0.5, 2.0])),
            effect=float(rng.choice([0.0, 1.0])),
        )
        assert check_table(RoiTable(rows), Known(make_stimuli(rows), make_quality(rows), None)) == [], seed


def test_every_flag_is_explained() -> None:
    names = {value for name, value in vars(flags).items() if name.isupper() and isinstance(value, str) and name != "BOTH"}
    assert names == set(FLAGS)
