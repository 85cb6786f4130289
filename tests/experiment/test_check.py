import json
import shutil
import sys
from collections import namedtuple

import pytest

from experiment import machine_check
from experiment.check import check_plan
from experiment.display_check import check_refresh
from experiment.machine_check import check_disk
from experiment.plan_folder import PlanFolder
from experiment.rules import check_run
from protocols.errors import InputError
from protocols.output_folder import list_files
from protocols.provenance import FILE_NAME, Provenance, hash_file
from protocols.trials import SUFFIX
from tests.experiment.conftest import make_protocol, write_plan_folder


def find(folder, item):
    (finding,) = [one for one in check_plan(folder) if one.item == item]
    return finding


def seal(folder):
    """Make the folder's provenance agree with what lies there: what a check beyond the hashes has to find."""
    outputs = {path.relative_to(folder).as_posix(): hash_file(path) for path in list_files(folder) if path != folder / FILE_NAME}
    Provenance("test", outputs=outputs).write(folder)


def edit_trials(plan, change):
    """Apply `change` to the first run's table."""
    folder = PlanFolder.read(plan)
    path = folder.names[0].path(plan, SUFFIX)
    lines = [line.split("\t") for line in path.read_text().splitlines()]
    change(lines)
    path.write_text("".join("\t".join(line) + "\n" for line in lines))
    seal(plan)


def test_clean_plan_is_go(experiment, plan, tmp_path):
    code, out, _ = experiment("check", plan, "--json", tmp_path / "check.json")
    assert code == 0
    assert out.splitlines()[-1] == "go"
    written = json.loads((tmp_path / "check.json").read_text())
    assert written["go"] is True
    machine = ["PsychoPy", "psychtoolbox", "disk space", "clock", "load", "compositor"]
    images = ["trial lists", "images", "run length", "visual angle", "photodiode", "texture memory", "luminance table", "trigger"]
    items = ["plan complete", *machine, *images]
    assert [finding["item"] for finding in written["findings"]] == items


def test_clean_fixation_plan_is_go(experiment, tmp_path):
    plan = write_plan_folder(tmp_path, make_protocol(probe={"kind": "fixation", "fraction": 0.3}))
    assert experiment("check", plan)[0] == 0


def test_incomplete_plan_is_no_go_and_says_only_that(experiment, plan, tmp_path):
    (plan / "provenance.json").unlink()
    code, out, _ = experiment("check", plan, "--json", tmp_path / "check.json")
    assert code == 1
    assert out.splitlines()[-1] == "no-go: plan complete"
    assert "trial lists" not in out


def test_changed_file_is_no_go(plan):
    path = plan / "stimuli" / "stim-natural0_image.png"
    path.write_bytes(path.read_bytes() + b"x")
    finding = find(plan, "plan complete")
    assert not finding.go
    assert "stim-natural0_image.png: does not match its sha256" in finding.found


def test_truncated_image_is_no_go(plan):
    path = plan / "stimuli" / "stim-natural0_image.png"
    path.write_bytes(path.read_bytes()[:200])
    seal(plan)
    assert "image 'stim-natural0_image.png' cannot be decoded" in find(plan, "images").found


def test_other_set_is_no_go(plan):
    table = plan / "stimuli" / "stimuli.tsv"
    table.write_text(table.read_text().replace("noise", "other"))
    seal(plan)
    assert "was planned for another stimulus set" in find(plan, "trial lists").found


def swap_image(lines):
    rows = [row for row in lines[1:] if row[3] != "n/a" and row[5] == "0"]
    first, other = rows[0], next(row for row in rows if row[3] != rows[0][3] and row[2] == rows[0][2])
    first[3:5] = other[3:5]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines[3].__setitem__(0, "6.1"), "onsets are not on the grid"),
        (lambda lines: lines[3].__setitem__(1, "0.9"), "durations are not image_s = 1 s"),
        (lambda lines: [line.__setitem__(5, "0") for line in lines[1:]], "the number of probes is not the protocol's"),
        (lambda lines: lines.pop(), "the number of probes|there are not 1 blanks|is shown"),
        (swap_image, "is shown|follows itself"),
    ],
)
def test_edited_trial_list_is_no_go(plan, change, message):
    edit_trials(plan, change)
    finding = find(plan, "trial lists")
    assert not finding.go
    assert any(part in finding.found for part in message.split("|"))


def test_repeat_that_is_no_probe_is_found(plan):
    folder = PlanFolder.read(plan)
    trials = folder.read_run(folder.names[0])
    table = trials.trials.copy()
    shown = table.index[(table["stim_id"].notna()) & (table["probe"] == 0)]
    table.loc[shown[1], ["stim_id", "stim_file"]] = table.loc[shown[0], ["stim_id", "stim_file"]].to_numpy()
    with pytest.raises(InputError, match="an image follows itself without being a probe"):
        check_run(type(trials)(trials.name, table, trials.plan), folder.protocol)


def test_run_that_is_no_whole_number_of_volumes_is_no_go(plan):
    path = PlanFolder.read(plan).names[0].path(plan, SUFFIX).with_suffix(".json")
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "volumes": values["volumes"] + 1}))
    seal(plan)
    assert "is not 28 volumes of TR 0.8 s" in find(plan, "run length").found


def test_image_larger_than_the_screen_is_no_go(tmp_path):
    finding = find(write_plan_folder(tmp_path, make_protocol(screen__size_deg=20.0)), "visual angle")
    assert not finding.go
    # 20 degrees at 100 cm are 35.3 cm, 282 px of 320: wide enough, but 240 px high only
    assert "makes an image 282 x 282 px, the screen has 320 x 240 px (22.6 x 17.1 deg)" in finding.found


def test_missing_serial_port_is_no_go(tmp_path):
    finding = find(write_plan_folder(tmp_path, make_protocol(trigger={"source": "serial:/dev/none"})), "trigger")
    assert (finding.go, "/dev/none does not exist; plug the trigger box in" in finding.found) == (False, True)


def test_full_disk_is_no_go(plan, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1, 1, 5_000_000))
    with pytest.raises(InputError, match=r"0.01 GB free; free at least 1 GB"):
        check_disk(plan)


def test_missing_libraries_are_no_go_with_what_to_install(plan, monkeypatch):
    monkeypatch.setitem(sys.modules, "psychtoolbox", None)
    assert "apt-get install libjack-jackd2-0" in find(plan, "psychtoolbox").found
    monkeypatch.setattr(machine_check.util, "find_spec", lambda name: None)
    assert "PsychoPy is not installed; install it with: pip install 'voxdrive[experiment]'" in find(plan, "PsychoPy").found


def test_refresh_against_nominal():
    assert check_refresh(59.94, 60, is_paced=False) == "59.94 Hz"
    with pytest.raises(InputError, match=r"refreshes at 30.00 Hz, \[screen\] refresh_hz says 60; .* compositor"):
        check_refresh(30, 60, is_paced=False)
    assert "do not scan with this display" in check_refresh(450, 60, is_paced=True).words


def test_no_display_is_no_go_and_run_says_that_a_rehearsal_works(experiment, plan, tmp_path, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    code, out, _ = experiment("check", plan, "--display")
    assert code == 1
    assert out.splitlines()[-1] == "no-go: window"
    command = ["run", plan, "--subject", "01", "--bids", tmp_path / "bids"]
    code, _, err = experiment(*command)
    assert code == 1
    assert "no display: DISPLAY is not set" in err
    assert "--rehearse, which needs no screen" in err
    monkeypatch.setenv("DISPLAY", ":9999")
    assert "no display: ':9999' does not answer" in experiment(*command)[2]
    assert not (tmp_path / "bids" / "participants.tsv").exists()
    assert experiment(*command, "--rehearse")[0] == 0  # what failed left nothing in the way


def test_luminance_is_remarked_upon_unless_it_was_measured(plan):
    path = plan / "stimuli" / "stimuli.json"
    description = json.loads(path.read_text())
    curve = {"level": [0, 255], "relative_luminance": [0, 1]}
    said = []
    for photometry in (None, {}, {"gamma": 2.2}, {"curve": curve}, {"curve": curve, "size_deg": 8.4}):
        base = {"size_deg": 3.0, "background": 127, "gamma": None, "curve": None}
        path.write_text(json.dumps({**description, "photometry": photometry if photometry is None else {**base, **photometry}}))
        seal(plan)
        finding = find(plan, "luminance table")
        assert finding.go
        said.append((finding.note, finding.found))
    assert [note for note, _ in said] == [True, True, True, False, True]
    words = ["does not say on which display", "made for sRGB", "made for gamma 2.2", "a measured table of 2 levels", "8.4 deg on gray 127"]
    assert all(word in found for word, (_, found) in zip(words, said, strict=True))
