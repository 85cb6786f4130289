"""The process that reads a serial port for a session: device and baud in; on stdout `ready`, then time in ns and value of each byte.

A thread of the session would have to wait for Python's lock before it can stamp, which a busy session, itself put off by other
programs, may keep for long. This process has a lock of its own; all processes of a machine share the monotonic clock.
"""

import sys
import time

from experiment.child_process import end_with_parent, take_precedence

READY = "ready"
WAIT_S = 0.05


def main(device: str, baud: int) -> None:
    """Read until standard input ends; when the port fails, say why in the last line."""
    end_with_parent(sys.stdin.buffer)
    take_precedence()
    try:
        import serial

        port = serial.Serial(device, baud, timeout=WAIT_S)  # opening drops what came before
        print(READY, flush=True)
        while True:
            for byte in port.read(1):
                print(time.monotonic_ns(), byte, flush=True)
    except Exception as problem:  # drivers raise what they like; the session must learn of it
        print(str(problem).replace("\n", " "), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
