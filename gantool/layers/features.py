"""Frozen networks of image classification, whose features tell how alike two images look.

VGG19 (Simonyan and Zisserman 2015) and SqueezeNet 1.1 (Iandola et al. 2016) up to their last features, with the layers of
torchvision and its names of keys, so that its weights, and copies of them, load as they are.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gantool.errors import UsageError, printable, unknown

_VGG19 = (2, 2, 4, 4, 4)  # convolutions before each pooling
_SQUEEZE = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))  # of fire2 to fire9
_POOLED_AFTER = ("fire3", "fire5")
_COLORS = {  # mean and deviation of RGB in [0, 1] that the first layer expects to be taken off
    "torchvision": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "caffe": ((123.68 / 255, 116.779 / 255, 103.939 / 255), (1 / 255,) * 3),
}


class Fire(nn.Module):
    """A narrow 1x1 convolution, then 1x1 and 3x3 ones side by side (Iandola et al. 2016, fig. 1)."""

    def __init__(self, c_in: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(c_in, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, 2 expanded, H, W) for (N, c_in, H, W)."""
        narrow = self.squeeze(x).relu()
        return torch.cat([self.expand1x1(narrow), self.expand3x3(narrow)], 1).relu()


def _vgg19() -> dict[str, nn.Module]:
    layers: dict[str, nn.Module] = {}
    c_in = 3
    for block, count in enumerate(_VGG19, start=1):
        c_out = min(64 * 2 ** (block - 1), 512)
        for number in range(1, count + 1):
            layers[f"conv{block}_{number}"] = nn.Conv2d(c_in, c_out, 3, padding=1)
            layers[f"relu{block}_{number}"] = nn.ReLU()
            c_in = c_out
        layers[f"pool{block}"] = nn.MaxPool2d(2)
    return layers


def _squeezenet() -> dict[str, nn.Module]:
    layers: dict[str, nn.Module] = {"conv1": nn.Conv2d(3, 64, 3, stride=2), "relu1": nn.ReLU()}
    layers["pool1"] = nn.MaxPool2d(3, stride=2, ceil_mode=True)
    c_in = 64
    for number, (squeezed, expanded) in enumerate(_SQUEEZE, start=2):
        layers[f"fire{number}"] = Fire(c_in, squeezed, expanded)
        c_in = 2 * expanded
        if f"fire{number}" in _POOLED_AFTER:
            layers[f"pool{number}"] = nn.MaxPool2d(3, stride=2, ceil_mode=True)
    return layers


_LAYERS = {"vgg19": _vgg19, "squeezenet": _squeezenet}
NETWORKS = tuple(_LAYERS)


def check_layers(network: str, layers: Sequence[str], field: str = "layers") -> None:
    """Check that there is such a network and that it has these layers.

    Args:
        network: one of `NETWORKS`.
        layers: names of its layers.
        field: of the configuration, where they stand.

    Raises:
        UsageError: names what there is.
    """
    if network not in _LAYERS:
        raise unknown("feature network", network, NETWORKS)
    with torch.device("meta"):
        known = _LAYERS[network]()
    for layer in layers:
        if layer not in known:
            raise UsageError(
                f"no layer of {network} named '{printable(layer)}': choose with --set '{field}=[\"{list(known)[-1]}\"]', "
                f"there are {', '.join(known)}"
            )


def _least(module: nn.Module) -> int:
    """Return how many pixels a side a layer needs for one of its own."""
    if isinstance(module, nn.MaxPool2d):
        return 2
    return module.kernel_size[0] - 2 * int(module.padding[0]) if isinstance(module, nn.Conv2d) else 1


class FeatureNetwork(nn.Module):
    """A network up to its last features, without gradients of its own; images still get theirs.

    Args:
        name: one of `NETWORKS`. A layer called conv is before its ReLU, relu after it; a fire ends with its ReLU.
        colors: what its weights expect: "torchvision", or "caffe", whose copies count colours to 255 (and have them as BGR in
            the file: the first layer's weights are to be turned round).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, colors: str = "torchvision") -> None:
        super().__init__()
        layers = _LAYERS[name]()
        self.name, self.index = name, {layer: number for number, layer in enumerate(layers)}
        self.features = nn.Sequential(*layers.values())
        for module in self.features:
            if isinstance(module, nn.ReLU):
                module.inplace = False  # what a convolution gave is asked for too
        mean, std = _COLORS[colors]
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor, layers: Sequence[str]) -> list[Tensor]:
        """Return features (N, C, H', W') of RGB images (N, 3, H, W) in [0, 1] at the given layers, in their order.

        Raises:
            UsageError: the images are too small for a layer.
        """
        x = (images - self.mean) / self.std
        found: dict[int, Tensor] = {}
        wanted = {self.index[layer] for layer in layers}
        for number, module in enumerate(self.features):
            if min(x.shape[2:]) < _least(module):
                height, width = images.shape[2:]
                raise UsageError(
                    f"images of {width}x{height} pixels are too small for {max(layers, key=self.index.__getitem__)} of "
                    f"{self.name}: use a larger patch, or an earlier layer"
                )
            x = module(x)
            if number in wanted:
                found[number] = x
            if len(found) == len(wanted):
                break
        return [found[self.index[layer]] for layer in layers]
