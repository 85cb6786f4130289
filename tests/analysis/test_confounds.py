"""Confounds: nilearn's columns, without its holes, and the volumes that must leave the design."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest
from nilearn.interfaces.fmriprep import load_confounds

from analysis.confounds import MOTION, Confounds, ConfoundSettings, Strategy, read_confounds
from analysis.dataset import CONFOUNDS, Run
from protocols.config import config_values
from protocols.errors import InputError
from protocols.run_name import RunName
from tests.analysis.bids_folder import write_confounds

ROOT = Path(__file__).resolve().parents[2]
VOLUMES = 40
STEM = "sub-1_task-t_run-01"


def make_run(folder: Path, bold: str = f"{STEM}_space-MNI_desc-preproc_bold.nii.gz") -> Run:
    """Return a run whose files are not there, but for the confounds that a test writes."""
    path = folder / bold
    return Run(RunName.parse(STEM), "MNI", path, folder / "mask", folder / "events", folder / f"{STEM}_{CONFOUNDS}", 2.0, 0.5)


def write_fmriprep(run: Run, spikes: tuple[int, ...] = (), motion: tuple[int, ...] = (), dvars: tuple[int, ...] = ()) -> pd.DataFrame:
    """Write a table with all columns of fMRIPrep that matter: volumes `spikes` not steady, `motion` and `dvars` outlying."""
    rng = np.random.default_rng(1)
    table = pd.DataFrame(rng.standard_normal((VOLUMES, 6)) + 5, columns=list(MOTION))
    table = pd.concat([table, table.diff().add_suffix("_derivative1")], axis=1)
    table = pd.concat([table, (table**2).add_suffix("_power2")], axis=1)
    more = [
        *(f"{mask}_comp_cor_{n:02d}" for mask in "acw" for n in range(9)),
        "csf",
        "white_matter",
        "global_signal",
        "cosine00",
        "cosine01",
    ]
    table = table.join(pd.DataFrame(rng.standard_normal((VOLUMES, len(more))) + 3, columns=more))
    table["framewise_displacement"] = [np.nan, *(0.9 if volume in motion else 0.1 for volume in range(1, VOLUMES))]
    table["std_dvars"] = [np.nan, *(2.0 if volume in dvars else 1.0 for volume in range(1, VOLUMES))]
    for number, volume in enumerate(spikes):
        table[f"non_steady_state_outlier{number:02d}"] = np.eye(VOLUMES)[volume]
    table.to_csv(run.confounds, sep="\t", index=False, na_rep="n/a")
    masks = {"a": "combined", "c": "CSF", "w": "WM"}
    meta = {f"{mask}_comp_cor_{n:02d}": {"Method": "aCompCor", "Mask": masks[mask]} for mask in "acw" for n in range(9)}
    run.confounds.with_suffix(".json").write_text(json.dumps(meta))
    return table


def assert_centered(confounds: Confounds) -> None:
    assert len(confounds.table) == VOLUMES
    assert not confounds.table.isna().any(axis=None)
    np.testing.assert_allclose(confounds.table[confounds.kept].mean(), 0, atol=1e-12)


@pytest.mark.parametrize(
    ("strategy", "columns", "of_nilearn"),
    [
        ("motion6", 6, {"strategy": ("motion",), "motion": "basic"}),
        ("motion12", 12, {"strategy": ("motion",), "motion": "derivatives"}),
        ("motion24", 24, {"strategy": ("motion",), "motion": "full"}),
        ("simple", 26, {"strategy": ("motion", "wm_csf"), "motion": "full"}),
        ("compcor", 12, {"strategy": ("motion", "high_pass", "compcor"), "motion": "basic", "n_compcor": 6}),
        ("scrub", 26, {"strategy": ("motion", "wm_csf", "scrub"), "motion": "full"}),
    ],
)
def test_strategies_are_those_of_nilearn(tmp_path: Path, strategy: Strategy, columns: int, of_nilearn: dict[str, Any]) -> None:
    run = make_run(tmp_path)
    write_fmriprep(run, spikes=(0, 1), motion=(20,), dvars=(24, 33))
    ours = read_confounds(run, strategy, VOLUMES)
    theirs, sample_mask = load_confounds(str(run.bold), **of_nilearn)
    theirs = theirs[[name for name in theirs if not name.startswith("cosine")]]
    assert ours.table.shape == (VOLUMES, columns)
    np.testing.assert_array_equal(np.flatnonzero(ours.kept), sample_mask)
    pd.testing.assert_frame_equal(ours.table[theirs.columns], theirs, check_exact=False, atol=1e-12)
    assert_centered(ours)


def test_scrubbing_is_honoured(tmp_path: Path) -> None:
    """nilearn 0.14.1: `first_level_from_bids(confounds_strategy=(..., "scrub"))` drops the sample mask, and no volume leaves."""
    run = make_run(tmp_path)
    write_fmriprep(run, spikes=(0, 1), motion=(20,), dvars=(24, 33))
    confounds = read_confounds(run, "scrub", VOLUMES)
    left_out = [0, 1, 20, 21, 22, 23, 24, 33]  # 21-23 are a segment of 3 alone between two
    assert np.flatnonzero(~confounds.kept).tolist() == left_out
    strict = read_confounds(run, "scrub", VOLUMES, ConfoundSettings(shortest_segment=0, fd_mm=1.0))
    assert np.flatnonzero(~strict.kept).tolist() == [0, 1, 24, 33]
    assert_centered(strict)


def test_none_takes_out_volumes_that_are_not_steady(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    assert read_confounds(run, "none", VOLUMES).kept.all()
    write_fmriprep(run, spikes=(0, 1, 2))
    confounds = read_confounds(run, "none", VOLUMES)
    assert confounds.table.shape == (VOLUMES, 0)
    assert np.flatnonzero(~confounds.kept).tolist() == [0, 1, 2]


def test_columns_are_those_of_the_strategy_and_no_others(tmp_path: Path) -> None:
    """nilearn 0.14.1: `first_level_from_bids` takes all columns of the table unless it is told otherwise."""
    run = make_run(tmp_path)
    write_fmriprep(run, spikes=(0,))
    assert set(read_confounds(run, "motion6", VOLUMES).table) == set(MOTION)
    compcor = read_confounds(run, "compcor", VOLUMES, ConfoundSettings(components="all")).table
    assert sorted(compcor) == sorted([*MOTION, *(f"a_comp_cor_{n:02d}" for n in range(9))])


def test_the_six_parameters_alone_are_enough_for_24(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    table = write_confounds(run.confounds, VOLUMES, framewise_displacement=np.nan, non_steady_state_outlier00=np.eye(VOLUMES)[0])
    confounds = read_confounds(run, "motion24", VOLUMES)
    derivative = table["rot_y"].diff()
    derivative[0] = derivative[1]
    np.testing.assert_allclose(confounds.table["rot_y_derivative1"], derivative - derivative[1:].mean())
    np.testing.assert_allclose(confounds.table["rot_y_derivative1_power2"], derivative**2 - (derivative[1:] ** 2).mean())
    assert confounds.table.shape == (VOLUMES, 24)
    assert_centered(confounds)


def test_a_surface_and_an_old_name_give_the_same(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    write_fmriprep(run, spikes=(0,), motion=(9,))
    expected = read_confounds(run, "scrub", VOLUMES)
    old = run.confounds.with_name(run.confounds.name.replace("timeseries", "regressors"))
    old.write_bytes(b"\xef\xbb\xbf" + run.confounds.read_bytes())
    surface = dataclasses.replace(
        run, confounds=old, mask=None, hemisphere="L", bold=tmp_path / f"{STEM}_hemi-L_space-fsaverage5_bold.func.gii"
    )
    found = read_confounds(surface, "scrub", VOLUMES)
    pd.testing.assert_frame_equal(found.table, expected.table)
    np.testing.assert_array_equal(found.kept, expected.kept)


def test_parameters_that_never_change_are_left_out(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    spike = np.eye(VOLUMES)[0]
    write_confounds(run.confounds, VOLUMES, rot_x=0.25, rot_y=0.1 + spike, non_steady_state_outlier00=spike)
    assert "rot_x" not in read_confounds(run, "motion6", VOLUMES).table
    assert "rot_y" not in read_confounds(run, "motion6", VOLUMES).table  # it changes in the volume that is not kept alone


@pytest.mark.parametrize(
    ("strategy", "column", "message"),
    [
        ("motion6", "trans_z", r"timeseries.tsv row 7: n/a in trans_z; only the first row of a derivative"),
        ("simple", "csf", r"row 7: n/a in csf"),
        ("scrub", "std_dvars", r"row 7: n/a in std_dvars"),
        ("compcor", "a_comp_cor_03", r"row 7: n/a in a_comp_cor_03"),
    ],
)
def test_a_hole_is_refused(tmp_path: Path, strategy: Strategy, column: str, message: str) -> None:
    run = make_run(tmp_path)
    table = write_fmriprep(run)
    table.loc[5, column] = np.nan
    table.to_csv(run.confounds, sep="\t", index=False, na_rep="n/a")
    with pytest.raises(InputError, match=message):
        read_confounds(run, strategy, VOLUMES)
    assert_centered(read_confounds(run, "none", VOLUMES))


@pytest.mark.parametrize(
    ("strategy", "absent"),
    [
        ("motion6", ["rot_x", "trans_y"]),
        ("simple", ["csf", "white_matter"]),
        ("scrub", ["framewise_displacement", "std_dvars"]),
        ("compcor", ["a_comp_cor_00"]),
    ],
)
def test_all_absent_columns_are_named_at_once(tmp_path: Path, strategy: Strategy, absent: list[str]) -> None:
    run = make_run(tmp_path)
    table = write_fmriprep(run)
    unwanted = [name for name in table if name in absent or (strategy == "compcor" and str(name).startswith("a_comp"))]
    table.drop(columns=unwanted).to_csv(run.confounds, sep="\t", index=False, na_rep="n/a")
    with pytest.raises(InputError) as refusal:
        read_confounds(run, strategy, VOLUMES)
    assert re.search(f"lacks .*which the confounds '{strategy}' need; choose others with --confounds", str(refusal.value))
    assert all(name in str(refusal.value) for name in absent)


def test_compcor_needs_its_sidecar(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    write_fmriprep(run)
    run.confounds.with_suffix(".json").write_text(json.dumps({"a_comp_cor_77": {"Mask": "combined"}}))
    with pytest.raises(InputError, match="confounds 'compcor' cannot be taken from it"):
        read_confounds(run, "compcor", VOLUMES)
    run.confounds.with_suffix(".json").unlink()
    with pytest.raises(InputError, match="CompCor needs the sidecar that fMRIPrep writes beside the table"):
        read_confounds(run, "compcor", VOLUMES)


def test_a_table_of_another_run_and_a_run_of_motion_alone_are_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    write_fmriprep(run, motion=tuple(range(0, VOLUMES, 2)))
    with pytest.raises(InputError, match=r"timeseries.tsv: 40 rows, but the BOLD has 41 volumes"):
        read_confounds(run, "motion6", VOLUMES + 1)
    with pytest.raises(InputError, match="scrub keeps no volume; raise its thresholds, or leave the run out"):
        read_confounds(run, "scrub", VOLUMES)


def test_strategies_and_settings_are_documented() -> None:
    section = (ROOT / "data" / "README.md").read_text().split("\n## Preprocessed scans\n")[1].split("\n## ")[0]
    for strategy in get_args(Strategy):
        assert f"\n- `{strategy}` MUST take " in section
    for name, default in config_values(ConfoundSettings()).items():
        assert re.search(rf"\n- `{name}` MUST be .*; default {default}\.\n", section)
