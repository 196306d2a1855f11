"""The Perceptual Index of the PIRM challenge, which needs no reference (Blau et al., ECCVW 2018, arXiv:1809.07517).

It is half of what Ma et al.'s score (CVIU 2017) lacks to 10 and of NIQE. The forests that Ma's score was trained into are
published for MATLAB alone: it is not computed here but read from a file.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from math import isfinite
from pathlib import Path, PurePath

from gantool.errors import InputError, UsageError, first_line, printable

HEADER = ["name", "ma"]
LARGEST = 10.0  # of Ma's score
MAX_BYTES = 16 << 20
MISSING = (
    "pi needs the score of Ma et al. (CVIU 2017) of each result, whose trained forests are not at hand: compute it with the "
    "program of PIRM 2018 and name its numbers with --ma FILE.csv (columns name,ma), or take niqe"
)
"""The words where no file is given."""


def pi(niqe: float, ma: float) -> float:
    """Return ((10 - Ma) + NIQE) / 2 of a picture's two scores.

    Args:
        niqe: of `gantool.metrics.niqe`.
        ma: the picture's score by Ma et al., 0 to 10.
    """
    return ((LARGEST - ma) + niqe) / 2


def read_ma(path: Path) -> dict[str, float]:
    """Return Ma's scores by the names of pictures, from a file of comma-separated values with the header `name,ma`.

    Raises:
        UsageError: the file cannot be read, or a line is not as it should be.
    """
    shown = printable(path)
    scores: dict[str, float] = {}
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UsageError(f"{shown} has more than {MAX_BYTES >> 20} MiB: --ma takes a file of names and scores")
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, strict=True)
            if [cell.strip() for cell in next(rows, [])] != HEADER:
                raise UsageError(f"{shown} does not begin with the line name,ma: begin so, then a picture a line")
            for row in filter(None, rows):
                name, score = _row(row, f"{shown}, line {rows.line_num}")
                if name in scores:
                    raise UsageError(f"{shown}, line {rows.line_num}: {printable(name)} has a score already: give one")
                scores[name] = score
    except (OSError, ValueError, csv.Error) as error:
        raise UsageError(f"{shown} cannot be read ({first_line(error)}): --ma takes a file of names and scores") from error
    return scores


def _row(row: list[str], where: str) -> tuple[str, float]:
    if len(row) != len(HEADER) or not row[0].strip():
        raise UsageError(f"{where}: expected a picture's name and its score, as baboon.png,8.5")
    try:
        score = float(row[1])
    except ValueError:
        score = float("nan")
    if not isfinite(score) or not 0 <= score <= LARGEST:
        raise UsageError(f"{where}: {printable(row[1].strip())[:40]} is no score of Ma's, which lies between 0 and {LARGEST:g}")
    return row[0].strip(), score


def score_of(scores: Mapping[str, float], name: str) -> float:
    """Return the score of a picture, which the file names as the evaluation does, with or without the extension.

    Raises:
        InputError: it has none.
    """
    for known in (name, str(PurePath(name).with_suffix(""))):
        if known in scores:
            return scores[known]
    raise InputError(f"{printable(name)} has no score in the file of --ma: add it, or leave pi out")
