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
    out.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{out.name}.incomplete-", dir=out.parent))
    staging.chmod(0o777 & ~_current_umask())
    try:
        yield staging
    except BaseException as failure:
        _explain_leftovers(staging, failure)
        raise
    outputs = {file.relative_to(staging).as_posix(): hash_file(file) for file in list_files(staging)}
    dataclasses.replace(provenance, outputs=outputs).write(staging)
    _move_into_place(staging, out)


def list_files(folder: Path) -> list[Path]:
    """Return all files below `folder`, sorted."""
    return sorted(file for file in folder.rglob("*") if file.is_file())


def _move_into_place(staging: Path, out: Path) -> None:
    if not out.exists() or not any(out.iterdir()):
        staging.replace(out)
        return
    (out / FILE_NAME).unlink(missing_ok=True)  # from here until the last rename the folder is incomplete, and says so
    for file in list_files(staging):
        if file.name == FILE_NAME and file.parent == staging:
            continue
        target = out / file.relative_to(staging)
        target.parent.mkdir(parents=True, exist_ok=True)
        file.replace(target)
    (staging / FILE_NAME).replace(out / FILE_NAME)
    for folder in sorted((path for path in staging.rglob("*") if path.is_dir()), reverse=True):
        folder.rmdir()
    staging.rmdir()


def _explain_leftovers(staging: Path, failure: BaseException) -> None:
    if not any(staging.iterdir()):
        staging.rmdir()
    else:
        failure.add_note(f"what was written so far stays in {staging}")


def _current_umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask
