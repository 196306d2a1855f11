"""Degradations: kernels against published numbers, steps against closed forms, mixtures by what must hold for every draw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import log2, pi

import cv2
import numpy as np
import pytest
import torch
from pictures import smooth
from torch import Tensor

from gantool.data.transforms import Bicubic
from gantool.degradations import BSRGAN, Jpeg, Order, SecondOrder, SensorNoise, Unknown, add_noise, jpeg, usm_sharpen
from gantool.degradations import kernels as k
from gantool.degradations import operations as op
from gantool.degradations.bsrgan import _order
from gantool.degradations.second_order import FIRST, SECOND
from gantool.degradations.sharpening import TAPS, _matrix
from gantool.errors import UsageError
from gantool.fitting import Degradation
from gantool.layers.resampling import imresize

ALL: list[Callable[[int], Degradation]] = [SecondOrder, BSRGAN, SensorNoise, Jpeg, Unknown]
SILENT = Order(gaussian=1, noise=(0, 0))
CLEAN = replace(SILENT, blur=0, resize=(0, 0, 1))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def picture(height: int = 96, width: int = 80) -> Tensor:
    return torch.from_numpy(smooth(height, width)).permute(2, 0, 1).contiguous()


def soft(height: int = 96, width: int = 84) -> Tensor:
    """A picture of little colour and no detail, that JPEG and any interpolation leave nearly as it is."""
    rows, columns = np.mgrid[:height, :width]
    wave = 128 + 50 * np.sin(rows / 16) + 40 * np.cos(columns / 14)
    image = np.stack([wave + 10, wave, wave - 12 + 8 * np.sin(columns / 25)])
    return torch.from_numpy(image.round().astype(np.uint8))


def flat(level: int, side: int = 48) -> Tensor:
    return torch.full((3, side, side), level, dtype=torch.uint8)


def quiet(scale: int = 1, **changes: object) -> SecondOrder:
    """A degradation that does nothing but get smaller and what is given."""
    clean = SecondOrder(scale, 0, CLEAN, (100, 100), CLEAN, 0, last_jpeg=(100, 100))
    return replace(clean, **changes)  # type: ignore[arg-type]


def worst(one: Tensor, other: Tensor) -> int:
    return int((one.int() - other.int()).abs().max())


# --- kernels -----------------------------------------------------------------------------------------------------------

TILTED = ((2.0, 1.0), pi / 6)


@pytest.mark.parametrize(
    ("kernel", "wanted"),
    [
        (k.sinc(7, pi / 2), [-0.02818244, 0.04271754, 0.17014777, 0.23575877]),
        (k.gaussian(7, (1.5, 1.5)), [0.00991586, 0.03012171, 0.05866909, 0.07326883]),
        (k.gaussian(7, *TILTED), [0.01173855, 0.03504484, 0.06755069, 0.08406819]),
        (k.generalised(7, *TILTED, 0.5), [0.0189738, 0.02641093, 0.03676319, 0.0511732]),
        (k.plateau(7, *TILTED, 2), [0.00680618, 0.02765012, 0.09428239, 0.11232863]),
    ],
    ids=["sinc", "isotropic", "anisotropic", "generalised", "plateau"],
)
def test_the_middle_row_of_kernels_is_the_reference_codes(kernel: k.Kernel, wanted: list[float]) -> None:
    np.testing.assert_allclose(kernel[3], [*wanted, *wanted[2::-1]], atol=5e-9)
    assert kernel.sum() == pytest.approx(1)
    np.testing.assert_array_equal(kernel, kernel[::-1, ::-1])


def test_a_gaussian_has_the_variances_and_the_tilt_that_it_is_told() -> None:
    kernel = k.gaussian(41, *TILTED)
    down, right = np.mgrid[-20:21, -20:21]
    assert (kernel * right**2).sum() == pytest.approx(4 * 0.75 + 1 * 0.25, rel=1e-3)
    assert (kernel * down**2).sum() == pytest.approx(4 * 0.25 + 1 * 0.75, rel=1e-3)
    assert (kernel * down * right).sum() == pytest.approx((4 - 1) * 0.75**0.5 / 2, rel=1e-3)


def test_a_shifted_gaussian_has_its_middle_there() -> None:
    kernel = k.gaussian(25, (1.2, 1.2), shift=1.5)
    down, right = np.mgrid[-12:13, -12:13]
    assert ((kernel * down).sum(), (kernel * right).sum()) == (pytest.approx(1.5), pytest.approx(1.5))


def test_a_sinc_filter_passes_waves_below_its_cutoff_and_stops_those_above() -> None:
    kernel = k.sinc(51, pi / 2)
    places = np.arange(51) - 25

    def response(frequency: float) -> float:
        return float((kernel * np.cos(frequency * places)).sum())

    assert response(pi / 4) == pytest.approx(1, abs=0.15)
    assert response(3 * pi / 4) == pytest.approx(0, abs=0.15)


def test_other_forms_with_beta_1_are_what_their_formulas_say() -> None:
    np.testing.assert_allclose(k.generalised(9, *TILTED, 1), k.gaussian(9, *TILTED))
    narrow = k.plateau(9, (1, 1), 0, 1)  # 1 / (1 + r^2)
    assert narrow[4, 4] / narrow[4, 6] == pytest.approx(1 + 2**2)


# --- sharpening --------------------------------------------------------------------------------------------------------


def sharpened_by_opencv(image: np.ndarray, weight: float) -> np.ndarray:
    def blurred(of: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(of, (51, 51), 0, borderType=cv2.BORDER_REFLECT_101)

    residual = image - blurred(image)
    mask = blurred((np.abs(residual) * 255 > 10).astype(np.float32))
    return mask * np.clip(image + weight * residual, 0, 1) + (1 - mask) * image


@pytest.mark.parametrize("size", [(64, 64), (64, 90), (20, 27), (7, 3), (1, 5), (1, 1)])
def test_sharpening_is_the_reference_codes_at_any_size(size: tuple[int, int]) -> None:
    array = rng().random((*size, 3), np.float32)
    wanted = sharpened_by_opencv(array, 0.5)
    found = usm_sharpen(op.tensor(array)[None])[0]
    np.testing.assert_allclose(op.array(found), wanted, atol=2e-6)
    if min(size) > 1:
        assert np.abs(wanted - array).max() > 0.05


def test_the_middle_of_the_sharpening_blur_is_the_published_weight() -> None:
    assert _matrix(101)[50, 50] == pytest.approx(0.0499389, abs=5e-8)
    assert np.count_nonzero(_matrix(101)[50]) == TAPS
    np.testing.assert_allclose(_matrix(33).sum(1), 1, rtol=1e-6)


def test_sharpening_leaves_faint_detail_and_steepens_edges() -> None:
    faint = (100 + torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 8) / 255
    torch.testing.assert_close(usm_sharpen(faint), faint)
    edge = torch.full((1, 3, 64, 64), 0.3)
    edge[..., 32:] = 0.7
    sharp = usm_sharpen(edge)
    assert sharp[0, 0, 32, 31] < 0.25
    assert sharp[0, 0, 32, 32] > 0.75


def test_sharpening_keeps_float32_under_autocast() -> None:
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    wanted = usm_sharpen(images)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(usm_sharpen(images), wanted, atol=0, rtol=0)


# --- noise, JPEG, resizing ---------------------------------------------------------------------------------------------


def test_added_noise_has_its_strength_and_no_mean() -> None:
    image = torch.full((3, 200, 200), 0.5)
    added = (add_noise(image, 8, rng()) - image) * 255
    assert added.mean().item() == pytest.approx(0, abs=0.1)
    assert added.std().item() == pytest.approx(8, rel=0.02)
    assert np.corrcoef(added.flatten(1).numpy())[0, 1] == pytest.approx(0, abs=0.03)
    assert add_noise(torch.ones(3, 8, 8), 8, rng()).max() > 1  # nothing is cut off


@pytest.mark.parametrize("gray", [False, True])
def test_gaussian_noise_has_its_strength_in_all_channels_alike_or_not(gray: bool) -> None:
    image = np.full((200, 200, 3), 0.5, np.float32)
    added = (op.gaussian_noise(image, 20, gray, rng()) - image) * 255
    assert added.mean() == pytest.approx(0, abs=0.3)
    assert added.std() == pytest.approx(20, rel=0.02)
    assert bool(np.ptp(added, axis=2).max() < 1e-3) == gray


@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize("levels", [200, 65, 16])
def test_poisson_noise_grows_with_the_root_of_light_and_with_the_number_of_levels(levels: int, gray: bool) -> None:
    row = (100 + np.arange(240) % levels % 150).astype(np.uint8)  # 150, 65 and 16 levels
    image = np.broadcast_to(row[None, :, None], (300, 240, 3)).astype(np.float32) / 255
    count = 2 ** np.ceil(log2(len(np.unique(row))))
    added = op.poisson_noise(image, 0.4, gray, rng()) - image
    assert added.mean() == pytest.approx(0, abs=5e-3)
    standardised = added / np.sqrt(image / count) / 0.4
    assert standardised.std() == pytest.approx(1, abs=0.02)
    assert bool(np.ptp(added, axis=2).max() < 1e-5) == gray


def test_a_saved_image_has_the_grid_of_blocks_anywhere_and_the_quality_drawn() -> None:
    ramp = np.broadcast_to(np.linspace(0, 1, 64, dtype=np.float32)[:, None, None], (64, 64, 3)).copy()
    jumps = []
    for seed in range(40):
        steps = np.abs(np.diff(op.save_as_jpeg(ramp, (10, 10), rng(seed))[:, 32, 1]))
        jumps.append(int(np.argmax([steps[8 + phase : 56 : 8].sum() for phase in range(8)])))
    assert set(jumps) == set(range(8))
    drawn = rng(5)
    quality, (down, right) = int(drawn.integers(30, 96)), drawn.integers(16, size=2)
    wanted = jpeg(op.tensor(ramp), quality, int(down), int(right))
    torch.testing.assert_close(op.tensor(op.save_as_jpeg(ramp, (30, 95), rng(5))), wanted)


def test_jpeg_is_coarser_at_lower_qualities() -> None:
    image = picture().float() / 255
    errors = [(jpeg(image, quality) - image).square().mean().item() for quality in (5, 30, 60, 95)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-4 < errors[0]


def test_blur_and_resizing_keep_a_flat_image_flat_and_never_lose_the_last_pixel() -> None:
    image = np.full((23, 17, 3), 0.4, np.float32)
    for seed in range(30):
        blurred = op.blur(image, FIRST.drawn_kernel(rng(seed)))
        np.testing.assert_allclose(blurred, image, atol=1e-5)
        np.testing.assert_allclose(op.resize(image, 31, 9, rng(seed)), 0.4, atol=1e-6)
    assert op.resize(image, 0, 0, rng()).shape == (1, 1, 3)


# --- what every degradation does ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_every_degradation_gives_levels_of_the_size_asked_for_and_margins_that_divide(
    kind: Callable[[int], Degradation], scale: int
) -> None:
    degradation = kind(scale)
    assert degradation.scale == scale
    assert degradation.margin > 0
    assert degradation.margin % scale == 0
    for seed in range(24):
        rows, columns = (int(n) for n in rng(seed).integers(1, 12, 2))
        high = torch.from_numpy(rng(seed).integers(0, 256, (3, rows * scale, columns * scale), np.uint8))
        low = degradation.degrade(high, rng(seed))
        assert (low.dtype, tuple(low.shape)) == (torch.uint8, (3, rows, columns))


@pytest.mark.parametrize("kind", ALL)
def test_every_degradation_is_a_function_of_the_image_and_the_generator(kind: Callable[[int], Degradation]) -> None:
    high = picture()
    kept = high.clone()
    drawn = [kind(4).degrade(high, rng(seed)) for seed in (0, 1, 2, 3)]
    again = [kind(4).degrade(high.transpose(1, 2).contiguous().transpose(1, 2), rng(seed)) for seed in (0, 1, 2, 3)]
    assert all(torch.equal(one, other) for one, other in zip(drawn, again, strict=True))
    assert torch.equal(high, kept)
    assert not any(torch.equal(drawn[0], other) for other in drawn[1:])


@pytest.mark.parametrize(
    "degradation",
    [
        SecondOrder(4, first=SILENT, first_jpeg=(95, 95), second=SILENT, last_jpeg=(95, 95)),
        BSRGAN(4, noise=(0, 0), kinds=(1, 0, 0), quality=(95, 95)),
        Unknown(4, noise=(0, 0), quality=(95, 95)),
        Jpeg(4, 95),  # coarser ones round the mean of a block to a few levels
    ],
    ids=lambda degradation: type(degradation).__name__,
)
def test_without_noise_flat_images_stay_flat_and_pictures_keep_their_colour(degradation: Degradation) -> None:
    picture = soft(192, 168)
    mean = picture.float().mean((1, 2))
    for seed in range(20):
        for level in (0, 90, 255):
            assert worst(degradation.degrade(flat(level), rng(seed)), torch.full((), level)) <= 1
        drift = degradation.degrade(picture, rng(seed)).float().mean((1, 2)) - mean
        assert drift.abs().max() < 2


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize(
    "clean",
    [
        lambda scale: quiet(scale),
        lambda scale: BSRGAN(scale, width=0, interpolated=0, noise=(0, 0), kinds=(1, 0, 0), jpeg=0, quality=(100, 100)),
        lambda scale: SensorNoise(scale, 0),
        lambda scale: Jpeg(scale, 100),
        lambda scale: Unknown(scale, blur=0, noise=(0, 0), jpeg=0),
    ],
    ids=["second-order", "bsrgan", "noise", "jpeg", "unknown"],
)
def test_what_is_told_to_do_nothing_only_makes_smaller(clean: Callable[[int], Degradation], scale: int) -> None:
    high = soft()
    wanted = Bicubic(scale).degrade(high, rng())
    for seed in range(12):
        found = clean(scale).degrade(high, rng(seed))
        inner = (slice(None), slice(4, -4), slice(4, -4))  # BSRGAN blurs before it shrinks, which shows at mirrored borders
        assert (found[inner].float() - wanted[inner].float()).abs().mean() < 1


@pytest.mark.parametrize("degradation", [SensorNoise(2, 0), Unknown(2, noise=(0, 0), jpeg=0), Jpeg(2)], ids=repr)
def test_within_its_margin_a_crop_is_what_the_whole_picture_gives_there(degradation: Degradation) -> None:
    high, margin = torch.from_numpy(rng().integers(0, 256, (3, 160, 160), np.uint8)), degradation.margin
    first, last = 64 - margin, 96 + margin  # a multiple of 16 small pixels for Jpeg, so that its grid lies alike in both
    cut = slice(margin // 2, margin // 2 + 16)
    for seed in range(8):
        whole = degradation.degrade(high, rng(seed))[:, 32:48, 32:48]
        part = degradation.degrade(high[:, first:last, first:last], rng(seed))[:, cut, cut]
        assert worst(whole, part) <= 1


# --- SecondOrder -------------------------------------------------------------------------------------------------------


def test_the_defaults_are_the_papers() -> None:
    assert (FIRST.blur, FIRST.sigma, FIRST.resize, FIRST.factor) == (1, (0.2, 3), (0.2, 0.7, 0.1), (0.15, 1.5))
    assert (SECOND.blur, SECOND.sigma, SECOND.resize, SECOND.factor) == (0.8, (0.2, 1.5), (0.3, 0.4, 0.3), (0.3, 1.2))
    assert (FIRST.noise, FIRST.poisson, SECOND.noise, SECOND.poisson) == ((1, 30), (0.05, 3), (1, 25), (0.05, 2.5))
    assert sum(FIRST.shapes) == pytest.approx(1)
    assert SecondOrder(4) == SecondOrder(4, 0.5, FIRST, (30, 95), SECOND, 0.8, (7, 21), (30, 95))


def test_factors_of_resizing_have_their_shares_and_ranges() -> None:
    source = rng()
    drawn = np.array([FIRST.drawn_factor(source) for _ in range(4000)])
    assert np.mean(drawn > 1) == pytest.approx(0.2, abs=0.02)
    assert np.mean(drawn < 1) == pytest.approx(0.7, abs=0.03)
    assert drawn.min() == pytest.approx(0.15, abs=0.01)
    assert drawn.max() == pytest.approx(1.5, abs=0.02)
    assert drawn[drawn < 1].mean() == pytest.approx(1.15 / 2, abs=0.02)


def test_kernels_are_drawn_in_every_size_and_a_tenth_are_sinc() -> None:
    source = rng()
    drawn = [FIRST.drawn_kernel(source) for _ in range(3000)]
    sizes, counts = np.unique([len(kernel) for kernel in drawn], return_counts=True)
    assert sizes.tolist() == list(range(7, 22, 2))
    assert counts.min() > 3000 / 8 * 0.8
    assert np.mean([kernel.min() < 0 for kernel in drawn]) == pytest.approx(0.1, abs=0.02)  # only these ring


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [
        (0, lambda s: k.gaussian(9, (s, s))),
        (2, lambda s: k.generalised(9, (s, s), 0, 1)),
        (4, lambda s: k.plateau(9, (s, s), 0, 1)),
    ],
)
@pytest.mark.parametrize("anisotropic", [False, True])
def test_each_shape_is_drawn_by_its_share(shape: int, wanted: Callable[[float], k.Kernel], anisotropic: bool) -> None:
    shares = tuple(float(number == shape + anisotropic) for number in range(6))
    fixed = Order(kernel=(9, 9), sinc=0, shapes=shares, sigma=(1.3, 1.3), generalised=(1, 1), plateau=(1, 1))
    np.testing.assert_allclose(fixed.drawn_kernel(rng()), wanted(1.3))
    kernel = replace(fixed, sigma=(0.5, 3)).drawn_kernel(rng())
    assert np.allclose(kernel, kernel.T) != anisotropic


def test_half_of_the_betas_are_below_1() -> None:
    order = Order(kernel=(9, 9), sinc=0, shapes=(0, 0, 1, 0, 0, 0), sigma=(1, 1))
    source = rng()
    kernels = [order.drawn_kernel(source) for _ in range(1000)]
    betas = np.array([log2(2 * np.log(kernel[4, 4] / kernel[4, 6])) / 2 for kernel in kernels])  # q is 4 there
    assert np.mean(betas < 1) == pytest.approx(0.5, abs=0.05)
    assert (betas.min(), betas.max()) == (pytest.approx(0.5, abs=0.02), pytest.approx(4, abs=0.05))


def test_a_plateau_is_drawn_with_beta_exactly_1_half_of_the_time() -> None:
    order = Order(kernel=(9, 9), sinc=0, shapes=(0, 0, 0, 0, 1, 0), sigma=(1, 1))
    source = rng()
    exact = [np.allclose(order.drawn_kernel(source), k.plateau(9, (1, 1), 0, 1), rtol=1e-9) for _ in range(600)]
    assert np.mean(exact) == pytest.approx(0.5, abs=0.06)


def test_images_are_made_small_from_their_sharpened_selves() -> None:
    high = flat(90)
    high[:, :, 24:] = 160
    sharp = (usm_sharpen(high[None].float() / 255)[0] * 255).round().byte()
    assert worst(quiet(sharpen=0.5).degrade(high, rng()), sharp) <= 2
    assert worst(quiet().degrade(high, rng()), sharp) > 10


def test_noise_of_the_second_order_is_of_the_small_image() -> None:
    for seed in range(8):
        low = quiet(4, second=replace(CLEAN, noise=(20, 20), gray=1)).degrade(flat(128, 160), rng(seed))
        assert low.float().std().item() == pytest.approx(20, rel=0.06)


@pytest.mark.parametrize("gaussian", [0, 1])
def test_noise_is_gray_by_its_probability(gaussian: float) -> None:
    image = op.from_levels(soft())
    image[:] = image[:, :, :1]
    made = [Order(blur=0, gaussian=gaussian, gray=0.4).degrade(image, 96, 84, rng(seed)) for seed in range(150)]
    assert np.mean([np.ptp(one, axis=2).max() < 1e-4 for one in made]) == pytest.approx(0.4, abs=0.1)


@pytest.mark.parametrize("when", ["first_jpeg", "last_jpeg"])
def test_each_of_the_two_jpegs_leaves_its_mark(when: str) -> None:
    high = picture()
    for seed in range(4):
        fine, coarse = (quiet(**{when: (quality, quality)}).degrade(high, rng(seed)).float() - high for quality in (100, 10))
        assert coarse.square().mean() > 2 * fine.square().mean()


def test_the_last_sinc_filter_rings_and_comes_before_jpeg_half_of_the_time() -> None:
    edge = flat(90)
    edge[:, :, 20:] = 160
    assert quiet().degrade(edge, rng()).max() <= 161
    assert sum(bool(quiet(last_sinc=1).degrade(edge, rng(seed)).max() > 163) for seed in range(20)) > 12  # few are open to all
    ramp = torch.linspace(0, 255, 64).byte().expand(3, 64, 64)
    made = [quiet(last_sinc=1, last_jpeg=(1, 1)).degrade(ramp, rng(seed)) for seed in range(100)]
    blocks = [(low[1].int().diff() == 0).float().mean().item() > 0.8 for low in made]  # flat blocks, not smoothed
    assert np.mean(blocks) == pytest.approx(0.5, abs=0.12)


@pytest.mark.parametrize(("size", "least"), [(7, pi / 3), (11, pi / 3), (13, pi / 5), (21, pi / 5)])
def test_cutoffs_of_sinc_filters_begin_at_a_third_or_a_fifth_of_all_frequencies(size: int, least: float) -> None:
    source, order = rng(), Order(kernel=(size, size), sinc=1)
    kernels = [order.drawn_kernel(source) for _ in range(400)]
    ratios = [kernel[size // 2, size // 2 + 1] / kernel[size // 2, size // 2] for kernel in kernels]
    most, none = (2 * torch.special.bessel_j1(torch.tensor(cutoff)).item() / cutoff for cutoff in (least, pi))
    assert (max(ratios), min(ratios)) == (pytest.approx(most, abs=0.01), pytest.approx(none, abs=0.01))
    assert max(ratios) <= most + 1e-6


def test_degraded_pictures_differ_in_strength_but_show_the_picture() -> None:
    high = picture(128, 128)
    clean = Bicubic(4).degrade(high, rng()).float()
    errors = [(SecondOrder(4).degrade(high, rng(seed)).float() - clean).square().mean().sqrt().item() for seed in range(40)]
    assert min(errors) < 12
    assert 12 < np.median(errors) < 50
    assert max(errors) > 25


# --- BSRGAN ------------------------------------------------------------------------------------------------------------


def test_steps_come_in_any_order_but_shrinking_before_the_last_size() -> None:
    orders = [_order(rng(seed)) for seed in range(300)]
    assert all(sorted(order) == sorted(["blur", "blur", "shrink", "resize", "noise", "jpeg"]) for order in orders)
    assert all(order.index("shrink") < order.index("resize") for order in orders)
    assert {order[0] for order in orders} == {"blur", "shrink", "noise", "jpeg"}
    assert {order[-1] for order in orders} == {"blur", "resize", "noise", "jpeg"}


@pytest.mark.parametrize("s", [1, 2, 3, 4])
def test_taking_every_pixel_of_a_blur_keeps_the_picture_in_its_place(s: int) -> None:
    ramp = np.broadcast_to(np.linspace(0, 1, 96, dtype=np.float32)[:, None, None], (96, 96, 3)).copy()
    wanted = op.array(imresize(op.tensor(ramp)[None], 1 / s)[0])
    for seed in range(6):
        found = BSRGAN(s, interpolated=0)._shrunk(ramp, s, rng(seed))
        border = 12 // s + 2
        np.testing.assert_allclose(found[border:-border], wanted[border:-border], atol=1e-3)


def test_only_images_for_x4_are_halved_first_and_a_fourth_of_them() -> None:
    high = picture(16, 16)
    assert {BSRGAN(2)._begun(high, rng(seed))[1] for seed in range(50)} == {2}
    begun = [BSRGAN(4)._begun(high, rng(seed)) for seed in range(400)]
    assert np.mean([s == 2 for _, s in begun]) == pytest.approx(0.25, abs=0.05)
    assert all(image.shape == (16 * s // 4, 16 * s // 4, 3) for image, s in begun)


def test_noise_of_bsrgan_is_coloured_gray_or_between() -> None:
    image = np.full((120, 120, 3), 0.5, np.float32)

    def correlation(kinds: tuple[float, float, float], seed: int) -> float:
        added = BSRGAN(4, noise=(20, 20), kinds=kinds)._noisy(image, rng(seed)) - image
        assert added.std() * 255 < 20.5
        return float(np.corrcoef(added.reshape(-1, 3).T)[0, 1])

    assert correlation((1, 0, 0), 0) == pytest.approx(0, abs=0.03)
    assert correlation((0, 1, 0), 0) == pytest.approx(1)
    between = [abs(correlation((0, 0, 1), seed)) for seed in range(8)]
    assert 0.05 < float(np.mean(between)) < 0.95


# --- the corruptions of SRResCGAN --------------------------------------------------------------------------------------


def test_sensor_noise_is_bicubic_reduction_and_noise_of_8_levels() -> None:
    high = flat(127, 400)
    low = SensorNoise(4).degrade(high, rng()).float()
    assert low.std().item() == pytest.approx(8, rel=0.02)
    assert low.mean().item() == pytest.approx(127, abs=0.2)
    assert worst(SensorNoise(4, 0).degrade(picture(), rng()), Bicubic(4).degrade(picture(), rng())) <= 1


def test_jpeg_corruption_is_bicubic_reduction_saved_with_quality_30() -> None:
    drawn = rng(3)
    down, right = (int(n) for n in drawn.integers(16, size=2))
    reduced = imresize(picture()[None].float() / 255, 1 / 4)[0]
    wanted = (jpeg(reduced, 30, down, right) * 255).round().byte()
    assert torch.equal(Jpeg(4).degrade(picture(), rng(3)), wanted)


def test_the_unknown_mixture_blurs_by_its_probability() -> None:
    fine = torch.from_numpy(rng().integers(0, 256, (3, 96, 96), np.uint8))
    plain = Bicubic(4).degrade(fine, rng()).float().std()

    def weaker(probability: float) -> list[bool]:
        mixture = Unknown(4, probability, (0.4, 0.5), noise=(0, 0), jpeg=0)
        return [bool(mixture.degrade(fine, rng(seed)).float().std() < 0.9 * plain) for seed in range(80)]

    assert (any(weaker(0)), all(weaker(1))) == (False, True)
    assert np.mean(weaker(0.25)) == pytest.approx(0.25, abs=0.12)


def test_the_unknown_mixture_has_its_shares_of_jpeg() -> None:
    image = flat(100, 64)
    lows = [Unknown(4, blur=0, noise=(5, 5), quality=(30, 30)).degrade(image, rng(seed)).float() for seed in range(200)]
    strong = [low.std().item() > 4.5 for low in lows]  # noise that JPEG took nothing of
    assert np.mean(strong) == pytest.approx(0.2, abs=0.08)


# --- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: SecondOrder(0), "scale = 0: it must be a whole number from 1 to 16"),
        (lambda: Jpeg(4.0), "scale = 4.0"),  # type: ignore[arg-type]
        (lambda: SecondOrder(4, first_jpeg=(30, 120)), "first_jpeg = (30, 120): it must be two numbers from 1 to 100"),
        (lambda: SecondOrder(4, last_jpeg=(95, 30)), "last_jpeg = (95, 30)"),
        (lambda: SecondOrder(4, last_jpeg=(0, 30)), "last_jpeg = (0, 30)"),
        (lambda: SecondOrder(4, last_jpeg=(30.5, 95)), "last_jpeg = (30.5, 95): both must be whole"),  # type: ignore[arg-type]
        (lambda: SecondOrder(4, last_kernel=(7, 20)), "last_kernel = (7, 20)"),
        (lambda: SecondOrder(4, last_sinc=1.2), "last_sinc = 1.2: it must be from 0 to 1"),
        (lambda: SecondOrder(4, sharpen=-1), "sharpen = -1"),
        (lambda: Order(sigma=(3, 0.2)), "sigma = (3, 0.2): it must be two numbers from 0.01 to 50, the smaller first"),
        (lambda: Order(sigma=(0, 2)), "sigma = (0, 2)"),
        (lambda: Order(factor=(0, 1.5)), "factor = (0, 1.5)"),
        (lambda: Order(factor=(1.1, 1.5)), "factor = (1.1, 1.5): the first must be 1 or less, the second 1 or more"),
        (lambda: Order(noise=(float("nan"), 3)), "noise = (nan, 3)"),
        (lambda: Order(gray=1.01), "gray = 1.01"),
        (lambda: Order(gray=float("nan")), "gray = nan"),
        (lambda: Order(resize=(0.3, 0.3, 0.3)), "resize = (0.3, 0.3, 0.3): it must be 3 shares, from 0 to 1, that add up to 1"),
        (lambda: Order(shapes=(1.0,)), "shapes = (1): it must be 6 shares"),
        (lambda: Order(resize=(1.5, -0.5, 0)), "resize = (1.5, -0.5, 0)"),
        (lambda: BSRGAN(4, quality=(0, 95)), "quality = (0, 95)"),
        (lambda: BSRGAN(4, jpeg=2), "jpeg = 2"),
        (lambda: BSRGAN(4, kernel=(6, 25)), "kernel = (6, 25): kernels have a middle"),
        (lambda: SensorNoise(4, -1), "sigma = -1: it must be from 0 to 255"),
        (lambda: Jpeg(4, 0), "quality = 0: it must be a whole number from 1 to 100"),
        (lambda: Unknown(4, quality=(30, 101)), "quality = (30, 101)"),
        (lambda: Unknown(4, width=(0, 0.5)), "width = (0, 0.5)"),
    ],
)
def test_what_is_out_of_range_is_refused_with_its_name_and_what_is_possible(make: Callable[[], object], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        make()
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)
