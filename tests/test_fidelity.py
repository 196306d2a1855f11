"""Depth and colours through `gantool upscale`: 16 bits stay 16, gray stays gray, and every kind of pixel is what it shows."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import pyvips
from conftest import Result
from expected import Run, assert_near, assert_precise, larger, levels_apart, network, save_span, through, whole
from pictures import Pixels, chunk, jp2, noise, png, png_of, saved, smooth, tiff, vips
from PIL import Image, ImageCms

from gantool.images import FORMATS


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a small SPAN of scale 2 with random weights."""
    return save_span(tmp_path_factory.mktemp("model"))


@pytest.fixture
def enlarge(tmp_path: Path, run_cli: Run) -> Callable[..., Path]:
    """Give a file to the command, and return its only output, of which it said nothing on standard error."""

    def run(data: bytes, name: str, *options: object, model: object = "bicubic", scale: float = 2) -> Path:
        source, folder = tmp_path / name, tmp_path / "out"
        source.write_bytes(data)
        result = run_cli("upscale", source, "-m", model, "-s", scale, "-o", f"{folder}/", *options)
        (made,) = folder.iterdir()
        assert result == Result(0, f"{made}\n", "")
        return made

    return run


def pnm(pixels: Pixels) -> bytes:
    height, width, channels = pixels.shape
    head = b"P%d %d %d %d\n" % (5 if channels == 1 else 6, width, height, np.iinfo(pixels.dtype).max)
    return head + pixels.astype(pixels.dtype.newbyteorder(">")).tobytes()


def plain_tiff(pixels: Pixels) -> bytes:
    extra = {"extrasamples": ["unassalpha"]} if pixels.shape[2] in (2, 4) else {}
    return tiff(pixels.squeeze(), photometric="minisblack" if pixels.shape[2] < 3 else "rgb", planarconfig="contig", **extra)


# --- depth -------------------------------------------------------------------------------------------------------------

DEEP = noise(33, 41, 4, bits=16)
DEEP[:, :, 3] |= 0x8000  # so that no colour counts as hidden


def deep(channels: int) -> Pixels:
    return DEEP[:, :, [[0], [0, 3], [0, 1, 2], [0, 1, 2, 3]][channels - 1]]


@pytest.mark.parametrize(("form", "channels"), [
    *(("png", n) for n in (1, 2, 3, 4)), *(("tif", n) for n in (1, 2, 3, 4)), ("ppm", 1), ("ppm", 3), ("jp2", 1), ("jp2", 3),
])  # fmt: skip
def test_16_bits_stay_16_to_the_last_bit(form: str, channels: int, enlarge: Callable[..., Path]) -> None:
    make = {"png": png_of, "tif": plain_tiff, "ppm": pnm, "jp2": jp2}[form]
    result = enlarge(make(deep(channels)), f"a.{form}")
    assert result.name == ("a.tif" if form == "tif" else "a.png")
    assert_near(whole(result), larger(deep(channels), 2))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_network_sees_16_bits_and_gives_16(channels: int, model: Path, enlarge: Callable[..., Path]) -> None:
    expected = through(network(model), deep(channels))
    assert len(np.unique(expected)) > 500
    assert_precise(whole(enlarge(png_of(deep(channels)), "a.png", "--device", "cpu", model=model)), expected)


def test_a_scale_between_is_reached_in_16_bits(enlarge: Callable[..., Path]) -> None:
    ramp = np.linspace(1000, 1300, 40 * 60).astype(np.uint16).reshape(40, 60, 1)  # two levels of 8 bits
    result = whole(enlarge(png_of(ramp), "a.png", scale=1.5))
    assert result.shape == (60, 90, 1)
    inside = result[5:-5, 5:-5, 0].astype(int)
    assert len(np.unique(inside)) > 200
    assert np.abs(np.diff(inside, axis=1)).max() <= 1


@pytest.mark.parametrize("form", ["png", "tif", "ppm"])
def test_the_type_decides_the_depth_and_never_the_values(form: str, enlarge: Callable[..., Path]) -> None:
    make = {"png": png_of, "tif": plain_tiff, "ppm": pnm}[form]
    dark = noise(20, 30, 3).astype(np.uint16)  # 0 to 255 of 65535
    result = whole(enlarge(make(dark), f"a.{form}"))
    assert_near(result, larger(dark, 2))
    assert result.max() < 400


@pytest.mark.parametrize("form", ["jpeg", "webp", "avif"])
def test_16_bits_become_8_where_a_format_has_no_more_and_that_is_said_once(form: str, tmp_path: Path, run_cli: Run) -> None:
    waves = smooth(40, 50).astype(np.uint16) * 257
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(png_of(waves))
    result = run_cli("upscale", tmp_path / "a.png", "-m", "bicubic", "-s", 2, "--format", form)
    warning = f"{tmp_path / 'a.png'}: 16 bits a channel become 8, as {form} has no more: use --format png or tiff\n"
    assert (result.status, result.err) == (0, warning)
    made = Path(result.out.strip())
    expected = np.floor(larger(waves, 2) / 257 + 0.5).astype(np.uint8)
    assert levels_apart(whole(made), expected).mean() < 2
    told = run_cli("upscale", tmp_path / "b.png", "-m", "bicubic", "-s", 2, "--format", form, "--bit-depth", 8)
    assert (told.status, told.err) == (0, "")


def test_bit_depth_16_makes_16_of_8_before_the_work_and_8_rounds_after_it(enlarge: Callable[..., Path]) -> None:
    pixels = noise(20, 30, 3)
    spread = pixels.astype(np.uint16) * 257
    made = enlarge(saved(pixels, "PNG"), "a.png", "--bit-depth", 16)
    assert_near(whole(made), larger(spread, 2))
    made.unlink()
    made = enlarge(png_of(deep(3)), "a.png", "--bit-depth", 8)
    assert_near(whole(made), np.floor(larger(deep(3), 2) / 257 + 0.5).astype(np.uint8))
    made.unlink()
    assert whole(enlarge(saved(pixels, "PNG"), "a.png", "--bit-depth", "auto")).dtype == np.uint8


@pytest.mark.parametrize("options", [("--format", "jpeg"), ("-o", "b.webp"), ("-o", "b.avif")])
def test_16_bits_are_not_promised_where_a_format_has_8(options: tuple[str, str], tmp_path: Path, run_cli: Run) -> None:
    (tmp_path / "a.png").write_bytes(saved(noise(9, 9, 3), "PNG"))
    where = [str(tmp_path / part) if part.startswith("b.") else part for part in options]
    result = run_cli("upscale", tmp_path / "a.png", "-m", "bicubic", "--bit-depth", 16, *where)
    assert result.status == 2
    assert "has 8 bits a channel: use --format png or tiff for --bit-depth 16" in result.err
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


# --- colours -----------------------------------------------------------------------------------------------------------


GRAY = smooth(35, 48, 1)
GRAY_FILES = {
    "a.png": saved(GRAY, "PNG"),
    "a.jpg": saved(GRAY, "JPEG", quality=100),
    "a.tif": plain_tiff(GRAY),
    "a.pgm": pnm(GRAY),
    "a.bmp": saved(GRAY, "BMP"),
    "a.jp2": jp2(GRAY),
    "a.avif": saved(GRAY, "AVIF", quality=100),
}


@pytest.mark.parametrize("name", GRAY_FILES)
def test_gray_stays_gray_whatever_file_it_comes_from(name: str, enlarge: Callable[..., Path]) -> None:
    result = whole(enlarge(GRAY_FILES[name], name))
    assert result.shape == (70, 96, 1)
    assert levels_apart(result, larger(GRAY, 2)).max() <= (3 if name in ("a.jpg", "a.avif") else 1)


@pytest.mark.parametrize("suffix", sorted({suffix: form for suffix, form in FORMATS.items() if form != "webp"}))
def test_gray_stays_gray_in_every_format_that_has_it(suffix: str, tmp_path: Path, run_cli: Run) -> None:
    (tmp_path / "a.png").write_bytes(saved(GRAY, "PNG"))
    made = tmp_path / f"b{suffix}"
    assert run_cli("upscale", tmp_path / "a.png", "-m", "bicubic", "-s", 2, "-o", made).status == 0
    with Image.open(made) as image:
        assert image.mode == "L"
        assert levels_apart(np.asarray(image)[:, :, None], larger(GRAY, 2)).max() <= 8


def test_webp_which_has_no_gray_shows_gray(tmp_path: Path, run_cli: Run) -> None:
    (tmp_path / "a.png").write_bytes(saved(GRAY, "PNG"))
    assert run_cli("upscale", tmp_path / "a.png", "-m", "bicubic", "-s", 2, "-o", tmp_path / "b.webp").status == 0
    result = whole(tmp_path / "b.webp")
    assert levels_apart(result, np.repeat(larger(GRAY, 2), 3, axis=2)).max() <= 8
    assert np.ptp(result.astype(int), axis=2).max() <= 1


def test_a_palette_is_enlarged_as_the_colours_it_stands_for(enlarge: Callable[..., Path]) -> None:
    pixels = noise(20, 30, 3) // 128 * 200
    image = Image.fromarray(pixels).quantize(8)
    data = BytesIO()
    image.save(data, "PNG")
    result = whole(enlarge(data.getvalue(), "a.png"))
    assert_near(result, larger(np.asarray(image.convert("RGB")), 2))
    assert len(np.unique(result.reshape(-1, 3), axis=0)) > 8


def test_a_palette_with_transparency_keeps_it(enlarge: Callable[..., Path]) -> None:
    palette, transparency = chunk(b"PLTE", bytes([250, 10, 10, 250, 10, 10])), chunk(b"tRNS", b"\x20")
    rows = b"".join(b"\0" + bytes([0xFF, 0x0F, 0x0F]) for _ in range(20))  # 24 pixels of one bit
    result = whole(enlarge(png(24, 20, 1, 3, rows, palette, transparency), "a.png", model="nearest"))
    alpha = np.repeat(np.unpackbits(np.array([0xFF, 0x0F, 0x0F], np.uint8)), 2) * (255 - 32) + 32
    assert result.shape == (40, 48, 4)
    assert (result[:, :, 3] == alpha).all()
    assert (result[:, :, :3] == [250, 10, 10]).all()


def test_one_bit_becomes_gray_with_soft_edges(enlarge: Callable[..., Path]) -> None:
    bits = noise(20, 30).astype(np.uint8) // 128 * 255
    data = BytesIO()
    Image.fromarray(bits).convert("1", dither=Image.Dither.NONE).save(data, "PNG")
    result = whole(enlarge(data.getvalue(), "a.png"))
    assert_near(result, larger(bits[:, :, None], 2))
    assert len(np.unique(result)) > 10


def cmyk_profile() -> bytes:
    """libvips has one built in."""
    return bytes(pyvips.Operation.call("profile_load", "cmyk"))


def test_cmyk_goes_through_its_profile_which_is_not_kept(enlarge: Callable[..., Path]) -> None:
    image = Image.frombytes("CMYK", (40, 30), smooth(30, 40, 4).tobytes())
    data = BytesIO()
    image.save(data, "JPEG", quality=100, subsampling=0, icc_profile=cmyk_profile())
    rgb = ImageCms.profileToProfile(
        Image.open(BytesIO(data.getvalue())),
        ImageCms.ImageCmsProfile(BytesIO(cmyk_profile())),
        ImageCms.createProfile("sRGB"),
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        "RGB",
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    assert rgb is not None
    made = enlarge(data.getvalue(), "a.jpg")
    assert levels_apart(whole(made), larger(np.asarray(rgb), 2)).max() <= 2
    with Image.open(made) as result:
        assert "icc_profile" not in result.info


def test_floating_point_becomes_16_bits_of_which_1_is_white(enlarge: Callable[..., Path]) -> None:
    values = np.linspace(0, 1, 20 * 30 * 3).reshape(20, 30, 3).astype(np.float32)
    made = enlarge(tiff(values, photometric="rgb"), "a.tif")
    expected = larger(np.floor(values.astype(np.float64) * 65535 + 0.5).astype(np.uint16), 2)
    assert levels_apart(whole(made), expected).max() <= 2


@pytest.mark.parametrize("interlace", [False, True])
def test_however_rows_are_stored_the_pixels_are_the_same(interlace: bool, enlarge: Callable[..., Path]) -> None:
    pixels = noise(40, 30, 3)
    assert_near(whole(enlarge(vips(pixels, ".png", interlace=interlace), "a.png")), larger(pixels, 2))
