"""Pictures turned upright in bands: the large ones through a temporary file, so that memory stays bounded."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

import numpy as np

from gantool.bands import Band, Bands
from gantool.errors import InputError
from gantool.images.page import Page

UPRIGHT: Final = 1
ACROSS: Final = 5  # from here on rows are stored as columns
_MIRRORED: Final = 2  # left and right changed places: the only one that needs no look ahead
_FROM_LAST: Final = frozenset({3, 4, 7, 8})  # the upper edge is the last row stored, or the last column
_FLIPPED: Final = frozenset({2, 3, 6, 7})  # after that, left and right have to change places
_IN_MEMORY: Final = 1 << 26  # bytes; more than that goes to disk


def turned(page: Page, orientation: int) -> Page:
    """Return what a stored page is like when it stands upright."""
    return replace(page, width=page.height, height=page.width) if orientation >= ACROSS else page


def upright(bands: Bands, page: Page, orientation: int, rows: int, name: str) -> Bands:
    """Turn a picture upright.

    Args:
        bands: of the picture as it is stored.
        page: its size as it is stored.
        orientation: 1 to 8, as in EXIF.
        rows: how many a band may have.
        name: what messages call the picture.

    Raises:
        InputError: the temporary file does not fit on the disk.
    """
    if orientation == UPRIGHT:
        yield from bands
    elif orientation == _MIRRORED:
        for band in bands:
            yield np.ascontiguousarray(band[:, ::-1])
    else:
        with _Store(page, rows, orientation >= ACROSS, name) as store:
            for band in bands:
                store.add(band)
            for block in store.blocks(backwards=orientation in _FROM_LAST):
                yield np.ascontiguousarray(block[:, ::-1] if orientation in _FLIPPED else block)


class _Store:
    """A picture cut into blocks of some rows each, or, `across`, of some columns each, which then lie like rows."""

    def __init__(self, page: Page, thickness: int, across: bool, name: str) -> None:
        self._across, self._thickness, self._name = across, thickness, name
        self._length, self._height = (page.height, page.width) if across else (page.width, page.height)
        self._type = np.dtype(f"u{page.bits // 8}")
        self._channels = page.channels
        self._filled = 0  # rows of the stored picture

    def __enter__(self) -> _Store:
        with self._reporting():
            self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, band: Band) -> None:
        """Put the next rows of the stored picture in their places."""
        pixel = self._channels * self._type.itemsize
        with self._reporting():
            if not self._across:
                self._file.write(band.tobytes())
                return
            for start, stop in self._cuts():
                self._file.seek((start * self._length + self._filled * (stop - start)) * pixel)
                self._file.write(band[:, start:stop].tobytes())
        self._filled += len(band)

    def blocks(self, backwards: bool) -> Bands:
        """Give the blocks (thickness, length, channels), backwards from the last and from each's last row."""
        cuts = self._cuts()
        for start, stop in reversed(cuts) if backwards else cuts:
            block = self._block(start, stop)
            yield block[::-1] if backwards else block

    def _block(self, start: int, stop: int) -> Band:
        pixel = self._channels * self._type.itemsize
        with self._reporting():
            self._file.seek(start * self._length * pixel)
            data = self._file.read((stop - start) * self._length * pixel)
        values: Band = np.frombuffer(data, self._type)
        if self._across:
            return values.reshape(self._length, stop - start, self._channels).transpose(1, 0, 2)
        return values.reshape(stop - start, self._length, self._channels)

    def _cuts(self) -> list[tuple[int, int]]:
        step = self._thickness
        return [(start, min(start + step, self._height)) for start in range(0, self._height, step)]

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            cause = error.strerror or error
            raise InputError(
                f"{self._name} cannot be turned upright in a temporary file ({cause}): set TMPDIR to a folder with room"
            ) from error
