"""Metrics of sets of pictures against closed forms and torch-fidelity; no weights are needed for either."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from inception import random_inception
from scipy.stats import entropy, wasserstein_distance
from torch import Tensor
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

from gantool.errors import UsageError, WeightsError
from gantool.layers.inception import FEATURES, Inception, Variant, prepared
from gantool.metrics import fid as fid_file
from gantool.metrics.diversity import Diversity
from gantool.metrics.fid import Gaussian, Statistics, fid
from gantool.metrics.inception_score import inception_score
from gantool.metrics.kid import kid
from gantool.metrics.ms_ssim import ms_ssim
from gantool.metrics.precision import precision
from gantool.metrics.recall import recall
from gantool.metrics.swd import PATCHES, Descriptors, laplacian, swd


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=random(seed))


def statistics(features: Tensor, batch: int = 7) -> Statistics:
    found = Statistics(features.shape[1])
    for some in torch.split(features, batch):
        found.add(some)
    return found


def gaussian(mean: list[float], covariance: list[float]) -> Gaussian:
    """Return one of independent dimensions."""
    return Gaussian(torch.tensor(mean).double(), torch.tensor(covariance).double().diag())


# --- the network ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """Random weights under torchvision's names, which pytorch-fid's file has; the network keeps numbers of a usual size."""
    return random_inception()


def test_the_network_and_the_way_into_it_are_those_of_torch_fidelity(state: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(state, tmp_path / "inception.pth")
    oracle = FeatureExtractorInceptionV3("oracle", ["2048", "logits_unbiased"], str(tmp_path / "inception.pth"))
    images = noise(1, 3, 60, 91)
    features, logits = Inception(state)(prepared(images, "legacy-tf"))
    expected, expected_logits = oracle(images)
    assert features.shape == (1, FEATURES)
    assert features.std() > 0.1  # they tell pictures apart
    assert torch.equal(features, expected)
    assert torch.equal(logits, expected_logits)


def test_weights_of_torchvision_s_own_inception_are_refused(state: dict[str, Tensor]) -> None:
    with pytest.raises(WeightsError, match="1008 classes.*--weights inception=FILE"):
        Inception({**state, "fc.weight": torch.zeros(1000, FEATURES), "fc.bias": torch.zeros(1000)})


@pytest.mark.parametrize("shape", [(40, 57), (333, 320)], ids=["enlarged", "shrunk"])
def test_the_ways_into_the_network_are_those_of_other_libraries(shape: tuple[int, int]) -> None:
    images = noise(1, 3, *shape)
    pixels = images[0].permute(1, 2, 0).numpy().astype(np.float32)
    bilinear = cv2.resize(pixels, (299, 299), interpolation=cv2.INTER_LINEAR)
    assert_near(prepared(images, "legacy-pytorch"), torch.from_numpy(bilinear) / 127.5 - 1)
    # torch's antialiased bicubic is Pillow's, and does not clip either
    bicubic = F.interpolate(images.float(), (299, 299), mode="bicubic", antialias=True)[0].permute(1, 2, 0)
    assert bicubic.min() < -1  # so that clipping is seen
    assert_near(prepared(images, "clean"), (bicubic.clamp(0, 255) - 128) / 128)


def assert_near(found: Tensor, expected: Tensor) -> None:
    assert found.shape == (1, 3, 299, 299)
    assert (found[0].permute(1, 2, 0) - expected).abs().max() < 2e-4  # a fortieth of a level: places are rounded otherwise


def test_tensorflow_s_grid_starts_at_the_first_pixel_and_has_no_half_pixel() -> None:
    ramp = torch.arange(100, dtype=torch.uint8).expand(1, 3, 50, 100)
    row = prepared(ramp, "legacy-tf")[0, 0, 0] * 128 + 128
    expected = (torch.arange(299) * 100 / 299).clamp_max(99)
    assert torch.allclose(row, expected, atol=1e-4)


@pytest.mark.parametrize("variant", ["legacy-pytorch", "legacy-tf", "clean"])
def test_white_and_black_stay_what_they_are(variant: Variant) -> None:
    found = prepared(torch.stack([torch.zeros(3, 20, 30), torch.full((3, 20, 30), 255)]).to(torch.uint8), variant)
    white = 1.0 if variant == "legacy-pytorch" else 127 / 128
    assert torch.allclose(found[0], torch.tensor(-1.0), atol=1e-6)
    assert torch.allclose(found[1], torch.tensor(white), atol=1e-6)


# --- fid -----------------------------------------------------------------------------------------------------------------


def test_fid_of_two_gaussians_on_a_line_is_the_worked_number() -> None:
    assert fid(gaussian([0], [1]), gaussian([3], [4])) == pytest.approx(9 + 1 + 4 - 4, abs=1e-12)


def test_fid_of_independent_dimensions_is_a_sum_over_them() -> None:
    one, other = gaussian([1, 2, 3], [4, 9, 0.25]), gaussian([0, 2, 5], [1, 16, 0])
    assert fid(one, other) == pytest.approx(1 + 4 + (2 - 1) ** 2 + (3 - 4) ** 2 + 0.5**2, abs=1e-12)


@pytest.mark.parametrize("count", [400, 40], ids=["full-rank", "fewer-pictures-than-dimensions"])
def test_fid_is_torch_fidelity_s(count: int) -> None:
    one, other = torch.rand(count, 64, generator=random(1)), 1.3 * torch.rand(count + 5, 64, generator=random(2))
    expected = fid_statistics_to_metric(*(fid_features_to_statistics(side.double()) for side in (one, other)), False)
    found = fid(statistics(one).gaussian(), statistics(other).gaussian())
    assert found == pytest.approx(expected["frechet_inception_distance"], rel=1e-7)
    assert fid(statistics(other).gaussian(), statistics(one).gaussian()) == pytest.approx(found, rel=1e-10)


@pytest.mark.parametrize("count", [300, 30])
def test_fid_of_equal_sets_is_0(count: int) -> None:
    features = torch.rand(count, 64, generator=random())
    assert fid(statistics(features).gaussian(), statistics(features.flip(0), 11).gaussian()) == pytest.approx(0, abs=1e-10)


def test_fid_of_pictures_that_are_all_alike_is_the_distance_of_their_means() -> None:
    one, other = statistics(torch.ones(5, 8)), statistics(torch.full((5, 8), 3.0))
    assert fid(one.gaussian(), other.gaussian()) == pytest.approx(4 * 8)


def test_statistics_are_numpy_s_in_any_order_and_in_any_parts() -> None:
    features = 1e4 + torch.rand(150, 20, generator=random(), dtype=torch.float64)  # a mean that would drown a sum of squares
    whole = statistics(features, 150)
    shuffled = statistics(features[torch.randperm(150, generator=random(3))], 1)
    uneven = statistics(features[:40], 40)
    uneven.add(features[:0])
    uneven.add(features[40:])
    for found in (whole, shuffled, uneven):
        assert found.count == 150
        assert np.allclose(found.mean, features.mean(0), rtol=1e-13)
        assert np.allclose(found.covariance, np.cov(features.numpy(), rowvar=False), rtol=1e-8, atol=1e-10)


def test_statistics_take_no_more_memory_for_more_pictures() -> None:
    found = statistics(torch.rand(500, 16, generator=random()))
    assert sum(value.numel() for value in vars(found).values() if isinstance(value, Tensor)) == 16 + 16 * 16


def test_fid_of_one_picture_is_refused() -> None:
    with pytest.raises(UsageError, match="at least 2 pictures a side"):
        statistics(torch.rand(1, 4)).gaussian()


@pytest.mark.parametrize(("kind", "tolerance"), [(np.float64, 1e-12), (np.float32, 1e-6)])
def test_statistics_are_read_as_pytorch_fid_writes_them(tmp_path: Path, kind: type, tolerance: float) -> None:
    found = statistics(torch.rand(50, 6, generator=random())).gaussian()
    np.savez(tmp_path / "a.npz", mu=found.mean.numpy().astype(kind), sigma=found.covariance.numpy().astype(kind))
    assert fid(fid_file.load(tmp_path / "a.npz"), found) == pytest.approx(0, abs=tolerance)


def test_files_that_hold_no_statistics_are_refused_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "bad.npz"
    contents: list[dict[str, object]] = [
        {"mu": np.zeros(3)},
        {"mu": np.zeros(3), "sigma": np.zeros((2, 2))},
        {"mu": np.zeros(2), "sigma": np.array([[1.0, 5.0], [0.0, 1.0]])},
        {"mu": np.array(["a", None], dtype=object), "sigma": np.zeros((2, 2))},
        {"mu": np.zeros(2), "sigma": np.full((2, 2), np.nan)},
    ]
    for content in contents:
        np.savez(path, **content)
        with pytest.raises(UsageError, match=r"bad\.npz.*name another"):
            fid_file.load(path)
    np.savez(path, mu=np.zeros(2, int), sigma=np.eye(2, dtype=int))
    with pytest.raises(UsageError, match=r"bad\.npz.*\(mu holds no numbers in floating point\): name another"):
        fid_file.load(path)
    path.write_bytes(b"PK\3\4 and no more")
    with pytest.raises(UsageError, match=r"bad\.npz.*name another"):
        fid_file.load(path)


def test_statistics_are_not_unpacked_before_their_size_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large.npz"
    np.savez_compressed(path, mu=np.zeros(3000), sigma=np.zeros((3000, 3000)))  # 72 MB, of which the file has 70 kB
    monkeypatch.setattr(np, "load", lambda *_, **__: pytest.fail("it was unpacked"))
    with pytest.raises(UsageError, match=r"large\.npz.* \(it unpacks to 68 MiB, and 64 are enough\): name another"):
        fid_file.load(path)


def test_what_else_a_file_of_statistics_holds_may_be_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "a.npz", arr_0=np.zeros(1000, np.uint8), mu=np.zeros(2), sigma=np.eye(2))  # others add the pictures
    monkeypatch.setattr("gantool.metrics.npz.MAX_BYTES", 1000)
    assert fid(fid_file.load(tmp_path / "a.npz"), gaussian([0, 0], [1, 1])) == 0


def test_statistics_of_another_network_are_refused() -> None:
    with pytest.raises(UsageError, match="2 and 1 dimensions"):
        fid(gaussian([0, 0], [1, 1]), gaussian([0], [1]))


# --- kid, inception score ------------------------------------------------------------------------------------------------


def squared_mmd(one: np.ndarray, other: np.ndarray) -> float:
    """Return the unbiased estimate by its definition, for sides of as many pictures."""
    kernel = [(x @ y.T / one.shape[1] + 1) ** 3 for x, y in ((one, one), (other, other), (one, other))]
    same = sum((k.sum() - k.trace()) / (len(one) * (len(one) - 1)) for k in kernel[:2])
    return float(same - 2 * kernel[2].mean())


def test_kid_is_the_difference_of_mean_kernels() -> None:
    one, other = torch.rand(20, 8, generator=random(1)), torch.rand(20, 8, generator=random(2))
    assert kid(one, other)[0] == pytest.approx(squared_mmd(one.double().numpy(), other.double().numpy()), abs=1e-12)


def test_kid_is_the_mean_over_subsets_of_as_many_pictures_as_there_are() -> None:
    one, other = torch.rand(60, 32, generator=random(1)), torch.rand(50, 32, generator=random(2)) + 0.1
    drawn = np.random.RandomState(2020)  # as torch-fidelity draws, so that its numbers are met
    sides = [side.double().numpy() for side in (one, other)]
    found = [squared_mmd(*(side[drawn.choice(len(side), 50, replace=False)] for side in sides)) for _ in range(100)]
    assert kid(one, other) == pytest.approx((np.mean(found), np.std(found)), rel=1e-9)


def test_kid_of_equal_distributions_is_0_on_average() -> None:
    found = [kid(*torch.randn(2, 80, 16, generator=random(seed)).unbind()) for seed in range(20)]
    values = torch.tensor([value for value, _ in found])
    assert abs(values.mean()) < 3 * values.std() / 20**0.5
    assert values.min() < 0 < values.max()


def test_the_inception_score_of_one_answer_is_1_and_of_k_sure_answers_k() -> None:
    assert inception_score(torch.randn(1, 12, generator=random()).expand(100, 12))[0] == pytest.approx(1, abs=1e-12)
    sure = 100 * F.one_hot(torch.arange(10).repeat(500), 12).float()
    value, spread = inception_score(sure)
    assert value == pytest.approx(10, rel=0.01)  # each split has about as many of every class
    assert 0 < spread < 0.1


def test_the_inception_score_is_the_entropy_that_mixing_the_answers_adds() -> None:
    logits = 3 * torch.randn(95, 40, generator=random())
    answers = np.exp(logits.double().numpy())
    answers /= answers.sum(1, keepdims=True)
    mixed = answers[np.random.RandomState(2020).permutation(95)]  # as torch-fidelity shuffles, so that its numbers are met
    splits = [mixed[95 * i // 10 : 95 * (i + 1) // 10] for i in range(10)]
    scores = [np.exp(entropy(split.mean(0)) - entropy(split, axis=1).mean()) for split in splits]
    assert inception_score(logits) == pytest.approx((np.mean(scores), np.std(scores)), rel=1e-9)


def test_too_few_pictures_are_refused_in_a_sentence() -> None:
    for name, measure in {
        "kid": lambda: kid(torch.rand(1, 4), torch.rand(9, 4)),
        "is needs at least 10": lambda: inception_score(torch.rand(9, 4)),
        "precision": lambda: precision(torch.rand(3, 4), torch.rand(9, 4)),
        "recall": lambda: recall(torch.rand(9, 4), torch.rand(3, 4)),
    }.items():
        with pytest.raises(UsageError, match=f"{name}.*add some"):
            measure()


def test_a_missing_library_is_named_with_the_way_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("metric_kid", "metric_isc"):
        monkeypatch.setitem(sys.modules, f"torch_fidelity.{module}", None)
    for measure in (lambda: kid(torch.rand(5, 4), torch.rand(5, 4)), lambda: inception_score(torch.rand(20, 4))):
        with pytest.raises(UsageError, match=r"pip install 'gantool\[eval\]'"):
            measure()


# --- precision and recall ------------------------------------------------------------------------------------------------


def test_precision_and_recall_of_equal_sets_are_1() -> None:
    features = torch.rand(30, 16, generator=random())
    assert precision(features, features) == recall(features, features) == 1


def test_precision_and_recall_are_torch_fidelity_s(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = 0.8 * torch.randn(70, 6, generator=random(1)), torch.randn(90, 6, generator=random(2))
    expected = prc_features_to_metric(one, other, verbose=False)
    assert 0 < expected["recall"] < expected["precision"] < 1
    for block in (1000, 13):
        monkeypatch.setattr("gantool.metrics.precision._BLOCK", block)
        assert precision(one, other) == pytest.approx(expected["precision"], abs=1e-6)
        assert recall(one, other) == pytest.approx(expected["recall"], abs=1e-6)


def test_a_picture_reaches_as_far_as_its_third_neighbour() -> None:
    line = torch.tensor([0.0, 1, 2, 3, 10])[:, None]  # reaching 3, 2, 2, 3 and 9 far
    results = torch.tensor([-3.0, -3.1, 19, 19.1, 5])[:, None]
    assert precision(results, line) == 3 / 5  # -3, 19 and 5
    assert recall(results, line) == precision(line, results)


# --- swd, diversity ------------------------------------------------------------------------------------------------------


def described(images: Tensor, seed: int = 0) -> list[list[Tensor]]:
    found = Descriptors(seed)
    for image in images:
        found.add(image)
    return found.levels()


@pytest.mark.parametrize("shape", [(64, 64), (48, 80)])
def test_the_pyramid_is_opencv_s(shape: tuple[int, int]) -> None:
    image = noise(1, 3, *shape).float()
    fine, middle, coarse = (level[0].permute(1, 2, 0).numpy() for level in laplacian(image, 3))
    whole = image[0].permute(1, 2, 0).numpy()
    half = cv2.pyrDown(whole)
    assert np.allclose(coarse, cv2.pyrDown(half), atol=1e-4)
    for found, larger, smaller in ((fine, whole, half), (middle, half, coarse)):
        # PGGAN mirrors the spread image about its last row; OpenCV repeats the last row of the small one
        assert np.allclose(found[:-2, :-2], (larger - cv2.pyrUp(smaller))[:-2, :-2], atol=1e-4)


@pytest.mark.parametrize("shape", [(64, 64), (37, 51)])
def test_a_pyramid_adds_up_to_its_image(shape: tuple[int, int]) -> None:
    flat = torch.full((1, 3, *shape), 77.0)
    *details, last = laplacian(flat, 2)
    assert torch.allclose(last, torch.tensor(77.0), atol=1e-3)
    assert all(level[..., 2:-2, 2:-2].abs().max() < 1e-3 for level in details)


def test_levels_end_before_a_side_of_less_than_16_pixels() -> None:
    levels = described(noise(2, 3, 70, 33))
    assert [torch.stack(level).shape for level in levels] == [(2, PATCHES, 3, 7, 7)] * 2
    assert len(described(noise(1, 3, 128, 128))) == 4


def test_swd_of_equal_sets_is_0_and_of_noise_finer_than_ramps_is_not() -> None:
    images = noise(6, 3, 32, 32)
    ramps = (torch.arange(32) * 8).expand(6, 3, 32, 32).to(torch.uint8)
    assert swd(described(images), described(images), 0) == [0, 0]
    near = swd(described(images), described(noise(6, 3, 32, 32, seed=5)), 0)
    far = swd(described(images), described(ramps), 0)
    assert all(0 < a < b / 5 for a, b in zip(near, far, strict=True))


def test_swd_does_not_see_brightness_and_contrast_of_whole_colours() -> None:
    images = noise(4, 3, 16, 16)
    assert swd(described(images), described(images // 2 + 40), 0)[0] < 10
    assert swd(described(images), described(torch.full_like(images, 9)), 0)[0] > 100  # one colour: nothing to divide by


def test_swd_is_the_mean_of_distances_on_lines() -> None:
    sides = [described(noise(2, 3, 16, 16, seed=seed)) for seed in (1, 2)]
    rows = []
    for [patches] in sides:
        one = torch.cat(patches).double().numpy()
        rows.append(((one - one.mean((0, 2, 3), keepdims=True)) / one.std((0, 2, 3), keepdims=True)).reshape(len(one), -1))
    directions = torch.randn(512, 147, generator=random(4)).double().numpy()
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    expected = np.mean([wasserstein_distance(rows[0] @ d, rows[1] @ d) for d in directions])
    assert swd(*sides, 4) == [pytest.approx(1000 * expected, rel=1e-4)]


def test_half_precision_moves_swd_by_a_twentieth_of_a_unit_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    sides = [noise(3, 3, 64, 64), noise(3, 3, 64, 64, seed=5) // 2 + 60]
    found = swd(*map(described, sides), 0)
    monkeypatch.setattr(Tensor, "half", Tensor.float)
    assert swd(*map(described, sides), 0) == pytest.approx(found, abs=0.05)


def test_a_picture_leaves_38_kilobytes_a_level() -> None:
    found = Descriptors(0)
    for image in noise(3, 3, 64, 64):
        found.add(image)
    assert (
        found.picture_bytes
        == 3 * 128 * 7 * 7 * 3 * 2
        == sum(patches.nbytes for level in found.levels() for patches in level) / 3
    )


def test_swd_does_not_depend_on_how_many_pictures_are_unpacked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sides = [described(noise(5, 3, 32, 32, seed=seed)) for seed in (0, 7)]
    found = swd(*sides, 0)
    monkeypatch.setattr("gantool.metrics.swd._CHUNK", 2)
    assert swd(*sides, 0) == pytest.approx(found, rel=1e-5)


def test_swd_takes_as_many_pictures_of_both_sides() -> None:
    images = noise(6, 3, 16, 16)
    [patches] = described(images)
    assert swd([patches], [patches[::2]], 0) == pytest.approx(swd([patches[::2]], [patches[::2]], 0)) == [0]


def test_swd_looks_at_the_paper_s_number_of_pictures_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gantool.metrics.swd.PICTURES", 3)
    assert len(described(noise(5, 3, 16, 16))[0]) == 3


def test_swd_and_diversity_refuse_small_pictures_and_other_sizes() -> None:
    for collector, least in ((Descriptors(0), 16), (Diversity(0), 161)):
        with pytest.raises(UsageError, match=rf"needs {least} pixels a side, and a picture has 200x{least - 1}"):
            collector.add(noise(3, least - 1, 200))
        collector.add(noise(3, 200, 201))
        with pytest.raises(UsageError, match="one size, and they have 201x200 and 200x201: resize them"):
            collector.add(noise(3, 201, 200))


def test_diversity_is_the_mean_of_pairs_in_which_each_picture_is_once(monkeypatch: pytest.MonkeyPatch) -> None:
    images = [noise(3, 161, 161, seed=seed) // 2 + 20 * seed for seed in range(5)]
    one = Diversity(0)
    for image in images[:2]:
        one.add(image)
    assert one.value() == pytest.approx(ms_ssim(images[0][None], images[1][None]))
    for waiting in (128 << 20, 2 * images[0].numel()):
        monkeypatch.setattr("gantool.metrics.diversity.WAITING_BYTES", waiting)
        many, same = Diversity(1), Diversity(1)
        for image in images:
            many.add(image)
            same.add(images[0])
        assert same.value() == pytest.approx(1)
        assert same.pairs == 2
        value = many.value()
        assert value is not None
        assert 0 < value < 1
    assert Diversity(0).value() is None
