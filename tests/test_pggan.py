"""PGGAN: levels that are blended in, stages that a size makes, and checkpoints whose numbers differ from ours."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from networks import randomize
from torch import Tensor, nn

from gantool.convert import convert
from gantool.errors import UsageError, WeightsError
from gantool.system import Generator
from gantool.systems.generation.pggan import PGGAN, PRESETS, Config, Equalized, First, deviation, pixel_norm
from gantool.training.averaging import Average

SMALL = Config(size=16, latent=6, channels=5, base=16)  # 5, 4 and 2 features at 4, 8 and 16 pixels
State = dict[str, Tensor]


def system(config: Config = SMALL) -> PGGAN:
    torch.manual_seed(0)
    made = PGGAN(config)
    for key, parameter in made.named_parameters():
        if key.endswith("bias"):
            nn.init.normal_(parameter, 0, 0.3)
    return made


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(5))


# --- the paper's facts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "generator", "critic"),
    [
        (4, 6_563_843, 6_561_793),
        (8, 11_284_998, 11_283_457),
        (16, 16_006_153, 16_005_121),
        (32, 20_727_308, 20_726_785),
        (64, 22_498_063, 22_498_049),
        (128, 22_941_074, 22_941_313),
        (256, 23_051_989, 23_052_353),
        (512, 23_079_800, 23_080_225),
        (1024, 23_086_795, 23_087_249),
    ],
)
def test_each_network_has_the_published_number_of_parameters(size: int, generator: int, critic: int) -> None:
    with torch.device("meta"):
        made = PGGAN(replace(Config(), size=size))
    assert sum(p.numel() for p in made.generator.parameters()) == generator
    assert sum(p.numel() for p in made.critic.parameters()) == critic


def test_every_size_is_faded_in_and_then_trained() -> None:
    stages = system(replace(SMALL, batches=(8, 6), images=48, last_images=90)).stages()
    assert [(stage.name, stage.size, stage.batch, stage.steps) for stage in stages] == [
        ("4", 4, 8, 6), ("8-fade", 8, 6, 8), ("8", 8, 6, 8), ("16-fade", 16, 6, 8), ("16", 16, 6, 15),
    ]  # fmt: skip
    assert [stage.name for stage in system(replace(SMALL, size=4)).stages()] == ["4"]


@pytest.mark.parametrize(("preset", "total", "rate"), [("paper", 19e6, 1e-3), ("as-released", 12e6, 1.5e-3)])
def test_the_largest_network_sees_as_many_images_as_published(preset: str, total: float, rate: float) -> None:
    with torch.device("meta"):
        stages = PGGAN(PRESETS[preset]).stages()
    assert len(stages) == 17
    assert sum(stage.steps * stage.batch for stage in stages) == pytest.approx(total, rel=1e-4)
    for stage, expected in ((stages[-3], 1e-3), (stages[-1], rate)):
        for phase in stage.phases:
            [group] = phase.optimizer(phase.modules).param_groups
            assert (group["lr"], group["betas"]) == (expected, (0.0, 0.99))


def test_pictures_are_mirrored_only_if_asked() -> None:
    assert [system(replace(SMALL, mirror=mirror)).fit.flip for mirror in (False, True)] == [False, True]


@pytest.mark.parametrize(("size", "remedy"), [(48, "use 32 or 64"), (3, "use 4 or 8"), (1000, "use 512 or 1024")])
def test_a_size_that_doubling_does_not_reach_is_refused(size: int, remedy: str) -> None:
    with torch.device("meta"), pytest.raises(UsageError, match=f"^size {size}: .*: {remedy}$"):
        PGGAN(replace(Config(), size=size))


# --- layers ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("layer", "fan_in", "gain"), [
    (Equalized(6, 4, 3), 54, sqrt(2)), (Equalized(6, 4, 1, gain=1), 6, 1), (First(6, 4), 6, sqrt(2) / 4),
])  # fmt: skip
def test_weights_are_scaled_as_they_are_used_and_biases_are_not(layer: Equalized | First, fan_in: int, gain: float) -> None:
    given = noise(2, 6) if isinstance(layer, First) else noise(2, 6, 5, 5)
    nn.init.constant_(layer.bias, 0.7)
    scaled = layer(given) - 0.7
    with torch.no_grad():
        layer.weight.mul_(1 / (gain / sqrt(fan_in)))
    torch.testing.assert_close(layer(given) - 0.7, scaled / (gain / sqrt(fan_in)), atol=1e-5, rtol=1e-5)
    torch.manual_seed(0)
    fresh = Equalized(64, 64, 3)
    assert fresh.weight.std().item() == pytest.approx(1, abs=0.02)
    assert not fresh.bias.any()


def test_signals_keep_their_size_through_an_untrained_layer() -> None:
    torch.manual_seed(0)
    given = noise(4, 128, 16, 16)
    inner = F.leaky_relu(Equalized(128, 128, 3)(given), 0.2)[..., 1:-1, 1:-1]
    assert inner.square().mean().item() == pytest.approx((1 + 0.2**2), rel=0.05)  # 2 from the gain, half of it kept


def test_pixel_norm_makes_the_mean_square_of_a_positions_features_one() -> None:
    given = 7 * noise(2, 5, 3, 4)
    result = pixel_norm(given)
    torch.testing.assert_close(result.square().mean(1), torch.ones(2, 3, 4))
    torch.testing.assert_close(result[1, :, 2, 3] / result[1, 0, 2, 3], given[1, :, 2, 3] / given[1, 0, 2, 3])


def test_a_batch_of_one_image_over_and_over_deviates_by_the_root_of_epsilon() -> None:
    result = deviation(noise(1, 5, 4, 4).expand(8, -1, -1, -1), 4)
    torch.testing.assert_close(result, torch.full((8, 1, 4, 4), sqrt(1e-8)))


@pytest.mark.parametrize(("count", "group", "members"), [(8, 4, 4), (8, 16, 8), (6, 4, 3), (14, 16, 14), (5, 4, 1)])
def test_deviation_is_taken_over_images_that_lie_apart(count: int, group: int, members: int) -> None:
    x = noise(count, 5, 4, 4)
    between = count // members
    for i, found in enumerate(deviation(x, group)):
        values = x[i % between :: between]
        assert len(values) == members
        expected = (values.var(0, unbiased=False) + 1e-8).sqrt().mean()
        torch.testing.assert_close(found, expected.expand(1, 4, 4))


# --- growing --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [1, 2])
def test_a_level_that_has_no_weight_yet_leaves_the_image_of_the_one_before(level: int) -> None:
    made, latents = system(), noise(3, 6)
    before = made.generator(latents, level - 1, 1.0)
    assert before.shape == (3, 3, 2 << level, 2 << level)
    assert torch.equal(made.generator(latents, level, 0.0), before.repeat_interleave(2, 2).repeat_interleave(2, 3))
    images = noise(3, 3, 4 << level, 4 << level)
    assert torch.equal(made.critic(images, level, 0.0), made.critic(F.avg_pool2d(images, 2), level - 1, 1.0))


def test_half_way_both_levels_have_half_the_weight() -> None:
    made, latents = system(), noise(3, 6)
    old, new, mixed = (made.generator(latents, 2, alpha) for alpha in (0.0, 1.0, 0.5))
    torch.testing.assert_close(mixed, (old + new) / 2)
    assert (old - new).abs().mean() > 0.1


def test_a_level_that_has_all_the_weight_ignores_the_outputs_of_others() -> None:
    made, latents, images = system(), noise(3, 6), noise(3, 3, 16, 16)
    before = made.generator(latents, 2, 1.0), made.critic(images, 2, 1.0)
    for module in (*made.generator.to_image[:2], *made.critic.from_image[:2]):
        randomize(module)
    assert torch.equal(made.generator(latents, 2, 1.0), before[0])
    assert torch.equal(made.critic(images, 2, 1.0), before[1])


def test_a_phase_trains_exactly_the_layers_that_its_stage_runs() -> None:
    made = system()
    for stage in made.stages():
        made.progress.fill_(0.5)
        for phase in stage.phases:
            made.zero_grad()
            network = made.get_submodule(phase.name)
            terms = phase.losses({"image": torch.rand(4, 3, stage.size or 0, stage.size or 0)})
            torch.stack(list(terms.values())).sum().backward()
            touched = {id(p) for p in network.parameters() if p.grad is not None}
            trained = [p for module in phase.modules for p in module.parameters()]
            assert touched == {id(p) for p in trained}
            assert len(touched) == len(trained)
            assert all(p.grad is not None and p.grad.any() for p in trained)


def test_a_stage_leaves_its_level_and_how_far_it_has_faded_in_the_generator_and_its_average() -> None:
    made = system()
    average = Average(made)
    for stage, share in zip(made.stages(), (0.3, 0.25, 0.5, 0.75, 0.9), strict=True):
        made.progress.fill_(share)
        size = stage.size or 0
        stage.phases[0].losses({"image": torch.rand(2, 3, size, size)})
        average.update(0)
        kept = made.state_dict()
        assert 4 << int(kept["generator.level"]) == size
        assert kept["generator.alpha"].item() == pytest.approx(share if stage.name.endswith("-fade") else 1)
        for each in (made, average.system):
            assert isinstance(each, Generator)
            assert each.generate(noise(2, 6), None).shape == (2, 3, size, size)
        other = PGGAN(made.config)
        other.load_state_dict(kept)
        assert torch.equal(other.generate(noise(2, 6), None), made.generate(noise(2, 6), None))


def test_an_image_depends_on_its_own_latent_and_on_its_direction_alone() -> None:
    made, latents = system(), noise(3, 6)
    images = made.generate(latents, None)
    torch.testing.assert_close(images, (made.generator(latents, 2, 1.0) + 1) / 2)
    torch.testing.assert_close(made.generate(latents[1:2], None), images[1:2], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(made.generate(3 * latents, None), images, atol=1e-4, rtol=1e-4)
    assert (images[0] - images[1]).abs().mean() > 0.05


# --- losses ---------------------------------------------------------------------------------------------------------------


def test_real_images_grow_sharper_as_the_level_fades_in_and_logits_are_kept_near_zero() -> None:
    made, images = system(replace(SMALL, drift_weight=0.5)), torch.rand(4, 3, 16, 16)
    made.progress.fill_(0.25)
    *_, fade, _ = made.stages()
    assert fade.name == "16-fade"
    terms = fade.phases[0].losses({"image": images})
    small = F.avg_pool2d(images, 2).repeat_interleave(2, 2).repeat_interleave(2, 3)
    logits = made.critic(2 * (0.75 * small + 0.25 * images) - 1, 2, 0.25)
    torch.testing.assert_close(terms["real"], -logits.mean())
    torch.testing.assert_close(terms["drift"], 0.5 * logits.square().mean())
    assert not torch.allclose(logits, made.critic(2 * images - 1, 2, 0.25))


def test_both_networks_play_for_the_difference_of_means() -> None:
    made = system()
    stage = made.stages()[-1]
    batch = {"image": torch.rand(4, 3, 16, 16)}
    judged: list[Tensor] = []
    made.critic.register_forward_hook(lambda module, inputs, logits: judged.append(logits))
    terms = stage.phases[0].losses(batch)
    torch.testing.assert_close(terms["real"], -judged[0].mean())
    torch.testing.assert_close(terms["fake"], judged[1].mean())
    [adversarial] = stage.phases[1].losses(batch).values()
    torch.testing.assert_close(adversarial, -judged[3].mean())


# --- checkpoints from elsewhere -------------------------------------------------------------------------------------------


def widths(levels: int) -> list[int]:
    return [8, 8, 6, 3][:levels]  # as channels 8 and base 48 give


def genforce(levels: int, lod: float = 0.0) -> State:
    """A state with genforce's names and shapes."""
    state: State = {"lod": torch.tensor(lod)}
    for level, width in enumerate(widths(levels)):
        first = noise(width, 6, 4, 4) if level == 0 else noise(width, widths(levels)[level - 1], 3, 3)
        for name, weight in ((f"layer{2 * level}", first), (f"layer{2 * level + 1}", noise(width, width, 3, 3).flip(0))):
            state |= {f"{name}.weight": weight, f"{name}.bias": 0.3 * noise(width)}
        state |= {f"output{level}.weight": noise(1, width, 1, 1), f"output{level}.bias": noise(1)}
    return state


def genforce_forward(state: State, latents: Tensor, levels: int) -> Tensor:
    """Its images at the size of a number of levels, in [-1, 1]: norms come before convolutions."""
    x = latents[:, :, None, None]
    for number in range(2 * levels):
        weight, padding = state[f"layer{number}.weight"], 1 if number else 3
        x = x / (x.square().mean(1, keepdim=True) + 1e-8).sqrt()
        x = x.repeat_interleave(2, 2).repeat_interleave(2, 3) if number and number % 2 == 0 else x
        x = F.conv2d(x, weight * sqrt(2 / weight[0].numel()), state[f"layer{number}.bias"], padding=padding)
        x = F.leaky_relu(x, 0.2)
    x = x / (x.square().mean(1, keepdim=True) + 1e-8).sqrt()
    output = state[f"output{levels - 1}.weight"]
    return F.conv2d(x, output / sqrt(output.shape[1]), state[f"output{levels - 1}.bias"])


@pytest.mark.parametrize("levels", [1, 2, 4])
def test_a_genforce_checkpoint_is_recognised_and_computes_the_same(levels: int) -> None:
    state, latents = genforce(levels), noise(3, 6)
    converted = convert(state, "pytorch_model.bin")
    made = converted.system
    assert isinstance(made, PGGAN)
    base = 48 if levels > 2 else 8192
    assert made.config == Config(size=2 << levels, image_channels=1, latent=6, channels=8, base=base)
    assert (converted.layout, list(converted.dropped)) == ("genforce", [])
    theirs = (genforce_forward(state, latents, levels) + 1) / 2
    torch.testing.assert_close(made.generate(latents, None), theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("lod", "size", "old", "new"), [(1.0, 8, 0.0, 1.0), (0.25, 16, 0.25, 0.75), (2.0, 4, 0.0, 1.0)])
def test_a_genforce_checkpoint_that_is_still_growing_is_as_large_as_it_has_grown(
    lod: float, size: int, old: float, new: float
) -> None:
    state, latents = genforce(3, lod), noise(3, 6)
    made: Any = convert(state, "pytorch_model.bin").system
    levels = size.bit_length() - 2
    theirs = new * genforce_forward(state, latents, levels)
    if old:
        theirs = theirs + old * genforce_forward(state, latents, levels - 1).repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(made.generate(latents, None), (theirs + 1) / 2, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("lod", [-1.0, 2.5, float("nan")])
def test_a_genforce_checkpoint_of_no_possible_level_is_refused(lod: float) -> None:
    with pytest.raises(WeightsError, match=rf"^file\.pth looks like pggan .*lod is {lod}, with 3 sizes"):
        convert(genforce(3, lod), "file.pth")


def zoo(levels: int, inner: str) -> State:
    """A state with the GAN zoo's names and shapes."""
    state: State = {}

    def add(name: str, *shape: int) -> None:
        state[f"{name}.{inner}weight"] = noise(*shape).roll(len(state))
        state[f"{name}.{inner}bias"] = 5 * noise(shape[0]).roll(len(state))

    add("formatLayer", 16 * 8, 6)
    add("groupScale0.0", 8, 8, 3, 3)
    for level, width in enumerate(widths(levels)):
        add(f"toRGBLayers.{level}", 3, width, 1, 1)
        if level:
            add(f"scaleLayers.{level - 1}.0", width, widths(levels)[level - 1], 3, 3)
            add(f"scaleLayers.{level - 1}.1", width, width, 3, 3)
    return state


def zoo_forward(state: State, inner: str, latents: Tensor, levels: int) -> Tensor:
    """Its images in [-1, 1]: what is scaled is the biased output."""

    def layer(name: str, x: Tensor) -> Tensor:
        weight, bias = state[f"{name}.{inner}weight"], state[f"{name}.{inner}bias"]
        if weight.dim() == 2:
            return (x @ weight.T + bias) * sqrt(2 / weight.shape[1])
        return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2) * sqrt(2 / weight[0].numel())

    def normalized(x: Tensor) -> Tensor:
        return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()

    x = normalized(F.leaky_relu(layer("formatLayer", normalized(latents)), 0.2).view(-1, 8, 4, 4))
    x = normalized(F.leaky_relu(layer("groupScale0.0", x), 0.2))
    for level in range(levels - 1):
        x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
        for i in (0, 1):
            x = normalized(F.leaky_relu(layer(f"scaleLayers.{level}.{i}", x), 0.2))
    return layer(f"toRGBLayers.{levels - 1}", x)


@pytest.mark.parametrize(("inner", "layout"), [("module.", "GAN zoo"), ("", "GAN zoo, without module")])
@pytest.mark.parametrize("levels", [1, 3, 4])
def test_a_checkpoint_of_the_gan_zoo_is_recognised_and_computes_the_same(inner: str, layout: str, levels: int) -> None:
    state, latents = zoo(levels, inner), noise(3, 6)
    converted = convert(state, "celebaCropped.pth")
    made = converted.system
    assert isinstance(made, PGGAN)
    assert made.config == Config(size=2 << levels, latent=6, channels=8, base=48 if levels > 2 else 8192)
    assert (converted.layout, list(converted.dropped)) == (layout, [])
    theirs = (zoo_forward(state, inner, latents, levels) + 1) / 2
    torch.testing.assert_close(made.generate(latents, None), theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("state", "last"), [
    (genforce(3), "output2"), (genforce(3), "layer0"), (genforce(3), "layer3"),
    (zoo(3, "module."), "toRGBLayers.2.module"), (zoo(3, ""), "formatLayer"), (zoo(3, ""), "groupScale0.0"),
])  # fmt: skip
def test_a_checkpoint_with_a_tensor_missing_added_or_of_another_shape_is_refused(state: State, last: str) -> None:
    without = {key: value for key, value in state.items() if key != f"{last}.bias"}
    reshaped = [{**state, f"{last}.{kind}": torch.zeros(shape)} for kind in ("bias", "weight") for shape in ((5,), ())]
    for broken in (without, {**state, "odd.weight": torch.zeros(1)}, *reshaped):
        with pytest.raises(WeightsError, match=r"^file\.pth "):
            convert(broken, "file.pth")
