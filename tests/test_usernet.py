"""A user's own network at work: what it is given, what it may answer, and what is said where it fails."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from labels import averaging, constant, convolution, oracle, save_network, some_classes
from onnx import helper
from PIL import Image

from gantool.errors import InputError, UsageError, WeightsError
from gantool.evaluation import onnxprocess
from gantool.evaluation.usernet import UserNet, nearest, resized

PICTURE = Path("picture.png")


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
        with pytest.raises(InputError, match=r"net.onnx fails on 2x2 pixels of picture.png \(.+\): say the size"):
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
