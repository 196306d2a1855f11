"""The kernels of MATLAB's `imresize`, and what each input sample contributes to each output sample along one axis."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
Kernel: TypeAlias = Literal["nearest", "bilinear", "bicubic", "lanczos"]
Border: TypeAlias = Literal["mirror", "clamp"]

HALF = 0.5 + 1e-6
"""What is added before integers are cut: a half comes out 1e-13 short or not, depending on the processor's order of adding."""


def _box(d: Array) -> Array:
    return ((d >= -0.5) & (d < 0.5)).astype(np.float64)


def _triangle(d: Array) -> Array:
    return (1 - np.abs(d)).clip(min=0)


def _cubic(d: Array) -> Array:
    d = np.abs(d)
    near = 1.5 * d * d * d - 2.5 * d * d + 1
    far = -0.5 * d * d * d + 2.5 * d * d - 4 * d + 2
    return np.where(d <= 1, near, np.where(d <= 2, far, 0))


def _lanczos3(d: Array) -> Array:
    return np.where(np.abs(d) < 3, np.sinc(d) * np.sinc(d / 3), 0)


KERNELS: dict[Kernel, tuple[Callable[[Array], Array], int]] = {
    "nearest": (_box, 1),
    "bilinear": (_triangle, 2),
    "bicubic": (_cubic, 4),
    "lanczos": (_lanczos3, 6),
}
"""Kernel function of the distance in input pixels, and its support in input pixels."""


def taps(n_in: int, places: range, scale: float, kernel: Kernel, border: Border) -> tuple[NDArray[np.int64], Array]:
    """Return the contributions along one axis: input indices and weights, each (len(places), P).

    Args:
        n_in: samples before.
        places: which of the samples after.
        scale: the exact factor, which places the samples; their numbers' ratio differs from it by rounding.
        kernel: the interpolation kernel; it is stretched when `scale` < 1, which keeps high frequencies from folding over.
        border: what lies outside: "mirror" (... 2 1 | 1 2 ..., today's MATLAB) or "clamp" (the edge sample, older MATLAB).
    """
    function, width = KERNELS[kernel]
    stretch = min(scale, 1.0)
    support = width / stretch
    u = (np.array(places, dtype=np.float64) + 1) / scale + 0.5 * (1 - 1 / scale)  # 1-based input coordinate
    left = np.floor(u - support / 2)
    index = left[:, None] + np.arange(ceil(support) + 2, dtype=np.float64)
    weights = stretch * function(stretch * (u[:, None] - index))
    weights[np.abs(weights) < 1e-12] = 0  # a kernel's zeros, which rounding misses
    weights /= weights.sum(1, keepdims=True)
    samples = index.astype(np.int64) - 1
    if border == "clamp":
        samples = samples.clip(0, n_in - 1)
    else:
        samples %= 2 * n_in  # mirror twice the length, so that any distance folds back
        samples = np.where(samples < n_in, samples, 2 * n_in - 1 - samples)
    used = (weights != 0).any(0)
    return samples[:, used], weights[:, used]
