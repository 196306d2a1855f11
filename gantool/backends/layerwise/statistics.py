"""What networks ask of a whole feature map: its means, deviations and extremes, and the norms that are made with them.

All is computed from sums that can be added up over parts of the map. They are in float64, so that neither the parts nor their
order show, and that a square's sum less the sum's square leaves enough digits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import cast

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch._ops import OpOverload

from gantool.backends.layerwise.recording import Call, Slot
from gantool.errors import InputError

_CHUNK = 1 << 17  # values that are converted to float64 at once: they stay in a core's cache
_aten = torch.ops.aten


@dataclass(frozen=True)
class Moments:
    """Of each channel of a map, or of a part of it.

    Attributes:
        count: positions.
        sums: (4, C), float64: sum, sum of squares, largest, and largest of the negative.
    """

    count: int
    sums: Tensor

    @staticmethod
    def of(values: Tensor) -> Moments:
        """Return those of (1, C, h, w)."""
        _, channels, height, width = values.shape
        rows, sums = max(1, _CHUNK // (channels * width)), []
        for row in range(0, height, rows):
            part = values[0, :, row : row + rows]
            part = part.cpu().double() if part.device.type == "mps" else part.double()  # which has no float64
            parts = [part.amax((1, 2)), -part.amin((1, 2))]
            sums.append(torch.stack([part.sum((1, 2)), part.square().sum((1, 2)), *parts]))
        return Moments(height * width, _added(torch.stack(sums)).cpu())

    @staticmethod
    def together(parts: list[Moments]) -> Moments:
        """Return those of a map from those of its parts."""
        return Moments(sum(part.count for part in parts), _added(torch.stack([part.sums for part in parts])))

    def pooled(self, groups: int) -> Moments:
        """Return those of groups of neighbouring channels."""
        each = self.sums.view(4, groups, -1).permute(2, 0, 1)
        return Moments(self.count * each.shape[0], _added(each))

    def check(self) -> None:
        """Check that the map is finite everywhere.

        Raises:
            InputError: it is not.
        """
        if not self.sums.isfinite().all():
            raise InputError("the network's values are not finite: use another model")

    @property
    def mean(self) -> Tensor:
        """(C)."""
        return self.sums[0] / self.count

    def variance(self, correction: float = 0) -> Tensor:
        """Return (C): the sum of squared deviations / (count - correction)."""
        return (self.sums[1] - self.sums[0].square() / self.count).clamp_(min=0) / (self.count - correction)


def _added(parts: Tensor) -> Tensor:
    """Return (4, C) for (parts, 4, C)."""
    return torch.cat([parts[:, :2].sum(0), parts[:, 2:].amax(0)])


def _correction(call: Call) -> float:
    given = call.kwargs.get("correction")
    return float(given) if isinstance(given, int | float) else 1.0


_REDUCTIONS: dict[OpOverload, Callable[[Call, Moments], tuple[Tensor, ...]]] = {
    _aten.mean.dim: lambda call, m: (m.mean,),
    _aten.mean.default: lambda call, m: (m.mean,),
    _aten.sum.dim_IntList: lambda call, m: (m.sums[0],),
    _aten.sum.default: lambda call, m: (m.sums[0],),
    _aten.var.correction: lambda call, m: (m.variance(_correction(call)),),
    _aten.std.correction: lambda call, m: (m.variance(_correction(call)).sqrt(),),
    _aten.var_mean.correction: lambda call, m: (m.variance(_correction(call)), m.mean),
    _aten.std_mean.correction: lambda call, m: (m.variance(_correction(call)).sqrt(), m.mean),
    _aten.amax.default: lambda call, m: (m.sums[2],),
    _aten.amin.default: lambda call, m: (-m.sums[3],),
    _aten.max.default: lambda call, m: (m.sums[2],),
    _aten.min.default: lambda call, m: (-m.sums[3],),
}
_POOLS: dict[OpOverload, Callable[[Moments], Tensor]] = {  # by the size of the kernel or of the result
    _aten.avg_pool2d.default: lambda m: m.mean,
    _aten.max_pool2d_with_indices.default: lambda m: m.sums[2],
    _aten.adaptive_max_pool2d.default: lambda m: m.sums[2],
}
_BATCH_NORMS = {_aten.native_batch_norm.default, _aten.cudnn_batch_norm.default, _aten.miopen_batch_norm.default}


def source(call: Call) -> Slot | None:
    """Return the map of which a call asks something that depends on all of it, if it does."""
    found = call.args[0] if call.args else None
    if not isinstance(found, Slot) or len(found.shape) != 4 or found.shape[0] != 1 or found.shape[2:] == (1, 1):
        return None
    return found if _is_global(call, found.shape) else None


def _is_global(call: Call, shape: tuple[int, ...]) -> bool:
    if call.function in _REDUCTIONS:
        dims = call.args[1] if len(call.args) > 1 else call.kwargs.get("dim")
        return not isinstance(dims, list) or {dim % 4 for dim in dims} >= {2, 3} or not dims
    if call.function in _POOLS:
        output = call.outputs[0]
        return output is not None and output.shape[2:] == (1, 1)
    return call.function is _aten.native_group_norm.default or (call.function in _BATCH_NORMS and call.args[5] is True)


def keeps_map(call: Call) -> bool:
    """Return whether a call that asks something of a map gives a map too, as norms do."""
    return call.function not in _REDUCTIONS and call.function not in _POOLS


def known_results(call: Call) -> list[Slot]:
    """Return what a call gives of which the value follows from sums: not where a largest value lies."""
    return call.results if call.function in _REDUCTIONS else call.results[:1]


def answer(call: Call, moments: Moments) -> list[Tensor]:
    """Return what a call gives that keeps no map, on the CPU."""
    output = call.outputs[0]
    assert output is not None
    if prod(output.shape) != moments.sums.shape[1]:  # it is of all channels together
        moments = moments.pooled(1)
    given = _REDUCTIONS[call.function](call, moments) if call.function in _REDUCTIONS else (_POOLS[call.function](moments),)
    return [each.to(output.dtype).reshape(output.shape) for each in given]


def normalized(call: Call, moments: Moments, values: Mapping[int, Tensor]) -> Tensor:
    """Return what a norm makes of a part of a map.

    Args:
        call: of the norm.
        moments: of the whole map.
        values: by the numbers of slots.
    """
    part, weight, bias = (values[each.number] if isinstance(each, Slot) else each for each in call.args[:3])
    assert isinstance(part, Tensor)
    if call.function is _aten.native_group_norm.default:
        moments = moments.pooled(cast("int", call.args[6]))
    repeats = part.shape[1] // moments.sums.shape[1]
    mean, variance = (each.to(part.dtype).to(part.device) for each in (moments.mean, moments.variance()))
    mean, variance = mean.repeat_interleave(repeats), variance.repeat_interleave(repeats)
    parameters = cast("Tensor | None", weight), cast("Tensor | None", bias)
    return F.batch_norm(part, mean, variance, *parameters, False, 0.0, cast("float", call.args[7]))
