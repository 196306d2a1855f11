"""An evaluation as a table, as JSON objects and as CSV; each says with the numbers how they came about."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from math import isfinite, isnan
from pathlib import Path
from statistics import fmean

from gantool.errors import printable
from gantool.evaluation.values import Comparison, Evaluation, Explained, Json, Mean, Row, SetValue
from gantool.files import atomic

SHOWN = 3  # names of pictures in a note
TIME = "s/picture"


# --- text ---------------------------------------------------------------------------------------------------------------


def table(found: Evaluation) -> str:
    """Return what is printed: pictures, means, numbers of sets, comparisons, notes, and the recipe in words."""
    parts = [_pictures(found)] if found.rows and found.metrics else []
    if parts and len(found.contestants) > 1:
        parts.append(
            _grid([["mean", *_columns(found)], *(line for label in found.contestants for line in _means(found, label))])
        )
    parts += ["\n".join(lines) for lines in (_sets(found), _comparisons(found), _explained(found), _notes(found)) if lines]
    return "\n\n".join([*parts, "\n".join(found.recipe)])


def _columns(found: Evaluation) -> list[str]:
    return [*found.metrics, *([TIME] if any(row.model_seconds is not None for row in found.rows) else [])]


def _pictures(found: Evaluation) -> str:
    several = len(found.contestants) > 1
    lines = [["", *([""] if several else []), *_columns(found)]]
    for row in found.rows:
        if row.values:
            values = [f"{row.values[metric]:.4f}" if metric in row.values else "-" for metric in found.metrics]
            time = [] if row.model_seconds is None else [f"{row.model_seconds:.2f}"]
            lines.append([printable(row.name), *([printable(row.contestant)] if several else []), *values, *time])
    if not several:
        lines += _means(found, found.contestants[0])
    return _grid(lines, 1 + several)


def _means(found: Evaluation, label: str) -> list[list[str]]:
    """Return the lines of a contestant's means and of their intervals."""
    rows, several = _of(found, label), len(found.contestants) > 1
    measured, means = sum(row.error is None for row in rows), found.means.get(label, {})
    name = printable(label) if several else f"mean of {len(rows)}"
    if not means:
        return [[f"{printable(label) + ': ' if several else ''}mean withheld: {measured} of {len(rows)} measured"]]
    time = [f"{seconds:.2f}"] if (seconds := model_seconds(found, label)) is not None else []
    lines = [[name, *(f"{means[m].value:.4f}" if m in means else "withheld" for m in found.metrics), *time]]
    for words, ends in _ends_of(found, means).items():
        lines.append([f"  {words}", *("" if end is None else f"{end:.4f}" for end in ends)])
    return lines


def _ends_of(found: Evaluation, means: Mapping[str, Mean]) -> dict[str, list[float | None]]:
    """Return the ends of intervals by their names, for each metric, where there are any."""
    low = [means[name].low if name in means else None for name in found.metrics]
    high = [means[name].high if name in means else None for name in found.metrics]
    return {"95 % from": low, "95 % to": high} if any(end is not None for end in low) else {}


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
            spread = "" if value.spread is None else f" ± {_digits(value.spread)}"
            lines.append(f"{value.metric}{of}: {_digits(value.value)}{spread} ({value.words})")
            lines += [f"  warning: {warning}" for warning in value.warnings]
    return lines


def _digits(value: float) -> str:
    """Return a number with four decimals, or six where four would tell too little, as of KID."""
    return f"{value:.6f}" if 0 < abs(value) < 0.1 else f"{value:.4f}"


def _comparisons(found: Evaluation) -> list[str]:
    return [_comparison(each) for each in found.comparisons]


def _comparison(each: Comparison) -> str:
    p = each.why if each.p is None else f"p = {each.p:.2g} by Wilcoxon's signed-rank test"
    who = f"{printable(each.second)} against {printable(each.first)}: {each.metric}"
    if isnan(each.difference.value):
        return f"{who}: values are infinite or no numbers, so there is no mean difference"
    return f"{who} {each.difference.value:+.4f}{_interval(each.difference)}, better in {each.wins:.0%} of pictures, {p}"


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
    if row.error and not row.values:
        return {**paths, "status": "error", "error": row.error}
    time: dict[str, Json] = {} if row.model_seconds is None else {"model_seconds": round(row.model_seconds, 6)}
    notes: dict[str, Json] = {"note": "; ".join(row.notes)} if row.notes else {}
    status: dict[str, Json] = {"status": "error", "error": row.error} if row.error else {"status": "ok"}
    return {**paths, **status, "seconds": round(row.seconds, 6), **time, "values": _finite(row.values), **notes}


def summaries(found: Evaluation, scale: int | None, border: int) -> Iterator[dict[str, Json]]:
    """Yield an object for each comparison, then for each contestant."""
    for each in found.comparisons:
        yield {
            "comparison": each.metric,
            "first": each.first,
            "second": each.second,
            "difference": _number(each.difference.value),
            "interval": _ends(each.difference),
            "wins": _number(each.wins),
            "p": each.p,
            **({"why": each.why} if each.why else {}),
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
    }
    if rows:
        summary |= {"measured": sum(row.error is None for row in rows), "pictures": len(rows)}
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
        "spread": None if value.spread is None else _number(value.spread),
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
    """Write a line a picture, and for each contestant its means and the ends of their intervals.

    Each line has the recipe, so that it alone says what it is. Numbers of sets stand in columns of their own, in the line of
    the mean.
    """
    sets = list(dict.fromkeys(value.metric for values in found.sets.values() for value in values))
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["result", "reference", *found.metrics, *sets, "contestant", "seconds", "error", "note", "recipe"])
        lines.writerows(_csv_pictures(found, len(sets)))
        for label in found.contestants:
            lines.writerows(_csv_means(found, label, sets))


def _csv_pictures(found: Evaluation, sets: int) -> Iterator[list[object]]:
    for row in found.rows:
        values = [row.values.get(metric, "") for metric in found.metrics]
        seconds = "" if row.model_seconds is None else row.model_seconds
        told = [printable(row.contestant), seconds, row.error or "", "; ".join(row.notes), "; ".join(found.recipe)]
        yield [_path(row.result), _path(row.reference), *values, *[""] * sets, *told]


def _csv_means(found: Evaluation, label: str, sets: Sequence[str]) -> Iterator[list[object]]:
    means, of = found.means.get(label, {}), {value.metric: value for value in found.sets.get(label, ())}
    if not means and not of:
        return
    recipe = "; ".join([*found.recipe, *(f"{value.metric}: {value.words}" for value in of.values())])
    seconds = model_seconds(found, label)
    numbers = [of[metric].value if metric in of else "" for metric in sets]
    told = [printable(label), "" if seconds is None else seconds, "", "", recipe]
    yield ["mean", "", *(means[metric].value if metric in means else "" for metric in found.metrics), *numbers, *told]
    for end, values in _ends_of(found, means).items():
        shown = ["" if value is None else value for value in values]
        yield [end, "", *shown, *[""] * len(sets), printable(label), "", "", "", recipe]


def _path(path: Path | None) -> str:
    """Return a path in UTF-8, with bytes that are none escaped, so that the file is UTF-8 throughout."""
    return "" if path is None else str(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
