"""Formats and how their files are called."""

from __future__ import annotations

from typing import Final

from gantool.images.page import Format

FORMATS: Final[dict[str, Format]] = {
    ".png": "png",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".webp": "webp",
    ".avif": "avif",
    ".tif": "tiff",
    ".tiff": "tiff",
}
"""What is written under a name that ends so."""
SUFFIXES: Final[dict[Format, str]] = {"png": ".png", "jpeg": ".jpg", "webp": ".webp", "avif": ".avif", "tiff": ".tif"}
"""How the name of a file of a format ends, if nobody says so."""
ONLY_8_BITS: Final[frozenset[Format]] = frozenset({"jpeg", "webp", "avif"})
"""Formats that are written with 8 bits a channel, whatever comes."""
EXTENSIONS: Final = frozenset(
    [".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".avif", ".tif", ".tiff", ".gif", ".bmp", ".dib"]
    + [".jp2", ".j2k", ".jpc", ".j2c", ".jpx", ".jpf", ".ppm", ".pgm", ".pbm", ".pnm"]
)
"""What pictures are looked for in folders; what they are, their contents say."""
