"""Files that are written, read again by programs that have nothing to do with how they were written."""

from __future__ import annotations

import errno
import io
import os
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import pyvips
from PIL import Image, ImageCms

from gantool.errors import InputError
from gantool.files import atomic
from gantool.images.page import Format, Metadata, Page
from gantool.images.writers import base, jpeg, tiff
from gantool.images.writing import Writer, check_fits, create

FORMS: list[Format] = ["png", "jpeg", "webp", "avif", "tiff"]
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GRAY = SRGB[:16] + b"GRAY" + SRGB[20:]
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/></x:xmpmeta>'
Pixels = np.ndarray[Any, Any]


def page_of(pixels: Pixels) -> Page:
    height, width, channels = pixels.shape
    return Page(width, height, channels, 8 if pixels.itemsize == 1 else 16)


def write(path: Path, form: Format, *pages: Pixels, metadata: Metadata | None = None, quality: int = 95, rows: int = 7) -> Path:
    with create(path, form, [page_of(page) for page in pages], metadata or Metadata(), quality) as file:
        for page in pages:
            for start in range(0, len(page), rows):
                file.write(page[start : start + rows])
    return path


def noise(height: int, width: int, channels: int, bits: int = 8) -> Pixels:
    generator = np.random.default_rng(height * width + channels)
    return generator.integers(0, 1 << bits, (height, width, channels), dtype=np.uint8 if bits == 8 else np.uint16)


def smooth(height: int, width: int, channels: int, bits: int = 8) -> Pixels:
    """Soft waves with detail in them, which lossy formats keep nearly."""
    y, x, c = np.mgrid[:height, :width, :channels]
    levels = 0.5 + 0.3 * np.sin(x / 17 + c) * np.cos(y / 23) + 0.1 * np.sin(x / 3)
    return np.round(levels * ((1 << bits) - 1)).astype(np.uint8 if bits == 8 else np.uint16)


def by_vips(path: Path, page: int | None = None) -> Pixels:
    options = {} if page is None else {"page": page}
    image = pyvips.Image.new_from_file(str(path), **options)
    return image.numpy().reshape(image.height, image.width, image.bands)


def by_pillow(path: Path, frame: int = 0) -> Pixels:
    with Image.open(path) as image:
        image.seek(frame)
        pixels = np.asarray(image)
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def by_opencv(path: Path) -> Pixels:
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert pixels is not None
    if pixels.ndim == 2:
        return pixels[:, :, None]
    return pixels[:, :, [2, 1, 0, 3][: pixels.shape[2]]]


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces so small that little pictures have many."""
    for module in (base, jpeg):
        monkeypatch.setattr(module, "PIECE_BYTES", 3000)


# --- pixels ------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("size", [(1, 1), (1, 50), (70, 1), (95, 61)])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("form", ["png", "tiff"])
def test_lossless_formats_give_back_every_pixel(
    form: Format, channels: int, bits: int, size: tuple[int, int], tmp_path: Path
) -> None:
    pixels = noise(*size, channels, bits)
    path = write(tmp_path / f"x.{form}", form, pixels)
    again = by_vips(path)
    assert again.dtype == pixels.dtype
    np.testing.assert_array_equal(again, pixels)
    if bits == 8:
        np.testing.assert_array_equal(by_pillow(path), pixels)
    if channels != 2 and (form, channels) != ("tiff", 4):  # which OpenCV multiplies by alpha
        np.testing.assert_array_equal(by_opencv(path), pixels)


@pytest.mark.parametrize("kind", ["photo", "drawing"])
def test_a_large_png_is_one_sound_stream_whatever_filters_suit_it(kind: str, tmp_path: Path) -> None:
    y, x, c = np.mgrid[:2100, :600, :3]
    photo = (128 + 60 * np.sin((x + y) / 9 + c)).astype(np.uint8) + noise(2100, 600, 3) // 32
    pixels = photo if kind == "photo" else smooth(2100, 600, 3) // 128 * 255
    path = write(tmp_path / "x.png", "png", pixels, rows=100)
    data, chunks, at = path.read_bytes(), b"", 8
    while at < len(data):
        size, name = struct.unpack_from(">I4s", data, at)
        chunks += data[at + 8 : at + 8 + size] if name == b"IDAT" else b""
        at += size + 12
    rows = np.frombuffer(zlib.decompress(chunks), np.uint8).reshape(2100, 1 + 600 * 3)  # which checks the checksum, too
    assert set(rows[:, 0]) == ({3} if kind == "photo" else {2})
    np.testing.assert_array_equal(by_opencv(path), pixels)
    reference = io.BytesIO()
    Image.fromarray(pixels).save(reference, "PNG", compress_level=6)
    assert len(data) < (1.2 if kind == "photo" else 2) * len(reference.getvalue())


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("size", [(1, 1), (17, 33), (333, 41)])  # the last in 21 pieces: restart markers count to 8
@pytest.mark.parametrize("quality", [95, 90, 89, 30])
@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_in_pieces_equals_the_whole_picture_encoded_at_once(
    channels: int, quality: int, size: tuple[int, int], tmp_path: Path
) -> None:
    pixels = noise(*size, channels)
    path = write(tmp_path / "x.jpg", "jpeg", pixels, quality=quality)
    whole = tmp_path / "whole.jpg"
    Image.fromarray(pixels.squeeze(2) if channels == 1 else pixels).save(
        whole, quality=quality, subsampling=0 if quality >= 90 else 2
    )
    np.testing.assert_array_equal(by_pillow(path), by_pillow(whole))
    np.testing.assert_array_equal(by_vips(path), by_vips(whole))
    assert path.stat().st_size < whole.stat().st_size + 200


@pytest.mark.parametrize(("width", "height"), [(1, 5000), (65_500, 40), (16, 65_500)])
def test_jpeg_reaches_the_longest_sides(width: int, height: int, tmp_path: Path) -> None:
    pixels = np.broadcast_to(np.arange(height, dtype=np.uint8)[:, None, None] // 2, (height, width, 3))
    path = write(tmp_path / "x.jpg", "jpeg", pixels, rows=1000)
    difference = by_pillow(path).astype(int) - pixels
    assert difference.shape == (height, width, 3)
    assert abs(difference).mean() < 8


@pytest.mark.parametrize("size", [(120, 90), (1, 1), (1, 7), (9, 1)])
@pytest.mark.parametrize(
    ("form", "channels"),
    [("jpeg", 1), ("jpeg", 3), *((form, channels) for form in ("webp", "avif") for channels in (1, 2, 3, 4))],
)
def test_lossy_formats_come_near(form: Format, channels: int, size: tuple[int, int], tmp_path: Path) -> None:
    pixels = smooth(*size, channels)
    again = by_pillow(write(tmp_path / f"x.{form}", form, pixels)).astype(int)
    if again.shape[2] > channels:  # gray as RGB
        pixels = pixels[:, :, [0, 0, 0, 1][: again.shape[2]]]
    assert again.shape == pixels.shape
    assert abs(again - pixels).mean() < (1.5 if min(size) > 1 else 4)


@pytest.mark.parametrize("form", ["jpeg", "webp", "avif"])
def test_less_quality_makes_a_smaller_file(form: Format, tmp_path: Path) -> None:
    sizes = [write(tmp_path / f"{quality}", form, noise(64, 64, 3), quality=quality).stat().st_size for quality in (20, 60, 95)]
    assert sizes == sorted(set(sizes))


@pytest.mark.parametrize("channels", [3, 4])
def test_webp_of_quality_100_is_lossless(channels: int, tmp_path: Path) -> None:
    pixels = noise(50, 40, channels)
    pixels[10:20, :, channels - 1] = 0  # invisible pixels keep their colours
    np.testing.assert_array_equal(by_pillow(write(tmp_path / "x.webp", "webp", pixels, quality=100)), pixels)


def test_16_bits_are_rounded_where_a_format_has_8(tmp_path: Path) -> None:
    levels = np.arange(1 << 16, dtype=np.uint16).reshape(256, 256, 1).repeat(3, 2)
    again = by_pillow(write(tmp_path / "x.webp", "webp", levels, quality=100))
    np.testing.assert_array_equal(again, np.floor(levels / 65535 * 255 + 0.5))
    jpegs = [write(tmp_path / f"{x.dtype}.jpg", "jpeg", x).read_bytes() for x in (levels, again)]
    assert jpegs[0] == jpegs[1]


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("form", FORMS)
def test_heights_of_bands_and_numbers_of_cores_do_not_matter(
    form: Format, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = smooth(131, 60, 3)
    files = [write(tmp_path / str(rows), form, pixels, rows=rows).read_bytes() for rows in (1, 7, 64, 131)]
    monkeypatch.setattr(base, "usable_cores", lambda: 1)
    files.append(write(tmp_path / "one", form, pixels).read_bytes())
    assert len(set(files)) == 1


# --- pages and frames --------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("small_pieces")
def test_pages_of_tiff_may_differ_in_everything(tmp_path: Path) -> None:
    pages = [noise(40, 30, 3), noise(91, 20, 1, 16), noise(5, 60, 4, 16), noise(33, 33, 2)]
    path = write(tmp_path / "x.tif", "tiff", *pages, metadata=Metadata(icc=SRGB, dpi=(300, 150.5)))
    for number, page in enumerate(pages):
        np.testing.assert_array_equal(by_vips(path, number), page)
    with Image.open(path) as image:
        assert image.n_frames == 4
        for number, page in enumerate(pages):
            image.seek(number)
            assert image.size == page.shape[1::-1]
            assert image.info["dpi"] == (300, 150.5)
            assert image.tag_v2.get(34675) == (SRGB if page.shape[2] > 2 else None)  # gray pages are not in RGB


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("form", ["png", "webp", "avif"])
def test_animations_keep_frames_timing_and_loop(form: Format, channels: int, tmp_path: Path) -> None:
    frames = [smooth(60, 50, channels) // (number + 1) for number in range(3)]
    if channels == 4:
        for frame in frames:
            frame[:, :, 3] = 255
            frame[:20, :, 3] = 0
    metadata = Metadata(delays=(40, 1000, 70_000), loop=3)
    path = write(tmp_path / f"x.{form}", form, *frames, metadata=metadata, quality=100)
    with Image.open(path) as image:
        assert image.n_frames == 3
        assert form == "avif" or image.info["loop"] == 3
        for number, (frame, delay) in enumerate(zip(frames, metadata.delays, strict=True)):
            image.seek(number)
            image.load()
            assert image.info["duration"] == delay
            again = np.asarray(image.convert({1: "L", 3: "RGB", 4: "RGBA"}[channels])).reshape(frame.shape).astype(int)
            visible = again[:, :, -1:] > 0 if channels == 4 else True
            assert abs((again - frame) * visible).max() <= (3 if form == "avif" else channels == 1)  # gray by way of RGB


def test_an_animation_in_16_bits_keeps_them(tmp_path: Path) -> None:
    frames = [noise(20, 30, 4, 16), noise(20, 30, 4, 16) // 3]
    data = write(tmp_path / "x.png", "png", *frames, metadata=Metadata(delays=(50, 60))).read_bytes()
    # the second frame as a still picture: its data under the name of still pictures' data
    at, still = 8, data[:8]
    while at < len(data):
        size, name = struct.unpack_from(">I4s", data, at)
        content = data[at + 8 : at + 8 + size]
        if name == b"fdAT":
            name, content = b"IDAT", content[4:]
        elif name not in (b"IHDR", b"IEND"):
            name = b""
        if name:
            still += struct.pack(">I4s", len(content), name) + content + struct.pack(">I", zlib.crc32(name + content))
        at += size + 12
    (tmp_path / "still.png").write_bytes(still)
    np.testing.assert_array_equal(by_vips(tmp_path / "x.png"), frames[0])
    np.testing.assert_array_equal(by_vips(tmp_path / "still.png"), frames[1])


def test_an_animation_of_one_frame_is_a_still_picture(tmp_path: Path) -> None:
    for form in ("png", "webp"):
        path = write(tmp_path / form, form, noise(8, 8, 3), metadata=Metadata(delays=(40,), loop=2))
        with Image.open(path) as image:
            assert getattr(image, "n_frames", 1) == 1


@pytest.mark.usefixtures("small_pieces")
def test_much_data_gets_a_bigtiff_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiff, "CLASSIC_BYTES", 5000)
    exif = Image.Exif()
    exif[0x010F] = "maker of cameras"
    exif.get_ifd(0x8769)[0x9003] = "2024:01:02 03:04:05"
    pages = [noise(50, 60, 3), noise(50, 9, 1, 16)]
    path = write(tmp_path / "x.tif", "tiff", *pages, metadata=Metadata(icc=SRGB, exif=exif.tobytes()[6:], dpi=(72, 72)))
    assert path.read_bytes()[:4] == b"II+\0"
    assert write(tmp_path / "small.tif", "tiff", pages[1]).read_bytes()[:4] == b"II*\0"
    for number, page in enumerate(pages):
        np.testing.assert_array_equal(by_vips(path, number), page)
        np.testing.assert_array_equal(by_pillow(path, number) if number == 0 else page, page)
    with Image.open(path) as image:
        assert image.getexif()[0x010F] == "maker of cameras"
        assert image.getexif().get_ifd(0x8769)[0x9003] == "2024:01:02 03:04:05"
        assert image.info["icc_profile"] == SRGB


# --- metadata ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("form", FORMS)
def test_all_formats_keep_profile_exif_xmp_and_resolution(form: Format, order: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif.endian = order
    exif[0x010F], exif[0x0112], exif[0x011A] = "maker of cameras", 1, 240.0
    exif.get_ifd(0x8769)[0x9003] = "2024:01:02 03:04:05"
    exif.get_ifd(0x8769)[0x829A] = 0.005
    exif.get_ifd(0x8769)[0x927C] = bytes(range(200))
    exif.get_ifd(0x8825)[1], exif.get_ifd(0x8825)[2] = "N", (48.0, 51.0, 29.5)
    metadata = Metadata(SRGB, exif.tobytes()[6:], XMP, (240, 120))
    with Image.open(write(tmp_path / f"x.{form}", form, smooth(20, 30, 3), metadata=metadata)) as image:
        image.load()
        found = image.getexif()
        assert image.info["icc_profile"] == SRGB
        assert found[0x010F] == "maker of cameras"
        assert dict(found.get_ifd(0x8769)) == {0x9003: "2024:01:02 03:04:05", 0x829A: 0.005, 0x927C: bytes(range(200))}
        assert dict(found.get_ifd(0x8825)) == {1: "N", 2: (48.0, 51.0, 29.5)}
        assert (image.tag_v2[700] if form == "tiff" else image.info["xmp"]) == XMP
        if form in ("png", "jpeg", "tiff"):
            assert image.info["dpi"] == pytest.approx((240, 120), abs=0.02)
        if form in ("png", "jpeg", "webp"):
            assert metadata.exif is not None
            assert metadata.exif in (tmp_path / f"x.{form}").read_bytes()  # not a byte of it has changed


@pytest.mark.parametrize("form", ["webp", "avif"])
def test_resolution_goes_to_exif_where_a_format_has_none(form: Format, tmp_path: Path) -> None:
    with Image.open(write(tmp_path / "x", form, smooth(20, 30, 3), metadata=Metadata(dpi=(300, 150.5)))) as image:
        assert [image.getexif()[tag] for tag in (0x011A, 0x011B, 0x0128)] == [300, 150.5, 2]


@pytest.mark.parametrize("form", ["png", "jpeg", "tiff"])
def test_gray_keeps_a_profile_for_gray(form: Format, tmp_path: Path) -> None:
    with Image.open(write(tmp_path / "x", form, noise(9, 9, 1), metadata=Metadata(icc=GRAY))) as image:
        assert image.info["icc_profile"] == GRAY


@pytest.mark.parametrize("form", ["webp", "avif"])
def test_a_profile_for_gray_does_not_go_with_rgb(form: Format, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Image.open(write(tmp_path / "x", form, noise(9, 9, 1), metadata=Metadata(icc=GRAY))) as image:
        assert not image.info.get("icc_profile")
    assert "colour profile for gray was left out" in capsys.readouterr().err


def test_a_large_profile_is_spread_over_segments_of_jpeg(tmp_path: Path) -> None:
    icc = SRGB + bytes(np.random.default_rng(0).integers(0, 256, 150_000, dtype=np.uint8))
    with Image.open(write(tmp_path / "x.jpg", "jpeg", noise(9, 9, 3), metadata=Metadata(icc=icc))) as image:
        assert image.info["icc_profile"] == icc


def test_what_jpeg_has_no_room_for_is_left_out_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exif = b"II*\0\x08\0\0\0" + bytes(70_000)
    metadata = Metadata(icc=SRGB + bytes(20_000_000), exif=exif, xmp=XMP + b" " * 70_000)
    with Image.open(write(tmp_path / "x.jpg", "jpeg", noise(9, 9, 3), metadata=metadata)) as image:
        assert not {"exif", "xmp", "icc_profile"} & set(image.info)
    lines = capsys.readouterr().err.splitlines()
    assert [any(word in line for line in lines) for word in ("EXIF", "XMP", "colour profile")] == [True] * 3


# --- what does not fit -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "pages", "animated", "words"),
    [
        ("jpeg", [Page(9, 9, 4)], False, ["--background", "--format png"]),
        ("jpeg", [Page(9, 9, 2)], False, ["--background", "--format png"]),
        ("jpeg", [Page(65_501, 9, 3)], False, ["65501x9", "65500", "--format png or tiff"]),
        ("webp", [Page(9, 16_384, 3)], False, ["9x16384", "16383", "--format png or tiff"]),
        ("avif", [Page(32_769, 9, 3)], False, ["32769x9", "32768"]),
        ("avif", [Page(20_000, 20_000, 3)], False, ["20000x20000", "268"]),
        ("jpeg", [Page(9, 9, 3)] * 5, False, ["5 pages", "--format tiff"]),
        ("png", [Page(9, 9, 3)] * 5, False, ["5 pages", "--format tiff"]),
        ("webp", [Page(9, 9, 3)] * 5, False, ["5 pages", "--format tiff"]),
        ("jpeg", [Page(9, 9, 3)] * 5, True, ["5 frames", "--format png or webp"]),
        ("tiff", [Page(9, 9, 3)] * 5, True, ["5 frames", "--format png or webp"]),
        ("webp", [Page(16_384, 9, 3)] * 5, True, ["--format png"]),
    ],
)
def test_what_a_format_cannot_hold_is_refused_with_the_remedy(
    form: Format, pages: Sequence[Page], animated: bool, words: list[str]
) -> None:
    with pytest.raises(InputError) as error:
        check_fits(form, pages, animated)
    assert [word for word in words if word not in str(error.value)] == []
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("form", "pages", "animated"),
    [
        ("jpeg", [Page(65_500, 65_500, 3)], False),
        ("webp", [Page(16_383, 16_383, 4)], False),
        ("avif", [Page(32_768, 8192, 4)], False),
        ("tiff", [Page(9, 9, 3), Page(100_000, 100_000, 4, 16)], False),
        ("png", [Page(1_000_000, 1_000_000, 4, 16)], False),
        ("png", [Page(9, 9, 3)] * 5, True),
        ("webp", [Page(9, 9, 3)] * 5, True),
        ("avif", [Page(9, 9, 3)] * 5, True),
        ("jpeg", [Page(9, 9, 3)], True),
    ],
)
def test_what_a_format_can_hold_is_not_refused(form: Format, pages: Sequence[Page], animated: bool) -> None:
    check_fits(form, pages, animated)


@pytest.mark.parametrize(("form", "side"), [("webp", 16_383), ("avif", 32_768)])
def test_the_longest_sides_can_be_written_and_read(form: Format, side: int, tmp_path: Path) -> None:
    pixels = np.broadcast_to((np.arange(side) // 256).astype(np.uint8)[None, :, None], (8, side, 3))
    assert abs(by_pillow(write(tmp_path / "x", form, pixels)).astype(int) - pixels).max() < 12


# --- failures ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_bands_that_are_not_as_announced_are_the_callers_mistake(form: Format, tmp_path: Path) -> None:
    page, good = Page(9, 5, 3), noise(5, 9, 3)
    for bad in (noise(6, 9, 3), noise(5, 8, 3), noise(5, 9, 1), noise(5, 9, 3, 16), good[:0]):
        with pytest.raises(ValueError, match="a band"), create(tmp_path / "x", form, [page], Metadata(), 95) as file:
            file.write(bad)
    with pytest.raises(ValueError, match="1 pages"), create(tmp_path / "x", form, [page], Metadata(), 95) as file:
        file.write(good[:4])
    with create(tmp_path / "x", form, [page], Metadata(), 95) as file:
        file.write(good)
        with pytest.raises(ValueError, match="all pages"):
            file.write(good)


def encoders() -> int:
    return sum(thread.name.startswith("encoder") for thread in threading.enumerate())


def interrupt_after(file: Writer, band: Pixels) -> None:
    file.write(band)
    assert encoders() > 0
    raise KeyboardInterrupt


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("form", FORMS)
def test_an_exception_ends_the_threads_and_passes(form: Format, tmp_path: Path) -> None:
    file = create(tmp_path / "x", form, [Page(50, 200, 3)], Metadata(), 95)
    with pytest.raises(KeyboardInterrupt), file:
        interrupt_after(file, noise(150, 50, 3))
    assert encoders() == 0
    assert file.file.closed


INTERRUPTED = """
import os, signal, sys
from pathlib import Path
from test_writing import noise, write

def interrupt(number, frame):
    raise KeyboardInterrupt

pixels, path = noise(1500, 1500, 3), Path(sys.argv[1])
signal.signal(signal.SIGALRM, interrupt)
signal.setitimer(signal.ITIMER_REAL, 0.3)
try:
    write(path, "avif", pixels, rows=500)
except KeyboardInterrupt:
    print(path.stat().st_size, flush=True)
    os._exit(0)  # as the command line ends: what the encoder's threads still do, nobody waits for
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there are no timers")
def test_a_signal_need_not_wait_for_a_whole_picture_to_be_encoded(tmp_path: Path) -> None:
    """In a process of its own, since encoders that are left behind have been seen to crash."""
    command = [sys.executable, "-c", INTERRUPTED, str(tmp_path / "x")]
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["0"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("height", [8, 3000])  # found at the end, or on the way
def test_a_full_disk_is_said_by_its_number(form: Format, height: int) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip(f"there is no {full}")
    pixels = noise(8, 200, 3).repeat(height // 8, 0)
    with pytest.raises(OSError, match="No space") as error:
        write(full, form, pixels, rows=500)
    assert error.value.errno == errno.ENOSPC
    assert encoders() == 0


@pytest.mark.parametrize("form", FORMS)
def test_a_limit_on_files_is_a_clean_error_without_a_file(form: Format, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(InputError, match="cannot be written"), atomic(tmp_path / "x") as temporary:
            write(temporary, form, noise(200, 200, 3))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


# --- memory ------------------------------------------------------------------------------------------------------------

MEASURE = """
import sys, resource
from pathlib import Path
import numpy as np
from gantool.images.page import Metadata, Page
from gantool.images.writing import create
form, height = sys.argv[2], int(sys.argv[3])
band = (np.add.outer(np.arange(100), np.arange(3000)) // 5 % 256).astype(np.uint8).reshape(100, 1000, 3)
with create(Path(sys.argv[1]), form, [Page(1000, height, 3)], Metadata(), 90) as file:
    for _ in range(height // 100):
        file.write(band)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="units of ru_maxrss differ")
@pytest.mark.parametrize("form", ["png", "jpeg", "tiff"])
def test_memory_does_not_grow_with_the_height(form: Format, tmp_path: Path) -> None:
    def peak(height: int) -> int:
        command = [sys.executable, "-c", MEASURE, str(tmp_path / "x"), form, str(height)]
        return int(subprocess.run(command, check=True, capture_output=True, timeout=100, cwd=Path(__file__).parents[1]).stdout)

    assert peak(60_000) < peak(6_000) + 10  # MiB, where the pixels are 172 and 17
