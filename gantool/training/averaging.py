"""The exponential moving average (EMA) of the weights that inference uses."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from gantool.system import System

DECAY = 0.999


class Average:
    """The moving average of a system's inference modules, and a system that runs on it.

    It begins anew with each stage, and is short at first: of 1,000 steps at the full decay a third would still be the weights
    that the stage began with.

    Args:
        system: followed by `update`, one call a step.
    """

    def __init__(self, system: System) -> None:
        self._followed = nn.ModuleDict(dict(system.inference_modules()))
        self._decay = 0.0
        self.model = AveragedModel(self._followed, multi_avg_fn=self._mix)
        self.system = type(system)(system.config).to(system.progress.device).eval().requires_grad_(False)
        for name in system.inference_modules():
            setattr(self.system, name, self.model.module.get_submodule(name).eval())  # else batch norm would learn from its use

    def update(self, step: int) -> None:
        """Move the average towards the present weights, after so many steps of the stage before this one."""
        self._decay = min(DECAY, (1 + step) / (10 + step))
        self.model.update_parameters(self._followed)

    def _mix(self, average: Sequence[Tensor], present: Sequence[Tensor], count: Tensor | int) -> None:
        get_ema_multi_avg_fn(self._decay)(list(average), list(present), count)  # type: ignore[no-untyped-call]
