"""SRCNN: three convolutions that sharpen a bicubic enlargement (Dong et al., TPAMI 2016, arXiv:1501.00092).

The first convolutional network for super-resolution (ECCV 2014): patches are extracted, mapped and put together again, on luma
alone; colour is enlarged by bicubic interpolation. The default is the 9-5-5 network that comparison tables list.
Reference code: the authors' page at the Chinese University of Hong Kong (MATLAB and Caffe, no licence stated).
Departures from the paper: training patches are enlarged one by one, so the bicubic kernel sees their own mirrored border, and
are trimmed to a multiple of the scale; low resolution is MATLAB's bicubic without a blur before it, as in later comparisons.
Convolutions keep the size by repeating the edge pixels at every layer, as the authors' test code does; they train without
padding, which is what remains here once training has cut off all that an edge can touch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import ClassVar

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from gantool.errors import UsageError
from gantool.layers.color import luma, replace_luma
from gantool.layers.resampling import imresize
from gantool.system import Batch, FolderKind, Layout, Phase, Stage, System


@dataclass(frozen=True)
class Config:
    """The 9-5-5 network."""

    scale: int = 4  # output side / input side
    middle: int = 5  # f2, side of the second layer's kernel in pixels: 1, 3 or 5 (section 4.3.2)
    learning_rate: float = 1e-4  # of the first two layers (section 3.3)
    last_learning_rate: float = 1e-5  # of the third; smaller, or training does not converge (section 3.3)
    steps: int = 6_250_000  # of the optimiser: the paper's 8e8 samples
    batch: int = 128  # samples per step
    patch: int = 33  # f_sub, enlarged pixels per side of a training sample (section 4.1), less the remainder by the scale


PRESETS = {"9-1-5": Config(middle=1), "9-3-5": Config(middle=3), "9-5-5": Config()}


class SRCNNNet(nn.Module):
    """The network (fig. 2): luma of the enlarged picture in and out, in the range of `gantool.layers.color.luma`."""

    def __init__(self, middle: int) -> None:
        super().__init__()
        self.conv1 = _conv(1, 64, 9)
        self.conv2 = _conv(64, 32, middle)
        self.conv3 = _conv(32, 1, 5)

    def forward(self, enlarged: Tensor) -> Tensor:
        """Return (N, 1, H, W) for (N, 1, H, W)."""
        sharpened: Tensor = self.conv3(F.relu(self.conv2(F.relu(self.conv1(enlarged)))))
        return sharpened


def _conv(c_in: int, c_out: int, size: int) -> nn.Conv2d:
    conv = nn.Conv2d(c_in, c_out, size, padding=size // 2, padding_mode="replicate")
    nn.init.normal_(conv.weight, std=0.001)  # section 3.3
    nn.init.zeros_(conv.get_parameter("bias"))
    return conv


def _sgd(*rates: float) -> Callable[[Sequence[nn.Module]], Optimizer]:
    """Return a maker of gradient descent with momentum and one rate per layer (eq. 5)."""
    return lambda layers: SGD(
        [{"params": layer.parameters(), "lr": rate} for layer, rate in zip(layers, rates, strict=True)], momentum=0.9
    )


def _detect(state: Mapping[str, Tensor]) -> Config:
    """Read the middle kernel; the scale is not in the file, since the network works on the enlarged picture."""
    return Config(middle=state["conv2.weight"].shape[-1])


class SRCNN(System):
    """Super-resolution by a network of three layers."""

    folder: ClassVar[FolderKind] = "degraded"
    layouts: ClassVar[tuple[Layout, ...]] = (
        Layout("ports", ("conv1.weight", "conv2.weight", "conv3.weight"), _detect, ((r"^", "generator."),)),
    )
    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        if config.middle not in (1, 3, 5):
            raise UsageError(f"srcnn has no middle kernel of side {config.middle}: use 1, 3 or 5")
        self.scale = config.scale
        self.reach = 4 + config.middle // 2 + 2  # enlarged pixels on each side, the sum of the three kernels'
        self.generator = SRCNNNet(config.middle)
        # The farthest enlarged pixel lies reach + (scale - 1) / 2 from the middle of its input pixel, in enlarged pixels; from
        # there the bicubic kernel takes input pixels less than 2 away.
        self.radius = ceil((self.reach + (self.scale - 1) / 2) / self.scale + 2) - 1
        if self._size() <= 2 * self.reach:
            raise UsageError(f"patch {config.patch} is within reach of its edges: use more than {2 * self.reach + self.scale}")

    def upscale(self, images: Tensor) -> Tensor:
        """Return (N, 3, scale H, scale W) for (N, 3, H, W), RGB in [0, 1]."""
        enlarged = imresize(images, self.scale)
        return replace_luma(enlarged, self.generator(luma(enlarged)))

    def stages(self) -> list[Stage]:
        """One stage: squared error at constant rates."""
        c, net = self.config, self.generator
        rates = (c.learning_rate, c.learning_rate, c.last_learning_rate)
        phase = Phase("generator", [net.conv1, net.conv2, net.conv3], self.losses, _sgd(*rates))
        return [Stage("pixel", c.steps, [phase], c.batch, self._size())]

    def _size(self) -> int:
        return self.config.patch // self.scale * self.scale

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Squared error of luma, summed over a sample and averaged over samples (eq. 4), away from the edges."""
        inner = slice(self.reach, -self.reach)
        error = self.generator(luma(imresize(batch["low"], self.scale))) - luma(batch["high"])
        return {"mse": error[:, :, inner, inner].square().sum((1, 2, 3)).mean()}

    def inference_modules(self) -> Mapping[str, nn.Module]:
        """Only the generator."""
        return {"generator": self.generator}
