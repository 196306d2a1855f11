"""How far means can be trusted: intervals by the bootstrap, and two contestants compared picture by picture."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

import numpy as np

from gantool.evaluation.values import Comparison, Mean

RESAMPLES = 10_000
LEVEL = 0.95
_DRAWS = 1 << 22  # indices drawn at once, so that memory does not grow with the number of pictures


def mean(values: Sequence[float], seed: int = 0) -> Mean:
    """Return the mean of values with its percentile interval by the bootstrap (Efron 1979): pictures drawn with replacement.

    There is no interval for a single value, nor where one is infinite.

    Args:
        values: one a picture.
        seed: of the draws.
    """
    array = np.asarray(values, np.float64)
    value = float(array.mean())
    if len(array) < 2 or not isfinite(value):
        return Mean(value)
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(_means(array, seed), [tail, 1 - tail])
    return Mean(value, float(low), float(high))


def _means(values: np.ndarray[tuple[int], np.dtype[np.float64]], seed: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the means of `RESAMPLES` samples of the same size, drawn with replacement."""
    rng, count = np.random.default_rng(seed), len(values)
    rows = max(1, _DRAWS // count)
    parts = [rng.integers(count, size=(min(rows, RESAMPLES - start), count)) for start in range(0, RESAMPLES, rows)]
    return np.concatenate([values[part].mean(1) for part in parts])


def compare(
    metric: str, first: str, second: str, pairs: Sequence[tuple[float, float]], higher_is_better: bool, seed: int = 0
) -> Comparison:
    """Compare two contestants by a metric's values for the same pictures.

    Args:
        metric: its name.
        first: label of the one that is compared with.
        second: label of the other.
        pairs: values of both for each picture.
        higher_is_better: how the metric goes.
        seed: of the bootstrap.
    """
    # two infinite values are no difference: subtraction would not be a number
    differences = [0.0 if one == other else other - one for one, other in pairs]
    sign = 1 if higher_is_better else -1
    wins = sum(1.0 if sign * each > 0 else 0.5 * (each == 0) for each in differences) / len(differences)
    return Comparison(metric, first, second, mean(differences, seed), wins, *wilcoxon(differences))


def wilcoxon(differences: Sequence[float]) -> tuple[float | None, str]:
    """Return the two-sided p of Wilcoxon's signed-rank test, by SciPy, or None and why there is none."""
    if not any(differences):
        return None, "no picture differs"
    try:
        from scipy.stats import wilcoxon as test
    except ImportError:  # the rest of a comparison is worth having without it
        return None, "the test takes SciPy: pip install 'gantool[eval]'"
    return float(test(np.asarray(differences, np.float64)).pvalue), ""
