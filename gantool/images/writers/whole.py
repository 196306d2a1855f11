"""WebP and AVIF, whose encoders want whole pictures; Pillow has both, with animation and all metadata.

What is written is put aside until all is there: in memory up to 64 MiB, then in a nameless file in the result's folder. So
of an animation one frame is in memory at a time, beside what is encoded; but a picture is, whole. Its size has an end, as
these formats have: 16,383 pixels a side for WebP; for AVIF, what its readers take, 32,768 a side and 268 megapixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import SpooledTemporaryFile
from threading import Thread
from typing import IO, BinaryIO, Final, Literal

from PIL import ImageFile

from gantool.bands import Band
from gantool.errors import say
from gantool.images.exif import of_resolution, without_orientation
from gantool.images.metadata import profile_fits
from gantool.images.page import Metadata, Page
from gantool.images.writers.base import Writer

_MODES: Final = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_IN_MEMORY: Final = 64 << 20  # bytes


class WholeWriter(Writer):
    """Writes WebP or AVIF in 8 bits, with or without alpha; several pages are the frames of an animation.

    Args:
        file: see `Writer`.
        pages: see `Writer`; all alike.
        metadata: see `Writer`.
        form: which of the two.
        quality: 1 to 100; 100 is lossless in WebP. From 90 on AVIF stores colours at full resolution.
        folder: where pictures are put aside that are larger than memory should hold.
    """

    deep = False

    def __init__(
        self,
        file: BinaryIO,
        pages: Sequence[Page],
        metadata: Metadata,
        form: Literal["webp", "avif"],
        quality: int,
        folder: Path,
    ) -> None:
        super().__init__(file, pages, metadata)
        self._form = form
        self._quality = quality
        self._aside = self.resources.enter_context(SpooledTemporaryFile(_IN_MEMORY, dir=str(folder)))  # noqa: SIM115
        self._complete = 0

    def begin(self, page: Page) -> None:
        """Nothing can be written yet."""

    def encode(self, piece: Band, above: Band | None, last: bool) -> bytes:
        """Return the pixels as they are."""
        return piece.tobytes()

    def add(self, encoded: bytes, rows: int) -> None:
        """Put rows aside."""
        self._aside.write(encoded)

    def end(self) -> None:
        """Encode everything once the last page is complete."""
        self._complete += 1
        if self._complete == len(self.pages):
            _interruptibly(self._save)

    def _save(self) -> None:
        options = self._webp_options() if self._form == "webp" else self._avif_options()
        timing = {"duration": list(self.metadata.delays), "loop": self.metadata.loop}
        animated = len(self.pages) > 1
        frames = _Frames(self._aside, self.pages)
        frames.save(self.file, self._form, save_all=animated, **self._described(), **options, **(timing if animated else {}))

    def _webp_options(self) -> dict[str, int]:
        # The quality of what is lossless is how hard to try: 20 takes a third of the time of 70, for the same size. With
        # "exact", invisible pixels keep their colours.
        return {"lossless": 1, "exact": 1, "quality": 20} if self._quality == 100 else {"quality": self._quality}

    def _avif_options(self) -> dict[str, int | str]:
        if len(self.pages) > 1 and self.metadata.loop:
            say(f"AVIF animations play for ever here, not {self.metadata.loop} times: WebP and PNG would keep that")
        if all(page.channels == 1 for page in self.pages):
            return {"quality": self._quality}
        return {"quality": self._quality, "subsampling": "4:4:4" if self._quality >= 90 else "4:2:0"}

    def _described(self) -> dict[str, bytes]:
        """Return the metadata by Pillow's names. Both formats have no resolution, so EXIF must say it."""
        exif, icc, dpi = self.metadata.exif, self.metadata.icc, self.metadata.dpi
        if exif and self._form == "avif":
            exif = _without_orientation(exif)
        elif exif is None and dpi:
            exif = of_resolution(dpi)
        if icc and not profile_fits(icc, gray=False):
            say(f"{self._form} stores gray as RGB: the colour profile for gray was left out; PNG and TIFF would keep it")
            icc = None
        return {name: data for name, data in (("exif", exif), ("icc_profile", icc), ("xmp", self.metadata.xmp)) if data}


def _interruptibly(work: Callable[[], None]) -> None:
    """Do work in a thread that a signal leaves behind: encoders may take a minute, and know of no signals."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # raised again below, where somebody waits for it
            failures.append(error)

    thread = Thread(target=run, name="whole picture", daemon=True)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


def _without_orientation(exif: bytes) -> bytes | None:
    """Return EXIF as AVIF has it; Pillow would take the orientation out itself, but move maker notes, too."""
    try:
        return without_orientation(exif)
    except ValueError:
        say("damaged EXIF was left out of an AVIF file")
        return None


class _Frames(ImageFile.ImageFile):
    """Frames as Pillow reads those of any file: here one after the other, uncompressed, in a file without a head."""

    format = "raw frames"

    def __init__(self, file: IO[bytes], pages: Sequence[Page]) -> None:
        self._page = pages[0]
        self._file = file
        self.n_frames = len(pages)
        self.is_animated = len(pages) > 1
        self._frame = 0
        super().__init__(file)

    def _open(self) -> None:
        self._mode = _MODES[self._page.channels]
        self._size = self._page.width, self._page.height
        self.seek(0)

    def seek(self, frame: int) -> None:
        if frame >= self.n_frames:
            raise EOFError(f"no frame {frame}")
        self._frame = frame
        self.fp = self._file  # which Pillow lets go of when a frame is loaded
        start = frame * self._page.width * self._page.height * self._page.channels
        self.tile = [ImageFile._Tile("raw", (0, 0, *self.size), start, (self.mode, 0, 1))]

    def tell(self) -> int:
        return self._frame
