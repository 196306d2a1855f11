"""Real-ESRGAN: super-resolution of photos that are blurred, noisy and compressed (Wang et al., ICCVW 2021, arXiv:2107.10833).

Reference code: github.com/xinntao/Real-ESRGAN (BSD-3-Clause).
Changes over ESRGAN: training images go through blur, resizing, noise and JPEG twice; the discriminator is a U-Net with spectral
norm that judges every pixel; features of five layers; targets of pixels and features are sharpened. The released code's small
network, SRVGGNetCompact, is here too; its large one, RRDB, is ESRGAN's, and so its files load as `esrgan`.
Departures from the paper: samples are flipped and turned, and drawn each on its own instead of from a pool; targets are
sharpened within the crop. The generator "span" (SPAN's network) is not the paper's: it is for small models; nor is a teacher
(`--teacher`), whose results, in the colours of the true images, are the targets then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.optim import Optimizer

from gantool.degradations import BSRGAN, Order, SecondOrder, usm_sharpen
from gantool.errors import UsageError, WeightsError
from gantool.layers.features import check_layers
from gantool.losses import accuracy, discriminator_losses, generator_loss, perceptual
from gantool.schedules import constant, linear_decay
from gantool.system import Batch, FolderKind, Layout, Phase, Stage, System, Upscaler, adam, check_choices, count_children
from gantool.systems.super_resolution.esrgan import RRDBNet
from gantool.systems.super_resolution.span import SPANNet, two_rates

GENERATORS = ("rrdb", "compact", "span")
DEGRADATIONS = ("second-order", "bsrgan")
CELL = 16  # pixels a side over which a teacher's colours are set right
STRIDE = 8  # pixels a side of what the discriminator's deepest features see as one


@dataclass(frozen=True)
class Config:
    """The x4 network of the paper, with its second-order degradation."""

    scale: int = 4  # output side / input side
    generator: str = "rrdb"  # rrdb, compact (SRVGGNetCompact) or span
    blocks: int = 23  # residual-in-residual blocks; convolutions of the compact network, 16 or 32
    channels: int = 64  # features of every block
    growth: int = 32  # of rrdb: features that each convolution of a dense block adds
    unshuffle: int = 1  # of rrdb: pixels a side that become channels first, 2 for x2 (section 3.4)
    input_range: float = 16.0  # of span: value of white inside
    features: str = "vgg19"  # the frozen network of the perceptual loss: vgg19 or squeezenet
    layers: tuple[str, ...] = ("conv1_2", "conv2_2", "conv3_4", "conv4_4", "conv5_4")  # of it (section 4.1)
    layer_weights: tuple[float, ...] = (0.1, 0.1, 1.0, 1.0, 1.0)  # of each (section 4.1)
    pixel_weight: float = 1.0  # of the absolute error (section 4.1)
    perceptual_weight: float = 1.0  # of the absolute error of features (section 4.1)
    adversarial_weight: float = 0.1  # (section 4.1)
    sharpen: bool = True  # targets of pixels and features, and what images are made small from (section 3.4)
    degradation: str = "second-order"  # or bsrgan, that of Zhang et al., ICCV 2021
    blur_sigma: tuple[float, float] = (0.2, 3.0)  # pixels, first blur (appendix A)
    second_blur_sigma: tuple[float, float] = (0.2, 1.5)  # pixels, second blur
    resize: tuple[float, float] = (0.15, 1.5)  # least and largest factor of the first resizing
    second_resize: tuple[float, float] = (0.3, 1.2)  # of the second
    noise_sigma: tuple[float, float] = (1.0, 30.0)  # of 255, first Gaussian noise
    second_noise_sigma: tuple[float, float] = (1.0, 25.0)  # of 255, second
    poisson_scale: tuple[float, float] = (0.05, 3.0)  # first Poisson noise
    second_poisson_scale: tuple[float, float] = (0.05, 2.5)  # second
    jpeg_quality: tuple[int, int] = (30, 95)  # of both compressions
    discriminator_channels: int = 64  # of the discriminator's first layer
    pretrain_rate: float = 2e-4  # Adam, on pixels alone: Real-ESRNet (section 4.1)
    learning_rate: float = 1e-4  # Adam, both networks (section 4.1)
    decay: float = 1.0  # share of each stage after which rates fall to 0; the paper's stay
    pretrain_steps: int = 1_000_000  # of Real-ESRNet (section 4.1)
    steps: int = 400_000  # of Real-ESRGAN (section 4.1)
    batch: int = 48  # samples per step (section 4.1)
    patch: int = 256  # high-resolution pixels per side of a training sample (section 4.1)


PRESETS = {
    "x2plus": Config(scale=2, unshuffle=2),
    "general": Config(generator="compact", blocks=32),
    "animevideo": Config(generator="compact", blocks=16),
    "anime": Config(blocks=6),
    "bsrgan-degradation": Config(degradation="bsrgan", sharpen=False),
}


class CompactNet(nn.Module):
    """SRVGGNetCompact: plain convolutions with PReLU, added to the nearest-neighbour enlargement; RGB in [0, 1] in and out."""

    def __init__(self, scale: int, convolutions: int, channels: int) -> None:
        super().__init__()
        self.scale = scale
        layers: list[nn.Module] = [nn.Conv2d(3, channels, 3, padding=1), nn.PReLU(channels)]
        for _ in range(convolutions):
            layers += [nn.Conv2d(channels, channels, 3, padding=1), nn.PReLU(channels)]
        self.body = nn.Sequential(*layers, nn.Conv2d(channels, 3 * scale**2, 3, padding=1))

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, 3, scale H, scale W) for (N, 3, H, W)."""
        residual = F.pixel_shuffle(self.body(images), self.scale)
        return residual + F.interpolate(images, scale_factor=float(self.scale), mode="nearest")


class UNetDiscriminator(nn.Module):
    """A U-Net with spectral norm that gives a logit for every pixel (section 3.4)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        c = channels
        self.first = nn.Conv2d(3, c, 3, padding=1)
        self.downs = nn.ModuleList(_normed(c * 2**k, c * 2 ** (k + 1), 4, 2) for k in range(3))
        self.ups = nn.ModuleList(_normed(c * 2 ** (k + 1), c * 2**k, 3, 1) for k in (2, 1, 0))
        self.last = nn.Sequential(
            _normed(c, c, 3, 1), nn.LeakyReLU(0.2), _normed(c, c, 3, 1), nn.LeakyReLU(0.2), nn.Conv2d(c, 1, 3, padding=1)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, 1, H, W) for RGB (N, 3, H, W) in [0, 1], whose sides are multiples of 8."""
        x = F.leaky_relu(self.first(images), 0.2)
        skips = []
        for down in self.downs:
            skips.append(x)
            x = F.leaky_relu(down(x), 0.2)
        for up, skip in zip(self.ups, reversed(skips), strict=True):
            larger = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = F.leaky_relu(up(larger), 0.2) + skip
        logits: Tensor = self.last(x)
        return logits


def _normed(c_in: int, c_out: int, kernel: int, stride: int) -> nn.Module:
    return spectral_norm(nn.Conv2d(c_in, c_out, kernel, stride, padding=1, bias=False))


def _detect_compact(state: Mapping[str, Tensor]) -> Config:
    """Read the hyper-parameters of SRVGGNetCompact, telling it by its PReLUs from any other row of convolutions."""
    last = count_children(state, "body") - 1
    if state["body.1.weight"].dim() != 1 or state["body.0.weight"].shape[1] != 3:
        raise WeightsError("body.1 is no PReLU, or body.0 takes no RGB")
    return Config(
        scale=round((state[f"body.{last}.bias"].numel() / 3) ** 0.5),
        generator="compact",
        blocks=(last - 2) // 2,
        channels=state["body.0.weight"].shape[0],
    )


class RealESRGAN(System):
    """Blind super-resolution of photos."""

    folder: ClassVar[FolderKind] = "degraded"
    layouts: ClassVar[tuple[Layout, ...]] = (
        Layout("official, compact", ("body.0.weight", "body.1.weight"), _detect_compact, ((r"^", "generator."),)),
    )
    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c = config
        _check(c)
        self.scale = c.scale
        self.features = c.features if c.perceptual_weight else ""
        self.degradation = _degradation(c)
        self.generator, self.radius = _generator(c)
        self.multiple = c.unshuffle if c.generator == "rrdb" else 1
        self.discriminator = UNetDiscriminator(c.discriminator_channels)
        self._teacher: list[Upscaler] = []  # in a list: it is no part of the system and its state
        self._made: tuple[Batch, Tensor] | None = None  # within a step: what the generator made of this batch, detached

    def upscale(self, images: Tensor) -> Tensor:
        """Return (N, 3, scale H, scale W) for (N, 3, H, W), RGB in [0, 1]."""
        result: Tensor = self.generator(images)
        return result

    def stages(self) -> list[Stage]:
        """Pixels alone (Real-ESRNet), then pixels, features and the discriminator."""
        c = self.config
        falling = linear_decay(c.decay) if c.decay < 1 else constant
        clip = 0.5 if c.generator == "span" else inf  # as SPAN is trained here
        pixel = Phase("generator", [self.generator], self.pixel_losses, self._adam(c.pretrain_rate), falling, clip=clip)
        generator = Phase("generator", [self.generator], self.generator_losses, self._adam(c.learning_rate), falling, clip=clip)
        judge = adam(c.learning_rate, (0.9, 0.99))
        discriminator = Phase("discriminator", [self.discriminator], self.discriminator_losses, judge, falling)
        return [
            Stage("pretrain", c.pretrain_steps, [pixel], c.batch, c.patch),
            Stage("adversarial", c.steps, [generator, discriminator], c.batch, c.patch),
        ]

    def _adam(self, rate: float) -> Callable[[Sequence[nn.Module]], Optimizer]:
        if isinstance(self.generator, SPANNet):
            return two_rates(self.generator, rate)
        return adam(rate, (0.9, 0.99))

    def give_teacher(self, teacher: Upscaler) -> None:
        """Take a system whose results pixels and features are to be like."""
        self._teacher = [teacher]

    def _target(self, batch: Batch) -> Tensor:
        """Return what pixels and features are compared with (section 3.4)."""
        if not self._teacher:
            return usm_sharpen(batch["high"]) if self.config.sharpen else batch["high"]
        with torch.no_grad():
            taught = self._teacher[0].upscale(batch["low"]).clamp(0, 1)
        return taught + _colors(batch["high"] - taught)  # a teacher may shift colours, which the truth sets right

    def pixel_losses(self, batch: Batch) -> dict[str, Tensor]:
        """Mean absolute error against the sharpened images, or the teacher's."""
        return {"pixel": F.l1_loss(self.generator(batch["low"]), self._target(batch))}

    def generator_losses(self, batch: Batch) -> dict[str, Tensor]:
        """Pixels, features and the discriminator's judgement of each pixel, weighted (section 4.1)."""
        c = self.config
        fake, target = self.generator(batch["low"]), self._target(batch)
        self._made = batch, fake.detach()
        logits = self.discriminator(fake)
        terms = {
            "pixel": c.pixel_weight * F.l1_loss(fake, target),
            "adversarial": c.adversarial_weight * generator_loss("nonsaturating", logits),
        }
        if c.perceptual_weight:
            seen = perceptual(lambda images: self.look(images, c.layers), fake, target, c.layer_weights)
            terms["perceptual"] = c.perceptual_weight * seen
        return terms

    def discriminator_losses(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy of each pixel's logit, for the images as they are and for those just made."""
        made, self._made = self._made, None
        if made is None or made[0] is not batch:
            with torch.no_grad():
                made = batch, self.generator(batch["low"])
        real, fake = self.discriminator(batch["high"]), self.discriminator(made[1])
        self.note("accuracy", accuracy(real, fake))
        return discriminator_losses("nonsaturating", real, fake)

    def inference_modules(self) -> Mapping[str, nn.Module]:
        """Only the generator."""
        return {"generator": self.generator}


def _colors(images: Tensor) -> Tensor:
    """Return what is left of images (N, C, H, W) when only the means of cells of 16 pixels a side are kept."""
    return F.interpolate(F.avg_pool2d(images, CELL, ceil_mode=True), images.shape[2:], mode="bilinear")


def _check(c: Config) -> None:
    check_choices(c, {"generator": GENERATORS, "degradation": DEGRADATIONS})
    check_layers(c.features, c.layers)
    if len(c.layers) != len(c.layer_weights):
        raise UsageError(f"layer_weights has {len(c.layer_weights)} numbers for {len(c.layers)} layers: give one for each")
    if c.patch % STRIDE:
        raise UsageError(f"patch = {c.patch}: the discriminator needs a multiple of {STRIDE}")


def _generator(c: Config) -> tuple[nn.Module, int]:
    """Return the network and how far, in input pixels, a pixel of its result sees."""
    if c.generator == "compact":
        return CompactNet(c.scale, c.blocks, c.channels), c.blocks + 2
    if c.generator == "span":
        return SPANNet(c.scale, c.channels, reparameterized=False, mean_shift=True, input_range=c.input_range), 21
    network = RRDBNet(c.scale, c.blocks, c.channels, c.growth, c.unshuffle)
    return network, network.radius


def _degradation(c: Config) -> SecondOrder | BSRGAN:
    if c.degradation == "bsrgan":
        return BSRGAN(c.scale)
    first = replace(Order(), sigma=c.blur_sigma, factor=c.resize, noise=c.noise_sigma, poisson=c.poisson_scale)
    second = replace(
        SecondOrder().second,
        sigma=c.second_blur_sigma,
        factor=c.second_resize,
        noise=c.second_noise_sigma,
        poisson=c.second_poisson_scale,
    )
    sharpening = 0.5 if c.sharpen else 0.0  # weight of the unsharp mask, as of the targets
    return SecondOrder(c.scale, sharpening, first, c.jpeg_quality, second, last_jpeg=c.jpeg_quality)
