"""The Inception network of 2015 that FID, KID and the Inception score look through, and the three ways into it.

It is TensorFlow's graph `inception-2015-12-05`, which is not torchvision's Inception v3: the classifier has 1008 outputs, the
average pools do not count their padding, and the last block takes a maximum where all others take an average. The names of
keys are torchvision's, so the file that pytorch-fid and torch-fidelity publish (the same one, under two names) loads as it is.

Source of the blocks: Szegedy et al. 2016 (arXiv:1512.00567), fig. 5 to 7; of the differences: pytorch-fid.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from gantool.errors import WeightsError

SIDE = 299  # pixels
FEATURES = 2048
CLASSES = 1008

Variant: TypeAlias = Literal["legacy-pytorch", "legacy-tf", "clean"]
"""A way into the network, see `prepared`."""

Pool: TypeAlias = Callable[[Tensor], Tensor]
Convolution: TypeAlias = tuple[str, int, int, int]
"""Name, channels, and the sides of the kernel: rows, columns. All keep the size."""
Branch: TypeAlias = Sequence["Pool | Convolution | list[Convolution]"]
"""One after the other; those in a list look at the same input, side by side."""


class Conv(nn.Module):
    """A convolution without bias, batch normalisation, ReLU.

    Args:
        c_in: channels.
        c_out: channels.
        kernel: rows and columns.
        stride: pixels.
        padded: whether zeros lie around the image, so that the size stays at stride 1.
    """

    def __init__(self, c_in: int, c_out: int, kernel: tuple[int, int], stride: int = 1, padded: bool = True) -> None:
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2) if padded else (0, 0)
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(c_out, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, c_out, H', W') for (N, c_in, H, W)."""
        return F.relu(self.bn(self.conv(x)), inplace=True)


class Mixed(nn.Module):
    """Branches over the same input, their results one after the other.

    Args:
        c_in: channels.
        branches: what each does.
        halving: the last convolution of each branch has stride 2 and no padding.
    """

    def __init__(self, c_in: int, branches: Sequence[Branch], halving: bool = False) -> None:
        super().__init__()
        self.branches, self.channels = branches, 0
        for branch in branches:
            width = c_in
            for step in branch:
                if callable(step):
                    continue
                side_by_side = step if isinstance(step, list) else [step]
                reducing = halving and step is branch[-1]
                for name, channels, rows, columns in side_by_side:
                    self.add_module(name, Conv(width, channels, (rows, columns), 2 if reducing else 1, not reducing))
                width = sum(channels for _, channels, _, _ in side_by_side)
            self.channels += width

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, channels, H', W') for (N, c_in, H, W)."""
        return torch.cat([self._branch(branch, x) for branch in self.branches], 1)

    def _branch(self, branch: Branch, x: Tensor) -> Tensor:
        for step in branch:
            if callable(step):
                x = step(x)
            elif isinstance(step, list):
                x = torch.cat([self.get_submodule(name)(x) for name, *_ in step], 1)
            else:
                x = self.get_submodule(step[0])(x)
        return x


def _average(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def _maximum(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, stride=1, padding=1)


def _halve(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, stride=2)


def _a(c_in: int, pooled: int) -> Mixed:
    return Mixed(
        c_in,
        [
            [("branch1x1", 64, 1, 1)],
            [("branch5x5_1", 48, 1, 1), ("branch5x5_2", 64, 5, 5)],
            [("branch3x3dbl_1", 64, 1, 1), ("branch3x3dbl_2", 96, 3, 3), ("branch3x3dbl_3", 96, 3, 3)],
            [_average, ("branch_pool", pooled, 1, 1)],
        ],
    )


def _b(c_in: int) -> Mixed:
    wide = [("branch3x3dbl_1", 64, 1, 1), ("branch3x3dbl_2", 96, 3, 3), ("branch3x3dbl_3", 96, 3, 3)]
    return Mixed(c_in, [[("branch3x3", 384, 3, 3)], wide, [_halve]], halving=True)


def _c(c_in: int, c: int) -> Mixed:
    twice = [("branch7x7dbl_1", c, 1, 1), ("branch7x7dbl_2", c, 7, 1), ("branch7x7dbl_3", c, 1, 7)]
    return Mixed(
        c_in,
        [
            [("branch1x1", 192, 1, 1)],
            [("branch7x7_1", c, 1, 1), ("branch7x7_2", c, 1, 7), ("branch7x7_3", 192, 7, 1)],
            [*twice, ("branch7x7dbl_4", c, 7, 1), ("branch7x7dbl_5", 192, 1, 7)],
            [_average, ("branch_pool", 192, 1, 1)],
        ],
    )


def _d(c_in: int) -> Mixed:
    wide = [("branch7x7x3_1", 192, 1, 1), ("branch7x7x3_2", 192, 1, 7), ("branch7x7x3_3", 192, 7, 1)]
    branches: list[Branch] = [
        [("branch3x3_1", 192, 1, 1), ("branch3x3_2", 320, 3, 3)],
        [*wide, ("branch7x7x3_4", 192, 3, 3)],
        [_halve],
    ]
    return Mixed(c_in, branches, halving=True)


def _e(c_in: int, pool: Pool) -> Mixed:
    return Mixed(
        c_in,
        [
            [("branch1x1", 320, 1, 1)],
            [("branch3x3_1", 384, 1, 1), [("branch3x3_2a", 384, 1, 3), ("branch3x3_2b", 384, 3, 1)]],
            [
                ("branch3x3dbl_1", 448, 1, 1),
                ("branch3x3dbl_2", 384, 3, 3),
                [("branch3x3dbl_3a", 384, 1, 3), ("branch3x3dbl_3b", 384, 3, 1)],
            ],
            [pool, ("branch_pool", 192, 1, 1)],
        ],
    )


def _blocks() -> dict[str, nn.Module]:
    return {
        "Conv2d_1a_3x3": Conv(3, 32, (3, 3), 2, padded=False),
        "Conv2d_2a_3x3": Conv(32, 32, (3, 3), padded=False),
        "Conv2d_2b_3x3": Conv(32, 64, (3, 3)),
        "MaxPool_1": nn.MaxPool2d(3, 2),
        "Conv2d_3b_1x1": Conv(64, 80, (1, 1)),
        "Conv2d_4a_3x3": Conv(80, 192, (3, 3), padded=False),
        "MaxPool_2": nn.MaxPool2d(3, 2),
        "Mixed_5b": _a(192, 32),
        "Mixed_5c": _a(256, 64),
        "Mixed_5d": _a(288, 64),
        "Mixed_6a": _b(288),
        "Mixed_6b": _c(768, 128),
        "Mixed_6c": _c(768, 160),
        "Mixed_6d": _c(768, 160),
        "Mixed_6e": _c(768, 192),
        "Mixed_7a": _d(768),
        "Mixed_7b": _e(1280, _average),
        "Mixed_7c": _e(2048, _maximum),
    }


class Inception(nn.Module):
    """The network, frozen.

    Args:
        state: its weights under torchvision's names.

    Raises:
        WeightsError: they are those of another network.
    """

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        with torch.device("meta"):  # the weights are given: no time for random ones
            for name, block in _blocks().items():
                self.add_module(name, block)
            self.fc = nn.Linear(FEATURES, CLASSES)
        given = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
        wanted = {key: value.shape for key, value in self.state_dict().items() if not key.endswith("num_batches_tracked")}
        if {key: value.shape for key, value in given.items()} != wanted:
            raise WeightsError(
                "these weights are not those of FID's inception (1008 classes, torchvision's names of keys): name "
                "pytorch-fid's file, pt_inception-2015-12-05-6726825d.pth, with --weights inception=FILE"
            )
        self.load_state_dict(given, assign=True)
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (N, 2048), the means over the last block, and logits (N, 1008) without the classifier's bias.

        The Inception score's convention, an accident of the first code, is to leave the bias out.

        Args:
            x: (N, 3, 299, 299) in about [-1, 1], of `prepared`.
        """
        for name, block in self.named_children():
            if name != "fc":
                x = block(x)
        features = F.adaptive_avg_pool2d(x, 1).flatten(1)
        return features, features @ self.fc.weight.T


def prepared(images: Tensor, variant: Variant) -> Tensor:
    """Return uint8 images (N, 3, H, W) as the network takes them, (N, 3, 299, 299) float32 in [-1, 1].

    The variants differ in how they resize, and a figure of one is not to be compared with a figure of another:

    - "legacy-pytorch": pytorch-fid's, bilinear without antialiasing;
    - "legacy-tf": the first code's and torch-fidelity's, bilinear by TensorFlow 1;
    - "clean": clean-fid's, bicubic with antialiasing, unrounded (Parmar et al. 2022, arXiv:2104.11222).
    """
    if variant == "legacy-pytorch":
        return 2 * F.interpolate(images.float() / 255, (SIDE, SIDE), mode="bilinear", align_corners=False) - 1
    resized = tensorflow_bilinear(images.float(), SIDE) if variant == "legacy-tf" else _bicubic(images)
    return (resized - 128) / 128


def tensorflow_bilinear(images: Tensor, side: int) -> Tensor:
    """Return images (N, C, H, W) resized to (N, C, side, side) as `resize_bilinear` of TensorFlow 1 does.

    Pixel i of the result lies at i * H / side of the input, without the half pixel by which others shift their grid, and
    nothing is antialiased. The order of the operations is TensorFlow's, for the sake of the last bit.
    """
    (left, right, across), (top, bottom, down) = _grid(images.shape[3], side, images), _grid(images.shape[2], side, images)
    upper, lower = images[:, :, top], images[:, :, bottom]
    upper = upper[..., left] + (upper[..., right] - upper[..., left]) * across
    lower = lower[..., left] + (lower[..., right] - lower[..., left]) * across
    return upper + (lower - upper) * down[:, None]


def _grid(length: int, side: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return for each pixel of the result the two that it lies between, and how far it is from the first."""
    positions = torch.arange(side, dtype=torch.float32, device=like.device) * torch.tensor(length / side)
    before = positions.long()
    return before, (before + 1).clamp_max(length - 1), positions - before


def _bicubic(images: Tensor) -> Tensor:
    """Return uint8 images (N, C, H, W) resized by Pillow in floating point, (N, C, 299, 299) in [0, 255]."""
    planes = images.cpu().float().flatten(0, 1).numpy()
    resized = [np.asarray(Image.fromarray(plane).resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for plane in planes]
    return torch.from_numpy(np.stack(resized)).clamp(0, 255).view(*images.shape[:2], SIDE, SIDE).to(images.device)
