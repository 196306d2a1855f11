"""Writing picture files of any format and size; which format can hold what."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from gantool.errors import InputError
from gantool.images.page import Format, Metadata, Page
from gantool.images.writers.base import Writer

__all__ = ["Writer", "check_fits", "create"]

_NAMES: Final[dict[Format, str]] = {"png": "PNG", "jpeg": "JPEG", "webp": "WebP", "avif": "AVIF", "tiff": "TIFF"}
_LONGEST_SIDE: Final[dict[Format, int]] = {
    "png": (1 << 31) - 1,
    "jpeg": 65_500,  # the format has 65,535, the library that nearly all programs use has this
    "webp": 16_383,
    "avif": 32_768,  # the format has 65,536; what is more than this or `_MOST_AVIF_PIXELS`, the usual library does not read
    "tiff": (1 << 32) - 1,
}
_MOST_AVIF_PIXELS: Final = 1 << 28


def check_fits(form: Format, pages: Sequence[Page], animated: bool) -> None:
    """Check that a format can hold pages, or the frames of an animation.

    Raises:
        InputError: it cannot.
    """
    name = _NAMES[form]
    if form == "jpeg" and any(page.alpha for page in pages):
        raise InputError("JPEG cannot hold transparency: use --background to fill it with a colour, or --format png")
    if len(pages) > 1 and animated and form in ("jpeg", "tiff"):
        raise InputError(f"{name} cannot hold an animation, which has {len(pages)} frames: use --format png or webp")
    if len(pages) > 1 and not animated and form != "tiff":
        raise InputError(f"{name} cannot hold {len(pages)} pages: use --format tiff")
    for page in pages:
        longest = _LONGEST_SIDE[form]
        if max(page.width, page.height) > longest:
            raise InputError(f"{name} ends at {longest} pixels a side, not {page.width}x{page.height}: use {_larger(animated)}")
        if form == "avif" and page.width * page.height > _MOST_AVIF_PIXELS:
            raise InputError(f"AVIF ends at 268 megapixels, not {page.width}x{page.height}: use {_larger(animated)}")


def _larger(animated: bool) -> str:
    return "--format png" if animated else "--format png or tiff"


def create(path: Path, form: Format, pages: Sequence[Page], metadata: Metadata, quality: int) -> Writer:
    """Open a picture file for writing, at exactly this path; see `Writer` for how it is filled and which threads do what.

    PNG, JPEG and TIFF take memory for a few bands, however high the picture is. WebP and AVIF take the whole picture, or one
    frame of an animation; their sides end at 16,383 and 32,768 pixels.

    Args:
        path: replaced if it is there.
        form: which holds what comes, see `check_fits`; where it has 8 bits only, 16 are rounded to them.
        pages: at least one; of an animation, all of one size and type.
        metadata: what the file shall say; `delays` for every page, if there are several and the format is not TIFF.
        quality: 1 to 100, of JPEG, WebP (100: lossless) and AVIF; the others are lossless.

    Raises:
        OSError: the file cannot be opened for writing.
    """
    file = path.open("wb")
    try:  # imports here, as no picture needs more than one of these libraries
        if form == "png":
            from gantool.images.writers.png import PngWriter

            return PngWriter(file, pages, metadata)
        if form == "jpeg":
            from gantool.images.writers.jpeg import JpegWriter

            return JpegWriter(file, pages, metadata, quality)
        if form == "tiff":
            from gantool.images.writers.tiff import TiffWriter

            return TiffWriter(file, pages, metadata)
        from gantool.images.writers.whole import WholeWriter

        return WholeWriter(file, pages, metadata, form, quality, path.parent)
    except BaseException:
        file.close()
        raise
