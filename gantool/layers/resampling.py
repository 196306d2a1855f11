"""Resampling as MATLAB's `imresize` does it: separable, antialiased when shrinking, with both of its border conventions.

The benchmarks of super-resolution are defined by this filter: kernel cubic convolution with a = -0.5 (Keys 1981), stretched by
1/scale when shrinking. OpenCV, Pillow and torch use other kernels, borders or roundings, and give other numbers.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil

import torch
from torch import Tensor

from gantool.layers.kernels import HALF, Border, Kernel, taps

_COMPUTED_IN = {torch.uint8: torch.float64, torch.float16: torch.float32, torch.bfloat16: torch.float32}

_taps = lru_cache(maxsize=64)(taps)


def _resize_rows(images: Tensor, n_out: int, scale: float, kernel: Kernel, border: Border) -> Tensor:
    """Resample axis 2 of images (N, C, H, W), one tap at a time so that memory stays at the size of the result."""
    index, weights = map(torch.from_numpy, _taps(images.shape[2], range(n_out), scale, kernel, border))
    index, weights = index.to(images.device), weights.to(images)
    result = torch.zeros(*images.shape[:2], n_out, images.shape[3], dtype=images.dtype, device=images.device)
    for tap in range(index.shape[1]):
        result.addcmul_(images.index_select(2, index[:, tap]), weights[:, tap, None])
    return result


def imresize(
    images: Tensor,
    scale: float | tuple[float, float],
    size: tuple[int, int] | None = None,
    kernel: Kernel = "bicubic",
    border: Border = "mirror",
) -> Tensor:
    """Resize images as MATLAB does.

    The axis with the smaller factor goes first, equal factors rows first. uint8 images are rounded half up and saturated after
    each of the two passes, as MATLAB's integer images are; floating images are never rounded or clamped.

    Args:
        images: (N, C, H, W), uint8 in [0, 255] or floating in any range.
        scale: output side / input side, one or (rows, columns).
        size: (rows, columns) of the result; ceil(side x scale) if not given, which is MATLAB's rule.
        kernel: interpolation kernel.
        border: what lies outside the picture, see `gantool.layers.kernels.taps`.

    Returns:
        (N, C, *size) in the dtype of `images`.
    """
    scales = scale if isinstance(scale, tuple) else (scale, scale)
    # the tolerance keeps ceil(3 * (1 / 3)) at 1
    sizes = size or (ceil(images.shape[2] * scales[0] - 1e-9), ceil(images.shape[3] * scales[1] - 1e-9))
    integer = images.dtype == torch.uint8
    result = images.to(_COMPUTED_IN.get(images.dtype, images.dtype))
    for axis in (0, 1) if scales[0] <= scales[1] else (1, 0):
        if axis == 1:
            result = result.transpose(2, 3)
        result = _resize_rows(result, sizes[axis], scales[axis], kernel, border)
        if axis == 1:
            result = result.transpose(2, 3)
        if integer:
            result = (result + HALF).floor().clamp(0, 255)
    return result.to(images.dtype).contiguous()
