"""What all data sets share: samples are pure functions of their numbers, unreadable pictures are left out, pixels are kept."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gantool.errors import InputError, UsageError

UNUSABLE_SHARE = 0.05  # more unreadable pictures than this are taken for a mistake in the path
CACHE_BYTES = 4 << 30  # decoded pictures are kept while they fit

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


@lru_cache(maxsize=8)
def _order(key: tuple[int, ...], count: int) -> NDArray[np.int64]:
    return np.random.default_rng(key).permutation(count)


def place(number: int, count: int, *key: int) -> tuple[int, np.random.Generator]:
    """Return which of `count` items sample `number` shows, each once an epoch, and the generator for all that it draws.

    Args:
        number: of the sample, not negative.
        count: items in an epoch.
        key: the seed, and what tells this order from others with the same seed.
    """
    epoch, position = divmod(number, count)
    return int(_order((*key, epoch), count)[position]), np.random.default_rng((*key, epoch, position))


class Cache(Generic[K]):
    """Tensors by key, kept for as long as there is room for more.

    Args:
        room: bytes.
    """

    def __init__(self, room: int) -> None:
        self._kept: dict[K, tuple[Tensor, ...]] = {}
        self._room = room

    def get(self, key: K, make: Callable[[], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """Return what is kept under a key, or else make it and keep it if there is room."""
        if key in self._kept:
            return self._kept[key]
        made = make()
        size = sum(tensor.nbytes for tensor in made)
        if size <= self._room:
            self._kept[key] = made
            self._room -= size
        return made


def usable(
    items: Sequence[T], check: Callable[[T], None], where: str, size: int | None, warn: Callable[[str], None]
) -> list[T]:
    """Return the items that `check` raises no InputError for; each of the others is named.

    Args:
        items: pictures, or what stands for them.
        check: reads one.
        where: the folder, as messages call it.
        size: pixels a side that are needed, for the message; None if any will do.
        warn: gets one line per item that is left out.

    Raises:
        UsageError: none is usable, or more than one in twenty are not.
    """
    found = []
    for item in items:
        try:
            check(item)
            found.append(item)
        except InputError as error:
            warn(f"left out: {error}")
    left_out = len(items) - len(found)
    if not found or left_out > max(1, UNUSABLE_SHARE * len(items)):
        why, remedy = "unreadable", "remove them"
        if size is not None:
            why, remedy = f"unreadable, or a side under {size} pixels", "remove them, or choose a smaller patch"
        raise UsageError(f"{left_out} of {len(items)} pictures in {where} cannot be used ({why}): {remedy}")
    return found
