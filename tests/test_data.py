"""Folders as data sets: samples are pure functions of their number, and are what the literature's pipeline gives."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gantool.data.folders import PhotoFolder, batches, fingerprint, list_pictures
from gantool.data.transforms import MARGIN, Bicubic, low_high_pair, random_dihedral
from gantool.errors import UsageError
from gantool.layers.resampling import imresize


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Four pictures of noise and ramps, 40 to 70 pixels a side."""
    rng = np.random.default_rng(0)
    for number, (height, width) in enumerate([(40, 50), (64, 41), (70, 70), (48, 60)]):
        ramp = np.linspace(0, 200, width)[None, :, None] + rng.integers(0, 55, (height, width, 3))
        Image.fromarray(ramp.astype(np.uint8)).save(tmp_path / f"{number}.png")
    return tmp_path


def crops(folder: Path, said: list[str] | None = None, size: int = 36) -> PhotoFolder:
    scale = 2
    transform = lambda pixels, rng: low_high_pair(pixels, size - 2 * MARGIN * scale, Bicubic(scale), rng)  # noqa: E731
    return PhotoFolder(folder, size, transform, seed=7, warn=(said if said is not None else []).append)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_low_resolution_crop_is_a_crop_of_the_low_resolution_picture(scale: int) -> None:
    pixels = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (3, 30 * scale, 26 * scale), dtype=np.uint8))
    whole = imresize(pixels[None], 1 / scale)[0]
    pair = low_high_pair(pixels, 8 * scale, Bicubic(scale), FirstAligned(scale))
    places = [
        (top, left)
        for top in range(whole.shape[1] - 7)
        for left in range(whole.shape[2] - 7)
        if torch.equal(whole[:, top : top + 8, left : left + 8], pair["low"])
    ]
    [(top, left)] = places
    assert torch.equal(pixels[:, top * scale : (top + 8) * scale, left * scale : (left + 8) * scale], pair["high"])


class FirstAligned(np.random.Generator):
    """A generator that draws a corner on the grid of low-resolution pixels and the identity of the eight turns."""

    def __init__(self, scale: int) -> None:
        super().__init__(np.random.PCG64(0))
        self.scale = scale

    def integers(self, high: int) -> int:  # type: ignore[override]
        return 0 if high in (2, 4) else (high - 1) // 2 // self.scale * self.scale


def test_the_eight_turns_all_occur_and_are_different() -> None:
    square = torch.arange(9).view(1, 3, 3)
    seen = {tuple(random_dihedral(square, np.random.default_rng(n)).flatten().tolist()) for n in range(100)}
    assert len(seen) == 8


def test_a_sample_depends_on_its_number_and_the_seed_alone(photos: Path) -> None:
    one, other = crops(photos), crops(photos)
    for number in (9, 3, 0):
        assert torch.equal(one[number]["low"], other[number]["low"])
    assert not torch.equal(one[0]["low"], one[4]["low"])


def test_each_epoch_shows_every_photo_once(photos: Path) -> None:
    shown = []
    data = PhotoFolder(photos, 1, lambda pixels, rng: shown.append(pixels.shape) or {"x": pixels[:, :1, :1]}, 0, print)
    for number in range(8):
        data[number]
    assert len(set(shown[:4])) == len(set(shown[4:])) == 4


def first_batches(data: PhotoFolder, first: int, rank: int, ranks: int, workers: int, count: int) -> list[torch.Tensor]:
    loader: Iterator[dict[str, torch.Tensor]] = batches(data, 4, first, rank, ranks, workers)
    return [batch["low"] for batch in islice(loader, count)]


def test_workers_do_not_change_the_batches(photos: Path) -> None:
    data = crops(photos)
    for alone, helped in zip(*(first_batches(data, 0, 0, 1, workers, 3) for workers in (0, 2)), strict=True):
        assert torch.equal(alone, helped)


def test_batches_can_be_taken_up_at_any_number(photos: Path) -> None:
    data = crops(photos)
    assert torch.equal(first_batches(data, 0, 0, 1, 0, 4)[3], first_batches(data, 3, 0, 1, 0, 1)[0])


def test_processes_share_a_batch_without_overlap(photos: Path) -> None:
    data = crops(photos)
    [whole], [left], [right] = (first_batches(data, 5, rank, ranks, 0, 1) for rank, ranks in [(0, 1), (0, 2), (1, 2)])
    assert torch.equal(whole, torch.cat([left, right]))


def test_a_bad_picture_is_named_and_left_out(photos: Path) -> None:
    (photos / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and nothing more")
    said: list[str] = []
    assert len(crops(photos, said).paths) == 4
    assert len(said) == 1
    assert "broken.png" in said[0]


def test_a_folder_of_pictures_that_are_too_small_says_so(photos: Path) -> None:
    with pytest.raises(UsageError, match="4 of 4 pictures .* cannot be used .*under 500 pixels"):
        crops(photos, size=500)


def test_an_empty_folder_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no images found in .*: looked for .*\.png"):
        list_pictures(tmp_path)


def test_another_picture_is_another_fingerprint(photos: Path) -> None:
    before = fingerprint(photos)
    assert fingerprint(photos) == before
    (photos / "0.png").rename(photos / "4.png")
    assert fingerprint(photos) != before
