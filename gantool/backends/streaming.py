"""A convolutional network over a picture in bands of rows, with no row computed twice.

Each layer keeps the few last rows of its input that its next rows need, and where branches join, the one that is ahead waits.
So memory grows with the width of a band and not with the picture, and unlike tiles, bands have no halo. The network is not
told: its layers are given `Rows` in place of tensors. Layers that look farther than a convolution does are `Unstreamable`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import TypeVar, cast

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

Network = Callable[[Tensor], Tensor]
State = TypeVar("State")
Operand = "Rows | Tensor | float"


class Unstreamable(Exception):  # noqa: N818
    """The network has a layer that cannot work on a band of rows."""


class Rows:
    """Some rows of a picture or feature map on their way through a network.

    Args:
        data: (1, C, rows, W).
        start: number of the first row in the whole map, whose resolution may differ from the picture's.
        stream: the passage they belong to.
    """

    def __init__(self, data: Tensor, start: int, stream: Stream) -> None:
        self.data, self.start, self.stream = data, start, stream

    @property
    def stop(self) -> int:
        """Number of the row behind the last."""
        return self.start + self.data.shape[2]

    def cut(self, start: int, stop: int | None = None) -> Tensor:
        """Return the rows from `start` on, numbered in the whole map."""
        return self.data[:, :, start - self.start : None if stop is None else stop - self.start]

    def dim(self) -> int:
        """Return the number of dimensions, which layers check."""
        return 4

    @classmethod
    def __torch_function__(
        cls,
        function: Callable[..., Tensor],
        types: Sequence[type],
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> Rows:
        """Stand in for a function of tensors."""
        return _apply(function, args, kwargs or {})

    def __add__(self, other: Rows | Tensor | float) -> Rows:
        return _apply(torch.add, (self, other), {})

    def __radd__(self, other: Tensor | float) -> Rows:
        return _apply(torch.add, (other, self), {})

    def __sub__(self, other: Rows | Tensor | float) -> Rows:
        return _apply(torch.sub, (self, other), {})

    def __rsub__(self, other: Tensor | float) -> Rows:
        return _apply(torch.rsub, (self, other), {})

    def __mul__(self, other: Rows | Tensor | float) -> Rows:
        return _apply(torch.mul, (self, other), {})

    def __rmul__(self, other: Tensor | float) -> Rows:
        return _apply(torch.mul, (other, self), {})

    def __truediv__(self, other: Rows | Tensor | float) -> Rows:
        return _apply(torch.div, (self, other), {})

    def tanh(self) -> Rows:
        """As of a tensor."""
        return _apply(torch.tanh, (self,), {})


class Stream:
    """One passage over neighbouring bands, from the top down: `push` each, then `finish` if the picture ends there.

    Args:
        network: from (1, C, h, w) to (1, C, scale h, scale w).
        start: number of the first row that will be pushed; layers extend the picture's border only above row 0.
    """

    def __init__(self, network: Network, start: int = 0) -> None:
        self._network, self._start = network, start
        self._memory: list[object] = []  # of each layer in turn
        self._turn = 0
        self._allowance = 0  # rows that layers may still add below the picture in this passage

    @property
    def held(self) -> int:
        """Bytes that layers keep for the next band."""
        kept = (each for memory in self._memory for each in (memory if isinstance(memory, list) else [memory]))
        return sum(each.rows.data.nbytes for each in kept if isinstance(each, _Kept) and each.rows is not None)

    def push(self, band: Tensor) -> tuple[int, Tensor]:
        """Take the next rows (1, C, rows, W), and give those of the result that are ready.

        Returns:
            the number of the first row in the result, and rows (1, C, any, scale W).

        Raises:
            Unstreamable: the network has an unknown layer.
        """
        self._turn = 0
        rows = Rows(band, self._start, self)
        self._start = rows.stop
        try:
            result = cast("Rows | Tensor", self._network(cast("Tensor", rows)))
        except (AttributeError, TypeError) as error:  # what the network asked for is nothing that rows have
            raise Unstreamable(str(error)) from error
        if isinstance(result, Tensor):
            raise Unstreamable("the result does not come from the image")
        return result.start, result.data

    def finish(self, nothing: Tensor, rows: int) -> Iterator[tuple[int, Tensor]]:
        """Give the rest of the result, as `push` does, when all rows of the picture have been pushed.

        Each layer still keeps rows back. Would all give them at once, the last layers would need memory for all; so they give
        them up a few at a time, the first layers first.

        Args:
            nothing: (1, C, 0, W).
            rows: how many at a time.
        """
        while self._allowance < rows:  # something was given up in the last passage
            self._allowance = rows
            yield self.push(nothing)

    def may_end(self, reach: int) -> bool:
        """Return whether a layer may now add the `reach` rows below the picture; those before it have done so."""
        if self._allowance <= 0:
            return False
        self._allowance -= reach
        return True

    def recall(self, initial: State) -> State:
        """Return what the layer whose turn it is keeps; layers come in the same order at every band."""
        if self._turn == len(self._memory):
            self._memory.append(initial)
        self._turn += 1
        return cast("State", self._memory[self._turn - 1])


@dataclass(frozen=True)
class Trial:
    """What a trial shows of a network that runs in bands.

    Attributes:
        radius: of the network.
        held: bytes that its layers keep between two bands for each column of the picture.
    """

    radius: int
    held: float


def trial(network: Network, image: Tensor, expected: Tensor) -> Trial | None:
    """Return what a network is like if it gives in bands what it gives for the whole image, else None.

    Args:
        network: from (1, C, h, w) to (1, C, scale h, scale w).
        image: (1, C, side, side).
        expected: what the network gives for it.
    """
    stream, side = Stream(network), image.shape[2]
    try:
        parts = [stream.push(image[:, :, start : start + 5])[1] for start in range(0, side, 5)]
        held = stream.held / image.shape[3]
        parts += [rows for _, rows in stream.finish(image[:, :, side:], 5)]
        first, _ = Stream(network, 1).push(image[:, :, 1:5])
    except Unstreamable:
        return None
    result = torch.cat(parts, 2)
    same = result.shape == expected.shape and torch.allclose(result, expected, rtol=1e-3, atol=1e-3)
    return Trial(ceil(first * side / expected.shape[2]) - 1, held) if same else None


class _Kept:
    """The rows of one operand that a layer still needs."""

    def __init__(self) -> None:
        self.rows: Rows | None = None
        self.ended = False  # nothing will follow

    def extended(self, new: Rows) -> Rows:
        """Return what was kept and the rows that follow it."""
        return new if self.rows is None else Rows(_stack(self.rows.data, new.data), self.rows.start, new.stream)

    def keep(self, rows: Rows, start: int) -> None:
        """Keep the rows from `start` on: as a copy, to free the others' memory, and if possible in the same place."""
        part = rows.cut(start)
        if self.rows is not None and self.rows.data.shape == part.shape:
            self.rows = Rows(self.rows.data.copy_(part), start, rows.stream)
        else:
            self.rows = Rows(part.clone(), start, rows.stream)


def _stack(above: Tensor, below: Tensor) -> Tensor:
    """Join rows; channels stay innermost, which torch.cat would not keep up."""
    _, channels, rows, width = above.shape
    shape = (1, channels, rows + below.shape[2], width)
    joined = torch.empty(shape, dtype=above.dtype, device=above.device, memory_format=torch.channels_last)
    joined[:, :, :rows], joined[:, :, rows:] = above, below
    return joined


def _apply(function: Callable[..., Tensor], args: Sequence[object], kwargs: Mapping[str, object]) -> Rows:
    if function in _POINTWISE:
        return _pointwise(function, args, kwargs)
    if function in _JOINS:
        return _join(function, args, kwargs)
    handler = _HANDLERS.get(function)
    if handler is None:
        raise Unstreamable(f"no rows of {getattr(function, '__name__', function)}")
    return handler(*args, **kwargs)


def _pointwise(function: Callable[..., Tensor], args: Sequence[object], kwargs: Mapping[str, object]) -> Rows:
    rows = args[0]
    if not isinstance(rows, Rows) or kwargs.get("training"):
        raise Unstreamable("a layer that looks at the whole image")
    return Rows(function(rows.data, *args[1:], **kwargs), rows.start, rows.stream)


def _join(function: Callable[..., Tensor], args: Sequence[object], kwargs: Mapping[str, object]) -> Rows:
    """Apply a function of several operands, of which those that are no rows are the same in every row."""
    if any(isinstance(arg, Tensor) and arg.dim() > 1 and arg.shape[-2] != 1 for arg in args):
        raise Unstreamable("a tensor that differs between rows")
    operands = _aligned([arg for arg in args if isinstance(arg, Rows)])
    tensors = iter(operands)
    data = function(*(next(tensors).data if isinstance(arg, Rows) else arg for arg in args), **kwargs)
    return Rows(data, operands[0].start, operands[0].stream)


def _aligned(operands: list[Rows]) -> list[Rows]:
    """Return the rows that all operands have, and keep the others for the next band."""
    memory = operands[0].stream.recall([_Kept() for _ in operands])
    ready = [kept.extended(operand) for kept, operand in zip(memory, operands, strict=True)]
    start = max(rows.start for rows in ready)
    stop = max(start, min(rows.stop for rows in ready))
    for kept, rows in zip(memory, ready, strict=True):
        kept.keep(rows, min(stop, rows.stop))
    return [Rows(rows.cut(start, stop), start, rows.stream) for rows in ready]


def _cat(tensors: Sequence[Rows | Tensor], dim: int = 0) -> Rows:
    rows = [each for each in tensors if isinstance(each, Rows)]
    if dim != 1 or len(rows) != len(tensors):
        raise Unstreamable("a concatenation other than of channels")
    operands = _aligned(rows)
    return Rows(torch.cat([each.data for each in operands], 1), operands[0].start, operands[0].stream)


def _conv2d(
    rows: Rows,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | str | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Rows:
    height, width = weight.shape[2:]
    same = (height // 2, width // 2)
    if _pair(stride) != (1, 1) or _pair(dilation) != (1, 1) or _pair(padding) != same or height % 2 == 0:
        raise Unstreamable("a convolution that changes the size")
    reach = height // 2
    kept = rows.stream.recall(_Kept())
    if kept.rows is None and rows.start == 0:
        rows = Rows(_stack(_zeros(rows, reach), rows.data), -reach, rows.stream)
    rows = kept.extended(rows)
    if reach and not kept.ended and rows.stream.may_end(reach):
        rows = Rows(_stack(rows.data, _zeros(rows, reach)), rows.start, rows.stream)
        kept.ended = True
    kept.keep(rows, max(rows.start, rows.stop - 2 * reach))
    if rows.data.shape[2] < height:
        return Rows(rows.data.new_empty(1, weight.shape[0], 0, rows.data.shape[3]), rows.start + reach, rows.stream)
    data = F.conv2d(rows.data, weight, bias, 1, (0, width // 2), 1, groups)
    return Rows(data, rows.start + reach, rows.stream)


def _zeros(rows: Rows, count: int) -> Tensor:
    return rows.data.new_zeros(1, rows.data.shape[1], count, rows.data.shape[3])


def _pair(value: int | str | Sequence[int]) -> object:
    return (value, value) if isinstance(value, int) else tuple(value)


def _pixel_shuffle(rows: Rows, upscale_factor: int) -> Rows:
    return Rows(F.pixel_shuffle(rows.data, upscale_factor), rows.start * upscale_factor, rows.stream)


def _pixel_unshuffle(rows: Rows, downscale_factor: int) -> Rows:
    """Take rows by so many as become one; those left over wait, and what lies above the first whole lot is left out."""
    factor = downscale_factor
    kept = rows.stream.recall(_Kept())
    rows = kept.extended(rows)
    start = -(-rows.start // factor) * factor
    stop = max(start, rows.stop // factor * factor)
    kept.keep(rows, min(stop, rows.stop))
    if stop == start:  # which torch would not unshuffle
        _, channels, _, width = rows.data.shape
        return Rows(rows.data.new_empty(1, channels * factor**2, 0, width // factor), start // factor, rows.stream)
    return Rows(F.pixel_unshuffle(rows.cut(start, stop), factor), start // factor, rows.stream)


def _interpolate(
    rows: Rows,
    size: object = None,
    scale_factor: float | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Rows:
    if mode != "nearest" or scale_factor is None or scale_factor != int(scale_factor):
        raise Unstreamable("an interpolation other than nearest by a whole factor")
    factor = int(scale_factor)
    larger = rows.data.repeat_interleave(factor, 2).repeat_interleave(factor, 3)  # which takes no rows too
    return Rows(larger, rows.start * factor, rows.stream)


_POINTWISE = {
    F.batch_norm,
    F.elu,
    F.gelu,
    F.hardtanh,
    F.leaky_relu,
    F.prelu,
    F.relu,
    F.silu,
    F.softplus,
    torch.prelu,
    torch.relu,
    torch.sigmoid,
    torch.tanh,
    torch.clamp,
}
_JOINS = {torch.add, torch.sub, torch.rsub, torch.mul, torch.div, Tensor.add, Tensor.sub, Tensor.mul, Tensor.div}
_HANDLERS: dict[Callable[..., Tensor], Callable[..., Rows]] = {
    F.conv2d: _conv2d,
    F.interpolate: _interpolate,
    F.pixel_shuffle: _pixel_shuffle,
    F.pixel_unshuffle: _pixel_unshuffle,
    torch.cat: _cat,
}
