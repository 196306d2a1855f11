"""Picture files for tests, made by Pillow, tifffile, OpenCV, libvips and by hand, and their pixels as gantool reads them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pyvips
import tifffile
from numpy.typing import NDArray
from PIL import Image

from gantool.images import Metadata, Page, open_picture

Pixels = NDArray[np.generic]
PEAK = "peak = lambda: 1024 * int(open('/proc/self/status').read().partition('VmHWM:')[2].split()[0])"
"""Code of a function that returns the most bytes a process ever had resident; what `resource` says begins with its parent's."""


def noise(*shape: int, bits: int = 8, seed: int = 0) -> Pixels:
    """Return random levels of this shape."""
    return np.random.default_rng(seed).integers(0, 1 << bits, shape, f"u{bits // 8}")


def smooth(height: int, width: int, channels: int = 3) -> Pixels:
    """Return a picture of soft edges, which lossy formats hardly change, and whose corners differ."""
    rows, columns = np.mgrid[:height, :width]
    waves = [rows * 255 / height, columns * 255 / width, 127 + 100 * np.sin(rows / 9 + columns / 7), 255 - rows]
    return np.stack(waves[:channels], 2).clip(0, 255).astype(np.uint8)


def saved(pixels: Pixels, form: str, mode: str | None = None, **options: object) -> bytes:
    """Return a file of Pillow's; gray may have no third axis."""
    file = BytesIO()
    image = Image.fromarray(pixels.squeeze())
    (image.convert(mode) if mode else image).save(file, form, **options)
    return file.getvalue()


def tiff(pixels: Pixels, **options: object) -> bytes:
    """Return a file of tifffile's."""
    file = BytesIO()
    tifffile.imwrite(file, pixels, **options)
    return file.getvalue()


def jp2(pixels: Pixels) -> bytes:
    """Return a lossless file of OpenCV's, gray, RGB or RGBA, of 8 or 16 bits."""
    channels = pixels.shape[2]
    ordered = pixels if channels == 1 else pixels[:, :, [2, 1, 0, 3][:channels]]
    _, data = cv2.imencode(".jp2", np.ascontiguousarray(ordered), [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000])
    return bytes(data)


def vips(pixels: Pixels, suffix: str, interpretation: str | None = None, **options: object) -> bytes:
    """Return a file of libvips's."""
    image = pyvips.Image.new_from_array(pixels)
    return bytes(image.copy(interpretation=interpretation or image.interpretation).write_to_buffer(suffix, **options))


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk of PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, color: int, rows: bytes, *extra: bytes) -> bytes:
    """Return a PNG file by hand, of rows that begin with the number of their filter."""
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    parts = [chunk(b"IHDR", header), *extra, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def png_of(pixels: Pixels, *extra: bytes) -> bytes:
    """Return a PNG file by hand, of gray, gray and alpha, RGB or RGBA of 8 or 16 bits."""
    height, width, channels = pixels.shape
    rows = pixels.astype(pixels.dtype.newbyteorder(">")).reshape(height, -1)
    data = b"".join(b"\0" + row.tobytes() for row in rows)
    return png(width, height, 8 * pixels.dtype.itemsize, (0, 0, 4, 2, 6)[channels], data, *extra)


def read(source: bytes | Path, page: int = 0, rows: int = 16, max_pixels: int = 10**9) -> Pixels:
    """Return a page (H, W, C) as gantool reads it, and check that it is what its header says."""
    with open_picture(source, "it", max_pixels) as reader:
        return whole(reader.bands(page, rows), reader.pages[page])


def whole(bands: object, page: Page) -> Pixels:
    """Put bands together."""
    pixels = np.concatenate(list(bands))  # type: ignore[call-overload]
    assert pixels.shape == (page.height, page.width, page.channels)
    assert pixels.dtype == f"u{page.bits // 8}"
    return pixels


def frames(source: bytes) -> tuple[list[Pixels], Metadata]:
    """Return all pages, and what the file says of them."""
    with open_picture(source, "it", 10**9) as reader:
        return [whole(reader.bands(number), page) for number, page in enumerate(reader.pages)], reader.metadata


def metadata(source: bytes) -> Metadata:
    """Return what the file says beside its pixels."""
    with open_picture(source, "it", 10**9) as reader:
        return reader.metadata


def exif(orientation: int) -> Image.Exif:
    """Return EXIF that says how a picture is to be turned."""
    found = Image.Exif()
    found[0x0112] = orientation
    return found


def stored(upright: Pixels, orientation: int) -> Pixels:
    """Return how a picture lies in its file, as EXIF says where row 0 and column 0 of the file are in the picture."""
    turned = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.swapaxes(0, 1), 6: np.rot90(upright), 7: upright[::-1, ::-1].swapaxes(0, 1), 8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    return np.ascontiguousarray(turned)


def changed(data: bytes, at: Sequence[int], values: Sequence[int]) -> bytes:
    """Return a file with some bytes replaced."""
    damaged = bytearray(data)
    for place, value in zip(at, values, strict=True):
        damaged[place % len(data)] = value
    return bytes(damaged)
