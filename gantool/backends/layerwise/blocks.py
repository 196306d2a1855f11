"""A network in blocks, between which it asks something of whole feature maps."""

from __future__ import annotations

from collections import ChainMap, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from typing import cast

import torch
from torch import Tensor

from gantool.backends.layerwise import statistics
from gantool.backends.layerwise.recording import Call, Recording, Slot, Undividable
from gantool.backends.layerwise.statistics import Moments
from gantool.layers.noise import ENLARGED_NOISE_LEVEL, noise_level_in_bands

Values = dict[int, Tensor]  # by the numbers of slots
Answers = Mapping[int, Moments]  # by the numbers of the maps that are asked of


@dataclass(frozen=True)
class _Step:
    """A call, the map of which it asks something, and the numbers of slots that nothing reads after it."""

    call: Call
    asked: Slot | None
    done_with: list[int]


class Blocks:
    """A network for windows of one size, in blocks that are done one by one: each leaves maps for those after it.

    Attributes:
        recording: of which they are.
        image: the window.
        result: what comes of it.
        count: of blocks.
        asked: by block, the maps of which statistics over the whole picture are asked before the next block begins.
    """

    def __init__(self, recording: Recording) -> None:
        self.recording, self.image, self.result = recording, recording.image, recording.result
        self.asked: defaultdict[int, dict[int, Slot]] = defaultdict(dict)
        self._steps: list[list[_Step]] = [[]]
        self._common: defaultdict[int, list[_Step]] = defaultdict(list)  # with results that all windows share
        self._surveys: list[Call] = []
        self._maps = {self.image.number: self.image}
        self._first = {self.image.number: 0}  # block from which on a slot is there
        for call in recording.calls:
            self._arrange(call)
        self.count = self._first[self.result.number] + 1
        self._last = {self.result.number: self.count}  # block in which a slot is read last
        for block in reversed(range(self.count)):
            for step in reversed(self._steps[block]):
                for slot in (*step.call.inputs, *step.call.results):
                    if slot.number not in self._last:
                        self._last[slot.number] = block
                        step.done_with.append(slot.number)

    def _arrange(self, call: Call) -> None:
        if not all(slot.number in self._first for slot in call.inputs):
            raise Undividable("it uses where in the picture the largest value lies")
        if call.function is ENLARGED_NOISE_LEVEL:
            self._arrange_survey(call)
            return
        ready = max(self._first[slot.number] for slot in call.inputs)
        of_window = any(slot.number in self._maps for slot in call.inputs)
        asked = statistics.source(call) if of_window else None
        if asked is not None:
            before = self._first[asked.number]
            self.asked[before][asked.number] = asked
            ready, of_window = max(ready, before + 1), statistics.keeps_map(call)
        step = _Step(call, asked, [])
        if of_window and not all(before.number in self._maps for before, _ in call.renewed):
            raise Undividable("it changes in place what all its parts share")
        if of_window:
            ready = max(ready, len(self._steps) - 1)  # in the network's own order, which calls that work in place need
            if ready == len(self._steps):
                self._steps.append([])
            self._steps[ready].append(step)
        else:
            self._common[ready].append(step)
        for slot in call.results if asked is None else statistics.known_results(call):
            self._first[slot.number] = ready
            if of_window:
                self._maps[slot.number] = slot

    def _arrange_survey(self, call: Call) -> None:
        """Take note of what is asked of the picture itself, which is known before the first block."""
        [asked] = call.inputs
        copies = (each for each in self.recording.calls if each.function is torch.ops.aten.cat.default)
        if asked.number != self.image.number and not any(
            asked in copy.results and all(slot.number == self.image.number for slot in copy.inputs) for copy in copies
        ):
            raise Undividable("it asks how noisy something else than the picture is, such as a turned one (--self-ensemble)")
        self._surveys.append(call)
        self._first[call.results[0].number] = 0

    def survey(self, rows: Callable[[int, int], Tensor], height: int) -> Values:
        """Return what is asked of the picture itself.

        Args:
            rows: from the first and behind the last row to (1, C, rows, W).
            height: of the picture.
        """

        def copied(call: Call) -> Callable[[int, int], Tensor]:
            return lambda start, stop: rows(start, stop).expand(-1, call.inputs[0].shape[1], -1, -1)

        return {
            call.results[0].number: noise_level_in_bands(copied(call), height, cast("int", call.args[1]))
            for call in self._surveys
        }

    def left(self, block: int) -> list[Slot]:
        """Return the maps that a block and those before it leave for those after it."""
        return [s for n, s in self._maps.items() if self._first[n] <= block < self._last.get(n, 0)]

    def read(self, blocks: range) -> list[Slot]:
        """Return the maps that blocks read and do not make."""
        calls = [step.call for block in blocks for step in self._steps[block]]
        numbers = dict.fromkeys([*self.asked[blocks[0]], *(slot.number for call in calls for slot in call.inputs)])
        made = {slot.number for call in calls for slot in call.results}
        return [self._maps[number] for number in numbers if number in self._maps and number not in made]

    def operations(self, block: int) -> float:
        """Return the multiplications and additions of a block's convolutions, for a pixel of the image."""
        return sum(_operations(step.call) for step in self._steps[block]) / prod(self.image.shape[2:])

    def place(self, slot: Slot, rows: slice, columns: slice) -> tuple[slice, slice]:
        """Return where in a map a part of the picture lies.

        Raises:
            Undividable: nowhere, as the map's sides are not in proportion to the window's.
        """
        if len(slot.shape) != 4 or slot.shape[0] != 1:
            raise Undividable("between its layers it keeps more than feature maps")
        across = zip((rows, columns), slot.shape[2:], self.image.shape[2:], strict=True)
        return tuple(_scaled(part, Fraction(side, own)) for part, side, own in across)  # type: ignore[return-value]  # two

    def common(self, block: int, surveyed: Values, answers: Answers, device: torch.device) -> Values:
        """Return what all windows share, as far as it can be known before a block."""
        values = dict(surveyed)
        for step in (step for ready in range(block + 1) for step in self._common[ready]):
            if step.asked is None:
                _give(step.call, step.call.run(values), values)
            else:
                given = statistics.answer(step.call, answers[step.asked.number])
                _give(step.call, [each.to(device) for each in given], values)
        return values

    def run(self, block: int, maps: Values, common: Values, answers: Answers, observe: Callable[[Slot, Tensor], None]) -> None:
        """Do a block.

        Args:
            block: its number.
            maps: those that it reads; what it leaves is added, and what nothing needs any more is taken away.
            common: what all windows share.
            answers: statistics of the whole picture that are known.
            observe: called with each map that is asked of, as it was before anything changed it in place.
        """
        values: ChainMap[int, Tensor] = ChainMap(maps, common)
        if block == 0 and self.image.number in self.asked[0]:
            observe(self.image, maps[self.image.number])
        for step in self._steps[block]:
            if step.asked is None:
                _give(step.call, step.call.run(values), maps)
            else:
                _give(step.call, [statistics.normalized(step.call, answers[step.asked.number], values)], maps)
            for slot in step.call.results:
                if slot.number in self.asked[block]:
                    observe(slot, maps[slot.number])
            for number in step.done_with:
                maps.pop(number, None)


def _give(call: Call, given: list[object], values: Values) -> None:
    """Put a call's results where its slots say."""
    for slot, each in zip(call.outputs, given, strict=False):
        if slot is not None and isinstance(each, Tensor):
            values[slot.number] = each
    for before, after in call.renewed:
        values[after.number] = values[before.number]


def _scaled(part: slice, ratio: Fraction) -> slice:
    start, stop = ratio * part.start, ratio * part.stop
    if start.denominator != 1 or stop.denominator != 1:
        raise Undividable("the sides of its feature maps are not in proportion to the picture's")
    return slice(int(start), int(stop))


def _operations(call: Call) -> float:
    if call.function is not torch.ops.aten.convolution.default:
        return 0.0
    image, weight, output = call.args[0], call.args[1], call.outputs[0]
    if not isinstance(weight, Tensor) or not isinstance(image, Slot) or output is None:
        return 0.0
    transposed = call.args[6]
    return 2.0 * weight.numel() * prod(image.shape[2:] if transposed else output.shape[2:])
