"""How large a result is to be, and how any scale is reached with a network of a whole one."""

from __future__ import annotations

from dataclasses import dataclass, fields
from fractions import Fraction
from math import floor, inf

from gantool.errors import GantoolError, UsageError, printable

DEFAULT = 4.0  # where neither a scale nor a single model is named
_LONGEST = 1_000_000  # pixels of a side that may be asked for


def passes(scale: float, own: int) -> int:
    """Return how often the picture goes through the network; its result is then made smaller by bicubic interpolation."""
    return 1 if scale <= own else 2


def output_side(side: int, scale: float) -> int:
    """Return the length of a side that was `side` pixels: rounded half up, as the decimal number says it, and at least 1.

    >>> output_side(101, 3.5)
    354
    """
    return max(1, floor(Fraction(repr(scale)) * side + Fraction(1, 2)))


@dataclass(frozen=True)
class Target:
    """How large results are to be: a scale, or sides in pixels. With none of them, the model's own scale.

    Attributes:
        scale: output side / input side.
        width: of the result; with `height` the proportions may change.
        height: of the result.
        long_side: the longer side of the result.
        short_side: the shorter side of the result.
    """

    scale: float | None = None
    width: int | None = None
    height: int | None = None
    long_side: int | None = None
    short_side: int | None = None

    def __post_init__(self) -> None:
        """Check that what is asked for goes together.

        Raises:
            UsageError: it does not.
        """
        given = [f.name for f in fields(self) if getattr(self, f.name) is not None]
        if len(given) > 1 and set(given) != {"width", "height"}:
            flags = " and ".join("--" + name.replace("_", "-") for name in given)
            raise UsageError(f"{flags} exclude one another: give one, or --width and --height")
        for name in given:
            value = getattr(self, name)
            if name != "scale" and not 0 < value <= _LONGEST:
                flag = "--" + name.replace("_", "-")
                raise UsageError(f"{flag} {value} is not possible: use a number of pixels from 1 to {_LONGEST}")
        if self.scale is not None and not 0 < self.scale < inf:
            raise UsageError(f"--scale {self.scale:g} is not possible: use a positive number, such as 2, 3 or 2.5")

    @property
    def by_sides(self) -> bool:
        """Whether the scale differs between pictures."""
        return any((self.width, self.height, self.long_side, self.short_side))

    @property
    def label(self) -> str:
        """What stands in an output's name for the sides: w1920, h1080, 1920x1080, long1920, short1080."""
        if self.width and self.height:
            return f"{self.width}x{self.height}"
        pairs = {"w": self.width, "h": self.height, "long": self.long_side, "short": self.short_side}
        return next(f"{letter}{value}" for letter, value in pairs.items() if value)

    def _asked(self, height: int, width: int) -> tuple[int, int]:
        """Return the axis whose length is asked for (0 down, 1 across), and the length."""
        if self.width or self.height:
            return (1, self.width) if self.width else (0, self.height or 0)
        longer = int(width >= height)
        return (longer, self.long_side) if self.long_side else (1 - longer, self.short_side or 0)

    def size(self, height: int, width: int, own: float) -> tuple[int, int]:
        """Return (height, width) of the result for a picture's, where the model's own scale is `own`."""
        if self.width and self.height:
            return self.height, self.width
        if not self.by_sides:
            scale = self.scale or own
            return output_side(height, scale), output_side(width, scale)
        axis, length = self._asked(height, width)
        other = floor(Fraction(length * (height, width)[1 - axis], (height, width)[axis]) + Fraction(1, 2))
        return (length, max(1, other)) if axis == 0 else (max(1, other), length)

    def factors(self, height: int, width: int, own: float) -> tuple[float, float]:
        """Return output side / input side, down and across."""
        if self.width and self.height:
            return self.height / height, self.width / width
        if not self.by_sides:
            return (self.scale or own,) * 2
        axis, length = self._asked(height, width)
        return (length / (height, width)[axis],) * 2


def check_reach(scale: float, own: int, name: str, error: type[GantoolError]) -> None:
    """Check that a model reaches a scale.

    Args:
        scale: output side / input side.
        own: the model's.
        name: of the model.
        error: what is raised if it does not.
    """
    if scale > own**2:
        asked = "--scale" if issubclass(error, UsageError) else "a scale of"
        raise error(f"{asked} {scale:g} is too large for {printable(name)}: it reaches {own**2}, going through it twice")
