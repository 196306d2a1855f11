"""Numbers that belong to whole sets, of every contestant: distances of sets, and what a user's own network sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from gantool.errors import GantoolError, InputError, UsageError, WeightsError, printable
from gantool.evaluation.answers import Failed
from gantool.evaluation.classification import classification
from gantool.evaluation.contestants import Contestant, Folder, listed, opened
from gantool.evaluation.gathering import Gathered, Gatherer
from gantool.evaluation.remembering import gathered_folder
from gantool.evaluation.segmentation import segmentation
from gantool.evaluation.sets import score
from gantool.evaluation.values import SetValue
from gantool.evaluation.wanted import label_pairs
from gantool.frozen import Part
from gantool.images import MAX_PIXELS
from gantool.layers.inception import Variant
from gantool.metrics import METRICS

STATISTICS = ".npz"  # ending of files that stand for the references of FID
REFERENCES = "the references"
VARIANT: Variant = "legacy-pytorch"  # unless another is asked for


@dataclass(frozen=True)
class UserNetworks:
    """What a user says of networks of his own; see the command's help."""

    segmenter: Path | None = None
    classifier: Path | None = None
    labels: Path | None = None
    palette: str | None = None


@dataclass(frozen=True)
class Gatherers:
    """Takes what models make, beside what folders hold, picture by picture; see `gantool.evaluation.rows.Look`.

    Attributes:
        results: by contestants' labels.
        references: for metrics of two sets.
        faults: what came up, as pictures that do not go together; nothing more is gathered then.
    """

    results: Mapping[str, Gatherer]
    references: Gatherer | None
    faults: list[GantoolError] = field(default_factory=list)

    def add(self, label: str, result: Tensor, reference: Tensor | None) -> None:
        """Add a result, and with the first contestant's the reference, both as they are measured."""
        if self.faults:
            return
        try:
            self.results[label].add(result)
            if self.references and reference is not None and label == next(iter(self.results)):
                self.references.add(reference)
        except (UsageError, WeightsError) as error:
            self.faults.append(error)

    def finish(self) -> dict[str, Gathered]:
        """Return what was gathered, by label.

        Raises:
            UsageError: pictures are too few, or do not go together.
            WeightsError: a network is of no use.
        """
        if self.faults:
            raise self.faults[0]
        found = {label: gatherer.finish(printable(label)) for label, gatherer in self.results.items()}
        return found | ({REFERENCES: self.references.finish(REFERENCES)} if self.references else {})


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
        networks: the user's own.
        max_pixels: larger pictures are refused.
    """

    metrics: tuple[str, ...]
    references: Path | None
    recursive: bool = False
    parts: Mapping[str, Part] = field(default_factory=dict)
    variant: Variant = VARIANT
    device: torch.device = torch.device("cpu")
    seed: int = 0
    networks: UserNetworks = UserNetworks()
    max_pixels: int = MAX_PIXELS

    def made(self, labels: Sequence[str]) -> Gatherers | None:
        """Return what takes results as they are made, and the references as they are measured; None if no set is asked for."""
        results, both = self._of("set", "sets"), self._of("sets")
        if not results:
            return None
        return Gatherers({label: self._gatherer(results) for label in labels}, self._gatherer(both) if both else None)

    def _gatherer(self, metrics: Sequence[str]) -> Gatherer:
        return Gatherer(metrics, self.parts, self.variant, self.device, self.seed)

    def values(
        self, contestants: Sequence[Contestant], made: Mapping[str, Gathered] | None, on_error: Failed
    ) -> dict[str, tuple[SetValue, ...]]:
        """Return the numbers of each contestant; none for one of which a picture cannot be read.

        Args:
            contestants: folders and models.
            made: what was gathered of all of them, and of the references, where models made results; else folders are read.
            on_error: gets each file that cannot be read.

        Raises:
            UsageError: there are too few pictures, or of the wrong kind.
            WeightsError: a network cannot be used.
        """
        sets, found = self._of("set", "sets"), {contestant.label: list[SetValue]() for contestant in contestants}
        references = self._references(made, on_error) if self._of("sets") else None
        for contestant in contestants if sets else ():
            gathered = made[contestant.label] if made else self._folder(contestant, sets, on_error)
            if gathered and not (self._of("sets") and references is None):
                found[contestant.label] += score(sets, gathered, references, self.seed)
        for label, values in self._labelled(contestants, on_error).items():
            found[label] += values
        return {label: tuple(values) for label, values in found.items() if values}

    def _of(self, *kinds: str) -> list[str]:
        return [name for name in self.metrics if METRICS[name].kind in kinds]

    def _references(self, made: Mapping[str, Gathered] | None, on_error: Failed) -> Gathered | None:
        assert self.references is not None, "the verb asks for them"
        if made is not None:
            return made[REFERENCES]
        if self.references.suffix == STATISTICS:
            return Gathered.from_npz(self.references)
        return self._folder(Folder(REFERENCES, self.references), self._of("sets"), on_error)

    def _folder(self, contestant: Contestant, metrics: Sequence[str], on_error: Failed) -> Gathered | None:
        """Return what is gathered of a folder, None where a file cannot be read."""
        assert isinstance(contestant, Folder), "models' results are gathered as they are made"
        whole = True

        def complain(path: Path, error: InputError) -> None:
            nonlocal whole
            whole = False
            on_error(path, error)

        gathered = gathered_folder(
            listed(contestant.path, self.recursive),
            metrics,
            self.parts,
            self.variant,
            self.device,
            self.seed,
            printable(contestant.label),
            self._read,
            complain,
        )
        return gathered if whole else None

    def _read(self, path: Path) -> Tensor:
        return opened(path, self.max_pixels).color

    def _labelled(self, contestants: Sequence[Contestant], on_error: Failed) -> dict[str, tuple[SetValue, ...]]:
        """Return what the user's own network sees, by contestant; the verb asks for one such metric at a time."""
        networks = self.networks
        folders = {each.label: each.path for each in contestants if isinstance(each, Folder)}
        if "seg" in self.metrics:
            assert self.references is not None, "the verb asks for them"
            return segmentation(
                {label: label_pairs(folder, self.references, self.recursive) for label, folder in folders.items()},
                segmenter=networks.segmenter,
                palette=networks.palette,
                on_error=on_error,
                max_pixels=self.max_pixels,
            )
        if "accuracy" in self.metrics:
            return classification(
                folders,
                classifier=networks.classifier,
                labels=networks.labels,
                real=self.references,
                on_error=on_error,
                max_pixels=self.max_pixels,
            )
        return {}
