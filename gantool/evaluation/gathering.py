"""One pass over the pictures of one side, which feeds all metrics of whole sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from gantool.errors import WeightsError, printable
from gantool.layers.inception import CLASSES, FEATURES, Variant, prepared, tensorflow_bilinear
from gantool.metrics.diversity import Diversity
from gantool.metrics.fid import Gaussian, Statistics, load
from gantool.metrics.swd import Descriptors, Level

if TYPE_CHECKING:
    from gantool.frozen import Part
    from gantool.layers.features import VGG16Features
    from gantool.layers.inception import Inception

BATCH = 32  # pictures that a network sees at once
VGG_SIDE, VGG_FEATURES = 224, 4096


@dataclass(frozen=True)
class Gathered:
    """What metrics need of one side. Only the part for `fid` has the same size for any number of pictures.

    Attributes:
        label: what sentences call the side.
        count: of pictures; None where a file of statistics does not say it.
        variant: of Inception's input; None where a file of statistics does not say it.
        jpegs: how many of them were JPEG files.
        through: by the networks' names, which file was looked through, in words.
        gaussian: for `fid`; None where there are fewer than two pictures.
        features: (N, 2048) float32 of Inception, 8 kB a picture, for `kid`.
        logits: (N, 1008) float32 without the classifier's bias, 4 kB a picture, for `is`.
        looks: (N, 4096) float32 of VGG16, 16 kB a picture, for `precision` and `recall`.
        patches: by level, see `gantool.metrics.swd.Descriptors`: 38 kB a picture and level, for `swd`.
        size: of those pictures, (rows, columns).
        similarity: mean MS-SSIM of random pairs, for `ms-ssim-diversity`; None where there are fewer than two pictures.
        pairs: how many.
    """

    label: str
    count: int | None
    variant: Variant | None
    jpegs: int = 0
    through: Mapping[str, str] | None = None
    gaussian: Gaussian | None = None
    features: Tensor | None = None
    logits: Tensor | None = None
    looks: Tensor | None = None
    patches: tuple[Level, ...] = ()
    size: tuple[int, int] | None = None
    similarity: float | None = None
    pairs: int = 0

    @classmethod
    def from_npz(cls, path: Path) -> Gathered:
        """Return the statistics of a file of pytorch-fid's kind, which serve `fid` only.

        Raises:
            UsageError: it is no such file.
        """
        return cls(printable(path.name), None, None, gaussian=load(path))


class Gatherer:
    """Takes pictures one by one, of any sizes, and keeps only what the metrics need; networks see them in batches of 32.

    Args:
        metrics: names out of `METRICS`, those of kind "set" and "sets"; others are left alone.
        parts: what they need, by name. Their networks are moved to the device, where other gatherers find them.
        variant: of Inception's input.
        device: where networks compute.
        seed: of patches and pairs; the same for both sides, so that equal sides are at distance 0.
    """

    def __init__(
        self, metrics: Sequence[str], parts: Mapping[str, Part], variant: Variant, device: torch.device, seed: int = 0
    ) -> None:
        wanted = set(metrics)
        self._variant, self._count, self._jpegs = variant, 0, 0
        self._through = {name: _identity(part) for name, part in parts.items()}
        self._statistics = Statistics(FEATURES) if "fid" in wanted else None
        self._features = [torch.empty(0, FEATURES)] if "kid" in wanted else None
        self._logits = [torch.empty(0, CLASSES)] if "is" in wanted else None
        self._looks = [torch.empty(0, VGG_FEATURES)] if wanted & {"precision", "recall"} else None
        self._descriptors = Descriptors(seed) if "swd" in wanted else None
        self._diversity = Diversity(seed) if "ms-ssim-diversity" in wanted else None
        self._viewers: list[_Viewer] = []
        if wanted & {"fid", "kid", "is"}:
            inception = cast("Inception", parts["inception"].value).to(device)
            self._viewers.append(_Viewer(lambda image: prepared(image, variant), inception, self._take_inception, device))
        if self._looks is not None:
            vgg = cast("VGG16Features", parts["vgg16-fc"].value).to(device)
            self._viewers.append(_Viewer(_for_vgg, lambda images: (vgg(images),), self._take_vgg, device))

    def add(self, color: Tensor, jpeg: bool = False) -> None:
        """Add a picture.

        Args:
            color: (3|1, H, W) uint8.
            jpeg: it comes from a JPEG file.

        Raises:
            UsageError: `swd` or `ms-ssim-diversity` is asked for, and it is too small or not of one size with those before.
            WeightsError: a network gives numbers that are not finite.
        """
        image = color.expand(3, -1, -1)
        if self._diversity:
            self._diversity.add(image)
        if self._descriptors:
            self._descriptors.add(image)
        for viewer in self._viewers:
            viewer.add(image)
        self._count += 1
        self._jpegs += jpeg

    @property
    def picture_bytes(self) -> int:
        """What each picture leaves in memory, once there was one."""
        rows = [found[0].shape[1] * found[0].itemsize for found in (self._features, self._logits, self._looks) if found]
        return sum(rows) + (self._descriptors.picture_bytes if self._descriptors else 0)

    def finish(self, label: str) -> Gathered:
        """Return what was gathered.

        Args:
            label: what sentences call the side.

        Raises:
            WeightsError: a network gives numbers that are not finite.
        """
        for viewer in self._viewers:
            viewer.flush()
        return Gathered(
            label,
            self._count,
            self._variant,
            self._jpegs,
            self._through,
            gaussian=self._statistics.gaussian() if self._statistics and self._count > 1 else None,
            features=_joined(self._features),
            logits=_joined(self._logits),
            looks=_joined(self._looks),
            patches=tuple(self._descriptors.levels()) if self._descriptors else (),
            size=self._descriptors.size if self._descriptors else None,
            similarity=self._diversity.value() if self._diversity else None,
            pairs=self._diversity.pairs if self._diversity else 0,
        )

    def _take_inception(self, found: Sequence[Tensor]) -> None:
        features, logits = found
        if self._statistics:
            self._statistics.add(features)
        if self._features is not None:
            self._features.append(features)
        if self._logits is not None:
            self._logits.append(logits)

    def _take_vgg(self, found: Sequence[Tensor]) -> None:
        assert self._looks is not None, "it is looked through for these alone"
        self._looks.append(found[0])


class _Viewer:
    """A network and the pictures that wait for it.

    Args:
        prepare: from (1, 3, H, W) uint8 to what the network takes, all of one size.
        network: from (N, 3, side, side) to tensors (N, ...).
        take: gets those, on the CPU.
        device: where the network is.
    """

    def __init__(
        self,
        prepare: Callable[[Tensor], Tensor],
        network: Callable[[Tensor], Sequence[Tensor]],
        take: Callable[[Sequence[Tensor]], None],
        device: torch.device,
    ) -> None:
        self._prepare, self._network, self._take, self._device = prepare, network, take, device
        self._waiting: list[Tensor] = []

    def add(self, image: Tensor) -> None:
        self._waiting.append(self._prepare(image[None]))
        if len(self._waiting) == BATCH:
            self.flush()

    def flush(self) -> None:
        """Let the network see what waits.

        Raises:
            WeightsError: it answers with numbers that are not finite.
        """
        if not self._waiting:
            return
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # or FID is true to three digits only
            found = [value.float().cpu() for value in self._network(torch.cat(self._waiting).to(self._device))]
        if not all(value.isfinite().all() for value in found):
            raise WeightsError("the network that sets are compared through gives no finite numbers: check its --weights file")
        self._waiting.clear()
        self._take(found)


def _identity(part: Part) -> str:
    known = "the published file" if part.official else "not known to be the published file"
    return f"{part.name} of sha256 {part.sha256[:8]}, {known}"


def _for_vgg(images: Tensor) -> Tensor:
    return tensorflow_bilinear(images.float(), VGG_SIDE) / 255


def _joined(rows: list[Tensor] | None) -> Tensor | None:
    return None if rows is None else torch.cat(rows)
