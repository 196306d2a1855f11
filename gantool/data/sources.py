"""What a system learns from: folders, tables and files opened by kind, and their samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

from torch import Tensor
from torch.utils.data import Dataset

from gantool.data import idx
from gantool.data.folders import fingerprint, list_pictures
from gantool.data.items import CACHE_BYTES
from gantool.data.labelled import LabelledSet, enumerated, idx_images, open_labelled
from gantool.data.making import MAKERS, Maker
from gantool.data.partners import partners, two_folders
from gantool.data.samples import Cuts, Labelled, Made, Turns, Unpaired
from gantool.data.shelves import Files, Framer, Halves, Shelf, Stack, hash_of_files, hash_of_hashes
from gantool.errors import UsageError, printable, unknown
from gantool.fitting import Fit

Kind: TypeAlias = Literal["plain", "labelled", "paired", "unpaired"]
Fact: TypeAlias = "None | bool | int | float | str | list[Fact] | dict[str, Fact]"
Say: TypeAlias = Callable[[str], None]


class Source(Protocol):
    """What a system learns from.

    Attributes:
        facts: values of a system's configuration that the data decides, by field. Labelled data: "classes" (names), "exclusive"
            (whether each picture is of exactly one class) and "sets" (how many of the classes are each data set's). Unpaired
            data: "domains", the names of the two.
        fingerprint: hash of the names and sizes of all files: other data, other fingerprint.
        count: pictures, or pairs of them; of two unpaired folders, those in the larger.
    """

    facts: Mapping[str, Fact]
    fingerprint: str
    count: int

    def samples(self, size: int, fit: Fit, channels: int, seed: int, batch: int) -> Dataset[dict[str, Tensor]]:
        """Return training samples, of which item i is the same whenever and wherever it is asked for.

        Args:
            size: pixels a side.
            fit: how pictures become images.
            channels: 3, or 1 for gray.
            seed: of the order of the pictures and of everything that is drawn.
            batch: samples a batch: several labelled data sets take turns batch by batch.

        Raises:
            UsageError: too many pictures cannot be used.
        """
        ...


def open_source(kind: Kind, paths: Sequence[Path], made: str | None, say: Say) -> Source:
    """Return what a system that learns from a kind of folder finds at the given places.

    Args:
        kind: see `gantool.system.Batch`.
        paths: plain: a folder or an IDX file of images. labelled: for each data set a folder of class folders, a table (.csv,
            or a list like CelebA's) or an IDX file. paired: two folders, one that holds two, one of pictures side by side, or
            plain photos if `made`. unpaired: two folders, or one that holds two.
        made: how inputs are made of plain photos, one of `gantool.data.making.MAKERS`.
        say: gets a line for each picture that is left out.

    Raises:
        UsageError: the places do not hold what the kind needs; the message names what is missing and what to do.
    """
    if made is not None and kind != "paired":
        raise UsageError(f"--pairs {printable(made)} is for systems that learn from pairs: this one takes {kind} pictures")
    match kind:
        case "plain":
            return _Plain(_only(paths), say)
        case "labelled":
            return _Labelled([open_labelled(path, say) for path in paths], say)
        case "paired":
            return _open_paired(paths, made, say)
        case "unpaired":
            return _Unpaired(*_two(paths, "unpaired pictures"), say)


def _only(paths: Sequence[Path]) -> Path:
    if len(paths) != 1:
        raise UsageError(f"one folder is learned from, not {len(paths)}: {enumerated(paths)}; put all pictures below one")
    return paths[0]


def _two(paths: Sequence[Path], what: str) -> tuple[Path, Path]:
    inside = two_folders(paths[0]) if len(paths) == 1 else None
    if inside is None and len(paths) != 2:
        raise UsageError(f"{what} come in two folders, or in one with folders A and B; given: {enumerated(paths)}")
    return inside or (paths[0], paths[1])


class _Plain:
    """Pictures alone."""

    facts: Mapping[str, Fact] = {}

    def __init__(self, path: Path, say: Say) -> None:
        images = idx_images(path)
        self._framer = Framer(Stack(idx.read_images(images), images) if images else _pictures(path), say)
        self.fingerprint = hash_of_files([images], images.parent) if images else fingerprint(path)
        self.count = len(self._framer.shelf)

    def samples(self, size: int, fit: Fit, channels: int, seed: int, batch: int) -> Dataset[dict[str, Tensor]]:
        return Cuts(self._framer.frames(size, fit, channels), ("image",), size, fit, (seed,))


def _pictures(path: Path) -> Shelf:
    return Files([(file,) for file in list_pictures(path)], path)


class _Labelled:
    """Pictures with labels, of one data set or several."""

    def __init__(self, sets: Sequence[LabelledSet], say: Say) -> None:
        self._labels = [one.labels for one in sets]
        self._framers = [Framer(one.shelf, say, CACHE_BYTES // len(sets)) for one in sets]
        names = [name for one in sets for name in one.classes]
        twice = sorted(name for name, count in Counter(names).items() if count > 1)
        if twice:
            raise UsageError(f"{enumerated(twice)}: the name of several classes or attributes; give each a name of its own")
        self._sizes = [len(one.classes) for one in sets]
        exclusive = all(one.exclusive for one in sets)
        self.facts: Mapping[str, Fact] = {"classes": [*names], "exclusive": exclusive, "sets": [*self._sizes]}
        self.fingerprint = hash_of_hashes(one.fingerprint for one in sets)
        self.count = sum(len(one.shelf) for one in sets)

    def samples(self, size: int, fit: Fit, channels: int, seed: int, batch: int) -> Dataset[dict[str, Tensor]]:
        parts = [
            Labelled(Cuts(framer.frames(size, fit, channels), ("image",), size, fit, (seed, number)), labels)
            for number, (framer, labels) in enumerate(zip(self._framers, self._labels, strict=True))
        ]
        return parts[0] if len(parts) == 1 else Turns(parts, self._sizes, batch)


def _open_paired(paths: Sequence[Path], made: str | None, say: Say) -> Source:
    if made is not None:
        if made not in MAKERS:
            raise unknown("kind of pairs", made, MAKERS)
        return _Made(_only(paths), MAKERS[made], say)
    inside = two_folders(paths[0]) if len(paths) == 1 else None
    if len(paths) == 1 and inside is None:
        return _Paired(Halves(list_pictures(paths[0]), paths[0]), fingerprint(paths[0]), say)
    a, b = inside or _two(paths, "pairs")
    return _Paired(Files(partners(a, b), a), hash_of_hashes(map(fingerprint, (a, b))), say)


class _Paired:
    """Pairs of pictures."""

    facts: Mapping[str, Fact] = {}

    def __init__(self, shelf: Shelf, mark: str, say: Say) -> None:
        self._framer = Framer(shelf, say)
        self.fingerprint, self.count = mark, len(shelf)

    def samples(self, size: int, fit: Fit, channels: int, seed: int, batch: int) -> Dataset[dict[str, Tensor]]:
        return Cuts(self._framer.frames(size, fit, channels), ("input", "target"), size, fit, (seed,))


class _Made:
    """Pairs made of plain photos."""

    facts: Mapping[str, Fact] = {}

    def __init__(self, path: Path, maker: Maker, say: Say) -> None:
        self._framer, self._maker = Framer(_pictures(path), say), maker
        self.fingerprint, self.count = fingerprint(path), len(self._framer.shelf)

    def samples(self, size: int, fit: Fit, channels: int, seed: int, batch: int) -> Dataset[dict[str, Tensor]]:
        photos = self._framer.frames(size, fit, channels=3)
        return Made(Cuts(photos, ("target",), size, fit, (seed,)), self._maker, channels)


class _Unpaired:
    """Pictures of two domains that do not belong together one by one."""

    def __init__(self, a: Path, b: Path, say: Say) -> None:
        self._framers = [Framer(_pictures(path), say, CACHE_BYTES // 2) for path in (a, b)]
        names = [path.resolve().name for path in (a, b)]
        self.facts: Mapping[str, Fact] = {"domains": [*names] if names[0] != names[1] else ["a", "b"]}
        self.fingerprint = hash_of_hashes(map(fingerprint, (a, b)))
        self.count = max(len(framer.shelf) for framer in self._framers)

    def samples(self, size: int, fit: Fit, channels: int, seed: int, batch: int) -> Dataset[dict[str, Tensor]]:
        a, b = (
            Cuts(framer.frames(size, fit, channels), (name,), size, fit, (seed, number))
            for number, (name, framer) in enumerate(zip("ab", self._framers, strict=True))
        )
        return Unpaired(a, b)
