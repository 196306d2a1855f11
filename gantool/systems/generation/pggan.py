"""PGGAN: a GAN whose two networks grow together from 4 pixels to the full size (Karras et al., ICLR 2018, arXiv:1710.10196).

Reference code: github.com/tkarras/progressive_growing_of_gans (CC BY-NC 4.0); layouts of github.com/genforce/sefa (MIT) and of
github.com/facebookresearch/pytorch_GAN_zoo (BSD-3-Clause) are read.
Both networks are built whole; a stage runs them up to a level and blends that level in by alpha.
Departures from the paper: the biases of the first layer differ from position to position, as in the GAN zoo's checkpoints; no
labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import floor, sqrt
from re import Match
from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from gantool.errors import UsageError, WeightsError
from gantool.losses import discriminator_losses, generator_loss, gradient_penalty
from gantool.system import Batch, Fit, FolderKind, Layout, Phase, Stage, System, adam

GAIN = sqrt(2)  # of all layers that a leaky ReLU follows
EPSILON = 1e-8


@dataclass(frozen=True)
class Config:
    """The network of the paper at 1024 pixels, trained as on one GPU (appendix A)."""

    size: int = 1024  # pixels per side of an image: a power of 2
    image_channels: int = 3  # 1 gray, 3 RGB
    latent: int = 512  # length of a latent (table 2)
    channels: int = 512  # most features of a layer (table 2)
    base: int = 8192  # features of a layer by r pixels: this times 2 / r, where that is less than channels (table 2)
    group: int = 16  # images whose deviation is taken together, as far as they divide the batch (section 3)
    mirror: bool = False  # mirror every other image; True for faces (released code)
    images: int = 800_000  # shown in every stage but the last (appendix A)
    last_images: int = 6_200_000  # shown in the last one: 19 million in all at 1024 pixels (released code)
    batches: tuple[int, ...] = (16, 16, 16, 16, 16, 16, 14, 6, 3)  # images per step at 4, 8, ... pixels (appendix A)
    penalty_weight: float = 10.0  # lambda of the gradient penalty (appendix A)
    drift_weight: float = 1e-3  # epsilon_drift, of the critic's squared logits of real images (appendix A)
    learning_rate: float = 1e-3  # Adam with betas 0 and 0.99 (appendix A)
    large_rate: float = 1e-3  # the same from 1024 pixels on


PRESETS = {
    "paper": Config(),
    "as-released": Config(  # the second version's, on one GPU: 12 million images at 1024 pixels
        group=4,
        images=600_000,
        last_images=2_400_000,
        batches=(128, 128, 128, 64, 32, 16, 8, 4, 4),
        large_rate=1.5e-3,
    ),
}


class Equalized(nn.Module):
    """A convolution, of any size of image, whose weights are standard normal at first and scaled as they are used (4.1)."""

    def __init__(self, before: int, after: int, kernel: int, gain: float = GAIN) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(after, before, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(after))
        self.scale = gain / sqrt(before * kernel**2)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, after, H, W) for (N, before, H, W)."""
        return F.conv2d(x, self.weight * self.scale, self.bias, padding=self.weight.shape[-1] // 2)


class First(nn.Module):
    """The dense layer that makes 4x4 features of a latent, of which each has its own bias."""

    def __init__(self, latent: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels, 4, 4, latent))
        self.bias = nn.Parameter(torch.zeros(channels, 4, 4))
        self.scale = GAIN / 4 / sqrt(latent)  # the released code's

    def forward(self, latents: Tensor) -> Tensor:
        """Return (N, channels, 4, 4) for (N, latent)."""
        return torch.einsum("cyxk,nk->ncyx", self.weight * self.scale, latents) + self.bias


def pixel_norm(x: Tensor) -> Tensor:
    """Scale each position's features (N, C, ...) to a mean square of 1 (section 4.2)."""
    return x * (x.square().mean(1, keepdim=True) + EPSILON).rsqrt()


def _activated(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2)


def _normalized(x: Tensor) -> Tensor:
    return pixel_norm(_activated(x))


class GeneratorBlock(nn.Module):
    """One size more of the generator: doubling, then twice convolution, leaky ReLU and pixel norm (table 2)."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.first = Equalized(before, after, 3)
        self.second = Equalized(after, after, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, after, 2 H, 2 W) for (N, before, H, W)."""
        return _normalized(self.second(_normalized(self.first(_doubled(x)))))


class CriticBlock(nn.Module):
    """One size more of the critic: twice convolution and leaky ReLU, then halving (table 2)."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.first = Equalized(before, before, 3)
        self.second = Equalized(before, after, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, after, H / 2, W / 2) for (N, before, H, W)."""
        return F.avg_pool2d(_activated(self.second(_activated(self.first(x)))), 2)


class PGGANGenerator(nn.Module):
    """The generator (table 2), to linear [-1, 1].

    It remembers how far it has grown: `level` 0 is 4 pixels, 1 is 8; `alpha` is the weight of that level over the one before.
    """

    level: Tensor
    alpha: Tensor

    def __init__(self, latent: int, widths: Sequence[int], image_channels: int) -> None:
        super().__init__()
        steps = zip(widths, widths[1:], strict=False)
        self.first = First(latent, widths[0])
        self.conv = Equalized(widths[0], widths[0], 3)
        self.blocks = nn.ModuleList(GeneratorBlock(before, after) for before, after in steps)
        self.to_image = nn.ModuleList(Equalized(width, image_channels, 1, gain=1) for width in widths)
        self.register_buffer("level", torch.tensor(len(widths) - 1))
        self.register_buffer("alpha", torch.ones(()))

    def forward(self, latents: Tensor, level: int, alpha: float) -> Tensor:
        """Return (N, image channels, S, S), S = 4 * 2^level, for (N, latent) of any length."""
        x = _normalized(self.conv(_normalized(self.first(pixel_norm(latents)))))
        before = x
        for block in self.blocks[:level]:
            before, x = x, block(x)
        image: Tensor = self.to_image[level](x)
        return image if alpha == 1 else torch.lerp(_doubled(self.to_image[level - 1](before)), image, alpha)

    def parts(self, level: int, fade: bool) -> list[nn.Module]:
        """Return the modules that a level is made with."""
        return [self.first, self.conv, *self.blocks[:level], *self.to_image[level - fade : level + 1]]


class PGGANCritic(nn.Module):
    """The critic (table 2), on [-1, 1]: the generator's levels in reverse, and the deviation of the batch at the end."""

    def __init__(self, widths: Sequence[int], image_channels: int, dense: int, group: int) -> None:
        super().__init__()
        steps = zip(widths, widths[1:], strict=False)
        self.group = group
        self.from_image = nn.ModuleList(Equalized(image_channels, width, 1) for width in widths)
        self.blocks = nn.ModuleList(CriticBlock(before, after) for after, before in steps)
        self.conv = Equalized(widths[0] + 1, widths[0], 3)
        self.dense = Equalized(16 * widths[0], dense, 1)
        self.last = Equalized(dense, 1, 1, gain=1)

    def forward(self, images: Tensor, level: int, alpha: float) -> Tensor:
        """Return logits (N, 1) for (N, image channels, S, S), S = 4 * 2^level."""
        x = _activated(self.from_image[level](images))
        for number in reversed(range(level)):
            x = self.blocks[number](x)
            if number == level - 1 and alpha != 1:
                x = torch.lerp(_activated(self.from_image[number](F.avg_pool2d(images, 2))), x, alpha)
        x = _activated(self.conv(torch.cat([x, deviation(x, self.group)], 1)))
        logits: Tensor = self.last(_activated(self.dense(x.flatten(1)[:, :, None, None])))
        return logits.flatten(1)

    def parts(self, level: int, fade: bool) -> list[nn.Module]:
        """Return the modules that a level is judged with."""
        return [*self.from_image[level - fade : level + 1], *self.blocks[:level], self.conv, self.dense, self.last]


def deviation(x: Tensor, group: int) -> Tensor:
    """Return how much groups of images differ (section 3): one number for a group, as a map (N, 1, H, W).

    Args:
        x: (N, C, H, W).
        group: images of a group, at most; as many as divide N are taken, and they lie N / group apart.
    """
    count = len(x)
    members = next(n for n in range(min(group, count), 0, -1) if count % n == 0)
    spread: Tensor = x.view(members, count // members, *x.shape[1:]).var(0, correction=0).add(EPSILON).sqrt().mean((1, 2, 3))
    return spread.repeat(members).view(-1, 1, 1, 1).expand(-1, 1, *x.shape[2:])


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")


def _config(latent: int, widths: Sequence[int], image_channels: int) -> Config:
    """Return what a file's shapes tell: the features before each output, from 4 pixels on."""
    channels, top = widths[0], len(widths) - 1
    fewer = [width << (level + 1) for level, width in enumerate(widths) if width < channels]
    base = fewer[0] if fewer else max(Config.base, channels << (top + 1))
    return Config(size=4 << top, image_channels=image_channels, latent=latent, channels=channels, base=base)


def _detect_genforce(state: Mapping[str, Tensor]) -> Config:
    outputs = _in_order(state, "output{}.weight")
    if not 0 <= float(state["lod"]) <= len(outputs) - 1:
        raise WeightsError(f"lod is {float(state['lod'])}, with {len(outputs)} sizes")
    return _config(state["layer0.weight"].shape[1], [output.shape[1] for output in outputs], outputs[0].shape[0])


def _detect_zoo(state: Mapping[str, Tensor], module: str) -> Config:
    outputs = _in_order(state, f"toRGBLayers.{{}}.{module}weight")
    latent = state[f"formatLayer.{module}weight"].shape[1]
    return _config(latent, [output.shape[1] for output in outputs], outputs[0].shape[0])


def _in_order(state: Mapping[str, Tensor], key: str) -> list[Tensor]:
    """Return the tensors whose keys differ in a number, from 0 on."""
    return [state[key.format(i)] for i in range(len(state)) if key.format(i) in state]


def _block_of(match: Match[str]) -> str:
    """Return our name of genforce's layer k, two of which make a block."""
    number = int(match[1]) - 2
    return ("first.", "conv.")[number] if number < 0 else f"blocks.{number // 2}.{('first', 'second')[number % 2]}."


def _from_genforce(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Turn its first layer, a convolution of a padded pixel, into a dense one, and its level of detail into ours."""
    weight, bias = tensors["generator.first.weight"], tensors.get("generator.first.bias")
    if weight.dim() == 4:  # a padded convolution meets its kernel from the end
        tensors["generator.first.weight"] = weight.flip(2, 3).permute(0, 2, 3, 1)
    if bias is not None and bias.dim() == 1:
        tensors["generator.first.bias"] = bias[:, None, None].expand(-1, 4, 4)
    lod = float(tensors.pop("generator.lod"))  # sizes that are left away, and by its fraction how far the next one has gone
    return tensors | _grown(_top(tensors) - floor(lod), 1 - lod % 1)


def _from_zoo(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Scale by what the layers differ: its layers have a gain of sqrt(2) everywhere, and scale biases too."""
    for key in [key for key in tensors if key.endswith(".weight")]:
        weight, prefix = tensors[key], key.removesuffix("weight")
        bias = tensors.get(f"{prefix}bias")
        gain = {"first": 4.0, "to_image": GAIN}.get(key.split(".")[1], 1.0)  # its gain / ours
        tensors[key] = weight * gain
        if bias is not None and weight.dim() > 1 and weight.numel():
            tensors[f"{prefix}bias"] = bias * GAIN / sqrt(weight[0].numel())
    for key, kind in (("generator.first.weight", 2), ("generator.first.bias", 1)):
        if key in tensors and tensors[key].dim() == kind and tensors[key].shape[0] % 16 == 0:
            tensors[key] = tensors[key].view(-1, 4, 4, *tensors[key].shape[1:])
    return tensors | _grown(_top(tensors), 1.0)


def _top(tensors: Mapping[str, Tensor]) -> int:
    return len(_in_order(tensors, "generator.to_image.{}.weight")) - 1


def _grown(level: int, alpha: float) -> dict[str, Tensor]:
    return {"generator.level": torch.tensor(level), "generator.alpha": torch.tensor(alpha)}


_GENFORCE = (
    (r"^layer(\d{1,4})\.", _block_of),
    (r"^output(\d+)\.", r"to_image.\1."),
    (r"^", "generator."),
)
_ZOO = (
    (r"\.module\.", "."),
    (r"^formatLayer\.", "first."),
    (r"^groupScale0\.0\.", "conv."),
    (r"^scaleLayers\.(\d+)\.0\.", r"blocks.\1.first."),
    (r"^scaleLayers\.(\d+)\.1\.", r"blocks.\1.second."),
    (r"^toRGBLayers\.", "to_image."),
    (r"^", "generator."),
)


class PGGAN(System):
    """Images from latents by networks that grow."""

    folder: ClassVar[FolderKind] = "plain"
    layouts: ClassVar[tuple[Layout, ...]] = (
        Layout("genforce", ("lod", "layer0.weight", "output0.weight"), _detect_genforce, _GENFORCE, adapt=_from_genforce),
        *(
            Layout(
                name,
                (f"formatLayer.{module}weight", f"groupScale0.0.{module}weight", f"toRGBLayers.0.{module}weight"),
                partial(_detect_zoo, module=module),
                _ZOO,
                adapt=_from_zoo,
            )
            for name, module in (("GAN zoo", "module."), ("GAN zoo, without module", ""))
        ),
    )
    half_safe = False  # float16 has no 1e-8
    truncates = False
    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c = config
        if c.size < 4 or c.size.bit_count() != 1:
            near = 2 ** max(2, c.size.bit_length() - 1)
            raise UsageError(f"size {c.size}: pggan grows by doubling from 4 pixels: use {near} or {2 * near}")
        self.levels = c.size.bit_length() - 2
        widths = [min(max(1, c.base >> (level + 1)), c.channels) for level in range(self.levels)]
        self.image_channels = c.image_channels
        self.fit = Fit("cover", flip=c.mirror)
        self.latent, self.classes = (c.latent,), ()
        self.generator = PGGANGenerator(c.latent, widths, c.image_channels)
        self.critic = PGGANCritic(widths, c.image_channels, dense=min(c.base, c.channels), group=c.group)

    def generate(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        """Return (N, image channels, S, S) in [0, 1] for (N, latent), as large as the network has grown; it knows no labels."""
        level = int(self.generator.level.clamp(0, self.levels - 1))
        alpha = float(self.generator.alpha) if level else 1.0
        image: Tensor = self.generator(latents, level, alpha)
        return (image + 1) / 2

    def stages(self) -> list[Stage]:
        """Train 4 pixels; then, size by size, fade the larger one in and train it."""
        stages = [(level, fade) for level in range(self.levels) for fade in (True, False)][1:]
        return [self._stage(level, fade, last=(level, fade) == stages[-1]) for level, fade in stages]

    def _stage(self, level: int, fade: bool, last: bool) -> Stage:
        c, size = self.config, 4 << level
        batch = c.batches[min(level, len(c.batches) - 1)]
        optimizer = adam(c.learning_rate if size < 1024 else c.large_rate, (0.0, 0.99))
        losses = [partial(each, level=level, fade=fade) for each in (self.critic_losses, self.generator_losses)]
        critic = Phase("critic", self.critic.parts(level, fade), losses[0], optimizer)
        generator = Phase("generator", self.generator.parts(level, fade), losses[1], optimizer)
        steps = max(1, round((c.last_images if last else c.images) / batch))
        return Stage(f"{size}-fade" if fade else f"{size}", steps, [critic, generator], batch, size)

    def critic_losses(self, batch: Batch, level: int, fade: bool) -> dict[str, Tensor]:
        """Return WGAN-GP's terms, and that which keeps logits near 0 (appendix A)."""
        c, alpha = self.config, self._grow(level, fade)
        real = 2 * batch["image"] - 1
        if fade:  # the data grow sharper as the networks do (section 2)
            real = torch.lerp(_doubled(F.avg_pool2d(real, 2)), real, alpha)
        with torch.no_grad():
            fake = self._fake(real, level, alpha)
        real_logits, fake_logits = self.critic(real, level, alpha), self.critic(fake, level, alpha)
        return {
            **discriminator_losses("wasserstein", real_logits, fake_logits),
            "penalty": c.penalty_weight * gradient_penalty(lambda x: self.critic(x, level, alpha), real, fake),
            "drift": c.drift_weight * real_logits.square().mean(),
        }

    def generator_losses(self, batch: Batch, level: int, fade: bool) -> dict[str, Tensor]:
        """Return WGAN's term."""
        alpha = self._grow(level, fade)
        fake = self._fake(batch["image"], level, alpha)
        return {"adversarial": generator_loss("wasserstein", self.critic(fake, level, alpha))}

    def _grow(self, level: int, fade: bool) -> float:
        """Note in the generator how far it has grown, and return alpha."""
        alpha = float(self.progress) if fade else 1.0
        self.generator.level.fill_(level)
        self.generator.alpha.fill_(alpha)
        return alpha

    def _fake(self, real: Tensor, level: int, alpha: float) -> Tensor:
        """Make as many images as there are real ones, of new latents."""
        latents = torch.randn(len(real), self.config.latent, device=real.device, dtype=real.dtype)
        made: Tensor = self.generator(latents, level, alpha)
        return made

    def inference_modules(self) -> Mapping[str, nn.Module]:
        """Only the generator."""
        return {"generator": self.generator}
