"""How far means can be trusted: intervals by the bootstrap, and two contestants compared picture by picture."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, isnan, nan, sqrt

import numpy as np

from gantool.evaluation.values import Comparison, Mean, Row, SetValue
from gantool.metrics import METRICS

RESAMPLES = 10_000
REGIONS = (11.5, 12.5, 16.0)  # RMSE up to which results are of regions 1, 2 and 3 of PIRM 2018
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
    with np.errstate(invalid="ignore"):  # inf and -inf have no mean
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
    if any(isnan(value) for pair in pairs for value in pair):
        return Comparison(metric, first, second, Mean(nan), nan, None, "a value is not a number")
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


def means(rows: Sequence[Row], metrics: Sequence[str], seed: int = 0) -> dict[str, Mean]:
    """Return the means of metrics that all pictures have a value of: a mean of fewer pictures is another number."""
    whole = [name for name in metrics if all(name in row.values for row in rows)]
    return {name: mean([row.values[name] for row in rows], seed) for name in whole}


def rmse(mean_error: Mean) -> SetValue:
    """Return PIRM's figure of distortion: the root of the mean of pictures' mean squared errors, with its region."""
    root = sqrt(mean_error.value)
    region = next((f"region {number}" for number, most in enumerate(REGIONS, 1) if root <= most), "beyond region 3")
    return SetValue("rmse", root, words=f"the root of the mean mse-y: {region} of PIRM 2018", details={"region": region})


def comparisons(contestants: Sequence[Sequence[Row]], metrics: Sequence[str], seed: int = 0) -> tuple[Comparison, ...]:
    """Compare each contestant with the first one, by the metrics that have a better and a worse.

    Args:
        contestants: rows of each, of the same pictures in the same order.
        metrics: names out of `METRICS`; those that all pictures of two contestants have are compared.
        seed: of the bootstrap.
    """
    first, others = contestants[0], contestants[1:]
    return tuple(
        compare(
            metric,
            first[0].contestant,
            other[0].contestant,
            [(a.values[metric], b.values[metric]) for a, b in zip(first, other, strict=True)],
            METRICS[metric].better == "higher",
            seed,
        )
        for other in others
        for metric in metrics
        if METRICS[metric].better and all(metric in row.values for row in (*first, *other))
    )
