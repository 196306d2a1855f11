"""How a network that looks at the whole picture is divided: what its blocks see, and which of them leave their maps on disk.

Before each question that a network asks of a whole map, all windows have to have got there. What they were doing is then either
written to disk and read again, with a halo of what one block sees, or it is computed again from where it was last written.

Measured on two CPU cores, in CPU time, with 64 channels and the whole picture at once as 1: of CycleGAN's generator (9 residual
blocks, 23 norms, 320 x 320 pixels) 1.5 on disk, 36 computed again with 12 times the arithmetic and halos of 87 pixels; of
RCAN with 20 channel attentions (256 x 256 pixels) 0.9 and 30. So on a CPU all but the cheapest blocks are written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil, floor, prod

import numpy as np
import torch
from torch import Tensor

from gantool.backends.layerwise.blocks import Blocks, Values
from gantool.backends.layerwise.recording import Slot, Undividable, record
from gantool.backends.layerwise.setting import Setting
from gantool.backends.layerwise.statistics import Moments

_SIDES = (64, 128, 256, 512)  # of images on which is tried how far a block sees
# Operations of convolutions that take as long as to write a byte and read it again. Measured on two cores: 5e10 to 1e11 of them
# a second, and 0.5 to 1e9 bytes. For GPUs 5e13 a second are assumed, and the same disk.
_OPERATIONS_PER_BYTE = {"cpu": 100.0}
_ON_OTHER_DEVICES = 50_000.0


@dataclass(frozen=True)
class Division:
    """How a network is done in parts.

    Attributes:
        blocks: of the network, for windows of some size.
        passes: the blocks that are done in each pass over all tiles; the last pass gives the result.
        kept: blocks after which maps are written.
        halo: pixels around a tile that windows see.
        operations: of each block, for a pixel of the picture.
        questions: maps of which statistics are asked.
        spilled: bytes written, for a pixel of the picture.
        space: bytes on disk at one time, for a pixel of the picture.
    """

    blocks: Blocks
    passes: list[range]
    kept: frozenset[int]
    halo: int
    operations: list[float]
    questions: int
    spilled: float
    space: float

    def work(self, blocks: range) -> float:
        """Return the operations of a pass for a pixel, with one for what is no convolution."""
        return sum(self.operations[block] for block in blocks) + 1

    @property
    def one_pass(self) -> float:
        """Those of a pass over all blocks."""
        return self.work(range(len(self.operations)))

    @property
    def all_work(self) -> float:
        """Those of all passes."""
        return sum(self.work(each) for each in self.passes)


def divide(setting: Setting, room: int) -> Division:
    """Find out how a network can be done in parts.

    Args:
        setting: with the network.
        room: pixels of halo beyond which maps are rather written than computed again.

    Raises:
        Undividable: it cannot.
    """
    generator, multiple = np.random.default_rng(0), setting.engine.multiple
    for side in _SIDES:
        height = ceil(side / multiple) * multiple
        image = setting.to_tensor(generator.integers(0, 256, (height, height + multiple, setting.channels), np.uint8))
        blocks = Blocks(record(setting.network, image))
        with torch.backends.cudnn.flags(enabled=False):  # whose fastest ways spread what is not a number too far
            reaches = _reaches(blocks, image, multiple)
        if reaches is not None:
            return _plan(blocks, reaches, _OPERATIONS_PER_BYTE.get(setting.device.type, _ON_OTHER_DEVICES), room)
    raise Undividable("one of its layers looks at the whole picture in a way that is not known here")


@torch.inference_mode()
def _reaches(blocks: Blocks, image: Tensor, multiple: int) -> list[int] | None:
    """Return how far each block sees, in pixels of the image; None if that is farther than the image shows.

    What is not a number spreads to all that depends on it, and to nothing else, while statistics are held fast.
    """
    maps: Values = {blocks.image.number: image}
    surveyed = blocks.survey(lambda start, stop: image[:, :, start:stop], image.shape[2])
    answers: dict[int, Moments] = {}
    reaches = []
    for block in range(blocks.count):
        common, spread = blocks.common(block, surveyed, answers, image.device), _Spread(blocks, multiple)
        found: dict[int, Moments] = {}
        spoiled = {slot.number: spread.spoil(slot, maps[slot.number]) for slot in blocks.read(range(block, block + 1))}
        blocks.run(block, maps, common, answers, partial(_learn, found))
        if block + 1 == blocks.count:
            _learn(found, blocks.result, maps[blocks.result.number])
        blocks.run(block, spoiled, common, answers, spread.observe)
        for slot in (blocks.result, *blocks.left(block)):
            if slot.number in spoiled:
                spread.observe(slot, spoiled[slot.number])
        if spread.beyond:
            return None
        reaches.append(spread.reach)
        answers |= found
    return reaches


def _learn(found: dict[int, Moments], slot: Slot, values: Tensor) -> None:
    found[slot.number] = Moments.of(values)
    found[slot.number].check()


class _Spread:
    """How far what is not a number gets from the middle of an image."""

    def __init__(self, blocks: Blocks, multiple: int) -> None:
        self._blocks, self._sides = blocks, blocks.image.shape[2:]
        self._parts = [slice(first, first + multiple) for first in (side // 2 // multiple * multiple for side in self._sides)]
        self.reach = 0
        self.beyond = False

    def spoil(self, slot: Slot, values: Tensor) -> Tensor:
        """Return a map with its middle spoiled."""
        spoiled = values.clone()
        rows, columns = self._blocks.place(slot, self._parts[0], self._parts[1])
        spoiled[:, :, rows, columns] = torch.nan
        return spoiled

    def observe(self, slot: Slot, values: Tensor) -> None:
        """Look how far it got in a map."""
        self._blocks.place(slot, self._parts[0], self._parts[1])  # it has to have one
        bad = values.isnan().any(1)[0]
        for axis, part, side in zip((0, 1), self._parts, self._sides, strict=True):
            found = bad.any(1 - axis).nonzero().flatten().tolist()
            if found:
                length = bad.shape[axis]
                first, last = floor(found[0] * side / length), ceil((found[-1] + 1) * side / length)
                self.beyond |= found[0] == 0 or found[-1] == length - 1
                self.reach = max(self.reach, part.start - first, last - part.stop)


def _plan(blocks: Blocks, reaches: Sequence[int], per_byte: float, room: int) -> Division:
    """Decide after which blocks maps are written: where that is cheaper than to compute them again, or the halo too wide."""
    operations = [blocks.operations(block) for block in range(blocks.count)]
    pixels, image = prod(blocks.image.shape[2:]), blocks.image.number
    stored: dict[int, float] = {}  # bytes for a pixel, by the numbers of slots
    passes, kept, halo, spilled, space, start = [], set(), 0, 0.0, 0.0, 0
    for block in range(blocks.count):
        passes.append(range(start, block + 1))
        halo = max(halo, sum(reaches[start : block + 1]))
        left = {s.number: prod(s.shape) * s.dtype.itemsize / pixels for s in blocks.left(block) if s.number != image}
        new = sum(size for number, size in left.items() if number not in stored)
        cheaper = sum(operations[start : block + 1]) >= per_byte * new
        if block + 1 < blocks.count and (cheaper or sum(reaches[start : block + 2]) > room):
            kept.add(block)
            spilled, space = spilled + new, max(space, sum(stored.values()) + new)
            stored, start = left, block + 1
    questions = sum(len(blocks.asked[block]) for block in range(blocks.count - 1))
    return Division(blocks, passes, frozenset(kept), halo, operations, questions, spilled, space)
