"""Colourfulness of a picture (Hasler & Suesstrunk, SPIE 2003, their second measure): 0 for gray, some 80 for gaudy."""

from __future__ import annotations

from torch import Tensor


def colorfulness(result: Tensor) -> float:
    """Return sigma + 0.3 mu of the opponent colours R - G and (R + G) / 2 - B, in float64.

    sigma is the length of their two standard deviations, mu that of their two means, over all pixels. By the authors' ratings,
    15 is slightly, 33 moderately, 45 averagely, 59 quite, 82 highly and 109 extremely colourful.

    Args:
        result: (N, 3|1, H, W) in 0 to 255, any type; a gray picture has 0.
    """
    if result.shape[1] == 1:
        return 0.0
    red, green, blue = result.double().unbind(1)
    opponents = (red - green, (red + green) / 2 - blue)
    sigma = sum(each.var(correction=0).item() for each in opponents) ** 0.5
    mu = sum(each.mean().item() ** 2 for each in opponents) ** 0.5
    return float(sigma + 0.3 * mu)
