"""Random crops, flips and turns, and the low-resolution half of a sample, made on the fly."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gantool.fitting import Degradation
from gantool.layers.resampling import imresize

MARGIN = 3  # low-resolution pixels that the bicubic kernel reaches beyond a crop, on each side


def random_crop(pixels: Tensor, size: int, rng: np.random.Generator) -> Tensor:
    """Return a random square (3, size, size) of an image (3, H, W) with both sides >= size."""
    top, left = (int(rng.integers(side - size + 1)) for side in pixels.shape[1:])
    return pixels[:, top : top + size, left : left + size]


def random_dihedral(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """Return a square image (..., S, S) under a random one of the eight flips and quarter turns."""
    flip, turns = int(rng.integers(2)), int(rng.integers(4))
    return torch.rot90(pixels.flip(-1) if flip else pixels, turns, (-2, -1))


class Bicubic:
    """The degradation of the literature: MATLAB's bicubic with 8-bit rounding; see `gantool.fitting.Degradation`."""

    def __init__(self, scale: int) -> None:
        self.scale, self.margin = scale, MARGIN * scale

    def degrade(self, high: Tensor, rng: np.random.Generator) -> Tensor:
        """Return the smaller image."""
        return imresize(high[None], 1 / self.scale)[0]


def low_high_pair(pixels: Tensor, size: int, degradation: Degradation, rng: np.random.Generator) -> dict[str, Tensor]:
    """Return a random pair "low" (3, size / scale, size / scale) and "high" (3, size, size) of an 8-bit image (3, H, W).

    The low resolution is made from a larger crop, so that it is what degrading the whole picture gives at this place.
    """
    margin = degradation.margin
    crop = random_dihedral(random_crop(pixels, size + 2 * margin, rng), rng)
    low = _inside(degradation.degrade(crop, rng), margin // degradation.scale)
    return {"low": low.contiguous(), "high": _inside(crop, margin).contiguous()}


def _inside(pixels: Tensor, margin: int) -> Tensor:
    """Return an image without its border."""
    return pixels[:, margin : pixels.shape[1] - margin, margin : pixels.shape[2] - margin]
