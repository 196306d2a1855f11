"""What a user's own classifier takes results for: against closed forms, and a LeNet that torch runs."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from labels import Told, averaging, plain, refuse, save_color, save_network
from onnx import helper

from gantool.data import idx
from gantool.errors import UsageError
from gantool.evaluation.classification import classification
from gantool.evaluation.usernet import UserNet
from gantool.evaluation.values import SetValue
from gantool.evaluation.wanted import Labelled, real_pictures, wanted
from gantool.metrics.accuracy import accuracy, by_class
from gantool.metrics.seg import Confusion


def test_accuracy_is_the_share_of_wanted_classes() -> None:
    answers = Confusion(3)
    answers.add(np.array([0, 0, 1, 0]), np.array([0, 0, 0, 1]))
    assert accuracy(answers) == 0.5
    assert by_class(answers) == [2 / 3, 0, None]


def classes_of(folder: Path, network: Path, labels: Path | None = None, real: Path | None = None) -> dict[str, SetValue]:
    found = classification({"out": folder}, classifier=network, labels=labels, real=real, on_error=refuse)
    return {value.metric: value for value in found["out"]}


def test_a_classifier_says_how_often_results_show_what_was_wanted(tmp_path: Path) -> None:
    out, real = tmp_path / "out", tmp_path / "real"
    for name, index in {"red/1": 0, "red/2": 0, "red/3": 1, "blue/1": 2}.items():
        plain(out, f"{name}.png", index)
    for name, index in {"red/1": 0, "green/1": 1, "blue/1": 2, "blue/2": 0, "blue/3": 2}.items():
        plain(real, f"{name}.png", index)
    network = averaging(tmp_path / "net.onnx", np.eye(3), "names = ['red', 'green', 'blue']")
    found = classes_of(out, network, real=real)
    assert {name: value.value for name, value in found.items()} == {"accuracy": 3 / 4, "accuracy real": 4 / 5}
    assert found["accuracy"].details["by_class"] == {"red": 2 / 3, "green": None, "blue": 1}
    assert found["accuracy"].details["pictures"] == {"red": 3, "green": 0, "blue": 1}
    assert found["accuracy"].details["confusion"] == [[2, 1, 0], [0, 0, 0], [0, 0, 1]]
    assert found["accuracy"].warnings == ()
    assert "share of 4 pictures (results) that net.onnx (sha256 " in found["accuracy"].words
    json.dumps(dict(found["accuracy"].details))
    alone = classes_of(out, network)
    assert list(alone) == ["accuracy"]
    assert "name some as references" in alone["accuracy"].warnings[0]


def test_wanted_classes_come_from_a_file(tmp_path: Path, run_cli: Callable[..., object]) -> None:
    out = tmp_path / "out"
    paths = [plain(out, "a b.png", 0), plain(out, "sub/b.png", 2)]
    network = averaging(tmp_path / "net.onnx", np.eye(3))
    (tmp_path / "labels.csv").write_text("name,label\na b.png,0\nsub/b.png,1\n")
    (tmp_path / "labels.txt").write_text("a b.png 0\nsub/b.png  1\n")
    for name in ("labels.csv", "labels.txt"):
        assert [picture.label for picture in wanted(out, paths, tmp_path / name)] == ["0", "1"]
        assert classes_of(out, network, tmp_path / name)["accuracy"].value == 0.5
    report = tmp_path / "report.jsonl"
    run_cli("generate", "-m", "cgan-digits", "--label", "3,7", "--seeds", "0-3", "-o", f"{tmp_path}/made/", "--report", report,
            "--offline")  # fmt: skip
    made = sorted((tmp_path / "made").iterdir())
    assert [picture.label for picture in wanted(tmp_path / "made", made, report)] == ["3", "7", "3", "7"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.png,0", "results without a label: b.png"),
        ("a.png,0\nb.png,1\nc.png,1", "labels without a result: c.png"),
        ("a.png,0\nb.png,1\na.png,1", "more than one label: a.png"),
        ("a.png,0\nb.png", "'b.png' is no name and label"),
        ("a.png,0\nb.png,", "'b.png,' is no name and label"),
        ("", "results without a label: a.png, b.png"),
    ],
)
def test_labels_that_do_not_fit_are_named(tmp_path: Path, text: str, message: str) -> None:
    paths = [plain(tmp_path / "out", name, 0) for name in ("a.png", "b.png")]
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(UsageError, match=message):
        wanted(tmp_path / "out", paths, tmp_path / "labels.csv")


def test_labels_that_cannot_be_read_are_a_sentence(tmp_path: Path) -> None:
    out = tmp_path / "out"
    paths = [plain(out, "a.png", 0)]
    with pytest.raises(UsageError, match="nothing says which class a.png should be of: put results into a folder per class"):
        wanted(out, paths, None)
    with pytest.raises(UsageError, match="nothing says which class a.png should be of: put real pictures into a folder"):
        real_pictures(out)
    with pytest.raises(UsageError, match=r"labels.csv is no file: name one with a line name,label"):
        wanted(out, paths, tmp_path / "labels.csv")
    (tmp_path / "labels.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="cannot be read"):
        wanted(out, paths, tmp_path / "labels.csv")
    (tmp_path / "report.jsonl").write_text('{"output": "a.png"}\n')
    with pytest.raises(UsageError, match="a line has no output and label"):
        wanted(out, paths, tmp_path / "report.jsonl")


def test_a_class_that_the_network_does_not_know_is_named(tmp_path: Path) -> None:
    plain(tmp_path / "out", "gren/a.png", 1)
    named = averaging(tmp_path / "net.onnx", np.eye(3), "names = ['red', 'green', 'blue']")
    with pytest.raises(UsageError, match=r"no class of net.onnx named 'gren': did you mean green"):
        classes_of(tmp_path / "out", named)
    with pytest.raises(UsageError, match=r"'gren' is no class of bare.onnx: use numbers, or give names in bare.toml"):
        classes_of(tmp_path / "out", averaging(tmp_path / "bare.onnx", np.eye(3)))
    plain(tmp_path / "more", "3/a.png", 1)
    with pytest.raises(UsageError, match="'3' is no class of bare.onnx: use numbers, 0 to 2"):
        classes_of(tmp_path / "more", tmp_path / "bare.onnx")
    with pytest.raises(UsageError, match="--classifier"):
        classification({}, classifier=None, labels=None, real=None, on_error=refuse)


def test_one_unreadable_picture_withholds_the_number_of_its_set_alone(tmp_path: Path) -> None:
    out, other, real, told = tmp_path / "out", tmp_path / "other", tmp_path / "real", Told()
    for folder in (out, other, real):
        plain(folder, "1/a.png", 1)
    (out / "1/b.png").write_text("no picture")
    network = averaging(tmp_path / "net.onnx", np.eye(3))
    found = classification({"out": out, "other": other}, classifier=network, labels=None, real=real, on_error=told)
    metrics = {name: [value.metric for value in values] for name, values in found.items()}
    assert metrics == {"out": ["accuracy real"], "other": ["accuracy", "accuracy real"]}
    assert told.files == ["b.png"]
    assert "b.png" in told.messages[0]


def test_real_pictures_that_fail_are_told_once_whatever_is_compared(tmp_path: Path) -> None:
    out, real, told = tmp_path / "out", tmp_path / "real", Told()
    for folder in (out, real):
        plain(folder, "1/a.png", 1)
    (real / "1/bad.png").write_text("no picture")
    save_color(real / "1/tiny.png", np.zeros((2, 2, 3), np.uint8))
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),  # needs 3 pixels a side
        helper.make_node("GlobalAveragePool", ["c"], ["p"]),
        helper.make_node("Flatten", ["p"], ["y"]),
    ]
    network = save_network(tmp_path / "net.onnx", nodes, {"w": np.ones((3, 3, 3, 3), np.float32)})
    found = classification({"one": out, "two": out}, classifier=network, labels=None, real=real, on_error=told)
    assert {name: [value.metric for value in values] for name, values in found.items()} == {
        "one": ["accuracy"],
        "two": ["accuracy"],
    }
    assert told.files == ["bad.png", "tiny.png"]
    for name, message in zip(told.files, told.messages, strict=True):
        assert name in message


def save_digits(folder: Path, digits: Sequence[Labelled]) -> Path:
    """Write digits of 28 pixels a side as IDX files."""
    images = torch.cat([digit.color for digit in digits if digit.color is not None])
    folder.mkdir()
    for name, shape, values in (
        ("t10k-images-idx3-ubyte", images.shape, images.numpy().tobytes()),
        ("t10k-labels-idx1-ubyte", (len(digits),), bytes(int(digit.label) for digit in digits)),
    ):
        (folder / name).write_bytes(bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + values)
    return folder


def test_a_hand_made_classifier_tells_ones_from_other_digits(shared: Path, tmp_path: Path) -> None:
    """Ones have the least ink: one threshold on the mean, whose accuracy numpy works out as well."""
    images = idx.images_files(shared / "data/mnist")
    [path] = [path for path in images if path.name.startswith("t10k")]
    digits = [picture for picture in real_pictures(path) if picture.label in "01"][:300]
    ink = np.array([picture.color.float().mean().item() for picture in digits if picture.color is not None]) / 255
    right = ((ink < 0.12) == np.array([picture.label == "1" for picture in digits])).mean()
    path = averaging(tmp_path / "net.onnx", np.array([[1.0], [-1.0]]), "channels = 1", [-0.12, 0.12], side=28)
    save_color(tmp_path / "out/1/black.png", np.zeros((28, 28), np.uint8))
    found = classes_of(tmp_path / "out", path, real=save_digits(tmp_path / "digits", digits))
    assert found["accuracy"].value == 1
    assert found["accuracy real"].value == pytest.approx(right, abs=1e-3)
    assert found["accuracy real"].value > 0.9


def lenet(path: Path, state: Mapping[str, torch.Tensor]) -> Path:
    """Write the LeNet of shared, whose input is padded to 32 pixels, as an ONNX file."""
    nodes, last = [], "x"
    for name in ("c1", "c3", "c5"):
        pads = [2, 2, 2, 2] if name == "c1" else [0, 0, 0, 0]
        inputs = [last, f"convnet.{name}.weight", f"convnet.{name}.bias"]
        nodes += [helper.make_node("Conv", inputs, [f"{name}c"], pads=pads), helper.make_node("Relu", [f"{name}c"], [name])]
        last = name
        if name != "c5":
            last = f"{name}p"
            nodes.append(helper.make_node("MaxPool", [name], [last], kernel_shape=[2, 2], strides=[2, 2]))
    nodes += [
        helper.make_node("Flatten", [last], ["flat"]),
        helper.make_node("Gemm", ["flat", "fc.f6.weight", "fc.f6.bias"], ["f6"], transB=1),
        helper.make_node("Relu", ["f6"], ["r6"]),
        helper.make_node("Gemm", ["r6", "fc.f7.weight", "fc.f7.bias"], ["y"], transB=1),
    ]
    weights = {key: value.numpy() for key, value in state.items()}
    return save_network(path, nodes, weights, said="channels = 1\nclasses = 10", side=28)


@pytest.mark.slow
def test_lenet_reads_digits_as_well_as_it_is_said_to(shared: Path, tmp_path: Path) -> None:
    """98.6 % of the 10,000 digits, as its figures at hand say, and the same digits as torch reads."""
    [weights] = (shared / "data/weights/mnist/mnist_classifier/weights").glob("lenet*.pth")
    state = torch.load(weights, weights_only=True)
    real = next(path for path in idx.images_files(shared / "data/mnist") if path.name.startswith("t10k"))
    digits, network = real_pictures(real), lenet(tmp_path / "lenet.onnx", state)
    assert len(digits) == 10_000
    assert digits[0].color is not None
    save_color(tmp_path / "out" / digits[0].label / "first.png", digits[0].color[0].numpy())
    found = classes_of(tmp_path / "out", network, real=real)
    with UserNet(network) as running:
        seen = [running.classify(picture.color, picture.path) for picture in digits[:300] if picture.color is not None]
    assert found["accuracy"].value == 1
    assert found["accuracy real"].value == pytest.approx(0.986, abs=0.0005)
    pixels = torch.stack([picture.color for picture in digits[:300] if picture.color is not None]).float() / 255
    x = F.pad(pixels, (2, 2, 2, 2))
    for name in ("convnet.c1", "convnet.c3"):
        x = F.max_pool2d(F.relu(F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"])), 2)
    x = F.relu(F.conv2d(x, state["convnet.c5.weight"], state["convnet.c5.bias"])).flatten(1)
    x = F.linear(F.relu(F.linear(x, state["fc.f6.weight"], state["fc.f6.bias"])), state["fc.f7.weight"], state["fc.f7.bias"])
    assert seen == x.argmax(1).tolist()
