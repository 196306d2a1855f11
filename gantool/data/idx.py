"""IDX files, in which MNIST and its kin come: a header of big-endian numbers, then bytes; plain or gzipped.

Layout: two zero bytes, the type (8: unsigned bytes), the number of dimensions, each dimension in four bytes, the values.
"""

from __future__ import annotations

import gzip
import math
import re
import struct
import zlib
from pathlib import Path
from typing import IO, cast

import numpy as np
import torch
from torch import Tensor

from gantool.errors import UsageError, printable

MAX_BYTES = 4 << 30  # of values: a header that promises more is taken for damaged, whatever a small gzipped file unpacks to
_BYTES = 8  # the type
_IMAGES = re.compile(r"(.*)images([-.])idx3(.*)")


def images_files(folder: Path) -> list[Path]:
    """Return the IDX files of images directly in a folder, going by their names, sorted."""
    return sorted(path for path in folder.iterdir() if _IMAGES.fullmatch(path.name) and path.is_file())


def is_images_file(path: Path) -> bool:
    """Return whether a file is called as IDX files of images are."""
    return path.is_file() and _IMAGES.fullmatch(path.name) is not None


def labels_file(images: Path) -> Path:
    """Return the file of labels that belongs to one of images: images-idx3 becomes labels-idx1, gzipped or not.

    Raises:
        UsageError: there is none.
    """
    match = _IMAGES.fullmatch(images.name)
    assert match, "an images file is known by its name"
    name = f"{match[1]}labels{match[2]}idx1{match[3]}"
    names = [name, name.removesuffix(".gz") if name.endswith(".gz") else f"{name}.gz"]
    for path in map(images.with_name, names):
        if path.is_file():
            return path
    raise UsageError(f"no labels beside {printable(images)}: put {printable(name)} there")


def read_images(path: Path) -> Tensor:
    """Return the images of a file, (N, 1, H, W) uint8.

    Raises:
        UsageError: it is no IDX file of images, is cut short, or has more than its header says.
    """
    return _read(path, 3, "images").unsqueeze(1)


def read_labels(path: Path, images: int) -> Tensor:
    """Return the labels of a file, (N,) uint8, provided that there are as many as images.

    Raises:
        UsageError: it is no IDX file of labels, is cut short, or has another number of labels.
    """
    labels = _read(path, 1, "labels")
    if len(labels) != images:
        raise UsageError(f"{printable(path)} has {len(labels)} labels for {images} images: take the file that belongs to them")
    return labels


def _read(path: Path, dimensions: int, what: str) -> Tensor:
    try:
        with cast("IO[bytes]", gzip.open(path) if path.suffix == ".gz" else path.open("rb")) as file:
            shape = _shape(file.read(4 + 4 * dimensions), dimensions, what, path)
            size = math.prod(shape)
            values = bytearray(file.read(size + 1))
    except (OSError, EOFError, zlib.error) as error:  # gzip's own error is an OSError
        raise UsageError(f"{printable(path)} cannot be read, or is damaged: {printable(error)}; get it anew") from error
    if len(values) != size:
        found = "more" if len(values) > size else f"only {len(values)}"
        raise UsageError(f"{printable(path)} promises {size} bytes of {what} and has {found}: get it anew")
    return torch.from_numpy(np.frombuffer(values, np.uint8)).view(shape)


def _shape(header: bytes, dimensions: int, what: str, path: Path) -> tuple[int, ...]:
    if len(header) < 4 + 4 * dimensions or header[:4] != bytes([0, 0, _BYTES, dimensions]):
        raise UsageError(f"{printable(path)} is no IDX file of {what}: it should begin with 00 00 08 {dimensions:02}")
    shape = struct.unpack(f">{dimensions}I", header[4:])
    if not 0 < math.prod(shape) <= MAX_BYTES:
        raise UsageError(f"{printable(path)} says it has {' x '.join(map(str, shape))} values, which cannot be: get it anew")
    return shape
