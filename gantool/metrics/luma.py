"""The luma of the super-resolution literature: ITU-R BT.601 in the range 16 to 235, as MATLAB's `rgb2ycbcr` has it."""

from __future__ import annotations

import torch
from torch import Tensor

from gantool.layers.color import WEIGHTS


def luma(images: Tensor) -> Tensor:
    """Return Y, unrounded float64 in [16, 235], (N, 1, H, W), of RGB images (N, 3, H, W) in 0 to 255.

    A gray image (N, 1, H, W) is its own luma and keeps its range.
    """
    images = images.double()
    return images if images.shape[1] == 1 else 16 + _weighted(images) / 255


def to_gray(images: Tensor) -> Tensor:
    """Return the 8-bit gray image (N, 1, H, W), 0 to 255, of images (N, 3|1, H, W) uint8: equal channels keep their value."""
    if images.shape[1] == 1:
        return images
    return (_weighted(images.double()) / sum(WEIGHTS) + 0.5).floor().to(torch.uint8)


def _weighted(images: Tensor) -> Tensor:
    return (images * images.new_tensor(WEIGHTS).view(1, 3, 1, 1)).sum(1, keepdim=True)
