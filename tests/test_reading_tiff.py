"""Reading TIFF, whose pages may be of nearly any kind."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
import tifffile
from pictures import Pixels, changed, frames, metadata, noise, read, saved, smooth, tiff
from PIL import Image

from gantool.errors import InputError
from gantool.images import open_picture

GRAY, RGB, RGBA = noise(24, 32, 1), noise(24, 32, 3), noise(24, 32, 4)


def pages(*pictures: Pixels, **options: object) -> bytes:
    file = BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for picture in pictures:
            writer.write(picture.squeeze(), **options)
    return file.getvalue()


def test_pages_stay_pages_each_with_its_own_size_and_type() -> None:
    pictures = [RGB, GRAY[:9, :20], RGBA[:, :, :3].astype(np.uint16) * 257, noise(70, 3, 1)]
    found, said = frames(pages(*pictures))
    assert said.delays == ()
    for one, other in zip(found, pictures, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


def test_reduced_copies_and_masks_are_no_pages() -> None:
    file = BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(RGB, photometric="rgb")
        writer.write(RGB[::2, ::2], photometric="rgb", subfiletype=1)
        writer.write(RGB[::-1], photometric="rgb")
    found, _ = frames(file.getvalue())
    assert len(found) == 2
    np.testing.assert_array_equal(found[1], RGB[::-1])


def test_pages_can_be_read_in_any_order_and_again() -> None:
    with open_picture(pages(RGB, RGB[::-1], RGB[:, ::-1]), "it", 10**9) as reader:
        for number, expected in ((2, RGB[:, ::-1]), (0, RGB), (1, RGB[::-1]), (1, RGB[::-1])):
            np.testing.assert_array_equal(np.concatenate(list(reader.bands(number, 5))), expected)


def test_one_bit_becomes_gray_whichever_of_the_two_is_white() -> None:
    bits = noise(13, 21).astype(bool)
    for colors in ("minisblack", "miniswhite"):
        expected = (bits if colors == "minisblack" else ~bits)[:, :, None] * np.uint8(255)
        np.testing.assert_array_equal(read(tiff(bits, photometric=colors)), expected)
    for compression in ("group3", "group4", "tiff_ccitt"):
        np.testing.assert_array_equal(read(saved(bits, "TIFF", compression=compression)), bits[:, :, None] * np.uint8(255))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_gray_whose_lowest_level_is_white_is_inverted(dtype: type[np.generic]) -> None:
    levels = noise(9, 14, bits=8 * np.dtype(dtype).itemsize)
    inverted = np.iinfo(levels.dtype).max - levels
    np.testing.assert_array_equal(read(tiff(levels, photometric="miniswhite")), inverted[:, :, None])


def test_a_palette_becomes_rgb() -> None:
    colors, numbers = noise(3, 256, bits=16), noise(9, 14)
    expected = (colors >> 8).T[numbers].astype(np.uint8)
    np.testing.assert_array_equal(read(tiff(numbers, photometric="palette", colormap=colors)), expected)


@pytest.mark.parametrize("kind", [np.float16, np.float32])
@pytest.mark.parametrize("channels", [1, 3])
def test_floating_point_becomes_16_bits(kind: type[np.floating], channels: int, capsys: pytest.CaptureFixture[str]) -> None:
    values = np.random.default_rng(0).random((24, 32, channels)).astype(kind)
    data = tiff(values.squeeze(), photometric="rgb" if channels == 3 else "minisblack")
    np.testing.assert_array_equal(read(data), np.floor(values.astype(np.float64) * 65535 + 0.5).astype(np.uint16))
    assert capsys.readouterr().err == ""


def test_values_beyond_black_and_white_are_clipped_and_that_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    values = np.full((70, 5), 0.25, np.float32)
    values[::9, 1:5] = [-0.5, 2, -np.inf, np.inf]
    result = read(tiff(values))[:, :, 0]
    assert result[0].tolist() == [16384, 0, 65535, 0, 65535]
    assert capsys.readouterr().err.splitlines() == ["it: some of its values lie outside of 0 to 1, and were clipped"]


def test_values_that_are_no_numbers_are_no_picture() -> None:
    values = np.full((70, 5), 0.25, np.float32)
    values[66, 3] = np.nan
    with pytest.raises(InputError, match=r"some of its values are no numbers \(NaN\)"):
        read(tiff(values))


def test_whole_numbers_of_32_bits_become_16() -> None:
    values = np.array([[0, 1 << 31, (1 << 32) - 1, 32769, 32768, 65537 * 1234]], np.uint32)
    assert read(tiff(values)).ravel().tolist() == [0, 32768, 65535, 1, 0, 1234]


@pytest.mark.parametrize("bits", [8, 16])
def test_colors_multiplied_by_alpha_are_divided_again(bits: int) -> None:
    white = (1 << bits) - 1
    alpha = np.linspace(0, white, 64).round().astype(f"u{bits // 8}")
    multiplied = np.stack([alpha // 2, alpha, alpha * 0, alpha], 1)[None]
    result = read(tiff(multiplied, photometric="rgb", extrasamples=["assocalpha"]))
    np.testing.assert_array_equal(result[0, :, 3], alpha)
    expected = np.where(alpha > 0, (alpha // 2) * float(white) / np.maximum(alpha, 1), 0)
    assert np.abs(result[0, :, 0] - expected).max() <= 1  # libvips cuts off what is less than a level
    assert (result[0, 1:, 1] >= white - 1).all()
    assert (result[0, :, 2] == 0).all()


def test_what_lies_behind_alpha_is_left_out() -> None:
    data = tiff(np.dstack([RGBA, RGBA[:, :, :1]]), photometric="rgb", extrasamples=["unassalpha", "unspecified"])
    np.testing.assert_array_equal(read(data), RGBA)


def test_jpeg_in_tiff_is_read_as_pillow_reads_it() -> None:
    data = saved(smooth(24, 32), "TIFF", compression="jpeg", quality=90)
    expected = np.asarray(Image.open(BytesIO(data)))
    assert np.abs(read(data).astype(int) - expected).max() <= 1


def test_luma_and_chroma_become_rgb() -> None:
    values = np.asarray(Image.fromarray(RGB).convert("YCbCr"))
    expected = np.asarray(Image.fromarray(values, "YCbCr").convert("RGB"))
    for options in ({}, {"compression": "zlib"}):
        result = read(tiff(values, photometric="ycbcr", **options))
        assert np.abs(result.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("compression", ["zstd", "lzma"])
def test_compressions_that_libvips_lacks_are_read_by_pillow(compression: str, capfd: pytest.CaptureFixture[str]) -> None:
    for pixels in (RGB, GRAY, GRAY.astype(np.uint16) * 257):
        data = saved(pixels, "TIFF", compression=compression)
        np.testing.assert_array_equal(read(data), pixels)
        start = Image.open(BytesIO(data)).tag_v2[273][0]  # type: ignore[attr-defined]
        with pytest.raises(InputError, match="it is damaged or cut short"):
            read(changed(data, range(start, start + 4), [0, 1, 2, 3]))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(("data", "words"), [
    (tiff(RGB.astype(np.int16), photometric="rgb"), "holds measurements, not colours"),
    (tiff(np.zeros((4, 4), np.complex64)), "holds measurements, not colours"),
    (tiff(np.zeros((4, 4, 7), np.uint8), photometric="minisblack", planarconfig="contig"), "7 channels that are no colours"),
    (tiff(np.zeros((4, 4, 3), np.uint16), photometric="rgb", compression="lzma"), "of a rare kind"),
    (tiff(np.zeros((3, 32, 32), np.uint16), photometric="rgb", planarconfig="separate", tile=(16, 16)), "of a rare kind"),
    (tiff(np.zeros((4, 4), np.float64)), "has samples of 64 bits"),
    (b"II*\0\x08\0\0\0" + bytes(6), "is damaged or cut short: a directory is empty"),
    (tiff(RGB, photometric="rgb", extratags=[(50706, 1, 4, b"\1\4\0\0")]), "is a camera's raw picture"),
])  # fmt: skip
def test_what_cannot_be_made_a_picture_of_is_refused_in_a_sentence(data: bytes, words: str) -> None:
    with pytest.raises(InputError, match=words) as error:
        read(data)
    assert "\n" not in str(error.value)


def test_what_the_directory_says_becomes_exif() -> None:
    image = Image.fromarray(RGB)
    exif = Image.Exif()
    exif[0x010F], exif[0x0131], exif[0x0112] = "A camera", "A program", 6
    exif.get_ifd(0x8769)[0x9003], exif.get_ifd(0x8825)[1] = "2001:02:03 04:05:06", "N"
    exif[0x8769] = exif[0x8825] = 0  # written as what they lead to
    file = BytesIO()
    image.save(file, "TIFF", exif=exif, dpi=(300, 150))
    said = metadata(file.getvalue())
    assert said.dpi == (150, 300)  # across and down change places, as the picture does
    assert said.exif is not None
    again = Image.Exif()
    again.load(b"Exif\0\0" + said.exif)
    assert (again[0x010F], again[0x0131]) == ("A camera", "A program")
    assert 0x0112 not in again
    assert again.get_ifd(0x8769)[0x9003] == "2001:02:03 04:05:06"
    assert again.get_ifd(0x8825)[1] == "N"
    assert metadata(tiff(RGB, photometric="rgb", software=False)).exif is None
