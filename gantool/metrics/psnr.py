"""Peak signal-to-noise ratio, in decibels, with peak 255."""

from __future__ import annotations

from math import inf, log10

from torch import Tensor

from gantool.metrics.mse import mse


def psnr(result: Tensor, reference: Tensor) -> float:
    """Return 10 log10(255^2 / mean squared error) over all pixels and channels; inf for identical images.

    Args:
        result: (N, C, H, W) in 0 to 255, any type.
        reference: the same shape.
    """
    error = mse(result, reference)
    return inf if error == 0 else 10 * log10(255**2 / error)
