"""A display for benchmarks: an Xvfb of their own on a free number, DISPLAY set for this process."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def open_display(width_px: int = 1280, height_px: int = 1024, *options: str) -> Iterator[str]:
    """Yield the name of a new X display, which is DISPLAY as long as the context lasts."""
    reading, writing = os.pipe()
    screen = ("-screen", "0", f"{width_px}x{height_px}x24", "+extension", "GLX", "+render", "-noreset", *options)
    command = ["Xvfb", "-displayfd", str(writing), *screen]
    server = subprocess.Popen(command, pass_fds=[writing], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(writing)
    with os.fdopen(reading) as stream:
        name = f":{stream.readline().strip()}"
    before = os.environ.get("DISPLAY")
    os.environ["DISPLAY"] = name
    try:
        yield name
    finally:
        os.environ.pop("DISPLAY") if before is None else os.environ.update(DISPLAY=before)
        server.terminate()
        server.wait()
