"""What computes: a network made ready to run on arrays. `tiling` knows only this, and neither torch nor OpenVINO."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from gantool.bands import Band, Bands


@dataclass(frozen=True)
class Nature:
    """What tiling needs to know of a network.

    Attributes:
        bytes_per_pixel: memory at the peak for a pixel of the input.
        held: bytes that a passage in bands of rows keeps for each column; None if the network does not run in bands.
        memory: bytes that the features of one window may take.
        side: of the largest window that is still faster than smaller ones, in pixels.
    """

    bytes_per_pixel: float
    held: float | None
    memory: int
    side: int


class Passage(Protocol):
    """One way through a network from the top down, in bands of rows of which none is computed twice."""

    def push(self, band: Band) -> tuple[int, Band]:
        """Take the next rows; return the number of the first row of the result that is ready, and all that are."""

    def finish(self) -> Iterator[tuple[int, Band]]:
        """Give the rest, when the picture's last row has been pushed."""


class Engine(Protocol):
    """A network ready to run; several threads use it at once.

    Attributes:
        scale: output side / input side.
        radius: farthest input pixel that an output pixel depends on; None: all of the picture.
        multiple: what both sides of an input must be a multiple of.
        workers: windows that are computed at the same time.
    """

    scale: int
    radius: int | None
    multiple: int
    workers: int

    def nature(self, channels: int) -> Nature:
        """Return the network's nature for pictures of 1 or 3 channels."""

    def run(self, window: Band, rows: slice, columns: slice) -> Band:
        """Run on a window (h, w, 1 or 3) and return that part of the (scale h, scale w) result, rounded half up.

        Raises:
            InputError: the network gave a value that is not finite.
        """

    def holds(self, size: tuple[int, int, int]) -> bool:
        """Return whether there is memory for a whole picture of (height, width, channels) at once."""

    def layerwise(self, bands: Bands, size: tuple[int, int, int], tile: int | None, notify: Callable[[float], None]) -> Bands:
        """Run a network that looks at the whole picture over tiles, layer by layer; see `tiling.run`.

        Raises:
            OutOfMemory: there is none even for small tiles, or this cannot be done.
        """

    def passage(self, start: int, columns: slice) -> Passage:
        """Begin a passage at row `start` of the picture, of whose results `columns` are wanted."""

    def session(self) -> AbstractContextManager[None]:
        """Keep the settings that threads change as they are, and free at the end what only this picture needed."""

    def enter_thread(self, threads: int) -> None:
        """Let the operations of the thread that calls use so many threads."""

    def is_out_of_memory(self, error: Exception) -> bool:
        """Return whether an error says that there was not enough memory."""
