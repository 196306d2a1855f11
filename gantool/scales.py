"""How any scale is reached with a network of a whole scale: once or twice through it, then smaller by bicubic interpolation."""

from __future__ import annotations

from math import inf

from gantool.errors import UsageError, printable

DEFAULT = 4.0  # where neither a scale nor a single model is named


def check(scale: float, own: int | None = None, name: str = "") -> None:
    """Check that a model reaches a scale.

    Args:
        scale: output side / input side.
        own: the model's; None where it is not known yet.
        name: of the model.

    Raises:
        UsageError: the scale is no positive number, or more than going through the model twice gives.
    """
    if not 0 < scale < inf:
        raise UsageError(f"--scale {scale:g} is not possible: use a positive number, such as 2, 3 or 2.5")
    if own is not None and scale > own**2:
        raise UsageError(f"--scale {scale:g} is too large for {printable(name)}: it reaches {own**2}, going through it twice")


def passes(scale: float, own: int) -> int:
    """Return how often the picture goes through the network."""
    return 1 if scale <= own else 2
