"""The session from trigger to BIDS events, on a simulated clock."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from experiment.participant import Participant, SimulatedParticipant
from experiment.plan_folder import PlanFolder
from experiment.recorder import RunFiles
from experiment.stage import NS_PER_S, Frame
from protocols.events import Events
from protocols.protocol import Protocol
from protocols.run_name import RunName
from protocols.trials import BLANK
from tests.experiment.conftest import find_bids_errors, make_protocol, make_set, write_plan_folder

NAME = RunName("01", "01", "short", 1)


@pytest.fixture
def rehearse(experiment, plan, tmp_path):
    """`experiment run` on the plan with --rehearse; further arguments are appended."""

    def call(*arguments):
        return experiment("run", plan, "--subject", "01", "--bids", tmp_path / "bids", "--rehearse", *arguments)

    return call


@pytest.fixture
def files(tmp_path):
    return RunFiles(tmp_path / "bids", NAME)


def read_journal(files):
    return [json.loads(line) for line in files.journal.read_text().splitlines()]


def test_events_are_what_was_planned_within_half_a_frame(rehearse, plan, files):
    code, out, _ = rehearse()
    assert code == 0
    assert "completed" in out
    planned = PlanFolder.read(plan).read_run(NAME).trials
    events = Events.read(files.events).table
    for column in ("trial_type", "stim_id", "stim_file"):
        assert events[column].tolist() == planned[column].tolist()
    error_s = events["onset"] - planned["onset"]
    assert abs(error_s).max() <= 0.5 / 60 + 1e-6
    assert abs(error_s).max() > 1e-5  # the scanner is not locked to the screen, and the events say so
    assert error_s.std() < 1e-3  # and nothing drifts
    assert abs(events["duration"] - planned["duration"]).max() <= 1 / 60 + 1e-6


def test_sidecar_says_how_the_run_was_made(rehearse, plan, files):
    rehearse()
    sidecar = Events.read(files.events).sidecar
    folder = PlanFolder.read(plan)
    trials = folder.read_run(NAME)
    hashes = folder.stimuli.table.set_index("stim_id")["sha256"].to_dict()
    assert sidecar["ImagePresentation"]["Sha256"] == hashes
    # 3 degrees at 100 cm: 2 x 100 x tan(1.5 deg) = 5.237 cm of 40 cm on 320 px
    assert sidecar["ImagePresentation"]["Sizes"] == [
        {"FileSizePixels": [42, 42], "ShownSizePixels": [42, 42], "ShownSizeDegrees": [3.0073, 3.0073], "Drawn": "pixel for pixel"}
    ]
    presentation = sidecar["StimulusPresentation"]
    assert (presentation["ScreenDistance"], presentation["ScreenSize"], presentation["ScreenResolution"]) == (1.0, [0.4, 0.3], [320, 240])
    assert sidecar["RunState"] == "completed"
    assert sidecar["Rehearsal"] is True
    assert sidecar["TriggersSeen"] == sidecar["TriggersExpected"] == trials.plan.volumes
    assert sidecar["LateFlips"] == sidecar["TrialsSkipped"] == 0
    assert sidecar["TaskScore"]["probes"] == trials.trials["probe"].sum()


def test_sourcedata_holds_triggers_keys_flips_and_the_protocol(rehearse, plan, files):
    rehearse()
    journal = read_journal(files)
    assert journal[0] == {"what": "start", "time_s": 0.0, "time_ns": journal[0]["time_ns"], "format_version": 1, "run": NAME.stem}
    assert journal[-1]["what"] == "end"
    triggers = [record["time_s"] for record in journal if record["what"] == "trigger"]
    assert np.allclose(np.diff(triggers), 0.8)
    assert Protocol.read(files.protocol) == make_protocol()
    frames = pd.read_csv(files.frames, sep="\t", na_values="n/a")
    assert np.allclose(frames["interval_ms"].dropna(), 1000 / 60, atol=1e-3)
    assert len(frames) == Events.read(files.events).sidecar["Flips"]


def test_participant_answers_probes_by_what_it_sees(rehearse, files, plan, tmp_path):
    for run in (1, 2):
        rehearse("--run", run, "--seed", 5)
    found = [Events.read(RunFiles(tmp_path / "bids", RunName("01", "01", "short", run)).events) for run in (1, 2)]
    planned = [PlanFolder.read(plan).read_run(RunName("01", "01", "short", run)).trials for run in (1, 2)]
    answered = [events.table["response"].notna() & (trials["probe"] == 1) for events, trials in zip(found, planned, strict=True)]
    assert sum(map(sum, answered)) == sum(events.sidecar["TaskScore"]["hits"] for events in found) >= 1
    times = pd.concat([events.table["response_time"].dropna() for events in found])
    assert times.between(0.2, 1.5).all()


def test_same_participant_seed_gives_the_same_events(rehearse, tmp_path, files):
    rehearse("--seed", 7)
    first = files.events.read_bytes()
    shutil.move(tmp_path / "bids", tmp_path / "first")
    rehearse("--seed", 7)
    assert files.events.read_bytes() == first


def test_simulated_participant_has_its_own_rates():
    protocol = make_protocol()
    participant = SimulatedParticipant(protocol.probe, np.random.default_rng(1))
    answers = {True: 0, False: 0}
    images = [number // 2 for number in range(4000)]  # every second image repeats the one before
    for trial, image in enumerate(images):
        participant.watch(Frame(f"a{image}"), trial * 4 * NS_PER_S)
        participant.watch(Frame(), (trial * 4 + 3) * NS_PER_S)
        answers[trial % 2 == 1] += len(participant.poll())
    assert answers[True] / 2000 == pytest.approx(Participant().hit_rate, abs=0.03)
    assert answers[False] / 2000 == pytest.approx(Participant().false_alarm_rate, abs=0.015)


def test_fixation_task_is_answered_too(experiment, tmp_path):
    plan = write_plan_folder(tmp_path, make_protocol(timing__repetitions=8, probe={"kind": "fixation", "fraction": 0.3}))
    code, _, _ = experiment("run", plan, "--subject", "01", "--bids", tmp_path / "bids", "--rehearse", "--seed", 1)
    assert code == 0
    score = Events.read(RunFiles(tmp_path / "bids", NAME).events).sidecar["TaskScore"]
    assert score["hits"] > score["probes"] / 2


def test_whole_data_set_is_valid_bids(rehearse, experiment, plan, tmp_path):
    for run in (1, 2):
        rehearse("--run", run)
    experiment("run", plan, "--subject", "02", "--run", "1", "--bids", tmp_path / "bids", "--rehearse")
    participants = (tmp_path / "bids" / "participants.tsv").read_text()
    assert participants == "participant_id\nsub-01\nsub-02\n"
    assert find_bids_errors(tmp_path / "bids") == []


def test_recorded_run_is_refused_naming_the_next_free_one(rehearse, files):
    rehearse()
    before = files.events.read_bytes()
    code, _, err = rehearse()
    assert code == 1
    assert f"{files.events}: exists already, and a run is never overwritten; the next free run is --run 2" in err
    rehearse("--run", 2)
    assert "every run of session 01 is recorded" in rehearse()[2]
    assert files.events.read_bytes() == before


def test_first_trials_only(rehearse, files):
    _, out, _ = rehearse("--max-trials", 3)
    events = Events.read(files.events)
    assert len(events.table) == 3
    assert events.sidecar["RunState"] == "shortened to the first 3 trials"
    assert "shortened to the first 3 trials; 3 trials" in out


def test_changed_image_is_refused_before_anything_is_written(rehearse, plan, tmp_path):
    image = plan / "stimuli" / "stim-natural1_image.png"
    image.write_bytes(image.read_bytes() + b"x")
    code, _, err = rehearse()
    assert code == 1
    assert "image 'stim-natural1_image.png' does not match its sha256; copy the set again" in err
    assert not (tmp_path / "bids").exists()


def test_data_set_with_other_stimuli_is_refused(rehearse, tmp_path):
    make_set(tmp_path / "bids" / "stimuli", width_px=43)
    code, _, err = rehearse()
    assert code == 1
    assert "holds another stimulus set" in err
    assert "give another --bids" in err


def test_existing_description_and_participants_are_kept(rehearse, tmp_path):
    root = tmp_path / "bids"
    root.mkdir()
    (root / "dataset_description.json").write_text('{"Name": "mine", "BIDSVersion": "1.9.0"}')
    (root / "README").write_text("mine")
    (root / "participants.tsv").write_text("participant_id\tage\nsub-07\t31\n")
    rehearse()
    assert json.loads((root / "dataset_description.json").read_text())["Name"] == "mine"
    assert not (root / "README.md").exists()
    assert (root / "participants.tsv").read_text() == "participant_id\tage\nsub-07\t31\nsub-01\tn/a\n"


def test_image_of_another_size_is_said_to_be_resampled(experiment, tmp_path):
    plan = write_plan_folder(tmp_path, make_protocol(), width_px=50)
    experiment("run", plan, "--subject", "01", "--bids", tmp_path / "bids", "--rehearse")
    (size,) = Events.read(RunFiles(tmp_path / "bids", NAME).events).sidecar["ImagePresentation"]["Sizes"]
    assert (size["FileSizePixels"], size["ShownSizePixels"]) == ([50, 50], [42, 42])
    assert size["Drawn"] == "resampled once before the run (Pillow, bicubic), then drawn pixel for pixel"


def test_blank_trials_have_no_stimulus(rehearse, files):
    rehearse()
    blank = Events.read(files.events).table.query("trial_type == @BLANK", local_dict={"BLANK": BLANK})
    assert len(blank) == 1
    assert blank["stim_id"].isna().all()
