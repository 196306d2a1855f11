"""EnhanceNet's enlargement, losses and turns, against their definitions written out."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from networks import image, randomize
from torch import Tensor, nn

from gantool.errors import UsageError
from gantool.system import Batch
from gantool.systems.super_resolution.enhancenet import (
    MEAN,
    PRESETS,
    Bicubic,
    Config,
    EnhanceNet,
    normalized,
    patch_grams,
)


def system_of(preset: str = "PAT", **changes: object) -> EnhanceNet:
    """A small one with random weights, in float64, in whose features each layer is the image in another size."""
    sizes = {"blocks": 2, "channels": 8, "discriminator_channels": 4, "patch": 32}
    torch.manual_seed(0)
    system = EnhanceNet(dataclasses.replace(PRESETS[preset], **sizes | changes))  # type: ignore[arg-type]
    randomize(system)
    system.performance.zero_()
    system.give_features(pooled)
    return system.double()


def pooled(images: Tensor, layers: Sequence[str]) -> list[Tensor]:
    return [F.avg_pool2d(images, 1 + number) for number, _ in enumerate(layers)]


@pytest.fixture
def batch() -> Batch:
    return {"low": image(4, 3, 8, 8), "high": image(4, 3, 32, 32).flip(0)}


# --- the generator ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_the_enlargement_is_cubic_convolution_with_pixel_0_upon_pixel_0(scale: int) -> None:
    """torch samples with the same kernel, at any places, and lets the nearest pixel go on beyond the border."""
    given = image(2, 3, 5, 7)
    rows, columns = (2 * torch.arange(scale * n).double() / scale / (n - 1) - 1 for n in given.shape[2:])
    grid = torch.stack([columns.expand(len(rows), -1), rows[:, None].expand(-1, len(columns))], 2).expand(2, -1, -1, -1)
    expected = F.grid_sample(given, grid, "bicubic", "border", align_corners=True)
    found = Bicubic(scale).double()(given)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(found[..., ::scale, ::scale], given)


def test_a_point_is_enlarged_to_the_kernels_known_values() -> None:
    """At a quarter and at a half of a pixel, from a = -0.75 by hand."""
    quarter, half = (-0.10546875, 0.87890625, 0.26171875, -0.03515625), (-0.09375, 0.59375, 0.59375, -0.09375)
    point = torch.tensor([0.0, 0.0, 0.0, 1.0, 0.0, 0.0]).view(1, 1, 1, 6)
    found = Bicubic(4)(point)[0, 0, 0].view(6, 4).tolist()
    assert found[1] == [0, quarter[3], half[3], quarter[0]]
    assert found[2] == [0, quarter[2], half[2], quarter[1]]
    assert found[3] == [1, quarter[1], half[1], quarter[2]]
    assert found[4] == [0, quarter[0], half[0], quarter[3]]


def test_an_image_of_one_pixel_stays_one_colour() -> None:
    given = image(1, 3, 1, 1)
    torch.testing.assert_close(Bicubic(4).double()(given), given.expand(-1, -1, 4, 4))


def test_the_generator_computes_what_table_1_says() -> None:
    system = system_of("E")
    state = iter(system.generator.state_dict().values())

    def conv(x: Tensor) -> Tensor:
        return F.conv2d(x, next(state), next(state), padding=1)

    given = image(2, 3, 6, 5)
    x = conv(given - torch.tensor(MEAN).double().view(1, 3, 1, 1)).relu()
    for _ in range(2):
        x = x + conv(conv(x).relu())
    for _ in range(2):
        x = conv(x.repeat_interleave(2, 2).repeat_interleave(2, 3)).relu()
    residual = conv(conv(x).relu())
    assert next(state, None) is None
    enlarged = Bicubic(4).double()(given)
    torch.testing.assert_close(system.upscale(given), enlarged + residual)


def test_the_discriminator_of_the_paper_flattens_four_by_four_positions_of_512_channels() -> None:
    with torch.device("meta"):
        system = EnhanceNet(Config())
        widths = [layer.out_channels for layer in system.discriminator.modules() if isinstance(layer, nn.Conv2d)]
        dense = [layer.in_features for layer in system.discriminator.modules() if isinstance(layer, nn.Linear)]
    assert widths == [32, 32, 64, 64, 128, 128, 256, 256, 512, 512]
    assert dense == [4 * 4 * 512, 1024]


# --- losses ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("preset", "terms", "stage"),
    [
        ("E", ["pixel"], "pixel"),
        ("P", ["perceptual"], "perceptual"),
        ("PA", ["perceptual", "adversarial"], "adversarial"),
        ("PAT", ["perceptual", "adversarial", "texture"], "adversarial"),
    ],
)
def test_each_variant_minimises_its_own_terms(preset: str, terms: list[str], stage: str, batch: Batch) -> None:
    system = system_of(preset)
    assert list(system.generator_losses(batch)) == terms
    assert ("pixel" in system.notes) == (preset != "E")
    [only] = system.stages()
    assert only.name == stage
    assert len(only.phases) == (2 if "A" in preset else 1)
    assert bool(list(system.discriminator.parameters())) == ("A" in preset)
    assert system.features == ("" if preset == "E" else "vgg19")


def test_features_are_divided_by_the_mean_of_their_image() -> None:
    features = 7 * image(3, 4, 5, 6)
    found = normalized(features)
    torch.testing.assert_close(found.mean((1, 2, 3)), torch.ones(3).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(found[1] * features[1].mean(), features[1], atol=1e-5, rtol=1e-5)


def test_gram_matrices_are_of_whole_patches_side_by_side() -> None:
    features = image(2, 3, 9, 13)
    found = patch_grams(features, 4)
    expected = [
        torch.einsum("ihw,jhw->ij", patch, patch)
        for each in features
        for patch in (each[:, y : y + 4, x : x + 4] for y in (0, 4) for x in (0, 4, 8))
    ]
    torch.testing.assert_close(found, torch.stack(expected))
    torch.testing.assert_close(patch_grams(features[:1], 16), patch_grams(features[:1, :, :, :9], 9))  # one patch
    with torch.autocast("cpu", torch.bfloat16):
        assert patch_grams(features.half() * 1000, 4).isfinite().all()  # beyond what float16 has


def test_the_terms_are_weighted_squared_errors_of_features_and_of_correlations(batch: Batch) -> None:
    system = system_of(texture_patch=4)
    terms = system.generator_losses(batch)
    fake, real = system.upscale(batch["low"]), batch["high"]
    seen = [[F.avg_pool2d(images, size) for size in (1, 2, 3, 4, 5)] for images in (fake, real)]
    made, true = ([each / (each.abs().mean((1, 2, 3), keepdim=True) + 1e-6) for each in images] for images in seen)
    perceptual = 0.2 * F.mse_loss(made[0], true[0]) + 0.02 * F.mse_loss(made[1], true[1])
    grams = [F.mse_loss(patch_grams(a, 4), patch_grams(b, 4)) for a, b in zip(made[2:], true[2:], strict=True)]
    torch.testing.assert_close(terms["perceptual"], perceptual)
    torch.testing.assert_close(terms["texture"], 3e-7 * grams[0] + 1e-6 * grams[1] + 1e-6 * grams[2])
    torch.testing.assert_close(terms["adversarial"], -2 * torch.sigmoid(system.discriminator(2 * fake - 1)).log().mean())


def test_textures_of_the_same_kind_at_other_places_are_nearer_than_a_flat_image() -> None:
    """What the texture term is for: it does not ask where a detail lies."""
    stripes = (torch.arange(32) % 4 < 2).float().expand(1, 3, 32, 32)
    moved, flat = stripes.roll(2, 3), torch.full_like(stripes, 0.5)
    features = torch.cat([stripes, stripes.roll(1, 3), moved, moved.roll(1, 3), flat, flat]).view(3, 6, 32, 32)
    wanted, shifted, smooth = (patch_grams(each[None], 16) for each in features)
    assert F.mse_loss(shifted, wanted) < 0.1 * F.mse_loss(smooth, wanted)
    assert F.mse_loss(moved, stripes) > F.mse_loss(flat, stripes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"losses": "TAP"}, "TAP"),
        ({"layers": ("pool6", "pool5")}, "pool6"),
        ({"texture_layers": ("relu1_1",)}, "texture_weights has 3 numbers for relu1_1: give one for each layer"),
        ({"patch": 24}, "patch 24 is too small"),
        ({"scale": 3}, "enhancenet has no scale 3: use 2, 4 or 8"),
    ],
)
def test_a_config_that_cannot_be_is_refused_in_a_sentence(changes: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        system_of(**changes)


# --- turns -----------------------------------------------------------------------------------------------------------


class Bright(nn.Module):
    """A discriminator that takes bright images for real ones, as far as `trust` goes."""

    def __init__(self, trust: float) -> None:
        super().__init__()
        self.trust = nn.Parameter(torch.tensor(trust).double())

    def forward(self, images: Tensor) -> Tensor:
        return self.trust * images.mean((1, 2, 3)).sign()[:, None]


def judged_by(trust: float) -> tuple[EnhanceNet, Batch]:
    """A system whose made images are black, with white ones as the real."""
    system = system_of()
    system.discriminator = Bright(trust)
    for parameter in system.generator.parameters():
        parameter.data.zero_()
    return system, {"low": torch.zeros(2, 3, 8, 8).double(), "high": torch.ones(2, 3, 32, 32).double()}


def test_the_discriminator_rests_after_a_turn_in_which_it_judged_well_and_learns_again_after_a_bad_one() -> None:
    system, batch = judged_by(4.0)
    learned = [bool(system.discriminator_losses(batch)) for _ in range(3)]
    assert learned == [True, False, False]
    assert system.performance.tolist() == pytest.approx([torch.sigmoid(torch.tensor(4.0)).item()] * 2)
    assert system.notes["accuracy"] == 1
    batch["high"] = -batch["high"]  # of the real images it now knows nothing
    learned = [bool(system.discriminator_losses(batch)) for _ in range(2)]
    assert learned == [False, True]
    assert system.notes["accuracy"] == 0.5


@pytest.mark.parametrize(("trust", "rests"), [(1.3, False), (1.5, True)])
def test_it_rests_above_a_probability_of_four_fifths(trust: float, rests: bool) -> None:
    """A logit of 1.386 is a probability of 0.8."""
    system, batch = judged_by(trust)
    assert system.discriminator_losses(batch)
    assert (not system.discriminator_losses(batch)) == rests


def test_how_it_judged_is_part_of_the_state() -> None:
    system, batch = judged_by(4.0)
    system.discriminator_losses(batch)
    other, _ = judged_by(4.0)
    other.load_state_dict(system.state_dict())
    assert other.discriminator_losses(batch) == {}


def test_the_discriminator_judges_what_the_generator_made_in_the_same_step(batch: Batch) -> None:
    system, made = system_of(), list[Tensor]()
    system.generator.register_forward_hook(lambda module, given, result: made.append(result))
    system.generator_losses(batch)
    system.discriminator_losses(batch)
    assert len(made) == 1
    system.discriminator_losses(batch)  # alone
    assert len(made) == 2


PROCESSES = """
import json, sys
import torch
from test_enhancenet import judged_by
from gantool.training import distributed

with distributed.process_group(torch.device("cpu")):
    system, batch = judged_by(8.0)
    if distributed.rank() == 1:
        batch["high"] = -batch["high"]  # here it is wrong about every real image
    learned = [bool(system.discriminator_losses(batch)) for _ in range(2)]
    open(f"{sys.argv[1]}{distributed.rank()}", "w").write(json.dumps([learned, system.performance.tolist()]))
"""


@pytest.mark.slow
def test_processes_agree_on_whose_turn_it_is(tmp_path: Path) -> None:
    script, told = tmp_path / "turns.py", tmp_path / "told"
    script.write_text(PROCESSES)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script), str(told)]
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
    done = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    first, second = (json.loads((tmp_path / f"told{rank}").read_text()) for rank in (0, 1))
    assert first == second
    assert first[0] == [True, True]  # alone, the first process would rest
    assert first[1] == pytest.approx([0.5, 1], abs=1e-3)
