"""Learning-rate schedules at the points where they turn."""

from __future__ import annotations

import pytest

from gantool.schedules import constant, cosine, halve_at


def test_constant_keeps_the_rate() -> None:
    assert {constant(progress) for progress in (0, 0.3, 1)} == {1}


def test_halving_takes_effect_at_each_point_and_adds_up() -> None:
    factor = halve_at([0.25, 0.5])
    assert [factor(progress) for progress in (0, 0.2499, 0.25, 0.4999, 0.5, 1)] == [1, 1, 0.5, 0.5, 0.25, 0.25]


def test_halving_without_points_is_constant() -> None:
    assert halve_at([])(1) == 1


@pytest.mark.parametrize(("progress", "expected"), [(0, 1), (1 / 3, 0.75), (0.5, 0.5), (2 / 3, 0.25), (1, 0)])
def test_cosine_falls_to_zero_along_half_a_wave(progress: float, expected: float) -> None:
    assert cosine()(progress) == pytest.approx(expected)


def test_cosine_rises_in_a_straight_line_while_warming_up() -> None:
    factor = cosine(warmup=0.2)
    assert [factor(progress) for progress in (0, 0.05, 0.1, 0.2, 0.6, 1)] == pytest.approx([0, 0.25, 0.5, 1, 0.5, 0])
