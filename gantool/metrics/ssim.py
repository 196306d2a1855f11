"""Structural similarity (Wang et al., IEEE TIP 2004), with the constants and the window of its authors."""

from __future__ import annotations

import torch
from torch import Tensor

from gantool.errors import InputError

WINDOW = 11  # pixels a side
SIGMA = 1.5  # pixels
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
BAND_PIXELS = 1 << 16  # handled at once, so that the work stays in the processor's cache at any picture size


def ssim(result: Tensor, reference: Tensor) -> float:
    """Return the mean of the SSIM map over all pixels where the window fits, and over the channels, computed in float64.

    Moments are weighted by an 11x11 Gaussian and biased (divided by the sum of the weights), as in the authors' code.

    Args:
        result: (N, C, H, W) in 0 to 255, any type.
        reference: the same shape.

    Raises:
        InputError: a side is shorter than the window.
    """
    height, width = result.shape[2:]
    if min(height, width) < WINDOW:
        raise InputError(f"{width}x{height} pixels are too few for ssim, whose window has {WINDOW}x{WINDOW}: leave it out")
    rows = max(1, BAND_PIXELS // width)
    total = 0.0
    for top in range(0, height - WINDOW + 1, rows):
        band = slice(top, top + rows + WINDOW - 1)
        total += _similarity(result[:, :, band].double(), reference[:, :, band].double()).sum().item()
    return total / (result.shape[0] * result.shape[1] * (height - WINDOW + 1) * (width - WINDOW + 1))


def _similarity(x: Tensor, y: Tensor) -> Tensor:
    """Return the SSIM map (N, C, H - 10, W - 10) of two float64 images (N, C, H, W)."""
    mean_x, mean_y, mean_squares, mean_product = _blur(torch.stack((x, y, x * x + y * y, x * y)))
    products = mean_x * mean_y
    squares = mean_x * mean_x + mean_y * mean_y
    variances = mean_squares - squares  # of x and y together: the formula needs no more
    covariance = mean_product - products
    similarity: Tensor = (2 * products + C1) * (2 * covariance + C2) / ((squares + C1) * (variances + C2))
    return similarity


def _blur(images: Tensor) -> Tensor:
    """Return the Gaussian means over the last two axes, where the window fits.

    Sums of shifted copies, the two taps of equal weight at once: some ten times faster than convolution in float64.
    """
    offsets = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    taps = torch.exp(-(offsets**2) / (2 * SIGMA**2))
    weights: list[float] = (taps / taps.sum()).tolist()
    for axis in (-2, -1):
        length = images.shape[axis] - WINDOW + 1
        mean = images.narrow(axis, WINDOW // 2, length) * weights[WINDOW // 2]
        for k in range(WINDOW // 2):
            mean.add_(images.narrow(axis, k, length) + images.narrow(axis, WINDOW - 1 - k, length), alpha=weights[k])
        images = mean
    return images
