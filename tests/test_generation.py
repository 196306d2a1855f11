"""GAN, DCGAN, cGAN and VAE: closed forms, the order of a step, priors, and the layouts of other people's checkpoints."""

from __future__ import annotations

import copy
import gzip
from collections.abc import Callable
from itertools import pairwise
from math import log, sqrt
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from networks import batch_for, build, image, presets, randomize, small, tiny
from torch import Tensor, nn

from gantool import systems
from gantool.convert import convert, unpickle
from gantool.errors import UsageError, WeightsError
from gantool.modelheader import sniff
from gantool.system import Batch
from gantool.systems.generation import cgan, dcgan, gan

ADVERSARIAL = [(name, preset) for name in ("gan", "dcgan", "cgan") for preset in presets(name)]


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# --- all of them -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "preset", "first", "second"),
    [
        ("gan", "paper", 2_503_984, 1_231_441),
        ("gan", "mlp", 1_510_032, 533_505),
        ("dcgan", "example", 3_576_704, 2_765_568),
        ("dcgan", "paper", 18_885_760, 17_232_768),
        ("cgan", "embedding", 1_169_336, 196_773),
        ("cgan", "mlp", 2_413_984, 1_224_351),
        ("vae", "mlp", 330_040, 322_784),
        ("vae", "conv", 69_076, 65_089),
    ],
)
def test_each_network_has_the_published_number_of_parameters(name: str, preset: str, first: int, second: int) -> None:
    with torch.device("meta"):
        networks = list(build(name, preset).children())
    assert [count(network) for network in networks] == [first, second]


def test_a_uniform_prior_comes_from_standard_normal_latents_by_their_distribution_function() -> None:
    shares = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
    latents = torch.special.ndtri(shares)
    torch.testing.assert_close(gan.uniform(latents, -1, 1), 2 * shares - 1)
    torch.testing.assert_close(gan.uniform(latents, 0, 1), shares)
    assert gan.uniform(latents, -sqrt(3), sqrt(3)).std().item() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(
    ("name", "preset", "first", "low", "high"),
    [
        ("gan", "paper", "layers.0", -sqrt(3), sqrt(3)),
        ("dcgan", "paper", "layers.0", -1, 1),
        ("cgan", "one-hot", "dense1", -1, 1),
        ("cgan", "mlp", "latent", 0, 1),
    ],
)
def test_generators_of_papers_with_uniform_noise_get_it(name: str, preset: str, first: str, low: float, high: float) -> None:
    system: Any = tiny(name, preset)
    seen: list[Tensor] = []
    layer = system.generator.get_submodule(first)
    layer.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].flatten(1)[:, : system.latent[0]]))
    latents = torch.randn(500, *system.latent, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    labels = torch.eye(10, dtype=torch.float64).repeat(50, 1) if system.classes else None
    system.generate(latents, labels)
    [noise] = seen
    assert low <= noise.min() < low + 0.01
    assert high - 0.01 < noise.max() <= high


@pytest.mark.parametrize(("name", "preset"), ADVERSARIAL)
def test_a_discriminator_that_gives_zero_has_the_known_losses(name: str, preset: str) -> None:
    system: Any = small(name, preset).train()
    layers = [part for part in system.discriminator.modules() if isinstance(part, (nn.Linear, nn.Conv2d))]
    [output] = [layer for layer in layers if layer.weight.shape[0] == 1]
    for value in output.requires_grad_(False).parameters():
        value.zero_()
    [stage] = system.stages()
    batch = batch_for(system, stage)
    judged, made = (phase.losses(batch) for phase in stage.phases)
    half = 0.5 if name == "gan" else 1.0
    assert {key: loss.item() for key, loss in judged.items()} == pytest.approx({"real": half * log(2), "fake": half * log(2)})
    assert made["adversarial"].item() == pytest.approx(log(2))


@pytest.mark.parametrize(("name", "preset"), ADVERSARIAL)
def test_the_discriminator_judges_real_images_then_made_ones_and_then_the_generators_without_teaching_it_first(
    name: str, preset: str
) -> None:
    system: Any = small(name, preset).train()
    seen: list[Tensor] = []
    system.discriminator.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    [stage] = system.stages()
    batch = batch_for(system, stage)
    assert [phase.name for phase in stage.phases] == ["discriminator", "generator"]
    for phase in stage.phases:
        phase.losses(batch)
    real, fake, made = seen
    assert torch.equal(real, batch["image"])
    assert not fake.requires_grad
    assert made.requires_grad
    assert torch.equal(fake, made) == (name == "dcgan")
    assert fake.shape == made.shape == real.shape


# --- GAN -------------------------------------------------------------------------------------------------------------


def test_a_maxout_unit_is_the_largest_of_its_pieces() -> None:
    layer = gan.Maxout(4, 3, 5).double()
    x = image(6, 4)
    pieces = x @ layer.linear.weight.T + layer.linear.bias
    expected = torch.stack([pieces[:, 5 * unit : 5 * unit + 5].amax(1) for unit in range(3)], 1)
    torch.testing.assert_close(layer(x), expected)


def test_gan_starts_with_uniform_weights_in_the_papers_ranges() -> None:
    system: Any = build("gan")
    for network, reach in ((system.generator, 0.05), (system.discriminator, 0.005)):
        for key, value in network.named_parameters():
            if key.endswith("bias"):
                assert not value.any()
            else:
                assert 0.95 * reach < value.abs().max() <= reach


def test_gan_learns_by_gradient_descent_whose_rate_falls_and_whose_momentum_rises() -> None:
    system = build("gan")
    [stage] = system.stages()
    for phase in stage.phases:
        assert isinstance(phase.optimizer(phase.modules), torch.optim.SGD)
        assert phase.schedule(0) == 1
        assert phase.schedule(1000 / stage.steps) == pytest.approx(1.000004**-1000)
        assert phase.momentum is not None
        assert [phase.momentum(progress) for progress in (0.0, 0.5, 1.0)] == pytest.approx([0.5, 0.6, 0.7])
    falling = gan.shrinking(1.1, 1000)
    assert falling(1) == 1e-5


def test_the_copied_recipe_of_gan_learns_by_adam() -> None:
    [stage] = build("gan", "mlp").stages()
    for phase in stage.phases:
        optimizer = phase.optimizer(phase.modules)
        assert isinstance(optimizer, torch.optim.Adam)
        assert optimizer.param_groups[0]["betas"] == (0.5, 0.999)
        assert phase.momentum is None


def test_gan_minimises_what_its_game_says() -> None:
    losses = {}
    for game in ("minimax", "nonsaturating"):
        system: Any = small("gan", game=game).eval()
        randomize(system)
        torch.manual_seed(0)
        losses[game] = system.generator_losses({"image": torch.zeros(4, 1, 16, 16)})["adversarial"]
    torch.manual_seed(0)
    logits = system.discriminator(system.generator(torch.randn(4, *system.latent)))
    torch.testing.assert_close(losses["nonsaturating"], -logits.sigmoid().log().mean())
    torch.testing.assert_close(losses["minimax"], (1 - logits.sigmoid()).log().mean())


def test_gans_discriminator_drops_a_fifth_of_its_inputs_and_half_of_its_units_and_makes_up_for_it() -> None:
    network = gan.MLPDiscriminator(8, (6,), 5, 0.2, 0.5, signed=False)
    drops = [part for part in network.layers if isinstance(part, nn.Dropout)]
    for drop, share in zip(drops, (0.2, 0.5), strict=True):
        dropped = drop(torch.ones(10_000))
        assert (dropped == 0).float().mean().item() == pytest.approx(share, abs=0.02)
        assert dropped.max().item() == pytest.approx(1 / (1 - share))


# --- DCGAN -----------------------------------------------------------------------------------------------------------


def test_dcgan_starts_from_a_narrow_normal() -> None:
    module = nn.Sequential(nn.Conv2d(64, 64, 3), nn.BatchNorm2d(5000), nn.ConvTranspose2d(64, 64, 3), nn.Linear(200, 200))
    dcgan.initialize(module)
    for layer in module:
        center, bias = (1.0 if isinstance(layer, nn.BatchNorm2d) else 0.0), layer.bias
        assert isinstance(layer.weight, Tensor)
        assert isinstance(bias, Tensor)
        assert layer.weight.mean().item() == pytest.approx(center, abs=1e-3)
        assert layer.weight.std().item() == pytest.approx(0.02, rel=0.05)
        assert not bias.any()


@pytest.mark.parametrize("size", [8, 32, 128])
@pytest.mark.parametrize("preset", ["example", "paper"])
def test_dcgan_takes_its_layers_from_the_size(size: int, preset: str) -> None:
    system: Any = small("dcgan", preset, size=size, channels=2).eval()
    made = system.generate(torch.randn(1, 6), None)
    assert made.shape == (1, 3, size, size)
    assert system.discriminator(made).shape == (1, 1)


def test_a_step_of_dcgan_makes_images_once_and_the_generator_learns_from_those_that_were_judged() -> None:
    system: Any = small("dcgan").train()
    judge, maker = copy.deepcopy(system.discriminator), copy.deepcopy(system.generator)
    [stage] = system.stages()
    batch = batch_for(system, stage)
    torch.manual_seed(5)
    expected = F.softplus(-judge(maker(torch.randn(len(batch["image"]), *system.latent)))).mean()
    expected.backward()
    torch.manual_seed(5)
    for phase in stage.phases:  # as the loop does
        system.requires_grad_(False)
        phase.modules[0].requires_grad_(True)
        terms = phase.losses(batch)
        sum(terms.values(), torch.zeros(())).backward()
    torch.testing.assert_close(terms["adversarial"], expected)
    for own, other in zip(system.generator.parameters(), maker.parameters(), strict=True):
        torch.testing.assert_close(own.grad, other.grad)
    assert system.generator.layers[1].num_batches_tracked == 1


def test_the_authors_dcgan_draws_weights_towards_zero_but_not_its_norms() -> None:
    [stage] = small("dcgan", "paper").stages()
    for phase in stage.phases:
        decayed, rest = phase.optimizer(phase.modules).param_groups
        assert (decayed["weight_decay"], rest["weight_decay"]) == (1e-5, 0.0)
        assert all(p.dim() == 4 for p in decayed["params"])
        assert all(p.dim() == 1 for p in rest["params"])


# --- cGAN ------------------------------------------------------------------------------------------------------------


def test_the_table_of_classes_is_an_embedding() -> None:
    table = cgan._table(10, 7)
    picked = torch.tensor([3, 0, 9])
    assert torch.equal(table(F.one_hot(picked, 10).float()), F.embedding(picked, table.weight.T))


@pytest.mark.parametrize("preset", presets("cgan"))
def test_both_networks_are_told_the_classes_of_the_batch(preset: str) -> None:
    system: Any = small("cgan", preset).train()
    seen: list[Tensor] = []
    for network in (system.generator, system.discriminator):
        network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[1]))
    [stage] = system.stages()
    batch = batch_for(system, stage)
    for phase in stage.phases:
        phase.losses(batch)
    assert len(seen) == 5  # made, real, made; made, judged
    assert all(torch.equal(labels, batch["label"]) for labels in seen)


@pytest.mark.parametrize("preset", presets("cgan"))
def test_the_discriminator_minds_the_class(preset: str) -> None:
    system: Any = tiny("cgan", preset)
    pictures, labels = image(3, 1, 16, 16), torch.eye(10, dtype=torch.float64)
    assert not torch.allclose(system.discriminator(pictures, labels[:3]), system.discriminator(pictures, labels[3:6]))


def test_cgan_without_labels_says_what_there_is() -> None:
    system: Any = small("cgan", classes=("cat", "dog"))
    assert system.classes == ("cat", "dog")
    with pytest.raises(UsageError, match="cat, dog"):
        system.generate(torch.randn(1, *system.latent), None)


def test_the_one_hot_recipe_keeps_its_rate_for_half_of_the_steps_and_then_lets_it_fall() -> None:
    for phase in build("cgan", "one-hot").stages()[0].phases:
        assert [phase.schedule(progress) for progress in (0.0, 0.5, 0.75)] == [1, 1, 0.5]
    for phase in build("cgan").stages()[0].phases:
        assert [phase.schedule(progress) for progress in (0.0, 0.999)] == [1, 1]


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("dcgan", {"size": 28}, "28 pixels"),
        ("dcgan", {"size": 4}, "4 pixels"),
        ("dcgan", {"prior": "norml"}, "did you mean normal"),
        ("dcgan", {"beta": 1.0}, "beta = 1.0"),
        ("gan", {"game": "wasserstein"}, "game"),
        ("gan", {"prior": "unifrom"}, "did you mean uniform"),
        ("gan", {"hidden_dropout": 1.5}, "hidden_dropout = 1.5"),
        ("cgan", {"form": "embeding"}, "did you mean embedding"),
        ("cgan", {"size": 30}, "30 pixels"),
        ("cgan", {"dropout": -0.1}, "dropout = -0.1"),
        ("vae", {"form": "con"}, "did you mean conv"),
        ("vae", {"form": "conv", "size": 30}, "30 pixels"),
    ],
)
def test_a_config_that_cannot_be_is_refused_in_a_sentence(name: str, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        build(name, **changes)


# --- VAE -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["mlp", "conv"])
def test_a_vae_of_zeros_has_the_known_bound(preset: str) -> None:
    system: Any = build("vae", preset).requires_grad_(False)
    for value in system.parameters():
        value.zero_()
    batch = {"image": image(5, 1, 28, 28).float()}
    terms = system.losses(batch)
    assert terms["reconstruction"].item() == pytest.approx(28 * 28 * log(2))
    assert terms["divergence"].item() == 0
    system.encoder.mean.bias.fill_(1)
    assert system.losses(batch)["divergence"].item() == pytest.approx(0.5 * system.latent[0])
    assert system.score(batch)["elbo"].item() == pytest.approx(-28 * 28 * log(2) - 0.5 * system.latent[0])


def test_codes_are_drawn_with_the_encoders_mean_and_deviation() -> None:
    system: Any = small("vae").requires_grad_(False)
    for value in system.encoder.parameters():
        value.zero_()
    system.encoder.mean.bias.fill_(3)
    system.encoder.log_variance.bias.fill_(log(4))
    seen: list[Tensor] = []
    system.decoder.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    torch.manual_seed(0)
    system.losses({"image": torch.rand(4000, 1, 16, 16)})
    [codes] = seen
    assert codes.mean().item() == pytest.approx(3, abs=0.05)
    assert codes.std().item() == pytest.approx(2, abs=0.05)


def test_a_vae_memorises_a_batch() -> None:
    system: Any = small("vae", units=64)
    [stage] = system.stages()
    batch = {"image": (batch_for(system, stage)["image"] > 0.5).float()}
    optimizer = torch.optim.Adam(system.parameters(), lr=1e-2)
    totals = []
    for _ in range(200):
        loss = sum(system.losses(batch).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        totals.append(loss.item())
    assert totals[-1] < 0.15 * totals[0]


# --- other people's checkpoints --------------------------------------------------------------------------------------


def foreign_dcgan(name: str, size: int, latent: int, width: int, channels: int) -> nn.Module:
    """The generator of the PyTorch example ("main") or of huggan ("model")."""
    layers: list[nn.Module] = []
    before = latent
    for after in [width << i for i in reversed(range(size.bit_length() - 3))]:
        first = before == latent and not layers
        layers += [nn.ConvTranspose2d(before, after, 4, 1 if first else 2, 0 if first else 1, bias=False)]
        layers += [nn.BatchNorm2d(after), nn.ReLU(True)]
        before = after
    layers += [nn.ConvTranspose2d(before, channels, 4, 2, 1, bias=False), nn.Tanh()]
    return nn.Sequential() if not name else nn.ModuleDict({name: nn.Sequential(*layers)})


def zoo_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The example's tensors under the names of the GAN zoo."""
    last = max(int(key.split(".")[1]) for key in state)
    named = {}
    for key, value in state.items():
        number, rest = int(key.split(".")[1]), key.split(".", 2)[2]
        kind = "outlayer" if number == last else f"{('convTranspose', 'batchNorm')[number % 3]}{number // 3}"
        named["formatLayer.weight" if number == 0 else f"main.{kind}.{rest}"] = value
    return named


@pytest.mark.parametrize(
    ("layout", "name", "size", "renamed"),
    [
        ("example", "main", 64, dict),
        ("example", "main", 16, lambda state: {f"module.{key}": state[key] for key in sorted(state)}),
        ("huggan", "model", 64, lambda state: {key: state[key] for key in sorted(state)}),
        ("GAN zoo", "main", 64, zoo_state),
        ("GAN zoo", "main", 32, lambda state: dict(sorted(zoo_state(state).items()))),
    ],
)
def test_a_foreign_dcgan_is_recognised_and_computes_the_same(
    layout: str, name: str, size: int, renamed: Callable[[dict[str, Tensor]], dict[str, Tensor]]
) -> None:
    torch.manual_seed(0)
    theirs = foreign_dcgan(name, size, latent=9, width=4, channels=1).eval().requires_grad_(False)
    dcgan.initialize(theirs)
    for part in theirs.modules():
        if isinstance(part, nn.BatchNorm2d):
            assert part.running_mean is not None
            assert part.running_var is not None
            part.running_mean.normal_(0, 0.01)
            part.running_var.uniform_(0.001, 0.002)
    converted = convert(renamed(theirs.state_dict()), "file.pth")
    system: Any = converted.system
    assert (systems.name_of(system), converted.layout) == ("dcgan", layout)
    found = system.config
    assert (found.size, found.latent, found.channels, found.image_channels, found.kernel) == (size, 9, 4, 1, 4)
    latents = torch.randn(3, 9)
    network = theirs.get_submodule(name)
    torch.testing.assert_close(system.generate(latents, None), (network(latents[:, :, None, None]) + 1) / 2)


def test_a_foreign_dcgan_with_a_tensor_missing_or_added_is_refused() -> None:
    state = foreign_dcgan("main", 16, 9, 4, 1).state_dict()
    for broken in ({k: v for k, v in state.items() if k != "main.4.bias"}, state | {"main.9.weight": torch.zeros(3)}):
        with pytest.raises(WeightsError, match=r"^file\.pth "):
            convert(broken, "file.pth")


def test_a_discriminator_of_dcgan_is_no_dcgan() -> None:
    state = {f"main.{key}": value for key, value in dcgan.DCGANDiscriminator(64, 3, 4, 4).layers.state_dict().items()}
    with pytest.raises(WeightsError, match=r"^file\.pth "):
        convert(state, "file.pth")


@pytest.mark.parametrize(("size", "channels"), [(28, 1), (12, 3)])
def test_a_vae_of_the_example_computes_the_same(size: int, channels: int) -> None:
    torch.manual_seed(0)
    pixels = channels * size**2
    layers = {"fc1": (pixels, 30), "fc21": (30, 7), "fc22": (30, 7), "fc3": (7, 30), "fc4": (30, pixels)}
    theirs = nn.ModuleDict({name: nn.Linear(*sides) for name, sides in layers.items()}).requires_grad_(False)
    system: Any = convert(theirs.state_dict(), "file.pth").system
    latents = torch.randn(3, 7)
    expected = theirs["fc4"](theirs["fc3"](latents).relu()).sigmoid().view(3, channels, size, size)
    torch.testing.assert_close(system.generate(latents, None), expected)
    pictures = torch.rand(2, channels, size, size)
    hidden = theirs["fc1"](pictures.flatten(1)).relu()
    mean, log_variance = system.encoder(pictures)
    torch.testing.assert_close(mean, theirs["fc21"](hidden))
    torch.testing.assert_close(log_variance, theirs["fc22"](hidden))


@pytest.mark.parametrize("widths", [(20, 30), (20, 30, 40, 50, 60, 70)])
def test_a_generator_of_the_tutorial_computes_the_same(widths: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for before, after in pairwise((9, *widths, 2)):
        layers += [nn.Linear(before, after if after != 2 else 64), nn.ReLU()]
    theirs = nn.Sequential(*layers[:-1], nn.Tanh()).requires_grad_(False)
    state = theirs.state_dict()
    system: Any = convert({key: state[key] for key in sorted(state)}, "file.pth").system
    assert system.config.hidden == widths
    latents = torch.randn(3, 9)
    torch.testing.assert_close(system.generate(latents, None), (theirs(latents).view(3, 1, 8, 8) + 1) / 2)


def shared_system(shared: Path, name: str) -> Any:
    path = shared / "data" / "weights" / "mnist" / name
    converted = convert(unpickle(path, sniff(path)), path.name)
    assert not converted.dropped
    return converted.system


def digits(shared: Path) -> Batch:
    """A thousand digits that neither checkpoint was trained on."""
    data = gzip.decompress(next((shared / "data" / "mnist").rglob("t10k-images*.gz")).read_bytes())
    pixels = torch.frombuffer(bytearray(data[16 : 16 + 784_000]), dtype=torch.uint8)
    return {"image": pixels.view(1000, 1, 28, 28) / 255}


def test_the_mlp_gan_of_digits_loads_and_draws_strokes_as_bright_as_digits(shared: Path) -> None:
    system = shared_system(shared, "mnist_gan_mlp/weights/G--300.ckpt")
    assert count(system.generator) == 283_920
    torch.manual_seed(0)
    made = system.generate(torch.randn(500, *system.latent), None)
    assert made.mean().item() == pytest.approx(digits(shared)["image"].mean().item(), abs=0.02)
    assert ((made < 0.05) | (made > 0.95)).float().mean() > 0.85  # ink or paper


def test_the_vae_of_digits_loads_and_scores_digits_as_its_kind_does(shared: Path) -> None:
    system = shared_system(shared, "mnist_vae/weights/vae_epoch_25.pth")
    assert count(system) == 652_824
    with torch.no_grad():
        elbo = system.score(digits(shared))["elbo"].item()
    assert -107 < elbo < -95
