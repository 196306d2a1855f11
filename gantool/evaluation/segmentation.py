"""What a user's own network sees at each place of results whose true classes are known: the three numbers of seg."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from gantool.data.labelled import enumerated
from gantool.errors import InputError, UsageError, printable
from gantool.evaluation.answers import Attempts, Failed, matrix, pictures
from gantool.evaluation.contestants import opened
from gantool.evaluation.palettes import CITYSCAPES, Ids, Palette, nearest_classes, read_numbers, read_palette
from gantool.evaluation.usernet import UserNet, nearest
from gantool.evaluation.values import SetValue
from gantool.images import MAX_PIXELS
from gantool.metrics.seg import IGNORED, Confusion


def segmentation(
    pairs: Mapping[str, Sequence[tuple[Path, Path]]],
    *,
    segmenter: Path | None,
    palette: str | None,
    on_error: Failed,
    max_pixels: int = MAX_PIXELS,
) -> dict[str, tuple[SetValue, ...]]:
    """Return "seg pixel", "seg class" and "seg iou" of results whose true classes are known; see `gantool.metrics.seg`.

    With a network results are resized to the size of their label pictures, or to the one that the network needs, and its
    classes are brought to the label pictures by nearest neighbours. Without one results are label maps in colours: each pixel
    is of the class whose colour is nearest, and these maps are brought to the label pictures likewise.

    Args:
        pairs: results and label pictures (see `wanted.label_pairs`), by what numbers are asked for.
        segmenter: `--segmenter`, an ONNX file; None: results are label maps in colours.
        palette: `--palette`: classes with names and colours, in a file (see `palettes.read_palette`), for label pictures that
            hold classes from 0 on and 255 where nothing counts; or "cityscapes", for those that hold its label ids.
        on_error: is told once of each file that cannot be used.
        max_pixels: larger pictures are refused.

    Returns:
        the numbers by the names of `pairs`; none where a picture failed, since numbers of fewer pictures are others.

    Raises:
        UsageError: nothing tells the classes of results, a file is not there or not what it should be, numbers of classes do
            not agree, or nothing counts.
        WeightsError: the network cannot be used, or is none that segments.
    """
    if segmenter is None and palette is None:
        raise UsageError(
            "seg needs --segmenter net.onnx, a network that looks at the results; or, where these are label maps in colours, "
            "--palette cityscapes or a file of name,r,g,b"
        )
    known = None if palette is None else CITYSCAPES if palette == "cityscapes" else read_palette(Path(palette))
    with nullcontext() if segmenter is None else UserNet(segmenter) as network:
        if network is not None and known is not None:
            network.expect(len(known.names))
        looking = _Looking(network, known, Attempts(on_error), max_pixels)
        return {name: looking.scores(of) for name, of in pairs.items()}


@dataclass(frozen=True)
class _Looking:
    """Finds the classes of results, by a network or by colours that are known, and compares them with the true ones."""

    network: UserNet | None
    known: Palette | None
    attempts: Attempts
    max_pixels: int

    @property
    def classes(self) -> int | None:
        """How many there are; None until the first picture shows it."""
        return len(self.known.names) if self.known else self.network.classes if self.network else None

    @property
    def ignored(self) -> tuple[int, ...]:
        """The values that are no classes."""
        return (IGNORED,) if self.classes is None or self.classes <= IGNORED else ()

    def scores(self, pairs: Sequence[tuple[Path, Path]]) -> tuple[SetValue, ...]:
        """Return the numbers of all pairs; nothing if a picture failed."""
        counts: Confusion | None = None
        sizes = list[tuple[int, int]]()
        for result, truth in pairs:
            seen = self._pair(result, truth)
            if seen is None:
                continue
            said, true = seen
            assert self.classes is not None, "a picture has been looked at"
            counts = counts or Confusion(self.classes)
            counts.add(said, true, self.ignored)
            sizes.append((true.shape[0], true.shape[1]))
        return self._values(counts, sizes) if counts and len(sizes) == len(pairs) else ()

    def _pair(self, result: Path, truth: Path) -> tuple[Ids, Ids] | None:
        """Return the classes that are seen and the true ones; None where one of the files cannot be used."""
        color = self.attempts.make(result, lambda: opened(result, self.max_pixels).color)
        true = self.attempts.make(truth, lambda: self._checked(read_numbers(truth, self.known, self.max_pixels), truth))
        if color is None or true is None:
            return None
        said = self.attempts.make(result, lambda: self._said(color, (true.shape[0], true.shape[1]), result))
        # once more, since the first picture may have shown how many classes there are
        if said is None or self.attempts.make(truth, lambda: self._checked(true, truth)) is None:
            return None
        return said, true

    def _checked(self, true: Ids, truth: Path) -> Ids:
        counted = true[~np.isin(true, self.ignored)]
        if self.classes is not None and counted.size and counted.max() >= self.classes:
            name, most = printable(truth), counted.max()
            raise InputError(
                f"{name} has the class {most}, and there are {self.classes}, from 0 on: {IGNORED} says that a place is none"
            )
        return true

    def _said(self, color: Tensor, size: tuple[int, int], result: Path) -> Ids:
        """Return the classes of a result, in the size (height, width) of its label picture."""
        if self.network is not None:
            return self.network.segment(color, size, result)
        assert self.known is not None, "checked before"
        return nearest(nearest_classes(color, self.known), size)

    def _values(self, counts: Confusion, sizes: Sequence[tuple[int, int]]) -> tuple[SetValue, ...]:
        true = counts.true
        if not true.any():
            raise UsageError(f"the label pictures say nothing but {IGNORED}, which counts for nothing: name those with classes")
        names, words = self._names(len(true)), self._words(sizes, len(true))
        never = [name for name, count in zip(names, true, strict=True) if not count]
        warned = f"{enumerated(never)}: in no label picture, and counted as 0 in the mean over classes, as published scores do"
        warnings = (warned,) if never else ()
        pixels = {"pixels": dict(zip(names, true.tolist(), strict=True)), **matrix(counts)}
        shares = {"seg class": counts.class_accuracies(), "seg iou": counts.ious()}
        tables = {
            metric: {name: value if count else None for name, value, count in zip(names, values.tolist(), true, strict=True)}
            for metric, values in shares.items()
        }
        means = (("seg class", counts.class_accuracy()), ("seg iou", counts.iou()))
        details = {**(self.network.identity() if self.network else {}), **pixels}
        return (
            SetValue("seg pixel", counts.pixel_accuracy(), words=words, details=details),
            *(SetValue(name, mean, None, words, warnings, {"by_class": tables[name]}) for name, mean in means),
        )

    def _names(self, classes: int) -> tuple[str, ...]:
        if self.known is not None:
            return self.known.names
        assert self.network is not None, "checked before"
        return self.network.names(classes)

    def _words(self, sizes: Sequence[tuple[int, int]], classes: int) -> str:
        by = self.network.words() if self.network else f"the nearest of {classes} colours"
        least, most = min(sizes), max(sizes)
        pixels = f"{least[1]}x{least[0]}" + (f" to {most[1]}x{most[0]}" if most != least else "")
        how = "maps brought to label pictures by nearest neighbours"
        if self.network:
            fixed = self.network.taken.size is not None
            how = f"results resized bilinearly to {'what it takes' if fixed else 'the size of label pictures'}, {how}"
        ids = self.known is CITYSCAPES
        ignored = "Cityscapes' label ids without a train id do" if ids else f"places labelled {IGNORED} do"
        count = f", {ignored} not count" if self.ignored else ""
        return f"{pictures(len(sizes))} of {pixels}, {classes} classes by {by}; {how}{count}"
