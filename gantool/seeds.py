"""Seeds as a command line names them, and how many pictures a sheet of them has across and down. Knows no torch."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate, chain, pairwise
from typing import Final

from gantool.errors import UsageError, printable

LARGEST: Final = (1 << 63) - 1
"""The largest seed."""
MOST: Final = 1_000_000
"""Seeds of one run; more is a slip of the keyboard, or work for several runs."""


class Seeds:
    """Seeds in the order in which they were named, one or more; a long range takes no more memory than a short one.

    Args:
        ranges: none empty, each rising by 1.

    Raises:
        UsageError: there are more than `MOST`.
    """

    def __init__(self, ranges: Sequence[range]) -> None:
        self._ranges = ranges
        self._stops = list(accumulate(each.stop - each.start for each in ranges))  # places of each range end before these
        if self._stops[-1] > MOST:
            raise UsageError(f"{self._stops[-1]} seeds are too many for one run: use at most {MOST} at a time")

    def __len__(self) -> int:
        """Return how many there are."""
        return self._stops[-1]

    def __iter__(self) -> Iterator[int]:
        """Yield them in order."""
        return chain.from_iterable(self._ranges)

    def __getitem__(self, place: int) -> int:
        """Return the seed at a place, counted from 0."""
        number = bisect_right(self._stops, place)
        return self._ranges[number][place - self._stops[number]]  # counted from the range's end

    def __str__(self) -> str:
        """Return them as a command line has them."""
        return ",".join(str(r.start) if len(r) == 1 else f"{r.start}-{r.stop - 1}" for r in self._ranges)

    def repeated(self) -> int | None:
        """Return a seed that is there twice, if there is one."""
        ranges = sorted(self._ranges, key=lambda each: each.start)
        return next((after.start for before, after in pairwise(ranges) if after.start < before.stop), None)


def parse_seeds(text: str) -> Seeds:
    """Return the seeds that a text such as `0,3,5-10` names.

    Raises:
        UsageError: it names none, or too many.
    """
    return Seeds([_range(part.strip(), text) for part in text.split(",")])


def _range(part: str, text: str) -> range:
    found = re.fullmatch(r"([0-9]{1,19})(?:-([0-9]{1,19}))?", part)
    if not found:
        raise UsageError(f"--seeds {printable(text)[:80]} is not understood: use numbers and ranges, such as 0,3,5-10")
    first, last = int(found[1]), int(found[2] or found[1])
    if last < first:
        raise UsageError(f"--seeds {printable(part)} runs backwards: use {last}-{first}")
    if last > LARGEST:
        raise UsageError(f"--seeds {printable(part)} is too large: seeds go up to {LARGEST}")
    return range(first, last + 1)


def parse_grid(text: str) -> tuple[int, int]:
    """Return how many pictures `--grid` wants across and down.

    Raises:
        UsageError: it is no such pair.
    """
    found = re.fullmatch(r"([0-9]{1,9})x([0-9]{1,9})", text)
    columns, rows = (int(found[1]), int(found[2])) if found else (0, 0)
    if columns * rows == 0:
        raise UsageError(f"--grid {printable(text)[:80]} is not understood: use COLUMNSxROWS, such as 8x8")
    return columns, rows


def parse_pair(text: str) -> tuple[int, int]:
    """Return the two seeds of `--interpolate`.

    Raises:
        UsageError: there are not two, or they are the same.
    """
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 2 or not all(re.fullmatch(r"[0-9]{1,19}", part) and int(part) <= LARGEST for part in parts):
        raise UsageError(f"--interpolate {printable(text)[:80]} is not understood: use two seeds, such as 3,7")
    first, last = map(int, parts)
    if first == last:
        raise UsageError(f"--interpolate {first},{last} goes nowhere: use two different seeds")
    return first, last
