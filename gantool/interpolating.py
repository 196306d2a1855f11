"""Network interpolation: a network between two, weight by weight (Wang et al., ESRGAN, ECCVW 2018, section 3.4)."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import asdict, replace
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from gantool import modelfile, systems, weights
from gantool.entries import Entry, entries
from gantool.errors import UsageError, WeightsError, printable
from gantool.system import Generator, System, Translator, Upscaler
from gantool.weights import Model

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_TRIAL = 24  # pixels a side, or a little more


def check_share(option: str, share: float) -> None:
    """Check that a share of one network in two is one.

    Raises:
        UsageError: it is below 0, above 1 or no number.
    """
    if not 0 <= share <= 1:
        raise UsageError(f"{option} {share:g} is not possible: use a number from 0 to 1")


def denoised(reference: str, strength: float, *, offline: bool = False, registry: Path | None = None) -> Model:
    """Return a model between the one named and its twin in weights.toml, which keeps noise (Real-ESRGAN's general model).

    Args:
        reference: as in `weights.load`.
        strength: 1 is the named model itself and 0 its twin, whose files are all that is needed then.
        offline: never ask the network.
        registry: a weights.toml of one's own.

    Raises:
        UsageError: the model has no twin, or the strength is not from 0 to 1.
        WeightsError: the weights cannot be had, or the two are no pair.
    """
    check_share("--denoise", strength)
    found = weights.find(reference, registry)
    if not isinstance(found, Entry) or found.twin is None:
        with_twins = " or ".join(entry.name for entry in entries(registry).values() if entry.twin)
        raise UsageError(
            f"--denoise needs a model with a twin that keeps noise, and {printable(reference)} has none: "
            f"use {with_twins}, or mix two networks of one kind by `gantool models interpolate`"
        )
    if strength in (0, 1):
        return weights.load(reference if strength else found.twin, offline=offline, registry=registry)
    strong, weak = (weights.load(name, offline=offline, registry=registry) for name in (reference, found.twin))
    try:
        system = between(weak, strong, strength)
    except UsageError as error:
        raise WeightsError(f"[{found.name}] of weights.toml has a twin that is none: {error}") from error
    return Model(f"{strong.name}-denoise-{strength:g}", system, "", modelfile.describe(system))


def between(first: Model, second: Model, alpha: float) -> System:
    """Return (1 - alpha) first + alpha second, of every tensor that inference uses; counters are rounded.

    Args:
        first: not changed.
        second: not changed; of the same system, and alike but for what concerns only training.
        alpha: 0 to 1; at the ends the tensors are those of the model there, bit for bit.

    Raises:
        UsageError: the two differ in more than their weights.
    """
    if different := _differences(first.system, second.system):
        raise UsageError(
            f"{printable(first.name)} and {printable(second.name)} cannot be mixed, as they differ in {', '.join(different)}: "
            "use two models of one system and one form"
        )
    ours, theirs = modelfile.inference_tensors(first.system), modelfile.inference_tensors(second.system)
    if not ours:
        raise UsageError(f"{printable(first.name)} has no weights to mix: use two models that were trained")
    mixed = {key: _mixed(value, theirs[key], alpha) for key, value in ours.items()}
    return modelfile.fill(deepcopy(first.system), mixed, f"what lies between {printable(first.name)} and {second.name}")


def _mixed(first: Tensor, second: Tensor, alpha: float) -> Tensor:
    if alpha in (0, 1):
        return second if alpha else first  # as computed, -0 would become 0
    value = (1 - alpha) * first.double() + alpha * second.double()
    return (value if first.is_floating_point() else value.round()).to(first.dtype)


def similarity(first: System, second: System) -> float:
    """Return the cosine of the angle between the weights of two systems that can be mixed.

    Networks of one ancestry are close (Real-ESRGAN's general model and its twin: 0.99), others are not (that model and the one
    for anime: 0.1).
    """
    ours, theirs = modelfile.inference_tensors(first), modelfile.inference_tensors(second)
    keys = [key for key, value in ours.items() if value.is_floating_point()]
    a, b = (torch.cat([tensors[key].flatten() for key in keys]).double() for tensors in (ours, theirs))
    return float(F.cosine_similarity(a, b, dim=0))


def _differences(first: System, second: System) -> list[str]:
    """Return in what two systems differ that matters to what they do, in words.

    A configuration also has what concerns only training, and no system says which fields these are. A field does not matter if
    the first system, weights and all, does the same with the other's value of it. So what leaves all shapes as they are but
    means another thing inside, such as SPAN's input_range, is found too.
    """
    names = systems.name_of(first), systems.name_of(second)
    if names[0] != names[1]:
        return [f"system ({names[0]} and {names[1]})"]
    ours, theirs = asdict(first.config), asdict(second.config)
    fields = [name for name in ours if ours[name] != theirs[name]]
    if not fields or _alike(first, second.config):
        return []
    alone = [name for name in fields if not _alike(first, replace(first.config, **{name: getattr(second.config, name)}))]
    return [f"{name} ({printable(ours[name])[:40]} and {printable(theirs[name])[:40]})" for name in alone or fields]


def _alike(system: System, config: DataclassInstance) -> bool:
    """Return whether a system would do the same under another configuration, with the weights that it has."""
    tensors = modelfile.inference_tensors(system)
    try:
        other = modelfile.build(systems.name_of(system), config, sum(tensor.numel() for tensor in tensors.values()), "it")
        other = modelfile.fill(other, tensors, "it")
    except WeightsError:  # other tensors, or no network at all
        return False
    if _choices(system) != _choices(other):
        return False
    ours, theirs = _trial(system), _trial(other)
    return ours.shape == theirs.shape and torch.allclose(ours, theirs, rtol=1e-4, atol=1e-6, equal_nan=True)


def _choices(system: System) -> tuple[str, ...]:
    """Return the names of what a system can be asked for."""
    return system.targets if isinstance(system, Translator) else system.classes if isinstance(system, Generator) else ()


def _trial(system: System) -> Tensor:
    """Return what a system makes of a fixed random input."""
    side = ceil(_TRIAL / system.multiple) * system.multiple
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(0)
        if isinstance(system, Upscaler):
            return system.upscale(torch.rand(1, 3, side, side))
        if isinstance(system, Translator):
            return system.translate(torch.rand(1, 3, side, side), system.target(system.targets[:1], ()))
        assert isinstance(system, Generator)  # there is no other kind
        return system.generate(torch.randn(1, *system.latent), torch.eye(len(system.classes))[:1] if system.classes else None)
