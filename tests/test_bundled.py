"""What comes with gantool does its job without a network: digits are digits, damaged photos get better."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from conftest import Result

from gantool import entries, images, translate, weights
from gantool.images import Picture
from gantool.metrics import measure

Run = Callable[..., Result]

PHOTO = Path(__file__).parent / "data" / "parrots.png"


@pytest.mark.parametrize("name", ["cgan-digits", "photo-x4", "restore"])
def test_a_bundled_file_says_what_it_is_and_what_was_measured(name: str) -> None:
    entry = entries.entries()[name]
    path = weights.locate(entry, offline=True)
    assert path.stat().st_size == entry.bytes
    header = weights.load(name, offline=True).header
    assert header["weights"] == "ema"
    assert isinstance(header["metrics"], dict)
    assert header["metrics"]
    recipe = Path(__file__).parent / "training" / f"{name}.toml"
    assert recipe.is_file()
    assert f"tests/training/{name}.toml" in entry.source


def test_bundled_digits_are_those_that_were_asked_for(shared: Path, tmp_path: Path, run_cli: Run) -> None:
    """An independent network, whose accuracy on real digits is 98.6 %, reads them."""
    asked = ",".join(str(n) for n in range(10))
    ended = run_cli("generate", "-m", "cgan-digits", "--seeds", "0-99", "--label", asked, "-o", tmp_path / "out", "--offline")
    assert ended.status == 0, ended.err
    made = torch.stack([images.read(tmp_path / "out" / f"seed{n:04}.png").color for n in range(100)])
    assert made.shape == (100, 1, 28, 28)
    found = lenet(shared, made.float() / 255).argmax(1)
    assert (found == torch.arange(100) % 10).float().mean() >= 0.9


def lenet(shared: Path, digits: torch.Tensor) -> torch.Tensor:
    """Logits of the LeNet in shared, whose input is padded to 32 pixels."""
    [path] = (shared / "data/weights/mnist/mnist_classifier/weights").glob("lenet*.pth")
    state = torch.load(path, weights_only=True)

    def layer(name: str) -> list[torch.Tensor]:
        return [state[f"{name}.weight"], state[f"{name}.bias"]]

    x = F.pad(digits, (2, 2, 2, 2))
    for name in ("convnet.c1", "convnet.c3"):
        x = F.max_pool2d(F.relu(F.conv2d(x, *layer(name))), 2)
    x = F.relu(F.conv2d(x, *layer("convnet.c5"))).flatten(1)
    return F.linear(F.relu(F.linear(x, *layer("fc.f6"))), *layer("fc.f7"))


@pytest.mark.parametrize(("sigma", "quality", "gain"), [(15, None, 2.0), (15, 40, 1.5)])
def test_restore_makes_a_damaged_photo_better(sigma: float, quality: int | None, gain: float) -> None:
    original = images.read(PHOTO).color
    rng = np.random.default_rng(0)
    levels = (original.permute(1, 2, 0).numpy() + rng.normal(0, sigma, (*original.shape[1:], 3))).clip(0, 255).astype(np.uint8)
    if quality:
        levels = cv2.imdecode(cv2.imencode(".jpg", levels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)
    damaged = torch.from_numpy(levels).permute(2, 0, 1)
    restored = translate.translate(Picture(damaged), weights.load("restore", offline=True)).color
    before, after = (measure(each, original, ["psnr-y"], border=0)["psnr-y"] for each in (damaged, restored))
    assert after - before > gain


def test_restore_takes_any_size_and_keeps_gray_gray(tmp_path: Path, run_cli: Run) -> None:
    photo = images.read(PHOTO).color
    for height, width in ((1, 1), (7, 100), (33, 31)):
        source, target = tmp_path / "a.png", tmp_path / "b.png"
        images.write(source, Picture(photo[:1, :height, :width]))
        ended = run_cli("translate", source, "-m", "restore", "-o", target, "--overwrite", "--offline", "--json")
        assert ended.status == 0, ended.err
        assert images.read(target).color.shape == (1, height, width)
        assert json.loads(ended.out)["model"] == "restore"


def test_photo_finds_more_of_a_noisy_picture_than_the_network_for_clean_ones(tmp_path: Path, run_cli: Run) -> None:
    """What the network for clean pictures makes of the clean picture stands for the truth, in sharpness and in colours."""
    clean = images.read(PHOTO).color
    rng = np.random.default_rng(0)
    levels = (clean.permute(1, 2, 0).numpy() + rng.normal(0, 12, (*clean.shape[1:], 3))).clip(0, 255).astype(np.uint8)
    noisy = torch.from_numpy(levels).permute(2, 0, 1)
    images.write(tmp_path / "clean.png", Picture(clean))
    images.write(tmp_path / "noisy.png", Picture(noisy))
    made = {}
    for source, model in (("clean", "span-x4"), ("noisy", "span-x4"), ("noisy", "photo")):
        target = ("-o", tmp_path / "out.png", "--overwrite")
        ended = run_cli("upscale", tmp_path / f"{source}.png", "-m", model, *target, "--offline")
        assert ended.status == 0, ended.err
        made[source, model] = images.read(tmp_path / "out.png").color
    truth = made["clean", "span-x4"]
    before, after = (measure(made["noisy", name], truth, ["psnr"], border=0)["psnr"] for name in ("span-x4", "photo"))
    assert after - before > 2
    shift = made["noisy", "photo"].float().mean((1, 2)) - truth.float().mean((1, 2))
    assert shift.abs().max() < 4  # levels of 255
