"""SRResCycGAN: SRResCGAN, whose result must lead back to the small picture (Umer and Micheloni, ECCVW 2020, arXiv:2009.03693).

Reference code: github.com/RaoUmer/SRResCycGAN (MIT), which has the generator alone. It is SRResCGAN's, and so is the layout of
its checkpoints: they are read as those of srrescgan.
A second generator makes the small picture again from the large one, corruption and all, and a second discriminator, of patches,
tells what it makes from true small pictures.
Departures from the paper: those of SRResCGAN. The training code was never published, and what is known of the second pair
differs by source. Chosen here: the generator begins with 7x7, halves by 3x3 convolutions of stride 2, and has six residual
blocks, two more 3x3 and a linear 7x7; batch norm and leaky ReLU follow all but that, and images are in [0, 1]; the
discriminator has 5x5 kernels, 64, 128 and 256 features and then one logit a place, strides of 2 in the first two, batch norm
from the second on; both games are the relativistic average one of SRResCGAN, with equal weights; only large images are
high-passed; one optimiser each for both generators and both discriminators. Small pictures come from no other set: each is of
its large one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from gantool.errors import UsageError
from gantool.layers.features import check_layers
from gantool.schedules import halve_at
from gantool.system import Batch, FolderKind, Phase, Stage, System, adam
from gantool.systems.super_resolution import srrescgan
from gantool.systems.super_resolution.esrgan import (
    VGGDiscriminator,
    relative_discriminator_loss,
    relative_generator_loss,
)
from gantool.systems.super_resolution.srrescgan import HALVINGS, RUN, ResDNet, high_pass, mixed_up, restoration_losses


@dataclass(frozen=True)
class Config(srrescgan.Config):
    """SRResCGAN's, and the way back."""

    cycle_weight: float = 10.0  # of absolute differences of small images and what they become on the way there and back
    low_adversarial_weight: float = 1 / 255  # of the second discriminator; 1 where images are counted to 255
    low_blocks: int = 6  # residual blocks of the second generator
    low_channels: int = 64  # features of the second generator, and of the second discriminator's first layer


PRESETS = {
    "noise": Config(),
    "jpeg": Config(corruption="jpeg"),
    "unknown": Config(corruption="unknown"),
}


def _normed(c_in: int, c_out: int, side: int, stride: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(c_in, c_out, side, stride, side // 2, bias=False)
    return [conv, nn.BatchNorm2d(c_out), nn.LeakyReLU(0.2)]


class ResidualBlock(nn.Module):
    """Two normed 3x3 convolutions beside a skip."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*_normed(channels, channels, 3), *_normed(channels, channels, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, channels, H, W) for the same."""
        branch: Tensor = self.layers(x)
        return x + branch


class LowGenerator(nn.Module):
    """From large images to corrupted small ones, RGB in [0, 1]."""

    def __init__(self, scale: int, blocks: int, channels: int) -> None:
        super().__init__()
        if scale.bit_count() != 1:
            raise UsageError(f"srrescycgan has no scale {scale}, as the way back halves: use 2, 4 or 8")
        layers = _normed(3, channels, 7)
        for _ in range(scale.bit_length() - 1):
            layers += _normed(channels, channels, 3, stride=2)
        layers += [ResidualBlock(channels) for _ in range(blocks)]
        layers += [*_normed(channels, channels, 3), *_normed(channels, channels, 3), nn.Conv2d(channels, 3, 7, padding=3)]
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, 3, H / scale, W / scale), not clamped, for (N, 3, H, W)."""
        small: Tensor = self.layers(images)
        return small


class PatchDiscriminator(nn.Module):
    """Logits of places of small images (N, 3, H, W) in [0, 1]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, channels, 5, 2, 2),
            nn.LeakyReLU(0.2),
            *_normed(channels, 2 * channels, 5, stride=2),
            *_normed(2 * channels, 4 * channels, 5),
            nn.Conv2d(4 * channels, 1, 5, 1, 2),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, 1, H / 4, W / 4)."""
        logits: Tensor = self.layers(images)
        return logits


@dataclass(frozen=True)
class _Made:
    """What was made of a batch, detached, and what it should have been."""

    batch: Batch
    fake: Tensor
    high: Tensor
    back: Tensor
    low: Tensor


class SRResCycGAN(System):
    """Super-resolution of corrupted images that leads back to them."""

    folder: ClassVar[FolderKind] = "degraded"
    half_safe = False  # corrections of levels to 255 come out up to 4 levels apart
    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c = config
        check_layers(c.features, c.layers)
        self.features = c.features if c.perceptual_weight else ""
        self.scale = c.scale
        self.degradation = srrescgan.corruption(c)
        self.generator = ResDNet(c.scale, c.blocks, c.channels, c.noise_factor)
        self.low_generator = LowGenerator(c.scale, c.low_blocks, c.low_channels)
        self.discriminator = VGGDiscriminator(c.patch, c.discriminator_channels)
        self.low_discriminator = PatchDiscriminator(c.low_channels)
        self._made: _Made | None = None  # within a step, for the discriminators' turn

    def upscale(self, images: Tensor) -> Tensor:
        """Return (N, 3, scale H, scale W) for (N, 3, H, W), RGB in [0, 1]."""
        result: Tensor = self.generator(images)
        return result

    def stages(self) -> list[Stage]:
        """One stage: in each step both generators, and both discriminators on what they made."""
        c = self.config
        turn = partial(Phase, optimizer=adam(c.learning_rate), schedule=halve_at([step / RUN for step in HALVINGS]))
        generators = turn("generator", [self.generator, self.low_generator], self.generator_losses)
        discriminators = turn("discriminator", [self.discriminator, self.low_discriminator], self.discriminator_losses)
        return [Stage("adversarial", c.steps, [generators, discriminators], c.batch, c.patch)]

    def generator_losses(self, batch: Batch) -> dict[str, Tensor]:
        """The terms of SRResCGAN, the cycle, and how true the second generator's images look."""
        c = self.config
        low, high = mixed_up(batch, c.mixup)
        fake = self.generator(low)
        back = self.low_generator(fake)
        self._made = _Made(batch, fake.detach(), high, back.detach(), low)
        terms = restoration_losses(c, self.look, self.discriminator, fake, high)
        terms["cycle"] = c.cycle_weight * F.l1_loss(back, low)
        terms["adversarial-low"] = c.low_adversarial_weight * relative_generator_loss(self.low_discriminator, low, back)
        return terms

    def discriminator_losses(self, batch: Batch) -> dict[str, Tensor]:
        """Of both discriminators, on what the generators have just made."""
        made, self._made = self._made, None
        if made is None or made.batch is not batch:
            low, high = mixed_up(batch, self.config.mixup)
            with torch.no_grad():
                fake = self.generator(low)
                made = _Made(batch, fake, high, self.low_generator(fake), low)
        loss_low = relative_discriminator_loss(self, self.low_discriminator, made.low, made.back)
        self.note("accuracy-low", self.notes["accuracy"])
        loss = relative_discriminator_loss(self, self.discriminator, high_pass(made.high), high_pass(made.fake))
        return {"relativistic": loss, "relativistic-low": loss_low}

    def inference_modules(self) -> Mapping[str, nn.Module]:
        """Only the generator of large images."""
        return {"generator": self.generator}
