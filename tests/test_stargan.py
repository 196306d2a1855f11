"""StarGAN: labels as maps, several data sets under a mask, the critic's two heads, and the released code's checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gantool import tiling
from gantool.backends.pytorch import TorchEngine
from gantool.bands import Band, Bands
from gantool.convert import convert
from gantool.errors import UsageError
from gantool.system import Batch, Translator
from gantool.systems.translation.stargan import CELEBA, PRESETS, RAFD, Config, StarGAN

SMALL = Config(size=16, channels=4, blocks=2, layers=2)
EXCLUSIVE = replace(SMALL, classes=("a", "b", "c"), sets=(3,), exclusive=True)
JOINT = replace(SMALL, classes=("a", "b", "u", "v", "w"), sets=(2, 3))


def drawn(network: nn.Module) -> nn.Module:
    """A network with norms that are not those of the start."""
    for module in network.modules():
        if isinstance(module, nn.InstanceNorm2d):
            nn.init.normal_(module.weight, 1, 0.3)
            nn.init.normal_(module.bias, 0, 0.3)
    return network


def system(config: Config) -> StarGAN:
    torch.manual_seed(0)
    made = StarGAN(config)
    drawn(made)
    return made


def batch_for(config: Config, own: int = 0, count: int = 6) -> Batch:
    """Noise with labels of one data set, the labels of the others being unknown."""
    generator = torch.Generator().manual_seed(3)
    parts = [torch.zeros(count, labels) for labels in config.sets]
    if config.exclusive:
        parts[own] = F.one_hot(torch.arange(count) % config.sets[own], config.sets[own]).float()
    else:
        parts[own] = torch.randint(0, 2, (count, config.sets[own]), generator=generator).float()
    batch = {"image": torch.rand(count, 3, config.size, config.size, generator=generator), "label": torch.cat(parts, 1)}
    if len(config.sets) > 1:
        batch["mask"] = F.one_hot(torch.full((count,), own), len(config.sets)).float()
    return batch


# --- the paper's facts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "generator", "critic"),
    [
        ({}, 8_430_528, 44_762_048),
        ({"classes": RAFD, "sets": (8,)}, 8_439_936, 44_786_624),
        ({"size": 256}, 8_430_528, 44_884_928),
        ({"size": 256, "classes": (*CELEBA, *RAFD), "sets": (5, 8)}, 8_461_888, 45_147_072),
    ],
)
def test_each_network_has_the_published_number_of_parameters(changes: dict[str, Any], generator: int, critic: int) -> None:
    with torch.device("meta"):
        made = StarGAN(replace(Config(), **changes))
    assert sum(p.numel() for p in made.generator.parameters()) == generator
    assert sum(p.numel() for p in made.critic.parameters()) == critic


def test_the_critic_takes_five_turns_for_one_of_the_generator() -> None:
    [stage] = StarGAN(SMALL).stages()
    assert [(phase.name, phase.repeats) for phase in stage.phases] == [("critic", 5), ("generator", 1)]
    assert (stage.batch, stage.size) == (16, 16)
    for phase in stage.phases:
        assert phase.optimizer(phase.modules).param_groups[0]["betas"] == (0.5, 0.999)


@pytest.mark.parametrize(("preset", "end"), [("paper", 0.0), ("as-released", 0.999)])
def test_the_rate_falls_over_the_second_half(preset: str, end: float) -> None:
    with torch.device("meta"):
        [stage] = StarGAN(PRESETS[preset]).stages()
    for phase in stage.phases:
        assert [phase.schedule(at) for at in (0, 0.5, 0.75, 1)] == pytest.approx([1, 1, (1 + end) / 2, end])


def test_the_released_code_trains_the_critic_two_hundred_thousand_times() -> None:
    preset = PRESETS["as-released"]
    assert preset.steps * preset.critic_steps == 200_000


def test_pictures_are_cut_from_the_middle_and_mirrored() -> None:
    fit = StarGAN(SMALL).fit
    assert (fit.middle, fit.flip, fit.random) == (178, True, False)


# --- losses ---------------------------------------------------------------------------------------------------------------


def test_attributes_are_scored_by_binary_cross_entropy_summed_over_them_and_averaged_over_images() -> None:
    made, batch = system(SMALL), batch_for(SMALL)
    logits, labels = made.critic(2 * batch["image"] - 1)[1], batch["label"]
    expected = -(labels * logits.sigmoid().log() + (1 - labels) * (-logits).sigmoid().log()).sum() / 6
    torch.testing.assert_close(made.critic_losses(batch)["classification"], expected)


def test_exclusive_classes_are_scored_by_the_log_of_the_softmax() -> None:
    config = replace(EXCLUSIVE, classification_weight=3.0)
    made, batch = system(config), batch_for(config)
    shares = made.critic(2 * batch["image"] - 1)[1].softmax(1)
    expected = -3 * (shares * batch["label"]).sum(1).log().mean()
    torch.testing.assert_close(made.critic_losses(batch)["classification"], expected)


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize(("own", "columns"), [(0, [0, 1]), (1, [2, 3, 4])])
def test_only_the_labels_of_a_batchs_own_data_set_are_scored(exclusive: bool, own: int, columns: list[int]) -> None:
    config = replace(JOINT, exclusive=exclusive)
    made, batch = system(config), batch_for(config, own)
    terms = made.critic_losses(batch)
    alone = replace(config, classes=tuple(config.classes[i] for i in columns), sets=(len(columns),))
    labels = torch.cat([batch["label"], batch["mask"]], 1)[:, columns]
    logits = made.critic(2 * batch["image"] - 1)[1][:, columns]
    torch.testing.assert_close(terms["classification"], StarGAN(alone)._misnamed(logits, labels))
    torch.stack(list(terms.values())).sum().backward()
    gradient = made.critic.labels.weight.grad
    assert gradient is not None
    assert gradient.flatten(1).any(1).nonzero().flatten().tolist() == columns


def test_the_adversarial_terms_are_those_of_wgan_gp_on_the_mean_of_the_patches() -> None:
    made, batch = system(SMALL), batch_for(SMALL)
    batch["label"][:] = batch["label"][0]  # so that the shuffled labels are known
    real, own = 2 * batch["image"] - 1, batch["label"]
    fake = made.generator(real, own[:, :, None, None].expand(-1, -1, 16, 16))
    terms = made.critic_losses(batch)
    torch.testing.assert_close(terms["real"], -made.critic(real)[0].mean())
    torch.testing.assert_close(terms["fake"], made.critic(fake)[0].mean())
    generator_terms = made.generator_losses(batch)
    torch.testing.assert_close(generator_terms["adversarial"], -made.critic(fake)[0].mean())
    torch.testing.assert_close(generator_terms["classification"], made._misnamed(made.critic(fake)[1], own))
    back = made.generator(fake, own[:, :, None, None].expand(-1, -1, 16, 16))
    torch.testing.assert_close(generator_terms["reconstruction"], 10 * (back - real).abs().mean())


def test_the_penalty_of_a_linear_critic_is_ten_times_its_norms_distance_from_one_squared() -> None:
    made = StarGAN(replace(SMALL, layers=1, size=8))
    for parameter in made.critic.parameters():
        nn.init.zeros_(parameter)
    first = made.critic.layers.get_submodule("0")
    assert isinstance(first, nn.Conv2d)
    assert first.bias is not None
    nn.init.constant_(first.weight[0, 0, 1, 1], 0.25)  # looks at every other pixel of one colour, 16 in all
    nn.init.constant_(first.bias, 100)  # so that no slope is that of the negative side
    nn.init.constant_(made.critic.source.weight[0, 0, 1, 1], 1)
    penalty = made.critic_losses(batch_for(made.config))["penalty"]
    assert penalty.item() == pytest.approx(10 * (0.25 * 16**0.5 - 1) ** 2, abs=1e-6)
    nn.init.constant_(first.weight[0, 0, 1, 1], 0.5)
    assert made.critic_losses(batch_for(made.config))["penalty"].item() == pytest.approx(10 * (0.5 * 16**0.5 - 1) ** 2)


def test_the_generator_is_told_and_judged_by_labels_that_other_images_of_the_batch_have() -> None:
    told: list[Tensor] = []
    made, batch = system(JOINT), batch_for(JOINT, own=1)
    made.generator.register_forward_pre_hook(lambda module, inputs: told.append(inputs[1]))
    torch.manual_seed(0)
    terms = made.generator_losses(batch)
    target, own = told
    expected = torch.cat([batch["label"], batch["mask"]], 1)
    assert (target == target[:, :, :1, :1]).all()
    assert torch.equal(own[:, :, 0, 0], expected)
    assert sorted(target[:, :, 0, 0].tolist()) == sorted(expected.tolist())
    assert not torch.equal(target, own)
    logits = made.critic(made.generator(2 * batch["image"] - 1, target))[1]
    torch.testing.assert_close(terms["classification"], made._misnamed(logits, target[:, :, 0, 0]))


# --- translation ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "wanted", "unwanted", "expected"),
    [
        (Config(), ["Blond_Hair", "Young"], [], [0, 1, 0, 0, 1]),
        (Config(), ["Blond_Hair"], ["Male"], [0, 1, 0, 0, 0]),
        (Config(), [], ["Male"], [0, 0, 0, 0, 0]),
        (EXCLUSIVE, ["b"], [], [0, 1, 0]),
        (JOINT, ["b"], [], [0, 1, 0, 0, 0, 1, 0]),
        (JOINT, ["u"], ["w"], [0, 0, 1, 0, 0, 0, 1]),
        (JOINT, [], ["w"], [0, 0, 0, 0, 0, 0, 1]),
        (replace(JOINT, exclusive=True), ["w"], [], [0, 0, 0, 0, 1, 0, 1]),
    ],
)
def test_names_become_labels_and_the_mark_of_their_data_set(
    config: Config, wanted: list[str], unwanted: list[str], expected: list[float]
) -> None:
    with torch.device("meta"):
        made = StarGAN(config)
    assert made.target(wanted, unwanted).tolist() == expected


@pytest.mark.parametrize(
    ("config", "wanted", "unwanted", "said"),
    [
        (Config(), ["Blond_Hiar"], [], "no label named 'Blond_Hiar': did you mean Blond_Hair"),
        (Config(), [], ["beard"], "no label named 'beard': there are Black_Hair, Blond_Hair, Brown_Hair, Male, Young"),
        (Config(), ["Male"], ["Male"], "Male is asked for and ruled out"),
        (Config(), [], [], "no label is asked for: choose among Black_Hair, "),
        (EXCLUSIVE, ["a", "b"], [], "a picture is one of a, b, c: name exactly one"),
        (EXCLUSIVE, ["a"], ["b"], "name exactly one"),
        (EXCLUSIVE, [], [], "name exactly one"),
        (JOINT, ["a", "w"], [], "a and w are of different data sets"),
        (JOINT, ["a"], ["w"], "a and w are of different data sets"),
    ],
)
def test_names_that_make_no_target_are_refused_in_a_sentence(
    config: Config, wanted: list[str], unwanted: list[str], said: str
) -> None:
    with torch.device("meta"):
        made = StarGAN(config)
    with pytest.raises(UsageError, match=said):
        made.target(wanted, unwanted)


def test_a_translation_is_what_the_generator_makes_of_constant_maps_in_its_own_range() -> None:
    made = system(JOINT).eval()
    assert isinstance(made, Translator)
    images, target = batch_for(JOINT)["image"], made.target(["v"], [])
    maps = target.view(1, 7, 1, 1).expand(6, 7, 16, 16)
    result = made.translate(images, target)
    torch.testing.assert_close(result, (made.generator(2 * images - 1, maps) + 1) / 2)
    assert result.shape == images.shape
    assert result.std() > 0.05


def test_labels_matter_and_other_pictures_of_the_batch_do_not() -> None:
    made = system(SMALL).eval()
    images = batch_for(SMALL)["image"]
    dark, blond = (made.translate(images, made.target([name], [])) for name in ("Black_Hair", "Blond_Hair"))
    assert (dark - blond).abs().mean() > 0.01
    torch.testing.assert_close(made.translate(images[:1], made.target(["Blond_Hair"], [])), blond[:1])


@pytest.fixture(scope="module")
def translated() -> Callable[[Band, int], Band]:
    """A picture through the real generator, in tiles of a given size; 0 for all at once."""
    made = system(replace(SMALL, channels=8)).eval().requires_grad_(False)
    target = made.target(["Male"], [])
    engine = TorchEngine(lambda x: made.translate(x, target), scale=1, radius=None, multiple=4)
    engine.workers = 1

    def run(pixels: Band, tile: int) -> Band:
        bands: Bands = (pixels[start : start + 13] for start in range(0, len(pixels), 13))
        return np.concatenate(list(tiling.run(engine, bands, pixels.shape, tile=tile)))

    return run


def test_tiles_agree_with_the_whole_picture(
    translated: Callable[[Band, int], Band], capsys: pytest.CaptureFixture[str]
) -> None:
    slope = np.linspace(0, 120, 90)[:, None, None] + np.linspace(0, 80, 70)[:, None]
    pixels = (slope + np.random.default_rng(0).uniform(0, 50, (90, 70, 3))).astype(np.uint8)
    whole = translated(pixels, 0)
    assert capsys.readouterr().err == ""
    parts = translated(pixels, 24)
    assert "done in 12 tiles" in capsys.readouterr().err
    assert whole.std() > 10
    assert np.abs(whole.astype(int) - parts).max() <= 1


# --- configurations -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sets": (2, 2)}, r"sets \(2, 2\) are of 4 labels, classes name 5"),
        ({"size": 96}, "size 96: the critic halves it 6 times, so it must be a multiple of 64"),
        ({"size": 6, "layers": 1}, "size 6: .* a multiple of 4"),
        ({"sets": (2, 3), "critic_steps": 4}, "critic_steps 4 and 2 data sets share a divisor"),
    ],
)
def test_a_config_that_cannot_be_is_refused_in_a_sentence(changes: dict[str, Any], said: str) -> None:
    with torch.device("meta"), pytest.raises(UsageError, match=said):
        StarGAN(replace(Config(), **changes))


# --- the released code's checkpoints --------------------------------------------------------------------------------------


class ReleasedBlock(nn.Module):
    """A residual block, with its names and the buffers that its norms have and never read."""

    def __init__(self, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for last in (False, True):
            layers += [nn.Conv2d(width, width, 3, padding=1, bias=False)]
            layers += [nn.InstanceNorm2d(width, affine=True, track_running_stats=True), *([] if last else [nn.ReLU()])]
        self.main = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.main(x)  # type: ignore[no-any-return]


class Released(nn.Module):
    """The generator as the released code names it; run in training mode, as there."""

    def __init__(self, labels: int, width: int, blocks: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []

        def add(convolution: nn.Conv2d | nn.ConvTranspose2d) -> None:
            norm = nn.InstanceNorm2d(convolution.out_channels, affine=True, track_running_stats=True)
            layers.extend([convolution, norm, nn.ReLU()])

        add(nn.Conv2d(3 + labels, width, 7, 1, 3, bias=False))
        for i in (1, 2):
            add(nn.Conv2d(i * width, 2 * i * width, 4, 2, 1, bias=False))
        layers.extend(ReleasedBlock(4 * width) for _ in range(blocks))
        for i in (4, 2):
            add(nn.ConvTranspose2d(i * width, i * width // 2, 4, 2, 1, bias=False))
        self.main = nn.Sequential(*layers, nn.Conv2d(width, 3, 7, 1, 3, bias=False), nn.Tanh())

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        maps = labels.view(1, -1, 1, 1).repeat(len(images), 1, *images.shape[2:])
        result: Tensor = self.main(torch.cat([images, maps], 1))
        return result


@pytest.mark.parametrize(
    ("labels", "name", "expected"),
    [
        (5, "Male", Config(channels=4, blocks=3)),
        (8, "happy", Config(channels=4, blocks=3, classes=RAFD, exclusive=True, sets=(8,))),
        (15, "happy", Config(channels=4, blocks=3, classes=(*CELEBA, *RAFD), sets=(5, 8))),
        (2, "class1", Config(channels=4, blocks=3, classes=("class0", "class1"), sets=(2,))),
    ],
)
@pytest.mark.parametrize("layout", ["official", "Lornatang"])
def test_a_checkpoint_from_elsewhere_is_recognised_and_computes_the_same(
    layout: str, labels: int, name: str, expected: Config
) -> None:
    torch.manual_seed(0)
    released = Released(labels, 4, 3).requires_grad_(False)
    drawn(released)
    state, main = released.state_dict(), released.main
    if layout == "Lornatang":  # the same network with other names
        names, ends = ("first_layer", "down_sampling", "trunk", "up_sampling", "last_layer"), (0, 3, 9, 12, 18, 20)
        parts = zip(names, pairwise(ends), strict=True)
        state = nn.ModuleDict({part: nn.Sequential(*main[start:end]) for part, (start, end) in parts}).state_dict()
    converted = convert({f"module.{key}": value for key, value in state.items()}, "200000-G.ckpt")
    made = converted.system
    assert converted.layout == layout
    assert isinstance(made, StarGAN)
    assert made.config == expected
    assert sorted(converted.dropped) == sorted(f"module.{k}" for k in state if k.rpartition(".")[2] not in ("weight", "bias"))
    assert len(converted.dropped) == 3 * 11
    images, target = torch.rand(2, 3, 16, 12), made.target([name], [])
    theirs = (released.train()(2 * images - 1, target) + 1) / 2
    torch.testing.assert_close(made.translate(images, target), theirs, atol=1e-5, rtol=1e-5)
