"""Circular analyses of every kind are found, clean ones are left alone."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.circularity import REMEDY, Choice, Circularity, find_circular, refuse_circular
from analysis.lineage import FolderIndex, Scan, parse_scan, read_chosen, trace, unite, write_chosen
from protocols.errors import InputError
from protocols.output_folder import staged_folder
from protocols.provenance import Provenance
from protocols.run_name import RunName
from tests.analysis.measured_runs import SHAPE, Measured, describe_scan, hash_text, name_runs, write_bold, write_glm

STIMULI = ("a1", "a2", "b1", "b2")
PLUS = (True, True, False, False)
NAMES = name_runs(("01", "02"), runs=3)
RUN1 = NAMES[0]


class Desk:
    """A person's folders: the tested glm folder, a place for regions, and files put there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.rng = np.random.default_rng(0)
        self.glm = self.write_glm("glm", NAMES)
        self.masks = root / "masks"

    def write_glm(self, name: str, names: Sequence[RunName], **settings: Any) -> Measured:
        draw: Callable[[RunName], np.ndarray] = lambda _: self.rng.standard_normal((len(STIMULI), *SHAPE))  # noqa: E731
        return write_glm(self.root / name, names, draw, STIMULI, PLUS, **settings)

    def scan(self, name: RunName, **changes: Any) -> dict[str, Any]:
        return {**describe_scan(name, self.glm.bolds[name]), **changes}

    def put(self, sidecar: dict[str, Any] | None = None, name: str = "sub-01_label-FFA_mask.nii.gz") -> Path:
        path = self.masks / "sub-01" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"a mask")
        if sidecar is not None:
            path.with_name(name.split(".", maxsplit=1)[0] + ".json").write_text(json.dumps(sidecar))
        return path

    def record(self, inputs: dict[str, Path], folder: Path | None = None) -> None:
        Provenance.collect("somebody's localizer", {}, inputs).write(folder or self.masks)

    def trace(self, path: Path) -> tuple[Scan, ...]:
        return trace(path, self.masks, FolderIndex.build([self.masks, self.glm.folder]))

    def tested(self, name: RunName = RUN1) -> Scan:
        return Scan.from_json(self.scan(name), "glm")


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def chosen_from_all_runs(desk: Desk) -> Path:
    return desk.put({"ChosenFrom": [desk.scan(name) for name in NAMES[:3]]})


def chosen_in_another_space(desk: Desk) -> Path:
    return desk.put({"ChosenFrom": [desk.scan(RUN1, sha256="0" * 64)]})


def chosen_from_a_renamed_copy(desk: Desk) -> Path:
    return desk.put({"ChosenFrom": [desk.scan(RUN1, subject="99", task="localizer", run=7)]})


def chosen_from_all_runs_of_the_task(desk: Desk) -> Path:
    return desk.put({"ChosenFrom": [{"subject": "01", "session": None, "task": "main", "run": None}]})


def source_is_a_run_of_the_glm(desk: Desk) -> Path:
    return desk.put({"Sources": [f"bids:glm:{RUN1.folder}/{RUN1.stem}_space-native_contrast-aMinusB_stat-effect_statmap.nii.gz"]})


def source_is_a_map_of_all_runs(desk: Desk) -> Path:
    return desk.put({"Sources": ["sub-01/func/sub-01_task-main_contrast-aMinusB_stat-t_statmap.nii.gz"]})


def source_is_another_mask_that_was_chosen(desk: Desk) -> Path:
    desk.put({"ChosenFrom": [desk.scan(RUN1)]}, "sub-01_label-FFA_desc-raw_mask.nii.gz")
    return desk.put({"Sources": ["sub-01_label-FFA_desc-raw_mask.nii.gz"]}, "sub-01_label-FFA_desc-dilated_mask.nii.gz")


def provenance_names_the_glm_folder(desk: Desk) -> Path:
    path = desk.put()
    desk.record({"maps": desk.glm.folder})
    return path


def provenance_names_a_map_of_the_glm(desk: Desk) -> Path:
    path = desk.put()
    func = desk.glm.folder / "sub-01" / "func"
    desk.record({"thresholded": func / f"{RUN1.stem}_space-native_contrast-aMinusB_stat-effect_statmap.nii.gz"})
    return path


def provenance_names_the_bold_by_run(desk: Desk) -> Path:
    path = desk.put()
    desk.record({f"bold {RUN1.stem}": write_bold(desk.root / "fmriprep", RUN1, "MNI", "resampled")})
    return path


def provenance_names_the_bold_under_another_name(desk: Desk) -> Path:
    path = desk.put()
    copy = desk.root / "localizer.nii.gz"
    copy.write_bytes(desk.glm.bolds[RUN1].read_bytes())
    desk.record({"data": copy})
    return path


def provenance_through_a_second_folder(desk: Desk) -> Path:
    path = desk.put()
    with staged_folder(desk.root / "parcels", Provenance.collect("parcels", {}, {"glm": desk.glm.folder})) as staging:
        (staging / "file").write_text("parcels")
    desk.record({"parcels": desk.root / "parcels"})
    return path


def a_voxel_table_of_reliable_voxels(desk: Desk) -> Path:
    return desk.put({"ChosenFrom": [desk.scan(RUN1)]}, "sub-01_label-FFA_voxels.tsv")


def a_noise_ceiling(desk: Desk) -> Path:
    return desk.put({"ChosenFrom": [desk.scan(name) for name in NAMES]}, "reliability.tsv")


def a_hemodynamic_response(desk: Desk) -> Path:
    return desk.put({"ChosenFrom": [desk.scan(RUN1, sha256=None)]}, "sub-01_hrf.json")


def one_sidecar_for_all_folds(desk: Desk) -> Path:
    desk.put({"ChosenFrom": [desk.scan(RUN1)]})
    return desk.put(None, "sub-01_label-FFA_desc-leaverun02_mask.nii.gz")


def a_sidecar_above_the_masks(desk: Desk) -> Path:
    path = desk.put()
    (desk.masks / "label-FFA_mask.json").write_text(json.dumps({"ChosenFrom": [desk.scan(RUN1)]}))
    return path


def named_as_made_from_the_task(desk: Desk) -> Path:
    return desk.put(None, "sub-01_task-main_label-FFA_mask.nii.gz")


CIRCULAR = [
    chosen_from_all_runs,
    chosen_in_another_space,
    chosen_from_a_renamed_copy,
    chosen_from_all_runs_of_the_task,
    source_is_a_run_of_the_glm,
    source_is_a_map_of_all_runs,
    source_is_another_mask_that_was_chosen,
    provenance_names_the_glm_folder,
    provenance_names_a_map_of_the_glm,
    provenance_names_the_bold_by_run,
    provenance_names_the_bold_under_another_name,
    provenance_through_a_second_folder,
    a_voxel_table_of_reliable_voxels,
    a_noise_ceiling,
    a_hemodynamic_response,
    one_sidecar_for_all_folds,
    a_sidecar_above_the_masks,
    named_as_made_from_the_task,
]


def an_atlas_without_a_word(desk: Desk) -> Path:
    return desk.put()


def chosen_from_other_runs(desk: Desk) -> Path:
    return desk.put({"ChosenFrom": [desk.scan(name) for name in NAMES[1:3]]})


def chosen_from_another_task(desk: Desk) -> Path:
    return desk.put({"ChosenFrom": [desk.scan(RUN1, task="localizer", sha256="0" * 64)]})


def a_sidecar_of_another_region_above_the_masks(desk: Desk) -> Path:
    path = desk.put()
    (desk.masks / "label-PPA_mask.json").write_text(json.dumps({"ChosenFrom": [desk.scan(RUN1)]}))
    return path


def chosen_from_another_session(desk: Desk) -> Path:
    return desk.put({"ChosenFrom": [desk.scan(RUN1, session="02", sha256="0" * 64)]})


def chosen_from_another_subject(desk: Desk) -> Path:
    return desk.put({"ChosenFrom": [desk.scan(name) for name in NAMES[3:]]})


def chosen_from_no_data_in_the_glms_folder(desk: Desk) -> Path:
    path = desk.put({"ChosenFrom": []})
    desk.record({"maps": desk.glm.folder})
    return path


def source_is_anatomy(desk: Desk) -> Path:
    return desk.put({"Sources": ["bids::sub-01/anat/sub-01_T1w.nii.gz", "sub-01/func/sub-01_task-main_run-01_boldref.nii.gz"]})


def source_is_a_run_of_another_task(desk: Desk) -> Path:
    other = desk.write_glm("glm_localizer", name_runs(runs=2, task="localizer"))
    name = next(iter(other.effects))
    return desk.put({"Sources": [f"{name.folder}/{name.stem}_space-native_contrast-aMinusB_stat-effect_statmap.nii.gz"]})


def source_is_another_run(desk: Desk) -> Path:
    return desk.put({"Sources": [f"{NAMES[1].folder}/{NAMES[1].stem}_space-native_desc-stimuli_betas.nii.gz"]})


def source_is_the_brain_mask_of_the_run(desk: Desk) -> Path:
    return desk.put({"Sources": [f"{RUN1.folder}/{RUN1.stem}_desc-brain_mask.nii.gz", f"{RUN1.stem}_events.tsv"]})


def source_is_the_modelled_mask_of_the_glm(desk: Desk) -> Path:
    name = f"{RUN1.stem}_space-native_desc-modelled_mask.nii.gz"
    assert (desk.glm.folder / RUN1.folder / name).is_file()
    return desk.put({"Sources": [f"{RUN1.folder}/{name}"]})


def provenance_names_other_bold(desk: Desk) -> Path:
    path = desk.put()
    other = RunName("01", None, "localizer", 1)
    desk.record({f"bold {other.stem}": write_bold(desk.root / "fmriprep", other, "native"), "events": desk.glm.bolds[RUN1].parent})
    return path


def provenance_names_a_localizers_glm(desk: Desk) -> Path:
    other = desk.write_glm("glm_localizer", name_runs(runs=2, task="localizer"))
    path = desk.put()
    desk.record({"maps": other.folder})
    return path


def a_ceiling_of_another_session(desk: Desk) -> Path:
    return desk.put({"ChosenFrom": [desk.scan(RUN1, session="pilot", sha256=None)]}, "reliability.tsv")


CLEAN = [
    an_atlas_without_a_word,
    chosen_from_other_runs,
    chosen_from_another_task,
    a_sidecar_of_another_region_above_the_masks,
    chosen_from_another_session,
    chosen_from_another_subject,
    chosen_from_no_data_in_the_glms_folder,
    source_is_anatomy,
    source_is_a_run_of_another_task,
    source_is_another_run,
    source_is_the_brain_mask_of_the_run,
    source_is_the_modelled_mask_of_the_glm,
    provenance_names_other_bold,
    provenance_names_a_localizers_glm,
    a_ceiling_of_another_session,
]


def find(desk: Desk, path: Path) -> list[Circularity]:
    return find_circular([Choice("ROI FFA", path, desk.trace(path))], [desk.tested()])


@pytest.mark.parametrize("plant", CIRCULAR, ids=lambda plant: plant.__name__)
def test_a_circular_analysis_is_found(desk: Desk, plant: Callable[[Desk], Path]) -> None:
    (found,) = find(desk, plant(desk))
    assert found.tested == (desk.tested(),)


@pytest.mark.parametrize("plant", CLEAN, ids=lambda plant: plant.__name__)
def test_a_clean_analysis_is_left_alone(desk: Desk, plant: Callable[[Desk], Path]) -> None:
    assert find(desk, plant(desk)) == []


def test_files_that_name_one_another_end(desk: Desk) -> None:
    desk.put({"Sources": ["sub-01_label-B_mask.nii.gz"]}, "sub-01_label-A_mask.nii.gz")
    path = desk.put({"Sources": ["sub-01_label-A_mask.nii.gz"]}, "sub-01_label-B_mask.nii.gz")
    assert desk.trace(path) == ()


def test_a_refusal_names_choice_runs_and_remedy(desk: Desk) -> None:
    path = desk.put()
    scans = tuple(desk.tested(name) for name in NAMES[:3])
    found = [one for scan in scans for one in find_circular([Choice("ROI FFA", path, scans)], [scan])]
    with pytest.raises(InputError) as refusal:
        refuse_circular(found, "glm")
    assert str(refusal.value) == (
        "glm: circular:\n  ROI FFA (sub-01_label-FFA_mask.nii.gz) was chosen from sub-01_task-main_run-01, sub-01_task-main_run-02, "
        f"sub-01_task-main_run-03, which would also test it\n{REMEDY}"
    )
    refuse_circular([], "glm")


def test_what_a_scan_is_called() -> None:
    assert Scan("01", "02", "main", None).describe() == "all runs of sub-01_ses-02_task-main"
    assert Scan(None, None, None, None, "ab" * 32).describe() == "the run with sha256 abababababab"
    assert parse_scan("sub-01_ses-02_task-main_acq-x_run-03_space-T1w_desc-preproc_bold.nii.gz") == Scan("01", "02", "main", 3)
    assert parse_scan("sub-01_task-main_bold.nii.gz") == Scan("01", None, "main", 1)
    assert parse_scan("sub-01_task-main_stat-t_statmap.nii.gz") == Scan("01", None, "main", None)
    assert parse_scan("sub-01_ses-02_task-main_run-03_events.tsv") is None
    assert parse_scan("sub-01_hemi-L_label-FFA_mask.nii.gz") is None


def test_sessions_are_told_apart_where_both_are_known() -> None:
    run = Scan("01", "a", "main", 1)
    assert not run.shares_data(Scan("01", "b", "main", 1))
    assert run.shares_data(Scan("01", None, "main", None))
    assert not run.shares_data(Scan("01", "b", "main", None))
    assert not run.shares_data(Scan("01", None, "main", 1))
    assert not Scan(None, None, None, None, "a").shares_data(Scan(None, None, None, None, "b"))


def test_what_was_chosen_is_written_and_read_once_each() -> None:
    scans = (Scan("01", None, "main", 1, "abc"), Scan("01", "x", "main", None))
    assert read_chosen(write_chosen([*scans, *scans]), Path("mask.json")) == scans
    assert read_chosen({}, Path("mask.json")) is None
    assert unite([scans[0], scans[0]]) == scans[:1]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("run-01", r"mask.json: ChosenFrom is 'run-01', expected a list of runs; an empty list where no data chose it"),
        (["run-01"], r"mask.json: ChosenFrom: 'run-01' names no run; an entry has subject, session, task, run, sha256"),
        ([{"run": 1}], r"mask.json: ChosenFrom: {'run': 1} names no run"),
        ([{"subject": "01", "Task": "main"}], r"names no run"),
        ([{"subject": "01", "run": "1"}], r"mask.json: ChosenFrom: run is '1', expected a whole number or null"),
    ],
)
def test_sidecars_that_say_it_otherwise_are_refused(value: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_chosen({"ChosenFrom": value}, Path("mask.json"))


def test_an_incomplete_folder_beside_the_others_is_passed_over(desk: Desk) -> None:
    (desk.root / "broken").mkdir()
    (desk.root / "broken" / "provenance.json").write_text("{")
    index = FolderIndex.build([desk.glm.folder])
    assert list(index.folders.values()) == [desk.glm.folder.resolve()]
    assert index.files[hash_text(desk.glm.folder / "sub-01" / "func" / f"{RUN1.stem}_space-native_desc-stimuli_betas.tsv")]
