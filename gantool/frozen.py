"""Frozen feature networks: from a name in weights.toml, or a file, to what losses compare images by."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from gantool import cache, convert, modelfile, modelheader, weights
from gantool.entries import entries
from gantool.errors import UsageError, WeightsError, printable
from gantool.layers.features import FeatureNetwork

_FIRST = "features.0.weight"


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
    path = found if isinstance(found, Path) else weights.locate(found, offline)
    tensors, metadata = _read(path)
    # torchvision's convention unless the file says that it takes what Caffe's networks take
    colors = "caffe" if metadata.get("input", "").startswith("BGR") else "torchvision"
    result = FeatureNetwork(network, colors)
    wanted = result.state_dict()
    if tensors.keys() != wanted.keys() or any(tensors[key].shape != wanted[key].shape for key in wanted):
        raise WeightsError(f"{printable(path)} does not hold the features of {network}: name a file of torchvision's layout")
    if colors == "caffe":
        tensors[_FIRST] = tensors[_FIRST].flip(1)  # from BGR
    result.load_state_dict(tensors)
    if not all(torch.isfinite(value).all() for value in tensors.values()):
        raise WeightsError(f"{printable(path)} holds values that are not finite: it is of no use")
    return result, cache.sha256(path)


def _read(path: Path) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    """Return the tensors of a file that lie before its classifier, in float32, and what it says about itself."""
    kind = modelheader.sniff(path)
    metadata: Mapping[str, str] = {}
    if kind == "safetensors":
        found, metadata = modelfile.read(path)
        tensors: Mapping[str, object] = found
    else:
        tensors = convert.unpickle(path, kind)
    named = {re.sub(r"^module\.", "", key): value for key, value in tensors.items()}
    return {k: v.float() for k, v in named.items() if k.startswith("features.") and isinstance(v, Tensor)}, metadata
