"""Kernel: classical interpolation by nearest, bilinear, bicubic or Lanczos weights (Keys, TASSP 1981).

The kernels and borders are those of MATLAB's `imresize`, which defines the bicubic row of every super-resolution table.
There is nothing to train: these are the yardsticks.
Departures from the paper: it describes the cubic kernel; the box, the triangle and Lanczos' windowed sinc are older.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from gantool.errors import UsageError, unknown
from gantool.layers.kernels import KERNELS, Kernel
from gantool.layers.resampling import imresize
from gantool.system import FolderKind, Stage, System


@dataclass(frozen=True)
class Config:
    """The cubic kernel with a = -0.5."""

    kernel: Kernel = "bicubic"  # nearest, bilinear, bicubic or lanczos
    scale: int = 4  # output side / input side


class Interpolation(System):
    """Interpolation by a fixed kernel."""

    folder: ClassVar[FolderKind] = "degraded"
    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        if config.kernel not in KERNELS:
            raise unknown("kernel", config.kernel, KERNELS)
        if config.scale < 1:
            raise UsageError(f"kernel has no scale {config.scale}: use 1 or more")
        self.scale = config.scale
        self.radius = KERNELS[config.kernel][1] // 2  # half the support; the sample lies within half a pixel of its pixel

    def upscale(self, images: Tensor) -> Tensor:
        """Return (N, C, scale H, scale W) for (N, C, H, W) in any range; mirrored at the border."""
        return imresize(images, self.scale, kernel=self.config.kernel)

    def stages(self) -> list[Stage]:
        """None: there is nothing to learn."""
        return []

    def inference_modules(self) -> Mapping[str, nn.Module]:
        """None: there are no weights."""
        return {}
