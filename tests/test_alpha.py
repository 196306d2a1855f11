"""Transparency through `gantool upscale`: no fringes, exact where it is flat, and `--background` to be rid of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import Result
from expected import Run, assert_near, larger, levels_apart, save_span, whole
from pictures import Pixels, noise, png_of, saved
from PIL import Image

SIDE = 56
HIDDEN = ("nothing", "black", "white", "garbage")  # is stored where nothing, or hardly anything, is to be seen


def disc(feather: float, color: Pixels, hidden: str, top: int) -> Pixels:
    """Return a disc with a soft edge, whose colour is hidden where its alpha is below a hundredth of full."""
    y, x = np.mgrid[:SIDE, :SIDE]
    alpha = np.clip((18 - np.hypot(x - 27.6, y - 27.6)) / feather + 0.5, 0, 1)[:, :, None]
    garbage = np.random.default_rng(0).integers(0, top + 1, color.shape)
    instead = {"nothing": color, "black": 0 * color, "white": 0 * color + top, "garbage": garbage}[hidden]
    pixels = np.concatenate([np.where(alpha < 0.01, instead, color), np.rint(alpha * top)], 2)
    return pixels.astype(np.uint8 if top == 255 else np.uint16)


def colors(plain: bool, top: int) -> Pixels:
    y, x = np.mgrid[:SIDE, :SIDE]
    waves = np.stack([0.5 + 0.25 * np.sin(x / 4), 0.5 + 0.25 * np.cos(y / 5), 0.5 + 0.2 * np.sin((x + y) / 6)], 2)
    return np.rint(top * (np.full_like(waves, (0.8, 0.24, 0.47)) if plain else waves))


def composed(pixels: Pixels, ground: float) -> Pixels:
    """Return what a viewer shows on a gray ground, in shares of white."""
    shares = pixels / np.iinfo(pixels.dtype).max
    return shares[:, :, :3] * shares[:, :, 3:] + ground * (1 - shares[:, :, 3:])


@pytest.mark.parametrize("feather", [0.01, 1.0, 5.0])
@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize(("model", "top"), [("lanczos", 255), ("lanczos", 65535), ("span", 255)])
def test_a_disc_has_no_fringe_whatever_is_hidden_around_it(
    model: str, top: int, plain: bool, feather: float, tmp_path: Path, run_cli: Run
) -> None:
    color = colors(plain, top)
    for hidden in HIDDEN:
        (tmp_path / f"{hidden}.png").write_bytes(png_of(disc(feather, color, hidden, top)))
    result = run_cli("upscale", tmp_path, "-m", model, "-s", 2, "-o", tmp_path / "out", "-q")
    assert result == Result(0, "", "")
    pictures = [whole(tmp_path / "out" / f"{hidden}.png") for hidden in HIDDEN]
    for ground in (0, 0.5, 1):
        shown = [composed(picture, ground) for picture in pictures]
        for each in shown[1:]:
            assert np.abs(each - shown[0]).max() <= 1.01 / 255
        if plain:
            between = np.sort([np.full(3, ground), color[0, 0] / top], axis=0)
            assert (shown[3] >= between[0] - 1.01 / 255).all()
            assert (shown[3] <= between[1] + 1.01 / 255).all()
    assert (pictures[1][:, :, 3] == 0).any()
    assert (pictures[1][40:70, 40:70, 3] == top).all()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a small SPAN of scale 2 with random weights."""
    return save_span(tmp_path_factory.mktemp("model"))


@pytest.mark.parametrize(("channels", "bits", "scale"), [(2, 8, 1.5), (2, 16, 2), (4, 16, 0.4), (4, 8, 3.3)])
def test_alpha_is_enlarged_like_a_gray_picture_and_colours_like_an_opaque_one(
    channels: int, bits: int, scale: float, model: Path, tmp_path: Path, run_cli: Run
) -> None:
    pixels = noise(45, 37, channels, bits=bits)
    pixels[:, :, -1] = pixels[:, :, -1] // 2 + (1 << bits - 2)  # nowhere clear, opaque or nearly invisible
    for name, part in (("all", pixels), ("color", pixels[:, :, :-1]), ("alpha", pixels[:, :, -1:])):
        (tmp_path / f"{name}.png").write_bytes(png_of(part))
    assert run_cli("upscale", tmp_path, "-m", model, "-s", scale, "-o", tmp_path / "out").status == 0
    color, alpha = whole(tmp_path / "out/color.png"), whole(tmp_path / "out/alpha.png")
    np.testing.assert_array_equal(whole(tmp_path / "out/all.png"), np.dstack([color, alpha]))


@pytest.mark.parametrize("form", ["png", "tiff", "webp", "avif"])
def test_every_format_but_jpeg_keeps_alpha(form: str, tmp_path: Path, run_cli: Run) -> None:
    (tmp_path / "a.png").write_bytes(png_of(disc(5, colors(False, 255), "garbage", 255)))
    result = run_cli("upscale", tmp_path / "a.png", "-m", "bicubic", "-s", 2, "--format", form)
    assert result.err == ""
    with Image.open(result.out.strip()) as image:
        assert (image.format, image.mode) == (form.upper(), "RGBA")
        alpha = np.asarray(image)[:, :, 3:]
    expected = larger(disc(5, colors(False, 255), "nothing", 255)[:, :, 3:], 2)
    assert levels_apart(alpha, expected).max() <= (4 if form == "avif" else 2)  # flat parts are kept flat


# --- background --------------------------------------------------------------------------------------------------------

TRANSPARENT = noise(30, 40, 4)
GRAY_TRANSPARENT = noise(30, 40, 2)


def on(pixels: Pixels, ground: tuple[int, ...]) -> Pixels:
    """Return 8 bits on a colour, rounded."""
    alpha = pixels[:, :, -1:] / 255
    return np.floor(pixels[:, :, :-1] * alpha + np.array(ground) * (1 - alpha) + 0.5).astype(np.uint8)


@pytest.mark.parametrize(("code", "rgb"), [
    ("white", (255, 255, 255)), ("#ffcc00", (255, 204, 0)), ("#fc0", (255, 204, 0)), ("rgb(1,2,3)", (1, 2, 3)),
    ("DarkOrange", (255, 140, 0)), ("black", (0, 0, 0)),
])  # fmt: skip
@pytest.mark.parametrize("form", ["png", "tiff"])
def test_a_transparent_picture_is_put_on_the_background(
    form: str, code: str, rgb: tuple[int, int, int], tmp_path: Path, run_cli: Run
) -> None:
    (tmp_path / "a.png").write_bytes(png_of(TRANSPARENT))
    result = run_cli("upscale", tmp_path / "a.png", "-m", "bicubic", "-s", 2, "--background", code, "--format", form)
    assert result.err == ""
    assert_near(whole(Path(result.out.strip())), larger(on(TRANSPARENT, rgb), 2))


@pytest.mark.parametrize(("code", "rgb", "channels"), [
    ("white", (255, 255, 255), 1), ("gray", (128, 128, 128), 1), ("#101010", (16, 16, 16), 1), ("red", (255, 0, 0), 3),
])  # fmt: skip
def test_gray_on_gray_stays_gray(code: str, rgb: tuple[int, int, int], channels: int, tmp_path: Path, run_cli: Run) -> None:
    (tmp_path / "a.png").write_bytes(png_of(GRAY_TRANSPARENT))
    result = run_cli("upscale", tmp_path / "a.png", "-m", "bicubic", "-s", 2, "--background", code)
    assert_near(whole(Path(result.out.strip())), larger(on(GRAY_TRANSPARENT, rgb[:channels]), 2))


def test_a_background_in_16_bits_is_as_bright_as_in_8(tmp_path: Path, run_cli: Run) -> None:
    (tmp_path / "a.png").write_bytes(png_of(np.zeros((9, 9, 4), np.uint16)))
    result = run_cli("upscale", tmp_path / "a.png", "-m", "bicubic", "-s", 2, "--background", "#ff8001")
    assert (whole(Path(result.out.strip())) == np.array([65535, 128 * 257, 257])).all()


def test_an_opaque_picture_has_no_use_for_a_background(tmp_path: Path, run_cli: Run) -> None:
    (tmp_path / "a.png").write_bytes(png_of(TRANSPARENT[:, :, :1]))
    result = run_cli("upscale", tmp_path / "a.png", "-m", "bicubic", "-s", 2, "--background", "red")
    assert_near(whole(Path(result.out.strip())), larger(TRANSPARENT[:, :, :1], 2))


def test_jpeg_takes_a_transparent_picture_on_a_background_and_refuses_it_without(tmp_path: Path, run_cli: Run) -> None:
    pixels = disc(5, colors(True, 255), "black", 255)
    (tmp_path / "a.png").write_bytes(png_of(pixels))
    command = ("upscale", tmp_path / "a.png", "-m", "bicubic", "-s", 2, "-o", tmp_path / "b.jpg")
    refused = run_cli(*command)
    remedy = "JPEG cannot hold transparency: use --background to fill it with a colour, or --format png"
    assert refused == Result(1, "", f"gantool: {tmp_path / 'a.png'}: {remedy}\n")
    assert run_cli(*command, "--dry-run").status == 1
    assert not (tmp_path / "b.jpg").exists()
    assert run_cli(*command, "--background", "white") == Result(0, f"{tmp_path / 'b.jpg'}\n", "")
    assert levels_apart(whole(tmp_path / "b.jpg"), larger(on(pixels, (255, 255, 255)), 2)).mean() < 2


def test_an_animation_is_put_on_the_background_frame_by_frame(tmp_path: Path, run_cli: Run) -> None:
    frames = [Image.fromarray(disc(0.01, colors(True, 255) * part, "black", 255)) for part in (1, 0.5)]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], duration=50, lossless=True)
    result = run_cli("upscale", tmp_path / "a.webp", "-m", "nearest", "-s", 2, "--background", "#0000ff")
    with Image.open(result.out.strip()) as image:
        for number in range(2):
            image.seek(number)
            assert (image.mode, image.getpixel((0, 0))) == ("RGB", (0, 0, 255))
            assert image.getpixel((55, 55)) == tuple((colors(True, 255)[0, 0] * (1, 0.5)[number]).astype(int))


@pytest.mark.parametrize("code", ["", "nocolor", "#12", "#ffcc0080", "rgb(300,0,0)", "hsl(0,100%,200%)", "white\n"])
def test_a_wrong_colour_is_refused_before_anything(code: str, tmp_path: Path, run_cli: Run) -> None:
    result = run_cli("upscale", tmp_path / "missing.png", "-m", "bicubic", "-o", tmp_path / "out/", "--background", code)
    assert (result.status, result.out) == (2, "")
    shown = code.replace("\n", "\\n")
    assert result.err == f"gantool: --background {shown} is no colour: use a name such as white, or '#ffcc00'\n"
    assert list(tmp_path.iterdir()) == []


def test_a_palette_with_one_transparent_colour_goes_on_a_background(tmp_path: Path, run_cli: Run) -> None:
    image = Image.fromarray(noise(20, 30, 3) // 128 * 200).quantize(8)
    (tmp_path / "a.gif").write_bytes(saved(np.asarray(image.convert("RGB")), "GIF", "P", transparency=0))
    result = run_cli("upscale", tmp_path / "a.gif", "-m", "nearest", "-s", 2, "--background", "white")
    with Image.open(tmp_path / "a.gif") as source:
        pixels = np.asarray(source.convert("RGBA"))
    expected = on(pixels, (255, 255, 255))
    assert 0 < (pixels[:, :, 3] == 0).mean() < 1
    np.testing.assert_array_equal(whole(Path(result.out.strip())), expected.repeat(2, 0).repeat(2, 1))
