"""An evaluation as a table, as JSON objects and as CSV; each says with the numbers how they came about."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isfinite, sqrt
from pathlib import Path
from statistics import fmean

from gantool.errors import printable
from gantool.evaluation.values import Comparison, Evaluation, Explained, Json, Mean, Row, SetValue
from gantool.files import atomic

SHOWN = 3  # names of pictures in a note
_REGIONS = (11.5, 12.5, 16.0)  # RMSE up to which results belong to regions 1, 2 and 3 of PIRM 2018
TIME = "s/picture"


# --- text ---------------------------------------------------------------------------------------------------------------


def table(found: Evaluation) -> str:
    """Return what is printed: pictures, means, numbers of sets, comparisons, notes, and the recipe in words."""
    parts = [_pictures(found)] if found.rows else []
    if found.rows and len(found.contestants) > 1:
        parts.append(
            _grid([["mean", *_columns(found)], *(line for label in found.contestants for line in _means(found, label))])
        )
    parts += ["\n".join(lines) for lines in (_sets(found), _comparisons(found), _explained(found), _notes(found)) if lines]
    return "\n\n".join([*parts, "\n".join([*_rmse(found), *found.recipe])])


def _columns(found: Evaluation) -> list[str]:
    return [*found.metrics, *([TIME] if any(row.model_seconds is not None for row in found.rows) else [])]


def _pictures(found: Evaluation) -> str:
    several = len(found.contestants) > 1
    lines = [["", *([""] if several else []), *_columns(found)]]
    for row in found.rows:
        if not row.error:
            values = [f"{row.values[metric]:.4f}" for metric in found.metrics]
            time = [] if row.model_seconds is None else [f"{row.model_seconds:.2f}"]
            lines.append([printable(row.name), *([printable(row.contestant)] if several else []), *values, *time])
    if not several:
        lines += _means(found, found.contestants[0])
    return _grid(lines, 1 + several)


def _means(found: Evaluation, label: str) -> list[list[str]]:
    """Return the lines of a contestant's means and of their intervals."""
    rows, several = _of(found, label), len(found.contestants) > 1
    measured = sum(row.error is None for row in rows)
    means = found.means.get(label)
    if not means:
        withheld = f"mean withheld: {measured} of {len(rows)} measured"
        return [[f"{printable(label)}: {withheld}" if several else withheld]]
    time = [f"{seconds:.2f}"] if (seconds := model_seconds(found, label)) is not None else []
    lines = [[printable(label) if several else f"mean of {measured}", *(f"{means[m].value:.4f}" for m in found.metrics), *time]]
    for words, ends in (
        ("  95 % from", [mean.low for mean in means.values()]),
        ("  to", [mean.high for mean in means.values()]),
    ):
        if any(end is not None for end in ends):
            lines.append([words, *("" if end is None else f"{end:.4f}" for end in ends)])
    return lines


def _grid(lines: Sequence[Sequence[str]], names: int = 1) -> str:
    """Return lines of cells in columns, the names on the left."""
    count = max(map(len, lines))
    filled = [[*line, *[""] * (count - len(line))] for line in lines]
    widths = [max(8 if column >= names else 0, *(len(line[column]) for line in filled)) for column in range(count)]
    shown = (
        "  ".join(
            cell.ljust(width) if k < names else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in filled
    )
    return "\n".join(line.rstrip() for line in shown)


def _sets(found: Evaluation) -> list[str]:
    lines = []
    for label, values in found.sets.items():
        of = f" of {printable(label)}" if len(found.contestants) > 1 else ""
        for value in values:
            spread = "" if value.spread is None else f" ± {value.spread:.4f}"
            lines.append(f"{value.metric}{of}: {value.value:.4f}{spread} ({value.words})")
            lines += [f"  warning: {warning}" for warning in value.warnings]
    return lines


def _comparisons(found: Evaluation) -> list[str]:
    return [_comparison(each) for each in found.comparisons]


def _comparison(each: Comparison) -> str:
    p = each.why if each.p is None else f"p = {each.p:.2g} by Wilcoxon's signed-rank test"
    return (
        f"{printable(each.second)} against {printable(each.first)}: {each.metric} {each.difference.value:+.4f}"
        f"{_interval(each.difference)}, better in {each.wins:.0%} of pictures, {p}"
    )


def _interval(mean: Mean) -> str:
    return "" if mean.low is None or mean.high is None else f" (95 % {mean.low:+.4f} to {mean.high:+.4f})"


def _explained(found: Evaluation) -> list[str]:
    lines: list[str] = []
    for label, values in found.explained.items():
        for metric in dict.fromkeys(each.metric for each in values):
            of = f" of {printable(label)}" if len(found.contestants) > 1 else ""
            cells = [
                ["", each.words, f"{each.value:.4f}", f"{each.difference:+.4f}"] for each in values if each.metric == metric
            ]
            lines += [f"{metric}{of} under other conventions:", _grid(cells, 2)]
    return lines


def _notes(found: Evaluation) -> list[str]:
    """Return each note once, with the pictures that it is about."""
    about: dict[str, list[str]] = {}
    for row in found.rows:
        for note in row.notes:
            name = (
                printable(row.name) if len(found.contestants) == 1 else f"{printable(row.name)} of {printable(row.contestant)}"
            )
            about.setdefault(note, []).append(name)
    return [f"{_some(names)}: {note}" for note, names in about.items()]


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _rmse(found: Evaluation) -> Iterator[str]:
    """Yield PIRM's root mean squared error of the set, and its region."""
    for label, means in found.means.items():
        if found.protocol == "pirm" and "mse-y" in means:
            root = sqrt(means["mse-y"].value)
            region = next((f"region {k}" for k, most in enumerate(_REGIONS, 1) if root <= most), "beyond region 3")
            of = f" of {printable(label)}" if len(found.contestants) > 1 else ""
            yield f"RMSE{of}: {root:.4f}, the root of the mean mse-y: {region} of PIRM 2018"


def _of(found: Evaluation, label: str) -> list[Row]:
    return [row for row in found.rows if row.contestant == label]


def model_seconds(found: Evaluation, label: str) -> float | None:
    """Return the mean seconds a picture that a model took, None where results were there."""
    seconds = [row.model_seconds for row in _of(found, label) if row.model_seconds is not None]
    return fmean(seconds) if seconds else None


# --- JSON ---------------------------------------------------------------------------------------------------------------


def row_json(row: Row) -> dict[str, Json]:
    """Return the object of one picture."""
    paths: dict[str, Json] = {
        "input": str(row.result or row.reference),
        "reference": str(row.reference) if row.reference else None,
        "contestant": row.contestant,
    }
    if row.error:
        return {**paths, "status": "error", "error": row.error}
    time: dict[str, Json] = {} if row.model_seconds is None else {"model_seconds": round(row.model_seconds, 6)}
    notes: dict[str, Json] = {"note": "; ".join(row.notes)} if row.notes else {}
    return {**paths, "status": "ok", "seconds": round(row.seconds, 6), **time, "values": _finite(row.values), **notes}


def summaries(found: Evaluation, scale: int | None, border: int) -> Iterator[dict[str, Json]]:
    """Yield an object for each comparison, then for each contestant."""
    for each in found.comparisons:
        yield {
            "comparison": each.metric,
            "first": each.first,
            "second": each.second,
            "difference": _number(each.difference.value),
            "interval": _ends(each.difference),
            "wins": each.wins,
            "p": each.p,
        }
    for label in found.contestants:
        yield {
            "contestant": label,
            **_summary(found, label),
            "protocol": found.protocol,
            "scale": scale,
            "border": border,
            "recipe": "; ".join(found.recipe),
        }


def _summary(found: Evaluation, label: str) -> dict[str, Json]:
    rows, means = _of(found, label), found.means.get(label)
    summary: dict[str, Json] = {
        "mean": {name: _number(mean.value) for name, mean in means.items()} if means else None,
        "interval": {name: _ends(mean) for name, mean in means.items()} if means else None,
        "measured": sum(row.error is None for row in rows),
        "pictures": len(rows),
    }
    if (seconds := model_seconds(found, label)) is not None:
        summary["model_seconds"] = seconds
    if found.sets.get(label):
        summary["sets"] = [_set_json(value) for value in found.sets[label]]
    if found.explained.get(label):
        summary["explained"] = [_explained_json(each) for each in found.explained[label]]
    return summary


def _set_json(value: SetValue) -> dict[str, Json]:
    return {
        "metric": value.metric,
        "value": _number(value.value),
        "spread": value.spread,
        "recipe": value.words,
        "warnings": list(value.warnings),
        **({"details": dict(value.details)} if value.details else {}),
    }


def _explained_json(each: Explained) -> dict[str, Json]:
    return {
        "metric": each.metric,
        "convention": each.words,
        "value": _number(each.value),
        "difference": _number(each.difference),
    }


def _ends(mean: Mean) -> Json:
    return None if mean.low is None or mean.high is None else [mean.low, mean.high]


def _number(value: float) -> float | str:
    """Return a number, or infinity as "inf", as JSON has no such number."""
    return value if isfinite(value) else str(value)


def _finite(values: Mapping[str, float]) -> dict[str, Json]:
    return {name: _number(value) for name, value in values.items()}


# --- CSV ----------------------------------------------------------------------------------------------------------------


def write_csv(path: Path, found: Evaluation) -> None:
    """Write a line a picture and a mean for each contestant, each with the recipe, so that a line alone says what it is.

    Numbers of sets stand in columns of their own, in the line of the mean.
    """
    sets = list(dict.fromkeys(value.metric for values in found.sets.values() for value in values))
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["result", "reference", *found.metrics, *sets, "contestant", "error", "note", "recipe"])
        lines.writerows(_csv_rows(found, sets))


def _csv_rows(found: Evaluation, sets: Sequence[str]) -> Iterable[list[object]]:
    words = "; ".join(found.recipe)
    for row in found.rows:
        values = [row.values.get(metric, "") for metric in found.metrics]
        named = [row.result or "", row.reference or "", *values, *[""] * len(sets)]
        yield [*named, row.contestant, row.error or "", "; ".join(row.notes), words]
    for label in found.contestants:
        means, of = found.means.get(label, {}), {value.metric: value for value in found.sets.get(label, ())}
        if means or of:
            numbers = [means[metric].value if metric in means else "" for metric in found.metrics]
            numbers += [of[metric].value if metric in of else "" for metric in sets]
            recipe = "; ".join([words, *(f"{value.metric}: {value.words}" for value in of.values())])
            yield ["mean", "", *numbers, label, "", "", recipe]
