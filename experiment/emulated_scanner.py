"""An emulated scanner as a source of presses: another process sends datagrams to a port of ours, as a real one would from its computer.

Nothing in this process makes the pulses, so the session hears them as it would hear a device, on every platform.
"""

from experiment.child_process import end_child, start_child
from experiment.stage import Press
from experiment.udp_port import UdpPort
from protocols.errors import InputError

_LOOPBACK = "127.0.0.1"
_DELAY_S = 1.0  # before its first pulse
_LONGEST_S = 86_400.0  # nobody scans for longer than a day
_MOST_VOLUMES = 100_000


class EmulatedScanner:
    """`experiment emulate-scanner` with a TR in s, in a child process that ends with this one.

    Raises
    ------
    InputError
        When no port can be opened, or the child cannot be started.
    """

    def __init__(self, tr_s: float, delay_s: float = _DELAY_S) -> None:
        self._tr_s = tr_s
        self._port = UdpPort(0, _LOOPBACK)
        volumes = max(1, min(_MOST_VOLUMES, int(_LONGEST_S / tr_s)))
        options = {"tr": repr(tr_s), "volumes": volumes, "delay": delay_s, "udp": f"{_LOOPBACK}:{self._port.number}"}
        arguments = [f"--{name}={value}" for name, value in options.items()]
        try:
            self._child = start_child(["experiment", "emulate-scanner", *arguments, "--end-with-parent"])
        except OSError as problem:
            self._port.close()
            raise InputError(f"trigger emulate:{tr_s:g}: no process can be started ({problem}); end other programs") from None

    @property
    def failure(self) -> str | None:
        """Why no more pulses come, should that be so."""
        status = self._child.poll()
        ended = f"{self.describe()} stopped: its process ended with status {status}" if status is not None else None
        return self._port.failure or ended

    def poll(self) -> list[Press]:
        """Return the pulses that arrived since the last poll, stamped in ns."""
        return self._port.poll()

    def describe(self) -> str:
        """Return in words what is listened to."""
        return f"an emulated scanner with TR {self._tr_s:g} s"

    def close(self) -> None:
        """End the process and close the port."""
        end_child(self._child)
        self._port.close()
