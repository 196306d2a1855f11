"""From a picture of any size to a training image: what `Fit` says, done on 8-bit pixels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from gantool.errors import InputError
from gantool.fitting import Fit
from gantool.images import read
from gantool.layers.color import gray


def read_on_white(path: Path) -> Tensor:
    """Return a picture as (3, H, W) or, if it is gray, (1, H, W) uint8; what is transparent shows white.

    Raises:
        InputError: it cannot be read.
    """
    picture = read(path)
    if picture.alpha is None:
        return picture.color
    alpha = picture.alpha.int()
    return ((picture.color.int() * alpha + 255 * (255 - alpha) + 127) // 255).to(torch.uint8)


def with_channels(pixels: Tensor, channels: int) -> Tensor:
    """Return an 8-bit picture (1 or 3, H, W) with 1 channel, its luma, or with 3, of which gray has three alike."""
    if channels == 1 and len(pixels) == 3:
        return gray(pixels.float()).round().to(torch.uint8)
    return pixels.expand(channels, -1, -1)


def fitted(pixels: Tensor, size: int, fit: Fit, name: str) -> Tensor:
    """Return the picture (C, H', W') that training images of `size` pixels a side are cut from, for one (C, H, W) uint8.

    Resizing is antialiased bicubic.

    Raises:
        InputError: the picture is smaller than what is cut from it as it is.
    """
    if fit.middle is not None:
        height, width = (min(side, fit.middle) for side in pixels.shape[1:])
        pixels = _middle(pixels, height, width)
    height, width = pixels.shape[1:]
    if fit.mode == "crop":
        if min(height, width) < size:
            raise InputError(f"{name} is {width}x{height}, training needs {size} pixels a side")
        return pixels
    load = max(size, round(size * fit.load))
    if fit.mode == "stretch":
        return resized(pixels, load, load)
    factor = load / min(height, width)
    return resized(pixels, max(load, round(height * factor)), max(load, round(width * factor)))


def resized(pixels: Tensor, height: int, width: int) -> Tensor:
    """Return an 8-bit picture (C, H, W) at another size, by antialiased bicubic."""
    if pixels.shape[1:] == (height, width):
        return pixels
    # thirty times as fast as our imresize, from which it differs at the borders: these pixels are for learning, not for tables
    return interpolate(pixels[None], (height, width), mode="bicubic", antialias=True)[0]


def _middle(pixels: Tensor, height: int, width: int) -> Tensor:
    top, left = (pixels.shape[1] - height) // 2, (pixels.shape[2] - width) // 2
    return pixels[:, top : top + height, left : left + width].clone()  # kept without the rest


@dataclass(frozen=True)
class Cut:
    """A square of a picture, mirrored or not: the same for both pictures of a pair."""

    top: int
    left: int
    size: int
    mirrored: bool

    def of(self, pixels: Tensor, margin: int = 0) -> Tensor:
        """Return the square (C, size + 2 margin, size + 2 margin) of a picture (C, H, W), which is mirrored at its borders."""
        rows = _span(self.top - margin, self.top + self.size + margin, pixels.shape[1])
        columns = _span(self.left - margin, self.left + self.size + margin, pixels.shape[2])
        part = pixels[:, rows] if isinstance(rows, slice) else pixels.index_select(1, rows)
        part = part[:, :, columns] if isinstance(columns, slice) else part.index_select(2, columns)
        return part.flip(2) if self.mirrored else part


def choose_cut(pixels: Tensor, size: int, fit: Fit, rng: np.random.Generator) -> Cut:
    """Return where a training image is cut from a fitted picture (C, H, W)."""
    spare = [side - size for side in pixels.shape[1:]]
    top, left = (int(rng.integers(n + 1)) for n in spare) if fit.random else (n // 2 for n in spare)
    return Cut(top, left, size, fit.flip and bool(rng.integers(2)))


def _span(start: int, stop: int, length: int) -> slice | Tensor:
    """Return what indexes start to stop of an axis, with the numbers that lie outside mirrored at its ends."""
    if start >= 0 and stop <= length:
        return slice(start, stop)
    period = max(1, 2 * length - 2)
    index = torch.arange(start, stop) % period
    return torch.minimum(index, period - index)


def floats(pixels: Tensor) -> Tensor:
    """Return 8-bit pixels as float32 in [0, 1], each channel's in one piece."""
    return pixels.contiguous().float() / 255
