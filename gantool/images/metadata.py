"""What a result says of itself: what its source said, with what is no longer true corrected or left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal, TypeAlias

from gantool.errors import first_line, say
from gantool.images import exif, xmp
from gantool.images.page import Metadata, Page

Strip: TypeAlias = Literal["all", "gps", "none"]


def prepared(metadata: Metadata, page: Page, strip: Strip, name: str = "the picture") -> Metadata:
    """Return the metadata for the result made of a picture.

    In EXIF and XMP the pixel sizes become the result's, the orientation upright, and thumbnails go. What is damaged is left
    out, and a line on standard error says so.

    Args:
        metadata: of the source.
        page: first page of the result.
        strip: "gps" leaves out where the picture was taken; "all" leaves out EXIF, XMP and resolution, and keeps the
            profile, without which colours would change, and an animation's timing.
        name: what messages call the picture, safe to print.
    """
    if strip == "all":
        return replace(metadata, exif=None, xmp=None, dpi=None)

    def corrected(kind: str, data: bytes | None, fitted: Callable[[bytes, int, int, bool], bytes]) -> bytes | None:
        try:
            return None if data is None else fitted(data, page.width, page.height, strip == "none")
        except ValueError as error:
            say(f"{name}: its {kind} is damaged ({first_line(error)}) and was left out")
            return None

    return replace(
        metadata,
        exif=corrected("EXIF", metadata.exif, exif.fitted),
        xmp=corrected("XMP", metadata.xmp, xmp.fitted),
    )


def profile_fits(icc: bytes, gray: bool) -> bool:
    """Return whether a colour profile is one for gray, or for RGB."""
    return icc[16:20] == (b"GRAY" if gray else b"RGB ")
