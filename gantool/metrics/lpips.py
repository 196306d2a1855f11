"""LPIPS 0.1: how unlike two pictures look, by a network's features (Zhang et al., CVPR 2018, arXiv:1801.03924).

Checked against the package `lpips` of its authors, and torchmetrics, with the same backbone and heads. As published, the
backbones are torchvision's and the pictures are whole, without resizing. Its scaling of colours, (2x - 1 - shift) / scale with
(-.030, -.088, -.188) and (.458, .448, .450), is to the digit the mean and deviation that torchvision's networks expect of x
in [0, 1], so that a `FeatureNetwork` does it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gantool.errors import InputError, UsageError
from gantool.layers.features import FeatureNetwork, exact

LAYERS = {
    "alexnet": ("relu1", "relu2", "relu3", "relu4", "relu5"),
    "vgg16": ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3"),
    "squeezenet": ("relu1", "fire3", "fire5", "fire6", "fire7", "fire8", "fire9"),
}
"""Where each backbone is looked at, in the order of the heads."""
CHANNELS = {
    "alexnet": (64, 192, 384, 256, 256),
    "vgg16": (64, 128, 256, 512, 512),
    "squeezenet": (64, 128, 256, 384, 384, 512, 512),
}
"""Of these layers, hence of the heads."""
BAND_ELEMENTS = 1 << 18  # numbers compared at once in float64, so that memory does not grow beyond the features themselves


def lpips(result: Tensor, reference: Tensor, network: FeatureNetwork, heads: Sequence[Tensor]) -> float:
    """Return the LPIPS distance of two pictures through AlexNet: 0 for the same, seldom above 1.

    At each place and layer the vector of features is brought to length 1; the squared differences, weighted by channel, are
    averaged over places and added over layers (eq. 1).

    Args:
        result: (1, 3|1, H, W) uint8; gray counts as three equal channels.
        reference: the same size.
        network: the backbone, on whose device all this is computed.
        heads: weights (C) of each layer's channels.

    Raises:
        InputError: the pictures are too small for the network.
    """
    return _distance(result, reference, network, heads, "lpips")


def lpips_vgg(result: Tensor, reference: Tensor, network: FeatureNetwork, heads: Sequence[Tensor]) -> float:
    """Return the LPIPS distance of two pictures through VGG16; see `lpips`."""
    return _distance(result, reference, network, heads, "lpips-vgg")


def lpips_squeeze(result: Tensor, reference: Tensor, network: FeatureNetwork, heads: Sequence[Tensor]) -> float:
    """Return the LPIPS distance of two pictures through SqueezeNet 1.1; see `lpips`."""
    return _distance(result, reference, network, heads, "lpips-squeeze")


def _distance(result: Tensor, reference: Tensor, network: FeatureNetwork, heads: Sequence[Tensor], name: str) -> float:
    pair = torch.cat([each.expand(-1, 3, -1, -1) for each in (result, reference)]).to(network.mean.device).float() / 255
    try:
        # a GPU's shorter numbers for convolutions would be seen in the fourth digit
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            found = network.each(pair, LAYERS[network.name])
            return sum(_apart(features, head) for features, head in zip(found, heads, strict=True))
    except UsageError as error:
        height, width = pair.shape[2:]
        raise InputError(f"{width}x{height} pixels are too few for {name}, through {network.name}: leave it out") from error


def _apart(pair: Tensor, head: Tensor) -> float:
    """Return the weighted squared difference of directions, mean over places, of features (2, C, H, W)."""
    rows = max(1, BAND_ELEMENTS // (pair.shape[1] * pair.shape[3]))
    total = 0.0
    for band in torch.split(pair, rows, 2):
        vectors = exact(band)
        x, y = vectors / (vectors.square().sum(1, keepdim=True).sqrt() + 1e-10)
        total += torch.einsum("chw,c->", (x - y).square(), head.to(x)).item()
    return total / (pair.shape[2] * pair.shape[3])
