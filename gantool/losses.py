"""Losses as pure functions of tensors: adversarial games, distances of features, the divergence of an encoder's code.

A logit is what a discriminator or critic gives before any sigmoid; it may be a map of any shape (N, ...).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

Game: TypeAlias = Literal["minimax", "nonsaturating", "least-squares", "wasserstein"]
Relativistic: TypeAlias = Literal["rsgan", "rasgan", "ralsgan", "rahinge"]


def discriminator_losses(game: Game, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
    """Return what a discriminator or critic minimises, as "real" and "fake", for its logits of real and of made images.

    minimax, nonsaturating: binary cross-entropy (Goodfellow et al. 2014, eq. 1). least-squares: distances to 1 and 0, without
    the paper's halves (Mao et al. 2017, eq. 2). wasserstein: the difference of means (Arjovsky et al. 2017, eq. 2).
    """
    if game == "least-squares":
        return {"real": (real - 1).square().mean(), "fake": fake.square().mean()}
    if game == "wasserstein":
        return {"real": -real.mean(), "fake": fake.mean()}
    return {"real": F.softplus(-real).mean(), "fake": F.softplus(fake).mean()}  # -log(sigmoid(l)) and -log(1 - sigmoid(l))


def generator_loss(game: Game, fake: Tensor) -> Tensor:
    """Return what a generator minimises, for the logits of the images that it made.

    minimax is log(1 - D), which is flat while the discriminator wins; nonsaturating is -log(D) (Goodfellow et al. 2014, 3).
    """
    if game == "minimax":
        return -F.softplus(fake).mean()
    if game == "least-squares":
        return (fake - 1).square().mean()
    if game == "wasserstein":
        return -fake.mean()
    return F.softplus(-fake).mean()


def relativistic_loss(game: Relativistic, preferred: Tensor, other: Tensor) -> Tensor:
    """Return what makes some logits larger than others: a discriminator prefers real images, a generator made ones.

    rsgan: each pair by cross-entropy. rasgan, ralsgan, rahinge: each against the mean of the others, over all samples and
    places, by cross-entropy, squares or hinge, halved as in the released codes (Jolicoeur-Martineau 2019, sections 4.1, 4.2).

    Args:
        game: which of them.
        preferred: logits (N, ...): the discriminator's of real images, the generator's of made ones.
        other: logits of the other kind, the same shape; both carry gradients unless detached.
    """
    if game == "rsgan":
        return F.softplus(other - preferred).mean()  # -log(sigmoid(preferred - other))
    above, below = preferred - other.mean(), other - preferred.mean()
    if game == "ralsgan":
        return ((above - 1).square().mean() + (below + 1).square().mean()) / 2
    if game == "rahinge":
        return (F.relu(1 - above).mean() + F.relu(1 + below).mean()) / 2
    return (F.softplus(-above).mean() + F.softplus(below).mean()) / 2


def accuracy(real: Tensor, fake: Tensor) -> Tensor:
    """Return the share of logits on their side of 0: 0.5 for a discriminator that guesses, 1 for one that is never wrong.

    Of relativistic games, pass logits less the mean of the other kind.
    """
    return ((real > 0).float().mean() + (fake < 0).float().mean()) / 2


def perceptual(
    look: Callable[[Tensor], Sequence[Tensor]],
    fake: Tensor,
    real: Tensor,
    weights: Sequence[float],
    distance: Callable[[Tensor, Tensor], Tensor] = F.l1_loss,
) -> Tensor:
    """Return the weighted sum, over layers of a frozen network, of a distance between features (Johnson et al. 2016, 3.2).

    Args:
        look: from images to their features at some layers.
        fake: made images (N, 3, H, W) in [0, 1].
        real: the true ones; their features carry no gradient.
        weights: a number for each layer.
        distance: from two tensors to a scalar.
    """
    with torch.no_grad():
        wanted = look(real)
    terms = [weight * distance(a, b) for weight, a, b in zip(weights, look(fake), wanted, strict=True)]
    return torch.stack(terms).sum()


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor) -> Tensor:
    """Return the mean square of how far the critic's gradient is from norm 1 between real and made images, not weighted.

    Gulrajani et al. 2017, eq. 3: at a random point between each pair, the norm over all pixels of an image. Of a critic that
    gives a map, the sum of the map is differentiated.

    Args:
        critic: from images (N, C, H, W) to logits (N, ...).
        real: (N, C, H, W).
        fake: the same shape; its graph is not used.
    """
    share = torch.rand(real.shape[0], 1, 1, 1, device=real.device, dtype=real.dtype)
    between = (share * real + (1 - share) * fake.detach()).requires_grad_()
    [gradient] = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    norms: Tensor = gradient.flatten(1).norm(dim=1)
    return (norms - 1).square().mean()


def divergence_from_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return the Kullback-Leibler divergence of a normal code (N, K) from the standard normal, in nats, summed over all.

    Kingma and Welling 2014, appendix B.
    """
    return -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum()
