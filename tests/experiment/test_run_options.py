"""What an operator can ask of a run beyond showing it: safe mode, practice, message hooks, a second task in the same data set."""

import gzip
import json
import time

import numpy as np
import pytest

from experiment.practice import count_trials
from experiment.recorder import Recorder, RunFiles
from experiment.rehearsal import RehearsalScreen
from experiment.response_box import open_box
from experiment.scanner_emulator import open_serial, wait_for_listener
from experiment.stage import NS_PER_S
from experiment.trigger import TriggerSource
from experiment.trigger_recording import sample_pulses
from experiment.wait import wait_for_trigger
from protocols.errors import InputError
from protocols.events import Events
from protocols.run_name import RunName
from tests.experiment.conftest import CELLS, find_bids_errors, make_protocol, make_set, write_plan_folder
from tests.experiment.published import FOLDER, TABLES
from tests.experiment.test_session import Script, press

NAME = RunName("01", "01", "short", 1)


def wait(presses, safe=True, **trigger):
    protocol = make_protocol(trigger={"source": "keyboard:5", **trigger})
    screen = RehearsalScreen(protocol.screen)
    return wait_for_trigger(screen, [Script(screen, presses)], TriggerSource.parse("keyboard:5"), protocol, safe)


def test_safe_mode_ignores_triggers_until_return():
    begun = wait([press(1, "5"), press(1.8, "5"), press(2, "return"), press(2.6, "5")])
    assert (begun.zero_ns, begun.ignored, len(begun.heard)) == (round(2.6 * NS_PER_S), 2, 4)
    assert wait([press(1, "5")], safe=False).zero_ns == NS_PER_S


def test_safe_mode_that_nobody_ended_says_so():
    with pytest.raises(InputError, match="safe mode ignored 2 triggers, press Return before the scanner starts"):
        wait([press(1, "5"), press(2, "5")], timeout_s=3.0)


def test_a_doubled_trigger_is_no_dummy_volume():
    begun = wait([press(1, "5"), press(1.01, "5"), press(1.8, "5"), press(2.6, "5")], safe=False, dummy_volumes=2)
    assert begun.zero_ns == round(2.6 * NS_PER_S)


def test_response_box_is_heard_and_is_never_the_trigger(tmp_path):
    with open_serial(tmp_path / "box") as (send, master):
        (box,) = open_box(f"serial:{tmp_path / 'box'}")
        assert wait_for_listener(master, timeout_s=2)
        send()
        time.sleep(0.2)
        heard = box.poll()
        assert [(one.source, one.key) for one in heard] == [("box", "5")]
        assert not TriggerSource.parse("serial:x").matches(heard[0])
        assert "a response box on " in box.describe()
        assert box.failure is None
        box.close()
    assert open_box("") == []
    with pytest.raises(InputError, match=r"\[probe\] box 'udp:5005': give serial:DEVICE"):
        open_box("udp:5005")


HOOK = """
import json
def send(what, time_ns, values):
    with open("told.jsonl", "a") as stream:
        stream.write(json.dumps([what, time_ns, values]) + chr(10))
def fail(what, time_ns, values):
    if what == "onset":
        raise OSError("eye tracker is off")
not_callable = 3
"""


def test_hook_is_told_of_everything_in_the_journal(experiment, plan, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hook_a.py").write_text(HOOK)
    assert experiment("run", plan, "--subject", "01", "--bids", "bids", "--rehearse", "--hook", "hook_a:send")[0] == 0
    told = [json.loads(line) for line in (tmp_path / "told.jsonl").read_text().splitlines()]
    journal = [json.loads(line) for line in RunFiles(tmp_path / "bids", NAME).journal.read_text().splitlines()]
    assert [(what, time_ns) for what, time_ns, _ in told] == [(line["what"], line["time_ns"]) for line in journal]
    onset = next(values for what, _, values in told if what == "onset" and values["stim_id"])
    assert onset["stim_file"] == f"stim-{onset['stim_id']}_image.png"


def test_hook_that_raises_ends_nothing_and_is_reported(experiment, plan, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hook_b.py").write_text(HOOK)
    code, out, _ = experiment("run", plan, "--subject", "01", "--bids", "bids", "--rehearse", "--hook", "hook_b:fail")
    assert code == 0
    assert "the message hook stopped at 'onset': OSError: eye tracker is off" in out
    events = Events.read(RunFiles(tmp_path / "bids", NAME).events)
    assert events.sidecar["RunState"] == "completed"
    assert events.sidecar["Failures"] == ["the message hook stopped at 'onset': OSError: eye tracker is off"]


@pytest.mark.parametrize("name", ["nowhere:send", "hook_c:absent", "hook_c", "hook_c:not_callable"])
def test_hooks_that_are_no_functions_are_refused(experiment, plan, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hook_c.py").write_text(HOOK)
    code, _, err = experiment("run", plan, "--subject", "01", "--bids", "bids", "--rehearse", "--hook", name)
    assert (code, f"--hook {name}: " in err, (tmp_path / "bids").exists()) == (1, True, False)


def test_practice_is_short_kept_apart_and_can_be_repeated(experiment, plan, tmp_path):
    command = ("run", plan, "--subject", "01", "--bids", tmp_path / "bids", "--rehearse")
    for run in (1, 2):
        code, out, _ = experiment(*command, "--practice")
        assert (code, f"run-0{run}: " in out, "hits" in out) == (0, True, True)
    assert not list((tmp_path / "bids").glob("sub-*"))
    assert not (tmp_path / "bids" / "participants.tsv").exists()
    kept = RunFiles(tmp_path / "bids" / "sourcedata" / "practice", NAME)
    assert 0 < len(Events.read(kept.events).table) < 11
    assert experiment(*command)[0] == 0


def test_practice_has_two_probes_where_the_run_has():
    from experiment.plan import plan_trials

    for name in ("nsd_synthetic", "things"):
        from tests.experiment.published import read_protocol

        (run, *_) = plan_trials(read_protocol(name), TABLES[name], "0" * 64, 1, 1)
        count = count_trials(run)
        assert run.trials["probe"][:count].sum() >= 2 or count == len(run.trials)
        assert count >= 10


def test_two_sources_are_refused(experiment, plan, tmp_path):
    code, _, err = experiment(
        "run", plan, "--subject", "01", "--bids", tmp_path / "bids", "--trigger", "keyboard:5", "--trigger", "udp:5005"
    )
    assert (code, "--trigger keyboard:5 and udp:5005: two sources at once" in err) == (1, True)


def test_triggers_are_a_bids_recording(experiment, plan, tmp_path):
    experiment("run", plan, "--subject", "01", "--bids", tmp_path / "bids", "--rehearse")
    path = NAME.path(tmp_path / "bids", "recording-trigger_stim.tsv.gz")
    samples = np.array(gzip.decompress(path.read_bytes()).split(), dtype=int)
    sidecar = json.loads(path.with_suffix("").with_suffix(".json").read_text())
    assert (sidecar["SamplingFrequency"], sidecar["Columns"], sidecar["StartTime"]) == (1000, ["trigger"], 0.0)
    assert np.flatnonzero(samples).tolist() == [800 * volume for volume in range(27)]
    assert find_bids_errors(tmp_path / "bids") == []


def test_sampled_pulses_begin_with_the_first():
    start_s, samples = sample_pulses([-1.6, -0.8, 0.0, 0.8004])
    assert (start_s, len(samples), np.flatnonzero(samples).tolist()) == (-1.6, 2401, [0, 800, 1600, 2400])
    assert sample_pulses([])[1].tolist() == [0]


def test_another_task_with_other_images_goes_into_the_same_data_set(experiment, tmp_path):
    write_plan_folder(tmp_path, make_protocol())
    cells = [(name, None) for name in ("characters", "bodies", "faces", "places", "objects")]
    make_set(tmp_path / "other", cells=cells, images=24)
    planned = experiment(
        "plan", FOLDER / "floc.toml", "--set", tmp_path / "other", "--subjects", 1, "--seed", 1, "--out", tmp_path / "floc"
    )
    assert planned[0] == 0
    for folder in ("plan", "floc"):
        code, _, err = experiment("run", tmp_path / folder, "--subject", "01", "--bids", tmp_path / "bids", "--rehearse")
        assert code == 0, err
    events = Events.read(RunFiles(tmp_path / "bids", RunName("01", "01", "floc", 1)).events)
    files = events.table["stim_file"].dropna()
    assert all((tmp_path / "bids" / "stimuli" / file).is_file() and file.startswith("task-floc/") for file in files)
    assert find_bids_errors(tmp_path / "bids") == []
    assert experiment("run", tmp_path / "floc", "--subject", "01", "--run", 2, "--bids", tmp_path / "bids", "--rehearse")[0] == 0
    assert experiment("run", tmp_path / "plan", "--subject", "02", "--bids", tmp_path / "bids", "--rehearse")[0] == 0


@pytest.mark.parametrize("name", TABLES)
def test_every_protocol_can_be_rehearsed_into_valid_bids(experiment, tmp_path, name):
    cells = list(dict.fromkeys(zip(TABLES[name]["condition"], TABLES[name]["target"], strict=True)))
    made = make_set(tmp_path / "set", cells=cells or CELLS, images=max(1, 40 // len(cells)))
    code, _, err = experiment(
        "plan", FOLDER / f"{name}.toml", "--set", made.folder, "--subjects", 1, "--seed", 1, "--out", tmp_path / "plan"
    )
    assert code == 0, err
    assert experiment("check", tmp_path / "plan")[0] == 0
    task = json.loads((tmp_path / "plan" / "protocol.json").read_text())["task"]
    code, _, err = experiment("run", tmp_path / "plan", "--subject", "01", "--bids", tmp_path / "bids", "--rehearse", "--seed", 1)
    assert code == 0, err
    events = Events.read(RunFiles(tmp_path / "bids", RunName("01", "01", task, 1)).events)
    score, late_ms = events.sidecar["TaskScore"], (events.table["onset"] - events.table["onset_clock"]).abs().max() * 1000
    assert score["hits"] >= 0.6 * score["probes"] > 0
    assert late_ms < 1  # the simulated scanner and the simulated screen have one clock
    assert find_bids_errors(tmp_path / "bids") == []


def test_a_recorder_without_a_hook_has_no_failure(tmp_path):
    recorder = Recorder(RunFiles(tmp_path, NAME), 0)
    recorder.note("start", 0)
    recorder.close()
    assert recorder.hook_failure is None
