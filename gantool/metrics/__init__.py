"""Measures of pictures, one file each: pure functions. The table below is read without importing anything heavy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from gantool.errors import InputError, UsageError, unknown

if TYPE_CHECKING:
    from torch import Tensor

_LUMA = "of the luma, BT.601 in 16 to 235, unrounded (a gray picture is its own, in 0 to 255)"
_SSIM = "an 11x11 Gaussian of sigma 1.5 where it fits, K 0.01 and 0.03, L 255"
METRICS = {
    "psnr": "PSNR of all channels together, in dB, peak 255",
    "psnr-y": f"PSNR {_LUMA}, in dB, peak 255",
    "ssim": f"SSIM, mean of the channels, {_SSIM}",
    "ssim-y": f"SSIM {_LUMA}, {_SSIM}",
}
"""Every metric with its recipe in words; `psnr-y` is the function `psnr_y` of the file `psnr_y.py`."""


def parse(text: str) -> tuple[str, ...]:
    """Return the metrics of a comma-separated list, each once.

    Raises:
        UsageError: the list is empty, or there is no such metric; the near names are in the message.
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise UsageError(f"no metric is named: there are {', '.join(METRICS)}")
    for name in names:
        if name not in METRICS:
            raise unknown("metric", name, METRICS)
    return names


def load(name: str) -> Callable[[Tensor, Tensor], float]:
    """Return the function of a metric in `METRICS`: two image batches (N, 3|1, H, W) in 0 to 255 -> one number."""
    identifier = name.replace("-", "_")
    function: Callable[[Tensor, Tensor], float] = getattr(import_module(f"{__name__}.{identifier}"), identifier)
    return function


def measure(result: Tensor, reference: Tensor, metrics: Sequence[str], border: int) -> dict[str, float]:
    """Return what each metric says of one picture, by its name, in the given order.

    The reference decides whether the pair is gray or in colour: a result in colour is turned to gray for a gray reference
    (see `luma.to_gray`), and a gray result counts as a colour picture with three equal channels for a reference in colour.

    Args:
        result: (3|1, H, W) uint8.
        reference: (3|1, H, W) uint8, the same height and width.
        metrics: names out of `METRICS`.
        border: pixels shaved on each side, before anything else.

    Raises:
        InputError: the sizes differ, or too little is left to measure.
    """
    from gantool.metrics.luma import to_gray

    height, width = reference.shape[1:]
    if result.shape[1:] != reference.shape[1:]:
        size = f"{result.shape[2]}x{result.shape[1]}"
        raise InputError(f"the result has {size} pixels, the reference {width}x{height}: they must agree")
    if min(height, width) <= 2 * border:
        raise InputError(f"of {width}x{height} pixels none is left after shaving {border}: use a smaller --crop-border")
    kept = (..., slice(border, height - border), slice(border, width - border))
    one, other = result[None][kept], reference[None][kept]
    if other.shape[1] == 1:
        one = to_gray(one)
    return {name: load(name)(one.expand_as(other), other) for name in metrics}
