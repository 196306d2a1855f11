"""How far raters agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TypeAlias, TypeVar

T = TypeVar("T", bound=Hashable)
Difference: TypeAlias = Callable[[T, T], float]


def nominal(_: Mapping[T, int]) -> Difference[T]:
    """Return the difference of values that are only equal or not: 0 or 1."""
    return lambda a, b: float(a != b)


def ordinal(counts: Mapping[int, int]) -> Difference[int]:
    """Return the difference of values that have an order, but no distances: how many values lie between, squared.

    Of two values half of their own are counted with those between, so it is the squared difference of mean ranks.
    """
    ranks, below = dict[int, float](), 0
    for value in sorted(counts):
        ranks[value] = below + counts[value] / 2
        below += counts[value]
    return lambda a, b: (ranks[a] - ranks[b]) ** 2


def alpha(units: Sequence[Sequence[T]], metric: Callable[[Mapping[T, int]], Difference[T]]) -> float | None:
    """Return Krippendorff's alpha (Content Analysis, 3rd ed., 2013, chapter 12): 1 - observed / expected disagreement.

    1 is full agreement, 0 what chance gives, and less is systematic disagreement.

    Args:
        units: for each thing that was judged, the values given to it, in any order; any number of raters may be missing.
        metric: gives, from how often each value was given, the difference of two of them: `nominal` or `ordinal`.

    Returns:
        None where it is not defined: no unit has two values, or all values are the same.
    """
    paired = [Counter(unit) for unit in units if len(unit) > 1]
    every = sum(paired, Counter[T]())
    difference = metric(every)
    expected = _disagreement(every, difference) / max(1, every.total() - 1)
    if expected == 0:
        return None
    observed = sum(_disagreement(unit, difference) / (unit.total() - 1) for unit in paired)
    return 1 - observed / expected


def _disagreement(values: Mapping[T, int], difference: Difference[T]) -> float:
    """Return the sum of the differences of all ordered pairs of values."""
    return sum(n * m * difference(a, b) for a, n in values.items() for b, m in values.items())
