"""gantool from Python, as the README shows it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import gantool
from gantool import __version__
from gantool.errors import UsageError
from gantool.layers.resampling import imresize
from gantool.metrics import measure

PHOTO = Path(__file__).parent / "data" / "parrots.png"


def test_a_picture_is_read_upscaled_and_written(tmp_path: Path) -> None:
    small = gantool.read(str(PHOTO))
    before = small.color.clone()
    large = gantool.load("bicubic-x3").upscale(small)
    gantool.write(str(tmp_path / "large.png"), large)
    assert gantool.read(tmp_path / "large.png").color.shape == (3, 3 * 128, 3 * 192)
    assert torch.equal(small.color, before)


def test_any_scale_can_be_asked_for() -> None:
    assert gantool.load("bicubic-x3").upscale(gantool.read(PHOTO), scale=2.5).color.shape == (3, 320, 480)


def test_an_unknown_model_is_answered_with_the_near_ones() -> None:
    with pytest.raises(UsageError, match="did you mean bicubic"):
        gantool.load("bicubc")


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'downscale'"):
        gantool.downscale  # noqa: B018


def test_importing_gantool_is_light() -> None:
    code = "import sys, gantool; sys.exit(len({'torch', 'numpy', 'PIL', 'cv2'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_version_is_printed() -> None:
    done = subprocess.run([sys.executable, "-m", "gantool", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == __version__


def test_the_bundled_network_beats_bicubic_on_the_readme_photo_by_far() -> None:
    small = gantool.read(PHOTO)
    low = imresize(small.color[None], 1 / 4)[0]
    scores = {}
    for name in ("bicubic-x4", "span-x4"):
        result = gantool.load(name).upscale(gantool.Picture(low)).color
        scores[name] = measure(result, small.color, ["psnr-y"], border=4)["psnr-y"]
    assert scores["span-x4"] > scores["bicubic-x4"] + 1
