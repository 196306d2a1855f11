"""ESRGAN and ESRGAN+: their losses and schedules in closed form, their layouts, and that they learn."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from networks import SAMPLES, batch_for, build, image, randomize, small, tiny
from torch import Tensor, nn

from gantool.convert import convert
from gantool.errors import UsageError, WeightsError
from gantool.layers.features import FeatureNetwork
from gantool.layers.resampling import imresize
from gantool.metrics.psnr import psnr
from gantool.system import Batch, Phase, System
from gantool.systems.super_resolution.esrgan import DenseBlock, RRDBNet, VGGDiscriminator
from gantool.systems.super_resolution.esrgan_plus import ResidualDenseBlock

BOTH = ("esrgan", "esrgan-plus")
EYES = {"features": "squeezenet", "layers": ("conv1", "fire3"), "perceptual_weight": 0.5}


def turns(system: System) -> tuple[Phase, Phase]:
    """The two phases of the adversarial stage."""
    generator, discriminator = system.stages()[-1].phases
    assert (generator.name, discriminator.name) == ("generator", "discriminator")
    return generator, discriminator


def ready(name: str, **changes: Any) -> tuple[Any, Batch]:
    """A small system in training mode with random weights, and a batch for it."""
    system: Any = small(name, **changes).train()
    randomize(system)
    return system, batch_for(system, system.stages()[-1])


def towards(logits: Tensor, others: Tensor, label: float) -> Tensor:
    """Cross-entropy of logits less the others' mean."""
    return F.binary_cross_entropy_with_logits(logits - others.mean(), torch.full_like(logits, label))


# --- networks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [DenseBlock(64, 32), ResidualDenseBlock(64, 32, noise=0.0, learned_noise=False)])
def test_dense_blocks_begin_near_the_identity(block: nn.Module) -> None:
    convs = [module for module in block.modules() if isinstance(module, nn.Conv2d)]
    for conv in convs:
        kaiming = (2 / conv.weight[0].numel()) ** 0.5
        assert conv.weight.std().item() == pytest.approx(0.1 * kaiming, rel=0.1)
        assert conv.bias is None or not conv.bias.any()
    given = image(1, 64, 6, 6).float()
    assert (block(given) - given).std() < given.std() / 20


@pytest.mark.parametrize(("scale", "unshuffle"), [(2, 2), (1, 4), (4, 2)])
def test_behind_an_unshuffling_the_radius_is_that_of_the_farthest_pixel(scale: int, unshuffle: int) -> None:
    system: Any = tiny("esrgan", scale=scale, unshuffle=unshuffle, blocks=1, channels=4).requires_grad_(False)
    assert system.multiple == unshuffle
    middle = (system.radius // unshuffle + 2) * unshuffle
    farthest = []
    for shift in range(unshuffle):
        given = image(1, 3, unshuffle, 2 * middle + unshuffle).requires_grad_()
        own = slice((middle + shift) * scale, (middle + shift + 1) * scale)
        system.upscale(given)[..., own].square().sum().backward()
        assert given.grad is not None
        columns = given.grad.abs().sum((0, 1, 2)).nonzero().flatten() - middle - shift
        farthest.append(int(columns.abs().max()))
    assert max(farthest) == system.radius


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"scale": 3}, "no scale 3: use powers of 2"),
        ({"unshuffle": 3}, "no scale 4 after unshuffling by 3"),
        ({"patch": 100}, "patch 100 is not a multiple of 32"),
        ({"layers": ("conv5_5",)}, "conv5_5"),
        ({"features": "vgg18"}, "'vgg18': did you mean vgg19"),
    ],
)
@pytest.mark.parametrize("name", BOTH)
def test_what_cannot_be_built_is_refused_in_a_sentence(name: str, changes: dict[str, Any], said: str) -> None:
    with torch.device("meta"), pytest.raises(UsageError, match=said):
        build(name, **{"blocks": 1} | changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"pretrain_schedule": "cosines"}, "'cosines': did you mean cosine"), ({"beta2": 1.0}, "beta2 = 1 never forgets")],
)
def test_an_unknown_schedule_and_an_endless_memory_are_refused(changes: dict[str, Any], said: str) -> None:
    with torch.device("meta"), pytest.raises(UsageError, match=said):
        build("esrgan", blocks=1, **changes)


def test_the_discriminator_halves_five_times_and_gives_a_logit_that_no_squashing_bounds() -> None:
    judge = VGGDiscriminator(size=128, channels=2)
    maps = judge.features(image(2, 3, 128, 128).float())
    assert maps.shape == (2, 16, 4, 4)
    with torch.no_grad():
        judge.judge[-1].bias.fill_(-7.0)  # type: ignore[union-attr, operator]
        assert judge(image(2, 3, 128, 128).float()).max() < -5


# --- noise -------------------------------------------------------------------------------------------------------------


def test_noise_is_drawn_in_training_alone_and_in_proportion_to_the_features() -> None:
    torch.manual_seed(0)
    block = ResidualDenseBlock(32, 4, noise=0.1, learned_noise=False)
    given = 1 + image(1, 32, 24, 24).float()
    assert torch.equal(block.eval()(given), block(given))
    still = block(given)
    relative = (block.train()(given) - still) / still
    assert relative.mean().item() == pytest.approx(0, abs=3e-3)
    assert relative.std().item() == pytest.approx(0.1, rel=0.03)


def test_noise_can_be_left_out() -> None:
    block = ResidualDenseBlock(8, 4, noise=0.0, learned_noise=False).train()
    given = image(1, 8, 5, 5).float()
    assert torch.equal(block(given), block(given))


def test_learned_noise_is_one_image_times_a_strength_for_each_feature() -> None:
    block = ResidualDenseBlock(4, 4, noise=0.0, learned_noise=True).train()
    given = image(2, 4, 5, 5).float()
    still = block(given)
    assert torch.equal(still, block.eval()(given))  # strengths begin at 0
    assert block.strength is not None
    block.strength.data = torch.tensor([0.0, 1.0, 2.0, -3.0])[:, None, None]
    added = block.train()(given) - still
    torch.testing.assert_close(added, block.strength * added[:, 1:2], atol=1e-5, rtol=1e-5)
    assert added[:, 1].std() > 0.5


# --- losses and schedules ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BOTH)
def test_the_generator_minimises_the_weighted_sum_of_the_paper(name: str) -> None:
    changes = EYES | ({"noise": 0.0} if name == "esrgan-plus" else {})
    system, batch = ready(name, **changes)
    terms = turns(system)[0].losses(batch)
    with torch.no_grad():
        fake, real = system.generator(batch["low"]), batch["high"]
        eyes = FeatureNetwork("squeezenet")
        eyes.load_state_dict(system._frozen[0].state_dict())
        seen = zip(eyes(fake, EYES["layers"]), eyes(real, EYES["layers"]), strict=True)
        logits, others = system.discriminator(fake), system.discriminator(real)
    assert terms.keys() == {"pixel", "perceptual", "adversarial"}
    torch.testing.assert_close(terms["pixel"], 1e-2 * (fake - real).abs().mean())
    torch.testing.assert_close(terms["perceptual"], 0.5 * sum((a - b).abs().mean() for a, b in seen))
    torch.testing.assert_close(terms["adversarial"], 5e-3 * (towards(logits, others, 1) + towards(others, logits, 0)) / 2)


@pytest.mark.parametrize("name", BOTH)
def test_the_discriminator_minimises_the_relativistic_average_and_tells_how_often_it_is_right(name: str) -> None:
    system, batch = ready(name, **EYES)
    generator, discriminator = turns(system)
    made = []
    system.generator.register_forward_hook(lambda module, given, result: made.append(result.detach()))
    generator.losses(batch)
    terms = discriminator.losses(batch)
    assert len(made) == 1  # both turns share one pass
    real, fake = system.discriminator(batch["high"]), system.discriminator(made[0])
    torch.testing.assert_close(terms, {"relativistic": (towards(real, fake, 1) + towards(fake, real, 0)) / 2})
    right = [*(real > fake.mean()), *(fake < real.mean())]
    assert system.notes["accuracy"].item() == sum(map(bool, right)) / (2 * SAMPLES)
    system.zero_grad()
    terms["relativistic"].backward()
    assert all(parameter.grad is None for parameter in system.generator.parameters())


@pytest.mark.parametrize("name", BOTH)
def test_the_discriminator_never_judges_what_was_made_of_another_batch(name: str) -> None:
    system, batch = ready(name, **EYES)
    generator, discriminator = turns(system)
    torch.manual_seed(1)
    expected = discriminator.losses(dict(batch))
    generator.losses({key: value.flip(0).flip(-1) for key, value in batch.items()})
    torch.manual_seed(1)
    torch.testing.assert_close(discriminator.losses(dict(batch)), expected)


@pytest.mark.parametrize("name", BOTH)
def test_without_a_perceptual_loss_no_frozen_network_is_asked_for(name: str) -> None:
    system, batch = ready(name, perceptual_weight=0.0)
    assert system.features == ""
    assert turns(system)[0].losses(batch).keys() == {"pixel", "adversarial"}
    assert ready(name, **EYES)[0].features == "squeezenet"


@pytest.mark.parametrize(("name", "steps"), [("esrgan", 400_000), ("esrgan-plus", 500_000)])
def test_the_adversarial_rates_are_halved_at_the_steps_of_the_paper(name: str, steps: int) -> None:
    with torch.device("meta"):
        stage = build(name, blocks=1).stages()[-1]
    assert (stage.name, stage.steps, stage.batch, stage.size) == ("adversarial", steps, 16, 128)
    for phase in stage.phases:
        found = [phase.schedule(step / steps) for step in (0, 49_999, 50_000, 100_000, 200_000, 299_999, 300_000, steps)]
        assert found == [1, 1, 1 / 2, 1 / 4, 1 / 8, 1 / 8, 1 / 16, 1 / 16]
        [group] = phase.optimizer(phase.modules).param_groups
        assert (group["lr"], group["betas"]) == (1e-4, (0.9, 0.999))


def test_pretraining_halves_its_rate_every_two_hundred_thousand_steps() -> None:
    with torch.device("meta"):
        stage = build("esrgan", blocks=1).stages()[0]
    [phase] = stage.phases
    assert (stage.name, stage.steps, stage.batch, stage.size) == ("pretrain", 1_000_000, 16, 128)
    assert [phase.schedule(step / 1e6) for step in (0, 199_999, 200_000, 799_999, 999_999)] == [1, 1, 1 / 2, 1 / 8, 1 / 16]
    assert phase.optimizer(phase.modules).param_groups[0]["lr"] == 2e-4


def test_basicsr_pretrains_in_four_cosines() -> None:
    with torch.device("meta"):
        stages = build("esrgan", "basicsr", blocks=1).stages()
    [phase] = stages[0].phases
    found = [phase.schedule(step / 1e6) for step in (0, 125_000, 249_999, 250_000, 375_000, 750_000)]
    assert found == pytest.approx([1, 0.5, 0, 1, 0.5, 1], abs=1e-9)
    assert [stage.phases[0].optimizer([nn.Linear(1, 1)]).param_groups[0]["betas"] for stage in stages] == [(0.9, 0.99)] * 2


# --- checkpoints -------------------------------------------------------------------------------------------------------


def test_the_old_and_the_new_layout_of_one_network_are_702_tensors_that_load_as_the_same() -> None:
    torch.manual_seed(0)
    dense = [(n, j, k) for n in range(23) for j in (1, 2, 3) for k in (1, 2, 3, 4, 5)]
    ends = {"conv_first": "model.0", "conv_body": "model.1.sub.23", "conv_up1": "model.3", "conv_up2": "model.6"}
    ends |= {"conv_hr": "model.8", "conv_last": "model.10"}
    names = ends | {f"body.{n}.rdb{j}.conv{k}": f"model.1.sub.{n}.RDB{j}.conv{k}.0" for n, j, k in dense}
    own = RRDBNet(4, 23, 3, 2)
    assert len(own.state_dict()) == 702
    ours = {"conv_hr": "conv_high", "conv_up1": "upsample.0", "conv_up2": "upsample.1"}
    layers = {key: own.get_submodule(ours.get(key, key)).state_dict() for key in names}
    new = {f"{key}.{kind}": value for key, layer in layers.items() for kind, value in layer.items()}
    old = {f"{names[key]}.{kind}": value for key, layer in layers.items() for kind, value in layer.items()}
    assert len(old) == len(new) == 702
    small_judge = {"patch": 32, "discriminator_channels": 2}
    states = [convert(found, "a.pth", overrides=small_judge) for found in (old, {"params_ema": new, "params": old})]
    assert [(state.layout, state.average) for state in states] == [("original", False), ("BasicSR", True)]
    given = image(1, 3, 5, 6).float()
    results: Any = [state.system for state in states]
    assert torch.equal(results[0].upscale(given), results[1].upscale(given))
    assert torch.equal(results[0].upscale(given), own(given))


def test_a_file_that_unshuffles_more_than_it_enlarges_is_refused_in_a_sentence() -> None:
    state = {"conv_first.weight": torch.zeros(4, 12, 3, 3), "body.0.rdb1.conv1.weight": torch.zeros(2, 4, 3, 3)}
    state |= {"conv_body.weight": torch.zeros(4, 4, 3, 3), "conv_last.weight": torch.zeros(3, 4, 3, 3)}
    with pytest.raises(WeightsError, match=r"^file\.pth: .*no scale 0 after unshuffling by 2"):
        convert(state, "file.pth")


def test_esrgan_plus_takes_over_all_that_esrgan_has_learnt() -> None:
    """Its one-by-one convolutions are all that is new."""
    kept, grown = (tiny(name, blocks=1).get_submodule("generator").state_dict() for name in BOTH)
    assert {key: value.shape for key, value in kept.items()}.items() <= {k: v.shape for k, v in grown.items()}.items()
    assert grown.keys() - kept.keys() == {f"body.0.rdb{j}.conv1x1.weight" for j in (1, 2, 3)}


# --- learning ----------------------------------------------------------------------------------------------------------


def stripes(count: int, seed: int) -> Batch:
    """Textures of hard stripes at any angle, (count, 3, 32, 32), and their halves."""
    generator = torch.Generator().manual_seed(seed)
    angle, pitch, phase = (torch.rand(count, 1, 1, generator=generator) for _ in range(3))
    y, x = torch.arange(32.0)[:, None], torch.arange(32.0)
    along = x * (6.28 * angle).cos() + y * (6.28 * angle).sin()
    high = 0.1 + 0.8 * torch.sigmoid(20 * (along * (0.5 + 0.5 * pitch) + 6.28 * phase).sin())
    high = high[:, None].expand(-1, 3, -1, -1)
    return {"low": imresize(high, 0.5), "high": high}


def learn(system: System, phases: list[Phase], batches: list[Batch], steps: int) -> list[float]:
    """Take some steps as the loop does, and return the discriminator's accuracies."""
    optimizers, found = [phase.optimizer(phase.modules) for phase in phases], []
    for step in range(steps):
        for phase, optimizer in zip(phases, optimizers, strict=True):
            system.requires_grad_(False)
            for module in phase.modules:
                module.requires_grad_(True)
            terms = phase.losses(batches[step % len(batches)])
            optimizer.zero_grad()
            torch.stack(list(terms.values())).sum().backward()
            optimizer.step()
        found += [value.item() for value in system.notes.values()]
    return found


def test_it_learns_textures_better_than_bicubic_and_keeps_that_while_it_plays_the_game() -> None:
    small_run: dict[str, Any] = {"scale": 2, "blocks": 1, "channels": 16, "growth": 8, "perceptual_weight": 0.0}
    system: Any = small("esrgan", **small_run, pretrain_rate=2e-3, learning_rate=1e-3).train()
    batches, unseen = [stripes(4, seed) for seed in range(8)], stripes(8, 99)

    def score(images: Tensor) -> float:
        return psnr(255 * images, 255 * unseen["high"])

    bicubic = score(imresize(unseen["low"], 2))
    pretrain, adversarial = system.stages()
    learn(system, list(pretrain.phases), batches, 200)
    with torch.no_grad():
        pretrained = score(system.upscale(unseen["low"]))
    accuracies = learn(system, list(adversarial.phases), batches, 40)
    with torch.no_grad():
        trained = score(system.upscale(unseen["low"]))
    assert pretrained > bicubic + 1
    assert trained > bicubic + 1
    assert 0.5 < sum(accuracies[-16:]) / 16 <= 1
