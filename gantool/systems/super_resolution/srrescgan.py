"""SRResCGAN: clean large pictures from noisy or compressed small ones (Umer et al., CVPRW 2020, arXiv:2005.00953).

Reference code: github.com/RaoUmer/SRResCGAN (MIT).
The small picture is enlarged bilinearly; residual blocks say what is wrong with that, which is cut to the length that the
picture's noise explains, with a factor that is learned, and taken off. So a result depends on the whole picture. Training
starts from a pretrained network (`--init`). The preset "released" shows the frozen network images as the released code does.
Departures from the paper: small pictures with the noise that a second network learned to imitate (DSGAN) are not made here, the
corruptions of the tables are applied instead; the frozen network sees images in the range that it was trained for; losses are
of images in [0, 1], where the code counts to 255, in the same proportions; features are compared by absolute differences, as in
the code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import log
from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from gantool.degradations import Jpeg, SensorNoise, Unknown
from gantool.errors import UsageError
from gantool.fitting import Degradation
from gantool.layers.features import check_layers
from gantool.layers.noise import enlarged, enlarged_noise_level, mirrored
from gantool.losses import perceptual
from gantool.schedules import halve_at
from gantool.system import Batch, FolderKind, Layout, Phase, Stage, System, adam, check_choices, count_children
from gantool.systems.super_resolution.esrgan import (
    VGGDiscriminator,
    relative_discriminator_loss,
    relative_generator_loss,
)

RUN = 51_000  # steps of the released code
HALVINGS = (5_000, 10_000, 20_000, 30_000)  # of them, after which the rate is halved
MIXED = 0.5  # share of the batches that are mixed up, in the released code
_LEVELS = 255.0  # white inside the generator


@dataclass(frozen=True)
class Config:
    """The x4 network and its training against sensor noise."""

    scale: int = 4  # output side / input side
    blocks: int = 5  # residual blocks
    channels: int = 64  # features of every block
    noise_factor: float = 2.0  # exp(alpha) at the start: how far beyond the estimated noise corrections may go; it is learned
    corruption: str = "noise"  # of the small images: noise, jpeg or unknown
    noise_sigma: float = 8.0  # of the corruption noise, in levels of 255
    jpeg_quality: int = 30  # of the corruption jpeg, 1 to 100
    features: str = "vgg19"  # vgg19 or squeezenet, the frozen network that looks at images
    layers: tuple[str, ...] = ("conv5_4",)  # of it, compared by the perceptual loss: before activation
    feature_white: float = 1.0  # what white is where the frozen network looks; 255 in the released code
    perceptual_weight: float = 1.0  # of absolute differences of features
    adversarial_weight: float = 1 / 255  # 1 in the code, where the other terms are of levels to 255
    variation_weight: float = 1.0  # of differences of gradients, which the paper calls TV
    pixel_weight: float = 10.0  # of absolute differences
    mixup: float = 1.2  # both parameters of the beta distribution by which pairs are mixed; 0: they are not
    discriminator_channels: int = 64  # features of the discriminator's first layer; the last have 8 times as many
    learning_rate: float = 1e-4  # Adam of both networks
    steps: int = 51_000  # of the optimiser
    batch: int = 16  # samples per step
    patch: int = 128  # high-resolution pixels per side of a training sample, a multiple of 32


PRESETS = {
    "noise": Config(),
    "jpeg": Config(corruption="jpeg"),
    "unknown": Config(corruption="unknown"),
    "released": Config(corruption="unknown", feature_white=255.0),
}


class NormedConv(nn.Module):
    """A convolution that learns the lengths of its filters apart from their directions (Salimans and Kingma 2016, eq. 2).

    Args:
        c_in: channels of the input, around which the caller has mirrored as many pixels as the kernel needs.
        c_out: channels of the result.
        side: of the kernel.
        transposed: give the transposed convolution, whose filters belong to input channels, around which zeros are.
    """

    def __init__(self, c_in: int, c_out: int, side: int, transposed: bool = False) -> None:
        super().__init__()
        self.transposed = transposed
        start = (nn.ConvTranspose2d if transposed else nn.Conv2d)(c_in, c_out, side)
        self.weight_v = nn.Parameter(start.weight.detach())
        self.weight_g = nn.Parameter(_lengths(self.weight_v.detach()))
        self.bias = nn.Parameter(torch.zeros(c_out))

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, c_out, H - side + 1, W - side + 1) for (N, c_in, H, W); of the transposed one, (N, c_out, H, W)."""
        weight = self.weight_v * (self.weight_g / _lengths(self.weight_v))
        if self.transposed:
            return F.conv_transpose2d(x, weight, self.bias, padding=weight.shape[-1] // 2)
        return F.conv2d(x, weight, self.bias)


def _lengths(filters: Tensor) -> Tensor:
    """Return (n, 1, 1, 1) for (n, c, h, w)."""
    lengths: Tensor = torch.linalg.vector_norm(filters, dim=(1, 2, 3), keepdim=True)
    return lengths


class ResidualBlock(nn.Module):
    """Activation and convolution, twice; the first block has no skip."""

    def __init__(self, channels: int, skip: bool) -> None:
        super().__init__()
        self.skip = skip
        self.prelu1, self.prelu2 = (nn.PReLU(channels, init=0.1) for _ in range(2))
        self.conv1, self.conv2 = (NormedConv(channels, channels, 3) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, channels, H, W) for the same."""
        branch: Tensor = self.conv1(mirrored(self.prelu1(x), 1, 1))
        branch = self.conv2(mirrored(self.prelu2(branch), 1, 1))
        return x + branch if self.skip else branch


class Projection(nn.Module):
    """Cuts what is taken off a picture to the length that its noise explains, with a learned factor."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.tensor([log(factor)]))

    def forward(self, residual: Tensor, sigma: Tensor) -> Tensor:
        """Return residuals (N, C, H, W) no longer than exp(alpha) sigma sqrt(C H W - 1), for noise levels (N)."""
        wide = torch.promote_types(residual.dtype, torch.float32)  # squares are more than half precision can hold
        squares = residual.to(wide).square().sum((1, 2, 3), keepdim=True)
        # counted like this, the values of a picture that is done in tiles are those of all of it
        count = torch.ones_like(residual, dtype=wide).sum((1, 2, 3), keepdim=True)
        length = squares.clamp(min=1e-12).sqrt()
        limit = self.alpha.to(wide).exp() * sigma.to(wide).view(-1, 1, 1, 1) * (count - 1).sqrt()
        return residual * (limit / torch.maximum(length, limit)).to(residual.dtype)


class ResDNet(nn.Module):
    """The generator: RGB in [0, 1] in and out, inside the levels 0 to 255 that its noise level is counted in."""

    def __init__(self, scale: int, blocks: int, channels: int, factor: float) -> None:
        super().__init__()
        if scale < 2:
            raise UsageError(f"srrescgan has no scale {scale}: use 2 or more, such as 4")
        if not factor:
            raise UsageError("noise_factor = 0.0 lets nothing be corrected: use more, such as 2")
        self.scale = scale
        self.projection = Projection(factor)
        self.encoder = NormedConv(3, channels, 5)
        self.body = nn.Sequential(*(ResidualBlock(channels, skip=number > 0) for number in range(blocks)))
        self.decoder = NormedConv(channels, 3, 5, transposed=True)

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, 3, scale H, scale W) in [0, 1] for (N, 3, H, W)."""
        large = enlarged(_LEVELS * images, self.scale)
        residual = self.decoder(self.body(self.encoder(mirrored(large, 2, 2))))
        levels: Tensor = large - self.projection(residual, _LEVELS * enlarged_noise_level(images, self.scale))
        return levels.clamp(0, _LEVELS) / _LEVELS


def high_pass(images: Tensor) -> Tensor:
    """Return what the discriminator sees of images (N, C, H, W) in [0, 1]: them less 9x9 means, around gray."""
    return 0.5 + 0.5 * (images - F.avg_pool2d(images, 9, 1, 4))


def gradient_difference(fake: Tensor, real: Tensor) -> Tensor:
    """Return the sum of absolute differences of gradients over the number of values, for images (N, C, H, W)."""
    apart = fake - real
    return (apart.diff(dim=2).abs().sum() + apart.diff(dim=3).abs().sum()) / apart.numel()


def mixed_up(batch: Batch, spread: float) -> tuple[Tensor, Tensor]:
    """Return a batch's "low" and "high", in half of the cases each pair mixed with another one (Zhang et al. 2018).

    Args:
        batch: see `gantool.system.Batch`.
        spread: both parameters of the beta distribution that the shares come from; 0 never mixes.
    """
    low, high = batch["low"], batch["high"]
    if not spread or torch.rand(()) >= MIXED:
        return low, high
    share = float(torch.distributions.Beta(spread, spread).sample())
    partner = torch.randperm(low.shape[0])
    return low.lerp(low[partner], share), high.lerp(high[partner], share)


def corruption(config: Config) -> Degradation:
    """Return how small images are made from large ones.

    Raises:
        UsageError: there is no such corruption, or it cannot be so strong.
    """
    check_choices(config, {"corruption": ("noise", "jpeg", "unknown")})
    if config.corruption == "noise":
        return SensorNoise(config.scale, config.noise_sigma)
    return Jpeg(config.scale, config.jpeg_quality) if config.corruption == "jpeg" else Unknown(config.scale)


def restoration_losses(
    config: Config, look: Callable[[Tensor, Sequence[str]], list[Tensor]], judge: nn.Module, fake: Tensor, real: Tensor
) -> dict[str, Tensor]:
    """Return the weighted terms of the generator's loss for made and true images (N, 3, H, W) in [0, 1].

    Args:
        config: with the weights.
        look: the frozen network.
        judge: the discriminator of high-passed images.
        fake: made.
        real: true.
    """
    c, terms = config, dict[str, Tensor]()
    if c.perceptual_weight:

        def seen(images: Tensor) -> list[Tensor]:
            # features grow with what they are of; divided again they have the same weight whatever white is
            return [found / c.feature_white for found in look(c.feature_white * images, c.layers)]

        terms["perceptual"] = perceptual(seen, fake, real, [c.perceptual_weight] * len(c.layers))
    terms["adversarial"] = c.adversarial_weight * relative_generator_loss(judge, high_pass(real), high_pass(fake))
    terms["variation"] = c.variation_weight * gradient_difference(fake, real)
    terms["pixel"] = c.pixel_weight * F.l1_loss(fake, real)
    return terms


def detected(state: Mapping[str, Tensor]) -> Config:
    """Read the hyper-parameters of the official layout; the scale cannot be seen in a file."""
    return Config(blocks=count_children(state, "model.layer1"), channels=state["model.conv1.bias"].shape[0])


class SRResCGAN(System):
    """Super-resolution of corrupted images by residuals no longer than the noise explains."""

    folder: ClassVar[FolderKind] = "degraded"
    half_safe = False  # corrections of levels to 255 come out up to 4 levels apart
    layouts: ClassVar[tuple[Layout, ...]] = (
        Layout(
            "official",
            ("alpha", "model.conv1.weight_g", "model.layer1.0.conv1.weight_v", "model.conv_out.weight_v"),
            detected,
            (
                (r"^alpha$", "projection.alpha"),
                (r"^model\.conv1\.", "encoder."),
                (r"^model\.layer1\.(\d+)\.", r"body.\1."),
                (r"\.relu([12])\.", r".prelu\1."),
                (r"^model\.conv_out\.", "decoder."),
                (r"^", "generator."),
            ),
        ),
    )
    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c = config
        check_layers(c.features, c.layers)
        self.features = c.features if c.perceptual_weight else ""
        self.scale = c.scale
        self.degradation = corruption(c)
        self.generator = ResDNet(c.scale, c.blocks, c.channels, c.noise_factor)
        self.discriminator = VGGDiscriminator(c.patch, c.discriminator_channels)
        # within a step: of this batch, what the generator made, detached, and what it should have
        self._made: tuple[Batch, Tensor, Tensor] | None = None

    def upscale(self, images: Tensor) -> Tensor:
        """Return (N, 3, scale H, scale W) for (N, 3, H, W), RGB in [0, 1]."""
        result: Tensor = self.generator(images)
        return result

    def stages(self) -> list[Stage]:
        """One stage: in each step the generator, and the discriminator on what it made."""
        c = self.config
        turn = partial(Phase, optimizer=adam(c.learning_rate), schedule=halve_at([step / RUN for step in HALVINGS]))
        generator = turn("generator", [self.generator], self.generator_losses)
        discriminator = turn("discriminator", [self.discriminator], self.discriminator_losses)
        return [Stage("adversarial", c.steps, [generator, discriminator], c.batch, c.patch)]

    def generator_losses(self, batch: Batch) -> dict[str, Tensor]:
        """Of the generator, on pairs that may be mixed up."""
        low, high = mixed_up(batch, self.config.mixup)
        fake = self.generator(low)
        self._made = batch, fake.detach(), high
        return restoration_losses(self.config, self.look, self.discriminator, fake, high)

    def discriminator_losses(self, batch: Batch) -> dict[str, Tensor]:
        """The relativistic average loss, on what the generator has just made."""
        made, self._made = self._made, None
        if made is None or made[0] is not batch:
            low, high = mixed_up(batch, self.config.mixup)
            with torch.no_grad():
                made = batch, self.generator(low), high
        _, fake, high = made
        return {"relativistic": relative_discriminator_loss(self, self.discriminator, high_pass(high), high_pass(fake))}

    def inference_modules(self) -> Mapping[str, nn.Module]:
        """Only the generator."""
        return {"generator": self.generator}
