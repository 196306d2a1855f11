"""The adversarial games, the gradient penalty and the divergence, against their closed forms."""

from __future__ import annotations

from math import log

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from networks import image
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from gantool.losses import (
    Game,
    Relativistic,
    accuracy,
    discriminator_losses,
    divergence_from_normal,
    generator_loss,
    gradient_penalty,
    perceptual,
    relativistic_loss,
)


def maps(value: float) -> Tensor:
    return torch.full((2, 1, 3, 3), value, dtype=torch.float64)


@pytest.mark.parametrize(
    ("game", "logit", "discriminator", "generator"),
    [
        ("nonsaturating", 0.0, 2 * log(2), log(2)),
        ("minimax", 0.0, 2 * log(2), -log(2)),
        ("least-squares", 0.5, 0.5, 0.25),
        ("wasserstein", 0.5, 0.0, -0.5),
    ],
)
def test_an_undecided_discriminator_gives_the_known_values(
    game: Game, logit: float, discriminator: float, generator: float
) -> None:
    terms = discriminator_losses(game, maps(logit), maps(logit))
    assert set(terms) == {"real", "fake"}
    assert sum(terms.values()).item() == pytest.approx(discriminator, abs=1e-12)
    assert generator_loss(game, maps(logit)).item() == pytest.approx(generator, abs=1e-12)


def test_the_cross_entropy_games_are_those_of_torch() -> None:
    real, fake = 4 * image(5, 1) - 2, 3 * image(5, 1)
    ones, zeros = torch.ones_like(real), torch.zeros_like(real)
    entropy = F.binary_cross_entropy_with_logits
    for game in ("minimax", "nonsaturating"):
        terms = discriminator_losses(game, real, fake)
        torch.testing.assert_close(terms["real"], entropy(real, ones))
        torch.testing.assert_close(terms["fake"], entropy(fake, zeros))
    torch.testing.assert_close(generator_loss("nonsaturating", fake), entropy(fake, ones))
    torch.testing.assert_close(generator_loss("minimax", fake), -entropy(fake, zeros))


def test_a_certain_discriminator_leaves_a_slope_in_the_nonsaturating_game_alone() -> None:
    slopes = {}
    for game in ("minimax", "nonsaturating"):
        fake = maps(-200.0).requires_grad_()
        loss = generator_loss(game, fake)
        loss.backward()
        assert loss.isfinite()
        assert fake.grad is not None
        slopes[game] = fake.grad.sum().item()
    assert slopes == pytest.approx({"minimax": 0.0, "nonsaturating": -1.0})


def test_the_penalty_of_a_linear_critic_is_how_far_its_weights_are_from_norm_one() -> None:
    weights = (image(1, 3, 4, 4) - 0.3).requires_grad_()
    penalty = gradient_penalty(lambda x: (x * weights).sum((1, 2, 3)), image(5, 3, 4, 4), image(5, 3, 4, 4) / 2)
    torch.testing.assert_close(penalty, (weights.norm() - 1).square())
    penalty.backward()
    length = weights.detach().norm()
    torch.testing.assert_close(weights.grad, 2 * (length - 1) * weights.detach() / length)


def test_of_a_critic_that_gives_a_map_the_penalty_takes_the_sum() -> None:
    weights = image(1, 3, 4, 4)
    penalty = gradient_penalty(lambda x: x * weights, image(2, 3, 4, 4), image(2, 3, 4, 4))
    torch.testing.assert_close(penalty, (weights.norm() - 1).square())


def test_the_penalty_takes_the_norm_image_by_image() -> None:
    points = torch.stack([torch.full((1, 2, 2), 0.5), torch.full((1, 2, 2), 1.5)]).double()  # of norm 1 and 3
    penalty = gradient_penalty(lambda x: x.square().sum() / 2, points, points)  # whose gradient is the point itself
    assert penalty.item() == pytest.approx(((1 - 1) ** 2 + (3 - 1) ** 2) / 2)


def test_the_penalty_is_taken_between_the_pairs_at_one_place_for_all_pixels_of_an_image() -> None:
    seen = []

    def critic(x: Tensor) -> Tensor:
        seen.append(x.detach())
        return x

    torch.manual_seed(0)
    fake = torch.ones(50, 1, 2, 2, requires_grad=True)
    gradient_penalty(critic, torch.zeros(50, 1, 2, 2), fake)
    [between] = seen
    shares = between[:, 0, 0, 0]
    assert torch.equal(between, shares.view(-1, 1, 1, 1).expand_as(between))
    assert 0 <= shares.min() < 0.1
    assert 0.9 < shares.max() <= 1
    assert fake.grad is None


def test_the_divergence_is_known_for_shifted_codes_and_equals_that_of_torch() -> None:
    zeros = torch.zeros(3, 4, dtype=torch.float64)
    assert divergence_from_normal(zeros, zeros).item() == 0
    assert divergence_from_normal(zeros + 1, zeros).item() == 0.5 * 12
    mean, log_variance = 2 * image(3, 4) - 1, image(3, 4) - 0.5
    oracle = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(zeros, zeros + 1)).sum()
    torch.testing.assert_close(divergence_from_normal(mean, log_variance), oracle)


GOLDEN = {  # of the discriminator and the generator, for the logits below
    "rsgan": (0.806127, 0.756127),
    "rasgan": (0.753426, 0.703426),
    "ralsgan": (1.388750, 1.188750),
    "rahinge": (1.05, 0.95),
}
REAL, FAKE = torch.tensor([[1.0], [-0.5]]), torch.tensor([[0.2], [0.4]])


@pytest.mark.parametrize("game", GOLDEN)
def test_relativistic_games_give_the_known_values(game: Relativistic) -> None:
    discriminator, generator = GOLDEN[game]
    assert relativistic_loss(game, REAL, FAKE).item() == pytest.approx(discriminator, abs=1e-6)
    assert relativistic_loss(game, FAKE, REAL).item() == pytest.approx(generator, abs=1e-6)


def test_the_standard_game_gives_its_known_values() -> None:
    assert sum(discriminator_losses("nonsaturating", REAL, FAKE).values()).item() == pytest.approx(1.499246, abs=1e-6)
    assert generator_loss("nonsaturating", FAKE).item() == pytest.approx(0.555577, abs=1e-6)


@pytest.mark.parametrize("game", ["rasgan", "ralsgan", "rahinge"])
def test_a_generator_learns_from_what_the_discriminator_says_of_real_images_too(game: Relativistic) -> None:
    fake = FAKE.clone().requires_grad_()
    [whole] = torch.autograd.grad(relativistic_loss(game, fake, REAL), fake)
    own = (fake - REAL.mean()).sigmoid().log().neg().mean() / 2 if game == "rasgan" else None
    assert whole.ne(0).all()
    if own is not None:
        [half] = torch.autograd.grad(own, fake)
        assert not torch.allclose(whole, half)


def test_of_patches_the_mean_is_over_all_samples_and_places() -> None:
    maps_ = torch.rand(2, 1, 3, 3), torch.rand(2, 1, 3, 3)
    rows = tuple(each.flatten()[:, None] for each in maps_)
    torch.testing.assert_close(relativistic_loss("rasgan", *maps_), relativistic_loss("rasgan", *rows))


@pytest.mark.parametrize(("real", "fake", "share"), [(1.0, -1.0, 1.0), (1.0, 1.0, 0.5), (-1.0, 1.0, 0.0)])
def test_accuracy_is_the_share_of_right_judgements(real: float, fake: float, share: float) -> None:
    assert accuracy(maps(real), maps(fake)).item() == share


def test_a_perceptual_loss_lowers_the_distance_of_features_and_spares_the_real_ones() -> None:
    def look(images: Tensor) -> list[Tensor]:
        return [F.avg_pool2d(images, 2), images.square()]

    fake, real = image(1, 3, 4, 4).requires_grad_(), image(1, 3, 4, 4).flip(-1).requires_grad_()
    loss = perceptual(look, fake, real, (2.0, 3.0), F.mse_loss)
    pooled, squared = (F.mse_loss(a, b) for a, b in zip(look(fake), look(real), strict=True))
    torch.testing.assert_close(loss, 2 * pooled + 3 * squared)
    loss.backward()
    assert real.grad is None
    assert fake.grad is not None
    nearer = fake.detach() - 0.05 * fake.grad
    assert perceptual(look, nearer, real, (2.0, 3.0), F.mse_loss) < loss


def test_a_perceptual_loss_needs_a_weight_for_each_layer() -> None:
    with pytest.raises(ValueError, match="longer"):
        perceptual(lambda x: [x, x], image(1, 3, 4, 4), image(1, 3, 4, 4), (1.0,))
