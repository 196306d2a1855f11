"""The luma of the super-resolution literature: ITU-R BT.601 in the range 16 to 235, as MATLAB's `rgb2ycbcr` has it."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from gantool.layers.color import WEIGHTS

BAND_PIXELS = 1 << 16  # in float64 at once


def luma(images: Tensor, rounded: bool = False) -> Tensor:
    """Return Y, float64 in [16, 235], (N, 1, H, W), of RGB images (N, 3, H, W) in 0 to 255.

    A gray image (N, 1, H, W) is its own luma and keeps its range.

    Args:
        images: (N, 3|1, H, W).
        rounded: to whole levels, half up, as MATLAB does with 8-bit images.
    """
    y = images.double() if images.shape[1] == 1 else _weighted(images, 1 / 255, 16)
    return (y + 0.5).floor() if rounded else y


def full_range(images: Tensor) -> Tensor:
    """Return Y, unrounded float64 in [0, 255], (N, 1, H, W), of images (N, 3|1, H, W) in 0 to 255: JPEG's luma."""
    return images.double() if images.shape[1] == 1 else _weighted(images, 1 / sum(WEIGHTS), 0)


def to_gray(images: Tensor) -> Tensor:
    """Return the 8-bit gray image (N, 1, H, W), 0 to 255, of images (N, 3|1, H, W) uint8: equal channels keep their value."""
    if images.shape[1] == 1:
        return images
    return _weighted(images, 1 / sum(WEIGHTS), 0.5).floor().to(torch.uint8)


def _weighted(images: Tensor, factor: float, offset: float) -> Tensor:
    """Return the weighted sum of the channels, times a factor, plus an offset, (N, 1, H, W) float64.

    By OpenCV, which wants the channels side by side, as pictures out of files have them: more than ten times as fast as a sum
    over an axis.
    """
    matrix = np.array([[*(weight * factor for weight in WEIGHTS), offset]])
    count, _, height, width = images.shape
    pixels = np.ascontiguousarray(images.permute(0, 2, 3, 1).numpy()).reshape(count * height, width, 3)
    sums = np.empty((count * height, width))
    rows = max(1, BAND_PIXELS // width)
    for top in range(0, len(sums), rows):
        band = slice(top, top + rows)
        cv2.transform(pixels[band].astype(np.float64), matrix, dst=sums[band])
    return torch.from_numpy(sums).view(count, 1, height, width)
