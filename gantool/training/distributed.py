"""Several processes under `torchrun`: who this one is, and gradients averaged over all of them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor


def rank() -> int:
    """Return the number of this process, 0 when alone."""
    return dist.get_rank() if dist.is_initialized() else 0


def ranks() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Join the processes that torchrun started, if it did: nccl on GPUs, gloo otherwise."""
    if "WORLD_SIZE" not in os.environ:
        yield
        return
    # the others wait while the first process validates and saves, which may take long
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=timedelta(hours=4))
    try:
        yield
    finally:
        dist.destroy_process_group()


def average_gradients(parameters: Sequence[Tensor]) -> None:
    """Replace each gradient by its mean over all processes, in one message."""
    if ranks() == 1:
        return
    for parameter in parameters:
        if parameter.grad is None:  # all processes must send the same tensors
            parameter.grad = torch.zeros_like(parameter)
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= ranks()
    for gradient, part in zip(gradients, torch.split(flat, [gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


@torch.no_grad()
def broadcast(tensors: Sequence[Tensor]) -> None:
    """Give every process the first one's values."""
    if ranks() > 1:
        for tensor in tensors:
            dist.broadcast(tensor, src=0)


def draw_apart() -> None:
    """Let every process draw random numbers of its own, as images made of the same noise in all would be the same ones.

    The first one's stay as they are alone; the others' follow from them.
    """
    if rank() > 0:
        torch.manual_seed(int(torch.randint(1 << 62, ())) + rank())


def any_rank(flag: bool) -> bool:
    """Return whether the flag is set in any process, so that all stop at the same step."""
    if ranks() == 1:
        return flag
    count = torch.tensor(float(flag), device="cuda" if dist.get_backend() == "nccl" else "cpu")
    dist.all_reduce(count)
    return bool(count.item() > 0)
