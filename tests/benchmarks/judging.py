"""How good made-up detail looks, which no pixel's error tells: measures of 8-bit pictures, computed in float64.

`niqe` asks whether a picture has the statistics of sharp photos (Mittal, Soundararajan and Bovik, IEEE SPL 2013),
`feature_distance` how unlike the original it is to a network that was trained to recognise things, and `color_shift` whether
its colours have moved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gantool.layers.features import FeatureNetwork
from gantool.layers.resampling import imresize
from gantool.metrics.luma import luma

LAYERS = ("relu1", "fire3", "fire5", "fire8", "fire9")  # of SqueezeNet; losses look at others, so as not to judge themselves
BLOCK = 96  # pixels a side, of what NIQE takes the statistics of
NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))
SHAPES = 0.2 + torch.arange(9801, dtype=torch.float64) / 1000  # among which the one of a distribution is sought
# sRGB's primaries, IEC 61966-2-1; white is the sum of the columns
TO_XYZ = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
TO_LAB = ((0.0, 116.0, 0.0), (500.0, -500.0, 0.0), (0.0, 200.0, -200.0))


@dataclass(frozen=True)
class Pristine:
    """What NIQE compares with: mean (36) and covariance (36, 36) of sharp photos' features, and the window (7, 7) for them."""

    mean: Tensor
    covariance: Tensor
    window: Tensor


def read_pristine(path: Path) -> Pristine:
    """Return NIQE's parameters from an .npz with the names of its implementations in Python."""
    with np.load(path) as found:
        names = ("mu_pris_param", "cov_pris_param", "gaussian_window")
        mean, covariance, window = (torch.from_numpy(found[name]).double() for name in names)
    return Pristine(mean.flatten(), covariance, window)


def niqe(image: Tensor, pristine: Pristine) -> float:
    """Return the distance of a picture's statistics from those of sharp photos, lower is better.

    Args:
        image: (3|1, H, W) uint8 with two blocks of 96x96 pixels or more that are not flat; what whole blocks leave is left out.
        pristine: what is compared with.
    """
    found = statistics(image, pristine.window)
    whole = found[~found.isnan().any(1)]
    assert len(whole) > 1, "too few blocks of 96x96 pixels for NIQE"
    # as its authors: the mean leaves out numbers that are not defined, the covariance blocks that have any
    difference = pristine.mean - found.nanmean(0)
    inverse = torch.linalg.pinv((pristine.covariance + whole.T.cov()) / 2)
    return float((difference @ inverse @ difference).sqrt())


def statistics(image: Tensor, window: Tensor) -> Tensor:
    """Return NIQE's 36 features of each block of an image (3|1, H, W), (blocks, 36): 18 of it and 18 of it at half the size."""
    y = (luma(image[None]) + 0.5).floor()
    y = y[..., : y.shape[2] // BLOCK * BLOCK, : y.shape[3] // BLOCK * BLOCK]
    whole = _features(_contrast(y, window), BLOCK)
    return torch.cat([whole, _features(_contrast(imresize(y, 0.5), window), BLOCK // 2)], 1)


def _contrast(y: Tensor, window: Tensor) -> Tensor:
    """Return what is left of (1, 1, H, W) without the local mean and deviation, (H, W)."""
    margin = window.shape[0] // 2
    local = F.pad(y, (margin,) * 4, mode="replicate")
    mean, squares = (F.conv2d(each, window[None, None]) for each in (local, local.square()))
    detail = y - mean
    # flat places have none: what rounding leaves there would be counted as left or right of 0
    detail = detail.where(detail.abs() > 1e-9, 0)
    return (detail / ((squares - mean.square()).abs().sqrt() + 1))[0, 0]


def _features(contrast: Tensor, side: int) -> Tensor:
    """Return (blocks, 18): shape and width of the contrast's distribution, and of its products with four neighbours."""
    blocks = contrast.unfold(0, side, side).unfold(1, side, side).reshape(-1, side, side)
    shape, left, right = fit(blocks.flatten(1))
    found = [shape, (left + right) / 2]
    for offset in NEIGHBOURS:
        shape, left, right = fit((blocks * blocks.roll(offset, (1, 2))).flatten(1))
        found += [shape, (right - left) * (torch.lgamma(2 / shape) - torch.lgamma(1 / shape)).exp(), left, right]
    return torch.stack(found, 1)


def fit(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return shape, left and right scale, each (N), of the asymmetric generalised Gaussian with the moments of values (N, P).

    Not a number where there are none on one side of 0 (Lasmar, Stitou and Berthoumieu, ICIP 2009).
    """
    squares = values.square()
    left, right = (((squares * side).sum(1) / side.sum(1)).sqrt() for side in (values < 0, values > 0))
    lean = left / right
    ratio = values.abs().mean(1).square() / squares.mean(1)
    ratio = ratio * (lean**3 + 1) * (lean + 1) / (lean.square() + 1).square()
    known = (2 * torch.lgamma(2 / SHAPES) - torch.lgamma(1 / SHAPES) - torch.lgamma(3 / SHAPES)).exp()
    shape = SHAPES[(known - ratio[:, None]).square().argmin(1)]
    spread = ((torch.lgamma(1 / shape) - torch.lgamma(3 / shape)) / 2).exp()
    return shape, left * spread, right * spread


def feature_distance(result: Tensor, reference: Tensor, network: FeatureNetwork, layers: Sequence[str] = LAYERS) -> float:
    """Return how unlike two pictures are to a network: 0 for the same, at most 4 a layer.

    At each place the vector of features is brought to length 1; the squared distances are averaged over places and added over
    layers. LPIPS does so too, but weighs the channels by what people saw, and looks through other networks: the numbers are
    not comparable.

    Args:
        result: (3|1, H, W) uint8.
        reference: the same size.
        network: what looks at them, without padding or scaling of ours.
        layers: of the network.
    """
    assert result.shape[1:] == reference.shape[1:]
    pair = torch.stack([each.expand(3, -1, -1) for each in (result, reference)]).float() / 255
    with torch.inference_mode():
        found = [each.double() for each in network(pair, layers)]
    units = [each / (each.square().sum(1, keepdim=True).sqrt() + 1e-10) for each in found]
    return sum(float((one - other).square().sum(0).mean()) for one, other in units)


def color_shift(result: Tensor, low: Tensor, sigma: float) -> float:
    """Return the mean colour difference (CIE 1976) of a picture to the smaller one it was made of, where both have no detail.

    The smaller one is enlarged by MATLAB's bicubic, and both are blurred. That is done to them as they are coded: in linear
    light, noise would make the smaller one brighter, and its removal count as a shift. What of noise and JPEG's errors the blur
    leaves counts as one all the same: the original's own shift is the least that a good result can have.

    Args:
        result: (3|1, H, W) uint8.
        low: (3|1, H', W') uint8.
        sigma: of the Gaussian blur, in pixels of the result.
    """
    size = result.shape[1], result.shape[2]
    larger = imresize(low[None].double(), (size[0] / low.shape[1], size[1] / low.shape[2]), size)[0]
    one, other = (lab(_blurred(each.double().expand(3, -1, -1), sigma).clamp(0, 255) / 255) for each in (result, larger))
    return float((one - other).square().sum(0).sqrt().mean())


def _blurred(image: Tensor, sigma: float) -> Tensor:
    pixels = image.permute(1, 2, 0).contiguous().numpy()
    return torch.from_numpy(cv2.GaussianBlur(pixels, (0, 0), sigma)).permute(2, 0, 1)


def lab(image: Tensor) -> Tensor:
    """Return L*, a*, b* (3, H, W) of an sRGB image (3, H, W) in [0, 1], under the white of sRGB, D65."""
    linear = torch.where(image <= 0.04045, image / 12.92, ((image + 0.055) / 1.055) ** 2.4)
    to_xyz = image.new_tensor(TO_XYZ)
    xyz = torch.einsum("ij,jhw->ihw", to_xyz / to_xyz.sum(1, keepdim=True), linear)  # relative to white
    f = torch.where(xyz > (6 / 29) ** 3, xyz ** (1 / 3), xyz * (29 / 6) ** 2 / 3 + 4 / 29)
    result = torch.einsum("ij,jhw->ihw", image.new_tensor(TO_LAB), f)
    return torch.cat([result[:1] - 16, result[1:]])
