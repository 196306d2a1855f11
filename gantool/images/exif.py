"""EXIF for a picture of another size: changed where it stands, as maker notes hold offsets from the block's start."""

from __future__ import annotations

from typing import Final

from gantool.images.directories import EXIF, GPS, INTEROPERABILITY, Block, Entry, packed, resolution

ORIENTATION: Final = 274
_WIDTH, _HEIGHT = (256, 0xA002), (257, 0xA003)  # ImageWidth of the first directory, PixelXDimension of that of EXIF
_THUMBNAIL, _THUMBNAIL_BYTES = 513, 514
_LAYOUT: Final = frozenset(
    {254, 255, 258, 259, 262, 266, 273, 277, 278, 279, 284, 288, 289, 317, 320, 322, 323, 324, 325, 330, 338, 339, 347}
    | {512, 513, 514, 529, 530, 532, 700, 33723, 34377, 34675}
)
"""Fields of the first directory that say how a TIFF file stores its pixels, or hold what is kept apart (XMP, profile)."""


def fitted(exif: bytes, width: int, height: int, gps: bool = True) -> bytes:
    """Return EXIF for an upright picture of this size, without a thumbnail.

    Everything else stays, maker notes at their place, which their offsets rely on.

    Args:
        exif: TIFF structure without the prefix "Exif".
        width: of the picture, in pixels.
        height: of the picture, in pixels.
        gps: whether to keep where it was taken.

    Raises:
        ValueError: it is damaged.
    """
    block = Block(exif)
    if thumbnail := block.next(block.first):
        _erase_thumbnail(block, thumbnail)
    main = [row for row in block.table(block.first) if row.tag not in _LAYOUT]
    if not gps:
        for place in _children(block, main, GPS):
            block.erase(place)
        main = [row for row in main if row.tag != GPS]
    ends = [block.end(place) for place in _children(block, main, GPS)]
    for place in _children(block, main, EXIF):
        rows = block.table(place)
        ends += [block.end(place), *(block.end(inner) for inner in _children(block, rows, INTEROPERABILITY))]
        _resize(block, rows, width, height)
        block.store(place, rows)
    ends.append(block.end(block.first))
    _resize(block, main, width, height)
    block.store(block.first, main)
    return bytes(block.data[: max(ends)] if thumbnail else block.data)


def without_orientation(exif: bytes) -> bytes:
    """Return EXIF without its orientation, which AVIF keeps elsewhere.

    Raises:
        ValueError: it is damaged.
    """
    block = Block(exif)
    block.store(block.first, [row for row in block.table(block.first) if row.tag != ORIENTATION])
    return bytes(block.data)


def of_resolution(dpi: tuple[float, float]) -> bytes:
    """Return EXIF that says nothing but the pixels per inch across and down."""
    fields, table = packed({**resolution(dpi)}, 8)
    return b"II*\0" + table.to_bytes(4, "little") + fields


def _children(block: Block, rows: list[Entry], tag: int) -> list[int]:
    """Return the offsets of the directories that rows lead to: one, or none."""
    return [block.integer(row.value) for row in rows if row.tag == tag][:1]


def _resize(block: Block, rows: list[Entry], width: int, height: int) -> None:
    for row in rows:
        if row.tag in _WIDTH:
            block.set(row, width)
        elif row.tag in _HEIGHT:
            block.set(row, height)
        elif row.tag == ORIENTATION:
            block.set(row, 1)


def _erase_thumbnail(block: Block, at: int) -> None:
    try:
        places = {row.tag: block.integer(row.value) for row in block.table(at)}
        block.erase(at)
    except ValueError:  # where it leads to is nowhere: nothing is there to be erased
        return
    start = places.get(_THUMBNAIL, 0)
    stop = min(start + places.get(_THUMBNAIL_BYTES, 0), len(block.data))
    if start >= 8:
        block.data[start:stop] = bytes(max(0, stop - start))
