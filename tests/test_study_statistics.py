"""The statistics of human studies against SciPy, closed forms and published examples."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from random import Random

import numpy as np
import pytest
from scipy import stats

from gantool.studies import agreement
from gantool.studies.intervals import binomial_p, student, t_quantile, wilson


@pytest.mark.parametrize(("hits", "answers"), [(0, 1), (1, 1), (0, 7), (3, 7), (50, 100), (999, 1000), (19_900, 40_100)])
def test_wilsons_interval_and_the_binomial_test_are_scipys(hits: int, answers: int) -> None:
    expected = stats.binomtest(hits, answers)
    interval = expected.proportion_ci(0.95, "wilson")
    found = wilson(hits, answers)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=1e-12)
    assert binomial_p(hits, answers) == pytest.approx(expected.pvalue, rel=1e-9)


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 7, 25, 999])
@pytest.mark.parametrize("p", [0.5, 0.9, 0.975, 0.9995])
def test_students_quantile_is_scipys(p: float, freedom: int) -> None:
    assert t_quantile(p, freedom) == pytest.approx(stats.t.ppf(p, freedom), rel=1e-9, abs=1e-9)


def test_students_interval_is_scipys_and_values_without_spread_have_none() -> None:
    values = [3.1, 2.2, 4.8, 3.9]
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    found = student(values)
    assert found
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-9)
    assert student([3.0]) is None
    assert student([0.7, 0.7, 0.7]) is None


EXAMPLE = """
    1 2 3 3 2 1 4 1 2 . . .
    1 2 3 3 2 2 4 1 2 5 . 3
    . 3 3 3 2 3 4 2 2 5 1 .
    1 2 3 3 2 4 4 1 2 5 1 .
"""


def interval(_: Mapping[int, int]) -> agreement.Difference[int]:
    """Return squared differences, the third of Krippendorff's metrics that `agreement.alpha` takes."""
    return lambda a, b: (a - b) ** 2


def test_alpha_of_krippendorffs_own_example_of_four_observers_and_twelve_units() -> None:
    columns = zip(*(line.split() for line in EXAMPLE.strip().splitlines()), strict=True)
    units = [[int(value) for value in column if value != "."] for column in columns]
    assert agreement.alpha(units, agreement.nominal) == pytest.approx(0.743, abs=5e-4)
    assert agreement.alpha(units, agreement.ordinal) == pytest.approx(0.815, abs=5e-4)
    assert agreement.alpha(units, interval) == pytest.approx(0.849, abs=5e-4)


def test_ordinal_alpha_depends_on_the_order_of_values_alone() -> None:
    rng = Random(1)
    units = [[rng.randint(1, 5) for _ in range(4)] for _ in range(8)]
    stretched = [[10**value for value in unit] for unit in units]
    assert agreement.alpha(units, agreement.ordinal) == pytest.approx(agreement.alpha(stretched, agreement.ordinal))
    assert agreement.alpha(units, interval) != pytest.approx(agreement.alpha(stretched, interval))


@pytest.mark.parametrize("metric", [agreement.nominal, interval])
def test_alpha_is_one_less_the_ratio_of_disagreement_within_units_and_among_all_values(
    metric: Callable[[Mapping[int, int]], agreement.Difference[int]],
) -> None:
    rng = Random(0)
    units = [[rng.randint(1, 5) for _ in range(6)] for _ in range(9)]

    def mean(values: list[int]) -> float:
        return float(np.mean([metric({})(a, b) for a, b in itertools.permutations(values, 2)]))

    expected = 1 - np.mean([mean(unit) for unit in units]) / mean([value for unit in units for value in unit])
    assert agreement.alpha(units, metric) == pytest.approx(expected)


def test_alpha_is_not_defined_for_one_rater_or_one_value() -> None:
    assert agreement.alpha([[1], [2]], agreement.nominal) is None
    assert agreement.alpha([[2, 2], [2, 2]], agreement.ordinal) is None
    assert agreement.alpha([[1, 1], [2, 2]], agreement.ordinal) == 1
