"""Reading what is no picture, no longer a whole one, or made to do harm: one sentence each, and never a wait."""

from __future__ import annotations

import os
import random
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import CHECKOUT
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import PEAK, changed, chunk, exif, frames, jp2, noise, png, png_of, read, saved, smooth, tiff, vips, whole
from test_reading_animations import saved as animation

from gantool.errors import InputError
from gantool.images import open_picture

SOFT, NOISE = smooth(48, 64), noise(48, 64, 3)
WHOLE = {
    "png": saved(SOFT, "PNG"),
    "png, palette": saved(SOFT, "PNG", "P"),
    "png, interlaced": vips(SOFT, ".png", interlace=True),
    "png, 16 bits": png_of(noise(9, 9, 4, bits=16)),
    "apng": animation("PNG", "RGBA"),
    "jpeg": saved(SOFT, "JPEG"),
    "jpeg, progressive": saved(SOFT, "JPEG", progressive=True),
    "jpeg, cmyk": saved(SOFT, "JPEG", "CMYK"),
    "jpeg, noise": saved(NOISE, "JPEG", quality=95, restart_marker_rows=1),
    "webp": saved(SOFT, "WEBP"),
    "webp, lossless": saved(NOISE, "WEBP", lossless=True),
    "webp, animated": animation("WEBP", "RGBA"),
    "avif": saved(SOFT, "AVIF"),
    "avif, alpha": saved(NOISE, "AVIF", "RGBA"),
    "tiff": saved(SOFT, "TIFF"),
    "tiff, deflate": tiff(SOFT, photometric="rgb", compression="zlib", tile=(16, 16)),
    "tiff, lzw": vips(NOISE, ".tiff", compression="lzw"),
    "tiff, packbits": vips(SOFT, ".tiff", compression="packbits"),
    "tiff, jpeg": saved(SOFT, "TIFF", compression="jpeg"),
    "tiff, group4": saved(SOFT, "TIFF", "1", compression="group4"),
    "tiff, zstd": saved(SOFT, "TIFF", compression="zstd"),
    "tiff, float": tiff(SOFT[:, :, 0].astype(np.float32) / 255),
    "bigtiff": tiff(SOFT, photometric="rgb", bigtiff=True),
    "gif": saved(SOFT, "GIF"),
    "gif, animated": animation("GIF", "RGBA"),
    "bmp": saved(SOFT, "BMP"),
    "bmp, palette": saved(SOFT, "BMP", "P"),
    "jpeg 2000": jp2(smooth(64, 64)),
    "jpeg 2000, 16 bits": jp2(smooth(64, 64).astype(np.uint16) * 257),
    "ppm": b"P6 64 48 255\n" + SOFT.tobytes(),
    "pgm, text": b"P2 3 2 9\n1 2 3\n4 5 6\n",
}


@pytest.mark.parametrize("kind", WHOLE)
def test_every_cut_of_a_picture_is_refused(kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    """But for what does not matter: the last byte of a text, or of a fax's end mark, or of a directory without successor."""
    data = WHOLE[kind]
    spare = {"pgm, text": 1, "tiff, group4": 4}.get(kind, 0)
    near = range(max(1, len(data) - 40), len(data) - spare)
    step = 10 if kind == "jpeg, cmyk" else 1  # whose conversion takes long to begin
    for length in [*range(1, len(data) - spare, step * max(1, len(data) // 60)), *near[::step]]:
        with pytest.raises(InputError, match=r"^it (is|has|holds|changed)") as error:
            frames(data[:length])
        assert "\n" not in str(error.value)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("kind", [kind for kind in WHOLE if kind.startswith(("png", "apng"))])
def test_no_damaged_bit_of_a_png_is_taken_for_good(kind: str) -> None:
    draw = random.Random(1)
    for _ in range(200):
        place = draw.randrange(len(WHOLE[kind]))
        damaged = changed(WHOLE[kind], [place], [WHOLE[kind][place] ^ 1 << draw.randrange(8)])
        with pytest.raises(InputError, match=r"^it (is|has) "):
            frames(damaged)


def jpeg_faults() -> dict[str, tuple[bytes, bool]]:
    """Return files with a fault, by name, and whether the picture is sound all the same."""
    data, segment = WHOLE["jpeg"], WHOLE["jpeg"].index(b"\xff\xdb")
    scan = data.index(b"\xff\xda")
    scan += 2 + int.from_bytes(data[scan + 2 : scan + 4], "big")
    late, middle = WHOLE["jpeg, progressive"], len(WHOLE["jpeg, progressive"]) // 2
    return {
        "scan parameters that mean nothing": (changed(data, [scan - 3, scan - 2], [0, 0]), True),
        "a version that is none": (changed(data, [11], [2]), True),
        "bytes behind the end": (data + b"a second picture, or what a phone adds", True),
        "padding before the end": (data[:-2] + bytes(3) + data[-2:], True),
        "bytes between segments": (data[:segment] + bytes(2) + data[segment:], False),
        "bytes inside the data": (data[: scan + 90] + b"\xff\xd3" + data[scan + 90 :], False),
        "a scan without its end": (late[:middle] + late[middle + 40 :], False),
    }


@pytest.mark.parametrize("fault", jpeg_faults())
def test_what_cameras_get_wrong_in_jpeg_is_forgiven_and_damage_is_not(fault: str) -> None:
    data, sound = jpeg_faults()[fault]
    if sound:
        np.testing.assert_array_equal(read(data), read(WHOLE["jpeg"]))
    else:
        with pytest.raises(InputError, match="it is damaged or cut short"):
            read(data)


@settings(max_examples=700, deadline=5000, database=None, derandomize=True)
@given(
    kind=st.sampled_from(sorted(WHOLE)),
    changes=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), max_size=8),
    cut=st.none() | st.integers(1, 1 << 20),
    doubled=st.booleans(),
)
def test_damaged_files_are_pictures_of_their_stated_size_or_refused(
    kind: str, changes: list[tuple[int, int]], cut: int | None, doubled: bool
) -> None:
    data = changed(WHOLE[kind], [place for place, _ in changes], [value for _, value in changes])
    if cut is not None:
        data = data[: cut % len(data)] + (data[cut % len(data) // 2 :] if doubled else b"")
    refusal = "it "
    try:
        with open_picture(data, "it", 10**6) as reader:
            assert all(page.width * page.height <= 10**6 for page in reader.pages)
            for number, page in list(enumerate(reader.pages))[:10]:
                whole(reader.bands(number), page)
    except InputError as error:
        refusal = str(error)
    assert refusal.startswith("it ")
    assert "\n" not in refusal


def test_nothing_that_decoders_complain_of_reaches_standard_error(tmp_path: Path) -> None:
    """In a process of its own, whose standard error belongs to nobody else."""
    draw = random.Random(2)
    for number in range(300):
        data = WHOLE[draw.choice(sorted(WHOLE))]
        places = [draw.randrange(len(data)) for _ in range(3)]
        (tmp_path / f"{number}.bin").write_bytes(changed(data, places, [draw.randrange(256) for _ in places]))
    code = (
        "import sys; from pathlib import Path; from gantool.errors import InputError; from gantool.images import open_picture\n"
        "for path in Path(sys.argv[1]).iterdir():\n"
        "    try:\n        for _ in open_picture(path, 'it', 10**6).bands(): pass\n    except InputError: pass\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, cwd=CHECKOUT)
    assert [line for line in done.stderr.splitlines() if not line.startswith(("it: ", "it is an"))] == []
    assert done.returncode == 0


@pytest.mark.parametrize(("data", "words"), [
    (b"", "is empty"),
    (random.Random(0).randbytes(5000), "is not a picture of a format that is read"),
    (b"\n <!DOCTYPE html><html><body>404</body></html>", "holds HTML, SVG or XML"),
    (b"<svg xmlns='http://www.w3.org/2000/svg' width='4' height='4'/>", "holds HTML, SVG or XML"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "is a git-lfs pointer"),
    (b"%PDF-1.7\n", "is a PDF file: convert it to PNG first"),
    (b"8BPS\0\1", "is a Photoshop file"),
    (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "is a HEIC file"),
    (b"\xff\x0a\0\0", "is a JPEG XL file"),
    (b"BM", "is damaged or cut short"),
])  # fmt: skip
def test_what_is_no_picture_is_told_apart(data: bytes, words: str) -> None:
    with pytest.raises(InputError, match=f"^it {words}") as error:
        open_picture(data, "it", 10**6)
    assert "\n" not in str(error.value)


def test_content_decides_and_not_the_name(tmp_path: Path) -> None:
    for kind, data in WHOLE.items():
        (tmp_path / "a.svg").write_bytes(data)
        np.testing.assert_array_equal(read(tmp_path / "a.svg"), read(data), err_msg=kind)


def test_devices_pipes_sockets_folders_and_lost_links_are_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "lost.png").symlink_to(tmp_path / "nothing")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "empty.png").symlink_to("/proc/self/status")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.png"))
        for name in ("pipe", "folder", "lost", "loop", "zero", "empty", "socket"):
            with pytest.raises(InputError, match=f"^{name} (is a|is empty|cannot be read)"):
                open_picture(tmp_path / f"{name}.png", name, 10**6)


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "tiff", "gif", "bmp", "jpeg 2000, 16 bits", "ppm", "apng"])
def test_a_file_that_changes_meanwhile_is_an_error(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(WHOLE[kind])
    with open_picture(path, "it", 10**6) as reader:
        path.write_bytes(WHOLE[kind][:-20])
        with pytest.raises(InputError, match="^it changed while it was read"):
            list(reader.bands())
    path.write_bytes(WHOLE[kind])
    with open_picture(path, "it", 10**6) as reader:
        bands = reader.bands(rows=5)
        next(bands)
        path.write_bytes(bytes(100))
        with pytest.raises(InputError, match="^it (changed while it was read|is damaged or cut short)"):
            list(bands)
    with open_picture(Path(__file__).with_name("data") / "parrots.png", "it", 10**6) as reader:
        assert sum(len(band) for band in reader.bands()) == reader.pages[0].height


def ftyp_avif(width: int, height: int) -> bytes:
    """Return an AVIF file that says that it is larger than it is."""
    data = WHOLE["avif"]
    place = data.index(b"ispe") + 8
    return changed(data, range(place, place + 8), struct.pack(">II", width, height))


def bombs() -> dict[str, bytes]:
    many = 50_000
    size = struct.pack("<I", 16382)[:3]
    canvas = b"VP8X" + struct.pack("<I", 10) + b"\2\0\0\0" + size + size
    webp = WHOLE["webp, animated"]
    webp = webp[:12] + canvas + webp[30:]
    gif = WHOLE["gif, animated"]
    wide = tiff(SOFT, photometric="rgb")
    return {
        "png": png(many, many, 8, 2, b""),
        "png, one row": png((1 << 31) - 1, 1, 1, 0, b""),
        "jpeg": changed(WHOLE["jpeg"], range(*frame(WHOLE["jpeg"])), struct.pack(">HH", many, many)),
        "webp": webp,
        "avif": ftyp_avif(many, many),
        "tiff": wide.replace(struct.pack("<HHII", 256, 4, 1, 64), struct.pack("<HHII", 256, 4, 1, 1 << 31)),
        "tiff, tiles": tiff(SOFT[:, :, 0], tile=(16, 16)).replace(
            struct.pack("<HHII", 322, 4, 1, 16), struct.pack("<HHII", 322, 4, 1, 1 << 20)
        ),
        "gif": gif[:6] + struct.pack("<HH", many, many) + gif[10:],
        "bmp": changed(WHOLE["bmp"], range(18, 26), struct.pack("<II", many, many)),
        "jpeg 2000": jp2_of(many),
        "ppm": b"P6 50000 50000 255\n",
    }


def frame(data: bytes) -> tuple[int, int]:
    """Return where a JPEG file has its height and width."""
    start = data.index(b"\xff\xc0") + 5
    return start, start + 4


def jp2_of(side: int) -> bytes:
    data = WHOLE["jpeg 2000"]
    size, header = data.index(b"\xff\x51"), data.index(b"ihdr")
    places = [*range(header + 4, header + 12), *range(size + 6, size + 14)]
    return changed(data, places, struct.pack(">IIII", side, side, side, side))


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_bombs_are_refused_by_their_header(tmp_path: Path) -> None:
    """In a process of its own, to see what memory and time it takes."""
    for name, data in bombs().items():
        (tmp_path / name).write_bytes(data)
    code = (
        "import sys, time; from pathlib import Path\n"
        "from gantool.errors import InputError; from gantool.images import open_picture\n"
        f"{PEAK}\n"
        "for path in sorted(Path(sys.argv[1]).iterdir()):\n"
        "    before, start = peak(), time.process_time()\n"
        "    try:\n"
        "        for _ in open_picture(path, path.name, 89_000_000).bands(): pass\n"
        "        print(path.name, 'taken')\n"
        "    except InputError as error: print(error)\n"
        "    assert peak() - before < 100 << 20, (path.name, peak() - before)\n"
        "    assert time.process_time() - start < 1, path.name\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, cwd=CHECKOUT)
    lines = done.stdout.splitlines()
    assert (done.stderr, len(lines)) == ("", len(bombs()))
    assert not any("taken" in line for line in lines)
    assert sum("more than the limit of 89000000: raise it with --max-pixels" in line for line in lines) >= 8


def traps() -> dict[str, bytes]:
    """Return small files that would take hours."""
    many, gif, jpeg = 10_001, WHOLE["gif, animated"], WHOLE["jpeg"]
    scan = jpeg[jpeg.index(b"\xff\xda") : -2]
    webp = b"ANMF" + struct.pack("<I", 16) + bytes(16)
    canvas = b"VP8X" + struct.pack("<I", 10) + b"\2" + bytes(9)
    directory = b"".join(struct.pack("<HHHIII", 1, 256, 4, 1, 9, 8 + 18 * number) for number in range(1, many + 1))
    frame = chunk(b"fcTL", struct.pack(">5I2H2B", 0, 1, 1, 0, 0, 1, 10, 0, 0)) + chunk(b"fdAT", bytes(9))
    return {
        "gif": gif[:10] + bytes(3) + b"\x2c\0\0\0\0\1\0\1\0\0\2\2\x4c\1\0" * many + b";",
        "webp": b"RIFF" + struct.pack("<I", 22 + 24 * many) + b"WEBP" + canvas + webp * many,
        "tiff": b"II*\0\x08\0\0\0" + directory[:-4] + bytes(4),
        "apng": png(9, 9, 8, 0, bytes(90), chunk(b"acTL", struct.pack(">II", many, 0)), frame * many),
        "jpeg": jpeg[:-2] + scan * 200 + jpeg[-2:],
    }


@pytest.mark.parametrize("kind", traps())
def test_small_files_that_would_take_hours_are_refused_at_once(kind: str) -> None:
    start = time.process_time()
    with pytest.raises(InputError, match="^it (has|is a JPEG file of) more than .* which may be a trap"):
        open_picture(traps()[kind], "it", 10**6)
    assert time.process_time() - start < 2


@pytest.mark.skipif(sys.platform == "win32", reason="which knows no fork")
def test_a_forked_process_reads_on(tmp_path: Path) -> None:
    """As workers of training do: what its parent had in threads is not there."""
    for name, data in {**WHOLE, "webp, turned": saved(SOFT, "WEBP", lossless=True, exif=exif(6))}.items():
        (tmp_path / name).write_bytes(data)
    code = (
        "import multiprocessing, sys; from pathlib import Path; from gantool.images import open_picture\n"
        "def sums():\n"
        "    paths = sorted(Path(sys.argv[1]).iterdir())\n"
        "    return [[int(band.sum()) for band in open_picture(path, 'it', 10**6).bands()] for path in paths]\n"
        "before, ends = sums(), multiprocessing.Pipe()\n"
        "child = multiprocessing.get_context('fork').Process(target=lambda: ends[1].send(sums()), daemon=True)\n"
        "child.start()\n"
        "assert ends[0].poll(30), 'it hangs'\n"
        "assert ends[0].recv() == before\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, cwd=CHECKOUT)
    assert (done.returncode, done.stderr) == (0, "")
