"""Measures of pictures, one file each: pure functions. The table below is read without importing anything heavy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from gantool.errors import InputError, UsageError, unknown

if TYPE_CHECKING:
    from torch import Tensor

Kind: TypeAlias = Literal["pair", "picture", "sets", "set", "labels"]
"""What a metric looks at: a result and its reference, a result alone, all results and all references, all results, or what
a user's own network says of the results."""


@dataclass(frozen=True)
class Metric:
    """What a number is, in words and for programs.

    Attributes:
        words: the recipe.
        kind: what it looks at.
        better: the direction of good results; None where there is none.
        needs: names of weights, in weights.toml, that it looks through, in the order of the function's arguments.
        luma: it looks at the luma alone, which a protocol may round.
        by: what computes it: this project, or a library.
    """

    words: str
    kind: Kind = "pair"
    better: Literal["higher", "lower"] | None = "lower"
    needs: tuple[str, ...] = ()
    luma: bool = False
    by: str = "gantool"


_LUMA = "of the luma, BT.601 in 16 to 235{rounded} (a gray picture is its own, in 0 to 255)"
_SSIM = "an 11x11 Gaussian of sigma 1.5 where it fits, K 0.01 and 0.03, L 255"
_LPIPS = "of whole pictures, RGB, through"
_REACH, _NEAR = "within reach", "as far as the third nearest of its own side, in VGG16's second fully connected layer"
METRICS: dict[str, Metric] = {
    "psnr": Metric("PSNR of all channels together, in dB, peak 255", better="higher"),
    "psnr-y": Metric(f"PSNR {_LUMA}, in dB, peak 255", better="higher", luma=True),
    "mse": Metric("mean squared error of all channels together, in levels of 255"),
    "mse-y": Metric(f"mean squared error {_LUMA}", luma=True),
    "ssim": Metric(f"SSIM, mean of the channels, {_SSIM}", better="higher"),
    "ssim-y": Metric(f"SSIM {_LUMA}, {_SSIM}", better="higher", luma=True),
    "ms-ssim": Metric(f"MS-SSIM over 5 scales, mean of the channels, {_SSIM}", better="higher"),
    "hfen": Metric(f"error over reference, norms after a zero-sum 15x15 LoG of sigma 1.5 where it fits, {_LUMA}", luma=True),
    "delta-e": Metric("CIEDE2000 of sRGB under D65, mean of the pixels"),
    "colorfulness": Metric("colourfulness by Hasler and Suesstrunk, 0 for gray", kind="picture", better=None),
    "lpips": Metric(f"LPIPS 0.1 {_LPIPS} AlexNet", needs=("alexnet", "lpips-alex")),
    "lpips-vgg": Metric(f"LPIPS 0.1 {_LPIPS} VGG16", needs=("vgg16", "lpips-vgg")),
    "lpips-squeeze": Metric(f"LPIPS 0.1 {_LPIPS} SqueezeNet 1.1", needs=("squeezenet", "lpips-squeeze")),
    "dists": Metric("DISTS of whole pictures, not shrunk to 256 pixels, RGB, through VGG16", needs=("vgg16", "dists")),
    "niqe": Metric("NIQE of the luma, rounded, blocks of 96x96 pixels", kind="picture", needs=("niqe",)),
    "pi": Metric("Perceptual Index ((10 - Ma) + NIQE) / 2, Ma as given", kind="picture", needs=("niqe",)),
    "fid": Metric("Frechet distance between Inception's features of two sets", kind="sets", needs=("inception",)),
    "kid": Metric(
        "unbiased squared MMD between Inception's features, kernel (x.y/2048 + 1)^3, mean of 100 subsets",
        kind="sets",
        needs=("inception",),
        by="torch-fidelity",
    ),
    "is": Metric("Inception score, mean of 10 splits", kind="set", better="higher", needs=("inception",), by="torch-fidelity"),
    "precision": Metric(f"share of results {_REACH} of a reference, {_NEAR}", "sets", "higher", ("vgg16-fc",)),
    "recall": Metric(f"share of references {_REACH} of a result, {_NEAR}", "sets", "higher", ("vgg16-fc",)),
    "swd": Metric("sliced Wasserstein distance of 7x7 patches, mean of the levels of a Laplacian pyramid, x1000", "sets"),
    "ms-ssim-diversity": Metric("MS-SSIM of random pairs of results, lower where they differ more", "set"),
    "seg": Metric(
        "FCN score: shares of places and mean of classes, IoU of classes, that a segmenter sees as their label pictures say; "
        "comparable only where the same network looked",
        kind="labels",
        better="higher",
    ),
    "accuracy": Metric("share of results that a classifier sees as the wanted class", kind="labels", better="higher"),
}
"""Every metric. Of those of pictures, `psnr-y` is the function `psnr_y` of `psnr_y.py`, and likewise all but `_FUNCTIONS`."""

_FUNCTIONS = {  # file and function where the name does not tell
    "lpips-vgg": ("lpips", "lpips_vgg"),
    "lpips-squeeze": ("lpips", "lpips_squeeze"),
    "pi": ("niqe", "niqe"),  # the half that pictures tell; see `gantool.metrics.pi`
}


class Measure(Protocol):
    """A metric of one picture."""

    def __call__(self, result: Tensor, reference: Tensor) -> float:
        """Return a number for images (N, 3|1, H, W) in 0 to 255; those of kind "picture" do not look at the reference."""
        ...


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


def bind(name: str, parts: Mapping[str, object], rounded: bool = False) -> Measure:
    """Return the function of a metric of kind "pair" or "picture" in `METRICS`, given what it needs; for `pi`, that of NIQE.

    Args:
        name: out of `METRICS`.
        parts: what `needs` names, each loaded.
        rounded: the luma is rounded to whole levels first; only metrics of the luma know this.
    """
    metric, same = METRICS[name], name.replace("-", "_")
    file, identifier = _FUNCTIONS.get(name, (same, same))
    function = getattr(import_module(f"{__name__}.{file}"), identifier)
    needed = [parts[part] for part in metric.needs]
    if metric.kind == "picture":
        return lambda result, reference: function(result, *needed)
    if metric.luma:
        return partial(function, rounded=rounded)
    return lambda result, reference: function(result, reference, *needed)


def measure(result: Tensor, reference: Tensor, metrics: Sequence[str], border: int) -> dict[str, float]:
    """Return what each metric that needs no weights says of one picture; see `apply`.

    Args:
        result: (3|1, H, W) uint8.
        reference: (3|1, H, W) uint8, the same height and width.
        metrics: names out of `METRICS`.
        border: pixels shaved on each side, before anything else.

    Raises:
        InputError: the sizes differ, or too little is left to measure.
    """
    return apply({name: bind(name, {}) for name in metrics}, result, reference, border)


def apply(measures: Mapping[str, Measure], result: Tensor, reference: Tensor, border: int) -> dict[str, float]:
    """Return what each metric says of one picture, by its name, in the given order.

    The reference decides whether the pair is gray or in colour: a result in colour is turned to gray for a gray reference
    (see `luma.to_gray`), and a gray result counts as a colour picture with three equal channels for a reference in colour.

    Args:
        measures: from `bind`.
        result: (3|1, H, W) uint8.
        reference: (3|1, H, W) uint8, the same height and width; the result itself where there is none.
        border: pixels shaved on each side, before anything else.

    Raises:
        InputError: the sizes differ, or too little is left to measure.
    """
    one, other = prepare(result, reference, border)
    return {name: function(one, other) for name, function in measures.items()}


def prepare(result: Tensor, reference: Tensor, border: int) -> tuple[Tensor, Tensor]:
    """Return result and reference (1, 3|1, H - 2 border, W - 2 border) uint8 as metrics get them; see `apply`."""
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
    return one.expand_as(other), other
