"""Arrays out of others' .npz files, none of which is unpacked before its size is known."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gantool.errors import first_line

MAX_BYTES = 64 << 20  # that the wanted arrays unpack to together; FID's statistics, the largest, have 32 MiB


def arrays(path: Path, names: Sequence[str]) -> list[Tensor]:
    """Return arrays of floating point in float64, in the order of their names; what else the file holds stays packed.

    Raises:
        ValueError: the file is damaged, lacks one, or they are too large or of something else; the words are one line.
    """
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            size = sum(archive.getinfo(f"{name}.npy").file_size for name in names)
            if size > MAX_BYTES:
                raise ValueError(f"it unpacks to {size >> 20} MiB, and {MAX_BYTES >> 20} are enough")
            file.seek(0)
            with np.load(file, allow_pickle=False) as found:
                return [_tensor(found[name], name) for name in names]
    except Exception as error:  # zipfile, zlib and numpy have a dozen words for a damaged file
        raise ValueError(first_line(error)) from error


def _tensor(array: np.ndarray[tuple[int, ...], np.dtype[np.generic]], name: str) -> Tensor:
    if array.dtype.kind != "f":
        raise ValueError(f"{name} holds no numbers in floating point")
    return torch.from_numpy(array.astype(np.float64))
