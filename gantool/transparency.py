"""Transparent pictures through networks that know only opaque ones, band by band."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from gantool.bands import Band, Bands, Rows, Window, around, exactly
from gantool.errors import UsageError, printable

REACH = 64  # pixels; what lies farther from anything visible, no network lets be seen
_RADII = (1, 2, 4, 8, 16, 32, REACH)  # of the squares that are searched for what is visible
_SURE = 1 / 8  # of full alpha; from there on, a stored colour is fine enough to be what was meant
_ROWS, _COLUMNS = 128, 512  # that are filled at once
_AROUND = 2  # pixels; as far around one, all have its level of alpha where alpha is flat

Plane = NDArray[np.float64]


def level(bands: Bands) -> int | None:
    """Return the one level that alpha, the last channel, has in the whole picture; None, without reading on, if it differs."""
    found = None
    for band in bands:
        lowest, highest = int(band[:, :, -1].min()), int(band[:, :, -1].max())
        if lowest != highest or found not in (None, lowest):
            return None
        found = lowest
    return found


def bleed(bands: Bands) -> Bands:
    """Give what is invisible the colour of what is visible around it.

    What lies under transparency is often black or left over, and a network would draw it into the visible edge. Under little
    alpha a colour is coarse at least; so below an eighth of full alpha it counts only by the cube of its share of that.

    The other colour is the mean of those around, weighted by alpha, in the smallest of ever larger squares that holds as much
    alpha as one opaque pixel; a square with less counts for so much, and the larger ones for the rest. With nothing visible
    within 64 pixels across and down, a colour stays. Nothing farther away plays a part, so it does not show where bands end.

    Args:
        bands: colour and alpha, (rows, width, 2 or 4) each.

    Returns:
        colour alone, (rows, width, 1 or 3).
    """
    return (_filled(window) for window in around(exactly(bands, _ROWS), REACH))


def _filled(window: Window) -> Band:
    """Fill a window's band, some columns at a time so that little is held as floating point."""
    result = window.rows[window.band, :, :-1].copy()
    for left in range(0, result.shape[1], _COLUMNS):
        start = max(0, left - REACH)
        part = window.rows[:, start : left + _COLUMNS + REACH]
        columns = slice(left - start, left - start + _COLUMNS)
        unsure = part[window.band, columns, -1] < _SURE * np.iinfo(part.dtype).max
        if unsure.any() and part[:, :, -1].any():
            result[:, left : left + _COLUMNS][unsure] = _colors(part, window.band, columns, unsure)
    return result


def _colors(part: Band, rows: slice, columns: slice, unsure: NDArray[np.bool]) -> Plane:
    """Return the new colours (M, C) of those M pixels of some rows and columns that are unsure."""
    full = float(np.iinfo(part.dtype).max)
    planes = [part[:, :, channel].astype(np.float64) for channel in range(part.shape[2])]
    weighted = [plane * planes[-1] for plane in planes[:-1]] + planes[-1:]
    own = np.stack([plane[rows, columns][unsure] for plane in planes])
    mean, missing = np.zeros_like(own[:-1]), np.ones_like(own[-1])
    for radius in _RADII:
        sums = np.stack([_squares(plane, radius, rows, columns)[unsure] for plane in weighted])
        share = missing * (sums[-1] > 0 if radius == REACH else np.minimum(sums[-1] / full, 1))
        mean += share * sums[:-1] / np.maximum(sums[-1], 1)
        missing -= share
        if not missing.any():
            break
    mean += missing * own[:-1]
    trust = own[-1] / (_SURE * full)
    trust *= trust * trust
    colors: Plane = np.floor(trust * own[:-1] + (1 - trust) * mean + 0.5)
    return colors.T


def _squares(plane: Plane, radius: int, rows: slice, columns: slice) -> Plane:
    """Return the sums over squares around the pixels of some rows and columns: whole numbers, exact wherever they begin."""
    top = max(0, rows.start - radius)
    side = 2 * radius + 1
    sums = cv2.boxFilter(plane[top : rows.stop + radius], -1, (side, side), normalize=False, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(sums, np.float64)[rows.start - top : rows.stop - top, columns]


def keep_flat(alpha: Bands, larger: Bands, size_in: tuple[int, int], size_out: tuple[int, int]) -> Bands:
    """Make an enlarged alpha exactly clear or opaque where the original is so all around; networks miss it by a level or two.

    Args:
        alpha: (rows, width, 1) each.
        larger: the same, enlarged.
        size_in: rows and columns of alpha.
        size_out: of the enlarged one.
    """
    columns = _origins(range(size_out[1]), size_in[1], size_out[1])
    limits = Rows(_limits(around(alpha, _AROUND)))
    row = 0
    for band in larger:
        origins = _origins(range(row, row + len(band)), size_in[0], size_out[0])
        window = limits.between(int(origins[0]), int(origins[-1]) + 1)
        assert window is not None
        lowest, highest = np.split(window[:, columns][origins - origins[0]], 2, axis=2)
        yield np.minimum(np.maximum(band, lowest), highest)
        row += len(band)


def _origins(places: range, n_in: int, n_out: int) -> NDArray[np.int64]:
    """Return in which pixels of the original along an axis the middles of pixels of the enlarged one lie."""
    return (2 * np.array(places, dtype=np.int64) + 1) * n_in // (2 * n_out)


def _limits(windows: Iterator[Window]) -> Bands:
    """Return the lowest and the highest level that alpha may have after enlarging, as two channels."""
    kernel = np.ones((2 * _AROUND + 1,) * 2, np.uint8)
    for window in windows:
        alpha = np.ascontiguousarray(window.rows[:, :, 0])
        full = np.iinfo(alpha.dtype).max
        opaque = cv2.erode(alpha, kernel)[window.band] == full
        clear = cv2.dilate(alpha, kernel)[window.band] == 0
        yield np.stack([np.where(opaque, full, 0), np.where(clear, 0, full)], 2).astype(alpha.dtype)


@dataclass(frozen=True)
class Background:
    """A colour to put transparent pictures on.

    Attributes:
        rgb: 0 to 255 each.
    """

    rgb: tuple[int, int, int]

    @classmethod
    def parse(cls, text: str) -> Background:
        """Return the colour for a name or code of CSS, such as white or #ffcc00.

        Raises:
            UsageError: it is none.
        """
        from PIL import ImageColor

        try:
            red, green, blue = bytes(ImageColor.getrgb(text))  # a ValueError where a level is above 255, or alpha comes too
        except ValueError as error:
            raise UsageError(f"--background {printable(text)} is no colour: use a name such as white, or '#ffcc00'") from error
        return cls((red, green, blue))

    def channels(self, channels: int) -> int:
        """Return how many channels a picture with alpha has on this background: gray stays so on gray."""
        return 1 if channels == 2 and len(set(self.rgb)) == 1 else 3

    def under(self, bands: Bands) -> Bands:
        """Put a picture (.., 2 or 4) on it; colours are mixed as stored, as viewers do."""
        for band in bands:
            top = np.iinfo(band.dtype).max
            channels = self.channels(band.shape[2])
            color, alpha = band[:, :, :-1].astype(np.uint32), band[:, :, -1:].astype(np.uint32)
            behind = np.array(self.rgb[:channels], np.uint32) * (top // 255)
            yield ((color * alpha + behind * (top - alpha) + top // 2) // top).astype(band.dtype)
