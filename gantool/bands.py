"""Pictures as bands of rows, which the parts of the way from file to file hand on, so that none holds a whole picture.

Several parts may be given the same band: none changes one in place.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Lock, Semaphore, Thread, current_thread
from typing import TypeAlias
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

Band: TypeAlias = NDArray[np.uint8 | np.uint16]
"""(rows, width, channels); at least one row."""

Bands: TypeAlias = Iterator[Band]
"""The bands of a picture from the top down, of any number of rows each."""

Source: TypeAlias = Callable[[], Bands]
"""Begins a picture anew."""

_Item: TypeAlias = Band | BaseException | None  # None: the end
_PATIENCE = 1.0  # seconds to wait for a band that nobody wants any more: a stopped run has to end soon


class Rows:
    """Gives rows by number, from the top down.

    Args:
        bands: which nothing else reads.
    """

    def __init__(self, bands: Bands) -> None:
        self._bands = bands
        self._kept: deque[tuple[int, Band]] = deque()  # with the number of their first row
        self._stop = 0  # rows that have been read

    def between(self, start: int, stop: int) -> Band | None:
        """Return rows from `start` to before `stop`, fewer where the picture ends, None behind it.

        Rows before `start` are forgotten, and cannot be asked for any more.
        """
        while self._stop < stop and (band := next(self._bands, None)) is not None:
            self._kept.append((self._stop, band))
            self._stop += len(band)
        while self._kept and self._kept[0][0] + len(self._kept[0][1]) <= start:
            self._kept.popleft()
        parts = [band[max(0, start - first) : stop - first] for first, band in self._kept if first < stop]
        return np.concatenate(parts) if len(parts) > 1 else parts[0] if parts else None


def exactly(bands: Bands, rows: int) -> Bands:
    """Regroup into bands of `rows` rows; the last may have fewer."""
    source = Rows(bands)
    row = 0
    while (band := source.between(row, row + rows)) is not None:
        yield band
        row += len(band)


@dataclass(frozen=True)
class Window:
    """A band and what lies above and below it.

    Attributes:
        rows: (rows, width, channels).
        band: which of the rows are the band.
    """

    rows: Band
    band: slice


def around(bands: Bands, reach: int) -> Iterator[Window]:
    """Give the picture as bands with the `reach` rows above and below each, or as many as the picture has there."""
    window: Band | None = None
    start = 0  # of the rows that no band has had yet
    for band in bands:
        window = band if window is None else np.concatenate([window, band])
        stop = len(window) - reach
        if stop > start:
            yield Window(window, slice(start, stop))
            unneeded = max(0, stop - reach)
            window, start = window[unneeded:], stop - unneeded
    if window is not None and start < len(window):
        yield Window(window, slice(start, len(window)))


def join(first: Bands, second: Bands) -> Bands:
    """Put the channels of two pictures of one size side by side, in bands as the first picture's."""
    source = Rows(second)
    row = 0
    for band in first:
        other = source.between(row, row + len(band))
        assert other is not None, "the second picture has fewer rows"
        yield np.concatenate([band, other], axis=2)
        row += len(band)
    assert source.between(row, row + 1) is None, "the second picture has more rows"  # and has been read to its end


def share(bands: Bands, readers: int) -> tuple[Bands, ...]:
    """Let several readers, each in any thread, have all bands; what one is ahead of another is kept in memory.

    A reader that is given up holds nothing back: bands are kept for the others alone. An error of the source reaches each.
    """
    source = _Source(bands)
    return tuple(source.reader() for _ in range(readers))


class _Source:
    """Bands on their way to several readers."""

    def __init__(self, bands: Bands) -> None:
        self._bands = bands
        self._readers: WeakSet[_Reader] = WeakSet()
        self._lock = Lock()

    def reader(self) -> _Reader:
        reader = _Reader(self)
        self._readers.add(reader)
        return reader

    def next_for(self, reader: _Reader) -> _Item:
        with self._lock:
            if not reader.waiting:
                item = self._next()
                for each in self._readers:
                    each.waiting.append(item)
            return reader.waiting.popleft()

    def _next(self) -> _Item:
        try:
            return next(self._bands, None)
        except BaseException as error:
            return error


class _Reader:
    """One of the readers of shared bands."""

    def __init__(self, source: _Source) -> None:
        self._source = source
        self.waiting: deque[_Item] = deque()

    def __iter__(self) -> _Reader:
        return self

    def __next__(self) -> Band:
        band = _given(self._source.next_for(self))
        if band is None:
            raise StopIteration
        return band


def _given(item: _Item) -> Band | None:
    """Return a band, or None at the end, or raise the error that came in its place."""
    if isinstance(item, BaseException):
        try:
            raise item
        finally:
            del item  # it knows this frame, and would keep all that its callers hold until garbage is collected
    return item


def ahead(bands: Bands, depth: int = 2) -> Generator[Band]:
    """Compute bands in a thread of their own, while what has been computed is being used.

    Errors come where the band would have come. Closing the generator ends the thread and closes `bands`, as soon as the band
    that is being computed is done; when that takes long, it is not waited for.

    Args:
        bands: run in the thread alone.
        depth: how many bands it may be ahead of those that were taken.
    """
    worker = _Worker(bands, depth)
    try:
        while (band := worker.take()) is not None:
            yield band
    finally:
        worker.end()


class _Worker:
    """A thread that computes bands until they end or nobody wants them."""

    def __init__(self, bands: Bands, depth: int) -> None:
        self._bands = bands
        self._free = Semaphore(depth)
        self._done: SimpleQueue[_Item] = SimpleQueue()
        self._wanted = True
        self._thread = Thread(target=self._work, name="bands", daemon=True)  # the process may end before a long band does
        self._thread.start()

    def _work(self) -> None:
        try:
            while self._free.acquire() and self._wanted:
                band = next(self._bands, None)
                self._done.put(band)
                if band is None:
                    return
            if isinstance(self._bands, Generator):
                self._bands.close()
        except BaseException as error:  # whatever it is, it is for who takes the bands
            self._done.put(error)

    def take(self) -> Band | None:
        band = _given(self._done.get())
        self._free.release()
        return band

    def end(self) -> None:
        self._wanted = False
        self._free.release()
        if self._thread is not current_thread():  # where the garbage collector may close a forgotten generator
            self._thread.join(_PATIENCE)
