"""Frozen networks of image classification, whose features tell how alike two images look.

AlexNet (Krizhevsky 2014), VGG16 and VGG19 (Simonyan and Zisserman 2015), SqueezeNet 1.1 (Iandola et al. 2016) up to their
last features, with the layers of torchvision and its names of keys, so that its weights, and copies of them, load as they are.
Losses look through them, and so do metrics: LPIPS, DISTS; VGG16's dense layers are what precision and recall are taken from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from gantool.errors import InputError, UsageError, printable, unknown

_ALEXNET = ((64, 11, 4, 2), (192, 5, 1, 2), (384, 3, 1, 1), (256, 3, 1, 1), (256, 3, 1, 1))  # channels, kernel, stride, padding
_ALEXNET_POOLED = (1, 2, 5)
_VGG16, _VGG19 = (2, 2, 3, 3, 3), (2, 2, 4, 4, 4)  # convolutions before each pooling
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


def _alexnet() -> dict[str, nn.Module]:
    layers: dict[str, nn.Module] = {}
    c_in = 3
    for number, (c_out, kernel, stride, padding) in enumerate(_ALEXNET, start=1):
        layers[f"conv{number}"] = nn.Conv2d(c_in, c_out, kernel, stride, padding)
        layers[f"relu{number}"] = nn.ReLU()
        if number in _ALEXNET_POOLED:
            layers[f"pool{number}"] = nn.MaxPool2d(3, stride=2)
        c_in = c_out
    return layers


def _vgg(counts: Sequence[int]) -> dict[str, nn.Module]:
    layers: dict[str, nn.Module] = {}
    c_in = 3
    for block, count in enumerate(counts, start=1):
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


_LAYERS: dict[str, Callable[[], dict[str, nn.Module]]] = {
    "alexnet": _alexnet,
    "vgg16": partial(_vgg, _VGG16),
    "vgg19": partial(_vgg, _VGG19),
    "squeezenet": _squeezenet,
}
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
        assert isinstance(module.kernel_size, int)
        return module.kernel_size - module.ceil_mode  # rounding up lets the window overhang
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
        self.name, self.colors = name, colors
        self.index = {layer: number for number, layer in enumerate(layers)}
        self.features = nn.Sequential(*layers.values())
        for module in self.features:
            if isinstance(module, nn.ReLU):
                module.inplace = False  # what a convolution gave is asked for too
        mean, std = _COLORS[colors]
        # no weights: they are there also where those are still to come, on the device "meta"
        self.register_buffer("mean", torch.tensor(mean, device="cpu").view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std, device="cpu").view(1, 3, 1, 1), persistent=False)
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor, layers: Sequence[str]) -> list[Tensor]:
        """Return features (N, C, H', W') of RGB images (N, 3, H, W) in [0, 1] at the given layers, in their order.

        Raises:
            UsageError: the images are too small for a layer.
        """
        found = dict(zip(sorted(set(layers), key=self.index.__getitem__), self.each(images, layers), strict=True))
        return [found[layer] for layer in layers]

    def each(self, images: Tensor, layers: Sequence[str]) -> Iterator[Tensor]:
        """Yield what `forward` returns, each layer once, in the network's order: nothing is kept that was looked at already.

        Raises:
            UsageError: the images are too small for a layer.
        """
        x = self.normalized(images)
        wanted = {self.index[layer] for layer in layers}
        for number, module in enumerate(self.features[: max(wanted, default=-1) + 1]):
            if min(x.shape[2:]) < _least(module):
                height, width = images.shape[2:]
                raise UsageError(
                    f"images of {width}x{height} pixels are too small for {max(layers, key=self.index.__getitem__)} of "
                    f"{self.name}: use a larger patch, or an earlier layer"
                )
            x = module(x)
            if number in wanted:
                yield x

    def normalized(self, images: Tensor) -> Tensor:
        """Return what the first layer takes of RGB images (N, 3, H, W) in [0, 1]."""
        return (images - self.mean) / self.std


class VGG16Features(nn.Module):
    """VGG16 up to its second dense layer with its ReLU, without gradients: what precision and recall compare images by.

    It comes without weights, as 134 million random ones take a second: `load_state_dict(state, assign=True)` gives it some. The
    keys of `classifier` are torchvision's.
    """

    SIDE = 224  # pixels

    def __init__(self) -> None:
        super().__init__()
        with torch.device("meta"):
            self.convolutions = FeatureNetwork("vgg16")
            dense = (nn.Linear(512 * 7 * 7, 4096), nn.ReLU(), nn.Identity(), nn.Linear(4096, 4096), nn.ReLU())
            self.classifier = nn.Sequential(*dense)
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Return features (N, 4096), 0 or more, of RGB images (N, 3, 224, 224) in [0, 1].

        Raises:
            InputError: the images have another size.
        """
        if images.shape[2:] != (self.SIDE, self.SIDE):
            height, width = images.shape[2:]
            raise InputError(f"images of {width}x{height} pixels are not what VGG16 takes: resize to {self.SIDE}x{self.SIDE}")
        [found] = self.convolutions(images, ["pool5"])
        features: Tensor = self.classifier(found.flatten(1))
        return features


def exact(x: Tensor) -> Tensor:
    """Return a copy in float64, on the CPU where its device has no such numbers, as Apple's has none."""
    return x.to("cpu" if x.device.type == "mps" else x.device, torch.float64, copy=True)
