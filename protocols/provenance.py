"""How a folder came to be: command, resolved configuration, versions, seeds and the sha256 of every input.

`provenance.json` is written last, by rename. A folder without it is incomplete, and every reader refuses it.
"""

import dataclasses
import datetime
import hashlib
import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from protocols.config import parse_config
from protocols.errors import InputError
from protocols.tables import read_json, write_text

FILE_NAME = "provenance.json"
FORMAT_VERSION = 1
DISTRIBUTION = "voxdrive"
_ROOT = Path(__file__).resolve().parent.parent
_GIT_TIMEOUT_S = 10
_RECORDED = (
    "numpy", "pandas", "pillow", "torch", "torchvision", "himalaya", "scipy", "h5py", "nibabel", "nilearn", "statsmodels", "psychopy",
)  # fmt: skip


@dataclass(frozen=True)
class Provenance:
    """The recipe of one folder. `inputs` maps each input's name to its sha256; `outputs` each file's, relative to the folder."""

    command: str
    config: dict[str, Any] = field(default_factory=dict)
    seeds: dict[str, int] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    code_version: str = ""
    packages: dict[str, str] = field(default_factory=dict)
    created: str = ""
    format_version: int = FORMAT_VERSION

    @classmethod
    def collect(
        cls, command: str, config: Mapping[str, Any], inputs: Mapping[str, Path], seeds: Mapping[str, int] | None = None
    ) -> "Provenance":
        """Record versions now and hash every input (a file, or a folder through its own provenance)."""
        return cls(
            command=command,
            config=dict(config),
            seeds=dict(seeds or {}),
            inputs={name: hash_input(path) for name, path in inputs.items()},
            code_version=describe_code(),
            packages=list_versions(),
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        )

    def write(self, folder: Path) -> None:
        """Write `provenance.json` into `folder`; call it last, when every other file is complete."""
        write_text(json.dumps(dataclasses.asdict(self), indent=2, sort_keys=True) + "\n", folder / FILE_NAME)

    @classmethod
    def read(cls, folder: Path) -> "Provenance":
        """Read a folder's provenance.

        Raises
        ------
        InputError
            When the folder or its `provenance.json` is missing (the folder is incomplete) or cannot be read.
        """
        path = folder / FILE_NAME
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder")
        if not path.is_file():
            raise InputError(f"{folder}: has no {FILE_NAME}, so it is incomplete; run the command that makes it again")
        return cls.read_file(path)

    @classmethod
    def read_file(cls, path: Path) -> "Provenance":
        """Read a provenance by its file: a folder's own, or the copy of another folder's.

        Raises
        ------
        InputError
            When it cannot be read.
        """
        values = read_json(path, "copy the folder again")
        if values.get("format_version") != FORMAT_VERSION:
            raise InputError(f"{path}: format_version {values.get('format_version')!r}; this version reads {FORMAT_VERSION}")
        return parse_config(values, cls, str(path))

    def verify_outputs(self, folder: Path) -> None:
        """Check that every file that the command wrote is there and unchanged.

        Raises
        ------
        InputError
            Naming the first file that is missing or does not match its sha256.
        """
        for name, expected in self.outputs.items():
            path = folder / name
            if not path.is_file():
                raise InputError(f"{path}: missing, although {FILE_NAME} lists it; copy the folder again")
            if hash_file(path) != expected:
                raise InputError(f"{path}: does not match its sha256 in {FILE_NAME}; copy the folder again")


def hash_file(path: Path) -> str:
    """Return the sha256 of a file as hexadecimal digits."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None


def hash_input(path: Path) -> str:
    """Return the sha256 that names an input: a file's own, or that of a folder's `provenance.json`.

    A folder that no program of ours wrote (a folder of photographs) is named by the sha256 over its files' names and contents.
    """
    if path.is_file():
        return hash_file(path)
    if (path / FILE_NAME).is_file():
        return hash_file(path / FILE_NAME)
    if not path.is_dir():
        raise InputError(f"{path}: no such file or folder")
    digest = hashlib.sha256()
    files = {file.relative_to(path).as_posix(): file for file in path.rglob("*") if file.is_file()}
    for name in sorted(files):  # as text: paths sort differently on Windows
        digest.update(f"{name} {hash_file(files[name])}\n".encode())
    return digest.hexdigest()


def describe_code(root: Path = _ROOT) -> str:
    """Return the version of this code: the installed one, and where `root` is a git checkout its commit.

    For example `0.1.0+g2a0108b`; `.dirty` follows where tracked files differ from the commit.
    """
    version = _installed_version(DISTRIBUTION) or "not installed"
    if not (root / ".git").exists():
        return version
    command = ["git", "-C", str(root), "describe", "--always", "--exclude=*", "--dirty=.dirty"]
    try:
        described = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_GIT_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError):
        return version  # no git on this machine, or a checkout without a commit
    return f"{version}+g{described.stdout.strip()}"


def list_versions() -> dict[str, str]:
    """Return the version of each recorded library that is installed."""
    return {name: version for name in _RECORDED if (version := _installed_version(name))}


def _installed_version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
