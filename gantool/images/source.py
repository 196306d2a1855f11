"""Where a picture comes from: a regular file, or bytes from standard input."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import BinaryIO, TypeAlias

from gantool.errors import InputError

MAX_BYTES = 1 << 30  # of one picture on standard input, and of formats that are held in memory as a whole
_Identity: TypeAlias = tuple[int, int, int, int]


class Source:
    """A file that can be opened several times, and is the same each time; or bytes.

    Devices, pipes and sockets are never opened, as reading them might never end.

    Args:
        origin: path of the file, or the bytes themselves.
        name: what messages call it, safe to print.

    Raises:
        InputError: there is no such file, it is empty, or it is no regular file.
    """

    def __init__(self, origin: Path | bytes, name: str) -> None:
        self.name = name
        self._origin = origin
        if isinstance(origin, bytes):
            self._identity = (0, 0, len(origin), 0)
        else:
            with self._reporting():
                self._identity = self._identified(os.stat(origin))
        if self.size == 0:
            raise InputError(f"{name} is empty")

    @property
    def data(self) -> bytes | None:
        """All of it, where it is in memory anyway."""
        return self._origin if isinstance(self._origin, bytes) else None

    @property
    def size(self) -> int:
        """Bytes it has."""
        return self._identity[2]

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Open it at its start.

        Raises:
            InputError: it cannot be opened, or is no longer the file it was.
        """
        if isinstance(self._origin, bytes):
            yield BytesIO(self._origin)
            return
        with self._reporting():  # should it have become a pipe meanwhile, O_NONBLOCK does not wait for its writer
            handle = os.open(self._origin, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(handle, "rb") as file:
            self._compare(os.fstat(handle))
            yield file

    def read(self) -> bytes:
        """Return all of it.

        Raises:
            InputError: it is too large for that.
        """
        if isinstance(self._origin, bytes):
            return self._origin
        if self.size > MAX_BYTES:
            raise InputError(f"{self.name} has {self.size} bytes; of its format, files up to {MAX_BYTES} are read")
        with self.open() as file, self._reporting():
            data = file.read(self.size + 1)
        self.check(len(data))
        return data

    def check(self, size: int | None = None) -> None:
        """Check that the file is as it was at first, and that `size` is what was read of it.

        Raises:
            InputError: it is not.
        """
        if not isinstance(self._origin, bytes):
            with self._reporting():
                self._compare(os.stat(self._origin), size)

    def _compare(self, status: os.stat_result, size: int | None = None) -> None:
        if self._identified(status) != self._identity or size not in (None, self.size):
            raise InputError(f"{self.name} changed while it was read: run again when nothing writes to it")

    def _identified(self, status: os.stat_result) -> _Identity:
        if not S_ISREG(status.st_mode):
            kind = "a folder" if S_ISDIR(status.st_mode) else "a device or pipe"
            raise InputError(f"{self.name} is {kind}, not a picture file")
        return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(f"{self.name} cannot be read: {error.strerror or error}") from error
