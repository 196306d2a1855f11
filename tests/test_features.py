"""The frozen networks that perceptual losses look through: layers, colours, files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import Result
from networks import image
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gantool import frozen
from gantool.errors import InputError, UsageError, WeightsError
from gantool.layers.features import NETWORKS, FeatureNetwork, VGG16Features, check_layers

# it refuses to load beside a torch that it was not built for
torchvision = pytest.importorskip("torchvision", exc_type=(ImportError, RuntimeError))  # type: ignore[arg-type]

ORACLES: dict[str, Callable[[], nn.Module]] = {
    "alexnet": torchvision.models.alexnet,
    "vgg16": torchvision.models.vgg16,
    "vgg19": torchvision.models.vgg19,
    "squeezenet": torchvision.models.squeezenet1_1,
}
MEAN, STD = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
SQUEEZED = "data/weights/squeezenet/squeezenet1_1_features.safetensors"


def network(name: str) -> FeatureNetwork:
    torch.manual_seed(0)
    return FeatureNetwork(name)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_has_the_layers_and_keys_of_torchvision(name: str) -> None:
    own = network(name)
    with torch.device("meta"):
        oracle = ORACLES[name]()
    assert isinstance(oracle.features, nn.Sequential)
    expected = {k: v.shape for k, v in oracle.state_dict().items() if k.startswith("features.")}
    assert {k: v.shape for k, v in own.state_dict().items()} == expected
    assert [type(module).__name__ for module in own.features] == [type(module).__name__ for module in oracle.features]


@pytest.mark.parametrize(
    ("name", "layer", "index"),
    [
        ("vgg19", "conv5_4", 34),
        ("vgg19", "relu5_4", 35),
        ("vgg19", "relu2_2", 8),
        ("squeezenet", "fire9", 12),
        ("vgg16", "relu3_3", 15),
        ("vgg16", "relu5_3", 29),
        ("alexnet", "relu1", 1),
        ("alexnet", "relu5", 11),
    ],
)
def test_features_are_those_of_the_first_layers_in_a_row(name: str, layer: str, index: int) -> None:
    own, images = network(name), image(1, 3, 48, 32).float()
    expected = own.features[: index + 1]((images - MEAN) / STD)
    [found] = own(images, [layer])
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("name", "layer"), [("squeezenet", "fire9"), ("alexnet", "pool5"), ("vgg16", "pool5")])
def test_a_network_computes_what_torchvision_does(name: str, layer: str) -> None:
    own = network(name)
    with torch.device("meta"):
        oracle = ORACLES[name]().eval()
    oracle.load_state_dict(own.state_dict(), strict=False, assign=True)
    images = image(1, 3, 64, 70).float()
    assert isinstance(oracle.features, nn.Module)
    torch.testing.assert_close(own(images, [layer])[0], oracle.features((images - MEAN) / STD))


def test_features_come_one_after_another_in_the_order_of_the_network() -> None:
    own, images = network("vgg16"), image(1, 3, 32, 32).float()
    found = own.each(images, ["relu2_1", "relu1_1", "relu2_1"])
    assert [tuple(features.shape) for features in found] == [(1, 64, 32, 32), (1, 128, 16, 16)]
    assert own(images, []) == []


@pytest.mark.parametrize("convolutions", [False, True], ids=["torchvision", "timm"])
def test_the_dense_layers_of_vgg16_are_those_of_torchvision_in_either_layout(convolutions: bool, tmp_path: Path) -> None:
    with torch.device("meta"):
        oracle = torchvision.models.vgg16().eval()
    state = network("vgg16").state_dict()
    for number, c_in in ((0, 512 * 7 * 7), (3, 4096)):  # one row again and again, so that the file is small
        state[f"classifier.{number}.weight"] = (torch.randn(1, c_in) * (2 / c_in) ** 0.5).expand(4096, c_in)
        state[f"classifier.{number}.bias"] = torch.arange(4096.0) / 4096
    oracle.load_state_dict(state, strict=False, assign=True)
    torch.save(as_timm(state) if convolutions else state | {"classifier.6.bias": torch.zeros(1000)}, tmp_path / "a.pth")
    own = frozen.part("vgg16-fc", tmp_path / "a.pth").value
    assert isinstance(own, VGG16Features)
    images = image(1, 3, 224, 224).float()
    wanted = oracle.classifier[:5](oracle.features((images - MEAN) / STD).flatten(1))
    found = own(images)
    assert found.shape == (1, 4096)
    assert 0 == found.min() < found.max()
    torch.testing.assert_close(found, wanted)
    with pytest.raises(InputError, match="images of 224x223 pixels are not what VGG16 takes: resize to 224x224"):
        own(images[:, :, 1:])


def test_vgg16_with_its_dense_layers_waits_for_weights_without_making_any() -> None:
    found = VGG16Features()
    assert all(parameter.is_meta and not parameter.requires_grad for parameter in found.parameters())
    assert not any(buffer.is_meta for buffer in found.buffers())  # which come with no file


def as_timm(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return weights of VGG16 in the layout of timm: dense layers are convolutions."""
    names = {"classifier.0": "pre_logits.fc1", "classifier.3": "pre_logits.fc2"}
    moved = {
        f"{names.get(key.rpartition('.')[0], key.rpartition('.')[0])}.{key.rpartition('.')[2]}": v for key, v in state.items()
    }
    moved["pre_logits.fc1.weight"] = moved["pre_logits.fc1.weight"].view(4096, 512, 7, 7)
    moved["pre_logits.fc2.weight"] = moved["pre_logits.fc2.weight"].view(4096, 4096, 1, 1)
    return moved | {"head.fc.bias": torch.zeros(1000)}


def test_features_come_in_the_order_asked_for_and_before_a_relu_where_that_is_asked() -> None:
    own, images = network("vgg19"), image(1, 3, 32, 32).float()
    relu, conv = own(images, ["relu1_2", "conv1_2"])
    torch.testing.assert_close(relu, conv.relu())
    assert conv.min() < 0


def test_images_get_a_gradient_and_the_network_none() -> None:
    own, images = network("squeezenet"), image(1, 3, 32, 32).float().requires_grad_()
    own(images, ["fire3"])[0].sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0
    assert all(p.grad is None for p in own.parameters())


@pytest.mark.parametrize(
    ("name", "layer", "said"), [("vgg19", "conv6_1", "conv5_1"), ("vgg", "conv1_1", "vgg19"), ("squeezenet", "fire1", "fire2")]
)
def test_what_there_is_not_is_answered_with_what_there_is(name: str, layer: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        check_layers(name, [layer])


def test_a_layer_of_the_other_network_is_answered_with_a_command_that_names_the_field() -> None:
    said = r"no layer of squeezenet named 'relu1_1': choose with --set 'texture_layers=\[\"fire9\"\]', there are conv1, relu1,"
    with pytest.raises(UsageError, match=said):
        check_layers("squeezenet", ["fire2", "relu1_1"], "texture_layers")


@pytest.mark.parametrize(
    ("name", "layer", "side"),
    [
        ("vgg19", "conv5_4", 16),
        ("vgg19", "pool1", 2),
        ("squeezenet", "fire5", 9),
        ("squeezenet", "conv1", 3),
        ("vgg16", "relu5_3", 16),
        ("alexnet", "conv1", 7),
        ("alexnet", "relu5", 31),
        ("alexnet", "pool5", 63),
    ],
)
def test_images_too_small_for_a_layer_are_refused_in_a_sentence(name: str, layer: str, side: int) -> None:
    network = FeatureNetwork(name)
    [found] = network(torch.zeros(1, 3, side, side + 1), [layer])
    assert found.numel() > 0
    with pytest.raises(UsageError, match=f"{side}x{side - 1} pixels are too small for {layer} of {name}: use a larger patch"):
        network(torch.zeros(1, 3, side - 1, side), [layer])


def test_a_file_that_takes_caffes_colours_gives_the_same_features_as_its_own_convention(shared: Path) -> None:
    own, sha256 = frozen.load("squeezenet", str(shared / SQUEEZED))
    images = image(1, 3, 32, 32).float()
    tensors = load_file(shared / SQUEEZED)
    bgr = images.flip(1) * 255 - torch.tensor((103.939, 116.779, 123.68)).view(1, 3, 1, 1)
    expected = torch.conv2d(bgr, tensors["features.0.weight"], tensors["features.0.bias"], stride=2)
    torch.testing.assert_close(own(images, ["conv1"])[0], expected, rtol=1e-4, atol=1e-3)
    assert len(sha256) == 64


def test_a_pickled_classifier_of_torchvision_gives_its_features(tmp_path: Path) -> None:
    own = network("squeezenet")
    torch.save(
        {f"module.{k}": v for k, v in own.state_dict().items()} | {"classifier.1.weight": torch.zeros(3)}, tmp_path / "a.pth"
    )
    loaded, _ = frozen.load("squeezenet", str(tmp_path / "a.pth"))
    images = image(1, 3, 32, 32).float()
    torch.testing.assert_close(loaded(images, ["fire2"])[0], own(images, ["fire2"])[0])


def broken(kind: str) -> dict[str, Tensor]:
    tensors = network("squeezenet").state_dict()
    first = "features.0.weight"
    if kind == "less":
        del tensors[first]
    elif kind == "shape":
        tensors[first] = tensors[first][:, :2].contiguous()
    else:
        tensors[first][0] = torch.nan
    return tensors


@pytest.mark.parametrize(
    ("kind", "said"), [("less", "does not hold the features"), ("shape", "does not hold"), ("nan", "finite")]
)
def test_a_file_of_another_network_is_refused(kind: str, said: str, tmp_path: Path) -> None:
    save_file(broken(kind), tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match=said):
        frozen.load("squeezenet", str(tmp_path / "a.safetensors"))


def test_a_model_is_no_frozen_network_and_a_frozen_network_no_model(run_cli: Callable[..., Result], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not hold the features of vgg19"):
        frozen.load("vgg19", "span-x4")
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    result = run_cli("upscale", tmp_path / "a.png", "--model", "vgg19")
    assert (result.status, "no model" in result.err) == (2, True)
