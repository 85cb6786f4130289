"""The verb `glm` on small studies: what it finds, what it takes up again, what it refuses before any work."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest

from analysis import run_fits
from analysis.dataset import find_set
from protocols.errors import InputError
from protocols.provenance import Provenance, hash_file
from tests.analysis.program import run_analysis
from tests.analysis.small_study import AFFINE, EFFECT, SHAPE, TASK, RunOf, write_surfaces_of, write_volumes_of

RUNS = (
    RunOf(f"sub-01_ses-1_task-{TASK}_run-01"),
    RunOf(f"sub-01_ses-2_task-{TASK}_run-01", tr_s=1.5, volumes=120),
    RunOf(f"sub-01_ses-2_task-{TASK}_run-02", conditions=("b", "c")),
    RunOf(f"sub-02_ses-1_task-{TASK}_run-01", volumes=70),
)
OPTIONS = ("--task", TASK, "--contrast", "a - b")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    bids = tmp_path_factory.mktemp("small") / "bids"
    for seed, run in enumerate(RUNS):
        write_volumes_of(bids, run, seed)
    return bids


@pytest.fixture(scope="module")
def fitted(written: Path) -> Path:
    run_analysis("glm", written, *OPTIONS, "--out", written.parent / "glm")
    return written.parent / "glm"


@pytest.fixture
def bids(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "bids"))


def read_map(folder: Path, name: str) -> np.ndarray:
    (path,) = folder.glob(f"sub-*/**/{name}_statmap.nii.gz")
    return nibabel.load(path).get_fdata()


def test_a_task_with_a_set_of_its_own_is_found(tmp_path: Path) -> None:
    own = tmp_path / "stimuli" / "task-floc"
    own.mkdir(parents=True)
    for folder in (tmp_path / "stimuli", own):
        (folder / "stimuli.tsv").write_text("")
    assert find_set(tmp_path, None, "floc") == own
    assert find_set(tmp_path, None, "other") == tmp_path / "stimuli"
    assert find_set(tmp_path, own.parent, "floc") == tmp_path / "stimuli"


def test_effects_of_all_runs_and_sessions_come_back(fitted: Path) -> None:
    for subject in ("01", "02"):
        effect = read_map(fitted, f"sub-{subject}_task-{TASK}_contrast-aMinusB_stat-effect").ravel()
        se = np.sqrt(read_map(fitted, f"sub-{subject}_task-{TASK}_contrast-aMinusB_stat-variance").ravel())
        assert np.abs((effect - EFFECT) / se).max() < 4
        assert np.corrcoef(effect, EFFECT)[0, 1] > 0.95
    sidecar = json.loads((fitted / f"sub-01/func/sub-01_task-{TASK}_contrast-aMinusB_statmap.json").read_text())
    assert sidecar["Runs"] == 2  # the third shows no a
    assert [(scan["session"], scan["run"]) for scan in sidecar["Scans"]] == [("1", 1), ("2", 1)]


def test_each_run_has_its_maps_and_says_which_scan_it_is(written: Path, fitted: Path) -> None:
    runs = sorted(path.name.split("_contrast")[0] for path in fitted.glob("sub-*/ses-*/func/*_contrast-aMinusB_stat-effect_statmap.nii.gz"))
    assert runs == [RUNS[0].stem, RUNS[1].stem, RUNS[3].stem]
    sidecar = json.loads((fitted / RUNS[1].folder / f"{RUNS[1].stem}_contrast-aMinusB_statmap.json").read_text())
    bold = written / "derivatives" / "fmriprep" / RUNS[1].folder / f"{RUNS[1].stem}_desc-preproc_bold.nii.gz"
    assert sidecar["Scan"] == {"subject": "01", "session": "2", "task": TASK, "run": 1, "sha256": hash_file(bold)}
    assert Provenance.read(fitted).inputs[f"bold {RUNS[1].stem}"] == hash_file(bold)
    table = pd.read_csv(fitted / RUNS[2].folder / f"{RUNS[2].stem}_desc-conditions_efficiency.tsv", sep="\t")
    assert list(table["name"][:2]) == ["b", "c"]
    assert (table["kind"] == "regressor").all()  # this run has no contrast


def test_the_derivatives_pass_the_validator(fitted: Path) -> None:
    program = Path(sys.executable).with_name("bids-validator-deno")
    done = subprocess.run([program, fitted, "--json"], capture_output=True, text=True, check=False)
    issues = json.loads(done.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []


def test_an_interrupted_command_takes_up_the_runs_that_were_finished(
    bids: Path, fitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, extract = [], run_fits.extract_run

    def fail_at_third(run, cache):
        read.append(run.stem)
        if len(read) == 3:
            raise KeyboardInterrupt
        return extract(run, cache)

    monkeypatch.setattr(run_fits, "extract_run", fail_at_third)
    with pytest.raises(AssertionError):
        run_analysis("glm", bids, *OPTIONS, "--out", tmp_path / "glm")
    assert not (tmp_path / "glm").exists()
    printed = run_analysis("glm", bids, *OPTIONS, "--out", tmp_path / "glm")
    assert "2 runs had been finished by an earlier command" in printed
    assert read[3:] == [*read[2:3], RUNS[3].stem]
    assert not (tmp_path / ".glm.work").exists()
    for path in fitted.glob("sub-*/**/*.nii.gz"):
        np.testing.assert_array_equal(nibabel.load(tmp_path / "glm" / path.relative_to(fitted)).get_fdata(), nibabel.load(path).get_fdata())


def test_a_command_that_resumes_nothing_reads_each_bold_once(bids: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_fits, "hash_file", None)  # the sha256 comes from the reading itself
    monkeypatch.delenv("VOXDRIVE_CACHE", raising=False)
    run_analysis("glm", bids, *OPTIONS, "--out", tmp_path / "glm")
    bold = bids / "derivatives" / "fmriprep" / RUNS[3].folder / f"{RUNS[3].stem}_desc-preproc_bold.nii.gz"
    assert Provenance.read(tmp_path / "glm").inputs[f"bold {RUNS[3].stem}"] == hash_file(bold)


def test_what_was_finished_with_other_settings_is_not_taken_up(bids: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extract, calls = run_fits.extract_run, []

    def fail_at_second(run, cache):
        calls.append(run)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return extract(run, cache)

    monkeypatch.setattr(run_fits, "extract_run", fail_at_second)
    with pytest.raises(AssertionError):
        run_analysis("glm", bids, *OPTIONS, "--out", tmp_path / "glm")
    assert "earlier command" not in run_analysis("glm", bids, *OPTIONS, "--noise", "ols", "--out", tmp_path / "glm")


def test_a_second_model_reads_the_series_from_the_cache(bids: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache"
    run_analysis("glm", bids, *OPTIONS, "--cache", cache, "--out", tmp_path / "one")
    assert len(list((cache / "series").glob("*/series.npy"))) == len(RUNS)
    monkeypatch.setattr("analysis.extract.read_series", None)
    run_analysis("glm", bids, *OPTIONS, "--cache", cache, "--out", tmp_path / "two")
    for path in (tmp_path / "one").glob("sub-*/**/*.nii.gz"):
        again = nibabel.load(tmp_path / "two" / path.relative_to(tmp_path / "one")).get_fdata()
        np.testing.assert_array_equal(again, nibabel.load(path).get_fdata())


def test_scrubbed_volumes_leave_the_model(tmp_path: Path) -> None:
    bids = tmp_path / "bids"
    run = RunOf(f"sub-01_task-{TASK}_run-01", volumes=150, spikes=(40, 41, 90))
    write_volumes_of(bids, run, 7)
    errors = {}
    for strategy in ("simple", "scrub"):
        run_analysis("glm", bids, *OPTIONS, "--confounds", strategy, "--out", tmp_path / strategy)
        errors[strategy] = np.abs(read_map(tmp_path / strategy, f"sub-01_task-{TASK}_contrast-aMinusB_stat-effect").ravel() - EFFECT).mean()
    design = pd.read_csv(tmp_path / "scrub" / run.folder / f"{run.stem}_desc-conditions_design.tsv", sep="\t")
    assert set(range(150)) - set(design["volume"]) == {40, 41, 90}
    assert errors["scrub"] < errors["simple"] / 3


def test_a_noisy_run_weighs_less(tmp_path: Path) -> None:
    bids = tmp_path / "bids"
    for number, noise in enumerate((0.4, 6.0), start=1):
        write_volumes_of(bids, RunOf(f"sub-01_task-{TASK}_run-0{number}", noise=noise), number)
    errors = {}
    for weights in ("precision", "mean"):
        run_analysis("glm", bids, *OPTIONS, "--run-weights", weights, "--out", tmp_path / weights)
        errors[weights] = np.abs(read_map(tmp_path / weights, f"sub-01_task-{TASK}_contrast-aMinusB_stat-effect").ravel() - EFFECT).mean()
    assert errors["precision"] < errors["mean"] / 3


def test_surfaces_are_fitted_hemisphere_by_hemisphere(tmp_path: Path) -> None:
    bids = tmp_path / "bids"
    for number in (1, 2):
        write_surfaces_of(bids, RunOf(f"sub-01_task-{TASK}_run-0{number}", noise=0.1), number)
    printed = run_analysis("glm", bids, *OPTIONS, "--out", tmp_path / "glm")
    assert "run-01_hemi-L: 2 voxels of the brain mask left out" in printed
    name = f"sub-01_task-{TASK}_hemi-{{}}_space-fsnative_contrast-aMinusB_stat-effect_statmap.func.gii"
    left, right = (nibabel.load(tmp_path / "glm" / "sub-01" / "func" / name.format(side)).darrays[0].data for side in "LR")
    np.testing.assert_allclose(left[:-2], EFFECT, atol=0.25)
    np.testing.assert_allclose(right[2:][::-1], EFFECT, atol=0.25)
    assert (left[-2:] == 0).all()


@pytest.mark.parametrize("hrf", ["spm", "glover+derivative", "glover+derivative+dispersion", "fir"])
def test_every_response_function_finds_the_effect(bids: Path, tmp_path: Path, hrf: str) -> None:
    run_analysis("glm", bids, *OPTIONS, "--hrf", hrf, "--out", tmp_path / "glm")
    effect = read_map(tmp_path / "glm", f"sub-01_task-{TASK}_contrast-aMinusB_stat-effect").ravel()
    assert np.corrcoef(effect, EFFECT)[0, 1] > 0.9


def break_events(bids: Path, text: str) -> None:
    path = bids / RUNS[0].folder / f"{RUNS[0].stem}_events.tsv"
    path.write_text(text)


def break_mask(bids: Path, values: np.ndarray, affine: np.ndarray = AFFINE) -> None:
    path = bids / "derivatives" / "fmriprep" / RUNS[0].folder / f"{RUNS[0].stem}_desc-brain_mask.nii.gz"
    nibabel.save(nibabel.Nifti1Image(values.astype(np.uint8), affine), path)


def truncate_bold(bids: Path) -> None:
    path = bids / "derivatives" / "fmriprep" / RUNS[1].folder / f"{RUNS[1].stem}_desc-preproc_bold.nii.gz"
    path.write_bytes(path.read_bytes()[:-2000])


FAULTS = {
    "events beyond the run": (
        lambda bids: break_events(bids, "onset\tduration\ttrial_type\n999\t1\ta\n9\t1\tb\n"),
        "beyond the last volume",
    ),
    "n/a onset": (lambda bids: break_events(bids, "onset\tduration\ttrial_type\nn/a\t1\ta\n9\t1\tb\n"), "n/a"),
    "zero duration": (lambda bids: break_events(bids, "onset\tduration\ttrial_type\n6\t0\ta\n9\t1\tb\n"), "lasts 0 s"),
    "decimal commas": (lambda bids: break_events(bids, "onset\tduration\ttrial_type\n6,5\t1,0\ta\n9,5\t1,0\tb\n"), "comma"),
    "an empty mask": (lambda bids: break_mask(bids, np.zeros(SHAPE)), "is empty"),
    "a mask elsewhere": (lambda bids: break_mask(bids, np.ones(SHAPE), np.diag([2.0, 2, 2, 1])), "is not on the grid of"),
    "a damaged gzip": (truncate_bold, "is damaged"),
}


@pytest.mark.parametrize("fault", list(FAULTS))
def test_bad_input_is_one_message_that_names_the_file(bids: Path, tmp_path: Path, fault: str) -> None:
    spoil, message = FAULTS[fault]
    spoil(bids)
    with pytest.raises(InputError, match=message) as refused:
        run_analysis("glm", bids, *OPTIONS, "--out", tmp_path / "glm")
    assert f"task-{TASK}_run-01" in str(refused.value)
    assert not (tmp_path / "glm").exists()


def test_unsorted_events_and_a_byte_order_mark_change_nothing(bids: Path, fitted: Path, tmp_path: Path) -> None:
    path = bids / RUNS[0].folder / f"{RUNS[0].stem}_events.tsv"
    header, *rows = path.read_text().splitlines()
    path.write_text("\ufeff" + "\n".join([header, *reversed(rows)]) + "\n")
    run_analysis("glm", bids, *OPTIONS, "--subject", "01", "--out", tmp_path / "glm")
    name = f"{RUNS[0].stem}_contrast-aMinusB_stat-effect"
    np.testing.assert_allclose(read_map(tmp_path / "glm", name), read_map(fitted, name), atol=1e-5)


def test_all_problems_of_all_runs_are_told_before_any_work(bids: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    break_events(bids, "onset\tduration\ttrial_type\n999\t1\ta\n")
    other = bids / RUNS[3].folder / f"{RUNS[3].stem}_events.tsv"
    other.write_text("onset\tduration\ttrial_type\n6\t0\ta\n")
    monkeypatch.setattr(run_fits, "extract_run", None)
    with pytest.raises(InputError) as refused:
        run_analysis("glm", bids, *OPTIONS, "--out", tmp_path / "glm")
    assert "beyond the last volume" in str(refused.value)
    assert "lasts 0 s" in str(refused.value)


def test_columns_that_depend_on_one_another_are_named(bids: Path, tmp_path: Path) -> None:
    rows = "".join(f"{onset}\t3\t{name}\n" for onset in (6, 30, 60) for name in ("a", "b"))
    break_events(bids, "onset\tduration\ttrial_type\n" + rows)
    with pytest.raises(InputError, match=r"regressors depend on one another: a, b"):
        run_analysis("glm", bids, *OPTIONS, "--out", tmp_path / "glm")
