"""Directories of TIFF and BigTIFF files that are too large for memory; `gantool.images.directories` has those that are not."""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from operator import add
from typing import BinaryIO, Final

from gantool.images.decoders import MAX_PAGES
from gantool.images.directories import CHILDREN, Field, Fields

_UNITS: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 1, 7: 1, 8: 2, 9: 4, 10: 4, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of what changes its order; rationals are two such numbers."""
_RATIONAL: Final = frozenset({5, 10})
_LETTERS: Final = {1: "B", 3: "H", 4: "I", 5: "I", 13: "I", 16: "Q"}
_PLACES: Final = ((273, 279), (324, 325))  # where strips and tiles lie, and how many bytes each has
_MOST_ROWS: Final = 1 << 16
_MOST: Final = 1 << 26  # bytes of the values of one directory


def numbers(field: Field | Fields | None) -> tuple[int, ...]:
    """Return whole numbers, or the numerators and denominators of rationals; nothing for what is none."""
    if not isinstance(field, Field) or field.kind not in _LETTERS:
        return ()
    letter = _LETTERS[field.kind]
    return struct.unpack(f"<{len(field.data) // struct.calcsize(letter)}{letter}", field.data)


class Directories:
    """The directories of an open file.

    Args:
        file: as long as they are read, nothing else does.
        size: of the file, in bytes.

    Raises:
        ValueError: it is no TIFF file.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size
        head = self._at(0, 16)
        self._order = {b"II": "<", b"MM": ">"}.get(head[:2], "")
        version = int.from_bytes(head[2:4], "little" if self._order == "<" else "big")
        if not self._order or version not in (42, 43):
            raise ValueError("it is no TIFF file")
        self._big = version == 43
        self._count, self._row, self._pointer = ("Q", "HHQ8s", "Q") if self._big else ("H", "HHI4s", "I")
        self._first = self._number(head[8:16] if self._big else head[4:8])

    def offsets(self) -> list[int]:
        """Return where the directories of the pages stand; of more than `MAX_PAGES`, the first ones and one more.

        Raises:
            ValueError: one lies outside of the file, or they run in a circle.
        """
        found: dict[int, None] = {}
        at = self._first
        while at and len(found) <= MAX_PAGES:
            if at in found:
                raise ValueError("its pages run in a circle")
            found[at] = None
            end = at + self._length(at)
            width = struct.calcsize(self._pointer)
            at = self._number(self._at(end, width))
        if not found:
            raise ValueError("it has no page")
        return list(found)

    def fields(self, at: int, tags: Collection[int]) -> Fields:
        """Return the fields with these tags of the directory at an offset, and all those of its children among them.

        Raises:
            ValueError: values lie outside of the file, or are unreasonably large.
        """
        left = [_MOST]
        return self._fields(at, tags, left, depth=0)

    def check_data(self, at: int) -> None:
        """Check that the pixels of the directory at an offset lie inside of the file.

        Raises:
            ValueError: they do not.
        """
        fields = self.fields(at, {tag for pair in _PLACES for tag in pair})
        for where, how_many in _PLACES:
            starts = numbers(fields.get(where))
            sizes = numbers(fields.get(how_many)) or (0,) * len(starts)  # which is for the decoder to find out
            if len(sizes) < len(starts) or max(map(add, starts, sizes), default=0) > self._size:
                raise ValueError("it is cut short")

    def _fields(self, at: int, tags: Collection[int] | None, left: list[int], depth: int) -> Fields:
        found: Fields = {}
        for tag, kind, count, value in self._rows(at):
            if (tags is not None and tag not in tags) or kind not in _UNITS:
                continue
            if tag in CHILDREN:
                if depth < 2:  # one that leads back to itself has no end
                    found[tag] = self._fields(self._number(value[: _UNITS[kind]]), None, left, depth + 1)
                continue
            size = count * _UNITS[kind] * (2 if kind in _RATIONAL else 1)
            left[0] -= size
            if left[0] < 0:
                raise ValueError("a directory is unreasonably large")
            data = value[:size] if size <= len(value) else self._at(self._number(value), size)
            found[tag] = Field(kind, count, self._little_endian(data, _UNITS[kind]))
        return found

    def _rows(self, at: int) -> Iterator[tuple[int, int, int, bytes]]:
        start = at + struct.calcsize(self._count)
        return struct.iter_unpack(self._order + self._row, self._at(start, self._length(at) + at - start))

    def _length(self, at: int) -> int:
        """Return how many bytes a directory has, up to the offset of the next one."""
        head = struct.calcsize(self._count)
        rows = self._number(self._at(at, head))
        if not 0 < rows <= _MOST_ROWS:
            raise ValueError("a directory is empty, or unreasonably large")
        return head + rows * struct.calcsize(self._order + self._row)

    def _at(self, at: int, count: int) -> bytes:
        if at + count > self._size and at:
            raise ValueError("it is cut short")
        self._file.seek(at)
        return self._file.read(count)

    def _number(self, data: bytes) -> int:
        return int.from_bytes(data, "little" if self._order == "<" else "big")

    def _little_endian(self, data: bytes, unit: int) -> bytes:
        if self._order == "<" or unit == 1:
            return data
        return b"".join(data[i : i + unit][::-1] for i in range(0, len(data), unit))
