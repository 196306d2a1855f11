"""Reading: what comes out of each kind of file, against another decoder or the pixels that went in."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from conftest import CHECKOUT
from pictures import PEAK, Pixels, chunk, exif, jp2, metadata, noise, png_of, read, saved, smooth, stored, tiff, vips
from PIL import Image, ImageCms

from gantool.errors import InputError
from gantool.images import open_picture

COLORS = noise(37, 53, 4)
DEEP = noise(37, 53, 4, bits=16)


def lossless(pixels: Pixels) -> dict[str, bytes]:
    """Return files that keep every level, by kind."""
    channels, bits = pixels.shape[2], 8 * pixels.dtype.itemsize
    files = {"png": png_of(pixels)}
    plain = pixels[:, :, 0] if channels == 1 else pixels
    color = {"photometric": "minisblack" if channels < 3 else "rgb", "planarconfig": "contig"}
    color |= {"extrasamples": ["unassalpha"]} if channels in (2, 4) else {}
    planes = {**color, "planarconfig": "separate"}
    files["tiff"] = tiff(plain, **color)
    files["tiff, big-endian"] = tiff(plain, byteorder=">", **color)
    files["tiff, deflate, predictor"] = tiff(plain, compression="zlib", predictor=2, **color)
    files["tiff, strips"] = tiff(plain, rowsperstrip=5, **color)
    files["tiff, tiles"] = tiff(plain, tile=(16, 32), **color)
    files["bigtiff"] = tiff(plain, bigtiff=True, **color)
    if channels > 2:
        files["tiff, planes"] = tiff(np.moveaxis(pixels, 2, 0), **planes)
    for compression in ("lzw", "packbits", "deflate"):
        files[f"tiff, {compression}"] = vips(pixels, ".tiff", compression=compression)
    if channels != 2:
        files["jpeg 2000"] = jp2(pixels)
    if bits == 8 and channels > 2:
        files["webp"] = saved(pixels, "WEBP", lossless=True, exact=True)
        files["tiff, tiles of planes"] = tiff(np.moveaxis(pixels, 2, 0), tile=(16, 32), **planes)
    if bits == 8:
        files["tiff, zstd"] = saved(pixels, "TIFF", compression="zstd")
        files["png, interlaced"] = vips(pixels, ".png", interlace=True)
    if bits == 8 and channels in (1, 3):
        files["bmp"] = saved(pixels, "BMP")
    if channels in (1, 3):
        header = b"P%d\n# a comment\n%d %d\n%d\n" % (5 if channels == 1 else 6, 53, 37, (1 << bits) - 1)
        files["netpbm"] = header + pixels.astype(pixels.dtype.newbyteorder(">")).tobytes()
    return files


CASES = [
    pytest.param(pixels[:, :, :channels], kind, id=f"{kind} of {channels}x{8 * pixels.dtype.itemsize} bits")
    for pixels in (COLORS, DEEP)
    for channels in (1, 2, 3, 4)
    for kind in lossless(pixels[:, :, :channels])
]


@pytest.mark.parametrize(("pixels", "kind"), CASES)
def test_every_level_of_a_lossless_file_is_read(pixels: Pixels, kind: str) -> None:
    np.testing.assert_array_equal(read(lossless(pixels)[kind]), pixels)


def turned_files(pixels: Pixels, orientation: int) -> dict[str, bytes]:
    """Return lossless files of a picture that lies as its orientation says, by format."""
    lying, told = stored(pixels, orientation), exif(orientation)
    return {
        "png": saved(lying, "PNG", exif=told),
        "png, exif at its end": png_of(lying)[:-12] + chunk(b"eXIf", told.tobytes()[6:]) + chunk(b"IEND", b""),
        "webp": saved(lying, "WEBP", lossless=True, exif=told),
        "tiff": saved(lying, "TIFF", exif=told),
        "tiff, zstd": saved(lying, "TIFF", exif=told, compression="zstd"),
        "jpeg": saved(lying, "JPEG", exif=told, quality=100, subsampling=0),
        "avif": saved(lying, "AVIF", exif=told, quality=100, subsampling="4:4:4"),
    }


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["png", "png, exif at its end", "webp", "tiff", "tiff, zstd", "jpeg", "avif"])
def test_exif_orientation_is_baked(form: str, orientation: int) -> None:
    upright = smooth(32, 48)
    for rows in (1, 7, 64):
        result = read(turned_files(upright, orientation)[form], rows=rows)
        assert result.shape == upright.shape
        assert np.abs(result.astype(int) - upright).max() <= (4 if form in ("jpeg", "avif") else 0)


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("channels", [1, 2, 4])
def test_turning_large_pictures_on_disk_gives_the_same(
    orientation: int, channels: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("gantool.images.turning._IN_MEMORY", 100)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    upright = noise(37, 53, channels, bits=16)
    told = chunk(b"eXIf", exif(orientation).tobytes()[6:])
    np.testing.assert_array_equal(read(png_of(stored(upright, orientation), told), rows=10), upright)
    assert list(tmp_path.iterdir()) == []


def test_no_room_for_turning_is_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("gantool.images.turning._IN_MEMORY", 100)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    with pytest.raises(InputError, match="it cannot be turned upright in a temporary file .* set TMPDIR to a folder with room"):
        read(turned_files(smooth(32, 48), 3)["png"])


@pytest.mark.parametrize("orientation", [0, 9, 300, 65535])
def test_an_orientation_that_does_not_exist_means_upright(orientation: int) -> None:
    for form in ("PNG", "TIFF", "WEBP"):
        data = saved(COLORS[:, :, :3], form, exif=exif(orientation), lossless=True)
        np.testing.assert_array_equal(read(data), COLORS[:, :, :3])


@pytest.mark.parametrize("damaged", [b"MM\0*\0\0\0\x08\xff\xff", b"nonsense", bytes(20), b"II*\0\xff\xff\xff\xff", b"II"])
def test_damaged_exif_is_left_out_and_that_is_said(damaged: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    for data in (saved(COLORS[:, :, :3], "JPEG", exif=b"Exif\0\0" + damaged), png_of(COLORS, chunk(b"eXIf", damaged))):
        assert read(data).shape[:2] == COLORS.shape[:2]
        assert metadata(data).exif is None
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4
    assert all(line.startswith("it: its EXIF is damaged (") for line in lines)


def test_exif_xmp_profile_and_resolution_are_told_as_the_file_has_them() -> None:
    told, icc = Image.Exif(), ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    told[0x010F] = "A camera"
    told.get_ifd(0x8769)[0x9003] = "2001:02:03 04:05:06"
    packed = told.tobytes()[6:]
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'
    files = {form: saved(COLORS, form, "RGB", exif=told, icc_profile=icc, xmp=xmp) for form in ("JPEG", "WEBP", "AVIF")}
    text = b"XML:com.adobe.xmp\0"
    chunks = [chunk(b"iCCP", b"x\0\0" + zlib.compress(icc)), chunk(b"eXIf", packed)]
    files["PNG"] = png_of(COLORS[:, :, :3], *chunks, chunk(b"iTXt", text + b"\0\0\0\0" + xmp))
    files["PNG, packed"] = png_of(COLORS[:, :, :3], *chunks, chunk(b"iTXt", text + b"\1\0en\0x\0" + zlib.compress(xmp)))
    files["TIFF"] = tiff(COLORS[:, :, :3], photometric="rgb", iccprofile=icc, extratags=[(700, 1, len(xmp), xmp)])
    for form, data in files.items():
        said = metadata(data)
        assert (said.icc, said.xmp) == (icc, xmp), form
        if form != "TIFF":
            assert said.exif == packed, form


def test_resolution_is_told_only_if_the_file_tells_it() -> None:
    plain, metres = COLORS[:, :, :3], chunk(b"pHYs", struct.pack(">IIB", 11811, 5906, 1))
    told = exif(6)
    told[0x011A], told[0x011B], told[0x0128] = 118.11, 59.06, 3  # pixels per centimetre
    for data in (
        saved(plain, "JPEG", dpi=(300, 150)), png_of(plain, metres), saved(plain, "TIFF", dpi=(300, 150)),
        tiff(plain, photometric="rgb", resolution=(118.11, 59.06), resolutionunit="CENTIMETER"),
    ):  # fmt: skip
        assert metadata(data).dpi == pytest.approx((300, 150), abs=0.2)
    for form in ("JPEG", "WEBP", "PNG"):
        assert metadata(saved(plain, form, exif=told)).dpi == pytest.approx((150, 300), abs=0.2)  # upright
    for form in ("JPEG", "PNG", "TIFF", "WEBP", "AVIF", "GIF"):
        assert metadata(saved(plain, form)).dpi is None, form
    assert metadata(png_of(plain, chunk(b"pHYs", struct.pack(">IIB", 2, 1, 0)))).dpi is None  # the shape of a pixel


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_a_profile_for_other_colors_or_none_at_all_is_left_out_and_that_is_said(
    form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for_gray = icc[:16] + b"GRAY" + icc[20:]
    assert metadata(saved(COLORS, form, "RGB", icc_profile=icc)).icc == icc
    if form != "WEBP":
        assert metadata(saved(COLORS, form, "L", icc_profile=for_gray)).icc == for_gray
    assert capsys.readouterr().err == ""
    for mode, profile in (("RGB", for_gray), ("RGB", b"x" * 200), ("RGB", icc[:-30])):
        assert metadata(saved(COLORS, form, mode, icc_profile=profile)).icc is None
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["it: its colour profile is damaged or for other colours, and was left out"] * 3


def test_bands_have_as_many_rows_as_asked_for_at_most() -> None:
    with open_picture(png_of(COLORS), "it", 10**9) as reader:
        assert [len(band) for band in reader.bands(rows=10)] == [10, 10, 10, 7]
        assert [len(band) for band in reader.bands(rows=100)] == [37]


def test_the_pixel_limit_goes_by_the_header_of_each_page() -> None:
    data = png_of(COLORS)
    assert read(data, max_pixels=37 * 53).shape == (37, 53, 4)
    with pytest.raises(InputError, match="it has 53x37 pixels, more than the limit of 1960: raise it with --max-pixels"):
        read(data, max_pixels=37 * 53 - 1)


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_memory_does_not_grow_with_the_height(tmp_path: Path) -> None:
    """In processes of their own: reading 4000 rows takes little more memory than reading 400, of 24 MB that are decoded."""
    rows, columns = np.mgrid[:4000, :2000]
    pixels = ((rows ^ columns) & 255).astype(np.uint8)[:, :, None].repeat(3, 2)
    told = chunk(b"eXIf", exif(6).tobytes()[6:])
    makers = {
        "png": png_of,
        "jpeg": lambda part: saved(part, "JPEG"),
        "tiff": lambda part: vips(part, ".tiff", tile=True, compression="deflate"),
        "ppm": lambda part: b"P6 2000 %d 255\n" % len(part) + part.tobytes(),
        "turned": lambda part: png_of(part, told),
    }
    for kind, maker in makers.items():
        low, high = (peak(tmp_path, maker(pixels[:height])) for height in (400, 4000))
        assert high - low < (12 << 20), kind


def peak(folder: Path, data: bytes) -> int:
    """Return the bytes that a process takes at most that reads a picture; what it turns goes to disk early."""
    (folder / "picture").write_bytes(data)
    code = (
        "import sys; from pathlib import Path; from gantool.images import open_picture, turning\n"
        "turning._IN_MEMORY = 1 << 20\n"
        "for band in open_picture(Path(sys.argv[1]), '', 10**9).bands(): pass\n"
        f"{PEAK}\nprint(peak())\n"
    )
    done = subprocess.run([sys.executable, "-c", code, folder / "picture"], capture_output=True, text=True, cwd=CHECKOUT)
    return int(done.stdout)


def test_nothing_heavy_is_imported_before_a_picture_is_opened() -> None:
    code = "import sys, gantool.images; print(sorted({'torch', 'pyvips', 'cv2', 'PIL'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=CHECKOUT).stdout == "[]\n"
