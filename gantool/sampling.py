"""A model that generates, on its device: seeds and labels in, pixels out."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Final, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gantool import devices, latents, systems
from gantool.errors import InputError, OutOfMemory, UsageError, printable, unknown
from gantool.images import Page
from gantool.machine import is_out_of_memory
from gantool.seeds import LARGEST
from gantool.system import Generator
from gantool.weights import Model

_LEAST_TRUNCATION: Final = 0.01  # below, nearly all that is drawn would be drawn again
_MOST_AT_ONCE: Final = 64  # pictures; more are no faster
_PIXELS_AT_ONCE: Final = 1 << 18  # of which features take a few hundred MB


@dataclass(frozen=True)
class Point:
    """What one picture is made of.

    Attributes:
        name: what messages call it, such as "seed 3".
        latent: (*latent), standard normal.
        label: index of its class; 0 where there are none.
    """

    name: str
    latent: Tensor
    label: int


@dataclass(frozen=True)
class Drawing:
    """What became of a point.

    Attributes:
        name: of the point.
        levels: (H, W, C), C being 1 for gray and 3 for RGB, of values that may not have been finite.
        finite: whether they were.
        remedy: what could help if not.
    """

    name: str
    levels: NDArray[np.uint8]
    finite: bool
    remedy: str

    def pixels(self) -> NDArray[np.uint8]:
        """Return the levels.

        Raises:
            InputError: they are not worth anything.
        """
        if not self.finite:
            raise InputError(f"{self.name}: the network's result is not finite: use {self.remedy}")
        return self.levels


class Sampler:
    """Makes pictures of seeds; a seed's is the same, within rounding, whatever else is made and on whatever device.

    Args:
        model: moved to the device.
        labels: names or indices of classes, taken in turns; without any, each seed draws its own.
        truncation: numbers in a latent that are further from 0 are drawn again; None leaves them.
        device: auto, cpu, cuda, cuda:1 or mps.
        dtype: auto, fp32, fp16 or bf16.
        batch: pictures at a time, which changes only the speed; None chooses.

    Raises:
        UsageError: the model does not generate, or something else is not for it.
    """

    def __init__(
        self,
        model: Model,
        labels: Sequence[str | int] = (),
        truncation: float | None = None,
        device: str = "auto",
        dtype: str = "auto",
        batch: int | None = None,
    ) -> None:
        self.model = model
        system = _generator(model)
        self.classes, self._latent = system.classes, system.latent
        self._labels = [self._index(label) for label in labels]
        self._truncation = self._checked(truncation, system)
        self._device = devices.choose_device(device)
        self._dtype = devices.choose_dtype(dtype, self._device)
        if dtype == "fp16" and not model.system.half_safe:
            raise UsageError(f"{printable(model.name)} is not sound in fp16: use --dtype bf16 or fp32")
        whole = self._dtype == torch.float32
        moved = (model.system if whole else copy.deepcopy(model.system)).to(self._device, self._dtype)
        self._system = cast("Generator", moved)
        self._remedy = "another seed or model" if whole else "--dtype fp32"
        height, width, channels = self.draw([Point(printable(model.name), torch.zeros(self._latent), 0)])[0].levels.shape
        self.page = Page(width, height, channels)
        self.batch = batch or max(1, min(_MOST_AT_ONCE, _PIXELS_AT_ONCE // (width * height)))

    def _index(self, label: str | int) -> int:
        """Return a class's index: a text is taken for a name first."""
        count = len(self.classes)
        if not count:
            raise UsageError(f"{printable(self.model.name)} has no classes to choose from: leave --label out")
        if label in self.classes:
            return self.classes.index(str(label))
        if isinstance(label, str) and not (label.isascii() and label.isdecimal() and len(label) < 10):
            raise unknown("class", label, self.classes)
        if not 0 <= int(label) < count:
            raise UsageError(f"there is no class {label}: {printable(self.model.name)} has {count}, from 0 to {count - 1}")
        return int(label)

    def _checked(self, truncation: float | None, system: Generator) -> float | None:
        if truncation is None:
            return None
        if not isfinite(truncation) or truncation < _LEAST_TRUNCATION:
            raise UsageError(f"--truncation {truncation:g} is not possible: use {_LEAST_TRUNCATION} or more, such as 0.7")
        if not system.truncates:
            raise UsageError(f"latents nearer to 0 mean nothing to {printable(self.model.name)}: leave --truncation out")
        return truncation

    def point(self, seed: int, place: int = 0) -> Point:
        """Return what a seed stands for.

        Args:
            seed: 0 to 2**63 - 1.
            place: where it stands among the seeds, for labels that take turns.

        Raises:
            UsageError: it is no such number.
        """
        if not 0 <= seed <= LARGEST:
            raise UsageError(f"seed {seed} is not possible: seeds go from 0 to {LARGEST}")
        latent, own = latents.draw(seed, self._latent, len(self.classes), self._truncation)
        return Point(f"seed {seed}", latent, self._labels[place % len(self._labels)] if self._labels else own)

    def label(self, point: Point) -> str | None:
        """Return the name of a point's class, where there are classes."""
        return self.classes[point.label] if self.classes else None

    def drawings(self, points: Iterable[Point]) -> Iterator[Drawing]:
        """Yield a picture for each point, made a few at a time."""
        waiting: list[Point] = []
        for point in points:
            waiting.append(point)
            if len(waiting) == self.batch:
                yield from self.draw(waiting)
                waiting = []
        if waiting:
            yield from self.draw(waiting)

    def draw(self, points: Sequence[Point]) -> list[Drawing]:
        """Return a picture for each point; in smaller parts where memory does not suffice.

        Raises:
            OutOfMemory: it does not suffice for one.
        """
        try:
            levels, finite = self._levels(points)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            if len(points) == 1:
                raise OutOfMemory(f"{points[0].name}: there is not enough memory for one picture: free some") from error
        else:
            made = zip(points, levels, finite, strict=True)
            return [Drawing(point.name, each, sound, self._remedy) for point, each, sound in made]
        half = len(points) // 2
        return [*self.draw(points[:half]), *self.draw(points[half:])]

    @torch.inference_mode()
    def _levels(self, points: Sequence[Point]) -> tuple[NDArray[np.uint8], list[bool]]:
        """Return levels (N, H, W, C), and of which pictures all values were finite."""
        batch = torch.stack([point.latent for point in points]).to(self._device, self._dtype)
        labels = None
        if self.classes:
            chosen = torch.tensor([point.label for point in points])
            labels = torch.nn.functional.one_hot(chosen, len(self.classes)).to(self._device, self._dtype)
        values = self._system.generate(batch, labels).float()
        finite = values.isfinite().flatten(1).all(1).tolist()
        levels = (values.nan_to_num() * 255 + 0.5).floor().clamp(0, 255).to(torch.uint8)
        return levels.permute(0, 2, 3, 1).contiguous().cpu().numpy(), finite


def _generator(model: Model) -> Generator:
    if not isinstance(model.system, Generator):
        others = ", ".join(systems.names("generation"))
        own = systems.name_of(model.system)
        raise UsageError(f"{printable(model.name)} is of {own}, which does not generate: use {others}")
    return model.system
