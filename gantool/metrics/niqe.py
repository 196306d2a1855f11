"""NIQE: whether a picture has the statistics of sharp photos (Mittal, Soundararajan and Bovik, IEEE SPL 2013).

Written by hand; checked against the number that the authors' program in MATLAB gives for `baboon` of Set14, 5.72957338.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gantool.errors import InputError
from gantool.layers.resampling import imresize
from gantool.metrics.luma import luma

Pixels: TypeAlias = npt.NDArray[np.float64]

FEATURES = 36  # of a block
BLOCK = 96  # pixels a side, of what the statistics are taken of
NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))
SHAPES = 0.2 + torch.arange(9801, dtype=torch.float64) / 1000  # among which the one of a distribution is sought


@dataclass(frozen=True)
class Pristine:
    """What NIQE compares with: mean (36) and covariance (36, 36) of sharp photos' features, and the window (7, 7) for them."""

    mean: Tensor
    covariance: Tensor
    window: Tensor


def niqe(image: Tensor, pristine: Pristine) -> float:
    """Return the distance of a picture's statistics from those of sharp photos, computed in float64.

    Args:
        image: (1, 3|1, H, W) uint8; a gray picture is its own luma. What whole blocks of 96x96 pixels leave is left out.
        pristine: what is compared with.

    Raises:
        InputError: fewer than two blocks of the picture are not flat.
    """
    found = statistics(image, pristine.window)
    whole = found[~found.isnan().any(1)]
    if len(whole) < 2:
        height, width = image.shape[2:]
        raise InputError(
            f"niqe needs two blocks of {BLOCK}x{BLOCK} pixels that are not flat, and {width}x{height} pixels give "
            f"{len(whole) or 'none'}: leave it out"
        )
    # as its authors: the mean leaves out numbers that are not defined, the covariance blocks that have any
    difference = pristine.mean - found.nanmean(0)
    inverse = torch.linalg.pinv((pristine.covariance + whole.T.cov()) / 2)
    return float((difference @ inverse @ difference).sqrt())


def statistics(image: Tensor, window: Tensor) -> Tensor:
    """Return NIQE's 36 features of each block of an image (1, 3|1, H, W), (blocks, 36): 18 of it, 18 of it at half the size."""
    y = luma(image, rounded=True)
    y = y[..., : y.shape[2] // BLOCK * BLOCK, : y.shape[3] // BLOCK * BLOCK]
    if not y.numel():
        return y.new_empty(0, FEATURES)
    whole = _features(_contrast(y, window), BLOCK)
    return torch.cat([whole, _features(_contrast(imresize(y, 0.5), window), BLOCK // 2)], 1)


def _contrast(y: Tensor, window: Tensor) -> Tensor:
    """Return what is left of (1, 1, H, W) without the local mean and deviation, (H, W)."""
    pixels, kernel = y[0, 0].numpy(), window.numpy()
    mean, squares = (torch.from_numpy(_blurred(each, kernel)) for each in (pixels, pixels**2))
    detail = y[0, 0] - mean
    # flat places have none: what rounding leaves there would be counted as left or right of 0
    detail = detail.where(detail.abs() > 1e-9, 0)
    return detail / ((squares - mean.square()).abs().sqrt() + 1)


def _blurred(pixels: Pixels, kernel: Pixels) -> Pixels:
    """Return a weighted mean round each pixel, the border repeated: ten times as fast as torch's convolution in float64."""
    return np.asarray(cv2.filter2D(pixels, -1, kernel, borderType=cv2.BORDER_REPLICATE), np.float64)


def _features(contrast: Tensor, side: int) -> Tensor:
    """Return (blocks, 18): shape and width of the contrast's distribution, and of its products with four neighbours."""
    blocks = contrast.unfold(0, side, side).unfold(1, side, side).reshape(-1, side, side)
    shape, left, right = fit(blocks.flatten(1))
    found = [shape, (left + right) / 2]
    for offset in NEIGHBOURS:
        shape, left, right = fit((blocks * blocks.roll(offset, (1, 2))).flatten(1))
        found += [shape, (right - left) * (torch.lgamma(2 / shape) - torch.lgamma(1 / shape)).exp(), left, right]
    return torch.stack(found, 1)


def fit(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return shape, left and right scale, each (N), of the asymmetric generalised Gaussian with the moments of values (N, P).

    Not a number where there are none on one side of 0 (Lasmar, Stitou and Berthoumieu, ICIP 2009).
    """
    squares = values.square()
    left, right = (((squares * side).sum(1) / side.sum(1)).sqrt() for side in (values < 0, values > 0))
    lean = left / right
    ratio = values.abs().mean(1).square() / squares.mean(1)
    ratio = ratio * (lean**3 + 1) * (lean + 1) / (lean.square() + 1).square()
    known = (2 * torch.lgamma(2 / SHAPES) - torch.lgamma(1 / SHAPES) - torch.lgamma(3 / SHAPES)).exp()
    shape = SHAPES[(known - ratio[:, None]).square().argmin(1)]
    spread = ((torch.lgamma(1 / shape) - torch.lgamma(3 / shape)) / 2).exp()
    return shape, left * spread, right * spread
