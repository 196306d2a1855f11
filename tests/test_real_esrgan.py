"""Real-ESRGAN: its compact network against the authors' pictures, its discriminator, its targets and its degradation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Result
from networks import batch_for, image, randomize, small
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from gantool import weights
from gantool.degradations import BSRGAN, SecondOrder
from gantool.errors import UsageError, WeightsError
from gantool.system import configured
from gantool.systems.super_resolution.real_esrgan import PRESETS, CompactNet, Config, RealESRGAN, UNetDiscriminator

COMPACT = "data/weights/real-esrgan-compact"


@pytest.mark.parametrize("name", ["realesr-general-x4v3", "realesr-general-wdn-x4v3", "realesr-animevideov3"])
def test_the_published_networks_give_the_published_pictures(
    name: str, shared: Path, run_cli: Callable[..., Result], tmp_path: Path
) -> None:
    model, source = shared / COMPACT / f"{name}.safetensors", shared / COMPACT / "input.png"
    result = run_cli("upscale", source, "-m", model, "-o", tmp_path / "out.png")
    assert result.status == 0, result.err
    found, expected = (
        np.asarray(Image.open(path).convert("RGB"), np.int16)
        for path in (tmp_path / "out.png", shared / COMPACT / f"{name}_expected.png")
    )
    assert np.abs(found - expected).max() <= 1


@pytest.mark.parametrize(
    ("scale", "blocks", "count"),
    [(4, 16, 621_424), (4, 32, 1_213_296), (2, 16, 600_652), (2, 32, 1_192_524), (1, 16, 595_459)],
)
def test_the_compact_network_has_as_many_parameters_as_published(scale: int, blocks: int, count: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in CompactNet(scale, blocks, 64).parameters()) == count


def test_the_compact_network_starts_from_the_nearest_neighbour() -> None:
    network = CompactNet(2, 1, 4)
    nn.init.zeros_(network.body[-1].weight)
    nn.init.zeros_(network.body[-1].bias)
    images = image(1, 3, 3, 2).float()
    torch.testing.assert_close(network(images), images.repeat_interleave(2, 2).repeat_interleave(2, 3))


def test_odd_settings_are_read_from_keys_and_shapes(tmp_path: Path) -> None:
    network = CompactNet(3, 7, 20)
    save_file(network.state_dict(), tmp_path / "odd.safetensors")
    system = weights.load(str(tmp_path / "odd.safetensors")).system
    assert isinstance(system, RealESRGAN)
    c = system.config
    assert (c.generator, c.scale, c.blocks, c.channels) == ("compact", 3, 7, 20)
    images = image(1, 3, 8, 5).float()
    torch.testing.assert_close(system.upscale(images), network(images))


def test_a_row_of_convolutions_without_prelu_is_not_taken_for_it(tmp_path: Path) -> None:
    row = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 12, 3))
    save_file({f"body.{key}": value for key, value in row.state_dict().items()}, tmp_path / "row.safetensors")
    with pytest.raises(WeightsError, match="PReLU"):
        weights.load(str(tmp_path / "row.safetensors"))


def test_the_discriminator_judges_every_pixel_and_has_as_many_parameters_as_published() -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in UNetDiscriminator(64).parameters()) == 4_376_897
    assert UNetDiscriminator(4)(image(2, 3, 16, 24).float()).shape == (2, 1, 16, 24)


def test_the_discriminators_inner_layers_have_norm_one() -> None:
    network = UNetDiscriminator(4)
    randomize(network)
    network.train()
    for _ in range(200):  # power iterations
        network(image(1, 3, 8, 8).float())
    for layer in (*network.downs, *network.ups, network.last[0], network.last[2]):
        weight = layer.get_parameter("parametrizations.weight.original")
        assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1, rel=1e-3), weight.shape


def test_pixels_and_features_learn_sharpened_images_and_the_discriminator_real_ones() -> None:
    system = small("real-esrgan", patch=32)
    assert isinstance(system, RealESRGAN)
    edge = torch.full((4, 3, 32, 32), 0.3)
    edge[..., 16:] = 0.7
    batch = {"low": edge[..., ::4, ::4], "high": edge}
    seen: list[Tensor] = []
    system.discriminator.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    target = system._target(batch)
    assert target.max() > 0.71
    losses = system.generator_losses(batch)
    made = seen[0].detach()
    torch.testing.assert_close(losses["pixel"].detach(), (made - target).abs().mean())
    system.discriminator_losses(batch)
    torch.testing.assert_close(seen[1], edge)
    torch.testing.assert_close(seen[2], made)
    assert not seen[2].requires_grad


class Checkered:
    """A teacher of one texture, gray in the mean."""

    scale, radius, multiple = 4, 0, 1

    def upscale(self, images: Tensor) -> Tensor:
        """Return squares of 0.4 and 0.6."""
        rows, columns = (torch.arange(4 * side) for side in images.shape[2:])
        return (0.4 + 0.2 * ((rows[:, None] + columns) % 2)).expand(len(images), 3, -1, -1)


def test_a_teachers_image_is_the_target_in_the_colours_of_the_truth() -> None:
    system = small("real-esrgan", patch=32)
    assert isinstance(system, RealESRGAN)
    system.give_teacher(Checkered())
    truth = torch.tensor([0.2, 0.3, 0.7]).view(1, 3, 1, 1).expand(2, -1, 32, 32)
    batch = {"low": truth[..., ::4, ::4], "high": truth}
    torch.testing.assert_close(system._target(batch), Checkered().upscale(batch["low"]) - 0.5 + truth)


def test_the_discriminators_turn_works_alone_and_notes_its_accuracy() -> None:
    system = small("real-esrgan", patch=32)
    assert isinstance(system, RealESRGAN)
    system.discriminator_losses(batch_for(system, system.stages()[1]))
    assert 0 <= system.notes["accuracy"].item() <= 1


def test_the_discriminator_never_judges_what_was_made_of_another_batch() -> None:
    system = small("real-esrgan", patch=32).eval()  # in which spectral norm keeps still
    assert isinstance(system, RealESRGAN)
    batch = batch_for(system, system.stages()[1])
    expected = system.discriminator_losses(batch)
    system.generator_losses({name: torch.zeros_like(value) for name, value in batch.items()})
    torch.testing.assert_close(system.discriminator_losses(batch), expected, rtol=1e-6, atol=0)


def test_the_configuration_is_the_degradation_of_the_paper() -> None:
    assert RealESRGAN(configured(Config(blocks=1), {})).degradation == SecondOrder(4)
    assert isinstance(small("real-esrgan", "bsrgan-degradation").degradation, BSRGAN)
    changed = small("real-esrgan", jpeg_quality=(10, 20), noise_sigma=(0.0, 2.0), sharpen=False).degradation
    assert isinstance(changed, SecondOrder)
    assert (changed.last_jpeg, changed.first.noise, changed.sharpen) == ((10, 20), (0.0, 2.0), 0)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"jpeg_quality": (30, 130)}, "jpeg"),
        ({"noise_sigma": (30.0, 1.0)}, "noise"),
        ({"resize": (0.0, 1.5)}, "factor"),
        ({"degradation": "blur"}, "second-order"),
        ({"generator": "unet"}, "compact"),
        ({"layers": ("conv9_1",), "layer_weights": (1.0,)}, "layer of vgg19"),
        ({"layer_weights": (1.0,)}, "give one for each"),
        ({"patch": 36}, "multiple of 8"),
        ({"generator": "compact", "scale": 0}, "scale"),
        ({"scale": 3}, "scale 3"),
    ],
)
def test_what_is_not_possible_is_refused_in_a_sentence(changes: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said) as refused:
        small("real-esrgan", **changes)
    assert "\n" not in str(refused.value)


def test_presets_have_the_sizes_of_the_released_networks() -> None:
    sizes = {}
    for name in ("x2plus", "anime", "general", "animevideo"):
        with torch.device("meta"):
            sizes[name] = sum(p.numel() for p in RealESRGAN(PRESETS[name]).generator.parameters())
    assert sizes == {"x2plus": 16_703_171, "anime": 4_467_779, "general": 1_213_296, "animevideo": 621_424}
