"""What a study is about: pictures of several folders, brought together by name."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

import numpy as np

from gantool.data.pairing import pair
from gantool.errors import UsageError, printable
from gantool.images import MAX_PIXELS, open_picture
from gantool.outputs import pictures

SHOWN: Final = 5  # names in a message


@dataclass(frozen=True)
class Labelled:
    """A folder of pictures, and what the scores call it."""

    label: str
    folder: Path


@dataclass(frozen=True)
class Item:
    """One picture in all its versions.

    Attributes:
        name: of the picture, in keys and scores.
        versions: its file in each folder, by label.
        source: what the versions were made from, if given.
        original: what they should be, if given.
    """

    name: str
    versions: Mapping[str, Path]
    source: Path | None = None
    original: Path | None = None


def parse(arguments: Sequence[str]) -> list[Labelled]:
    """Return folders with their labels, from `FOLDER` or `LABEL=FOLDER`.

    Raises:
        UsageError: two have one label, or one is no folder.
    """
    found: list[Labelled] = []
    for text in arguments:
        label, equals, folder = text.partition("=")
        whole = Path(text)
        each = (
            Labelled(label, Path(folder))
            if equals and label and not os.path.isdir(text)
            else Labelled(whole.resolve().name, whole)
        )
        if any(other.label == each.label for other in found):
            raise UsageError(
                f"two folders are called {printable(each.label)}: give them labels, as in ours={printable(each.folder)}"
            )
        _check_folder(each.folder)
        found.append(each)
    return found


def _pictures(folder: Path) -> list[Path]:
    try:
        return pictures(folder, recursive=False)
    except UsageError as error:
        raise UsageError(f"no images found in {printable(folder)}: name the folder that they lie in, not one above") from error


def _check_folder(folder: Path) -> None:
    if not os.path.isdir(folder):  # which no name is too long for
        raise UsageError(f"{printable(folder)} is not a folder: name a folder of pictures")


def by_name(folders: Sequence[Labelled], sources: Path | None, originals: Path | None) -> list[Item]:
    """Return an item for every picture, which all folders have to have; see `gantool.data.pairing.pair`.

    Raises:
        UsageError: a picture is missing somewhere, or there are too many.
    """
    for folder in (sources, originals):
        if folder is not None:
            _check_folder(folder)
    base = originals or sources or folders[0].folder
    names = [path.relative_to(base) for path in _pictures(base)]
    files = {each.label: _partners(each.folder, base, names) for each in folders}
    inputs, truths = (_partners(f, base, names) if f else {} for f in (sources, originals))
    return [
        Item(str(name), {label: found[name] for label, found in files.items()}, inputs.get(name), truths.get(name))
        for name in names
    ]


def _partners(folder: Path, base: Path, names: Sequence[Path]) -> dict[Path, Path]:
    """Return the file in a folder for every name in `base`."""
    if folder == base:
        return {name: base / name for name in names}
    here = [path.relative_to(folder) for path in _pictures(folder)]
    try:
        return {found.reference: folder / found.result for found in pair(here, names)}
    except UsageError as error:
        problem = _missing(folder, names, here) or _missing(base, here, names) or f"{printable(folder)}: {error}"
        raise UsageError(f"{problem}; pictures go together by name, as a.png and a_x4.png do") from error


def _missing(folder: Path, wanted: Sequence[Path], here: Sequence[Path]) -> str:
    """Return which pictures a folder lacks, going by how names begin on either side; nothing if it lacks none."""
    lacks = [name for name in wanted if not any(_is_akin(name.stem, path.stem) for path in here)]
    more = f" and {len(lacks) - SHOWN} more" if len(lacks) > SHOWN else ""
    return f"{printable(folder)} has no picture for {', '.join(map(printable, lacks[:SHOWN]))}{more}" if lacks else ""


def _is_akin(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)


def by_size(real: Labelled, generated: Labelled, rng: Random) -> list[Item]:
    """Return an item for every generated picture, with any real one of the same size, each used once.

    Args:
        real: folder of real pictures.
        generated: folder of others.
        rng: draws the real ones.

    Raises:
        UsageError: there are not enough real pictures of a size; sizes would tell the two kinds apart.
    """
    files = _pictures(real.folder)
    free: dict[tuple[int, int], list[Path]] = {}
    for path in rng.sample(files, len(files)):
        free.setdefault(size(path), []).append(path)
    items = []
    for path in _pictures(generated.folder):
        width, height = size(path)
        if not free.get((width, height)):
            raise UsageError(
                f"no real picture of {width}x{height} is left for {printable(path)}: there have to be as many real ones of "
                "each size as generated ones, as sizes and repeated pictures would tell them apart"
            )
        items.append(Item(path.name, {real.label: free[width, height].pop(0), generated.label: path}))
    return items


def size(path: Path) -> tuple[int, int]:
    """Return a picture's width and height, from its header.

    Raises:
        InputError: it cannot be read.
    """
    with open_picture(path, printable(path), MAX_PIXELS) as reader:
        return reader.pages[0].width, reader.pages[0].height


def is_transparent(path: Path) -> bool:
    """Return whether anything behind a picture can be seen through it; a channel of full alpha everywhere does not count.

    Raises:
        InputError: it cannot be read.
    """
    with open_picture(path, printable(path), MAX_PIXELS) as reader:
        if not reader.pages[0].alpha:
            return False
        return any(bool((band[:, :, -1] < np.iinfo(band.dtype).max).any()) for band in reader.bands())
