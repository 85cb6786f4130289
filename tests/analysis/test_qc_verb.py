"""`analysis qc` on planted studies: what is written, and that a run that is bad by construction is named, with the reason."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.images import load_image, read_grid, save_image
from protocols.errors import InputError
from protocols.provenance import Provenance
from protocols.tables import read_tsv
from tests.analysis.bids_folder import write_events, write_gifti, write_hemispheres
from tests.analysis.planted import ROIS, TASK, Study
from tests.analysis.program import run_analysis

BOLD = "derivatives/fmriprep/sub-02/ses-01/func/sub-02_ses-01_task-planted_run-02_space-MNI152NLin2009cAsym_desc-preproc_bold.nii.gz"
CONFOUNDS = "derivatives/fmriprep/sub-02/ses-01/func/sub-02_ses-01_task-planted_run-02_desc-confounds_timeseries.tsv"
BAD = "sub-02_ses-01_task-planted_run-02"


@pytest.fixture(scope="module")
def page(study: Study, bids: Path) -> Path:
    out = study.folder / "qc"
    run_analysis("qc", bids, "--task", TASK, "--out", out)
    return out


@pytest.fixture
def copied(bids: Path, tmp_path: Path) -> Path:
    shutil.copytree(bids, tmp_path / "bids")
    return tmp_path / "bids"


def look_at(bids: Path, *options: object) -> tuple[dict[str, list[str]], pd.DataFrame]:
    """Run the command; return what it says to look at, and the rows of runs."""
    out = bids.parent / f"qc{len(list(bids.parent.iterdir()))}"
    run_analysis("qc", bids, "--task", TASK, "--out", out, *options)
    return json.loads((out / "qc.json").read_text())["look_at"], read_tsv(out / "qc.tsv", {})


def test_every_run_and_region_has_a_row(page: Path) -> None:
    runs, rois = read_tsv(page / "qc.tsv", {"tsnr": "number"}), read_tsv(page / "qc_rois.tsv", {"n_voxels": "integer", "tsnr": "number"})
    assert list(runs["subject"]) == ["01", "01", "02", "02", "03", "03"]
    assert list(rois["roi"]) == sorted(ROIS) * 6
    assert set(rois["n_voxels"]) == {4}
    ratio = rois["tsnr"].to_numpy().reshape(6, -1).mean(axis=1) / runs["tsnr"].to_numpy()
    np.testing.assert_allclose(ratio, 1, atol=0.2)


def test_the_page_needs_no_network_and_shows_every_run(page: Path) -> None:
    html = (page / "qc.html").read_text()
    assert not re.search(r"https?://|<script|@import", html)
    assert html.count("data:image/png;base64,") == 12
    assert "6 runs of 3 subjects: none to look at" in html
    pictures = sorted(path.name for path in page.glob("sub-*/**/*.png"))
    assert len(pictures) == 12
    assert pictures[0] == "sub-01_ses-01_task-planted_run-01_desc-design_qc.png"
    assert (page / "sub-01/ses-01/func" / pictures[0]).read_bytes().startswith(b"\x89PNG")


def test_inputs_and_settings_are_recorded(page: Path, bids: Path) -> None:
    provenance = Provenance.read(page)
    provenance.verify_outputs(page)
    assert provenance.config["model"]["confounds"] == "motion6"
    assert len([name for name in provenance.inputs if name.startswith("bold ")]) == 6
    assert "regions" in provenance.inputs


def test_the_same_data_give_the_same_bytes(page: Path, bids: Path, tmp_path: Path) -> None:
    run_analysis("qc", bids, "--task", TASK, "--out", tmp_path / "again")
    for path in page.rglob("*"):
        if path.is_file() and path.name not in ("provenance.json", "qc.html"):
            assert (tmp_path / "again" / path.relative_to(page)).read_bytes() == path.read_bytes(), path.name


def test_a_head_that_moves_with_the_task_is_named(copied: Path) -> None:
    path = copied / CONFOUNDS
    table = read_tsv(path, {})
    times = np.arange(len(table)) + 0.5
    events = pd.read_csv(copied / f"sub-02/ses-01/func/{BAD}_events.tsv", sep="\t", dtype={"onset": float, "duration": float})
    shown = events[events["trial_type"].str.startswith("target")]
    nod = sum(np.exp(-(((times - onset - 5) / 3) ** 2)) for onset in shown["onset"])
    table["rot_x"] = nod * 5e-3 + np.random.default_rng(0).standard_normal(len(table)) * 2e-4
    table.drop(columns="framewise_displacement", errors="ignore").to_csv(path, sep="\t", index=False, na_rep="n/a")
    found, _ = look_at(copied, "--subject", "02", "--confounds", "none")
    assert list(found) == [BAD]
    assert re.fullmatch(r"motion follows the task \(R2 0\.\d\d\)", found[BAD][0])


def test_a_restless_run_is_named_and_its_volumes_counted(copied: Path) -> None:
    path = copied / CONFOUNDS
    table = read_tsv(path, {})
    jumps = np.random.default_rng(1).random(len(table)) < 0.4
    table["trans_y"] = np.cumsum(jumps * np.where(np.arange(len(table)) % 2, 0.8, -3.0))
    table["framewise_displacement"] = [None, *np.abs(np.diff(table["trans_y"]))]
    table["std_dvars"] = [None, *[1.0] * (len(table) - 1)]
    table["csf"], table["white_matter"] = np.random.default_rng(2).standard_normal((2, len(table)))
    table.to_csv(path, sep="\t", index=False, na_rep="n/a")
    found, rows = look_at(copied, "--subject", "02", "--confounds", "motion6")
    steps = np.abs(np.diff(table["trans_y"].astype(float)))
    assert f"mean displacement {steps.mean():.2f} mm" in found[BAD]
    assert any(re.fullmatch(r"(3|4)\d% of volumes moved by more than 0.5 mm", text) for text in found[BAD])
    moved = float(rows.set_index("run").loc["2", "fd_above"])
    assert moved == pytest.approx((steps > 0.5).mean())


def test_noise_that_whitening_does_not_reach_is_named(copied: Path) -> None:
    image = load_image(copied / BOLD)
    values = np.asarray(image.dataobj, dtype=np.float32)
    waves = 60 * np.sin(2 * np.pi * np.arange(values.shape[-1]) / 5.0)  # no first-order noise has a period
    save_image(values + (values > 0) * waves.astype(np.float32), image.affine, copied / BOLD, tr_s=1.0)
    found, _ = look_at(copied, "--subject", "02")
    assert list(found) == [BAD]
    assert any(text.startswith("residuals correlate after whitening (") for text in found[BAD])


def test_a_region_outside_the_brain_is_named_and_has_no_values(copied: Path) -> None:
    mask = copied / "derivatives/fmriprep" / BOLD.removeprefix("derivatives/fmriprep/").replace("preproc_bold", "brain_mask")
    brain = np.asarray(load_image(mask).dataobj)
    folder = copied / "derivatives/rois/sub-02/anat"
    outside = np.zeros(brain.shape, dtype=np.uint8)
    outside.ravel()[np.flatnonzero(brain == 0)[:3]] = 1
    save_image(outside, read_grid(mask).affine, folder / "sub-02_space-MNI152NLin2009cAsym_label-XX_mask.nii.gz")
    found, _ = look_at(copied, "--subject", "02", "--roi", "XX", "--roi", "FFA")
    assert found == {stem: ["no voxel of XX"] for stem in (BAD.replace("run-02", "run-01"), BAD)}


def test_hemispheres_have_rows_and_pictures_of_their_own(tmp_path: Path) -> None:
    stem, rng = "sub-01_task-planted_run-01", np.random.default_rng(0)
    write_hemispheres(tmp_path / "bids", "sub-01/func", stem, "fsaverage5", volumes=40)
    write_events(tmp_path / "bids", "sub-01/func", stem, "2\t2\tface\n30\t2\thouse\n50\t2\tface\n")
    for hemisphere, structure, vertices in (("L", "CortexLeft", 10242), ("R", "CortexRight", 10242)):
        path = tmp_path / f"bids/derivatives/fmriprep/sub-01/func/{stem}_hemi-{hemisphere}_space-fsaverage5_bold.func.gii"
        series = 1000 + rng.standard_normal((40, vertices)).astype(np.float32)
        series[:, : 100 if hemisphere == "L" else 200] = 0  # the medial wall
        write_gifti(path, series, structure)
    _, rows = look_at(tmp_path / "bids", "--confounds", "none")
    assert list(rows["hemisphere"]) == ["L", "R"]
    assert list(rows["voxels_left_out"]) == ["100", "200"]
    assert {path.name for path in tmp_path.glob("qc*/sub-01/func/*design*")} == {f"{stem}_hemi-{side}_desc-design_qc.png" for side in "LR"}


def test_conditions_that_cannot_be_estimated_are_refused_for_all_runs_at_once(copied: Path) -> None:
    for run in (1, 2):
        path = copied / f"sub-01/ses-01/func/sub-01_ses-01_task-planted_run-0{run}_events.tsv"
        lines = path.read_text().splitlines()
        cells = lines[1].split("\t")
        cells[lines[0].split("\t").index("trial_type")] = "same"
        path.write_text("\n".join([*lines, "\t".join(cells), "\t".join([*cells[:2], "twin", *cells[3:]])]) + "\n")
    with pytest.raises(InputError) as refused:
        look_at(copied)
    assert [line.split(":")[0] for line in str(refused.value).splitlines()] == [f"sub-01_ses-01_task-planted_run-0{run}" for run in (1, 2)]
    assert "same, twin" in str(refused.value)


def test_regions_are_given_once(bids: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"give either --masks or --labels, not both"):
        run_analysis("qc", bids, "--task", TASK, "--out", tmp_path / "x", "--masks", bids, "--labels", bids)


def test_without_regions_the_brain_alone_is_measured(copied: Path) -> None:
    shutil.rmtree(copied / "derivatives/rois")
    with pytest.raises(InputError, match=r"rois: no such folder, so there is no region FFA; name their folder with --masks or --labels"):
        look_at(copied, "--roi", "FFA")
    _, rows = look_at(copied, "--subject", "01")
    assert len(rows) == 2
