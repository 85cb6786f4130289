"""Each package imports without what its computer does not have, prints nothing and starts nothing.

What a package must do without stands once, in the import contracts of pyproject.toml. import-linter reads import
statements; this test runs them in a process where the foreign modules are absent, which also finds `importlib`.
"""

import ast
import json
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("protocols", "stimgen", "experiment", "analysis")
IMPORT_ALL = """
import importlib, json, os, pkgutil, sys, threading, traceback
package, foreign, report = sys.argv[1], sys.argv[2].split(), sys.argv[3]
sys.modules.update(dict.fromkeys(foreign))
folder = os.getcwd()
names = [package, *(found.name for found in pkgutil.walk_packages([os.path.join(folder, package)], package + "."))]
failed = {}
for name in names:
    try:
        importlib.import_module(name)
    except BaseException:
        failed[name] = traceback.format_exc(limit=-3)
threads = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
with open(report, "w") as stream:
    json.dump({"names": names, "failed": failed, "threads": threads, "moved": os.getcwd() != folder}, stream)
"""


@dataclass(frozen=True)
class Imported:
    """What came of importing every module of a package: its modules, tracebacks by module, threads, what was printed."""

    names: list[str]
    failed: dict[str, str]
    threads: list[str]
    moved: bool
    printed: str


def import_all(package, foreign, root, report):
    """Import every module of `package` below `root` in a process in which the `foreign` modules are absent."""
    command = [sys.executable, "-c", IMPORT_ALL, package, " ".join(foreign), str(report)]
    process = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    return Imported(**json.loads(report.read_text()), printed=process.stdout + process.stderr)


def list_foreign(package):
    """Return what `package` must do without: its forbidden modules, and the packages that it is not built on."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    forbidden = [name for contract in contracts if contract.get("source_modules") == [package] for name in contract["forbidden_modules"]]
    return [*forbidden, *(other for other in PACKAGES if other not in (package, "protocols"))]


@pytest.fixture(scope="module", params=PACKAGES)
def imported(request, tmp_path_factory):
    """One process per package."""
    return import_all(request.param, list_foreign(request.param), ROOT, tmp_path_factory.mktemp("imports") / "report.json")


def test_every_module_imports_where_the_foreign_ones_are_absent(imported):
    assert imported.failed == {}


def test_importing_prints_nothing_and_starts_nothing(imported):
    assert (imported.printed, imported.threads, imported.moved) == ("", [], False)


def test_no_module_is_passed_over(imported):
    package = imported.names[0]
    files = {path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".") for path in (ROOT / package).rglob("*.py")}
    assert {name.removesuffix(".__init__") for name in files} == set(imported.names)


@pytest.mark.parametrize(
    ("package", "foreign"),
    [
        ("protocols", {"torch", "torchvision", "nilearn", "nibabel", "statsmodels", "psychopy", "stimgen", "experiment", "analysis"}),
        ("stimgen", {"psychopy", "nilearn", "statsmodels", "experiment", "analysis"}),
        ("experiment", {"torch", "torchvision", "nilearn", "nibabel", "statsmodels", "stimgen", "analysis"}),
        ("analysis", {"torch", "torchvision", "psychopy", "stimgen", "experiment"}),
    ],
)
def test_the_contracts_are_those_of_the_dependency_rule(package, foreign):
    assert foreign <= set(list_foreign(package))


def list_imports(path):
    """Return the top-level names of everything that a file imports anywhere, in functions too."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    plain = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    taken = [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and node.level == 0]
    return {name.partition(".")[0] for name in plain + taken}


def test_psychopy_is_imported_in_one_file():
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    assert [path.relative_to(ROOT).as_posix() for path in files if "psychopy" in list_imports(path)] == ["experiment/screen.py"]


@pytest.mark.parametrize(
    ("source", "failed", "printed", "threads"),
    [
        ("import json", [], "", []),
        ("def work():\n    import colorsys", [], "", []),
        ("import colorsys", ["fake.deep.module"], "", []),
        ("from colorsys import rgb_to_hsv", ["fake.deep.module"], "", []),
        ("import importlib\nimportlib.import_module('colorsys')", ["fake.deep.module"], "", []),
        ("import sys\nsys.exit(3)", ["fake.deep.module"], "", []),
        ("print('hello')", [], "hello\n", []),
        ("import warnings\nwarnings.warn('old')", [], "UserWarning: old", []),
        ("import threading, time\nthreading.Thread(target=time.sleep, args=[1], name='busy').start()", [], "", ["busy"]),
    ],
)
def test_what_breaks_the_rule_is_found(source, failed, printed, threads, tmp_path):
    """The check is checked on a package made for it; `colorsys` stands for a library that the computer lacks."""
    (tmp_path / "fake" / "deep").mkdir(parents=True)
    for name, text in (("fake/__init__.py", ""), ("fake/deep/__init__.py", ""), ("fake/deep/module.py", source)):
        (tmp_path / name).write_text(text)
    found = import_all("fake", ["colorsys"], tmp_path, tmp_path / "report.json")
    assert found.names == ["fake", "fake.deep", "fake.deep.module"]
    assert list(found.failed) == failed
    assert printed in found.printed
    assert bool(printed) == bool(found.printed)
    assert found.threads == threads
