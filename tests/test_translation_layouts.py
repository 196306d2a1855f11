"""What other programs' files hold of pix2pix and CycleGAN: read as the same networks, or refused by their names."""

from __future__ import annotations

import collections
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import pytest
import torch
from networks import image, randomize
from torch import Tensor, nn

from gantool import systems
from gantool.convert import convert
from gantool.errors import WeightsError
from gantool.systems.translation.cyclegan import CycleGAN
from gantool.systems.translation.pix2pix import PatchGAN, Pix2Pix


class Level(nn.Module):
    """A level of the official U-Net, with all that is within it; ReLUs work in place on what a skip carries."""

    def __init__(self, outer: int, inner: int, norm: type[nn.Module], inside: Level | None, outermost: bool) -> None:
        super().__init__()
        bias, self.outermost = norm is nn.InstanceNorm2d, outermost
        down = nn.Conv2d(outer, inner, 4, 2, 1, bias=bias)
        if inside is None:
            up = nn.ConvTranspose2d(inner, outer, 4, 2, 1, bias=bias)
            layers = [nn.LeakyReLU(0.2, True), down, nn.ReLU(True), up, norm(outer)]
        elif outermost:
            layers = [down, inside, nn.ReLU(True), nn.ConvTranspose2d(2 * inner, outer, 4, 2, 1), nn.Tanh()]
        else:
            up = nn.ConvTranspose2d(2 * inner, outer, 4, 2, 1, bias=bias)
            layers = [nn.LeakyReLU(0.2, True), down, norm(inner), inside, nn.ReLU(True), up, norm(outer)]
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x) if self.outermost else torch.cat([x, self.model(x)], 1)


class Official(nn.Module):
    """What holds the layers in the official code, under the name `model`."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        randomize(self)

    def forward(self, x: Tensor) -> Tensor:
        return (self.model(2 * x - 1) + 1) / 2


def official_unet(downs: int, channels: int = 2, norm: type[nn.Module] = nn.BatchNorm2d, images: int = 3) -> Official:
    widths = [images, *(channels * min(2**level, 8) for level in range(downs))]
    level = None
    for number in reversed(range(downs)):
        level = Level(widths[number], widths[number + 1], norm, level, number == 0)
    assert level is not None
    return Official(level).eval().requires_grad_(False)


class Block(nn.Module):
    """A residual block under the name of its layers in a file, `conv_block` or `block`."""

    def __init__(self, name: str, width: int, dropout: bool) -> None:
        super().__init__()
        half = lambda: [nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3), nn.InstanceNorm2d(width)]  # noqa: E731
        between = [nn.ReLU(True), nn.Dropout(0.5)] if dropout else [nn.ReLU(True)]
        self.add_module(name, nn.Sequential(*half(), *between, *half()))

    def forward(self, x: Tensor) -> Tensor:
        [branch] = self.children()
        return x + branch(x)


def resnet(
    up: Callable[[int], list[nn.Module]], blocks: int = 2, width: int = 2, name: str = "conv_block", dropout: bool = False
) -> Official:
    layers = [nn.ReflectionPad2d(3), nn.Conv2d(3, width, 7), nn.InstanceNorm2d(width), nn.ReLU(True)]
    for w in (width, 2 * width):
        layers += [nn.Conv2d(w, 2 * w, 3, 2, 1), nn.InstanceNorm2d(2 * w), nn.ReLU(True)]
    layers += [Block(name, 4 * width, dropout) for _ in range(blocks)]
    for w in (2 * width, width):
        layers += [*up(w), nn.InstanceNorm2d(w), nn.ReLU(True)]
    layers += [nn.ReflectionPad2d(3), nn.Conv2d(width, 3, 7), nn.Tanh()]
    return Official(nn.Sequential(*layers)).eval().requires_grad_(False)


def transposed(w: int) -> list[nn.Module]:
    return [nn.ConvTranspose2d(2 * w, w, 3, 2, 1, output_padding=1)]


def resized(w: int) -> list[nn.Module]:
    return [nn.Upsample(scale_factor=2, mode="bilinear"), nn.ReflectionPad2d(1), nn.Conv2d(2 * w, w, 3)]


def nearest(w: int) -> list[nn.Module]:
    return [nn.Upsample(scale_factor=2), nn.Conv2d(2 * w, w, 3, 1, 1)]


def stray(network: nn.Module) -> dict[str, Tensor]:
    """Statistics of instance norms, as old files have them."""
    norms = {name: m.num_features for name, m in network.named_modules() if isinstance(m, nn.InstanceNorm2d)}
    extra = {f"{name}.{key}": torch.ones(width) for name, width in norms.items() for key in ("running_mean", "running_var")}
    return extra | {f"{name}.num_batches_tracked": torch.tensor(5) for name in norms}


CYCLEGANS: dict[str, tuple[Official, str, dict[str, object]]] = {
    "nine blocks": (resnet(transposed, 9), "official", {"blocks": 9}),
    "six blocks": (resnet(transposed, 6), "official", {"blocks": 6}),
    "a slot for dropout": (resnet(transposed, 2, 5, dropout=True), "official", {"blocks": 2, "channels": 5}),
    "resized": (resnet(resized, 3), "official", {"blocks": 3, "upsampling": "resize"}),
    "PyTorch-GAN": (resnet(nearest, 9, name="block"), "PyTorch-GAN", {"blocks": 9, "upsampling": "nearest"}),
}


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("case", CYCLEGANS)
def test_a_file_of_cyclegan_loads_and_computes_the_same(case: str, old: bool) -> None:
    network, layout, config = CYCLEGANS[case]
    extra = stray(network) if old else {}
    converted = convert(network.state_dict() | extra, "file.pth", overrides={"domains": ["horse", "zebra"]})
    system: Any = converted.system
    assert (type(system), converted.layout, set(converted.dropped)) == (CycleGAN, layout, set(extra))
    expected = {"channels": 2, "upsampling": "transposed", "both": False, "domains": ("horse", "zebra")} | config
    assert asdict(system.config) | expected == asdict(system.config)
    given = image(2, 3, 16, 20).float()
    torch.testing.assert_close(system.translate(given, system.target([], [])), network(given))


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, nn.InstanceNorm2d])
def test_a_file_of_pix2pix_loads_and_computes_the_same(norm: type[nn.Module]) -> None:
    network = official_unet(6, norm=norm)
    converted = convert(network.state_dict() | stray(network), "file.pth", overrides={"noise": False})
    system: Any = converted.system
    assert (type(system), system.config.placement) == (Pix2Pix, "pytorch")
    given = image(1, 3, 64, 128).float()
    torch.testing.assert_close(system.deterministic().translate(given, None), network(given))
    torch.testing.assert_close(system.translate(given, None), network.train()(given))  # as the official code runs it


@pytest.mark.parametrize("downs", [5, 7, 8])
def test_the_levels_of_a_u_net_are_counted(downs: int) -> None:
    found: Any = convert(official_unet(downs, 3, images=1).state_dict(), "file.pth").system.config
    assert (found.downs, found.channels, found.image_channels, found.size) == (downs, 3, 1, max(128, 2**downs))


def test_a_file_is_recognised_as_its_own_layout_and_no_other_of_any_system() -> None:
    layouts = [(name, layout) for name in systems.names() for layout in systems.load(name).system.layouts]
    networks = {case: (network, "cyclegan", layout) for case, (network, layout, _) in CYCLEGANS.items()}
    networks["U-Net"] = official_unet(5), "pix2pix", "official"
    networks["U-Net of old"] = official_unet(5, norm=nn.InstanceNorm2d), "pix2pix", "official, instance norm"
    for network, name, layout in networks.values():
        state = network.state_dict()
        fitting = [
            (n, x.name) for n, x in layouts if all(k in state for k in x.keys) and not any(k in state for k in x.without)
        ]
        assert fitting == [(name, layout)]


def prefixed(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in state.items()}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state, judge: {"netG": state, "netD": judge},
        lambda state, judge: {"netG": judge, "avgG": state, "netD": judge},
        lambda state, judge: {"generator": state, "discriminator": judge, "epoch": 3},
        lambda state, judge: {"state_dict": prefixed("module._orig_mod.", state)},
        lambda state, judge: collections.OrderedDict(prefixed("_orig_mod.module.", state)),
    ],
)
def test_of_a_file_with_several_networks_the_generator_is_taken(wrap: Callable[..., Mapping[str, object]]) -> None:
    network = resnet(transposed)
    judge = PatchGAN(3, 4, 3, "instance").state_dict()
    system: Any = convert(wrap(network.state_dict(), judge), "file.pth").system
    given = image(1, 3, 8, 8).float()
    torch.testing.assert_close(system.translate(given, None), network(given))


def patches(*positions: int) -> dict[str, Tensor]:
    return {f"model.{p}.weight": torch.zeros(8, 8, 4, 4) for p in positions}


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (resnet(transposed).state_dict() | {"model.7.filt": torch.ones(2, 1, 3, 3)}, "an anti-aliased network as of CUT"),
        ({"model.12.conv_block.1.weight": torch.zeros(1), "model.7.filt": torch.ones(1)}, "an anti-aliased network as of CUT"),
        (resnet(transposed).state_dict() | {"model.2.weight": torch.ones(2)}, "a residual generator with batch norm"),
        ({"down1.model.0.weight": torch.ones(64, 3, 4, 4), "final.2.weight": torch.ones(1)}, "PyTorch-GAN and huggan"),
        (patches(0, 2, 5, 8, 11), "a discriminator of patches"),
        (patches(0, 2, 5, 8, 12), "a discriminator of patches"),
        ({"netD": patches(0, 2, 5, 8, 11)}, "ask for the generator"),
        ({"model.0.weight": torch.ones(64, 1, 3, 3, 3), "model.9.conv_block.0.weight": torch.ones(1)}, "of volumes"),
        ({"main.0.weight": torch.ones(1), "conv1.weight": torch.ones(1), "conv2.weight": torch.ones(1)}, "as of StarGAN"),
    ],
)
def test_what_is_known_and_not_read_is_refused_by_its_name(state: dict[str, object], said: str) -> None:
    with pytest.raises(WeightsError, match=f"^file.pth holds .*{said}"):
        convert(state, "file.pth")


def broken(network: nn.Module, change: Callable[[dict[str, Tensor]], object]) -> dict[str, Tensor]:
    state = dict(network.state_dict())
    change(state)
    return state


@pytest.mark.parametrize(
    "state",
    [
        broken(resnet(transposed), lambda s: s.pop("model.11.conv_block.5.bias")),
        broken(resnet(transposed), lambda s: s.update({"model.1.weight": torch.zeros(())})),
        broken(resnet(transposed), lambda s: s.update({"model.40.weight": torch.zeros(3)})),
        broken(resnet(transposed), lambda s: s.update({"model.11.conv_block.6.weight": torch.zeros(1)})),
        broken(official_unet(5), lambda s: s.pop("model.model.1.model.3.model.1.weight")),
        broken(official_unet(5), lambda s: s.update({"model.model.3.weight": torch.zeros(4, 2, 4, 4)})),
        broken(official_unet(5), lambda s: s.update({"model.model.0.weight": torch.zeros(3)})),
        broken(official_unet(5), lambda s: s.update({"model.model.1.model.4.weight": torch.zeros(3)})),
    ],
)
def test_a_file_that_is_not_whole_is_refused(state: dict[str, Tensor]) -> None:
    with pytest.raises(WeightsError, match=r"^file\.pth "):
        convert(state, "file.pth")
