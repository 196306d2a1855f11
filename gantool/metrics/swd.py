"""Sliced Wasserstein distance (Karras et al. 2018, arXiv:1710.10196, section 5): how alike small patches of two sets are.

Computed here: no library has it. In tests the pyramid is checked against OpenCV's, the distance against SciPy's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from gantool.errors import UsageError

PICTURES = 16_384  # on each side, in the paper
SMALLEST = 16  # pixels that the shorter side of the last level has at least
PATCH = 7  # pixels a side
PATCHES = 128  # of each picture and level
DIRECTIONS, TOGETHER = 512, 16  # the paper's 4 repeats of 128; how many are projected on at once
Level: TypeAlias = Sequence[Tensor]
"""Patches of one level, by picture, (PATCHES, 3, PATCH, PATCH)."""

_CHUNK = 64  # pictures that are unpacked at once
_BINOMIAL = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16


class Descriptors:
    """Random patches of every level of pictures: 38 kB a picture and level, of 16,384 pictures; those after are left out.

    They are kept in half precision: on photos that moves a level's figure by up to 0.02 (times 1000), where patches from other
    places move it by 0.7 and more. 16,384 pictures of 256x256, which have 5 levels, take 3.1 GB.

    Args:
        seed: of where patches lie. Two sides with one seed are looked at in the same places, so that equal sets are at 0.
    """

    def __init__(self, seed: int) -> None:
        self._random = torch.Generator().manual_seed(seed)
        self._found: list[list[Tensor]] = []
        self.size: tuple[int, int] | None = None
        self.count = 0

    def add(self, image: Tensor) -> None:
        """Add a picture (3, H, W) uint8.

        Raises:
            UsageError: it is too small, or of another size than those before.
        """
        height, width = image.shape[1:]
        if min(height, width) < SMALLEST:
            raise UsageError(f"swd needs {SMALLEST} pixels a side, and a picture has {width}x{height}: leave it out")
        if self.size not in (None, (height, width)):
            before = f"{self.size[1]}x{self.size[0]}"
            raise UsageError(f"swd needs pictures of one size, and they have {before} and {width}x{height}: resize them")
        self.size = height, width
        if self.count < PICTURES:
            pyramid = laplacian(image[None].float(), _levels(min(height, width)))
            self._found = self._found or [[] for _ in pyramid]
            for found, level in zip(self._found, pyramid, strict=True):
                found.append(self._patches(level[0]))
            self.count += 1

    def _patches(self, level: Tensor) -> Tensor:
        """Return (PATCHES, 3, PATCH, PATCH) float16 of (3, H, W)."""
        top, left = (torch.randint(side - PATCH + 1, (PATCHES,), generator=self._random) for side in level.shape[1:])
        windows = level.unfold(1, PATCH, 1).unfold(2, PATCH, 1)  # (3, H - 6, W - 6, PATCH, PATCH), a view
        return windows[:, top, left].transpose(0, 1).half().contiguous()

    @property
    def picture_bytes(self) -> int:
        """What each picture leaves in memory, once there was one."""
        return sum(found[0].nbytes for found in self._found)

    def levels(self) -> list[list[Tensor]]:
        """Return the patches of each level, the finest first, by picture, (PATCHES, 3, PATCH, PATCH) float16."""
        return self._found


def swd(results: Sequence[Level], references: Sequence[Level], seed: int) -> list[float]:
    """Return for each level the mean distance between sorted projections of patches, times 1000 as the paper reports it.

    Colours are brought to mean 0 and deviation 1 over each side first. Of the larger side as many pictures are taken as the
    smaller one has, at even distances. The figure that papers give is the mean over the levels.

    Args:
        results: of `Descriptors`, by level.
        references: of `Descriptors`, of pictures of the same size.
        seed: of the directions.
    """
    random = torch.Generator().manual_seed(seed)
    return [1000 * _distance(one, other, random) for one, other in zip(results, references, strict=True)]


def _distance(one: Level, other: Level, random: torch.Generator) -> float:
    count = min(len(one), len(other))
    sides = [_Side([level[index * len(level) // count] for index in range(count)]) for level in (one, other)]
    directions = torch.randn(DIRECTIONS, 3 * PATCH * PATCH, generator=random)
    directions /= directions.norm(dim=1, keepdim=True)
    total = 0.0
    for some in torch.split(directions, TOGETHER):
        first, second = (side.projected(some).numpy() for side in sides)
        first.sort(axis=1)
        second.sort(axis=1)
        total += float(abs(first - second).mean(dtype="float64")) * len(some)
    return total / DIRECTIONS


class _Side:
    """Patches of one level with each colour brought to mean 0 and deviation 1, of which no such copy is held.

    Args:
        pictures: (PATCHES, 3, PATCH, PATCH) each.
    """

    def __init__(self, pictures: Level) -> None:
        self._pictures = pictures
        values = len(pictures) * PATCHES * PATCH * PATCH  # of each colour
        nothing = torch.zeros(3, dtype=torch.float64)
        self._mean = sum((some.double().sum((0, 2, 3)) for some in self._some()), nothing) / values
        squares = sum(((some - self._mean[:, None, None]).square().sum((0, 2, 3)) for some in self._some()), nothing)
        deviation = (squares / values).sqrt()
        self._deviation = deviation.where(deviation > 0, 1)  # 0: one colour only

    def _some(self) -> Iterator[Tensor]:
        for start in range(0, len(self._pictures), _CHUNK):
            yield torch.cat(list(self._pictures[start : start + _CHUNK])).float()

    def projected(self, directions: Tensor) -> Tensor:
        """Return (N, patches) for directions (N, 3 PATCH PATCH)."""
        mean, deviation = (value.float().repeat_interleave(PATCH * PATCH) for value in (self._mean, self._deviation))
        scaled = directions / deviation
        found = torch.cat([scaled @ some.flatten(1).T for some in self._some()], 1)
        return found.sub_((scaled @ mean)[:, None])


def laplacian(images: Tensor, levels: int) -> list[Tensor]:
    """Return the Laplacian pyramid of images (N, C, H, W), the finest level first, the last one a small image."""
    pyramid = [images]
    for _ in range(1, levels):
        smaller = _blur(pyramid[-1])[:, :, ::2, ::2]
        pyramid[-1] = pyramid[-1] - _enlarged(smaller, pyramid[-1].shape)
        pyramid.append(smaller)
    return pyramid


def _enlarged(images: Tensor, shape: torch.Size) -> Tensor:
    spread = images.new_zeros(shape)
    spread[:, :, ::2, ::2] = images
    return _blur(spread) * 4


def _blur(images: Tensor) -> Tensor:
    """Blur with the binomial filter, mirrored at the border about the last pixel."""
    channels = images.shape[1]
    across = _BINOMIAL.to(images).view(1, 1, 1, 5).expand(channels, 1, 1, 5)
    images = F.conv2d(F.pad(images, (2, 2, 2, 2), mode="reflect"), across, groups=channels)
    return F.conv2d(images, across.transpose(2, 3), groups=channels)


def _levels(side: int) -> int:
    """Return how often the shorter side can be halved before it is below 16 pixels, and once more for itself."""
    return (side // SMALLEST).bit_length()
