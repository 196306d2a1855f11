"""What holds for every system, and the facts of single papers. A new paper is tested here without a new file."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from networks import batch_for, build, image, labels_for, latents_for, presets, randomize, small, target_for, tiny, use
from torch import Tensor

from gantool import systems
from gantool.convert import convert, unpickle
from gantool.errors import UsageError, WeightsError
from gantool.images import read
from gantool.layers.color import luma, replace_luma
from gantool.layers.resampling import imresize
from gantool.metrics.luma import luma as luma_255
from gantool.metrics.psnr import psnr
from gantool.modelheader import sniff
from gantool.system import Batch, Generator, Phase, Scored, Stage, System, Translator, Upscaler

NAMES = systems.names()
PARAMETERS = [
    ("srcnn", {"middle": 1}, 8_129),
    ("srcnn", {"middle": 3}, 24_513),
    ("srcnn", {"middle": 5}, 57_281),
    ("edsr", {"scale": 2}, 1_369_859),
    ("edsr", {"scale": 3}, 1_554_499),
    ("edsr", {"scale": 4}, 1_517_571),
    ("edsr", {"scale": 2, "blocks": 32, "channels": 256}, 40_729_603),
    ("edsr", {"scale": 3, "blocks": 32, "channels": 256}, 43_680_003),
    ("edsr", {"scale": 4, "blocks": 32, "channels": 256}, 43_089_923),
    ("srresnet", {}, 1_547_350),
    ("srresnet", {"bias": True, "slopes": True}, 1_550_659),
    ("srresnet", {"scale": 2}, 1_399_637),
    ("srresnet", {"scale": 8}, 1_695_063),
    ("span", {"reparameterized": False}, 426_288),
    ("span", {"reparameterized": False, "scale": 2}, 410_700),
    ("span", {"reparameterized": False, "channels": 52}, 498_208),
    ("span", {}, 1_840_488),  # the official file's 2,236,728 count the merged copies too
    ("srgan", {}, 1_547_350 + 23_563_649),
    ("srgan", {"scale": 2}, 1_399_637 + 23_563_649),
    ("enhancenet", {}, 852_867 + 13_102_881),
    ("enhancenet", {"losses": "P"}, 852_867),
    ("rcan", {"scale": 2}, 15_444_643),
    ("rcan", {"scale": 3}, 15_629_283),
    ("rcan", {}, 15_592_355),
    ("rcan", {"scale": 8}, 15_740_067),
    ("esrgan", {}, 16_697_987 + 14_499_401),
    ("esrgan", {"blocks": 16}, 11_662_019 + 14_499_401),
    ("esrgan", {"blocks": 6}, 4_467_779 + 14_499_401),
    ("esrgan", {"channels": 32}, 9_588_355 + 14_499_401),
    ("esrgan", {"scale": 2, "unshuffle": 2}, 16_703_171 + 14_499_401),
    ("esrgan", {"scale": 1, "unshuffle": 4}, 16_723_907 + 14_499_401),
    ("esrgan-plus", {}, 16_839_299 + 14_499_401),
    ("srrescgan", {}, 380_356 + 14_499_401),
    ("srrescycgan", {}, 380_356 + 14_499_401 + 610_819 + 1_036_033),  # the second pair is not published
    ("real-esrgan", {}, 16_697_987 + 4_376_897),
    ("real-esrgan", {"generator": "compact", "blocks": 32}, 1_213_296 + 4_376_897),
    ("kernel", {}, 0),
    # generator and discriminator together
    ("gan", {}, 2_503_984 + 1_231_441),
    ("dcgan", {}, 3_576_704 + 2_765_568),
    ("dcgan", {"image_channels": 1}, 3_574_656 + 2_763_520),
    ("cgan", {}, 1_169_336 + 196_773),
    ("vae", {}, 652_824),
    ("vae", {"form": "conv", "units": 16, "latent": 2}, 69_076 + 65_089),
    ("stargan", {}, 8_430_528 + 44_762_048),
    ("stargan", {"classes": tuple("abcdefgh"), "sets": (8,)}, 8_439_936 + 44_786_624),  # the paper's 53.2 million
    ("pggan", {"size": 64}, 22_498_063 + 22_498_049),
    ("pggan", {}, 23_086_795 + 23_087_249),
    ("pix2pix", {}, 54_413_955 + 2_768_705),
    ("pix2pix", {"size": 128, "downs": 7}, 41_828_995 + 2_768_705),
    ("cyclegan", {}, 2 * (11_378_179 + 2_764_737)),
    ("cyclegan", {"blocks": 6}, 2 * (7_837_699 + 2_764_737)),
]


def has_scale(name: str, scale: int) -> bool:
    try:
        with torch.device("meta"):
            build(name, scale=scale)
    except UsageError:
        return False
    return True


UPSCALERS = [(name, scale) for name in systems.names("super_resolution") for scale in (2, 3, 4) if has_scale(name, scale)]
GLOBAL = ["rcan", "srrescgan", "srrescycgan"]  # those that look at the whole picture
LOCAL = [variant for variant in UPSCALERS if variant[0] not in GLOBAL]
TRANSLATORS = [(name, preset) for name in systems.names("translation") for preset in presets(name)]
GENERATORS = [(name, preset) for name in systems.names("generation") for preset in presets(name)]
VARIANTS = [(name, "") for name in systems.names("super_resolution")] + TRANSLATORS + GENERATORS
TRAINED = [variant for variant in VARIANTS if variant[0] != "kernel"]
HALF_SAFE = [(name, preset) for name, preset in TRANSLATORS + GENERATORS if systems.load(name).system.half_safe]
SCORED = [name for name in NAMES if issubclass(systems.load(name).system, Scored)]


def competes(name: str, preset: str) -> bool:
    """Whether one network's step may raise another's loss, in every stage."""
    with torch.device("meta"):
        return all(len(stage.phases) > 1 for stage in small(name, preset).stages())


def translator(name: str, preset: str) -> Any:
    system = tiny(name, preset)
    assert isinstance(system, Translator)
    return system.requires_grad_(False)


def generator(name: str, preset: str) -> Any:
    system = tiny(name, preset)
    assert isinstance(system, Generator)
    return system.requires_grad_(False)


def upscaler(name: str, scale: int) -> Any:
    system = tiny(name, scale=scale)
    assert isinstance(system, Upscaler)
    assert system.scale == scale
    return system.requires_grad_(False)


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_first_line_says_what_it_is_and_who_wrote_it_and_fits_a_help_line(name: str) -> None:
    line = systems.summary(name)
    assert re.fullmatch(r"[^:()]+: [^()]+ \([^()]+, [^()]+ (19|20)\d\d(, arXiv:\d{4}\.\d{4,5})?\)\.", line), line
    assert len(line) <= 125


@pytest.mark.parametrize("name", NAMES)
def test_the_docstring_names_the_departures_from_the_paper(name: str) -> None:
    document = inspect.getmodule(systems.load(name).config).__doc__ or ""
    assert "\nDepartures from the paper: " in document


@pytest.mark.parametrize("name", NAMES)
def test_the_config_is_frozen_and_says_the_unit_or_source_of_every_field(name: str) -> None:
    config = systems.load(name).config
    with pytest.raises(dataclasses.FrozenInstanceError):
        config().anything = 1  # type: ignore[attr-defined]
    source = inspect.getsource(config)
    [definition] = ast.parse(source).body
    assert isinstance(definition, ast.ClassDef)
    lines = source.splitlines()
    for field in definition.body:
        if isinstance(field, ast.AnnAssign):
            assert field.value is not None, f"{ast.unparse(field.target)} has no default"
            assert field.end_lineno is not None
            assert "  # " in lines[field.end_lineno - 1], lines[field.end_lineno - 1]


@pytest.mark.parametrize("name", NAMES)
def test_a_system_is_final_and_the_only_one_of_its_file(name: str) -> None:
    with torch.device("meta"):
        system = build(name)
    assert type(system).__mro__[1] is System
    assert systems.name_of(system) == name


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_builds(name: str) -> None:
    paper = systems.load(name)
    for preset in presets(name).values():
        assert isinstance(preset, paper.config)
        with torch.device("meta"):
            paper.system(preset)


@pytest.mark.parametrize(("name", "changes", "count"), PARAMETERS)
def test_the_number_of_parameters_is_the_published_one(name: str, changes: dict[str, Any], count: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in build(name, **changes).parameters()) == count


def test_every_system_has_its_parameters_counted() -> None:
    assert {name for name, _, _ in PARAMETERS} == set(NAMES)


# --- use -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "scale"), UPSCALERS)
@pytest.mark.parametrize("sides", [(1, 1), (1, 9), (5, 3)])
def test_the_result_is_exactly_scale_times_as_large_and_finite_and_the_input_untouched(
    name: str, scale: int, sides: tuple[int, int]
) -> None:
    before = image(2, 3, *sides).float()
    given = before.clone()
    result = upscaler(name, scale).float().upscale(given)
    assert result.shape == (2, 3, scale * sides[0], scale * sides[1])
    assert result.dtype == torch.float32
    assert result.isfinite().all()
    assert torch.equal(given, before)


@pytest.mark.parametrize(("name", "scale"), LOCAL)
def test_an_output_pixel_depends_on_input_pixels_up_to_the_radius_and_no_farther(name: str, scale: int) -> None:
    system = upscaler(name, scale)
    assert system.radius is not None
    middle = system.radius + 2
    given = image(1, 3, 2 * middle + 1, 2 * middle + 1).requires_grad_()
    own = slice(middle * scale, (middle + 1) * scale)  # the output pixels that the middle input pixel becomes
    system.upscale(given)[..., own, own].square().sum().backward()
    assert given.grad is not None
    distances = (given.grad.abs().sum((0, 1)).nonzero() - middle).abs().amax(0)
    assert distances.tolist() == [system.radius, system.radius]


@pytest.mark.parametrize("name", GLOBAL)
def test_without_a_radius_every_output_pixel_depends_on_every_input_pixel(name: str) -> None:
    system = upscaler(name, 2)
    assert system.radius is None
    given = image(1, 3, 60, 60).requires_grad_()
    for corner in (slice(0, 1), slice(-1, None)):
        [gradient] = torch.autograd.grad(system.upscale(given)[..., corner, corner].square().sum(), given)
        assert (gradient.abs().sum((0, 1)) > 0).all()


@pytest.mark.parametrize(("name", "scale"), LOCAL)
def test_changing_a_pixel_changes_nothing_beyond_the_radius(name: str, scale: int) -> None:
    system = upscaler(name, scale)
    middle = system.radius + 2
    given = image(1, 3, 2 * middle + 1, 2 * middle + 1)
    changed = given.clone()
    changed[..., middle, middle] = 1 - changed[..., middle, middle]
    different = (system.upscale(given) != system.upscale(changed)).any(1)[0].nonzero() // scale - middle
    assert different.numel() > 0
    assert different.abs().max() <= system.radius


@pytest.mark.parametrize(("name", "scale"), LOCAL)
def test_a_part_with_the_radius_around_it_becomes_what_it_is_in_the_whole(name: str, scale: int) -> None:
    system = upscaler(name, scale)
    length = system.radius + 3
    given = image(1, 3, 4, 3 * length)
    whole = system.upscale(given)
    for first in (0, length, 2 * length):  # flush left, in the middle, flush right
        begin, end = max(0, first - system.radius), min(3 * length, first + length + system.radius)
        part = system.upscale(given[..., begin:end])[..., scale * (first - begin) :][..., : scale * length]
        torch.testing.assert_close(part, whole[..., scale * first : scale * (first + length)], atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize(("name", "preset"), TRANSLATORS)
@pytest.mark.parametrize("sides", [(1, 3), (2, 1)])
def test_a_translation_has_the_size_of_its_picture_and_is_finite_and_the_picture_untouched(
    name: str, preset: str, sides: tuple[int, int]
) -> None:
    system = translator(name, preset)
    for channels in (1, 3) if system.keeps_gray else (3,):
        before = image(2, channels, *(side * system.multiple for side in sides))
        given = before.clone()
        result = system.translate(given, target_for(system))
        assert result.shape == given.shape
        assert result.isfinite().all()
        assert result.std() > 0
        assert torch.equal(given, before)


@pytest.mark.parametrize(("name", "preset"), TRANSLATORS)
def test_a_translation_depends_on_its_own_picture_alone_and_is_the_same_every_time(name: str, preset: str) -> None:
    system = translator(name, preset)
    given, target = image(3, 3, 2 * system.multiple, 3 * system.multiple), target_for(system)
    together = system.translate(given, target)
    apart = torch.cat([system.translate(each, target) for each in given.split(1)])
    torch.testing.assert_close(together, apart, atol=1e-10, rtol=1e-10)
    assert not torch.equal(together[0], together[1])


@pytest.mark.parametrize(("name", "preset"), TRANSLATORS)
def test_translators_refuse_names_that_they_do_not_know_and_tell_their_targets_apart(name: str, preset: str) -> None:
    system = translator(name, preset)
    with pytest.raises(UsageError, match="nobody"):
        system.target(["nobody"], ())
    given = image(1, 3, 2 * system.multiple, 2 * system.multiple)
    results = [system.translate(given, system.target([target], ())) for target in system.targets]
    assert all(not torch.allclose(one, other) for one, other in pairwise(results))


@pytest.mark.parametrize(("name", "preset"), GENERATORS)
def test_a_generated_image_is_of_the_training_size_and_in_range_and_the_latents_untouched(name: str, preset: str) -> None:
    system = generator(name, preset)
    before = latents_for(system)
    given = before.clone()
    labels = labels_for(system)
    result = system.generate(given, labels if labels is None else labels.double())
    size = system.stages()[-1].size
    assert result.shape == (len(given), system.image_channels, size, size)
    assert result.isfinite().all()
    assert result.std() > 0
    if name != "pggan":  # its last layer is linear
        assert result.min() >= 0
        assert result.max() <= 1
    assert torch.equal(given, before)


@pytest.mark.parametrize(("name", "preset"), GENERATORS)
def test_a_generated_image_depends_on_its_own_latent_and_label_alone(name: str, preset: str) -> None:
    system = generator(name, preset)
    given, labels = latents_for(system), labels_for(system)
    labels = None if labels is None else labels.double()
    together = system.generate(given, labels)
    for i, alone in enumerate(given.split(1)):
        label = None if labels is None else labels[i : i + 1]
        torch.testing.assert_close(system.generate(alone, label), together[i : i + 1], atol=1e-10, rtol=1e-10)
    assert not torch.allclose(system.generate(-given, labels), together)
    if labels is not None:
        assert not torch.allclose(system.generate(given, labels.roll(1, 1)), together)


@pytest.mark.parametrize(("name", "preset"), HALF_SAFE)
def test_half_precision_is_close_to_single_where_the_system_says_that_it_is_safe(name: str, preset: str) -> None:
    system = tiny(name, preset).requires_grad_(False)
    expected = use(system.float())
    found = use(system.half())
    assert found.isfinite().all()
    assert (found - expected).abs().max() <= 0.02 * max(1, expected.abs().max())


@pytest.mark.parametrize(("name", "preset"), VARIANTS)
def test_the_inference_form_computes_the_same(name: str, preset: str) -> None:
    system: Any = tiny(name, preset).float().requires_grad_(False)
    merged = system.for_inference()
    assert not merged.training
    for fact in ("scale", "radius", "multiple", "latent", "classes", "targets"):
        assert getattr(merged, fact, None) == getattr(system, fact, None)
    expected = use(system)
    assert (use(merged) - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.parametrize(("name", "preset"), VARIANTS)
def test_the_inference_modules_hold_all_that_inference_needs(name: str, preset: str) -> None:
    system = tiny(name, preset).float().requires_grad_(False).for_inference()
    other = type(system)(system.config).eval().requires_grad_(False)
    for attribute, module in system.inference_modules().items():
        assert getattr(system, attribute) is module
        getattr(other, attribute).load_state_dict(module.state_dict(), strict=True)
    assert torch.equal(use(other), use(system))


@pytest.mark.parametrize("name", NAMES)
def test_the_state_goes_into_a_new_system_and_back(name: str) -> None:
    system = tiny(name)
    other = type(system)(system.config).double()
    other.load_state_dict(system.state_dict(), strict=True)
    again = other.state_dict()
    assert again.keys() == system.state_dict().keys()
    assert all(torch.equal(again[key], value) for key, value in system.state_dict().items())


# --- training --------------------------------------------------------------------------------------------------------


def stages_of(name: str, preset: str = "", **changes: Any) -> tuple[System, list[Stage]]:
    """A small system with the weights that training starts from."""
    system = small(name, preset, **changes).train()
    return system, system.stages()


def turn(system: System, phase: Phase, batch: Batch) -> dict[str, Tensor]:
    """Compute a phase's losses and their gradients, as the loop does: all that is not its own stands still."""
    torch.manual_seed(1)
    system.zero_grad()
    system.requires_grad_(False)
    for module in phase.modules:
        module.requires_grad_(True)
    terms = phase.losses(batch)
    if terms:
        torch.stack(list(terms.values())).sum().backward()
    return terms


def test_what_has_nothing_to_learn_has_no_stages() -> None:
    with torch.device("meta"):
        assert [name for name in NAMES if not build(name).stages()] == ["kernel"]


SCALED = [(name, "", {"scale": scale}) for name, scale in UPSCALERS if name != "kernel"]


@pytest.mark.parametrize(("name", "preset", "changes"), SCALED + [(*pair, {}) for pair in TRANSLATORS + GENERATORS])
def test_losses_are_finite_scalars_whose_gradient_reaches_every_parameter(
    name: str, preset: str, changes: dict[str, Any]
) -> None:
    system, stages = stages_of(name, preset, **changes)
    for stage in stages:
        assert stage.steps > 0
        assert stage.batch > 0
        batch = batch_for(system, stage)
        for phase in stage.phases:
            terms = turn(system, phase, batch)
            assert terms
            for loss in terms.values():
                assert loss.shape == ()
                assert loss.isfinite()
            for module in phase.modules:
                for key, parameter in module.named_parameters():
                    assert parameter.grad is not None, f"{phase.name}: {key}"
                    assert parameter.grad.isfinite().all(), f"{phase.name}: {key}"


@pytest.mark.parametrize(("name", "preset"), TRAINED)
def test_no_parameter_is_deaf_once_training_has_begun(name: str, preset: str) -> None:
    system, stages = stages_of(name, preset)
    randomize(system)
    system.progress.fill_(0.5)
    for stage in stages:
        for phase in stage.phases:
            terms = turn(system, phase, batch_for(system, stage))
            for module in phase.modules:
                last = list(dict(module.named_parameters()))[-1]
                for key, parameter in module.named_parameters():
                    assert parameter.grad is not None, f"{stage.name}, {phase.name}: {key}"
                    # where only differences of logits count, the bias of them all has nothing to learn
                    deaf = "relativistic" in terms and key == last and parameter.numel() == 1
                    assert deaf or parameter.grad.any(), f"{stage.name}, {phase.name}: {key}"


@pytest.mark.parametrize(("name", "preset"), TRAINED)
def test_a_turn_moves_what_its_phase_names_and_nothing_else(name: str, preset: str) -> None:
    system, stages = stages_of(name, preset)
    for stage in (stages[0], stages[-1]):
        batch = batch_for(system, stage)
        for phase in stage.phases:
            own = {id(p) for module in phase.modules for p in module.parameters()}
            before = {key: p.detach().clone() for key, p in system.named_parameters()}
            optimizer = phase.optimizer(phase.modules)
            turn(system, phase, batch)
            optimizer.step()
            moved = {id(p) for key, p in system.named_parameters() if not torch.equal(p, before[key])}
            assert moved
            assert moved <= own


@pytest.mark.parametrize(("name", "preset"), TRAINED)
def test_the_losses_of_a_phase_need_no_turn_before_them(name: str, preset: str) -> None:
    for number, _ in enumerate(stages_of(name, preset)[1][-1].phases):
        system, stages = stages_of(name, preset)
        assert turn(system, stages[-1].phases[number], batch_for(system, stages[-1]))


@pytest.mark.parametrize(("name", "preset"), TRAINED)
def test_an_optimiser_takes_all_parameters_of_its_phase_once(name: str, preset: str) -> None:
    for stage in stages_of(name, preset)[1]:
        for phase in stage.phases:
            taken = [p for group in phase.optimizer(phase.modules).param_groups for p in group["params"]]
            assert {id(p) for p in taken} == {id(p) for module in phase.modules for p in module.parameters()}
            assert len({id(p) for p in taken}) == len(taken)


@pytest.mark.parametrize(("name", "preset"), [variant for variant in TRAINED if not competes(*variant)])
def test_small_steps_lower_the_loss_where_nothing_competes(name: str, preset: str) -> None:
    system, stages = stages_of(name, preset)
    for phase in (stage.phases[0] for stage in stages if len(stage.phases) == 1):
        optimizer = phase.optimizer(phase.modules)
        for group in optimizer.param_groups:
            group["lr"] /= 100  # full rates may overshoot before their warm-up
        batch, losses = batch_for(system, stages[0]), []
        for _ in range(3):
            losses.append(sum(loss.item() for loss in turn(system, phase, batch).values()))
            optimizer.step()
        assert all(later < earlier for earlier, later in pairwise(losses)), losses


@pytest.mark.parametrize("name", SCORED)
def test_a_system_that_scores_itself_gives_finite_means_the_same_every_time(name: str) -> None:
    system: Any = tiny(name).float().requires_grad_(False)
    batch = batch_for(system, system.stages()[-1])
    scores = system.score(batch)
    assert all(score.shape == () and score.isfinite() for score in scores.values())
    assert system.score(batch) == scores


# --- single papers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("edsr", {"scale": 5}, "scale 5"),
        ("edsr", {"scale": 1}, "scale 1"),
        ("srresnet", {"scale": 3}, "scale 3"),
        ("kernel", {"scale": 0}, "scale 0"),
        ("kernel", {"kernel": "bicubik"}, "no kernel named 'bicubik': did you mean bicubic"),
        ("srcnn", {"patch": 16}, "patch 16"),
        ("srcnn", {"middle": 4}, "side 4"),
    ],
)
def test_a_config_that_cannot_be_is_refused_in_a_sentence(name: str, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        build(name, **changes)


@pytest.mark.parametrize("middle", [1, 3, 5])
def test_srcnn_learns_from_valid_convolutions_on_luma(middle: int) -> None:
    system = tiny("srcnn", middle=middle, scale=3)
    net, low, high = system.get_submodule("generator"), image(2, 3, 11, 11), image(2, 3, 33, 33)
    x = luma(imresize(low, 3))
    for number in (1, 2, 3):
        conv = net.get_submodule(f"conv{number}")
        x = F.conv2d(x, conv.weight, conv.bias)
        x = x.relu() if number < 3 else x
    border = (33 - x.shape[-1]) // 2
    assert x.shape[-1] == 33 - 9 - middle - 5 + 3  # 21 pixels for 9-1-5, as in the paper
    target = luma(high)[..., border:-border, border:-border]
    [loss] = system.stages()[0].phases[0].losses({"low": low, "high": high}).values()
    torch.testing.assert_close(loss, (x - target).square().sum() / 2)


def test_srcnn_keeps_the_colours_of_the_bicubic_enlargement() -> None:
    given = image(1, 3, 6, 5)
    result, bicubic = upscaler("srcnn", 4).upscale(given), imresize(given, 4)
    assert not torch.allclose(luma(result), luma(bicubic))
    chroma = torch.tensor([[-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]], dtype=torch.float64)  # rgb2ycbcr
    torch.testing.assert_close(
        torch.einsum("kc,nchw->nkhw", chroma, result), torch.einsum("kc,nchw->nkhw", chroma, bicubic), atol=1e-9, rtol=0
    )


def test_srcnn_trains_its_last_layer_ten_times_slower_with_momentum() -> None:
    _, [stage] = stages_of("srcnn")
    groups = stage.phases[0].optimizer(stage.phases[0].modules).param_groups
    assert [group["lr"] for group in groups] == [1e-4, 1e-4, 1e-5]
    assert {group["momentum"] for group in groups} == {0.9}


def test_edsr_halves_its_rate_after_two_hundred_thousand_of_three_hundred_thousand_steps() -> None:
    _, [stage] = stages_of("edsr")
    assert stage.steps == 300_000
    [phase] = stage.phases
    assert [phase.schedule(step / stage.steps) for step in (0, 199_999, 200_000, 299_999)] == [1, 1, 0.5, 0.5]


def test_luma_is_that_of_the_metrics_and_can_be_replaced() -> None:
    given = image(2, 3, 4, 5)
    torch.testing.assert_close(255 * luma(given), luma_255(255 * given))
    new = image(2, 1, 4, 5)
    torch.testing.assert_close(luma(replace_luma(given, new)), new)


def set14_psnr(system: Any, scale: int, shared: Path, gray_as_color: bool = False) -> float:
    """Mean PSNR-Y on Set14, 8-bit bicubic low resolution, border = scale."""
    folder, values = shared / "data" / "set14", []
    for file in sorted((folder / "hr").glob("*.png")):
        high, low = read(file).color[None], read(folder / f"lr_x{scale}" / f"{file.stem}x{scale}.png").color[None]
        with torch.inference_mode():
            result = system.upscale((low.expand(-1, 3, -1, -1).float() / 255).contiguous(memory_format=torch.channels_last))
        channels = 3 if gray_as_color else high.shape[1]
        result = (255 * result + 0.5).floor().clamp(0, 255)[:, :channels]
        high = high[..., : result.shape[2], : result.shape[3]].expand(-1, channels, -1, -1)
        inner = (..., slice(scale, -scale), slice(scale, -scale))
        values.append(psnr(luma_255(result[inner]), luma_255(high[inner])))
    assert len(values) == 14
    return sum(values) / 14


@pytest.mark.parametrize(("scale", "published"), [(2, 30.24), (3, 27.55), (4, 26.00)])
def test_bicubic_reaches_its_row_of_the_set14_table(scale: int, published: float, shared: Path) -> None:
    assert set14_psnr(build("kernel", scale=scale), scale, shared) == pytest.approx(published, abs=0.02)


@pytest.mark.slow
def test_a_port_of_srgan_reaches_its_stated_set14_figure(shared: Path) -> None:
    path = shared / "data" / "weights" / "srgan-port" / "netG_epoch_4_100.pth"
    system = convert(unpickle(path, sniff(path)), path.name).system.to(memory_format=torch.channels_last)
    # its author scored the gray picture as colour, which is worth 0.09 dB
    assert set14_psnr(system, 4, shared, gray_as_color=True) == pytest.approx(27.69, abs=0.005)


def test_an_edsr_with_another_mean_colour_is_refused() -> None:
    layout = systems.load("edsr").system.layouts[0]
    state = {"head.0.weight": torch.zeros(8, 3, 3, 3), "tail.0.0.weight": torch.zeros(32, 8, 3, 3)}
    with pytest.raises(WeightsError, match=r"sub_mean\.bias"):
        layout.config({**state, "sub_mean.bias": torch.tensor([-1.0, -2.0, -3.0])})
