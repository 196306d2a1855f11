"""What is known of a picture beside its pixels: the size and type of its pages, and what its file says of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Format: TypeAlias = Literal["png", "jpeg", "webp", "avif", "tiff"]


@dataclass(frozen=True)
class Page:
    """A page of a document, a frame of an animation, or the only image of a file.

    Its pixels are arrays (rows, width, channels) of uint8 or uint16, upright, colours not multiplied by alpha.

    Attributes:
        width: in pixels, as a viewer shows it.
        height: in pixels.
        channels: 1 gray, 2 gray and alpha, 3 RGB, 4 RGB and alpha.
        bits: of each channel, 8 (uint8) or 16 (uint16), by the file's type and never by its values.
    """

    width: int
    height: int
    channels: int
    bits: Literal[8, 16] = 8

    @property
    def alpha(self) -> bool:
        """Whether the last channel is alpha."""
        return self.channels in (2, 4)


@dataclass(frozen=True)
class Metadata:
    r"""What a file says of its picture.

    Attributes:
        icc: colour profile that fits the pixels (of gray for gray ones, of RGB for RGB), or None for sRGB.
        exif: TIFF structure without the prefix "Exif\0\0"; orientation is applied already.
        xmp: packet of RDF in XML.
        dpi: pixels per inch across and down, as the file says.
        delays: milliseconds that each frame stays; empty for what is no animation.
        loop: how often an animation plays, 0 for ever.
    """

    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    delays: tuple[int, ...] = ()
    loop: int = 0
