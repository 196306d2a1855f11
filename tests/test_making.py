"""Pairs made of plain photos: each input is damaged as its docstring says."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
import torch
from pictures import smooth
from PIL import Image
from torch import Tensor

from gantool.data import making
from gantool.data.making import HOLE, MAKERS

SEEDS = range(40)


def picture(height: int = 48, width: int = 40) -> Tensor:
    return torch.from_numpy(smooth(height, width)).permute(2, 0, 1).float() / 255


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("size", [(48, 40), (5, 7), (1, 1)])
def test_every_maker_keeps_the_shape_and_the_picture_itself(name: str, size: tuple[int, int]) -> None:
    image = picture(*size)
    before = image.clone()
    for seed in range(5):
        made = MAKERS[name].make(image, rng(seed))
        assert made.shape == image.shape
        assert made.dtype == torch.float32
        assert made.isfinite().all()
    assert torch.equal(image, before)


@pytest.mark.parametrize("name", MAKERS)
def test_the_same_generator_makes_the_same(name: str) -> None:
    first, second = (MAKERS[name].make(picture(), rng(3)) for _ in range(2))
    assert torch.equal(first, second)


def test_colorize_leaves_luma() -> None:
    made = making.colorize(torch.tensor([1.0, 0.0, 0.0]).view(3, 1, 1), rng())
    torch.testing.assert_close(made.flatten(), torch.full((3,), 0.299), atol=1e-4, rtol=0)


@pytest.mark.parametrize("seed", SEEDS)
def test_inpaint_covers_5_to_25_percent_and_changes_nothing_else(seed: int) -> None:
    image = picture(64, 64)
    made = making.inpaint(image, rng(seed))
    covered = (made == HOLE).all(0)
    assert 0.05 <= covered.float().mean().item() <= 0.25
    assert torch.equal(made[:, ~covered], image[:, ~covered])


def test_inpaint_covers_by_rectangles_and_by_strokes() -> None:
    masks = [(making.inpaint(torch.zeros(3, 64, 64), rng(seed))[0] > 0) for seed in SEEDS]
    boxes = [mask.any(1).sum() * mask.any(0).sum() for mask in masks]
    rectangles = sum(bool(mask.sum() == box) for mask, box in zip(masks, boxes, strict=True))
    assert 10 <= rectangles <= 30


def test_edges_are_black_outlines_on_white() -> None:
    image = torch.zeros(3, 40, 40)
    image[:, 10:30, 10:30] = 1
    made = making.edges(image, rng())
    black = made[0] == 0
    assert set(made.unique().tolist()) == {0.0, 1.0}
    assert 60 <= black.sum() <= 100
    assert not black[14:26, 14:26].any()
    assert not black[:7].any()


def test_deblur_spreads_light_without_losing_any() -> None:
    point = torch.zeros(3, 41, 41)
    point[:, 20, 20] = 1
    rows = torch.arange(41.0) - 20
    widths = []
    for seed in SEEDS:
        made = making.deblur(point, rng(seed))[0]
        assert made.sum().item() == pytest.approx(1, abs=1e-4)
        assert (made.sum(1) @ rows).item() == pytest.approx(0, abs=1e-3)
        variance = (made.sum(1) @ rows**2 + made.sum(0) @ rows**2).item()
        widths.append((variance / 2) ** 0.5)
    assert 0.4 < min(widths) < 1
    assert 2.5 < max(widths) < 3.2


def test_a_line_of_motion_has_its_length_and_angle() -> None:
    kernel = making._line(12, np.pi / 6)
    ys, xs = np.mgrid[: len(kernel), : len(kernel)] - len(kernel) // 2
    along = (kernel * (xs * np.cos(np.pi / 6) + ys * np.sin(np.pi / 6)) ** 2).sum()
    across = (kernel * (ys * np.cos(np.pi / 6) - xs * np.sin(np.pi / 6)) ** 2).sum()
    assert along == pytest.approx(12**2 / 12, rel=0.15)  # the variance of an even distribution
    assert across < 0.3


def test_denoise_adds_noise_of_5_to_25_levels_where_there_is_no_jpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "_ONLY_NOISE", 1.1)
    flat = torch.full((3, 40, 40), 0.5)
    sigmas = [(making.denoise(flat, rng(seed)) - flat).std().item() * 255 for seed in range(100)]
    noisy = [sigma for sigma in sigmas if sigma > 0]
    assert 4.8 < min(noisy) < 7
    assert 23 < max(noisy) < 25.8
    assert np.mean(noisy) == pytest.approx(15, abs=1.5)


def test_denoise_has_its_shares_of_noise_alone_and_jpeg_alone() -> None:
    flat = torch.full((3, 16, 16), 100 / 255)
    made = [making.denoise(flat, rng(seed)) * 255 for seed in range(400)]
    only_jpeg = sum(bool(m.max() - m.min() < 1e-3) for m in made)  # which keeps a flat picture flat
    only_noise = sum(bool((m - m.round()).abs().max() > 0.01) for m in made)  # which is not yet in levels
    assert only_jpeg / 400 == pytest.approx(0.15, abs=0.05)
    assert only_noise / 400 == pytest.approx(0.15, abs=0.05)


@pytest.mark.parametrize("quality", [20, 40, 60])
def test_jpeg_is_pillows_with_halved_chroma(quality: int) -> None:
    pixels, file = smooth(48, 64), BytesIO()
    Image.fromarray(pixels).save(file, "jpeg", quality=quality, subsampling=2)
    wanted = np.asarray(Image.open(file)).astype(int)
    found = making.jpeg(torch.from_numpy(pixels).permute(2, 0, 1).float() / 255, quality, 0, 0)
    assert np.abs((found * 255).round().permute(1, 2, 0).numpy().astype(int) - wanted).max() <= 2


def test_the_grid_of_blocks_lies_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    ramp = torch.linspace(0, 1, 64).expand(3, 64, 64)
    phases = set()
    for right in range(8):
        phases.add(phase_of_blocks(making.jpeg(ramp, 20, 0, right)))
    assert len(phases) == 8
    monkeypatch.setattr(making, "_ONLY_JPEG", 1)
    monkeypatch.setattr(making, "_ONLY_NOISE", 0)
    for turned in (False, True):
        image = ramp.transpose(1, 2) if turned else ramp
        made = [making.denoise(image, rng(seed)) for seed in range(60)]
        level = [one.transpose(1, 2) if turned else one for one in made]
        assert {phase_of_blocks(one) for one in level} == set(range(8))


def phase_of_blocks(ramp: Tensor) -> int:
    """Return at which column, of eight, what JPEG made of a ramp has its steps."""
    steps = ramp[0, 20].diff().abs()
    return max(range(8), key=lambda phase: steps[phase::8].mean().item())


def test_lowres_is_a_fourth_and_back() -> None:
    flat = torch.full((3, 30, 21), 0.4)
    torch.testing.assert_close(making.lowres(flat, rng()), flat, atol=0.5 / 255, rtol=0)
    fine = torch.zeros(3, 32, 32)
    fine[:, :, ::2] = 1  # finer than a fourth can hold
    assert (making.lowres(fine, rng())[:, 8:-8, 8:-8] - 0.5).abs().max() < 0.05


def test_shapes_stay_in_place() -> None:
    image = torch.zeros(3, 64, 64)
    image[:, 20:40, 24:48] = 1
    weights = torch.arange(64.0)
    for name in ("deblur", "denoise", "lowres"):
        for seed in range(6):
            made = MAKERS[name].make(image, rng(seed))[0].clamp(0.5, 1) - 0.5
            assert (made.sum(1) @ weights / made.sum()).item() == pytest.approx(29.5, abs=0.3), name
            assert (made.sum(0) @ weights / made.sum()).item() == pytest.approx(35.5, abs=0.3), name


def test_colours_stay_in_order() -> None:
    image = torch.tensor([0.9, 0.5, 0.1]).view(3, 1, 1).expand(3, 32, 32)
    for name in ("deblur", "denoise", "lowres"):
        torch.testing.assert_close(MAKERS[name].make(image, rng(1)).mean((1, 2)), image[:, 0, 0], atol=0.02, rtol=0)
