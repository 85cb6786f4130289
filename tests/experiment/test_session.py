"""The session's corners, with inputs and a screen made for each."""

import errno

import numpy as np
import pytest

from experiment.frame_plan import Showing, compile_showings
from experiment.recorder import Recorder, RunFiles
from experiment.rehearsal import ClockTrigger, RehearsalScreen
from experiment.session import Run, Status
from experiment.stage import NS_PER_S, Frame, Press
from experiment.task import ShownTrial
from experiment.trigger import TriggerSource
from experiment.wait import wait_for_trigger
from protocols.errors import InputError
from protocols.events import Events
from protocols.run_name import RunName
from tests.experiment.conftest import make_protocol

NAME = RunName("01", "01", "short", 1)
QUIET = [Showing(2.0, 3.0, ShownTrial("natural", "a", "stim-a_image.png", False), False)]
SHOWINGS = [Showing(2.0 * n, 2.0 * n + 1, ShownTrial("natural", f"a{n}", f"stim-a{n}_image.png", False), False) for n in range(1, 5)]


class Script:
    """Inputs that give prepared presses when the screen's clock reaches them."""

    def __init__(self, screen, presses, failure_at_s=None):
        self.screen, self.left, self.failure_at_s = screen, sorted(presses, key=lambda press: press.time_ns), failure_at_s

    @property
    def failure(self):
        failed = self.failure_at_s is not None and self.screen.now_ns() > self.failure_at_s * NS_PER_S
        return "the cable stopped: unplugged" if failed else None

    def poll(self):
        due = [press for press in self.left if press.time_ns <= self.screen.now_ns()]
        self.left = self.left[len(due) :]
        return due

    def describe(self):
        return "a script"

    def close(self):
        pass


class Unseen:
    def is_due(self):
        return True

    def show(self, status: Status):
        assert status.left_s >= 0


def press(time_s, key, source="keyboard"):
    return Press(round(time_s * NS_PER_S), source, key)


def make_screen(protocol=None):
    protocol = protocol or make_protocol()
    screen = RehearsalScreen(protocol.screen)
    screen.preload({f"a{n}": np.zeros((1, 1, 3), np.uint8) for n in range(9)} | {"a": np.zeros((1, 1, 3), np.uint8)})
    return screen


def play(tmp_path, screen, inputs, showings=SHOWINGS, end_s=10.0, zero_ns=0):
    files = RunFiles(tmp_path, NAME)
    recorder = Recorder(files, zero_ns)
    try:
        return Run(screen, inputs, TriggerSource("keyboard", "5"), make_protocol(), showings, end_s, zero_ns, recorder, Unseen()).play()
    finally:
        recorder.close()


def test_dummy_volumes_are_not_the_start():
    protocol = make_protocol(trigger={"source": "keyboard:5", "dummy_volumes": 2})
    screen = make_screen(protocol)
    inputs = [Script(screen, [press(time_s, "5") for time_s in (1.0, 1.8, 2.6, 3.4)])]
    begun = wait_for_trigger(screen, inputs, TriggerSource("keyboard", "5"), protocol)
    assert begun.zero_ns == round(2.6 * NS_PER_S)
    assert len(begun.heard) == 3


def test_keys_before_the_screen_was_ready_do_not_start_the_run():
    screen = make_screen()
    inputs = [Script(screen, [press(0.0, "5"), press(1.0, "5")])]
    assert wait_for_trigger(screen, inputs, TriggerSource("keyboard", "5"), make_protocol()).zero_ns == NS_PER_S


def test_silence_says_what_was_listened_to_and_what_came_instead():
    protocol = make_protocol(trigger={"timeout_s": 2.5})
    screen = make_screen(protocol)
    with pytest.raises(
        InputError, match=r"no trigger within 2.5 s; listened for key '5' on a script; heard instead: keyboard 't', keyboard '1'; "
    ):
        wait_for_trigger(screen, [Script(screen, [press(1, "t"), press(2, "1")])], TriggerSource("keyboard", "5"), protocol)
    with pytest.raises(InputError, match="heard instead: nothing else; check the cable"):
        wait_for_trigger(screen, [Script(screen, [])], TriggerSource("keyboard", "5"), protocol)


def test_too_few_dummies_are_said_to_be_too_few():
    protocol = make_protocol(trigger={"timeout_s": 2.5, "dummy_volumes": 3})
    screen = make_screen(protocol)
    with pytest.raises(InputError, match=r"only 1 of the 4 triggers needed \(dummy_volumes is 3\)"):
        wait_for_trigger(screen, [Script(screen, [press(1, "5")])], TriggerSource("keyboard", "5"), protocol)


def test_source_that_fails_while_waiting_is_refused():
    screen = make_screen()
    with pytest.raises(InputError, match=r"trigger: the cable stopped: unplugged; .* \(nothing was recorded\)"):
        wait_for_trigger(screen, [Script(screen, [], failure_at_s=1)], TriggerSource("keyboard", "5"), make_protocol())


def test_abort_before_the_trigger():
    screen = make_screen()
    assert wait_for_trigger(screen, [Script(screen, [press(1, "escape")])], TriggerSource("keyboard", "5"), make_protocol()).zero_ns is None


def test_abort_keeps_everything_so_far(tmp_path):
    screen = make_screen()
    outcome = play(tmp_path, screen, [Script(screen, [press(4.4, "1"), press(4.5, "escape")])])
    assert (outcome.state, outcome.trials_shown) == ("aborted", 2)
    events = Events.read(RunFiles(tmp_path, NAME).events).table
    assert events["stim_id"].tolist() == ["a1", "a2"]
    assert events["duration"].tolist() == pytest.approx([1.0, 0.5], abs=0.02)
    assert events["response"].tolist() == [None, "1"]


def test_keys_before_the_trigger_are_journaled_but_no_answers(tmp_path):
    files = RunFiles(tmp_path, NAME)
    recorder = Recorder(files, 0)
    run = Run(make_screen(), [], TriggerSource("keyboard", "5"), make_protocol(), SHOWINGS, 10.0, 0, recorder, Unseen())
    outcome = run.play([press(-1, "1"), press(-0.8, "5"), press(0, "5")])
    recorder.close()
    assert (outcome.score.stray_keys, outcome.scanner.volumes_seen) == (0, 1)
    assert files.journal.read_text().count('"what": "key"') == 1


def test_source_that_fails_during_the_run_is_noted_and_the_run_goes_on(tmp_path):
    screen = make_screen()
    outcome = play(tmp_path, screen, [Script(screen, [], failure_at_s=3)])
    assert (outcome.state, outcome.trials_shown, outcome.notes) == ("completed", 4, ("the cable stopped: unplugged",))


def test_stall_is_counted_and_shifts_nothing_after_it(tmp_path):
    screen = make_screen()
    flips = {"count": 0}
    plain_flip = screen.flip

    def flip_with_stall(frame: Frame) -> int:
        flips["count"] += 1
        if flips["count"] == 230:  # at 3.8 s: 1.1 s pass, so that the trial at 4 s is shown at 4.9 s and the next one in time
            screen._now_ns += round(1.1 * NS_PER_S)
        return plain_flip(frame)

    screen.flip = flip_with_stall
    outcome = play(tmp_path, screen, [])
    onsets = Events.read(RunFiles(tmp_path, NAME).events).table["onset"].tolist()
    assert onsets == pytest.approx([2.0, 4.95, 6.0, 8.0], abs=0.05)
    assert (outcome.late_flips, outcome.trials_skipped) == (1, 0)
    assert outcome.largest_onset_error_s == pytest.approx(0.95, abs=0.05)


def test_trial_missed_altogether_is_skipped_and_said_so(tmp_path):
    screen = make_screen()
    plain_flip = screen.flip

    def flip_with_stall(frame: Frame) -> int:
        if 3.8 * NS_PER_S < screen.now_ns() < 3.85 * NS_PER_S:
            screen._now_ns += round(1.5 * NS_PER_S)
        return plain_flip(frame)

    screen.flip = flip_with_stall
    outcome = play(tmp_path, screen, [])
    assert (outcome.trials_shown, outcome.trials_skipped) == (3, 1)
    assert Events.read(RunFiles(tmp_path, NAME).events).table["stim_id"].tolist() == ["a1", "a3", "a4"]
    assert '"what": "skipped"' in RunFiles(tmp_path, NAME).journal.read_text()


def test_images_that_touch_change_on_one_flip(tmp_path):
    screen = make_screen()
    touching = [Showing(float(n), float(n + 1), ShownTrial("natural", f"a{n}", f"stim-a{n}_image.png", False), False) for n in (1, 2, 3)]
    play(tmp_path, screen, [], touching, 5.0)
    table = Events.read(RunFiles(tmp_path, NAME).events).table
    assert (table["onset"] + table["duration"])[:2].tolist() == pytest.approx(table["onset"][1:].tolist(), abs=1e-6)


def test_full_disk_is_one_message_and_what_was_written_stays(tmp_path, monkeypatch):
    screen = make_screen()
    recorder = Recorder(RunFiles(tmp_path, NAME), 0)
    written = []

    def fill(event):
        if written:
            raise OSError(errno.ENOSPC, "No space left on device", "events.tsv")
        written.append(event)

    monkeypatch.setattr(recorder._events, "append", fill)
    with pytest.raises(InputError, match=r"events.tsv: no space left on the disk; what was written stays"):
        Run(screen, [], TriggerSource("keyboard", "5"), make_protocol(), SHOWINGS, 600.0, 0, recorder, SlowView()).play()
    recorder.close()
    assert len(written) == 1


class SlowView(Unseen):
    """Gives the recorder's thread time: the simulated clock runs far ahead of a real disk."""

    def show(self, status: Status):
        import time

        time.sleep(0.001)


def test_emulated_scanner_keeps_its_schedule():
    now = {"ns": 0}
    trigger = ClockTrigger(lambda: now["ns"], 0.8, delay_s=1.0)
    heard = []
    for now["ns"] in range(0, 10 * NS_PER_S, 7_000_000):
        heard += [one.time_ns for one in trigger.poll()]
    assert heard == [NS_PER_S + round(k * 0.8 * NS_PER_S) for k in range(12)]


def test_showings_follow_the_list_and_color_the_dot_only_for_that_task(plan):
    from experiment.plan_folder import PlanFolder

    folder = PlanFolder.read(plan)
    trials = folder.read_run(folder.names[0])
    showings = compile_showings(trials, folder.protocol)
    assert [one.onset_s for one in showings] == trials.trials["onset"].tolist()
    assert not any(one.changes_dot for one in showings)
    colored = compile_showings(trials, make_protocol(probe={"kind": "fixation"}))
    assert [one.changes_dot for one in colored] == [probe == 1 for probe in trials.trials["probe"]]
