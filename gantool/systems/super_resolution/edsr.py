"""EDSR: deep residual super-resolution without batch norm (Lim et al., CVPRW 2017, arXiv:1707.02921).

Reference code: github.com/sanghyun-son/EDSR-PyTorch (MIT).
Winner of the NTIRE 2017 challenge. Changes over SRResNet: no batch norm, no activation outside the blocks, absolute error, and
branches scaled by 0.1 where the network is wide. The default is the paper's baseline; the preset "full" is its large network.
x3 and x4 start from the trained x2: `--init`.
Departures from the paper: none known. Its multi-scale sibling MDSR is not here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from gantool.errors import UsageError, WeightsError
from gantool.schedules import halve_at
from gantool.system import Batch, FolderKind, Layout, Phase, Stage, System, adam, count_children

DIV2K_MEAN = (0.4488, 0.4371, 0.4040)  # RGB of the training set, which the reference code subtracts


@dataclass(frozen=True)
class Config:
    """The baseline network for x4."""

    scale: int = 4  # output side / input side: 3 or a power of 2
    blocks: int = 16  # B, residual blocks (table 1)
    channels: int = 64  # F, features of every block (table 1)
    residual_scaling: float = 1.0  # factor on each block's branch; 0.1 keeps a wide network stable (section 3.2)
    rgb_range: float = 255.0  # value of white inside the network; 1 in copies that were retrained
    mean_shift: bool = True  # subtract the mean colour of DIV2K inside; False in copies that were retrained
    learning_rate: float = 1e-4  # Adam (section 4.2)
    halving: int = 200_000  # steps after which the rate is halved, again and again (section 4.2)
    steps: int = 300_000  # of the optimiser
    batch: int = 16  # samples per step (section 4.2)
    patch: int = 48  # low-resolution pixels per side of a training sample (section 4.2)


PRESETS = {"baseline": Config(), "full": Config(blocks=32, channels=256, residual_scaling=0.1)}


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a skip (fig. 2c)."""

    def __init__(self, channels: int, scaling: float) -> None:
        super().__init__()
        self.scaling = scaling
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, channels, H, W) for the same."""
        branch: Tensor = self.conv2(F.relu(self.conv1(x)))
        return x + branch * self.scaling


class Upsampler(nn.Sequential):
    """Sub-pixel convolutions: one for scale 3, one per doubling otherwise (fig. 3)."""

    def __init__(self, scale: int, channels: int) -> None:
        layers: list[nn.Module] = []
        for factor in _factors(scale):
            layers += [nn.Conv2d(channels, channels * factor**2, 3, padding=1), nn.PixelShuffle(factor)]
        super().__init__(*layers)


def _factors(scale: int) -> list[int]:
    if scale == 3:
        return [3]
    if scale < 2 or scale.bit_count() != 1:
        raise UsageError(f"no pixel-shuffle upsampler for scale {scale}: use 2, 3, 4 or 8")
    return [2] * (scale.bit_length() - 1)


class EDSRNet(nn.Module):
    """The network (fig. 3): RGB in [0, 1] in and out; inside, zero-mean colours up to `rgb_range`."""

    mean: Tensor

    def __init__(
        self, scale: int, blocks: int, channels: int, residual_scaling: float, rgb_range: float, mean_shift: bool
    ) -> None:
        super().__init__()
        self.rgb_range = rgb_range
        mean = DIV2K_MEAN if mean_shift else (0.0, 0.0, 0.0)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.conv_first = nn.Conv2d(3, channels, 3, padding=1)
        self.body = nn.Sequential(*(ResidualBlock(channels, residual_scaling) for _ in range(blocks)))
        self.conv_after_body = nn.Conv2d(channels, channels, 3, padding=1)
        self.upsample = Upsampler(scale, channels)
        self.conv_last = nn.Conv2d(channels, 3, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, 3, scale H, scale W) for (N, 3, H, W)."""
        head = self.conv_first((images - self.mean) * self.rgb_range)
        features = head + self.conv_after_body(self.body(head))
        colors: Tensor = self.conv_last(self.upsample(features))
        return colors / self.rgb_range + self.mean


def _detect_official(state: Mapping[str, Tensor]) -> Config:
    """Read the hyper-parameters of the reference code's layout; the residual scaling is not in the file, only usual."""
    rgb_range, mean_shift = _colors(state.get("sub_mean.bias"))
    return _detect(state, "head.0.weight", count_children(state, "body") - 1, "tail.0", rgb_range, mean_shift)


def _detect_basicsr(state: Mapping[str, Tensor]) -> Config:
    """Read the hyper-parameters of BasicSR's layout, whose input is [0, 1] and whose inside is [0, 255]."""
    return _detect(state, "conv_first.weight", count_children(state, "body"), "upsample", 255.0, True)


def _detect(state: Mapping[str, Tensor], first: str, blocks: int, tail: str, rgb_range: float, mean_shift: bool) -> Config:
    channels = state[first].shape[0]
    doublings = (count_children(state, tail) + 1) // 2  # convolutions, with shuffles between them
    scale = 3 if state[f"{tail}.0.weight"].shape[0] == 9 * channels else 2**doublings
    scaling = 0.1 if channels >= 256 else 1.0
    return Config(scale, blocks, channels, scaling, rgb_range, mean_shift)


def _colors(bias: Tensor | None) -> tuple[float, bool]:
    """Return the value of white and whether the mean is subtracted, from the bias that subtracts it."""
    if bias is None:
        return 1.0, False
    for rgb_range in (255.0, 1.0):
        if torch.allclose(bias.double(), -rgb_range * bias.new_tensor(DIV2K_MEAN, dtype=torch.float64), rtol=1e-3):
            return rgb_range, True
    raise WeightsError(f"sub_mean.bias is {bias.tolist()}, not the mean colour of DIV2K: this EDSR was trained otherwise")


_OFFICIAL = (
    (r"^head\.0\.", "conv_first."),
    (r"^body\.(\d+)\.body\.0\.", r"body.\1.conv1."),
    (r"^body\.(\d+)\.body\.2\.", r"body.\1.conv2."),
    (r"^body\.\d+\.(weight|bias)$", r"conv_after_body.\1"),
    (r"^tail\.0\.", "upsample."),
    (r"^tail\.1\.", "conv_last."),
    (r"^", "generator."),
)


class EDSR(System):
    """Super-resolution by residual blocks without batch norm."""

    folder: ClassVar[FolderKind] = "degraded"
    layouts: ClassVar[tuple[Layout, ...]] = (
        Layout(
            "official",
            ("head.0.weight", "body.0.body.0.weight", "tail.0.0.weight", "tail.1.weight"),
            _detect_official,
            _OFFICIAL,
            ignored=r"(sub|add)_mean\.(weight|bias)",
        ),
        Layout(
            "BasicSR",
            ("conv_first.weight", "body.0.conv1.weight", "conv_after_body.weight", "upsample.0.weight", "conv_last.weight"),
            _detect_basicsr,
            ((r"^", "generator."),),
        ),
    )
    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c = config
        self.scale = c.scale
        # 3x3 convolutions on the input's grid: first, two a block, after the body, and the upsampler's first; those on finer
        # grids reach less than one pixel more
        self.radius = 1 + 2 * c.blocks + 1 + 1 + 1
        self.generator = EDSRNet(c.scale, c.blocks, c.channels, c.residual_scaling, c.rgb_range, c.mean_shift)

    def upscale(self, images: Tensor) -> Tensor:
        """Return (N, 3, scale H, scale W) for (N, 3, H, W), RGB in [0, 1]."""
        result: Tensor = self.generator(images)
        return result

    def stages(self) -> list[Stage]:
        """One stage: absolute error, the rate halved at regular steps."""
        c = self.config
        halvings = [step / c.steps for step in range(c.halving, c.steps, c.halving)]
        phase = Phase("generator", [self.generator], self.losses, adam(c.learning_rate), halve_at(halvings))
        return [Stage("pixel", c.steps, [phase], c.batch, c.patch * c.scale)]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Mean absolute error in units of the network's colours."""
        return {"l1": self.config.rgb_range * F.l1_loss(self.generator(batch["low"]), batch["high"])}

    def inference_modules(self) -> Mapping[str, nn.Module]:
        """Only the generator."""
        return {"generator": self.generator}
