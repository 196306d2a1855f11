"""Peak signal-to-noise ratio, in decibels, with peak 255."""

from __future__ import annotations

from math import inf, log10

from torch import Tensor


def psnr(result: Tensor, reference: Tensor) -> float:
    """Return 10 log10(255^2 / mean squared error) over all pixels and channels; inf for identical images.

    Args:
        result: (N, C, H, W) in 0 to 255, any type.
        reference: the same shape.
    """
    error = (result.double() - reference.double()).square().mean().item()
    return inf if error == 0 else 10 * log10(255**2 / error)
