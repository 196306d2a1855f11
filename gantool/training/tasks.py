"""What training needs of a task, whatever it is: batches, validation and sample sheets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from gantool import images
from gantool.data.folders import batches
from gantool.data.sources import Source
from gantool.system import Batch, Stage, System
from gantool.training import distributed

SAMPLES = 4  # pictures whose way through training the sheets show


@dataclass(frozen=True)
class Circumstances:
    """What tasks need to know of a run.

    Attributes:
        seed: of the order of the samples and of all that is drawn for them.
        workers: processes that prepare samples; 0 does it in the loop.
        device: where validation runs.
        say: gets a sentence for each picture that is left out.
    """

    seed: int
    workers: int
    device: torch.device
    say: Callable[[str], None]


class Task(Protocol):
    """What a system learns: upscaling, translating or generating."""

    def batches(self, stage: Stage, first: int) -> Iterator[Batch]:
        """Return batches without end, from number `first` on."""

    def validate(self, system: System) -> dict[str, float]:
        """Return metrics by name, the first of them to be maximised; none where there is nothing to validate on."""

    def draw_samples(self, system: System, path: Path) -> None:
        """Write a sheet that shows what the system does by now; each sheet of a stage shows the same inputs."""


def sampled(source: Source, system: System, stage: Stage, first: int, run: Circumstances) -> tuple[Iterator[Batch], Batch]:
    """Return batches of a source from number `first` on, and the few samples that the stage's sheets show."""
    assert stage.size is not None  # systems that learn from such sources say it
    samples = source.samples(stage.size, system.fit, system.image_channels, run.seed, stage.batch)
    shown = [samples[number] for number in range(SAMPLES)]
    endless = batches(samples, stage.batch, first, distributed.rank(), distributed.ranks(), run.workers)
    return endless, {name: torch.stack([sample[name] for sample in shown]) for name in shown[0]}


def write_sheet(path: Path, rows: Sequence[Sequence[Tensor]]) -> None:
    """Write images (C, H, W) in [0, 1], all of one size, in rows."""
    sheet = torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1)
    images.write(path, images.Picture((sheet.detach().cpu().float().clamp(0, 1) * 255).round().to(torch.uint8)))
