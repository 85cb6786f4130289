"""`analysis simulate`: a legal BIDS data set, the events that are there, the same bytes for the same seed, and refusals."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest

from protocols.errors import InputError
from protocols.events import Events
from protocols.output_folder import staged_folder
from protocols.provenance import Provenance
from protocols.responses import Responses
from protocols.stimulus_set import StimulusSet
from tests.analysis.planted import ROIS, Study, make_set, make_study
from tests.analysis.program import run_analysis

STEM = "sub-01_ses-01_task-planted_run-01"
PREPROCESSED = f"derivatives/fmriprep/sub-01/ses-01/func/{STEM}_space-MNI152NLin2009cAsym_desc-preproc_bold.nii.gz"


def simulate(study: Study, out: Path, *more: object, sim: Path | None = None) -> str:
    return run_analysis("simulate", sim or study.sim, "--plan", study.plan, "--set", study.stimuli, "--out", out, *more)


def test_passes_the_bids_validator(bids: Path) -> None:
    program = Path(sys.executable).with_name("bids-validator-deno")
    done = subprocess.run([program, bids, "--json"], capture_output=True, text=True, check=False, timeout=120)
    issues = json.loads(done.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []


def test_files_are_small_scaled_integers_on_the_shared_grid(study: Study, bids: Path) -> None:
    raw, derivative = nibabel.load(bids / f"sub-01/ses-01/func/{STEM}_bold.nii.gz"), nibabel.load(bids / PREPROCESSED)
    assert raw.get_data_dtype() == np.int16
    assert raw.dataobj.slope != 1
    assert np.array_equal(raw.get_fdata(), derivative.get_fdata())
    assert json.loads((bids / PREPROCESSED.replace(".nii.gz", ".json")).read_text())["StartTime"] == 0.5
    assert raw.header.get_zooms() == (4, 4, 4, 1)
    mask = nibabel.load(bids / PREPROCESSED.replace("preproc_bold", "brain_mask")).get_fdata() > 0
    assert mask.sum() == 4 * len(ROIS) + 30
    assert (derivative.get_fdata()[~mask] == 0).all()
    assert derivative.get_fdata()[mask].mean() == pytest.approx(1000, rel=0.05)


def test_masks_lie_where_the_voxels_are(study: Study, bids: Path) -> None:
    path = bids / "derivatives/rois/sub-02/anat/sub-02_space-MNI152NLin2009cAsym_hemi-L_label-FFA_mask.nii.gz"
    image = nibabel.load(path)
    found = nibabel.affines.apply_affine(image.affine, np.argwhere(image.get_fdata() > 0))
    voxels = Responses.read(study.folder / "responses" / "sub-02").voxels
    expected = voxels[(voxels["roi"] == "FFA") & (voxels["hemisphere"] == "L")][["x_mm", "y_mm", "z_mm"]]
    assert sorted(map(tuple, found)) == sorted(map(tuple, expected.to_numpy(dtype=float)))


def test_events_come_from_the_plan_where_there_are_none(study: Study, bids: Path) -> None:
    events = Events.read(bids / f"sub-01/ses-01/func/{STEM}_events.tsv")
    trials = pd.read_csv(study.plan / f"sub-01/ses-01/func/{STEM}_trials.tsv", sep="\t", na_values="n/a")
    assert events.table["onset"].tolist() == trials["onset"].tolist()
    assert events.table["stim_id"].fillna("").tolist() == trials["stim_id"].fillna("").tolist()
    assert (bids / "stimuli" / "stimuli.tsv").read_bytes() == (study.stimuli / "stimuli.tsv").read_bytes()


def test_recorded_events_are_used_and_kept(study: Study, bids: Path, tmp_path: Path) -> None:
    name = f"sub-01/ses-01/func/{STEM}_events.tsv"
    planned = Events.read(bids / name)
    late = Events(planned.name, planned.table.assign(onset=planned.table["onset"] + 5.0), {})
    path = late.write(tmp_path / "bids")
    before = path.read_bytes()
    simulate(study, tmp_path / "bids")
    assert path.read_bytes() == before
    shifted, original = (nibabel.load(root / PREPROCESSED).get_fdata() for root in (tmp_path / "bids", bids))
    same_run = (
        f"derivatives/fmriprep/sub-01/ses-01/func/{STEM.replace('run-01', 'run-02')}_space-MNI152NLin2009cAsym_desc-preproc_bold.nii.gz"
    )
    assert not np.array_equal(shifted, original)
    assert np.array_equal(nibabel.load(tmp_path / "bids" / same_run).get_fdata(), nibabel.load(bids / same_run).get_fdata())


def test_events_of_another_run_are_refused(study: Study, bids: Path, tmp_path: Path) -> None:
    target = tmp_path / "bids" / "sub-01/ses-01/func" / f"{STEM}_events.tsv"
    target.parent.mkdir(parents=True)
    rows = Events.read(bids / f"sub-01/ses-01/func/{STEM}_events.tsv").table.iloc[:-3]
    rows.to_csv(target, sep="\t", index=False, na_rep="n/a")
    with pytest.raises(InputError, match=r"_events.tsv: shows '\w+' 0 times, the plan 1 times; these are events of another run"):
        simulate(study, tmp_path / "bids")


def test_bold_is_not_overwritten_unasked(study: Study, bids: Path, tmp_path: Path) -> None:
    shutil.copytree(bids, tmp_path / "bids")
    before = (tmp_path / "bids" / PREPROCESSED).read_bytes()
    with pytest.raises(InputError, match=r"BOLD is already there; name another folder, or give --overwrite"):
        simulate(study, tmp_path / "bids")
    simulate(study, tmp_path / "bids", "--overwrite")
    assert (tmp_path / "bids" / PREPROCESSED).read_bytes() == before  # the same seed, the same file


def test_another_set_in_the_folder_is_refused(study: Study, tmp_path: Path) -> None:
    make_set(tmp_path / "bids" / "stimuli", seed=9)
    with pytest.raises(InputError, match="is of another stimulus set"):
        simulate(study, tmp_path / "bids")


def test_a_plan_for_another_set_is_refused(study: Study, tmp_path: Path) -> None:
    other = make_set(tmp_path / "set", seed=9)
    with pytest.raises(InputError, match="was planned for another stimulus set"):
        run_analysis("simulate", study.sim, "--plan", study.plan, "--set", other.folder, "--out", tmp_path / "bids")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('noise_sd = 1\n[[participants]]\nsubject = "01"\nresponses = "{0}/sub-01"', "unknown key 'noise_sd'; did you mean 'noise_sd_psc'"),
        ('[[participants]]\nsubject = "07"\nresponses = "{0}/sub-01"', "has no trial lists of subject '07'; planned are 01, 02, 03"),
        ('[[participants]]\nsubject = "01"\nresponses = "{0}/sub-01"\n' * 2, "subject '01' is listed twice"),
        ('[[participants]]\nsubject = "01"\nresponses = "{0}/absent"', "no such folder"),
        ("participants = []", "key 'participants'"),
    ],
)
def test_bad_settings_are_refused(study: Study, tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "sim.toml"
    path.write_text(text.replace("{0}", str(study.folder / "responses")))
    with pytest.raises(InputError, match=message):
        simulate(study, tmp_path / "bids", sim=path)
    assert not (tmp_path / "bids").exists()


def test_an_image_without_a_true_response_is_refused(study: Study, tmp_path: Path) -> None:
    whole = Responses.read(study.folder / "responses" / "sub-01")
    with staged_folder(tmp_path / "sub-01", Provenance.collect("planted", {}, {})) as staging:
        Responses(staging, whole.trials.iloc[1:], whole.betas[1:], whole.voxels, whole.images).write(staging)
    path = tmp_path / "sim.toml"
    path.write_text(f'[[participants]]\nsubject = "01"\nresponses = "{tmp_path / "sub-01"}"')
    with pytest.raises(InputError, match=r"0 responses to 'targetV30', expected one .* --noise-free'"):
        simulate(study, tmp_path / "bids", sim=path)


def test_dropped_volumes_end_the_run_early(tmp_path: Path) -> None:
    study = make_study(tmp_path, subjects=1, settings="missing_volumes = 40")
    simulate(study, tmp_path / "bids")
    with pytest.raises(InputError, match=r"row \d+: event .* is beyond the last volume"):
        run_analysis("glm", tmp_path / "bids", "--protocol", study.protocol, "--out", tmp_path / "glm")
    assert StimulusSet.read(tmp_path / "bids" / "stimuli").sha256 == StimulusSet.read(study.stimuli).sha256


@pytest.mark.slow
def test_other_processes_write_the_same_files(study: Study, bids: Path, tmp_path: Path) -> None:
    simulate(study, tmp_path / "there", "--cluster", "local:2")
    for name in ("fmriprep", "rois"):
        here, there = (Provenance.read(folder / "derivatives" / name) for folder in (bids, tmp_path / "there"))
        assert here.outputs == there.outputs


def test_a_cluster_that_is_none_is_refused_before_any_work(study: Study, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is neither local:N"):
        simulate(study, tmp_path / "bids", "--cluster", "many")
    assert list(tmp_path.iterdir()) == []
