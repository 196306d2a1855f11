"""PBM, PGM and PPM: a header of plain text, then values (https://netpbm.sourceforge.net/doc/)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from gantool.bands import Bands
from gantool.images.decoders import Stored
from gantool.images.page import Metadata, Page
from gantool.images.source import Source

_BITS_IN_TEXT, _TEXT, _BITS = 1, (1, 2, 3), 4  # digit behind the P; 5 and 6 are binary numbers
_COLOR: Final = (3, 6)
_GAP: Final = rb"(?:\s|#[^\n\r]*[\n\r])+"
_NUMBER: Final = rb"0*(\d{1,9})"
_SIZE: Final = re.compile(rb"P([1-6])" + _GAP + _NUMBER + _GAP + _NUMBER)
_WHITE: Final = re.compile(_GAP + _NUMBER)
_HEADER: Final = 1 << 16  # bytes within which it ends, comments included


@dataclass(frozen=True)
class _Header:
    kind: int
    width: int
    height: int
    white: int
    end: int  # where the values begin


class Netpbm:
    """A decoder, see `gantool.images.decoders.Decoder`, of the first picture in a file.

    Raises:
        ValueError: it is damaged.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        with source.open() as file:
            self._header = _header(file.read(_HEADER))
        channels = 3 if self._header.kind in _COLOR else 1
        page = Page(self._header.width, self._header.height, channels, 8 if self._header.white < 256 else 16)
        self.pages = (Stored(page),)
        self.metadata = Metadata()

    def bands(self, page: int, rows: int) -> Bands:
        """Decode the picture; values up to the header's white are stretched to ours."""
        stored, white = self.pages[page].page, self._header.white
        most = (1 << stored.bits) - 1
        with self._source.open() as file:
            file.seek(self._header.end)
            values = _Values(file, self._header.kind, white)
            for top in range(0, stored.height, rows):
                count = min(rows, stored.height - top)
                numbers = values.take(count, stored.width, stored.channels).astype(np.uint32)
                levels = (numbers * most + white // 2) // white
                yield levels.astype(f"u{stored.bits // 8}").reshape(count, stored.width, stored.channels)


def _header(head: bytes) -> _Header:
    size = _SIZE.match(head)
    if size is None:
        raise ValueError("its header is none")
    kind, width, height = map(int, size.groups())
    white, end = 1, size.end()
    if kind not in (_BITS_IN_TEXT, _BITS):
        last = _WHITE.match(head, end)
        if last is None:
            raise ValueError("its header is none")
        white, end = int(last[1]), last.end()
    if not (width and height and 0 < white < 1 << 16 and head[end : end + 1].isspace()):
        raise ValueError("its header is none")
    return _Header(kind, width, height, white, end + 1)


class _Values:
    """The values of an open file, one after the other."""

    def __init__(self, file: BinaryIO, kind: int, white: int) -> None:
        self._file, self._kind, self._white = file, kind, white
        self._texts = self._text()
        self._rest = np.zeros(0, np.int64)

    def take(self, rows: int, width: int, channels: int) -> NDArray[np.integer]:
        """Return the next values, 0 to white.

        Raises:
            ValueError: there are not as many, or larger ones.
        """
        count = rows * width * channels
        if self._kind in _TEXT:
            values: NDArray[np.integer] = self._written(count)
        elif self._kind == _BITS:
            data = np.frombuffer(self._exactly(rows * ((width + 7) // 8)), np.uint8)
            values = np.unpackbits(data.reshape(rows, -1), axis=1)[:, :width]
        else:
            kind = np.dtype("u1" if self._white < 256 else ">u2")
            values = np.frombuffer(self._exactly(count * kind.itemsize), kind)
        if values.min() < 0 or values.max() > self._white:
            raise ValueError("a value is larger than white")
        return 1 - values if self._kind in (_BITS_IN_TEXT, _BITS) else values  # of bits, 1 is black

    def _exactly(self, count: int) -> bytes:
        data = self._file.read(count)
        if len(data) != count:
            raise ValueError("it is cut short")
        return data

    def _written(self, count: int) -> NDArray[np.int64]:
        parts = [self._rest]
        have = len(self._rest)
        while have < count:
            part = next(self._texts, None)
            if part is None:
                raise ValueError("it is cut short")
            parts.append(part)
            have += len(part)
        values = np.concatenate(parts)
        self._rest = values[count:]
        return values[:count]

    def _text(self) -> Iterator[NDArray[np.int64]]:
        """Give the numbers that are written as text, those of bits without gaps between them."""
        rest = b""
        while data := self._file.read(1 << 16):
            words = (rest + data).split()
            if self._kind == _BITS_IN_TEXT:
                words = list(map(bytes, zip(b"".join(words))))
            elif not data[-1:].isspace():  # the last may go on
                rest = words.pop()
            else:
                rest = b""
            yield np.array(words, "S9").astype(np.int64)
        if rest:
            yield np.array([rest], "S9").astype(np.int64)
