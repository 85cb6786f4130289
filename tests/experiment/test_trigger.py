import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from experiment import trigger
from experiment.emulated_scanner import EmulatedScanner
from experiment.keyboard import Keyboard, name_key
from experiment.parallel_port import ParallelPort
from experiment.pulse_schedule import ScannerConfig, plan_pulses
from experiment.scanner_emulator import open_serial, send_pulses, wait_for_listener
from experiment.serial_port import SerialPort
from experiment.stage import Press
from experiment.trigger import TriggerSource, open_inputs
from experiment.udp_port import UdpPort
from protocols.errors import InputError
from tests.experiment.conftest import make_protocol


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("keyboard:5", TriggerSource("keyboard", "5")),
        ("serial:/dev/ttyUSB0", TriggerSource("serial", "/dev/ttyUSB0")),
        ("serial:/dev/ttyUSB0,115200", TriggerSource("serial", "/dev/ttyUSB0", 115200)),
        ("serial:COM3,57600,t", TriggerSource("serial", "COM3", 57600, "t")),
        ("keyboard:+", TriggerSource("keyboard", "+")),
        ("parallel:/dev/parport0", TriggerSource("parallel", "/dev/parport0", pin=10)),
        ("parallel:0,12", TriggerSource("parallel", "0", pin=12)),
        ("udp:5005", TriggerSource("udp", "5005")),
        ("udp:5005,TR go", TriggerSource("udp", "5005", code="TR go")),
        ("emulate:1.6", TriggerSource("emulate", "1.6")),
    ],
)
def test_sources_are_parsed(text, source):
    assert TriggerSource.parse(text) == source


@pytest.mark.parametrize(
    "text",
    [
        *("keyboard", "keyboard:", "keyboard:5,6", "mouse:1", "serial:,9600", "serial:/dev/x,fast", "serial:/dev/x,1,2,3"),
        *("parallel:", "parallel:,10", "parallel:0,1", "parallel:0,x", "udp:0", "udp:70000", "udp:port", "emulate:0", "emulate:x"),
    ],
)
def test_other_sources_are_refused(text):
    with pytest.raises(InputError, match=f"trigger {text!r}: give|trigger {text!r}: the TR"):
        TriggerSource.parse(text)


@pytest.mark.parametrize(
    "text", ["keyboard:5 serial:/dev/x", "keyboard:5+udp:5005", "serial:/dev/x,9600,5, emulate:1", "udp:5005,keyboard:5"]
)
def test_two_sources_at_once_are_refused(text):
    with pytest.raises(InputError, match="two sources at once; a run has one trigger source, choose one of them"):
        TriggerSource.parse(text)
    with pytest.raises(InputError, match="two sources at once; a run has one trigger source, choose one of them"):
        make_protocol(trigger={"source": text})


def test_only_the_right_press_is_a_trigger():
    key, other, byte, pulse = Press(0, "keyboard", "5"), Press(0, "keyboard", "1"), Press(0, "serial", "5"), Press(0, "clock", "pulse")
    heard = (key, other, byte, pulse)
    assert [TriggerSource.parse("keyboard:5").matches(one) for one in heard] == [True, False, False, False]
    assert [TriggerSource.parse("serial:x").matches(one) for one in heard] == [False, False, True, False]
    assert not TriggerSource.parse("serial:x,9600,t").matches(byte)
    assert [TriggerSource.parse("emulate:1").matches(one) for one in heard] == [False, False, False, True]
    edge, datagram = Press(0, "parallel", "pin10"), Press(0, "udp", "TR")
    assert [TriggerSource.parse("parallel:0").matches(one) for one in (key, edge, datagram)] == [False, True, False]
    assert [TriggerSource.parse("udp:5005").matches(one) for one in (byte, edge, datagram)] == [False, False, True]
    assert [TriggerSource.parse(f"udp:5005,{text}").matches(datagram) for text in ("TR", "go")] == [True, False]
    assert TriggerSource.parse("emulate:1").matches(Press(0, "udp", "5"))


def test_sources_are_described():
    said = {text: TriggerSource.parse(text).describe() for text in ("keyboard:5", "serial:x,,t", "parallel:0", "udp:5005,go", "udp:5005")}
    assert list(said.values()) == [
        "key '5'",
        "byte 't' on x at 9600 baud",
        "pin 10 of parallel port 0 going high",
        "datagram 'go' on UDP port 5005",
        "any datagram on UDP port 5005",
    ]


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

        pulses = plan_pulses(ScannerConfig(tr_s=0.02, volumes=40), np.random.default_rng(0))
        sender = threading.Thread(target=send_pulses, args=(pulses, send, 0.05, lambda pulse, sent_ns: sent.append(sent_ns)))
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


def test_missing_psychtoolbox_is_named_with_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "psychtoolbox", None)
    with pytest.raises(InputError, match=r"keyboard: psychtoolbox cannot be imported .* apt-get install libjack-jackd2-0"):
        Keyboard()


def collect(source, count, timeout_s=10.0):
    """Poll until `count` presses came or time is up."""
    heard, end_s = [], time.monotonic() + timeout_s
    while len(heard) < count and time.monotonic() < end_s:
        time.sleep(0.005)
        heard += source.poll()
    return heard


def test_datagrams_are_heard_by_their_text_through_a_stall():
    port = UdpPort(0, "127.0.0.1")
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sent = []
    for text in (b"TR\r\n", b"", b"\xff", b"TR"):
        time.sleep(0.03)
        sent.append(time.monotonic_ns())
        sender.sendto(text, ("127.0.0.1", port.number))
    time.sleep(0.2)
    heard = port.poll()
    assert [(press.source, press.key) for press in heard] == [("udp", "TR"), ("udp", ""), ("udp", "�"), ("udp", "TR")]
    assert sorted((press.time_ns - at) / 1e6 for press, at in zip(heard, sent, strict=True))[2] < 5
    with pytest.raises(InputError, match=rf"trigger udp:{port.number}: cannot be opened .* or give another port"):
        UdpPort(port.number, "127.0.0.1")
    port.close()
    UdpPort(port.number, "127.0.0.1").close()
    sender.close()


class FakeParallel:
    """The parallel port of pyparallel: lines that a test sets."""

    def __init__(self, device):
        if device == "/dev/none":
            raise OSError(2, "No such file")
        self.device, self.data, self.acknowledge, self.direction = device, 0, False, 1

    def setDataDir(self, out):  # noqa: N802
        self.direction = out

    def getData(self):  # noqa: N802
        return self.data

    def getInAcknowledge(self):  # noqa: N802
        return self.acknowledge


def test_rising_edges_of_a_parallel_pin_are_counted_through_a_stall(monkeypatch):
    opened = []

    def open_fake(device):
        opened.append(FakeParallel(device))
        opened[-1].acknowledge = True  # up before the session begins: no trigger
        return opened[-1]

    monkeypatch.setitem(sys.modules, "parallel", SimpleNamespace(Parallel=open_fake))
    status, data = ParallelPort("/dev/parport0"), ParallelPort("0", 4)
    assert [(one.device, one.direction) for one in opened] == [("/dev/parport0", 1), (0, 0)]
    sent = []
    for pulse in range(1, 21):
        time.sleep(0.01)
        opened[0].acknowledge, opened[1].data = False, 0b1011  # every other data pin
        time.sleep(0.01)
        sent.append(time.monotonic_ns())
        opened[0].acknowledge, opened[1].data = True, 0b1111 if pulse % 2 else 0b1011
    time.sleep(0.05)
    heard, heard_data = status.poll(), data.poll()
    assert [(press.source, press.key) for press in heard] == [("parallel", "pin10")] * 20
    assert len(heard_data) == 10
    assert sorted((press.time_ns - at) / 1e6 for press, at in zip(heard, sent, strict=True))[10] < 5
    opened[0].getInAcknowledge = None
    status.close()
    data.close()
    assert (status.failure, data.failure) == (None, None)
    with pytest.raises(InputError, match=r"trigger parallel:/dev/none: cannot be opened .* modprobe ppdev"):
        ParallelPort("/dev/none")


def test_missing_pyparallel_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "parallel", None)
    with pytest.raises(InputError, match=r"trigger parallel:0: pyparallel cannot be imported .*; pip install pyparallel"):
        ParallelPort("0")


def test_emulated_scanner_is_another_process_that_keeps_time_and_ends_on_close():
    scanner = EmulatedScanner(0.1, delay_s=0.0)
    heard = collect(scanner, 15)
    child = scanner._child.pid
    assert child != os.getpid()
    assert scanner.failure is None
    steps_s = np.diff([press.time_ns for press in heard]) / 1e9
    assert np.median(steps_s) == pytest.approx(0.1, abs=0.005)
    assert all(TriggerSource.parse("emulate:0.1").matches(press) for press in heard)
    scanner.close()
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_emulated_scanner_says_when_its_process_is_gone():
    scanner = EmulatedScanner(0.1)
    scanner._child.kill()
    scanner._child.wait()
    assert scanner.failure == "an emulated scanner with TR 0.1 s stopped: its process ended with status -9"
    scanner.close()


HOLD = """
import time
from experiment.emulated_scanner import EmulatedScanner
print(EmulatedScanner(0.1, delay_s=0)._child.pid, flush=True)
time.sleep(60)
"""


def test_emulated_scanner_ends_with_a_killed_session():
    session = subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True)
    child = int(session.stdout.readline())
    time.sleep(1.0)
    os.kill(child, 0)
    os.kill(session.pid, signal.SIGKILL)
    session.communicate()
    end_s = time.monotonic() + 5
    while time.monotonic() < end_s and Path(f"/proc/{child}").exists() and " Z " not in Path(f"/proc/{child}/stat").read_text():
        time.sleep(0.02)
    assert time.monotonic() < end_s


class FakeKeyboard:
    """A keyboard that only says whether it was closed."""

    def __init__(self):
        self.closed = False

    def close(self):
        self.closed = True


def test_each_source_opens_its_device_and_a_refusal_leaves_nothing_open(monkeypatch):
    keyboards = []

    def open_keyboard():
        keyboards.append(FakeKeyboard())
        return keyboards[-1]

    monkeypatch.setattr(trigger, "Keyboard", open_keyboard)
    monkeypatch.setitem(sys.modules, "parallel", SimpleNamespace(Parallel=FakeParallel))
    kinds = {"keyboard:5": [FakeKeyboard], "parallel:0": [FakeKeyboard, ParallelPort], "emulate:1": [FakeKeyboard, EmulatedScanner]}
    for text, wanted in kinds.items():
        inputs = open_inputs(TriggerSource.parse(text))
        assert [type(one) for one in inputs] == wanted
        for one in inputs:
            one.close()
    with pytest.raises(InputError, match="trigger serial:/dev/none"):
        open_inputs(TriggerSource.parse("serial:/dev/none"))
    assert all(keyboard.closed for keyboard in keyboards)
