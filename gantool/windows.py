"""Parts of a picture on their way through a network: which rows and columns, the rows that have arrived, the rows to give."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from gantool.bands import Band, Bands
from gantool.errors import GantoolError, OutOfMemory
from gantool.machine import is_out_of_memory

_ALIGNMENT = 8  # pixels; window sides are multiples of it, which suits the kernels of every device
_CHUNK = 16  # rows of the picture whose result is given at once


@dataclass(frozen=True)
class Span:
    """One axis of a tile, in input pixels: the window that the network sees, and the part of it that the tile gives."""

    start: int
    stop: int
    first: int
    last: int  # one behind the last

    def kept(self, scale: int) -> slice:
        """Return what the tile gives, as a part of the window's result."""
        return slice(scale * (self.first - self.start), scale * (self.last - self.start))


def spans(length: int, core: int, halo: int, multiple: int = 1) -> list[Span]:
    """Cover an axis with windows of one length, which overlap by 2 halo at least; the outer ones are flush with its ends.

    Args:
        length: of the axis, a multiple of `multiple`.
        core: pixels that a window gives, about; its own length is up to 2 halo more.
        halo: pixels beside what a window gives, except at the ends of the axis.
        multiple: of which windows are, in place and in length.
    """
    units, margin, each = length // multiple, ceil(halo / multiple), max(1, core // multiple)
    count = ceil(units / each)
    alignment = max(1, _ALIGNMENT // multiple)
    window = ceil(ceil((units + 2 * margin * (count - 1)) / count) / alignment) * alignment
    if window >= units:
        return [Span(0, length, 0, length)]
    count = ceil((units - 2 * margin) / (window - 2 * margin))
    starts = [i * (units - window) // (count - 1) for i in range(count)]
    cuts = [0, *(start + margin for start in starts[1:]), units]
    return [
        Span(start * multiple, (start + window) * multiple, first * multiple, last * multiple)
        for start, first, last in zip(starts, cuts[:-1], cuts[1:], strict=True)
    ]


class Arrived:
    """The rows of a picture that have arrived and are still needed; mirrored at the lower and right border up to a multiple.

    Args:
        bands: the picture; taken as rows are asked for, by whichever thread asks first.
        height: of the picture.
        width: of the picture.
        multiple: of which `self.height` and `self.width` are.
    """

    def __init__(self, bands: Bands, height: int, width: int, multiple: int) -> None:
        self.height, self.width = (ceil(side / multiple) * multiple for side in (height, width))
        self._bands, self._own_height, self._multiple = bands, height, multiple
        self._columns = None if self.width == width else _mirrored(width, self.width)
        self._kept: deque[tuple[int, Band]] = deque()  # with the number of their first row
        self._stop = 0  # rows that have arrived
        self._failure: Exception | None = None  # what kept the next ones from arriving
        self._lock = threading.Lock()

    def rows(self, start: int, stop: int, columns: Span) -> Band:
        """Return rows of a window, waiting for them if need be."""
        with self._lock:
            while self._stop < stop:
                self._take()
            parts = [
                band[max(0, start - first) : stop - first, columns.start : columns.stop]
                for first, band in self._kept
                if first < stop and first + band.shape[0] > start
            ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def forget(self, before: int) -> None:
        """Let go of the rows before one; the last ones are kept for the mirror."""
        before = min(before, self._own_height - self._multiple)
        with self._lock:
            while self._kept and self._kept[0][0] + self._kept[0][1].shape[0] <= before:
                self._kept.popleft()

    def _take(self) -> None:
        if self._stop >= self._own_height:
            band = self._below()
        else:
            band = self._arriving()
            band = band if self._columns is None else band[:, self._columns]
        self._kept.append((self._stop, band))
        self._stop += band.shape[0]

    def _arriving(self) -> Band:
        """Return the next band; an error of the source is everybody's who asks for rows, and never a reason to try again."""
        if self._failure is None:
            try:
                return next(self._bands)
            except Exception as error:
                self._failure = error
                if is_out_of_memory(error) and not isinstance(error, GantoolError):
                    self._failure = OutOfMemory("there is not enough memory to read it: free some, or crop it")
        raise self._failure

    def _below(self) -> Band:
        first = self._kept[0][0]
        kept = np.concatenate([band for _, band in self._kept])
        return kept[_mirrored(self._own_height, self.height)[self._own_height :] - first]


def _mirrored(length: int, longer: int) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Return the places along an axis that mirrors itself beyond its end, as often as it takes when it is short."""
    index = np.arange(longer) % (2 * length)
    return np.where(index < length, index, 2 * length - 1 - index)


class Given:
    """The rows of a result, put together from pieces that come in any order.

    Args:
        scale: rows and columns of the result for each of the picture.
        height: of the picture, without what a mirror adds.
        width: of the picture.
    """

    def __init__(self, scale: int, height: int, width: int) -> None:
        self._height, self._width, self._chunk = scale * height, scale * width, scale * _CHUNK
        self._chunks: dict[int, tuple[Band, int]] = {}  # with the number of pixels that are still missing
        self.row = 0  # of the result; those before it have been given

    @property
    def complete(self) -> bool:
        """Whether all has been given."""
        return self.row >= self._height

    def put(self, row: int, column: int, piece: Band) -> None:
        """Take a piece; what lies outside the result is left away."""
        piece = piece[: max(0, self._height - row), : max(0, self._width - column)]
        stop = row + piece.shape[0]
        for number in range(row // self._chunk, ceil(stop / self._chunk)):
            top, bottom = number * self._chunk, min((number + 1) * self._chunk, self._height)
            chunk, missing = self._chunks.get(number) or self._new(bottom - top, piece)
            part = piece[max(0, top - row) : bottom - row]
            place = max(row, top) - top
            chunk[place : place + part.shape[0], column : column + part.shape[1]] = part
            self._chunks[number] = chunk, missing - part.shape[0] * part.shape[1]

    def _new(self, rows: int, like: Band) -> tuple[Band, int]:
        return np.empty((rows, self._width, like.shape[2]), like.dtype), rows * self._width

    def ready(self) -> Sequence[Band]:
        """Return the next rows, as far as they are complete."""
        bands = []
        while (found := self._chunks.get(self.row // self._chunk)) and found[1] == 0:
            del self._chunks[self.row // self._chunk]
            bands.append(found[0])
            self.row += found[0].shape[0]
        return bands
