"""What Pillow decodes, as a whole, because libvips does not: BMP, JPEG 2000, and some TIFF pages."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from threading import Lock
from typing import BinaryIO, Final

import numpy as np
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ImageFile import ImageFile

from gantool.bands import Band, Bands
from gantool.errors import InputError
from gantool.images.decoders import Stored, vips
from gantool.images.page import Metadata, Page
from gantool.images.source import Source

_MODES: Final = {
    "1": "L",
    "L": "L",
    "I;16": "I;16",
    "I;16B": "I;16",
    "LA": "LA",
    "La": "LA",
    "PA": "RGBA",
    "RGB": "RGB",
    "RGBX": "RGB",
    "RGBA": "RGBA",
    "RGBa": "RGBA",
    "YCbCr": "RGB",
    "CMYK": "CMYK",
    "LAB": "LAB",
}
"""As which mode the pixels of a mode are taken; those of palettes depend on the palette."""
_CHANNELS: Final = {"L": 1, "I;16": 1, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 3, "LAB": 3}  # the last two become RGB

_HUSHING: Final = Lock()  # else one thread might keep what another one put there for the time being


class Whole:
    """A decoder, see `gantool.images.decoders.Decoder`, of a file's only picture or of one of its pages.

    Args:
        source: the file.
        begin: reads the header; `Image.open` would guess among all formats.
        orientation: of the picture, None if EXIF is to say so.
        icc: the file's profile, for its pixels as they are stored.
        talks: whether the decoder writes to standard error by itself.

    Raises:
        InputError: its pixels have no meaning here.
        Exception: the file is damaged; there is hardly one that cannot come.
    """

    def __init__(
        self,
        source: Source,
        begin: Callable[[BinaryIO], ImageFile],
        orientation: int | None = None,
        icc: bytes | None = None,
        talks: bool = False,
    ) -> None:
        self._source, self._begin, self._talks = source, begin, talks
        with self._opened() as image:
            mode = _mode(image)
            if mode is None:
                raise InputError(f"{source.name} has pixels of a kind ({image.mode}) that is not supported: save it as PNG")
            self._page = Page(image.width, image.height, _CHANNELS[mode], 16 if mode == "I;16" else 8)
            dpi, exif = image.info.get("dpi"), image.info.get("exif", b"")
        self.pages = (Stored(self._page, orientation),)
        own = mode == "CMYK" and vips.fits_cmyk(icc, source.name)
        self._icc = icc if own else None
        self.metadata = Metadata(
            icc=None if mode in ("CMYK", "LAB") else icc,
            exif=exif.removeprefix(b"Exif\0\0"),
            dpi=(float(dpi[0]), float(dpi[1])) if dpi else None,
        )

    def bands(self, page: int, rows: int) -> Bands:
        """Decode the picture."""
        with self._opened() as image:
            mode = _mode(image)
            if mode is None or image.size != (self._page.width, self._page.height):
                raise ValueError("its header says different things")
            with _hushed() if self._talks else nullcontext():
                image.load()
        for top in range(0, self._page.height, rows):
            part = image.crop((0, top, self._page.width, min(top + rows, self._page.height)))
            yield self._colors(part if part.mode == mode else part.convert(mode))

    @contextmanager
    def _opened(self) -> Iterator[ImageFile]:
        with warnings.catch_warnings():  # of what is damaged, and either raises an error or is left aside
            warnings.simplefilter("ignore")
            with self._source.open() as file, self._begin(file) as image:
                yield image

    def _colors(self, part: Image.Image) -> Band:
        band: Band = np.asarray(part).reshape(part.height, part.width, -1)
        if part.mode == "CMYK":
            image = vips.from_array(band, "cmyk", self._icc)
        elif part.mode == "LAB":
            light, chroma = band[:, :, :1].astype(np.float32), band[:, :, 1:].view(np.int8)
            image = vips.from_array(np.concatenate([light * np.float32(100 / 255), chroma], axis=2), "lab")
        else:
            return band
        image = vips.to_rgb(image, self._icc is not None, depth=8)
        return vips.levels(vips.fetch(image, 0, len(band)))


@contextmanager
def _hushed() -> Iterator[None]:
    """Let nothing through to standard error, not even what a library writes there."""
    with _HUSHING, ExitStack() as stack:
        with suppress(OSError):  # it may be closed
            before = os.dup(2)
            stack.callback(os.close, before)
            nothing = os.open(os.devnull, os.O_WRONLY)
            stack.callback(os.close, nothing)
            os.dup2(nothing, 2)
            stack.callback(os.dup2, before, 2)
        yield


def _mode(image: ImageFile) -> str | None:
    if image.mode == "P":
        return "RGBA" if image.has_transparency_data else "RGB"
    return _MODES.get(image.mode)


def bmp(source: Source) -> Whole:
    """Return the decoder of a BMP file."""
    return Whole(source, BmpImageFile)
