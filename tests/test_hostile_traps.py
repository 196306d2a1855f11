"""Traps: small files that would take memory or time without end are refused at once, or done for what the picture is worth."""

from __future__ import annotations

import json
import lzma
import struct
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

from conftest import Result
from hostile import kinds
from pictures import changed, chunk, noise, png, png_of, saved, smooth
from test_hostile import DOUBLE, assert_clean, fill, suffix
from test_reading_hostile import bombs, traps

Run = Callable[..., Result]
RGB, SIGNATURE = noise(8, 8, 3), b"\x89PNG\r\n\x1a\n"
TIFF = {256: 64, 257: 64, 258: 8, 259: 1, 262: 1, 273: 134, 277: 1, 278: 64, 279: 4096, 284: 1}
"""Fields of a gray TIFF file (64, 64) of one strip, which lies behind its directory."""


@cache
def zeros() -> bytes:
    """Return 10^9 zeros, deflated: a megabyte."""
    packer = zlib.compressobj()
    return b"".join([*(packer.compress(bytes(10**7)) for _ in range(100)), packer.flush()])


def gray_tiff(data: bytes, following: int = 0, **fields: int) -> bytes:
    """Return the file of `TIFF` with fields changed, `f256=9`, or added."""
    values = {**TIFF, 279: len(data), **{int(name[1:]): value for name, value in fields.items()}}
    rows = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(values.items()))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(values)) + rows + struct.pack("<I", following) + data


def jpeg(*changes: tuple[int, int]) -> bytes:
    """Return a JPEG file with bytes of its frame header changed, counted from the marker on."""
    data = kinds()["jpeg"]
    start = data.index(b"\xff\xc0")
    return changed(data, [start + place for place, _ in changes], [value for _, value in changes])


def gif(width: int, height: int, left: int, top: int, *size: int, count: int = 1) -> bytes:
    """Return a GIF file whose frames lie somewhere on its screen, or beside it."""
    screen = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(3) + b"\xff\xff\xff"
    return screen + (b"\x2c" + struct.pack("<HHHHB", left, top, *size, 0) + b"\2\2\x4c\1\0") * count + b";"


def webp(*pieces: bytes, size: int | None = None) -> bytes:
    body = b"".join(pieces)
    return b"RIFF" + struct.pack("<I", len(body) + 4 if size is None else size) + b"WEBP" + body


def refused() -> dict[str, bytes]:
    """Return files that are more than anybody wants, or lies."""
    lossy, frames = kinds()["webp"], kinds()["webp, animated"]
    frame = frames[(start := frames.index(b"ANMF")) : start + 8 + int.from_bytes(frames[start + 4 : start + 8], "little")]
    tiles = kinds()["tiff, jpeg tiles"]
    frame_of_apng = chunk(b"fcTL", struct.pack(">5I2H2B", 0, 9, 9, 0, 0, 1, 10, 0, 0)) + chunk(b"fdAT", bytes(9))
    return {
        **bombs(),
        **{f"many {kind}": data for kind, data in traps().items()},
        "png without width": png(0, 9, 8, 2, b""),
        "png of negative size": png(1 << 31, 9, 8, 2, b""),
        "apng of 16 gigapixels": png(9000, 9000, 8, 6, b"", chunk(b"acTL", struct.pack(">II", 200, 0)), frame_of_apng * 200),
        "apng of one frame, not two": png(9, 9, 8, 0, bytes(90), chunk(b"acTL", struct.pack(">II", 2, 0))),
        "jpeg without height": jpeg((5, 0), (6, 0)),
        "jpeg sampled 0 times": jpeg((11, 0)),
        "jpeg sampled 15 times": jpeg((11, 0xFF)),
        "jpeg sampled 4, 3, 1 times": jpeg((11, 0x44), (14, 0x13), (17, 0x31)),
        "jpeg of 255 components": jpeg((9, 255)),
        "gif, frame beside": gif(9, 9, 60_000, 60_000, 9, 9),
        "gif, frame larger": gif(9, 9, 0, 0, 65_535, 65_535),
        "gif of 40 gigapixels": gif(2000, 2000, 0, 0, 1, 1, count=9999),
        "webp, chunk too long": changed(lossy, range(16, 20), b"\xff\xff\xff\x7f"),
        "webp, chunk of nothing": changed(lossy, range(16, 20), bytes(4)),
        "webp without pixels": webp(b"VP8X" + struct.pack("<I", 10) + bytes(10)),
        "webp, frame beside": frames.replace(frame, changed(frame, [8, 9, 10], [255, 255, 0])),
        "tiff, circle": gray_tiff(bytes(4096), following=8),
        "tiff without width": gray_tiff(bytes(4096), f256=0),
        "tiff without rows in a strip": gray_tiff(bytes(4096), f278=0),
        "tiff, strip behind the end": gray_tiff(bytes(4096), f273=1 << 30),
        "tiff, strip of 4 GB": gray_tiff(bytes(4096), f279=(1 << 32) - 1),
        "tiff of 65535 channels": gray_tiff(bytes(4096), f277=65_535),
        "tiff, tile of 4 GB": tiled(tiles, 65_536),
        "tiff, tile of 0": tiled(tiles, 0),
        "tiff, strip that is too short": gray_tiff(zeros()[:50], f256=9000, f257=9000, f259=8, f278=9000),
        "bmp of 9000 lines, none there": changed(kinds()["bmp"], range(18, 26), struct.pack("<ii", 9000, 9000)),
        "bmp, runs for 9000 lines": changed(kinds()["bmp, runs"], range(18, 26), struct.pack("<ii", 9000, 9000)),
        "jpeg 2000 of 16384 channels": changed(kinds()["jpeg 2000, bare"], [40, 41], [0x40, 0]),
        "jpeg 2000 of 81 million tiles": jpeg_2000_of_tiles(),
        "avif of 4 billion lines": changed(kinds()["avif"], ispe(), b"\xff" * 8),
        "ppm, one line, not there": b"P6 9000000 1 255\n" + bytes(100),
        "pbm in text, not there": b"P1 9000000 1\n" + b"1" * 100,
        "pgm, white is 0": b"P5 4 4 0\n" + bytes(16),
    }  # fmt: skip


def tiled(data: bytes, side: int) -> bytes:
    """Return a TIFF file whose tiles of 16x16 are said to have other sides."""
    for tag in (322, 323):
        place = data.index(struct.pack("<HHIH", tag, 3, 1, 16))
        data = changed(data, range(place, place + 12), struct.pack("<HHII", tag, 4, 1, side))
    return data


def jpeg_2000_of_tiles() -> bytes:
    data = kinds()["jpeg 2000, tiles"]
    size, header = data.index(b"\xff\x4f\xff\x51"), data.index(b"ihdr")
    places = [*range(header + 4, header + 12), *range(size + 8, size + 16), *range(size + 24, size + 32)]
    return changed(data, places, struct.pack(">6I", 9000, 9000, 9000, 9000, 1, 1))


def ispe() -> range:
    """Return where an AVIF file has its size."""
    place = kinds()["avif"].index(b"ispe") + 8
    return range(place, place + 8)


def done() -> dict[str, bytes]:
    """Return small pictures in files that hold 10^9 bytes beside them, or nonsense."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 64, 8, 0, 0, 0, 0))
    packed = lzma.compress(bytes(10**8), lzma.FORMAT_XZ, lzma.CHECK_NONE)
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 4000) + struct.pack("<HHII", 270, 2, 40_000, 8) * 4000 + bytes(4)
    xmp = b"<?xml version='1.0'?><!DOCTYPE x [<!ENTITY a 'aaaaaaaaaa'>]><x>" + b"&a;" * 9 + b"</x>"
    page = b"<script>alert(1)</script><?php system($_GET[0]); ?>"
    return {
        "png, pixels": SIGNATURE + head + chunk(b"IDAT", zeros()) + chunk(b"IEND", b""),
        "png, profile": png_of(RGB, chunk(b"iCCP", b"x\0\0" + zeros())),
        "png, text": png_of(RGB, chunk(b"zTXt", b"x\0\0" + zeros())),
        "png, international text": png_of(RGB, chunk(b"iTXt", b"x\0\1\0\0\0" + zeros())),
        "png, xmp": png_of(RGB, chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zeros())),
        "png, many texts": png_of(RGB, *[chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(10**6)))] * 100),
        "apng, frame": apng_of_zeros(head),
        "tiff, deflate": gray_tiff(zeros(), f259=8),
        "tiff, lzma": gray_tiff(packed, f259=34_925),
        "jpeg, exif of overlapping fields": saved(smooth(40, 48), "JPEG", exif=exif),
        "jpeg, xmp of entities": saved(smooth(40, 48), "JPEG", xmp=xmp),
        "gif, frame outside": gif(9, 9, 20, 0, 9, 9),
        "png and a page": png_of(RGB, chunk(b"tEXt", b"Comment\0" + page)) + page,
        "gif and a script": b"GIF89a" + struct.pack("<HHBBB", 0x2A2F, 1, 0, 0, 0)
        + b"\x21\xfe\x05*/=1;\0" + b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0x80) + bytes(6) + b"\2\2\x4c\1\0;",
        "jpeg and an archive": kinds()["jpeg"] + b"PK\3\4" + bytes(200),
    }  # fmt: skip


def apng_of_zeros(head: bytes) -> bytes:
    control = struct.pack(">5I2H2B", 0, 64, 64, 0, 0, 1, 10, 0, 0)
    frames = chunk(b"fcTL", control) + chunk(b"IDAT", zlib.compress(bytes(64 * 65))) + chunk(b"fcTL", control)
    animation = chunk(b"acTL", struct.pack(">II", 2, 0))
    return SIGNATURE + head + animation + frames + chunk(b"fdAT", bytes(4) + zeros()) + chunk(b"IEND", b"")


def test_traps_are_refused_at_once_or_done_for_what_the_picture_is_worth(tmp_path: Path, run_process: Run) -> None:
    """In one process, which begins with a sound file of each format: what it has then taken is what it has at rest."""
    rest, traps, harmless = kinds(), refused(), done()
    groups = {"rest": rest, "trap": traps, "harmless": harmless}
    files = {f"{group} {kind}{suffix(kind)}": data for group, each in groups.items() for kind, data in each.items()}
    fill(tmp_path, files)
    order = [f"in/{name}" for name in files]
    (tmp_path / "list").write_text("\n".join(order))
    result = run_process("upscale", "@list", *DOUBLE, "-o", "out", "--json", cwd=tmp_path)
    lines = assert_clean(result, tmp_path, set(files))
    told = [json.loads(line) for line in result.out.splitlines()]
    assert [line["input"] for line in told] == order
    assert [line["status"] for line in told] == ["ok"] * len(rest) + ["error"] * len(traps) + ["ok"] * len(harmless)
    assert told[-1]["peak_bytes"] - told[len(rest) - 1]["peak_bytes"] < 100 << 20
    slow = {name: line["seconds"] for name, line in lines.items() if line["seconds"] > 5}  # type: ignore[operator]
    assert slow == {}
