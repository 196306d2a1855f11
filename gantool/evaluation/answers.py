"""What segmentation and classification share: pictures that cannot be used, and how answers come into reports."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from gantool.errors import InputError
from gantool.evaluation.values import Json
from gantool.metrics.seg import Confusion

T = TypeVar("T")
Failed = Callable[[Path, InputError], None]
"""Is told of each picture that cannot be used."""

MAX_SHOWN = 100  # classes up to which their matrix goes into reports


class Attempts:
    """Goes on after pictures that cannot be used, and tells of each file once, however many need it.

    Args:
        on_error: is told.
    """

    def __init__(self, on_error: Failed) -> None:
        self._on_error, self._told = on_error, set[Path]()

    def make(self, path: Path, what: Callable[[], T]) -> T | None:
        """Return what is made of a picture, None if it cannot be."""
        try:
            return what()
        except InputError as error:
            if path not in self._told:
                self._told.add(path)
                self._on_error(path, error)
            return None


def matrix(counts: Confusion) -> dict[str, Json]:
    """Return the matrix for reports: a row for each true class; nothing if there are too many."""
    return {"confusion": counts.matrix.tolist()} if len(counts.matrix) <= MAX_SHOWN else {}


def pictures(count: int) -> str:
    """Return how many pictures there are, in words."""
    return "1 picture" if count == 1 else f"{count} pictures"
