"""Structural similarity over five scales (Wang, Simoncelli, Bovik, Asilomar 2003), after the authors' code."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from gantool.errors import InputError
from gantool.metrics.ssim import WINDOW, mean_similarity, terms

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the scales, from fine to coarse
SIDE = (WINDOW - 1) * 2 ** (len(WEIGHTS) - 1) + 1  # pixels: at the last scale, the window still fits


def ms_ssim(result: Tensor, reference: Tensor) -> float:
    """Return the MS-SSIM (eq. 7), mean of the channels, computed in float64.

    Contrast and structure at all scales, luminance at the last; between scales, 2x2 pixels become their mean, and an odd last
    row or column is its own partner. At each scale, what `ssim` says of windows holds. A scale that is unlike on the whole
    (its mean is negative) counts as 0, so that powers of it exist.

    Args:
        result: (N, C, H, W) in 0 to 255, any type.
        reference: the same shape.

    Raises:
        InputError: a side is shorter than 161 pixels.
    """
    height, width = result.shape[2:]
    if min(height, width) < SIDE:
        raise InputError(f"{width}x{height} pixels are too few for ms-ssim, which needs {SIDE} a side: use ssim instead")
    values = [_over_scales(x, y) for x, y in zip(result.flatten(0, 1), reference.flatten(0, 1), strict=True)]
    return sum(values) / len(values)


def _over_scales(x: Tensor, y: Tensor) -> float:
    """Return the MS-SSIM of two planes (H, W)."""
    value = 1.0
    x, y = x.double(), y.double()
    for weight in WEIGHTS[:-1]:
        value *= max(0.0, _mean_structure(x, y)) ** weight
        x, y = _halved(x), _halved(y)
    return float(value * max(0.0, mean_similarity(x, y)) ** WEIGHTS[-1])


def _mean_structure(x: Tensor, y: Tensor) -> float:
    """Return the mean comparison of contrast and structure of two planes (H, W)."""
    total = 0.0
    for _, _, upper, lower in terms(x, y):
        total += upper.div_(lower).sum().item()
    return total / ((x.shape[0] - WINDOW + 1) * (x.shape[1] - WINDOW + 1))


def _halved(plane: Tensor) -> Tensor:
    """Return the means of 2x2 pixels of a plane (H, W), sides rounded up."""
    height, width = plane.shape
    return avg_pool2d(pad(plane[None], (0, width % 2, 0, height % 2), mode="replicate"), 2)[0]
