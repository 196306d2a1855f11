"""Learning to upscale, from plain photos that are made small on the fly."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from gantool import images, tiling
from gantool.backends.pytorch import TorchEngine
from gantool.data.folders import PhotoFolder, batches, list_pictures, read_rgb
from gantool.data.transforms import MARGIN, low_high_pair
from gantool.layers.resampling import imresize
from gantool.metrics import measure
from gantool.system import Batch, Stage, System, Upscaler
from gantool.training import distributed
from gantool.training.tasks import SAMPLES, Circumstances, write_sheet


class Upscaling:
    """Plain photos, from which pairs of low and high resolution are made on the fly.

    Args:
        scale: high-resolution side / low-resolution side.
        folder: the photos to learn from.
        val: a folder of photos to validate on, if any.
        run: see `Circumstances`.
    """

    def __init__(self, scale: int, folder: Path, val: Path | None, run: Circumstances) -> None:
        self.scale, self.folder, self.run = scale, folder, run
        self.val = list_pictures(val) if val else []
        self._samples: Batch = {}

    def batches(self, stage: Stage, first: int) -> Iterator[Batch]:
        """Return batches without end, from number `first` on: "low" (N, 3, size / scale, ...) and "high" (N, 3, size, size)."""
        size = stage.size or 48 * self.scale
        needed = size + 2 * MARGIN * self.scale
        photos = PhotoFolder(
            self.folder, needed, lambda pixels, rng: low_high_pair(pixels, size, self.scale, rng), self.run.seed, self.run.say
        )
        samples = [photos[number] for number in range(SAMPLES)]
        self._samples = {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}
        return batches(photos, stage.batch, first, distributed.rank(), distributed.ranks(), self.run.workers)

    def validate(self, system: System) -> dict[str, float]:
        """Return the mean PSNR-Y over the validation photos: MATLAB bicubic in 8 bits, `scale` pixels of border shaved."""
        if not self.val or not isinstance(system, Upscaler):
            return {}
        scores = [self._score(system, read_rgb(path)) for path in self.val]
        return {"psnr-y": sum(scores) / len(scores)}

    def _score(self, system: Upscaler, photo: Tensor) -> float:
        s = self.scale
        high = photo[:, : photo.shape[1] // s * s, : photo.shape[2] // s * s]
        low = imresize(high[None], 1 / s)[0]
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
