"""EnhanceNet: textures for enlarged pictures, learnt patch by patch (Sajjadi et al., ICCV 2017, arXiv:1612.07919).

Reference code: github.com/msmsajjadi/EnhanceNet-Code (CC BY-NC-ND), which holds the trained network and no training.
The network adds to a bicubic enlargement. It learns squared error (E) or likeness in VGG19's features (P), a discriminator's
favour (A) and correlations of features in small patches (T): `losses` says which. The discriminator's turn is left out while it
judges well.
Departures from the paper: VGG19 usually has torchvision's weights; each image's features are divided by their own mean; how
well the discriminator must judge for its turn to be left out, the weight of A without T, steps and batch are chosen here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, distributed, nn

from gantool.errors import UsageError
from gantool.layers.features import check_layers
from gantool.losses import accuracy, discriminator_losses, generator_loss
from gantool.system import Batch, FolderKind, Phase, Stage, System, adam, check_choices

MEAN = (0.47614917, 0.45001204, 0.40904046)  # RGB of the training set, which the reference code subtracts
_STAGES = {"E": "pixel", "P": "perceptual", "PA": "adversarial", "PAT": "adversarial"}


@dataclass(frozen=True)
class Config:
    """ENet-PAT, for x4."""

    scale: int = 4  # output side / input side: a power of 2
    blocks: int = 10  # residual blocks (table 1)
    channels: int = 64  # features of every convolution (table 1)
    losses: str = "PAT"  # E, P, PA or PAT (table 2)
    features: str = "vgg19"  # vgg19 or squeezenet, which P and T compare images in
    pixel_weight: float = 1.0  # of E, squared error on [0, 1]
    layers: tuple[str, ...] = ("pool2", "pool5")  # of the features, for P (section 4.2.2)
    perceptual_weights: tuple[float, ...] = (2e-1, 2e-2)  # of P, for each layer
    adversarial_weight: float = 2.0  # of A
    texture_layers: tuple[str, ...] = ("relu1_1", "relu2_1", "relu3_1")  # of the features, for T (section 4.2.3)
    texture_weights: tuple[float, ...] = (3e-7, 1e-6, 1e-6)  # of T, for each layer
    texture_patch: int = 16  # positions per side of the patches whose correlations T compares (section 4.2.3)
    discriminator_channels: int = 32  # features of its first convolution; they double up to 16 times as many
    good_enough: float = 0.8  # probability that the discriminator gives the truth, above which its turn is left out
    learning_rate: float = 1e-4  # Adam
    steps: int = 1_000_000  # of the optimiser
    batch: int = 16  # samples per step
    patch: int = 128  # high-resolution pixels per side of a training sample, which the discriminator is made for


PRESETS = {
    "E": Config(losses="E"),
    "P": Config(losses="P"),
    "PA": Config(losses="PA", adversarial_weight=1.0),
    "PAT": Config(),
}


class Bicubic(nn.Module):
    """Enlargement as TensorFlow 1 does it: a = -0.75, and output pixel 0 lies on input pixel 0, not beside it.

    Beyond the border the nearest pixel goes on. With d = k / scale, output pixel k behind an input pixel weighs the four around
    it, from the one before, by the kernel at 1 + d, d, 1 - d and 2 - d.
    """

    weight: Tensor

    def __init__(self, scale: int, a: float = -0.75) -> None:
        super().__init__()
        self.scale = scale
        d = torch.arange(scale, dtype=torch.float64) / scale
        near = torch.stack([d, 1 - d], 1)
        near = (a + 2) * near**3 - (a + 3) * near**2 + 1
        far = torch.stack([1 + d, 2 - d], 1)
        far = a * far**3 - 5 * a * far**2 + 8 * a * far - 4 * a
        taps = torch.stack([far[:, 0], near[:, 0], near[:, 1], far[:, 1]], 1)  # (scale, 4)
        weight = torch.einsum("ik,jl->ijkl", taps, taps).reshape(scale**2, 1, 4, 4)
        self.register_buffer("weight", weight.to(torch.get_default_dtype()), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, C, scale H, scale W) for (N, C, H, W)."""
        planes = F.pad(images.flatten(0, 1)[:, None], (1, 2, 1, 2), "replicate")  # (N C, 1, H + 3, W + 3)
        return F.pixel_shuffle(F.conv2d(planes, self.weight), self.scale).view(*images.shape[:2], *self._large(images))

    def _large(self, images: Tensor) -> tuple[int, int]:
        return self.scale * images.shape[2], self.scale * images.shape[3]


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a skip (table 1)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, channels, H, W) for the same."""
        branch: Tensor = self.conv2(F.relu(self.conv1(x)))
        return x + branch


class EnhanceNetGenerator(nn.Module):
    """The generator (table 1): RGB in [0, 1] in and out; what it computes is added to a bicubic enlargement."""

    mean: Tensor

    def __init__(self, scale: int, blocks: int, channels: int) -> None:
        super().__init__()
        if scale < 2 or scale.bit_count() != 1:
            raise UsageError(f"enhancenet has no scale {scale}: use 2, 4 or 8")
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.bicubic = Bicubic(scale)
        self.conv_first = nn.Conv2d(3, channels, 3, padding=1)
        self.body = nn.Sequential(*(ResidualBlock(channels) for _ in range(blocks)))
        doublings = scale.bit_length() - 1
        self.upsample = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(doublings))
        self.conv_before_last = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_last = nn.Conv2d(channels, 3, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, 3, scale H, scale W) for (N, 3, H, W)."""
        x = self.body(F.relu(self.conv_first(images - self.mean)))
        for conv in self.upsample:
            x = F.relu(conv(F.interpolate(x, scale_factor=2.0)))  # nearest
        result: Tensor = self.bicubic(images) + self.conv_last(F.relu(self.conv_before_last(x)))
        return result


class Discriminator(nn.Module):
    """Five pairs of convolutions, the second of each strided, then two dense layers (supplement, table 1).

    Args:
        size: pixels per side of what is judged.
        channels: features of the first pair.
    """

    def __init__(self, size: int, channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for width in (channels * 2**level for level in range(5)):
            layers += [nn.Conv2d(before, width, 3, padding=1), nn.LeakyReLU(0.2)]
            layers += [nn.Conv2d(width, width, 3, 2, 1), nn.LeakyReLU(0.2)]
            before = width
        self.convolutions = nn.Sequential(*layers)
        inputs, hidden = before * ceil(size / 32) ** 2, 32 * channels
        self.dense = nn.Sequential(nn.Flatten(), nn.Linear(inputs, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, 1) of images (N, 3, size, size) in [-1, 1]."""
        logits: Tensor = self.dense(self.convolutions(images))
        return logits


def normalized(features: Tensor) -> Tensor:
    """Return features (N, C, H, W) that over each image have a mean of 1, or their size has (section 5.3)."""
    return features / (features.abs().mean((1, 2, 3), keepdim=True) + 1e-6)


def patch_grams(features: Tensor, side: int) -> Tensor:
    """Return the Gram matrices (patches, C, C) of square patches, side by side, of features (N, C, H, W) (section 4.2.3).

    They are sums over positions. What is left at the right and lower border is not looked at; a smaller map is one patch.
    """
    side = min(side, *features.shape[2:])
    with torch.autocast(features.device.type, enabled=False):  # float16 does not reach up to such sums
        patches = F.unfold(features.to(torch.promote_types(features.dtype, torch.float32)), side, stride=side)
        each = patches.transpose(1, 2).reshape(-1, features.shape[1], side**2)  # from (N, C side**2, patches)
        return each @ each.mT


def _distance(made: Sequence[Tensor], true: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Return the weighted sum of mean squared differences."""
    return torch.stack([w * F.mse_loss(a, b) for a, b, w in zip(made, true, weights, strict=True)]).sum()


class EnhanceNet(System):
    """Super-resolution by a residual network that learns textures."""

    folder: ClassVar[FolderKind] = "degraded"
    config: Config
    performance: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c = config
        check_choices(c, {"losses": tuple(_STAGES)})
        check_layers(c.features, c.layers)
        check_layers(c.features, c.texture_layers, "texture_layers")
        for field, layers, weights in (
            ("perceptual_weights", c.layers, c.perceptual_weights),
            ("texture_weights", c.texture_layers, c.texture_weights),
        ):
            if len(weights) != len(layers):
                raise UsageError(f"{field} has {len(weights)} numbers for {', '.join(layers)}: give one for each layer")
        if c.patch < 32:
            raise UsageError(f"patch {c.patch} is too small for networks that halve images five times: use 32 or more")
        self.features = "" if c.losses == "E" else c.features
        self.scale = c.scale
        # 3x3 convolutions on the input's grid: first and two a block; those on finer grids reach 2 pixels more at every scale
        self.radius = 1 + 2 * c.blocks + 2
        self.generator = EnhanceNetGenerator(c.scale, c.blocks, c.channels)
        judged = "A" in c.losses
        self.discriminator = Discriminator(c.patch, c.discriminator_channels) if judged else nn.Identity()
        # mean probability that the discriminator gave the truth at its last turn, of real and of made images
        self.register_buffer("performance", torch.zeros(2))
        self._made: tuple[Tensor, Tensor] | None = None  # of this step: low resolution and what was made of it, for both turns

    def upscale(self, images: Tensor) -> Tensor:
        """Return (N, 3, scale H, scale W) for (N, 3, H, W), RGB in [0, 1]."""
        result: Tensor = self.generator(images)
        return result

    def stages(self) -> list[Stage]:
        """One stage; where there is a discriminator, it takes turns with the generator."""
        c = self.config
        phases = [Phase("generator", [self.generator], self.generator_losses, adam(c.learning_rate))]
        if "A" in c.losses:
            phases.append(Phase("discriminator", [self.discriminator], self.discriminator_losses, adam(c.learning_rate)))
        return [Stage(_STAGES[c.losses], c.steps, phases, c.batch, c.patch)]

    def generator_losses(self, batch: Batch) -> dict[str, Tensor]:
        """The terms that `losses` names (table 2); the squared error is always noted."""
        c, real = self.config, batch["high"]
        fake = self.generator(batch["low"])
        self._made = batch["low"], fake.detach()
        error = F.mse_loss(fake, real)
        if c.losses == "E":
            return {"pixel": c.pixel_weight * error}
        self.note("pixel", error)
        with torch.no_grad():
            true = self._seen(real)
        made = self._seen(fake)
        terms = {"perceptual": _distance(made[0], true[0], c.perceptual_weights)}
        if "A" in c.losses:
            terms["adversarial"] = c.adversarial_weight * generator_loss("nonsaturating", self.discriminator(2 * fake - 1))
        if "T" in c.losses:
            terms["texture"] = _distance(made[1], true[1], c.texture_weights)
        return terms

    def _seen(self, images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return what P and what T compare of images: features, and Gram matrices of their patches."""
        c = self.config
        textures = c.texture_layers if "T" in c.losses else ()
        found = [normalized(features) for features in self.look(images, (*c.layers, *textures))]
        return found[: len(c.layers)], [patch_grams(features, c.texture_patch) for features in found[len(c.layers) :]]

    def discriminator_losses(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy, unless at its last turn it judged both real and made images well enough (section 4.2.4)."""
        if self._made is None or self._made[0] is not batch["low"]:
            self._made = batch["low"], self.generator(batch["low"]).detach()
        fake, self._made = self._made[1], None
        rests = bool(self.performance.min() > self.config.good_enough)
        real_logits, fake_logits = self.discriminator(2 * batch["high"] - 1), self.discriminator(2 * fake - 1)
        right = torch.stack([real_logits.sigmoid().mean(), (-fake_logits).sigmoid().mean()]).detach().float()
        if distributed.is_initialized():  # all processes must agree on whose turn it is
            distributed.all_reduce(right)
            right /= distributed.get_world_size()
        self.performance.copy_(right)
        self.note("accuracy", accuracy(real_logits, fake_logits))
        return {} if rests else discriminator_losses("nonsaturating", real_logits, fake_logits)

    def inference_modules(self) -> Mapping[str, nn.Module]:
        """Only the generator."""
        return {"generator": self.generator}
