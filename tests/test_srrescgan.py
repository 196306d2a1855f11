"""SRResCGAN and SRResCycGAN: noise levels, the projection, their losses, the authors' files, and pictures in tiles."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from networks import SMALL, batch_for, build, image, small, tiny
from PIL import Image
from torch import Tensor

from gantool import tiling
from gantool.backends.pytorch import TorchEngine
from gantool.convert import convert, unpickle
from gantool.degradations import Jpeg, SensorNoise, Unknown
from gantool.errors import OutOfMemory, UsageError, WeightsError
from gantool.layers.noise import enlarged, enlarged_noise_level, mirrored, noise_level, noise_level_in_bands
from gantool.modelheader import sniff
from gantool.systems.super_resolution import srrescgan, srrescycgan
from gantool.systems.super_resolution.srrescgan import Projection, gradient_difference, high_pass, mixed_up

if TYPE_CHECKING:
    from conftest import Result

WIDTHS: dict[str, Any] = {"channels": 8, "discriminator_channels": SMALL["discriminator_channels"], "patch": 32}
FEATURES = "squeezenet1_1_features.safetensors"


def made(name: str, **changes: Any) -> Any:
    """A small system in training, and a batch for it."""
    system = small(name, **{"patch": 32, "mixup": 0.0, **changes}).train()
    return system, batch_for(system, system.stages()[0])


# --- noise -----------------------------------------------------------------------------------------------------------------


def test_the_noise_level_is_that_of_the_released_code() -> None:
    c, i, j = torch.meshgrid(torch.arange(3), torch.arange(32), torch.arange(32), indexing="ij")
    pattern = ((37 * i + 53 * j + 11 * i * j + 29 * c) % 256)[None].double() / 255
    assert noise_level(pattern).item() == pytest.approx(0.275241524, abs=2e-8)  # in float32
    assert noise_level((2 * i + 3 * j + 7 * c)[None].double() / 255).item() < 1e-8


def test_the_noise_level_of_noise_is_its_deviation_whatever_it_lies_on() -> None:
    smooth = F.interpolate(image(2, 3, 3, 3), size=(128, 128), mode="bicubic")
    deviations = torch.tensor([0.03, 0.2]).double()
    noise = deviations.view(2, 1, 1, 1) * torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(noise_level(smooth + noise), deviations, rtol=0.05, atol=0)


@pytest.mark.parametrize("size", [(2, 2), (2, 9), (5, 3), (20, 30)])
def test_pictures_smaller_than_a_filter_are_mirrored_again_and_again(size: tuple[int, int]) -> None:
    given = image(1, 2, *size)
    expected = np.pad(given.numpy(), ((0, 0), (0, 0), (7, 7), (3, 3)), "reflect")
    assert np.array_equal(mirrored(given, 7, 3).numpy(), expected)
    assert noise_level(given).isfinite().all()


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (5, 9), (33, 20), (100, 50)])
def test_read_in_bands_a_picture_has_the_noise_level_that_it_has_at_once(scale: int, size: tuple[int, int]) -> None:
    given = image(1, 3, *size).float()
    banded = noise_level_in_bands(lambda start, stop: given[:, :, start:stop], size[0], scale)
    expected = noise_level(F.interpolate(given, scale_factor=scale, mode="bilinear"))
    torch.testing.assert_close(banded, expected, rtol=1e-4, atol=1e-8)
    assert torch.equal(enlarged_noise_level(given, scale), expected)


def test_half_precision_is_not_taken_for_noise() -> None:
    given = F.interpolate(image(2, 3, 4, 4).float(), scale_factor=8, mode="bicubic")
    expected = enlarged_noise_level(given, 4)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(enlarged_noise_level(given, 4), expected)
    rounded = given[:1].bfloat16()
    precise = enlarged_noise_level(rounded.float(), 4)
    assert torch.equal(enlarged_noise_level(rounded, 4), precise)
    banded = noise_level_in_bands(lambda start, stop: rounded[:, :, start:stop], 32, 4)
    torch.testing.assert_close(banded, precise, rtol=1e-4, atol=1e-8)


def test_the_projection_shortens_what_is_longer_than_the_noise_explains_and_leaves_the_rest() -> None:
    residual, sigma = torch.full((1, 3, 4, 4), 2.0), torch.ones(1)
    assert Projection(2.0)(residual, sigma).unique().tolist() == pytest.approx([1.97905705], abs=1e-7)
    assert torch.equal(Projection(2.1)(residual, sigma), residual)
    pair = torch.cat([residual, 100 * residual])
    lengths = Projection(3.0)(pair, torch.tensor([0.0, 5.0])).flatten(1).norm(dim=1)
    torch.testing.assert_close(lengths, torch.tensor([0.0, 3 * 5 * math.sqrt(47)]))  # of each image by itself
    assert not Projection(2.0)(0 * residual, 0 * sigma).any()


# --- losses ----------------------------------------------------------------------------------------------------------------


def test_the_discriminator_sees_no_flat_colours() -> None:
    flat = torch.full((1, 3, 20, 20), 0.7)
    torch.testing.assert_close(high_pass(flat)[..., 4:-4, 4:-4], torch.full((1, 3, 12, 12), 0.5))
    given = image(1, 1, 20, 20)
    mean = given[0, 0, 6:15, 3:12].mean()
    assert high_pass(given)[0, 0, 10, 7].item() == pytest.approx(0.5 + 0.5 * (given[0, 0, 10, 7] - mean).item())


def test_the_variation_counts_gradients_and_no_offset() -> None:
    real = image(2, 3, 5, 7)
    assert gradient_difference(real + 0.2, real).item() == pytest.approx(0, abs=1e-12)
    ramp = torch.arange(7).double() * 0.1
    assert gradient_difference(real + ramp, real).item() == pytest.approx(0.1 * 6 / 7)


def test_half_of_the_batches_are_mixed_up_pair_by_pair() -> None:
    torch.manual_seed(0)
    low, mixed = image(4, 3, 2, 2), 0
    batch = {"low": low, "high": enlarged(low, 2)}
    assert mixed_up(batch, 0.0) == (batch["low"], batch["high"])
    for _ in range(200):
        found, high = mixed_up(batch, 1.2)
        torch.testing.assert_close(high, enlarged(found, 2))
        mixed += not torch.equal(found, low)
    assert 70 < mixed < 130


def test_the_losses_are_those_of_the_released_code_which_counts_to_255() -> None:
    system, batch = made("srrescgan", feature_white=255.0, features="squeezenet", layers=("fire5",))
    with torch.no_grad():
        fake, real = 255 * system.generator(batch["low"]), 255 * batch["high"]
        seen = [system.look(images, ("fire5",))[0] for images in (fake, real)]
        judged = [system.discriminator(high_pass(images / 255)) for images in (real, fake)]
        above, below = judged[0] - judged[1].mean(), judged[1] - judged[0].mean()
        zeros = torch.zeros_like(above)
        game = F.binary_cross_entropy_with_logits(above, zeros) + F.binary_cross_entropy_with_logits(below, 1 - zeros)
        apart = fake - real
        steps = (apart[:, :, 1:] - apart[:, :, :-1]).abs().sum() + (apart[..., 1:] - apart[..., :-1]).abs().sum()
    expected = {
        "perceptual": (seen[0] - seen[1]).abs().mean(),
        "adversarial": game / 2,
        "variation": steps / apart.numel(),
        "pixel": 10 * apart.abs().mean(),
    }
    found = system.generator_losses(batch)
    assert found.keys() == expected.keys()
    for name, loss in expected.items():
        torch.testing.assert_close(255 * found[name], loss, rtol=1e-4, atol=1e-6)


def test_features_weigh_the_same_whatever_white_is() -> None:
    terms = []
    for white in (1.0, 255.0):
        system, batch = made("srrescgan", feature_white=white)
        system.give_features(lambda images, layers: [3 * images])
        terms.append(system.generator_losses(batch)["perceptual"])
    torch.testing.assert_close(*terms)


@pytest.mark.parametrize("name", ["srrescgan", "srrescycgan"])
def test_rates_are_halved_after_5_10_20_and_30_of_51_thousand_steps(name: str) -> None:
    with torch.device("meta"):
        [stage] = build(name).stages()
    assert (stage.steps, stage.batch, stage.size) == (51_000, 16, 128)
    for phase in stage.phases:
        rates = [phase.schedule(step / 51_000) for step in (0, 4_999, 5_000, 10_000, 20_000, 30_000, 50_999)]
        assert rates == [1, 1, 1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 16]


def test_what_is_made_of_a_small_picture_has_to_lead_back_to_it() -> None:
    system, batch = made("srrescycgan", perceptual_weight=0.0)
    terms = system.generator_losses(batch)
    with torch.no_grad():
        back = system.low_generator(system.generator(batch["low"]))
    assert back.shape == batch["low"].shape
    torch.testing.assert_close(terms["cycle"], 10 * (back - batch["low"]).abs().mean())
    for name in ("cycle", "adversarial-low"):
        for module in (system.generator, system.low_generator):
            gradients = torch.autograd.grad(terms[name], list(module.parameters()), retain_graph=True, allow_unused=True)
            assert all(gradient is not None and gradient.any() for gradient in gradients[-3:]), name


def test_each_discriminator_tells_what_was_made_from_what_is_true_in_its_own_size() -> None:
    system, batch = made("srrescycgan")
    seen: dict[str, list[Tensor]] = {"discriminator": [], "low_discriminator": []}
    system.generator_losses(batch)
    for name, images in seen.items():
        getattr(system, name).register_forward_pre_hook(lambda _, given, images=images: images.append(given[0]))
    terms = system.discriminator_losses(batch)
    assert terms.keys() == {"relativistic", "relativistic-low"}
    assert system.notes.keys() == {"accuracy", "accuracy-low"}
    assert torch.equal(seen["discriminator"][0], high_pass(batch["high"]))
    assert torch.equal(seen["low_discriminator"][0], batch["low"])
    assert [images.shape[2] for images in seen["discriminator"]] == [32, 32]
    assert system.low_discriminator(batch["low"]).shape == (4, 1, 2, 2)


# --- configurations --------------------------------------------------------------------------------------------------------


def test_the_corruption_is_the_configured_one() -> None:
    assert srrescgan.corruption(srrescgan.Config()) == SensorNoise(4, 8.0)
    assert srrescgan.corruption(srrescgan.PRESETS["jpeg"]) == Jpeg(4, 30)
    assert srrescgan.corruption(srrescycgan.Config(scale=2, corruption="unknown")) == Unknown(2)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"corruption": "nois"}, "'nois': did you mean noise"),
        ({"corruption": "jpeg", "jpeg_quality": 101}, "101"),
        ({"noise_sigma": 300.0}, "300"),
        ({"scale": 1}, "scale 1"),
        ({"noise_factor": 0.0}, "noise_factor"),
        ({"patch": 100}, "patch 100"),
        ({"layers": ("conv9_1",)}, "conv9_1"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(changes: dict[str, Any], said: str) -> None:
    for name in ("srrescgan", "srrescycgan"):
        with pytest.raises(UsageError, match=said):
            small(name, **changes)


def test_the_way_back_only_halves() -> None:
    with pytest.raises(UsageError, match="srrescycgan has no scale 3"):
        small("srrescycgan", scale=3)


# --- the authors' files ----------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(shared: Path) -> Path:
    return shared / "data" / "weights" / "srrescgan"


def levels(path: Path) -> Tensor:
    return torch.from_numpy(np.array(Image.open(path).convert("RGB")).astype(np.int16))


@pytest.mark.parametrize("file", ["srrescgan_model.pth", "G_perceptual.pth"])
def test_the_authors_networks_are_read_whole(folder: Path, file: str) -> None:
    found = convert(unpickle(folder / file, sniff(folder / file)), file)
    assert (found.layout, len(found.renamed), found.dropped) == ("official", 47, [])
    system: Any = found.system
    assert system.config == srrescgan.Config()
    assert system.generator.projection.alpha.item() == pytest.approx({"s": 9.0566, "G": 9.0099}[file[0]], abs=1e-4)


def test_a_part_of_the_authors_picture_comes_out_as_they_have_it(
    folder: Path, tmp_path: Path, run_cli: Callable[..., Result]
) -> None:
    """Where corrections are shorter than noise allows, as in this picture, only the surroundings of a pixel count."""
    top, left, side, margin = 100, 200, 24, 6
    Image.open(folder / "demo" / "0829_lr.png").crop((left, top, left + side, top + side)).save(tmp_path / "part.png")
    model, result = folder / "srrescgan_model.pth", tmp_path / "result.png"
    assert (
        run_cli("upscale", tmp_path / "part.png", "-m", model, "--self-ensemble", "--device", "cpu", "-o", result).status == 0
    )
    inner = slice(4 * margin, 4 * (side - margin))
    there = levels(folder / "demo" / "0829_sr_self_ensemble.png")[4 * top : 4 * (top + side), 4 * left : 4 * (left + side)]
    assert (levels(result)[inner, inner] - there[inner, inner]).abs().max() <= 1


@pytest.mark.slow
def test_the_authors_picture_comes_out_as_they_have_it(folder: Path, tmp_path: Path, run_cli: Callable[..., Result]) -> None:
    model, result = folder / "srrescgan_model.pth", tmp_path / "result.png"
    assert run_cli("upscale", folder / "demo" / "0829_lr.png", "-m", model, "--self-ensemble", "-o", result).status == 0
    assert (levels(result) - levels(folder / "demo" / "0829_sr_self_ensemble.png")).abs().max() <= 1


@pytest.mark.parametrize("name", ["srrescgan", "srrescycgan"])
def test_training_starts_from_the_authors_pretrained_network(
    folder: Path, tmp_path: Path, run_cli: Callable[..., Result], name: str
) -> None:
    (tmp_path / "photos").mkdir()
    Image.open(folder / "demo" / "0829_lr.png").save(tmp_path / "photos" / "photo.png")
    fields = ["features=squeezenet", 'layers=["fire5"]', "patch=32", "discriminator_channels=8", "learning_rate=1e-9"]
    done = run_cli(
        *("train", name, tmp_path / "photos", "-o", tmp_path / "run", "--steps", 1, "--batch", 2, "--device", "cpu"),
        *("--init", folder / "G_perceptual.pth", "--features", folder.parent / "squeezenet" / FEATURES),
        *(word for field in fields for word in ("--set", field)),
    )
    assert done.status == 0, done.err
    assert "47 tensors taken" in done.err
    assert "alpha" not in done.err.partition("fresh are")[2]


def test_the_network_that_made_the_authors_training_pictures_is_told_apart(folder: Path) -> None:
    path = folder / "dsgan_300_G.pth"
    with pytest.raises(WeightsError, match="holds DSGAN, which makes pictures noisy"):
        convert(unpickle(path, sniff(path)), path.name)


# --- pictures in tiles -----------------------------------------------------------------------------------------------------


def through(network: Callable[[Tensor], Tensor], scale: int, picture: np.ndarray[Any, Any], tile: int) -> Any:
    engine = TorchEngine(network, scale=scale, radius=None)
    return np.concatenate(list(tiling.run(engine, iter([picture]), picture.shape, tile=tile))).astype(int)


@pytest.mark.parametrize(("scale", "channels"), [(4, 3), (2, 3), (3, 1)])
def test_in_tiles_a_picture_is_projected_as_a_whole(scale: int, channels: int) -> None:
    system: Any = tiny("srrescgan", scale=scale).float().requires_grad_(False)
    projection, found = system.generator.projection, dict[str, Tensor]()
    projection.register_forward_pre_hook(lambda _, given: found.update(residual=given[0], sigma=given[1]))
    picture = np.random.default_rng(1).integers(0, 65536, (66, 90, channels)).astype(np.uint16)
    picture[:, 45:] //= 8  # no tile is as noisy as the whole
    projection.alpha.fill_(20)
    free = through(system.upscale, scale, picture, 0)
    half = (found["residual"].square().mean().sqrt() / found["sigma"] / 2).log()
    assert np.abs(through(system.upscale, scale, picture, 40) - free).max() <= 1
    projection.alpha.copy_(half)  # residuals become half as long
    whole = through(system.upscale, scale, picture, 0)
    assert np.abs(whole - free).max() > 1000
    # of 65,535: how 285,120 float32 squares add up depends on the number of threads
    assert np.abs(through(system.upscale, scale, picture, 40) - whole).max() <= 8


def test_a_network_that_asks_how_noisy_something_else_is_is_not_done_in_tiles() -> None:
    picture = np.zeros((40, 40, 3), np.uint8)
    with pytest.raises(OutOfMemory, match="how noisy something else"):
        through(lambda x: enlarged(x, 2) * enlarged_noise_level(x.square(), 2), 2, picture, 16)


def test_a_file_of_the_second_paper_is_one_of_the_first() -> None:
    config = replace(srrescgan.Config(), **WIDTHS)
    first, second = srrescgan.SRResCGAN(config), srrescycgan.SRResCycGAN(srrescycgan.Config(**vars(config)))
    assert first.generator.state_dict().keys() == second.generator.state_dict().keys()
    assert first.inference_modules().keys() == second.inference_modules().keys()
