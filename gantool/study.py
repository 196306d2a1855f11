"""`gantool study`: pages that ask people about pictures, and what their votes say."""

from __future__ import annotations

import csv
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from gantool.batch import emit
from gantool.errors import InputError, UsageError, printable, say
from gantool.files import atomic
from gantool.studies import keys, votes
from gantool.studies.designing import Beside, Design, Mode, Plan, design
from gantool.studies.gathering import parse
from gantool.studies.keys import Key
from gantool.studies.making import Made
from gantool.studies.making import make as make_page
from gantool.studies.reporting import as_json, recipe, table
from gantool.studies.scoring import Score
from gantool.studies.scoring import score as score_votes

DRAWN = 1 << 32  # seeds that nobody names are below


@dataclass(frozen=True)
class Making:
    """What the command line says of a study to make; see its help."""

    mode: Mode
    folders: tuple[str, ...]
    output: Path
    key: Path | None = None
    inputs: Path | None = None
    references: Path | None = None
    beside: Beside | None = None
    exposure_ms: int | None = None
    practice: int | None = None
    checks: int | None = None
    pictures: int | None = None
    question: str | None = None
    seed: int | None = None
    overwrite: bool = False


def make(options: Making) -> None:
    """Write a study's page and its key, and print their names.

    Raises:
        UsageError: folders, options and mode do not fit together, or an output exists.
        InputError: a picture cannot be read, or an output not written.
    """
    page, key = options.output, options.key or options.output.with_suffix(".key.json")
    _check_outputs(page, key, options.overwrite)
    plan = Plan(
        options.mode, tuple(parse(options.folders)), options.inputs, options.references, options.beside, options.exposure_ms,
        options.practice, options.checks, options.pictures, options.question,
    )  # fmt: skip
    study = design(plan, secrets.randbelow(DRAWN) if options.seed is None else options.seed)
    made = make_page(study, page)
    keys.write(key, study, made)
    emit(printable(page))
    emit(printable(key))
    say(_told(study, made))


def _check_outputs(page: Path, key: Path, overwrite: bool) -> None:
    if page.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{printable(page)} is to be a page: let its name end in .html")
    if page.absolute() == key.absolute():
        raise UsageError(f"the page and its key cannot both be {printable(page)}: name another --key")
    for path in (page, key):
        if path.exists() and not overwrite:
            raise UsageError(f"{printable(path)} exists: add --overwrite or choose another name")


def _told(study: Design, made: Made) -> str:
    practice = f"{study.count('practice')} for practice, " if study.count("practice") else ""
    return (
        f"{practice}{study.count('trial')} trials and {study.count('check')} attention checks with {made.pictures} pictures, "
        f"{made.bytes / 1e6:.1f} MB; give raters the page alone, and keep the key from them"
    )


@dataclass(frozen=True)
class Scoring:
    """What the command line says of votes to score; see its help."""

    votes: tuple[Path, ...]
    key: Path
    csv: Path | None = None
    overwrite: bool = False
    as_json: bool = False


def score(options: Scoring) -> None:
    """Print what votes say, with the recipe; files that do not count are named, and the others scored.

    Raises:
        UsageError: the key is none, or the CSV file cannot be.
        InputError: files were refused, or no votes count.
    """
    if options.csv is not None and options.csv.exists():
        if any(path.exists() and options.csv.samefile(path) for path in (options.key, *options.votes)):
            raise UsageError(f"--csv {printable(options.csv)} is the key or has votes: choose another name")
        if not options.overwrite:
            raise UsageError(f"{printable(options.csv)} exists: add --overwrite or choose another name")
    key = keys.read(options.key)
    sessions = _sessions(options.votes, key)
    found = score_votes(key, sessions)
    for each in found.inattentive:
        say(f"{printable(each.rater)} is left out: {each.passed} of {each.checks} attention checks answered rightly")
    if found.sessions:
        emit("\n".join(map(json.dumps, as_json(key, found))) if options.as_json else table(key, found))
        if options.csv is not None:
            _write_csv(options.csv, key, found)
    if refused := len(options.votes) - len(sessions):
        raise InputError(f"{refused} of {len(options.votes)} files were refused")
    if not found.sessions:
        raise InputError("no votes count: all raters failed the attention checks")


def _sessions(paths: Sequence[Path], key: Key) -> list[votes.Session]:
    """Return the sessions of all files that can be scored, each rater's once; why others cannot is said."""
    found: dict[str, votes.Session] = {}
    for path in paths:
        try:
            session = votes.read(path, key)
            if earlier := found.get(session.rater):
                what = "has the same votes" if session.votes == earlier.votes else f"is of the rater {printable(session.rater)}"
                raise InputError(f"{session.file} {what} as {earlier.file}: a rater counts once, with the first file")
            found[session.rater] = session
        except InputError as error:
            say(f"gantool: {error}")
    return list(found.values())


def _write_csv(path: Path, key: Key, found: Score) -> None:
    """Write a line for each picture and version, then the study's numbers, each with the recipe."""
    words = "; ".join(recipe(key, found))
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["picture", "of", "value", "answers", "low", "high", "raters low", "raters high", "recipe"])
        lines.writerows([seen.picture, seen.label, seen.value, seen.answers, "", "", "", "", words] for seen in found.pictures)
        for number in found.numbers:
            ends = [(each.low, each.high) if each else ("", "") for each in (number.wilson, number.over_raters)]
            lines.writerow(["all", number.name, number.value, number.answers, *chain(*ends), words])
