"""Votes: the file that a rater hands in, read as a stranger's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gantool.errors import InputError, printable
from gantool.studies.keys import Key
from gantool.studies.reading import Table, read_table

FORMAT: Final = "gantool-votes"
MOST_BYTES: Final = 20_000_000
LONGEST_NAME: Final = 64


@dataclass(frozen=True)
class Vote:
    """An answer.

    Attributes:
        choice: place of the picture chosen; 0 real or 1 generated of a single one; a score.
        ms: milliseconds it took.
        shown_ms: how long the pictures were to be seen; None for as long as it took.
        scale: of pictures on the screen; below 1 they were shrunk to fit.
        views: how often they were shown; more than once after a reload.
        interrupted: the page was out of sight while pictures were to be seen for a set time.
    """

    choice: int
    ms: float
    shown_ms: float | None
    scale: float
    views: int
    interrupted: bool


@dataclass(frozen=True)
class Session:
    """All answers of one rater, by trial."""

    file: str
    rater: str
    votes: dict[str, Vote]


def read(path: Path, key: Key) -> Session:
    """Read a file of votes.

    Raises:
        InputError: it cannot be read, is damaged, unfinished, or of another study.
    """
    table = read_table(path, FORMAT, MOST_BYTES)
    if (study := table.text("study")) != key.study:
        raise InputError(
            f"{table.file} has votes of another study, {printable(study)[:40]}: this key is of {printable(key.study)}"
        )
    votes: dict[str, Vote] = {}
    for row in table.tables("votes"):
        name = row.text("trial")
        if name not in key.trials:
            raise row.wrong("trial", f"is none of the study: {printable(name)[:40]}")
        if name in votes:
            raise row.wrong("trial", f"was answered before: {printable(name)}")
        votes[name] = _vote(row, key.choices)
    if missing := len(key.trials) - len(votes):
        raise InputError(f"{table.file} lacks {missing} of {len(key.trials)} answers: only finished sessions are scored")
    return Session(table.file, _rater(table), votes)


def _vote(row: Table, choices: range) -> Vote:
    choice = row.whole_number("choice")
    if choice not in choices:
        raise row.wrong("choice", f"is {choice}, not one of {choices.start} to {choices.stop - 1}")
    shown = None if row.get("shown") is None else row.number("shown")
    return Vote(choice, row.number("ms"), shown, row.number("scale"), row.whole_number("views"), row.flag("interrupted"))


def _rater(table: Table) -> str:
    name = table.text("rater")
    if not name or len(name) > LONGEST_NAME:
        raise table.wrong("rater", f"is no name of 1 to {LONGEST_NAME} characters")
    return name.encode("utf-8", "replace").decode()  # not even what bytes of file names may be
