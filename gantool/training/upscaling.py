"""Learning to upscale, from plain photos that are made small, and worse if need be, on the fly."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gantool import images, tiling
from gantool.backends.pytorch import TorchEngine
from gantool.data.folders import PhotoFolder, batches, list_pictures, read_rgb
from gantool.data.transforms import low_high_pair
from gantool.errors import UsageError
from gantool.fitting import Degradation
from gantool.metrics import measure
from gantool.system import Batch, Stage, System, Upscaler
from gantool.training import distributed
from gantool.training.tasks import SAMPLES, Circumstances, write_sheet


class Upscaling:
    """Plain photos, from which pairs of low and high resolution are made on the fly.

    Args:
        degradation: how they are made small.
        folder: the photos to learn from.
        val: a folder of photos to validate on, if any.
        run: see `Circumstances`.
    """

    def __init__(self, degradation: Degradation, folder: Path, val: Path | None, run: Circumstances) -> None:
        self.degradation, self.folder, self.run = degradation, folder, run
        self.scale = degradation.scale
        self.val = list_pictures(val) if val else []
        self._samples: Batch = {}

    def batches(self, stage: Stage, first: int) -> Iterator[Batch]:
        """Return batches without end, from number `first` on: "low" (N, 3, size / scale, ...) and "high" (N, 3, size, size)."""
        size = stage.size or 48 * self.scale
        if size % self.scale:
            raise UsageError(f"training images of {size} pixels do not divide by the scale {self.scale}: use another patch")
        needed = size + 2 * self.degradation.margin
        photos = PhotoFolder(
            self.folder,
            needed,
            lambda pixels, rng: low_high_pair(pixels, size, self.degradation, rng),
            self.run.seed,
            self.run.say,
        )
        samples = [photos[number] for number in range(SAMPLES)]
        self._samples = {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}
        return batches(photos, stage.batch, first, distributed.rank(), distributed.ranks(), self.run.workers)

    def validate(self, system: System) -> dict[str, float]:
        """Return the mean PSNR-Y over the validation photos, made small as in training; `scale` pixels of border shaved.

        What a degradation draws is the same at every validation.
        """
        if not self.val or not isinstance(system, Upscaler):
            return {}
        scores = [self._score(system, read_rgb(path), number) for number, path in enumerate(self.val)]
        return {"psnr-y": sum(scores) / len(scores)}

    def _score(self, system: Upscaler, photo: Tensor, number: int) -> float:
        s = self.scale
        high = photo[:, : photo.shape[1] // s * s, : photo.shape[2] // s * s]
        low = self.degradation.degrade(high, np.random.default_rng(number))
        engine = TorchEngine(system.upscale, scale=s, radius=system.radius, multiple=system.multiple, device=self.run.device)
        larger = tiling.run(engine, images.Picture(low).bands(), (*low.shape[1:], 3))
        result = images.Picture.of(larger, images.Page(high.shape[2], high.shape[1], 3), None)
        return measure(result.color, high, ["psnr-y"], border=s)["psnr-y"]

    def draw_samples(self, system: System, path: Path) -> None:
        """Write a sheet: a row each for the low resolution, the result and the high resolution of the same few samples."""
        if not isinstance(system, Upscaler):
            return
        low, high = self._samples["low"], self._samples["high"]
        with torch.inference_mode():
            result = system.upscale(low.to(self.run.device)).cpu()
        large = low.repeat_interleave(self.scale, 2).repeat_interleave(self.scale, 3)
        write_sheet(path, [list(large), list(result), list(high)])
