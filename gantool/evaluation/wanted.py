"""What results should show: the label picture that belongs to each, or the class."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from gantool.data import idx
from gantool.data.folders import list_pictures
from gantool.data.labelled import enumerated, idx_images
from gantool.data.pairing import pair
from gantool.errors import UsageError, first_line, printable
from gantool.evaluation.contestants import check_there, find_pairs, listed

_IDS = "_labelIds.png"
_CITYSCAPES = re.compile(r"_leftImg8bit|_gt(?:Fine|Coarse)_labelIds")  # what follows a shot's name


@dataclass(frozen=True)
class Labelled:
    """A picture and the class it should be of.

    Attributes:
        path: its file, or for messages the file that holds it with others.
        label: name or number of the class.
        color: (3|1, H, W) uint8 of a picture that is no file of its own.
    """

    path: Path
    label: str
    color: Tensor | None = None


def label_pairs(results: Path, labels: Path, recursive: bool = False) -> list[tuple[Path, Path]]:
    """Return results with their label pictures, two files or two folders, by name (see `gantool.data.pairing.pair`).

    In folders like those of Cityscapes `city_shot_frame_leftImg8bit.png` goes with `city_shot_frame_gtFine_labelIds.png`, in
    whatever sub-folder, and other pictures beside the latter are passed over.

    Raises:
        UsageError: there is nothing, or not the same, on the two sides.
    """
    for path in (results, labels):
        check_there(path)
    shots = [path for path in list_pictures(labels) if path.name.endswith(_IDS)] if labels.is_dir() else []
    if not shots or not results.is_dir():
        return [(found.result, found.reference) for found in find_pairs(results, labels, recursive)]
    sides = [[(Path(_CITYSCAPES.sub("", path.name)), path) for path in files] for files in (listed(results, recursive), shots)]
    files = [dict(side) for side in sides]
    found = pair(*([name for name, _ in side] for side in sides))
    return [(files[0][each.result], files[1][each.reference]) for each in found]


def wanted(results: Path, paths: Sequence[Path], labels: Path | None) -> list[Labelled]:
    """Return results with the class each should be of.

    Args:
        results: the folder of results, or the only one.
        paths: the results, below it.
        labels: a .csv of name,label, a text file of names and labels apart by a space, or what `gantool generate --report`
            writes (.jsonl); names are those of files from `results` on. None: the first sub-folder is the label.

    Raises:
        UsageError: the file is none of that, or does not have just one label for each result; or sub-folders are missing.
    """
    base = results if results.is_dir() else results.parent
    relative = {path: path.relative_to(base) for path in paths}
    if labels is None:
        return _by_folder(relative, "put results into a folder per class, or name a file of name,label with --labels")
    rows = _rows(labels)
    known, names = dict(rows), {name.as_posix() for name in relative.values()}
    problems = {
        "results without a label": sorted(names - known.keys()),
        "labels without a result": sorted(known.keys() - names),
        "more than one label": [name for name, count in Counter(name for name, _ in rows).items() if count > 1],
    }
    for what, wrong in problems.items():
        if wrong:
            raise UsageError(f"--labels {printable(labels)} and {printable(results)} differ: {what}: {enumerated(wrong)}")
    return [Labelled(path, known[name.as_posix()]) for path, name in relative.items()]


def real_pictures(path: Path) -> list[Labelled]:
    """Return the pictures of a folder with a folder per class, or of an IDX file of images that labels lie beside.

    Raises:
        UsageError: it is neither.
    """
    images = idx_images(path)
    if images is None:
        paths = list_pictures(path)
        return _by_folder({each: each.relative_to(path) for each in paths}, "put real pictures into a folder per class")
    colors = idx.read_images(images)
    labels = idx.read_labels(idx.labels_file(images), len(colors))
    return [Labelled(images, str(label), color) for label, color in zip(labels.tolist(), colors, strict=True)]


def _by_folder(relative: Mapping[Path, Path], remedy: str) -> list[Labelled]:
    loose = [name for name in relative.values() if len(name.parts) < 2]
    if loose:
        raise UsageError(f"nothing says which class {enumerated(loose)} should be of: {remedy}")
    return [Labelled(path, name.parts[0]) for path, name in relative.items()]


def _rows(path: Path) -> list[tuple[str, str]]:
    if not path.is_file():
        raise UsageError(f"--labels {printable(path)} is no file: name one with a line name,label for each result")
    try:
        lines = [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        match path.suffix.lower():
            case ".csv":
                rows = [[field.strip() for field in row] for row in csv.reader(lines)]
            case ".jsonl":
                rows = [_reported(line) for line in lines]
            case _:
                rows = [line.rsplit(maxsplit=1) for line in lines]
    except (OSError, ValueError, csv.Error, RecursionError) as error:
        raise UsageError(f"--labels {printable(path)} cannot be read: {first_line(error)}") from error
    if rows and rows[0][-1].lower() == "label":
        del rows[0]  # a header
    for row in rows:
        if len(row) != 2 or not all(row):
            raise UsageError(
                f"--labels {printable(path)}: '{printable(','.join(row))[:80]}' is no name and label: use name,label"
            )
    return [(row[0], row[1]) for row in rows]


def _reported(line: str) -> list[str]:
    """Return file name and label of a line that `gantool generate --report` writes."""
    said = json.loads(line)
    if not isinstance(said, dict) or not isinstance(said.get("output"), str) or said.get("label") is None:
        raise ValueError("a line has no output and label, as a report of gantool generate --label has")
    return [Path(said["output"]).name, str(said["label"])]
