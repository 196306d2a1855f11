"""Memory through the whole of `gantool upscale` does not grow with the height of a picture."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import CHECKOUT

from gantool.images import FORMATS, Metadata, Page, create

WIDTH = 500
ONE_CORE = """
import os, sys
from gantool import cli
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # so that threads do not race for the heap: its holes would differ
cli.main()
"""


def tall(path: Path, height: int, channels: int) -> Path:
    """Write a picture that nobody holds."""
    page = Page(WIDTH, height, channels)
    levels = np.add.outer(np.arange(100), np.arange(channels * WIDTH)) // 5 % 256
    band = levels.astype(np.uint8).reshape(100, WIDTH, channels)
    band[:, :, 3:] |= 0x80  # alpha that is nowhere flat, and hides nothing
    with create(path, FORMATS[path.suffix], [page], Metadata(), 90) as file:
        for _ in range(height // 100):
            file.write(band)
    return path


def peaks(*args: object) -> list[int]:
    """Run the command in a process of its own on one core; return the MiB of its peak after each picture."""
    program = [sys.executable, "-c", ONE_CORE, "upscale", *map(str, args), "--json"]
    env = {**os.environ, "PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(program, capture_output=True, text=True, check=True, timeout=100, env=env)
    return [json.loads(line)["peak_bytes"] >> 20 for line in done.stdout.splitlines()]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="cores are chosen as Linux does")
@pytest.mark.parametrize(("suffix", "form", "channels", "scale", "height"), [
    (".png", "tiff", 4, 1, 96_000),
    (".jpg", "png", 3, 1, 64_000),
    (".tif", "jpeg", 3, 2, 32_000),
])  # fmt: skip
def test_a_taller_picture_takes_no_more_memory(
    suffix: str, form: str, channels: int, scale: int, height: int, tmp_path: Path
) -> None:
    pictures = [tall(tmp_path / f"{each}{suffix}", each, channels) for each in (8000, height)]
    options = ("-m", "bicubic", "-s", scale, "--format", form, "-o", f"{tmp_path}/out/")
    attempts = (peaks(*pictures, *options, "--overwrite") for _ in range(3))
    more = (height - 8000) * WIDTH * channels * scale**2 / 2**20  # MiB of the result
    # holes in the heap come and go, up to 100 MiB whatever the height; what is held is `more` on top of them, every time
    assert any(after - before < 0.75 * more for before, after in attempts)
