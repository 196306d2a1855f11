"""Pictures of any size as training images of one: sizes, places and colours against Pillow and numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import noise, smooth
from PIL import Image
from torch import Tensor

from gantool.data.framing import Cut, choose_cut, fitted, read_on_white, with_channels
from gantool.errors import InputError
from gantool.fitting import Fit
from gantool.layers.color import gray


def tensor(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1)


def test_stretched_pictures_are_pillows_bicubic() -> None:
    pixels = smooth(90, 60)
    wanted = np.asarray(Image.fromarray(pixels).resize((36, 36), Image.Resampling.BICUBIC)).astype(int)
    found = fitted(tensor(pixels), 32, Fit("stretch", 36 / 32), "x")
    assert np.abs(found.permute(1, 2, 0).numpy().astype(int) - wanted).max() <= 1


@pytest.mark.parametrize(
    ("fit", "shape"),
    [
        (Fit("stretch"), (32, 32)),
        (Fit("cover"), (32, 48)),
        (Fit("cover", 1.25), (40, 60)),
        (Fit("crop", 1.25), (60, 90)),
        (Fit("cover", middle=50), (32, 32)),
        (Fit("crop", middle=70), (60, 70)),
    ],
)
def test_the_fit_decides_what_is_cut_from(fit: Fit, shape: tuple[int, int]) -> None:
    assert fitted(tensor(smooth(60, 90)), 32, fit, "x").shape == (3, *shape)


def test_the_middle_is_the_middle() -> None:
    pixels = tensor(noise(60, 90, 3))
    assert torch.equal(fitted(pixels, 40, Fit("cover", middle=40), "x"), pixels[:, 10:50, 25:65])


def test_a_picture_smaller_than_what_is_cut_is_named() -> None:
    with pytest.raises(InputError, match="x is 90x60, training needs 64 pixels a side"):
        fitted(tensor(smooth(60, 90)), 64, Fit("crop"), "x")


def test_cuts_are_in_the_middle_or_anywhere() -> None:
    pixels, rng = torch.zeros(1, 12, 10), np.random.default_rng(0)
    assert choose_cut(pixels, 8, Fit(), rng) == Cut(2, 1, 8, False)
    cuts = {choose_cut(pixels, 8, Fit(random=True, flip=True), rng) for _ in range(500)}
    assert cuts == {Cut(top, left, 8, mirrored) for top in range(5) for left in range(3) for mirrored in (False, True)}


@pytest.mark.parametrize("margin", [0, 2, 5, 40])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_cut_with_a_margin_shows_what_is_around_and_mirrors_beyond(margin: int, mirrored: bool) -> None:
    pixels = noise(12, 10, 3)
    whole = np.pad(pixels, ((50, 50), (50, 50), (0, 0)), "reflect")
    wanted = whole[53 - margin : 61 + margin, 52 - margin : 60 + margin]
    found = Cut(3, 2, 8, mirrored).of(tensor(pixels), margin)
    assert torch.equal(found, tensor(wanted[:, ::-1].copy() if mirrored else wanted))


def test_a_single_row_can_be_mirrored() -> None:
    assert torch.equal(Cut(0, 0, 1, False).of(torch.full((1, 1, 1), 7), 3), torch.full((1, 7, 7), 7))


def test_gray_is_pillows_luma_and_keeps_black_and_white() -> None:
    pixels = noise(20, 20, 3)
    wanted = np.asarray(Image.fromarray(pixels).convert("L")).astype(int)
    assert np.abs(with_channels(tensor(pixels), 1)[0].numpy().astype(int) - wanted).max() <= 1
    torch.testing.assert_close(gray(torch.ones(2, 3, 1, 1)), torch.ones(2, 1, 1, 1))
    assert torch.equal(
        with_channels(torch.full((1, 2, 2), 9, dtype=torch.uint8), 3), torch.full((3, 2, 2), 9, dtype=torch.uint8)
    )


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_shows_white(tmp_path: Path, mode: str) -> None:
    picture = Image.fromarray(noise(9, 8, 4)).convert(mode)
    picture.save(tmp_path / "a.png")
    white = Image.new("RGBA", picture.size, "white")
    wanted = np.asarray(Image.alpha_composite(white, picture.convert("RGBA")).convert("RGB")).astype(int)
    found = read_on_white(tmp_path / "a.png").expand(3, -1, -1).permute(1, 2, 0).numpy().astype(int)
    assert np.abs(found - wanted).max() <= 1
