"""The formats, one decoder each, and what `gantool.images.reading` asks of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from gantool.bands import Bands
from gantool.errors import InputError
from gantool.images.page import Metadata, Page

MAX_PAGES: Final = 10_000
"""Pages or frames of one file. A frame may take a dozen bytes there, and as long to decode as any other."""


def check_count(pages: int, name: str) -> None:
    """Check how many pages or frames a file has, before a library looks at each.

    Raises:
        InputError: they are more than `MAX_PAGES`.
    """
    if pages > MAX_PAGES:
        raise InputError(f"{name} has more than {MAX_PAGES} pages or frames, which may be a trap: divide it")


@dataclass(frozen=True)
class Stored:
    """A page as its file holds it.

    Attributes:
        page: width and height before it is turned upright.
        orientation: how it is to be turned, 1 to 8 as in EXIF; None if the file's EXIF is to say so.
    """

    page: Page
    orientation: int | None = None


class Decoder(Protocol):
    """One picture file, whose header has been read, and no pixels yet.

    Faults of the file may be raised as any `Exception`: `reading` makes an InputError of them.
    """

    @property
    def pages(self) -> Sequence[Stored]:
        """The pages, at least one."""
        ...

    @property
    def metadata(self) -> Metadata:
        """What the file says, unchecked; the profile is for the pixels that `bands` gives."""
        ...

    def bands(self, page: int, rows: int) -> Bands:
        """Decode a page as stored, in bands of at most `rows` rows."""
        ...
