"""What training needs of a task: batches, validation and sample sheets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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

SAMPLES = 4  # pictures on a sample sheet


class Upscaling:
    """Plain photos, from which pairs of low and high resolution are made on the fly.

    Args:
        scale: high-resolution side / low-resolution side.
        folder: the photos to learn from.
        val: a folder of photos to validate on, if any.
        seed: of the order of the photos and of the crops.
        workers: processes that prepare samples; 0 does it in the loop.
        device: where validation runs.
        say: gets a sentence per photo that is left out.
    """

    def __init__(
        self,
        scale: int,
        folder: Path,
        val: Path | None,
        seed: int,
        workers: int,
        device: torch.device,
        say: Callable[[str], None],
    ) -> None:
        self.scale, self.folder, self.seed, self.workers, self.device, self.say = scale, folder, seed, workers, device, say
        self.val = list_pictures(val) if val else []
        self._samples: Batch = {}

    def batches(self, stage: Stage, first: int) -> Iterator[Batch]:
        """Return batches without end, from number `first` on: "low" (N, 3, size / scale, ...) and "high" (N, 3, size, size)."""
        size = stage.size or 48 * self.scale
        needed = size + 2 * MARGIN * self.scale
        photos = PhotoFolder(
            self.folder, needed, lambda pixels, rng: low_high_pair(pixels, size, self.scale, rng), self.seed, self.say
        )
        samples = [photos[number] for number in range(SAMPLES)]
        self._samples = {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}
        return batches(photos, stage.batch, first, distributed.rank(), distributed.ranks(), self.workers)

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
        engine = TorchEngine(system.upscale, scale=s, radius=system.radius, multiple=system.multiple, device=self.device)
        larger = tiling.run(engine, images.Picture(low).bands(), (*low.shape[1:], 3))
        result = images.Picture.of(larger, images.Page(high.shape[2], high.shape[1], 3), None)
        return measure(result.color, high, ["psnr-y"], border=s)["psnr-y"]

    def draw_samples(self, system: System, path: Path) -> None:
        """Write a sheet: a row each for the low resolution, the result and the high resolution of the same few samples."""
        if not isinstance(system, Upscaler):
            return
        low, high = self._samples["low"], self._samples["high"]
        with torch.inference_mode():
            result = system.upscale(low.to(self.device)).cpu()
        rows = [low.repeat_interleave(self.scale, 2).repeat_interleave(self.scale, 3), result, high]
        sheet = torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1)  # (3, 3 side, SAMPLES side)
        images.write(path, images.Picture((sheet.clamp(0, 1) * 255).round().to(torch.uint8)))
