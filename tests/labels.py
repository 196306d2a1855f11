"""Networks that say what is in a picture, as users bring them, and pictures that they know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from gantool.errors import InputError

COLORS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)  # what the oracle knows as classes 0, 1, 2
Array = NDArray[np.float32]


def save_network(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    weights: Mapping[str, Array],
    said: str = "",
    outputs: Sequence[str] = ("y",),
    side: int | None = None,
) -> Path:
    """Write a network from "x" (1, C, H, W), for any size or one, and the TOML file beside it if it is to say something."""
    shape = [1, 1 if "channels = 1" in said else 3, side or "height", side or "width"]
    images = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, None, None, None]) for name in outputs]
    initial = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    graph = helper.make_graph(list(nodes), "network", [images], values, initial)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    if said:
        path.with_suffix(".toml").write_text(said)
    return path


def convolution(path: Path, weight: Array, bias: Array, said: str = "", stride: int = 1) -> Path:
    """Write a segmenter: one convolution."""
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], strides=[stride, stride])
    return save_network(path, [node], {"w": weight, "b": bias}, said=said)


def oracle(path: Path, said: str = "", stride: int = 1) -> Path:
    """Write a segmenter that knows the three colours: its scores are the channels."""
    return convolution(path, np.eye(3)[:, :, None, None], np.zeros(3), said, stride)


def constant(path: Path, says: int, classes: int = 3) -> Path:
    """Write a segmenter that always says the same."""
    return convolution(path, np.zeros((classes, 3, 1, 1)), np.eye(classes)[says])


def averaging(path: Path, weight: Array, said: str = "", bias: Sequence[float] = (), side: int = 4) -> Path:
    """Write a classifier: the means of the channels, and one linear layer."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "w", "b"], ["y"], transB=1),
    ]
    return save_network(path, nodes, {"w": weight, "b": np.array(bias or [0.0] * len(weight))}, said, side=side)


def save_labels(path: Path, classes: NDArray[np.integer]) -> Path:
    """Write a label picture."""
    Image.fromarray(classes.astype(np.uint8)).save(path)
    return path


def save_color(path: Path, color: NDArray[np.uint8]) -> Path:
    """Write a picture, in a folder that is made for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(color).save(path)
    return path


def plain(folder: Path, name: str, index: int) -> Path:
    """Save a picture of one of the three colours."""
    return save_color(folder / name, np.broadcast_to(COLORS[index], (4, 4, 3)).copy())


def some_classes(height: int = 6, width: int = 8, seed: int = 0, classes: int = 3) -> NDArray[np.int64]:
    """Return random classes (height, width), each there."""
    found = np.random.default_rng(seed).integers(0, classes, (height, width))
    found.flat[:classes] = range(classes)
    return found


def refuse(path: Path, error: InputError) -> None:
    """For pictures none of which may fail."""
    pytest.fail(f"{path}: {error}")


class Told:
    """What was told of pictures that cannot be used, as (name, message), in order."""

    def __init__(self) -> None:
        self.files: list[str] = []
        self.messages: list[str] = []

    def __call__(self, path: Path, error: InputError) -> None:
        self.files.append(path.name)
        self.messages.append(str(error))
