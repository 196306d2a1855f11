"""Colour difference as people see it: CIEDE2000 (Luo, Cui, Rigg 2001), after the notes of Sharma, Wu, Dalal (2005)."""

from __future__ import annotations

from math import pi, radians

import torch
from torch import Tensor

from gantool.layers.color import lab

BAND_PIXELS = 1 << 16  # handled at once: some thirty values a pixel


def delta_e(result: Tensor, reference: Tensor) -> float:
    """Return the mean CIEDE2000 difference over all pixels; about 1 can just be seen, 2.3 is the usual allowance in print.

    Pictures are taken for sRGB under D65; a gray one has three equal channels. The three parametric factors are 1.

    Args:
        result: (N, 3|1, H, W) in 0 to 255, any type.
        reference: the same shape.
    """
    count, _, height, width = result.shape
    rows = max(1, BAND_PIXELS // (count * width))
    total = 0.0
    for top in range(0, height, rows):
        one, other = (lab(each[:, :, top : top + rows].double().expand(-1, 3, -1, -1) / 255) for each in (result, reference))
        total += ciede2000(one, other).sum().item()
    return total / (count * height * width)


def ciede2000(one: Tensor, other: Tensor) -> Tensor:
    """Return the CIEDE2000 differences (N, H, W) of L*, a*, b* (N, 3, H, W); equation numbers are Sharma's.

    Checked against his table of 34 pairs and scikit-image's `deltaE_ciede2000`.
    """
    (l1, a1, b1), (l2, a2, b2) = one.unbind(1), other.unbind(1)
    stretch = 1.5 - 0.5 * _saturation((a1.hypot(b1) + a2.hypot(b2)) / 2)  # 1 + G, eq. 4
    a1, a2 = a1 * stretch, a2 * stretch
    c1, c2 = a1.hypot(b1), a2.hypot(b2)
    chroma, light = (c1 + c2) / 2, ((l1 + l2) / 2 - 50).square()
    turn, hue = _hues(a1, b1, a2, b2)
    lightness = (l2 - l1) / (1 + 0.015 * light / (20 + light).sqrt())  # with S_L, eq. 18
    chromatic = (c2 - c1) / (1 + 0.045 * chroma)  # with S_C, eq. 19
    hueness = 2 * (c1 * c2).sqrt() * (turn / 2).sin() / (1 + 0.015 * chroma * _hue_weight(hue))  # eq. 11, with S_H, eq. 20
    angle = radians(60) * (-((hue.rad2deg() - 275) / 25).square()).exp()  # twice eq. 16
    rotation = -2 * _saturation(chroma) * angle.sin()  # R_T, eq. 17 and 21
    squares: Tensor = lightness.square() + chromatic.square() + hueness.square() + rotation * chromatic * hueness
    return squares.clamp(min=0).sqrt()  # eq. 22


def _hues(a1: Tensor, b1: Tensor, a2: Tensor, b2: Tensor) -> tuple[Tensor, Tensor]:
    """Return the turn from one hue to the other (eq. 10) and the hue half-way (eq. 14), in radians; gray has no hue."""
    h1, h2 = (torch.atan2(b, a).remainder(2 * pi) for a, b in ((a1, b1), (a2, b2)))
    colorless = ((a1 == 0) & (b1 == 0)) | ((a2 == 0) & (b2 == 0))
    difference, total = h2 - h1, h1 + h2
    # the short way leads over 0; opposite hues, rounded or not, do not count as far
    far = ((difference.abs() > pi + 1e-9) & ~colorless).double()
    turn = (difference - 2 * pi * far * difference.sign()).masked_fill(colorless, 0)
    half = (total + 2 * pi * far * torch.where(total < 2 * pi, 1, -1)) / 2
    return turn, torch.where(colorless, total, half)


def _hue_weight(hue: Tensor) -> Tensor:
    """Return T (eq. 15): how much hue counts at a hue, in radians."""
    return (
        1
        - 0.17 * (hue - radians(30)).cos()
        + 0.24 * (2 * hue).cos()
        + 0.32 * (3 * hue + radians(6)).cos()
        - 0.20 * (4 * hue - radians(63)).cos()
    )


def _saturation(chroma: Tensor) -> Tensor:
    """Return the root of C^7 / (C^7 + 25^7), from 0 for gray to 1."""
    power = chroma**7
    return (power / (power + 25**7)).sqrt()
