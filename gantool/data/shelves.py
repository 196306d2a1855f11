"""Where pictures come from: files, alone, in pairs or side by side, and arrays; and their training images, kept at hand."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Protocol

from torch import Tensor

from gantool.data.framing import fitted, read_on_white, with_channels
from gantool.data.items import CACHE_BYTES, Cache, usable
from gantool.errors import InputError, RunError, UsageError, printable
from gantool.fitting import Fit

Group = tuple[Path, ...]


class Shelf(Protocol):
    """Pictures by number: one, or two that belong together and have one size.

    Attributes:
        where: what messages call the place they are from.
        alike: all can be read and have one size.
    """

    where: str
    alike: bool

    def __len__(self) -> int: ...

    def name(self, number: int) -> str:
        """Return what messages call a picture."""
        ...

    def take(self, number: int) -> tuple[Tensor, ...]:
        """Return the pictures of a number, (1 or 3, H, W) uint8.

        Raises:
            InputError: one cannot be read.
            UsageError: two that belong together do not have one size.
        """
        ...


class Files:
    """Picture files, alone or in pairs.

    Args:
        groups: files that belong together.
        where: the folder, for messages.
    """

    alike = False

    def __init__(self, groups: Sequence[Group], where: Path) -> None:
        self.groups, self.where = groups, printable(where)

    def __len__(self) -> int:
        return len(self.groups)

    def name(self, number: int) -> str:
        """Return what messages call a picture."""
        return printable(self.groups[number][0])

    def take(self, number: int) -> tuple[Tensor, ...]:
        """Return the pictures of a group."""
        pictures = tuple(read_on_white(path) for path in self.groups[number])
        sizes = [f"{picture.shape[2]}x{picture.shape[1]}" for picture in pictures]
        if len(set(sizes)) > 1:
            listing = ", ".join(f"{printable(path)} {size}" for path, size in zip(self.groups[number], sizes, strict=True))
            raise UsageError(f"partners must have one size: {listing}; resize one or remove both")
        return pictures


class Halves:
    """Picture files with two pictures side by side: the input left, the target right.

    Args:
        paths: the files.
        where: the folder, for messages.
    """

    alike = False

    def __init__(self, paths: Sequence[Path], where: Path) -> None:
        self.paths, self.where = paths, printable(where)

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, number: int) -> str:
        """Return what messages call a picture."""
        return printable(self.paths[number])

    def take(self, number: int) -> tuple[Tensor, ...]:
        """Return the two halves of a picture."""
        picture = read_on_white(self.paths[number])
        width = picture.shape[2]
        if width % 2:
            raise UsageError(
                f"{self.name(number)} is {width} pixels wide: a pair side by side has an even width; pairs in two files come "
                "in two folders, pairs made of plain photos with --pairs"
            )
        return picture[:, :, : width // 2], picture[:, :, width // 2 :]


class Stack:
    """Images of one size in memory.

    Args:
        images: (N, C, H, W) uint8.
        where: the file, for messages.
    """

    alike = True

    def __init__(self, images: Tensor, where: Path) -> None:
        self.images, self.where = images, printable(where)

    def __len__(self) -> int:
        return len(self.images)

    def name(self, number: int) -> str:
        """Return what messages call a picture."""
        return f"image {number} of {self.where}"

    def take(self, number: int) -> tuple[Tensor, ...]:
        """Return an image."""
        return (self.images[number],)


class Frames:
    """A shelf's pictures as what training images are cut from, those left out that cannot be used.

    Args:
        shelf: the pictures.
        size: pixels a side of a training image.
        fit: how pictures become images.
        channels: 3, or 1 for gray.
        warn: gets one line per picture that is left out.
        room: bytes of pictures that are kept.

    Attributes:
        numbers: those of the shelf's that can be used, in order.
    """

    def __init__(self, shelf: Shelf, size: int, fit: Fit, channels: int, warn: Callable[[str], None], room: int) -> None:
        self._shelf, self._size, self._fit, self._channels = shelf, size, fit, channels
        self._cache: Cache[int] = Cache(room)
        numbers = range(len(shelf))
        needed = size if fit.mode == "crop" else None
        checked = usable(numbers[:1] if shelf.alike else numbers, self._check, shelf.where, needed, warn)
        self.numbers: Sequence[int] = numbers if shelf.alike else checked

    def _check(self, number: int) -> None:
        self._cache.get(number, lambda: self._fitted(number))

    def _fitted(self, number: int) -> tuple[Tensor, ...]:
        name = self._shelf.name(number)
        pictures = (with_channels(picture, self._channels) for picture in self._shelf.take(number))
        return tuple(fitted(picture, self._size, self._fit, name) for picture in pictures)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, item: int) -> tuple[Tensor, ...]:
        """Return the fitted pictures of item number `item` of those that can be used, (C, H, W) uint8, of one size.

        Raises:
            RunError: one can no longer be read.
        """
        number = self.numbers[item]
        try:
            return self._cache.get(number, lambda: self._fitted(number))
        except InputError as error:  # it could be read when the run began
            raise RunError(f"{error}: put the pictures back as they were, and go on with --resume") from error


class Framer:
    """Gives a shelf's frames, the same again if asked for the same as last time: stages differ, validations do not.

    Args:
        shelf: the pictures.
        warn: gets one line per picture that is left out.
        room: bytes of pictures that are kept.
    """

    def __init__(self, shelf: Shelf, warn: Callable[[str], None], room: int = CACHE_BYTES) -> None:
        self.shelf, self._room = shelf, room
        self._warn = cache(warn)  # each line once, however often the pictures are read
        self._last: tuple[tuple[int, Fit, int], Frames] | None = None

    def frames(self, size: int, fit: Fit, channels: int) -> Frames:
        """Return the pictures as what training images are cut from, see `Frames`."""
        key = size, fit, channels
        if self._last is None or self._last[0] != key:
            self._last = None  # so that there is room
            self._last = key, Frames(self.shelf, size, fit, channels, self._warn, self._room)
        return self._last[1]


def hash_of_files(paths: Iterable[Path], root: Path) -> str:
    """Return a hash of the names, from a folder on, and the sizes of files."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(os.fsencode(path.relative_to(root)) + f"\0{path.stat().st_size}\0".encode())
    return digest.hexdigest()


def hash_of_hashes(hashes: Iterable[str]) -> str:
    """Return a hash of several, in their order."""
    return hashlib.sha256("".join(hashes).encode()).hexdigest()
