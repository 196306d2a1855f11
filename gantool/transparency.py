"""Transparent pictures through networks that know only opaque ones."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor


def bleed(color: Tensor, alpha: Tensor) -> Tensor:
    """Give fully transparent pixels the colour of the visible ones around them.

    What lies under transparency is often black, and the network would draw it into the visible edge.

    Args:
        color: (C, H, W) uint8.
        alpha: (1, H, W) uint8.

    Returns:
        (C, H, W) uint8, the same where alpha is not 0.
    """
    visible = (alpha != 0).float()[None]
    if visible.all() or not visible.any():
        return color
    levels = [(color[None] * visible, visible)]  # sums of visible colours, and of their weights, in ever larger squares
    while not levels[-1][1].all():
        levels.append((F.avg_pool2d(levels[-1][0], 2, ceil_mode=True), F.avg_pool2d(levels[-1][1], 2, ceil_mode=True)))
    filled = levels[-1][0] / levels[-1][1]
    for values, weights_ in reversed(levels[:-1]):
        filled = F.interpolate(filled, size=values.shape[2:])
        filled = torch.where(weights_ > 0, values / weights_.clamp(min=1e-12), filled)
    return torch.where(alpha != 0, color, filled[0].add_(0.5).to(torch.uint8))


def keep_flat(alpha: Tensor, larger: Tensor) -> Tensor:
    """Make an enlarged alpha exactly opaque or clear where the original is all so around; networks miss it by a level or two.

    Args:
        alpha: (1, H, W) uint8.
        larger: (1, H', W') uint8.
    """
    rows, columns = (
        ((torch.arange(n_out) + 0.5) * (n_in / n_out)).long()
        for n_in, n_out in zip(alpha.shape[1:], larger.shape[1:], strict=True)
    )
    for level in (0, 255):
        other = (alpha != level).float()[None]
        flat = F.max_pool2d(other, 5, 1, 2)[0] == 0
        larger = torch.where(flat[:, rows][:, :, columns], level, larger)
    return larger.to(torch.uint8)
