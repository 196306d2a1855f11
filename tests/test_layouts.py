"""Key layouts of other people's checkpoints: recognised, hyper-parameters detected, loaded strictly, and computing the same.

A layout is tested by a case: the foreign names of its layers, in the order in which the picture meets them, and where a
reference is known, the foreign forward pass in a few lines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from networks import image, randomize
from torch import Tensor

from gantool import systems
from gantool.convert import convert
from gantool.errors import WeightsError
from gantool.system import Layout, System
from gantool.systems.super_resolution import edsr, esrgan, esrgan_plus, rcan, real_esrgan, span, srcnn, srrescgan, srresnet

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

State = Mapping[str, Tensor]
MEAN = torch.tensor([0.4488, 0.4371, 0.4040]).double().view(1, 3, 1, 1)  # as float32 has it


@dataclass(frozen=True)
class Case:
    """A checkpoint as another program writes it."""

    system: str
    layout: str
    config: DataclassInstance  # with odd sizes, to be detected from the tensors' shapes
    layers: list[str]  # foreign names, in the order of the forward pass
    extra: dict[str, Tensor] = field(default_factory=dict)  # what the file holds besides
    forward: Callable[[State, Tensor], Tensor] | None = None  # foreign keys and RGB in [0, 1] -> the same enlarged
    undetectable: tuple[str, ...] = ()  # fields that no file tells


# --- foreign forward passes --------------------------------------------------------------------------------------------


def conv(state: State, name: str, x: Tensor) -> Tensor:
    weight = state[f"{name}.weight"]
    return F.conv2d(x, weight, state.get(f"{name}.bias"), padding=weight.shape[-1] // 2)


def norm(state: State, name: str, x: Tensor) -> Tensor:
    mean, variance, weight, bias = (state[f"{name}.{key}"] for key in ("running_mean", "running_var", "weight", "bias"))
    return F.batch_norm(x, mean, variance, weight, bias)


def edsr_official(scale: int, scaling: float) -> Callable[[State, Tensor], Tensor]:
    def forward(state: State, images: Tensor) -> Tensor:
        last = max(int(key.split(".")[1]) for key in state if key.startswith("body."))
        levels = F.conv2d(255 * images, state["sub_mean.weight"], state["sub_mean.bias"])
        head = x = conv(state, "head.0", levels)
        for i in range(last):
            x = x + scaling * conv(state, f"body.{i}.body.2", conv(state, f"body.{i}.body.0", x).relu())
        x = conv(state, f"body.{last}", x) + head
        for i, factor in enumerate({2: [2], 3: [3], 4: [2, 2]}[scale]):
            x = F.pixel_shuffle(conv(state, f"tail.0.{2 * i}", x), factor)
        levels = F.conv2d(conv(state, "tail.1", x), state["add_mean.weight"], state["add_mean.bias"])
        return levels / 255

    return forward


def rcan_official(config: rcan.Config) -> Callable[[State, Tensor], Tensor]:
    def forward(state: State, images: Tensor) -> Tensor:
        levels = 255 * images
        if config.mean_shift:
            levels = F.conv2d(levels, state["sub_mean.weight"], state["sub_mean.bias"])
        head = x = conv(state, "head.0", levels)
        for g in range(config.groups):
            start = x
            for b in range(config.blocks):
                block = f"body.{g}.body.{b}.body"
                y = conv(state, f"{block}.2", conv(state, f"{block}.0", x).relu())
                means = y.mean((2, 3), keepdim=True)
                x = x + y * conv(state, f"{block}.3.conv_du.2", conv(state, f"{block}.3.conv_du.0", means).relu()).sigmoid()
            x = start + conv(state, f"body.{g}.body.{config.blocks}", x)
        x = head + conv(state, f"body.{config.groups}", x)
        for i, factor in enumerate([3] if config.scale == 3 else [2] * (config.scale.bit_length() - 1)):
            x = F.pixel_shuffle(conv(state, f"tail.0.{2 * i}", x), factor)
        levels = conv(state, "tail.1", x)
        if config.mean_shift:
            levels = F.conv2d(levels, state["add_mean.weight"], state["add_mean.bias"])
        return levels / 255

    return forward


def srresnet_lornatang(state: State, images: Tensor) -> Tensor:
    x = head = F.prelu(conv(state, "conv1.0", images), state["conv1.1.weight"])
    for i in range(sum(key.endswith("rcb.0.weight") for key in state)):
        y = F.prelu(norm(state, f"trunk.{i}.rcb.1", conv(state, f"trunk.{i}.rcb.0", x)), state[f"trunk.{i}.rcb.2.weight"])
        x = x + norm(state, f"trunk.{i}.rcb.4", conv(state, f"trunk.{i}.rcb.3", y))
    x = head + norm(state, "conv2.1", conv(state, "conv2.0", x))
    for i in range(sum(key.endswith("upsample_block.0.weight") for key in state)):
        block = f"upsampling.{i}.upsample_block"
        x = F.prelu(F.pixel_shuffle(conv(state, f"{block}.0", x), 2), state[f"{block}.2.weight"])
    return conv(state, "conv3", x)


def span_official(scale: int) -> Callable[[State, Tensor], Tensor]:
    def wide(state: State, name: str, x: Tensor) -> Tensor:
        if f"{name}.sk.weight" not in state:
            return conv(state, f"{name}.eval_conv", x)
        y = F.pad(x, (1, 1, 1, 1))
        for i in range(3):
            y = F.conv2d(y, state[f"{name}.conv.{i}.weight"], state[f"{name}.conv.{i}.bias"])
        return y + conv(state, f"{name}.sk", x)

    def forward(state: State, images: Tensor) -> Tensor:
        first, outputs = wide(state, "conv_1", (images - MEAN) * 255), []
        x = first
        for block in range(1, 7):
            c1 = wide(state, f"block_{block}.c1_r", x)
            c2 = wide(state, f"block_{block}.c2_r", F.silu(c1, inplace=True))  # in place, as theirs: c1 is kept activated
            c3 = wide(state, f"block_{block}.c3_r", F.silu(c2))
            x = (c3 + x) * (c3.sigmoid() - 0.5)
            outputs.append(x)
        joined = torch.cat([first, wide(state, "conv_2", x), outputs[0], c1], 1)
        return F.pixel_shuffle(conv(state, "upsampler.0", conv(state, "conv_cat", joined)), scale)

    return forward


def rrdb(blocks: int, layers: list[str], unshuffle: int, plus: bool) -> Callable[[State, Tensor], Tensor]:
    def forward(state: State, images: Tensor) -> Tensor:
        names = iter(layers)

        def step(x: Tensor) -> Tensor:
            return conv(state, next(names), x)

        def dense(x: Tensor) -> Tensor:
            skip = step(x) if plus else 0
            parts = [x]
            for number in (1, 2, 3, 4):
                y = F.leaky_relu(step(torch.cat(parts, 1)), 0.2)
                parts.append(y + (skip if number == 2 else parts[2] if number == 4 and plus else 0))
            return x + 0.2 * step(torch.cat(parts, 1))

        x = head = step(F.pixel_unshuffle(images, unshuffle))
        for _ in range(blocks):
            x = x + 0.2 * dense(dense(dense(x)))
        x = head + step(x)
        for _ in layers[(18 if plus else 15) * blocks + 2 : -2]:
            x = F.leaky_relu(step(x.repeat_interleave(2, -1).repeat_interleave(2, -2)), 0.2)
        return step(F.leaky_relu(step(x), 0.2))

    return forward


def srrescgan_official(scale: int) -> Callable[[State, Tensor], Tensor]:
    taps = torch.tensor(
        [-0.07785205408506236, 0.39653931948230575, -0.7291320908465551, 0.4697822874053586, 0.14390600392910627]
        + [-0.22403618499416572, -0.07130921926705004, 0.0806126091510659, 0.03802993693503463, -0.01657454163101562]
        + [-0.012550998556013784, 0.00042957797300470274, 0.0018016407039998328, 0.0003537138000010399],
        dtype=torch.float64,
    )

    def normed(state: State, name: str) -> tuple[Tensor, Tensor]:
        v, g = state[f"{name}.weight_v"], state[f"{name}.weight_g"]
        return g * v / v.square().sum((1, 2, 3), keepdim=True).sqrt(), state[f"{name}.bias"]

    def step(state: State, name: str, x: Tensor) -> Tensor:
        weight, bias = normed(state, name)
        return F.conv2d(F.pad(x, (weight.shape[-1] // 2,) * 4, "reflect"), weight, bias)

    def sigma(x: Tensor) -> Tensor:
        rows = F.pad(x, (0, 0, 7, 7), "reflect").unfold(2, 14, 2) @ taps
        both = F.pad(rows, (7, 7, 0, 0), "reflect").unfold(3, 14, 2) @ taps
        ordered = both.abs().flatten(2).sort().values
        return (ordered[:, :, (ordered.shape[2] - 1) // 2] / 0.6745).mean(1)

    def forward(state: State, images: Tensor) -> Tensor:
        large = F.interpolate(255 * images, scale_factor=scale, mode="bilinear")
        x = step(state, "model.conv1", large)
        for i in range(sum(key.endswith("relu1.weight") for key in state)):
            block = f"model.layer1.{i}"
            y = step(state, f"{block}.conv1", F.prelu(x, state[f"{block}.relu1.weight"]))
            y = step(state, f"{block}.conv2", F.prelu(y, state[f"{block}.relu2.weight"]))
            x = y if i == 0 else x + y
        weight, bias = normed(state, "model.conv_out")
        r = F.conv_transpose2d(x, weight, bias, padding=2)
        limit = state["alpha"].exp() * sigma(large / 255) * 255 * (r[0].numel() - 1) ** 0.5
        factor = limit / torch.maximum(r.flatten(1).norm(dim=1), limit)
        return (large - factor.view(-1, 1, 1, 1) * r).clamp(0, 255) / 255

    return forward


# --- foreign names -----------------------------------------------------------------------------------------------------


def edsr_case(scale: int, blocks: int, channels: int) -> Case:
    config = edsr.Config(scale=scale, blocks=blocks, channels=channels)
    layers = ["head.0", *(f"body.{i}.body.{j}" for i in range(blocks) for j in (0, 2)), f"body.{blocks}", "tail.0.0"]
    layers += ["tail.0.2", "tail.1"] if scale == 4 else ["tail.1"]
    identity = torch.eye(3, dtype=torch.float64).view(3, 3, 1, 1)
    shift = 255 * MEAN.flatten()
    extra = {"sub_mean.weight": identity, "sub_mean.bias": -shift, "add_mean.weight": identity, "add_mean.bias": shift}
    return Case("edsr", "official", config, layers, extra, edsr_official(scale, 1.0))


def rcan_case(scale: int, groups: int, blocks: int, channels: int, reduction: int, mean_shift: bool = True) -> Case:
    config = rcan.Config(scale, groups, blocks, channels, reduction, mean_shift=mean_shift)
    layers = ["head.0"]
    for g in range(groups):
        parts = ("body.0", "body.2", "body.3.conv_du.0", "body.3.conv_du.2")
        layers += [f"body.{g}.body.{b}.{part}" for b in range(blocks) for part in parts] + [f"body.{g}.body.{blocks}"]
    convolutions = 1 if scale == 3 else scale.bit_length() - 1
    layers += [f"body.{groups}", *(f"tail.0.{2 * i}" for i in range(convolutions)), "tail.1"]
    means = edsr_case(2, 1, 8).extra if mean_shift else {}
    return Case("rcan", "official", config, layers, means, rcan_official(config))


def edsr_basicsr_case(scale: int, channels: int) -> Case:
    config = edsr.Config(scale=scale, blocks=2, channels=channels, residual_scaling=0.1 if channels >= 256 else 1.0)
    layers = ["conv_first", *(f"body.{i}.conv{j}" for i in range(2) for j in (1, 2)), "conv_after_body", "upsample.0"]
    return Case("edsr", "BasicSR", config, [*layers, "upsample.2", "conv_last"] if scale == 4 else [*layers, "conv_last"])


def lornatang_case(scale: int, blocks: int, channels: int) -> Case:
    config = srresnet.Config(scale=scale, blocks=blocks, channels=channels, signed=False)
    layers = ["conv1.0", "conv1.1", *(f"trunk.{i}.rcb.{j}" for i in range(blocks) for j in range(5)), "conv2.0", "conv2.1"]
    layers += [f"upsampling.{i}.upsample_block.{j}" for i in range(scale.bit_length() - 1) for j in (0, 2)]
    return Case("srresnet", "Lornatang", config, [*layers, "conv3"], forward=srresnet_lornatang)


def leftthomas_case(scale: int, norm_after_body: bool) -> Case:
    config = srresnet.Config(scale, blocks=5, channels=8, bias=True, norm_after_body=norm_after_body, tanh=True)
    inner = ("conv1", "bn1", "prelu", "conv2", "bn2")
    layers = ["block1.0", "block1.1", *(f"block{i}.{name}" for i in range(2, 7) for name in inner), "block7.0", "block7.1"]
    doublings = scale.bit_length() - 1
    layers += [f"block8.{i}.{name}" for i in range(doublings) for name in ("conv", "prelu")]
    return Case("srresnet", "leftthomas", config, [*layers, f"block8.{doublings}"])


def span_case(scale: int, channels: int, merged: bool, no_norm: bool = False) -> Case:
    config = span.Config(scale=scale, channels=channels, reparameterized=not merged, mean_shift=not no_norm)
    units = ["conv_1", *(f"block_{i}.c{j}_r" for i in range(1, 7) for j in (1, 2, 3)), "conv_2"]
    parts = ["eval_conv"] if merged else ["conv.0", "conv.1", "conv.2", "sk"]
    layers = [f"{unit}.{part}" for unit in units for part in parts]
    extra = {} if merged else {f"{unit}.eval_conv.{kind}": torch.zeros(1) for unit in units for kind in ("weight", "bias")}
    extra |= {"no_norm": torch.zeros(1)} if no_norm else {}
    forward = None if no_norm else span_official(scale)
    layout = "official, merged" if merged else "official"
    return Case("span", layout, config, [*layers, "conv_cat", "upsampler.0"], extra, forward)


def rrdb_layers(layout: str, blocks: int, doublings: int) -> list[str]:
    """First, five a dense block, behind the body, one a doubling, and the last two."""
    triples = [(n, j, k) for n in range(blocks) for j in (1, 2, 3) for k in (1, 2, 3, 4, 5)]
    ups = range(1, doublings + 1)
    if layout == "BSRGAN":
        body = [f"RRDB_trunk.{n}.RDB{j}.conv{k}" for n, j, k in triples]
        return ["conv_first", *body, "trunk_conv", *(f"upconv{i}" for i in ups), "HRconv", "conv_last"]
    if layout == "BasicSR":
        body = [f"body.{n}.rdb{j}.conv{k}" for n, j, k in triples]
        return ["conv_first", *body, "conv_body", *(f"conv_up{i}" for i in ups), "conv_hr", "conv_last"]
    body = [f"model.1.sub.{n}.RDB{j}.conv{k}.0" for n, j, k in triples]
    tail = [*(3 * i for i in ups), 3 * doublings + 2, 3 * doublings + 4]
    return ["model.0", *body, f"model.1.sub.{blocks}", *(f"model.{i}" for i in tail)]


SMALL_JUDGE: dict[str, Any] = {"discriminator_channels": 4, "patch": 32}  # which files of generators do not tell


def esrgan_case(layout: str, scale: int, blocks: int, channels: int, growth: int, unshuffle: int = 1) -> Case:
    config = esrgan.Config(scale, blocks, channels, growth, unshuffle, **SMALL_JUDGE)
    layers = rrdb_layers(layout, blocks, (scale * unshuffle).bit_length() - 1)
    forward = rrdb(blocks, layers, unshuffle, plus=False)
    return Case("esrgan", layout, config, layers, forward=forward, undetectable=tuple(SMALL_JUDGE))


def esrgan_plus_case(scale: int, blocks: int, channels: int, growth: int) -> Case:
    config = esrgan_plus.Config(scale, blocks, channels, growth, **SMALL_JUDGE)
    layers = []
    for name in rrdb_layers("original", blocks, scale.bit_length() - 1):
        layers += [name.replace("conv1.0", "conv1x1")] * name.endswith("conv1.0") + [name]
    forward = rrdb(blocks, layers, 1, plus=True)
    return Case("esrgan-plus", "official", config, layers, forward=forward, undetectable=tuple(SMALL_JUDGE))


def srrescgan_case(scale: int, blocks: int, channels: int) -> Case:
    config = srrescgan.Config(scale=scale, blocks=blocks, channels=channels, **SMALL_JUDGE)
    parts = ("relu1", "relu2", "conv1", "conv2")
    body = [f"model.layer1.{i}.{part}" for i in range(blocks) for part in parts]
    layers = ["", "model.conv1", *body, "model.conv_out"]  # the first has a name without a layer: alpha
    forward = srrescgan_official(scale)
    return Case("srrescgan", "official", config, layers, forward=forward, undetectable=("scale", *SMALL_JUDGE))


def compact_case(scale: int, blocks: int, channels: int) -> Case:
    config = real_esrgan.Config(scale, "compact", blocks, channels, **SMALL_JUDGE)
    layers = [f"body.{number}" for number in range(2 * blocks + 3)]

    def forward(state: State, images: Tensor) -> Tensor:
        x = images
        for name in layers[:-1:2]:
            x = F.prelu(conv(state, name, x), state[f"body.{int(name[5:]) + 1}.weight"])
        base = images.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
        return base + F.pixel_shuffle(conv(state, layers[-1], x), scale)

    return Case("real-esrgan", "official, compact", config, layers, forward=forward, undetectable=tuple(SMALL_JUDGE))


CASES = [
    Case("srcnn", "ports", srcnn.Config(scale=2, middle=1), ["conv1", "conv2", "conv3"], undetectable=("scale",)),
    edsr_case(2, 7, 12),
    edsr_case(3, 1, 8),
    edsr_case(4, 2, 8),
    rcan_case(2, 1, 3, 12, 4),
    rcan_case(3, 3, 2, 8, 2),
    rcan_case(4, 2, 1, 8, 8, mean_shift=False),
    rcan_case(8, 2, 2, 8, 4),
    edsr_basicsr_case(2, 8),
    edsr_basicsr_case(3, 8),
    edsr_basicsr_case(4, 256),
    lornatang_case(2, 3, 8),
    lornatang_case(4, 1, 12),
    lornatang_case(8, 2, 8),
    leftthomas_case(2, norm_after_body=True),
    leftthomas_case(4, norm_after_body=False),
    span_case(2, 8, merged=False),
    span_case(3, 12, merged=True),
    span_case(4, 12, merged=False, no_norm=True),
    *(esrgan_case(layout, 2, 7, 48, 20) for layout in ("original", "BSRGAN", "BasicSR")),
    *(esrgan_case(layout, 4, 2, 8, 6) for layout in ("original", "BSRGAN", "BasicSR")),
    *(esrgan_case(layout, 8, 1, 8, 6) for layout in ("original", "BSRGAN", "BasicSR")),
    esrgan_case("original", 1, 1, 8, 6),
    esrgan_case("original", 2, 1, 8, 6, unshuffle=2),
    esrgan_case("BasicSR", 2, 1, 8, 6, unshuffle=2),
    esrgan_case("BasicSR", 1, 1, 8, 6, unshuffle=4),
    esrgan_plus_case(2, 7, 48, 20),
    esrgan_plus_case(4, 2, 8, 6),
    srrescgan_case(2, 3, 12),
    srrescgan_case(4, 1, 8),
    compact_case(2, 3, 12),
    compact_case(3, 1, 48),
    compact_case(4, 7, 8),
]


def named(cases: Iterable[Case]) -> list[Any]:
    return [pytest.param(case, id=f"{case.system}, {case.layout}, x{getattr(case.config, 'scale', 1)}") for case in cases]


def original(case: Case) -> System:
    """A system with random weights, from which the foreign file is made."""
    system = systems.load(case.system).system(case.config)
    randomize(system)
    return system.double().eval().requires_grad_(False)


def foreign(case: Case) -> dict[str, Tensor]:
    """The original's tensors under the foreign names, paired by the order of the layers, and what the file holds besides."""
    [network] = original(case).inference_modules().values()
    own = [module for module in network.modules() if not list(module.children()) and list(module.parameters())]
    layers = zip(own, case.layers, strict=True)
    tensors = {f"{name}.{key}".lstrip("."): value for module, name in layers for key, value in module.state_dict().items()}
    return tensors | case.extra


def recognises(layout: Layout, state: State) -> bool:
    return all(key in state for key in layout.keys) and not any(key in state for key in layout.without)


def layout_of(case: Case) -> Layout:
    return next(layout for layout in systems.load(case.system).system.layouts if layout.name == case.layout)


def test_every_layout_of_an_upscaler_has_a_case() -> None:
    """Those of other systems are compared with networks written out in their own files of tests."""
    upscalers = systems.names("super_resolution")
    layouts = {(name, layout.name) for name in upscalers for layout in systems.load(name).system.layouts}
    assert {(case.system, case.layout) for case in CASES} == layouts


@pytest.mark.parametrize("case", named(CASES))
def test_a_file_is_recognised_as_its_own_layout_and_no_other_of_any_system(case: Case) -> None:
    state = foreign(case)
    layouts = [(name, layout) for name in systems.names() for layout in systems.load(name).system.layouts]
    assert [(name, layout.name) for name, layout in layouts if recognises(layout, state)] == [(case.system, case.layout)]


@pytest.mark.parametrize("case", named(CASES))
def test_hyper_parameters_are_detected_from_the_shapes(case: Case) -> None:
    found: Any = layout_of(case).config(foreign(case))
    hidden = {name: getattr(case.config, name) for name in case.undetectable}
    assert replace(found, **hidden) == case.config


@pytest.mark.parametrize("case", named(CASES))
def test_a_file_loads_strictly_without_being_told_what_it_is_and_computes_the_same_to_the_bit(case: Case) -> None:
    converted = convert(foreign(case), "file.pth", overrides={name: getattr(case.config, name) for name in case.undetectable})
    assert (systems.name_of(converted.system), converted.layout) == (case.system, case.layout)
    assert set(converted.dropped) == set(case.extra)
    before: Any = original(case).float().for_inference()
    after: Any = converted.system
    given = image(1, 3, 9 * after.multiple, 7 * after.multiple).float()
    assert torch.equal(after.upscale(given), before.upscale(given))


@pytest.mark.parametrize("case", named(CASES))
def test_a_file_with_a_tensor_missing_added_or_of_another_shape_is_refused(case: Case) -> None:
    whole = foreign(case)
    last = f"{case.layers[-1]}.bias"
    without = {key: value for key, value in whole.items() if key != last}
    for state in (without, whole | {"odd.weight": torch.zeros(1)}, whole | {last: torch.zeros(5)}):
        with pytest.raises(WeightsError, match=r"^file\.pth "):
            convert(state, "file.pth")


@pytest.mark.parametrize("case", named(case for case in CASES if case.forward))
def test_the_network_computes_what_the_foreign_program_computes(case: Case) -> None:
    assert case.forward is not None
    system: Any = original(case)
    given = image(2, 3, 8 * system.multiple, 9 * system.multiple)
    torch.testing.assert_close(system.upscale(given), case.forward(foreign(case), given), atol=1e-9, rtol=1e-9)


def test_the_residual_scaling_of_the_wide_edsr_is_computed() -> None:
    case = edsr_case(2, 3, 8)
    assert isinstance(case.config, edsr.Config)
    case = replace(case, config=replace(case.config, residual_scaling=0.1))
    system: Any = original(case)
    given = image(1, 3, 6, 6)
    torch.testing.assert_close(system.upscale(given), edsr_official(2, 0.1)(foreign(case), given), atol=1e-9, rtol=1e-9)
    wide: Any = layout_of(case).config(foreign(case) | {"head.0.weight": torch.zeros(256, 3, 3, 3)})
    assert wide.residual_scaling == 0.1


@pytest.mark.parametrize(
    ("bias", "expected"), [(-255 * MEAN.flatten(), (255.0, True)), (-MEAN.flatten(), (1.0, True)), (None, (1.0, False))]
)
def test_the_colours_of_an_official_edsr_are_read_from_its_mean(bias: Tensor | None, expected: tuple[float, bool]) -> None:
    state = foreign(edsr_case(2, 1, 8))
    del state["sub_mean.bias"]
    found: Any = edsr.EDSR.layouts[0].config(state if bias is None else {**state, "sub_mean.bias": bias.float()})
    assert (found.rgb_range, found.mean_shift) == expected
