"""Learning to generate, from plain or labelled pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from gantool.data.folders import batches
from gantool.data.sources import Source
from gantool.system import Batch, Fit, Generator, Scored, Stage, System
from gantool.training.tasks import Circumstances, sampled, write_sheet

_ROWS = 8  # of a sheet; so many columns too, or as many as there are classes
_MOST_COLUMNS = 16
_VAL_BATCH = 100


class Generating:
    """Pictures of the kind that is to be generated.

    Args:
        system: what learns, for its kind of images.
        source: the pictures to learn from.
        val: pictures that a system which can score them is validated on, if any.
        run: see `Circumstances`.
    """

    def __init__(self, system: System, source: Source, val: Source | None, run: Circumstances) -> None:
        self.system, self.source, self.val, self.run = system, source, val, run
        self._size = 0

    def batches(self, stage: Stage, first: int) -> Iterator[Batch]:
        """Return batches without end, from number `first` on, as the system's kind of folder gives them."""
        endless, _ = sampled(self.source, self.system, stage, first, self.run)
        self._size = stage.size or 0
        return endless

    @torch.inference_mode()
    def validate(self, system: System) -> dict[str, float]:
        """Return the system's own score of the pictures to validate on, as a mean over all but an incomplete last batch."""
        if self.val is None or not isinstance(system, Scored):
            return {}
        samples = self.val.samples(self._size, Fit(), system.image_channels, self.run.seed, _VAL_BATCH)
        endless = batches(samples, _VAL_BATCH, 0, 0, 1, self.run.workers)
        count, sums = max(1, self.val.count // _VAL_BATCH), dict[str, float]()
        for _, batch in zip(range(count), endless, strict=False):
            found = system.score({name: tensor.to(self.run.device) for name, tensor in batch.items()})
            sums = {name: sums.get(name, 0.0) + value.item() for name, value in found.items()}
        return {name: total / count for name, total in sums.items()}

    @torch.inference_mode()
    def draw_samples(self, system: System, path: Path) -> None:
        """Write a sheet of images, the same latents each time; where there are classes, a column has one."""
        if not isinstance(system, Generator):
            return
        columns = min(len(system.classes) or _ROWS, _MOST_COLUMNS)
        latents = torch.randn(_ROWS * columns, *system.latent, generator=torch.Generator().manual_seed(self.run.seed))
        labels = torch.eye(columns, len(system.classes)).repeat(_ROWS, 1).to(self.run.device) if system.classes else None
        made = system.generate(latents.to(self.run.device), labels)
        write_sheet(path, [list(row) for row in torch.split(made, columns)])
