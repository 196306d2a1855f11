"""Folders of pictures as data sets: a sample is a pure function of its number, so training resumes exactly.

Unreadable pictures are named once, counted and left out.
"""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from gantool.data.items import CACHE_BYTES, Cache, place, usable
from gantool.errors import InputError, RunError, UsageError, printable
from gantool.images import EXTENSIONS, read

Transform = Callable[[Tensor, np.random.Generator], dict[str, Tensor]]


def list_pictures(folder: Path) -> list[Path]:
    """Return the picture files below a folder, sorted; hidden ones are left out.

    Raises:
        UsageError: there is no such folder, or no picture in it.
    """
    if not folder.is_dir():
        raise UsageError(f"{printable(folder)} is not a folder: name a folder of pictures")
    files = sorted(
        p for p in folder.rglob("*") if p.suffix.lower() in EXTENSIONS and not p.name.startswith(".") and p.is_file()
    )
    if not files:
        raise UsageError(f"no images found in {printable(folder)}: looked for {' '.join(sorted(EXTENSIONS))}")
    return files


def fingerprint(folder: Path) -> str:
    """Return a hash of the names and sizes of the pictures below a folder: other data, other fingerprint."""
    digest = hashlib.sha256()
    for path in list_pictures(folder):
        digest.update(os.fsencode(path.relative_to(folder)) + f"\0{path.stat().st_size}\0".encode())
    return digest.hexdigest()


def read_rgb(path: Path) -> Tensor:
    """Return a picture as (3, H, W) uint8: gray replicated, transparency dropped."""
    picture = read(path)
    return picture.color.expand(3, -1, -1)


class PhotoFolder(Dataset[dict[str, Tensor]]):
    """Random crops of the photos in a folder; item i is the same whenever and wherever it is asked for.

    Args:
        folder: searched recursively.
        size: pixels per side that `transform` needs at least; smaller photos are left out.
        transform: from an image (3, H, W) uint8 and a random generator to a sample.
        seed: of the order of the photos and of everything that `transform` draws.
        warn: gets one line per photo that is left out.
    """

    def __init__(self, folder: Path, size: int, transform: Transform, seed: int, warn: Callable[[str], None]) -> None:
        self.size, self.transform, self.seed = size, transform, seed
        self._cache: Cache[Path] = Cache(CACHE_BYTES)
        self.paths = usable(list_pictures(folder), self._check, printable(folder), size, warn)

    def _check(self, path: Path) -> None:
        height, width = self._pixels(path).shape[1:]
        if min(height, width) < self.size:
            raise InputError(f"{printable(path)} is {width}x{height}, training needs {self.size} pixels a side")

    def _pixels(self, path: Path) -> Tensor:
        [pixels] = self._cache.get(path, lambda: (read_rgb(path),))
        return pixels

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return sample number `index`, any non-negative number: floats in [0, 1]."""
        item, rng = place(index, len(self.paths), self.seed)
        sample = self.transform(self._pixels(self.paths[item]), rng)
        return {name: pixels.float() / 255 for name, pixels in sample.items()}


def batches(
    dataset: Dataset[dict[str, Tensor]], batch: int, first: int, rank: int, ranks: int, workers: int
) -> Iterator[dict[str, Tensor]]:
    """Yield batches without end, from batch number `first` on; each of `ranks` processes gets its share of every batch."""
    share = batch // ranks

    loader = DataLoader(
        dataset,
        batch_sampler=_Numbers(first * batch + rank * share, share, batch),
        num_workers=workers,
        generator=torch.Generator(),  # its own: the loader's draw must not move the global one
        pin_memory=torch.cuda.is_available(),
        persistent_workers=workers > 0,
        worker_init_fn=_leave_interrupts_to_the_loop,
    )
    try:
        yield from loader
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise RunError(f"a process that prepares samples died ({error}): try --workers 0") from error


def _leave_interrupts_to_the_loop(number: int) -> None:
    """Ctrl-C reaches every process of the terminal; the loop saves first and then ends its workers itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@dataclass(frozen=True)
class _Numbers:
    """Sample numbers, a list a batch, without end."""

    start: int
    share: int
    batch: int

    def __iter__(self) -> Iterator[list[int]]:
        return (list(range(n, n + self.share)) for n in count(self.start, self.batch))
