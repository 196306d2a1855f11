"""Resizing in bands: the same pixels as `imresize` of the whole picture, whatever the bands, in memory for a few rows."""

from __future__ import annotations

import tracemalloc
from math import floor

import numpy as np
import pytest
import torch

from gantool.bands import Band, Bands
from gantool.layers.kernels import HALF
from gantool.layers.resampling import imresize
from gantool.resizing import resize

SCALES = [2.5 / 4, 0.3, 1 / 3, 0.99, 1.0, 1.7, 0.5, 0.75, 2 / 3, 0.02]


def random(height: int, width: int, channels: int = 3, dtype: type[np.uint8 | np.uint16] = np.uint8) -> Band:
    """Pixels of all levels, half of them the extremes, which make the kernel overshoot; nobody may change them."""
    generator = np.random.default_rng(1000 * height + width)
    pixels = generator.integers(0, np.iinfo(dtype).max, (height, width, channels), dtype, endpoint=True)
    extremes = generator.integers(0, 4, pixels.shape)
    pixels[extremes == 0], pixels[extremes == 1] = 0, np.iinfo(dtype).max
    pixels.flags.writeable = False
    return pixels


def smooth(height: int, width: int) -> Band:
    """Slopes, waves and edges, as photos have them."""
    y, x = np.mgrid[:height, :width]
    planes = [128 + 90 * np.sin(x / 9 + y / 23), 255 * x / width, np.where(x + 2 * y > width, 230, 20) + 10 * np.cos(y / 3)]
    return np.stack(planes, 2).round().clip(0, 255).astype(np.uint8)


def side(length: int, scale: float) -> int:
    return max(1, floor(scale * length + 0.5))


def cut(pixels: Band, height: int) -> Bands:
    return (pixels[row : row + height] for row in range(0, len(pixels), height))


def resized(pixels: Band, scale: tuple[float, float], size: tuple[int, int], height: int = 16) -> Band:
    return np.concatenate(list(resize(cut(pixels, height), pixels.shape[:2], size, scale)))


def whole(pixels: Band, scale: tuple[float, float], size: tuple[int, int]) -> Band:
    """The oracle; what has 16 bits goes through it as float64, one axis at a time so that it can be rounded between them."""
    image = torch.from_numpy(pixels.astype(np.float64)).permute(2, 0, 1)[None]
    if pixels.dtype == np.uint8:
        image = imresize(image.to(torch.uint8), scale, size)
    else:
        for axis in (0, 1) if scale[0] <= scale[1] else (1, 0):
            sides = list(image.shape[2:])
            sides[axis] = size[axis]
            image = imresize(image, (scale[0], 1.0) if axis == 0 else (1.0, scale[1]), (sides[0], sides[1]))
            image = (image + HALF).floor().clamp(0, 65535)
    return image[0].permute(1, 2, 0).numpy().astype(pixels.dtype)


def assert_same(pixels: Band, scale: float, height: int = 16) -> None:
    size = side(pixels.shape[0], scale), side(pixels.shape[1], scale)
    result = resized(pixels, (scale, scale), size, height)
    assert result.dtype == pixels.dtype
    assert np.array_equal(result, whole(pixels, (scale, scale), size)), pixels.shape


@pytest.mark.parametrize("scale", SCALES)
def test_every_size_gives_the_pixels_of_the_whole_picture(scale: float) -> None:
    for length in range(1, 71):
        assert_same(random(length, 1 + 37 * length % 70), scale)


@pytest.mark.parametrize("scale", SCALES)
def test_larger_pictures_give_the_pixels_of_the_whole_picture(scale: float) -> None:
    assert_same(random(301, 203), scale)
    assert_same(smooth(203, 301), scale)


@pytest.mark.parametrize("scale", SCALES)
def test_sixteen_bits_stay_sixteen(scale: float) -> None:
    for height, width in ((1, 1), (5, 70), (64, 33), (150, 90)):
        assert_same(random(height, width, dtype=np.uint16), scale)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("scale", [0.625, 1.7])
def test_any_number_of_channels_and_any_layout(channels: int, scale: float) -> None:
    assert_same(random(50, 40, channels), scale)
    assert_same(random(50, 40, channels + 1)[:, :, :-1], scale)
    assert_same(random(50, 40, channels)[:, ::-1], scale)


@pytest.mark.parametrize("height", [1, 2, 7, 64, 1000])
@pytest.mark.parametrize("scale", [0.625, 0.02, 1.7])
def test_the_height_of_bands_does_not_matter(height: int, scale: float) -> None:
    assert_same(random(200, 30), scale, height)


@pytest.mark.parametrize("scale", [(0.5, 0.3), (0.3, 0.5), (1.0, 0.4), (0.4, 1.0), (1.3, 0.7), (0.7, 1.3)])
def test_the_axes_may_differ_and_the_one_that_shrinks_more_goes_first(scale: tuple[float, float]) -> None:
    for dtype in (np.uint8, np.uint16):
        pixels = random(90, 70, dtype=dtype)
        size = side(90, scale[0]), side(70, scale[1])
        assert np.array_equal(resized(pixels, scale, size), whole(pixels, scale, size))


def test_a_size_that_is_asked_for_is_given() -> None:
    pixels = random(101, 77)
    for size in ((50, 38), (51, 39), (63, 48)):
        scale = size[0] / 101, size[1] / 77
        assert np.array_equal(resized(pixels, scale, size), whole(pixels, scale, size))


def test_what_keeps_its_size_is_passed_on_as_it_is() -> None:
    pixels = list(cut(random(20, 10), 6))
    result = list(resize(iter(pixels), (20, 10), (20, 10), (1.0, 1.0)))
    assert all(band is other for band, other in zip(result, pixels, strict=True))


def test_memory_does_not_grow_with_the_height() -> None:
    def peak(height: int) -> int:
        band = random(50, 40)
        tracemalloc.start()
        for _ in resize((band for _ in range(height // 50)), (height, 40), (side(height, 0.6), 24), (0.6, 0.6)):
            pass
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(500)
    assert peak(50_000) < 1.5 * peak(2500)


def test_an_error_at_the_end_of_the_picture_is_not_missed() -> None:
    def damaged() -> Bands:
        yield from cut(random(40, 10), 8)
        raise ValueError("checksum")

    for scale in ((0.5, 0.5), (0.5, 1.0), (1.0, 0.5), (1.0, 1.0)):
        with pytest.raises(ValueError, match="checksum"):
            list(resize(damaged(), (40, 10), (side(40, scale[0]), side(10, scale[1])), scale))
