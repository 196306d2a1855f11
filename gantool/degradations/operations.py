"""Single steps of degradations.

Those of the mixtures work on arrays (H, W, 3) float32, RGB, nominally in [0, 1], as OpenCV has images; `add_noise` and
`jpeg`, which are of use alone, take and return tensors (3, H, W) in [0, 1].
"""

from __future__ import annotations

from math import ceil, log2
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gantool.degradations.kernels import Kernel

Plane = NDArray[np.float32]

MCU: Final = 16  # pixels a side of what JPEG with halved chroma codes as one
INTERPOLATIONS: Final = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC)


def in_8_bits(images: Tensor) -> Tensor:
    """Return images in [0, 1] with the levels that 8-bit files have."""
    return (images.clamp(0, 1) * 255).round() / 255


def array(image: Tensor) -> Plane:
    """Return (H, W, C) for (C, H, W), as OpenCV has images."""
    return np.ascontiguousarray(image.permute(1, 2, 0).numpy())


def tensor(image: NDArray[np.generic]) -> Tensor:
    """Return (C, H, W) float32 for (H, W, C)."""
    return torch.from_numpy(np.asarray(image, np.float32)).permute(2, 0, 1).contiguous()


def from_levels(image: Tensor) -> Plane:
    """Return (H, W, 3) in [0, 1] for (3, H, W) uint8."""
    return array(image.float() / 255)


def to_levels(image: Plane) -> Tensor:
    """Return (3, H, W) uint8 for (H, W, 3), rounded and clipped."""
    return torch.from_numpy(_levels(image)).permute(2, 0, 1).contiguous()


def add_noise(image: Tensor, sigma: float, rng: np.random.Generator) -> Tensor:
    """Add Gaussian noise of `sigma` levels of 255, each value's its own; what leaves [0, 1] is kept.

    Args:
        image: (3, H, W) in [0, 1].
        sigma: standard deviation in levels of 255.
        rng: source of the noise.
    """
    noise = rng.standard_normal(tuple(image.shape), np.float32)
    return image + torch.from_numpy(noise) * (sigma / 255)


def jpeg(image: Tensor, quality: int, down: int = 0, right: int = 0) -> Tensor:
    """Return what a JPEG of halved chroma keeps of an image.

    Args:
        image: (3, H, W) in [0, 1]; clipped and rounded to 8 bits first.
        quality: of libjpeg, 1 to 100.
        down: pixels between the image and the upper border of the picture saved; they are mirrored.
        right: likewise from the left border.
    """
    return tensor(_saved(array(in_8_bits(image) * 255).astype(np.uint8), quality, down, right)) / 255


def save_as_jpeg(image: Plane, qualities: tuple[int, int], rng: np.random.Generator) -> Plane:
    """Return what a JPEG of a random quality in a range keeps; the grid of its blocks lies anywhere."""
    quality, (down, right) = int(rng.integers(qualities[0], qualities[1] + 1)), rng.integers(MCU, size=2)
    return _saved(_levels(image), quality, int(down), int(right)).astype(np.float32) / np.float32(255)


def blur(image: Plane, kernel: Kernel) -> Plane:
    """Correlate with a kernel, the image mirrored at its border."""
    return np.asarray(cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT_101), np.float32)


def resize(image: Plane, height: int, width: int, rng: np.random.Generator) -> Plane:
    """Resize by a random one of area, bilinear and bicubic interpolation (the latter two without antialiasing)."""
    interpolation = INTERPOLATIONS[int(rng.integers(len(INTERPOLATIONS)))]
    return np.asarray(cv2.resize(image, (max(1, width), max(1, height)), interpolation=interpolation), np.float32)


def gaussian_noise(image: Plane, sigma: float, gray: bool, rng: np.random.Generator) -> Plane:
    """Add noise of `sigma` levels of 255, the same in all channels if `gray`, and clip."""
    shape = (*image.shape[:2], 1) if gray else image.shape
    return clipped(image + rng.standard_normal(shape, np.float32) * np.float32(sigma / 255))


def poisson_noise(image: Plane, factor: float, gray: bool, rng: np.random.Generator) -> Plane:
    """Add `factor` times the noise of counted light, the luma's in all channels if `gray`, and clip.

    The brightest counts as many as the image has levels, rounded up to a power of two: a flat image counts few and gets noise
    beyond measure, in the reference code too.
    """
    levels = _levels(image)
    if gray:
        levels = np.asarray(cv2.cvtColor(levels, cv2.COLOR_RGB2GRAY), np.uint8)[:, :, None]
    count = 2 ** ceil(log2(np.count_nonzero(np.bincount(levels.ravel()))))
    light = levels / np.float32(255)
    noise = rng.poisson(light * count).astype(np.float32) / np.float32(count) - light
    return clipped(image + noise * np.float32(factor))


def clipped(image: Plane) -> Plane:
    """Return an image within [0, 1]."""
    return np.asarray(image.clip(0, 1), np.float32)


def _levels(image: Plane) -> NDArray[np.uint8]:
    return np.rint(image * 255).clip(0, 255).astype(np.uint8)


def _saved(levels: NDArray[np.uint8], quality: int, down: int, right: int) -> NDArray[np.uint8]:
    """Return (H, W, 3) uint8 after JPEG, as part of a picture that has so many more pixels above and on the left."""
    larger = cv2.copyMakeBorder(np.ascontiguousarray(levels[:, :, ::-1]), down, 0, right, 0, cv2.BORDER_REFLECT_101)
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420]
    _, data = cv2.imencode(".jpg", larger, options)
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None, "what OpenCV encodes it decodes"
    return np.asarray(decoded[down:, right:, ::-1], np.uint8)
