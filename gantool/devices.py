"""Where and how torch computes: device, precision, layout, seeds."""

from __future__ import annotations

import random
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from gantool.errors import UsageError, printable

M = TypeVar("M", bound=nn.Module)
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def choose_device(name: str = "auto") -> torch.device:
    """Return the device for a name: auto, cpu, cuda, cuda:1, mps.

    Raises:
        UsageError: the name means nothing, or the device is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"device '{printable(name)}' is not available here: use auto, cpu, cuda, cuda:1 or mps") from error
    return device


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """Return the type for a name: auto, fp32, fp16, bf16; auto is float32, which every device computes well.

    Raises:
        UsageError: there is no such type, or the CPU would compute it 50 times slower.
    """
    if name == "auto":
        return torch.float32
    if name not in DTYPES:
        raise UsageError(f"no precision named '{printable(name)}': there are auto, {', '.join(DTYPES)}")
    if name == "fp16" and device.type == "cpu":
        raise UsageError("--dtype fp16 is some 50 times slower than fp32 on a CPU: use fp32, or bf16 where the CPU has it")
    return DTYPES[name]


def seed_everything(seed: int) -> None:
    """Seed the generators of Python, NumPy and torch."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def channels_last(module: M) -> M:
    """Lay out a module's filters with channels innermost, which convolutions run on a third faster, and return it."""
    for parameter in module.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return module


def tile_memory(device: torch.device) -> int:
    """Return the bytes that one tile's features may take: on a CPU little, as every core has a tile and more is no faster."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0]) // 4  # two are there at a time
    return 1 << 30 if device.type == "mps" else 1 << 25
