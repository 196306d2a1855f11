"""DISTS: structure and texture of two pictures compared by a network's features (Ding et al., TPAMI 2020, arXiv:2004.07728).

Written by hand; checked against torchmetrics with the same network and weights. As torchmetrics and pyiqa have it, pictures are
whole; the authors' example program first shrinks what is larger than 256 pixels to that, which gives other numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.linalg import vecdot

from gantool.errors import InputError
from gantool.layers.features import FeatureNetwork, exact

LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")
CHANNELS = (3, 64, 128, 256, 512, 512)  # of the picture itself, then of the layers
LEAST = 16  # pixels a side: a pixel for each of the last layer's
EPSILON = 1e-6  # of both similarities
CHUNK_ELEMENTS = 1 << 20  # numbers compared at once in float64


@dataclass(frozen=True)
class Weights:
    """What each channel counts, in the order of `CHANNELS`, 1475 in all.

    Attributes:
        texture: alpha, of the similarity of means, (1475).
        structure: beta, of the similarity of what lies round them, (1475).
    """

    texture: Tensor
    structure: Tensor


def dists(result: Tensor, reference: Tensor, network: FeatureNetwork, weights: Weights) -> float:
    """Return the DISTS distance of two pictures: 0 for the same, at most about 1.

    Args:
        result: (1, 3|1, H, W) uint8; gray counts as three equal channels.
        reference: the same size.
        network: VGG16, whose poolings are replaced by those of the paper, and on whose device all this is computed.
        weights: of the channels; only their shares in the sum of all count.

    Raises:
        InputError: a side has fewer than 16 pixels.
    """
    height, width = result.shape[2:]
    if min(height, width) < LEAST:
        raise InputError(f"{width}x{height} pixels are too few for dists, which halves them four times: leave it out")
    pair = torch.cat([each.expand(-1, 3, -1, -1) for each in (result, reference)]).to(network.mean.device).float() / 255
    texture, structure = (torch.split(each.double(), list(CHANNELS)) for each in (weights.texture, weights.structure))
    alike = 0.0
    # a GPU's shorter numbers for convolutions would be seen in the fourth digit
    with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        for (one, other), alpha, beta in zip(_features(pair, network), texture, structure, strict=True):
            means, structures = _similarities(one.flatten(1), other.flatten(1))
            alike += float(alpha @ means + beta @ structures)
    return 1 - alike / float(weights.texture.double().sum() + weights.structure.double().sum())


def _features(images: Tensor, network: FeatureNetwork) -> Iterator[Tensor]:
    """Yield images (N, 3, H, W) in [0, 1] themselves and their features at each of `LAYERS`."""
    yield images
    x, wanted = network.normalized(images), {network.index[layer] for layer in LAYERS}
    for number, module in enumerate(network.features[: max(wanted) + 1]):
        x = _pooled(x) if isinstance(module, nn.MaxPool2d) else module(x)
        if number in wanted:
            yield x


def _pooled(x: Tensor) -> Tensor:
    """Return (N, C, ceil(H / 2), ceil(W / 2)): the root of the mean square under a Hann window of 3x3."""
    taps = x.new_tensor([0.25, 0.5, 0.25])
    window = torch.outer(taps, taps).expand(x.shape[1], 1, 3, 3)
    return (F.conv2d(x.square(), window, stride=2, padding=1, groups=x.shape[1]) + 1e-12).sqrt()


def _similarities(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Return the similarity of means, and of deviations from them, of each channel, (C) each on the CPU, of features (C, P)."""
    found = []
    channels = max(1, CHUNK_ELEMENTS // one.shape[1])
    for chunk in zip(torch.split(one, channels), torch.split(other, channels), strict=True):
        x, y = map(exact, chunk)
        mean_x, mean_y = x.mean(1), y.mean(1)
        x.sub_(mean_x[:, None])
        y.sub_(mean_y[:, None])
        texture = (2 * mean_x * mean_y + EPSILON) / (mean_x.square() + mean_y.square() + EPSILON)
        spread, covariance = (sums / one.shape[1] for sums in (vecdot(x, x) + vecdot(y, y), vecdot(x, y)))
        found.append(torch.stack([texture, (2 * covariance + EPSILON) / (spread + EPSILON)]))
    texture, structure = torch.cat(found, 1).cpu()
    return texture, structure
