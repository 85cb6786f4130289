import subprocess
import sys
from pathlib import Path

import experiment

PACKAGE = Path(experiment.__file__).parent
MODULES = sorted(f"experiment.{path.stem}" for path in PACKAGE.glob("*.py") if path.stem != "__init__")
FOREIGN = ["torch", "torchvision", "nilearn", "nibabel", "statsmodels", "scipy", "matplotlib", "stimgen", "analysis"]
LAZY = ["psychopy", "psychtoolbox", "serial", "parallel", "pyglet", "Xlib"]

IMPORT_ALL = f"""
import importlib, sys, threading
for name in {FOREIGN + LAZY}:
    sys.modules[name] = None
for name in {MODULES}:
    importlib.import_module(name)
assert threading.active_count() == 1
"""


def test_every_module_imports_without_foreign_and_device_libraries_and_does_nothing():
    assert len(MODULES) > 20
    done = subprocess.run([sys.executable, "-W", "error", "-c", IMPORT_ALL], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_psychopy_is_imported_in_one_file():
    importing = [path.name for path in PACKAGE.glob("*.py") if "import psychopy" in path.read_text() or "from psychopy" in path.read_text()]
    assert importing == ["screen.py"]


def test_every_command_has_help_with_an_example():
    listed = subprocess.run([sys.executable, "-m", "experiment", "--help"], capture_output=True, text=True, check=True).stdout
    from experiment.__main__ import app

    for command in app.registered_commands:
        assert command.name in listed
        assert f"Example: experiment {command.name}" in command.callback.__doc__
