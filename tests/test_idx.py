"""IDX files: what MNIST comes in, read as its header says or refused in a sentence."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
from pathlib import Path

import pytest
import torch

from gantool.data.idx import images_files, labels_file, read_images, read_labels
from gantool.errors import UsageError


def idx(shape: tuple[int, ...], values: bytes, kind: int = 8) -> bytes:
    return bytes([0, 0, kind, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + values


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_images_and_labels_are_read_as_the_header_says(tmp_path: Path, suffix: str) -> None:
    images = write(tmp_path / f"t-images-idx3-ubyte{suffix}", idx((2, 2, 3), bytes(range(12))))
    write(tmp_path / f"t-labels-idx1-ubyte{suffix}", idx((2,), bytes([7, 3])))
    assert torch.equal(read_images(images), torch.arange(12, dtype=torch.uint8).view(2, 1, 2, 3))
    assert read_labels(labels_file(images), 2).tolist() == [7, 3]


def test_labels_are_found_beside_images_with_either_ending(tmp_path: Path) -> None:
    images = tmp_path / "train-images.idx3-ubyte.gz"
    with pytest.raises(UsageError, match=r"no labels beside .*: put train-labels\.idx1-ubyte\.gz there"):
        labels_file(images)
    plain = write(tmp_path / "train-labels.idx1-ubyte", b"")
    assert labels_file(images) == plain


def test_files_of_images_are_known_by_their_names(tmp_path: Path) -> None:
    names = ["b-images-idx3-ubyte.gz", "a-images.idx3-ubyte", "a-labels.idx1-ubyte", "images.txt"]
    for name in names:
        write(tmp_path / name, b"")
    assert [path.name for path in images_files(tmp_path)] == ["a-images.idx3-ubyte", "b-images-idx3-ubyte.gz"]


DAMAGED = {
    "short": (idx((2, 2, 3), bytes(11)), "promises 12 bytes of images and has only 11"),
    "long": (idx((2, 2, 3), bytes(13)), "promises 12 bytes of images and has more"),
    "bomb": (idx((2, 2, 3), bytes(50_000_000)), "promises 12 bytes of images and has more"),
    "labels": (idx((2,), bytes(2)), "is no IDX file of images: it should begin with 00 00 08 03"),
    "floats": (idx((1, 1, 1), bytes(4), kind=13), "is no IDX file of images"),
    "empty": (b"", "is no IDX file of images"),
    "none": (idx((0, 28, 28), b""), "0 x 28 x 28 values, which cannot be"),
    "huge": (idx((2**32 - 1, 28, 28), b""), "4294967295 x 28 x 28 values, which cannot be"),
}


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_a_sentence(tmp_path: Path, name: str, suffix: str) -> None:
    data, message = DAMAGED[name]
    with pytest.raises(UsageError, match=message):
        read_images(write(tmp_path / f"images-idx3{suffix}", data))


def test_what_a_small_file_unpacks_to_is_read_no_further_than_the_header_says(tmp_path: Path) -> None:
    path = write(tmp_path / "images-idx3.gz", DAMAGED["bomb"][0])
    tracemalloc.start()
    with pytest.raises(UsageError, match="has more"):
        read_images(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000


@pytest.mark.parametrize("keep", [5, 25, -4])
def test_a_damaged_gzip_file_is_a_sentence(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "images-idx3.gz"
    path.write_bytes(gzip.compress(idx((2, 2, 3), bytes(range(12))))[:keep])
    with pytest.raises(UsageError, match=r"images-idx3.gz (cannot be read|is no IDX|promises)"):
        read_images(path)


def test_text_called_gz_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "images-idx3.gz"
    path.write_bytes(b"404 not found")
    with pytest.raises(UsageError, match="Not a gzipped file"):
        read_images(path)


def test_another_number_of_labels_is_a_sentence(tmp_path: Path) -> None:
    path = write(tmp_path / "labels-idx1", idx((3,), bytes(3)))
    with pytest.raises(UsageError, match="3 labels for 2 images"):
        read_labels(path, 2)
