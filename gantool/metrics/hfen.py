"""High-frequency error norm (Ravishankar & Bresler, IEEE TMI 2011), normalised: how much of edges and fine detail is wrong."""

from __future__ import annotations

from math import inf

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gantool.errors import InputError
from gantool.metrics.luma import luma

WINDOW = 15  # pixels a side
SIGMA = 1.5  # pixels
_NOTHING = 1e-9  # levels: one pixel that is a level off its flat surroundings is above, rounding errors are below


def hfen(result: Tensor, reference: Tensor, rounded: bool = False) -> float:
    """Return |LoG(result) - LoG(reference)| / |LoG(reference)| of the luma of images (N, 3|1, H, W) in 0 to 255.

    LoG is the filter of `kernel`, where it fits; |.| the root of the sum of squares over all pixels. 0 for identical images, 1
    for a flat result; inf where the reference has no detail and the result has. The paper has the numerator alone, on
    magnetic resonance images; to divide by the reference's norm makes pictures of any size and contrast comparable.

    Raises:
        InputError: a side is shorter than the filter.
    """
    height, width = result.shape[2:]
    if min(height, width) < WINDOW:
        raise InputError(f"{width}x{height} pixels are too few for hfen, whose filter has {WINDOW}x{WINDOW}: leave it out")
    truth = luma(reference, rounded)
    error, detail = _norm(luma(result, rounded) - truth), _norm(truth)
    if detail == 0:
        return inf if error else 0.0
    return error / detail


def kernel() -> NDArray[np.float64]:
    """Return the Laplacian of a Gaussian of sigma 1.5 on 15x15 pixels, its mean taken off, as MATLAB's fspecial makes it."""
    offsets = np.arange(WINDOW) - WINDOW // 2
    squares = (offsets**2)[:, None] + offsets**2
    gaussian = np.exp(-squares / (2 * SIGMA**2))
    filter_ = gaussian / gaussian.sum() * (squares - 2 * SIGMA**2) / SIGMA**4
    return np.asarray(filter_ - filter_.mean())


def _norm(images: Tensor) -> float:
    """Return the root of the mean square of the filtered images (N, 1, H, W) float64, where the filter fits; 0 for nothing."""
    edge, total = WINDOW // 2, 0.0
    for image in images[:, 0]:
        # less its first pixel, which the filter does not see, so that a flat picture is exactly 0
        filtered = cv2.filter2D((image - image[0, 0]).numpy(), cv2.CV_64F, kernel())
        total += torch.from_numpy(filtered[edge:-edge, edge:-edge]).square().mean().item()
    norm = (total / len(images)) ** 0.5
    return norm if norm > _NOTHING else 0.0
