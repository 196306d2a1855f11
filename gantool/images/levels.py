"""The two depths of pixels: 8 and 16 bits a channel."""

from __future__ import annotations

from typing import Literal

import numpy as np

from gantool.bands import Band


def to_bits(band: Band, bits: Literal[8, 16]) -> Band:
    """Return levels in another depth, rounded half up; the same array where it has that depth.

    >>> to_bits(np.array([[[0, 128, 65535]]], np.uint16), 8).tolist()
    [[[0, 0, 255]]]
    """
    if band.dtype.itemsize * 8 == bits:
        return band
    if bits == 16:
        return band.astype(np.uint16) * np.uint16(257)
    return ((band.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
