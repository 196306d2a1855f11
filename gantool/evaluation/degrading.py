"""How references are made small for a model to enlarge: the literature's way, and ways that lose more, each by a short name."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
from torch import Tensor

from gantool.degradations import BSRGAN, SecondOrder, Unknown, add_noise, jpeg
from gantool.degradations.kernels import gaussian
from gantool.degradations.operations import array, blur, tensor
from gantool.errors import UsageError, printable
from gantool.fitting import Degradation as Drawn
from gantool.layers.resampling import imresize

BICUBIC = "bicubic"
_DRAWN: dict[str, Callable[[int], Drawn]] = {
    "unknown": lambda scale: Unknown(scale),
    "real-esrgan": lambda scale: SecondOrder(scale),
    "bsrgan": lambda scale: BSRGAN(scale),
}
_PART = re.compile(r"(blur|noise|jpeg)(\d+(?:\.\d+)?)")
_MOST = {"blur": 20.0, "noise": 255.0, "jpeg": 100.0}


@dataclass(frozen=True)
class Degradation:
    """How a reference becomes a small picture; the same for a name and a seed, whatever else is evaluated.

    Attributes:
        text: as it was asked for.
        scale: side of the reference / side of the small picture.
        seed: of noise and of all that is drawn, together with the reference's name.
    """

    text: str
    scale: int
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the text.

        Raises:
            UsageError: it says nothing that is known.
        """
        if self.text not in (BICUBIC, *_DRAWN):
            self._parts()

    def _parts(self) -> dict[str, float]:
        parts: dict[str, float] = {}
        for word in self.text.split("+"):
            found = _PART.fullmatch(word)
            if not found or found[1] in parts or not _is_possible(*found.groups()):
                raise UsageError(
                    f"--degradation {printable(self.text)} is not known: use {BICUBIC}, {', '.join(_DRAWN)}, or blurS, noiseS, "
                    "jpegQ and sums of these such as blur1+noise8+jpeg30 (S: sigma, Q: quality from 1 to 100)"
                )
            parts[found[1]] = float(found[2])
        return parts

    @property
    def words(self) -> str:
        """What is done, as part of a recipe."""
        small = f"references cropped to a multiple of {self.scale} and made small"
        down = f"MATLAB's bicubic by {self.scale}, borders mirrored"
        if self.text == BICUBIC:
            return f"{small} by {down}, 8 bits after each pass"
        if self.text in _DRAWN:
            return f"{small} and worse as {self.text} does in training, drawn by seed {self.seed} and name"
        parts, steps = self._parts(), [down]
        if "blur" in parts:
            steps.insert(0, f"Gaussian blur of sigma {parts['blur']:g}")
        if "noise" in parts:
            steps.append(f"Gaussian noise of sigma {parts['noise']:g} by seed {self.seed} and name")
        if "jpeg" in parts:
            steps.append(f"JPEG of quality {parts['jpeg']:g} with halved chroma")
        return f"{small} by {', then '.join(steps)}, 8 bits at the end"

    def apply(self, reference: Tensor, name: str) -> Tensor:
        """Return the small picture (3|1, H / scale, W / scale) uint8.

        Args:
            reference: (3|1, H, W) uint8, sides multiples of the scale.
            name: of the picture, by which random numbers are drawn.
        """
        if self.text == BICUBIC:
            return imresize(reference[None], 1 / self.scale)[0]
        rng = np.random.default_rng([self.seed, zlib.crc32(name.encode("utf-8", "surrogateescape"))])
        if self.text not in _DRAWN:
            return self._damaged(reference, rng)
        return _like(_DRAWN[self.text](self.scale).degrade(reference.expand(3, -1, -1), rng), reference)

    def _damaged(self, reference: Tensor, rng: np.random.Generator) -> Tensor:
        parts, image = self._parts(), reference.float() / 255
        if "blur" in parts:
            sigma = parts["blur"]
            kernel = gaussian(2 * ceil(4 * sigma) + 1, (sigma, sigma))
            image = tensor(blur(array(image.expand(3, -1, -1)), kernel))[: len(reference)]
        small = add_noise(imresize(image[None], 1 / self.scale)[0], parts.get("noise", 0.0), rng)
        if "jpeg" in parts:
            small = jpeg(small.expand(3, -1, -1), int(parts["jpeg"]))
        return _like((small.clamp(0, 1) * 255).round().to(torch.uint8), reference)


def _like(small: Tensor, reference: Tensor) -> Tensor:
    """Return a picture in gray where its reference is."""
    return small if len(small) == len(reference) else small.float().mean(0, keepdim=True).round().to(torch.uint8)


def _is_possible(kind: str, number: str) -> bool:
    return 0 < float(number) <= _MOST[kind] and (kind != "jpeg" or number.isdecimal())
