"""How pictures are measured, in numbers and in words: a figure without its recipe settles nothing."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from gantool.errors import UsageError, printable, unknown
from gantool.metrics import METRICS, parse

PROTOCOLS = {"sr": "super-resolution's tables: references cropped to a multiple of the scale, a border as wide shaved"}
"""Rules by name, in words."""


@dataclass(frozen=True)
class Recipe:
    """What is measured and how.

    Attributes:
        metrics: names out of `METRICS`.
        scale: references are cropped at the right and the bottom to a multiple of it; None: they are taken whole.
        border: pixels shaved on each side.
    """

    metrics: tuple[str, ...]
    scale: int | None
    border: int

    @property
    def protocol(self) -> str | None:
        """The name out of `PROTOCOLS` under which these numbers can be compared with published ones, if any."""
        return "sr" if self.scale is not None and self.border == self.scale else None

    def lines(self) -> list[str]:
        """Return the whole recipe in words: how pictures are taken, then each metric."""
        cropped = f"references cropped to a multiple of {self.scale}" if self.scale else "references taken whole"
        shaved = f"{self.border} pixels shaved on each side" if self.border else "no border shaved"
        if self.protocol:
            name = f"protocol {self.protocol} at scale {self.scale}"
        else:
            name = "no named protocol (super-resolution's tables crop and shave by the scale)"
        taken = f"{name}: 8-bit pictures, {cropped}, {shaved}; the mean is that of the pictures' values"
        return [taken, *(f"{metric}: {METRICS[metric]}" for metric in self.metrics)]


def recipe(metrics: str, protocol: str | None, scale: float | None, crop_border: str | None) -> Recipe:
    """Return the recipe that a command's options ask for.

    With a scale the protocol is `sr`, unless the border says otherwise. Without one nothing is known to be shaved or cropped.

    Args:
        metrics: comma-separated names.
        protocol: a name out of `PROTOCOLS`, which then has to be met.
        scale: by how much the results were enlarged.
        crop_border: a number of pixels, "scale", or None for the scale where it is known and 0 where not.

    Raises:
        UsageError: a name does not exist, a value makes no sense, or they do not fit together.
    """
    names, whole = parse(metrics), _whole(scale)
    border = _border(crop_border, whole)
    if protocol is not None and protocol not in PROTOCOLS:
        raise unknown("protocol", protocol, PROTOCOLS)
    if protocol == "sr" and whole is None:
        raise UsageError("--protocol sr crops and shaves by the scale: add --scale 4, or what the results were enlarged by")
    if protocol == "sr" and border != whole:
        raise UsageError(f"--protocol sr shaves {whole} pixels at --scale {whole}, not {border}: leave out --crop-border")
    return Recipe(names, whole, border)


def _whole(scale: float | None) -> int | None:
    if scale is None:
        return None
    if not isfinite(scale) or scale < 1 or scale != int(scale):
        raise UsageError(f"--scale {scale:g} cannot be cropped and shaved by: evaluate takes whole numbers from 1 on")
    return int(scale)


def _border(text: str | None, scale: int | None) -> int:
    if text is None:
        return scale or 0
    if text == "scale":
        if scale is None:
            raise UsageError("--crop-border scale needs the scale: add --scale 4, or what the results were enlarged by")
        return scale
    if not (text.isascii() and text.isdecimal()):
        raise UsageError(f"--crop-border {printable(text)} is no number of pixels: use 0, 4 or such, or scale")
    return int(text)
