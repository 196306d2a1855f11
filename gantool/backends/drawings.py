"""The networks that OpenVINO can compute, drawn layer by layer as the systems of the same names have them; no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from gantool.backends.checked import Checked
from gantool.backends.graphs import Form, Graph, Map, State
from gantool.layers.color import BLACK, WEIGHTS

if TYPE_CHECKING:
    import openvino as ov

Result: TypeAlias = Literal["levels", "values"]  # of the input's type, or float32 in [0, 1]

_DIV2K_MEAN = (0.4488, 0.4371, 0.4040)  # RGB, what SPAN and EDSR subtract


def _span(graph: Graph, image: Map) -> Map:
    model = graph.model
    channels, scale, white = model.count("channels"), model.count("scale"), model.number("input_range")
    mean = np.array(_DIV2K_MEAN if model.flag("mean_shift") else (0, 0, 0), np.float32)
    half = graph.number(0.5)

    def attend(last: ov.Node, x: ov.Node) -> ov.Node:
        weights = graph.ops.subtract(graph.ops.sigmoid(last), half)
        return graph.ops.multiply(graph.ops.add(last, x), weights)

    head = graph.conv(graph.affine(image, white, -white * mean), "conv_first", channels)
    outputs, x, first = [], head, head
    for block in range(6):
        name = f"blocks.{block}"
        first = graph.silu(graph.conv(x, f"{name}.c1", channels))
        last = graph.conv(graph.silu(graph.conv(first, f"{name}.c2", channels)), f"{name}.c3", channels)
        x = graph.each(attend, last, x)
        outputs.append(x)
    joined = graph.cat(head, graph.conv(x, "conv_last", channels), outputs[0], first)
    return graph.shuffle(graph.conv(graph.conv(joined, "conv_cat", channels, 1), "upsampler", 3 * scale**2), scale)


def _edsr(graph: Graph, image: Map) -> Map:
    model = graph.model
    channels, white, scaling = model.count("channels"), model.number("rgb_range"), model.number("residual_scaling")
    mean = np.array(_DIV2K_MEAN if model.flag("mean_shift") else (0, 0, 0), np.float32)
    head = x = graph.conv(graph.affine(image, white, -white * mean), "conv_first", channels)
    for block in range(model.count("blocks")):
        name = f"body.{block}"
        branch = graph.conv(graph.relu(graph.conv(x, f"{name}.conv1", channels)), f"{name}.conv2", channels)
        x = graph.add(x, branch if scaling == 1 else graph.affine(branch, scaling, 0))
    x = graph.add(head, graph.conv(x, "conv_after_body", channels))
    for step, factor in enumerate(_factors(model)):
        x = graph.shuffle(graph.conv(x, f"upsample.{2 * step}", channels * factor**2), factor)
    return graph.affine(graph.conv(x, "conv_last", 3), 1 / white, mean)


def _factors(model: Checked) -> list[int]:
    scale = model.count("scale")
    return [3] if scale == 3 else [2] * (scale.bit_length() - 1)


def _srresnet(graph: Graph, image: Map) -> Map:
    model = graph.model
    channels, bias = model.count("channels"), model.flag("bias")
    slopes = channels if model.flag("slopes") else 1
    head = x = graph.prelu(graph.conv(image, "conv_first", channels, 9), "prelu_first", slopes)
    for block in range(model.count("blocks")):
        name = f"body.{block}"
        branch = graph.conv(x, f"{name}.conv1", channels, bias=bias, norm=f"{name}.norm1")
        branch = graph.prelu(branch, f"{name}.prelu", slopes)
        x = graph.add(x, graph.conv(branch, f"{name}.conv2", channels, bias=bias, norm=f"{name}.norm2"))
    if model.flag("norm_after_body"):
        x = graph.conv(x, "conv_after_body", channels, bias=bias, norm="after_body")
    else:
        x = graph.prelu(graph.conv(x, "conv_after_body", channels), "after_body", slopes)
    x = graph.add(head, x)
    for step in range(model.count("scale").bit_length() - 1):
        name = f"upsample.{step}"
        x = graph.prelu(graph.shuffle(graph.conv(x, f"{name}.conv", 4 * channels), 2), f"{name}.prelu", slopes)
    x = graph.conv(x, "conv_last", 3, 9)
    if model.flag("tanh"):
        x = graph.each(graph.ops.tanh, x)
    return graph.affine(x, 0.5, 0.5) if model.flag("signed") else x


def _srcnn(graph: Graph, image: Map) -> Map:
    ops = graph.ops
    weights = ops.constant(np.array(WEIGHTS, np.float32).reshape(1, 3, 1, 1) / np.float32(255))

    def luma(colors: ov.Node) -> ov.Node:
        return ops.add(ops.reduce_sum(ops.multiply(colors, weights), graph.integers(1), keep_dims=True), graph.number(BLACK))

    enlarged = graph.enlarge(image, graph.model.count("scale"))
    old = graph.each(luma, enlarged, channels=1)
    x = graph.relu(graph.conv_in_edges(old, "conv1", 64, 9))
    x = graph.relu(graph.conv_in_edges(x, "conv2", 32, graph.model.count("middle")))
    x = graph.conv_in_edges(x, "conv3", 1, 5)
    gain = graph.number(255 / sum(WEIGHTS))
    return graph.each(
        lambda colors, new, old: ops.add(colors, ops.multiply(ops.subtract(new, old), gain)), enlarged, x, old, channels=3
    )


@dataclass(frozen=True)
class Drawing:
    """A network that can be drawn.

    Attributes:
        draw: from colours in [0, 1] to larger ones.
        streams: whether it can be drawn in the forms *band* and *last*.
    """

    draw: Callable[[Graph, Map], Map]
    streams: bool = True


DRAWINGS = {
    "edsr": Drawing(_edsr),
    "span": Drawing(_span),
    "srcnn": Drawing(_srcnn, streams=False),
    "srresnet": Drawing(_srresnet),
}


@dataclass(frozen=True)
class Drawn:
    """A finished graph.

    Attributes:
        model: from levels (1, h, w, C), in the form *last* from (1, 3, 0, w), and what is remembered, to what is to be
            remembered, (1, any, scale w, C), and the sum of the values, which is finite if they are.
        states: what is remembered, in order.
        scale: output side / input side.
        lag: rows of the result that wait for rows of the picture that have not come.
    """

    model: ov.Model
    states: list[State]
    scale: int
    lag: int


def draw(library: ModuleType, system: str, model: Checked, form: Form, channels: int, levels: str, result: Result) -> Drawn:
    """Return a network's graph.

    Args:
        library: openvino.
        system: of DRAWINGS.
        model: what its file holds.
        form: of the graph.
        channels: of the picture, 3, or 1 for gray, which the network gets as three equal channels and gives as their mean.
        levels: of the picture: uint8 or uint16.
        result: what comes out: rounded half up and clamped, or values.

    Raises:
        WeightsError: the file does not hold what it claims.
    """
    graph, white = Graph(library, model, form), float(np.iinfo(levels).max)
    ops, kind = graph.ops, {"uint8": "u8", "uint16": "u16"}[levels]
    if form == "last":
        image = x = ops.parameter([1, 3, 0, -1], np.float32)
    else:
        image = ops.parameter([1, -1, -1, channels], np.dtype(levels).type)
        x = ops.transpose(ops.divide(ops.convert(image, "f32"), graph.number(white)), graph.integers(0, 3, 1, 2))
        x = x if channels == 3 else ops.concat([x, x, x], 1)
    drawn = DRAWINGS[system].draw(graph, Map(x, 3))
    if drawn.factor != model.count("scale"):
        model.refuse(f"does not describe a possible {system} (scale {model.count('scale')})")
    y = drawn.node if channels == 3 else ops.reduce_mean(drawn.node, graph.integers(1), keep_dims=True)
    total = ops.reduce_sum(y, graph.integers(0, 1, 2, 3))
    y = ops.transpose(y, graph.integers(0, 2, 3, 1))
    if result == "levels":
        y = ops.add(ops.multiply(y, graph.number(white)), graph.number(0.5))
        y = ops.convert(ops.clamp(y, 0.0, white), kind)  # which cuts
    # in this order, as results are computed in theirs, and memory is used again when what is kept of a layer has been cut out
    results = [ops.result(each) for each in (*graph.kept, y, total)]
    return Drawn(library.Model(results, [image, *graph.past], system), graph.states, drawn.factor, drawn.lag)
