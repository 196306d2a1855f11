"""The one writer of files: under a temporary name in the same folder, then renamed, so nobody ever sees half a file.

And claims, by which several processes that fill one folder agree on who makes which file. Both rest on locks that end with
their process however it ends, so that what a killed one left behind is known for that.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import stat
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from gantool.errors import GantoolError, InputError, RunError, printable

TEMPORARY = ".gantool-tmp"
_NO_LINKS = getattr(os, "O_NOFOLLOW", 0)  # nobody else decides, by a link, what is opened


def write_error(path: Path, error: OSError) -> GantoolError:
    """Return the error for a file that cannot be written: a full disk ends the run, anything else this file."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return RunError(f"disk full while writing {printable(path)}: free some space and run again with --skip-existing")
    return InputError(f"{printable(path)} cannot be written: {error.strerror or error}")


def check_place(path: Path) -> None:
    """Check that a file can have this name, and that nothing but a file has it already: nothing else is ever replaced.

    Raises:
        InputError: it cannot, or something has.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise InputError(f"{printable(path)} cannot be written: it exists and is not a file")
    except FileNotFoundError:
        return
    except OSError as error:
        raise write_error(path, error) from error


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; what was written there takes its place when the block ends without an error.

    The temporary file is locked while its writer lives, which tells `clear_stale` what was left behind by a killed one.

    Raises:
        RunError: the disk is full.
        InputError: the folder is not writable, or `path` is something else than a file.
    """
    check_place(path)
    temporary = path.parent / f".{secrets.token_hex(8)}{TEMPORARY}{path.suffix}"
    try:
        handle = _own(temporary, os.O_CREAT | os.O_EXCL, wait=True)
    except OSError as error:
        raise write_error(path, error) from error
    assert handle is not None
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        os.close(handle)


@contextmanager
def claim(path: Path, wait: bool = False) -> Iterator[bool]:
    """Yield whether `path` is this process's to make until the block ends; all others that ask get no for an answer.

    A claim is the lock of a hidden, empty file beside `path`, which is removed at its end. Where the file system has no locks
    everybody gets yes: two may then make the same file, each of them whole.

    Args:
        path: a file, there or not, in a folder that is there.
        wait: if another process has it, wait until that one is done, or gone.

    Raises:
        RunError: the disk is full.
        InputError: the folder is not writable.
    """
    place = path.parent / f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]}{TEMPORARY}.lock"
    try:
        handle = _own(place, os.O_CREAT, wait)
    except OSError as error:
        raise write_error(path, error) from error
    if handle is None:
        yield False
        return
    try:
        yield True
    finally:
        with suppress(OSError):
            place.unlink()  # while it is locked: whoever waits for it finds it gone, and makes a new one
        os.close(handle)


def clear_stale(folder: Path) -> None:
    """Remove the temporary files and claims that killed runs left in a folder; those of living runs stay."""
    with suppress(OSError):
        for path in folder.glob(f".*{TEMPORARY}*"):
            with suppress(OSError):
                _remove_if_left(path)


def _remove_if_left(path: Path) -> None:
    if not stat.S_ISREG(path.lstat().st_mode):
        return
    handle = os.open(path, os.O_RDWR | _NO_LINKS)
    try:
        if _lock(handle, wait=False) and _is_at(path, handle):
            path.unlink()
    finally:
        os.close(handle)


def _own(path: Path, flags: int, wait: bool) -> int | None:
    """Open a file and lock it, where there are locks; return its descriptor, or None if another process has it."""
    while True:
        with ExitStack() as unless_mine:
            handle = os.open(path, os.O_RDWR | flags | _NO_LINKS, 0o666)
            unless_mine.callback(os.close, handle)
            if _lock(handle, wait) is False:
                return None
            if _is_at(path, handle):  # else it was removed by whoever had it first, and its lock means nothing
                unless_mine.pop_all()
                return handle


def _is_at(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.lstat(path))
    except FileNotFoundError:
        return False


def _lock(handle: int, wait: bool) -> bool | None:
    """Take a file's lock, which ends with the process however it ends; return whether it was free, None if there are none."""
    if sys.platform == "win32":
        return None
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True
