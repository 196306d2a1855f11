"""`gantool evaluate --html`: one page with all that was found, which needs nothing but a browser.

What was found goes into the page as JSON, in a script element that browsers do not run; scripts build the rest out of it by
text nodes alone, so that no name of a file can become markup. Beside the page's own script and style, known by their hashes,
nothing may run in it or be fetched by it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path

from gantool import __version__
from gantool.errors import printable
from gantool.evaluation.gallery import Exhibit, Group, Show, exhibits, groups
from gantool.evaluation.values import Evaluation, Json, Mean
from gantool.files import atomic
from gantool.metrics import METRICS

_FILES = ("page.html", "page.css", "page.js", "page_plots.js", "page_viewer.js")
_ESCAPES = str.maketrans({character: f"\\u{ord(character):04x}" for character in "<>&"})


def write(path: Path, evaluation: Evaluation, show: Show, shown: int = 6) -> None:
    """Write the page of an evaluation in one step: it is there whole, or not at all.

    Args:
        path: replaced if it is there.
        evaluation: what was found.
        show: gives a contestant's picture and its reference as they were measured, before the border is shaved; asked once
            for each contestant's of the pictures that are shown.
        shown: worst and best pictures by the first metric, of each.

    Raises:
        InputError: the place is not writable.
        RunError: the disk is full.
    """
    chosen = groups(evaluation, shown)
    text = _assembled(_data(evaluation, chosen, exhibits(evaluation, chosen, show)))
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def _assembled(data: Mapping[str, Json]) -> str:
    template, style, *scripts = (Path(__file__).with_name(name).read_text(encoding="utf-8") for name in _FILES)
    script = "\n".join(scripts)
    policy = {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": _hash(style),
        "script-src": _hash(script),
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    parts = {
        "policy": "; ".join(f"{kind} {source}" for kind, source in policy.items()),
        "style": style,
        "script": script,
        "data": json.dumps(data, allow_nan=False).translate(_ESCAPES),  # ASCII alone, by json's default
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], template)  # in one pass: data is never searched


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}'"


def _data(evaluation: Evaluation, chosen: Sequence[Group], found: Sequence[Exhibit]) -> dict[str, Json]:
    """Return what the page shows; contestants and pictures are numbered, as two names may print alike."""
    names = {name: number for number, name in enumerate(dict.fromkeys(row.name for row in evaluation.rows))}
    content = {
        "version": __version__,
        "protocol": evaluation.protocol,
        "recipe": evaluation.recipe,
        "contestants": evaluation.contestants,
        "metrics": [{"name": name, "better": METRICS[name].better} for name in evaluation.metrics],
        "pictures": list(names),
        "groups": [{"title": g.title, "words": g.words, "pictures": [names[name] for name in g.names]} for g in chosen],
        "exhibits": [_exhibit(exhibit, names, evaluation.contestants) for exhibit in found],
        **_rows(evaluation, names),
        **_tables(evaluation),
    }
    return {key: _plain(value) for key, value in content.items()}


def _rows(evaluation: Evaluation, names: Mapping[str, int]) -> dict[str, object]:
    return {
        "rows": [
            {
                "contestant": evaluation.contestants.index(row.contestant),
                "picture": names[row.name],
                "values": [row.values.get(metric) for metric in evaluation.metrics],
                "error": row.error,
                "notes": row.notes,
                "model_seconds": row.model_seconds,
            }
            for row in evaluation.rows
        ]
    }


def _tables(evaluation: Evaluation) -> dict[str, object]:
    labels = evaluation.contestants
    return {
        "means": [[_mean(evaluation.means.get(label, {}).get(metric)) for metric in evaluation.metrics] for label in labels],
        "comparisons": [
            {
                "metric": evaluation.metrics.index(c.metric),
                "first": labels.index(c.first),
                "second": labels.index(c.second),
                "difference": _mean(c.difference),
                "wins": c.wins,
                "p": c.p,
            }
            for c in evaluation.comparisons
        ],
        "sets": [
            {"contestant": labels.index(label), **vars(value)} for label in labels for value in evaluation.sets.get(label, ())
        ],
        "explained": [
            {"contestant": labels.index(label), **vars(other)}
            for label in labels
            for other in evaluation.explained.get(label, ())
        ],
    }


def _mean(mean: Mean | None) -> list[float | None] | None:
    return None if mean is None else [mean.value, mean.low, mean.high]


def _exhibit(exhibit: Exhibit, names: Mapping[str, int], contestants: Sequence[str]) -> dict[str, object]:
    return {
        "picture": names[exhibit.name],
        "part": None if exhibit.part is None else vars(exhibit.part),
        "results": [exhibit.results.get(label) for label in contestants],
        "reference": exhibit.reference,
        "error": exhibit.error,
    }


def _plain(value: object) -> Json:
    """Return a value as JSON can have it: names safe to print; numbers that are none, or endless, as words."""
    if isinstance(value, float):
        return value if isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {printable(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(inner) for inner in value]
    return value if value is None or isinstance(value, bool | int) else printable(value)
