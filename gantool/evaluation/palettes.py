"""Label pictures: which class each place has, by number or by colour."""

from __future__ import annotations

import csv
import tomllib
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL.PngImagePlugin import PngImageFile
from torch import Tensor

from gantool.errors import InputError, UsageError, first_line, printable
from gantool.images import MAX_PIXELS
from gantool.metrics.seg import IGNORED

MAX_BYTES = 1 << 20  # of a palette file
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GRAY, _RGB, _PALETTE = 0, 2, 3  # kinds of pixels in a PNG's header; what is left has alpha
_SPREAD = {2: 85, 4: 17}  # Pillow spreads gray of so many bits over 0 to 255, by this factor

Ids = NDArray[np.int32]


@dataclass(frozen=True)
class Palette:
    """Classes with their colours.

    Attributes:
        names: of the classes, in the order of their numbers.
        colors: RGB of each.
        ids: the numbers that label pictures use for the classes, where these are not 0, 1, 2, ...; any other up to
            `last` means that the place does not count.
        last: the highest number there can be.
    """

    names: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]
    ids: tuple[int, ...] = ()
    last: int = 0


_CITYSCAPES = """
    7 road 128 64 128, 8 sidewalk 244 35 232, 11 building 70 70 70, 12 wall 102 102 156, 13 fence 190 153 153,
    17 pole 153 153 153, 19 traffic_light 250 170 30, 20 traffic_sign 220 220 0, 21 vegetation 107 142 35,
    22 terrain 152 251 152, 23 sky 70 130 180, 24 person 220 20 60, 25 rider 255 0 0, 26 car 0 0 142, 27 truck 0 0 70,
    28 bus 0 60 100, 31 train 0 80 100, 32 motorcycle 0 0 230, 33 bicycle 119 11 32
"""


def _cityscapes() -> Palette:
    rows = [row.split() for row in _CITYSCAPES.split(",")]
    return Palette(
        tuple(name.replace("_", " ") for _, name, *_ in rows),
        tuple((int(r), int(g), int(b)) for _, _, r, g, b in rows),
        tuple(int(number) for number, *_ in rows),
        last=33,
    )


CITYSCAPES = _cityscapes()
"""The 19 classes that Cityscapes (arXiv:1604.01685) scores, by train id; `ids` are its label ids."""


def read_palette(path: Path) -> Palette:
    """Return the classes of a file: a CSV of name,r,g,b, or a TOML of name = [r, g, b]; their order gives the numbers.

    Raises:
        UsageError: it cannot be read, or is not that.
    """
    try:
        if path.stat().st_size > MAX_BYTES or not path.is_file():
            raise UsageError(f"--palette {printable(path)} is no file of at most {MAX_BYTES >> 20} MiB: name one of name,r,g,b")
        text = path.read_text(encoding="utf-8-sig")
        rows = list(_of_toml(text) if path.suffix.lower() == ".toml" else _of_csv(text))
    except (OSError, ValueError, csv.Error, RecursionError) as error:
        raise UsageError(f"--palette {printable(path)} cannot be read: {first_line(error)}") from error
    if rows and [field.lower() for field in rows[0][1]] == ["r", "g", "b"]:  # a header
        del rows[0]
    names, colors = [name for name, _ in rows], [_color(path, name, values) for name, values in rows]
    for what, found in (("names", names), ("colours", colors)):
        if len(set(found)) < len(found):
            raise UsageError(f"--palette {printable(path)} has one of its {what} twice: each class needs its own")
    if len(rows) < 2:
        raise UsageError(
            f"--palette {printable(path)} has {len(rows)} classes: it needs two or more, a line name,r,g,b for each"
        )
    return Palette(tuple(names), tuple(colors))


def _of_csv(text: str) -> Iterable[tuple[str, list[str]]]:
    rows = [[field.strip() for field in row] for row in csv.reader(text.splitlines())]
    return [(row[0], row[1:]) for row in rows if any(row)]


def _of_toml(text: str) -> Iterable[tuple[str, list[str]]]:
    return [(name, list(map(str, v)) if isinstance(v, list) else [str(v)]) for name, v in tomllib.loads(text).items()]


def _color(path: Path, name: str, values: list[str]) -> tuple[int, int, int]:
    numbers = [int(value) for value in values if value.isascii() and value.isdecimal() and len(value) <= 3]
    if len(values) != 3 or len(numbers) != 3 or max(numbers) > 255 or not name:
        said = printable(",".join(values))[:80]
        raise UsageError(f"--palette {printable(path)}: '{printable(name)}' has the colour '{said}': use r,g,b from 0 to 255")
    return numbers[0], numbers[1], numbers[2]


def read_numbers(path: Path, palette: Palette | None, max_pixels: int = MAX_PIXELS) -> Ids:
    """Return the classes (H, W) of a label picture; `IGNORED` where nothing counts.

    Args:
        path: a PNG, gray or with a palette, whose values are classes, as they are stored.
        palette: tells which class a number stands for; without one, or `ids`, they are the classes themselves.
        max_pixels: larger pictures are refused.

    Raises:
        InputError: it cannot be read, or holds something else.
    """
    stored = _stored(path, max_pixels)
    if palette is None or not palette.ids:
        return stored
    if stored.max() > palette.last:
        remedy = "name the pictures that end in _labelIds.png" if palette is CITYSCAPES else "correct it"
        raise InputError(f"{printable(path)} has the label {stored.max()}, the last there is is {palette.last}: {remedy}")
    table = np.full(palette.last + 1, IGNORED, np.int32)
    table[list(palette.ids)] = np.arange(len(palette.ids))
    classes: Ids = table[stored]
    return classes


def _stored(path: Path, max_pixels: int) -> Ids:
    """Return the values of a PNG as they are stored: pictures' readers turn them into colours and levels."""
    if not path.is_file():
        raise InputError(f"{printable(path)} is no file: name a label picture")
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is damaged, and either raises an error or does not matter
            depth = _depth(file.read(26), path, max_pixels)
            file.seek(0)
            with PngImageFile(file) as image:
                values = np.asarray(image).astype(np.int32)
                spread = _SPREAD.get(depth, 1) if image.mode == "L" else 1
    except (InputError, MemoryError):
        raise
    except Exception as error:  # of a damaged file there is hardly one that cannot come
        raise InputError(f"{printable(path)} is damaged or cut short: {first_line(error)}") from error
    return values // spread


def _depth(head: bytes, path: Path, max_pixels: int) -> int:
    """Return how many bits a value has, going by a PNG's first bytes, provided that it can hold classes."""
    if len(head) < 26 or head[:8] != _SIGNATURE:
        raise InputError(f"{printable(path)} is no PNG: label pictures are, since most other formats change numbers")
    width, height = int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
    if width * height > max_pixels:
        size = f"{width}x{height}"
        raise InputError(
            f"{printable(path)} has {size} pixels, more than the limit of {max_pixels}: raise it with --max-pixels"
        )
    if head[25] not in (_GRAY, _PALETTE):
        found = "colours" if head[25] == _RGB else "transparency"
        raise InputError(f"{printable(path)} has {found}: label pictures are gray, or have a palette, and hold class numbers")
    return head[24]


def nearest_classes(color: Tensor, palette: Palette) -> Ids:
    """Return the class (H, W) whose colour is nearest to each pixel's, by the squares of the differences; of several the first.

    Args:
        color: (3|1, H, W) uint8.
        palette: the classes.
    """
    red, green, blue = color.expand(3, -1, -1).numpy().astype(np.int32)
    there, where = np.unique((red << 16) + (green << 8) + blue, return_inverse=True)
    of = np.stack([there >> 16, there >> 8 & 255, there & 255], 1)
    best, least = np.zeros(len(there), np.int32), np.full(len(there), 1 << 20, np.int32)
    for number, wanted in enumerate(palette.colors):
        distance = ((of - np.array(wanted)) ** 2).sum(1)
        closer = distance < least
        best[closer], least[closer] = number, distance[closer]
    return best[where].reshape(red.shape)
