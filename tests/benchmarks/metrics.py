"""Time of psnr-y and ssim-y beside scikit-image's for the same numbers.

    OMP_NUM_THREADS=1 python tests/benchmarks/metrics.py
    OMP_NUM_THREADS=2 python tests/benchmarks/metrics.py --pictures 100

From 8-bit RGB in memory to the two numbers; decoding and saving are no part of it. Here that is `gantool.metrics.measure`;
there `rgb2ycbcr` of both pictures, `peak_signal_noise_ratio`, and `structural_similarity` with the options that make it the
literature's. All pictures go through the one, then all through the other, and so on for some rounds; of each picture's times
the least counts, so that other work on the machine does not. A second ratio leaves the luma out of scikit-image's time, as if
it came for free, but not out of ours. Pictures are drawn: blocks of colour and noise, and the same with errors. Exits with 1 if
a number differs by more than 1e-6, or the first ratio is above a quarter.
"""

from __future__ import annotations

import argparse
import sys
from time import perf_counter

import numpy as np
import torch
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from gantool.metrics import measure

WIDTH, HEIGHT = 480, 320  # 0.15 megapixels
LIMIT = 0.25


def pair(seed: int) -> tuple[Tensor, Tensor]:
    """Return a result and its reference, (3, H, W) uint8, with their channels side by side, as they are read from files."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 255, (3, HEIGHT // 8, WIDTH // 8))
    reference = np.kron(coarse, np.ones((8, 8))).transpose(1, 2, 0) * 0.8 + rng.uniform(0, 50, (HEIGHT, WIDTH, 3))
    result = reference + rng.normal(0, 8, reference.shape)
    return as_read(result), as_read(reference)


def as_read(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels.round().clip(0, 255), dtype=np.uint8)).permute(2, 0, 1)


def luma_there(picture: Tensor) -> np.ndarray:
    return np.ascontiguousarray(rgb2ycbcr(picture.permute(1, 2, 0).numpy())[..., 0])


def numbers_there(x: np.ndarray, y: np.ndarray) -> list[float]:
    """Return PSNR and SSIM of two lumas; the SSIM is the mean over the pixels where the window fits."""
    similarity = structural_similarity(x, y, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255)
    return [float(peak_signal_noise_ratio(y, x, data_range=255)), float(similarity)]


def here(result: Tensor, reference: Tensor) -> tuple[list[float], list[float]]:
    """Return the two numbers, and the seconds they took."""
    start = perf_counter()
    numbers = list(measure(result, reference, ["psnr-y", "ssim-y"], 0).values())
    return numbers, [perf_counter() - start]


def there(result: Tensor, reference: Tensor) -> tuple[list[float], list[float]]:
    """Return scikit-image's two numbers, and the seconds that the luma and they took."""
    start = perf_counter()
    x, y = luma_there(result), luma_there(reference)
    middle = perf_counter()
    numbers = numbers_there(x, y)
    return numbers, [middle - start, perf_counter() - middle]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    pairs = [pair(seed) for seed in range(arguments.pictures)]
    rounds = [[[side(*each) for each in pairs] for side in (here, there)] for _ in range(arguments.rounds)]
    ours, theirs = (np.array([[numbers for numbers, _ in sides[k]] for sides in rounds]) for k in (0, 1))
    (mine,), (luma, rest) = (np.array([[t for _, t in sides[k]] for sides in rounds]).min(0).sum(0) for k in (0, 1))
    print(f"{len(pairs)} pictures of {WIDTH}x{HEIGHT}, {torch.get_num_threads()} threads, {arguments.rounds} rounds")
    print(f"{mine:.3f} s here; {luma:.3f} s for the luma and {rest:.3f} s for the numbers with scikit-image")
    print(f"ratio {mine / (luma + rest):.3f}; {mine / rest:.3f} with scikit-image's luma for free")
    print(f"the numbers differ by {abs(ours - theirs).max():.1e} at most")
    return int(mine / (luma + rest) > LIMIT or abs(ours - theirs).max() > 1e-6)


if __name__ == "__main__":
    sys.exit(main())
