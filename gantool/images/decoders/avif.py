"""AVIF: libvips decodes it, but does not tell that it is gray, that alpha is multiplied into colours, that it moves."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from gantool.bands import Band, Bands
from gantool.errors import InputError, say
from gantool.images.decoders import Stored, vips
from gantool.images.decoders.boxes import Box, boxes
from gantool.images.decoders.strip import Strip
from gantool.images.source import Source
from gantool.images.turning import UPRIGHT

_HIGH, _TWELVE, _MONOCHROME = 0x40, 0x20, 0x10  # bits of the third byte of av1C
_FULL: Final = 4  # bytes of version and flags, with which some boxes begin


@dataclass(frozen=True)
class _Facts:
    gray: bool
    bits: int
    multiplied: bool
    moving: bool


class Avif:
    """A decoder, see `gantool.images.decoders.Decoder`; turning and mirroring are done by libvips."""

    def __init__(self, source: Source) -> None:
        self._facts = _facts(source)
        self._strip = Strip(source.name, lambda fail_on: vips.load(source, "heif", fail_on), UPRIGHT)
        page = self._strip.pages[0].page
        self.metadata = self._strip.metadata
        channels = page.channels - 2 if self._facts.gray and page.channels > 2 else page.channels
        self.pages = (Stored(replace(page, channels=channels), UPRIGHT),)
        if self._facts.moving:
            say(f"{source.name} is an animated AVIF picture: only its still image is taken")

    def bands(self, page: int, rows: int) -> Bands:
        """Decode the picture."""
        for band in self._strip.bands(page, rows):
            if band.dtype == np.uint16:
                band = _stretched(band, self._facts.bits)
            if self._facts.multiplied and band.shape[2] in (2, 4):
                band = _divided(band)
            wanted = self.pages[0].page.channels
            yield band if band.shape[2] == wanted else band[:, :, [0, 3][:wanted]]


def _facts(source: Source) -> _Facts:
    codecs, sides, multiplied, moving = [], [0], False, False
    with source.open() as file:
        for top in boxes(file, 0, source.size):
            moving |= top.kind == b"moov"
            if top.kind != b"meta":
                continue
            for part in boxes(file, top.start + _FULL, top.stop):
                if part.kind == b"iref":
                    multiplied = any(box.kind == b"prem" for box in boxes(file, part.start + _FULL, part.stop))
                if part.kind == b"iprp":
                    inner = [box for box in boxes(file, part.start, part.stop) if box.kind == b"ipco"]
                    properties: list[Box] = [box for each in inner for box in boxes(file, each.start, each.stop)]
                    codecs = [box.read(file)[2] for box in properties if box.kind == b"av1C" and box.stop - box.start > 2]
                    for box in properties:
                        sides += struct.unpack(">II", box.read(file, _FULL)) if box.kind == b"ispe" else ()
    if max(sides) > vips.LONGEST:  # of which libvips would complain on standard error
        raise InputError(f"{source.name} has a side of {max(sides)} pixels, and none may have more than {vips.LONGEST}")
    high = any(codec & _HIGH for codec in codecs)
    bits = (12 if any(codec & _TWELVE for codec in codecs) else 10) if high else 8
    # alpha is gray, too, so that only a picture that is gray has nothing but gray parts
    gray = bool(codecs) and all(codec & _MONOCHROME for codec in codecs)
    return _Facts(gray, bits, multiplied, moving)


def _stretched(band: Band, bits: int) -> Band:
    """Return levels of `bits` bits, which were shifted up to 16, over the whole range."""
    most = (1 << bits) - 1
    return (((band >> (16 - bits)).astype(np.uint32) * 65535 + most // 2) // most).astype(np.uint16)


def _divided(band: Band) -> Band:
    """Return colours that are not multiplied by alpha."""
    most = np.iinfo(band.dtype).max
    alpha = np.maximum(band[:, :, -1:].astype(np.uint32), 1)
    colors = np.minimum((band[:, :, :-1].astype(np.uint32) * most + alpha // 2) // alpha, most)
    return np.concatenate([colors.astype(band.dtype), band[:, :, -1:]], axis=2)
