"""Animated PNG: frames, each drawn on what the ones before it left (https://www.w3.org/TR/png-3/#apng-frame-based-animation).

Each frame's pixels are decoded by libvips, as the still picture that they would be with a header of their own.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

import numpy as np

from gantool.bands import Band, Bands
from gantool.errors import InputError
from gantool.images.decoders import Decoder, Stored, check_count, vips
from gantool.images.decoders.png import SIGNATURE, Chunks, Frame, checked, packed, read
from gantool.images.decoders.strip import Strip
from gantool.images.page import Page
from gantool.images.source import Source

_ROWS = 64  # of a frame at a time: blending takes several times the memory of what is blended
_KEEP, _RESTORE = 0, 2  # of a frame's part of the picture, before the next is drawn; 1 clears it
_OVER = 1  # alpha decides how much of what is there still shows; 0 replaces it


@dataclass(frozen=True)
class _Control:
    """What the fcTL chunk of a frame says."""

    width: int
    height: int
    left: int
    top: int
    delay: int  # milliseconds
    disposal: int
    blending: int

    @property
    def place(self) -> tuple[slice, slice]:
        """Rows and columns that it covers."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


class Apng:
    """A decoder, see `gantool.images.decoders.Decoder`.

    Args:
        source: the file.
        chunks: its chunks.
        still: its first picture without the animation.

    Raises:
        ValueError: frames are missing, or lie outside of the picture.
    """

    def __init__(self, source: Source, chunks: Chunks, still: Stored) -> None:
        self._source, self._chunks = source, chunks
        self._controls = [_control(frame, still.page) for frame in chunks.frames]
        count, plays = struct.unpack(">II", chunks.animation or bytes(8))
        if count != len(chunks.frames) or count == 0 or not all(frame.pixels for frame in chunks.frames):
            raise ValueError("frames are missing")
        alpha = still.page.alpha or _shows_nothing(self._controls, still.page)
        page = replace(still.page, channels=still.page.channels + (alpha and not still.page.alpha))
        self.pages = (Stored(page),) * count
        delays = tuple(control.delay for control in self._controls)
        self.metadata = replace(chunks.metadata, delays=delays, loop=plays)
        self._rest: tuple[Band, int] | None = None  # what the next frame is drawn on, and its number

    def bands(self, page: int, rows: int) -> Bands:
        """Draw a frame, going on behind the last one if that is not beyond it."""
        rest, self._rest = self._rest, None  # nobody else may go on from there
        canvas, at = rest if rest is not None and rest[1] <= page else (self._blank(), 0)
        for number in range(at, page + 1):
            before = canvas
            canvas = self._drawn(canvas, number)
            shown = canvas
            canvas = self._disposed(before, canvas, number)
        for top in range(0, len(shown), rows):
            yield shown[top : top + rows]
        self._rest = canvas, page + 1

    def _blank(self) -> Band:
        page = self.pages[0].page
        return np.zeros((page.height, page.width, page.channels), f"u{page.bits // 8}")

    def _drawn(self, canvas: Band, number: int) -> Band:
        control, drawn = self._controls[number], canvas.copy()
        rows, columns = control.place
        top = rows.start
        for pixels in self._decoded(number):
            place = slice(top, top + len(pixels)), columns
            if pixels.shape[2] < canvas.shape[2]:
                opaque = np.full((*pixels.shape[:2], 1), np.iinfo(pixels.dtype).max, pixels.dtype)
                pixels = np.concatenate([pixels, opaque], axis=2)
            if control.blending == _OVER and canvas.shape[2] in (2, 4):
                pixels = _over(pixels, canvas[place])
            drawn[place] = pixels
            top += len(pixels)
        return drawn

    def _disposed(self, before: Band, drawn: Band, number: int) -> Band:
        control = self._controls[number]
        if control.disposal == _KEEP:
            return drawn
        if control.disposal == _RESTORE and number > 0:
            return before
        cleared = drawn.copy()
        cleared[control.place] = 0
        return cleared

    def _decoded(self, number: int) -> Bands:
        """Decode the pixels of a frame, in bands."""
        control, frame = self._controls[number], self._chunks.frames[number]
        header = struct.pack(">II", control.width, control.height) + self._chunks.header[8:]
        parts = [SIGNATURE, packed(b"IHDR", header), self._chunks.colors]
        with self._source.open() as file:
            for chunk in frame.pixels:
                data = checked(file, chunk, chunk.size)
                parts.append(packed(b"IDAT", data if chunk.kind == b"IDAT" else data[4:]))  # behind a number
        image = vips.load_bytes(b"".join([*parts, packed(b"IEND", b"")]), "png")
        for top in range(0, image.height, _ROWS):
            yield vips.levels(vips.fetch(image, top, min(_ROWS, image.height - top)))


def png(source: Source) -> Decoder:
    """Return the decoder of a PNG file, which may be an animation.

    Raises:
        ValueError: it is damaged.
        InputError: it is too large.
    """
    with source.open() as file:
        chunks = read(file)
    check_count(len(chunks.frames), source.name)
    width, height = struct.unpack(">II", chunks.header[:8])
    if max(width, height) > vips.LONGEST:  # of which libvips would complain on standard error
        raise InputError(f"{source.name} has {width}x{height} pixels, and no side may have more than {vips.LONGEST}")
    still = Strip(source.name, lambda fail_on: vips.load(source, "png", fail_on))
    still.metadata = chunks.metadata
    if chunks.animation is None:
        return still
    animation = Apng(source, chunks, still.pages[0])
    return still if len(animation.pages) == 1 else animation


def _control(frame: Frame, page: Page) -> _Control:
    _, width, height, left, top, count, unit, disposal, blending = struct.unpack(">IIIIIHHBB", frame.control)
    if not (0 < width <= page.width - left and 0 < height <= page.height - top):
        raise ValueError("a frame lies outside of the picture")
    return _Control(width, height, left, top, round(1000 * count / (unit or 100)), disposal, blending)


def _shows_nothing(controls: list[_Control], page: Page) -> bool:
    """Return whether something of the picture may be empty at some time, though each frame is opaque."""
    whole = controls[0].width == page.width and controls[0].height == page.height
    return not whole or any(control.disposal != _KEEP for control in controls)


def _over(upper: Band, lower: Band) -> Band:
    """Return the pixels of two pictures with alpha, one laid over the other."""
    most = np.iinfo(upper.dtype).max
    above, below = (picture[:, :, -1:].astype(np.float64) / most for picture in (upper, lower))
    alpha = above + below * (1 - above)
    colors = upper[:, :, :-1] * above + lower[:, :, :-1] * below * (1 - above)
    whole = np.concatenate([colors / np.where(alpha == 0, 1, alpha), alpha * most], axis=2)
    return (whole + 0.5).astype(upper.dtype)
