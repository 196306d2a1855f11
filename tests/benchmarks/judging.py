"""How good made-up detail looks, which no pixel's error tells: measures of 8-bit pictures, computed in float64.

`feature_distance` asks how unlike the original a picture is to a network that was trained to recognise things, and
`color_shift` whether its colours have moved. Whether it has the statistics of sharp photos is `gantool.metrics.niqe`.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import torch
from torch import Tensor

from gantool.layers.features import FeatureNetwork
from gantool.layers.resampling import imresize

LAYERS = ("relu1", "fire3", "fire5", "fire8", "fire9")  # of SqueezeNet; losses look at others, so as not to judge themselves
# sRGB's primaries, IEC 61966-2-1; white is the sum of the columns
TO_XYZ = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
TO_LAB = ((0.0, 116.0, 0.0), (500.0, -500.0, 0.0), (0.0, 200.0, -200.0))


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
