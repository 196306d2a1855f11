"""FID's network with random weights, under the names of the published file."""

from __future__ import annotations

import torch
import torchvision
from torch import Tensor

from gantool.layers.inception import CLASSES, FEATURES


def random_inception() -> dict[str, Tensor]:
    """Return always the same state; the network keeps numbers of a usual size."""
    with torch.device("meta"):
        network = torchvision.models.inception_v3(num_classes=CLASSES, aux_logits=False, init_weights=False)
    seeded, state = torch.Generator().manual_seed(0), {}
    for key, value in network.state_dict().items():
        if key.endswith(("bn.weight", "running_var")):
            state[key] = torch.rand(value.shape, generator=seeded) + 0.5
        elif not key.endswith("num_batches_tracked"):
            size = value[0].numel() if value.dim() == 4 else FEATURES
            state[key] = torch.randn(value.shape, generator=seeded) * (2 / size) ** 0.5
    return state
