"""What a run would be: stages, phases, losses, parameters, and what a measured step promises of time and memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from gantool.errors import say
from gantool.system import Batch, Phase, Stage, System
from gantool.training import distributed

_COPIES = 4  # of a trained weight: itself, its gradient, Adam's two moments


def print_plan(system: System, stages: list[Stage], batches: Callable[[Stage, int], Iterator[Batch]]) -> None:
    """Print the plan of a run and train nothing; each turn is taken once, without its update.

    Args:
        system: on the device of the run.
        stages: the schedule.
        batches: gives the batches of a stage.
    """
    device, total = system.progress.device, 0.0
    fixed = sum(t.numel() * t.element_size() for t in (*system.parameters(), *system.buffers()))
    for stage in stages:
        batch = {name: tensor.to(device) for name, tensor in next(batches(stage, 0)).items()}
        _tell(f"stage {stage.name}: {stage.steps} steps, batch {stage.batch}, images of {stage.size} pixels")
        turns = [_print_phase(phase, batch) for phase in stage.phases]
        seconds = sum(turn[0] for turn in turns)
        updated = sum(p.numel() * p.element_size() for p in _updated(stage))
        memory = 2 * fixed + (_COPIES - 1) * updated + max(turn[1] for turn in turns)  # twice: the average follows
        total += seconds * stage.steps
        _tell(
            f"  about {seconds:.2f} s a step here, {seconds * stage.steps / 3600:.1f} hours; {memory / 2**30:.2f} GB of memory"
        )
    if len(stages) > 1:
        _tell(f"all stages: about {total / 3600:.1f} hours")


def _tell(line: str) -> None:
    if distributed.rank() == 0:
        say(line)


def _updated(stage: Stage) -> set[Tensor]:
    return {p for phase in stage.phases for module in phase.modules for p in module.parameters()}


def _print_phase(phase: Phase, batch: Batch) -> tuple[float, int]:
    """Print a phase; return the seconds that its turn takes, averaged over steps, and the bytes kept for its gradients."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    begin = time.perf_counter()
    with saved_tensors_hooks(keep, lambda tensor: tensor):
        terms = phase.losses(batch)
        if terms:
            torch.autograd.backward(torch.stack(list(terms.values())).sum())
    count = sum(p.numel() for module in phase.modules for p in module.parameters())
    _tell(f"  phase {phase.name}: {count:,} parameters; losses {', '.join(terms) or 'none this time'}")
    return (time.perf_counter() - begin) * phase.repeats / phase.every, sum(kept.values())
