"""JPEG 2000: up to 8 bits a channel by Pillow, more by OpenCV, as Pillow reduces colours to 8 bits."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace
from typing import BinaryIO, Final

import numpy as np
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile

from gantool.bands import Band, Bands
from gantool.errors import InputError
from gantool.images.decoders import Stored
from gantool.images.decoders.boxes import boxes
from gantool.images.decoders.pillow import Whole
from gantool.images.page import Metadata, Page
from gantool.images.source import Source

_CODESTREAM: Final = b"\xff\x4f\xff\x51"
_PART, _END = b"\xff\x90", b"\xff\xd9"  # marks of a part of a tile, and of the end
_MOST_TILES: Final = 65_535  # as they are numbered in 16 bits; decoders make room for all at once
_XMP: Final = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_EXIF: Final = b"JpgTiffExif->JP2"


@dataclass
class _Facts:
    """What the boxes of a file and the first segment of its codestream say."""

    width: int = 0
    height: int = 0
    bits: list[int] = field(default_factory=list)  # of each component
    tiles: int = 0  # but for some that are no whole ones
    metadata: Metadata = field(default_factory=Metadata)


class Jpeg2000:
    """A decoder, see `gantool.images.decoders.Decoder`.

    Raises:
        ValueError: the file is damaged.
        InputError: it has channels that are no colours.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        facts = _facts(source)
        self._tiles = facts.tiles
        self._white = (1 << max(facts.bits)) - 1
        self._whole: Whole | None = None
        self.metadata = facts.metadata
        if self._white > 255:
            if len(facts.bits) > 4:
                raise InputError(f"{source.name} has {len(facts.bits)} channels that are no colours: save it as RGB")
            self.pages = (Stored(Page(facts.width, facts.height, len(facts.bits), 16)),)
            return
        self._whole = Whole(source, Jpeg2KImageFile, icc=facts.metadata.icc)
        self.pages = self._whole.pages
        if (self.pages[0].page.width, self.pages[0].page.height) != (facts.width, facts.height):
            raise ValueError("its header says different things")
        self.metadata = replace(facts.metadata, dpi=self._whole.metadata.dpi, icc=self._whole.metadata.icc)

    def bands(self, page: int, rows: int) -> Bands:
        """Decode the picture."""
        if self._tiles > _MOST_TILES:
            raise ValueError(f"it has {self._tiles} tiles")
        if self._whole is not None:
            yield from self._whole.bands(page, rows)
            return
        pixels = self._deep()
        for top in range(0, len(pixels), rows):
            band = pixels[top : top + rows].astype(np.uint32)
            yield ((band * 65535 + self._white // 2) // self._white).astype(np.uint16)

    def _deep(self) -> Band:
        """Return the whole picture (height, width, channels), with values up to its white."""
        import cv2

        before = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        try:
            decoded = cv2.imdecode(np.frombuffer(self._source.read(), np.uint8), cv2.IMREAD_UNCHANGED)
        finally:
            cv2.utils.logging.setLogLevel(before)
        stored = self.pages[0].page
        shape = (stored.height, stored.width, stored.channels)
        if decoded is None or decoded.dtype != np.uint16 or (*decoded.shape, 1)[:3] != shape:
            raise ValueError("its data cannot be decoded")
        pixels: Band = decoded.reshape(shape).astype(np.uint16, copy=False)
        return pixels if stored.channels < 3 else pixels[:, :, [2, 1, 0, 3][: stored.channels]]  # from BGR


def _facts(source: Source) -> _Facts:
    facts = _Facts()
    with source.open() as file:
        if file.read(4) == _CODESTREAM:
            _read_size(file, 0, facts)
            _check_end(file, 0, source.size)
            return facts
        for box in boxes(file, 0, source.size):
            if box.kind == b"jp2h":
                for inner in boxes(file, box.start, box.stop):
                    if inner.kind == b"colr" and (data := inner.read(file))[:1] == b"\2":  # with a profile of its own
                        facts.metadata = replace(facts.metadata, icc=data[3:])
            elif box.kind == b"uuid":
                _read_uuid(box.read(file), facts)
            elif box.kind == b"jp2c":
                _read_size(file, box.start, facts)
                _check_end(file, box.start, box.stop)
    if not facts.bits:
        raise ValueError("its data are missing")
    return facts


def _read_size(file: BinaryIO, at: int, facts: _Facts) -> None:
    """Read the SIZ segment of a codestream."""
    file.seek(at)
    right, bottom, left, top, across, down = struct.unpack(">8x6I8x", file.read(40))
    facts.tiles = (right // across) * (bottom // down)
    count = int.from_bytes(file.read(2), "big")
    facts.width, facts.height = right - left, bottom - top
    facts.bits = [(depth & 0x7F) + 1 for depth in file.read(3 * count)[::3]]


def _check_end(file: BinaryIO, start: int, stop: int) -> None:
    """Check that a codestream has all of its parts up to the end mark: what is missing, the decoders would make up.

    Raises:
        ValueError: it has not.
    """
    at = start + 2  # behind the mark of the beginning
    while True:
        file.seek(at)
        segment = file.read(10).ljust(10, b"\0")
        marker, length = segment[:2], int.from_bytes(segment[2:4], "big")
        if marker == _END:
            return
        if marker == _PART:
            length = (int.from_bytes(segment[6:10], "big") or stop - 2 - at) - 2  # 0: up to the end
        if marker[0] != 0xFF or length < 2:
            raise ValueError("its end is missing")
        at += 2 + length


def _read_uuid(data: bytes, facts: _Facts) -> None:
    if data[:16] == _XMP:
        facts.metadata = replace(facts.metadata, xmp=data[16:])
    elif data[:16] == _EXIF:
        facts.metadata = replace(facts.metadata, exif=data[16:].removeprefix(b"Exif\0\0"))
