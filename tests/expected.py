"""What `gantool upscale` has to give: whole pictures in float64, and its files read by programs it does not write with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyvips
import tifffile
import torch
from conftest import Result
from networks import small
from numpy.typing import NDArray
from pictures import Pixels
from PIL import Image
from torch import Tensor

from gantool import weights
from gantool.layers.kernels import Kernel
from gantool.layers.resampling import imresize

Run = Callable[..., Result]
Network = Callable[[Tensor], Tensor]


def levels(values: Tensor, dtype: np.dtype[np.generic]) -> Pixels:
    """Return (H, W, C) levels for (1, C, H, W) in [0, 1], rounded half up."""
    top = np.iinfo(dtype).max
    return np.floor(values[0].permute(1, 2, 0).numpy() * top + 0.5).clip(0, top).astype(dtype)


def planes(pixels: Pixels) -> Tensor:
    """Return (1, C, H, W) in [0, 1], float64, for (H, W, C) levels."""
    return torch.from_numpy(pixels.astype(np.float64)).permute(2, 0, 1)[None] / np.iinfo(pixels.dtype).max


def larger(pixels: Pixels, scale: int, kernel: Kernel = "bicubic") -> Pixels:
    """Return what a weightless model of a scale gives."""
    return levels(imresize(planes(pixels), scale, kernel=kernel), pixels.dtype)


def through(network: Network, pixels: Pixels) -> Pixels:
    """Return what a network for RGB makes of a picture; gray is three equal channels, of whose results it is the mean."""
    image = planes(pixels)
    with torch.inference_mode():
        values = network(image.expand(-1, 3, -1, -1).contiguous())
    return levels(values.mean(1, keepdim=True) if image.shape[1] == 1 else values, pixels.dtype)


def save_span(folder: Path, scale: int = 2, name: str = "small") -> Path:
    """Write a small SPAN with random weights; return its file."""
    path = folder / f"{name}.safetensors"
    weights.save(path, small("span", scale=scale), step=0, metrics={}, average=False, title=name)
    return path


def network(model: Path | str) -> Network:
    """Return a model's network in float64."""
    return weights.load(str(model)).system.double().upscale  # type: ignore[return-value]


def levels_apart(result: Pixels, expected: Pixels) -> NDArray[np.int64]:
    """Return by how many levels each sample differs, if size and type do not."""
    assert (result.shape, result.dtype) == (expected.shape, expected.dtype)
    return np.abs(result.astype(np.int64) - expected)


def assert_near(result: Pixels, expected: Pixels) -> None:
    """Equal but for rounding edges, which are one level: float32 against float64."""
    apart = levels_apart(result, expected)
    assert apart.max() <= 1
    assert (apart > 0).mean() <= (1e-3 if result.dtype == np.uint8 else 3e-2)


def assert_precise(result: Pixels, expected: Pixels) -> None:
    """As near as float32 gets through many layers: 16 bits are missed by less than a tenth of a level on average."""
    if result.dtype == np.uint8:
        assert_near(result, expected)
    else:
        apart = levels_apart(result, expected)
        assert apart.max() <= 16
        assert apart.mean() <= 0.1


def whole(path: Path) -> Pixels:
    """Return the pixels (H, W, C) of a file, or of its first page or frame: TIFF by tifffile, PNG by libvips, else Pillow."""
    if path.suffix == ".tif":
        pixels = tifffile.imread(path, key=0)
    elif path.suffix == ".png":
        pixels = pyvips.Image.new_from_file(str(path)).numpy()
    else:
        with Image.open(path) as image:
            pixels = np.asarray(image)
    return pixels if pixels.ndim == 3 else pixels[:, :, None]
