"""The measures of the benchmarks against published numbers, closed forms and plain loops; the script that prints them."""

from __future__ import annotations

from importlib import import_module
from math import prod
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from benchmarks import judging
from safetensors.torch import save_file
from torch import Tensor

from gantool import frozen
from gantool.images import Picture, read, write
from gantool.layers.resampling import imresize

Weights = dict[str, Tensor]
FIRES = {3: (16, 64), 4: (16, 64), 6: (32, 128), 7: (32, 128), 9: (48, 192), 10: (48, 192), 11: (64, 256), 12: (64, 256)}


def textured(height: int, width: int, seed: int = 0) -> Tensor:
    """Return a picture (3, height, width) uint8 of blobs of several sizes."""
    generator = torch.Generator().manual_seed(seed)
    sizes = (8, 4, 2, 1)
    layers = [imresize(torch.randn(1, 3, height // n, width // n, generator=generator), n, (height, width)) for n in sizes]
    return (128 + 25 * sum(layers)[0]).clamp(0, 255).to(torch.uint8)


def plain(level: tuple[int, int, int], height: int = 64, width: int = 64) -> Tensor:
    return torch.tensor(level, dtype=torch.uint8).view(3, 1, 1).expand(3, height, width)


@pytest.fixture(scope="module")
def caffe(tmp_path_factory: pytest.TempPathFactory) -> tuple[Weights, Path]:
    """A SqueezeNet of random weights that takes BGR, and its file."""
    generator = torch.Generator().manual_seed(0)
    shapes = {"0": (64, 3, 3, 3)}
    c_in = 64
    for number, (narrow, wide) in FIRES.items():
        shapes[f"{number}.squeeze"] = (narrow, c_in, 1, 1)
        shapes |= {f"{number}.expand{n}x{n}": (wide, narrow, n, n) for n in (1, 3)}
        c_in = 2 * wide
    weights = {}
    for name, shape in shapes.items():
        weights[f"features.{name}.weight"] = torch.randn(shape, generator=generator) * (2 / prod(shape[1:])) ** 0.5
        weights[f"features.{name}.bias"] = torch.randn(shape[0], generator=generator) * 0.1
    weights["features.0.weight"] /= 64  # colours count to 255
    path = tmp_path_factory.mktemp("features") / "squeezenet.safetensors"
    save_file(weights, path, {"input": "BGR, 0..255 minus (103.939, 116.779, 123.68)"})
    return weights, path


def directions(weights: Weights, image: Tensor, layer: int) -> Tensor:
    """Return features up to a layer by torchvision's number, of length 1 at each place."""
    x = (image.flip(0).float() - torch.tensor([103.939, 116.779, 123.68]).view(3, 1, 1))[None]
    x = F.conv2d(x, weights["features.0.weight"], weights["features.0.bias"], stride=2).relu()
    for number in range(2, layer + 1):
        if number not in FIRES:
            x = F.max_pool2d(x, 3, 2, ceil_mode=True)
            continue
        layers = [
            [weights[f"features.{number}.{part}.{kind}"] for kind in ("weight", "bias")]
            for part in ("squeeze", "expand1x1", "expand3x3")
        ]
        x = F.conv2d(x, *layers[0]).relu()
        x = torch.cat([F.conv2d(x, *layers[1]), F.conv2d(x, *layers[2], padding=1)], 1).relu()
    return F.normalize(x[0].double(), dim=0)


def between(weights: Weights, one: Tensor, other: Tensor, layers: tuple[int, ...]) -> float:
    return sum(float((directions(weights, one, n) - directions(weights, other, n)).square().sum(0).mean()) for n in layers)


def test_the_feature_distance_is_the_squared_one_of_directions(caffe: tuple[Weights, Path]) -> None:
    weights, path = caffe
    network, _ = frozen.load("squeezenet", str(path))
    one, other = textured(64, 96), textured(64, 96, seed=1)
    wanted = between(weights, one, other, (1, 4, 7, 11, 12))
    assert judging.feature_distance(one, other, network) == pytest.approx(wanted, rel=1e-4)
    wanted = between(weights, one, other, (6,))
    assert judging.feature_distance(one, other, network, ["fire4"]) == pytest.approx(wanted, rel=1e-4)
    assert judging.feature_distance(one, one, network) == 0


def test_the_feature_distance_of_a_gray_picture_is_that_of_three_equal_channels(caffe: tuple[Weights, Path]) -> None:
    network, _ = frozen.load("squeezenet", str(caffe[1]))
    one, other = textured(64, 64)[:1], textured(64, 64, seed=1)[:1]
    in_color = [each.expand(3, -1, -1) for each in (one, other)]
    assert judging.feature_distance(one, other, network) == judging.feature_distance(*in_color, network)


@pytest.mark.parametrize(
    ("color", "wanted"),
    [
        ((1.0, 1.0, 1.0), (100.0, 0.0, 0.0)),
        ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
        ((1.0, 0.0, 0.0), (53.24, 80.09, 67.20)),
        ((0.0, 1.0, 0.0), (87.73, -86.18, 83.18)),
        ((0.0, 0.0, 1.0), (32.30, 79.19, -107.86)),
    ],
)
def test_colours_have_their_published_places(color: tuple[float, ...], wanted: tuple[float, ...]) -> None:
    found = judging.lab(torch.tensor(color, dtype=torch.float64).view(3, 1, 1))
    assert found.flatten().tolist() == pytest.approx(wanted, abs=0.03)


def test_a_shift_of_colour_is_what_it_is_and_detail_is_none() -> None:
    low = plain((100, 120, 140), 16, 16)
    shifted = plain((104, 120, 136))
    distance = (judging.lab(low[:, :1, :1] / 255) - judging.lab(shifted[:, :1, :1] / 255)).norm().item()
    assert judging.color_shift(plain((100, 120, 140)), low, 8) == pytest.approx(0, abs=1e-9)
    assert judging.color_shift(shifted, low, 8) == pytest.approx(distance, rel=1e-4)
    rough = plain((100, 120, 140)).int() + 20 * (-1) ** (torch.arange(64)[:, None] + torch.arange(64))
    assert judging.color_shift(rough.to(torch.uint8), low, 8) < 0.01


def test_bicubic_has_no_shift_and_the_wrong_place_has_one() -> None:
    high = textured(96, 128)
    low = imresize(high[None], 1 / 4)[0]
    assert judging.color_shift(imresize(low[None], 4)[0], low, 8) < 0.1
    assert judging.color_shift(high.roll(32, 2), low, 8) > 0.5


def test_the_script_judges_at_three_strengths_and_draws_sheets(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(Path(judging.__file__).parent)  # as for a script
    data = tmp_path / "data"
    (data / "kodak24").mkdir(parents=True)
    (data / "weights").symlink_to(shared / "data/weights")
    write(data / "kodak24/01.png", Picture(textured(192, 256)))
    import_module("photos").main(["strengths", str(data), "bicubic", "--sheet", str(tmp_path / "sheet.png")])
    tables = [block.splitlines() for block in capsys.readouterr().out.strip().split("\n\n")]
    assert [lines[0].split(" | ")[0] for lines in tables] == ["| mild", "| medium", "| strong"]
    cells = [[line.strip("| ").split(" | ") for line in lines[2:]] for lines in tables]
    assert [row[0] for row in cells[0]] == ["bicubic-x4", "bicubic-x4", "original"]
    assert all(found[0][:6] == found[1][:6] for found in cells)  # the same, but for the time it took
    quality = [[float(found[0][column]) for found in cells] for column in (2, 3)]
    assert quality[0] == sorted(quality[0])  # further from the original, the more was done
    assert quality[1] == sorted(quality[1], reverse=True)
    assert read(tmp_path / "sheet-strong.png").color.shape == (3, 24 + 192, 3 * 192)
