"""What SRResCGAN and SRResCycGAN are trained to undo besides the reduction: noise of a sensor, JPEG, and a mixture.

(Umer et al., CVPRW 2020, arXiv:2005.00953; Umer and Micheloni, ECCVW 2020, arXiv:2009.03693.) All reduce by MATLAB's bicubic.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi

import numpy as np
import torch
from torch import Tensor

from gantool.degradations.kernels import Kernel, gaussian
from gantool.degradations.operations import MCU, add_noise, blur, from_levels, jpeg, tensor
from gantool.degradations.ranges import check_number, check_range, check_scale, check_whole, check_whole_range
from gantool.layers.resampling import imresize

_REACH = 3  # low-resolution pixels that the bicubic kernel reaches


@dataclass(frozen=True)
class SensorNoise:
    """Bicubic reduction, then Gaussian noise; see `gantool.fitting.Degradation`."""

    scale: int = 4  # high-resolution side / low-resolution side
    sigma: float = 8.0  # of the noise, levels of 255

    def __post_init__(self) -> None:
        check_scale(self.scale)
        check_number("sigma", self.sigma, 0, 255)

    @property
    def margin(self) -> int:
        """High-resolution pixels that bicubic reduction reaches."""
        return _REACH * self.scale

    def degrade(self, high: Tensor, rng: np.random.Generator) -> Tensor:
        """Return (3, H / scale, W / scale) uint8 for (3, H, W) uint8, whose sides are multiples of the scale."""
        return _levels(add_noise(_reduced(high, self.scale), self.sigma, rng))


@dataclass(frozen=True)
class Jpeg:
    """Bicubic reduction, then JPEG with its grid anywhere; see `gantool.fitting.Degradation`."""

    scale: int = 4  # high-resolution side / low-resolution side
    quality: int = 30  # of libjpeg

    def __post_init__(self) -> None:
        check_scale(self.scale)
        check_whole("quality", self.quality, 1, 100)

    @property
    def margin(self) -> int:
        """High-resolution pixels around an image that fall into the same blocks."""
        return MCU * self.scale

    def degrade(self, high: Tensor, rng: np.random.Generator) -> Tensor:
        """Return (3, H / scale, W / scale) uint8 for (3, H, W) uint8, whose sides are multiples of the scale."""
        down, right = (int(n) for n in rng.integers(MCU, size=2))
        return _levels(jpeg(_reduced(high, self.scale), self.quality, down, right))


@dataclass(frozen=True)
class Unknown:
    """A mixture that stands for the unpublished one of the NTIRE 2020 challenge; see `gantool.fitting.Degradation`.

    Half of the images are blurred by a Gaussian of two widths and any angle. Then come bicubic reduction, Gaussian noise of a
    random strength, and for four in five JPEG of a random quality. The choice is ours.
    """

    scale: int = 4  # high-resolution side / low-resolution side
    blur: float = 0.5  # probability of a blur
    width: tuple[float, float] = (0.2, 0.5)  # sigma of it / scale
    noise: tuple[float, float] = (0.0, 12.0)  # sigma, levels of 255
    jpeg: float = 0.8  # probability of JPEG
    quality: tuple[int, int] = (30, 90)  # of libjpeg

    def __post_init__(self) -> None:
        check_scale(self.scale)
        check_number("blur", self.blur, 0, 1)
        check_range("width", self.width, 0.01, 2)
        check_range("noise", self.noise, 0, 255)
        check_number("jpeg", self.jpeg, 0, 1)
        check_whole_range("quality", self.quality, 1, 100)

    @property
    def margin(self) -> int:
        """High-resolution pixels around an image that fall into the same blocks."""
        return MCU * self.scale

    def degrade(self, high: Tensor, rng: np.random.Generator) -> Tensor:
        """Return (3, H / scale, W / scale) uint8 for (3, H, W) uint8, whose sides are multiples of the scale."""
        image = high.float() / 255
        if rng.random() < self.blur:
            image = tensor(blur(from_levels(high), self._kernel(rng)))
        small = imresize(image[None], 1 / self.scale)[0]
        small = add_noise(small, rng.uniform(*self.noise), rng)
        if rng.random() < self.jpeg:
            quality = int(rng.integers(self.quality[0], self.quality[1] + 1))
            small = jpeg(small, quality, *(int(n) for n in rng.integers(MCU, size=2)))
        return _levels(small)

    def _kernel(self, rng: np.random.Generator) -> Kernel:
        along, across = (self.scale * rng.uniform(*self.width) for _ in range(2))
        size = 2 * int(np.ceil(3 * max(along, across))) + 1
        return gaussian(size, (along, across), rng.uniform(0, pi))


def _reduced(high: Tensor, scale: int) -> Tensor:
    """Return (3, H / scale, W / scale) in [0, 1] and slightly beyond for (3, H, W) uint8, not rounded."""
    return imresize(high[None].float() / 255, 1 / scale)[0]


def _levels(image: Tensor) -> Tensor:
    return (image.clamp(0, 1) * 255).round().to(torch.uint8)
