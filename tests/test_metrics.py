"""Metrics against worked numbers, plain loops, and the published rows of bicubic interpolation."""

from __future__ import annotations

import subprocess
import sys
from math import inf, log10
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d

from gantool import metrics
from gantool.errors import InputError, UsageError
from gantool.images import read
from gantool.layers.resampling import imresize
from gantool.metrics import measure
from gantool.metrics.luma import luma, to_gray
from gantool.metrics.psnr import psnr
from gantool.metrics.psnr_y import psnr_y
from gantool.metrics.ssim import BAND_PIXELS, ssim
from gantool.metrics.ssim_y import ssim_y


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Return random bytes."""
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def of_pixels() -> list[str]:
    """Return the metrics of one picture that look through no weights."""
    return [name for name, metric in metrics.METRICS.items() if metric.kind in ("pair", "picture") and not metric.needs]


def synthetic_pair(which: int) -> tuple[Tensor, Tensor]:
    i, j = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    if which == 0:
        one = (37 * i + 53 * j + 11 * i * j) % 256
        return one[None, None], (one + (5 * i + 3 * j) % 17 - 8).clamp(0, 255)[None, None]
    one = 4 * i + 3 * j
    return one[None, None], (one + 5 * ((i + j) % 2))[None, None]


def ssim_by_loops(x: np.ndarray, y: np.ndarray) -> float:
    """Return the SSIM of two gray images by the definition: one window after the other."""
    d = np.arange(11) - 5
    window = np.exp(-(d[:, None] ** 2 + d[None] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    values = []
    for top in range(x.shape[0] - 10):
        for left in range(x.shape[1] - 10):
            a, b = (image[top : top + 11, left : left + 11].astype(np.float64) for image in (x, y))
            mean_a, mean_b = (window * a).sum(), (window * b).sum()
            var_a, var_b = (window * (a - mean_a) ** 2).sum(), (window * (b - mean_b) ** 2).sum()
            covariance = (window * (a - mean_a) * (b - mean_b)).sum()
            c1, c2 = 2.55**2, 7.65**2
            likeness = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
            values.append(likeness * (2 * covariance + c2) / (var_a + var_b + c2))
    return float(np.mean(values))


@pytest.mark.parametrize(
    ("color", "expected"),
    [
        ((0, 0, 0), 16),
        ((255, 255, 255), 235),
        ((255, 0, 0), 81.481),
        ((0, 255, 0), 144.553),
        ((0, 0, 255), 40.966),
        ((128, 64, 32), 84.266165),
        ((12, 200, 77), 127.446094),
    ],
)
def test_luma_is_that_of_matlab_unrounded(color: tuple[int, int, int], expected: float) -> None:
    value = luma(torch.tensor(color, dtype=torch.uint8).view(1, 3, 1, 1))
    assert value.dtype == torch.float64
    assert value.item() == pytest.approx(expected, abs=5e-7)


def test_a_gray_picture_is_its_own_luma() -> None:
    gray = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert luma(gray).equal(gray.double())


def test_equal_channels_turn_to_the_same_gray_and_colors_to_full_range_gray() -> None:
    gray = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert to_gray(gray.expand(1, 3, 16, 16)).equal(gray)
    # 0.299 R + 0.587 G + 0.114 B of (12, 200, 77) is 129.766
    assert to_gray(torch.tensor([12, 200, 77], dtype=torch.uint8).view(1, 3, 1, 1)).item() == 130


@pytest.mark.parametrize(("which", "decibels", "similarity"), [(0, 34.439660, 0.9976553934), (1, 37.161704, 0.9643329022)])
def test_the_two_synthetic_pairs_have_their_worked_numbers(which: int, decibels: float, similarity: float) -> None:
    one, other = synthetic_pair(which)
    assert psnr(one, other) == pytest.approx(decibels, abs=1e-6)
    assert ssim(one, other) == pytest.approx(similarity, abs=5e-11)


def test_psnr_takes_all_channels_together() -> None:
    reference = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    result = reference.clone()
    result[:, 0] = 30  # mean squared error 300 over the three channels; by channel it would be inf
    assert psnr(result, reference) == pytest.approx(10 * log10(255**2 / 300), abs=1e-12)


def test_identical_pictures_have_infinite_psnr_and_similarity_one() -> None:
    picture = noise(1, 3, 16, 16)
    assert psnr(picture, picture.clone()) == inf
    assert psnr_y(picture, picture.clone()) == inf
    assert ssim(picture, picture.clone()) == pytest.approx(1, abs=1e-12)


def test_psnr_y_is_not_that_of_full_range_luma() -> None:
    reference = noise(1, 3, 16, 16).clamp(max=254)
    result = reference + 1  # one level in each channel is 219 / 255 levels of luma
    assert psnr_y(result, reference) == pytest.approx(psnr(result, reference) + 20 * log10(255 / 219), abs=1e-9)
    assert psnr_y(result, reference) - psnr(result, reference) == pytest.approx(1.32, abs=0.005)


@pytest.mark.parametrize("metric", [(psnr_y, psnr), (ssim_y, ssim)])
def test_gray_pictures_are_measured_without_mapping_to_16_to_235(metric: tuple) -> None:
    of_luma, plain = metric
    one, other = noise(1, 1, 16, 16), noise(1, 1, 16, 16, seed=1)
    assert of_luma(one, other) == plain(one, other)


def test_ssim_is_the_mean_over_the_channels_of_what_plain_loops_say() -> None:
    one = noise(1, 3, 17, 23)
    other = (one.int() + noise(1, 3, 17, 23, seed=1) // 8).clamp(max=255).byte()
    expected = np.mean([ssim_by_loops(one[0, c].numpy(), other[0, c].numpy()) for c in range(3)])
    assert ssim(one, other) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("shape", [(300, 500), (11, 20_000), (2_000, 11)])
def test_ssim_in_bands_equals_that_of_the_whole_picture(shape: tuple[int, int]) -> None:
    one, other = noise(1, 1, *shape).double(), noise(1, 1, *shape, seed=1).double()
    d = torch.arange(11, dtype=torch.float64) - 5
    g = torch.exp(-(d**2) / 4.5)
    window = (g[:, None] * g / g.sum() ** 2)[None, None]
    ux, uy, xx, yy, xy = (conv2d(image, window) for image in (one, other, one**2, other**2, one * other))
    structure = (2 * (xy - ux * uy) + 58.5225) / (xx - ux**2 + yy - uy**2 + 58.5225)
    expected = ((2 * ux * uy + 6.5025) / (ux**2 + uy**2 + 6.5025) * structure).mean().item()
    assert shape != (300, 500) or shape[0] > 2 * (BAND_PIXELS // shape[1])  # several bands are at work
    assert ssim(one, other) == pytest.approx(expected, abs=1e-12)


def test_ssim_of_fewer_pixels_than_its_window_is_refused() -> None:
    with pytest.raises(InputError, match="40x10 pixels are too few for ssim"):
        ssim(noise(1, 1, 10, 40), noise(1, 1, 10, 40))


@pytest.mark.parametrize(("row", "column"), [(3, 20), (28, 20), (10, 3), (10, 36)])
def test_the_border_is_shaved_by_so_many_pixels_on_each_of_the_four_sides(row: int, column: int) -> None:
    reference = noise(3, 32, 40)
    result = reference.clone()
    result[:, row, column] ^= 255  # in the fourth row or column from an edge
    assert measure(result, reference, ["psnr", "psnr-y"], border=4) == {"psnr": inf, "psnr-y": inf}
    assert max(measure(result, reference, ["psnr", "psnr-y"], border=3).values()) < inf


def test_one_pixel_of_border_more_gives_another_number_on_a_picture_with_a_frame() -> None:
    reference = noise(3, 32, 32)
    result = reference.clone()
    result[:, 0], result[:, 1:] = 0, reference[:, 1:].clamp(max=254) + 1
    at = {border: measure(result, reference, ["psnr"], border)["psnr"] for border in (0, 1)}
    assert at[1] == pytest.approx(psnr(result[None, :, 1:-1, 1:-1], reference[None, :, 1:-1, 1:-1]), abs=1e-12)
    assert at[1] - at[0] > 10


def test_measure_gives_what_was_asked_for_in_that_order_and_leaves_its_arguments_alone() -> None:
    result, reference = noise(3, 24, 24), noise(3, 24, 24, seed=1)
    before = result.clone(), reference.clone()
    values = measure(result, reference, ["ssim-y", "psnr", "ssim", "psnr-y"], border=2)
    assert list(values) == ["ssim-y", "psnr", "ssim", "psnr-y"]
    one, other = result[None, :, 2:-2, 2:-2], reference[None, :, 2:-2, 2:-2]
    assert list(values.values()) == [ssim_y(one, other), psnr(one, other), ssim(one, other), psnr_y(one, other)]
    assert result.equal(before[0])
    assert reference.equal(before[1])


def test_a_gray_reference_makes_a_result_in_three_equal_channels_gray() -> None:
    result, reference = noise(1, 170, 180), noise(1, 170, 180, seed=1)
    asked = of_pixels()
    assert measure(result.expand(3, -1, -1), reference, asked, 0) == measure(result, reference, asked, 0)


def test_a_gray_result_for_a_reference_in_color_counts_as_three_equal_channels() -> None:
    result, reference = noise(1, 170, 180), noise(3, 170, 180, seed=1)
    asked = of_pixels()
    assert measure(result, reference, asked, 0) == measure(result.expand(3, -1, -1), reference, asked, 0)


def test_measure_refuses_other_sizes_and_a_border_that_leaves_nothing() -> None:
    with pytest.raises(InputError, match="24x20 pixels, the reference 20x24"):
        measure(noise(3, 20, 24), noise(3, 24, 20), ["psnr"], 0)
    with pytest.raises(InputError, match="of 24x8 pixels none is left after shaving 4"):
        measure(noise(3, 8, 24), noise(3, 8, 24), ["psnr"], 4)


def test_metrics_are_listed_and_checked_without_importing_torch() -> None:
    code = (
        "import sys, gantool.metrics.protocols as p; p.recipe('psnr-y, ssim-y', 'sr', 4, 'scale'); "
        "sys.exit(bool({'torch', 'numpy', 'PIL', 'cv2'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], timeout=60).returncode == 0


def test_every_metric_of_pixels_can_be_computed_and_knows_a_picture_from_itself() -> None:
    picture = noise(3, 170, 180)
    names = of_pixels()
    assert len(names) >= 10
    values = measure(picture, picture, names, 0)
    best = {"psnr": inf, "psnr-y": inf, "ssim": 1, "ssim-y": 1, "ms-ssim": 1, "mse": 0, "mse-y": 0, "hfen": 0, "delta-e": 0}
    assert {name: values[name] for name in best} == pytest.approx(best)
    alone = set(names) - set(best)
    assert {metrics.METRICS[name].kind for name in alone} == {"picture"}
    assert {name: metrics.bind(name, {})(picture[None], picture[None]) for name in alone} == {n: values[n] for n in alone}


def test_a_list_of_metrics_keeps_its_order_and_drops_repetitions() -> None:
    assert metrics.parse("ssim-y, psnr-y,ssim-y") == ("ssim-y", "psnr-y")


@pytest.mark.parametrize("text", ["", " , "])
def test_an_empty_list_of_metrics_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="there are psnr, psnr-y, mse, mse-y, ssim, ssim-y"):
        metrics.parse(text)


BICUBIC_ROWS = {2: 30.24, 3: 27.55, 4: 26.00}  # PSNR-Y of bicubic interpolation on Set14, as published


@pytest.mark.parametrize(("scale", "published"), BICUBIC_ROWS.items())
def test_the_published_bicubic_row_of_set14_comes_out_of_the_8_bit_files(shared: Path, scale: int, published: float) -> None:
    """Pipeline: low-resolution RGB file, 8-bit -> bicubic in RGB, rounded to 8 bits -> luma unrounded, border = scale."""
    values = []
    for path in sorted((shared / "data/set14/hr").glob("*.png")):
        reference = read(path).color
        low = read(shared / f"data/set14/lr_x{scale}/{path.stem}x{scale}.png").color
        high = (imresize(low[None].double(), float(scale))[0] + 0.5).floor().clamp(0, 255).byte()
        reference = reference[:, : high.shape[1], : high.shape[2]]
        values.append(measure(high, reference, ["psnr-y"], scale)["psnr-y"])
    assert len(values) == 14
    assert np.mean(values) == pytest.approx(published, abs=0.02)


@pytest.mark.parametrize(("scale", "published"), BICUBIC_ROWS.items())
def test_the_published_bicubic_row_of_set14_comes_out_of_its_own_pipeline(shared: Path, scale: int, published: float) -> None:
    """Pipeline: luma rounded -> cropped -> bicubic down and up again in floats -> rounded, border = scale."""
    values = []
    for path in sorted((shared / "data/set14/hr").glob("*.png")):
        y = (luma(read(path).color[None]) + 0.5).floor()
        y = y[..., : y.shape[2] // scale * scale, : y.shape[3] // scale * scale]
        high = (imresize(imresize(y, 1 / scale), float(scale)) + 0.5).floor().clamp(0, 255)
        values.append(measure(high[0].byte(), y[0].byte(), ["psnr-y"], scale)["psnr-y"])
    assert np.mean(values) == pytest.approx(published, abs=0.01)
