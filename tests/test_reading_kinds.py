"""Reading: the kinds of pixels that become others: few bits, palettes, transparent colours, other colours, other numbers."""

from __future__ import annotations

import struct
from io import BytesIO

import numpy as np
import pytest
import pyvips
from pictures import Pixels, changed, chunk, frames, jp2, noise, png, png_of, read, saved, smooth, tiff, vips
from PIL import Image, ImageCms

from gantool.errors import InputError
from gantool.images import open_picture

COLORS = noise(24, 32, 4)
DEEP = noise(24, 32, 4, bits=16)
SRGB = ImageCms.createProfile("sRGB")


def opened(data: bytes) -> Image.Image:
    return Image.open(BytesIO(data))


def cmyk_profile() -> bytes:
    """libvips has one for CMYK built in."""
    return bytes(pyvips.Operation.call("profile_load", "cmyk"))


def converted(image: Image.Image, profile: object, black_point: bool = True) -> Pixels:
    """Return what Pillow's binding of littleCMS makes of a picture: sRGB, relative colorimetric."""
    flags = ImageCms.Flags.BLACKPOINTCOMPENSATION if black_point else ImageCms.Flags.NONE
    result = ImageCms.profileToProfile(image, profile, SRGB, 1, "RGB", flags=flags)  # type: ignore[arg-type]
    assert result is not None
    return np.asarray(result)


def difference(one: Pixels, other: Pixels) -> float:
    """Return the largest difference between levels."""
    assert one.shape == other.shape
    return float(np.abs(one.astype(float) - other).max())


@pytest.mark.parametrize(("depth", "row", "expected"), [
    (1, 0b01000000, [0, 255]), (2, 0b01100000, [85, 170]), (4, 0x3A, [51, 170]), (8, None, [7, 200]),
])  # fmt: skip
def test_gray_of_few_bits_is_stretched_and_its_transparent_level_found(
    depth: int, row: int | None, expected: list[int]
) -> None:
    row_bytes = bytes([0, 7, 200]) if row is None else bytes([0, row])
    second = {1: 1, 2: 2, 4: 10, 8: 200}[depth]  # the raw sample of the second pixel
    assert read(png(2, 1, depth, 0, row_bytes)).tolist() == [[[expected[0]], [expected[1]]]]
    transparent = read(png(2, 1, depth, 0, row_bytes, chunk(b"tRNS", struct.pack(">H", second))))
    assert transparent.tolist() == [[[expected[0], 255], [expected[1], 0]]]


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_a_palette_becomes_rgb_and_its_transparency_alpha(depth: int) -> None:
    colors = [10, 20, 30, 40, 50, 60]
    row = {1: 0b01000000, 2: 0b00010000, 4: 0x01, 8: 0}[depth]
    rows = bytes([0, row, 1][: 2 + (depth == 8)])
    palette = chunk(b"PLTE", bytes(colors))
    assert read(png(2, 1, depth, 3, rows, palette)).tolist() == [[colors[:3], colors[3:]]]
    half = read(png(2, 1, depth, 3, rows, palette, chunk(b"tRNS", b"\x80")))
    assert half.tolist() == [[[*colors[:3], 128], [*colors[3:], 255]]]


@pytest.mark.parametrize("pixels", [COLORS[:1, :2, :3], DEEP[:1, :2, :3], COLORS[:1, :2, :1], DEEP[:1, :2, :1]])
def test_a_color_declared_transparent_becomes_alpha(pixels: Pixels) -> None:
    white = np.iinfo(pixels.dtype).max
    color = struct.pack(f">{pixels.shape[2]}H", *map(int, pixels[0, 0]))
    result = read(png_of(pixels, chunk(b"tRNS", color)))
    np.testing.assert_array_equal(result[:, :, :-1], pixels)
    assert result[0, :, -1].tolist() == [0, white]


@pytest.mark.parametrize("options", [
    {"quality": 75}, {"quality": 95, "subsampling": 0}, {"quality": 90, "progressive": True},
    {"quality": 90, "restart_marker_rows": 1}, {"quality": 90, "optimize": True},
])  # fmt: skip
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_jpeg_is_read_as_pillow_reads_it(mode: str, options: dict[str, int]) -> None:
    data = saved(COLORS[:, :, :3], "JPEG", mode, **options)
    expected = np.asarray(opened(data))
    assert difference(read(data), expected.reshape(24, 32, -1)) <= 1


def test_cmyk_jpeg_is_converted_by_its_profile_and_without_one_by_a_common_one() -> None:
    image = Image.frombytes("CMYK", (32, 24), smooth(24, 32, 4).tobytes())
    for profile in (None, cmyk_profile()):
        file = BytesIO()
        image.save(file, "JPEG", quality=95, icc_profile=profile)  # with inverted levels, as Adobe does
        expected = converted(opened(file.getvalue()), ImageCms.ImageCmsProfile(BytesIO(cmyk_profile())))
        assert difference(read(file.getvalue()), expected) <= 1
        with open_picture(file.getvalue(), "it", 10**9) as reader:
            assert reader.metadata.icc is None


def test_a_profile_that_is_none_for_cmyk_is_left_out_and_that_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    image = Image.frombytes("CMYK", (32, 24), smooth(24, 32, 4).tobytes())
    good, for_rgb = cmyk_profile(), ImageCms.ImageCmsProfile(SRGB).tobytes()
    results = []
    for profile in (good, for_rgb, b"x" * 200, good[:5000], good[:200] + bytes(len(good) - 200)):
        file = BytesIO()
        image.save(file, "JPEG", quality=95, icc_profile=profile)
        results.append(read(file.getvalue()))
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["it: its colour profile is damaged or for other colours, and was left out"] * 4


def test_ycck_is_cmyk_turned_into_luma_and_chroma() -> None:
    file = BytesIO()
    Image.frombytes("CMYK", (32, 24), smooth(24, 32, 4).tobytes()).save(file, "JPEG", quality=95)
    cmyk = file.getvalue()
    ycck = changed(cmyk, [cmyk.index(b"Adobe") + 11], [2])  # the same data, said to be of the other kind
    expected = converted(opened(ycck), ImageCms.ImageCmsProfile(BytesIO(cmyk_profile())))
    assert difference(read(ycck), expected) <= 1
    assert difference(read(ycck), read(cmyk)) > 20


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("alpha", [False, True])
def test_cmyk_tiff_becomes_rgb_of_as_many_bits_and_keeps_alpha(bits: int, alpha: bool) -> None:
    inks, covers = noise(24, 32, 4), noise(24, 32, 1, seed=1)
    image = Image.frombytes("CMYK", (32, 24), inks.tobytes())
    expected = converted(image, ImageCms.ImageCmsProfile(BytesIO(cmyk_profile()))).astype(float)
    pixels = np.dstack([inks, covers]) if alpha else inks
    pixels = pixels.astype(np.uint16) * 257 if bits == 16 else pixels
    extra = {"extrasamples": ["unassalpha"]} if alpha else {}
    result = read(tiff(pixels, photometric="separated", **extra))
    white = np.iinfo(result.dtype).max
    assert white == (1 << bits) - 1
    assert difference(result[:, :, :3] * (255 / white), expected) <= 1
    if alpha:
        np.testing.assert_array_equal(result[:, :, 3:], pixels[:, :, 4:])


def lab_to_srgb(light: Pixels, chroma: Pixels) -> Pixels:
    """Return sRGB, 0 to 1 where a screen can show it, by the formulas of CIE and IEC and Bradford's matrix."""
    middle = (light + 16) / 116
    scaled = np.stack([middle + chroma[:, :, 0] / 500, middle, middle - chroma[:, :, 1] / 200], 2)
    xyz = np.where(scaled > 6 / 29, scaled**3, 3 * (6 / 29) ** 2 * (scaled - 4 / 29)) * [0.96422, 1, 0.82521]  # of D50
    rows = [3.1338561, -1.6168667, -0.4906146], [-0.9787684, 1.9161415, 0.0334540], [0.0719453, -0.2289914, 1.4052427]
    linear = xyz @ np.array(rows).T
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clip(0) ** (1 / 2.4) - 0.055)


def test_lab_becomes_srgb_of_as_many_bits() -> None:
    light, chroma = noise(24, 32, 1), np.random.default_rng(1).integers(-40, 40, (24, 32, 2))
    small = np.dstack([light, chroma.astype(np.int8).view(np.uint8)])
    large = np.dstack([light.astype(np.uint16) * 257, (chroma * 256).astype(np.int16).view(np.uint16)])
    expected = lab_to_srgb(light[:, :, 0] / 2.55, chroma)
    inside = ((expected >= 0) & (expected <= 1)).all(2)
    assert inside.mean() > 0.5
    for values, white in ((small, 255), (large, 65535)):
        pixels = read(tiff(values, photometric="cielab"))
        assert np.iinfo(pixels.dtype).max == white
        assert difference(pixels[inside] / white, expected[inside]) < 0.6 / 255


@pytest.mark.parametrize("bits", [8, 10, 12])
@pytest.mark.parametrize("channels", [3, 4])
def test_avif_of_more_than_8_bits_fills_16(bits: int, channels: int) -> None:
    levels = noise(24, 32, channels, bits=16) >> (16 - bits)
    form = {8: levels.astype(np.uint8), 10: levels << 6, 12: levels << 4}[bits].astype("u1" if bits == 8 else "u2")
    data = vips(form, ".avif", "srgb" if bits == 8 else "rgb16", compression="av1", lossless=True, bitdepth=bits, effort=0)
    white = 255 if bits == 8 else 65535
    expected = np.floor(levels * (white / ((1 << bits) - 1)) + 0.5)
    result = read(data)
    np.testing.assert_array_equal(result, expected)
    assert np.iinfo(result.dtype).max == white


def test_gray_avif_stays_gray() -> None:
    light = smooth(24, 32, 1)
    data = saved(light, "AVIF", quality=100, subsampling="4:0:0")
    assert difference(read(data), light) <= 2
    covered = saved(np.dstack([light, light[::-1]]), "AVIF", quality=100, subsampling="4:0:0")
    assert difference(read(covered), np.dstack([light, light[::-1]])) <= 2
    assert read(saved(smooth(24, 32), "AVIF")).shape == (24, 32, 3)


def test_avif_whose_colors_are_multiplied_by_alpha_is_divided() -> None:
    pixels = np.dstack([np.full((16, 40, 3), 200), np.tile(np.linspace(60, 255, 40), (16, 1))]).astype(np.uint8)
    plain, multiplied = (
        read(saved(pixels, "AVIF", quality=100, subsampling="4:4:4", alpha_premultiplied=how)) for how in (False, True)
    )
    assert difference(plain, pixels) <= 2
    assert difference(multiplied, pixels) <= 5


def test_an_avif_sequence_gives_its_still_picture_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    first, second = (Image.fromarray(smooth(24, 32)[::step]) for step in (1, -1))
    file = BytesIO()
    first.save(file, "AVIF", save_all=True, append_images=[second], quality=100, subsampling="4:4:4")
    result, said = frames(file.getvalue())
    assert difference(result[0], smooth(24, 32)) <= 4
    assert (len(result), said.delays) == (1, ())
    assert capsys.readouterr().err == "it is an animated AVIF picture: only its still image is taken\n"


@pytest.mark.parametrize("lossless", [False, True])
def test_webp_and_gif_are_read_as_pillow_reads_them(lossless: bool) -> None:
    for mode in ("RGB", "RGBA"):
        data = saved(COLORS[:, :, : len(mode)], "WEBP", lossless=lossless, exact=True)
        assert difference(read(data), np.asarray(opened(data))) <= (0 if lossless else 1)
    data = saved(COLORS[:, :, :3], "GIF")
    np.testing.assert_array_equal(read(data), np.asarray(opened(data).convert("RGB")))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
def test_bmp_is_read_as_pillow_reads_it(mode: str) -> None:
    data = saved(COLORS, "BMP", mode, dpi=(300, 150))
    image = opened(data)
    expected = np.asarray(image.convert({"1": "L", "P": "RGB"}.get(image.mode, image.mode)))
    np.testing.assert_array_equal(read(data), expected.reshape(24, 32, -1))
    with open_picture(data, "it", 10**9) as reader:
        assert reader.metadata.dpi == pytest.approx((300, 150), abs=0.1)


@pytest.mark.parametrize("bits", [10, 12])
@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_2000_of_more_than_8_bits_fills_16(bits: int, channels: int) -> None:
    """The decoder adds half of the range, which the header states; so data written as 16 bits can be said to be of fewer."""
    levels = noise(70, 61, channels, bits=16) >> (16 - bits)
    data = jp2(levels + np.uint16((1 << 15) - (1 << bits - 1)))
    size, header = data.index(b"\xff\x4f\xff\x51"), data.index(b"ihdr")
    depths = [size + 42 + 3 * component for component in range(channels)]
    result = read(changed(data, [header + 14, *depths], [bits - 1] * (1 + channels)))
    np.testing.assert_array_equal(result, np.floor(levels * (65535 / ((1 << bits) - 1)) + 0.5))


def test_jpeg_2000_brings_its_profile_and_xmp() -> None:
    icc = ImageCms.ImageCmsProfile(SRGB).tobytes()
    data = jp2(noise(70, 61, 3))
    color = data.index(b"colr") - 4
    end = color + int.from_bytes(data[color : color + 4], "big")
    box = struct.pack(">I4sBBB", 11 + len(icc), b"colr", 2, 0, 0) + icc
    header = data.index(b"jp2h") - 4
    longer = int.from_bytes(data[header : header + 4], "big") + len(box) - (end - color)
    xmp = struct.pack(">I4s", 24 + 6, b"uuid") + bytes.fromhex("be7acfcb97a942e89c71999491e3afac") + b"packet"
    whole = data[:header] + struct.pack(">I", longer) + data[header + 4 : color] + box + data[end:]
    at = header + longer
    with open_picture(whole[:at] + xmp + whole[at:], "it", 10**9) as reader:
        assert (reader.metadata.icc, reader.metadata.xmp) == (icc, b"packet")
        assert next(reader.bands()).shape == (64, 61, 3)


def netpbm(kind: int, white: int, values: Pixels, gap: bytes = b"\n") -> bytes:
    """Return a file with a comment in its header; its values as they are to stand there."""
    height, width = values.shape[:2]
    header = b"P%d # a comment\n%d\t%d" % (kind, width, height) + (b"" if kind in (1, 4) else b"\n%d" % white) + gap
    if kind == 4:
        return header + np.packbits(values, axis=1).tobytes()
    if kind > 3:
        return header + values.astype(">u2" if white > 255 else "u1").tobytes()
    return header + (b"" if kind == 1 else b" ").join(b"%d" % value for value in values.ravel()) + b"\n"


@pytest.mark.parametrize(("kind", "white"), [
    (1, 1), (4, 1), *((kind, white) for kind in (2, 3, 5, 6) for white in (1, 7, 255, 256, 1023, 65535)),
])  # fmt: skip
def test_netpbm_is_stretched_to_white(kind: int, white: int) -> None:
    values = noise(37, 53, *([3] if kind in (3, 6) else []), bits=16).astype(int) % (white + 1)
    most = 255 if white < 256 else 65535
    expected = np.floor(values * (most / white) + 0.5).reshape(37, 53, -1)
    result = read(netpbm(kind, white, values))
    np.testing.assert_array_equal(255 - result if kind in (1, 4) else result, expected)
    assert np.iinfo(result.dtype).max == most


@pytest.mark.parametrize("data", [
    netpbm(5, 7, noise(5, 5) % 8 + 1), netpbm(2, 7, np.full((5, 5), 8)), netpbm(5, 255, noise(5, 5))[:-1],
    netpbm(2, 255, noise(5, 5))[:-9], netpbm(6, 65536, noise(5, 5, 3)), netpbm(5, 0, noise(5, 5)), b"P6\n5 5",
    b"P5\n0 5\n255\n",
    netpbm(2, 255, noise(5, 5)).replace(b" 1", b" x"), netpbm(2, 255, noise(5, 5)).replace(b" 1", b" -1"), b"P1\n2 1\n02\n",
])  # fmt: skip
def test_damaged_netpbm_is_refused(data: bytes) -> None:
    with pytest.raises(InputError, match="it is damaged or cut short"):
        read(data)


def test_frames_that_do_not_cover_their_screen_lie_at_its_upper_left() -> None:
    """libvips goes by the frames where a screen has 640x480 pixels, say, as broken files have that."""
    small = opened(saved(COLORS[:, :, :3], "GIF"))
    data = saved(COLORS[:, :, :3], "GIF")
    screen = read(changed(data, range(6, 10), struct.pack("<HH", 640, 480)), rows=100)
    assert screen.shape == (480, 640, 4)
    np.testing.assert_array_equal(screen[:24, :32, :3], np.asarray(small.convert("RGB")))
    assert (screen[:24, :32, 3] == 255).all()
    assert screen[:, :, 3].sum() == 255 * 24 * 32
