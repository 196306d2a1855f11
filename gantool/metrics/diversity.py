"""Diversity of generated pictures (Odena et al. 2017, arXiv:1610.09585, section 4.2): how alike two of them are by MS-SSIM.

Computed here, by `ms_ssim`; see there for what that was checked against. Colours are compared one by one and their values
averaged; the code of PGGAN averages them within each scale, which differs by some 3e-4 on photos.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gantool.errors import UsageError
from gantool.metrics.ms_ssim import SIDE, ms_ssim

WAITING_BYTES = 128 << 20


class Diversity:
    """The mean MS-SSIM of random pairs, each picture in one pair at most; lower is more diverse.

    Pictures wait until 128 MiB of them do; from then on each new one is paired with one of them, drawn at random. Up to that
    number (680 of 256x256 in colour) all pairings are equally likely; memory does not grow with the number of pictures.

    Args:
        seed: of the pairing.
    """

    def __init__(self, seed: int) -> None:
        self._random = torch.Generator().manual_seed(seed)
        self._waiting: list[Tensor] = []
        self._size: tuple[int, int] | None = None
        self._total = 0.0
        self.pairs = 0

    def add(self, image: Tensor) -> None:
        """Add a picture (3, H, W) uint8.

        Raises:
            UsageError: it is of another size than those before, or too small.
        """
        height, width = image.shape[1:]
        if min(height, width) < SIDE:
            raise UsageError(f"ms-ssim-diversity needs {SIDE} pixels a side, and a picture has {width}x{height}: leave it out")
        if self._size not in (None, (height, width)):
            before = f"{self._size[1]}x{self._size[0]}"
            raise UsageError(
                f"ms-ssim-diversity needs pictures of one size, and they have {before} and {width}x{height}: resize them"
            )
        self._size = height, width
        if len(self._waiting) < max(1, WAITING_BYTES // image.numel()):
            self._waiting.append(image.clone())
        else:
            self._compare(image, self._drawn())

    def value(self) -> float | None:
        """Pair what still waits and return the mean of all pairs, if there are any; of an odd number one is left over."""
        while len(self._waiting) > 1:
            self._compare(self._drawn(), self._drawn())
        return self._total / self.pairs if self.pairs else None

    def _drawn(self) -> Tensor:
        return self._waiting.pop(int(torch.randint(len(self._waiting), (), generator=self._random)))

    def _compare(self, one: Tensor, other: Tensor) -> None:
        self._total += ms_ssim(one[None], other[None])
        self.pairs += 1
