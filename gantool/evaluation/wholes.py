"""Numbers that belong to whole sets, of every contestant: distances of sets, and what a user's own network sees."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from gantool.errors import InputError, UsageError, printable
from gantool.evaluation.contestants import Contestant, Folder, listed, opened
from gantool.evaluation.gathering import Gathered, Gatherer
from gantool.evaluation.labelled import classification_from_options, segmentation_from_options
from gantool.evaluation.remembering import gathered_folder
from gantool.evaluation.sets import score
from gantool.evaluation.values import SetValue
from gantool.evaluation.wanted import label_pairs
from gantool.frozen import Part
from gantool.images import MAX_PIXELS
from gantool.layers.inception import Variant
from gantool.metrics import METRICS

STATISTICS = ".npz"  # ending of files that stand for the references of FID
Failed = Callable[[Path, InputError], None]


@dataclass(frozen=True)
class Judges:
    """What a user says of a network of his own; see the command's help."""

    segmenter: Path | None = None
    classifier: Path | None = None
    labels: Path | None = None
    palette: str | None = None


@dataclass(frozen=True)
class Wholes:
    """How sets are measured.

    Attributes:
        metrics: names out of `METRICS`; those of single pictures are left alone.
        references: a folder, a picture, or a file of statistics.
        recursive: take sub-folders too.
        parts: what metrics look through.
        variant: of Inception's input.
        device: where networks compute.
        seed: of what is drawn.
        judges: the user's own networks.
        max_pixels: larger pictures are refused.
    """

    metrics: tuple[str, ...]
    references: Path | None
    recursive: bool = False
    parts: Mapping[str, Part] = field(default_factory=dict)
    variant: Variant = "legacy-pytorch"
    device: torch.device = torch.device("cpu")
    seed: int = 0
    judges: Judges = Judges()
    max_pixels: int = MAX_PIXELS

    def gatherer(self) -> Gatherer:
        """Return what takes a model's results as they come."""
        return Gatherer(self._of("set", "sets"), self.parts, self.variant, self.device, self.seed)

    def values(
        self, contestants: Sequence[Contestant], made: Mapping[str, Gatherer], on_error: Failed
    ) -> dict[str, tuple[SetValue, ...]]:
        """Return the numbers of each contestant; none for one of which a picture cannot be read.

        Args:
            contestants: folders and models.
            made: for models, what took their results, none where one is missing.
            on_error: gets each file that cannot be read.

        Raises:
            UsageError: there are too few pictures, or of the wrong kind, or references are missing.
            WeightsError: a network cannot be used.
        """
        sets, found = self._of("set", "sets"), {contestant.label: list[SetValue]() for contestant in contestants}
        references = self._references(on_error) if self._of("sets") else None
        for contestant in contestants if sets else ():
            gathered = self._gathered(contestant, made, on_error)
            if gathered and not (self._of("sets") and references is None):
                found[contestant.label] += score(sets, gathered, references, self.seed)
        for contestant in contestants if self._of("labels") else ():
            found[contestant.label] += self._labelled(contestant, on_error)
        return {label: tuple(values) for label, values in found.items() if values}

    def _of(self, *kinds: str) -> list[str]:
        return [name for name in self.metrics if METRICS[name].kind in kinds]

    def _references(self, on_error: Failed) -> Gathered | None:
        assert self.references is not None, "the verb asks for them"
        if self.references.suffix == STATISTICS:
            return Gathered.from_npz(self.references)
        return self._folder(self.references, self._of("sets"), "the references", on_error)

    def _gathered(self, contestant: Contestant, made: Mapping[str, Gatherer], on_error: Failed) -> Gathered | None:
        if isinstance(contestant, Folder):
            return self._folder(contestant.path, self._of("set", "sets"), printable(contestant.label), on_error)
        return made[contestant.label].finish(printable(contestant.label)) if contestant.label in made else None

    def _folder(self, folder: Path, metrics: Sequence[str], label: str, on_error: Failed) -> Gathered | None:
        """Return what is gathered of a folder, None where a file cannot be read."""
        whole = True

        def complain(path: Path, error: InputError) -> None:
            nonlocal whole
            whole = False
            on_error(path, error)

        gathered = gathered_folder(
            listed(folder, self.recursive),
            metrics,
            self.parts,
            self.variant,
            self.device,
            self.seed,
            label,
            self._read,
            complain,
        )
        return gathered if whole else None

    def _read(self, path: Path) -> Tensor:
        return opened(path, self.max_pixels).color

    def _labelled(self, contestant: Contestant, on_error: Failed) -> tuple[SetValue, ...]:
        if not isinstance(contestant, Folder):
            raise UsageError(f"{', '.join(self._of('labels'))} judge results that lie in a folder: leave out -m")
        judges, values = self.judges, list[SetValue]()
        if "seg" in self.metrics:
            assert self.references is not None, "the verb asks for them"
            pairs = label_pairs(contestant.path, self.references, self.recursive)
            values += segmentation_from_options(pairs, judges.segmenter, judges.palette, on_error, self.max_pixels)
        if "accuracy" in self.metrics:
            values += classification_from_options(
                contestant.path,
                # a class is a sub-folder
                listed(contestant.path, recursive=True),
                judges.classifier,
                judges.labels,
                None if "seg" in self.metrics else self.references,
                on_error,
                self.max_pixels,
            )
        return tuple(values)
