"""Learning-rate schedules: functions from progress through a stage, in [0, 1], to a factor on the rates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import cos, pi


def constant(progress: float) -> float:
    """Keep the rate."""
    return 1.0


def halve_at(points: Sequence[float]) -> Callable[[float], float]:
    """Halve the rate at each of the given points of the stage, in [0, 1]."""
    return lambda progress: 0.5 ** sum(progress >= point for point in points)


def cosine(warmup: float = 0.0) -> Callable[[float], float]:
    """Rise linearly over the share `warmup` of the stage, then fall to 0 along half a cosine (SGDR without restarts)."""

    def factor(progress: float) -> float:
        if progress < warmup:
            return progress / warmup
        return 0.5 * (1 + cos(pi * (progress - warmup) / (1 - warmup)))

    return factor


def linear_decay(start: float) -> Callable[[float], float]:
    """Keep the rate up to the share `start` of the stage, then let it fall to 0 in a straight line."""
    return lambda progress: min(1.0, (1 - progress) / (1 - start))
