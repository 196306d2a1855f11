"""RCAN: a very deep residual network that weighs its channels (Zhang et al., ECCV 2018, arXiv:1807.02758).

Reference code: github.com/yulunzhang/RCAN (licence not stated), which builds on EDSR's.
Changes over EDSR: each channel of a block's branch is weighed, by what the channels are on average over the whole picture, and
blocks stand in groups with a skip around each. x3, x4 and x8 start from the trained x2: `--init`.
Departures from the paper: none known. Its models for pictures blurred before they are made small are not here.
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
from gantool.systems.super_resolution.edsr import DIV2K_MEAN, Upsampler


@dataclass(frozen=True)
class Config:
    """The network of the paper, for x4."""

    scale: int = 4  # output side / input side: 3 or a power of 2
    groups: int = 10  # G, residual groups (section 3.4)
    blocks: int = 20  # B, residual channel attention blocks of each group (section 3.4)
    channels: int = 64  # C, features of every block (section 3.4)
    reduction: int = 16  # r, channels / those between the two layers of an attention (section 3.4)
    rgb_range: float = 255.0  # value of white inside the network
    mean_shift: bool = True  # subtract the mean colour of DIV2K inside; False in copies that were retrained without
    learning_rate: float = 1e-4  # Adam (section 4.1)
    halving: int = 200_000  # steps after which the rate is halved, again and again (section 4.1)
    steps: int = 1_000_000  # of the optimiser, 1000 epochs of the reference code
    batch: int = 16  # samples per step (section 4.1)
    patch: int = 48  # low-resolution pixels per side of a training sample (section 4.1)


class ChannelAttention(nn.Module):
    """Weights for channels, between 0 and 1, from their means over the whole picture (fig. 3)."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(channels, channels // reduction, 1)
        self.up = nn.Conv2d(channels // reduction, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, channels, H, W) for the same."""
        means = F.adaptive_avg_pool2d(x, 1)  # (N, channels, 1, 1)
        return x * torch.sigmoid(self.up(F.relu(self.down(means))))


class Block(nn.Module):
    """Two 3x3 convolutions and channel attention beside a skip (fig. 4)."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.attention = ChannelAttention(channels, reduction)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, channels, H, W) for the same."""
        branch: Tensor = self.attention(self.conv2(F.relu(self.conv1(x))))
        return x + branch


class Group(nn.Module):
    """Blocks and a 3x3 convolution beside a short skip (fig. 2)."""

    def __init__(self, blocks: int, channels: int, reduction: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(Block(channels, reduction) for _ in range(blocks)))
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, channels, H, W) for the same."""
        branch: Tensor = self.conv(self.blocks(x))
        return x + branch


class RCANNet(nn.Module):
    """The network (fig. 2): RGB in [0, 1] in and out; inside, zero-mean colours up to `rgb_range`."""

    mean: Tensor

    def __init__(
        self, scale: int, groups: int, blocks: int, channels: int, reduction: int, rgb_range: float, mean_shift: bool
    ) -> None:
        super().__init__()
        if channels < reduction:
            raise UsageError(f"reduction {reduction} leaves nothing of {channels} channels: use {channels} or less")
        self.rgb_range = rgb_range
        mean = DIV2K_MEAN if mean_shift else (0.0, 0.0, 0.0)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.conv_first = nn.Conv2d(3, channels, 3, padding=1)
        self.groups = nn.Sequential(*(Group(blocks, channels, reduction) for _ in range(groups)))
        self.conv_after_body = nn.Conv2d(channels, channels, 3, padding=1)
        self.upsample = Upsampler(scale, channels)
        self.conv_last = nn.Conv2d(channels, 3, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, 3, scale H, scale W) for (N, 3, H, W)."""
        head = self.conv_first((images - self.mean) * self.rgb_range)
        features = head + self.conv_after_body(self.groups(head))
        colors: Tensor = self.conv_last(self.upsample(features))
        return colors / self.rgb_range + self.mean


def _detect(state: Mapping[str, Tensor]) -> Config:
    """Read the hyper-parameters of the reference code's layout; without a mean, the value of white is only usual."""
    channels, bias = state["head.0.weight"].shape[0], state.get("sub_mean.bias")
    doublings = (count_children(state, "tail.0") + 1) // 2  # convolutions, with shuffles between them
    return Config(
        scale=3 if state["tail.0.0.weight"].shape[0] == 9 * channels else 2**doublings,
        groups=count_children(state, "body") - 1,
        blocks=count_children(state, "body.0.body") - 1,
        channels=channels,
        reduction=channels // state["body.0.body.0.body.3.conv_du.0.weight"].shape[0],
        rgb_range=255.0 if bias is None else _white(bias),
        mean_shift=bias is not None,
    )


def _white(bias: Tensor) -> float:
    """Return the value of white, from the bias that subtracts the mean colour."""
    for rgb_range in (255.0, 1.0):
        if torch.allclose(bias.double(), -rgb_range * bias.new_tensor(DIV2K_MEAN, dtype=torch.float64), rtol=1e-3):
            return rgb_range
    raise WeightsError(f"sub_mean.bias is {bias.tolist()}, not the mean colour of DIV2K: this RCAN was trained otherwise")


_OFFICIAL = (
    (r"^head\.0\.", "conv_first."),
    (r"^body\.(\d+)\.body\.(\d+)\.body\.0\.", r"groups.\1.blocks.\2.conv1."),
    (r"^body\.(\d+)\.body\.(\d+)\.body\.2\.", r"groups.\1.blocks.\2.conv2."),
    (r"^body\.(\d+)\.body\.(\d+)\.body\.3\.conv_du\.0\.", r"groups.\1.blocks.\2.attention.down."),
    (r"^body\.(\d+)\.body\.(\d+)\.body\.3\.conv_du\.2\.", r"groups.\1.blocks.\2.attention.up."),
    (r"^body\.(\d+)\.body\.\d+\.(weight|bias)$", r"groups.\1.conv.\2"),
    (r"^body\.\d+\.(weight|bias)$", r"conv_after_body.\1"),
    (r"^tail\.0\.", "upsample."),
    (r"^tail\.1\.", "conv_last."),
    (r"^", "generator."),
)


class RCAN(System):
    """Super-resolution by residual blocks with channel attention."""

    folder: ClassVar[FolderKind] = "degraded"
    layouts: ClassVar[tuple[Layout, ...]] = (
        Layout(
            "official",
            (
                "head.0.weight",
                "body.0.body.0.body.0.weight",
                "body.0.body.0.body.3.conv_du.0.weight",
                "tail.0.0.weight",
                "tail.1.weight",
            ),
            _detect,
            _OFFICIAL,
            ignored=r"(sub|add)_mean\.(weight|bias)",
        ),
    )
    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c = config
        self.scale = c.scale
        self.radius = None  # every attention takes means over the whole picture
        self.generator = RCANNet(c.scale, c.groups, c.blocks, c.channels, c.reduction, c.rgb_range, c.mean_shift)

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
