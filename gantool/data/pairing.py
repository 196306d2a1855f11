"""Results and references paired by name: never by position, and never only what two sets happen to have in common."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gantool.errors import UsageError, printable

_KNOWN = re.compile(r"(?:_?x\d+(?:\.\d+)?|_out)*")  # what tools append to a name when they enlarge a picture, more than once
_MODEL = re.compile(_KNOWN.pattern + r"_[^\W\d_].*")
_SHOWN = 5  # names in a message
_RULE = "a.png goes with a.png, a_x4.png, ax4.png, a_out.png, or a_MODEL.png where all results are of one model"


@dataclass(frozen=True)
class Pair:
    """A file and the one that it is compared with."""

    result: Path
    reference: Path


def pair(results: Sequence[Path], references: Sequence[Path]) -> list[Pair]:
    """Return the pairs, in the order of the results, provided that every file has exactly one partner.

    Args:
        results: paths from the folder of results on. The stem is that of the reference, or has an ending more: `_x4`, `x4`,
            `_out`, or `_<model>`, which then has to be the same for all. Sub-folders are the same on both sides.
        references: paths from the folder of references on.

    Raises:
        UsageError: files have no partner, or several; they are named.
    """
    by_base = _group((reference.with_suffix(""), reference) for reference in references)
    found = {result: _find(result, by_base) for result in results}
    alike = len({ending for base, ending in found.values() if base}) == 1
    # unless all results end alike, "house_front" is no picture of "house" by a model named front
    partners = {result: base for result, (base, ending) in found.items() if base and (alike or _KNOWN.fullmatch(ending))}
    claims = _group((base, result) for result, base in partners.items())
    problems = [
        *_problem("without a reference", [result for result in results if result not in partners]),
        *_problem("without a result", [reference for base, [reference, *_] in by_base.items() if base not in claims]),
        *(p for files in claims.values() if len(files) > 1 for p in _problem("results of one name", files)),
        *(p for files in by_base.values() if len(files) > 1 for p in _problem("references of one name", files)),
    ]
    if problems:
        raise UsageError(f"results and references do not pair: {'; '.join(problems[:_SHOWN])}. {_RULE}")
    return [Pair(result, by_base[base][0]) for result, base in partners.items()]


def _group(items: Iterable[tuple[Path, Path]]) -> dict[Path, list[Path]]:
    groups: dict[Path, list[Path]] = {}
    for key, path in items:
        groups.setdefault(key, []).append(path)
    return groups


def _find(result: Path, bases: Container[Path]) -> tuple[Path | None, str]:
    """Return the reference without its suffix, and the result's ending: the longest name that leaves a fair ending."""
    for length in range(len(result.stem), 0, -1):
        base, ending = result.with_name(result.stem[:length]), result.stem[length:]
        if base in bases and (_KNOWN.fullmatch(ending) or _MODEL.fullmatch(ending)):
            return base, ending
    return None, ""


def _problem(what: str, files: Sequence[Path]) -> list[str]:
    if not files:
        return []
    more = f" and {len(files) - _SHOWN} more" if len(files) > _SHOWN else ""
    return [f"{what}: {', '.join(printable(file) for file in files[:_SHOWN])}{more}"]
