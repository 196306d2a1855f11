"""Pages that lie one below the other in one image of libvips's: the frames of an animation, or a single page."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from gantool.bands import Band, Bands
from gantool.errors import InputError, say
from gantool.images.decoders import Stored, vips
from gantool.images.decoders.vips import Image, Values
from gantool.images.page import Page

_HARMLESS: Final = re.compile(r"Invalid SOS parameters|unknown JFIF revision|Unknown Adobe color")
"""What cameras get wrong in the headers of JPEG files; damaged data has other faults besides."""


class Strip:
    """A decoder, see `gantool.images.decoders.Decoder`.

    Args:
        name: what messages call the picture.
        begin: reads the header, given what to fail on, as `vips.load` does.
        orientation: of all pages; None if EXIF is to say so.
        harmless: whether the picture is sound in spite of a warning of libvips's that did not make it fail.

    Raises:
        ValueError: the file is damaged.
        InputError: its pixels have no meaning here.
    """

    def __init__(
        self,
        name: str,
        begin: Callable[[str], Image],
        orientation: int | None = None,
        harmless: Callable[[str], bool] = lambda warning: True,
    ) -> None:
        self._name, self._begin, self._harmless = name, begin, harmless
        self._fail_on = "warning"
        self._rest: tuple[Image, int] | None = None  # what is left of the passage that gave the last page
        self._clipped = False
        image = self._start()
        self.metadata = vips.metadata(image)
        self._embedded = image.interpretation == "cmyk" and vips.fits_cmyk(vips.block(image, "icc-profile-data"), name)
        self._page = _page(vips.to_rgb(image, self._embedded), vips.frames(image), name)
        self.pages: Sequence[Stored] = (Stored(self._page, orientation),) * vips.frames(image)

    def bands(self, page: int, rows: int) -> Bands:
        """Decode a page, going on where the last one ended if that is not beyond its beginning."""
        rest, self._rest = self._rest, None  # nobody else may go on from there
        start, stop = page * self._page.height, (page + 1) * self._page.height
        image, at = rest if rest is not None and rest[1] <= start else (self._converted(), 0)
        while at < stop:
            count = min(rows, (start if at < start else stop) - at)
            image, values = self._fetch(image, at, count)
            if damage := [warning for warning in vips.warnings() if not self._harmless(warning)]:
                raise ValueError(damage[0])
            if at >= start:
                values = values[:, :, : self._page.channels]
                yield self._from_floats(values) if values.dtype == np.float32 else vips.levels(values)
            at += count
        if page + 1 < len(self.pages):
            self._rest = image, at

    def _start(self) -> Image:
        try:
            return self._begin(self._fail_on)
        except ValueError as error:
            if not self._forgives(error):
                raise
            return self._begin(self._fail_on)

    def _converted(self) -> Image:
        return vips.to_rgb(self._start(), self._embedded)

    def _fetch(self, image: Image, top: int, rows: int) -> tuple[Image, Values]:
        try:
            return image, vips.fetch(image, top, rows)
        except ValueError as error:
            if top > 0 or not self._forgives(error):
                raise
            image = self._converted()
            return image, vips.fetch(image, top, rows)

    def _forgives(self, error: ValueError) -> bool:
        """If only headers are wrong, return true, and be content with less from now on."""
        if self._fail_on != "warning" or not _HARMLESS.search(str(error)):
            return False
        self._fail_on = "error"
        return True

    def _from_floats(self, values: Values) -> Band:
        if np.isnan(values).any():
            raise ValueError("some of its values are no numbers (NaN)")
        inside = (values >= 0) & (values <= 1)
        if not self._clipped and not inside.all():
            self._clipped = True
            say(f"{self._name}: some of its values lie outside of 0 to 1, and were clipped")
        return (np.clip(values, 0, 1) * np.float64(65535) + 0.5).astype(np.uint16)


def _page(image: Image, frames: int, name: str) -> Page:
    if image.format not in vips.TYPES:
        raise InputError(f"{name} has samples of type {image.format}, of which none is white: save it with 8 or 16 bits")
    if image.bands > 2 and image.interpretation not in ("srgb", "rgb", "rgb16", "scrgb"):
        raise InputError(f"{name} has {image.bands} channels that are no colours: save those that are to be a picture")
    channels = min(image.bands, 2 if image.bands < 3 else 4)  # what lies behind alpha is none of the picture's
    return Page(image.width, image.height // frames, channels, 8 if image.format == "uchar" else 16)
