"""SRGAN's discriminator, losses and schedule, against their definitions written out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from networks import image, randomize
from torch import Tensor

from gantool.errors import UsageError
from gantool.layers.features import FeatureNetwork
from gantool.system import Batch
from gantool.systems.super_resolution.srgan import PRESETS, SRGAN, Config, Discriminator, total_variation
from gantool.systems.super_resolution.srresnet import Config as SRResNetConfig
from gantool.systems.super_resolution.srresnet import SRResNet


def system_of(preset: str = "vgg54", **changes: object) -> SRGAN:
    """A small one with random weights, in float64, which looks at images 255 times as bright."""
    sizes = {"blocks": 2, "channels": 8, "discriminator_channels": 4, "patch": 24}
    torch.manual_seed(0)
    system = SRGAN(dataclasses.replace(PRESETS[preset], **sizes | changes))  # type: ignore[arg-type]
    randomize(system)
    system.give_features(brighter)
    return system.double()


def brighter(images: Tensor, layers: Sequence[str]) -> list[Tensor]:
    return [255 * images for _ in layers]


@pytest.fixture
def batch() -> Batch:
    return {"low": image(4, 3, 6, 6), "high": image(4, 3, 24, 24).flip(0)}


# --- the discriminator -----------------------------------------------------------------------------------------------


def test_the_discriminator_of_the_paper_flattens_six_by_six_positions_of_512_channels() -> None:
    with torch.device("meta"):
        network = Discriminator(96, 64)
        assert network.convolutions(torch.zeros(1, 3, 96, 96)).shape == (1, 512, 6, 6)
        assert [layer.out_features for layer in network.dense if isinstance(layer, torch.nn.Linear)] == [1024, 1]


def test_the_discriminator_computes_what_figure_4_says() -> None:
    network = Discriminator(20, 4).double().eval()
    randomize(network)
    state = iter(network.state_dict().items())

    def following() -> Tensor:
        return next(state)[1]

    given = image(2, 3, 20, 20)
    x = F.leaky_relu(F.conv2d(given, following(), following(), padding=1), 0.2)
    for stride, width in ((2, 4), (1, 8), (2, 8), (1, 16), (2, 16), (1, 32), (2, 32)):
        x = F.conv2d(x, following(), stride=stride, padding=1)
        assert x.shape[1] == width
        weight, bias, mean, variance, _ = (following() for _ in range(5))
        x = F.leaky_relu(F.batch_norm(x, mean, variance, weight, bias), 0.2)
    x = F.leaky_relu(F.linear(x.flatten(1), following(), following()), 0.2)
    torch.testing.assert_close(network(given), F.linear(x, following(), following()))
    assert next(state, None) is None


# --- losses ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("preset", "terms"),
    [
        ("vgg54", {"perceptual", "adversarial"}),
        ("vgg22", {"perceptual", "adversarial"}),
        ("mse", {"pixel", "adversarial"}),
        ("srresnet-vgg22", {"perceptual", "variation"}),
    ],
)
def test_each_variant_minimises_its_own_terms(preset: str, terms: set[str], batch: Batch) -> None:
    assert system_of(preset).generator_losses(batch).keys() == terms


def test_features_are_compared_at_the_layers_that_the_paper_names() -> None:
    found = {name: (config.features, config.layers) for name, config in PRESETS.items()}
    after, early = ("vgg19", ("relu5_4",)), ("vgg19", ("relu2_2",))
    assert (found["vgg54"], found["vgg22"], found["srresnet-vgg22"]) == (after, early, early)
    assert SRGAN(Config(perceptual_weight=0.0, blocks=1, discriminator_channels=1)).features == ""


def test_features_are_scaled_by_one_over_twelve_and_three_quarters_and_squared(batch: Batch) -> None:
    system = system_of().eval()  # so that batch norm says the same again
    found = system.generator_losses(batch)["perceptual"]
    torch.testing.assert_close(found, (255 / 12.75) ** 2 * F.mse_loss(system.upscale(batch["low"]), batch["high"]))


def test_the_other_terms_are_those_of_the_equations(batch: Batch) -> None:
    system = system_of("mse", variation_weight=2e-8).eval()
    terms = system.generator_losses(batch)
    fake, real = 2 * system.upscale(batch["low"]) - 1, 2 * batch["high"] - 1
    logits = system.discriminator(fake)
    torch.testing.assert_close(terms["pixel"], (fake - real).square().mean())
    torch.testing.assert_close(terms["adversarial"], -1e-3 * torch.sigmoid(logits).log().mean())
    torch.testing.assert_close(terms["variation"], 2e-8 * total_variation(fake))
    judged = system.discriminator_losses(batch)
    torch.testing.assert_close(judged["real"], -torch.sigmoid(system.discriminator(real)).log().mean())
    torch.testing.assert_close(judged["fake"], -(1 - torch.sigmoid(logits)).log().mean())


def test_the_variation_of_a_slope_is_the_sum_of_its_steepness_down_and_across() -> None:
    rows, columns = torch.arange(5.0).view(5, 1), torch.arange(7.0)
    slope = (0.25 * rows - 0.5 * columns).expand(2, 3, 5, 7)
    assert total_variation(slope).item() == pytest.approx(0.75)


def test_the_squared_error_is_noted_where_it_is_not_minimised_and_the_accuracy_always(batch: Batch) -> None:
    system = system_of().eval()
    system.generator_losses(batch)
    expected = F.mse_loss(2 * system.upscale(batch["low"]) - 1, 2 * batch["high"] - 1)
    torch.testing.assert_close(system.notes["pixel"], expected)
    system.discriminator_losses(batch)
    real, fake = (system.discriminator(2 * images - 1) for images in (batch["high"], system.upscale(batch["low"])))
    assert system.notes["accuracy"].item() == pytest.approx(((real > 0).sum() + (fake < 0).sum()).item() / 8)
    system = system_of("mse")
    system.generator_losses(batch)
    assert "pixel" not in system.notes


def test_the_content_loss_brings_features_nearer_at_any_layers_of_either_network() -> None:
    """One port's does not, as it cuts off the gradient."""
    given = {"low": image(2, 3, 12, 12).float(), "high": image(2, 3, 48, 48).float()}
    for features, layers in (("squeezenet", ("pool1", "fire5")), ("vgg19", ("conv1_2", "relu2_2"))):
        system = system_of("srresnet-vgg22", features=features, layers=layers, perceptual_weight=1.0).float()
        system.give_features(FeatureNetwork(features))
        optimizer = torch.optim.Adam(system.generator.parameters(), 1e-3)
        losses = []
        for _ in range(6):
            loss = system.generator_losses(given)["perceptual"]
            losses.append(loss.item())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        assert losses[-1] < 0.95 * losses[0]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"features": "squeezenet"}, "no layer of squeezenet named 'relu5_4'"),
        ({"features": "resnet"}, "no feature network named 'resnet'"),
        ({"patch": 8}, "patch 8 is too small"),
        ({"scale": 3}, "no scale 3"),
    ],
)
def test_a_config_that_cannot_be_is_refused_in_a_sentence(changes: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        system_of(**changes)


# --- turns -----------------------------------------------------------------------------------------------------------


def test_the_discriminator_judges_what_the_generator_made_in_the_same_step(batch: Batch) -> None:
    system, made = system_of(), list[Tensor]()
    system.generator.register_forward_hook(lambda module, given, result: made.append(result))
    for _ in range(2):
        system.generator_losses(batch)
        system.discriminator_losses(batch)
    assert len(made) == 2
    system.discriminator_losses(batch)  # alone
    system.generator_losses(batch)
    system.discriminator_losses({key: value.clone() for key, value in batch.items()})  # of the next batch
    assert len(made) == 5


def test_the_rate_falls_to_a_tenth_in_the_second_half_of_the_adversarial_stage() -> None:
    pretrain, adversarial = system_of().stages()
    assert (pretrain.name, pretrain.steps, adversarial.name, adversarial.steps) == ("pretrain", 10**6, "adversarial", 200_000)
    for phase in adversarial.phases:
        rates = [1e-4 * phase.schedule(step / 200_000) for step in (0, 99_999, 100_000, 199_999)]
        assert rates == pytest.approx([1e-4, 1e-4, 1e-5, 1e-5])


def test_without_a_judge_there_is_one_stage_and_no_discriminator() -> None:
    system = system_of("srresnet-vgg22")
    [stage] = system.stages()
    assert (stage.name, stage.steps, len(stage.phases)) == ("perceptual", 10**6, 1)
    assert not list(system.discriminator.parameters())


def test_a_trained_srresnet_is_what_it_starts_from() -> None:
    start = SRResNet(SRResNetConfig(blocks=2, channels=8)).double()
    randomize(start)
    system = system_of().eval()
    missing, unexpected = system.load_state_dict(start.state_dict(), strict=False)
    assert unexpected == []
    assert all(key.startswith("discriminator.") for key in missing)
    given = image(1, 3, 5, 6)
    assert torch.equal(system.upscale(given), start.eval().upscale(given))
