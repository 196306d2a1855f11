"""By how much libraries count otherwise under the same name: the table in the project's README.

    python tests/benchmarks/conventions.py ../shared/data/set14

Results are bicubic, MATLAB's, of the files of low resolution (x4), rounded to 8 bits; 4 pixels are shaved. Printed is for each
library's number how far it lies from ours: the mean over the pictures, the least and the most, as tables of Markdown. Gray
pictures are left out of what needs colours.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from math import nan
from pathlib import Path

import numpy as np
import torch
from skimage.color import deltaE_ciede2000, rgb2gray, rgb2lab
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    structural_similarity_index_measure,
)
from torchmetrics.functional.image import (
    peak_signal_noise_ratio as torch_psnr,
)

from gantool.evaluation.contestants import find_pairs
from gantool.images import read
from gantool.layers.resampling import imresize
from gantool.metrics import measure
from gantool.metrics.luma import luma

SCALE = 4
AUTHORS = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
Number = Callable[[Tensor, Tensor], float]  # of a result and its reference, (3|1, H, W) uint8


def plane(picture: Tensor) -> np.ndarray:
    """Return the luma (H, W) of 16 to 235."""
    return luma(picture[None])[0, 0].numpy()


def gray(picture: Tensor) -> np.ndarray:
    """Return scikit-image's gray (H, W), in 0 to 255."""
    return rgb2gray(picture.permute(1, 2, 0).numpy()) * 255


def of_luma(number: Callable[..., Tensor], **options: float) -> Number:
    """Return a number of torchmetrics for the luma."""
    return lambda one, other: number(luma(one[None]), luma(other[None]), **options).item()


def delta_e(one: Tensor, other: Tensor) -> float:
    """Return scikit-image's mean colour difference."""
    return float(deltaE_ciede2000(*(rgb2lab(picture.permute(1, 2, 0).numpy()) for picture in (one, other))).mean())


COLORED: dict[tuple[str, str], Number] = {
    ("psnr-y", "scikit-image, rgb2gray"): lambda one, other: peak_signal_noise_ratio(gray(other), gray(one), data_range=255),
    ("ssim", "scikit-image, defaults"): lambda one, other: structural_similarity(one.numpy(), other.numpy(), channel_axis=0),
    ("delta-e", "scikit-image"): delta_e,
}
ALL: dict[tuple[str, str], Number] = {
    ("psnr-y", "scikit-image"): lambda one, other: peak_signal_noise_ratio(plane(other), plane(one), data_range=255),
    ("psnr-y", "torchmetrics, data_range=255"): of_luma(torch_psnr, data_range=255.0),
    ("psnr-y", "torchmetrics, range of the reference"): lambda one, other: torch_psnr(
        luma(one[None]), luma(other[None]), data_range=float(np.ptp(plane(other)))
    ).item(),
    ("ssim-y", "scikit-image, the authors' options"): lambda one, other: structural_similarity(
        plane(one), plane(other), **AUTHORS
    ),
    ("ssim-y", "scikit-image, defaults"): lambda one, other: structural_similarity(plane(one), plane(other), data_range=255),
    ("ssim-y", "torchmetrics"): of_luma(structural_similarity_index_measure, data_range=255.0),
    ("ms-ssim", "torchmetrics"): lambda one, other: multiscale_structural_similarity_index_measure(
        one[None].double(), other[None].double(), data_range=255.0
    ).item(),
}


def pictures(data: Path) -> list[tuple[Tensor, Tensor]]:
    """Return results and references, cropped and shaved."""
    found = []
    for each in find_pairs(data / f"lr_x{SCALE}", data / "hr"):
        low, reference = read(each.result).color, read(each.reference).color
        high = (imresize(low[None].double(), float(SCALE))[0] + 0.5).floor().clamp(0, 255).byte()
        height, width = high.shape[1:]
        inner = (..., slice(SCALE, height - SCALE), slice(SCALE, width - SCALE))
        found.append((high[inner], reference[:, :height, :width][inner]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set14", type=Path)
    pairs = pictures(parser.parse_args().set14)
    print("| metric | by | mean difference | least | most | pictures |\n|---|---|---|---|---|---|")
    for (metric, by), number in (ALL | COLORED).items():
        kept = [pair for pair in pairs if len(pair[1]) == 3 or (metric, by) in ALL]
        differences = [number(*pair) - measure(*pair, [metric], 0).get(metric, nan) for pair in kept]
        mean, least, most = np.mean(differences), min(differences), max(differences)
        print(f"| {metric} | {by} | {mean:+.5f} | {least:+.5f} | {most:+.5f} | {len(kept)} |", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
