"""What a user's own network sees in results: the class of each place (seg), or of each picture (accuracy)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from gantool.data.labelled import enumerated
from gantool.errors import InputError, UsageError, printable
from gantool.evaluation.contestants import opened
from gantool.evaluation.palettes import CITYSCAPES, Ids, Palette, nearest_classes, read_numbers, read_palette
from gantool.evaluation.usernet import UserNet, nearest
from gantool.evaluation.values import Json, SetValue
from gantool.evaluation.wanted import Labelled, real_pictures, wanted
from gantool.images import MAX_PIXELS
from gantool.metrics.accuracy import accuracy, by_class
from gantool.metrics.seg import IGNORED, Confusion

Failed = Callable[[Path, InputError], None]
"""Is told of each picture that cannot be used."""

MAX_SHOWN = 100  # classes up to which their matrix goes into reports


def segmentation_from_options(
    pairs: Iterable[tuple[Path, Path]],
    segmenter: Path | None,
    palette: str | None,
    on_error: Failed,
    max_pixels: int = MAX_PIXELS,
) -> tuple[SetValue, ...]:
    """Return what `segmentation` does, by the command's options.

    Args:
        pairs: results and label pictures, see `wanted.label_pairs`.
        segmenter: `--segmenter`, an ONNX file; None: results are label maps in colours.
        palette: `--palette`, "cityscapes" or a file of name,r,g,b.
        on_error: is told of pictures that cannot be used.
        max_pixels: larger pictures are refused.

    Raises:
        UsageError: both are missing, a file is not there or not what it should be, or classes do not agree.
        WeightsError: the network cannot be used.
    """
    if segmenter is None and palette is None:
        raise UsageError(
            "seg needs --segmenter net.onnx, a network that looks at the results; or, where these are label maps in colours, "
            "--palette cityscapes or a file of name,r,g,b"
        )
    labels: Literal["ids", "cityscapes"] = "cityscapes" if palette == "cityscapes" else "ids"
    file = Path(palette) if palette is not None and labels == "ids" else None
    if segmenter is None:
        return segmentation(pairs, None, labels=labels, palette=file, on_error=on_error, max_pixels=max_pixels)
    with UserNet(segmenter) as network:
        return segmentation(pairs, network, labels=labels, palette=file, on_error=on_error, max_pixels=max_pixels)


def segmentation(
    pairs: Iterable[tuple[Path, Path]],
    network: UserNet | None,
    *,
    labels: Literal["ids", "cityscapes"],
    palette: Path | None,
    on_error: Failed,
    max_pixels: int = MAX_PIXELS,
) -> tuple[SetValue, ...]:
    """Return "seg pixel", "seg class" and "seg iou" of results whose true classes are known; see `gantool.metrics.seg`.

    With a network results are resized to the size of their label pictures, or to the one that the network needs, and its
    classes are brought to the label pictures by nearest neighbours. Without one results are label maps in colours: each pixel
    is of the class whose colour is nearest, and these maps are brought to the label pictures likewise.

    Args:
        pairs: results and label pictures.
        network: a segmenter.
        labels: what label pictures hold: classes from 0 on and 255 where nothing counts, or Cityscapes' label ids.
        palette: classes with names and colours, see `palettes.read_palette`; Cityscapes' own are known.
        on_error: is told of pictures that cannot be used.
        max_pixels: larger pictures are refused.

    Returns:
        nothing if a picture failed, since numbers of fewer pictures are others.

    Raises:
        UsageError: nothing tells the classes of results, or their numbers do not agree, or nothing counts.
        WeightsError: the network is none that segments.
    """
    known = CITYSCAPES if labels == "cityscapes" else read_palette(palette) if palette else None
    if network is None and known is None:
        raise UsageError("results can be taken for label maps where the colours of classes are known: name them by --palette")
    if network is not None and known is not None:
        network.expect(len(known.names))
    counts: Confusion | None = None
    sizes, failed = list[tuple[int, int]](), False
    for result, truth in pairs:
        try:
            true = read_numbers(truth, known, max_pixels)
            size = (true.shape[0], true.shape[1])
            said, classes = _said(result, size, network, known, max_pixels)
            ignored = (IGNORED,) if classes <= IGNORED else ()
            _check(true[~np.isin(true, ignored)], classes, truth)
        except InputError as error:
            failed = True
            on_error(result, error)
            continue
        counts = counts or Confusion(classes)
        counts.add(said, true, ignored)
        sizes.append(size)
    return () if failed or counts is None else _shares(counts, network, known, sizes)


def _said(
    result: Path, size: tuple[int, int], network: UserNet | None, known: Palette | None, max_pixels: int
) -> tuple[Ids, int]:
    """Return the classes (H, W) of a result, and how many there are."""
    color = opened(result, max_pixels).color
    if network is not None:
        found = network.segment(color, size, result)
        assert network.classes is not None, "it has been asked"
        return found, network.classes
    assert known is not None, "checked before"
    return nearest(nearest_classes(color, known), size), len(known.names)


def _check(true: Ids, classes: int, truth: Path) -> None:
    if true.size and true.max() >= classes:
        name, most = printable(truth), true.max()
        raise InputError(
            f"{name} has the class {most}, and there are {classes}, from 0 on: {IGNORED} says that a place is none"
        )


def _shares(
    counts: Confusion, network: UserNet | None, known: Palette | None, sizes: Sequence[tuple[int, int]]
) -> tuple[SetValue, ...]:
    true = counts.true
    if not true.any():
        raise UsageError(f"the label pictures say nothing but {IGNORED}, which counts for nothing: name those with classes")
    names = known.names if known else _names(network, len(true))
    words = _seg_words(network, known, sizes, len(true))
    never = [name for name, count in zip(names, true, strict=True) if not count]
    warned = f"{enumerated(never)}: in no label picture, and counted as 0 in the mean over classes, as published scores do"
    warnings = (warned,) if never else ()
    pixels = {"pixels": dict(zip(names, true.tolist(), strict=True)), **_matrix(counts)}
    shares = {"seg class": counts.class_accuracies(), "seg iou": counts.ious()}
    tables = {
        metric: {name: value if count else None for name, value, count in zip(names, values.tolist(), true, strict=True)}
        for metric, values in shares.items()
    }
    means = (("seg class", counts.class_accuracy()), ("seg iou", counts.iou()))
    return (
        SetValue("seg pixel", counts.pixel_accuracy(), words=words, details={**_identity(network), **pixels}),
        *(SetValue(name, mean, None, words, warnings, {"by_class": tables[name]}) for name, mean in means),
    )


def _seg_words(network: UserNet | None, known: Palette | None, sizes: Sequence[tuple[int, int]], classes: int) -> str:
    by = network.words() if network else f"the nearest of {classes} colours"
    least, most = min(sizes), max(sizes)
    pixels = f"{least[1]}x{least[0]}" + (f" to {most[1]}x{most[0]}" if most != least else "")
    how = "maps brought to label pictures by nearest neighbours"
    if network:
        fixed = network.taken.size is not None
        how = f"results resized bilinearly to {'what it takes' if fixed else 'the size of label pictures'}, {how}"
    ignored = "Cityscapes' label ids without a train id do" if known is CITYSCAPES else f"places labelled {IGNORED} do"
    count = f", {ignored} not count" if classes <= IGNORED else ""
    return f"{_pictures(len(sizes))} of {pixels}, {classes} classes by {by}; {how}{count}"


def classification_from_options(
    results: Path,
    paths: Sequence[Path],
    classifier: Path | None,
    labels: Path | None,
    real: Path | None,
    on_error: Failed,
    max_pixels: int = MAX_PIXELS,
) -> tuple[SetValue, ...]:
    """Return what `classification` does, by the command's options.

    Args:
        results: the folder of results, or the only one.
        paths: the results, below it.
        classifier: `--classifier`, an ONNX file.
        labels: `--labels`, see `wanted.wanted`; None: results lie in a folder per class.
        real: the references: real pictures in a folder per class, or an IDX file or a folder that holds one.
        on_error: is told of pictures that cannot be used.
        max_pixels: larger pictures are refused.

    Raises:
        UsageError: no classifier is named, or what classes pictures should be of cannot be told.
        WeightsError: the network cannot be used.
    """
    if classifier is None:
        raise UsageError("accuracy needs --classifier net.onnx, a network that says what pictures show")
    pictures = wanted(results, paths, labels)
    true = None if real is None else real_pictures(real)
    with UserNet(classifier) as network:
        return classification(pictures, network, true, on_error, max_pixels)


def classification(
    results: Sequence[Labelled],
    network: UserNet,
    real: Sequence[Labelled] | None,
    on_error: Failed,
    max_pixels: int = MAX_PIXELS,
) -> tuple[SetValue, ...]:
    """Return "accuracy", of results, and "accuracy real", the classifier's own on real pictures, if there are any.

    Args:
        results: with the class that was asked for.
        network: a classifier.
        real: pictures of the target domain that the classifier was not trained on.
        on_error: is told of pictures that cannot be used.
        max_pixels: larger pictures are refused.

    Returns:
        no number for a set of which a picture failed, since that of fewer pictures is another.

    Raises:
        UsageError: a label is no class of the network.
        WeightsError: the network is none that classifies.
    """
    answers = _answers(results, network, on_error, max_pixels)
    found = [_accuracy("accuracy", answers, network)] if answers else []
    if real is not None:
        own = _answers(real, network, on_error, max_pixels)
        return (*found, *([_accuracy("accuracy real", own, network)] if own else []))
    unknown = "how well the classifier sees real pictures is not known, and bounds this: name some as references"
    return tuple(replace(value, warnings=(unknown,)) for value in found)


def _answers(pictures: Sequence[Labelled], network: UserNet, on_error: Failed, max_pixels: int) -> Confusion | None:
    for label in dict.fromkeys(picture.label for picture in pictures):
        network.index(label)  # rather before the work than after it
    said, true, failed = list[int](), list[int](), False
    for picture in pictures:
        try:
            color = opened(picture.path, max_pixels).color if picture.color is None else picture.color
            said.append(network.classify(color, picture.path))
            true.append(network.index(picture.label))  # now that the number of classes is known
        except InputError as error:
            failed = True
            on_error(picture.path, error)
    if failed or not said:
        return None
    assert network.classes is not None, "it has been asked"
    answers = Confusion(network.classes)
    answers.add(np.array(said), np.array(true))
    return answers


def _accuracy(metric: str, answers: Confusion, network: UserNet) -> SetValue:
    names = _names(network, len(answers.matrix))
    table = dict(zip(names, by_class(answers), strict=True))
    counts = dict(zip(names, answers.true.tolist(), strict=True))
    whose = "real pictures" if metric == "accuracy real" else "results"
    count = int(answers.true.sum())
    words = f"share of {_pictures(count)} ({whose}) that {network.words()} sees as the wanted one of {len(names)} classes"
    details = {**_identity(network), "by_class": table, "pictures": counts, **_matrix(answers)}
    return SetValue(metric, accuracy(answers), words=words, details=details)


def _names(network: UserNet | None, classes: int) -> tuple[str, ...]:
    return tuple(network.name(index) if network else str(index) for index in range(classes))


def _identity(network: UserNet | None) -> dict[str, Json]:
    return {"network": network.path.name, "sha256": network.sha256} if network else {}


def _matrix(counts: Confusion) -> dict[str, Json]:
    """Return the matrix for reports: a row for each true class."""
    return {"confusion": counts.matrix.tolist()} if len(counts.matrix) <= MAX_SHOWN else {}


def _pictures(count: int) -> str:
    return "1 picture" if count == 1 else f"{count} pictures"
