"""Who is evaluated: folders of results, and models that make results of references made small."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from gantool import engines, images, jobs, outputs, weights
from gantool.data.pairing import Pair, pair
from gantool.engines import Settings
from gantool.enlarging import Enlarger
from gantool.errors import InputError, UsageError, printable
from gantool.evaluation.degrading import Degradation
from gantool.images import MAX_PIXELS, Picture
from gantool.scales import Target, check_reach

_WARM = 32  # pixels a side of a first picture that is not timed: the first time takes longer


@dataclass(frozen=True)
class Case:
    """A picture that contestants are measured on.

    Attributes:
        name: what tables call it.
        key: the reference's path from its folder on, the same whoever is evaluated; what noise is drawn by.
        reference: the true picture, if there is one.
        results: files by the contestant's label.
    """

    name: str
    key: str
    reference: Path | None
    results: Mapping[str, Path]


@dataclass(frozen=True)
class Made:
    """A result.

    Attributes:
        color: (3|1, H, W) uint8.
        bits: of its file.
        seconds: that a model took for it.
    """

    color: Tensor
    bits: int = 8
    seconds: float | None = None


class Contestant(Protocol):
    """What results come from."""

    @property
    def label(self) -> str:
        """Its name in tables."""
        ...

    def make(self, case: Case, reference: Tensor | None) -> Made:
        """Return the result for a case, whose reference has been cropped already.

        Raises:
            InputError: it cannot be read or made.
        """
        ...


@dataclass(frozen=True)
class Folder:
    """Results that lie in a folder, or a single one; see `Contestant`."""

    label: str
    path: Path
    max_pixels: int = MAX_PIXELS

    def make(self, case: Case, reference: Tensor | None) -> Made:
        """Read the result."""
        return opened(case.results[self.label], self.max_pixels)


@dataclass(frozen=True)
class Upscaler:
    """A model that enlarges what a degradation leaves of the reference; see `Contestant`."""

    label: str
    enlarger: Enlarger
    degradation: Degradation

    @classmethod
    def load(cls, reference: str, degradation: Degradation, settings: Settings) -> Upscaler:
        """Return a model by what `-m` names.

        Raises:
            UsageError: there is no such model, or it does not reach the scale.
            WeightsError: its weights cannot be had or are refused.
        """
        scale = float(degradation.scale)
        loaded = engines.load(weights.choose(reference, scale, settings.registry), settings)
        check_reach(scale, loaded.engine.scale, loaded.name, UsageError)
        enlarger = Enlarger(loaded.engine, Target(scale))
        jobs.make(Picture(torch.zeros(3, _WARM, _WARM, dtype=torch.uint8)), enlarger, lambda share: None)
        return cls(loaded.name, enlarger, degradation)

    def make(self, case: Case, reference: Tensor | None) -> Made:
        """Make the reference small and let the model enlarge it; the time is the model's alone."""
        assert reference is not None, "models are evaluated on references"
        if min(reference.shape[1:]) == 0:
            raise InputError(f"{printable(case.name)} has fewer than {self.degradation.scale} pixels a side: leave it out")
        small = self.degradation.apply(reference, case.key)
        begin = time.perf_counter()
        result = jobs.make(Picture(small), self.enlarger, lambda share: None).color
        return Made(result, seconds=time.perf_counter() - begin)


def opened(path: Path, max_pixels: int) -> Made:
    """Return a picture, in 8 bits.

    Raises:
        InputError: it cannot be read, or is transparent.
    """
    with images.open_picture(path, printable(path), max_pixels) as reader:
        picture = Picture.of(reader.bands(), reader.pages[0], None)
        bits = reader.pages[0].bits
    if picture.alpha is not None and picture.alpha.min() < 255:
        raise InputError(f"{printable(path)} is transparent, and its hidden colours mean nothing: give it a background first")
    return Made(picture.color, bits)


def find_pairs(results: Path, references: Path, recursive: bool = False) -> list[Pair]:
    """Return the pairs of two pictures, or of two folders by name (see `gantool.data.pairing.pair`).

    Raises:
        UsageError: there is nothing, or not the same, on the two sides.
    """
    for path in (results, references):
        check_there(path)
    if not results.is_dir() and not references.is_dir():
        return [Pair(results, references)]
    if not results.is_dir() or not references.is_dir():
        raise UsageError(
            f"of {printable(results)} and {printable(references)} only one is a folder: name two pictures or two folders"
        )
    found = pair(
        *([path.relative_to(folder) for path in outputs.pictures(folder, recursive)] for folder in (results, references))
    )
    return [Pair(results / p.result, references / p.reference) for p in found]


def check_there(path: Path) -> None:
    """Refuse what does not exist."""
    if not path.exists():
        raise UsageError(f"{printable(path)} is not there: name a picture or a folder of pictures")


def listed(place: Path, recursive: bool) -> list[Path]:
    """Return the pictures of a folder, sorted, or the one picture that is named.

    Raises:
        UsageError: there are none.
    """
    check_there(place)
    return outputs.pictures(place, recursive) if place.is_dir() else [place]


def cases(contestants: Sequence[Contestant], references: Path | None, recursive: bool) -> list[Case]:
    """Return the pictures that contestants are measured on, called like the results where only one folder of them is there.

    Args:
        contestants: folders have to have a result for each reference or, without references, for each result of the first.
        references: a folder of true pictures, or one.
        recursive: take sub-folders too.

    Raises:
        UsageError: files have no partner.
    """
    folders = [contestant for contestant in contestants if isinstance(contestant, Folder)]
    only = folders[0] if len(folders) == len(contestants) == 1 else None
    if references is None and only:
        paths = listed(only.path, recursive)
        return [Case(_name(path, only.path), "", None, {only.label: path}) for path in paths]
    base = references or folders[0].path
    partners = {folder.label: {p.reference: p.result for p in find_pairs(folder.path, base, recursive)} for folder in folders}
    paths = list(next(iter(partners.values()))) if partners else listed(base, recursive)
    found = []
    for path in paths:
        results = {label: of[path] for label, of in partners.items()}
        shown = _name(results[only.label], only.path) if only else _name(path, base)
        found.append(Case(shown, _name(path, base), path if references else None, results))
    return found


def _name(path: Path, base: Path) -> str:
    return str(path.relative_to(base if base.is_dir() else base.parent))
