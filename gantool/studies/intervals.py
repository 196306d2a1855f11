"""Intervals and tests for shares and means, by hand so that scores need no further package; tests hold them to SciPy's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, pi, sin, sqrt, tan
from statistics import NormalDist, fmean, stdev


@dataclass(frozen=True)
class Interval:
    """From low to high, both included."""

    low: float
    high: float


def wilson(successes: int, trials: int, level: float = 0.95) -> Interval:
    """Return the score interval of a share (Wilson, JASA 1927), without continuity correction.

    Args:
        successes: of `trials` independent ones.
        trials: at least 1.
        level: share of such intervals that hold the true share.
    """
    z = NormalDist().inv_cdf((1 + level) / 2)
    share, weight = successes / trials, z * z / trials
    middle = (share + weight / 2) / (1 + weight)
    half = z / (1 + weight) * sqrt(share * (1 - share) / trials + weight / (4 * trials))
    return Interval(max(0.0, middle - half), min(1.0, middle + half))


def binomial_p(successes: int, trials: int) -> float:
    """Return the probability, were both sides equally likely, of a split at least as uneven: the exact two-sided test."""
    ways = total = 1  # of 0 successes; whole numbers, so exact however many trials
    for k in range(min(successes, trials - successes)):
        ways = ways * (trials - k) // (k + 1)
        total += ways
    return min(1.0, float(total / 2 ** (trials - 1)))


def student(values: Sequence[float], level: float = 0.95) -> Interval | None:
    """Return the interval of the mean of a population by Student's t.

    There is none, None, for fewer than two values, and none for equal ones: without any spread its width would be zero, as if
    the mean were known.

    Args:
        values: one an individual, independent, as if normally distributed.
        level: share of such intervals that hold the true mean.
    """
    if len(set(values)) < 2:
        return None
    half = t_quantile((1 + level) / 2, len(values) - 1) * stdev(values) / sqrt(len(values))
    return Interval(fmean(values) - half, fmean(values) + half)


def t_quantile(p: float, freedom: int) -> float:
    """Return the quantile of Student's distribution.

    With t = sqrt(freedom) tan(angle) the density is proportional to cos(angle) to the power freedom - 1, whose integral is in
    closed form; bisection finds the angle.

    Args:
        p: from 0.5 to below 1.
        freedom: degrees of freedom, from 1 on.
    """
    whole = _cosine_power(freedom - 1, pi / 2) * 2
    low, high = 0.0, pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _cosine_power(freedom - 1, middle) < (p - 0.5) * whole else (low, middle)
    return sqrt(freedom) * tan(low)


def _cosine_power(power: int, angle: float) -> float:
    """Return the integral of cos to a power from 0 to an angle: by parts, two powers at a time."""
    value = angle if power % 2 == 0 else sin(angle)
    for n in range(2 + power % 2, power + 1, 2):
        value = (cos(angle) ** (n - 1) * sin(angle) + (n - 1) * value) / n
    return value
