"""Passes over folders, remembered: what networks said of the same files is not asked again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from safetensors.torch import save_file
from torch import Tensor

from gantool import __version__, cache, modelfile
from gantool.errors import GantoolError, InputError, WeightsError
from gantool.evaluation.gathering import Gathered, Gatherer
from gantool.files import atomic, clear_stale
from gantool.layers.inception import Variant
from gantool.metrics import METRICS
from gantool.metrics.fid import Gaussian

if TYPE_CHECKING:
    from gantool.frozen import Part

LOOKED = ("fid", "kid", "is", "precision", "recall")  # through networks, which takes the time
ONLY_PIXELS = ("swd", "ms-ssim-diversity")
REMEMBERED_BYTES = 1 << 30  # of all passes together; one of FID takes 32 MiB


def gathered_folder(
    paths: Sequence[Path],
    metrics: Sequence[str],
    parts: Mapping[str, Part],
    variant: Variant,
    device: torch.device,
    seed: int,
    label: str,
    read: Callable[[Path], Tensor],
    on_error: Callable[[Path, InputError], None],
) -> Gathered:
    """Return what a `Gatherer` finds in files, from memory where networks have seen the same ones.

    The same files are those with the same bytes in the same order, whatever their names. A pass that leaves a file out is not
    remembered; a damaged memory is none.

    Args:
        paths: of pictures.
        metrics: as `Gatherer` takes them, and so on.
        parts: what they need, by name.
        variant: of Inception's input.
        device: where networks compute.
        seed: of patches and pairs.
        label: what sentences call the side.
        read: returns a picture, (3|1, H, W) uint8.
        on_error: gets each file that cannot be read; the others are gathered.

    Raises:
        UsageError: as from `Gatherer`.
        WeightsError: as from `Gatherer`.
    """
    place = _place(paths, [name for name in LOOKED if name in metrics], parts, variant)
    known = _recalled(place) if place else None
    left = [name for name in metrics if name in ONLY_PIXELS or (known is None and name in LOOKED)]
    gatherer = Gatherer(left, parts, variant, device, seed)
    complete = True
    for path in paths if left else ():
        try:
            color = read(path)
        except InputError as error:
            on_error(path, error)
            complete = False
        else:
            gatherer.add(color, is_jpeg(path))
    found = gatherer.finish(label)
    if known:
        looked = replace(known, label=label, jpegs=sum(map(is_jpeg, paths)), through=found.through)
        return replace(looked, patches=found.patches, size=found.size, similarity=found.similarity, pairs=found.pairs)
    if place and complete:
        _remember(place, found)
    return found


def is_jpeg(path: Path) -> bool:
    """Return whether a file's name is that of a JPEG file."""
    return path.suffix.lower() in (".jpg", ".jpeg", ".jpe", ".jfif")


def _place(paths: Sequence[Path], metrics: Sequence[str], parts: Mapping[str, Part], variant: Variant) -> Path | None:
    """Return where such a pass is remembered; None if there is nothing to remember or a file cannot be read."""
    if not metrics:
        return None
    needed = sorted({name for metric in metrics for name in METRICS[metric].needs})
    facts = [__version__, variant, *metrics, *(parts[name].sha256 for name in needed)]
    try:
        facts += [cache.sha256(path) for path in paths]
    except WeightsError:  # whoever reads it as a picture says what is wrong
        return None
    return cache.folder() / "statistics" / f"{hashlib.sha256(repr(facts).encode()).hexdigest()}.safetensors"


def _recalled(place: Path) -> Gathered | None:
    """Return what was remembered, if anything, and if it is undamaged."""
    try:
        tensors, metadata = modelfile.read(place)
        if metadata["sha256"] != _digest(tensors):
            return None
        place.touch()
        mean, covariance = tensors.get("mean"), tensors.get("covariance")
        return Gathered(
            "",
            int(metadata["count"]),
            cast("Variant", metadata["variant"]),
            gaussian=None if mean is None or covariance is None else Gaussian(mean, covariance),
            features=tensors.get("features"),
            logits=tensors.get("logits"),
            looks=tensors.get("looks"),
        )
    except (WeightsError, LookupError, ValueError, OSError):
        return None


def _remember(place: Path, found: Gathered) -> None:
    """Write what networks said of a folder, where that is possible, and forget what was not asked for longest."""
    tensors = {"features": found.features, "logits": found.logits, "looks": found.looks}
    if found.gaussian:
        tensors |= {"mean": found.gaussian.mean, "covariance": found.gaussian.covariance}
    kept = {name: tensor.contiguous() for name, tensor in tensors.items() if tensor is not None}
    if sum(tensor.nbytes for tensor in kept.values()) > REMEMBERED_BYTES:
        return
    metadata = {"count": str(found.count), "variant": str(found.variant), "sha256": _digest(kept)}
    with suppress(OSError, GantoolError):
        place.parent.mkdir(parents=True, exist_ok=True)
        clear_stale(place.parent)
        with atomic(place) as temporary:
            save_file(kept, temporary, metadata)
        _forget(place.parent)


def _forget(folder: Path) -> None:
    total = 0
    for path in sorted(folder.glob("*.safetensors"), key=lambda path: path.stat().st_mtime_ns, reverse=True):
        total += path.stat().st_size
        if total > REMEMBERED_BYTES:
            path.unlink()


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.numpy().data)
    return digest.hexdigest()
