"""libvips, which decodes PNG, JPEG, WebP, AVIF, TIFF and GIF from the top down.

Rows are fetched as regions, without libvips's own threads and caches: what is to overlap with what, others know better.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gantool.bands import Band
from gantool.errors import say
from gantool.images.page import Metadata
from gantool.images.source import Source
from gantool.machine import is_out_of_memory

os.environ.setdefault("VIPS_WARNING", "off")  # or what it has to say while the process ends would go to standard error
import pyvips  # noqa: E402

pyvips.cache_set_max(0)  # it would keep files open, and pictures in memory that nobody asks for again

LONGEST: Final = 99_999_999  # pixels a side of what libvips can handle, also of pages below one another

Loader: TypeAlias = Literal["png", "jpeg", "webp", "heif", "tiff", "gif"]
Image: TypeAlias = pyvips.Image
Values: TypeAlias = "NDArray[np.uint8 | np.uint16 | np.uint32 | np.float32]"

TYPES: Final = {"uchar": "u1", "ushort": "u2", "uint": "u4", "float": "f4"}
"""Of samples that have a meaning here."""
OTHER_COLORS: Final = frozenset({"cmyk", "lab", "labs"})
"""What `to_rgb` converts."""
_VAGUE: Final = re.compile(r"^\(|bad seek|read error$|unable to (call|fetch|open source|write)")
"""Complaints that say nothing, or come from attempts that need not succeed."""


def load(source: Source, loader: Loader, fail_on: str = "warning", **options: int) -> Image:
    """Read the header of a file; pixels can then be fetched once, from the top down.

    Args:
        source: read as a whole for WebP and GIF, whose decoders would otherwise map the file: one that shrinks then would
            end the process.
        loader: of its format.
        fail_on: the least fault that is an error.
        options: of the loader: page, n.

    Raises:
        ValueError: it is damaged.
    """
    if (data := source.read() if loader in ("webp", "gif") else source.data) is not None:
        return load_bytes(data, loader, fail_on, **options)
    with faults(), source.open() as file:
        origin = pyvips.Source.new_from_descriptor(file.fileno())  # which it duplicates
        return pyvips.Operation.call(f"{loader}load_source", origin, access="sequential", fail_on=fail_on, **options)


def load_bytes(data: bytes, loader: Loader, fail_on: str = "warning", **options: int) -> Image:
    """Read the header of a file in memory, of which libvips takes a copy; see `load`."""
    with faults():
        return pyvips.Operation.call(f"{loader}load_buffer", data, access="sequential", fail_on=fail_on, **options)


def from_array(values: Values, interpretation: str, icc: bytes | None = None) -> Image:
    """Return pixels (rows, width, channels) as an image of libvips's, with a colour profile."""
    image = pyvips.Image.new_from_array(values).copy(interpretation=interpretation)
    if icc is not None:
        image.set_type(pyvips.GValue.blob_type, "icc-profile-data", icc)
    return image


def fetch(image: Image, top: int, rows: int) -> Values:
    """Return rows (rows, width, channels) in the image's own type, one of `TYPES`.

    Raises:
        ValueError: the file is damaged.
    """
    _warnings.lines = []
    with faults():
        data = pyvips.Region.new(image).fetch(0, top, image.width, rows)  # a region each time: the thread may be another
    values: Values = np.frombuffer(data, TYPES[image.format]).reshape(rows, image.width, image.bands)
    return values


def levels(values: Values) -> Band:
    """Return whole numbers as levels of 8 or 16 bits; those of 32 lose half of theirs."""
    if values.dtype == np.uint32:
        return ((values.astype(np.uint64) + 32768) // 65537).astype(np.uint16)
    return values.astype(np.uint8 if values.dtype == np.uint8 else np.uint16, copy=False)


class _Fork:
    """Whether this process was forked from one that may have used libvips's threads, which only that one has."""

    happened = False

    def note(self) -> None:
        self.happened = True


FORK: Final = _Fork()
if sys.platform != "win32":
    os.register_at_fork(after_in_child=FORK.note)


class _Warnings(logging.Handler):
    """Keeps what libvips warns of, by thread: pyvips hands it to the logger that bears its name."""

    def emit(self, record: logging.LogRecord) -> None:
        _warnings.lines.append(record.getMessage().removeprefix("VIPS: "))


class _Lines(threading.local):
    def __init__(self) -> None:
        self.lines: list[str] = []


_warnings = _Lines()
logging.getLogger("pyvips").addHandler(_Warnings(logging.WARNING))


def warnings() -> list[str]:
    """Return what libvips warned of when this thread last called `fetch`."""
    return _warnings.lines


@contextmanager
def faults() -> Iterator[None]:
    """Raise what libvips complains of as a ValueError of one line, or a MemoryError."""
    try:
        yield
    except pyvips.Error as error:
        lines = [line.strip() for line in str(error.detail).splitlines() if line.strip()]
        clear = [line for line in lines if not _VAGUE.search(line)] or lines or [str(error.message)]
        cause = clear[-1].partition(": ")[2] or clear[-1]
        fault = ValueError(cause)
        raise (MemoryError(cause) if is_out_of_memory(fault) else fault) from error


def metadata(image: Image) -> Metadata:
    """Return what a file says beside its pixels, but its resolution; no profile where `to_rgb` makes use of it."""
    exif = block(image, "exif-data")
    count = frames(image)
    delays = image.get("delay") if count > 1 and image.get_typeof("delay") else []
    return Metadata(
        icc=None if image.interpretation in OTHER_COLORS else block(image, "icc-profile-data"),
        exif=exif.removeprefix(b"Exif\0\0") if exif else None,
        xmp=block(image, "xmp-data"),
        delays=tuple(max(0, delay) for delay in delays),
        loop=image.get("loop") if delays else 0,
    )


def frames(image: Image) -> int:
    """Return how many pages lie one below the other in an image that was loaded with n=-1."""
    return image.height // image.get("page-height") if image.get_typeof("page-height") else 1


def block(image: Image, field: str) -> bytes | None:
    """Return the bytes of a field of metadata, if there is one."""
    return bytes(image.get(field)) if image.get_typeof(field) else None


def fits_cmyk(icc: bytes | None, name: str) -> bool:
    """Return whether there is a profile for CMYK; one that is for something else is said to be left out."""
    if icc is None:
        return False
    _warnings.lines = []
    with faults():
        from_array(np.zeros((1, 1, 4), np.uint8), "cmyk", icc).icc_import(embedded=True)
    if _warnings.lines:  # and it took another one
        say(f"{name}: its colour profile is damaged or for other colours, and was left out")
    return not _warnings.lines


def to_rgb(image: Image, embedded: bool, depth: int | None = None) -> Image:
    """Return CMYK and LAB as sRGB, and other pixels as they are.

    Args:
        image: of any colours.
        embedded: whether CMYK is to be converted by the image's own profile, and not by a common one.
        depth: bits of sRGB; None for as many as the image has, 8 or 16.

    Raises:
        ValueError: the conversion is not possible.
    """
    if image.interpretation not in OTHER_COLORS:
        return image
    depth = depth or (8 if image.format == "uchar" else 16)
    count = 4 if image.interpretation == "cmyk" else 3
    with faults():
        rest = image.extract_band(count, n=image.bands - count) if image.bands > count else None
        colors = image.extract_band(0, n=count) if rest else image  # libvips would stretch an alpha of 16 bits once more
        if image.interpretation == "cmyk":
            ways = {"embedded": embedded, "input_profile": "cmyk", "black_point_compensation": True}
            rgb = colors.icc_transform("srgb", intent="relative", depth=depth, **ways)
        else:  # of D50 in TIFF as in profiles; libvips's own way from LAB to sRGB would take D65
            rgb = colors.colourspace("lab").icc_export(output_profile="srgb", intent="relative", depth=depth)
        return rgb.bandjoin(rest) if rest else rgb
