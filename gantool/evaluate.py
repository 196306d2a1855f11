"""`gantool evaluate`: results against references, with numbers that can be put beside published ones."""

from __future__ import annotations

import csv
import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from statistics import fmean

from rich.progress import Progress
from torch import Tensor

from gantool.batch import emit
from gantool.data.pairing import Pair, pair
from gantool.errors import InputError, UsageError, console, printable, say
from gantool.files import atomic
from gantool.images import EXTENSIONS, MAX_PIXELS, read
from gantool.metrics import measure
from gantool.metrics.protocols import Recipe
from gantool.outputs import pictures

__all__ = ["Options", "Row", "check_sizes", "find_pairs", "measure", "rows", "run"]

SHOWN = 5  # names in a message


@dataclass(frozen=True)
class Row:
    """One pair's values by metric, or why there are none."""

    pair: Pair
    values: dict[str, float] = field(default_factory=dict)
    error: str | None = None
    note: str | None = None  # what a reader of the numbers has to know
    seconds: float = 0.0


@dataclass(frozen=True)
class Options:
    """What the command line says; see its help."""

    results: Path
    references: Path
    recipe: Recipe
    recursive: bool = False
    csv: Path | None = None
    overwrite: bool = False
    as_json: bool = False
    max_pixels: int = MAX_PIXELS


def run(options: Options) -> None:
    """Measure results against references; print a table, or JSON lines, with the mean and the recipe.

    Raises:
        UsageError: the two sets do not pair or differ in size, or the CSV file cannot be; nothing was measured.
        InputError: pictures could not be measured; the others' values were given, the mean was not.
    """
    recipe = options.recipe
    pairs = find_pairs(options.results, options.references, options.recursive)
    if options.csv is not None:
        _check_output(options.csv, options.overwrite)
    quiet = options.as_json or not console().is_terminal
    with Progress(console=console(), transient=True, redirect_stdout=False, disable=quiet) as progress:
        check_sizes(progress.track(pairs, description="checking sizes"), recipe.scale, options.max_pixels)
        measured = []
        for row in progress.track(rows(pairs, recipe, options.max_pixels), total=len(pairs), description="measuring"):
            measured.append(row)
            if row.error:
                say(f"gantool: {row.error}")
            if options.as_json:
                emit(json.dumps(_as_json(row)))
    mean = _mean(measured, recipe)
    emit(json.dumps(_summary(measured, mean, recipe)) if options.as_json else _table(measured, mean, recipe, options.results))
    if options.csv is not None:
        _write_csv(options.csv, measured, mean, recipe)
    if mean is None:
        failed = sum(row.error is not None for row in measured)
        raise InputError(f"{failed} of {len(measured)} pictures could not be measured: the mean is withheld")


def find_pairs(results: Path, references: Path, recursive: bool = False) -> list[Pair]:
    """Return the pairs of two pictures, or of two folders by name (see `gantool.data.pairing.pair`).

    Raises:
        UsageError: there is nothing, or not the same, on the two sides.
    """
    for path in (results, references):
        if not path.exists():
            raise UsageError(f"{printable(path)} is not there: name a picture or a folder of pictures")
    if not results.is_dir() and not references.is_dir():
        return [Pair(results, references)]
    if not results.is_dir() or not references.is_dir():
        raise UsageError(
            f"of {printable(results)} and {printable(references)} only one is a folder: name two pictures or two folders"
        )
    found = pair(*(_list(folder, recursive) for folder in (results, references)))
    return [Pair(results / p.result, references / p.reference) for p in found]


def _list(folder: Path, recursive: bool) -> list[Path]:
    """Return the pictures in a folder, from it on, sorted."""
    return [path.relative_to(folder) for path in pictures(folder, recursive)]


def _check_output(path: Path, overwrite: bool) -> None:
    if path.suffix.lower() in EXTENSIONS or path.is_dir() or not os.access(path.parent, os.W_OK):
        raise UsageError(f"--csv {printable(path)} cannot be written: name a .csv file in a folder that takes one")
    if path.exists() and not overwrite:
        raise UsageError(f"{printable(path)} exists: add --overwrite or choose another name")


def check_sizes(pairs: Iterable[Pair], scale: int | None, max_pixels: int = MAX_PIXELS) -> None:
    """Refuse a whole set in which a result has not the size of its reference, whole or cropped to a multiple of `scale`.

    Files that cannot be read are passed over: they are for `rows` to report. Reading all files once more than needed costs
    less than being refused after all the measuring.

    Raises:
        UsageError: sizes differ; the pictures are named.
    """
    wrong = []
    for p in pairs:
        with suppress(InputError):
            result, reference = (read(path, max_pixels).color for path in (p.result, p.reference))
            if result.shape[1:] not in (reference.shape[1:], _cropped(reference, scale or 1).shape[1:]):
                wrong.append(f"{_named_size(p.result, result)} but {_named_size(p.reference, reference)}")
    if wrong:
        more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise UsageError(
            f"results and references differ in size: {'; '.join(wrong[:SHOWN])}{more}. Nothing is resized to fit; "
            f"--scale {scale or 4} crops references to a multiple of {scale or 4}"
        )


def _named_size(path: Path, color: Tensor) -> str:
    return f"{printable(path)} has {color.shape[2]}x{color.shape[1]}"


def rows(pairs: Iterable[Pair], recipe: Recipe, max_pixels: int = MAX_PIXELS) -> Iterator[Row]:
    """Yield a row a pair, measured when it is asked for; a pair that cannot be measured says why."""
    for p in pairs:
        begin = time.perf_counter()
        try:
            values, note = _measured(p, recipe, max_pixels)
        except InputError as error:
            yield Row(p, error=str(error))
        else:
            yield Row(p, values, note=note, seconds=time.perf_counter() - begin)


def _measured(p: Pair, recipe: Recipe, max_pixels: int) -> tuple[dict[str, float], str | None]:
    result, reference = (_cropped(_opaque(path, max_pixels), recipe.scale or 1) for path in (p.result, p.reference))
    try:
        return measure(result, reference, recipe.metrics, recipe.border), _note(result, reference)
    except InputError as error:
        raise InputError(f"{printable(p.result)}: {error}") from error


def _opaque(path: Path, max_pixels: int) -> Tensor:
    picture = read(path, max_pixels)
    if picture.alpha is not None and picture.alpha.min() < 255:
        raise InputError(f"{printable(path)} is transparent, and its hidden colours mean nothing: give it a background first")
    return picture.color


def _cropped(color: Tensor, multiple: int) -> Tensor:
    height, width = color.shape[1:]
    return color[:, : height - height % multiple, : width - width % multiple]


def _note(result: Tensor, reference: Tensor) -> str | None:
    if result.shape[0] == reference.shape[0]:
        return None
    if reference.shape[0] == 1:
        return "the reference is gray: the result, in colour, was turned to 8-bit gray by BT.601 weights before measuring"
    return "the result is gray: it was taken for a colour picture with three equal channels"


def _mean(measured: Sequence[Row], recipe: Recipe) -> dict[str, float] | None:
    """Return the mean of the pictures' values, None where one is missing: a mean of fewer pictures is another number."""
    if any(row.error for row in measured):
        return None
    return {name: fmean(row.values[name] for row in measured) for name in recipe.metrics}


def _table(measured: Sequence[Row], mean: dict[str, float] | None, recipe: Recipe, results: Path) -> str:
    base = results if results.is_dir() else results.parent
    shown = {row.pair: printable(row.pair.result.relative_to(base)) for row in measured}
    names = [shown[row.pair] for row in measured if not row.error]
    last = f"mean of {len(measured)}" if mean else f"mean withheld: {len(names)} of {len(measured)} measured"
    width = max(len(name) for name in [*names, last])
    lines = [f"{'':{width}}" + "".join(f"  {name:>8}" for name in recipe.metrics)]
    values = [row.values for row in measured if not row.error]
    for name, row in zip([*names, last], [*values, mean or {}], strict=True):
        lines.append(f"{name:{width}}" + "".join(f"  {row[metric]:8.4f}" for metric in row))
    notes = [f"{shown[row.pair]}: {row.note}" for row in measured if row.note]
    return "\n".join([*lines, "", *notes, *recipe.lines()])


def _as_json(row: Row) -> dict[str, object]:
    paths = {"input": str(row.pair.result), "reference": str(row.pair.reference)}
    if row.error:
        return {**paths, "status": "error", "error": row.error}
    note = {"note": row.note} if row.note else {}
    return {**paths, "status": "ok", "seconds": round(row.seconds, 6), "values": _finite(row.values), **note}


def _summary(measured: Sequence[Row], mean: dict[str, float] | None, recipe: Recipe) -> dict[str, object]:
    return {
        "mean": _finite(mean) if mean else None,
        "measured": sum(row.error is None for row in measured),
        "pictures": len(measured),
        "protocol": recipe.protocol,
        "scale": recipe.scale,
        "border": recipe.border,
        "recipe": "; ".join(recipe.lines()),
    }


def _finite(values: dict[str, float]) -> dict[str, float | str]:
    """Return the values with infinity as the string "inf", as JSON has no such number."""
    return {name: value if isfinite(value) else str(value) for name, value in values.items()}


def _write_csv(path: Path, measured: Sequence[Row], mean: dict[str, float] | None, recipe: Recipe) -> None:
    """Write a line a picture and the mean, each with the recipe, so that a line alone still says what it is."""
    words = "; ".join(recipe.lines())
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        table = csv.writer(file)
        table.writerow(["result", "reference", *recipe.metrics, "error", "note", "recipe"])
        for row in measured:
            values = [row.values.get(name, "") for name in recipe.metrics]
            table.writerow([row.pair.result, row.pair.reference, *values, row.error or "", row.note or "", words])
        if mean:
            table.writerow(["mean", "", *mean.values(), "", "", words])
