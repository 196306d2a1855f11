"""What an evaluation finds, as plain values that reports are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

Json: TypeAlias = "bool | int | float | str | None | Sequence[Json] | Mapping[str, Json]"


@dataclass(frozen=True)
class Row:
    """What one picture of one contestant scores, or why it has no numbers.

    Attributes:
        contestant: label of the folder or model that the result comes from.
        name: of the picture: the reference's, from its folder on; the result's where there are no references.
        result: its file; None where a model made it for this evaluation.
        reference: its file, if any.
        values: by metric.
        error: why there are no values.
        notes: what a reader of the numbers has to know.
        seconds: spent on measuring.
        model_seconds: spent by the model, where one made the result.
    """

    contestant: str
    name: str
    result: Path | None
    reference: Path | None
    values: Mapping[str, float] = field(default_factory=dict)
    error: str | None = None
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    model_seconds: float | None = None


@dataclass(frozen=True)
class Mean:
    """The mean of pictures' values, with its 95 % interval by the bootstrap; None where it is not defined."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class SetValue:
    """A number that belongs to whole sets of pictures.

    Attributes:
        metric: its name, such as "fid", or "seg iou" where one metric has several numbers.
        value: the number.
        spread: standard deviation, where the recipe has one.
        words: the recipe: variant, counts of pictures, reference, files looked through.
        warnings: what makes the number less than it seems, such as too few pictures.
        details: for JSON and pages: values by class, a confusion matrix.
    """

    metric: str
    value: float
    spread: float | None = None
    words: str = ""
    warnings: tuple[str, ...] = ()
    details: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """Two contestants on the same pictures.

    Attributes:
        metric: its name.
        first: label of the one that is compared with.
        second: label of the other.
        difference: mean of second - first, with its interval.
        wins: share of pictures where the second is better; ties count half.
        p: of Wilcoxon's signed-rank test, two-sided; None where there is none.
        why: there is no p.
    """

    metric: str
    first: str
    second: str
    difference: Mean
    wins: float
    p: float | None
    why: str = ""


@dataclass(frozen=True)
class Explained:
    """A mean under another convention.

    Attributes:
        metric: whose.
        words: the convention.
        value: the mean under it.
        difference: to the mean as it was asked for.
    """

    metric: str
    words: str
    value: float
    difference: float


@dataclass(frozen=True)
class Evaluation:
    """All that was found.

    Attributes:
        contestants: labels, in the order they were named.
        metrics: of pictures, in the order they were asked for.
        rows: by contestant, then picture.
        means: by contestant and metric; no entry where it is withheld.
        sets: by contestant.
        comparisons: of the first contestant with each other one.
        explained: by contestant.
        recipe: how all was measured, in sentences.
        protocol: name, if it has one.
    """

    contestants: tuple[str, ...]
    metrics: tuple[str, ...]
    rows: tuple[Row, ...]
    means: Mapping[str, Mapping[str, Mean]]
    sets: Mapping[str, tuple[SetValue, ...]]
    comparisons: tuple[Comparison, ...]
    explained: Mapping[str, tuple[Explained, ...]]
    recipe: tuple[str, ...]
    protocol: str | None
