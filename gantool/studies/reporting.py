"""Scores as a table, as JSON and as CSV, and the recipe that goes with all of them."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from statistics import median

from gantool.errors import printable
from gantool.files import atomic
from gantool.studies.designing import UNLIKE
from gantool.studies.intervals import Interval
from gantool.studies.keys import Key
from gantool.studies.scoring import ATTENTIVE, Number, Score

WHAT = {
    "ab": "share of answers that prefer each",
    "best-of-n": "share of answers that chose each",
    "mos": "mean opinion score, 1 bad to 5 excellent",
    "real-fake": "share of answers that were fooled",
}
SMALLEST_P = 1e-300  # below, fractions lose digits and end as 0, which no probability of a split is
OF_ONE = {  # what the value of one version of one picture is
    "ab": "share of answers that prefer it",
    "best-of-n": "share of answers that chose it",
    "mos": "mean opinion score",
    "real-fake": "share of answers that took it for real",
}


def table(key: Key, score: Score) -> str:
    """Return the numbers as aligned columns, and the recipe."""
    show = _score if key.mode == "mos" else _percent
    head = ["", "mean" if key.mode == "mos" else "share", "95 % (Wilson)", "95 % over raters", "answers"]
    rows = [head, *(_row(number, show) for number in score.numbers)]
    kept = [column for column in range(len(head)) if head[column] != "95 % (Wilson)" or key.mode != "mos"]
    widths = {column: max(len(row[column]) for row in rows) for column in kept}
    lines = ["  ".join(row[c].rjust(widths[c]) if c else row[c].ljust(widths[c]) for c in kept).rstrip() for row in rows]
    return "\n".join([*lines, "", *recipe(key, score)])


def _row(number: Number, show: Callable[[float], str]) -> list[str]:
    ends = [_range(interval, show) for interval in (number.wilson, number.over_raters)]
    answers = str(number.answers) if number.hits is None else f"{number.hits} of {number.answers}"
    return [printable(number.name), show(number.value), *ends, answers]


def _range(interval: Interval | None, show: Callable[[float], str]) -> str:
    return f"{show(interval.low)} to {show(interval.high)}" if interval else "-"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _score(mean: float) -> str:
    return f"{mean:.3f}"


def recipe(key: Key, score: Score) -> list[str]:
    """Return how the numbers came about, in sentences."""
    pictures = len(dict.fromkeys(trial.picture for trial in key.scored().values()))
    lines = [
        f"{_asked(key)}: {WHAT[key.mode]}; {_count(pictures, 'picture')}, {_count(len(key.scored()), 'trial')}, "
        f"{_count(len(score.sessions), 'rater')}, every question answered; study {printable(key.study)}",
        *([UNLIKE] if key.beside in ("partner", "any") else []),
        _intervals(key),
    ]
    if score.p is not None:
        lines.append(
            f"p {_p(score.p)}, binomial test against equal preference, exact and two-sided, answers taken as independent"
        )
    return [*lines, _agreed(key, score), _left_out(key, score), *_shown(key, score)]


def _asked(key: Key) -> str:
    beside = {"partner": "a real and a generated picture of one name", "any": "any real picture and a generated one"}
    order = "one after the other" if key.exposure_ms else "side by side"
    words = {
        "ab": "two results side by side",
        "best-of-n": f"{len(key.labels)} results side by side",
        "mos": "one picture at a time",
        "real-fake": f"{beside[key.beside]}, {order}" if key.beside in beside else "one picture at a time, real or generated",
    }
    return f"{key.mode}, {words[key.mode]}, '{printable(key.question)}'"


def _p(p: float) -> str:
    return f"= {p:.4g}" if p >= SMALLEST_P else f"< {SMALLEST_P:.0e}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _intervals(key: Key) -> str:
    raters = (
        "over raters: by Student's t on the raters' own {0}, for what others might say of the same pictures; - where there is "
        "one rater, or all have equal {0}, which have no spread to tell it by"
    )
    if key.mode == "mos":
        return "95 % " + raters.format("means")
    return "95 % by Wilson's score takes all answers as independent; 95 % " + raters.format("shares")


def _agreed(key: Key, score: Score) -> str:
    without = f", without the anchors {' and '.join(key.anchors)}" if key.anchors else ""
    of = f"ordinal, of scores{without}" if key.mode == "mos" else "nominal, of choices"
    value = "not defined: one rater, or all answers the same" if score.alpha is None else f"{score.alpha:.3f}"
    return f"agreement of raters, Krippendorff's alpha ({of}; 1 full, 0 as by chance): {value}"


def _left_out(key: Key, score: Score) -> str:
    checks = sum(trial.kind == "check" for trial in key.trials.values())
    if not checks:
        return "no attention checks"
    raters = len(score.sessions) + len(score.inattentive)
    return (
        f"{len(score.inattentive)} of {_count(raters, 'rater')} left out for answering fewer than {100 * ATTENTIVE:.0f} % of "
        f"{_count(checks, 'attention check')} rightly"
    )


def _shown(key: Key, score: Score) -> list[str]:
    """Return what was not, or only nearly, as the study meant it to be."""
    votes = score.votes(key)
    times = [vote.shown_ms for vote in votes if vote.shown_ms is not None]
    lines = []
    if key.exposure_ms:
        measured = f", measured {min(times):.0f} to {max(times):.0f}, median {median(times):.0f}" if times else ", not measured"
        lines.append(f"pictures shown for {key.exposure_ms} ms{measured}")
    if interrupted := sum(vote.interrupted for vote in votes):
        lines.append(f"{interrupted} of {len(votes)} answers count though the page was out of sight while pictures were shown")
    if shrunk := sum(vote.scale < 1 for vote in votes):
        lines.append(f"{shrunk} of {len(votes)} answers were on pictures shrunk to fit the screen")
    if again := sum(vote.views > 1 for vote in votes):
        lines.append(f"{again} of {len(votes)} answers were given after pictures were shown again by a reload")
    return lines


def as_json(key: Key, score: Score) -> Sequence[dict[str, object]]:
    """Return an object for each picture and version, then one with the numbers and the recipe."""
    rows: list[dict[str, object]] = [
        {"picture": seen.picture, "of": seen.label, "what": OF_ONE[key.mode], "value": seen.value, "answers": seen.answers}
        for seen in score.pictures
    ]
    summary: dict[str, object] = {
        "study": key.study,
        "mode": key.mode,
        "what": WHAT[key.mode],
        "numbers": [_number(number) for number in score.numbers],
        "p": score.p,
        "alpha": score.alpha,
        "raters": [session.rater for session in score.sessions],
        "left_out": [vars(each) for each in score.inattentive],
        "recipe": "; ".join(recipe(key, score)),
    }
    return [*rows, summary]


def _number(number: Number) -> dict[str, object]:
    return {
        "of": number.name,
        "value": number.value,
        "hits": number.hits,
        "answers": number.answers,
        "wilson": _ends(number.wilson),
        "over_raters": _ends(number.over_raters),
    }


def _ends(interval: Interval | None) -> list[float] | None:
    return [interval.low, interval.high] if interval else None


def write_csv(path: Path, key: Key, score: Score) -> None:
    """Write a line for each picture and version, then the study's numbers, each with the recipe.

    Raises:
        InputError: it cannot be written.
        RunError: the disk is full.
    """
    words = "; ".join(recipe(key, score))
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["picture", "of", "what", "value", "answers", "low", "high", "raters low", "raters high", "recipe"])
        for seen in score.pictures:
            lines.writerow([seen.picture, seen.label, OF_ONE[key.mode], seen.value, seen.answers, "", "", "", "", words])
        for number in score.numbers:
            ends = [(each.low, each.high) if each else ("", "") for each in (number.wilson, number.over_raters)]
            lines.writerow(["all", number.name, WHAT[key.mode], number.value, number.answers, *chain(*ends), words])
