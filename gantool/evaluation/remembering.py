"""Passes over folders, remembered: what networks said of the same files is not asked again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file
from torch import Tensor

from gantool import __version__, cache, modelfile
from gantool.errors import GantoolError, InputError, WeightsError, say
from gantool.evaluation.gathering import Gathered, Gatherer
from gantool.files import atomic, clear_stale
from gantool.layers.inception import Variant
from gantool.metrics import METRICS
from gantool.metrics.fid import Gaussian

if TYPE_CHECKING:
    from gantool.frozen import Part

FIELDS = {"fid": "gaussian", "kid": "features", "is": "logits", "precision": "looks", "recall": "looks"}
"""What networks leave in `Gathered` for each metric, which is remembered on its own."""
REMEMBERED_BYTES = 1 << 30  # of all that is remembered together; FID's statistics of a folder take 32 MiB
MUCH_BYTES = 1 << 30  # in memory for one side, from which on that is said


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

    The same files are those with the same bytes in the same order, whatever their names. What each metric takes from a network
    is remembered by itself, so that only the rest is gathered. A pass that leaves a file out is not remembered, and a damaged
    memory is none.

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
    places = _places(paths, metrics, parts, variant)
    known = {name: tensors for name, place in places.items() if (tensors := _recalled(place))}
    left = [name for name in metrics if METRICS[name].kind in ("set", "sets") and FIELDS.get(name) not in known]
    gatherer = Gatherer(left, parts, variant, device, seed)
    complete = not left or _gather(gatherer, paths, label, read, on_error)
    found = gatherer.finish(label)
    if not left:
        found = replace(found, count=len(paths), jpegs=sum(map(is_jpeg, paths)))
    for name in places.keys() - known.keys() if complete else ():
        _remember(places[name], _tensors(found, name))
    return _joined(found, {key: tensor for tensors in known.values() for key, tensor in tensors.items()})


def _gather(
    gatherer: Gatherer,
    paths: Sequence[Path],
    label: str,
    read: Callable[[Path], Tensor],
    on_error: Callable[[Path, InputError], None],
) -> bool:
    """Add files to a gatherer and return whether all could be read."""
    complete, told = True, False
    for path in paths:
        try:
            color = read(path)
        except InputError as error:
            on_error(path, error)
            complete = False
        else:
            gatherer.add(color, is_jpeg(path))
            told = told or _tell(gatherer.picture_bytes * len(paths), f"{len(paths):,} pictures of {label}")
    return complete


def _tell(kept: int, pictures: str) -> bool:
    """Say how much memory a side takes, where it is much."""
    if kept > MUCH_BYTES:
        say(f"{kept / 2**30:.1f} GiB of memory will be taken by {pictures}: if that is too much, leave out metrics or pictures")
    return True


def is_jpeg(path: Path) -> bool:
    """Return whether a file's name is that of a JPEG file."""
    return path.suffix.lower() in (".jpg", ".jpeg", ".jpe", ".jfif")


def _places(paths: Sequence[Path], metrics: Sequence[str], parts: Mapping[str, Part], variant: Variant) -> dict[str, Path]:
    """Return where each field that networks fill for these metrics is remembered; nothing if a file cannot be read."""
    through = {FIELDS[name]: METRICS[name].needs[0] for name in metrics if name in FIELDS}
    try:
        marks = [cache.sha256(path) for path in paths] if through else []
    except WeightsError:  # whoever reads it as a picture says what is wrong
        return {}
    found = {}
    for name, part in through.items():
        facts = [__version__, name, parts[part].sha256, *([variant] if part == "inception" else []), *marks]
        found[name] = cache.folder() / "statistics" / f"{hashlib.sha256(repr(facts).encode()).hexdigest()}.safetensors"
    return found


def _tensors(found: Gathered, field: str) -> dict[str, Tensor]:
    """Return what one of `FIELDS` holds, by names that no other has."""
    if field == "gaussian":
        return {"mean": found.gaussian.mean, "covariance": found.gaussian.covariance} if found.gaussian else {}
    rows = {"features": found.features, "logits": found.logits, "looks": found.looks}[field]
    return {} if rows is None else {field: rows}


def _joined(found: Gathered, known: Mapping[str, Tensor]) -> Gathered:
    """Return what was found, with what `_tensors` gave of other passes."""
    return replace(
        found,
        gaussian=Gaussian(known["mean"], known["covariance"]) if "mean" in known else found.gaussian,
        features=known.get("features", found.features),
        logits=known.get("logits", found.logits),
        looks=known.get("looks", found.looks),
    )


def _recalled(place: Path) -> dict[str, Tensor]:
    """Return what was remembered; nothing if there is nothing, or if it is damaged."""
    try:
        tensors, metadata = modelfile.read(place)
        if metadata["sha256"] != _digest(tensors):
            return {}
        place.touch()
        return tensors
    except (WeightsError, LookupError, OSError):
        return {}


def _remember(place: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write what networks said of a folder, where that is possible, and forget what was not asked for longest."""
    if not tensors or sum(tensor.nbytes for tensor in tensors.values()) > REMEMBERED_BYTES:
        return
    with suppress(OSError, GantoolError):
        place.parent.mkdir(parents=True, exist_ok=True)
        clear_stale(place.parent)
        with atomic(place) as temporary:
            save_file(dict(tensors), temporary, {"sha256": _digest(tensors)})
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
