"""The key of a study: what the page does not say, kept in a file of its own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final, get_args

from gantool.errors import InputError, UsageError, printable
from gantool.files import atomic
from gantool.studies.designing import Beside, Design, Kind, Mode
from gantool.studies.making import Made
from gantool.studies.reading import Table, read_table

FORMAT: Final = "gantool-study-key"
MOST_BYTES: Final = 100_000_000


@dataclass(frozen=True)
class Asked:
    """A trial: its kind, the picture it is about, whose pictures were shown, in their places, and right answers if any."""

    kind: Kind
    picture: str
    options: tuple[str, ...]
    good: tuple[int, ...]


@dataclass(frozen=True)
class Key:
    """A study without its pictures; `trials` by id, in the order asked. See `gantool.studies.designing.Design`."""

    study: str
    mode: Mode
    beside: Beside | None
    exposure_ms: int
    question: str
    labels: tuple[str, ...]
    trials: dict[str, Asked]

    def choices(self, trial: Asked) -> range:
        """Return the answers that a trial takes."""
        if self.mode == "mos":
            return range(1, 6)
        return range(2) if self.beside == "none" else range(len(trial.options))

    def scored(self) -> dict[str, Asked]:
        """Return the trials that count."""
        return {name: trial for name, trial in self.trials.items() if trial.kind == "trial"}


def write(path: Path, design: Design, made: Made) -> None:
    """Write the key of a page.

    Raises:
        InputError: it cannot be written.
        RunError: the disk is full.
    """
    trials = [
        {
            "id": name,
            "kind": trial.kind,
            "picture": trial.picture,
            "options": [shown.label for shown in trial.shown],
            "good": trial.good,
        }
        for name, trial in zip(made.trials, design.trials, strict=True)
    ]
    key = {
        "format": FORMAT,
        "version": 1,
        "study": made.study,
        "page_sha256": made.sha256,
        "mode": design.mode,
        "beside": design.beside,
        "exposure_ms": design.exposure_ms,
        "question": design.question,
        "labels": design.labels,
        "seed": design.seed,
        "trials": trials,
    }
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(key, indent=1) + "\n", encoding="ascii")


def read(path: Path) -> Key:
    """Read a key.

    Raises:
        UsageError: it cannot be read, or is no key.
    """
    try:
        return _parsed(read_table(path, FORMAT, MOST_BYTES))
    except InputError as error:
        raise UsageError(f"the key {error}") from error


def _parsed(table: Table) -> Key:
    mode = _mode(table)
    labels = table.texts("labels")
    trials = {}
    for row in table.tables("trials"):
        name, kind = row.text("id"), _kind(row)
        if name in trials:
            raise row.wrong("id", f"is the second {printable(name)}")
        trials[name] = Asked(kind, row.text("picture"), row.texts("options"), row.whole_numbers("good"))
        if not trials[name].options:
            raise row.wrong("options", "are none")
    scored = [trial for trial in trials.values() if trial.kind == "trial"]
    if {label for trial in scored for label in trial.options} != set(labels) or (mode == "real-fake" and len(labels) != 2):
        raise table.wrong("trials", "do not show what labels name")
    beside = _beside(table)
    return Key(table.text("study"), mode, beside, table.whole_number("exposure_ms"), table.text("question"), labels, trials)


def _mode(table: Table) -> Mode:
    for mode in get_args(Mode):
        if table.text("mode") == mode:
            return mode  # type: ignore[no-any-return]
    raise table.wrong("mode", "is none that there is")


def _kind(row: Table) -> Kind:
    for kind in get_args(Kind):
        if row.text("kind") == kind:
            return kind  # type: ignore[no-any-return]
    raise row.wrong("kind", "is none that there is")


def _beside(table: Table) -> Beside | None:
    for beside in (*get_args(Beside), None):
        if table.get("beside") == beside:
            return beside  # type: ignore[no-any-return]
    raise table.wrong("beside", "is none that there is")
