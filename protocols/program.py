"""The edge of every command line: a refused input becomes one message and exit status 1."""

import errno
import sys
from collections.abc import Callable

from protocols.errors import InputError

EXIT_REFUSED = 1
_FULL_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # EFBIG: a limit on file sizes, a FAT file system's or the user's
_GONE = {errno.EIO, errno.ENODEV, errno.ENXIO, errno.ESTALE}


def run_program(program: Callable[[], object]) -> None:
    """Call `program`; print an `InputError` or a full disk as one message on stderr and exit with status 1.

    Raises
    ------
    SystemExit
        With status 1 where the input was refused; whatever `program` raises of its own otherwise.
    """
    try:
        program()
    except InputError as refusal:
        _print_refusal(str(refusal), refusal)
        sys.exit(EXIT_REFUSED)
    except OSError as failure:
        message = describe_os_error(failure)
        if message is None:
            raise
        _print_refusal(message, failure)
        sys.exit(EXIT_REFUSED)


def describe_os_error(failure: OSError) -> str | None:
    """Say in words what a person can mend (a full disk, one that was pulled out, no permission), or None where it is a defect."""
    where = failure.filename or "the output"
    if failure.errno in _FULL_DISK:
        return f"{where}: no space left on the disk; what was written stays; free some space and run the command again"
    if failure.errno in _GONE:
        return f"{where}: the disk does not answer any more; what was written stays there; plug it in again, or choose another disk"
    if isinstance(failure, PermissionError) or failure.errno == errno.EROFS:
        return f"{where}: permission denied; choose a place you may write to, or change its permissions"
    return None


def _print_refusal(message: str, failure: BaseException) -> None:
    notes = getattr(failure, "__notes__", [])
    print("; ".join([f"error: {message}", *notes]), file=sys.stderr)
