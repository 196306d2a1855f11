"""TIFF and BigTIFF in strips, written here: no library takes rows as they come, pages of other sizes, and EXIF, all at once.

libvips has pages of one size only and writes no EXIF; tifffile wants its rows through an iterator and has no EXIF either.
Strips are deflated, as differences from the pixel to the left, by several threads. Measured for a core on a photo enlarged
4x: 45 ms a megapixel at 1.12 times the size of zlib's level 6, which takes 250 ms.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import BinaryIO, Final

from gantool.bands import Band
from gantool.errors import say
from gantool.images.directories import (
    CHILDREN,
    LONG,
    LONG8,
    SHORT,
    UNDEFINED,
    Block,
    Field,
    Fields,
    numbers,
    packed,
    resolution,
)
from gantool.images.metadata import profile_fits
from gantool.images.page import Metadata, Page
from gantool.images.writers.base import Writer
from gantool.images.writers.deflate import deflater

CLASSIC_BYTES = 4_000_000_000
"""Of pixels: more get a BigTIFF file. Offsets of TIFF end at 2**32, and deflate may make what it cannot shrink a bit larger."""
_DESCRIPTIVE: Final = frozenset({270, 271, 272, 305, 306, 315, 316, 18246, 18249, 33432, *range(40091, 40096)}) | CHILDREN
"""Fields of EXIF's first directory that say something of the picture, rather than of the file it came from."""


class TiffWriter(Writer):
    """Writes TIFF in 8 or 16 bits, gray or RGB, with or without alpha; pages may differ in all that.

    EXIF and XMP go with the first page, resolution and profile with each that they fit.
    """

    def __init__(self, file: BinaryIO, pages: Sequence[Page], metadata: Metadata) -> None:
        super().__init__(file, pages, metadata)
        self._big = sum(page.width * page.height * page.channels * page.bits // 8 for page in pages) > CLASSIC_BYTES
        self._offset_bytes = 8 if self._big else 4
        self._page = pages[0]
        self._offsets: list[int] = []
        self._sizes: list[int] = []
        self._at = self._link = 0  # where the file ends, and where the offset of the next directory is to be put
        self._done = 0

    def begin(self, page: Page) -> None:
        """Write the head of the file before its first page."""
        if self._done == 0:
            head = struct.pack("<2s3HQ", b"II", 43, 8, 0, 0) if self._big else struct.pack("<2sHI", b"II", 42, 0)
            self._write(head)
            self._link = self._at - self._offset_bytes
        self._page = page
        self._offsets, self._sizes = [], []

    def encode(self, piece: Band, above: Band | None, last: bool) -> bytes:
        """Return a strip of deflated differences."""
        differences = piece.astype(piece.dtype.newbyteorder("<"))
        differences[:, 1:] -= piece[:, :-1]
        deflate = deflater(8 if piece.itemsize == 1 else 16)
        return deflate.compress(differences.data) + deflate.flush()

    def add(self, encoded: bytes, rows: int) -> None:
        """Write a strip."""
        self._offsets.append(self._at)
        self._sizes.append(len(encoded))
        self._write(encoded)

    def end(self) -> None:
        """Write the directory of the page, and its place to where the one before it, or the head, leads on."""
        self._write(bytes(self._at % 2))
        directory, place = packed(self._fields(self._page), self._at, self._big)
        self.file.seek(self._link)
        self.file.write(place.to_bytes(self._offset_bytes, "little"))
        self.file.seek(self._at)
        self._write(directory)
        self._link = self._at - self._offset_bytes
        self._done += 1

    def _fields(self, page: Page) -> Fields:
        offset = LONG8 if self._big else LONG
        fields: Fields = {
            256: numbers(LONG, page.width),
            257: numbers(LONG, page.height),
            258: numbers(SHORT, *[page.bits] * page.channels),
            259: numbers(SHORT, 8),  # deflate
            262: numbers(SHORT, 1 if page.channels < 3 else 2),  # gray, 0 is black; or RGB
            273: numbers(offset, *self._offsets),
            277: numbers(SHORT, page.channels),
            278: numbers(LONG, self.piece_rows(page)),
            279: numbers(offset, *self._sizes),
            284: numbers(SHORT, 1),  # channels side by side
            317: numbers(SHORT, 2),  # differences
        }
        if page.alpha:
            fields[338] = numbers(SHORT, 2)  # colours not multiplied by it
        if len(self.pages) > 1:
            fields |= {254: numbers(LONG, 2), 297: numbers(SHORT, self._done, len(self.pages))}
        return {**(self._described() if self._done == 0 else {}), **fields, **self._shared(page)}

    def _shared(self, page: Page) -> Fields:
        """Return what is said of every page."""
        fields: Fields = {**resolution(self.metadata.dpi)} if self.metadata.dpi else {}
        icc = self.metadata.icc
        if icc and profile_fits(icc, page.channels < 3):
            fields[34675] = Field(UNDEFINED, len(icc), icc)
        return fields

    def _described(self) -> Fields:
        """Return what EXIF and XMP say, with the directories of EXIF as they are, at another place."""
        fields: Fields = {}
        if self.metadata.exif:
            try:
                block = Block(self.metadata.exif)
                fields = {tag: field for tag, field in block.fields(block.first).items() if tag in _DESCRIPTIVE}
            except ValueError:
                say("damaged EXIF was left out of a TIFF file")
        if self.metadata.xmp:
            fields[700] = Field(1, len(self.metadata.xmp), self.metadata.xmp)
        return fields

    def _write(self, data: bytes) -> None:
        self.file.write(data)
        self._at += len(data)
