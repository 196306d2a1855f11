"""From files to bands of pixels: which formats, by which libraries, and what their peculiarities become.

libvips, through pyvips, reads PNG, JPEG, WebP, AVIF, TIFF and GIF: of the well-kept libraries it alone gives rows while it
decodes, so that memory does not grow with a picture's height, in 8 and 16 bits, and can be told to refuse damaged data.
What its wheels lack comes from Pillow (BMP, JPEG 2000, some TIFF pages), OpenCV (JPEG 2000 beyond 8 bits) and a few lines of
our own (PPM, PGM, PBM; the frames of APNG, each decoded by libvips). WebP, AVIF, JPEG 2000 and BMP, interlaced PNG and
progressive JPEG are decoded as wholes, as their decoders know no other way.

What comes out is upright, gray, gray and alpha, RGB, or RGB and alpha, of 8 or 16 bits by the file's type:

- 1, 2 and 4 bits of gray become 8; a palette becomes RGB, or in TIFF and BMP gray where it has nothing but grays; a colour that
  is declared transparent becomes alpha.
- 10 and 12 bits, 32, and floating point become 16: what is 0 to 1 there is all levels here, and values outside are clipped.
- CMYK becomes sRGB through the file's profile, or a common one; LAB becomes sRGB. A profile that is for other colours than
  the pixels is left out.
- Alpha is never multiplied into colours.
- Animations become their full frames. An animated AVIF picture is the one that it shows where nothing moves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Final

from gantool.bands import Bands
from gantool.errors import GantoolError, InputError, first_line, say
from gantool.images import sniffing
from gantool.images.decoders import Decoder, Stored
from gantool.images.directories import Block
from gantool.images.metadata import profile_fits
from gantool.images.page import Metadata, Page
from gantool.images.source import Source
from gantool.images.turning import ACROSS, UPRIGHT, turned, upright
from gantool.machine import is_out_of_memory

MAX_PIXELS: Final = 89_000_000  # of a page, if nobody asks for more: 267 MB as RGB, and the size Pillow begins to suspect
_PAGES: Final = 100  # of that size, all pages of a file may have: some minutes of video, or hundreds of scanned pages
_DPI: Final = 0.1, 1e6  # least and most pixels per inch that are taken for true, which all formats can hold
_ORIENTATION, _ACROSS, _DOWN, _UNIT = 274, 282, 283, 296  # fields of EXIF
_INCHES: Final = {2: 1.0, 3: 2.54}  # units of resolution: pixels per inch, per centimetre


class Reader:
    """A picture whose header has been read; `open_picture` makes it. A context manager.

    Attributes:
        pages: upright; of an animation its frames, all alike.
        metadata: `delays` is not empty if it is an animation, and then has one for each page.
    """

    def __init__(self, source: Source, decoder: Decoder, max_pixels: int) -> None:
        self._source = source
        self._decoder: Decoder | None = decoder
        for page in dict.fromkeys(stored.page for stored in decoder.pages):
            _check_size(page, source.name, max_pixels)
        _check_all(decoder.pages, source.name, max_pixels)
        said = decoder.metadata
        told = _told(said.exif, source.name)
        self._stored = [(stored.page, _orientation(stored, told)) for stored in decoder.pages]
        self.pages: Sequence[Page] = tuple(turned(page, orientation) for page, orientation in self._stored)
        icc = _fitting(said.icc, self.pages[0], source.name)
        dpi = said.dpi or (told.dpi if told else None)
        if dpi and not all(_DPI[0] <= value <= _DPI[1] for value in dpi):
            dpi = None
        if dpi and self._stored[0][1] >= ACROSS:
            dpi = dpi[1], dpi[0]
        self.metadata: Metadata = replace(said, icc=icc, exif=said.exif if told else None, dpi=dpi)

    def bands(self, page: int = 0, rows: int = 64) -> Bands:
        """Decode a page from the top down; each call decodes anew.

        Frames of an animation are best taken in their order, as each is drawn on the one before.

        Args:
            page: its number.
            rows: how many a band has at most.

        Yields:
            (rows, width, channels) uint8 or uint16, as `pages` says.

        Raises:
            InputError: the file is damaged, or changed since it was opened.
        """
        assert self._decoder is not None, "it is closed"
        (stored, orientation), left = self._stored[page], self.pages[page].height
        with _faults(self._source.name):
            bands = self._decoder.bands(page, rows)
            for band in upright(bands, stored, orientation, rows, self._source.name):
                left -= len(band)
                yield band
            if left:
                raise ValueError("rows are missing")
            self._source.check()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Give up what was kept to go on with."""
        self._decoder = None


def open_picture(source: Path | bytes, name: str, max_pixels: int) -> Reader:
    """Read the header of a picture, whatever its name says it is.

    Args:
        source: a regular file, or the contents of one.
        name: what messages call it, safe to print.
        max_pixels: larger pages are refused, before anything of them is decoded.

    Raises:
        InputError: it cannot be read, or is no picture of a known format, or damaged, or too large.
    """
    opened = Source(source, name)
    with opened.open() as file:
        head = file.read(sniffing.HEAD)
    with _faults(name):
        return Reader(opened, _decoder(opened, sniffing.kind(head, name)), max_pixels)


def _decoder(source: Source, kind: sniffing.Kind) -> Decoder:
    """Return the decoder of a format; only then are its libraries imported."""
    match kind:
        case "bmp":
            from gantool.images.decoders.pillow import bmp

            return bmp(source)
        case "jpeg2000":
            from gantool.images.decoders.jpeg2000 import Jpeg2000

            return Jpeg2000(source)
        case "netpbm":
            from gantool.images.decoders.netpbm import Netpbm

            return Netpbm(source)
        case "tiff":
            from gantool.images.decoders.tiff import Tiff

            return Tiff(source)
        case "avif":
            from gantool.images.decoders.avif import Avif

            return Avif(source)
        case "png":
            from gantool.images.decoders.apng import png

            return png(source)
        case _:
            from gantool.images.decoders import frames

            return frames.jpeg(source) if kind == "jpeg" else frames.webp(source) if kind == "webp" else frames.gif(source)


@contextmanager
def _faults(name: str) -> Iterator[None]:
    """Raise whatever a damaged file raises inside a decoder, where there is hardly an exception that cannot come, as one."""
    try:
        yield
    except (GantoolError, MemoryError):
        raise
    except Exception as error:
        if is_out_of_memory(error):  # which is no fault of the file's
            raise MemoryError(first_line(error)) from error
        raise InputError(f"{name} is damaged or cut short: {first_line(error)}") from error


def _check_size(page: Page, name: str, max_pixels: int) -> None:
    if page.width * page.height > max_pixels:
        size = f"{page.width}x{page.height}"
        raise InputError(f"{name} has {size} pixels, more than the limit of {max_pixels}: raise it with --max-pixels")


def _check_all(pages: Sequence[Stored], name: str, max_pixels: int) -> None:
    pixels = sum(stored.page.width * stored.page.height for stored in pages)
    if pixels > _PAGES * max_pixels:
        what = f"{len(pages)} pages or frames of {pixels} pixels together"
        raise InputError(f"{name} has {what}, more than {_PAGES} times the limit of {max_pixels}: raise it with --max-pixels")


@dataclass(frozen=True)
class _Told:
    """What EXIF says that is of use here."""

    orientation: int = UPRIGHT
    dpi: tuple[float, float] | None = None


def _told(exif: bytes | None, name: str) -> _Told | None:
    """Return what EXIF says; None if there is none, or none that is sound."""
    if not exif:
        return None
    try:
        block = Block(exif)
        rows = {row.tag: row for row in block.table(block.first)}
    except ValueError as error:
        say(f"{name}: its EXIF is damaged ({first_line(error)}), and was left out")
        return None
    numbers = {
        tag: [block.integer(bytes(block.data[at : at + size])) for at in range(row.data.start, row.data.stop, size)]
        for tag, row in rows.items()
        if (size := {3: 2, 4: 4, 5: 4}.get(row.kind)) and row.count == 1
    }
    inches = _INCHES.get(numbers.get(_UNIT, [2])[0])
    across, down = numbers.get(_ACROSS, []), numbers.get(_DOWN, [])
    dpi = None
    if inches and len(across) == len(down) == 2 and all(across + down):
        dpi = across[0] / across[1] * inches, down[0] / down[1] * inches
    return _Told(numbers.get(_ORIENTATION, [UPRIGHT])[0], dpi)


def _orientation(stored: Stored, told: _Told | None) -> int:
    """Return how a page is to be turned; an orientation that does not exist means upright."""
    orientation = stored.orientation or (told.orientation if told else UPRIGHT)
    return orientation if 1 <= orientation <= 8 else UPRIGHT


def _fitting(icc: bytes | None, page: Page, name: str) -> bytes | None:
    """Return a colour profile if it is sound and for the colours that the pixels have."""
    whole = icc is not None and icc[36:40] == b"acsp" and int.from_bytes(icc[:4], "big") <= len(icc)
    if icc is None or (whole and profile_fits(icc, gray=page.channels < 3)):
        return icc
    say(f"{name}: its colour profile is damaged or for other colours, and was left out")
    return None
