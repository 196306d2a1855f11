"""Whole pictures as tensors, for training, for measuring and for Python; everything larger goes in bands."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gantool.bands import Bands
from gantool.errors import InputError, printable
from gantool.files import atomic
from gantool.images.formats import FORMATS
from gantool.images.levels import to_bits
from gantool.images.page import Format, Metadata, Page
from gantool.images.reading import MAX_PIXELS, open_picture
from gantool.images.writing import check_fits, create

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Picture:
    """A picture in memory. Its tensors may be views whose channels lie innermost, as codecs want them.

    Attributes:
        color: (3, H, W) RGB or (1, H, W) gray, uint8.
        alpha: (1, H, W) uint8, or None for an opaque picture; colours are not multiplied by it.
        icc: the colour profile's bytes, if any.
    """

    color: Tensor
    alpha: Tensor | None = None
    icc: bytes | None = None

    def page(self) -> Page:
        """Return its size and type."""
        channels, height, width = self.color.shape
        return Page(width, height, channels + (self.alpha is not None))

    def bands(self, rows: int = 64) -> Bands:
        """Yield its pixels (rows, W, channels) from the top down."""
        planes = [plane.cpu().permute(1, 2, 0).numpy() for plane in (self.color, self.alpha) if plane is not None]
        for top in range(0, planes[0].shape[0], rows):
            yield np.concatenate([plane[top : top + rows] for plane in planes], axis=2)

    @classmethod
    def of(cls, bands: Bands, page: Page, icc: bytes | None) -> Picture:
        """Return the picture that bands of 8 or 16 bits make up, in 8 bits."""
        import torch

        pixels = np.empty((page.height, page.width, page.channels), np.uint8)
        top = 0
        for band in bands:
            pixels[top : top + len(band)] = to_bits(band, 8)
            top += len(band)
        planes = torch.from_numpy(pixels).permute(2, 0, 1)
        return cls(planes[:-1], planes[-1:], icc) if page.alpha else cls(planes, None, icc)


def read(source: Path | bytes, max_pixels: int = MAX_PIXELS) -> Picture:
    """Read a picture, of pages or frames the first, in 8 bits; see `gantool.images.reading`.

    Args:
        source: a regular file, or the contents of one.
        max_pixels: larger pictures are refused, going by their header.

    Raises:
        InputError: it cannot be read, or is no whole picture.
    """
    with open_picture(source, "the picture" if isinstance(source, bytes) else printable(source), max_pixels) as reader:
        return Picture.of(reader.bands(), reader.pages[0], reader.metadata.icc)


def write(path: Path, picture: Picture, form: Format | None = None, quality: int = 95) -> None:
    """Write a picture file in one step: it is there whole, or not at all.

    Args:
        path: its extension decides the format if `form` does not.
        picture: what to write.
        form: one of `FORMATS`.
        quality: 1 to 100, of those that lose something.

    Raises:
        InputError: the format cannot hold the picture, the extension is none that is known, or the place is not writable.
        RunError: the disk is full.
    """
    chosen = form or FORMATS.get(path.suffix.lower())
    if chosen is None:
        raise InputError(f"{printable(path)} has no extension that is known: use {' '.join(sorted(FORMATS))}")
    page = picture.page()
    check_fits(chosen, [page], animated=False)
    with atomic(path) as temporary, create(temporary, chosen, [page], Metadata(icc=picture.icc), quality) as writer:
        for band in picture.bands():
            writer.write(band)
