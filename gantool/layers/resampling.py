"""Resampling as MATLAB's `imresize` does it: separable, antialiased when shrinking, with both of its border conventions.

The benchmarks of super-resolution are defined by this filter: kernel cubic convolution with a = -0.5 (Keys 1981), stretched by
1/scale when shrinking. OpenCV, Pillow and torch use other kernels, borders or roundings, and give other numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import ceil, floor
from typing import Literal, TypeAlias

import torch
from torch import Tensor

Kernel: TypeAlias = Literal["nearest", "bilinear", "bicubic", "lanczos"]
Border: TypeAlias = Literal["mirror", "clamp"]


def _box(d: Tensor) -> Tensor:
    return ((d >= -0.5) & (d < 0.5)).to(d.dtype)


def _triangle(d: Tensor) -> Tensor:
    return (1 - d.abs()).clamp(min=0)


def _cubic(d: Tensor) -> Tensor:
    d = d.abs()
    near = 1.5 * d**3 - 2.5 * d**2 + 1
    far = -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2
    return torch.where(d <= 1, near, torch.where(d <= 2, far, 0))


def _lanczos3(d: Tensor) -> Tensor:
    return torch.where(d.abs() < 3, torch.sinc(d) * torch.sinc(d / 3), 0)


KERNELS: dict[Kernel, tuple[Callable[[Tensor], Tensor], int]] = {
    "nearest": (_box, 1),
    "bilinear": (_triangle, 2),
    "bicubic": (_cubic, 4),
    "lanczos": (_lanczos3, 6),
}
"""Kernel function of the distance in input pixels, and its support in input pixels."""

_COMPUTED_IN = {torch.uint8: torch.float64, torch.float16: torch.float32, torch.bfloat16: torch.float32}


def output_size(size: int, scale: float) -> int:
    """Return the side of a picture of `size` pixels after scaling: max(1, round half up of scale x size)."""
    return max(1, floor(scale * size + 0.5))


@lru_cache(maxsize=64)
def taps(n_in: int, n_out: int, scale: float, kernel: Kernel, border: Border) -> tuple[Tensor, Tensor]:
    """Return the contributions along one axis: input indices and weights, int64 and float64, each (n_out, P).

    Args:
        n_in: samples before.
        n_out: samples after.
        scale: the exact factor, which places the samples; n_out / n_in differs from it by rounding.
        kernel: the interpolation kernel; it is stretched when `scale` < 1, which keeps high frequencies from folding over.
        border: what lies outside: "mirror" (... 2 1 | 1 2 ..., today's MATLAB) or "clamp" (the edge sample, older MATLAB).
    """
    function, width = KERNELS[kernel]
    stretch = min(scale, 1.0)
    support = width / stretch
    u = torch.arange(1, n_out + 1, dtype=torch.float64) / scale + 0.5 * (1 - 1 / scale)  # 1-based input coordinate
    left = torch.floor(u - support / 2)
    index = left[:, None] + torch.arange(ceil(support) + 2, dtype=torch.float64)
    weights = stretch * function(stretch * (u[:, None] - index))
    weights = torch.where(weights.abs() < 1e-12, 0, weights)  # a kernel's zeros, which rounding misses
    weights = weights / weights.sum(1, keepdim=True)
    index = index.long() - 1
    if border == "clamp":
        index = index.clamp(0, n_in - 1)
    else:
        index = index % (2 * n_in)  # mirror twice the length, so that any distance folds back
        index = torch.where(index < n_in, index, 2 * n_in - 1 - index)
    used = (weights != 0).any(0)
    return index[:, used], weights[:, used]


def _resize_rows(images: Tensor, n_out: int, scale: float, kernel: Kernel, border: Border) -> Tensor:
    """Resample axis 2 of images (N, C, H, W), one tap at a time so that memory stays at the size of the result."""
    index, weights = taps(images.shape[2], n_out, scale, kernel, border)
    weights = weights.to(images)
    result = torch.zeros(*images.shape[:2], n_out, images.shape[3], dtype=images.dtype, device=images.device)
    for tap in range(index.shape[1]):
        result.addcmul_(images.index_select(2, index[:, tap].to(images.device)), weights[:, tap, None])
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
        border: what lies outside the picture, see `taps`.

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
            result = (result + 0.5).floor().clamp(0, 255)
    return result.to(images.dtype).contiguous()
