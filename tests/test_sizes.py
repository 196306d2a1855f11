"""How large results are: by a scale, or by sides in pixels; what they are called then; which model does it."""

from __future__ import annotations

import json
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import numpy as np
import pytest
from conftest import Result
from expected import Run, assert_near, levels, planes, whole
from hypothesis import example, given
from hypothesis import strategies as st
from pictures import noise, png_of
from PIL import Image

from gantool.layers.resampling import imresize
from gantool.scales import Target


def picture(folder: Path, height: int = 30, width: int = 40, name: str = "a.png") -> Path:
    path = folder / name
    path.write_bytes(png_of(noise(height, width, 1)))
    return path


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.height, image.width


def rounded(exact: Decimal) -> int:
    return max(1, int(exact.quantize(Decimal(1), ROUND_HALF_UP)))


# --- scale -------------------------------------------------------------------------------------------------------------

SIDES = [*range(1, 12), 13, 17, 45, 50, 101]


@pytest.mark.parametrize("scale", ["0.05", "0.25", "0.7", "1", "1.5", "2.3", "3.5", "7"])
def test_every_size_comes_out_exactly(scale: str, tmp_path: Path, run_cli: Run) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for height, width in zip(SIDES, SIDES[::-1], strict=True):
        picture(folder, height, width, f"{height}x{width}.png")
    assert run_cli("upscale", folder, "-m", "nearest", "-s", scale, "-q", "-o", tmp_path / "out") == Result(0, "", "")
    for height, width in zip(SIDES, SIDES[::-1], strict=True):
        expected = tuple(rounded(Decimal(scale) * side) for side in (height, width))
        assert size_of(tmp_path / "out" / f"{height}x{width}.png") == expected


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.decimals("0.001", 16, places=3))
@example(101, 1, Decimal("3.5"))
@example(25, 45, Decimal("0.58"))  # 14.5, of which 25 * 0.58 in binary falls short
@example(45, 50, Decimal("0.7"))  # 31.5, likewise
@example(1, 1, Decimal("0.001"))
def test_any_size_is_rounded_as_the_decimal_number_says(height: int, width: int, scale: Decimal) -> None:
    expected = rounded(scale * height), rounded(scale * width)
    assert Target(float(scale)).size(height, width, 2) == expected


def test_the_pixels_lie_where_the_scale_says(tmp_path: Path, run_cli: Run) -> None:
    path = picture(tmp_path, 31, 43)
    for scale, size in ((0.55, (17, 24)), (0.3, (9, 13))):
        assert run_cli("upscale", path, "-m", "nearest", "-s", scale).status == 0
        expected = levels(imresize(planes(whole(path)), scale, size), np.dtype(np.uint8))
        result = whole(tmp_path / f"a_x{scale}.png")
        assert np.abs(result.astype(int) - expected).max() <= 1  # rounded after each axis


# --- sides -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("options", "size", "label"), [
    (("--width", 100), (75, 100), "w100"),
    (("--height", 100), (100, 133), "h100"),
    (("--long-side", 100), (75, 100), "long100"),
    (("--short-side", 100), (100, 133), "short100"),
    (("--width", 50, "--height", 90), (90, 50), "50x90"),
    (("--width", 10, "--height", 90), (90, 10), "10x90"),  # one side up, one down
    (("--width", 10), (8, 10), "w10"),  # 7.5
    (("--long-side", 40), (30, 40), "long40"),
    (("--short-side", 1), (1, 1), "short1"),
    (("--width", 1), (1, 1), "w1"),
    (("--height", 480), (480, 640), "h480"),
])  # fmt: skip
def test_sides_may_be_asked_for(
    options: tuple[object, ...], size: tuple[int, int], label: str, tmp_path: Path, run_cli: Run
) -> None:
    result = run_cli("upscale", picture(tmp_path), "-m", "nearest", *options)
    assert result == Result(0, f"{tmp_path / f'a_{label}.png'}\n", "")
    assert size_of(tmp_path / f"a_{label}.png") == size


def test_long_and_short_go_by_each_picture_as_a_viewer_shows_it(tmp_path: Path, run_cli: Run) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    picture(folder, 20, 50, "wide.png")
    picture(folder, 50, 20, "tall.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("L", (50, 20)).save(folder / "turned.png", exif=turned)
    for flag, wide, tall in (("long-side", (40, 100), (100, 40)), ("short-side", (100, 250), (250, 100))):
        assert run_cli("upscale", folder, "-m", "nearest", f"--{flag}", 100, "-q").status == 0
        out = tmp_path / f"in_{flag.partition('-')[0]}100"
        assert size_of(out / "wide.png") == wide
        assert size_of(out / "tall.png") == size_of(out / "turned.png") == tall


def test_both_sides_change_the_proportions_of_what_is_shown(tmp_path: Path, run_cli: Run) -> None:
    pixels = np.zeros((20, 20, 1), np.uint8)
    pixels[:, 10:] = 200
    (tmp_path / "a.png").write_bytes(png_of(pixels))
    assert run_cli("upscale", tmp_path / "a.png", "-m", "bicubic", "--width", 30, "--height", 80).status == 0
    result = whole(tmp_path / "a_30x80.png")
    assert (np.ptp(result, axis=0) == 0).all()
    assert result[0, [0, 12, 17, 29], 0].tolist() == [0, 0, 200, 200]


@pytest.mark.parametrize(("options", "model", "scale"), [
    (("--width", 20), "span-x2", 0.5), (("--width", 41), "span-x2", 1.025), (("--width", 80), "span-x2", 2),
    (("--width", 81), "span-x3", 2.025), (("--height", 90), "span-x3", 3), (("--height", 91), "span-x4", 3.025),
    (("--long-side", 200), "span-x4", 5), (("--short-side", 61), "span-x3", 2.025),
    (("--width", 20, "--height", 100), "span-x4", 0.5), (("-s", 2.5), "span-x3", 2.5), ((), "span-x4", 4),
])  # fmt: skip
def test_the_member_with_the_smallest_scale_that_suffices_is_taken(
    options: tuple[object, ...], model: str, scale: float, tmp_path: Path, run_cli: Run
) -> None:
    result = run_cli("upscale", picture(tmp_path), *options, "--json")
    line = json.loads(result.out)
    assert line["model"] == model
    assert line["scale"] == pytest.approx(scale, abs=0.02)


def test_each_picture_takes_the_member_that_it_needs(tmp_path: Path, run_cli: Run) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for width in (20, 30, 50):
        picture(folder, 10, width, f"{width}.png")
    result = run_cli("upscale", folder, "--width", 60, "--json")
    lines = [json.loads(line) for line in result.out.splitlines()]
    assert [(line["model"], line["scale"], line["width"]) for line in lines] == [
        ("span-x3", 3.0, 60), ("span-x2", 2.0, 60), ("span-x2", 1.2, 60),
    ]  # fmt: skip


def test_a_weightless_model_makes_the_next_whole_scale(tmp_path: Path, run_cli: Run) -> None:
    path = picture(tmp_path, 30, 40)
    line = json.loads(run_cli("upscale", path, "-m", "bicubic", "--width", 260, "--json").out)
    assert (line["model"], line["scale"], line["height"]) == ("bicubic-x7", 6.5, 195)
    (tmp_path / "a_w260.png").unlink()
    line = json.loads(run_cli("upscale", path, "-m", "bicubic-x2", "--width", 120, "--json").out)
    assert (line["model"], line["scale"]) == ("bicubic-x2", 3.0)  # twice through it, and smaller again


def test_a_whole_scale_is_the_models_own_pixels(tmp_path: Path, run_cli: Run) -> None:
    path = picture(tmp_path)
    assert run_cli("upscale", path, "-m", "bicubic", "--width", 120).status == 0
    assert_near(whole(tmp_path / "a_w120.png"), levels(imresize(planes(whole(path)), 3), np.dtype(np.uint8)))


# --- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [
    ("-s", 2, "--width", 9), ("-s", 2, "--height", 9), ("--width", 9, "--long-side", 9), ("--height", 9, "--short-side", 9),
    ("--long-side", 9, "--short-side", 9), ("-s", 2, "--long-side", 9), ("--width", 9, "--height", 9, "--scale", 2),
])  # fmt: skip
def test_ways_to_say_the_size_exclude_one_another(options: tuple[object, ...], tmp_path: Path, run_cli: Run) -> None:
    result = run_cli("upscale", tmp_path / "missing.png", "-m", "bicubic", *options)
    assert (result.status, result.out, result.err.count("\n")) == (2, "", 1)
    assert "exclude one another: give one, or --width and --height" in result.err


@pytest.mark.parametrize("flag", ["--width", "--height", "--long-side", "--short-side"])
@pytest.mark.parametrize("value", ["0", "-3", "1000001"])
def test_sides_that_make_no_sense_are_refused(flag: str, value: str, tmp_path: Path, run_cli: Run) -> None:
    result = run_cli("upscale", tmp_path / "missing.png", "-m", "bicubic", flag, value)
    message = f"gantool: {flag} {value} is not possible: use a number of pixels from 1 to 1000000\n"
    assert result == Result(2, "", message)
    for wrong in ("1.5", "big", ""):
        assert run_cli("upscale", tmp_path / "missing.png", "-m", "bicubic", flag, wrong).status == 2


def test_sides_beyond_the_model_twice_are_that_pictures_error(tmp_path: Path, run_cli: Run) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    picture(folder, 10, 10, "small.png")
    picture(folder, 10, 60, "wide.png")
    result = run_cli("upscale", folder, "-m", "bicubic-x2", "--width", 200)
    assert result.status == 1
    name = f"{folder / 'small.png'}"
    assert f"gantool: {name}: a scale of 20 is too large for bicubic-x2: it reaches 4, going through it twice" in result.err
    assert [path.name for path in (tmp_path / "in_w200").iterdir()] == ["wide.png"]


@pytest.mark.parametrize(("form", "side"), [("jpeg", 65_500), ("webp", 16_383), ("avif", 32_768)])
def test_what_a_format_is_too_small_for_is_refused_before_the_work(form: str, side: int, tmp_path: Path, run_cli: Run) -> None:
    path = picture(tmp_path, 1, 400)
    result = run_cli("upscale", path, "-m", "nearest", "--width", side + 1, "--height", 1, "--format", form)
    name = {"jpeg": "JPEG", "webp": "WebP", "avif": "AVIF"}[form]
    assert result.status == 1
    assert f"{name} ends at {side} pixels a side, not {side + 1}x1: use --format png or tiff" in result.err
    assert list(tmp_path.iterdir()) == [path]
