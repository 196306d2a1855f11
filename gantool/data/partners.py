"""Pairs of pictures: which file belongs to which."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from gantool.data.folders import list_pictures
from gantool.data.labelled import enumerated
from gantool.data.shelves import Group
from gantool.errors import UsageError, printable

_TWO = (("A", "B"), ("a", "b"), ("trainA", "trainB"), ("input", "target"))  # what folders of two kinds of pictures are called


def two_folders(folder: Path) -> tuple[Path, Path] | None:
    """Return the two folders in a folder that hold two kinds of pictures, going by their names: A and B, trainA and trainB."""
    names = {path.name for path in folder.iterdir() if path.is_dir()} if folder.is_dir() else set()
    return next(((folder / first, folder / second) for first, second in _TWO if {first, second} <= names), None)


def partners(a: Path, b: Path) -> list[Group]:
    """Return the pairs of files of two folders that have one name, but for its ending, and lie in the same sub-folder.

    Raises:
        UsageError: files have no partner, or several; they are named.
    """
    first, second = _by_stem(a), _by_stem(b)
    for files, others, folder in ((first, second, b), (second, first, a)):
        alone = [path for stem, path in files.items() if stem not in others]
        if alone:
            raise UsageError(f"no partner in {printable(folder)} for {enumerated(alone)}: partners have one name")
    return [(path, second[stem]) for stem, path in first.items()]


def _by_stem(folder: Path) -> Mapping[Path, Path]:
    found: dict[Path, Path] = {}
    for path in list_pictures(folder):
        stem = path.relative_to(folder).with_suffix("")
        if stem in found:
            raise UsageError(f"{printable(found[stem])} and {printable(path)} have one name: which is whose partner is unclear")
        found[stem] = path
    return found
