"""A folder is written beside its place and moved there whole, its `provenance.json` last.

Nothing is deleted: a non-empty folder is refused unless `overwrite`, which replaces only the files that
the command itself writes, and only once all the new ones are complete.
"""

import dataclasses
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from protocols.errors import InputError
from protocols.provenance import FILE_NAME, Provenance, hash_file


def refuse_non_empty(out: Path, overwrite: bool = False) -> None:
    """Refuse an output folder that holds anything, unless `overwrite`; call it before any work."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; name another output folder")
    if not overwrite and out.is_dir() and any(out.iterdir()):
        raise InputError(f"{out}: is not empty; name another output folder, or give --overwrite to replace this command's files there")


@contextmanager
def staged_folder(out: Path, provenance: Provenance, overwrite: bool = False) -> Iterator[Path]:
    """Yield a staging folder; on success move its files to `out` and write `provenance` there, with their sha256, last.

    On failure nothing reaches `out`; what was written stays in the staging folder, which the error names.
    """
    refuse_non_empty(out, overwrite)
    place = out.resolve()
    place.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{place.name}.incomplete-", dir=place.parent))
    staging.chmod(0o777 & ~current_umask())
    try:
        yield staging
        outputs = {file.relative_to(staging).as_posix(): hash_file(file) for file in list_files(staging)}
        dataclasses.replace(provenance, outputs=outputs).write(staging)
        _move_into_place(staging, place)
    except BaseException as failure:
        _explain_leftovers(staging, failure)
        raise


def list_files(folder: Path) -> list[Path]:
    """Return all files below `folder`, sorted."""
    return sorted(file for file in folder.rglob("*") if file.is_file())


def _move_into_place(staging: Path, out: Path) -> None:
    if not out.exists():
        staging.replace(out)
        return
    former = Path(tempfile.mkdtemp(prefix=f".{out.name}.replaced-", dir=out.parent))
    files = [file.relative_to(staging) for file in list_files(staging) if file != staging / FILE_NAME]
    moved: list[tuple[Path, Path]] = []
    try:
        if (out / FILE_NAME).exists():  # from here until the last rename the folder is incomplete, and says so
            _move(out / FILE_NAME, former / FILE_NAME, moved)
        for name in files:
            if (out / name).exists():
                _move(out / name, former / name, moved)
            _move(staging / name, out / name, moved)
        _move(staging / FILE_NAME, out / FILE_NAME, moved)
    except BaseException:
        for source, target in reversed(moved):
            target.replace(source)
        _remove_empty(former)
        raise
    for name in list_files(former):
        name.unlink()
    _remove_empty(former)
    _remove_empty(staging)


def _move(source: Path, target: Path, moved: list[tuple[Path, Path]]) -> None:
    """Rename a file and note it in `moved`, so that the moves can be taken back in reverse."""
    target.parent.mkdir(parents=True, exist_ok=True)
    source.replace(target)
    moved.append((source, target))


def _remove_empty(folder: Path) -> None:
    """Remove a folder of folders that holds no file any more."""
    for inner in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
        inner.rmdir()
    folder.rmdir()


def _explain_leftovers(staging: Path, failure: BaseException) -> None:
    if not list_files(staging):
        _remove_empty(staging)
    else:
        failure.add_note(f"what was written so far stays in {staging}")


def current_umask() -> int:
    """Return the process's umask: the permissions that new files are made without."""
    umask = os.umask(0)
    os.umask(umask)
    return umask
