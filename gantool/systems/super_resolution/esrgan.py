"""ESRGAN: sharp textures by a deeper generator and a relative judge (Wang et al., ECCVW 2018, arXiv:1809.00219).

Reference code: github.com/xinntao/ESRGAN and github.com/XPixelGroup/BasicSR (Apache-2.0).
Changes over SRGAN: dense blocks inside residual ones and no batch norm in the generator, a discriminator that says which of two
is the more real, features compared before their activation. The preset "basicsr" is the later code's recipe, "small" the
network of 16 blocks that the paper trains too. Checkpoints of Real-ESRGAN, BSRGAN and many others are this network.
Departures from the paper: none known. It leaves the pretraining's length and the rates' betas to the code; BasicSR's cosines
end at 1e-7, here at 0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import isqrt
from typing import ClassVar, TypeAlias

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from gantool.errors import UsageError
from gantool.layers.features import check_layers
from gantool.losses import accuracy, perceptual, relativistic_loss
from gantool.schedules import cosine, halve_at
from gantool.system import Batch, FolderKind, Layout, Phase, Stage, System, adam, check_choices, count_children

HALVINGS = (50_000, 100_000, 200_000, 300_000)  # steps of the adversarial stage after which the rate is halved (section 4.1)


@dataclass(frozen=True)
class Config:
    """The x4 network of the paper, with 23 blocks."""

    scale: int = 4  # output side / input side: a power of 2
    blocks: int = 23  # residual-in-residual dense blocks (section 4.1)
    channels: int = 64  # features between blocks
    growth: int = 32  # features that each convolution of a dense block adds
    unshuffle: int = 1  # pixels a side that become channels first: 2 in Real-ESRGAN's x2, 4 in its x1
    features: str = "vgg19"  # vgg19 or squeezenet, the frozen network that looks at images
    layers: tuple[str, ...] = ("conv5_4",)  # of it, compared by the perceptual loss: before activation (section 3.3)
    pixel_weight: float = 1e-2  # eta (eq. 3)
    perceptual_weight: float = 1.0  # of the absolute difference of features (eq. 3)
    adversarial_weight: float = 5e-3  # lambda (eq. 3)
    discriminator_channels: int = 64  # features of the discriminator's first layer; the last have 8 times as many
    patch: int = 128  # high-resolution pixels per side of a training sample, a multiple of 32 (section 4.1)
    batch: int = 16  # samples per step (section 4.1)
    pretrain_rate: float = 2e-4  # Adam, with absolute error alone (section 4.1)
    pretrain_schedule: str = "halving"  # halving every 200,000 steps, or cosine: four falls to 0, as in BasicSR
    pretrain_steps: int = 1_000_000  # of that stage
    learning_rate: float = 1e-4  # Adam of both networks (section 4.1)
    beta2: float = 0.999  # Adam's decay of squares; 0.99 in BasicSR
    steps: int = 400_000  # of the adversarial stage


PRESETS = {"basicsr": Config(pretrain_schedule="cosine", beta2=0.99), "small": Config(blocks=16)}


class DenseBlock(nn.Module):
    """Five 3x3 convolutions, each on all that came before it, beside a skip (fig. 4)."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        widths = [channels + number * growth for number in range(4)]
        self.conv1, self.conv2, self.conv3, self.conv4 = (nn.Conv2d(width, growth, 3, padding=1) for width in widths)
        self.conv5 = nn.Conv2d(channels + 4 * growth, channels, 3, padding=1)
        initialize_small(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, channels, H, W) for the same."""
        features = [x]
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            features.append(F.leaky_relu(conv(torch.cat(features, 1)), 0.2))
        branch: Tensor = self.conv5(torch.cat(features, 1))
        return x + 0.2 * branch


def initialize_small(block: nn.Module) -> None:
    """Draw a block's convolutions at a tenth of Kaiming's deviation, so that deep stacks begin near the identity (3.1)."""
    for module in block.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
            module.weight.data.mul_(0.1)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


Dense: TypeAlias = Callable[[int, int], nn.Module]  # makes a dense block from channels and growth


class RRDB(nn.Module):
    """Three dense blocks beside a skip (fig. 4)."""

    def __init__(self, channels: int, growth: int, dense: Dense) -> None:
        super().__init__()
        self.rdb1, self.rdb2, self.rdb3 = (dense(channels, growth) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, channels, H, W) for the same."""
        branch: Tensor = self.rdb3(self.rdb2(self.rdb1(x)))
        return x + 0.2 * branch


class RRDBNet(nn.Module):
    """The generator (fig. 3, 4): RGB in [0, 1] in and out.

    Args:
        scale: output side / input side.
        blocks: number of residual-in-residual dense blocks.
        channels: features between blocks.
        growth: features that each convolution of a dense block adds.
        unshuffle: pixels a side that become channels before the first layer; both sides must be multiples of it.
        dense: makes the dense blocks.

    Raises:
        UsageError: the network cannot have this scale.
    """

    def __init__(
        self, scale: int, blocks: int, channels: int, growth: int, unshuffle: int = 1, dense: Dense = DenseBlock
    ) -> None:
        super().__init__()
        if min(scale, unshuffle) < 1 or (scale * unshuffle).bit_count() != 1:
            said = f"scale {scale}" if unshuffle == 1 else f"scale {scale} after unshuffling by {unshuffle}"
            raise UsageError(f"a network of dense blocks has no {said}: use powers of 2, such as 2 or 4")
        self.unshuffle = unshuffle
        self.conv_first = nn.Conv2d(3 * unshuffle**2, channels, 3, padding=1)
        self.body = nn.Sequential(*(RRDB(channels, growth, dense) for _ in range(blocks)))
        self.conv_body = nn.Conv2d(channels, channels, 3, padding=1)
        doublings = (scale * unshuffle).bit_length() - 1
        self.upsample = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(doublings))
        self.conv_high = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_last = nn.Conv2d(channels, 3, 3, padding=1)

    @property
    def radius(self) -> int:
        """How far, in input pixels, an output pixel sees.

        In pixels behind the unshuffling: one convolution, fifteen a block, one more, and 2 for the tail at any scale.
        """
        return self.unshuffle * (1 + 15 * len(self.body) + 1 + 2)

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, 3, scale H, scale W) for (N, 3, H, W)."""
        if self.unshuffle > 1:
            images = F.pixel_unshuffle(images, self.unshuffle)
        head = self.conv_first(images)
        x = head + self.conv_body(self.body(head))
        for conv in self.upsample:
            x = F.leaky_relu(conv(F.interpolate(x, scale_factor=2.0, mode="nearest")), 0.2)
        colors: Tensor = self.conv_last(F.leaky_relu(self.conv_high(x), 0.2))
        return colors


class VGGDiscriminator(nn.Module):
    """A discriminator of images of one size, in the manner of VGG: five halvings, then two linear layers.

    Args:
        size: pixels per side, a multiple of 32.
        channels: features of the first layer; those behind a halving have 2, 4, 8 and 8 times as many.

    Raises:
        UsageError: the size does not fit.
    """

    def __init__(self, size: int, channels: int) -> None:
        super().__init__()
        if size < 32 or size % 32:
            raise UsageError(f"the discriminator halves images five times, patch {size} is not a multiple of 32: use 128")
        widths = [channels, *(channels * factor for factor in (2, 4, 8, 8))]
        layers = [nn.Conv2d(3, channels, 3, padding=1), nn.LeakyReLU(0.2), *_normalized(channels, channels, 4)]
        for c_in, c_out in pairwise(widths):
            layers += [*_normalized(c_in, c_out, 3), *_normalized(c_out, c_out, 4)]
        self.features = nn.Sequential(*layers)  # (N, 8 channels, size / 32, size / 32)
        self.judge = nn.Sequential(nn.Linear(widths[-1] * (size // 32) ** 2, 100), nn.LeakyReLU(0.2), nn.Linear(100, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, 1) for images (N, 3, size, size), RGB in [0, 1]."""
        logits: Tensor = self.judge(self.features(images).flatten(1))
        return logits


def _normalized(c_in: int, c_out: int, kernel: int) -> list[nn.Module]:
    """Return a convolution, which halves both sides if its kernel is 4, with batch norm and activation."""
    conv = nn.Conv2d(c_in, c_out, kernel, stride=kernel - 2, padding=1, bias=False)
    return [conv, nn.BatchNorm2d(c_out), nn.LeakyReLU(0.2)]


def relative_generator_loss(discriminator: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    """Return what makes images look more real than real ones do on average (eq. 2), for images (N, 3, H, W)."""
    with torch.no_grad():
        real_logits = discriminator(real)
    return relativistic_loss("rasgan", discriminator(fake), real_logits)


def relative_discriminator_loss(system: System, discriminator: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    """Return what makes real images look more real than made ones do on average (eq. 1); its accuracy is noted.

    Real and made images go through the discriminator apart, so that its batch norm sees one kind at a time.
    """
    real_logits, fake_logits = discriminator(real), discriminator(fake)
    system.note("accuracy", accuracy(real_logits - fake_logits.mean(), fake_logits - real_logits.mean()))
    return relativistic_loss("rasgan", real_logits, fake_logits)


def weighted_losses(
    system: System,
    discriminator: nn.Module,
    fake: Tensor,
    real: Tensor,
    layers: Sequence[str],
    weights: tuple[float, float, float],
) -> dict[str, Tensor]:
    """Return what a generator minimises (eq. 3): pixels, features and the game.

    Args:
        system: looks through the frozen network, if it names one.
        discriminator: gives logits of images.
        fake: made images (N, 3, H, W) in [0, 1].
        real: the true ones.
        layers: of the frozen network.
        weights: of the absolute error, of that of features at each layer, of the game.
    """
    pixel, perceived, game = weights
    terms = {"pixel": pixel * F.l1_loss(fake, real)}
    if system.features:
        terms["perceptual"] = perceptual(partial(system.look, layers=layers), fake, real, [perceived] * len(layers))
    terms["adversarial"] = game * relative_generator_loss(discriminator, real, fake)
    return terms


def halvings(at: Sequence[int], steps: int) -> Callable[[float], float]:
    """Return the schedule that halves the rate after each of some numbers of steps of a stage."""
    return halve_at([step / steps for step in at])


def _tail(match: re.Match[str]) -> str:
    """Return the name of a layer behind the body: n doublings have model.3 to model.3n, 3n + 2 and 3n + 4 follow."""
    number = int(match[1])
    return (f"upsample.{number // 3 - 1}.", "conv_last.", "conv_high.")[number % 3]


RENAMES_ORIGINAL = (
    (r"^model\.0\.", "conv_first."),
    (r"^model\.1\.sub\.(\d+)\.RDB(\d)\.(conv\d)\.0\.", r"body.\1.rdb\2.\3."),
    (r"^model\.1\.sub\.(\d+)\.RDB(\d)\.conv1x1\.", r"body.\1.rdb\2.conv1x1."),  # of ESRGAN+
    (r"^model\.1\.sub\.\d+\.(weight|bias)$", r"conv_body.\1"),
    (r"^model\.(\d+)\.", _tail),
    (r"^", "generator."),
)
_RENAMES_NAMED = (
    (r"^RRDB_trunk\.(\d+)\.RDB(\d)\.", r"body.\1.rdb\2."),
    (r"^trunk_conv\.", "conv_body."),
    (r"^(upconv|conv_up)(\d+)\.", lambda m: f"upsample.{int(m[2]) - 1}."),
    (r"^(HRconv|conv_hr)\.", "conv_high."),
    (r"^", "generator."),
)
Shape: TypeAlias = tuple[int, int, int, int, int]
"""What tensors tell: scale, blocks, channels, growth and unshuffle, the first fields of the configuration."""


def original_shape(state: Mapping[str, Tensor]) -> Shape:
    """Read the layout of the first code, and of most models that people have shared since."""
    doublings = (count_children(state, "model") - 5) // 3
    blocks = count_children(state, "model.1.sub") - 1
    return _shape(state["model.0.weight"], state["model.1.sub.0.RDB1.conv1.0.weight"], blocks, doublings)


def _named_shape(state: Mapping[str, Tensor], body: str, dense: str, doubling: str) -> Shape:
    """Read a layout by its names of the body, of a block's first dense block, and of the convolutions that follow doublings."""
    doublings = len([key for key in state if re.fullmatch(rf"{doubling}\d+\.weight", key)])
    first, inner = state["conv_first.weight"], state[f"{body}.0.{dense}.conv1.weight"]
    return _shape(first, inner, count_children(state, body), doublings)


def _shape(first: Tensor, dense: Tensor, blocks: int, doublings: int) -> Shape:
    unshuffle = max(1, isqrt(first.shape[1] // 3))
    return 2 ** max(0, doublings) // unshuffle, blocks, first.shape[0], dense.shape[0], unshuffle


class ESRGAN(System):
    """Super-resolution by residual-in-residual dense blocks, with a relativistic discriminator."""

    folder: ClassVar[FolderKind] = "degraded"
    layouts: ClassVar[tuple[Layout, ...]] = (
        Layout(
            "original",
            ("model.0.weight", "model.1.sub.0.RDB1.conv1.0.weight"),
            lambda state: Config(*original_shape(state)),
            RENAMES_ORIGINAL,
            without=("model.1.sub.0.RDB1.conv1x1.weight",),
        ),
        Layout(
            "BSRGAN",
            ("conv_first.weight", "RRDB_trunk.0.RDB1.conv1.weight", "trunk_conv.weight", "conv_last.weight"),
            lambda state: Config(*_named_shape(state, "RRDB_trunk", "RDB1", "upconv")),
            _RENAMES_NAMED,
        ),
        Layout(
            "BasicSR",
            ("conv_first.weight", "body.0.rdb1.conv1.weight", "conv_body.weight", "conv_last.weight"),
            lambda state: Config(*_named_shape(state, "body", "rdb1", "conv_up")),
            _RENAMES_NAMED,
        ),
    )
    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c = config
        check_choices(c, {"pretrain_schedule": ("halving", "cosine")})
        check_layers(c.features, c.layers)
        if c.beta2 >= 1:
            raise UsageError(f"beta2 = {c.beta2:g} never forgets: use less than 1, such as 0.999")
        self.features = c.features if c.perceptual_weight else ""
        self.generator = RRDBNet(c.scale, c.blocks, c.channels, c.growth, c.unshuffle)
        self.scale, self.multiple, self.radius = c.scale, c.unshuffle, self.generator.radius
        self.discriminator = VGGDiscriminator(c.patch, c.discriminator_channels)
        self._made: tuple[Batch, Tensor] | None = None  # within a step: what the generator made of this batch, detached

    def upscale(self, images: Tensor) -> Tensor:
        """Return (N, 3, scale H, scale W) for (N, 3, H, W), RGB in [0, 1]."""
        result: Tensor = self.generator(images)
        return result

    def stages(self) -> list[Stage]:
        """Absolute error alone, then in each step the generator and the discriminator that judges what it made (4.1)."""
        c = self.config
        betas = (0.9, c.beta2)
        pixel = Phase("generator", [self.generator], self.pixel_losses, adam(c.pretrain_rate, betas), self._pretrain_schedule())
        optimizer, schedule = adam(c.learning_rate, betas), halvings(HALVINGS, c.steps)
        generator = Phase("generator", [self.generator], self.generator_losses, optimizer, schedule)
        discriminator = Phase("discriminator", [self.discriminator], self.discriminator_losses, optimizer, schedule)
        return [
            Stage("pretrain", c.pretrain_steps, [pixel], c.batch, c.patch),
            Stage("adversarial", c.steps, [generator, discriminator], c.batch, c.patch),
        ]

    def _pretrain_schedule(self) -> Callable[[float], float]:
        steps = self.config.pretrain_steps
        if self.config.pretrain_schedule == "halving":
            return halvings(range(200_000, steps, 200_000), steps)
        fall = cosine()
        return lambda progress: fall(4 * progress % 1)

    def pixel_losses(self, batch: Batch) -> dict[str, Tensor]:
        """Mean absolute error on [0, 1] images."""
        return {"pixel": F.l1_loss(self.generator(batch["low"]), batch["high"])}

    def generator_losses(self, batch: Batch) -> dict[str, Tensor]:
        """The weighted sum of eq. 3."""
        c, fake = self.config, self.generator(batch["low"])
        self._made = batch, fake.detach()
        weights = c.pixel_weight, c.perceptual_weight, c.adversarial_weight
        return weighted_losses(self, self.discriminator, fake, batch["high"], c.layers, weights)

    def discriminator_losses(self, batch: Batch) -> dict[str, Tensor]:
        """Eq. 1, on what the generator has just made."""
        made, self._made = self._made, None
        if made is None or made[0] is not batch:
            with torch.no_grad():
                made = batch, self.generator(batch["low"])
        return {"relativistic": relative_discriminator_loss(self, self.discriminator, batch["high"], made[1])}

    def inference_modules(self) -> Mapping[str, nn.Module]:
        """Only the generator."""
        return {"generator": self.generator}
