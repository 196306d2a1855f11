"""What degradations may be told: each check refuses in a sentence with the name, the value and what is possible."""

from __future__ import annotations

from collections.abc import Sequence
from math import isclose

from gantool.errors import UsageError, printable

_LARGEST_SCALE = 16


def check_scale(scale: int) -> None:
    """Refuse what no side can be divided by."""
    check_whole("scale", scale, 1, _LARGEST_SCALE)


def check_whole(name: str, value: int, least: int, most: int) -> None:
    """Refuse what is no whole number between two others."""
    if not isinstance(value, int) or not least <= value <= most:
        raise UsageError(f"{name} = {printable(value)}: it must be a whole number from {least} to {most}")


def check_number(name: str, value: float, least: float, most: float) -> None:
    """Refuse a number that is not between two others."""
    if not least <= value <= most:  # which NaN is not
        raise UsageError(f"{name} = {value:g}: it must be from {least:g} to {most:g}")


def check_range(name: str, value: tuple[float, float], least: float, most: float) -> None:
    """Refuse a range that is upside down or goes beyond what is possible."""
    if len(value) != 2 or not least <= value[0] <= value[1] <= most:
        raise UsageError(f"{name} = {_shown(value)}: it must be two numbers from {least:g} to {most:g}, the smaller first")


def check_around_one(name: str, value: tuple[float, float], least: float, most: float) -> None:
    """Refuse a range that does not hold 1, as those must below and above which there are separate draws."""
    check_range(name, value, least, most)
    if not value[0] <= 1 <= value[1]:
        raise UsageError(f"{name} = {_shown(value)}: the first must be 1 or less, the second 1 or more")


def check_sizes(name: str, value: tuple[int, int], most: int) -> None:
    """Refuse a range of kernel sizes whose ends are not odd."""
    check_range(name, value, 1, most)
    if any(not isinstance(size, int) or size % 2 == 0 for size in value):
        raise UsageError(f"{name} = {_shown(value)}: kernels have a middle, so both must be odd whole numbers")


def check_whole_range(name: str, value: tuple[int, int], least: int, most: int) -> None:
    """Refuse a range of whole numbers whose ends are not whole."""
    check_range(name, value, least, most)
    if not all(isinstance(end, int) for end in value):
        raise UsageError(f"{name} = {_shown(value)}: both must be whole numbers")


def check_shares(name: str, value: Sequence[float], count: int) -> None:
    """Refuse what does not share out one whole."""
    if len(value) != count or not all(0 <= share <= 1 for share in value) or not isclose(sum(value), 1, abs_tol=1e-6):
        raise UsageError(f"{name} = {_shown(value)}: it must be {count} shares, from 0 to 1, that add up to 1")


def _shown(values: Sequence[float]) -> str:
    return f"({', '.join(f'{value:g}' for value in values)})"
