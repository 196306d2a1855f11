"""How well photos are restored that noise and JPEG have damaged, whole pictures at their own size.

    python tests/benchmarks/restoration.py MODEL ../shared/data/kodak24 [--sheet SHEET.png]

Damage as `gantool train --pairs denoise` makes it, drawn once for each picture and each kind: Gaussian noise of 5 to 25 levels,
JPEG of quality 20 to 60, both. Given are the mean PSNR-Y before and after, and two faults that such networks have: by how many
levels the mean colour of 16x16 pixels differs from the original's, and how many pixels lie more than 8 levels beyond all of the
5x5 original pixels around them, as halos do.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gantool import images, weights
from gantool.images import Picture
from gantool.metrics import measure
from gantool.translate import translate

KINDS = ("noise", "jpeg", "both")
CROP = 128  # pixels a side, of a sheet's pieces


def damaged(picture: Tensor, kind: str, rng: np.random.Generator) -> Tensor:
    """A picture (3, H, W) uint8 with noise, JPEG's marks, or both."""
    levels = picture.permute(1, 2, 0).numpy()
    sigma, quality = rng.uniform(5, 25), int(rng.integers(20, 61))
    if kind != "jpeg":
        levels = (levels + rng.normal(0, sigma, levels.shape)).round().clip(0, 255).astype(np.uint8)
    if kind != "noise":
        _, data = cv2.imencode(".jpg", levels[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        levels = cv2.imdecode(data, cv2.IMREAD_COLOR)[:, :, ::-1]
    return torch.from_numpy(np.ascontiguousarray(levels)).permute(2, 0, 1)


def faults(found: Tensor, original: Tensor) -> tuple[float, float]:
    """Mean difference of the colour of 16x16 pixels, in levels; share of pixels beyond their surroundings in the original."""
    a, b = found.float()[None], original.float()[None]
    shift = (F.avg_pool2d(a, 16) - F.avg_pool2d(b, 16)).abs().mean()
    highest, lowest = F.max_pool2d(b, 5, 1, 2), -F.max_pool2d(-b, 5, 1, 2)
    return float(shift), float(((a > highest + 8) | (a < lowest - 8)).any(1).float().mean())


def row(original: Tensor, pieces: Sequence[Tensor]) -> Tensor:
    """The middle of each of some pictures, beside one another."""
    top, left = (original.shape[1] - CROP) // 2, (original.shape[2] - CROP) // 2
    return torch.cat([piece[:, top : top + CROP, left : left + CROP] for piece in (*pieces, original)], dim=2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("photos", type=Path)
    parser.add_argument("--sheet", type=Path)
    arguments = parser.parse_args()
    model, rows = weights.load(arguments.model), []
    print("          PSNR-Y before  after  gain | colour shift before  after | beyond before   after")
    for kind in KINDS:
        sums = np.zeros(6)
        paths = sorted(arguments.photos.glob("*.png"))
        for number, path in enumerate(paths):
            original = images.read(path).color
            before = damaged(original, kind, np.random.default_rng(number))
            after = translate(Picture(before), model).color
            scores = [measure(each, original, ["psnr-y"], border=0)["psnr-y"] for each in (before, after)]
            pairs = [faults(each, original) for each in (before, after)]
            sums += [*scores, pairs[0][0], pairs[1][0], pairs[0][1], pairs[1][1]]
            if number < 4:
                rows.append(row(original, [before, after]))
        m = sums / len(paths)
        print(f"{kind:10}{m[0]:13.2f}{m[1]:7.2f}{m[1] - m[0]:6.2f} |{m[2]:20.2f}{m[3]:7.2f} |{m[4]:14.2%}{m[5]:8.2%}")
    if arguments.sheet:
        images.write(arguments.sheet, Picture(torch.cat(rows, dim=1)))


if __name__ == "__main__":
    main()
