"""What a user's own network sees: against closed forms, a plain count, and a LeNet that torch runs."""

from __future__ import annotations

import hashlib
import json
import random
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from gantool.data import idx
from gantool.errors import InputError, UsageError, WeightsError
from gantool.evaluation import onnxprocess
from gantool.evaluation.labelled import (
    classification,
    classification_from_options,
    segmentation,
    segmentation_from_options,
)
from gantool.evaluation.palettes import CITYSCAPES, nearest_classes, read_numbers, read_palette
from gantool.evaluation.usernet import UserNet, nearest, resized
from gantool.evaluation.values import SetValue
from gantool.evaluation.wanted import Labelled, label_pairs, real_pictures, wanted
from gantool.metrics.accuracy import accuracy, by_class
from gantool.metrics.seg import Confusion

COLORS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)  # what the oracle knows as classes 0, 1, 2
PICTURE = Path("picture.png")
Array = NDArray[np.float32]


# --- networks and pictures ---------------------------------------------------------------------------------------------


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
    Image.fromarray(classes.astype(np.uint8)).save(path)
    return path


def save_color(path: Path, color: NDArray[np.uint8]) -> Path:
    Image.fromarray(color).save(path)
    return path


def some_classes(height: int = 6, width: int = 8, seed: int = 0, classes: int = 3) -> NDArray[np.int64]:
    """Return random classes (height, width), each there."""
    found = np.random.default_rng(seed).integers(0, classes, (height, width))
    found.flat[:classes] = range(classes)
    return found


def refuse(path: Path, error: InputError) -> None:
    pytest.fail(f"{path}: {error}")


def score(pairs: Sequence[tuple[Path, Path]], network: Path | None, palette: str | None = None) -> dict[str, SetValue]:
    return {value.metric: value for value in segmentation_from_options(pairs, network, palette, refuse)}


# --- counts and what is made of them -----------------------------------------------------------------------------------


def test_scores_are_those_of_a_plain_count() -> None:
    true, said = some_classes(30, 40, 1, 4), some_classes(30, 40, 2, 4)
    counts = Confusion(4)
    counts.add(said[:10], true[:10])
    counts.add(said[10:], true[10:])
    shares, ious = [], []
    for c in range(4):
        shares.append(((said == c) & (true == c)).sum() / (true == c).sum())
        ious.append(((said == c) & (true == c)).sum() / ((said == c) | (true == c)).sum())
    assert counts.matrix.dtype == np.int64
    assert counts.matrix[2, 3] == ((true == 2) & (said == 3)).sum()
    assert counts.pixel_accuracy() == pytest.approx((said == true).mean(), abs=1e-12)
    assert counts.class_accuracies() == pytest.approx(shares, abs=1e-12)
    assert counts.class_accuracy() == pytest.approx(np.mean(shares), abs=1e-12)
    assert counts.ious() == pytest.approx(ious, abs=1e-12)
    assert counts.iou() == pytest.approx(np.mean(ious), abs=1e-12)


def test_a_worked_matrix_has_its_shares() -> None:
    counts = Confusion(2)
    counts.add(np.array([0, 0, 0, 1, 1]), np.array([0, 0, 1, 1, 255]), (255,))
    assert counts.matrix.tolist() == [[2, 0], [1, 1]]
    assert counts.pixel_accuracy() == pytest.approx(3 / 4)
    assert counts.class_accuracy() == pytest.approx((1 + 1 / 2) / 2)
    assert counts.iou() == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_a_class_that_never_occurs_counts_as_zero_in_the_means() -> None:
    counts = Confusion(4)
    counts.add(np.array([0, 1]), np.array([0, 1]))
    assert (counts.pixel_accuracy(), counts.class_accuracy(), counts.iou()) == pytest.approx((1, 0.5, 0.5))


@pytest.mark.parametrize(("said", "true"), [(3, 0), (0, 3), (-1, 0), (0, 255)])
def test_a_value_that_is_no_class_is_never_counted(said: int, true: int) -> None:
    with pytest.raises(ValueError, match="classes are 0 to 2"):
        Confusion(3).add(np.array([said]), np.array([true]))


def test_accuracy_is_the_share_of_wanted_classes() -> None:
    answers = Confusion(3)
    answers.add(np.array([0, 0, 1, 0]), np.array([0, 0, 0, 1]))
    assert accuracy(answers) == 0.5
    assert by_class(answers) == [2 / 3, 0, None]


# --- the network -------------------------------------------------------------------------------------------------------


def test_a_network_sees_pictures_as_its_file_says(tmp_path: Path) -> None:
    """The scores of a convolution, worked out by numpy, for each way to take a picture."""
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(size=(5, 3, 1, 1)).astype(np.float32), rng.normal(size=5).astype(np.float32)
    color = torch.from_numpy(rng.integers(0, 256, (3, 9, 11)).astype(np.uint8))
    mean, std = np.array([0.5, 0.4, 0.3]), np.array([0.2, 0.3, 0.4])
    images = color.numpy() / 255.0
    cases = {
        "": images,
        'order = "bgr"': images[::-1],
        "range = 255": images * 255,
        "mean = [0.5, 0.4, 0.3]\nstd = [0.2, 0.3, 0.4]": (images - mean[:, None, None]) / std[:, None, None],
        'order = "bgr"\nrange = 255\nmean = [72.78, 83.21, 73.45]': images[::-1] * 255
        - np.array([72.78, 83.21, 73.45])[:, None, None],
    }
    seen = []
    for number, (said, image) in enumerate(cases.items()):
        expected = (np.einsum("ncij,chw->nhw", weight, image) + bias[:, None, None]).argmax(0)
        with UserNet(convolution(tmp_path / f"{number}.onnx", weight, bias, said)) as network:
            found = network.segment(color, (9, 11), PICTURE)
        assert (found == expected).mean() > 0.98, said  # float32 may decide a tie otherwise
        seen.append(found.tobytes())
    assert len(set(seen)) == len(cases), "each field has an effect"


def test_a_gray_network_takes_gray_and_a_colour_network_takes_gray_pictures(tmp_path: Path) -> None:
    gray = averaging(tmp_path / "gray.onnx", np.array([[1.0], [0.5]]), "channels = 1\nmean = [0.5]")
    red = torch.zeros(3, 4, 4, dtype=torch.uint8)
    red[0] = 255  # 0.255 of white by BT.601
    with UserNet(gray) as network:
        assert network.classify(torch.full((1, 4, 4), 255, dtype=torch.uint8), PICTURE) == 0
        assert network.classify(red, PICTURE) == 1
    with UserNet(averaging(tmp_path / "color.onnx", np.eye(3) + [[0, 0, 0], [0, 0, 1], [0, 0, 0]])) as network:
        assert network.classify(torch.full((1, 4, 4), 9, dtype=torch.uint8), PICTURE) == 1


def test_pictures_are_resized_as_pillow_does() -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (12, 20), dtype=np.uint8)
    for size in ((30, 41), (5, 7)):
        expected = np.asarray(Image.fromarray(picture).resize(size[::-1], Image.Resampling.BILINEAR)).astype(float)
        found = resized(torch.from_numpy(picture)[None, None].float(), size)[0, 0].numpy()
        assert np.abs(found - expected).max() <= 1


@pytest.mark.parametrize("size", [(3, 5), (12, 20), (7, 31), (1, 1)])
def test_maps_are_resized_by_nearest_neighbours_as_torch_does(size: tuple[int, int]) -> None:
    classes = some_classes(6, 10, 3, 5).astype(np.int32)
    expected = F.interpolate(torch.from_numpy(classes)[None, None].float(), size=size, mode="nearest-exact")
    assert np.array_equal(nearest(classes, size), expected[0, 0].numpy())


def test_a_network_with_several_outputs_is_refused(tmp_path: Path) -> None:
    nodes = [helper.make_node("Neg", ["x"], ["aux"]), helper.make_node("Relu", ["x"], ["out"])]
    path = save_network(tmp_path / "two.onnx", nodes, {}, outputs=("out", "aux"))
    with pytest.raises(WeightsError, match=r"two.onnx has not one output \((out, aux|aux, out)\): export the one"):
        UserNet(path)


def test_a_network_may_give_classes_itself(tmp_path: Path) -> None:
    path = save_network(tmp_path / "max.onnx", [helper.make_node("ArgMax", ["x"], ["y"], axis=1, keepdims=0)], {})
    color = torch.tensor([[[0, 9]], [[0, 0]], [[5, 0]]], dtype=torch.uint8)
    with UserNet(path) as network, pytest.raises(WeightsError, match="say classes = N in max.toml"):
        network.segment(color, (1, 2), PICTURE)
    path.with_suffix(".toml").write_text("classes = 3")
    with UserNet(path) as network:
        assert network.segment(color, (1, 2), PICTURE).tolist() == [[2, 0]]
    path.with_suffix(".toml").write_text("classes = 2")
    with UserNet(path) as network, pytest.raises(WeightsError, match="other values than 0 to 1"):
        network.segment(color, (1, 2), PICTURE)


def test_one_map_of_probabilities_is_not_taken_for_classes(tmp_path: Path) -> None:
    path = convolution(tmp_path / "one.onnx", np.full((1, 3, 1, 1), 0.3), np.zeros(1), "classes = 2")
    with UserNet(path) as network, pytest.raises(WeightsError, match="other values than 0 to 1"):
        network.segment(torch.full((3, 2, 2), 99, dtype=torch.uint8), (2, 2), PICTURE)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("oder = 'rgb'", "no field named 'oder': did you mean order"),
        ("order = 'rbg'", "order is 'rbg': use"),
        ("range = 1.0", "range is 1.0: use 1 or 255"),
        ("range = true", "range is True: use 1 or 255"),
        ("mean = 0.5", "mean is 0.5: use a list"),
        ("mean = [0.5]", "one for each of 3 channels"),
        ("mean = [nan, 0.0, 0.0]", "mean is"),
        ("std = [1, 1, 0]", "numbers above 0"),
        ("channels = 2", "channels is 2"),
        ("channels = [3]", r"channels is \[3\]"),
        ("size = 224", "size is 224: use"),
        ("size = [0, 5]", "size is"),
        ("size = [1000000, 5]", "size is"),
        ("classes = 1", "classes is 1"),
        ("classes = 3\nnames = ['a', 'b']", "classes is 3 but there are 2 names"),
        ("names = ['a', 'a']", "each of them once"),
        ("names = [1, 2]", "use a list of words"),
        ("names = 'ab'", "use a list of words"),
        ("order = ", "cannot be read as TOML"),
        ("\x00", "cannot be read as TOML"),
    ],
)
def test_a_wrong_field_is_a_sentence(tmp_path: Path, said: str, message: str) -> None:
    with pytest.raises(WeightsError, match=message) as raised:
        UserNet(oracle(tmp_path / "net.onnx", said))
    assert "net.toml" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_what_is_no_network_is_a_sentence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="missing.onnx is no file"):
        UserNet(tmp_path / "missing.onnx")
    with pytest.raises(UsageError, match="is no file"):
        UserNet(tmp_path)
    whole = oracle(tmp_path / "net.onnx").read_bytes()
    for damaged in (b"", b"no network at all" * 9, whole[: len(whole) // 2]):
        (tmp_path / "cut.onnx").write_bytes(damaged)
        with pytest.raises(
            WeightsError, match=r"^OpenCV cannot read .*cut.onnx as an ONNX network \([^()]+.*\): export it anew$"
        ):
            UserNet(tmp_path / "cut.onnx")
    foreign = save_network(tmp_path / "own.onnx", [helper.make_node("Frobnicate", ["x"], ["y"])], {})
    with pytest.raises(WeightsError, match=r"^OpenCV cannot run the Frobnicate of own.onnx: export it with other operators"):
        UserNet(foreign)
    assert capfd.readouterr() == ("", ""), "OpenCV's own words are kept back"


def test_whatever_bytes_a_network_has_the_program_goes_on(tmp_path: Path) -> None:
    """Of the files below some crash OpenCV when it reads them, and some when it runs them: its process, not this one."""
    whole = oracle(tmp_path / "net.onnx").read_bytes()
    ended = []
    for seed in range(12):
        damaged, rng = bytearray(whole), random.Random(seed)
        for _ in range(3):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        (tmp_path / "net.onnx").write_bytes(damaged)
        try:
            with UserNet(tmp_path / "net.onnx") as network:
                network.segment(torch.zeros(3, 4, 4, dtype=torch.uint8), (4, 4), PICTURE)
        except (InputError, WeightsError) as error:
            ended.append(str(error))
    assert ended
    assert not [words for words in ended if "\n" in words]


def test_a_process_that_crashes_costs_one_picture(tmp_path: Path) -> None:
    color = torch.zeros(3, 4, 4, dtype=torch.uint8)
    with UserNet(constant(tmp_path / "net.onnx", 2)) as network:
        network._process.kill()
        network._process.wait()
        with pytest.raises(InputError, match=r"net.onnx fails on 4x4 pixels of picture.png \(OpenCV crashed\): say the size"):
            network.segment(color, (4, 4), PICTURE)
        assert (network.segment(color, (4, 4), PICTURE) == 2).all()


def test_the_process_ends_with_the_network(tmp_path: Path) -> None:
    with UserNet(oracle(tmp_path / "net.onnx")) as network:
        assert network._process.poll() is None
    assert network._process.poll() is not None


def test_an_output_of_another_shape_is_a_sentence(tmp_path: Path) -> None:
    color = torch.zeros(3, 4, 4, dtype=torch.uint8)
    with UserNet(oracle(tmp_path / "map.onnx")) as network, pytest.raises(WeightsError, match="map.onnx gives 1x3x4x4"):
        network.classify(color, PICTURE)
    one, three = averaging(tmp_path / "one.onnx", np.eye(3)), oracle(tmp_path / "three.onnx", "classes = 4")
    with UserNet(one) as network, pytest.raises(WeightsError, match="one.onnx gives 1x3 for a picture: a segmenter gives"):
        network.segment(color, (4, 4), PICTURE)
    with UserNet(three) as network, pytest.raises(WeightsError, match="three.onnx tells 3 classes apart, it should be 4"):
        network.segment(color, (4, 4), PICTURE)


def test_a_picture_that_a_network_cannot_take_is_named_and_the_next_one_is_taken(tmp_path: Path) -> None:
    with UserNet(convolution(tmp_path / "net.onnx", np.zeros((2, 3, 5, 5)), np.ones(2))) as network:
        with pytest.raises(InputError, match=r"net.onnx fails on 2x2 pixels of picture.png \(.+\): say the size it needs"):
            network.segment(torch.zeros(3, 2, 2, dtype=torch.uint8), (2, 2), PICTURE)
        assert (network.segment(torch.zeros(3, 9, 9, dtype=torch.uint8), (9, 9), PICTURE) == 0).all()


def test_values_that_are_not_finite_are_a_sentence(tmp_path: Path) -> None:
    path = save_network(tmp_path / "net.onnx", [helper.make_node("Log", ["x"], ["y"])], {})
    with UserNet(path) as network, pytest.raises(InputError, match="not finite for picture.png: see net.toml"):
        network.segment(torch.zeros(3, 2, 2, dtype=torch.uint8), (2, 2), PICTURE)


def test_half_a_message_is_none(tmp_path: Path) -> None:
    path = tmp_path / "messages"
    with path.open("wb") as stream:
        onnxprocess.send(stream, {"shape": [1]}, b"four")
    for cut, expected in ((0, b"four"), (1, None), (12, None)):
        whole = path.read_bytes()
        (tmp_path / "cut").write_bytes(whole[: len(whole) - cut])
        with (tmp_path / "cut").open("rb") as stream:
            found = onnxprocess.receive(stream)
        assert (found[1] if found else None) == expected


# --- seg ---------------------------------------------------------------------------------------------------------------


def test_an_oracle_sees_everything_right(tmp_path: Path) -> None:
    pairs = []
    for number in range(3):
        classes = some_classes(5 + number, 7, number)
        result = save_color(tmp_path / f"{number}.png", COLORS[classes])
        pairs.append((result, save_labels(tmp_path / f"{number}_labels.png", classes)))
    found = score(pairs, oracle(tmp_path / "net.onnx", "names = ['road', 'tree', 'sky']"))
    assert list(found) == ["seg pixel", "seg class", "seg iou"]
    assert [value.value for value in found.values()] == pytest.approx([1, 1, 1], abs=1e-9)
    words = found["seg iou"].words
    assert "3 pictures of 7x5 to 7x7, 3 classes by net.onnx (sha256 " in words
    assert "places labelled 255 do not count" in words
    assert found["seg iou"].details["by_class"] == pytest.approx({"road": 1, "tree": 1, "sky": 1})
    assert found["seg pixel"].details["sha256"] == hashlib.sha256((tmp_path / "net.onnx").read_bytes()).hexdigest()
    assert found["seg iou"].warnings == ()


def test_a_network_that_always_says_the_same_is_right_as_often_as_that_class_is_there(tmp_path: Path) -> None:
    classes = some_classes(20, 30, 5)
    truth = save_labels(tmp_path / "labels.png", classes)
    result = save_color(tmp_path / "result.png", np.zeros((20, 30, 3), np.uint8))
    for says in range(3):
        share = (classes == says).mean()
        found = score([(result, truth)], constant(tmp_path / f"{says}.onnx", says))
        assert found["seg pixel"].value == pytest.approx(share, abs=1e-12)
        assert found["seg class"].value == pytest.approx(1 / 3, abs=1e-12)
        assert found["seg iou"].value == pytest.approx(share / 3, abs=1e-12)


def test_counts_are_summed_over_pictures_not_their_shares(tmp_path: Path) -> None:
    pairs = []
    for number, (height, says) in enumerate(((1, 0), (9, 1))):
        result = save_color(tmp_path / f"{number}.png", COLORS[np.zeros((height, 4), int)])
        pairs.append((result, save_labels(tmp_path / f"{number}l.png", np.full((height, 4), says))))
    assert score(pairs, oracle(tmp_path / "net.onnx"))["seg pixel"].value == pytest.approx(0.1)


def test_places_labelled_255_do_not_count_and_absent_classes_are_named(tmp_path: Path) -> None:
    classes = np.array([[0, 0, 1, 255]])
    result = save_color(tmp_path / "a.png", COLORS[[[0, 1, 1, 2]]])
    found = score([(result, save_labels(tmp_path / "l.png", classes))], oracle(tmp_path / "net.onnx"))
    assert [value.value for value in found.values()] == pytest.approx([2 / 3, (1 / 2 + 1) / 3, (1 / 2 + 1 / 2) / 3])
    assert found["seg class"].warnings == (
        "2: in no label picture, and counted as 0 in the mean over classes, as published scores do",
    )
    assert found["seg class"].details["by_class"] == pytest.approx({"0": 0.5, "1": 1, "2": None})
    assert found["seg pixel"].details["confusion"] == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]


def test_results_are_blown_up_to_their_label_pictures_and_coarse_maps_too(tmp_path: Path) -> None:
    classes = some_classes(4, 6)
    small = save_color(tmp_path / "small.png", COLORS[classes])
    large = save_labels(tmp_path / "large.png", np.kron(classes, np.ones((8, 8), int)))
    blown_up = score([(small, large)], oracle(tmp_path / "net.onnx"))
    assert 0.85 < blown_up["seg pixel"].value < 1  # borders of blobs move a little
    assert "to the size of label pictures" in blown_up["seg pixel"].words
    fixed = score([(small, large)], oracle(tmp_path / "fixed.onnx", "size = [4, 6]"))
    assert fixed["seg pixel"].value == pytest.approx(1, abs=1e-12)
    assert "to what it takes" in fixed["seg pixel"].words
    coarse = score([(save_color(tmp_path / "c.png", COLORS[np.kron(classes, np.ones((8, 8), int))]), large)],
                   oracle(tmp_path / "coarse.onnx", stride=4))  # fmt: skip
    assert coarse["seg pixel"].value == pytest.approx(1, abs=1e-12)


def test_coloured_maps_are_read_by_the_nearest_colour(tmp_path: Path) -> None:
    (tmp_path / "palette.csv").write_text("name,r,g,b\nroad,255,0,0\ntree,0,255,0\nsky,0,0,255\n")
    classes = some_classes(16, 24, 4)
    noise = np.random.default_rng(0).integers(-60, 60, (16, 24, 3))
    result = save_color(tmp_path / "a.png", (COLORS[classes].astype(int) + noise).clip(0, 255).astype(np.uint8))
    wrong = classes.copy()
    wrong[0, :4] = (wrong[0, :4] + 1) % 3
    found = score([(result, save_labels(tmp_path / "l.png", wrong))], None, str(tmp_path / "palette.csv"))
    assert found["seg pixel"].value == pytest.approx(1 - 4 / classes.size)
    assert set(found["seg iou"].details["by_class"]) == {"road", "tree", "sky"}  # type: ignore[arg-type]
    assert "the nearest of 3 colours" in found["seg iou"].words


def test_nearest_colours_are_those_of_a_plain_search() -> None:
    color = torch.randint(0, 256, (3, 13, 17), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    palette = np.array(CITYSCAPES.colors)
    distances = ((color.permute(1, 2, 0).numpy().astype(int)[:, :, None] - palette) ** 2).sum(3)
    assert np.array_equal(nearest_classes(color, CITYSCAPES), distances.argmin(2))
    assert np.array_equal(nearest_classes(torch.zeros(1, 2, 3, dtype=torch.uint8), CITYSCAPES), np.full((2, 3), 14))


def test_cityscapes_numbers_become_its_19_classes(tmp_path: Path) -> None:
    assert (len(CITYSCAPES.names), len(set(CITYSCAPES.colors)), len(set(CITYSCAPES.ids))) == (19, 19, 19)
    ids = np.array([[7, 8, 0, 9], [33, 26, 30, 23]])
    truth = save_labels(tmp_path / "x_gtFine_labelIds.png", ids)
    assert read_numbers(truth, CITYSCAPES).tolist() == [[0, 1, 255, 255], [18, 13, 255, 10]]
    colors = np.array([CITYSCAPES.colors[n] for n in (0, 1, 4, 4, 18, 13, 4, 10)], np.uint8).reshape(2, 4, 3)
    result = save_color(tmp_path / "x.png", colors)
    found = score([(result, truth)], None, "cityscapes")
    assert found["seg pixel"].value == pytest.approx(1)
    assert found["seg class"].value == pytest.approx(5 / 19)
    assert "Cityscapes' label ids without a train id do not count" in found["seg class"].words


def test_a_segmenter_of_cityscapes_has_19_classes(tmp_path: Path) -> None:
    truth = save_labels(tmp_path / "l.png", np.full((2, 2), 26))
    result = save_color(tmp_path / "a.png", np.zeros((2, 2, 3), np.uint8))
    found = score([(result, truth)], constant(tmp_path / "net.onnx", 13, 19), "cityscapes")
    assert found["seg pixel"].value == pytest.approx(1)
    assert found["seg iou"].details["by_class"]["car"] == pytest.approx(1)  # type: ignore[index, call-overload]
    with pytest.raises(WeightsError, match="tells 3 classes apart, it should be 19"):
        score([(result, truth)], oracle(tmp_path / "three.onnx"), "cityscapes")
    with pytest.raises(UsageError, match="tells 3 classes apart, and there are 19"):
        score([(result, truth)], oracle(tmp_path / "said.onnx", "classes = 3"), "cityscapes")


def test_cityscapes_files_pair_by_shot(tmp_path: Path) -> None:
    results, labels = tmp_path / "results", tmp_path / "val"
    (labels / "bonn").mkdir(parents=True)
    results.mkdir()
    for shot in ("bonn_000_001", "bonn_000_002"):
        save_labels(results / f"{shot}_leftImg8bit.png", np.zeros((2, 2)))
        for kind in ("labelIds", "color", "instanceIds"):
            save_labels(labels / "bonn" / f"{shot}_gtFine_{kind}.png", np.zeros((2, 2)))
    pairs = label_pairs(results, labels)
    assert [(a.name[:12], b.name) for a, b in pairs] == [
        (shot, f"{shot}_gtFine_labelIds.png") for shot in ("bonn_000_001", "bonn_000_002")
    ]
    (results / "bonn_000_002_leftImg8bit.png").unlink()
    with pytest.raises(UsageError, match="without a result: bonn_000_002.png"):
        label_pairs(results, labels)
    assert label_pairs(results, results) == [(results / "bonn_000_001_leftImg8bit.png",) * 2]


@pytest.mark.parametrize(
    ("bits", "palette"), [*((bits, False) for bits in (1, 2, 4, 8, 16)), *((b, True) for b in (1, 2, 4, 8))]
)
def test_label_pictures_are_read_as_they_are_stored(tmp_path: Path, bits: int, palette: bool) -> None:
    classes = some_classes(5, 7, 0, min(1 << bits, 9)).astype(np.uint16)
    path = tmp_path / "l.png"
    if palette:
        image = Image.fromarray(classes.astype(np.uint8))
        image.putpalette([n for value in range(1 << bits) for n in (255 - value, value, 9)])
        image.save(path, bits=bits)
    else:
        path.write_bytes(gray_png(classes, bits))
    assert np.array_equal(read_numbers(path, None), classes)


def gray_png(values: NDArray[np.uint16], bits: int) -> bytes:
    """Return a gray PNG, which Pillow does not write with 2 and 4 bits."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = []
    for row in values:
        text = "".join(f"{value:0{bits}b}" for value in row.tolist())
        text += "0" * (-len(text) % 8)
        rows.append(b"\0" + int(text, 2).to_bytes(len(text) // 8, "big"))
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], bits, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"".join(rows))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def bad_labels(folder: Path) -> dict[str, Path]:
    """Return label pictures that cannot be used, by what is said of them."""
    rng = np.random.default_rng(0)
    whole = save_labels(folder / "whole.png", rng.integers(0, 3, (40, 40))).read_bytes()
    (folder / "cut.png").write_bytes(whole[:200])
    (folder / "text.png").write_text("no picture")
    Image.new("RGB", (4, 4)).save(folder / "rgb.png")
    Image.new("LA", (4, 4)).save(folder / "la.png")
    Image.new("L", (4, 4)).save(folder / "gray.jpg")
    (folder / "folder.png").mkdir()
    return {
        "cut.png is damaged or cut short": folder / "cut.png",
        "text.png is no PNG: label pictures are": folder / "text.png",
        "gray.jpg is no PNG": folder / "gray.jpg",
        "rgb.png has colours: label pictures are gray": folder / "rgb.png",
        "la.png has transparency": folder / "la.png",
        "folder.png is no file": folder / "folder.png",
        "beyond.png has the class 3, and there are 3, from 0 on": save_labels(folder / "beyond.png", np.array([[0, 3]])),
    }


def test_one_picture_that_cannot_be_used_is_named_and_the_numbers_are_withheld(tmp_path: Path) -> None:
    classes = some_classes(4, 4)
    good = save_color(tmp_path / "good.png", COLORS[classes]), save_labels(tmp_path / "labels.png", classes)
    bad = bad_labels(tmp_path)
    pairs = [good, *((good[0], truth) for truth in bad.values()), good]
    told: list[str] = []
    network = oracle(tmp_path / "net.onnx", "classes = 3")
    assert segmentation_from_options(pairs, network, None, lambda path, error: told.append(str(error))) == ()
    for message, said in zip(bad, told, strict=True):
        assert message in said


def test_results_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    truth = save_labels(tmp_path / "labels.png", some_classes(4, 4))
    Image.new("RGBA", (4, 4), (9, 9, 9, 99)).save(tmp_path / "transparent.png")
    (tmp_path / "cut.png").write_bytes(truth.read_bytes()[:50])
    told: dict[str, str] = {}

    def failed(path: Path, error: InputError) -> None:
        told[path.name] = str(error)

    pairs = [(tmp_path / name, truth) for name in ("transparent.png", "cut.png", "missing.png")]
    assert segmentation_from_options(pairs, oracle(tmp_path / "net.onnx"), None, failed) == ()
    assert "is transparent" in told["transparent.png"]
    assert set(told) == {"transparent.png", "cut.png", "missing.png"}


def test_a_16_bit_result_is_seen_in_8_bits(tmp_path: Path) -> None:
    classes = some_classes(4, 4)
    cv2.imwrite(str(tmp_path / "deep.png"), COLORS[classes][:, :, ::-1].astype(np.uint16) * 257)
    pair = tmp_path / "deep.png", save_labels(tmp_path / "l.png", classes)
    assert score([pair], oracle(tmp_path / "net.onnx"))["seg pixel"].value == pytest.approx(1)


def test_a_label_beyond_cityscapes_is_named(tmp_path: Path) -> None:
    train_ids = save_labels(tmp_path / "x_labelTrainIds.png", np.array([[0, 18, 255]]))
    with pytest.raises(InputError, match="has the label 255, the last there is is 33: name the pictures that end in _labelIds"):
        read_numbers(train_ids, CITYSCAPES)


def test_a_large_label_picture_is_refused_by_its_header(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="4x4 pixels, more than the limit of 15"):
        read_numbers(save_labels(tmp_path / "l.png", np.zeros((4, 4))), None, max_pixels=15)


def test_without_anything_that_knows_classes_seg_says_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--segmenter net.onnx.*--palette cityscapes"):
        score([], None)
    with pytest.raises(UsageError, match="by --palette"):
        segmentation([], None, labels="ids", palette=None, on_error=refuse)
    truth = save_labels(tmp_path / "l.png", np.full((2, 2), 255))
    result = save_color(tmp_path / "a.png", np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(UsageError, match="say nothing but 255"):
        score([(result, truth)], oracle(tmp_path / "net.onnx"))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("p.csv", "road,1,2\nsky,1,2,3", "'road' has the colour '1,2': use r,g,b"),
        ("p.csv", "road,1,2,256\nsky,1,2,3", "'1,2,256'"),
        ("p.csv", "road,1,2,x\nsky,1,2,3", "'1,2,x'"),
        ("p.csv", "road,1,2,3\nroad,3,2,1", "one of its names twice"),
        ("p.csv", "road,1,2,3\nsky,1,2,3", "one of its colours twice"),
        ("p.csv", "road,1,2,3", "has 1 classes"),
        ("p.csv", "", "has 0 classes"),
        ("p.toml", "road = 5", "'road' has the colour '5'"),
        ("p.toml", "road = [", "cannot be read"),
    ],
)
def test_a_wrong_palette_is_a_sentence(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=message) as raised:
        read_palette(tmp_path / name)
    assert name in str(raised.value)


def test_palettes_come_as_csv_and_toml(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text('road = [1, 2, 3]\n"the sky" = [4, 5, 6]\n')
    (tmp_path / "p.csv").write_text("road, 1, 2, 3\n\nthe sky,4,5,6\n")
    one, other = (read_palette(tmp_path / name) for name in ("p.toml", "p.csv"))
    assert one == other
    assert (one.names, one.colors) == (("road", "the sky"), ((1, 2, 3), (4, 5, 6)))
    with pytest.raises(UsageError, match="cannot be read"):
        read_palette(tmp_path / "missing.csv")


# --- accuracy ----------------------------------------------------------------------------------------------------------


def plain(folder: Path, name: str, index: int) -> Path:
    """Save a picture of one of the three colours."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return save_color(path, np.broadcast_to(COLORS[index], (4, 4, 3)).copy())


def classes_of(folder: Path, network: Path, labels: Path | None = None, real: Path | None = None) -> dict[str, SetValue]:
    paths = sorted(folder.rglob("*.png"))
    return {v.metric: v for v in classification_from_options(folder, paths, network, labels, real, refuse)}


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
        classification_from_options(tmp_path, [], None, None, None, refuse)


def test_one_unreadable_picture_withholds_the_number_of_its_set_alone(tmp_path: Path) -> None:
    out, told = tmp_path / "out", list[str]()
    real = [Labelled(plain(tmp_path / "real", "1/a.png", 1), "1")]
    results = [Labelled(plain(out, "0/a.png", 0), "0"), Labelled(out / "0/b.png", "0")]
    (out / "0/b.png").write_text("no picture")
    with UserNet(averaging(tmp_path / "net.onnx", np.eye(3))) as network:
        found = classification(results, network, real, lambda path, error: told.append(f"{path.name}: {error}"))
    assert [value.metric for value in found] == ["accuracy real"]
    assert [words.split(":")[0] for words in told] == ["b.png"]


def test_a_hand_made_classifier_tells_ones_from_other_digits(shared: Path, tmp_path: Path) -> None:
    """Ones have the least ink: one threshold on the mean, whose accuracy numpy works out as well."""
    images = idx.images_files(shared / "data/mnist")
    [path] = [path for path in images if path.name.startswith("t10k")]
    digits = [picture for picture in real_pictures(path) if picture.label in "01"][:300]
    ink = np.array([picture.color.float().mean().item() for picture in digits if picture.color is not None]) / 255
    right = ((ink < 0.12) == np.array([picture.label == "1" for picture in digits])).mean()
    path = averaging(tmp_path / "net.onnx", np.array([[1.0], [-1.0]]), "channels = 1", [-0.12, 0.12], side=28)
    with UserNet(path) as network:
        [found] = classification(digits, network, None, refuse)
    assert found.value == pytest.approx(right, abs=1e-3)
    assert found.value > 0.9


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
    digits = real_pictures(next(p for p in idx.images_files(shared / "data/mnist") if p.name.startswith("t10k")))
    assert len(digits) == 10_000
    with UserNet(lenet(tmp_path / "lenet.onnx", state)) as network:
        [value] = classification(digits, network, None, refuse)
        seen = [network.classify(picture.color, picture.path) for picture in digits[:300] if picture.color is not None]
    assert value.value == pytest.approx(0.986, abs=0.0005)
    pixels = torch.stack([picture.color for picture in digits[:300] if picture.color is not None]).float() / 255
    x = F.pad(pixels, (2, 2, 2, 2))
    for name in ("convnet.c1", "convnet.c3"):
        x = F.max_pool2d(F.relu(F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"])), 2)
    x = F.relu(F.conv2d(x, state["convnet.c5.weight"], state["convnet.c5.bias"])).flatten(1)
    x = F.linear(F.relu(F.linear(x, state["fc.f6.weight"], state["fc.f6.bias"])), state["fc.f7.weight"], state["fc.f7.bias"])
    assert seen == x.argmax(1).tolist()
