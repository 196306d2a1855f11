"""A picture file that grows from the top down, encoded in pieces by several threads at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from types import TracebackType
from typing import BinaryIO, ClassVar, Self

import numpy as np

from gantool.bands import Band
from gantool.images.levels import to_bits
from gantool.images.page import Metadata, Page
from gantool.machine import usable_cores

PIECE_BYTES = 1 << 20
"""Of pixels, encoded at once: a smaller piece compresses worse, a larger one takes memory for each thread."""
_MOST_THREADS = 8  # beyond, the thread that writes the file would be what all wait for


class Writer(ABC):
    """Takes the bands of a file's pages, one page after the other; a context manager that completes the file at its end.

    What is in memory is a few pieces of `PIECE_BYTES` for each core, however high the picture is, unless the format says
    otherwise. The same pixels give the same bytes, whatever the bands and the number of cores.

    **Who runs where.** `write` copies the rows and returns; pieces are encoded in threads of this object's own, without
    Python's lock, beside whatever the caller does. The file is written in the thread that calls `write`, which waits only
    when the encoders are two pieces a core behind. So a caller needs no thread of its own for writing, and an OSError, of a
    full disk for example, comes out of `write` or of leaving the block as it is. One thread at a time may call.

    Leaving the block with an exception ends the threads and closes the file, which is then worthless.

    Args:
        file: to write to, from its start; closed at the end.
        pages: what will come.
        metadata: what the file shall say of them; corrected already, see `metadata.prepared`.

    Raises:
        ValueError: bands that are not as the pages say, or rows missing at the end: the caller's mistake.
    """

    deep: ClassVar[bool] = True
    """Whether the format has 16 bits a channel; if not, 16 bits are rounded to 8."""

    def __init__(self, file: BinaryIO, pages: Sequence[Page], metadata: Metadata) -> None:
        self.file = file
        self.pages = [page if self.deep else replace(page, bits=8) for page in pages]
        self.metadata = metadata
        self._depths = deque(page.bits for page in pages)  # of the pages not complete yet, as the bands have them
        self._row = self._filled = 0
        self._piece: Band = np.empty((0, 1, 1), np.uint8)
        self._above: Band | None = None
        threads = min(usable_cores(), _MOST_THREADS)
        self._encoders = ThreadPoolExecutor(threads, "encoder")
        self.resources = ExitStack()  # closed however the writing ends
        self.resources.callback(self._close)
        self._most_waiting = 2 * threads
        self._waiting: deque[tuple[Future[bytes], int]] = deque()

    def __enter__(self) -> Self:
        return self

    def write(self, band: Band) -> None:
        """Take the next rows.

        Args:
            band: (rows, width, channels) of the page that is not complete yet, with its bits; not kept.
        """
        if not self._depths:
            raise ValueError("all pages are complete")
        page = self.pages[-len(self._depths)]
        size = (page.width, page.channels, self._depths[0] // 8)
        if (*band.shape[1:], band.dtype.itemsize) != size or not 0 < len(band) <= page.height - self._row:
            raise ValueError(f"a band {band.shape} of {band.dtype} at row {self._row} of {page}")
        if self._row == 0:
            self.begin(page)
        while len(band):
            if self._filled == 0:
                rows = min(self.piece_rows(page), page.height - self._row)
                self._piece = np.empty((rows, page.width, page.channels), np.uint8 if page.bits == 8 else np.uint16)
            part, band = np.split(band, [len(self._piece) - self._filled])
            self._piece[self._filled : self._filled + len(part)] = to_bits(part, page.bits)
            self._filled += len(part)
            self._row += len(part)
            if self._filled == len(self._piece):
                self._encode(last=self._row == page.height)

    def _encode(self, last: bool) -> None:
        """Hand on the piece that is full."""
        piece, above = self._piece, self._above
        self._waiting.append((self._encoders.submit(self.encode, piece, above, last), len(piece)))
        self._filled, self._above = 0, None if last else piece[-1:].copy()
        while self._waiting and (last or len(self._waiting) > self._most_waiting):
            encoded, rows = self._waiting[0]
            self.add(encoded.result(), rows)
            self._waiting.popleft()
        if last:
            self.end()
            self._row = 0
            self._depths.popleft()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if kind is None:
                if self._depths:
                    raise ValueError(f"{len(self._depths)} pages are not complete")
                self.file.close()  # which may be when the disk turns out to be full
        finally:
            self.resources.close()

    def _close(self) -> None:
        self._encoders.shutdown(cancel_futures=True)
        with suppress(OSError):
            self.file.close()

    # --- what a format is ------------------------------------------------------------------------------------------------

    def piece_rows(self, page: Page) -> int:
        """Return how many rows of a page are encoded at once; its last piece may have fewer."""
        return max(1, PIECE_BYTES // (page.width * page.channels * page.bits // 8))

    @abstractmethod
    def begin(self, page: Page) -> None:
        """Write what stands before a page."""

    @abstractmethod
    def encode(self, piece: Band, above: Band | None, last: bool) -> bytes:
        """Encode a piece, in any thread.

        Args:
            piece: (rows, width, channels).
            above: the row above it, (1, width, channels), or None at the top of a page.
            last: whether it is the page's last.
        """

    @abstractmethod
    def add(self, encoded: bytes, rows: int) -> None:
        """Write an encoded piece, of this many rows, behind the one before."""

    @abstractmethod
    def end(self) -> None:
        """Write what stands behind a page."""
