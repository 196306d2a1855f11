"""ESRGAN+: ESRGAN with residuals inside its dense blocks (Rakotonirina and Rasoanaivo, ICASSP 2020, arXiv:2001.08073).

Reference code: github.com/ncarraz/ESRGANplus (licence not stated), built on BasicSR (Apache-2.0).
Changes over ESRGAN: every second layer of a dense block is added to the one two before it, and noise varies the blocks' outputs
in training. The default is the paper's nESRGAN+ as the released code has it, with noise in proportion to the features; the
preset "plain" is its ESRGAN+, without noise, "learned-noise" the noise that the paper writes down. It starts from ESRGAN's
network after pretraining: `--init`.
Departures from the paper: no noise is drawn at inference, as in the code. What the paper adds is read as in StyleGAN, which it
follows: one noise image for all features, times a learned strength of each that begins at 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from gantool.layers.features import check_layers
from gantool.system import Batch, FolderKind, Layout, Phase, Stage, System, adam
from gantool.systems.super_resolution.esrgan import (
    HALVINGS,
    RENAMES_ORIGINAL,
    RRDBNet,
    VGGDiscriminator,
    halvings,
    initialize_small,
    original_shape,
    relative_discriminator_loss,
    weighted_losses,
)


@dataclass(frozen=True)
class Config:
    """The x4 network of the paper, with noise as in the released code."""

    scale: int = 4  # output side / input side: a power of 2
    blocks: int = 23  # residual-in-residual dense residual blocks
    channels: int = 64  # features between blocks
    growth: int = 32  # features that each convolution of a dense block adds
    unshuffle: int = 1  # pixels a side that become channels first
    noise: float = 0.1  # deviation of the noise in training, in shares of each feature; 0: none (released code)
    learned_noise: bool = False  # instead, noise of a learned strength for each feature (section 3.2)
    features: str = "vgg19"  # vgg19 or squeezenet, the frozen network that looks at images
    layers: tuple[str, ...] = ("conv5_4",)  # of it, compared by the perceptual loss: before activation
    pixel_weight: float = 1e-2  # of the absolute difference of pixels, as in ESRGAN
    perceptual_weight: float = 1.0  # of the absolute difference of features, as in ESRGAN
    adversarial_weight: float = 5e-3  # of the relativistic loss, as in ESRGAN
    discriminator_channels: int = 64  # features of the discriminator's first layer; the last have 8 times as many
    patch: int = 128  # high-resolution pixels per side of a training sample, a multiple of 32
    batch: int = 16  # samples per step
    learning_rate: float = 1e-4  # Adam of both networks
    steps: int = 500_000  # of the optimisers


PRESETS = {"plain": Config(noise=0.0), "learned-noise": Config(noise=0.0, learned_noise=True)}


class ResidualDenseBlock(nn.Module):
    """A dense block whose second and fourth features are sums with those two layers before them, then noise (fig. 2, 3)."""

    def __init__(self, channels: int, growth: int, noise: float, learned_noise: bool) -> None:
        super().__init__()
        self.noise = noise
        self.conv1x1 = nn.Conv2d(channels, growth, 1, bias=False)
        self.conv1 = nn.Conv2d(channels, growth, 3, padding=1)
        self.conv2 = nn.Conv2d(channels + growth, growth, 3, padding=1)
        self.conv3 = nn.Conv2d(channels + 2 * growth, growth, 3, padding=1)
        self.conv4 = nn.Conv2d(channels + 3 * growth, growth, 3, padding=1)
        self.conv5 = nn.Conv2d(channels + 4 * growth, channels, 3, padding=1)
        self.strength = nn.Parameter(torch.zeros(channels, 1, 1)) if learned_noise else None
        initialize_small(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, channels, H, W) for the same."""
        x1 = F.leaky_relu(self.conv1(x), 0.2)
        x2 = F.leaky_relu(self.conv2(torch.cat([x, x1], 1)), 0.2) + self.conv1x1(x)
        x3 = F.leaky_relu(self.conv3(torch.cat([x, x1, x2], 1)), 0.2)
        x4 = F.leaky_relu(self.conv4(torch.cat([x, x1, x2, x3], 1)), 0.2) + x2
        y: Tensor = x + 0.2 * self.conv5(torch.cat([x, x1, x2, x3, x4], 1))
        return self._disturbed(y) if self.training else y

    def _disturbed(self, y: Tensor) -> Tensor:
        if self.noise:
            y = y + self.noise * y * torch.randn_like(y)
        if self.strength is not None:
            y = y + self.strength * torch.randn_like(y[:, :1])
        return y


class ESRGANPlus(System):
    """Super-resolution by dense residual blocks and noise, with a relativistic discriminator."""

    folder: ClassVar[FolderKind] = "degraded"
    layouts: ClassVar[tuple[Layout, ...]] = (
        Layout(
            "official",
            ("model.0.weight", "model.1.sub.0.RDB1.conv1.0.weight", "model.1.sub.0.RDB1.conv1x1.weight"),
            lambda state: Config(*original_shape(state)),
            RENAMES_ORIGINAL,
        ),
    )
    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c = config
        check_layers(c.features, c.layers)
        self.features = c.features if c.perceptual_weight else ""
        dense = partial(ResidualDenseBlock, noise=c.noise, learned_noise=c.learned_noise)
        self.generator = RRDBNet(c.scale, c.blocks, c.channels, c.growth, c.unshuffle, dense)
        self.scale, self.multiple, self.radius = c.scale, c.unshuffle, self.generator.radius
        self.discriminator = VGGDiscriminator(c.patch, c.discriminator_channels)
        self._made: tuple[Batch, Tensor] | None = None  # within a step: what the generator made of this batch, detached

    def upscale(self, images: Tensor) -> Tensor:
        """Return (N, 3, scale H, scale W) for (N, 3, H, W), RGB in [0, 1]."""
        result: Tensor = self.generator(images)
        return result

    def stages(self) -> list[Stage]:
        """One stage: in each step the generator, then the discriminator that judges what it made."""
        c = self.config
        optimizer, schedule = adam(c.learning_rate), halvings(HALVINGS, c.steps)
        generator = Phase("generator", [self.generator], self.generator_losses, optimizer, schedule)
        discriminator = Phase("discriminator", [self.discriminator], self.discriminator_losses, optimizer, schedule)
        return [Stage("adversarial", c.steps, [generator, discriminator], c.batch, c.patch)]

    def generator_losses(self, batch: Batch) -> dict[str, Tensor]:
        """ESRGAN's weighted sum (its eq. 3)."""
        c, fake = self.config, self.generator(batch["low"])
        self._made = batch, fake.detach()
        weights = c.pixel_weight, c.perceptual_weight, c.adversarial_weight
        return weighted_losses(self, self.discriminator, fake, batch["high"], c.layers, weights)

    def discriminator_losses(self, batch: Batch) -> dict[str, Tensor]:
        """ESRGAN's relativistic average (its eq. 1), on what the generator has just made."""
        made, self._made = self._made, None
        if made is None or made[0] is not batch:
            with torch.no_grad():
                made = batch, self.generator(batch["low"])
        return {"relativistic": relative_discriminator_loss(self, self.discriminator, batch["high"], made[1])}

    def inference_modules(self) -> Mapping[str, nn.Module]:
        """Only the generator."""
        return {"generator": self.generator}
