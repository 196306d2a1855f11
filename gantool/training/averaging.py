"""The exponential moving average (EMA) of the weights that inference uses."""

from __future__ import annotations

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from gantool.system import System

DECAY = 0.999


class Average:
    """The moving average of a system's inference modules, and a system that runs on it.

    Args:
        system: followed by `update`, one call a step.
    """

    def __init__(self, system: System) -> None:
        self._followed = nn.ModuleDict(dict(system.inference_modules()))
        self.model = AveragedModel(self._followed, multi_avg_fn=get_ema_multi_avg_fn(DECAY))  # type: ignore[no-untyped-call]
        self.system = type(system)(system.config).to(system.progress.device).eval().requires_grad_(False)
        for name in system.inference_modules():
            setattr(self.system, name, self.model.module.get_submodule(name))

    def update(self) -> None:
        """Move the average towards the present weights."""
        self.model.update_parameters(self._followed)
