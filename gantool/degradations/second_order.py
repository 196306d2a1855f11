"""Real-ESRGAN's degradation: a photo is blurred, resized, made noisy and saved, twice (Wang et al., ICCVW 2021, 2107.10833).

Reference code: github.com/xinntao/Real-ESRGAN (BSD-3-Clause).
Departures from the paper: an encoder's JPEG, of whole qualities and with its grid anywhere, stands for the differentiable
approximation; resizing is OpenCV's, whose area interpolation weighs pixels by their share where torch's takes whole ones, and
is bilinear when enlarging.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi

import numpy as np
from torch import Tensor

from gantool.degradations.kernels import Kernel, gaussian, generalised, plateau, sinc
from gantool.degradations.operations import (
    Plane,
    array,
    blur,
    from_levels,
    gaussian_noise,
    poisson_noise,
    resize,
    save_as_jpeg,
    to_levels,
)
from gantool.degradations.ranges import (
    check_around_one,
    check_number,
    check_range,
    check_scale,
    check_shares,
    check_sizes,
    check_whole_range,
)
from gantool.degradations.sharpening import TAPS, usm_sharpen

Range = tuple[float, float]
_SMALL = 13  # kernels below this size ring too little at low frequencies


@dataclass(frozen=True)
class Order:
    """Blur, resizing and noise: the part of a degradation that Real-ESRGAN does twice. The defaults are the first time's.

    Raises:
        UsageError: a range, share or probability that is not possible.
    """

    blur: float = 1.0  # probability of blurring
    kernel: tuple[int, int] = (7, 21)  # sizes of kernels, odd pixels
    sinc: float = 0.1  # probability that the blur is a sinc filter, else one of `shapes`
    shapes: tuple[float, ...] = (0.45, 0.25, 0.12, 0.03, 0.12, 0.03)  # Gaussian, generalised, plateau: iso and aniso each
    sigma: Range = (0.2, 3.0)  # pixels
    generalised: Range = (0.5, 4.0)  # beta; half the draws are below 1
    plateau: Range = (1.0, 2.0)  # beta; half the draws are below 1, or are 1 where nothing is below
    resize: tuple[float, ...] = (0.2, 0.7, 0.1)  # shares of enlarging, shrinking, leaving as it is
    factor: Range = (0.15, 1.5)  # side after / side before
    gaussian: float = 0.5  # probability that the noise is Gaussian, else Poisson
    noise: Range = (1.0, 30.0)  # sigma of Gaussian noise, levels of 255
    poisson: Range = (0.05, 3.0)  # factor of Poisson noise
    gray: float = 0.4  # probability that noise is the same in all channels

    def __post_init__(self) -> None:
        for name in ("blur", "sinc", "gaussian", "gray"):
            check_number(name, getattr(self, name), 0, 1)
        check_sizes("kernel", self.kernel, 51)
        check_shares("shapes", self.shapes, 6)
        check_shares("resize", self.resize, 3)
        check_range("sigma", self.sigma, 0.01, 50)
        check_around_one("generalised", self.generalised, 0.01, 50)
        check_around_one("plateau", self.plateau, 0.01, 50)
        check_around_one("factor", self.factor, 0.01, 10)
        check_range("noise", self.noise, 0, 255)
        check_range("poisson", self.poisson, 0, 100)

    def drawn_kernel(self, rng: np.random.Generator) -> Kernel:
        """Return a random kernel."""
        size = _size(self.kernel, rng)
        if rng.random() < self.sinc:
            return sinc(size, rng.uniform(pi / 3 if size < _SMALL else pi / 5, pi))
        shape = int(rng.choice(6, p=self.shapes))
        along = rng.uniform(*self.sigma)
        across, angle = (rng.uniform(*self.sigma), rng.uniform(-pi, pi)) if shape % 2 else (along, 0.0)
        if shape < 2:
            return gaussian(size, (along, across), angle)
        if shape < 4:
            return generalised(size, (along, across), angle, _around_one(self.generalised, rng))
        return plateau(size, (along, across), angle, _around_one(self.plateau, rng))

    def drawn_factor(self, rng: np.random.Generator) -> float:
        """Return a random factor of resizing."""
        way = int(rng.choice(3, p=self.resize))
        return (rng.uniform(1, self.factor[1]), rng.uniform(self.factor[0], 1), 1.0)[way]

    def degrade(self, image: Plane, height: int, width: int, rng: np.random.Generator) -> Plane:
        """Blur an image, resize it to a random factor of (height, width), add noise."""
        if rng.random() < self.blur:
            image = blur(image, self.drawn_kernel(rng))
        factor = self.drawn_factor(rng)
        image = resize(image, int(height * factor), int(width * factor), rng)
        poisson, gray = rng.random() >= self.gaussian, bool(rng.random() < self.gray)
        if poisson:
            return poisson_noise(image, rng.uniform(*self.poisson), gray, rng)
        return gaussian_noise(image, rng.uniform(*self.noise), gray, rng)


FIRST = Order()
SECOND = Order(
    blur=0.8,
    sigma=(0.2, 1.5),
    resize=(0.3, 0.4, 0.3),
    factor=(0.3, 1.2),
    noise=(1.0, 25.0),
    poisson=(0.05, 2.5),
)


@dataclass(frozen=True)
class SecondOrder:
    """Real-ESRGAN's degradation of the sharpened image; see `gantool.fitting.Degradation`.

    Raises:
        UsageError: a range, share or probability that is not possible.
    """

    scale: int = 4  # high-resolution side / low-resolution side
    sharpen: float = 0.5  # weight of the unsharp mask before all else; 0 leaves it out
    first: Order = FIRST  # relative to the image's size
    first_jpeg: tuple[int, int] = (30, 95)  # quality between the orders
    second: Order = SECOND  # relative to the size of the result
    last_sinc: float = 0.8  # probability of a sinc filter at the end
    last_kernel: tuple[int, int] = (7, 21)  # its sizes, odd pixels
    last_jpeg: tuple[int, int] = (30, 95)  # quality at the end, half of the time before the last resizing and sinc filter

    def __post_init__(self) -> None:
        check_scale(self.scale)
        check_number("sharpen", self.sharpen, 0, 10)
        check_whole_range("first_jpeg", self.first_jpeg, 1, 100)
        check_number("last_sinc", self.last_sinc, 0, 1)
        check_sizes("last_kernel", self.last_kernel, 51)
        check_whole_range("last_jpeg", self.last_jpeg, 1, 100)

    @property
    def margin(self) -> int:
        """High-resolution pixels that sharpening and the first blur reach; what follows mirrors, as it may."""
        return -(-(TAPS // 2 + self.first.kernel[1] // 2) // self.scale) * self.scale

    def degrade(self, high: Tensor, rng: np.random.Generator) -> Tensor:
        """Return (3, H / scale, W / scale) uint8 for (3, H, W) uint8, whose sides are multiples of the scale."""
        height, width = high.shape[1:]
        rows, columns = height // self.scale, width // self.scale
        image = self.first.degrade(self._sharpened(high), height, width, rng)
        image = save_as_jpeg(image, self.first_jpeg, rng)
        image = self.second.degrade(image, rows, columns, rng)
        if rng.random() < 0.5:
            image = save_as_jpeg(self._finished(image, rows, columns, rng), self.last_jpeg, rng)
        else:
            image = self._finished(save_as_jpeg(image, self.last_jpeg, rng), rows, columns, rng)
        return to_levels(image)

    def _sharpened(self, high: Tensor) -> Plane:
        if not self.sharpen:
            return from_levels(high)
        return array(usm_sharpen(high[None].float() / 255, self.sharpen)[0])

    def _finished(self, image: Plane, height: int, width: int, rng: np.random.Generator) -> Plane:
        """Resize to the size of the result, then ring."""
        image = resize(image, height, width, rng)
        if rng.random() < self.last_sinc:
            image = blur(image, sinc(_size(self.last_kernel, rng), rng.uniform(pi / 3, pi)))
        return image


def _size(sizes: tuple[int, int], rng: np.random.Generator) -> int:
    """Return a random odd size."""
    return sizes[0] + 2 * int(rng.integers((sizes[1] - sizes[0]) // 2 + 1))


def _around_one(beta: Range, rng: np.random.Generator) -> float:
    """Return a number half of the time below 1 and else above."""
    return rng.uniform(beta[0], 1) if rng.random() < 0.5 else rng.uniform(1, beta[1])
