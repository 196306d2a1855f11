"""Learning to translate, from paired, unpaired or labelled pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from gantool.data.sources import Source
from gantool.metrics import measure
from gantool.system import Batch, Fit, Stage, System, Translator
from gantool.training.tasks import Circumstances, sampled, write_sheet


class Translating:
    """Pictures of two domains or of several classes.

    Args:
        system: what learns, for its kind of images.
        source: the pictures to learn from.
        val: pairs to validate on, if any.
        run: see `Circumstances`.
    """

    def __init__(self, system: System, source: Source, val: Source | None, run: Circumstances) -> None:
        self.system, self.source, self.val, self.run = system, source, val, run
        self._size = 0
        self._shown: Batch = {}

    def batches(self, stage: Stage, first: int) -> Iterator[Batch]:
        """Return batches without end, from number `first` on, as the system's kind of folder gives them."""
        endless, self._shown = sampled(self.source, self.system, stage, first, self.run)
        self._size = stage.size or 0
        return endless

    def validate(self, system: System) -> dict[str, float]:
        """Return, as means over the pairs to validate on, PSNR-Y in dB of 8-bit results and the mean absolute error."""
        if self.val is None or not isinstance(system, Translator):
            return {}
        fit = Fit(system.fit.mode, middle=system.fit.middle)
        pairs = self.val.samples(self._size, fit, system.image_channels, self.run.seed, 1)
        psnr = l1 = 0.0
        for number in range(self.val.count):
            pair = pairs[number]
            result = _translated(system, pair["input"][None], None, self.run.device)[0].clamp(0, 1)
            psnr += measure(_levels(result), _levels(pair["target"]), ["psnr-y"], border=0)["psnr-y"]
            l1 += (result - pair["target"]).abs().mean().item()
        return {"psnr-y": psnr / self.val.count, "l1": l1 / self.val.count}

    def draw_samples(self, system: System, path: Path) -> None:
        """Write a sheet: a row for each of a few inputs, with what it becomes and, where there are pairs, should become."""
        if not isinstance(system, Translator):
            return
        shown = self._shown
        inputs = torch.cat([shown["a"], shown["b"]]) if "a" in shown else shown["input" if "input" in shown else "image"]
        wanted = [system.target([name], []) for name in system.targets] or [None]
        columns = [inputs, *(_translated(system, inputs, target, self.run.device) for target in wanted)]
        columns += [shown["target"]] if "target" in shown else []
        write_sheet(path, [list(row) for row in zip(*columns, strict=True)])


@torch.inference_mode()
def _translated(system: Translator, images: Tensor, target: Tensor | None, device: torch.device) -> Tensor:
    return system.translate(images.to(device), None if target is None else target.to(device)).cpu()


def _levels(image: Tensor) -> Tensor:
    return (image * 255).round().to(torch.uint8)
