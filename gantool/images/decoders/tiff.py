"""TIFF: a page by libvips where it can, by Pillow where that can instead; what is said beside the pixels, by neither."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import BinaryIO, Final

from PIL.TiffImagePlugin import TiffImageFile

from gantool.bands import Bands
from gantool.errors import InputError, say
from gantool.images.decoders import Decoder, Stored, check_count, vips
from gantool.images.decoders.ifd import Directories, numbers
from gantool.images.decoders.pillow import Whole
from gantool.images.decoders.strip import Strip
from gantool.images.directories import EXIF, GPS, Field, Fields, packed
from gantool.images.page import Metadata
from gantool.images.source import Source
from gantool.images.turning import UPRIGHT

_KIND, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _COLORS, _DESCRIPTION, _ORIENTATION = 254, 256, 257, 258, 259, 262, 270, 274
_SAMPLES, _ACROSS, _DOWN, _PLANES, _UNIT, _TILES, _EXTRA, _TYPES = 277, 282, 283, 284, 296, 322, 338, 339
_SUBSAMPLING, _XMP, _ICC, _RAW = 530, 700, 34675, 50706
_LAYOUT: Final = (
    *(_KIND, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _COLORS, _ORIENTATION, _SAMPLES),
    *(_PLANES, _TILES, _EXTRA, _TYPES, _SUBSAMPLING, _RAW),
)
_RESOLUTION: Final = (_ACROSS, _DOWN, _UNIT)
_TOLD: Final = (_DESCRIPTION, 269, 271, 272, 305, 306, 315, 33432, 40091, 40092, 40093, 40094, 40095, EXIF, GPS)
"""What EXIF has in its first directory: names, camera, program, date, author, rights, keywords."""

_CMYK, _YCBCR, _LAB = 5, 6, 8
_PHOTOMETRIC: Final = frozenset({0, 1, 2, 3, _CMYK, _YCBCR, _LAB})
_JPEG: Final = 7
_BY_VIPS: Final = frozenset({1, 2, 3, 4, 5, _JPEG, 8, 32773, 32946})
_BY_PILLOW: Final = frozenset({34925, 50000})  # LZMA, ZSTD: missing in the libtiff that comes with pyvips
_SIGNED: Final = frozenset({2, 5, 6})  # integers with a sign, and complex numbers


class Tiff:
    """A decoder, see `gantool.images.decoders.Decoder`.

    Reduced copies of pages, and masks, are no pages.

    Args:
        source: the file.

    Raises:
        ValueError: it is damaged.
        InputError: it holds what cannot be made a picture of.
    """

    def __init__(self, source: Source) -> None:
        with source.open() as file:
            directories = Directories(file, source.size)
            offsets = directories.offsets()
            check_count(len(offsets), source.name)
            layouts = [directories.fields(at, _LAYOUT) for at in offsets]
            if _RAW in layouts[0]:
                raise InputError(f"{source.name} is a camera's raw picture (DNG): develop it to TIFF first")
            chosen = [n for n, fields in enumerate(layouts) if not _first(fields, _KIND) & 0b101] or [0]
            for number in chosen:
                directories.check_data(offsets[number])
            self.metadata, icc = _metadata(directories, offsets[chosen[0]], source.name)
        if _first(layouts[chosen[0]], _COLORS) not in (_CMYK, _LAB):
            self.metadata = replace(self.metadata, icc=icc)
        self._places: list[tuple[Decoder, int]] = []
        for run in _runs(layouts, chosen):
            decoder = _decoder(source, run, layouts[run[0]], icc)
            self._places += [(decoder, number) for number in range(len(run))]
        self.pages: Sequence[Stored] = [decoder.pages[number] for decoder, number in self._places]

    def bands(self, page: int, rows: int) -> Bands:
        """Decode a page."""
        decoder, number = self._places[page]
        return decoder.bands(number, rows)


def _runs(layouts: Sequence[Fields], chosen: Sequence[int]) -> list[list[int]]:
    """Divide pages into runs that libvips can read in one passage, as it looks for a single page from the first one on."""
    runs: list[list[int]] = []
    for number in chosen:
        fields = layouts[number]
        together = runs and number == runs[-1][-1] + 1 and fields == layouts[runs[-1][0]]
        high = together and (len(runs[-1]) + 1) * _first(fields, _HEIGHT) > vips.LONGEST
        if together and not high and _first(fields, _COLORS) not in (_CMYK, _LAB) and not _needs_pillow(fields):
            runs[-1].append(number)
        else:
            runs.append([number])
    return runs


def _first(fields: Fields, tag: int, default: int = 0) -> int:
    values = numbers(fields.get(tag))
    return values[0] if values else default


def _decoder(source: Source, run: Sequence[int], fields: Fields, icc: bytes | None) -> Decoder:
    """Return the decoder of pages that are alike, by the numbers of their directories in the file."""
    colors, compression = _first(fields, _COLORS, 1), _first(fields, _COMPRESSION, 1)
    if colors not in _PHOTOMETRIC or set(numbers(fields.get(_TYPES))) & _SIGNED:
        raise InputError(f"{source.name} holds measurements, not colours (TIFF of kind {colors}): save it as 8 or 16 bits RGB")
    if compression not in _BY_VIPS | _BY_PILLOW:
        raise InputError(f"{source.name} is TIFF compressed in way {compression}, which is not supported: use LZW or Deflate")
    bits = numbers(fields.get(_BITS)) or (1,)
    if max(bits) not in (1, 2, 4, 8, 16, 32):
        raise InputError(f"{source.name} has samples of {max(bits)} bits, which are not supported: save it with 8 or 16")
    orientation = _first(fields, _ORIENTATION, 1)
    sides = _first(fields, _WIDTH), _first(fields, _HEIGHT)
    if max(sides) > vips.LONGEST:  # of which libvips would complain on standard error
        raise InputError(f"{source.name} has {sides[0]}x{sides[1]} pixels, and no side may have more than {vips.LONGEST}")
    if not _needs_pillow(fields):
        # fields that break the rules are common, and would be errors, too, if libvips were to fail on warnings
        def begin(fail_on: str) -> vips.Image:
            return vips.load(source, "tiff", "error", page=run[0], n=len(run))

        return Strip(source.name, begin, orientation, _is_harmless)
    whole = compression == 1 and colors == _YCBCR and numbers(fields.get(_SUBSAMPLING)) != (1, 1)
    if max(bits) > 8 and bits != (16,) or whole:  # which Pillow would reduce to 8 bits, or take for something else
        raise InputError(f"{source.name} is TIFF of a rare kind that is not supported: save it with LZW or Deflate, untiled")

    def turned(file: BinaryIO) -> TiffImageFile:
        image = TiffImageFile(file)
        image.seek(run[0])
        return image

    return Whole(source, turned, UPRIGHT, icc, talks=True)  # as Pillow turns TIFF itself


def _is_harmless(warning: str) -> bool:
    """Return whether a warning is about a field, and not about pixels."""
    return re.search(r"\btags?\b|directory|field", warning) is not None


def _needs_pillow(fields: Fields) -> bool:
    """Return whether libvips cannot decode a page, or would do so wrongly."""
    colors, compression = _first(fields, _COLORS, 1), _first(fields, _COMPRESSION, 1)
    bits = numbers(fields.get(_BITS)) or (1,)
    if _ORIENTATION in fields and not 1 <= _first(fields, _ORIENTATION) <= 8:  # over which it stumbles
        return True
    planes_of_tiles = _TILES in fields and _first(fields, _PLANES, 1) == 2 and _first(fields, _SAMPLES, 1) > 1
    return (
        compression in _BY_PILLOW
        or planes_of_tiles
        or (colors == _LAB and max(bits) == 8)
        or (colors == _YCBCR and compression != _JPEG)
    )


def _metadata(directories: Directories, at: int, name: str) -> tuple[Metadata, bytes | None]:
    """Return what a page says beside its pixels, and its colour profile."""
    fields = directories.fields(at, (*_RESOLUTION, _XMP, _ICC))
    data = {tag: field.data for tag, field in fields.items() if isinstance(field, Field)}
    try:
        exif = _exif(directories.fields(at, (*_RESOLUTION, *_TOLD)))
    except ValueError:
        say(f"{name}: its EXIF is damaged, and was left out")
        exif = None
    return Metadata(exif=exif, xmp=data.get(_XMP), dpi=_dpi(fields)), data.get(_ICC)


def _dpi(fields: Fields) -> tuple[float, float] | None:
    inches = {2: 1.0, 3: 2.54}.get(_first(fields, _UNIT, 2))
    values = [numbers(fields.get(tag)) for tag in (_ACROSS, _DOWN)]
    if inches is None or not all(len(value) == 2 and all(value) for value in values):
        return None
    across, down = (value[0] / value[1] * inches for value in values)
    return across, down


def _exif(fields: Fields) -> bytes | None:
    """Return EXIF made of what the file's own directory says, or None if it says nothing."""
    told = fields.get(_DESCRIPTION)
    if isinstance(told, Field) and told.data.startswith((b'{"shape', b"ImageJ=", b"<?xml")):
        del fields[_DESCRIPTION]  # notes of programs about the size of this picture
    if not fields.keys() - set(_RESOLUTION):
        return None
    table, start = packed(fields, 8)
    return b"II*\0" + start.to_bytes(4, "little") + table
