"""JPEG, in pieces of whole blocks: restart markers let each begin anew, so cores share the work and none knows the height.

OpenCV encodes the pieces, as it lets other threads run meanwhile, which Pillow does not; pixels and size are those of the
whole picture encoded at once, but for a few bytes a piece. Measured for a core: 6 ms a megapixel at quality 95, 3 ms at 75.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import BinaryIO, Final

import cv2

from gantool.bands import Band
from gantool.errors import say
from gantool.images.page import Metadata, Page
from gantool.images.writers.base import PIECE_BYTES, Writer

_BLOCK_ROWS: Final = 16  # of the tallest block: 16 where colours are halved, else 8
_MOST_ROWS: Final = 4096  # of a piece, which may have 65,535 blocks
_MOST_BYTES: Final = 65_533  # of what one segment holds
_FRAME, _SCAN, _RESTARTS, _INTERVAL = 0xC0, 0xDA, 0xD0, 0xDD  # markers


class JpegWriter(Writer):
    """Writes JPEG in 8 bits, gray or RGB.

    Args:
        file: see `Writer`.
        pages: one, without alpha.
        metadata: see `Writer`.
        quality: 1 to 100; from 90 on colours are stored at full resolution, else at half.
    """

    deep = False

    def __init__(self, file: BinaryIO, pages: Sequence[Page], metadata: Metadata, quality: int) -> None:
        super().__init__(file, pages, metadata)
        full = quality >= 90
        sampling = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444 if full else cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420
        self._options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
        self._block = 8 if full or pages[0].channels == 1 else 16
        self._pieces = 0

    def piece_rows(self, page: Page) -> int:
        """Return a number of rows that ends with whole blocks."""
        rows = min(_MOST_ROWS, PIECE_BYTES // (page.width * page.channels))
        return max(1, rows // _BLOCK_ROWS) * _BLOCK_ROWS

    def begin(self, page: Page) -> None:
        """Write what the file says of the picture; how it is encoded, only its first piece will tell."""
        dpi = [max(1, min(round(value), 65535)) for value in self.metadata.dpi or (1, 1)]
        self.file.write(b"\xff\xd8")
        self._segment(0xE0, b"JFIF\0" + struct.pack(">HB2H2x", 0x101, int(self.metadata.dpi is not None), *dpi))
        for kind, head, data in (
            ("EXIF", b"Exif\0\0", self.metadata.exif),
            ("XMP", b"http://ns.adobe.com/xap/1.0/\0", self.metadata.xmp),
        ):
            if data and len(head) + len(data) > _MOST_BYTES:
                say(f"JPEG has room for 64 KiB of {kind}: {len(data)} bytes were left out; other formats would keep them")
            elif data:
                self._segment(0xE1, head + data)
        if self.metadata.icc:
            self._write_profile(self.metadata.icc)

    def _write_profile(self, icc: bytes) -> None:
        size = _MOST_BYTES - 14
        parts = [icc[start : start + size] for start in range(0, len(icc), size)]
        if len(parts) > 255:
            say(f"JPEG has no room for a colour profile of {len(icc)} bytes: it was left out")
            return
        for number, part in enumerate(parts, 1):
            self._segment(0xE2, b"ICC_PROFILE\0" + bytes([number, len(parts)]) + part)

    def encode(self, piece: Band, above: Band | None, last: bool) -> bytes:
        """Return a piece as a JPEG file of its own."""
        pixels = piece if piece.shape[2] == 1 else cv2.cvtColor(piece, cv2.COLOR_RGB2BGR)
        done, encoded = cv2.imencode(".jpg", pixels, self._options)
        if not done:
            raise ValueError(f"a piece {piece.shape} is not encoded")
        return bytes(encoded)

    def add(self, encoded: bytes, rows: int) -> None:
        """Write a piece's blocks behind a restart marker, or behind the tables, which are the same for all pieces."""
        segments, start = _segments(encoded)
        if self._pieces:
            self.file.write(bytes([0xFF, _RESTARTS + (self._pieces - 1) % 8]))
        else:
            self._write_tables(segments)
        self.file.write(memoryview(encoded)[start:-2])  # without the end of the file
        self._pieces += 1

    def _write_tables(self, segments: list[tuple[int, bytes]]) -> None:
        page = self.pages[0]
        rows = self.piece_rows(page)
        for marker, data in segments:
            if marker == _FRAME:
                data = data[:1] + struct.pack(">H", page.height) + data[3:]
            elif marker == _SCAN and rows < page.height:
                self._segment(_INTERVAL, struct.pack(">H", -(-page.width // self._block) * (rows // self._block)))
            self._segment(marker, data)

    def end(self) -> None:
        """Write the end of the file."""
        self.file.write(b"\xff\xd9")

    def _segment(self, marker: int, data: bytes) -> None:
        self.file.write(struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data)


def _segments(jpeg: bytes) -> tuple[list[tuple[int, bytes]], int]:
    """Return the segments before the blocks, without those of applications, and where the blocks start."""
    found = []
    at = 2
    while True:
        marker, size = jpeg[at + 1], int.from_bytes(jpeg[at + 2 : at + 4], "big")
        if not 0xE0 <= marker <= 0xEF:
            found.append((marker, jpeg[at + 4 : at + 2 + size]))
        at += 2 + size
        if marker == _SCAN:
            return found, at
