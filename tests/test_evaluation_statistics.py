"""Intervals and comparisons against closed forms and SciPy."""

from __future__ import annotations

import sys
from math import inf, isnan, nan

import numpy as np
import pytest
from scipy import stats

from gantool.evaluation.statistics import compare, mean


def test_the_interval_is_that_of_the_bootstrap() -> None:
    values = np.random.default_rng(3).gamma(2, 3, 40)
    found = mean(values.tolist())
    wanted = stats.bootstrap((values,), np.mean, n_resamples=10_000, method="percentile", rng=np.random.default_rng(1))
    assert found.value == pytest.approx(values.mean(), abs=1e-12)
    assert found.low == pytest.approx(wanted.confidence_interval.low, abs=0.05)
    assert found.high == pytest.approx(wanted.confidence_interval.high, abs=0.05)


def test_intervals_of_many_pictures_hold_the_true_mean_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(100):
        found = mean(rng.normal(5, 2, 50).tolist())
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 5 <= found.high
    assert 88 <= held <= 99


def test_a_seed_gives_the_same_interval_again_and_another_one_another() -> None:
    values = [1.0, 2.0, 4.0, 8.0]
    assert mean(values, 1) == mean(values, 1)
    assert mean(np.arange(50.0).tolist(), 1) != mean(np.arange(50.0).tolist(), 2)


@pytest.mark.parametrize("values", [[3.0], [1.0, inf]])
def test_one_picture_or_an_infinite_value_has_no_interval(values: list[float]) -> None:
    found = mean(values)
    assert (found.value, found.low, found.high) == (sum(values) / len(values), None, None)


def test_a_comparison_has_difference_wins_and_the_p_of_wilcoxon() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(27, 2, 20), rng.normal(27.5, 2, 20)
    found = compare("psnr-y", "a", "b", list(zip(first.tolist(), second.tolist(), strict=True)), higher_is_better=True)
    assert found.difference.value == pytest.approx((second - first).mean(), abs=1e-12)
    assert found.wins == (second > first).mean()
    assert found.p == pytest.approx(stats.wilcoxon(first, second).pvalue, abs=1e-12)
    lower = compare("lpips", "a", "b", list(zip(first.tolist(), second.tolist(), strict=True)), higher_is_better=False)
    assert lower.wins == pytest.approx(1 - found.wins)


def test_ties_count_half_and_no_difference_at_all_has_no_p() -> None:
    tied = compare("psnr", "a", "b", [(inf, inf), (30.0, 30.0), (30.0, 31.0), (31.0, 30.0)], True)
    assert (tied.wins, tied.difference.value) == (0.5, 0)
    same = compare("psnr", "a", "b", [(inf, inf), (30.0, 30.0)], True)
    assert (same.wins, same.p, same.why) == (0.5, None, "no picture differs")


def test_an_infinite_difference_is_a_win_without_an_interval() -> None:
    found = compare("psnr", "a", "b", [(30.0, inf), (30.0, 31.0), (30.0, 29.5)], True)
    assert (found.difference.value, found.difference.low, found.wins) == (inf, None, pytest.approx(2 / 3))
    assert found.p is not None


def test_without_scipy_all_but_p_is_there_and_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    found = compare("psnr", "a", "b", [(30.0, 31.0), (30.0, 32.0)], True)
    assert (found.difference.value, found.wins, found.p) == (1.5, 1, None)
    assert "pip install 'gantool[eval]'" in found.why


def test_infinities_both_ways_have_no_mean_but_wins() -> None:
    found = compare("psnr", "a", "b", [(30.0, inf), (inf, 30.0), (30.0, 31.0)], True)
    assert isnan(found.difference.value)
    assert (found.difference.low, found.wins) == (None, pytest.approx(2 / 3))


def test_a_value_that_is_no_number_leaves_nothing_to_compare() -> None:
    found = compare("niqe", "a", "b", [(5.0, nan), (5.0, 4.0)], False)
    assert isnan(found.difference.value)
    assert isnan(found.wins)
    assert (found.p, found.why) == (None, "a value is not a number")
