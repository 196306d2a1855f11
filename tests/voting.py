"""Studies to vote on, and raters who do: by a file as the page writes it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from conftest import Result
from PIL import Image

Run = Callable[..., Result]
Trial = dict[str, Any]
Choose = Callable[[Trial], int]


@dataclass(frozen=True)
class Study:
    """A page that was made, its key, and what the key says."""

    page: Path
    key: Path

    @property
    def known(self) -> dict[str, Any]:
        return json.loads(self.key.read_text(encoding="ascii"))  # type: ignore[no-any-return]

    @property
    def trials(self) -> list[Trial]:
        return self.known["trials"]  # type: ignore[no-any-return]

    def of(self, kind: str) -> list[Trial]:
        return [trial for trial in self.trials if trial["kind"] == kind]


def folder(path: Path, names: str = "abcd", size: tuple[int, int] = (24, 16), seed: int = 0) -> Path:
    """Write a random picture of some width and height for each letter."""
    path.mkdir(parents=True)
    for number, name in enumerate(names):
        pixels = np.random.default_rng([seed, number]).integers(0, 256, (size[1], size[0], 3), np.uint8)
        Image.fromarray(pixels).save(path / f"{name}.png")
    return path


def made(run_cli: Run, place: Path, *args: object) -> Study:
    """Make a study, which has to succeed."""
    page = place / "study.html"
    done = run_cli("study", "make", *args, "-o", page, "--seed", 0, "--overwrite")
    assert done.status == 0, done.err
    return Study(page, place / "study.key.json")


def kept(study: Study, place: Path) -> Study:
    """Return a study with a key and a folder for votes of its own."""
    return Study(study.page, Path(shutil.copy(study.key, place)))


def attentive(choose: Choose) -> Choose:
    """Return a rater who answers checks and practice rightly and else as `choose` says."""
    return lambda trial: trial["good"][0] if trial["good"] else choose(trial)


def prefer(label: str) -> Choose:
    """Return an attentive rater who always chooses what is of one folder."""
    return attentive(lambda trial: trial["options"].index(label))


def votes(study: Study, rater: str, choose: Choose, **changes: object) -> dict[str, Any]:
    """Return what the page would save; every rater has times of their own."""
    times = Random(ascii(rater))
    answers = [
        {"trial": trial["id"], "choice": choose(trial), "ms": times.uniform(500, 3000), "shown": None, "scale": 1, "views": 1}
        for trial in study.trials
    ]
    return {
        "format": "gantool-votes", "version": 1, "study": study.known["study"], "rater": rater, "votes": answers, **changes,
    }  # fmt: skip


def vote(study: Study, rater: str, choose: Choose, **changes: object) -> Path:
    """Write the file that a rater hands in."""
    path = study.key.with_name(f"votes-{rater}.json")
    path.write_text(json.dumps(votes(study, rater, choose, **changes)))
    return path
