"""Pairs made on the fly from plain photos: what a translation learns to undo.

Each maker takes an image (3, H, W) float32 in [0, 1] and a random generator, and returns the input (3, H, W), in [0, 1] or
slightly beyond. `MAKERS` says how many pixels around an image each looks at: whoever has a larger picture passes these along
and cuts them off again, so that an image's border looks like any other place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, pi, sin, sqrt
from types import MappingProxyType
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gantool.degradations.operations import MCU, Plane, array, in_8_bits, jpeg, tensor
from gantool.layers.color import gray
from gantool.layers.resampling import imresize

HOLE = 128 / 255  # what stands for missing pixels: a level that 8-bit pictures have
_ONLY_NOISE, _ONLY_JPEG = 0.15, 0.15  # shares of `denoise`


def colorize(image: Tensor, rng: np.random.Generator) -> Tensor:
    """Take the colour out: luma (BT.601, black 0 and white 1) in all three channels."""
    return gray(image).expand(3, -1, -1)


def inpaint(image: Tensor, rng: np.random.Generator) -> Tensor:
    """Cover 5 to 25 % of the image with mid-gray, level 128: by a rectangle half of the time, else by strokes of a brush.

    A rectangle's sides are at most 1 to 2; strokes are up to a fourth of the shorter side long and a tenth of it wide, each
    begun where the one before ended.
    """
    height, width = image.shape[1:]
    mask = _rectangle(height, width, rng) if rng.integers(2) else _strokes(height, width, rng)
    return torch.where(torch.from_numpy(mask > 0), HOLE, image)


def edges(image: Tensor, rng: np.random.Generator) -> Tensor:
    """Draw the outlines, black on white: Canny's edges (50 and 150 of 255) of the luma smoothed by a Gaussian of 1.5 pixels."""
    levels = (gray(image)[0] * 255).round().clamp(0, 255).to(torch.uint8).numpy()
    found = cv2.Canny(cv2.GaussianBlur(levels, (0, 0), 1.5), 50, 150)
    return 1 - torch.from_numpy(found).float().div(255).expand(3, -1, -1)


def deblur(image: Tensor, rng: np.random.Generator) -> Tensor:
    """Blur: half of the time by a Gaussian of 0.5 to 3 pixels, else by motion along a line of 3 to 15 pixels."""
    if rng.integers(2):
        sigma = rng.uniform(0.5, 3)
        return tensor(cv2.GaussianBlur(array(image), (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101))
    kernel = _line(rng.uniform(3, 15), rng.uniform(0, pi))
    return tensor(cv2.filter2D(array(image), -1, kernel, borderType=cv2.BORDER_REFLECT_101))


def denoise(image: Tensor, rng: np.random.Generator) -> Tensor:
    """Add Gaussian noise of 5 to 25 levels of 255, then save as JPEG of quality 20 to 60 with halved chroma.

    15 % have only the noise, 15 % only the JPEG. The grid of JPEG's blocks lies anywhere.
    """
    chance = rng.random()
    if chance >= _ONLY_JPEG:
        noise = rng.standard_normal(tuple(image.shape), np.float32)
        image = image + torch.from_numpy(noise) * (rng.uniform(5, 25) / 255)
    if chance < 1 - _ONLY_NOISE:
        image = jpeg(image, int(rng.integers(20, 61)), *(int(n) for n in rng.integers(MCU, size=2)))
    return image


def lowres(image: Tensor, rng: np.random.Generator) -> Tensor:
    """Shrink to a fourth in 8 bits and enlarge again, both by MATLAB's bicubic."""
    height, width = image.shape[1:]
    small = in_8_bits(imresize(image[None], 1 / 4))
    return imresize(small, 4)[0, :, :height, :width]


@dataclass(frozen=True)
class Maker:
    """How an input is made of its target, and how many pixels around an image that looks at."""

    make: Callable[[Tensor, np.random.Generator], Tensor]
    margin: int


MAKERS: Final = MappingProxyType(
    {
        "colorize": Maker(colorize, 0),
        "inpaint": Maker(inpaint, 0),  # its shares are of the image itself
        "edges": Maker(edges, 8),
        "deblur": Maker(deblur, 12),  # four of the widest Gaussian's sigmas
        "denoise": Maker(denoise, MCU),
        "lowres": Maker(lowres, 16),  # the kernel reaches two small pixels, both ways
    }
)


def _rectangle(height: int, width: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    area, aspect = rng.uniform(0.06, 0.24) * height * width, 2 ** rng.uniform(-1, 1)
    rows = min(height, max(1, round(sqrt(area * aspect))))
    columns = min(width, max(1, round(area / rows)))
    top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
    mask = np.zeros((height, width), np.uint8)
    mask[top : top + rows, left : left + columns] = 1
    return mask


def _strokes(height: int, width: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return the mask (H, W) of strokes that cover 5 to 20 %, the last of them up to 4 % more."""
    mask = np.zeros((height, width), np.uint8)
    goal, side = rng.uniform(0.05, 0.2) * height * width, min(height, width)
    thickness = max(1, int(side * rng.uniform(0.05, 0.1)))
    at = rng.uniform(0, (width, height))
    while np.count_nonzero(mask) < goal:
        to = (at + rng.uniform(-side / 6, side / 6, 2)).clip(0, (width - 1, height - 1))
        cv2.line(mask, _pixel(at), _pixel(to), 1, thickness)
        at = to
    return mask


def _pixel(point: NDArray[np.float64]) -> tuple[int, int]:
    return int(point[0]), int(point[1])


def _line(length: float, angle: float) -> Plane:
    """Return the kernel of an even motion, its points shared out among the four pixels around each."""
    reach = int(length / 2) + 1
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    for t in np.linspace(-length / 2, length / 2, 4 * reach + 1):
        x, y = reach + t * cos(angle), reach + t * sin(angle)
        column, row = int(x), int(y)
        right, below = x - column, y - row
        kernel[row, column] += (1 - right) * (1 - below)
        kernel[row, min(column + 1, 2 * reach)] += right * (1 - below)
        kernel[min(row + 1, 2 * reach), column] += (1 - right) * below
        kernel[min(row + 1, 2 * reach), min(column + 1, 2 * reach)] += right * below
    kernel /= kernel.sum()
    return kernel
