"""Files <-> pictures: PNG and JPEG with 8 bits a channel; whatever else is refused in a sentence, never mangled.

What a file is, its content decides, not its name. Rotation by EXIF is applied, so pixels are as a viewer shows them.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import BinaryIO, Literal, TypeAlias

import numpy as np
import torch
from PIL import ExifTags, Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from torch import Tensor

from gantool.errors import InputError, printable, say
from gantool.files import atomic

Format: TypeAlias = Literal["png", "jpeg"]
FORMATS: dict[str, Format] = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg"}
EXTENSIONS = frozenset(FORMATS)
MAX_PIXELS = 89_000_000  # the size above which Pillow begins to suspect a decompression bomb
MAX_BYTES = 1 << 30  # of one picture on standard input

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_OTHER_FORMATS = {
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"RIFF": "WebP",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"\xff\x0a": "JPEG XL",
}
"""How the contents of well-known formats begin that are not read."""
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each EXIF orientation; 1 is upright."""


@dataclass(frozen=True)
class Picture:
    """A picture in memory. Its tensors may be views whose channels lie innermost, as codecs want them.

    Attributes:
        color: (3, H, W) RGB or (1, H, W) gray, uint8.
        alpha: (1, H, W) uint8, or None for an opaque picture; colours are not multiplied by it.
        icc: the colour profile's bytes, if any.
    """

    color: Tensor
    alpha: Tensor | None = None
    icc: bytes | None = None


def read(path: Path, max_pixels: int = MAX_PIXELS) -> Picture:
    """Read a picture file.

    Gray with 1, 2, 4 or 8 bits becomes one channel, palettes become RGB, a transparent colour becomes alpha.

    Args:
        path: a regular file; devices, pipes and sockets are never opened.
        max_pixels: larger pictures are refused, going by their header.

    Raises:
        InputError: the file cannot be read, or is not a whole, single PNG or JPEG picture of 8-bit gray or RGB.
    """
    name = printable(path)
    with _opened(path, name) as file:
        return decode(file, name, max_pixels)


@contextmanager
def _opened(path: Path, name: str) -> Iterator[BinaryIO]:
    try:
        status = path.stat()
        if not S_ISREG(status.st_mode):
            raise InputError(f"{name} is {'a folder' if S_ISDIR(status.st_mode) else 'a device or pipe'}, not a picture file")
        if status.st_size == 0:
            raise InputError(f"{name} is empty")
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror or error}") from error


def decode(file: BinaryIO, name: str, max_pixels: int = MAX_PIXELS) -> Picture:
    """Read a picture from an open, seekable file; see `read`.

    Args:
        file: positioned at its start.
        name: what messages call it.
        max_pixels: larger pictures are refused.
    """
    head = file.read(32)
    file.seek(0)
    if not head.startswith((_PNG, _JPEG)):
        raise InputError(f"{name} {_describe(head)}")
    try:
        with warnings.catch_warnings():  # about damaged EXIF, which is left aside, and about sizes, which are checked here
            warnings.simplefilter("ignore")
            return _decode(file, head, name, max_pixels)
    except (InputError, MemoryError):
        raise
    except Exception as error:  # there is hardly an exception that a damaged file cannot raise inside a decoder
        raise InputError(f"{name} is damaged or cut short: {printable(error) or type(error).__name__}") from error


def _describe(head: bytes) -> str:
    """Say what a file is that begins with `head` and is neither PNG nor JPEG."""
    if head.startswith(b"version https://git-lfs"):
        return "is a git-lfs pointer, not the picture itself: run 'git lfs pull'"
    if head.lstrip().startswith(b"<"):
        return "holds HTML or XML, not a picture: it may be the page that a download led to"
    for start, form in _OTHER_FORMATS.items():
        if head.startswith(start):
            return f"is a {form} file: convert it to PNG or JPEG first"
    return "is not a PNG or JPEG picture"


def _decode(file: BinaryIO, head: bytes, name: str, max_pixels: int) -> Picture:
    png = head.startswith(_PNG)
    # the classes themselves: Image.open would guess among all formats, and would print warnings about sizes
    with PngImageFile(file) if png else JpegImageFile(file) as image:  # reads the header only
        if image.width * image.height > max_pixels:
            size = f"{image.width}x{image.height}"
            raise InputError(f"{name} has {size} pixels, more than the limit of {max_pixels}: raise it with --max-pixels")
        depth = head[24] if png else 8
        if depth == 16:
            raise InputError(f"{name} has 16 bits a channel, which is not supported yet: convert it to 8 bits first")
        if image.mode == "CMYK":
            raise InputError(f"{name} is a CMYK picture, made for print: convert it to RGB first")
        if png:
            _check_chunks(file, name)
        image.load()
        turn = _TURNS.get(_orientation(image))
        transparent = image.info.get("transparency")
        if image.mode == "P":
            upright: Image.Image = image.convert("RGB" if transparent is None else "RGBA")
            transparent = None
        else:
            upright = image.convert("L") if image.mode == "1" else image
        color, alpha = _planes(upright.transpose(turn) if turn is not None else upright)
        if transparent is not None:
            alpha = _hidden_color(color, transparent, depth)
        return Picture(color, alpha, _fitting_profile(image.info.get("icc_profile"), color, name))


def _check_chunks(file: BinaryIO, name: str) -> None:
    """Check what the decoder does not: that a PNG file is whole, undamaged, and one picture."""
    place = file.tell()
    file.seek(len(_PNG))
    kind = b""
    while kind != b"IEND":
        length, kind = struct.unpack(">I4s", file.read(8))
        crc = zlib.crc32(kind)
        if kind == b"acTL":
            raise InputError(f"{name} is an animated picture: save one frame as PNG first")
        while length and (data := file.read(min(length, 1 << 20))):
            crc = zlib.crc32(data, crc)
            length -= len(data)
        if file.read(4) != crc.to_bytes(4, "big"):
            raise InputError(f"{name} is damaged or cut short: wrong checksum")
    file.seek(place)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged EXIF is no reason to refuse a sound picture
        return 1


def _planes(image: Image.Image) -> tuple[Tensor, Tensor | None]:
    """Split an image of mode L, LA, RGB or RGBA into colour and alpha, each (C, H, W)."""
    if image.mode not in ("L", "LA", "RGB", "RGBA"):
        raise ValueError(f"unexpected mode {image.mode}")
    pixels = torch.from_numpy(np.array(image)).reshape(image.height, image.width, -1).permute(2, 0, 1)
    return (pixels[:-1], pixels[-1:]) if image.mode.endswith("A") else (pixels, None)


def _hidden_color(color: Tensor, transparent: int | tuple[int, int, int], depth: int) -> Tensor:
    """Return the alpha of a PNG file that declares one colour as transparent; 2- and 4-bit samples were stretched to 8."""
    stretch = 255 // (2**depth - 1) if depth in (2, 4) else 1
    hidden = color == torch.tensor(transparent).reshape(-1, 1, 1) * stretch
    return torch.where(hidden.all(0, keepdim=True), 0, 255).to(torch.uint8)


def _fitting_profile(icc: object, color: Tensor, name: str) -> bytes | None:
    if not isinstance(icc, bytes):
        return None
    if icc[36:40] != b"acsp" or icc[16:20] != (b"RGB " if color.shape[0] == 3 else b"GRAY"):
        say(f"{name}: its colour profile is damaged or for other colours, and was left out")
        return None
    return icc


def check_fits(form: Format, side: int, transparent: bool) -> None:
    """Check that a format can hold a picture whose longer side is `side` pixels.

    Raises:
        InputError: it cannot.
    """
    if form == "jpeg" and transparent:
        raise InputError("JPEG cannot hold its transparency: use --format png")
    if form == "jpeg" and side > 65_500:
        raise InputError("a JPEG picture ends at 65500 pixels a side: use --format png")


def encode(picture: Picture, form: Format, quality: int = 95) -> bytes:
    """Return a picture as the bytes of a file.

    Args:
        picture: what to store.
        form: png, or jpeg, which has no transparency.
        quality: of jpeg, 1 to 100; from 90 on colours are stored at full resolution.

    Raises:
        InputError: the format cannot hold the picture.
    """
    check_fits(form, max(picture.color.shape), picture.alpha is not None)
    planes = picture.color if picture.alpha is None else torch.cat([picture.color.cpu(), picture.alpha.cpu()])
    image = Image.fromarray(planes.cpu().permute(1, 2, 0).squeeze(2).contiguous().numpy())
    buffer = BytesIO()
    if form == "png":
        # run-length matching: 60 ms a megapixel instead of 350, the size within 5 % either way
        image.save(buffer, "PNG", compress_level=1, compress_type=zlib.Z_RLE, icc_profile=picture.icc)
    else:
        image.save(buffer, "JPEG", quality=quality, subsampling=0 if quality >= 90 else 2, icc_profile=picture.icc)
    return buffer.getvalue()


def write(path: Path, picture: Picture, form: Format | None = None, quality: int = 95) -> None:
    """Write a picture file in one step: it is there whole, or not at all.

    Args:
        path: its extension decides the format if `form` does not.
        picture: what to write.
        form: png or jpeg.
        quality: of jpeg, 1 to 100.

    Raises:
        InputError: the format cannot hold the picture, the extension is none that is known, or the place is not writable.
        RunError: the disk is full.
    """
    chosen = form or FORMATS.get(path.suffix.lower())
    if chosen is None:
        raise InputError(f"{printable(path)} has no extension that is known: use {' '.join(sorted(EXTENSIONS))}")
    data = encode(picture, chosen, quality)
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def is_whole(path: Path) -> bool:
    """Return whether a file begins and ends as a PNG or JPEG file does."""
    try:
        with path.open("rb") as file:
            head = file.read(8)
            file.seek(-min(12, path.stat().st_size), 2)
            tail = file.read()
    except OSError:
        return False
    return (head == _PNG and tail[4:8] == b"IEND") or (head.startswith(_JPEG) and tail.endswith(b"\xff\xd9"))
