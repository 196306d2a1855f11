"""Label pictures and palettes: which class each place has, and what is said of files that hold none."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from labels import save_labels, some_classes
from numpy.typing import NDArray
from PIL import Image

from gantool.errors import InputError, UsageError
from gantool.evaluation.palettes import CITYSCAPES, nearest_classes, read_numbers, read_palette


def test_nearest_colours_are_those_of_a_plain_search() -> None:
    color = torch.randint(0, 256, (3, 13, 17), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    palette = np.array(CITYSCAPES.colors)
    distances = ((color.permute(1, 2, 0).numpy().astype(int)[:, :, None] - palette) ** 2).sum(3)
    assert np.array_equal(nearest_classes(color, CITYSCAPES), distances.argmin(2))
    assert np.array_equal(nearest_classes(torch.zeros(1, 2, 3, dtype=torch.uint8), CITYSCAPES), np.full((2, 3), 14))


@pytest.mark.parametrize(
    ("bits", "palette"), [*((bits, False) for bits in (1, 2, 4, 8, 16)), *((b, True) for b in (1, 2, 4, 8))]
)
def test_label_pictures_are_read_as_they_are_stored(tmp_path: Path, bits: int, palette: bool) -> None:
    classes = some_classes(5, 7, 0, min(1 << bits, 9)).astype(np.uint16)
    path = tmp_path / "l.png"
    if palette:
        image = Image.fromarray(classes.astype(np.uint8))
        image.putpalette([n for value in range(1 << bits) for n in (255 - value, value, 9)])
        image.save(path, bits=bits)
    else:
        path.write_bytes(gray_png(classes, bits))
    assert np.array_equal(read_numbers(path, None), classes)


def gray_png(values: NDArray[np.uint16], bits: int) -> bytes:
    """Return a gray PNG, which Pillow does not write with 2 and 4 bits."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = []
    for row in values:
        text = "".join(f"{value:0{bits}b}" for value in row.tolist())
        text += "0" * (-len(text) % 8)
        rows.append(b"\0" + int(text, 2).to_bytes(len(text) // 8, "big"))
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], bits, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"".join(rows))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_a_label_beyond_cityscapes_is_named(tmp_path: Path) -> None:
    train_ids = save_labels(tmp_path / "x_labelTrainIds.png", np.array([[0, 18, 255]]))
    with pytest.raises(InputError, match="has the label 255, the last there is is 33: name the pictures that end in _labelIds"):
        read_numbers(train_ids, CITYSCAPES)


def test_a_large_label_picture_is_refused_by_its_header(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="4x4 pixels, more than the limit of 15"):
        read_numbers(save_labels(tmp_path / "l.png", np.zeros((4, 4))), None, max_pixels=15)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("p.csv", "road,1,2\nsky,1,2,3", "'road' has the colour '1,2': use r,g,b"),
        ("p.csv", "road,1,2,256\nsky,1,2,3", "'1,2,256'"),
        ("p.csv", "road,1,2,x\nsky,1,2,3", "'1,2,x'"),
        ("p.csv", "road,1,2,3\nroad,3,2,1", "one of its names twice"),
        ("p.csv", "road,1,2,3\nsky,1,2,3", "one of its colours twice"),
        ("p.csv", "road,1,2,3", "has 1 classes"),
        ("p.csv", "", "has 0 classes"),
        ("p.toml", "road = 5", "'road' has the colour '5'"),
        ("p.toml", "road = [", "cannot be read"),
    ],
)
def test_a_wrong_palette_is_a_sentence(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=message) as raised:
        read_palette(tmp_path / name)
    assert name in str(raised.value)


def test_palettes_come_as_csv_and_toml(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text('road = [1, 2, 3]\n"the sky" = [4, 5, 6]\n')
    (tmp_path / "p.csv").write_text("road, 1, 2, 3\n\nthe sky,4,5,6\n")
    one, other = (read_palette(tmp_path / name) for name in ("p.toml", "p.csv"))
    assert one == other
    assert (one.names, one.colors) == (("road", "the sky"), ((1, 2, 3), (4, 5, 6)))
    with pytest.raises(UsageError, match="cannot be read"):
        read_palette(tmp_path / "missing.csv")
