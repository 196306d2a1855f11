"""Mean squared error, in levels of 255, squared."""

from __future__ import annotations

import numpy as np
from torch import Tensor


def mse(result: Tensor, reference: Tensor) -> float:
    """Return the mean of the squared differences over all pixels and channels, computed in float64.

    The same as scikit-image's `mean_squared_error`. By numpy: torch would share out the work of a small picture among threads,
    which costs more than it saves, most of all on a busy machine.

    Args:
        result: (N, C, H, W) in 0 to 255, any type.
        reference: the same shape.
    """
    errors = np.subtract(result.numpy(), reference.numpy(), dtype=np.float64)
    return float(np.square(errors, out=errors).mean())
