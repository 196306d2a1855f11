"""Metrics of pixels against scikit-image, torchmetrics, published pairs and closed forms; and where conventions differ."""

from __future__ import annotations

from math import inf, log10

import numpy as np
import pytest
import torch
from skimage.color import deltaE_ciede2000, rgb2lab
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity
from torch import Tensor
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    structural_similarity_index_measure,
)
from torchmetrics.functional.image import peak_signal_noise_ratio as torchmetrics_psnr

from gantool.errors import InputError
from gantool.layers.color import lab
from gantool.metrics.colorfulness import colorfulness
from gantool.metrics.delta_e import BAND_PIXELS, ciede2000, delta_e
from gantool.metrics.hfen import hfen, kernel
from gantool.metrics.luma import luma
from gantool.metrics.ms_ssim import WEIGHTS, ms_ssim
from gantool.metrics.mse import mse
from gantool.metrics.mse_y import mse_y
from gantool.metrics.psnr import psnr
from gantool.metrics.psnr_y import psnr_y
from gantool.metrics.ssim import ssim
from gantool.metrics.ssim_y import ssim_y


def scene(height: int, width: int, channels: int = 3, seed: int = 0) -> Tensor:
    """Return a picture (1, C, H, W) uint8 with smooth parts, edges and grain."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, channels, height // 16 + 2, width // 16 + 2, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic") * 200
    edges = (smooth[:, :1] > 100) * 30
    return (smooth + edges + 10 * torch.randn(1, channels, height, width, generator=generator)).clamp(0, 255).byte()


def spoilt(picture: Tensor, sigma: float = 12, seed: int = 1) -> Tensor:
    """Return the picture with noise, a little darker."""
    errors = sigma * torch.randn(picture.shape, generator=torch.Generator().manual_seed(seed))
    return (picture * 0.95 + errors).clamp(0, 255).byte()


def pixels(picture: Tensor) -> np.ndarray:
    """Return the picture as scikit-image has it, (H, W, C)."""
    return picture[0].permute(1, 2, 0).numpy()


# Wang's own SSIM, by scikit-image's options.
AUTHORS = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}


@pytest.mark.parametrize(("height", "width"), [(40, 61), (11, 11), (173, 90), (18, 19), (12, 300)])
def test_ssim_is_that_of_scikit_image_with_the_options_of_the_authors(height: int, width: int) -> None:
    reference = scene(height, width)
    result = spoilt(reference)
    expected = structural_similarity(pixels(result).astype(float), pixels(reference).astype(float), channel_axis=2, **AUTHORS)
    assert ssim(result, reference) == pytest.approx(expected, abs=1e-12)


def test_numbers_of_the_luma_are_those_of_scikit_image_on_the_same_luma() -> None:
    reference = scene(97, 131)
    result = spoilt(reference)
    x, y = (luma(each)[0, 0].numpy() for each in (result, reference))
    assert ssim_y(result, reference) == pytest.approx(structural_similarity(x, y, **AUTHORS), abs=1e-12)
    assert psnr_y(result, reference) == pytest.approx(peak_signal_noise_ratio(y, x, data_range=255), abs=1e-9)
    assert mse_y(result, reference) == pytest.approx(mean_squared_error(x, y), rel=1e-12)
    rounded = [np.floor(each + 0.5) for each in (x, y)]
    assert mse_y(result, reference, rounded=True) == pytest.approx(mean_squared_error(*rounded), rel=1e-12)


def test_psnr_and_mse_of_color_are_those_of_scikit_image_and_torchmetrics() -> None:
    reference = scene(50, 70)
    result = spoilt(reference)
    assert mse(result, reference) == pytest.approx(mean_squared_error(pixels(result), pixels(reference)), rel=1e-12)
    assert psnr(result, reference) == pytest.approx(peak_signal_noise_ratio(pixels(reference), pixels(result)), abs=1e-9)
    theirs = torchmetrics_psnr(result.double(), reference.double(), data_range=255.0).item()
    assert psnr(result, reference) == pytest.approx(theirs, abs=1e-6)


def test_mse_counts_levels_squared() -> None:
    reference = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    result = reference.clone()
    result[:, 0] = 30
    assert mse(result, reference) == 300
    assert psnr(result, reference) == pytest.approx(10 * log10(255**2 / 300), abs=1e-12)


def test_the_layout_of_a_picture_in_memory_changes_no_number() -> None:
    reference = scene(176, 208)
    result = spoilt(reference)
    beside = [each.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2) for each in (result, reference)]
    for metric in (psnr_y, ssim_y, ssim, ms_ssim, hfen, delta_e):
        assert metric(*beside) == pytest.approx(metric(result, reference), rel=1e-12)
    batch = torch.cat([result, reference.flip(3)]), torch.cat([reference, result.flip(3)])
    for metric in (mse_y, ssim_y, ssim, ms_ssim, delta_e):  # both halves are the same two pictures
        assert metric(*batch) == pytest.approx(metric(result, reference), rel=1e-9)


def test_metrics_leave_their_arguments_alone() -> None:
    reference = luma(scene(170, 200))
    result = luma(spoilt(scene(170, 200)))
    before = result.clone(), reference.clone()
    for metric in (mse, ssim, ms_ssim, hfen, delta_e):
        metric(result, reference)
    assert result.equal(before[0])
    assert reference.equal(before[1])


# MS-SSIM


def ms_ssim_by_torchmetrics(x: Tensor, y: Tensor) -> float:
    """Return the MS-SSIM of gray images of which each scale but the last has even sides, out of torchmetrics' parts."""
    x, y, value = x.double(), y.double(), 1.0
    for weight in WEIGHTS[:-1]:
        _, structure = structural_similarity_index_measure(x, y, data_range=255.0, return_contrast_sensitivity=True)
        value *= structure.item() ** weight
        x, y = (torch.nn.functional.avg_pool2d(each, 2) for each in (x, y))
    _, full = structural_similarity_index_measure(x, y, data_range=255.0, return_full_image=True)
    return float(value * full[..., 5:-5, 5:-5].mean().item() ** WEIGHTS[-1])


@pytest.mark.parametrize(("height", "width"), [(176, 192), (176, 400)])
def test_ms_ssim_is_made_of_the_parts_of_torchmetrics_where_the_window_fits(height: int, width: int) -> None:
    reference = scene(height, width, 1)
    result = spoilt(reference)
    assert ms_ssim(result, reference) == pytest.approx(ms_ssim_by_torchmetrics(result, reference), abs=1e-10)


def test_ms_ssim_is_the_mean_of_what_each_channel_gives() -> None:
    reference = scene(176, 192)
    result = spoilt(reference)
    channels = [ms_ssim(result[:, c : c + 1], reference[:, c : c + 1]) for c in range(3)]
    assert ms_ssim(result, reference) == pytest.approx(np.mean(channels), abs=1e-12)


def test_an_odd_last_row_or_column_is_its_own_partner_on_the_way_to_the_next_scale() -> None:
    reference = scene(175, 161, 1)
    result = spoilt(reference)
    one, other = (torch.nn.functional.pad(each.double(), (0, 15, 0, 1), mode="replicate") for each in (result, reference))
    # repeated up to a multiple of 16, only what is beyond the windows of the first scales changes: compare by scales
    value, x, y = 1.0, result.double(), reference.double()
    for weight in WEIGHTS[:-1]:
        _, structure = structural_similarity_index_measure(x, y, data_range=255.0, return_contrast_sensitivity=True)
        value *= structure.item() ** weight
        one, other = (torch.nn.functional.avg_pool2d(each, 2) for each in (one, other))
        height, width = -(-x.shape[2] // 2), -(-x.shape[3] // 2)
        x, y = one[..., :height, :width], other[..., :height, :width]
    _, full = structural_similarity_index_measure(x, y, data_range=255.0, return_full_image=True)
    value *= full[..., 5:-5, 5:-5].mean().item() ** WEIGHTS[-1]
    assert tuple(x.shape[2:]) == (11, 11)
    assert ms_ssim(result, reference) == pytest.approx(value, abs=1e-10)


def test_ms_ssim_of_pictures_that_are_unlike_is_zero_and_no_nan() -> None:
    reference = scene(170, 170, 1)
    assert ms_ssim(255 - reference, reference) == 0


def test_ms_ssim_needs_161_pixels_a_side() -> None:
    assert 0 < ms_ssim(spoilt(scene(161, 161, 1)), scene(161, 161, 1)) < 1
    with pytest.raises(InputError, match="300x160 pixels are too few for ms-ssim, which needs 161 a side: use ssim"):
        ms_ssim(scene(160, 300), scene(160, 300))


# HFEN


def test_the_filter_of_hfen_has_the_worked_numbers_and_no_sum() -> None:
    row = [0.00850939, -0.00287209, -0.03915891, -0.06287603, -0.03915891, -0.00287209, 0.00850939]
    assert kernel().shape == (15, 15)
    assert kernel()[7, 4:11] == pytest.approx(row, abs=5e-9)
    assert kernel().sum() == pytest.approx(0, abs=1e-15)
    assert kernel() == pytest.approx(kernel().T, abs=0)


def test_hfen_is_the_ratio_of_norms_of_what_plain_convolution_gives() -> None:
    reference = scene(40, 57)
    result = spoilt(reference)
    x, y = luma(result), luma(reference)
    weight = torch.from_numpy(kernel())[None, None]
    fx, fy = (torch.nn.functional.conv2d(each, weight) for each in (x, y))
    assert hfen(result, reference) == pytest.approx(((fx - fy).norm() / fy.norm()).item(), rel=1e-10)
    fx, fy = (torch.nn.functional.conv2d((each + 0.5).floor(), weight) for each in (x, y))
    assert hfen(result, reference, rounded=True) == pytest.approx(((fx - fy).norm() / fy.norm()).item(), rel=1e-10)


def test_hfen_does_not_see_brightness_and_is_one_for_a_flat_result() -> None:
    reference = scene(40, 50, 1).clamp(20, 200)
    assert hfen(reference + 17, reference) == 0
    assert hfen(torch.full_like(reference, 99), reference) == pytest.approx(1, abs=1e-12)
    half = reference.double() / 2
    assert hfen(half, reference.double()) == pytest.approx(0.5, abs=1e-12)


def test_hfen_of_a_reference_without_detail_is_zero_or_infinite() -> None:
    flat = torch.full((1, 3, 30, 30), 77, dtype=torch.uint8)
    assert hfen(flat, flat) == 0
    assert hfen(flat + 5, flat) == 0
    i, j = torch.meshgrid(torch.arange(30), torch.arange(30), indexing="ij")
    ramp = (3 * i + 2 * j).byte().expand(1, 3, 30, 30)
    assert hfen(ramp, ramp) == 0
    dot = flat.clone()
    dot[..., 15, 15] += 1  # the least there is to see
    assert hfen(dot, flat) == inf
    assert hfen(dot, ramp) == inf
    assert hfen(flat, dot) == pytest.approx(1, abs=1e-9)


def test_hfen_of_fewer_pixels_than_its_filter_is_refused() -> None:
    with pytest.raises(InputError, match="40x14 pixels are too few for hfen, whose filter has 15x15"):
        hfen(scene(14, 40), scene(14, 40))


# Colour. The table of Sharma, Wu, Dalal: L*, a*, b* twice and the difference.

SHARMA = """
50.0000 2.6772 -79.7751 50.0000 0.0000 -82.7485 2.0425
50.0000 3.1571 -77.2803 50.0000 0.0000 -82.7485 2.8615
50.0000 2.8361 -74.0200 50.0000 0.0000 -82.7485 3.4412
50.0000 -1.3802 -84.2814 50.0000 0.0000 -82.7485 1.0000
50.0000 -1.1848 -84.8006 50.0000 0.0000 -82.7485 1.0000
50.0000 -0.9009 -85.5211 50.0000 0.0000 -82.7485 1.0000
50.0000 0.0000 0.0000 50.0000 -1.0000 2.0000 2.3669
50.0000 -1.0000 2.0000 50.0000 0.0000 0.0000 2.3669
50.0000 2.4900 -0.0010 50.0000 -2.4900 0.0009 7.1792
50.0000 2.4900 -0.0010 50.0000 -2.4900 0.0010 7.1792
50.0000 2.4900 -0.0010 50.0000 -2.4900 0.0011 7.2195
50.0000 2.4900 -0.0010 50.0000 -2.4900 0.0012 7.2195
50.0000 -0.0010 2.4900 50.0000 0.0009 -2.4900 4.8045
50.0000 -0.0010 2.4900 50.0000 0.0010 -2.4900 4.8045
50.0000 -0.0010 2.4900 50.0000 0.0011 -2.4900 4.7461
50.0000 2.5000 0.0000 50.0000 0.0000 -2.5000 4.3065
50.0000 2.5000 0.0000 73.0000 25.0000 -18.0000 27.1492
50.0000 2.5000 0.0000 61.0000 -5.0000 29.0000 22.8977
50.0000 2.5000 0.0000 56.0000 -27.0000 -3.0000 31.9030
50.0000 2.5000 0.0000 58.0000 24.0000 15.0000 19.4535
50.0000 2.5000 0.0000 50.0000 3.1736 0.5854 1.0000
50.0000 2.5000 0.0000 50.0000 3.2972 0.0000 1.0000
50.0000 2.5000 0.0000 50.0000 1.8634 0.5757 1.0000
50.0000 2.5000 0.0000 50.0000 3.2592 0.3350 1.0000
60.2574 -34.0099 36.2677 60.4626 -34.1751 39.4387 1.2644
63.0109 -31.0961 -5.8663 62.8187 -29.7946 -4.0864 1.2630
61.2901 3.7196 -5.3901 61.4292 2.2480 -4.9620 1.8731
35.0831 -44.1164 3.7933 35.0232 -40.0716 1.5901 1.8645
22.7233 20.0904 -46.6940 23.0331 14.9730 -42.5619 2.0373
36.4612 47.8580 18.3852 36.2715 50.5065 21.2231 1.4146
90.8027 -2.0831 1.4410 91.1528 -1.6435 0.0447 1.4441
90.9257 -0.5406 -0.9208 88.6381 -0.8985 -0.7239 1.5381
6.7747 -0.2908 -2.4247 5.8714 -0.0985 -2.2286 0.6377
2.0776 0.0795 -1.1350 0.9033 -0.0636 -0.5514 0.9082
"""


def test_ciede2000_has_the_published_differences_both_ways_round() -> None:
    table = torch.tensor([[float(number) for number in line.split()] for line in SHARMA.split("\n") if line]).double()
    assert len(table) == 34
    one, other = table[:, :3, None, None], table[:, 3:6, None, None]
    assert ciede2000(one, other).flatten().numpy() == pytest.approx(table[:, 6].numpy(), abs=6e-5)
    assert ciede2000(other, one).flatten().numpy() == pytest.approx(table[:, 6].numpy(), abs=6e-5)


def test_ciede2000_is_that_of_scikit_image() -> None:
    rng = np.random.default_rng(0)
    one = rng.uniform([0, -100, -100], [100, 100, 100], (100, 100, 3))
    other = one + rng.normal(0, 15, one.shape)
    one[0], other[1, :, 1:] = [50, 0, 0], 0  # gray has no hue
    ours = ciede2000(*(torch.from_numpy(each).permute(2, 0, 1)[None] for each in (one, other)))
    assert ours[0].numpy() == pytest.approx(deltaE_ciede2000(one, other), abs=1e-11)


def test_lab_is_that_of_scikit_image_but_for_decimals_of_the_matrix() -> None:
    picture = scene(30, 40)
    assert pixels(lab(picture.double() / 255)) == pytest.approx(rgb2lab(pixels(picture)), abs=0.02)


def test_gray_has_no_color_in_lab_and_white_is_100() -> None:
    gray = torch.arange(256, dtype=torch.float64).view(1, 1, 16, 16).expand(1, 3, 16, 16) / 255
    lightness, a, b = lab(gray)[0]
    assert max(a.abs().max().item(), b.abs().max().item()) < 1e-12
    assert lightness[-1, -1].item() == pytest.approx(100, abs=1e-12)
    assert lightness[0, 0].item() == pytest.approx(0, abs=1e-12)
    assert lightness.flatten()[119].item() == pytest.approx(50.03, abs=0.005)  # a published value: 119 is the middle gray


def test_delta_e_of_pictures_is_the_mean_over_all_pixels_band_by_band() -> None:
    reference = scene(500, 300)
    result = spoilt(reference)
    assert reference[0, 0].numel() > 2 * BAND_PIXELS
    assert delta_e(result, reference) == pytest.approx(
        deltaE_ciede2000(rgb2lab(pixels(reference)), rgb2lab(pixels(result))).mean(), abs=2e-3
    )
    assert delta_e(reference, reference.clone()) == 0
    black, white = torch.zeros(1, 1, 5, 5, dtype=torch.uint8), torch.full((1, 1, 5, 5), 255, dtype=torch.uint8)
    assert delta_e(white, black) == pytest.approx(100, abs=1e-9)


def test_colorfulness_is_that_of_plain_numpy_and_none_for_gray() -> None:
    picture = scene(30, 40)
    r, g, b = pixels(picture).astype(float).transpose(2, 0, 1)
    rg, yb = r - g, (r + g) / 2 - b
    expected = np.hypot(rg.std(), yb.std()) + 0.3 * np.hypot(rg.mean(), yb.mean())
    assert colorfulness(picture) == pytest.approx(expected, abs=1e-9)
    assert colorfulness(picture[:, :1]) == colorfulness(picture[:, :1].expand(-1, 3, -1, -1)) == 0
    red = torch.tensor([255, 0, 0], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    assert colorfulness(red) == pytest.approx(0.3 * np.hypot(255, 127.5), abs=1e-9)  # no spread


# Where other libraries' defaults give other numbers.


def test_ssim_by_the_defaults_of_scikit_image_is_another_number() -> None:
    """Theirs has a uniform window of 7x7 and variances with n - 1: by these in plain loops, it is theirs; it is not Wang's."""
    reference = scene(31, 37, 1)
    result = spoilt(reference)
    x, y = (each[0, 0].double().numpy() for each in (result, reference))
    windows = [np.lib.stride_tricks.sliding_window_view(each, (7, 7)).reshape(-1, 49) for each in (x, y)]
    means = [each.mean(1) for each in windows]
    variances = [each.var(1, ddof=1) for each in windows]
    covariance = ((windows[0] - means[0][:, None]) * (windows[1] - means[1][:, None])).sum(1) / 48
    c1, c2 = 2.55**2, 7.65**2
    value = (2 * means[0] * means[1] + c1) / (means[0] ** 2 + means[1] ** 2 + c1)
    value *= (2 * covariance + c2) / (variances[0] + variances[1] + c2)
    theirs = structural_similarity(x, y, data_range=255)
    assert theirs == pytest.approx(value.mean(), abs=1e-12)
    assert abs(theirs - ssim(result, reference)) > 1e-3


def test_ssim_by_torchmetrics_counts_mirrored_pixels_beyond_the_borders() -> None:
    reference = scene(31, 37, 1)
    result = spoilt(reference)
    theirs, full = structural_similarity_index_measure(
        result.double(), reference.double(), data_range=255.0, return_full_image=True
    )
    assert full[..., 5:-5, 5:-5].mean().item() == pytest.approx(ssim(result, reference), abs=1e-12)
    assert abs(theirs.item() - ssim(result, reference)) > 1e-4


def test_ms_ssim_by_torchmetrics_is_another_number_too() -> None:
    """Mirrored pixels count in its last scale, channels are mixed before the powers, and odd last rows are dropped."""
    reference = scene(176, 192)
    result = spoilt(reference, 40)
    theirs = multiscale_structural_similarity_index_measure(result.double(), reference.double(), data_range=255.0).item()
    assert 1e-5 < abs(theirs - ms_ssim(result, reference)) < 0.02
