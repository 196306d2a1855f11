"""The one writer of files: under a temporary name in the same folder, then renamed, so nobody ever sees half a file."""

from __future__ import annotations

import errno
import os
import secrets
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gantool.errors import GantoolError, InputError, RunError, printable

TEMPORARY = ".gantool-tmp"
_NEW_SECONDS = 60  # a temporary file is left alone for so long, as its writer may not hold its lock yet


def write_error(path: Path, error: OSError) -> GantoolError:
    """Return the error for a file that cannot be written: a full disk ends the run, anything else this file."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return RunError(f"disk full while writing {printable(path)}: free some space and run again with --skip-existing")
    return InputError(f"{printable(path)} cannot be written: {error.strerror or error}")


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; what was written there takes its place when the block ends without an error.

    The temporary file is locked while its writer lives, which tells `clear_stale` what was left behind by a killed one.

    Raises:
        RunError: the disk is full.
        InputError: the folder is not writable, or `path` is something else than a file: nothing but files is ever replaced.
    """
    temporary = path.parent / f".{secrets.token_hex(8)}{TEMPORARY}{path.suffix}"
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{printable(path)} cannot be written: it exists and is not a file")
        handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    except OSError as error:
        raise write_error(path, error) from error
    try:
        _lock(handle)
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        os.close(handle)
        temporary.unlink(missing_ok=True)


def clear_stale(folder: Path) -> None:
    """Remove the temporary files that killed runs left in a folder; those of living runs stay."""
    with suppress(OSError):
        for path in folder.glob(f".*{TEMPORARY}*"):
            with suppress(OSError):
                _remove_if_left(path)


def _remove_if_left(path: Path) -> None:
    if time.time() - path.stat().st_mtime < _NEW_SECONDS or not stat.S_ISREG(path.lstat().st_mode):
        return
    handle = os.open(path, os.O_RDWR)
    try:
        if _lock(handle):
            path.unlink()
    finally:
        os.close(handle)


def _lock(handle: int) -> bool:
    """Take a file's lock, which ends with the process however it ends; return whether it was free."""
    if sys.platform == "win32":
        return False
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
