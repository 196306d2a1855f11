"""`gantool study`: pages that ask people about pictures, and what their votes say."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gantool.batch import emit
from gantool.errors import InputError, UsageError, printable, say
from gantool.files import atomic, check_place
from gantool.images import EXTENSIONS
from gantool.studies import keys, votes
from gantool.studies.designing import Beside, Design, Mode, Plan, design
from gantool.studies.gathering import parse
from gantool.studies.keys import Key
from gantool.studies.making import Made
from gantool.studies.making import make as make_page
from gantool.studies.reporting import as_json, table, write_csv
from gantool.studies.scoring import score as score_votes

DRAWN = 1 << 32  # seeds that nobody names are below
NO_CSV = {".html", ".htm", ".json"}  # pages, keys and votes end so, of this study or of others


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
    folders = parse(options.folders)
    plan = Plan(
        options.mode, tuple(folders), options.inputs, options.references, options.beside, options.exposure_ms,
        options.practice, options.checks, options.pictures, options.question,
    )  # fmt: skip
    study = design(plan, secrets.randbelow(DRAWN) if options.seed is None else options.seed)
    _check_inputs(study, (page, key))
    with atomic(page) as new_page, atomic(key) as new_key:  # the key takes its place first: no page is without one
        made = make_page(study, new_page)
        keys.write(new_key, study, made)
    emit(printable(page))
    emit(printable(key))
    if made.alike:
        what = f"{_count(len(made.alike), 'picture')} of those scored, such as {printable(made.alike[0])},"
        say(f"warning: {what} {'is' if len(made.alike) == 1 else 'are'} the same in two folders: see that none was named twice")
    say(_told(study, made))


def _check_outputs(page: Path, key: Path, overwrite: bool) -> None:
    if page.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{printable(page)} is to be a page: let its name end in .html")
    if key.suffix.lower() != ".json":
        raise UsageError(f"--key {printable(key)} is to be JSON: let its name end in .json")
    if _is_same(page, key):
        raise UsageError(f"the page and its key cannot both be {printable(page)}: name another --key")
    for path in (page, key):
        if path.exists() and not overwrite:
            raise UsageError(f"{printable(path)} exists: add --overwrite or choose another name")


def _check_inputs(study: Design, outputs: Sequence[Path]) -> None:
    """Refuse to write over what the page is made from, under whatever name."""
    inputs = {shown.path for trial in study.trials for shown in (*trial.shown, *(each for _, each in trial.context))}
    for path in outputs:
        if path.exists() and any(_is_same(path, picture) for picture in inputs):
            raise UsageError(f"{printable(path)} is a picture of the study: choose another name")


def _told(study: Design, made: Made) -> str:
    practice = f"{study.count('practice')} for practice, " if study.count("practice") else ""
    asked = f"{_count(study.count('trial'), 'trial')} and {_count(study.count('check'), 'attention check')}"
    return (
        f"{practice}{asked} with {_count(made.pictures, 'picture')}, {made.bytes / 1e6:.1f} MB; give raters the page "
        "alone, and keep the key from them"
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


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
    if options.csv is not None:
        _check_csv(options.csv, options)
    key = keys.read(options.key)
    sessions = _sessions(options.votes, key)
    found = score_votes(key, sessions)
    for each in found.inattentive:
        say(f"{printable(each.rater)} is left out: {each.passed} of {each.checks} attention checks answered rightly")
    if found.sessions:
        if options.csv is not None:
            write_csv(options.csv, key, found)
        emit("\n".join(map(json.dumps, as_json(key, found))) if options.as_json else table(key, found))
    if refused := len(options.votes) - len(sessions):
        raise InputError(f"{refused} of {len(options.votes)} files were refused")
    if not found.sessions:
        raise InputError("no votes count: all raters failed the attention checks")


def _check_csv(path: Path, options: Scoring) -> None:
    if str(path) == "-" or path.suffix.lower() in EXTENSIONS | NO_CSV:
        raise UsageError(f"--csv {printable(path)} would not be a table by its name: let it end in .csv")
    try:
        check_place(path)
    except InputError as error:
        raise UsageError(f"--csv {error}") from error
    if not os.access(path.parent, os.W_OK):
        raise UsageError(f"--csv {printable(path)} cannot be written: name a file in a folder that takes one")
    if any(_is_same(path, read) for read in (options.key, *options.votes)):
        raise UsageError(f"--csv {printable(path)} is the key or has votes: choose another name")
    if path.exists() and not options.overwrite:
        raise UsageError(f"{printable(path)} exists: add --overwrite or choose another name")


def _is_same(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except OSError:  # one of them is not there, or its name is none that a file can have
        return False


def _sessions(paths: Sequence[Path], key: Key) -> list[votes.Session]:
    """Return the sessions of all files that can be scored, each rater's once; why others cannot is said."""
    found: list[votes.Session] = []
    for path in paths:
        try:
            session = votes.read(path, key)
            for earlier in found:
                _check_different(session, earlier)
            found.append(session)
        except InputError as error:
            say(f"gantool: {error}")
    return found


def _check_different(session: votes.Session, earlier: votes.Session) -> None:
    """Refuse a copy, whoever is named in it, as nobody has another's times by chance; and more votes of one rater."""
    if session.votes == earlier.votes:
        raise InputError(f"{session.file} is a copy of {earlier.file}, times and all: a rater counts once, with the first file")
    if session.rater == earlier.rater:
        raise InputError(
            f"{session.file} is of the rater {printable(session.rater)} as {earlier.file}: a rater counts once, with the first "
            "file"
        )
