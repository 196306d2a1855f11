"""What is looked through and never trained: from a name, or a file, to a feature network, or whatever else a metric needs.

Losses take a network (`load`), metrics the parts that they name (`part`). A part of another file than the published one gives
numbers of its own: each part knows, by its hash, which it is, and says so in words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from gantool import cache, convert, modelfile, modelheader, weights
from gantool.entries import entries
from gantool.errors import UsageError, WeightsError, printable, unknown
from gantool.layers.features import FeatureNetwork, VGG16Features
from gantool.layers.inception import Inception
from gantool.metrics import dists, lpips, niqe
from gantool.metrics.npz import arrays

_FIRST = "features.0.weight"
_DENSE = {"pre_logits.fc1": "classifier.0", "pre_logits.fc2": "classifier.3"}  # timm's names, of convolutions
_PRISTINE = {"mu_pris_param": (1, 36), "cov_pris_param": (36, 36), "gaussian_window": (7, 7)}


@dataclass(frozen=True)
class Part:
    """What a metric looks through.

    Attributes:
        name: out of `PARTS`.
        value: what the metric's function takes.
        sha256: of the file.
        official: the file has the published numbers, by its hash.
        words: all this for a recipe; where it is not official, that numbers through it are none to compare.
    """

    name: str
    value: object
    sha256: str
    official: bool
    words: str


@dataclass(frozen=True)
class _Kind:
    """What can be known of a part before its file is at hand."""

    what: str
    published: str  # address of the file
    hashes: tuple[str, ...]  # sha256 of that, and of copies that are known to hold the same numbers
    numbers: str  # what a metric through it is
    read: Callable[[Path], object]
    entry: str = ""  # features of the entries in weights.toml that have it, if other than its name


def load(
    network: str, reference: str | None, *, offline: bool = False, registry: Path | None = None
) -> tuple[FeatureNetwork, str]:
    """Return a frozen network and the sha256 of its file.

    Args:
        network: one of `gantool.layers.features.NETWORKS`.
        reference: a file, or a name in weights.toml; None for the entry of the network's own name.
        offline: never ask the network.
        registry: a weights.toml of one's own.

    Raises:
        UsageError: there is no such file or entry, or it is of something else.
        WeightsError: the file cannot be had, is damaged, or does not hold this network.
    """
    if reference is None and network not in entries(registry):
        raise UsageError(f"no file of {network} is known by name: name yours, in torchvision's layout, with --features")
    found = weights.find(reference or network, registry)
    if not isinstance(found, Path) and found.features != network:
        raise UsageError(f"{printable(found.name)} does not hold the features of {network}: name another with --features")
    path = found if isinstance(found, Path) else weights.locate(found, offline, "--features")
    return _network(network, path), cache.sha256(path)


def part(name: str, file: Path | None = None, *, offline: bool = False, registry: Path | None = None) -> Part:
    """Return what a metric needs, ready for it.

    Args:
        name: out of `PARTS`.
        file: that holds it; None for the one that weights.toml knows.
        offline: never ask the network.
        registry: a weights.toml of one's own.

    Raises:
        UsageError: there is no such part.
        WeightsError: no file is at hand, or it is damaged or of something else.
    """
    if name not in _KINDS:
        raise unknown("part", name, _KINDS)
    kind, option = _KINDS[name], f"--weights {name}=FILE"
    if file is not None:
        path, source = file, printable(file.name)
    else:
        entry = next((each for each in entries(registry).values() if each.features == (kind.entry or name)), None)
        if entry is None:
            raise WeightsError(f"{name} ({kind.what}) is not at hand: get {kind.published} and give it with {option}")
        path, source = weights.locate(entry, offline, option), f"{entry.name} of {entry.repo}"
    value, sha256 = kind.read(path), cache.sha256(path)
    return Part(name, value, sha256, sha256 in kind.hashes, _words(name, value, sha256, source))


def _words(name: str, value: object, sha256: str, source: str) -> str:
    kind = _KINDS[name]
    if sha256 in kind.hashes:
        return f"{name}: {kind.what}, as published (sha256 {sha256[:8]})"
    colors = ", a network that takes Caffe's colours," if isinstance(value, FeatureNetwork) and value.colors == "caffe" else ""
    return (
        f"{name}: {source} (sha256 {sha256[:8]}){colors} is not known to hold the published weights: a number through it is "
        f"NOT {kind.numbers}, to be compared with none but its own kind"
    )


def _network(network: str, path: Path) -> FeatureNetwork:
    found, metadata = _tensors(path)
    # torchvision's convention unless the file says that it takes what Caffe's networks take
    colors = "caffe" if metadata.get("input", "").startswith("BGR") else "torchvision"
    result = FeatureNetwork(network, colors)
    features = {key: value for key, value in found.items() if key.startswith("features.")}
    complaint = f"the features of {network}: name a file of torchvision's layout"
    tensors = _strict(features, _shapes(result), path, complaint)
    if colors == "caffe":
        tensors[_FIRST] = tensors[_FIRST].flip(1)  # from BGR
    result.load_state_dict(tensors)
    return result


def _dense(path: Path) -> VGG16Features:
    """Return VGG16 with its dense layers, from a file of torchvision's layout, or of timm's, where they are convolutions."""
    found, _ = _tensors(path)
    result = VGG16Features()
    shapes = {key.removeprefix("convolutions."): shape for key, shape in _shapes(result).items()}
    named: dict[str, object] = {}
    for key, value in found.items():
        layer, _, rest = key.rpartition(".")
        key = f"{_DENSE.get(layer, layer)}.{rest}"
        if key in shapes:
            fits = layer in _DENSE and isinstance(value, Tensor) and value.numel() == prod(shapes[key])
            named[key] = value.reshape(shapes[key]) if fits and isinstance(value, Tensor) else value
    tensors = _strict(named, shapes, path, "VGG16 with its dense layers: name a file of torchvision's or timm's layout")
    named_here = {f"convolutions.{key}" if key.startswith("features.") else key: value for key, value in tensors.items()}
    result.load_state_dict(named_here, assign=True)
    return result


def _heads(network: str, path: Path) -> list[Tensor]:
    """Return what each channel of each layer counts, (C) each."""
    found, _ = _tensors(path)
    shapes = {f"lin{number}.model.1.weight": (1, c, 1, 1) for number, c in enumerate(lpips.CHANNELS[network])}
    tensors = _strict(found, shapes, path, f"the heads of LPIPS for {network}: name a file of its package, version 0.1")
    return [tensors[key].flatten() for key in shapes]


def _dists_weights(path: Path) -> dists.Weights:
    found, _ = _tensors(path)
    shape = (1, sum(dists.CHANNELS), 1, 1)
    tensors = _strict(found, {"alpha": shape, "beta": shape}, path, "the weights of DISTS: name its authors' weights.pt")
    return dists.Weights(tensors["alpha"].flatten(), tensors["beta"].flatten())


def _inception(path: Path) -> Inception:
    found, _ = _tensors(path)
    # which checks names and shapes before they are converted; counters are left out
    network = Inception({key: value for key, value in found.items() if isinstance(value, Tensor) and _plain(value)})
    _check_finite(network.state_dict(), path)
    return network.float()


def _pristine(path: Path) -> niqe.Pristine:
    """Return NIQE's parameters from an .npz with the names of its implementations in Python."""
    shown = printable(path)
    modelheader.sniff(path)  # says what is wrong with a file that is nothing of the kind
    try:
        read = arrays(path, list(_PRISTINE))
    except ValueError as error:
        raise WeightsError(f"{shown} is no .npz of NIQE's parameters ({error}): copy it again") from error
    found = dict(zip(_PRISTINE, read, strict=True))
    tensors = _strict(found, _PRISTINE, path, "the parameters of NIQE: name niqe_pris_params.npz of BasicSR", torch.float64)
    mean, covariance, window = tensors.values()
    return niqe.Pristine(mean.flatten(), covariance, window)


def _tensors(path: Path) -> tuple[dict[str, object], Mapping[str, str]]:
    """Return what a file of weights holds by name, unchecked, and what it says about itself."""
    kind = modelheader.sniff(path)
    metadata: Mapping[str, str] = {}
    if kind == "safetensors":
        read, metadata = modelfile.read(path)
        found: Mapping[str, object] = read
    else:
        found = convert.unpickle(path, kind)
    return {re.sub(r"^module\.", "", key): value for key, value in found.items()}, metadata


def _shapes(module: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in module.state_dict().items()}


def _strict(
    found: Mapping[str, object],
    shapes: Mapping[str, tuple[int, ...]],
    path: Path,
    what: str,
    dtype: torch.dtype = torch.float32,
) -> dict[str, Tensor]:
    """Return tensors of exactly these names and shapes, checked before they are unpacked or converted."""
    plain = {key: value for key, value in found.items() if isinstance(value, Tensor) and _plain(value)}
    if found.keys() != shapes.keys() or any(tuple(plain[k].shape) != shapes[k] if k in plain else True for k in shapes):
        raise WeightsError(f"{printable(path)} does not hold {what}")
    tensors = {key: value.detach().to(dtype) for key, value in plain.items()}
    _check_finite(tensors, path)
    return tensors


def _check_finite(tensors: Mapping[str, Tensor], path: Path) -> None:
    if not all(torch.isfinite(value).all() for value in tensors.values()):
        raise WeightsError(f"{printable(path)} holds values that are not finite: it is of no use")


def _plain(tensor: Tensor) -> bool:
    whole = tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_nested
    return whole and tensor.is_floating_point()  # which quantised numbers are not


_TORCHVISION = "download.pytorch.org/models"
_VGG16 = (
    "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
    "57b026918159a6bf9faf8405c3a551903768e7138989d9c6224a14227203fad8",  # timm's copy
)
_HEADS = "github.com/richzhang/PerceptualSimilarity, lpips/weights/v0.1"
_KINDS = {
    "alexnet": _Kind(
        "AlexNet with torchvision's weights",
        f"{_TORCHVISION}/alexnet-owt-7be5be79.pth",
        ("7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",),
        "LPIPS",
        partial(_network, "alexnet"),
    ),
    "vgg16": _Kind(
        "VGG16 with torchvision's weights",
        f"{_TORCHVISION}/vgg16-397923af.pth",
        _VGG16,
        "LPIPS or DISTS",
        partial(_network, "vgg16"),
    ),
    "vgg16-fc": _Kind(
        "VGG16 with its dense layers and torchvision's weights",
        f"{_TORCHVISION}/vgg16-397923af.pth",
        _VGG16,
        "the precision or recall of torch-fidelity",
        _dense,
        "vgg16",
    ),
    "squeezenet": _Kind(
        "SqueezeNet 1.1 with torchvision's weights",
        f"{_TORCHVISION}/squeezenet1_1-b8a52dc0.pth",
        ("b8a52dc049b60e4b6ab68ad0df457362afab8b6304b2febdc1650a5dab4d7e7b",),
        "LPIPS",
        partial(_network, "squeezenet"),
    ),
    "inception": _Kind(
        "the Inception network of 2015 as pytorch-fid has it",
        "github.com/mseitzer/pytorch-fid/releases, pt_inception-2015-12-05-6726825d.pth",
        ("6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",),
        "FID, KID or an Inception Score",
        _inception,
    ),
    "lpips-alex": _Kind(
        "the heads of LPIPS 0.1 for AlexNet",
        f"{_HEADS}/alex.pth",
        ("df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",),
        "LPIPS",
        partial(_heads, "alexnet"),
    ),
    "lpips-vgg": _Kind(
        "the heads of LPIPS 0.1 for VGG16",
        f"{_HEADS}/vgg.pth",
        ("a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",),
        "LPIPS",
        partial(_heads, "vgg16"),
    ),
    "lpips-squeeze": _Kind(
        "the heads of LPIPS 0.1 for SqueezeNet",
        f"{_HEADS}/squeeze.pth",
        ("4a5350f23600cb79923ce65bb07cbf57dca461329894153e05a1346bd531cf76",),
        "LPIPS",
        partial(_heads, "squeezenet"),
    ),
    "dists": _Kind(
        "the weights of DISTS",
        "github.com/dingkeyan93/DISTS, DISTS_pytorch/weights.pt",
        ("f5e65c96230b7f6ca995691647d482237e4cab8a50c5c4a5784f219ef0748218",),
        "DISTS",
        _dists_weights,
    ),
    "niqe": _Kind(
        "the parameters of NIQE",
        "github.com/XPixelGroup/BasicSR, basicsr/metrics/niqe_pris_params.npz",
        ("2a7c182a68c9e7f1b2e2e5ec723279d6f65d912b6fcaf37eb2bf03d7367c4296",),
        "NIQE",
        _pristine,
    ),
}
PARTS: Mapping[str, str] = {name: kind.what for name, kind in _KINDS.items()}
"""What metrics look through, in words."""
