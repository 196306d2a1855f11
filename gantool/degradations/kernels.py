"""Kernels of blurs: Gaussians, their generalised and plateau forms, and the sinc filter that makes ringing.

With q(x) = x' S^-1 x for the covariance S of two widths and an angle (Real-ESRGAN, Wang et al. 2021, section 3.2, after
Liu et al. 2020): Gaussian exp(-q / 2), generalised exp(-q^beta / 2), plateau 1 / (1 + q^beta).

All are (size, size) float64 of sum 1 for an odd size; widths are in pixels, angles in radians.
"""

from __future__ import annotations

from math import cos, pi, sin

import numpy as np
import torch
from numpy.typing import NDArray

Kernel = NDArray[np.float64]
Widths = tuple[float, float]


def gaussian(size: int, sigma: Widths, angle: float = 0.0, shift: float = 0.0) -> Kernel:
    """Return a Gaussian, `shift` pixels right of and below the middle."""
    return _normalised(np.exp(-_form(size, sigma, angle, shift) / 2))


def generalised(size: int, sigma: Widths, angle: float, beta: float) -> Kernel:
    """Return a Gaussian with heavier tails (beta < 1) or a flatter top (beta > 1)."""
    return _normalised(np.exp(-(_form(size, sigma, angle) ** beta) / 2))


def plateau(size: int, sigma: Widths, angle: float, beta: float) -> Kernel:
    """Return a bump with a flat top, the steeper at its edge the larger beta is."""
    return _normalised(1 / (1 + _form(size, sigma, angle) ** beta))


def sinc(size: int, cutoff: float) -> Kernel:
    """Return the ideal low-pass filter for frequencies below `cutoff` radians per pixel, cut off at the kernel's border.

    w J1(w r) / (2 pi r) for the distance r from the middle, where it is w^2 / (4 pi).
    """
    rows, columns = _grid(size)
    distance = np.hypot(rows, columns)
    bessel = torch.special.bessel_j1(torch.from_numpy(cutoff * distance)).numpy()
    middle = distance == 0
    return _normalised(np.where(middle, cutoff**2 / (4 * pi), cutoff * bessel / (2 * pi * np.where(middle, 1, distance))))


def _grid(size: int, shift: float = 0.0) -> tuple[Kernel, Kernel]:
    """Return how far below and right of the middle each place is, in a column and a row."""
    places = np.arange(size, dtype=np.float64) - size // 2 - shift
    return places[:, None], places[None, :]


def _form(size: int, sigma: Widths, angle: float, shift: float = 0.0) -> Kernel:
    """Return q; the first width is along the angle, the second across it."""
    down, right = _grid(size, shift)
    along, across = right * cos(angle) + down * sin(angle), down * cos(angle) - right * sin(angle)
    form: Kernel = (along / sigma[0]) ** 2 + (across / sigma[1]) ** 2
    return form


def _normalised(kernel: Kernel) -> Kernel:
    normalised: Kernel = kernel / kernel.sum()
    return normalised
