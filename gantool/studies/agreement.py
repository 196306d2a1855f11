"""How far raters agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TypeVar

T = TypeVar("T", bound=Hashable)


def nominal(a: object, b: object) -> float:
    """Return 0 for equal values, else 1."""
    return float(a != b)


def interval(a: float, b: float) -> float:
    """Return the squared difference."""
    return (a - b) ** 2


def alpha(units: Sequence[Sequence[T]], difference: Callable[[T, T], float]) -> float | None:
    """Return Krippendorff's alpha (Content Analysis, 3rd ed., 2013, chapter 12): 1 - observed / expected disagreement.

    1 is full agreement, 0 what chance gives, and less is systematic disagreement.

    Args:
        units: for each thing that was judged, the values given to it, in any order; any number of raters may be missing.
        difference: of two values, 0 for equal ones, as `nominal` or `interval`.

    Returns:
        None where it is not defined: no unit has two values, or all values are the same.
    """
    paired = [Counter(unit) for unit in units if len(unit) > 1]
    every = sum(paired, Counter[T]())
    expected = _disagreement(every, difference) / max(1, every.total() - 1)
    if expected == 0:
        return None
    observed = sum(_disagreement(unit, difference) / (unit.total() - 1) for unit in paired)
    return 1 - observed / expected


def _disagreement(values: Mapping[T, int], difference: Callable[[T, T], float]) -> float:
    """Return the sum of the differences of all ordered pairs of values."""
    return sum(n * m * difference(a, b) for a, n in values.items() for b, m in values.items())
