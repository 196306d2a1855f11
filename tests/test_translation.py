"""pix2pix and CycleGAN: their networks, their losses, what they do with pictures and keep between steps."""

from __future__ import annotations

import copy
from dataclasses import replace
from math import log
from typing import Any

import numpy as np
import pytest
import torch
from networks import image, randomize
from torch import Tensor, nn

from gantool import systems, tiling
from gantool.backends.pytorch import TorchEngine
from gantool.errors import OutOfMemory, UsageError
from gantool.system import Batch, System, Translator
from gantool.systems.translation import cyclegan, pix2pix
from gantool.systems.translation.cyclegan import CycleGAN, ImagePool
from gantool.systems.translation.pix2pix import PatchGAN, Pix2Pix, PixelGAN

# --- small systems -----------------------------------------------------------------------------------------------------


def small_pix2pix(**changes: Any) -> Pix2Pix:
    """Three levels, in evaluation mode, with random weights."""
    torch.manual_seed(0)
    system = Pix2Pix(replace(pix2pix.Config(size=32, downs=3, channels=4, layers=2), **changes))
    randomize(system)
    return system.eval().requires_grad_(False)


def small_cyclegan(**changes: Any) -> CycleGAN:
    torch.manual_seed(0)
    config = cyclegan.Config(size=32, channels=4, blocks=2, layers=2, pool=3, domains=("horse", "zebra"))
    system = CycleGAN(replace(config, **changes))
    randomize(system)
    return system.eval().requires_grad_(False)


def pairs(count: int = 1) -> Batch:
    return {"input": image(count, 3, 32, 32).float(), "target": image(2 * count, 3, 32, 32)[count:].float()}


def unpaired() -> Batch:
    return {"a": image(1, 3, 32, 32).float(), "b": image(2, 3, 32, 32)[1:].float()}


def take_step(system: System, batch: Batch) -> dict[str, dict[str, Tensor]]:
    """The losses of every phase in its turn, as the loop takes them, with gradients but without optimisers."""
    system.train()
    found = {}
    for phase in system.stages()[0].phases:
        system.requires_grad_(False)
        for module in phase.modules:
            module.requires_grad_(True)
        found[phase.name] = phase.losses(batch)
        if found[phase.name]:
            torch.stack(list(found[phase.name].values())).sum().backward()
    return found


def count_calls(module: nn.Module) -> list[int]:
    """How many images each call gets."""
    calls: list[int] = []
    module.register_forward_hook(lambda _, given, __: calls.append(len(given[0])))
    return calls


# --- networks ----------------------------------------------------------------------------------------------------------


def size_of(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_every_network_has_its_published_number_of_parameters() -> None:
    with torch.device("meta"):
        paper, zebras = Pix2Pix(pix2pix.Config()), CycleGAN(cyclegan.Config())
        assert (size_of(paper.generator), size_of(paper.discriminator)) == (54_413_955, 2_768_705)
        assert size_of(Pix2Pix(pix2pix.Config(norm="instance")).generator) == 54_409_603
        assert size_of(Pix2Pix(pix2pix.PRESETS["unet-128"]).generator) == 41_828_995
        assert [size_of(PatchGAN(6, 64, n, "batch")) for n in (1, 2, 4, 5)] == [139_585, 666_433, 6_964_033, 11_159_361]
        assert size_of(PixelGAN(6, 64, "batch")) == 9_024
        assert size_of(zebras.generator_ab) == size_of(zebras.generator_ba) == 11_378_179
        assert size_of(CycleGAN(cyclegan.PRESETS["128"]).generator_ab) == 7_837_699
        assert size_of(zebras.discriminator_a) == 2_764_737


@pytest.mark.parametrize(("layers", "field"), [(1, 16), (2, 34), (3, 70), (4, 142), (5, 286), (6, 574)])
def test_a_logit_judges_a_patch_of_the_published_size(layers: int, field: int) -> None:
    judge = PatchGAN(1, 1, layers, "none").double()
    given = torch.rand(1, 1, 16 << layers, field + (8 << layers), dtype=torch.float64).requires_grad_()
    logits = judge(given)
    logits[0, 0, logits.shape[2] // 2, logits.shape[3] // 2].backward()
    assert given.grad is not None
    assert len(given.grad.abs().sum((0, 1, 2)).nonzero()) == field


def test_the_maps_of_logits_have_the_published_sizes() -> None:
    with torch.device("meta"):
        for side, logits in ((256, 30), (512, 62)):
            assert PatchGAN(6, 64, 3, "batch")(torch.empty(1, 6, side, side)).shape == (1, 1, logits, logits)
        assert PixelGAN(6, 64, "batch")(torch.empty(1, 6, 20, 30)).shape == (1, 1, 20, 30)


@pytest.mark.parametrize("downs", [1, 2, 3, 4])
def test_without_norms_the_u_net_sees_as_far_as_its_radius_and_no_farther(downs: int) -> None:
    """What is not a number spreads to all that depends on it and to nothing else."""
    system = small_pix2pix(downs=downs, norm="none", dropout=False)
    assert system.radius is not None
    period = system.multiple
    width, reach = 2 * period * (system.radius // period + 2), 0
    for column in range(width // 2, width // 2 + period):
        given = torch.zeros(1, 3, period, width)
        given[..., column] = torch.nan
        found = system.translate(given, None).isnan().any(1)[0].any(0).nonzero()
        reach = max(reach, int((found - column).abs().max()))
    assert reach == system.radius


@pytest.mark.parametrize(
    ("changes", "local"),
    [
        ({}, False),
        ({"noise": False}, False),
        ({"statistics": "running"}, False),
        ({"noise": False, "statistics": "running"}, True),
        ({"norm": "instance", "noise": False}, False),
        ({"norm": "none"}, False),
        ({"norm": "none", "noise": False}, True),
        ({"norm": "none", "dropout": False}, True),
    ],
)
def test_noise_and_statistics_of_the_picture_make_the_radius_the_whole_picture(changes: dict[str, Any], local: bool) -> None:
    assert (small_pix2pix(**changes).radius is not None) == local


@pytest.mark.parametrize(("placement", "levels"), [("torch", {5, 6, 7}), ("pytorch", {4, 5, 6})])
def test_dropout_is_where_each_of_the_two_codes_has_it(placement: str, levels: set[int]) -> None:
    with torch.device("meta"):
        found = Pix2Pix(pix2pix.Config(placement=placement)).generator.up
        none = Pix2Pix(pix2pix.Config(placement=placement, dropout=False)).generator.up
    assert {level for level, up in enumerate(found) if up.dropout} == levels
    assert not any(up.dropout for up in none)


def test_a_residual_network_starts_from_its_input() -> None:
    system = small_pix2pix(residual=True, norm="none", dropout=False)
    for parameter in system.generator.up[0].parameters():
        parameter.zero_()
    given = 3 * image(1, 3, 16, 8).float()  # beyond what tanh gives
    torch.testing.assert_close(system.translate(given, None), given)
    assert system.keeps_gray


def test_without_norms_signals_neither_fade_nor_grow_on_their_way() -> None:
    torch.manual_seed(0)
    generator = Pix2Pix(pix2pix.Config(size=64, downs=5, channels=32, norm="none", residual=True)).generator
    given = 2 * image(4, 3, 64, 64).float() - 1
    strengths: list[float] = []
    for level in (*generator.down, *generator.up[1:]):
        level.register_forward_hook(lambda _, __, result: strengths.append(result.std().item()))
    assert (generator(given) - given).std() < 0.5 * given.std()
    assert all(0.25 < strength / given.std() < 4 for strength in strengths)


# --- inference ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes", [{}, {"norm": "instance"}, {"norm": "none"}, {"placement": "pytorch", "downs": 6, "size": 64}]
)
def test_pix2pix_gives_a_picture_the_same_result_again_and_in_any_company(changes: dict[str, Any]) -> None:
    system = small_pix2pix(**changes).double()
    given = image(3, 3, 64, 64)
    result = system.translate(given, None)
    torch.manual_seed(7)
    assert torch.equal(result, system.translate(given, None))
    for number in range(3):
        torch.testing.assert_close(result[number : number + 1], system.translate(given[number : number + 1], None))
    quiet = small_pix2pix(**changes, noise=False).double()
    assert (quiet.translate(given, None) - result).abs().max() > 1e-3
    assert ("dropout active" in system.behaviour, "no dropout" in quiet.behaviour) == (True, True)


def test_pix2pix_normalises_a_picture_as_training_does() -> None:
    system = small_pix2pix(dropout=False).double()
    given = image(1, 3, 24, 40)
    result = system.translate(given, None)
    trained = (system.generator.train()(2 * given - 1) + 1) / 2
    torch.testing.assert_close(result, trained)
    assert system.behaviour == "batch norm with the statistics of each picture itself, no dropout"


def test_dropout_of_inference_keeps_half_of_the_features_twice_as_strong() -> None:
    up = small_pix2pix().generator.up[1].eval()
    given = image(2, 16, 32, 32).float()
    plain, noisy = up(given, None, True), up(given, torch.Generator().manual_seed(3), True)
    kept = noisy != 0
    assert 0.48 < kept.float().mean() < 0.52
    torch.testing.assert_close(noisy[kept], 2 * plain[kept])


def test_the_deterministic_form_has_the_same_networks_and_stored_statistics() -> None:
    system = small_pix2pix()
    given = image(2, 3, 16, 16).float()
    plain = system.deterministic()
    assert plain.generator is system.generator
    assert plain.radius == 21
    assert plain.behaviour == "batch norm with stored statistics, no dropout"
    torch.testing.assert_close(plain.translate(given, None), (system.generator(2 * given - 1) + 1) / 2)
    assert plain.deterministic() is plain
    assert all(tensor.device.type == "cpu" for tensor in (*plain.parameters(), *plain.buffers()))


@pytest.mark.parametrize("size", [(4, 4), (4, 60), (8, 4), (12, 20)])
def test_cyclegan_takes_the_smallest_pictures_in_both_directions(size: tuple[int, int]) -> None:
    system = small_cyclegan()
    given = image(2, 3, *size).float()
    there, back = (system.translate(given, system.target([name], [])) for name in ("zebra", "horse"))
    assert there.shape == back.shape == given.shape
    assert there.isfinite().all()
    assert (there - back).abs().max() > 1e-3
    assert torch.equal(system.translate(given, None), there)


@pytest.mark.parametrize("system", [small_pix2pix(image_channels=1), small_cyclegan(image_channels=1)])
def test_a_model_of_gray_pictures_takes_them_in_one_channel_or_three(system: Any) -> None:
    gray = image(1, 1, 16, 16).float()
    result = system.translate(gray, None)
    assert result.shape == gray.shape
    assert system.keeps_gray
    torch.testing.assert_close(system.translate(gray.expand(-1, 3, -1, -1), None), result.expand(-1, 3, -1, -1))


def in_levels(system: Any, pixels: np.ndarray, tile: int) -> np.ndarray:
    network = lambda given: system.translate(given, None)  # noqa: E731
    engine = TorchEngine(network, scale=1, radius=system.radius, multiple=system.multiple)
    return np.concatenate(list(tiling.run(engine, iter([pixels]), pixels.shape, tile=tile)))


@pytest.mark.parametrize(
    "system",
    [
        small_pix2pix(noise=False),
        small_pix2pix(norm="instance", noise=False),
        small_pix2pix(norm="none", dropout=False, residual=True),
        small_pix2pix().deterministic(),
        small_cyclegan(),
        small_cyclegan(upsampling="resize"),
        small_cyclegan(upsampling="nearest"),
    ],
)
def test_tiles_give_what_the_whole_picture_gives(system: Any, capsys: pytest.CaptureFixture[str]) -> None:
    pixels = (image(75, 122, 3).numpy() * 256).astype(np.uint8)  # sides that no multiple divides
    whole, tiles = in_levels(system, pixels, 0), in_levels(system, pixels, 32)
    assert whole.std() > 5
    assert np.abs(whole.astype(int) - tiles).max() <= 1


def test_noise_is_not_done_in_tiles_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    pixels = (image(75, 122, 3).numpy() * 256).astype(np.uint8)
    with pytest.raises(OutOfMemory, match="tiles"):
        in_levels(small_pix2pix(), pixels, 32)


# --- names of what pictures become ------------------------------------------------------------------------------------------


def test_targets_are_named_by_their_domains() -> None:
    system = small_cyclegan()
    assert isinstance(system, Translator)
    assert system.targets == ("horse", "zebra")
    assert system.target(["zebra"], []).tolist() == [0, 1]
    for wanted, unwanted, said in (
        (["zebr"], [], "no target named 'zebr': did you mean zebra"),
        ([], [], "name horse or zebra"),
        (["horse", "zebra"], [], "one thing at a time: name horse or zebra"),
        ([], ["horse"], "takes nothing away"),
    ):
        with pytest.raises(UsageError, match=said):
            system.target(wanted, unwanted)


def test_one_direction_needs_no_name_and_is_all_that_its_file_holds() -> None:
    system = small_cyclegan(both=False)
    assert system.targets == ("zebra",)
    assert list(system.inference_modules()) == ["generator_ab"]
    assert system.target([], []).tolist() == system.target(["zebra"], []).tolist() == [1]
    given = image(1, 3, 8, 8).float()
    assert torch.equal(
        system.translate(given, system.target([], [])), small_cyclegan().translate(given, torch.tensor([0.0, 1]))
    )


def test_pix2pix_has_no_names() -> None:
    system = small_pix2pix()
    assert isinstance(system, Translator)
    assert system.target([], []) is None
    with pytest.raises(UsageError, match="leave out 'zebra'"):
        system.target(["zebra"], [])


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("pix2pix", {"size": 100}, "size 100 with downs 8: it must be a multiple of 256"),
        ("pix2pix", {"size": 32, "downs": 5, "layers": 4}, "size 32 with layers 4"),
        ("pix2pix", {"norm": "bach"}, "no norm named 'bach': did you mean batch"),
        ("pix2pix", {"fit": "cover"}, "no fit named 'cover'"),
        ("pix2pix", {"game": "wasserstein"}, "no game named 'wasserstein'"),
        ("cyclegan", {"size": 130}, "size 130: it must be a multiple of 4"),
        ("cyclegan", {"size": 16}, "size 16 with layers 3"),
        ("cyclegan", {"domains": ("a", "a")}, "domains a, a"),
        ("cyclegan", {"upsampling": "bilinear"}, "no upsampling named 'bilinear'"),
    ],
)
def test_a_config_that_cannot_be_is_refused_in_a_sentence(name: str, changes: dict[str, Any], said: str) -> None:
    paper = systems.load(name)
    with pytest.raises(UsageError, match=said):
        paper.system(replace(paper.config(), **changes))


# --- training ----------------------------------------------------------------------------------------------------------


def set_logits(discriminator: nn.Module, value: float) -> None:
    last = discriminator.get_submodule("last")
    nn.init.zeros_(last.weight)  # type: ignore[arg-type]
    nn.init.constant_(last.bias, value)  # type: ignore[arg-type]


@pytest.mark.parametrize(("game", "logit", "total"), [("nonsaturating", 0.0, log(2)), ("least-squares", 0.5, 0.25)])
def test_the_losses_of_pix2pix_are_the_published_sums(game: str, logit: float, total: float) -> None:
    system, batch = small_pix2pix(game=game, dropout=False), pairs()
    set_logits(system.discriminator, logit)
    found = take_step(system, batch)
    assert sum(found["discriminator"].values()).item() == pytest.approx(total)  # halved
    made = (system.generator(2 * batch["input"] - 1) + 1) / 2
    expected = 100 * 2 * (made - batch["target"]).abs().mean()
    assert {name: loss.item() for name, loss in found["generator"].items()} == pytest.approx(
        {"l1": expected.item(), "adversarial": total}
    )


def test_without_its_weight_nothing_is_judged() -> None:
    system = small_pix2pix(adversarial_weight=0.0)
    calls = count_calls(system.discriminator)
    found = take_step(system, pairs())
    assert found["discriminator"] == {}
    assert list(found["generator"]) == ["l1"]
    assert calls == []


class Negative(nn.Module):
    """There and back is where it began; and it leaves nothing alone."""

    def forward(self, images: Tensor) -> Tensor:
        return -images


@pytest.mark.parametrize("identity", [0.5, 0.0])
def test_the_losses_of_cyclegan_are_the_published_sums(identity: float) -> None:
    system, batch = small_cyclegan(identity=identity), unpaired()
    system.generator_ab = system.generator_ba = Negative()  # type: ignore[assignment]
    set_logits(system.discriminator_a, 0.5)
    set_logits(system.discriminator_b, 0.25)
    means = {name: 2 * (2 * pixels - 1).abs().mean().item() for name, pixels in batch.items()}
    generator, judged = (
        {n: v.item() for n, v in losses(batch).items()} for losses in (system.generator_losses, system.discriminator_losses)
    )
    expected = {"adversarial_ab": 0.75**2, "adversarial_ba": 0.25, "cycle_a": 0.0, "cycle_b": 0.0}
    expected |= {"identity_a": 5 * means["a"], "identity_b": 5 * means["b"]} if identity else {}
    assert generator == pytest.approx(expected)
    assert judged == pytest.approx({"real_a": 0.125, "fake_a": 0.125, "real_b": 0.75**2 / 2, "fake_b": 0.25**2 / 2})


def test_pix2pix_makes_each_image_once_a_step_and_both_sides_learn_from_it() -> None:
    system = small_pix2pix()
    calls = count_calls(system.generator)
    for batch in (pairs(), pairs(2)):
        system.zero_grad()
        take_step(system, batch)
        for module in (system.generator, system.discriminator):
            assert all(p.grad is not None and p.grad.any() for p in module.parameters())
    assert calls == [1, 2]
    copy.deepcopy(system)  # nothing with gradients is left of the step


def test_in_the_discriminator_s_turn_the_generator_stands_still() -> None:
    system = small_pix2pix().train()
    system.discriminator.requires_grad_(True)
    torch.stack(list(system.discriminator_losses(pairs()).values())).sum().backward()
    assert all(p.grad is None and not p.requires_grad for p in system.generator.parameters())
    assert all(p.grad is not None for p in system.discriminator.parameters())


def test_cyclegan_makes_each_image_once_a_step_and_both_sides_learn_from_it() -> None:
    system = small_cyclegan()
    calls = count_calls(system.generator_ab)
    for _ in range(2):
        take_step(system, unpaired())
    assert calls == [1] * 6  # made, back, left alone: twice
    modules = (system.generator_ab, system.generator_ba, system.discriminator_a, system.discriminator_b)
    assert all(p.grad is not None and p.grad.any() for module in modules for p in module.parameters())


@pytest.mark.parametrize(("make", "batch"), [(small_pix2pix, pairs()), (small_cyclegan, unpaired())])
@pytest.mark.parametrize("first", ["generator_losses", "discriminator_losses"])
def test_a_turn_that_comes_first_or_has_another_batch_makes_its_own_images(make: Any, batch: Batch, first: str) -> None:
    [second] = {"generator_losses", "discriminator_losses"} - {first}
    begun, fresh = make(), make()
    getattr(begun, first)({name: 1 - pixels for name, pixels in batch.items()})
    found, expected = (getattr(each, second)(batch) for each in (begun, fresh))
    assert {name: loss.item() for name, loss in found.items()} == {name: loss.item() for name, loss in expected.items()}


@pytest.mark.parametrize("dropout", [False, True])
def test_cyclegan_drops_out_where_asked_and_in_training_alone(dropout: bool) -> None:
    generator = small_cyclegan(dropout=dropout).generator_ab
    given = image(1, 3, 32, 32).float()
    assert torch.equal(generator(given), generator(given))
    generator.train()
    assert torch.equal(generator(given), generator(given)) == (not dropout)


def test_rates_stay_for_half_of_the_steps_and_fall_to_nothing() -> None:
    for system in (small_cyclegan(), small_pix2pix(decay=0.5)):
        for phase in system.stages()[0].phases:
            assert [phase.schedule(p) for p in (0, 0.25, 0.5)] == [1, 1, 1]
            assert phase.schedule(0.75) == pytest.approx(0.5)  # epoch 150 of 200
            assert 0 < phase.schedule(1 - 1 / system.config.steps) < 1e-4
            assert phase.optimizer(phase.modules).param_groups[0]["betas"] == (0.5, 0.999)
    assert all(phase.schedule(0.99) == 1 for phase in small_pix2pix().stages()[0].phases)


# --- images made earlier -----------------------------------------------------------------------------------------------


def numbered(*numbers: float) -> Tensor:
    return torch.tensor(numbers).view(-1, 1, 1, 1)


def test_a_pool_gives_what_it_gets_until_it_is_full_and_then_half_the_time_an_old_one() -> None:
    torch.manual_seed(0)
    pool = ImagePool(50, (1, 1, 1))
    first = numbered(*range(50))
    assert torch.equal(pool.exchanged(first), first)
    kept, old = set(range(50)), 0
    for number in range(50, 2050):
        given = int(pool.exchanged(numbered(number)))
        if given != number:
            assert given in kept
            kept = kept - {given} | {number}
            old += 1
        assert set(pool.images.flatten().int().tolist()) == kept
    assert 0.45 < old / 2000 < 0.55
    assert min(kept) > 500  # every place is changed some time


def test_a_pool_keeps_nothing_alive_and_changes_nothing_that_it_is_given() -> None:
    torch.manual_seed(0)
    pool = ImagePool(2, (1, 1, 1))
    for number in range(9):
        images = numbered(number, number + 0.5).requires_grad_()
        given = pool.exchanged(images)
        assert not given.requires_grad
        assert torch.equal(images.detach(), numbered(number, number + 0.5))


def test_a_pool_is_state_so_that_a_run_goes_on_as_if_it_had_not_ended() -> None:
    system = small_cyclegan()
    for _ in range(4):
        take_step(system, unpaired())
    other = small_cyclegan()
    other.load_state_dict(system.state_dict())
    for each in (system, other):
        torch.manual_seed(1)
        take_step(each, unpaired())
    state = other.state_dict()
    assert system.pool_a.filled == system.pool_b.filled == 3
    assert all(torch.equal(state[key], value) for key, value in system.state_dict().items())
