"""The same pictures under other conventions: where two papers' PSNR or SSIM differ, one of these is usually why."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import floor, inf, log10
from statistics import fmean

import torch
import torch.nn.functional as F
from torch import Tensor

from gantool.errors import InputError
from gantool.evaluation.values import Explained
from gantool.metrics import METRICS, prepare
from gantool.metrics.luma import full_range, luma
from gantool.metrics.mse import mse
from gantool.metrics.protocols import Recipe
from gantool.metrics.psnr import psnr
from gantool.metrics.ssim import C1, C2, ssim

EXPLAINED = ("psnr", "psnr-y", "ssim", "ssim-y")
Planes = Callable[[Tensor], Tensor]  # (1, 3|1, H, W) in 0 to 255 -> what is compared, (1, C, H, W)
Number = Callable[[Tensor, Tensor], float]

_COLORS: dict[str, Planes] = {
    "luma of 16 to 235, unrounded": luma,
    "luma of 16 to 235, rounded to whole levels": lambda images: luma(images, rounded=True),
    "luma of 0 to 255, unrounded (JPEG's; OpenCV and Pillow round it)": full_range,
    "RGB": lambda images: images,
}
_SIDE = 7  # pixels, of the uniform window
_MAP_MARGIN = 5  # pixels that the Gaussian window reaches


class Explaining:
    """Scores pictures of one contestant under all conventions as they come; the means come last.

    Args:
        metric: one of `EXPLAINED`.
        recipe: as it was asked for.
    """

    def __init__(self, metric: str, recipe: Recipe) -> None:
        self.metric, self.recipe = metric, recipe
        self.number: Number = psnr if metric.startswith("psnr") else ssim
        own = "RGB" if not METRICS[metric].luma else list(_COLORS)[int(recipe.rounded)]
        self.own = own
        self.values: dict[str, list[float]] = {}
        self.errors: list[float] = []  # mean squared, for what is pooled
        self.gray, self.whole = False, True

    def add(self, result: Tensor, reference: Tensor) -> None:
        """Score one pair (3|1, H, W) uint8, cropped but not shaved; with one that is too small there are no means."""
        self.gray |= len(reference) == 1
        try:
            scores = list(self._scores(result, reference))
        except InputError:  # as the metric itself says
            self.whole = False
            return
        for words, value in scores:
            self.values.setdefault(words, []).append(value)

    def _scores(self, result: Tensor, reference: Tensor) -> Iterator[tuple[str, float]]:
        one, other = prepare(result, reference, self.recipe.border)
        planes = _COLORS[self.own]
        self.errors.append(mse(planes(one), planes(other)))
        own = self.number(planes(one), planes(other))
        yield "as asked for", own
        for words, others in _COLORS.items():
            if words != self.own:
                yield words, self.number(others(one), others(other))
        for border in self._borders():
            try:
                pair = prepare(result, reference, border)
                yield f"{border} pixels shaved" if border else "no border shaved", self.number(*map(planes, pair))
            except InputError:
                continue  # nothing is left of so small a picture
        color = [images.expand(-1, 3, -1, -1) for images in (one, other)]
        yield "gray pictures taken for RGB", self.number(*map(planes, color)) if other.shape[1] == 1 else own
        for words, number in _NUMBERS[self.metric].items():
            yield words, number(planes(one), planes(other))

    def _borders(self) -> list[int]:
        scale = self.recipe.scale or 4
        return [border for border in sorted({0, 4, scale, scale + 6}) if border != self.recipe.border]

    def finish(self) -> tuple[Explained, ...]:
        """Return the means of conventions that all pictures could be scored under, with their differences."""
        own = self.values.pop("as asked for", [])
        if not own or not self.whole:
            return ()
        found = {words: fmean(values) for words, values in self.values.items() if len(values) == len(own)}
        if not self.gray:
            found.pop("gray pictures taken for RGB", None)
        if self.number is psnr:
            pooled = fmean(self.errors)
            found["one PSNR of the error of all pictures"] = 10 * log10(255**2 / pooled) if pooled else inf
        base = fmean(own)
        return tuple(
            Explained(self.metric, words, value, 0.0 if value == base else value - base) for words, value in found.items()
        )


def _mean_of_channels(one: Tensor, other: Tensor) -> float:
    """Return the mean of the channels' PSNR, which is not that of all channels together."""
    return fmean(psnr(one[:, c], other[:, c]) for c in range(one.shape[1]))


def _uniform_ssim(one: Tensor, other: Tensor) -> float:
    """Return SSIM as scikit-image has it by default: a uniform 7x7 window and covariances divided by one less."""
    x, y = one.double(), other.double()
    mean_x, mean_y, xx, yy, xy = (F.avg_pool2d(images, _SIDE, 1) for images in (x, y, x * x, y * y, x * y))
    unbiased = _SIDE**2 / (_SIDE**2 - 1)
    variances = unbiased * (xx - mean_x**2 + yy - mean_y**2)
    covariance = unbiased * (xy - mean_x * mean_y)
    likeness = (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
    return float((likeness * (2 * covariance + C2) / (variances + C2)).mean())


def _padded_ssim(one: Tensor, other: Tensor) -> float:
    """Return SSIM whose map is as large as the picture, which is reflected beyond its border."""
    return ssim(*(F.pad(images.double(), (_MAP_MARGIN,) * 4, mode="reflect") for images in (one, other)))


def _reduced_ssim(one: Tensor, other: Tensor) -> float:
    """Return SSIM as its authors' later code has it: every f-th value of means over f x f pixels, for f = side / 256."""
    factor = max(1, floor(min(one.shape[2:]) / 256 + 0.5))
    return ssim(*(F.avg_pool2d(_symmetric(images.double(), factor), factor) for images in (one, other)))


def _symmetric(images: Tensor, factor: int) -> Tensor:
    """Return images with so many mirrored pixels beyond their border that each place has f x f pixels around it."""
    before, after = (factor - 1) // 2, factor // 2
    for axis in (2, 3):
        length = images.shape[axis]
        ends = images.narrow(axis, 0, before).flip(axis), images.narrow(axis, length - after, after).flip(axis)
        images = torch.cat([ends[0], images, ends[1]], axis)
    return images


_WINDOWS: dict[str, Number] = {
    "a uniform 7x7 window, unbiased covariance (scikit-image's default)": _uniform_ssim,
    "the map as large as the picture, reflected at its border": _padded_ssim,
    "pictures first reduced to about 256 pixels (the authors' later code)": _reduced_ssim,
}
_NUMBERS: dict[str, dict[str, Number]] = {
    "psnr": {"mean of the channels' PSNR": _mean_of_channels},
    "psnr-y": {},
    "ssim": _WINDOWS,
    "ssim-y": _WINDOWS,
}
