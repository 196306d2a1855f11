"""Transparency: no fringe comes from what is hidden, what is flat stays flat, and bands do not show."""

from __future__ import annotations

import tracemalloc
from typing import Literal

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from gantool.bands import Band, Bands
from gantool.transparency import REACH, bleed, keep_flat, level

Depth = type[np.uint8 | np.uint16]
Values = NDArray[np.float64]


def random(height: int, width: int, channels: int = 4, dtype: Depth = np.uint8) -> Band:
    generator = np.random.default_rng(1000 * height + width)
    return generator.integers(0, np.iinfo(dtype).max, (height, width, channels), dtype, endpoint=True)


def cut(pixels: Band, height: int) -> Bands:
    """Bands that nobody may change."""
    for row in range(0, len(pixels), height):
        band = pixels[row : row + height].view()
        band.flags.writeable = False
        yield band


def bled(pixels: Band, height: int = 16) -> Band:
    result = np.concatenate(list(bleed(cut(pixels, height))))
    assert (result.dtype, result.shape) == (pixels.dtype, (*pixels.shape[:2], pixels.shape[2] - 1))
    return result


# --- one level throughout ----------------------------------------------------------------------------------------------


def test_the_level_of_a_flat_alpha_is_found() -> None:
    for flat in (0, 1, 100, 255):
        pixels = random(20, 10)
        pixels[:, :, 3] = flat
        assert level(cut(pixels, 3)) == flat
        assert level(cut(pixels[:, :, 3:], 7)) == flat
    assert level(cut(np.full((9, 9, 2), 65535, np.uint16), 4)) == 65535


@pytest.mark.parametrize("place", [(0, 0), (3, 9), (19, 9)])
def test_a_single_pixel_makes_alpha_differ(place: tuple[int, int]) -> None:
    pixels = np.full((20, 10, 4), 255, np.uint8)
    pixels[(*place, 3)] = 254
    assert level(cut(pixels, 3)) is None


def test_alpha_is_not_read_on_when_it_differs() -> None:
    bands = cut(random(20, 10), 5)
    assert level(bands) is None
    assert len(list(bands)) == 3


# --- colours under what is invisible -----------------------------------------------------------------------------------


def expected(pixels: Band, y: int, x: int) -> Values:
    """The colour of one pixel as `bleed` describes it, the sums taken one by one."""
    full = int(np.iinfo(pixels.dtype).max)
    own, alpha = pixels[y, x, :-1].astype(np.float64), int(pixels[y, x, -1])
    mean, missing = np.zeros_like(own), 1.0
    for radius in (1, 2, 4, 8, 16, 32, 64):
        square = pixels[max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1].astype(np.float64)
        weights = square[:, :, -1]
        if weights.any():
            share = missing * (1 if radius == 64 else min(1.0, weights.sum() / full))
            mean += share * (square[:, :, :-1] * weights[:, :, None]).sum((0, 1)) / weights.sum()
            missing -= share
    mean += missing * own
    trust = min(1.0, 8 * alpha / full) ** 3
    return trust * own + (1 - trust) * mean


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("density", [0.0005, 0.05, 0.5])
def test_every_pixel_has_the_color_that_is_described(dtype: Depth, channels: int, density: float) -> None:
    pixels = random(140, 100, channels, dtype)
    visible = np.random.default_rng(0).random((140, 100)) < density
    pixels[:, :, -1] = np.where(visible, pixels[:, :, -1] >> np.uint8(4 * (channels == 2)), 0)  # faint ones in gray
    result = bled(pixels)
    for y, x in np.random.default_rng(1).integers(0, (140, 100), (300, 2)):
        assert np.abs(result[y, x] - expected(pixels, y, x)).max() < 0.5 + 1e-6


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_bands_do_not_show(dtype: Depth) -> None:
    pixels = random(330, 700, dtype=dtype)
    pixels[:, :, 3][np.random.default_rng(0).random((330, 700)) < 0.999] = 0
    whole = bled(pixels, 330)
    for height in (1, 50, 128):
        assert np.array_equal(bled(pixels, height), whole)
    for top, left in ((1, 0), (77, 0), (0, 3), (0, 150)):  # other bands and columns are computed at once
        part = bled(np.ascontiguousarray(pixels[top:, left:]))
        inner = np.s_[REACH if top else 0 :, REACH if left else 0 :]
        assert np.array_equal(part[inner], whole[top:, left:][inner])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_what_is_visible_and_what_has_nothing_visible_near_stays(dtype: Depth) -> None:
    pixels, full = random(300, 310, dtype=dtype), int(np.iinfo(dtype).max)
    pixels[:, :, 3] = 0
    pixels[150, 150] = full // 2
    pixels[10:40, 20:60, 3] = np.maximum(pixels[10:40, 20:60, 3], full // 8 + 1)
    result = bled(pixels)
    changed = (result != pixels[:, :, :3]).any(2)
    assert not changed[pixels[:, :, 3] > 0].any()
    near = cv2.dilate((pixels[:, :, 3] > 0).astype(np.uint8), np.ones((129, 129), np.uint8)) > 0
    assert not changed[~near].any()
    assert changed[near & (pixels[:, :, 3] == 0)].mean() > 0.99
    for flat in (0, full):
        pixels[:, :, 3] = flat
        assert np.array_equal(bled(pixels), pixels[:, :, :3])


def test_one_color_all_over_is_met_exactly() -> None:
    pixels = random(150, 90)
    pixels[np.random.default_rng(0).random((150, 90)) < 0.97, 3] = 0
    for color in ((10, 200, 30), (255, 255, 255), (1, 0, 254)):
        pixels[:, :, :3] = np.where(pixels[:, :, 3:] > 0, np.array(color, np.uint8), pixels[:, :, :3])
        near = cv2.dilate(pixels[:, :, 3], np.ones((129, 129), np.uint8)) > 0
        assert (bled(pixels)[near] == color).all()


Hidden = Literal["black", "white", "garbage", "coarse"]


def disc(feather: float, plain: bool, hidden: Hidden, up_to: int) -> tuple[Band, Band]:
    """A coloured disc with a soft edge, and its colours as they are meant to be everywhere.

    Args:
        feather: width of the edge in pixels.
        plain: one colour, else waves of colours.
        hidden: what is stored instead of the colour under alpha up to a level.
        up_to: the level; "coarse" is what is left of a colour that was stored multiplied by alpha.
    """
    y, x = np.mgrid[:96, :96]
    alpha = np.rint(np.clip((32 - np.hypot(x - 47.7, y - 47.7)) / feather + 0.5, 0, 1) * 255)[:, :, None]
    waves = np.stack([128 + 60 * np.sin(x / 4), 128 + 60 * np.cos(y / 5), 128 + 50 * np.sin((x + y) / 6)], 2)
    color = np.full((96, 96, 3), (200.0, 60.0, 120.0)) if plain else np.rint(waves)
    stored = {
        "black": np.zeros_like(color),
        "white": np.full_like(color, 255),
        "garbage": np.random.default_rng(0).integers(0, 256, color.shape).astype(np.float64),
        "coarse": np.rint(np.rint(color * alpha / 255) * 255 / np.maximum(alpha, 1)).clip(0, 255),
    }[hidden]
    pixels = np.concatenate([np.where(alpha <= up_to, stored, color), alpha], 2)
    return pixels.astype(np.uint8), color.astype(np.uint8)


def enlarged(plane: Band) -> Values:
    return np.asarray(cv2.resize(plane.astype(np.float64), None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)).clip(0, 255)


def fringe(color: Band, ideal: Band, alpha: Band) -> float:
    """The most levels by which the enlarged disc differs from the ideal one, on any ground: on black, gray and white alike."""
    opacity = enlarged(alpha)[:, :, None] / 255
    most = 0.0
    for ground in (0, 128, 255):
        pictures = [enlarged(each) * opacity + ground * (1 - opacity) for each in (color, ideal)]
        most = max(most, float(np.abs(pictures[0] - pictures[1]).max()))
    return most


@pytest.mark.parametrize("feather", [1.0, 3.0, 12.0])
@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("hidden", ["black", "white", "garbage"])
@pytest.mark.parametrize("up_to", [0, 3, 10])
def test_a_disc_has_no_fringe_of_what_is_hidden(feather: float, plain: bool, hidden: Hidden, up_to: int) -> None:
    pixels, ideal = disc(feather, plain, hidden, up_to)
    assert fringe(bled(pixels), ideal, pixels[:, :, 3]) < 3
    if up_to == 10 or feather < 4:  # without, it has
        assert fringe(pixels[:, :, :3], ideal, pixels[:, :, 3]) > 8


@pytest.mark.parametrize("feather", [1.0, 3.0, 12.0])
def test_colors_that_were_stored_multiplied_by_alpha_leave_no_specks(feather: float) -> None:
    pixels, ideal = disc(feather, False, "coarse", 255)
    assert fringe(bled(pixels), ideal, pixels[:, :, 3]) < 3
    assert np.abs(pixels[:, :, :3].astype(int) - ideal)[pixels[:, :, 3] > 0].max() > 10


def test_a_soft_black_shadow_beside_something_white_stays_black() -> None:
    pixels = np.zeros((60, 60, 4), np.uint8)
    pixels[:, :20] = 255
    pixels[:, 20:, 3] = np.linspace(80, 0, 40).astype(np.uint8)
    result = bled(pixels)
    assert (result[:, :20] == 255).all()
    assert (result[:, 22:].max(2) * (pixels[:, 22:, 3] / 255)).max() <= 1  # of 255 levels, on black


def test_memory_does_not_grow_with_the_height() -> None:
    band = random(50, 40)
    band[:, :, 3] *= np.random.default_rng(0).random((50, 40)) < 0.01

    def peak(count: int) -> int:
        tracemalloc.start()
        for _ in keep_flat((band[:, :, 3:] for _ in range(count)), bleed(band[:, :, 2:] for _ in range(count)), *sizes(count)):
            pass
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    def sizes(count: int) -> tuple[tuple[int, int], tuple[int, int]]:
        return ((50 * count, 40),) * 2

    peak(10)
    assert peak(200) < 1.2 * peak(20)


# --- alpha that is flat ------------------------------------------------------------------------------------------------


def corrected(alpha: Band, larger: Band, heights: tuple[int, int]) -> Band:
    bands = keep_flat(cut(alpha, heights[0]), cut(larger, heights[1]), alpha.shape[:2], larger.shape[:2])
    return np.concatenate(list(bands))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("size", [(76, 92), (57, 69), (19, 23), (40, 31), (10, 7), (19, 46)])
@pytest.mark.parametrize("heights", [(1, 1), (7, 16), (64, 5), (3, 100)])
def test_what_is_flat_all_around_is_exactly_so_enlarged(dtype: Depth, size: tuple[int, int], heights: tuple[int, int]) -> None:
    full = int(np.iinfo(dtype).max)
    alpha = np.zeros((19, 23, 1), dtype)
    alpha[4:16, 5:20] = full
    alpha[10, 14] = full - 1
    larger = random(*size, 1, dtype)
    result = corrected(alpha, larger, heights)
    for y in range(size[0]):
        for x in range(size[1]):
            row, column = (2 * y + 1) * 19 // (2 * size[0]), (2 * x + 1) * 23 // (2 * size[1])
            around = alpha[max(0, row - 2) : row + 3, max(0, column - 2) : column + 3]
            flat = around.min() == around.max() and around.max() in (0, full)
            assert result[y, x] == (around.max() if flat else larger[y, x])


def test_alpha_may_be_a_channel_of_wider_pixels() -> None:
    pixels = np.zeros((20, 30, 4), np.uint8)
    pixels[:, 15:] = 255
    larger = random(40, 60, 1)
    result = corrected(pixels[:, :, 3:], larger, (6, 6))
    assert (result[:, :24] == 0).all()
    assert (result[:, 36:] == 255).all()
    assert np.array_equal(result[:, 26:34], larger[:, 26:34])
