"""Structural similarity of the luma, as the super-resolution literature reports it."""

from __future__ import annotations

from torch import Tensor

from gantool.metrics.luma import luma
from gantool.metrics.ssim import ssim


def ssim_y(result: Tensor, reference: Tensor, rounded: bool = False) -> float:
    """Return the SSIM of the luma of images (N, 3|1, H, W) in 0 to 255, both sides at least 11 pixels."""
    return ssim(luma(result, rounded), luma(reference, rounded))
