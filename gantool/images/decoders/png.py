"""PNG: its chunks, as libvips reads none behind the pixels, not even whether there is an end, and no animation."""

from __future__ import annotations

import struct
import zlib
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import BinaryIO, Final

from gantool.images.page import Metadata

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
PIXELS: Final = frozenset({b"IDAT", b"fdAT"})
_MOST: Final = 1 << 24  # bytes of a text that is kept
_XMP: Final = b"XML:com.adobe.xmp\0"
_INCH: Final = 0.0254  # metres


@dataclass(frozen=True)
class Chunk:
    """Where the data of a chunk lie."""

    kind: bytes
    start: int
    size: int


@dataclass(frozen=True)
class Frame:
    """A frame of an animation.

    Attributes:
        control: data of its fcTL chunk.
        pixels: its chunks of pixels.
    """

    control: bytes
    pixels: list[Chunk] = field(default_factory=list)


@dataclass
class Chunks:
    """What the chunks of a file say.

    Attributes:
        header: data of IHDR.
        colors: what pixels need beside it, PLTE and tRNS, as they stand in the file.
        animation: data of acTL, if it is one.
        frames: of the animation.
        metadata: what they say beside pixels.
    """

    header: bytes = b""
    colors: bytes = b""
    animation: bytes | None = None
    frames: list[Frame] = field(default_factory=list)
    metadata: Metadata = field(default_factory=Metadata)


def read(file: BinaryIO) -> Chunks:
    """Read all chunks but those of pixels, whose checksums are left to who decodes them.

    Raises:
        ValueError: the file is cut short, or a checksum is wrong.
    """
    found = Chunks()
    file.seek(len(SIGNATURE))
    kind = b""
    while kind != b"IEND":
        length, kind = struct.unpack(">I4s", _exactly(file, 8))
        chunk = Chunk(kind, file.tell(), length)
        if kind not in PIXELS:
            _take(found, kind, checked(file, chunk, _MOST))
        elif found.animation is not None and not found.frames:
            checked(file, chunk, 0)  # a picture beside the animation, which nobody decodes
        else:
            file.seek(length, 1)
            _exactly(file, 4)
            if found.frames:
                found.frames[-1].pixels.append(chunk)
    return found


def checked(file: BinaryIO, chunk: Chunk, most: int) -> bytes:
    """Return the data of a chunk, or nothing if they are more than `most` bytes.

    Raises:
        ValueError: the checksum is wrong, or the file is cut short.
    """
    file.seek(chunk.start)
    kept = []
    crc, left = zlib.crc32(chunk.kind), chunk.size
    while left > 0:
        data = _exactly(file, min(left, 1 << 20))
        kept += [data] if chunk.size <= most else []
        crc = zlib.crc32(data, crc)
        left -= len(data)
    if _exactly(file, 4) != crc.to_bytes(4, "big"):
        raise ValueError("wrong checksum")
    return b"".join(kept)


def packed(kind: bytes, data: bytes) -> bytes:
    """Return a chunk as it stands in a file."""
    return struct.pack(">I4s", len(data), kind) + data + zlib.crc32(kind + data).to_bytes(4, "big")


def _exactly(file: BinaryIO, count: int) -> bytes:
    data = file.read(count)
    if len(data) != count:
        raise ValueError("its end is missing")
    return data


def _take(found: Chunks, kind: bytes, data: bytes) -> None:
    said = found.metadata
    match kind:
        case b"IHDR":
            found.header = data
        case b"PLTE" | b"tRNS":
            found.colors += packed(kind, data)
        case b"acTL":
            found.animation = data
        case b"fcTL":
            found.frames.append(Frame(data))
        case b"iCCP":
            found.metadata = replace(said, icc=_unpacked(data.partition(b"\0")[2][1:]))  # behind name and method
        case b"eXIf":
            found.metadata = replace(said, exif=data.removeprefix(b"Exif\0\0"))
        case b"iTXt" if data.startswith(_XMP):
            found.metadata = replace(said, xmp=_text(data[len(_XMP) :]))
        case b"pHYs" if len(data) == 9 and data[8] == 1:  # pixels per metre
            across, down = struct.unpack(">II", data[:8])
            found.metadata = replace(said, dpi=(across * _INCH, down * _INCH))


def _text(data: bytes) -> bytes | None:
    """Return the text behind the keyword of an iTXt chunk: flag, method, language, translated keyword, text."""
    text = data[2:].split(b"\0", 2)[-1]
    return _unpacked(text) if data[:1] == b"\1" else text


def _unpacked(data: bytes) -> bytes | None:
    """Return what was deflated, up to a reasonable size, or None if that is damaged."""
    with suppress(zlib.error):
        return zlib.decompressobj().decompress(data, _MOST)
    return None
