"""The same work on every tile of a picture, in threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TypeVar

from gantool.backends import Engine
from gantool.errors import OutOfMemory, say
from gantool.windows import Span, spans

T = TypeVar("T")
Tile = tuple[Span, Span]  # rows and columns
NO_MEMORY = "not enough memory even for small tiles: free some, or use another device"


class Tiles:
    """The tiles of a picture, and threads that work on them; leaving it ends the threads.

    Args:
        engine: whose threads and multiple are taken.
        size: height and width of the picture, multiples of the engine's.
        side: of what a tile gives, in pixels.
        margin: pixels that a window sees around it.
    """

    def __init__(self, engine: Engine, size: tuple[int, int], side: int, margin: int) -> None:
        self._engine, self._size, self._side, self._margin = engine, size, side, margin
        self._smaller = False  # memory did not suffice for the usual tiles
        self._pool = ThreadPoolExecutor(engine.workers, initializer=engine.enter_thread, initargs=(1,))

    def __enter__(self) -> Tiles:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        # whoever stops early does not wait for a window
        self._pool.shutdown(wait=kind is None or issubclass(kind, Exception), cancel_futures=True)

    @property
    def all(self) -> list[Tile]:
        """The tiles, from the top down; they are smaller after memory did not suffice."""
        down, across = (spans(length, self._side, self._margin, self._engine.multiple) for length in self._size)
        return [(rows, columns) for rows in down for columns in across]

    def over(self, work: Callable[[Tile], T]) -> Iterator[tuple[Tile, T]]:
        """Yield each tile and what was made of it, in order; or of its parts, where memory did not suffice for it.

        Raises:
            OutOfMemory: there is none even for small parts.
        """
        waiting: deque[Future[list[tuple[Tile, T]]]] = deque()
        for tile in self.all:
            waiting.append(self._pool.submit(self._done, tile, work))
            if len(waiting) > 2 * self._engine.workers:  # so many results may wait
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()

    def _done(self, tile: Tile, work: Callable[[Tile], T]) -> list[tuple[Tile, T]]:
        try:
            return [(tile, work(tile))]
        except (RuntimeError, MemoryError) as error:
            if not self._engine.is_out_of_memory(error):
                raise
            halves = self._halves(tile, error)
        return [each for half in halves for each in self._done(half, work)]

    def _halves(self, tile: Tile, error: Exception) -> list[Tile]:
        rows, columns = tile
        down = rows.last - rows.first >= columns.last - columns.first
        first, last = (rows.first, rows.last) if down else (columns.first, columns.last)
        half = (last - first) // 2 // self._engine.multiple * self._engine.multiple
        if last - first <= max(16, 2 * self._engine.multiple):
            raise OutOfMemory(NO_MEMORY) from error
        if not self._smaller:
            say("not enough memory for the usual tiles: going on with smaller ones")
        self._smaller, self._side = True, min(self._side, half)
        parts = [(first, first + half), (first + half, last)]
        if down:
            return [(self._around(*part, self._size[0]), columns) for part in parts]
        return [(rows, self._around(*part, self._size[1])) for part in parts]

    def _around(self, first: int, last: int, length: int) -> Span:
        return Span(max(0, first - self._margin), min(length, last + self._margin), first, last)
