"""Weights: a name, a reference to the Hub or a file -> a checked file -> a system ready to use.

Listing and choosing import neither torch nor the Hub's client; loading does.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from gantool import __version__, scales, systems
from gantool.entries import FILE, LARGEST_SCALE, REPO, Entry, entries
from gantool.errors import GantoolError, UsageError, WeightsError, printable, say, unknown

if TYPE_CHECKING:
    from gantool.modelheader import Contents, Kind
    from gantool.system import Json, System

State: TypeAlias = Literal["bundled", "cached", "not downloaded", "no file needed", "missing"]

BUNDLED = Path(__file__).parent / "bundled"
FAMILY = "span"  # what is used when no model is named
DEFAULT_SCALE = int(scales.DEFAULT)  # of a family that is loaded without a wanted scale
SUFFIXES = frozenset({".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".tar"})  # by which a missing file is told from a name

_REFERENCE = re.compile(rf"({REPO.pattern})(?:@({FILE.pattern}))?(?::({FILE.pattern}))?")  # to a file of the Hub
_SIZED = re.compile(r"(.+)-x([1-9][0-9]?)")


@dataclass(frozen=True)
class Model:
    """A system ready to use: evaluating, in the form for inference, float32 on the CPU, without gradients."""

    name: str
    system: System
    sha256: str  # of the file as it was given; empty where there is none
    header: Mapping[str, Json]  # system, config, task, scale, multiple, halo, step, metrics ...
    license: str = "unspecified"  # of the weights


def choose(reference: str | None, scale: float, registry: Path | None = None) -> str:
    """Return what to load for a wanted scale.

    Args:
        reference: a name, a family (`span`: the member with the smallest scale that suffices, else the largest), a
            reference to the Hub, a file; None for the default family.
        scale: output side / input side, any positive number.
        registry: a weights.toml of one's own.
    """
    known = entries(registry)
    name = reference or FAMILY
    if name in known and known[name].weightless:
        return f"{name}-x{min(max(1, ceil(scale)), LARGEST_SCALE)}"
    members = _family(name, known)
    if name in known or not members:
        return name
    return members[min((s for s in members if s >= scale), default=max(members))]


def _family(name: str, known: Mapping[str, Entry]) -> dict[int, str]:
    """Return the members of a family by scale."""
    return {e.scale: e.name for e in known.values() if e.scale and e.name == f"{name}-x{e.scale}"}


def find(reference: str, registry: Path | None = None) -> Entry | Path:
    """Return what a reference stands for: an entry (also one for a file of the Hub that has no name), or a local file.

    A family stands for its member of scale 4, or else its smallest; `bicubic-x3` is the weightless `bicubic` of scale 3.

    Raises:
        UsageError: it stands for nothing; near names are in the message.
        WeightsError: the registry is wrong.
    """
    known = entries(registry)
    members = _family(reference, known)
    name = members.get(DEFAULT_SCALE, members[min(members)]) if members else reference
    base, scale = match.groups() if (match := _SIZED.fullmatch(name)) else (name, DEFAULT_SCALE)
    if base in known and known[base].weightless and int(scale) <= LARGEST_SCALE:
        return replace(known[base], name=f"{base}-x{scale}", config={**(known[base].config or {}), "scale": int(scale)})
    if name in known:
        return known[name]
    if os.path.lexists(reference) or (Path(reference).suffix.lower() in SUFFIXES and ":" not in reference):
        return Path(reference)
    if (match := _REFERENCE.fullmatch(reference)) and ".." not in reference:
        repo, revision, file = match.groups()
        same = (e for e in known.values() if (e.repo, e.file) == (repo, file) and revision in (None, e.revision))
        return next(same, Entry(reference, repo=repo, revision=revision, file=file, unpinned=True))
    models = [name for name, entry in known.items() if not entry.features]
    raise unknown("model", reference, {*models, *(match[1] for name in models if (match := _SIZED.fullmatch(name)))})


def state(entry: Entry) -> State:
    """Return where an entry's file is, without checking it."""
    if entry.weightless:
        return "no file needed"
    if entry.bundled:
        return "bundled" if (BUNDLED / entry.bundled).is_file() else "missing"
    from gantool import hub

    return "cached" if hub.cached(entry) else "not downloaded"


def locate(entry: Entry, offline: bool = False, option: str = "-m") -> Path:
    """Return an entry's file with the right hash, fetched from the Hub if need be.

    Args:
        entry: whose file it is.
        offline: never ask the network.
        option: by which the user can name a file of his own instead.

    Raises:
        WeightsError: it cannot be had, or is not what it should be.
    """
    if not entry.bundled:
        from gantool import hub

        return hub.fetch(entry, offline, option)
    from gantool import cache

    path = BUNDLED / entry.bundled
    found = cache.digest(path)
    if found != entry.sha256:
        raise WeightsError(f"sha256 of {printable(path)} is {found}, weights.toml says {entry.sha256}: install gantool again")
    return path


def load(reference: str, *, offline: bool = False, registry: Path | None = None, system: str | None = None) -> Model:
    """Return a model ready to use.

    What the file itself says about its system comes first, then weights.toml, then its keys and shapes, then `system`.

    Args:
        reference: a name, `org/repo[@revision][:file]` on the Hub, or a local file, known by its content.
        offline: never ask the network.
        registry: a weights.toml of one's own.
        system: of a file that does not tell.

    Raises:
        UsageError: there is no such model or system.
        WeightsError: the weights cannot be had, are damaged, unsafe, or fit no system.
    """
    if system is not None and system not in systems.names():
        raise unknown("system", system, systems.names())
    found = find(reference, registry)
    if isinstance(found, Path):
        return _load_file(found, Entry(found.stem, system=system))
    _check_system(found)
    if found.weightless:
        return _load_weightless(found)
    if system and found.system and system != found.system:
        raise WeightsError(f"{found.name} is of {found.system}, not of {system}: leave --system out")
    return _load_file(locate(found, offline), replace(found, system=found.system or system))


def read(reference: str, *, offline: bool = False, registry: Path | None = None) -> Contents:
    """Return what a model's file holds.

    Args:
        reference: as in `load`.
        offline: never ask the network.
        registry: a weights.toml of one's own.

    Raises:
        UsageError: there is no such model, or it is no file that gantool wrote.
        WeightsError: the file cannot be had, is damaged, or is of another model than was asked for.
    """
    from gantool import cache, modelheader

    found = find(reference, registry)
    if isinstance(found, Entry):
        _check_system(found)
        if found.weightless:
            raise UsageError(f"{found.name} has no file: use --backend torch")
    path, entry = (found, Entry(found.stem)) if isinstance(found, Path) else (locate(found, offline), found)
    origin = printable(path)
    facts = modelheader.read_header(path) if modelheader.sniff(path) == "safetensors" else None
    if facts is None:
        raise UsageError(f"{origin} is no model file of gantool's: use --backend torch, or first gantool models convert")
    _check_agreement(facts, entry, origin)
    return modelheader.Contents(_plain(entry.name), origin, cache.sha256(path), facts, modelheader.read_arrays(path))


def _check_system(entry: Entry) -> None:
    if entry.features:
        raise UsageError(f"{entry.name} is a network that training looks through, no model that pictures go through")


def _plain(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name)


def _load_weightless(entry: Entry) -> Model:
    from gantool import modelfile

    where = f"[{entry.name}] of weights.toml"
    name = str(entry.system)
    config = modelfile.configure(systems.load(name).config(), dict(entry.config or {}), where)
    system = modelfile.fill(modelfile.build(name, config, 0, where), {}, where)
    return Model(entry.name, system, "", modelfile.describe(system))


def _load_file(path: Path, entry: Entry) -> Model:
    from gantool import cache, modelfile, modelheader

    origin = printable(path)
    name = _plain(entry.name)
    kind = modelheader.sniff(path)
    if kind != "safetensors":
        return _load_pickle(path, name, kind, entry)
    tensors, metadata = modelfile.read(path)
    facts = modelheader.header(metadata, origin)
    if facts is not None:
        _check_agreement(facts, entry, origin)
        license = entry.license if entry.license != "unspecified" else metadata.get("modelspec.license", "unspecified")
        return Model(name, modelfile.restore(facts, tensors, origin), cache.sha256(path), facts, license)
    if "state" in metadata:
        raise WeightsError(f"{origin} is a checkpoint of a training run: name model.safetensors of that run")
    from gantool import convert

    sha256 = cache.sha256(path)
    converted = convert.convert(tensors, origin, entry.system, dict(entry.config or {}))
    facts = modelfile.describe(converted.system, average=converted.average, source=sha256)
    return Model(name, converted.system, sha256, facts, entry.license)


def _check_agreement(facts: Mapping[str, Json], entry: Entry, origin: str) -> None:
    config = facts["config"]
    wrong = [
        (key, value) for key, value in (entry.config or {}).items() if isinstance(config, dict) and config.get(key) != value
    ]
    if entry.system not in (None, facts["system"]):
        wrong.insert(0, ("system", str(entry.system)))
    for key, value in wrong:
        raise WeightsError(f"{origin} says otherwise than {key} = {value}, which was asked for: it is another model")


def _load_pickle(path: Path, name: str, kind: Kind, entry: Entry) -> Model:
    """Load a checkpoint from elsewhere by way of its copy in safetensors, which is made once."""
    from gantool import cache, convert, modelfile, modelheader

    sha256 = cache.sha256(path)
    identity = json.dumps([__version__, sha256, entry.system, dict(entry.config or {})], sort_keys=True)
    key = hashlib.sha256(identity.encode()).hexdigest()
    copy = cache.folder() / "converted" / f"{key}.safetensors"
    if copy.is_file() and cache.recall("converted.json").get(key) == cache.sha256(copy):
        tensors, metadata = modelfile.read(copy)
        facts = modelheader.header(metadata, printable(copy)) or {}
        return Model(name, modelfile.restore(facts, tensors, printable(copy)), sha256, facts, entry.license)
    converted = convert.convert(convert.unpickle(path, kind), printable(path), entry.system, dict(entry.config or {}))
    say(f"{printable(path)}: {converted.summary()}")
    facts = modelfile.describe(converted.system, average=converted.average, source=sha256)
    with suppress(GantoolError, OSError):  # without a folder to keep it in, the next run converts again
        copy.parent.mkdir(parents=True, exist_ok=True)
        modelfile.write(copy, converted.system, facts, entry.name, entry.license)
        cache.remember("converted.json", key, cache.sha256(copy))
    return Model(name, converted.system, sha256, facts, entry.license)


def save(
    path: Path,
    system: System,
    *,
    step: int,
    metrics: Mapping[str, float],
    average: bool,
    title: str,
    license: str = "unspecified",
) -> None:
    """Write a model file that says what it is; the same content gives the same bytes.

    Args:
        path: to write, ending in .safetensors.
        system: written in the form that inference uses.
        step: training steps taken.
        metrics: by name; a name says its protocol.
        average: whether these are the moving average of the weights.
        title: for people.
        license: of the weights, an SPDX identifier.

    Raises:
        InputError: the file cannot be written.
        RunError: the disk is full.
    """
    from gantool import modelfile

    final = system.for_inference()
    facts = modelfile.describe(final, step, metrics, average)
    modelfile.write(path, final, facts, title, license)
