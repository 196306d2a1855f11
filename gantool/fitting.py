"""How pictures become training images: what systems ask for and data sets do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


@dataclass(frozen=True)
class Fit:
    """How pictures of any size become training images of one size.

    Attributes:
        mode: stretch both sides to what is cut from, scale the shorter side to it, or cut from the picture as it is.
        load: side of what is cut from / side of the training image.
        random: cut at a random place, else in the middle.
        flip: mirror every other image, left to right.
        middle: first take this many pixels a side from the middle of the picture, as far as it has them.
    """

    mode: Literal["stretch", "cover", "crop"] = "cover"
    load: float = 1.0
    random: bool = False
    flip: bool = False
    middle: int | None = None


class Degradation(Protocol):
    """How training images are made small."""

    @property
    def scale(self) -> int:
        """High-resolution side / low-resolution side."""
        ...

    @property
    def margin(self) -> int:
        """High-resolution pixels around an image that it looks at, a multiple of the scale."""
        ...

    def degrade(self, high: Tensor, rng: np.random.Generator) -> Tensor:
        """Return (3, H / scale, W / scale) uint8 for (3, H, W) uint8, whose sides are multiples of the scale."""
        ...
