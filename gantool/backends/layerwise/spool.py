"""Maps that are too large for memory, in files that nobody sees and that vanish with the process, however it ends."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import tempfile
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from gantool.errors import OutOfMemory, RunError, printable


@contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = "is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else f"cannot be used: {error.strerror or error}"
        raise RunError(f"the folder for temporary files, {folder()}, {reason}: set TMPDIR to another") from error


def folder() -> str:
    """Return the folder for temporary files, as text to print."""
    return printable(tempfile.gettempdir())


def check_space(size: float) -> None:
    """Check that there is room for so many bytes.

    Raises:
        OutOfMemory: there is not.
    """
    with _disk_errors():
        free = shutil.disk_usage(tempfile.gettempdir()).free
    if size > free:
        raise OutOfMemory(
            f"the picture does not fit into memory, and {folder()} has {free / 2**30:.1f} GB of the {size / 2**30:.1f} that "
            "its feature maps take: set TMPDIR to a folder with more space, or crop the picture"
        )


class Spool:
    """A map of (height, width, channels) on disk, in the folder for temporary files.

    It is read and written, not mapped into memory: so none of it counts as taken, and a full disk is an error and no signal.
    The disk has its space back when nothing refers to the map, be it a thread that nobody waits for.
    """

    def __init__(self, shape: tuple[int, int, int], dtype: np.dtype[np.generic]) -> None:
        self._shape, self._dtype = shape, dtype
        with _disk_errors():
            self._file = tempfile.TemporaryFile(prefix="gantool-", buffering=0)  # noqa: SIM115  # for as long as the map lives
        weakref.finalize(self, self._file.close)
        self._lock = threading.Lock()

    def write(self, row: int, column: int, values: NDArray[np.generic]) -> None:
        """Put (rows, columns, channels) in their place.

        Raises:
            RunError: the disk is full.
        """
        with _disk_errors():
            for number, line in enumerate(np.ascontiguousarray(values)):
                self._write_at(self._offset(row + number, column), memoryview(line).cast("B"))

    def read(self, rows: slice, columns: slice) -> NDArray[np.generic]:
        """Return what was put there."""
        values = np.empty((rows.stop - rows.start, columns.stop - columns.start, self._shape[2]), self._dtype)
        for number, line in enumerate(values):
            self._read_at(self._offset(rows.start + number, columns.start), memoryview(line).cast("B"))
        return values

    def _offset(self, row: int, column: int) -> int:
        return (row * self._shape[1] + column) * self._shape[2] * self._dtype.itemsize

    def _write_at(self, offset: int, data: memoryview) -> None:
        while data:
            if sys.platform == "win32":
                with self._lock:
                    self._file.seek(offset)
                    done = self._file.write(data)
            else:
                done = os.pwrite(self._file.fileno(), data, offset)
            offset, data = offset + done, data[done:]

    def _read_at(self, offset: int, data: memoryview) -> None:
        while data:
            if sys.platform == "win32":
                with self._lock:
                    self._file.seek(offset)
                    done = self._file.readinto(data)
            else:
                done = os.preadv(self._file.fileno(), [data], offset)
            if not done:
                raise EOFError("a part of a map was read before it was written")
            offset, data = offset + done, data[done:]
