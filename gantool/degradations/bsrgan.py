"""BSRGAN's degradation: blurs, shrinking, noise and JPEG in random order (Zhang et al., ICCV 2021, arXiv:2103.14006).

Reference code: github.com/cszn/BSRGAN (Apache-2.0).
Departures from the paper: the noise of a camera's raw pipeline is left out, as in the reference code without its model of one;
JPEG's grid lies anywhere; the covariance of correlated noise keeps its signs, where the code's absolute values may give none.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi

import numpy as np
from torch import Tensor

from gantool.degradations.kernels import Kernel, gaussian
from gantool.degradations.operations import (
    Plane,
    array,
    blur,
    clipped,
    from_levels,
    gaussian_noise,
    resize,
    save_as_jpeg,
    to_levels,
)
from gantool.degradations.ranges import check_number, check_range, check_scale, check_shares, check_sizes, check_whole_range
from gantool.layers.resampling import imresize

_THINNEST = 0.01  # pixels: a width of 0 leaves an image as it is, and so does this
_SAMPLING_KERNEL = 25  # pixels a side of the Gaussian before every s-th pixel is taken


@dataclass(frozen=True)
class BSRGAN:
    """BSRGAN's degradation; see `gantool.fitting.Degradation`.

    Raises:
        UsageError: a range, share or probability that is not possible.
    """

    scale: int = 4  # s: high-resolution side / low-resolution side
    halve: float = 0.25  # probability that an image for s = 4 is halved cleanly first; s is 2 after that
    kernel: tuple[int, int] = (7, 25)  # sizes of blurs, odd pixels
    isotropic: float = 0.5  # probability that a blur is
    width: float = 1.0  # factor of widths: isotropic sigma is up to 2 + 0.2 s pixels, anisotropic up to sqrt(4 + s)
    interpolated: float = 0.75  # probability that the random shrinking is OpenCV's by up to 2s, else every s-th pixel
    noise: tuple[float, float] = (2.0, 25.0)  # sigma, levels of 255
    kinds: tuple[float, ...] = (0.4, 0.4, 0.2)  # shares of noise: colour, gray, correlated between channels
    jpeg: float = 0.9  # probability of JPEG besides the one at the end
    quality: tuple[int, int] = (30, 95)  # of libjpeg

    def __post_init__(self) -> None:
        check_scale(self.scale)
        for name in ("halve", "isotropic", "interpolated", "jpeg"):
            check_number(name, getattr(self, name), 0, 1)
        check_sizes("kernel", self.kernel, 51)
        check_number("width", self.width, 0, 10)
        check_range("noise", self.noise, 0, 255)
        check_shares("kinds", self.kinds, 3)
        check_whole_range("quality", self.quality, 1, 100)

    @property
    def margin(self) -> int:
        """High-resolution pixels that the blurs reach; what follows mirrors, as it may."""
        return -(-self.kernel[1] // self.scale) * self.scale

    def degrade(self, high: Tensor, rng: np.random.Generator) -> Tensor:
        """Return (3, H / scale, W / scale) uint8 for (3, H, W) uint8, whose sides are multiples of the scale."""
        rows, columns = (side // self.scale for side in high.shape[1:])
        image, s = self._begun(high, rng)
        for step in _order(rng):
            if step == "blur":
                image = blur(image, self._kernel(s, rng))
            elif step == "shrink":
                image = self._shrunk(image, s, rng)
            elif step == "resize":
                image = clipped(resize(image, rows, columns, rng))
            elif step == "noise":
                image = self._noisy(image, rng)
            elif rng.random() < self.jpeg:
                image = save_as_jpeg(image, self.quality, rng)
        return to_levels(save_as_jpeg(image, self.quality, rng))

    def _begun(self, high: Tensor, rng: np.random.Generator) -> tuple[Plane, int]:
        """Return the image, or the image halved, and how much it is still to be shrunk."""
        if self.scale != 4 or rng.random() >= self.halve:
            return from_levels(high), self.scale
        if rng.random() < 0.5:
            half = resize(from_levels(high), high.shape[1] // 2, high.shape[2] // 2, rng)
        else:
            half = array(imresize(high[None].float() / 255, 1 / 2)[0])
        return clipped(half), 2

    def _kernel(self, s: int, rng: np.random.Generator) -> Kernel:
        """Return a random Gaussian."""
        size = self.kernel[0] + 2 * int(rng.integers((self.kernel[1] - self.kernel[0]) // 2 + 1))
        if rng.random() < self.isotropic:
            along = across = rng.uniform(0, 2 + 0.2 * s)
        else:
            along, across = np.sqrt(rng.uniform(0, 4 + s, 2))
        angle = rng.uniform(0, pi)
        return gaussian(size, (max(_THINNEST, along * self.width), max(_THINNEST, across * self.width)), angle)

    def _shrunk(self, image: Plane, s: int, rng: np.random.Generator) -> Plane:
        """Shrink by a random factor, or take every s-th pixel of a blur whose middle lies between the pixels left out."""
        if rng.random() < self.interpolated:
            factor = rng.uniform(1, 2 * s)
            rows, columns = (int(side / factor) for side in image.shape[:2])
            return clipped(resize(image, rows, columns, rng))
        sigma = rng.uniform(0.1, 0.6 * s)
        return np.ascontiguousarray(blur(image, gaussian(_SAMPLING_KERNEL, (sigma, sigma), shift=(s - 1) / 2))[::s, ::s])

    def _noisy(self, image: Plane, rng: np.random.Generator) -> Plane:
        """Add Gaussian noise of a random kind; the correlated one has the largest strength times the root of a covariance."""
        sigma, kind = rng.uniform(*self.noise), int(rng.choice(3, p=self.kinds))
        if kind < 2:
            return gaussian_noise(image, sigma, kind == 1, rng)
        axes = np.linalg.qr(rng.standard_normal((3, 3)))[0]
        mixing = (np.sqrt(rng.random(3))[:, None] * axes * (self.noise[1] / 255)).astype(np.float32)
        return clipped(image + rng.standard_normal(image.shape, np.float32) @ mixing)


def _order(rng: np.random.Generator) -> list[str]:
    """Return the steps in random order, but for the random shrinking, which comes before that to the result's size."""
    steps = [str(step) for step in rng.permutation(["blur", "blur", "shrink", "resize", "noise", "jpeg"])]
    first, last = sorted((steps.index("shrink"), steps.index("resize")))
    steps[first], steps[last] = "shrink", "resize"
    return steps
