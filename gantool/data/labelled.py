"""Labelled pictures: a folder per class, an attribute table, or IDX files."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from gantool.data import idx
from gantool.data.folders import list_pictures
from gantool.data.shelves import Files, Shelf, Stack, hash_of_files
from gantool.errors import UsageError, printable

SHOWN = 5  # names in a message
TABLES = (".csv", ".txt")
_VALUES = {"0": 0.0, "1": 1.0, "-1": 0.0}
_CELEBA = "img_align_celeba"  # the folder of pictures beside CelebA's tables


@dataclass(frozen=True)
class LabelledSet:
    """Pictures with labels.

    Attributes:
        shelf: the pictures.
        classes: what the columns of `labels` are called.
        labels: (N, K), 0 or 1.
        exclusive: each picture is of exactly one class.
        fingerprint: hash of the names and sizes of the files.
    """

    shelf: Shelf
    classes: tuple[str, ...]
    labels: Tensor
    exclusive: bool
    fingerprint: str


def open_labelled(path: Path, say: Callable[[str], None]) -> LabelledSet:
    """Return the labelled pictures of a folder of class folders, a table (.csv, or a list like CelebA's), or an IDX file.

    Raises:
        UsageError: there is no such thing, classes are empty or alone, pictures and rows of a table do not match.
    """
    if path.suffix.lower() in TABLES and path.is_file():
        return _of_table(path)
    images = idx_images(path)
    return _of_idx(images) if images else _of_folders(path, say)


def idx_images(path: Path) -> Path | None:
    """Return the IDX file of images that a path names, or that lies in the folder it names; None if it is something else.

    Raises:
        UsageError: several lie there.
    """
    if idx.is_images_file(path):
        return path
    found = idx.images_files(path) if path.is_dir() else []
    if len(found) > 1:
        raise UsageError(f"{printable(path)} holds {enumerated(file.name for file in found)}: name the file to learn from")
    return found[0] if found else None


def enumerated(names: Iterable[object]) -> str:
    """Return names for a message, the first five of them."""
    listed = [printable(name) for name in names]
    more = f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    return ", ".join(listed[:SHOWN]) + more


def _of_idx(path: Path) -> LabelledSet:
    labels_path = idx.labels_file(path)
    images = idx.read_images(path)
    labels = idx.read_labels(labels_path, len(images))
    values, index = np.unique(labels.numpy(), return_inverse=True)
    classes = tuple(str(value) for value in values)
    _check_classes(classes, labels_path)
    mark = hash_of_files([path, labels_path], path.parent)
    return LabelledSet(Stack(images, path), classes, one_hot(torch.from_numpy(index), len(classes)).float(), True, mark)


def _of_folders(path: Path, say: Callable[[str], None]) -> LabelledSet:
    if not path.is_dir():
        raise UsageError(
            f"{printable(path)} is nothing with labels: name a folder of class folders, a table (.csv, .txt) or an IDX file "
            "of images"
        )
    folders = sorted(folder for folder in path.iterdir() if folder.is_dir() and not folder.name.startswith("."))
    files = list_pictures(path)
    by_class: dict[str, list[Path]] = {folder.name: [] for folder in folders}
    for file in files:
        by_class.get(file.relative_to(path).parts[0], []).append(file)
    empty = [name for name, members in by_class.items() if not members]
    if empty:
        raise UsageError(f"no pictures in {enumerated(path / name for name in empty)}: remove empty classes or fill them")
    _check_classes(tuple(by_class), path)
    outside = len(files) - sum(map(len, by_class.values()))
    if outside:
        say(f"left out: {outside} pictures of {printable(path)} that lie in no class folder")
    members = [file for listed in by_class.values() for file in listed]
    index = torch.tensor([number for number, listed in enumerate(by_class.values()) for _ in listed])
    labels = one_hot(index, len(by_class)).float()
    return LabelledSet(Files([(file,) for file in members], path), tuple(by_class), labels, True, hash_of_files(members, path))


def _check_classes(classes: Sequence[str], path: Path) -> None:
    if len(classes) < 2:
        found = f"only the class {printable(classes[0])}" if classes else "no class folders"
        raise UsageError(f"{printable(path)} has {found}: two classes or more are needed")


def _of_table(path: Path) -> LabelledSet:
    classes, rows = _read_csv(path) if path.suffix.lower() == ".csv" else _read_celeba(path)
    if not classes or not rows:
        raise UsageError(f"{printable(path)} has no {'rows' if classes else 'attributes'}: it needs a file and values a row")
    folder, files = _matched(path, [name for name, _ in rows])
    labels = torch.tensor([_numbers(path, name, classes, values) for name, values in rows])
    unused = [name for name, some in zip(classes, labels.any(0).tolist(), strict=True) if not some]
    if unused:
        raise UsageError(f"no picture of {printable(path)} has {enumerated(unused)}: remove the column or add pictures")
    shelf = Files([(file,) for file in files], path)
    mark = hash_of_files([path], path.parent) + hash_of_files(files, folder)
    return LabelledSet(shelf, tuple(classes), labels, False, mark)


Row = tuple[str, list[str]]


def _read_csv(path: Path) -> tuple[list[str], list[Row]]:
    """Return the attributes and the rows of a table with a header: file, attribute, attribute, ..."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [[field.strip() for field in line] for line in csv.reader(file) if line]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{printable(path)} cannot be read as a table: {printable(error)}") from error
    header = lines[0] if lines else [""]
    return header[1:], [(line[0], line[1:]) for line in lines[1:]]


def _read_celeba(path: Path) -> tuple[list[str], list[Row]]:
    """Return the attributes and the rows of a list like CelebA's: the count, the names, then rows, each a line of words."""
    try:
        lines = [line.split() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{printable(path)} cannot be read as a table: {printable(error)}") from error
    rows = [(line[0], line[1:]) for line in lines[2:] if line]
    if len(lines) < 2 or lines[0] != [str(len(rows))]:
        raise UsageError(
            f"{printable(path)} is no list like CelebA's: the number of rows in the first line ({len(rows)} follow), the "
            "names of the attributes in the second; other tables are .csv"
        )
    return lines[1], rows


def _numbers(path: Path, name: str, classes: Sequence[str], values: Sequence[str]) -> list[float]:
    row = f"{printable(path)}, row of {printable(name)}"
    if len(values) != len(classes):
        raise UsageError(f"{row}: {len(values)} values for {len(classes)} attributes")
    for attribute, value in zip(classes, values, strict=True):
        if value not in _VALUES:
            raise UsageError(f"{row}: {printable(attribute)} is '{printable(value)}': use 1 for yes and 0 or -1 for no")
    return [_VALUES[value] for value in values]


def _matched(path: Path, names: Sequence[str]) -> tuple[Path, list[Path]]:
    """Return the folder of a table's pictures and the files of its rows, provided that they are the same files.

    They lie in a folder called like the table, or like CelebA's, or beside the table.
    """
    folders = [path.with_suffix(""), path.parent / _CELEBA, path.parent]
    folder = next((f for f in folders if (f / names[0]).is_file()), path.parent)
    present = {file.relative_to(folder).as_posix() for file in list_pictures(folder)}
    missing, extra = [name for name in names if name not in present], present.difference(names)
    twice = [name for name, count in Counter(names).items() if count > 1]
    problems = {"rows without a file": missing, "files without a row": sorted(extra), "more than one row": twice}
    for what, wrong in problems.items():
        if wrong:
            raise UsageError(f"{printable(path)} and the pictures in {printable(folder)} differ: {what}: {enumerated(wrong)}")
    return folder, [folder / name for name in names]
