"""Faults of results that numbers alone do not show: found where they are, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from gantool.evaluation.findings import findings
from gantool.images import read
from gantool.layers.resampling import imresize

PHOTO = Path(__file__).parent / "data/parrots.png"
LIMITED = "its levels look as if they span 16 to 235, video's limited range"
STRETCHED = "its levels look stretched, as if they had spanned 16 to 235"


@pytest.fixture(scope="module")
def photo() -> Tensor:
    """A photo (3, 256, 320)."""
    return imresize(read(PHOTO).color[None], 4.0)[0]


def enlarged(reference: Tensor) -> Tensor:
    """What bicubic interpolation makes of a quarter of the picture: far from the reference, but where it should be."""
    return imresize(imresize(reference[None], 0.25), 4.0)[0]


def levels(image: Tensor) -> Tensor:
    return image.round().clamp(0, 255).byte()


def test_nothing_is_found_in_an_honest_result_or_an_identical_one(photo: Tensor) -> None:
    assert findings(enlarged(photo), photo) == ()
    assert findings(photo, photo) == ()


@pytest.mark.parametrize(
    ("shift", "words"),
    [
        ((0, 1), "1 px right"),
        ((0, -1), "1 px left"),
        ((1, 0), "1 px down"),
        ((-1, 0), "1 px up"),
        ((2, -3), "2 px down and 3 px left"),
    ],
)
def test_a_result_that_is_moved_says_which_way(photo: Tensor, shift: tuple[int, int], words: str) -> None:
    assert findings(enlarged(photo).roll(shift, (1, 2)), photo) == (f"it is moved {words} against the reference",)


@pytest.mark.parametrize("gray", [False, True])
def test_a_limited_range_and_a_stretched_one_are_told_apart(photo: Tensor, gray: bool) -> None:
    reference = photo[:1] if gray else photo
    result = enlarged(reference).float()
    assert findings(levels(result * 219 / 255 + 16), reference) == (LIMITED,)
    assert findings(levels((result - 16) * 255 / 219), reference) == (STRETCHED,)


def test_swapped_channels_are_found(photo: Tensor) -> None:
    assert findings(enlarged(photo).flip(0), photo) == ("its red and blue are swapped",)


def test_noise_brightness_and_softness_are_no_such_faults(photo: Tensor) -> None:
    noise = 25 * torch.randn(photo.shape, generator=torch.Generator().manual_seed(0))
    assert findings(levels(photo + noise), photo) == ()
    assert findings(levels(photo.float() + 12), photo) == ()
    for gain in (0.8, 0.85, 0.9, 1.1, 1.15):
        assert findings(levels(gain * (photo.float() - 128) + 128), photo) == ()
    assert findings(levels(0.85 * photo.float() + 14), photo) == ()
    assert findings(torch.zeros_like(photo), photo) == ()


def test_pictures_too_small_to_tell_say_nothing() -> None:
    picture = torch.arange(20, dtype=torch.uint8).mul(12).expand(3, 20, 20)
    assert findings(picture.roll(1, 2), picture) == ()
