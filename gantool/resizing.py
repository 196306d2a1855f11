"""Any size, band by band: what `gantool.layers.resampling.imresize` gives for the whole picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

import cv2
import numpy as np
from numpy.typing import NDArray

from gantool.bands import Band, Bands, Rows, exactly
from gantool.layers.kernels import HALF, Array, taps

_GROUP = 8  # samples made by one product of matrices; more have more zeros among their weights, fewer cost more calls
_ADVANCE = 32  # samples of the picture that a group may pass when there are far fewer in the result
_TABLE = 64  # groups whose weights are computed at once
_ROWS = 64  # rows whose columns are resampled at once
_PRODUCT = 1 << 18  # multiplications: with more, OpenBLAS begins to use several threads, which get in the way of others


def resize(bands: Bands, size_in: tuple[int, int], size_out: tuple[int, int], scale: tuple[float, float]) -> Bands:
    """Resample a picture by MATLAB's antialiased bicubic kernel, rounded half up after each of the axes.

    The axis with the smaller factor goes first, equal factors rows first; one of factor 1 that keeps its length is left alone.

    Args:
        bands: (rows, width, channels) each.
        size_in: rows and columns of the picture.
        size_out: of the result.
        scale: output side / input side of both axes, which place the samples; the sizes differ from them by rounding.
    """
    for axis in (0, 1) if scale[0] <= scale[1] else (1, 0):
        if scale[axis] != 1 or size_in[axis] != size_out[axis]:
            lengths = size_in[axis], size_out[axis]
            bands = _columns(bands, *lengths, scale[1]) if axis else _rows(bands, *lengths, scale[0])
    return bands


@dataclass(frozen=True)
class _Group:
    """Some neighbouring samples of the result along an axis, and the samples of the picture they are made of."""

    first: int
    last: int  # one behind
    start: int
    stop: int  # one behind
    weights: Array  # (last - first, stop - start)


def _groups(n_in: int, n_out: int, scale: float) -> Iterator[_Group]:
    """Give the groups of an axis one after the other, as an axis may be long."""
    size = max(1, min(_GROUP, round(_ADVANCE * scale)))
    for begin in range(0, n_out, size * _TABLE):
        places = range(begin, min(begin + size * _TABLE, n_out))
        index, weights = taps(n_in, places, scale, "bicubic", "mirror")
        for first in places[::size]:
            part = slice(first - begin, first - begin + size)
            start, stop = int(index[part].min()), int(index[part].max()) + 1
            dense = np.zeros((len(index[part]), stop - start))
            np.add.at(dense, (np.arange(len(dense))[:, None], index[part] - start), weights[part])
            yield _Group(first, first + len(dense), start, stop, dense)


def _rows(bands: Bands, n_in: int, n_out: int, scale: float) -> Bands:
    """Resample down the picture."""
    source = Rows(bands)
    below = n_in - ceil(6 / min(scale, 1))  # rows that the border at the end may mirror are kept until then
    for group in _groups(n_in, n_out, scale):
        top = max(0, min(group.start, below))
        window = source.between(top, group.stop)
        assert window is not None
        samples = window[group.start - top :]
        yield _combined(samples.reshape(len(samples), -1), group.weights).reshape(-1, *window.shape[1:])
    for _ in bands:  # an error in what is not needed is one, too
        pass


def _columns(bands: Bands, n_in: int, n_out: int, scale: float) -> Bands:
    """Resample across the picture."""
    groups = list(_groups(n_in, n_out, scale))
    for band in exactly(bands, _ROWS):
        rows, width, channels = band.shape
        samples = _turned(band).reshape(width, rows * channels)
        result = np.empty((n_out, rows * channels), band.dtype)
        for group in groups:
            result[group.first : group.last] = _combined(samples[group.start : group.stop], group.weights)
        yield _turned(result.reshape(-1, rows, channels))


def _turned(band: Band) -> Band:
    """Return (width, rows, channels) for (rows, width, channels)."""
    rows, width, channels = band.shape
    return np.asarray(cv2.transpose(band), band.dtype).reshape(width, rows, channels)  # numpy takes 20 times as long


def _combined(samples: NDArray[np.uint8 | np.uint16], weights: Array) -> NDArray[np.uint8 | np.uint16]:
    """Return weighted sums (m, n) of samples (k, n), of their type, for weights (m, k)."""
    result = np.empty((len(weights), samples.shape[1]), samples.dtype)
    step = max(1, _PRODUCT // weights.size)
    for start in range(0, samples.shape[1], step):
        values = weights @ samples[:, start : start + step].astype(np.float64)
        values += HALF
        result[:, start : start + step] = values.clip(0, np.iinfo(samples.dtype).max)
    return result
