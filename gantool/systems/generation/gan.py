"""GAN: two fully connected networks that compete, the first of their kind (Goodfellow et al., NIPS 2014, arXiv:1406.2661).

Reference code: github.com/goodfeli/adversarial (BSD-3-Clause).
A generator makes images from noise, a discriminator with maxout units tells them from real ones. The default is the recipe
for digits of the authors' code; the preset "mlp" is the one that later tutorials copied: deeper, with batch norm and Adam. The
layout of github.com/yunjey/pytorch-tutorial (MIT) is read.
Departures from the paper: the biases before the output start at 0, where the code takes the logits of the data's mean picture;
training ends with the rise of the momentum, where the code watches an estimate of the likelihood. In the "mlp" recipe batch
norm has its usual epsilon, where the copied code gives it 0.8 by mistake for the momentum.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from gantool.errors import UsageError
from gantool.losses import Game, discriminator_losses, generator_loss
from gantool.system import Batch, FolderKind, Layout, Phase, Stage, System, adam, check_choices


@dataclass(frozen=True)
class Config:
    """The authors' recipe for MNIST (their mnist.yaml)."""

    size: int = 28  # pixels per side of an image
    image_channels: int = 1  # 1 gray, 3 RGB
    latent: int = 100  # numbers in a latent
    hidden: tuple[int, ...] = (1200, 1200)  # units of the generator's hidden layers
    leaky: bool = False  # generator's units: leaky ReLU (0.2), else ReLU
    norm: bool = False  # batch norm in the generator's hidden layers, save the first
    tanh: bool = False  # images are [-1, 1] inside and the generator ends in tanh, else [0, 1] and sigmoid
    prior: str = "uniform"  # of a latent's numbers, of variance 1: uniform, normal
    judge_hidden: tuple[int, ...] = (240, 240)  # units of the discriminator's hidden layers
    pieces: int = 5  # linear pieces of each of its maxout units; 1: leaky ReLU (0.2) instead
    input_dropout: float = 0.2  # share of its inputs that are dropped in training
    hidden_dropout: float = 0.5  # share of its hidden units
    range_generator: float = 0.05  # weights start uniform in +- this; 0: as torch starts them
    range_discriminator: float = 0.005  # likewise
    game: str = "nonsaturating"  # what the generator minimises: -log D, or minimax: log(1 - D) (eq. 1, section 3)
    momentum: bool = True  # SGD with momentum from 0.5 to 0.7 and a falling rate, else Adam with betas (0.5, 0.999)
    learning_rate: float = 0.1  # at the start
    steps: int = 125_000  # 250 epochs of 50,000 digits
    batch: int = 100  # images per step


PRESETS = {
    "paper": Config(),
    "mlp": Config(
        hidden=(128, 256, 512, 1024),
        leaky=True,
        norm=True,
        tanh=True,
        prior="normal",
        judge_hidden=(512, 256),
        pieces=1,
        input_dropout=0.0,
        hidden_dropout=0.0,
        range_generator=0.0,
        range_discriminator=0.0,
        momentum=False,
        learning_rate=2e-4,
        steps=187_500,  # 200 epochs of 60,000 digits
        batch=64,
    ),
}


def uniform(latents: Tensor, low: float, high: float) -> Tensor:
    """Return numbers that are uniform between `low` and `high`, by the normal's distribution function from standard normal."""
    return low + (high - low) * (1 + torch.erf(latents / sqrt(2))) / 2


class Maxout(nn.Module):
    """Units that are the largest of several linear pieces (Goodfellow et al. 2013)."""

    def __init__(self, c_in: int, c_out: int, pieces: int) -> None:
        super().__init__()
        self.pieces = pieces
        self.linear = nn.Linear(c_in, c_out * pieces)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, c_out) for (N, c_in)."""
        pieces: Tensor = self.linear(x)
        return pieces.reshape(x.shape[0], -1, self.pieces).amax(2)


class MLPGenerator(nn.Module):
    """Fully connected layers from a latent to an image in [0, 1]; a tanh's [-1, 1] is converted here."""

    def __init__(
        self, latent: int, hidden: Sequence[int], shape: tuple[int, int, int], leaky: bool, norm: bool, tanh: bool, prior: str
    ) -> None:
        super().__init__()
        self.shape, self.tanh, self.prior = shape, tanh, prior
        layers: list[nn.Module] = []
        for number, (c_in, c_out) in enumerate(pairwise((latent, *hidden))):
            layers.append(nn.Linear(c_in, c_out))
            if norm and number > 0:
                layers.append(nn.BatchNorm1d(c_out))
            layers.append(nn.LeakyReLU(0.2) if leaky else nn.ReLU())
        self.layers = nn.Sequential(*layers, nn.Linear((latent, *hidden)[-1], shape[0] * shape[1] * shape[2]))

    def forward(self, latents: Tensor) -> Tensor:
        """Return (N, *shape) for standard normal (N, latent)."""
        noise = uniform(latents, -sqrt(3), sqrt(3)) if self.prior == "uniform" else latents
        flat: Tensor = self.layers(noise)
        return ((flat.tanh() + 1) / 2 if self.tanh else flat.sigmoid()).reshape(-1, *self.shape)


class MLPDiscriminator(nn.Module):
    """Fully connected layers from an image in [0, 1] to a logit; `signed` ones look at it in [-1, 1]."""

    def __init__(
        self, inputs: int, hidden: Sequence[int], pieces: int, input_dropout: float, hidden_dropout: float, signed: bool
    ) -> None:
        super().__init__()
        self.signed = signed
        layers: list[nn.Module] = [nn.Dropout(input_dropout)]
        for c_in, c_out in pairwise((inputs, *hidden)):
            layers += [Maxout(c_in, c_out, pieces)] if pieces > 1 else [nn.Linear(c_in, c_out), nn.LeakyReLU(0.2)]
            layers.append(nn.Dropout(hidden_dropout))
        self.layers = nn.Sequential(*layers, nn.Linear((inputs, *hidden)[-1], 1))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, 1) for images (N, C, H, W)."""
        logits: Tensor = self.layers((2 * images - 1 if self.signed else images).flatten(1))
        return logits


def check_share(field: str, value: float) -> None:
    """Check that a field of a configuration is a share of something that leaves some of it.

    Raises:
        UsageError: it is not.
    """
    if not 0 <= value < 1:
        raise UsageError(f"{field} = {value}: it must be 0 or more, and less than 1")


def start_uniform(module: nn.Module, reach: float) -> None:
    """Draw all weights of linear layers uniformly in +- `reach` and set their biases to 0."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.uniform_(layer.weight, -reach, reach)
            nn.init.zeros_(layer.bias)


def sgd(rate: float) -> Callable[[Sequence[nn.Module]], Optimizer]:
    """Return a maker of gradient descent with momentum, which a phase's `momentum` sets."""
    return lambda modules: SGD([p for module in modules for p in module.parameters()], lr=rate, momentum=0.5)


def shrinking(divisor: float, steps: int) -> Callable[[float], float]:
    """Return the factor on the rate when each of `steps` steps divides it by `divisor`, down from 0.1 to 1e-6 at the most."""
    return lambda progress: max(divisor ** -(progress * steps), 1e-5)


def rising_momentum(progress: float) -> float:
    """Return a momentum that rises from 0.5 to 0.7 in a straight line."""
    return 0.5 + 0.2 * progress


def _detect_tutorial(state: Mapping[str, Tensor]) -> Config:
    """Read the widths; the file does not tell that the network ends in tanh, has plain ReLU and normal latents."""
    keys = sorted(state, key=lambda key: int(key.partition(".")[0]))
    weights = [state[key] for key in keys if key.endswith(".weight")]
    size = round(sqrt(weights[-1].shape[0]))
    return Config(
        size=size,
        image_channels=weights[-1].shape[0] // size**2,
        latent=weights[0].shape[1],
        hidden=tuple(weight.shape[0] for weight in weights[:-1]),
        tanh=True,
        prior="normal",
    )


class GAN(System):
    """Images from noise by fully connected networks."""

    folder: ClassVar[FolderKind] = "plain"
    layouts: ClassVar[tuple[Layout, ...]] = (
        Layout(
            "pytorch-tutorial",
            ("0.weight", "2.weight", "4.weight"),
            _detect_tutorial,
            ((r"^", "generator.layers."),),
            without=("1.weight", "3.weight", "5.weight"),
        ),
    )
    config: Config
    classes: tuple[str, ...] = ()
    truncates: bool = True

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c = config
        check_choices(c, {"game": ("minimax", "nonsaturating"), "prior": ("uniform", "normal")})
        check_share("input_dropout", c.input_dropout)
        check_share("hidden_dropout", c.hidden_dropout)
        self.latent = (c.latent,)
        self.image_channels = c.image_channels
        self.game = cast("Game", c.game)
        self.behaviour = "batch norm by the statistics of training" if c.norm else ""
        shape = (c.image_channels, c.size, c.size)
        self.generator = MLPGenerator(c.latent, c.hidden, shape, c.leaky, c.norm, c.tanh, c.prior)
        self.discriminator = MLPDiscriminator(
            c.image_channels * c.size**2, c.judge_hidden, c.pieces, c.input_dropout, c.hidden_dropout, signed=c.tanh
        )
        for network, reach in ((self.generator, c.range_generator), (self.discriminator, c.range_discriminator)):
            if reach > 0:
                start_uniform(network, reach)

    def stages(self) -> list[Stage]:
        """One stage; in each step the discriminator first, then the generator with new noise (algorithm 1 with k = 1)."""
        c = self.config
        schedule = shrinking(1.000004, c.steps)
        phases = [
            Phase(name, [module], losses, sgd(c.learning_rate), schedule, rising_momentum)
            if c.momentum
            else Phase(name, [module], losses, adam(c.learning_rate, (0.5, 0.999)))
            for name, module, losses in (
                ("discriminator", self.discriminator, self.discriminator_losses),
                ("generator", self.generator, self.generator_losses),
            )
        ]
        return [Stage("adversarial", c.steps, phases, c.batch, c.size)]

    def discriminator_losses(self, batch: Batch) -> dict[str, Tensor]:
        """Half the cross-entropy of real and made images, as the code weighs it (eq. 1)."""
        real = batch["image"]
        with torch.no_grad():
            fake = self._fake(real)
        logits_real, logits_fake = self.discriminator(real), self.discriminator(fake)
        return {name: loss / 2 for name, loss in discriminator_losses(self.game, logits_real, logits_fake).items()}

    def generator_losses(self, batch: Batch) -> dict[str, Tensor]:
        """The generator's side of the chosen game."""
        return {"adversarial": generator_loss(self.game, self.discriminator(self._fake(batch["image"])))}

    def _fake(self, real: Tensor) -> Tensor:
        """Return as many new images as there are real ones."""
        fake: Tensor = self.generator(torch.randn(real.shape[0], *self.latent, device=real.device, dtype=real.dtype))
        return fake

    def generate(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        """Return images (N, C, H, W) in [0, 1] for standard normal latents (N, latent); there are no labels."""
        images: Tensor = self.generator(latents)
        return images

    def inference_modules(self) -> Mapping[str, nn.Module]:
        """Only the generator."""
        return {"generator": self.generator}
