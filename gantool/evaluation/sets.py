"""Numbers that belong to whole sets of pictures, each with its recipe and with what makes it less than it seems."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

from torch import Tensor

from gantool.errors import UsageError
from gantool.evaluation.gathering import Gathered
from gantool.evaluation.values import Json, SetValue
from gantool.layers.inception import CLASSES, FEATURES
from gantool.metrics import METRICS
from gantool.metrics.fid import Gaussian, fid
from gantool.metrics.inception_score import SPLITS, inception_score
from gantool.metrics.kid import SUBSETS, kid, subset
from gantool.metrics.precision import NEIGHBOURS, precision
from gantool.metrics.recall import recall
from gantool.metrics.swd import PICTURES, swd

PAIRS = 100  # of each class, when the MS-SSIM of generated pictures was first reported


def score(metrics: Sequence[str], results: Gathered, references: Gathered | None, seed: int = 0) -> tuple[SetValue, ...]:
    """Return the numbers of whole sets, in the order asked for.

    Args:
        metrics: names out of `METRICS`; those of single pictures are left alone.
        results: gathered for them.
        references: gathered for those of kind "sets", if there are any.
        seed: of the directions that `swd` looks along.

    Raises:
        UsageError: a metric has no references to compare with, or the pictures are too few or of many sizes.
    """
    found = []
    for name in metrics:
        if METRICS[name].kind == "set":
            value = _inception_score(results) if name == "is" else _diversity(results)
            found.append(_told(value, results))
        elif METRICS[name].kind == "sets":
            other = _checked(name, references)
            found.append(_told(_compared(name, results, other, seed), results, other))
    return tuple(found)


def _checked(name: str, references: Gathered | None) -> Gathered:
    if references is None:
        raise UsageError(f"{name} compares two sets of pictures: name a folder of references too")
    if references.count is None and name != "fid":
        raise UsageError(f"{references.label} holds statistics for fid alone: name a folder of references for {name}")
    return references


def _told(value: SetValue, *sides: Gathered) -> SetValue:
    """Return a value with what is to be said of its sides: counts, networks, JPEG files."""
    needs = METRICS[value.metric].needs
    through = "".join(f"; through {words}" for name, words in (sides[0].through or {}).items() if name in needs)
    words = f"{value.words}; {' against '.join(map(_said, sides))}{through}"
    compressed = [side for side in sides if side.jpegs and needs]
    warnings = [
        f"{side.jpegs:,} of the {_said(side)} are JPEG files, whose compression moves {value.metric}: compare PNG files"
        for side in compressed
    ]
    counts: list[Json] = [side.count for side in sides]
    return replace(value, words=words, warnings=(*value.warnings, *warnings), details={"pictures": counts, **value.details})


def _said(side: Gathered) -> str:
    if side.count is None:
        return f"{side.label}, of an unknown number of pictures"
    return f"{side.count:,} pictures of {side.label}"


def _compared(name: str, results: Gathered, references: Gathered, seed: int) -> SetValue:
    if name == "fid":
        return _fid(results, references)
    if name == "kid":
        return _kid(_rows(results.features), _rows(references.features), results.variant)
    if name == "swd":
        return _swd(results, references, seed)
    measure = {"precision": precision, "recall": recall}[name]
    words = f"{NEIGHBOURS} neighbours, pictures resized to 224 by TensorFlow's bilinear (published: 50,000 a side)"
    return SetValue(name, measure(_rows(results.looks), _rows(references.looks)), words=words)


def _rows(found: Tensor | None) -> Tensor:
    assert found is not None, "it was gathered for this metric"
    return found


def _fid(results: Gathered, references: Gathered) -> SetValue:
    value = fid(_gaussian(results), _gaussian(references))
    fewest = min(side.count for side in (results, references) if side.count is not None)
    warnings = []
    if fewest <= FEATURES:
        warnings.append(
            f"fid of {fewest:,} pictures: below {FEATURES + 1:,} a covariance is not of full rank and the figure is too high, "
            "so compare it with figures of as many pictures only"
        )
    if references.variant is None:
        warnings.append(f"{references.label} does not say its variant: the figure holds only if it is {results.variant}")
    return SetValue("fid", value, None, f"variant {results.variant}", tuple(warnings), {"variant": results.variant})


def _gaussian(side: Gathered) -> Gaussian:
    if side.gaussian is None:
        raise UsageError(f"fid needs at least 2 pictures a side, for a covariance, and there are {_said(side)}: add some")
    return side.gaussian


def _kid(results: Tensor, references: Tensor, variant: str | None) -> SetValue:
    value, spread = kid(results, references)
    size = subset(len(results), len(references))
    words = f"variant {variant}, {SUBSETS} subsets of {size:,} pictures, not times 1000"
    fewest = min(len(results), len(references))
    warnings = (
        (f"kid of {fewest:,} pictures: subsets are the whole side, so the spread tells little",) if size == fewest else ()
    )
    return SetValue("kid", value, spread, words, warnings, {"variant": variant, "subset": size})


def _swd(results: Gathered, references: Gathered, seed: int) -> SetValue:
    if results.size != references.size or results.size is None:
        sizes = " and ".join(
            "none" if side.size is None else f"{side.size[1]}x{side.size[0]}" for side in (results, references)
        )
        raise UsageError(f"swd compares pictures of one size, and the sides have {sizes}: resize them")
    levels = swd(results.patches, references.patches, seed)
    used = min(len(side.patches[0]) for side in (results, references))
    warnings = []
    if used < PICTURES:
        warnings.append(f"swd of {used:,} pictures a side: the paper has {PICTURES:,}, and fewer give a higher figure")
    by_level: dict[str, Json] = {f"{-(-results.size[0] >> level)}": value for level, value in enumerate(levels)}
    words = f"times 1000, mean of the levels with {', '.join(by_level)} rows, {used:,} pictures a side"
    return SetValue("swd", fmean(levels), None, words, tuple(warnings), {"levels": by_level})


def _inception_score(results: Gathered) -> SetValue:
    value, spread = inception_score(_rows(results.logits))
    size = (results.count or 0) // SPLITS
    warnings = []
    if size < CLASSES:
        warnings.append(
            f"is of {results.count:,} pictures: each of the {SPLITS} splits has about {size}, and no score can be above that; "
            "published ones are of 50,000"
        )
    words = f"variant {results.variant}, {SPLITS} splits after shuffling, logits without bias"
    return SetValue("is", value, spread, words, tuple(warnings), {"variant": results.variant})


def _diversity(results: Gathered) -> SetValue:
    if results.similarity is None:
        raise UsageError(f"ms-ssim-diversity compares pictures of one set, and there are {_said(results)}: give at least 2")
    warnings = []
    if results.pairs < PAIRS:
        warnings.append(f"ms-ssim-diversity of {results.pairs} pairs: published ones are of at least {PAIRS}")
    return SetValue("ms-ssim-diversity", results.similarity, None, f"{results.pairs:,} random pairs", tuple(warnings))
