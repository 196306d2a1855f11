"""The graphs of networks for OpenVINO, drawn by hand from the tensors of a model file, so that no torch is needed.

A graph has one of three forms. *whole*: a window of the picture in, all of its result out. *band*: the next rows of the
picture in, those of the result that are ready out; what each layer keeps of its input for its next rows are further results,
and inputs with the next band; where branches join, the one that is ahead waits. So no row is computed twice. *last*: from what
is kept to the rest of the result, when the picture has ended. Layers extend the picture's border as in torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from gantool.backends.checked import Checked, Floats
from gantool.layers.kernels import taps

if TYPE_CHECKING:
    import openvino as ov

Form: TypeAlias = Literal["whole", "band", "last"]
Function: TypeAlias = "Callable[..., ov.Node]"

_ROWS = 2  # the axis of rows in (1, C, H, W)
_END = np.iinfo(np.int32).max  # of an axis, however long


@dataclass(frozen=True)
class State:
    """Rows that are remembered of a map: (1, channels, rows, factor x width of the picture).

    Attributes:
        channels: of the map.
        factor: its rows and columns for each of the picture.
        rows: how many.
        above: how many there are before the first band, all zeros.
    """

    channels: int
    factor: int
    rows: int
    above: int


@dataclass
class Map:
    """A feature map (1, channels, H, W) in a graph.

    Attributes:
        node: what computes it.
        channels: of the map.
        factor: its rows and columns for each of the picture.
        lag: its rows that wait for rows of the picture that have not come; as far does it see.
        history: itself behind the rows that are remembered of it.
        remembered: number of those rows.
    """

    node: ov.Node
    channels: int
    factor: int = 1
    lag: int = 0
    history: ov.Node | None = None
    remembered: int = 0


class Graph:
    """A graph in the making: its methods take feature maps and return one.

    Args:
        library: openvino.
        model: what its file holds.
        form: of the graph.
    """

    def __init__(self, library: ModuleType, model: Checked, form: Form) -> None:
        self.ops, self.model, self.form = library.opset13, model, form
        self.states: list[State] = []
        self.past: list[ov.Node] = []  # what is remembered, inputs of the forms *band* and *last*
        self.kept: list[ov.Node] = []  # what is to be remembered, results of the form *band*

    # --- layers -----------------------------------------------------------------------------------------------------

    def each(self, function: Function, *maps: Map, channels: int | None = None) -> Map:
        """Apply a function of single pixels; the map that is most behind says which rows."""
        latest = max(maps, key=lambda each: each.lag)
        nodes = [self._aligned(each, latest) for each in maps]
        return Map(function(*nodes), channels or maps[0].channels, latest.factor, latest.lag)

    def affine(self, x: Map, gain: float, shift: float | Floats) -> Map:
        """Return gain * x + shift, the shift one for all channels or one for each."""
        shift = np.asarray(shift, np.float32).reshape(1, -1, 1, 1)
        return self.each(lambda node: self.ops.add(self.ops.multiply(node, self.number(gain)), self.ops.constant(shift)), x)

    def relu(self, x: Map) -> Map:
        """Return x where it is positive, 0 elsewhere."""
        return self.each(self.ops.relu, x)

    def silu(self, x: Map) -> Map:
        """Return x * sigmoid(x)."""
        return self.each(self.ops.swish, x)

    def prelu(self, x: Map, name: str, slopes: int) -> Map:
        """Return x where it is positive and its product with a slope elsewhere, one for all channels or one for each."""
        slope = self.ops.constant(self.model.tensor(f"{name}.weight", slopes))
        return self.each(lambda node: self.ops.prelu(node, slope), x)

    def add(self, x: Map, y: Map) -> Map:
        """Return x + y."""
        return self.each(self.ops.add, x, y)

    def cat(self, *maps: Map) -> Map:
        """Return a map with the channels of all."""
        return self.each(lambda *nodes: self.ops.concat(nodes, 1), *maps, channels=sum(each.channels for each in maps))

    def conv(self, x: Map, name: str, channels: int, side: int = 3, *, bias: bool = True, norm: str | None = None) -> Map:
        """Return a convolution that keeps the size, zeros around the picture.

        Args:
            x: input.
            name: of the layer in the file.
            channels: of the result.
            side: of the kernel.
            bias: whether the file has one.
            norm: the batch norm that follows, which becomes part of the convolution.
        """
        weight = self.model.tensor(f"{name}.weight", channels, x.channels, side, side)
        shift = self.model.tensor(f"{name}.bias", channels) if bias else np.zeros(channels, np.float32)
        if norm is not None:
            weight, shift = self._folded(weight, shift, norm)
        reach = side // 2
        node, above, below = x.node, reach, reach
        if reach and self.form != "whole":
            # twice the reach, as a layer looks both ways; what is not there yet at the top are zeros around the picture
            node = x.history = self._history(x, reach, 2 * reach)
            x.remembered = 2 * reach
            above, below = 0, reach if self.form == "last" else 0
        filters = self.ops.constant(weight, shared_memory=True)
        result = self.ops.convolution(node, filters, [1, 1], [above, reach], [below, reach], [1, 1])
        return self._biased(result, shift, x, reach)

    def _folded(self, weight: Floats, shift: Floats, norm: str) -> tuple[Floats, Floats]:
        """Return a convolution's filters and biases with the batch norm that follows it in them."""
        names = ("weight", "bias", "running_mean", "running_var")
        gain, bias, mean, variance = (self.model.tensor(f"{norm}.{name}", len(shift)).astype(np.float64) for name in names)
        self.model.skip(f"{norm}.num_batches_tracked")
        gain /= np.sqrt(variance + 1e-5)  # torch's
        return (weight * gain[:, None, None, None]).astype(np.float32), ((shift - mean) * gain + bias).astype(np.float32)

    def conv_in_edges(self, x: Map, name: str, channels: int, side: int) -> Map:
        """Return a convolution that keeps the size, the picture's edges repeated around it; in whole windows only."""
        weight = self.model.tensor(f"{name}.weight", channels, x.channels, side, side)
        reach = side // 2
        around = self.integers(0, 0, reach, reach)
        node = self.ops.pad(x.node, around, around, "edge") if reach else x.node
        result = self.ops.convolution(node, self.ops.constant(weight), [1, 1], [0, 0], [0, 0], [1, 1])
        return self._biased(result, self.model.tensor(f"{name}.bias", channels), x, reach)

    def _biased(self, node: ov.Node, shift: Floats, x: Map, reach: int) -> Map:
        node = self.ops.add(node, self.ops.constant(shift.reshape(1, -1, 1, 1)))
        return Map(node, len(shift), x.factor, x.lag + reach)

    def shuffle(self, x: Map, factor: int) -> Map:
        """Return a map of factor times the height and width, whose pixels were the channels (Shi et al., CVPR 2016)."""
        node = self.ops.depth_to_space(x.node, "depth_first", factor)
        return Map(node, x.channels // factor**2, x.factor * factor, x.lag * factor)

    def enlarge(self, x: Map, scale: int) -> Map:
        """Return the bicubic enlargement of MATLAB's `imresize`, the picture mirrored at its border; in whole windows only.

        An output pixel takes two input pixels on either side of its own, with weights that return with every input pixel. So
        it is a convolution with 5x5 that gives scale x scale pixels for each.
        """
        phases = np.zeros((scale, 5))
        middle = range(2 * scale, 3 * scale)  # what becomes of the third of five pixels
        for phase, index, weights in zip(phases, *taps(5, middle, scale, "bicubic", "mirror"), strict=True):
            phase[index] = weights
        kernels = np.einsum("ai,bj->abij", phases, phases).reshape(scale**2, 1, 5, 5)
        kernels = np.tile(kernels, (x.channels, 1, 1, 1)).reshape(x.channels, scale**2, 1, 5, 5)
        node = self._mirrored(self._mirrored(x.node, 2), 3)
        node = self.ops.group_convolution(node, self.ops.constant(kernels.astype(np.float32)), [1, 1], [0, 0], [0, 0], [1, 1])
        return self.shuffle(Map(node, x.channels * scale**2, x.factor, x.lag + 2), scale)

    def _mirrored(self, node: ov.Node, axis: int) -> ov.Node:
        """Extend an axis by two pixels at either end, which mirror those inside, again and again where it is short."""
        ops, one, two = self.ops, self.ops.constant(np.int64(1)), self.ops.constant(np.int64(2))
        size = ops.squeeze(ops.gather(ops.shape_of(node), self.integers(axis), self.integers(0)), self.integers(0))
        index = ops.range(ops.negative(two), ops.add(size, two), one, "i64")
        index = ops.floor_mod(index, ops.multiply(size, two))
        beyond = ops.subtract(ops.subtract(ops.multiply(size, two), one), index)
        return ops.gather(node, ops.minimum(index, beyond), self.integers(axis))

    # --- what bands remember ----------------------------------------------------------------------------------------

    def _aligned(self, x: Map, latest: Map) -> ov.Node:
        """Return the rows of a map that another one, which may be behind it, has."""
        wait = latest.lag - x.lag
        if self.form == "whole" or wait == 0:
            return x.node
        stop = _END if self.form == "last" else -wait
        if wait > x.remembered:
            node = self._history(x, 0, wait)
            return node if self.form == "last" else self._rows(node, self.integers(0), stop)
        assert x.history is not None
        rows = self.ops.gather(self.ops.shape_of(latest.node), self.integers(_ROWS), self.integers(0))
        behind = self.integers(0 if self.form == "last" else -wait)
        return self._rows(x.history, self.ops.subtract(behind, rows), stop)

    def _history(self, x: Map, above: int, keep: int) -> ov.Node:
        """Return a map behind the last `keep` rows of all that came before; before the first band these are `above` zeros."""
        self.states.append(State(x.channels, x.factor, keep, above))
        past = self.ops.parameter([1, x.channels, -1, -1], np.float32)
        self.past.append(past)
        node = self.ops.concat([past, x.node], _ROWS)
        if self.form == "band":
            self.kept.append(self._rows(node, self.integers(-keep), _END))
        return node

    def _rows(self, node: ov.Node, start: ov.Node, stop: int) -> ov.Node:
        return self.ops.slice(node, start, self.integers(stop), self.integers(1), self.integers(_ROWS))

    # --- constants --------------------------------------------------------------------------------------------------

    def integers(self, *values: int) -> ov.Node:
        """Return a vector of whole numbers."""
        return self.ops.constant(np.array(values, np.int64))

    def number(self, value: float) -> ov.Node:
        """Return a number."""
        return self.ops.constant(np.float32(value))
