"""Systems for tests: as the paper has them, small, and with weights that let every path speak."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn

from gantool import systems
from gantool.system import System

SMALL = {"channels": 8, "blocks": 2}  # what makes a network small, by the name of the field


def build(name: str, **changes: Any) -> System:
    paper = systems.load(name)
    return paper.system(dataclasses.replace(paper.config(), **changes))


def small(name: str, **changes: Any) -> System:
    """A system with few and narrow layers and the weights that training starts from."""
    torch.manual_seed(0)
    fields = {field.name for field in dataclasses.fields(systems.load(name).config)}
    return build(name, **{key: value for key, value in SMALL.items() if key in fields}, **changes)


def tiny(name: str, **changes: Any) -> System:
    """A small system in evaluation mode and float64, with random weights."""
    system = small(name, **changes)
    randomize(system)
    return system.double().eval()


def randomize(module: nn.Module) -> None:
    """Draw all weights at the size that keeps signals as they are, biases and statistics away from their start values."""
    generator = torch.Generator().manual_seed(0)
    for key, value in module.state_dict().items():
        if value.is_floating_point():
            spread = 0.1 if value.dim() < 2 else value[0].numel() ** -0.5
            drawn = torch.randn(value.shape, generator=generator) * spread
            value.copy_(drawn.abs() + 0.5 if key.endswith("running_var") or (value.dim() < 2 and "norm" in key) else drawn)


def image(*shape: int) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
