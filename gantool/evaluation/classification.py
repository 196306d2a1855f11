"""What a user's own network takes results for, whose classes were asked for: accuracy, beside its own on real pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np

from gantool.errors import UsageError
from gantool.evaluation.answers import Attempts, Failed, matrix, pictures
from gantool.evaluation.contestants import listed, opened
from gantool.evaluation.usernet import UserNet
from gantool.evaluation.values import SetValue
from gantool.evaluation.wanted import Labelled, real_pictures, wanted
from gantool.images import MAX_PIXELS
from gantool.metrics.accuracy import accuracy, by_class
from gantool.metrics.seg import Confusion

_UNBOUNDED = "how well the classifier sees real pictures is not known, and bounds this: name some as references"


def classification(
    results: Mapping[str, Path],
    *,
    classifier: Path | None,
    labels: Path | None,
    real: Path | None,
    on_error: Failed,
    max_pixels: int = MAX_PIXELS,
) -> dict[str, tuple[SetValue, ...]]:
    """Return "accuracy", of results, and "accuracy real", the classifier's own on real pictures, if there are any.

    Args:
        results: folders of results, with sub-folders, or single ones, by what numbers are asked for.
        classifier: `--classifier`, an ONNX file.
        labels: `--labels`, the wanted classes, see `wanted.wanted`; None: results lie in a folder per class.
        real: pictures of the target domain that the classifier was not trained on, in a folder per class, or an IDX file or a
            folder that holds one.
        on_error: is told once of each file that cannot be used.
        max_pixels: larger pictures are refused.

    Returns:
        the numbers by the names of `results`; none of a set of which a picture failed, since that of fewer pictures is
        another.

    Raises:
        UsageError: no classifier is named, or what classes pictures should be of cannot be told, or one is no class of it.
        WeightsError: the network cannot be used, or is none that classifies.
    """
    if classifier is None:
        raise UsageError("accuracy needs --classifier net.onnx, a network that says what pictures show")
    sets = {name: wanted(place, listed(place, recursive=True), labels) for name, place in results.items()}
    true = [] if real is None else real_pictures(real)
    with UserNet(classifier) as network:
        for label in dict.fromkeys(picture.label for picture in chain(true, *sets.values())):
            network.index(label)  # rather before the work than after it
        attempts = Attempts(on_error)
        found = {name: _accuracy("accuracy", of, network, attempts, max_pixels) for name, of in sets.items()}
        if real is not None:
            own = _accuracy("accuracy real", true, network, attempts, max_pixels)
            return {name: (*values, *own) for name, values in found.items()}
    return {name: tuple(replace(value, warnings=(_UNBOUNDED,)) for value in values) for name, values in found.items()}


def _accuracy(
    metric: str, of: Sequence[Labelled], network: UserNet, attempts: Attempts, max_pixels: int
) -> tuple[SetValue, ...]:
    answers = _answers(of, network, attempts, max_pixels)
    if answers is None:
        return ()
    names = network.names(len(answers.matrix))
    table = dict(zip(names, by_class(answers), strict=True))
    counts = dict(zip(names, answers.true.tolist(), strict=True))
    whose = "real pictures" if metric == "accuracy real" else "results"
    words = f"share of {pictures(len(of))} ({whose}) that {network.words()} sees as the wanted one of {len(names)} classes"
    details = {**network.identity(), "by_class": table, "pictures": counts, **matrix(answers)}
    return (SetValue(metric, accuracy(answers), words=words, details=details),)


def _answers(of: Sequence[Labelled], network: UserNet, attempts: Attempts, max_pixels: int) -> Confusion | None:
    """Return what the network says of all pictures; None if one of them failed."""
    said, true = list[int](), list[int]()
    for picture in of:
        answer = _said(picture, network, attempts, max_pixels)
        if answer is not None:
            said.append(answer)
            true.append(network.index(picture.label))  # now that the number of classes is known
    if len(said) < len(of) or not said:
        return None
    assert network.classes is not None, "it has been asked"
    answers = Confusion(network.classes)
    answers.add(np.array(said), np.array(true))
    return answers


def _said(picture: Labelled, network: UserNet, attempts: Attempts, max_pixels: int) -> int | None:
    def look() -> int:
        color = opened(picture.path, max_pixels).color if picture.color is None else picture.color
        return network.classify(color, picture.path)

    return attempts.make(picture.path, look)
