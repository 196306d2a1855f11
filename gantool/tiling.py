"""Any size of picture through any network in bounded memory, equal to the untiled result.

The picture is covered by windows of one shape that overlap by twice the network's radius; each window gives the part of the
result that none of its inner edges has touched. What a network does at a picture's border (zeros, reflection), it does there
as in the untiled run. On a CPU a window is large, and passes the network in bands of rows (`gantool.streaming`) if it can:
then next to nothing is computed twice.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, isqrt

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from gantool.devices import is_out_of_memory, tile_memory, usable_cores
from gantool.errors import InputError, OutOfMemory, Stopped, say
from gantool.streaming import Network, Stream, Unstreamable

CPU = torch.device("cpu")
Notify = Callable[[int], None]  # gets a number of input pixels that are done; called from any thread
_ALIGNMENT = 8  # pixels; window sides are multiples of it, which suits the kernels of every device
_SMALL = 128 * 128  # pixels; such a picture goes as one
_BAND = (8, 64)  # rows: fewer are slow, more are no faster


@dataclass(frozen=True)
class Span:
    """One axis of a tile, in input pixels: the window that the network sees, and the part of it that the tile gives."""

    start: int
    stop: int
    first: int
    last: int  # one behind the last


@dataclass(frozen=True)
class Tile:
    """A window of the picture, and the part of it that this tile gives."""

    rows: Span
    columns: Span


def spans(length: int, core: int, halo: int, multiple: int = 1) -> list[Span]:
    """Cover an axis with windows of one length, which overlap by 2 halo at least; the outer ones are flush with its ends.

    Args:
        length: of the axis, a multiple of `multiple`.
        core: pixels that a window gives, about; its own length is up to 2 halo more.
        halo: pixels beside what a window gives, except at the ends of the axis.
        multiple: of which windows are, in place and in length.
    """
    units, margin, each = length // multiple, ceil(halo / multiple), max(1, core // multiple)
    count = ceil(units / each)
    alignment = max(1, _ALIGNMENT // multiple)
    window = ceil(ceil((units + 2 * margin * (count - 1)) / count) / alignment) * alignment
    if window >= units:
        return [Span(0, length, 0, length)]
    count = ceil((units - 2 * margin) / (window - 2 * margin))
    starts = [i * (units - window) // (count - 1) for i in range(count)]
    cuts = [0, *(start + margin for start in starts[1:]), units]
    return [
        Span(start * multiple, (start + window) * multiple, first * multiple, last * multiple)
        for start, first, last in zip(starts, cuts[:-1], cuts[1:], strict=True)
    ]


def run(
    network: Network,
    image: Tensor,
    *,
    scale: int,
    radius: int | None,
    multiple: int = 1,
    tile: int | None = None,
    device: torch.device = CPU,
    dtype: torch.dtype = torch.float32,
    notify: Notify = lambda pixels: None,
) -> Tensor:
    """Run a network over an image, tile by tile.

    The result equals that of the whole image at once, but for the last bits of the float values, as kernels round differently
    in differently shaped windows: a value that lies within 1e-4 of a rounding edge may come out one level apart.

    Args:
        network: from (1, C, h, w) in [0, 1] to (1, C, scale h, scale w), on `device` and of type `dtype`.
        image: (C, H, W) uint8; not changed.
        scale: output side / input side.
        radius: farthest input pixel that an output pixel depends on; None: all of the image, which then goes as one.
        multiple: what both sides of the network's input must be a multiple of; the image is extended by reflection.
        tile: side of what a tile gives, in input pixels; None chooses it by the network's need of memory, 0 takes the whole.
        device: where the network is. The image and the result stay on the CPU.
        dtype: what the network computes in.
        notify: gets the number of input pixels that each step has done.

    Returns:
        (C, scale H, scale W) uint8, clamped and rounded half up. Its channels lie innermost.

    Raises:
        OutOfMemory: there is none even for small tiles.
        InputError: the network gave a value that is not finite.
    """
    height, width = image.shape[1:]
    padded = _extend(_extend(image, 1, multiple), 2, multiple)
    work = _Work(network, padded, scale, radius or 0, multiple, device, dtype, notify)
    core: tuple[int, int] = (padded.shape[1], padded.shape[2])
    if tile and radius is not None:
        core = (tile, tile)
    elif tile is None and radius is not None and height * width > _SMALL:
        core = work.choose()
    tiles = work.tiles(core)
    if device.type == "cpu" and len(tiles) > 1 and usable_cores() > 1:
        _run_on_threads(work, tiles)
    else:
        with _one_thread() if height * width <= _SMALL else nullcontext():
            for each in tiles:
                work.do(each)
    return work.result[:, : scale * height, : scale * width]


def _extend(image: Tensor, axis: int, multiple: int) -> Tensor:
    """Mirror an image at its lower or right border up to a multiple, as often as it takes when it is small."""
    length = image.shape[axis]
    if length % multiple == 0:
        return image
    index = torch.arange(ceil(length / multiple) * multiple) % (2 * length)
    return image.index_select(axis, torch.where(index < length, index, 2 * length - 1 - index))


class _Work:
    """An image on its way through a network, and the one buffer that takes the result."""

    def __init__(
        self,
        network: Network,
        image: Tensor,
        scale: int,
        halo: int,
        multiple: int,
        device: torch.device,
        dtype: torch.dtype,
        notify: Notify,
    ) -> None:
        self.network, self.image, self.scale, self.halo, self.multiple = network, image, scale, halo, multiple
        self.device, self.dtype, self.notify = device, dtype, notify
        channels, height, width = image.shape
        # channels innermost: how the network gives them and how codecs want them
        self.result = torch.empty(scale * height, scale * width, channels, dtype=torch.uint8).permute(2, 0, 1)
        self.band = 0  # rows that go through the network at a time; 0: all rows of a tile
        self.limit = max(height, width)  # side of the largest tile that memory was found to suffice for

    def tiles(self, core: tuple[int, int]) -> list[Tile]:
        """Return tiles that give some `core` rows and columns each."""
        axes = [spans(n, c, self.halo, self.multiple) for n, c in zip(self.image.shape[1:], core, strict=True)]
        return [Tile(rows, columns) for rows in axes[0] for columns in axes[1]]

    def choose(self) -> tuple[int, int]:
        """Return rows and columns that a tile gives, and set the rows of a band, by what the network needs and can."""
        _, height, width = self.image.shape
        nature = study(self.network, self.image.shape[0], self.scale, self.multiple, self.device, self.dtype)
        pixels = max(1, int(tile_memory(self.device) / nature.bytes_per_pixel))
        if nature.reach is None or nature.reach > self.halo:
            side = min(1024, isqrt(pixels)) - 2 * self.halo
            return (max(32, self.halo, side),) * 2
        room = max(4 * self.halo, 64)  # fewer rows a tile would be mostly halo
        # twice the memory before columns are cut, as their halo is computed twice
        columns = min(width, max(room, 2 * pixels // _BAND[0] - 2 * self.halo))
        self.band = min(_BAND[1], max(_BAND[0], pixels // columns))
        cores = usable_cores()
        # as many tiles as cores, or some times as many on a large picture, so that no core waits long for the last
        return max(room, ceil(height / (cores * max(1, min(3, height // (2 * room * cores)))))), columns

    def do(self, tile: Tile) -> None:
        """Fill the tile's part of the result, in smaller parts if memory does not suffice."""
        sides = tile.rows.last - tile.rows.first, tile.columns.last - tile.columns.first
        if max(sides) <= self.limit:
            try:
                self._compute(tile)
                return
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if max(sides) <= max(16, 2 * self.multiple):
                    raise OutOfMemory("not enough memory even for small tiles: free some, or use another device") from error
            if self.limit >= max(self.image.shape[1:]):  # told once
                say(f"not enough memory for {sides[1]}x{sides[0]} pixels at once: going on with fewer")
            self.limit = min(self.limit, max(sides) // 2)
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
        for rows in self._halves(tile.rows, self.image.shape[1]):
            for columns in self._halves(tile.columns, self.image.shape[2]):
                self.do(Tile(rows, columns))

    def _halves(self, span: Span, length: int) -> list[Span]:
        middle = (span.first + span.last) // 2 // self.multiple * self.multiple
        margin = ceil(self.halo / self.multiple) * self.multiple
        cuts = [span.first, middle, span.last] if span.first < middle else [span.first, span.last]
        return [Span(max(0, a - margin), min(length, b + margin), a, b) for a, b in zip(cuts[:-1], cuts[1:], strict=True)]

    @torch.inference_mode()
    def _compute(self, tile: Tile) -> None:
        for first, values in self._bands(tile) if self.band else self._whole(tile):
            self._store(first, values, tile)

    def _whole(self, tile: Tile) -> Iterator[tuple[int, Tensor]]:
        values = self.network(self._input(tile.rows.start, tile.rows.stop, tile.columns))
        yield self.scale * tile.rows.start, values

    def _bands(self, tile: Tile) -> Iterator[tuple[int, Tensor]]:
        stream, bottom = Stream(self.network, tile.rows.start), tile.rows.stop
        for start in range(tile.rows.start, bottom, self.band):
            yield stream.push(self._input(start, min(start + self.band, bottom), tile.columns))
        if bottom == self.image.shape[1]:
            yield from stream.finish(self._input(bottom, bottom, tile.columns), self.band)

    def _input(self, start: int, stop: int, columns: Span) -> Tensor:
        pixels = self.image[None, :, start:stop, columns.start : columns.stop].to(self.device)
        return pixels.to(self.dtype, memory_format=torch.channels_last) / 255

    def _store(self, first: int, values: Tensor, tile: Tile) -> None:
        """Round rows of the result, of which `first` is the number in the whole result, into the tile's part of it."""
        s, columns = self.scale, tile.columns
        top, bottom = max(first, s * tile.rows.first), min(first + values.shape[2], s * tile.rows.last)
        if top >= bottom:
            return
        left, right = s * columns.first, s * columns.last
        values = values[0, :, top - first : bottom - first, left - s * columns.start : right - s * columns.start].float()
        if not values.sum().isfinite():
            raise InputError("the network's result is not finite: use --dtype fp32, or another model")
        self.result[:, top:bottom, left:right] = (values * 255).add_(0.5).clamp_(0, 255).to(torch.uint8)
        self.notify((bottom - top) * (right - left) // s**2)


def _run_on_threads(work: _Work, tiles: list[Tile]) -> None:
    """Spread tiles over the cores, one thread each."""
    pool = ThreadPoolExecutor(usable_cores(), initializer=lambda: torch.set_num_threads(1))
    wait = True
    try:
        with _one_thread():
            for future in as_completed([pool.submit(work.do, tile) for tile in tiles]):
                future.result()
    except Stopped:
        wait = False  # the process is about to end and does not wait for tiles
        raise
    finally:
        pool.shutdown(wait=wait, cancel_futures=True)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let operations use one thread: several wait for one another at each layer, at full power."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True)
class Nature:
    """What tiling needs to know of a network."""

    bytes_per_pixel: float  # of memory at the peak, for a pixel of the input
    reach: int | None  # its radius as seen in bands; None if it does not run in bands


@lru_cache(maxsize=4)
def study(network: Network, channels: int, scale: int, multiple: int, device: torch.device, dtype: torch.dtype) -> Nature:
    """Find a network's nature by a trial on a small image."""
    side = ceil(32 / multiple) * multiple
    image = torch.rand(1, channels, side, side, generator=torch.Generator().manual_seed(0)).to(device, dtype)
    with torch.inference_mode(), _one_thread():
        with _Meter() as meter:
            expected = network(image.contiguous(memory_format=torch.channels_last))
        reach = _reach(network, image, expected) if device.type == "cpu" and dtype == torch.float32 else None
    return Nature(1.25 * meter.peak / side**2, reach)  # a quarter more for what operations need inside


def _reach(network: Network, image: Tensor, expected: Tensor) -> int | None:
    """Return a network's radius if it gives in bands what it gives for the whole image."""
    stream, side = Stream(network), image.shape[2]
    try:
        parts = [stream.push(image[:, :, start : start + 5])[1] for start in range(0, side, 5)]
        parts += [rows for _, rows in stream.finish(image[:, :, side:], 5)]
        first, _ = Stream(network, 1).push(image[:, :, 1:5])
    except Unstreamable:
        return None
    result = torch.cat(parts, 2)
    same = result.shape == expected.shape and torch.allclose(result, expected, rtol=1e-3, atol=1e-3)
    return ceil(first * side / expected.shape[2]) - 1 if same else None


class _Meter(TorchFunctionMode):
    """Counts the bytes of the tensors that live at the same time."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._tensors: dict[int, weakref.ref[Tensor]] = {}

    def __torch_function__(
        self,
        function: Callable[..., object],
        types: Sequence[type],
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        result = function(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self._tensors[id(result)] = weakref.ref(result)
            alive = (reference() for reference in self._tensors.values())
            self.peak = max(self.peak, sum(tensor.nbytes for tensor in alive if tensor is not None))
        return result
