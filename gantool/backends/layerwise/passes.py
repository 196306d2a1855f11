"""Passes over all tiles of one picture: each takes a network some blocks farther."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from math import ceil
from typing import cast

import numpy as np
import torch
from torch import Tensor

from gantool.backends.layerwise.blocks import Blocks, Values
from gantool.backends.layerwise.dividing import Division
from gantool.backends.layerwise.recording import IMAGE, Slot, Undividable, record
from gantool.backends.layerwise.setting import Setting
from gantool.backends.layerwise.spool import Spool
from gantool.backends.layerwise.statistics import Moments
from gantool.backends.layerwise.tiles import Tile, Tiles
from gantool.bands import Band, Bands
from gantool.windows import Arrived, Given, Span

Notify = Callable[[float], None]
_ROWS = 64  # of the picture that are put away at once


class Passes:
    """What is done to one picture.

    Args:
        setting: with what.
        division: how the network is divided.
        size: height and width of the picture.
        side: of what a tile gives, in pixels.
    """

    def __init__(self, setting: Setting, division: Division, size: tuple[int, int], side: int) -> None:
        self._setting, self._engine, self._division, self._size = setting, setting.engine, division, size
        multiple = setting.engine.multiple
        self._height, self._width = (ceil(each / multiple) * multiple for each in size)
        self._tiles = Tiles(setting.engine, (self._height, self._width), side, ceil(division.halo / multiple) * multiple)
        self._maps: dict[int, Spool] = {}  # by the numbers of slots
        self._answers: dict[int, Moments] = {}  # likewise
        self._surveyed: Values = {}  # likewise, what was asked of the picture itself
        self._blocks: dict[tuple[int, int], Blocks] = {}  # by the size of windows
        self._common: dict[tuple[int, ...], Values] = {}  # by the shape of windows, for the pass that is being done
        self._lock = threading.Lock()

    @property
    def tiles(self) -> int:
        """How many windows the picture is done in."""
        return len(self._tiles.all)

    @property
    def cost(self) -> float:
        """How many times the arithmetic of one pass over the whole picture all passes have."""
        windows = sum((rows.stop - rows.start) * (columns.stop - columns.start) for rows, columns in self._tiles.all)
        return windows / (self._height * self._width) * self._division.all_work / self._division.one_pass

    def run(self, bands: Bands, notify: Notify) -> Bands:
        """Yield the result; see `Layerwise.run`."""
        with self._engine.session(), self._tiles:
            levels = self._put_away(bands)
            self._surveyed = self._division.blocks.survey(self._rows, self._height)
            for each in self._division.passes[:-1]:
                self._pass(each, self._share(each, notify))
            result, last = Given(self._engine.scale, *self._size), self._division.passes[-1]
            advance = self._share(last, notify)
            for tile, piece in self._tiles.over(partial(self._finish, last, levels)):
                advance(tile)
                result.put(self._engine.scale * tile[0].first, self._engine.scale * tile[1].first, piece)
                yield from result.ready()

    def _share(self, blocks: range, notify: Notify) -> Callable[[Tile], None]:
        share = self._division.work(blocks) / self._division.all_work / (self._height * self._width)
        return lambda tile: notify(share * (tile[0].last - tile[0].first) * (tile[1].last - tile[1].first))

    def _put_away(self, bands: Bands) -> np.dtype[np.uint8 | np.uint16]:
        """Write the picture to disk, mirrored up to the multiple, and return its type."""
        picture = Arrived(bands, *self._size, self._engine.multiple)
        for start in range(0, self._height, _ROWS):
            rows = picture.rows(start, min(start + _ROWS, self._height), Span(0, self._width, 0, self._width))
            if start == 0:
                self._maps[IMAGE] = Spool((self._height, self._width, rows.shape[2]), rows.dtype)
            self._maps[IMAGE].write(start, 0, rows)
            picture.forget(start + _ROWS)
        return rows.dtype

    def _rows(self, start: int, stop: int) -> Tensor:
        return self._setting.to_tensor(cast(Band, self._maps[IMAGE].read(slice(start, stop), slice(0, self._width))))

    def _pass(self, numbers: range, advance: Callable[[Tile], None]) -> None:
        """Do blocks over all tiles, keep what the last of them leaves, and learn what is asked after it."""
        kept = numbers[-1] in self._division.kept
        left = self._division.blocks.left(numbers[-1]) if kept else []
        new = [slot for slot in left if slot.number not in self._maps]
        self._maps |= {slot.number: self._empty(slot) for slot in new}
        parts: defaultdict[int, list[Moments]] = defaultdict(list)
        for tile, found in self._tiles.over(partial(self._gather, numbers, {slot.number for slot in new})):
            advance(tile)
            for number, moments in found.items():
                parts[number].append(moments)
        self._answers |= {number: Moments.together(each) for number, each in parts.items()}
        for number in parts:
            self._answers[number].check()
        self._common.clear()
        if kept:
            self._maps = {slot.number: self._maps[slot.number] for slot in left}

    def _empty(self, slot: Slot) -> Spool:
        rows, columns = self._division.blocks.place(slot, slice(0, self._height), slice(0, self._width))
        return Spool((rows.stop, columns.stop, slot.shape[1]), torch.empty(0, dtype=slot.dtype).numpy().dtype)

    def _gather(self, numbers: range, new: set[int], tile: Tile) -> dict[int, Moments]:
        """Do blocks on a tile, write the new maps that they leave, and return the tile's part of what is asked."""
        blocks, found = self._blocks_for(tile), dict[int, Moments]()
        rows, columns = (span.kept(1) for span in tile)

        def part(slot: Slot, values: Tensor) -> Tensor:
            down, across = blocks.place(slot, rows, columns)
            return values[:, :, down, across]

        def observe(slot: Slot, values: Tensor) -> None:
            found[slot.number] = Moments.of(part(slot, values))

        maps = self._run(blocks, numbers, tile, observe)
        for slot in blocks.left(numbers[-1]):
            if slot.number in new:
                down, across = blocks.place(slot, *(slice(span.first, span.last) for span in tile))
                values = part(slot, maps[slot.number])[0].permute(1, 2, 0)
                self._maps[slot.number].write(down.start, across.start, values.contiguous().cpu().numpy())
        return found

    def _finish(self, numbers: range, levels: np.dtype[np.uint8 | np.uint16], tile: Tile) -> Band:
        """Do the last blocks on a tile, and return what it gives."""
        blocks = self._blocks_for(tile)
        values = self._run(blocks, numbers, tile, _ignore)[blocks.result.number]
        rows, columns = (span.kept(self._engine.scale) for span in tile)
        return self._setting.to_levels(values[:, :, rows, columns], levels)

    @torch.inference_mode()
    def _run(self, blocks: Blocks, numbers: range, tile: Tile, observe: Callable[[Slot, Tensor], None]) -> Values:
        """Do blocks on a tile, and return the maps that they leave."""
        maps = {slot.number: self._load(blocks, slot, tile) for slot in blocks.read(numbers)}
        common = self._common_for(blocks, numbers[-1])
        for number in numbers:
            blocks.run(number, maps, common, self._answers, observe if number == numbers[-1] else _ignore)
        return maps

    def _load(self, blocks: Blocks, slot: Slot, tile: Tile) -> Tensor:
        """Return what a window sees of a map."""
        rows, columns = blocks.place(slot, *(slice(span.start, span.stop) for span in tile))
        values = self._maps[slot.number].read(rows, columns)
        if slot.number == IMAGE:
            return self._setting.to_tensor(cast(Band, values))
        loaded = torch.from_numpy(values).to(self._setting.device).permute(2, 0, 1)[None]
        return loaded if slot.inner else loaded.contiguous()

    def _blocks_for(self, tile: Tile) -> Blocks:
        """Return the blocks for windows of a tile's size, of which there is one, unless memory did not suffice."""
        height, width = (span.stop - span.start for span in tile)
        with self._lock:
            if (height, width) not in self._blocks:
                image = self._setting.to_tensor(np.zeros((height, width, self._setting.channels), np.uint8))
                blocks = Blocks(record(self._setting.network, image))
                if not blocks.recording.is_like(self._division.blocks.recording):
                    raise Undividable("what it does depends on the size of the picture")
                self._blocks[height, width] = blocks
            return self._blocks[height, width]

    def _common_for(self, blocks: Blocks, block: int) -> Values:
        with self._lock:
            if blocks.image.shape not in self._common:
                self._common[blocks.image.shape] = blocks.common(block, self._surveyed, self._answers, self._setting.device)
            return self._common[blocks.image.shape]


def _ignore(slot: Slot, values: Tensor) -> None:
    pass
