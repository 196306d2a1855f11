"""How pictures are measured, in numbers and in words: a figure without its recipe settles nothing."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from gantool.errors import UsageError, printable, unknown
from gantool.metrics import METRICS, parse

SHAVE = "scale"  # as many pixels as the scale


@dataclass(frozen=True)
class Protocol:
    """Rules under which numbers have been published.

    Attributes:
        words: what they are and who uses them.
        metrics: what is measured if nothing else is asked for.
        border: pixels shaved on each side beside the scale, or on its own.
        by_scale: the border has the scale's pixels more, and the scale has to be known.
        crops: references are cropped to a multiple of the scale.
        rounded: the luma is rounded to whole levels.
        luma: errors are those of the luma, else of RGB.
    """

    words: str
    metrics: str
    border: int = 0
    by_scale: bool = False
    crops: bool = False
    rounded: bool = False
    luma: bool = False

    def pixels(self, scale: int | None) -> int:
        """Return the pixels to be shaved."""
        return self.border + (scale or 0) * self.by_scale


PROTOCOLS = {
    "sr": Protocol(
        "super-resolution's tables: luma, cropped to a multiple of the scale, a border as wide shaved",
        "psnr-y,ssim-y",
        by_scale=True,
        crops=True,
        luma=True,
    ),
    "rgb": Protocol("BasicSR's tables: the same of RGB", "psnr,ssim", by_scale=True, crops=True),
    "ntire": Protocol("NTIRE 2017 and EDSR's DIV2K: RGB, scale + 6 pixels shaved", "psnr,ssim", 6, by_scale=True),
    "pirm": Protocol(
        "PIRM 2018: luma rounded, 4 pixels shaved, RMSE of the set and its region; pi takes --ma",
        "mse-y,niqe",
        4,
        rounded=True,
        luma=True,
    ),
    "ntire20": Protocol("NTIRE 2020 and SRResCGAN: RGB, nothing shaved", "psnr,ssim,lpips"),
}
"""Rules by name."""
_RGB, _LUMA = ("psnr", "ssim", "mse"), ("psnr-y", "ssim-y", "mse-y")


@dataclass(frozen=True)
class Recipe:
    """What is measured and how.

    Attributes:
        metrics: names out of `METRICS`.
        scale: what the results were enlarged by, if that is known.
        border: pixels shaved on each side.
        crops: references are cropped at the right and the bottom to a multiple of the scale; else they are taken whole.
        rounded: the luma is rounded to whole levels.
        named: the name out of `PROTOCOLS` that was asked for.
        degraded: low resolution was made otherwise than published numbers take it for.
    """

    metrics: tuple[str, ...]
    scale: int | None
    border: int
    crops: bool = True
    rounded: bool = False
    named: str | None = None
    degraded: bool = False

    @property
    def multiple(self) -> int:
        """What sides of references are cropped to a multiple of."""
        return self.scale if self.crops and self.scale else 1

    @property
    def pictured(self) -> tuple[str, ...]:
        """Those metrics that have a number for each picture."""
        return tuple(metric for metric in self.metrics if METRICS[metric].kind in ("pair", "picture"))

    @property
    def protocol(self) -> str | None:
        """The name out of `PROTOCOLS` under which these numbers can be compared with published ones, if any."""
        if self.named or self.degraded or self.scale is None or self.border != self.scale:
            return self.named
        named = {name: set(parse(PROTOCOLS[name].metrics)) & set(self.pictured) for name in ("sr", "rgb")}
        return next((name for name, metrics in named.items() if metrics), None)

    def lines(self) -> list[str]:
        """Return the whole recipe in words: how pictures are taken, then each metric."""
        rounding = ", rounded to whole levels" if self.rounded else ", unrounded"
        lines = [self._taken()] if self.pictured else []
        if len(self.pictured) < len(self.metrics):
            lines.append("numbers of sets: 8-bit pictures, no border shaved")
        for name in self.metrics:
            metric = METRICS[name]
            by = "" if metric.by == "gantool" else f", computed by {metric.by}"
            lines.append(f"{name}: {metric.words.format(rounded=rounding)}{by}")
        return lines

    def _taken(self) -> str:
        cropped = f"references cropped to a multiple of {self.multiple}" if self.multiple > 1 else "references taken whole"
        shaved = f"{self.border} pixels shaved on each side" if self.border else "no border shaved"
        name = f"protocol {self.protocol}" if self.protocol else "no named protocol"
        if self.protocol and self.scale:
            name += f" at scale {self.scale}"
        if not self.scale and not self.protocol:
            name += " (super-resolution's tables crop and shave by the scale)"
        return f"{name}: 8-bit pictures, {cropped}, {shaved}; the mean is that of the pictures' values"


def recipe(metrics: str | None, protocol: str | None, scale: float | None, crop_border: str | None) -> Recipe:
    """Return the recipe that a command's options ask for.

    With a scale pictures are cropped and shaved by it, unless the border says otherwise. Without one nothing is known to be.

    Args:
        metrics: comma-separated names; None: those of the protocol.
        protocol: a name out of `PROTOCOLS`, which then has to be met.
        scale: by how much the results were enlarged.
        crop_border: a number of pixels, "scale", or None for what the protocol says, else the scale where it is known.

    Raises:
        UsageError: a name does not exist, a value makes no sense, or they do not fit together.
    """
    if protocol is not None and protocol not in PROTOCOLS:
        raise unknown("protocol", protocol, PROTOCOLS)
    rules = PROTOCOLS[protocol or "sr"]
    names, whole = parse(rules.metrics if metrics is None else metrics), _whole(scale)
    if protocol is None:
        return Recipe(names, whole, _border(crop_border, whole))
    if wrong := sorted(set(names) & set(_RGB if rules.luma else _LUMA)):
        side, other = ("the luma", "RGB") if rules.luma else ("RGB", "the luma")
        raise UsageError(f"--protocol {protocol} measures {side}, and {', '.join(wrong)} {other}: leave out one of them")
    if rules.by_scale and whole is None:
        raise UsageError(f"--protocol {protocol} shaves by the scale: add --scale 4, or what the results were enlarged by")
    border = rules.pixels(whole)
    if crop_border is not None and _border(crop_border, whole) != border:
        at = f" at --scale {whole}" if rules.by_scale else ""
        raise UsageError(f"--protocol {protocol} shaves {border} pixels{at}, not {crop_border}: leave out --crop-border")
    return Recipe(names, whole, border, rules.crops, rules.rounded, protocol)


def _whole(scale: float | None) -> int | None:
    if scale is None:
        return None
    if not isfinite(scale) or scale < 1 or scale != int(scale):
        raise UsageError(f"--scale {scale:g} cannot be cropped and shaved by: evaluate takes whole numbers from 1 on")
    return int(scale)


def _border(text: str | None, scale: int | None) -> int:
    if text is None:
        return scale or 0
    if text == SHAVE:
        if scale is None:
            raise UsageError("--crop-border scale needs the scale: add --scale 4, or what the results were enlarged by")
        return scale
    if not (text.isascii() and text.isdecimal()):
        raise UsageError(f"--crop-border {printable(text)} is no number of pixels: use 0, 4 or such, or scale")
    return int(text)
