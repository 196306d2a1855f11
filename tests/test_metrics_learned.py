"""Metrics through trained networks, or of the statistics of photos, against torchmetrics, published numbers and formulas."""

from __future__ import annotations

import re
from math import sqrt
from pathlib import Path

import numpy as np
import pytest
import torch
import torchmetrics
from torch import Tensor
from torchmetrics.functional.image import dists as their_dists
from torchmetrics.functional.image.lpips import _LPIPS
from torchvision.models import vgg16

from gantool import frozen
from gantool.errors import InputError, UsageError
from gantool.images import read
from gantool.layers.features import FeatureNetwork
from gantool.layers.resampling import imresize
from gantool.metrics import METRICS, apply, bind
from gantool.metrics.dists import CHANNELS, Weights, dists
from gantool.metrics.niqe import Pristine, fit, niqe, statistics
from gantool.metrics.pi import pi, read_ma, score_of

SHIPPED = Path(torchmetrics.__file__).parent / "functional/image"  # has the published heads
BACKBONES = {"alex": ("alexnet", "lpips"), "vgg": ("vgg16", "lpips-vgg"), "squeeze": ("squeezenet", "lpips-squeeze")}
WINDOW = torch.outer(*[torch.exp(-(torch.arange(-3.0, 4.0).double() ** 2) / (2 * (7 / 6) ** 2))] * 2)
WINDOW /= WINDOW.sum()


def textured(height: int, width: int, seed: int = 0) -> Tensor:
    """Return a picture (3, height, width) uint8 of blobs of several sizes."""
    generator = torch.Generator().manual_seed(seed)
    sizes = (8, 4, 2, 1)
    layers = [imresize(torch.randn(1, 3, height // n, width // n, generator=generator), n, (height, width)) for n in sizes]
    return (128 + 25 * sum(layers)[0]).clamp(0, 255).to(torch.uint8)


def noisy(image: Tensor) -> Tensor:
    noise = 20 * torch.randn(image.shape, generator=torch.Generator().manual_seed(9))
    return (image + noise).clamp(0, 255).to(torch.uint8)


def unit(image: Tensor) -> Tensor:
    return image[None].float() / 255


def network(name: str) -> FeatureNetwork:
    torch.manual_seed(3)
    return FeatureNetwork(name)


def parts_of(metric: str) -> dict[str, object]:
    """A backbone of random weights with the published heads."""
    backbone, heads = METRICS[metric].needs
    path = SHIPPED / f"lpips_models/{heads.removeprefix('lpips-')}.pth"
    return {backbone: network(backbone), heads: frozen.part(heads, path).value}


@pytest.mark.parametrize("kind", BACKBONES)
def test_lpips_is_that_of_torchmetrics_with_the_published_heads(kind: str) -> None:
    backbone, metric = BACKBONES[kind]
    oracle = _LPIPS(net=kind, pnet_rand=True).eval()
    own = network(backbone).state_dict()
    keys = {key: re.sub(r"^slices?\.?\d+\.", "features.", key) for key in oracle.net.state_dict()}
    oracle.net.load_state_dict({key: own[name] for key, name in keys.items()})
    measures = {metric: bind(metric, parts_of(metric))}
    one = textured(96, 130)
    for other in (noisy(one), textured(96, 130, seed=1)):
        with torch.no_grad():
            wanted = oracle(2 * unit(one) - 1, 2 * unit(other) - 1).item()
        assert wanted > 1e-3
        assert apply(measures, one, other, 0)[metric] == pytest.approx(wanted, abs=1e-6)
    assert apply(measures, one, one, 0)[metric] == 0


def test_lpips_weighs_squared_differences_of_directions_and_averages_them_over_places() -> None:
    class OneLayer(FeatureNetwork):
        """Gives the picture itself where relu1 is asked for."""

        def each(self, images: Tensor, layers: object) -> list[Tensor]:  # type: ignore[override]
            return [images] + [torch.ones(2, 1, 1, 1)] * 4

    red, green = (torch.tensor(color, dtype=torch.uint8).view(3, 1, 1).expand(3, 2, 2) for color in ((255, 0, 0), (0, 9, 0)))
    half = red.clone()
    half[:, 0] = green[:, 0]
    heads = [torch.tensor([0.25, 0.5, 4.0]), *[torch.ones(1)] * 4]
    measure = bind("lpips", {"alexnet": OneLayer("alexnet"), "lpips-alex": heads})
    assert measure(red[None], green[None]) == pytest.approx(0.75)
    assert measure(half[None], red[None]) == pytest.approx(0.375)


@pytest.mark.parametrize("metric", ["lpips", "lpips-vgg", "lpips-squeeze"])
def test_lpips_takes_gray_pictures_and_refuses_too_small_ones_in_a_sentence(metric: str) -> None:
    measure = bind(metric, parts_of(metric))
    one, other = textured(64, 64)[:1], textured(64, 64, seed=1)[:1]
    in_color = [each.expand(3, -1, -1)[None] for each in (one, other)]
    assert measure(one[None], other[None]) == measure(*in_color) > 0
    with pytest.raises(
        InputError, match=f"^8x64 pixels are too few for {metric}, through {METRICS[metric].needs[0]}: leave it"
    ):
        measure(textured(64, 8)[None], textured(64, 8)[None])


def test_dists_is_that_of_torchmetrics_with_its_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(their_dists, "vgg16", lambda weights: vgg16(weights=None))  # it would fetch them
    with torch.device("meta"):  # whose weights we then give
        oracle = their_dists.DISTSNetwork(load_weights=False)
    own = network("vgg16")
    poolings = {
        name: their_dists.L2pooling(channels=m.channels)
        for name, m in oracle.named_modules()
        if isinstance(m, their_dists.L2pooling)
    }
    state = {f"{name}.filter": m.filter for name, m in poolings.items()} | {"mean": own.mean, "std": own.std}
    for key in oracle.state_dict():
        if re.match(r"stage\d\.\d+\.(weight|bias)", key):
            state[key] = own.state_dict()[re.sub(r"^stage\d", "features", key)]
    published = torch.load(SHIPPED / "dists_models/weights.pt", weights_only=True)
    oracle.load_state_dict(state | published, assign=True)
    weights = frozen.part("dists", SHIPPED / "dists_models/weights.pt").value
    assert isinstance(weights, Weights)
    one = textured(97, 66)
    for other in (noisy(one), textured(97, 66, seed=1)):
        wanted = oracle(unit(one), unit(other)).item()
        assert dists(one[None], other[None], own, weights) == pytest.approx(wanted, abs=2e-6)
        assert wanted > 1e-3
    assert dists(one[None], one[None], own, weights) == pytest.approx(0, abs=1e-12)


def test_dists_of_the_pictures_alone_is_the_formula_of_two_similarities() -> None:
    generator = torch.Generator().manual_seed(0)
    one, other = (torch.randint(0, 256, (1, 3, 16, 20), generator=generator, dtype=torch.uint8) for _ in range(2))
    x, y = (each[0].flatten(1).double() / 255 for each in (one, other))
    mean = (2 * x.mean(1) * y.mean(1) + 1e-6) / (x.mean(1) ** 2 + y.mean(1) ** 2 + 1e-6)
    covariance = ((x - x.mean(1, keepdim=True)) * (y - y.mean(1, keepdim=True))).mean(1)
    structure = (2 * covariance + 1e-6) / (x.var(1, correction=0) + y.var(1, correction=0) + 1e-6)
    alpha, beta = torch.zeros(sum(CHANNELS)), torch.zeros(sum(CHANNELS))
    alpha[:3], beta[:3] = 3.0, torch.tensor([1.0, 0.0, 2.0])
    wanted = 1 - (3 * mean.sum() + structure[0] + 2 * structure[2]) / 12
    assert dists(one, other, network("vgg16"), Weights(alpha, beta)) == pytest.approx(float(wanted), abs=1e-6)
    with pytest.raises(InputError, match="^20x15 pixels are too few for dists"):
        dists(one[:, :, 1:], other[:, :, 1:], network("vgg16"), Weights(alpha, beta))


@pytest.mark.parametrize("metric", ["lpips", "lpips-vgg", "lpips-squeeze"])
def test_features_are_compared_in_bands_without_a_difference(metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    measure = bind(metric, parts_of(metric))
    one, other = textured(64, 48)[None], textured(64, 48, seed=1)[None]
    whole = measure(one, other)
    monkeypatch.setattr("gantool.metrics.lpips.BAND_ELEMENTS", 5000)
    assert measure(one, other) == pytest.approx(whole, rel=1e-12)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("metric", ["lpips", "lpips-vgg", "dists"])
def test_pictures_follow_the_network_to_its_device(metric: str) -> None:
    if metric == "dists":
        parts: dict[str, object] = {"vgg16": network("vgg16"), "dists": Weights(*torch.rand(2, sum(CHANNELS)))}
    else:
        parts = parts_of(metric)
    one, other = textured(96, 130)[None], noisy(textured(96, 130))[None]
    expected = bind(metric, parts)(one, other)
    backbone = parts[METRICS[metric].needs[0]]
    assert isinstance(backbone, FeatureNetwork)
    backbone.to("cuda")
    assert bind(metric, parts)(one, other) == pytest.approx(expected, rel=1e-4)


def test_channels_are_compared_in_chunks_without_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = Weights(torch.rand(sum(CHANNELS)), torch.rand(sum(CHANNELS)))
    own, one, other = network("vgg16"), textured(32, 40)[None], textured(32, 40, seed=1)[None]
    whole = dists(one, other, own, weights)
    monkeypatch.setattr("gantool.metrics.dists.CHUNK_ELEMENTS", 3000)
    assert dists(one, other, own, weights) == pytest.approx(whole, rel=1e-12)


def pristine_of(shared: Path) -> Pristine:
    found = frozen.part("niqe", shared / "data/weights/niqe/niqe_pris_params.npz")
    assert isinstance(found.value, Pristine)
    assert found.official
    return found.value


def test_niqe_of_baboon_is_that_of_the_authors_program(shared: Path) -> None:
    baboon = read(shared / "data/set14/hr/baboon.png").color
    found = niqe(baboon[None], pristine_of(shared))
    assert found == pytest.approx(5.72957338, abs=1e-5)
    measures = {"niqe": bind("niqe", {"niqe": pristine_of(shared)})}
    assert apply(measures, baboon, baboon, 0) == {"niqe": found}


@pytest.mark.parametrize(("shape", "left", "right"), [(2.0, 1, 1), (2.0, 1, 4), (1.0, 2, 3)])
def test_the_shape_and_scales_of_a_distribution_are_found(shape: float, left: int, right: int) -> None:
    shares = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    half = torch.special.ndtri(0.5 + shares / 2) / sqrt(2) if shape == 2 else -torch.log1p(-shares)  # exp(-x^shape), x > 0
    values = torch.cat([(-left * half).repeat(left), (right * half).repeat(right)])  # the wider side has more of them
    found = [float(value) for value in fit(values[None])]
    assert found == pytest.approx([shape, left, right], rel=5e-3)


def test_niqe_is_the_distance_of_means_under_the_mean_covariance() -> None:
    image = textured(192, 288)[None]
    features = statistics(image, WINDOW)
    covariance, step = torch.from_numpy(np.cov(features.numpy(), rowvar=False)), torch.linspace(0.1, 0.5, 36).double()
    eye = torch.eye(36, dtype=torch.float64)
    assert features.shape == (6, 36)
    pristine = Pristine(features.mean(0), 8 * eye - covariance, WINDOW)
    assert niqe(image, pristine) == 0
    moved = Pristine(features.mean(0) + step, 8 * eye - covariance, WINDOW)  # whose mean with the picture's is 4
    assert niqe(image, moved) == pytest.approx(float(step.norm()) / 2)


def test_niqe_leaves_flat_blocks_and_what_lies_beside_whole_blocks_out() -> None:
    image = textured(192, 288)
    pristine = Pristine(torch.zeros(36, dtype=torch.float64), torch.eye(36, dtype=torch.float64), WINDOW)
    wider = torch.cat([image, textured(192, 90, seed=1)], 2)
    assert niqe(wider[None], pristine) == niqe(image[None], pristine)
    flat = image.clone()
    flat[:, :, 180:] = 77
    assert statistics(flat[None], WINDOW).isnan().any(1).tolist() == [False, False, True] * 2
    assert np.isfinite(niqe(flat[None], pristine))


def test_a_gray_picture_is_its_own_luma_for_niqe() -> None:
    gray = textured(96, 192)[:1]
    assert torch.equal(statistics(gray[None], WINDOW), statistics(gray[None].double(), WINDOW))
    replicated = statistics(gray.expand(3, -1, -1)[None], WINDOW)  # 219 levels of 255
    assert not torch.allclose(statistics(gray[None], WINDOW), replicated, equal_nan=True)


@pytest.mark.parametrize(
    ("size", "flat", "found"), [((95, 300), False, "none"), ((96, 191), False, "1"), ((192, 192), True, "none")]
)
def test_too_few_blocks_for_niqe_are_a_sentence(size: tuple[int, int], flat: bool, found: str) -> None:
    pristine = Pristine(torch.zeros(36, dtype=torch.float64), torch.eye(36, dtype=torch.float64), WINDOW)
    image = torch.full((1, 3, *size), 9, dtype=torch.uint8) if flat else textured(*size)[None]
    with pytest.raises(
        InputError, match=f"niqe needs two blocks of 96x96 pixels.* {size[1]}x{size[0]} pixels give {found}: leave"
    ):
        niqe(image, pristine)


def test_the_perceptual_index_is_half_of_niqe_and_of_what_ma_lacks_to_ten() -> None:
    assert pi(5.0, 8.5) == 3.25
    assert pi(0.0, 10.0) == 0


def test_scores_of_ma_are_read_by_the_names_of_pictures(tmp_path: Path) -> None:
    path = tmp_path / "ma.csv"
    path.write_bytes('\ufeffname,ma\r\nbaboon.png,8.5\r\n\r\n"sub/a, b",0\r\n'.encode())
    scores = read_ma(path)
    assert scores == {"baboon.png": 8.5, "sub/a, b": 0}
    assert [score_of(scores, name) for name in ("baboon.png", "sub/a, b.jpg")] == [8.5, 0]
    with pytest.raises(InputError, match=r"^a, b\.jpg has no score in the file of --ma"):
        score_of(scores, "a, b.jpg")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "does not begin with the line name,ma"),
        (b"baboon.png,8.5\n", "does not begin with the line name,ma"),
        (b"name,ma\nbaboon.png\n", "line 2: expected a picture's name and its score"),
        (b"name,ma\n,3\n", "line 2: expected a picture's name"),
        (b"name,ma\na,1\nb,high\n", "line 3: high is no score of Ma's, which lies between 0 and 10"),
        (b"name,ma\na,nan\n", "line 2: nan is no score"),
        (b"name,ma\na,10.5\n", "line 2: 10.5 is no score"),
        (b"name,ma\na,1\na,1\n", "line 3: a has a score already"),
        (b"name,ma\n\xff,1\n", "cannot be read"),
        (b'name,ma\n"a,1\n', "cannot be read"),
    ],
)
def test_a_wrong_file_of_scores_is_a_sentence(text: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "ma.csv"
    path.write_bytes(text)
    with pytest.raises(UsageError, match=re.escape(said)):
        read_ma(path)


def test_no_file_of_scores_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.csv cannot be read .*No such file.*--ma takes"):
        read_ma(tmp_path / "none.csv")
