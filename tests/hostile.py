"""Files of every kind that is read, and what can happen to files: cut, flipped, filled with zeros, lied in."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Iterator
from functools import cache
from io import BytesIO

import numpy as np
import tifffile
from pictures import changed, chunk, exif, jp2, noise, png_of, saved, smooth, tiff, vips
from PIL import Image, ImageCms
from test_reading_animations import Drawing, apng
from test_reading_animations import saved as animation
from test_reading_hostile import WHOLE

SOFT, NOISE = smooth(40, 48), noise(24, 32, 4)
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><r:RDF xmlns:r='http://www.w3.org/1999/02/22-rdf-syntax-ns#'/></x:xmpmeta>"


def _rich() -> Image.Exif:
    told = exif(6)
    told[0x010F], told[0x011A], told[0x011B], told[0x0128] = "A camera", 300.0, 150.0, 2
    told.get_ifd(0x8769)[0x9003], told.get_ifd(0x8825)[1] = "2001:02:03 04:05:06", "N"
    return told


def _rle() -> bytes:
    """Return a BMP file (8, 4) of runs, with a jump in it."""
    data = b"\x08\x05\0\0\4\1\4\2\0\0\0\x08abcdefgh\0\0\0\2\1\0\7\x09\0\0\0\1"
    head = struct.pack("<IiiHHIIiiII", 40, 8, 4, 1, 8, 1, len(data), 0, 0, 256, 0)
    palette = bytes(level for value in range(256) for level in (value, value, value, 0))
    return b"BM" + struct.pack("<IHHI", 1078 + len(data), 0, 0, 1078) + head + palette + data


def _more() -> dict[str, bytes]:
    rgb, deep = NOISE[:, :, :3], noise(24, 32, 4, bits=16)
    color = {"photometric": "rgb"}
    ink = Image.frombytes("CMYK", (32, 24), NOISE.tobytes())
    text = chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0en\0x\0" + zlib.compress(XMP))
    told = [chunk(b"iCCP", b"x\0\0" + zlib.compress(ICC)), chunk(b"eXIf", _rich().tobytes()[6:]), text]
    rich = {"exif": _rich(), "icc_profile": ICC, "xmp": XMP}
    return {
        "png, told": png_of(rgb, *told, chunk(b"pHYs", struct.pack(">IIB", 11811, 5906, 1))),
        "png, one bit": saved(rgb[:, :, 0], "PNG", "1"),
        "png, transparent color": png_of(rgb, chunk(b"tRNS", struct.pack(">3H", *map(int, rgb[0, 0])))),
        "apng, still": apng([Drawing(noise(20, 30, 3)), Drawing(noise(5, 5, 3), 3, 3, 1, True)], still=True),
        "jpeg, gray": saved(SOFT[:, :, 0], "JPEG"),
        "jpeg, told": saved(SOFT, "JPEG", subsampling=0, dpi=(300, 150), **rich),
        "jpeg, cmyk, progressive": saved(np.asarray(ink), "JPEG", "CMYK", progressive=True),
        "webp, alpha, told": saved(smooth(40, 48, 4), "WEBP", **rich),
        "webp, lossless, animated": animation("WEBP", "RGB", lossless=True),
        "avif, told": saved(SOFT, "AVIF", **rich),
        "avif, gray": saved(SOFT[:, :, 0], "AVIF", subsampling="4:0:0"),
        "avif, 12 bits": vips(deep, ".avif", "rgb16", compression="av1", bitdepth=12, effort=0),
        "avif, animated": animation("AVIF", "RGB"),
        "tiff, strips": tiff(rgb, rowsperstrip=5, **color),
        "tiff, big-endian": tiff(deep[:, :, :3], byteorder=">", compression="zlib", predictor=2, **color),
        "tiff, pages": _pages(),
        "tiff, planes": tiff(np.moveaxis(rgb, 2, 0), planarconfig="separate", **color),
        "tiff, tiles of planes": tiff(np.moveaxis(rgb, 2, 0), tile=(16, 16), planarconfig="separate", **color),
        "tiff, jpeg tiles": vips(SOFT, ".tiff", compression="jpeg", tile=True, tile_width=16, tile_height=16),
        "tiff, reduced copies": vips(smooth(90, 90), ".tiff", tile=True, pyramid=True, tile_width=16, tile_height=16),
        "tiff, cmyk": tiff(NOISE, photometric="separated"),
        "tiff, lab": tiff(rgb, photometric="cielab"),
        "tiff, ycbcr": tiff(rgb, photometric="ycbcr"),
        "tiff, palette": saved(rgb, "TIFF", "P"),
        "tiff, told": saved(SOFT, "TIFF", exif=_rich(), icc_profile=ICC, dpi=(300, 150)),
        "tiff, group3": saved(rgb[:, :, 0], "TIFF", "1", compression="group3"),
        "tiff, lzma": saved(rgb, "TIFF", compression="lzma"),
        "gif, interlaced": saved(rgb[:, :, 0], "GIF", interlace=1),
        "bmp, one bit": saved(rgb[:, :, 0], "BMP", "1"),
        "bmp, alpha": saved(NOISE, "BMP"),
        "bmp, runs": _rle(),
        "jpeg 2000, tiles": saved(smooth(40, 48, 4), "JPEG2000", tile_size=(32, 32)),
        "jpeg 2000, bare": saved(SOFT, "JPEG2000", no_jp2=True, irreversible=True, quality_layers=[20]),
        "jpeg 2000, precincts": saved(SOFT, "JPEG2000", no_jp2=True, precinct_size=(32, 32), progression="RPCL"),
        "jpeg 2000, 16 bits of gray": jp2(noise(40, 48, 1, bits=16)),
        "pgm, 16 bits": b"P5\n# a comment\n32 24\n65535\n" + deep[:, :, 0].astype(">u2").tobytes(),
        "pbm": b"P4 32 24\n" + rgb.tobytes()[:96],
        "pbm, text": b"P1 8 8\n" + b"01" * 32 + b"\n",
        "ppm, text": b"P3 8 8 255\n" + b" ".join(b"%d" % level for level in rgb.tobytes()[:192]) + b"\n",
    }


def _pages() -> bytes:
    file = BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(NOISE[:, :, :3], photometric="rgb")
        writer.write(NOISE[:9, :20, 0])
        writer.write(noise(24, 32, 3, bits=16), photometric="rgb", compression="zlib")
    return file.getvalue()


@cache
def kinds() -> dict[str, bytes]:
    """Return a sound file of every kind."""
    return {**WHOLE, **_more()}


# --- faults --------------------------------------------------------------------------------------------------------------


def faults(kind: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield a file with each of many faults, after the fault's name."""
    draw = random.Random(kind)
    yield "cut", data[: int(len(data) * draw.uniform(0.03, 0.9))]
    yield "cut", data[: -1 - min(8, len(data) // 8)]
    for _ in range(2):
        place = draw.randrange(len(data))
        yield "flipped", changed(data, [place], [data[place] ^ 1 << draw.randrange(8)])
    place, count = draw.randrange(len(data)), max(4, len(data) // 20)
    yield "zeros", data[:place] + bytes(count) + data[place + count :]
    yield "inserted", data[:place] + draw.randbytes(3) + data[place:]
    yield "taken out", data[:place] + data[place + count :]
    yield "other", data[: len(data) // 2] + draw.choice([*WHOLE.values()])[-500:]
    for value in (b"\0", b"\xff", b"\x7f"):
        place = draw.randrange(min(len(data) - 4, 200))
        yield "lie", data[:place] + 4 * value + data[place + 4 :]
    yield "appended", data + draw.randbytes(100)


EXTREME = (0, 1, 2, 127, 128, 255, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def lied(data: bytes, place: int, size: int, value: int, big: bool) -> bytes:
    """Return a file with a number of `size` bytes replaced, in one of the two orders."""
    place %= max(1, len(data) - size)
    return data[:place] + (value % (1 << 8 * size)).to_bytes(size, "big" if big else "little") + data[place + size :]


def sealed(data: bytes, which: int, place: int, size: int, value: int) -> bytes:
    """Return a PNG file with a number replaced in one of its chunks, of pixels before they are compressed: all checks hold."""
    parts, at = [], 8
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        parts.append((kind, data[at + 8 : at + 8 + length]))
        at += 12 + length
    kind, content = parts[which % len(parts)]
    try:
        head = 4 if kind == b"fdAT" else 0
        content = content[:head] + zlib.compress(lied(zlib.decompress(content[head:]), place, size, value, big=True))
    except zlib.error:  # it is not compressed
        content = lied(content, place, size, value, big=True)
    parts[which % len(parts)] = kind, content
    return data[:8] + b"".join(chunk(*part) for part in parts)
