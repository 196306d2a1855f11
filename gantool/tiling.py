"""Any size of picture through any network in bounded memory, equal to the untiled result.

Rows of the picture come in, rows of the result go out; between them lie only the rows that windows still need. Windows overlap
by twice the network's radius, and each gives the part of the result that none of its inner edges has touched. What a network
does at a picture's border (zeros, reflection), it does there as in the untiled run. A network that can (see
`gantool.backends.streaming`) passes each column of tiles in bands of rows from top to bottom: then only the columns' sides are
computed twice.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from math import ceil, isqrt
from threading import Lock

from gantool.backends import Engine
from gantool.bands import Band, Bands
from gantool.errors import OutOfMemory, say
from gantool.windows import Arrived, Given, Span, spans

Notify = Callable[[float], None]  # gets the share of the picture that each step has done
Piece = tuple[int, int, Band]  # row and column in the result, and what lies there
_SMALL = 128 * 128  # pixels; such a picture goes as one
_BAND = (8, 64)  # rows of a passage at a time: fewer are slow, more are no faster
_WAITING = 1 << 25  # bytes of the result that may wait for what lies beside them


def run(
    engine: Engine,
    bands: Bands,
    size: tuple[int, int, int],
    *,
    tile: int | None = None,
    notify: Notify = lambda share: None,
) -> Bands:
    """Run a network over a picture.

    The result equals that of the whole picture at once, but for the last bits of the float values, as kernels round differently
    in differently shaped windows: a value that lies within 1e-4 of a rounding edge may come out one level apart.

    Args:
        engine: the network.
        bands: the picture.
        size: its (height, width, channels), of which there are 1 or 3.
        tile: side of what a window gives, in pixels; None chooses it by the network's need of memory, 0 takes the whole.
            A network that looks at the whole picture gets it at once, unless a side is given or memory does not suffice.
        notify: gets the share of the picture that each step has done.

    Yields:
        the result, (scale height, scale width, channels).

    Raises:
        OutOfMemory: there is none even for small windows.
        InputError: the network gave a value that is not finite.
    """
    if engine.radius is None and tile != 0:
        yield from _whole(engine, bands, size, tile, notify)
        return
    height, width, _ = size
    plan = choose(engine, size, tile)
    work = _Work(engine, Arrived(bands, height, width, engine.multiple), plan)
    result = Given(engine.scale, height, width)
    workers = min(engine.workers, len(work.tiles))
    threads = 1 if workers > 1 or height * width <= _SMALL else engine.workers
    waiting = True
    with engine.session():
        pool = ThreadPoolExecutor(workers, initializer=engine.enter_thread, initargs=(threads,))
        try:
            yield from _drive(pool, workers, work, result, notify)
        except GeneratorExit:
            waiting = False  # whoever stops early does not wait for a window
            raise
        finally:
            pool.shutdown(wait=waiting, cancel_futures=True)


def _whole(engine: Engine, bands: Bands, size: tuple[int, int, int], tile: int | None, notify: Notify) -> Bands:
    """Run a network that looks at the whole picture: at once while memory allows, else layer by layer over tiles."""
    if tile is None and (size[0] * size[1] <= _SMALL or engine.holds(size)):
        picture = list(bands)
        try:
            yield from run(engine, iter(picture), size, tile=0, notify=notify)
            return  # nothing has been given before all was done
        except OutOfMemory:
            say("not enough memory for the whole picture at once: going on in tiles")
            bands = iter(picture)
    yield from engine.layerwise(bands, size, tile, notify)


@dataclass(frozen=True)
class Plan:
    """How a picture is divided.

    Attributes:
        rows: of each row of tiles.
        columns: of each column of tiles.
        band: rows of a passage at a time; 0: each tile is one window.
        ahead: rows that a tile may be ahead of what has been given.
    """

    rows: list[Span]
    columns: list[Span]
    band: int
    ahead: int


def choose(engine: Engine, size: tuple[int, int, int], tile: int | None) -> Plan:
    """Divide a picture by what the network needs and can."""
    multiple, halo = engine.multiple, engine.radius or 0
    height, width = (ceil(side / multiple) * multiple for side in size[:2])
    waiting = max(1, _WAITING // (engine.scale**2 * width * size[2]))  # rows
    core, band = (height, width), 0
    if tile and engine.radius is not None:
        core = (tile, tile)
    elif tile is None and engine.radius is not None and height * width > _SMALL:
        core, band = _automatic(engine, (height, width, size[2]), waiting)
    rows, columns = spans(height, core[0], halo, multiple), spans(width, core[1], halo, multiple)
    needed = rows[min(len(rows), ceil(engine.workers / len(columns))) - 1].first + 1  # for all workers to have a tile
    return Plan(rows, columns, band, max(needed, waiting))


def _automatic(engine: Engine, size: tuple[int, int, int], waiting: int) -> tuple[tuple[int, int], int]:
    """Return rows and columns that a tile gives, and the rows of a band."""
    height, width, channels = size
    nature, halo = engine.nature(channels), engine.radius or 0
    pixels = max(1, int(nature.memory / nature.bytes_per_pixel))
    room = max(4 * halo, 64)  # a tile with fewer rows or columns would be mostly halo
    if nature.held is None:
        side = max(32, halo, min(nature.side, isqrt(pixels)) - 2 * halo)
        return (side, side), 0
    # a column for each core, and more where memory is short; but up to twice of it is taken before halos cost a tenth
    widest = nature.memory / (_BAND[0] * nature.bytes_per_pixel + nature.held)
    widest = max(room, int(max(widest, min(2 * widest, 22 * halo))) - 2 * halo)
    count = max(1, min(engine.workers, width // room), ceil(width / widest))
    columns = ceil(width / count)
    band = min(_BAND[1], max(_BAND[0], pixels // (columns + 2 * halo)))
    if count >= engine.workers:
        return (height, columns), band
    # too few columns for the cores: rows are divided too, some times as often as that takes, so that no core waits long
    parts = ceil(engine.workers / count)
    parts *= max(1, min(3, height // (2 * room * parts)))
    return (max(room, min(ceil(height / parts), max(4 * room, waiting))), columns), band


class _Tile:
    """A part of the picture on its way."""

    def __init__(self, rows: Span, columns: Span) -> None:
        self.rows, self.columns = rows, columns
        self.row = rows.first  # in the picture; those before it have been given
        self.passage: Iterator[Piece] | None = None


class _Work:
    """What is done to tiles: in several threads, but to each tile in one at a time."""

    def __init__(self, engine: Engine, picture: Arrived, plan: Plan) -> None:
        self.engine, self.picture, self.plan = engine, picture, plan
        self.margin = ceil((engine.radius or 0) / engine.multiple) * engine.multiple
        self.lock = Lock()
        self.limit: int | None = None  # side of the largest square that memory was found to suffice for
        self.tiles = [_Tile(rows, columns) for rows in plan.rows for columns in plan.columns]

    def step(self, tile: _Tile) -> list[Piece]:
        """Do the next part of a tile: a band, or all of it; in smaller parts if memory does not suffice."""
        while True:
            limit = self.limit
            try:
                return self._in_one(tile) if limit is None else self._in_squares(tile, limit)
            except (RuntimeError, MemoryError) as error:
                if not self.engine.is_out_of_memory(error):
                    raise
                self._allow_less(tile, limit, error)

    def _allow_less(self, tile: _Tile, tried: int | None, error: Exception) -> None:
        if self.engine.radius is None:
            raise OutOfMemory("not enough memory for the whole picture at once: use --tile auto, or crop it") from error
        tile.passage = None  # what it keeps is in the way, and what it did not give is done again
        side = tried or max(tile.columns.last - tile.columns.first, self.plan.band or tile.rows.last - tile.rows.first)
        if side <= max(16, 2 * self.engine.multiple):
            raise OutOfMemory("not enough memory even for small tiles: free some, or use another device") from error
        smaller = max(1, side // 2 // self.engine.multiple) * self.engine.multiple
        with self.lock:  # other threads find the same, and it is told once
            if self.limit is None:
                say("not enough memory for the usual tiles: going on with smaller ones")
            self.limit = min(self.limit or smaller, smaller)

    def _in_one(self, tile: _Tile) -> list[Piece]:
        if not self.plan.band:
            piece = self._window(tile.rows, tile.columns)
            tile.row = tile.rows.last
            return [piece]
        if tile.passage is None:
            tile.passage = self._pass(tile)
        row, column, band = next(tile.passage)
        tile.row = (row + band.shape[0]) // self.engine.scale
        return [(row, column, band)]

    def _in_squares(self, tile: _Tile, side: int) -> list[Piece]:
        """Do the tile's next rows in windows that give `side` rows and columns each."""
        rows = self._around(tile.row, min(tile.row + side, tile.rows.last), self.picture.height)
        firsts = range(tile.columns.first, tile.columns.last, side)
        columns = [self._around(a, min(a + side, tile.columns.last), self.picture.width) for a in firsts]
        pieces = [self._window(rows, each) for each in columns]
        tile.row = rows.last
        return pieces

    def _around(self, first: int, last: int, length: int) -> Span:
        return Span(max(0, first - self.margin), min(length, last + self.margin), first, last)

    def _window(self, rows: Span, columns: Span) -> Piece:
        s, window = self.engine.scale, self.picture.rows(rows.start, rows.stop, columns)
        return s * rows.first, s * columns.first, self.engine.run(window, rows.kept(s), columns.kept(s))

    def _pass(self, tile: _Tile) -> Iterator[Piece]:
        """Give a tile's rows as they become ready."""
        s, rows = self.engine.scale, tile.rows
        for first, band in self._push(tile):
            top, bottom = max(first, s * rows.first), min(first + band.shape[0], s * rows.last)
            if top < bottom:
                yield top, s * tile.columns.first, band[top - first : bottom - first]

    def _push(self, tile: _Tile) -> Iterator[tuple[int, Band]]:
        passage = self.engine.passage(tile.rows.start, tile.columns.kept(self.engine.scale))
        stop = tile.rows.stop
        for start in range(tile.rows.start, stop, self.plan.band):
            yield passage.push(self.picture.rows(start, min(start + self.plan.band, stop), tile.columns))
        if stop == self.picture.height:
            yield from passage.finish()


def _drive(pool: ThreadPoolExecutor, workers: int, work: _Work, result: Given, notify: Notify) -> Bands:
    """Keep all workers at the tiles that are least far, and give the result as it becomes complete."""
    queue = [(tile.row, number) for number, tile in enumerate(work.tiles)]  # a heap: it is in order
    running: dict[Future[list[Piece]], int] = {}
    pixels = work.picture.height * work.picture.width * work.engine.scale**2
    while not result.complete:
        ahead = result.row // work.engine.scale + work.plan.ahead
        while queue and len(running) < workers and (not running or queue[0][0] < ahead):
            number = heapq.heappop(queue)[1]
            running[pool.submit(work.step, work.tiles[number])] = number
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            number = running.pop(future)
            for row, column, piece in future.result():
                result.put(row, column, piece)
                notify(piece.shape[0] * piece.shape[1] / pixels)
            if work.tiles[number].row < work.tiles[number].rows.last:
                heapq.heappush(queue, (work.tiles[number].row, number))
        unfinished = [row for row, _ in queue[:1]] + [work.tiles[number].row for number in running.values()]
        work.picture.forget(min(unfinished, default=0) - work.margin)
        yield from result.ready()
