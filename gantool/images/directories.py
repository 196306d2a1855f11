"""Directories of TIFF, which EXIF uses too: numbered fields, in a table whose larger values lie elsewhere in the file."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final, TypeAlias

SHORT, LONG, RATIONAL, UNDEFINED = 3, 4, 5, 7
LONG8 = 16  # of BigTIFF alone
_UNITS: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}
"""Bytes of one value of each kind; a rational is two numbers of four."""

_MOST_ROWS = 4096  # of a directory that is read: cameras write some dozens

EXIF, GPS, INTEROPERABILITY = 34665, 34853, 40965
CHILDREN: Final = frozenset({EXIF, GPS, INTEROPERABILITY})
"""Fields that lead to a directory of their own."""


@dataclass(frozen=True)
class Field:
    """What stands under one tag.

    Attributes:
        kind: how the values are stored, such as `SHORT`.
        count: how many there are.
        data: all of them, little-endian.
    """

    kind: int
    count: int
    data: bytes


Fields: TypeAlias = "dict[int, Field | Fields]"
"""A directory: field by tag, or a directory for the tags of `CHILDREN`."""


def numbers(kind: int, *values: int) -> Field:
    """Return the field of whole numbers (SHORT, LONG or LONG8), or of numerators and denominators by turns (RATIONAL)."""
    letter = {SHORT: "H", LONG: "I", RATIONAL: "I", LONG8: "Q"}[kind]
    return Field(kind, len(values) // (2 if kind == RATIONAL else 1), struct.pack(f"<{len(values)}{letter}", *values))


def resolution(dpi: tuple[float, float]) -> dict[int, Field]:
    """Return the fields that say how many pixels an inch has, across and down."""
    across, down = (numbers(RATIONAL, round(value * 1000), 1000) for value in dpi)
    return {282: across, 283: down, 296: numbers(SHORT, 2)}


def packed(fields: Fields, at: int, big: bool = False) -> tuple[bytes, int]:
    """Return the bytes of a directory that will stand at offset `at` of its file, and the offset of its table.

    They end with the offset of the next directory, which is 0: 4 bytes, or 8 in a BigTIFF file (`big`).
    """
    counts, entry, inline, pointer = ("<Q", "<HHQ", 8, LONG8) if big else ("<H", "<HHI", 4, LONG)
    values, table = bytearray(bytes(at % 2)), bytearray()
    for tag, field in sorted(fields.items()):
        if isinstance(field, dict):
            child, place = packed(field, at + len(values), big)
            values += child
            field = numbers(pointer, place)
        data = field.data
        if len(data) > inline:
            data = numbers(pointer, at + len(values)).data
            values += field.data + bytes(len(field.data) % 2)  # every offset is even
        table += struct.pack(entry, tag, field.kind, field.count) + data.ljust(inline, b"\0")
    return bytes(values) + struct.pack(counts, len(fields)) + bytes(table) + bytes(inline), at + len(values)


@dataclass
class Entry:
    """A row of a table inside a block that is read: what it says, and where its values lie."""

    tag: int
    kind: int
    count: int
    value: bytes  # the last four bytes of the row: the values themselves, or their offset
    data: slice


class Block:
    """A TIFF structure in memory whose rows can be changed or taken out where they stand, so that nothing else moves.

    Args:
        data: the structure from its byte order on.

    Raises:
        ValueError: it is none.
    """

    def __init__(self, data: bytes) -> None:
        order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
        if order is None or len(data) < 8:
            raise ValueError("no TIFF structure")
        self.data = bytearray(data)
        self._order = order
        self.first = self.integer(data[4:8])

    def integer(self, data: bytes | bytearray) -> int:
        """Return the whole number of 2 or 4 bytes."""
        return int.from_bytes(data, "little" if self._order == "<" else "big")

    def table(self, at: int) -> list[Entry]:
        """Return the rows of a directory, without those whose values would lie outside.

        Raises:
            ValueError: there is no directory at this offset, or its values together are larger than the block.
        """
        size = self._size(at)
        rows = [self._entry(row) for row in range(at + 2, at + size, 12)]
        inside = [row for row in rows if row.data.start >= 8 and row.data.stop <= len(self.data)]
        if sum(row.data.stop - row.data.start for row in inside) > 2 * len(self.data):
            raise ValueError("values overlap")  # each copied by itself, they could fill the memory
        return inside

    def next(self, at: int) -> int:
        """Return the offset of the directory that follows the one at `at`, 0 if there is none."""
        end = at + self._size(at)
        return self.integer(self.data[end : end + 4])

    def store(self, at: int, rows: list[Entry]) -> None:
        """Put rows, not more than it had, in place of a directory's table; no directory follows it then."""
        size = self._size(at)
        pieces = (struct.pack(f"{self._order}HHI", row.tag, row.kind, row.count) + row.value for row in rows)
        table = struct.pack(f"{self._order}H", len(rows)) + b"".join(pieces)
        place = slice(at, min(at + size + 4, len(self.data)))
        self.data[place] = table.ljust(place.stop - at, b"\0")

    def set(self, row: Entry, value: int) -> None:
        """Make a row one whole number: SHORT, or LONG from 65,536 on."""
        row.kind, letters = (SHORT, "H2x") if value < 1 << 16 else (LONG, "I")
        row.count, row.value = 1, struct.pack(f"{self._order}{letters}", value)

    def erase(self, at: int) -> None:
        """Overwrite a directory and all its values with zeros."""
        for row in self.table(at):
            self.data[row.data] = bytes(row.data.stop - row.data.start)
        size = self._size(at)
        self.data[at : at + size] = bytes(size)

    def end(self, at: int) -> int:
        """Return where the last of a directory's bytes ends; those of its children do not count."""
        ends: list[int] = [row.data.stop for row in self.table(at)]
        return max([at + self._size(at) + 4, *ends])

    def fields(self, at: int, depth: int = 0) -> Fields:
        """Return a directory with its children, as `packed` takes it."""
        found: Fields = {}
        for row in self.table(at):
            if row.tag not in CHILDREN:
                found[row.tag] = Field(row.kind, row.count, self._little_endian(row))
            elif depth < 2 and row.tag not in found:  # one that leads back to itself has no end
                found[row.tag] = self.fields(self.integer(row.value), depth + 1)
        return found

    def _size(self, at: int) -> int:
        size: int = 2 + 12 * self.integer(self.data[at : at + 2])
        if at < 8 or at + size > len(self.data):
            raise ValueError("a directory lies outside")
        if size > 2 + 12 * _MOST_ROWS:
            raise ValueError("a directory is too long")
        return size

    def _entry(self, at: int) -> Entry:
        tag, kind, count = struct.unpack_from(f"{self._order}HHI", self.data, at)
        value = bytes(self.data[at + 8 : at + 12])
        size = count * _UNITS[kind] if kind in _UNITS else len(self.data)  # which fits nowhere
        start = at + 8 if size <= 4 else self.integer(value)
        return Entry(tag, kind, count, value, slice(start, start + size))

    def _little_endian(self, row: Entry) -> bytes:
        data = bytes(self.data[row.data])
        unit = 4 if row.kind in (5, 10) else _UNITS[row.kind]
        if self._order == "<" or unit == 1:
            return data
        return b"".join(data[i : i + unit][::-1] for i in range(0, len(data), unit))
