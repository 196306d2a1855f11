"""SRResNet: the residual network that SRGAN starts from, trained on squared error (Ledig et al., CVPR 2017, arXiv:1609.04802).

Reference code: none by the authors; layouts of github.com/Lornatang/SRGAN-PyTorch (Apache-2.0) and of early versions of
github.com/leftthomas/SRGAN (licence not stated) are read.
The network of the SRGAN paper's PSNR results: residual blocks with batch norm and PReLU at low resolution, then pixel shuffle.
Departures from the paper: none known; it leaves open whether convolutions before a batch norm have biases and whether a PReLU
has one slope or one per channel: here no biases and one slope, as the port with published weights has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from gantool.errors import UsageError
from gantool.system import Batch, FolderKind, Layout, Phase, Stage, System, adam, count_children


@dataclass(frozen=True)
class Config:
    """The x4 network of the paper, with 16 blocks."""

    scale: int = 4  # output side / input side: a power of 2
    blocks: int = 16  # B, residual blocks (section 3.2)
    channels: int = 64  # features of every block (fig. 4)
    bias: bool = False  # biases in convolutions that a batch norm follows
    slopes: bool = False  # a slope per channel in every PReLU, instead of one for all
    norm_after_body: bool = True  # batch norm ends the body (fig. 4); one port has a PReLU there
    tanh: bool = False  # squash the output, as some ports do; linear in fig. 4
    signed: bool = True  # the last layer gives [-1, 1] (section 3.2); False: [0, 1], as in one port
    learning_rate: float = 1e-4  # Adam (section 3.2)
    steps: int = 1_000_000  # of the optimiser (section 3.2)
    batch: int = 16  # samples per step (section 3.2)
    patch: int = 96  # high-resolution pixels per side of a training sample (section 3.2)


class ResidualBlock(nn.Module):
    """Convolution, batch norm, PReLU, convolution, batch norm, beside a skip (fig. 4)."""

    def __init__(self, channels: int, bias: bool, slopes: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=bias)
        self.norm1 = nn.BatchNorm2d(channels)
        self.prelu = nn.PReLU(channels if slopes else 1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=bias)
        self.norm2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, channels, H, W) for the same."""
        branch: Tensor = self.norm2(self.conv2(self.prelu(self.norm1(self.conv1(x)))))
        return x + branch


class Doubling(nn.Module):
    """Sub-pixel convolution that doubles both sides, then PReLU (fig. 4)."""

    def __init__(self, channels: int, slopes: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 4 * channels, 3, padding=1)
        self.prelu = nn.PReLU(channels if slopes else 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, channels, 2 H, 2 W) for (N, channels, H, W)."""
        doubled: Tensor = self.prelu(F.pixel_shuffle(self.conv(x), 2))
        return doubled


class SRResNetGenerator(nn.Module):
    """The generator (fig. 4): RGB in [0, 1] in and out; the last layer's [-1, 1] is converted here."""

    def __init__(
        self, scale: int, blocks: int, channels: int, bias: bool, slopes: bool, norm_after_body: bool, tanh: bool, signed: bool
    ) -> None:
        super().__init__()
        if scale < 2 or scale.bit_count() != 1:
            raise UsageError(f"srresnet has no scale {scale}: use 2, 4 or 8")
        self.tanh, self.signed = tanh, signed
        slope_count = channels if slopes else 1
        self.conv_first = nn.Conv2d(3, channels, 9, padding=4)
        self.prelu_first = nn.PReLU(slope_count)
        self.body = nn.Sequential(*(ResidualBlock(channels, bias, slopes) for _ in range(blocks)))
        self.conv_after_body = nn.Conv2d(channels, channels, 3, padding=1, bias=bias or not norm_after_body)
        self.after_body = nn.BatchNorm2d(channels) if norm_after_body else nn.PReLU(slope_count)
        self.upsample = nn.Sequential(*(Doubling(channels, slopes) for _ in range(scale.bit_length() - 1)))
        self.conv_last = nn.Conv2d(channels, 3, 9, padding=4)

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, 3, scale H, scale W) for (N, 3, H, W)."""
        head = self.prelu_first(self.conv_first(images))
        features = head + self.after_body(self.conv_after_body(self.body(head)))
        colors: Tensor = self.conv_last(self.upsample(features))
        if self.tanh:
            colors = colors.tanh()
        return (colors + 1) / 2 if self.signed else colors


def pretraining(generator: nn.Module, learning_rate: float, steps: int, batch: int, patch: int) -> Stage:
    """Return the stage that SRResNet is and SRGAN begins with: mean squared error on images in [-1, 1] (eq. 4)."""

    def losses(samples: Batch) -> dict[str, Tensor]:
        return {"mse": F.mse_loss(2 * generator(samples["low"]) - 1, 2 * samples["high"] - 1)}

    return Stage("pretrain", steps, [Phase("generator", [generator], losses, adam(learning_rate))], batch, patch)


def _detect_lornatang(state: Mapping[str, Tensor]) -> Config:
    return Config(
        scale=2 ** count_children(state, "upsampling"),
        blocks=count_children(state, "trunk"),
        channels=state["conv1.0.weight"].shape[0],
        bias="trunk.0.rcb.0.bias" in state,
        slopes=state["conv1.1.weight"].numel() > 1,
        signed=False,
    )


_LORNATANG = (
    (r"^conv1\.0\.", "conv_first."),
    (r"^conv1\.1\.", "prelu_first."),
    (r"^trunk\.(\d+)\.rcb\.0\.", r"body.\1.conv1."),
    (r"^trunk\.(\d+)\.rcb\.1\.", r"body.\1.norm1."),
    (r"^trunk\.(\d+)\.rcb\.2\.", r"body.\1.prelu."),
    (r"^trunk\.(\d+)\.rcb\.3\.", r"body.\1.conv2."),
    (r"^trunk\.(\d+)\.rcb\.4\.", r"body.\1.norm2."),
    (r"^conv2\.0\.", "conv_after_body."),
    (r"^conv2\.1\.", "after_body."),
    (r"^upsampling\.(\d+)\.upsample_block\.0\.", r"upsample.\1.conv."),
    (r"^upsampling\.(\d+)\.upsample_block\.2\.", r"upsample.\1.prelu."),
    (r"^conv3\.", "conv_last."),
    (r"^", "generator."),
)


def _detect_leftthomas(state: Mapping[str, Tensor]) -> Config:
    return Config(
        scale=2 ** (count_children(state, "block8") - 1),
        blocks=5,
        channels=state["block1.0.weight"].shape[0],
        bias="block2.conv1.bias" in state,
        slopes=state["block1.1.weight"].numel() > 1,
        norm_after_body="block7.1.running_mean" in state,
        tanh=True,
    )


_LEFTTHOMAS = (
    (r"^block1\.0\.", "conv_first."),
    (r"^block1\.1\.", "prelu_first."),
    (r"^block([2-6])\.", lambda m: f"body.{int(m[1]) - 2}."),
    (r"\.bn([12])\.", r".norm\1."),
    (r"^block7\.0\.", "conv_after_body."),
    (r"^block7\.1\.", "after_body."),
    (r"^block8\.(\d+)\.(conv|prelu)\.", r"upsample.\1.\2."),
    (r"^block8\.\d+\.", "conv_last."),
    (r"^", "generator."),
)


class SRResNet(System):
    """Super-resolution by residual blocks with batch norm."""

    folder: ClassVar[FolderKind] = "degraded"
    layouts: ClassVar[tuple[Layout, ...]] = (
        Layout(
            "Lornatang",
            ("conv1.0.weight", "trunk.0.rcb.0.weight", "upsampling.0.upsample_block.0.weight", "conv3.weight"),
            _detect_lornatang,
            _LORNATANG,
        ),
        Layout(
            "leftthomas",
            ("block1.0.weight", "block2.conv1.weight", "block7.0.weight", "block8.0.conv.weight"),
            _detect_leftthomas,
            _LEFTTHOMAS,
        ),
    )
    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c = config
        self.scale = c.scale
        # on the input's grid: half of 9x9, two 3x3 a block, one after the body; the rest, from the last 9x9 back through the
        # doublings (4, 2 + 1, ...), reaches 3 pixels more at every scale
        self.radius = 4 + 2 * c.blocks + 1 + 3
        self.generator = SRResNetGenerator(
            scale=c.scale,
            blocks=c.blocks,
            channels=c.channels,
            bias=c.bias,
            slopes=c.slopes,
            norm_after_body=c.norm_after_body,
            tanh=c.tanh,
            signed=c.signed,
        )

    def upscale(self, images: Tensor) -> Tensor:
        """Return (N, 3, scale H, scale W) for (N, 3, H, W), RGB in [0, 1]."""
        result: Tensor = self.generator(images)
        return result

    def stages(self) -> list[Stage]:
        """One stage: squared error at a constant rate."""
        c = self.config
        return [pretraining(self.generator, c.learning_rate, c.steps, c.batch, c.patch)]

    def inference_modules(self) -> Mapping[str, nn.Module]:
        """Only the generator."""
        return {"generator": self.generator}
