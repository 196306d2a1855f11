"""Luma, the part of a picture that most super-resolution papers measure and many enlarge alone; pictures in gray; CIE Lab.

Luma is ITU-R BT.601 in the range 16 to 235 of 255, as MATLAB's `rgb2ycbcr` has it; here everything is divided by 255.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the numbers are also needed where there is no torch
    from torch import Tensor

WEIGHTS = (65.481, 128.553, 24.966)  # of red, green, blue in [0, 1]; together 219, the width of the range
BLACK = 16 / 255

# linear sRGB to XYZ, rows for X, Y, Z; the cube roots of X, Y, Z to L* + 16, a*, b*
_TO_XYZ = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
_TO_LAB = ((0.0, 116.0, 0.0), (500.0, -500.0, 0.0), (0.0, 200.0, -200.0))


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


def lab(images: Tensor) -> Tensor:
    """Return L* in [0, 100], a*, b* (N, 3, H, W) of sRGB images (N, 3, H, W) in [0, 1], under the white of sRGB, D65.

    By IEC 61966-2-1 and CIE 15; values are taken relative to the white that the matrix gives, so that gray is exactly that.
    """
    linear = ((images + 0.055) / 1.055).pow(2.4).where(images > 0.04045, images / 12.92).flatten(2)
    to_xyz = images.new_tensor(_TO_XYZ)
    xyz = to_xyz / to_xyz.sum(1, keepdim=True) @ linear  # (N, 3, H W)
    f = xyz.pow(1 / 3).where(xyz > (6 / 29) ** 3, xyz * ((29 / 6) ** 2 / 3) + 4 / 29)
    offsets = images.new_tensor([[16.0], [0], [0]])
    return (images.new_tensor(_TO_LAB) @ f - offsets).view_as(images)
