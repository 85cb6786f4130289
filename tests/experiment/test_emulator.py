"""The emulated scanner: what it plans, when it sends, and what its command refuses."""

import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiment.pulse_schedule import ScannerConfig, compute_volume_times, plan_pulses
from experiment.scanner_emulator import open_log, send_pulses
from experiment.udp_port import UdpPort
from protocols.errors import InputError


def plan(seed=0, **settings):
    return plan_pulses(ScannerConfig(**settings), np.random.default_rng(seed))


def test_faults_are_as_many_as_asked_for():
    pulses = plan(tr_s=1.0, volumes=4000, jitter_s=0.001, drop=0.05, double=0.02, late=0.1, drift_ppm=100)
    counts = pd.Series([pulse.kind for pulse in pulses]).value_counts() / 4000
    assert counts["dropped"] == pytest.approx(0.05, abs=0.012)
    assert counts["doubled"] == pytest.approx(0.02 * 0.95, abs=0.008)
    assert counts["late"] == pytest.approx(0.1 * 0.95, abs=0.015)
    plain = np.array([pulse.send_s - pulse.planned_s for pulse in pulses if pulse.kind == "volume"])
    assert plain.std() == pytest.approx(0.001, rel=0.05)
    late = np.array([pulse.send_s - pulse.planned_s for pulse in pulses if pulse.kind == "late"])
    assert (late.min() > 0.005, late.max() < 0.045) == (True, True)
    assert max(pulse.planned_s for pulse in pulses) == pytest.approx(3999 * 1.0001)


def test_changed_tr_and_stuck_line():
    scanner = ScannerConfig(tr_s=1.5, volumes=5, change_at=2, changed_tr_s=2.0)
    assert compute_volume_times(scanner).tolist() == [0, 1.5, 3, 5, 7]
    pulses = plan(tr_s=1.0, volumes=5, stuck_at=2, stuck_for_s=0.5, stuck_every_s=0.1)
    assert [pulse.send_s for pulse in pulses if pulse.kind == "stuck"] == pytest.approx([2.1, 2.2, 2.3, 2.4, 2.5])
    assert [pulse.volume for pulse in pulses if pulse.kind == "volume"] == [0, 1, 2, 3, 4]


@given(st.integers(0, 1000), st.integers(1, 60), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.none() | st.integers(0, 59))
def test_any_schedule_is_in_order_and_has_every_volume_once(seed, volumes, drop, double, late, stuck):
    pulses = plan(seed, tr_s=0.8, volumes=volumes, jitter_s=0.002, drop=drop, double=double, late=late, stuck_at=stuck)
    assert [pulse.send_s for pulse in pulses] == sorted(pulse.send_s for pulse in pulses)
    own = sorted(pulse.volume for pulse in pulses if pulse.kind in ("volume", "late", "dropped"))
    assert own == list(range(volumes))
    assert plan(seed, tr_s=0.8, volumes=volumes, jitter_s=0.002, drop=drop, double=double, late=late, stuck_at=stuck) == pulses


def test_pulses_keep_a_global_schedule_and_are_logged(tmp_path):
    sent = []

    def send_slowly() -> None:
        sent.append(time.monotonic_ns())
        time.sleep(0.02)

    pulses = plan(2, tr_s=0.05, volumes=9, drop=0.2)
    with open_log(tmp_path / "new" / "log.tsv") as write:
        send_pulses(pulses, send_slowly, 0.0, write)
    log = pd.read_csv(tmp_path / "new" / "log.tsv", sep="\t", na_values="n/a")
    assert log["kind"].tolist() == [pulse.kind for pulse in pulses]
    assert (log["kind"] == "dropped").sum() == log["sent_ns"].isna().sum() == 9 - len(sent) > 0
    kept = log.dropna()
    assert kept["sent_ns"].tolist() == pytest.approx(sent, abs=2e6)
    late_s = (kept["sent_ns"] - kept["sent_ns"].iloc[0]) / 1e9 - (kept["planned_s"] - kept["planned_s"].iloc[0])
    assert abs(late_s).max() < 0.03  # waiting after each would add .02 s per pulse


def test_command_sends_datagrams_with_faults_and_logs_them(experiment, tmp_path):
    port = UdpPort(0, "127.0.0.1")
    log = tmp_path / "log.tsv"
    where = f"127.0.0.1:{port.number}"
    faults = ["--drop", 0.3, "--double", 0.3, "--late", 0.2, "--jitter", 0.001, "--drift-ppm", 50, "--change-tr", "20:0.04", "--seed", 4]
    code, out, err = experiment("emulate-scanner", "--tr", 0.02, "--volumes", 30, "--delay", 0, "--udp", where, "--log", log, *faults)
    assert code == 0, err
    time.sleep(0.1)
    heard = port.poll()
    port.close()
    table = pd.read_csv(log, sep="\t", na_values="n/a")
    sent = table.dropna()
    assert f"sent {len(sent)} triggers for 30 volumes" in out
    assert len(heard) == len(sent)
    assert {"dropped", "doubled", "late", "volume"} == set(table["kind"])
    assert {press.key for press in heard} == {"5"}
    late_ms = (np.array([press.time_ns for press in heard]) - sent["sent_ns"].to_numpy()) / 1e6
    assert 0 < np.median(late_ms) < 5


def test_emulator_needs_one_way_to_send(experiment):
    message = "emulate-scanner: give one of --key KEY (with --display), --serial LINK and --udp HOST:PORT"
    assert message in experiment("emulate-scanner", "--tr", 1, "--volumes", 1)[2]
    assert message in experiment("emulate-scanner", "--tr", 1, "--volumes", 1, "--key", 5, "--serial", Path("x"))[2]
    code, _, err = experiment("emulate-scanner", "--tr", 1, "--volumes", 1, "--key", 5, "--display", ":9999")
    assert (code, "no display: ':9999' does not answer" in err) == (1, True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--udp", "5005"], "--udp '5005': give HOST:PORT, such as 127.0.0.1:5005"),
        (["--udp", "127.0.0.1:99999"], "--udp '127.0.0.1:99999': cannot be reached"),
        (["--udp", "127.0.0.1:9", "--change-tr", "0:2"], "--change-tr '0:2': give VOLUME:TR with a volume of 1 or later"),
        (["--udp", "127.0.0.1:9", "--change-tr", "5"], "--change-tr '5': give VOLUME:TR"),
    ],
)
def test_wrong_options_of_the_emulator_are_refused(experiment, options, message):
    code, _, err = experiment("emulate-scanner", "--tr", 1, "--volumes", 1, *options)
    assert (code, message in err) == (1, True), err


def test_log_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match=r"the log cannot be written .*; give another --log"), open_log(tmp_path / "file" / "log.tsv"):
        pass
