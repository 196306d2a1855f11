"""JPEG, WebP and GIF, which libvips reads; what it does not ask is looked into before: ends, and what would take for ever."""

from __future__ import annotations

import re
import struct
from dataclasses import replace
from typing import BinaryIO, Final

import numpy as np
from PIL.WebPImagePlugin import WebPImageFile

from gantool.bands import Bands
from gantool.errors import InputError
from gantool.images.decoders import Decoder, Stored, check_count, vips
from gantool.images.decoders.pillow import Whole
from gantool.images.decoders.strip import Strip
from gantool.images.decoders.vips import Loader
from gantool.images.source import Source

_JFIF: Final = b"\xff\xd8\xff\xe0"
_INCHES: Final = {1: 1.0, 2: 2.54}  # units of resolution: pixels per inch, per centimetre
_MOST_SCANS: Final = 200  # each may take as long as decoding the whole; programs write ten
_MARK: Final = re.compile(rb"\xff([^\x00\xff\xd0-\xd8])")  # of what is no data
_SCAN, _END_OF_JPEG = b"\xda", b"\xd9"
_EXTENSION, _IMAGE, _END, _FILL = 0x21, 0x2C, 0x3B, 0x00  # how blocks of GIF begin
_HEAD: Final = 13  # bytes of signature and screen


def jpeg(source: Source) -> Decoder:
    """Return the decoder of a JPEG file.

    Raises:
        InputError: it is a trap.
    """
    with source.open() as file:
        if _scans(file) > _MOST_SCANS:
            raise InputError(
                f"{source.name} is a JPEG file of more than {_MOST_SCANS} scans, which may be a trap: save it anew"
            )
    decoder = Strip(source.name, lambda fail_on: vips.load(source, "jpeg", fail_on))
    with source.open() as file:
        start, unit, across, down = struct.unpack(">4s2x5x2xBHH", file.read(18))
    if start == _JFIF and unit in _INCHES and across and down:
        decoder.metadata = replace(decoder.metadata, dpi=(across * _INCHES[unit], down * _INCHES[unit]))
    return decoder


def webp(source: Source) -> Decoder:
    """Return the decoder of a WebP file, with all its frames.

    libvips decodes this format in threads, and would wait for ever for those that a fork, as training makes its workers, has
    left behind. There Pillow decodes, and only the first frame, as training asks for no more.

    Raises:
        InputError: there are too many.
    """
    if vips.FORK.happened:
        return Whole(source, WebPImageFile)
    data = source.read()
    at, count = len(b"RIFF....WEBP"), 0
    while at < len(data):
        count += data[at : at + 4] == b"ANMF"
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + size + size % 2
    check_count(count, source.name)  # as the library looks for each from the first one on
    return _all_frames(source, "webp")


def gif(source: Source) -> Decoder:
    """Return the decoder of a GIF file, with all its frames.

    Raises:
        ValueError: it is cut short.
        InputError: there are too many frames.
    """
    data = source.read()
    check_count(_count(data), source.name)
    decoder = _all_frames(source, "gif")
    width, height = struct.unpack("<HH", data[6:10])
    page = decoder.pages[0].page
    return Screen(decoder, width, height) if width > page.width or height > page.height else decoder


def _all_frames(source: Source, loader: Loader) -> Strip:
    first = vips.load(source, loader)
    count = first.get("n-pages") if first.get_typeof("n-pages") else 1
    if count * first.height > vips.LONGEST:
        raise InputError(f"{source.name} has {count} frames of {first.width}x{first.height} pixels: divide it")
    return Strip(source.name, lambda fail_on: vips.load(source, loader, fail_on, n=-1))


class Screen:
    """A decoder, see `gantool.images.decoders.Decoder`, of frames that lie at the upper left of a larger screen.

    libvips believes the frames of GIF rather than the screen, for screens of more than 2048 pixels and of some common sizes.

    Args:
        frames: the decoder of the frames.
        width: of the screen; what no frame covers is transparent.
        height: of the screen.
    """

    def __init__(self, frames: Decoder, width: int, height: int) -> None:
        inner = frames.pages[0].page
        self._frames, self.metadata = frames, frames.metadata
        self._page = replace(inner, width=max(width, inner.width), height=max(height, inner.height), channels=4)
        self.pages = (Stored(self._page),) * len(frames.pages)

    def bands(self, page: int, rows: int) -> Bands:
        """Decode a frame and put it on its screen."""
        top = 0
        for band in self._frames.bands(page, rows):
            screen = np.zeros((len(band), self._page.width, 4), np.uint8)
            covered = screen[:, : band.shape[1]]
            covered[:, :, 3] = 255 if band.shape[2] in (1, 3) else band[:, :, -1]
            covered[:, :, :3] = band[:, :, : 3 if band.shape[2] > 2 else 1]
            top += len(band)
            yield screen
        while top < self._page.height:
            count = min(rows, self._page.height - top)
            yield np.zeros((count, self._page.width, 4), np.uint8)
            top += count


def _scans(file: BinaryIO) -> int:
    """Return how often the data of a JPEG file pass over the picture; no more than one beyond `_MOST_SCANS`."""
    at, count = len(b"\xff\xd8"), 0
    while count <= _MOST_SCANS:
        file.seek(at)
        block = file.read(1 << 16)
        found = _MARK.search(block)
        if found is None:
            if len(block) < 2:
                return count  # its end is missing: whoever decodes it will say so
            at += len(block) - 1
            continue
        if found[1] == _END_OF_JPEG:
            return count
        count += found[1] == _SCAN
        file.seek(at + found.end())
        at += found.end() + max(2, int.from_bytes(file.read(2), "big"))
    return count


def _count(data: bytes) -> int:
    """Return how many frames a GIF file has.

    Raises:
        ValueError: it does not reach its end mark, or something else stands where a block should begin.
    """
    count = 0
    try:
        at = _HEAD + _palette(data[10])
        while data[at] != _END:
            count += data[at] == _IMAGE
            at = _behind(data, at)
    except IndexError as error:
        raise ValueError("its end is missing") from error
    return count


def _behind(data: bytes, at: int) -> int:
    """Return where the next block begins."""
    if data[at] == _FILL:  # which some programs leave between blocks
        return at + 1
    if data[at] == _EXTENSION:
        at += 2
    elif data[at] == _IMAGE:
        at += 11 + _palette(data[at + 9])
    else:
        raise ValueError(f"a block of unknown kind {data[at]}")
    while data[at]:
        at += 1 + data[at]
    return at + 1


def _palette(flags: int) -> int:
    """Return how many bytes of palette follow."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0
