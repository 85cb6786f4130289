import os
import sys
import threading
import time
from pathlib import Path

import pytest

from experiment.scanner_emulator import open_serial, send_pulses, wait_for_listener
from experiment.stage import Press
from experiment.trigger import Keyboard, SerialPort, TriggerSource, name_key
from protocols.errors import InputError
from tests.experiment.conftest import make_protocol


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("keyboard:5", TriggerSource("keyboard", "5")),
        ("serial:/dev/ttyUSB0", TriggerSource("serial", "/dev/ttyUSB0")),
        ("serial:/dev/ttyUSB0,115200", TriggerSource("serial", "/dev/ttyUSB0", 115200)),
        ("serial:COM3,57600,t", TriggerSource("serial", "COM3", 57600, "t")),
        ("emulate:1.6", TriggerSource("emulate", "1.6")),
    ],
)
def test_sources_are_parsed(text, source):
    assert TriggerSource.parse(text) == source


@pytest.mark.parametrize(
    "text", ["keyboard", "keyboard:", "parallel:0", "serial:,9600", "serial:/dev/x,fast", "serial:/dev/x,1,2,3", "emulate:0", "emulate:x"]
)
def test_other_sources_are_refused(text):
    with pytest.raises(InputError, match=f"trigger {text!r}: "):
        TriggerSource.parse(text)


def test_only_the_right_press_is_a_trigger():
    key, other, byte, pulse = Press(0, "keyboard", "5"), Press(0, "keyboard", "1"), Press(0, "serial", "5"), Press(0, "clock", "pulse")
    heard = (key, other, byte, pulse)
    assert [TriggerSource.parse("keyboard:5").matches(one) for one in heard] == [True, False, False, False]
    assert [TriggerSource.parse("serial:x").matches(one) for one in heard] == [False, False, True, False]
    assert not TriggerSource.parse("serial:x,9600,t").matches(byte)
    assert [TriggerSource.parse("emulate:1").matches(one) for one in heard] == [False, False, False, True]


def test_colliding_keys_are_refused(experiment, plan, tmp_path):
    command = ["run", plan, "--subject", "01", "--bids", tmp_path / "bids"]
    assert "trigger keyboard:1: '1' is also a response key; give another key" in experiment(*command, "--trigger", "keyboard:1")[2]
    assert "'escape' ends a run" in experiment(*command, "--trigger", "keyboard:escape")[2]
    with pytest.raises(InputError, match="the trigger's key is also a response key"):
        make_protocol(trigger={"source": "keyboard:2"})


def test_key_names():
    names = [name_key({"CookedKey": code, "Keycode": 88}) for code in (53.0, 97.0, 27.0, 32.0, 0.0, -1.0)]
    assert names == ["5", "a", "escape", "space", "keycode-88", "keycode-88"]


def test_real_pseudo_terminal_is_heard_in_time_through_stalls(tmp_path):
    link = tmp_path / "scanner"
    sent = []
    with open_serial(link) as (send, master):
        assert wait_for_listener(master, timeout_s=0.1) is False
        port = SerialPort(str(link))
        assert wait_for_listener(master, timeout_s=2) is True

        def send_noting() -> None:
            sent.append(time.monotonic_ns())
            send()

        sender = threading.Thread(target=send_pulses, args=(send_noting, 0.02, 40, 0.05, lambda count: None))
        sender.start()
        heard = []
        for stall_s in (0.25, 0.3, 0.4, 0.2):
            time.sleep(stall_s)
            heard += port.poll()
        sender.join()
        port.close()
        assert wait_for_listener(master, listening=False, timeout_s=2) is True
    assert [press.key for press in heard] == ["5"] * 40
    late_ms = sorted((press.time_ns - at) / 1e6 for press, at in zip(heard, sent, strict=True))
    assert late_ms[20] < 5  # median; a loaded machine may delay single ones
    assert not link.exists()


def test_bytes_from_before_opening_are_dropped(tmp_path):
    link = tmp_path / "scanner"
    with open_serial(link) as (send, _):
        other = os.open(link, os.O_RDWR | os.O_NOCTTY)  # keeps what is sent in the buffer
        send()
        send()
        port = SerialPort(str(link))
        send()
        time.sleep(0.2)
        assert len(port.poll()) == 1
        port.close()
        os.close(other)


def test_unplugged_port_says_so(tmp_path):
    with open_serial(tmp_path / "scanner") as (_, master):
        port = SerialPort(str(tmp_path / "scanner"))
        wait_for_listener(master, timeout_s=2)
    time.sleep(0.2)
    assert "stopped" in str(port.failure)
    port.close()


def test_missing_port_and_used_link_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"trigger serial:/dev/none: cannot be opened .* plug it in, or give another --trigger"):
        SerialPort("/dev/none")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="exists already; give another --serial"), open_serial(tmp_path / "file"):
        pass
    (tmp_path / "stale").symlink_to("/dev/pts/none")
    with open_serial(tmp_path / "stale"):
        assert (tmp_path / "stale").exists()


def test_pulses_keep_a_global_schedule():
    sent = []

    def send_slowly() -> None:
        sent.append(time.monotonic())
        time.sleep(0.02)

    send_pulses(send_slowly, 0.05, 8, 0.0, lambda count: None)
    assert sent[-1] - sent[0] == pytest.approx(0.35, abs=0.03)  # waiting after each would make it .49


def test_missing_psychtoolbox_is_named_with_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "psychtoolbox", None)
    with pytest.raises(InputError, match=r"keyboard: psychtoolbox cannot be imported .* apt-get install libjack-jackd2-0"):
        Keyboard()


def test_emulator_needs_one_way_to_send(experiment):
    message = "emulate-scanner: give either --key KEY (with --display) or --serial LINK"
    assert message in experiment("emulate-scanner", "--tr", 1, "--volumes", 1)[2]
    assert message in experiment("emulate-scanner", "--tr", 1, "--volumes", 1, "--key", 5, "--serial", Path("x"))[2]
    code, _, err = experiment("emulate-scanner", "--tr", 1, "--volumes", 1, "--key", 5, "--display", ":9999")
    assert (code, "no display: ':9999' does not answer" in err) == (1, True)
