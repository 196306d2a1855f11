"""What a run would be: stages, phases, losses, parameters, and what a measured step promises of time and memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.functional import interpolate

from gantool.errors import UsageError, printable, say
from gantool.system import Batch, Phase, Stage, System
from gantool.training import distributed
from gantool.training.tasks import write_sheet

_SHOWN = 8  # samples of a preview
_COPIES = 4  # of a trained weight: itself, its gradient, Adam's two moments


def print_plan(
    system: System, stages: list[Stage], batches: Callable[[Stage, int], Iterator[Batch]], preview: Path | None
) -> None:
    """Print the plan of a run and train nothing; each turn is taken once, without its update.

    Args:
        system: on the device of the run.
        stages: the schedule.
        batches: gives the batches of a stage.
        preview: a folder that gets a sheet of each stage's first batch, if one is wanted.
    """
    device, total = system.progress.device, 0.0
    fixed = sum(t.numel() * t.element_size() for t in (*system.parameters(), *system.buffers()))
    for stage in (each for each in stages if each.steps):
        batch = {name: tensor.to(device) for name, tensor in next(batches(stage, 0)).items()}
        if preview:
            _draw(batch, preview / f"{stage.name}.png")
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


def _draw(batch: Batch, path: Path) -> None:
    """Write the first samples of a batch: a column each, a row for each kind of image, the smaller ones enlarged."""
    rows = {name: images[:_SHOWN].cpu().float() for name, images in batch.items() if images.dim() == 4}
    side = max(images.shape[-1] for images in rows.values())
    if distributed.rank() != 0:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{printable(path.parent)} cannot be made: {error.strerror}") from error
    enlarged = [interpolate(images, (side, side), mode="nearest-exact") for images in rows.values()]
    write_sheet(path, [[*images] for images in enlarged])
    say(f"  {' over '.join(rows)}: {printable(path)}")


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
