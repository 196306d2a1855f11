"""Luma, the part of a picture that most super-resolution papers measure and many enlarge alone; pictures in gray.

ITU-R BT.601 in the range 16 to 235 of 255, as MATLAB's `rgb2ycbcr` has it; here everything is divided by 255.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the numbers are also needed where there is no torch
    from torch import Tensor

WEIGHTS = (65.481, 128.553, 24.966)  # of red, green, blue in [0, 1]; together 219, the width of the range
BLACK = 16 / 255


def luma(images: Tensor) -> Tensor:
    """Return Y, (N, 1, H, W) in [16/255, 235/255], of RGB images (N, 3, H, W) in [0, 1]."""
    return (images * (images.new_tensor(WEIGHTS) / 255).view(1, 3, 1, 1)).sum(1, keepdim=True) + BLACK


def gray(images: Tensor) -> Tensor:
    """Return the luma of RGB images (..., 3, H, W) in their own range, (..., 1, H, W): white stays white, black black."""
    weights = images.new_tensor(WEIGHTS) / sum(WEIGHTS)
    return (images * weights.view(3, 1, 1)).sum(-3, keepdim=True)


def with_channels(images: Tensor, channels: int) -> Tensor:
    """Return images (..., 1 or 3, H, W) with 1 channel, their luma, or with 3, of which gray has three alike."""
    if channels < images.shape[-3]:
        return gray(images)
    return images.expand(*images.shape[:-3], channels, -1, -1)


def replace_luma(images: Tensor, new: Tensor) -> Tensor:
    """Return RGB images with another luma and the same Cb and Cr.

    Equal chroma means that red, green and blue move by the same amount, so no way through YCbCr is needed.

    Args:
        images: (N, 3, H, W) in [0, 1].
        new: (N, 1, H, W) in the range of `luma`.

    Returns:
        (N, 3, H, W), not clamped.
    """
    return images + (new - luma(images)) / (sum(WEIGHTS) / 255)
