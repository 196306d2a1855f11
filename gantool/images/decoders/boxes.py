"""Boxes, of which AVIF and JPEG 2000 files are made: a length, a type of four letters, contents."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

_MOST: Final = 1 << 24  # bytes of a box that is read: those with pixels are larger, and nobody reads them here


@dataclass(frozen=True)
class Box:
    """Where a box lies in its file.

    Attributes:
        kind: its type.
        start: of its contents.
        stop: behind its contents.
    """

    kind: bytes
    start: int
    stop: int

    def read(self, file: BinaryIO, skip: int = 0) -> bytes:
        """Return its contents, without the first `skip` bytes.

        Raises:
            ValueError: they are cut short, or unreasonably many.
        """
        size = self.stop - self.start - skip
        file.seek(self.start + skip)
        data = file.read(size) if 0 <= size <= _MOST else b""
        if len(data) != size:
            raise ValueError(f"its part {self.kind.decode('latin-1')!r} is damaged")
        return data


def boxes(file: BinaryIO, start: int, stop: int) -> Iterator[Box]:
    """Give the boxes that lie in a part of a file, one behind the other.

    Raises:
        ValueError: one reaches beyond the part.
    """
    while start < stop:
        file.seek(start)
        head = file.read(16)
        length, contents = int.from_bytes(head[:4], "big"), start + 8
        if length == 1:
            length, contents = int.from_bytes(head[8:16], "big"), start + 16
        end = stop if length == 0 else start + length
        if not contents <= end <= stop:
            raise ValueError("it is cut short")
        yield Box(head[4:8], contents, end)
        start = end
