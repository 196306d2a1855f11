"""A picture from file to file, whatever is done to it between: how it is read and stored, and all it carries along.

The verbs that make pictures of pictures share this; `images` knows the formats.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from gantool import batch, images
from gantool.bands import Bands, Source, ahead
from gantool.errors import InputError, UsageError, printable, say
from gantool.files import atomic
from gantool.images import Format, Metadata, Page, Reader
from gantool.images.levels import to_bits
from gantool.outputs import Item
from gantool.transparency import Background

Make = Callable[[int, Source], Bands]  # the result for the page of a number
HOLDS_ALL: frozenset[Format] = frozenset({"webp", "avif"})
"""Formats that are encoded when all rows are there."""


@dataclass(frozen=True)
class Carrier:
    """How pictures are read and stored.

    Attributes:
        form: of outputs; None: by their names, and where these are free, TIFF for TIFF, else PNG.
        quality: of formats that lose something, 1 to 100.
        bits: of outputs.
        background: a colour that transparent pictures are put on.
        strip: what is left out of what the file says.
        max_pixels: larger pages are refused.
    """

    form: Format | None = None
    quality: int = 95
    bits: Literal["auto", "8", "16"] = "auto"
    background: str | None = None
    strip: images.Strip = "none"
    max_pixels: int = images.MAX_PIXELS

    def __post_init__(self) -> None:
        """Check what can be checked before the first picture.

        Raises:
            UsageError: the background is no colour, or the format cannot have the depth.
        """
        _ = self._ground
        if self.bits == "16" and self.form is not None and self.form in images.ONLY_8_BITS:
            raise UsageError(f"{self.form} has 8 bits a channel: use --format png or tiff for --bit-depth 16")

    @cached_property
    def _ground(self) -> Background | None:
        return None if self.background is None else Background.parse(self.background)

    def extension(self, source: Path) -> str:
        """Return the extension of the output for an input."""
        return images.SUFFIXES[self.form or ("tiff" if images.FORMATS.get(source.suffix.lower()) == "tiff" else "png")]

    @contextmanager
    def opened(self, item: Item) -> Iterator[Reader]:
        """Open an item's picture.

        Raises:
            InputError: it cannot be read.
        """
        name = "standard input" if item.source is None else printable(item.source)
        with images.open_picture(item.source or _standard_input(), name, self.max_pixels) as reader:
            yield reader

    def prepared(self, page: Page) -> Page:
        """Return what a page is like when something is done to it."""
        if page.alpha and self._ground is not None:
            page = replace(page, channels=self._ground.channels(page.channels))
        return replace(page, bits=16) if self.bits == "16" else page

    def _source(self, reader: Reader, number: int) -> Source:
        page = reader.pages[number]
        bits = self.prepared(page).bits

        def begin() -> Bands:
            bands = reader.bands(number)
            if page.alpha and self._ground is not None:
                bands = self._ground.under(bands)
            return (to_bits(band, bits) for band in bands)

        return begin

    def form_of(self, item: Item) -> Format:
        """Return the format of an item's output."""
        return self.form or images.FORMATS.get(item.target.suffix.lower() if item.target else ".png", "png")

    def check_fits(self, item: Item, reader: Reader, results: Sequence[Page]) -> None:
        """Check that the output's format can hold the results.

        Raises:
            InputError: it cannot.
        """
        images.check_fits(self.form_of(item), results, bool(reader.metadata.delays))

    def write(self, item: Item, reader: Reader, results: Sequence[Page], make: Make) -> None:
        """Make an item's output: it is there whole, or not at all.

        Args:
            item: what is read and where the result goes.
            reader: the picture.
            results: size and type of the results.
            make: gives the result for a page, from a source as `prepared` says.

        Raises:
            InputError: the picture turns out to be damaged, or the output cannot be written.
            RunError: the disk is full, or standard output closed.
        """
        form = self.form_of(item)
        stored = [replace(page, bits=self._bits(page, form)) for page in results]
        if self.bits == "auto" and any(page.bits != kept.bits for page, kept in zip(results, stored, strict=True)):
            say(f"{batch.name(item.source)}: 16 bits a channel become 8, as {form} has no more: use --format png or tiff")
        metadata = self._metadata(item, reader, stored[0])
        with result_file(item) as path, images.create(path, form, stored, metadata, self.quality) as writer:
            for number, page in enumerate(stored):
                with closing(ahead(make(number, self._source(reader, number)))) as bands:
                    for band in bands:
                        writer.write(to_bits(band, page.bits))

    def _metadata(self, item: Item, reader: Reader, result: Page) -> Metadata:
        """Return what an output says; a profile for gray goes where a background or a translation has coloured the picture."""
        name, metadata = batch.name(item.source), reader.metadata
        if metadata.icc and reader.pages[0].channels < 3 <= result.channels:
            say(f"{name}: its colour profile is for gray, which the result is not, and was left out")
            metadata = replace(metadata, icc=None)
        return images.prepared(metadata, result, self.strip, name)

    def _bits(self, page: Page, form: Format) -> Literal[8, 16]:
        return 8 if form in images.ONLY_8_BITS or self.bits == "8" else page.bits


def _standard_input() -> bytes:
    try:
        data = b"" if sys.stdin is None else sys.stdin.buffer.read(images.MAX_BYTES + 1)  # None: it is closed
    except OSError as error:
        raise InputError(f"standard input cannot be read: {error.strerror}") from error
    if not 0 < len(data) <= images.MAX_BYTES:
        raise InputError(f"standard input has {'too much' if data else 'nothing'} in it: give it one picture")
    return data


@contextmanager
def result_file(item: Item) -> Iterator[Path]:
    """Yield where to write an item's output; it is put in its place, or printed, when the block ends without an error."""
    if item.target is not None:
        with atomic(item.target) as path:
            yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "picture")
        yield path
        with path.open("rb") as file:
            while data := file.read(1 << 20):
                batch.emit_bytes(data)
