"""The unsharp mask that Real-ESRGAN sharpens its targets by (Wang et al., ICCVW 2021, section 3.4 and reference code)."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

TAPS: Final = 51  # of the Gaussian
SIGMA: Final = 8.0  # of it, in pixels: what OpenCV takes for so many taps
THRESHOLD: Final = 10  # levels of 255 that an image must differ from its blur by to be sharpened there


def usm_sharpen(images: Tensor, weight: float = 0.5) -> Tensor:
    """Sharpen where there is something to sharpen.

    The difference to a blurred copy is added where it is large; that region itself has soft edges, by the same blur.

    Args:
        images: (N, 3, H, W) in [0, 1], of any size: they are mirrored at the border, again and again if need be.
        weight: of the difference.

    Returns:
        (N, 3, H, W) float32 in [0, 1], whatever precision autocast has set.
    """
    with torch.autocast(images.device.type, enabled=False):
        images = images.float()
        residual = images - _blurred(images)
        mask = _blurred((residual.abs() * 255 > THRESHOLD).float())
        return torch.lerp(images, (images + weight * residual).clamp(0, 1), mask)


def _blurred(images: Tensor) -> Tensor:
    """Return images under the Gaussian: as a matrix for each axis it is faster than 51 taps and can mirror any size."""
    rows, columns = (torch.from_numpy(_matrix(side)).to(images.device) for side in images.shape[2:])
    return rows @ (images @ columns.T)


@lru_cache(maxsize=16)
def _matrix(side: int) -> NDArray[np.float32]:
    """Return the blur of a line that is mirrored at its ends, the end pixels not repeated: (side, side)."""
    taps = cv2.getGaussianKernel(TAPS, SIGMA).ravel()
    places = np.arange(side)[:, None] + np.arange(TAPS) - TAPS // 2
    folded = places % max(1, 2 * (side - 1))
    matrix = np.zeros((side, side))
    np.add.at(matrix, (np.arange(side)[:, None], np.minimum(folded, 2 * (side - 1) - folded)), taps)
    return matrix.astype(np.float32)
