"""Structural similarity (Wang et al., IEEE TIP 2004), with the constants and the window of its authors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import torch
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray
from torch import Tensor

from gantool.errors import InputError

WINDOW = 11  # pixels a side
SIGMA = 1.5  # pixels
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
# Read at once, so that the work stays in the processor's cache at any picture size. It is also the most that torch leaves to
# one thread: to share out so little work costs more than it saves, most of all on a busy machine.
BAND_PIXELS = 1 << 15

_HALO = WINDOW - 1  # pixels more than windows
_BLOCK = 8  # means per product of matrices: what BLAS does fastest
_C1, _BOTH = torch.tensor(C1, dtype=torch.float64), torch.tensor(C1 + C2, dtype=torch.float64)

Floats: TypeAlias = NDArray[np.float64]


def ssim(result: Tensor, reference: Tensor) -> float:
    """Return the mean of the SSIM map over all pixels where the window fits, and over the channels, computed in float64.

    Moments are weighted by an 11x11 Gaussian and biased (divided by the sum of the weights), as in the authors' code. The
    same as scikit-image's with gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255.

    Args:
        result: (N, C, H, W) in 0 to 255, any type.
        reference: the same shape.

    Raises:
        InputError: a side is shorter than the window.
    """
    height, width = result.shape[2:]
    if min(height, width) < WINDOW:
        raise InputError(f"{width}x{height} pixels are too few for ssim, whose window has {WINDOW}x{WINDOW}: leave it out")
    means = [mean_similarity(x, y) for x, y in zip(result.flatten(0, 1), reference.flatten(0, 1), strict=True)]
    return sum(means) / len(means)


def mean_similarity(x: Tensor, y: Tensor) -> float:
    """Return the mean SSIM (eq. 13) of two planes (H, W), any type, both sides at least 11."""
    total = 0.0
    for top, bottom, upper, lower in terms(x, y):
        total += top.mul_(upper).div_(bottom.mul_(lower)).sum().item()
    return total / ((x.shape[0] - _HALO) * (x.shape[1] - _HALO))


def terms(x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Yield, band by band, the parts of the SSIM map of two planes (H, W), any type, where the window fits.

    Yields:
        Numerator and denominator of the comparison of luminance (eq. 6), then those of contrast and structure together
        (eq. 9 and 10 with C3 = C2 / 2), each (rows, W - 10) float64, which the caller may change.
    """
    height, width = x.shape
    rows = max(1, (BAND_PIXELS // width - _HALO) // _BLOCK) * _BLOCK
    for first in range(0, height - _HALO, rows):
        last = min(first + rows, height - _HALO)
        band = slice(first, last + _HALO)
        mean_x, mean_y, squares, product = _means(x[band], y[band])
        top = torch.addcmul(_C1, mean_x, mean_y, value=2)
        bottom = torch.addcmul(_C1, mean_x, mean_x).addcmul_(mean_y, mean_y)
        yield top, bottom, product.sub_(top), squares.sub_(bottom)


def _means(x: Tensor, y: Tensor) -> Tensor:
    """Return the Gaussian means of x, y, x^2 + y^2 + C1 + C2 and 2xy + C1 + C2 where the window fits, (4, H - 10, W - 10).

    The constants are added here, where it costs nothing: they end up in the numerators and denominators.
    """
    height, width = x.shape
    fields = torch.empty(4, _padded(height), _padded(width), dtype=torch.float64)
    fields[:, height:], fields[:, :, width:] = 0, 0
    inner = fields[:, :height, :width]
    one, other = inner[0].copy_(x), inner[1].copy_(y)
    torch.addcmul(_BOTH, one, one, out=inner[2]).addcmul_(other, other)
    torch.addcmul(_BOTH, one, other, value=2, out=inner[3])
    return torch.from_numpy(_blur(fields.numpy()))[:, : height - _HALO, : width - _HALO]


def _padded(length: int) -> int:
    """Return the least number of pixels that holds so many and has whole blocks of windows."""
    return -(-(length - _HALO) // _BLOCK) * _BLOCK + _HALO


def _blur(fields: Floats) -> Floats:
    """Return the Gaussian means over the last two axes of (F, H, W), where the window fits, in whole blocks.

    Eight means are a product of 18 values and a banded matrix, down the columns first, then along the rows. By way of numpy,
    whose BLAS is at home with small matrices: several times faster than convolution in float64.
    """
    count, height, width = fields.shape
    down, across = (height - _HALO) // _BLOCK, (width - _HALO) // _BLOCK
    plane, row, one = fields.strides
    windows = as_strided(fields, (count, down, _BLOCK + _HALO, width), (plane, _BLOCK * row, row, one))
    columns = np.matmul(_DOWN, windows).reshape(-1, width)
    row, one = columns.strides
    windows = as_strided(columns, (across, len(columns), _BLOCK + _HALO), (_BLOCK * one, row, one))
    means = np.empty((count, down * _BLOCK, across * _BLOCK))
    np.matmul(windows, _ACROSS, out=means.reshape(-1, across, _BLOCK).swapaxes(0, 1))
    return means


def _banded() -> Floats:
    """Return the matrix (8, 18) whose rows are the Gaussian's taps, each a place further on."""
    offsets = np.arange(WINDOW) - WINDOW // 2
    taps = np.exp(-(offsets**2) / (2 * SIGMA**2))
    matrix = np.zeros((_BLOCK, _BLOCK + _HALO))
    for k, row in enumerate(matrix):
        row[k : k + WINDOW] = taps / taps.sum()
    return matrix


_DOWN = _banded()
_ACROSS = np.ascontiguousarray(_DOWN.T)  # a view of the other would make the product twice as slow
