"""Mean squared error of the luma; the square of PIRM's RMSE, which rounds the luma and shaves 4 pixels."""

from __future__ import annotations

from torch import Tensor

from gantool.metrics.luma import luma
from gantool.metrics.mse import mse


def mse_y(result: Tensor, reference: Tensor, rounded: bool = False) -> float:
    """Return the mean squared error of the luma of images (N, 3|1, H, W) in 0 to 255."""
    return mse(luma(result, rounded), luma(reference, rounded))
