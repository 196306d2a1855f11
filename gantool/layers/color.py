"""Luma, the part of a picture that most super-resolution papers measure and many enlarge alone.

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
