"""SRGAN: SRResNet, told by VGG features and a judge what looks natural (Ledig et al., CVPR 2017, arXiv:1609.04802).

Reference code: none by the authors; what ports publish are generators, which are srresnet here and serve as `--init`.
First the generator learns squared error, as SRResNet; then its images are compared in the features of a network that classifies
images, and a discriminator tells them from photographs. Presets are the paper's variants by what is compared: "vgg54", which
is SRGAN, "vgg22", "mse", and "srresnet-vgg22", which is not judged and has a total variation term instead.
SqueezeNet's features are large (at fire5 a bicubic enlargement is off by squares near 1000): with them a perceptual_weight near
1e-5 gives a term near 0.01.
Departures from the paper: VGG19 usually has torchvision's weights, whose features are of another size than those of the Caffe
weights that the factor 1/12.75 was chosen for; differences of features are averaged over channels too, and total variation over
all values, where the sums are not known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import ClassVar

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from gantool.errors import UsageError
from gantool.layers.features import check_layers
from gantool.losses import accuracy, discriminator_losses, generator_loss, perceptual
from gantool.system import Batch, FolderKind, Phase, Stage, System, adam
from gantool.systems.super_resolution.srresnet import SRResNetGenerator, pretraining


@dataclass(frozen=True)
class Config:
    """SRGAN-VGG54, for x4."""

    scale: int = 4  # output side / input side: a power of 2
    blocks: int = 16  # B, residual blocks of the generator (section 3.2)
    channels: int = 64  # features of every block (fig. 4)
    signed: bool = True  # the generator gives [-1, 1] (section 3.2); False to start from a port of SRResNet that gives [0, 1]
    features: str = "vgg19"  # vgg19 or squeezenet, which images are compared in
    layers: tuple[str, ...] = ("relu5_4",)  # of it, each with the same weight; phi 5,4 of the paper, phi 2,2 is relu2_2
    perceptual_weight: float = 1 / 12.75**2  # of squared differences, about 0.006: features are scaled by 1/12.75 (section 3.2)
    pixel_weight: float = 0.0  # of squared error on images in [-1, 1] (eq. 4), the content of SRGAN-MSE
    adversarial_weight: float = 1e-3  # eq. 3; at 0 nothing is judged
    variation_weight: float = 0.0  # of total variation of images in [-1, 1]; 2e-8 for SRResNet-VGG22
    discriminator_channels: int = 64  # features of its first convolution; they double up to 8 times as many (fig. 4)
    pretrain_rate: float = 1e-4  # Adam (section 3.2)
    pretrain_steps: int = 1_000_000  # on squared error alone (section 3.2)
    learning_rate: float = 1e-4  # Adam, a tenth of it in the second half (section 3.2)
    steps: int = 200_000  # of both networks (section 3.2)
    batch: int = 16  # samples per step (section 3.2)
    patch: int = 96  # high-resolution pixels per side of a training sample, which the discriminator is made for (section 3.2)


PRESETS = {
    "vgg54": Config(),
    "vgg22": Config(layers=("relu2_2",)),
    "mse": Config(perceptual_weight=0.0, pixel_weight=1.0),
    "srresnet-vgg22": Config(layers=("relu2_2",), adversarial_weight=0.0, variation_weight=2e-8, steps=1_000_000),
}


class Discriminator(nn.Module):
    """Eight convolutions, every other one strided, then two dense layers (fig. 4); logits of images in [-1, 1].

    Args:
        size: pixels per side of what is judged.
        channels: features of the first convolution.
    """

    def __init__(self, size: int, channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, channels, 3, padding=1), nn.LeakyReLU(0.2)]
        before = channels
        for number in range(1, 8):
            width = channels * 2 ** (number // 2)
            layers += [nn.Conv2d(before, width, 3, 1 + number % 2, 1, bias=False), nn.BatchNorm2d(width), nn.LeakyReLU(0.2)]
            before = width
        side = ceil(size / 16)
        self.convolutions = nn.Sequential(*layers)
        self.dense = nn.Sequential(
            nn.Flatten(), nn.Linear(before * side**2, 16 * channels), nn.LeakyReLU(0.2), nn.Linear(16 * channels, 1)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, 1) of images (N, 3, size, size) in [-1, 1]."""
        logits: Tensor = self.dense(self.convolutions(images))
        return logits


def total_variation(images: Tensor) -> Tensor:
    """Return the mean absolute difference of vertical neighbours plus that of horizontal ones, of images (N, C, H, W)."""
    return images.diff(dim=2).abs().mean() + images.diff(dim=3).abs().mean()


def _tenth(progress: float) -> float:
    return 1.0 if progress < 0.5 else 0.1


class SRGAN(System):
    """Super-resolution by residual blocks, features of a classifier, and a discriminator."""

    folder: ClassVar[FolderKind] = "degraded"
    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c = config
        check_layers(c.features, c.layers)
        if c.patch < 16:
            raise UsageError(f"patch {c.patch} is too small for networks that halve images four times: use 16 or more")
        self.features = c.features if c.perceptual_weight else ""
        self.scale = c.scale
        self.radius = 4 + 2 * c.blocks + 1 + 3  # as SRResNet's
        self.generator = SRResNetGenerator(
            scale=c.scale,
            blocks=c.blocks,
            channels=c.channels,
            bias=False,
            slopes=False,
            norm_after_body=True,
            tanh=False,
            signed=c.signed,
        )
        judged = bool(c.adversarial_weight)
        self.discriminator = Discriminator(c.patch, c.discriminator_channels) if judged else nn.Identity()
        self._made: tuple[Tensor, Tensor] | None = None  # of this step: low resolution and what was made of it, for both turns

    def upscale(self, images: Tensor) -> Tensor:
        """Return (N, 3, scale H, scale W) for (N, 3, H, W), RGB in [0, 1]."""
        result: Tensor = self.generator(images)
        return result

    def stages(self) -> list[Stage]:
        """SRResNet's stage, then the generator and the discriminator in turns; what is not judged learns in one stage."""
        c = self.config
        if not c.adversarial_weight:
            phase = Phase("generator", [self.generator], self.generator_losses, adam(c.learning_rate))
            return [Stage("perceptual", c.steps, [phase], c.batch, c.patch)]
        phases = [
            Phase("generator", [self.generator], self.generator_losses, adam(c.learning_rate), _tenth),
            Phase("discriminator", [self.discriminator], self.discriminator_losses, adam(c.learning_rate), _tenth),
        ]
        return [
            pretraining(self.generator, c.pretrain_rate, c.pretrain_steps, c.batch, c.patch),
            Stage("adversarial", c.steps, phases, c.batch, c.patch),
        ]

    def generator_losses(self, batch: Batch) -> dict[str, Tensor]:
        """Equations 3 to 6, as far as their weights are not 0; the squared error is always noted."""
        c, real = self.config, batch["high"]
        fake = self.generator(batch["low"])
        self._made = batch["low"], fake.detach()
        error = F.mse_loss(2 * fake - 1, 2 * real - 1)
        terms: dict[str, Tensor] = {}
        if c.pixel_weight:
            terms["pixel"] = c.pixel_weight * error
        else:
            self.note("pixel", error)
        if c.perceptual_weight:
            weights = [c.perceptual_weight] * len(c.layers)
            terms["perceptual"] = perceptual(lambda images: self.look(images, c.layers), fake, real, weights, F.mse_loss)
        if c.adversarial_weight:
            terms["adversarial"] = c.adversarial_weight * generator_loss("nonsaturating", self.discriminator(2 * fake - 1))
        if c.variation_weight:
            terms["variation"] = c.variation_weight * total_variation(2 * fake - 1)
        return terms

    def discriminator_losses(self, batch: Batch) -> dict[str, Tensor]:
        """Equation 2, on what the generator made in its turn, or makes now if that was of another batch."""
        if self._made is None or self._made[0] is not batch["low"]:
            self._made = batch["low"], self.generator(batch["low"]).detach()
        fake, self._made = self._made[1], None
        # real and made images apart, so that batch norm takes each kind's own statistics
        real_logits, fake_logits = self.discriminator(2 * batch["high"] - 1), self.discriminator(2 * fake - 1)
        self.note("accuracy", accuracy(real_logits, fake_logits))
        return discriminator_losses("nonsaturating", real_logits, fake_logits)

    def inference_modules(self) -> Mapping[str, nn.Module]:
        """Only the generator."""
        return {"generator": self.generator}
