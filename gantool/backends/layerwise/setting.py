"""What layer by layer has to be known of an engine on torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gantool.backends import Engine
from gantool.backends.streaming import Network
from gantool.bands import Band


@dataclass(frozen=True)
class Setting:
    """With what pictures are computed.

    Attributes:
        engine: of which scale, multiple, nature and threads are taken.
        network: from (1, C, h, w) to (1, C, scale h, scale w), on the device and in float32.
        device: where it is.
        channels: C.
        to_tensor: makes (1, C, h, w) on the device of levels.
        to_levels: makes levels of a result; raises InputError where it is not finite.
    """

    engine: Engine
    network: Network
    device: torch.device
    channels: int
    to_tensor: Callable[[Band], Tensor]
    to_levels: Callable[[Tensor, np.dtype[np.uint8 | np.uint16]], Band]
