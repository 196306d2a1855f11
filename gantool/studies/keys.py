"""The key of a study: what the page does not say, kept in a file of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, get_args

from gantool.errors import InputError, UsageError, printable
from gantool.studies.designing import MOST, NEAREST, ORIGINAL, Beside, Design, Kind, Mode
from gantool.studies.making import Made
from gantool.studies.reading import Table, read_table

FORMAT: Final = "gantool-study-key"
MOST_BYTES: Final = 100_000_000
LABELS: Final[Mapping[Mode, range]] = {
    "ab": range(2, 3), "real-fake": range(2, 3), "best-of-n": range(2, MOST + 1), "mos": range(1, 1000),
}  # fmt: skip


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

    @property
    def single(self) -> bool:
        """Whether pictures are judged one at a time."""
        return self.mode == "mos" or self.beside == "none"

    @property
    def choices(self) -> range:
        """The answers that a trial takes."""
        if self.mode == "mos":
            return range(1, 6)
        return range(2) if self.single else range(len(self.labels))

    @property
    def anchors(self) -> tuple[str, ...]:
        """Labels of the versions that raters were given as examples of a score."""
        return tuple(label for label in self.labels if label in (NEAREST, ORIGINAL)) if self.mode == "mos" else ()

    def scored(self) -> dict[str, Asked]:
        """Return the trials that count."""
        return {name: trial for name, trial in self.trials.items() if trial.kind == "trial"}


def write(path: Path, design: Design, made: Made) -> None:
    """Write the key of a page to a file that is not yet in its place: page and key appear together."""
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
        "mode": design.mode,
        "beside": design.beside,
        "exposure_ms": design.exposure_ms,
        "question": design.question,
        "labels": design.labels,
        "seed": design.seed,
        "trials": trials,
    }
    path.write_text(json.dumps(key, indent=1) + "\n", encoding="ascii")


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
    key = Key(
        table.text("study"), _mode(table), _beside(table), table.whole_number("exposure_ms"), table.text("question"),
        table.texts("labels"), {},
    )  # fmt: skip
    if (key.beside is None) == (key.mode == "real-fake"):
        raise table.wrong("beside", f"does not fit the mode {key.mode}")
    if len(key.labels) not in LABELS[key.mode] or len(set(key.labels)) < len(key.labels):
        raise table.wrong("labels", f"are too few, too many or not different for the mode {key.mode}")
    trials: dict[str, Asked] = {}
    for row in table.tables("trials"):
        name = row.text("id")
        if name in trials:
            raise row.wrong("id", f"is the second {printable(name)}")
        trials[name] = _asked(row, key)
    key = replace(key, trials=trials)
    if {label for trial in key.scored().values() for label in trial.options} != set(key.labels):
        raise table.wrong("trials", "do not show what labels name")
    return key


def _asked(row: Table, key: Key) -> Asked:
    """Return a trial whose options and right answers are such as trials of its kind and the study's mode have."""
    asked = Asked(_kind(row), row.text("picture"), row.texts("options"), row.whole_numbers("good"))
    expected = 1 if key.single else len(key.labels)
    if len(asked.options) != expected:
        raise row.wrong("options", f"are {len(asked.options)}, where this study has {expected}")
    if asked.kind == "trial" and not key.single and set(asked.options) != set(key.labels):
        raise row.wrong("options", "are not one of each label")
    if bool(asked.good) == (asked.kind == "trial") or not set(asked.good) <= set(key.choices):
        raise row.wrong("good", f"is not what a {asked.kind} has")
    return asked


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
