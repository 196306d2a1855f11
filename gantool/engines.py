"""From a model's name to an engine that computes it: which back-end, on which device, in which precision."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from gantool import systems, weights
from gantool.backends import Engine
from gantool.errors import UsageError, printable

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from gantool.system import System, Translator, Upscaler

Backend: TypeAlias = Literal["auto", "torch", "openvino"]


@dataclass(frozen=True)
class Settings:
    """How models are to be computed.

    Attributes:
        backend: torch, openvino, or auto, which is torch: that one knows all systems and GPUs. OpenVINO takes about a tenth
            less CPU time for large pictures, half for small ones, and up to a third more memory (EDSR).
        device: auto, cpu, cuda, cuda:1 or mps.
        dtype: auto, fp32, fp16 or bf16.
        halo: pixels that a part of a picture sees around it; None: all that matter.
        memory: bytes that may be used in all; None: what is usual.
        ensemble: mean over the eight turns and reflections of the input.
        offline: never ask the network.
        registry: a weights.toml of one's own.
        denoise: share of the named model in a mix with its twin that keeps noise; None: the model as it is.
    """

    backend: Backend = "auto"
    device: str = "auto"
    dtype: str = "auto"
    halo: int | None = None
    memory: int | None = None
    ensemble: bool = False
    offline: bool = False
    registry: Path | None = None
    denoise: float | None = None


@dataclass(frozen=True)
class Loaded:
    """A model ready to run.

    Attributes:
        name: of the model.
        sha256: of its file; empty where there is none.
        engine: what runs it.
    """

    name: str
    sha256: str
    engine: Engine


def load(reference: str, settings: Settings) -> Loaded:
    """Return a model ready to upscale.

    Raises:
        UsageError: there is no such model, it does not upscale, or the settings do not suit it.
        WeightsError: the weights cannot be had, are damaged, unsafe, or fit no system.
    """
    if settings.backend == "openvino":
        return on_openvino(reference, settings)
    if settings.denoise is not None:
        from gantool import interpolating

        mixed = interpolating.denoised(reference, settings.denoise, offline=settings.offline, registry=settings.registry)
        return on_torch(mixed, settings)
    return on_torch(weights.load(reference, offline=settings.offline, registry=settings.registry), settings)


def on_openvino(reference: str, settings: Settings) -> Loaded:
    """Return a model on OpenVINO, without importing torch; see `load`."""
    if settings.denoise is not None:
        raise UsageError("--denoise mixes networks, for which --backend openvino has no means: use --backend torch")
    from gantool.backends import openvino

    openvino.library()  # whether it is there is known before anything is downloaded
    found = weights.read(reference, offline=settings.offline, registry=settings.registry)
    engine = openvino.for_upscaling(
        found,
        device=settings.device,
        dtype=settings.dtype,
        halo=settings.halo,
        memory=settings.memory,
        ensemble=settings.ensemble,
    )
    return Loaded(found.name, found.sha256, engine)


def on_torch(model: weights.Model, settings: Settings) -> Loaded:
    """Return a loaded model on torch, moved to the device; see `load`."""
    from gantool.backends import pytorch

    upscaler(model)
    device, dtype = _placed(model.name, model.system, settings)
    engine = pytorch.for_upscaling(
        model.system, device, dtype, halo=settings.halo, memory=settings.memory, ensemble=settings.ensemble
    )
    return Loaded(model.name, model.sha256, engine)


def for_translating(model: weights.Model, system: System, target: Tensor | None, settings: Settings) -> Loaded:
    """Return a model ready to translate on torch.

    Args:
        model: what it is called.
        system: a `Translator`, the model's or a deterministic form of it; moved to the device.
        target: what it is to translate to.
        settings: how.

    Raises:
        UsageError: the settings do not suit it.
    """
    from gantool.backends import pytorch

    device, dtype = _placed(model.name, system, settings)
    engine = pytorch.for_translating(system, target, device, dtype, halo=settings.halo, memory=settings.memory)
    return Loaded(model.name, model.sha256, engine)


def _placed(name: str, system: System, settings: Settings) -> tuple[torch.device, torch.dtype]:
    """Return where and in which precision a system is to run."""
    import torch

    from gantool import devices

    device = devices.choose_device(settings.device)
    dtype = devices.choose_dtype(settings.dtype, device)
    if settings.dtype == "auto" and device.type == "cuda" and system.half_safe:
        dtype = torch.float16  # the bundled networks' results differ by one level at most, in 4 % of values (62 dB)
    if settings.dtype == "fp16" and not system.half_safe:
        raise UsageError(f"{printable(name)} is not sound in fp16: use --dtype bf16 or fp32")
    return device, dtype


def upscaler(model: weights.Model) -> Upscaler:
    """Return a model's system, if it can upscale.

    Raises:
        UsageError: it cannot.
    """
    from gantool.system import Upscaler

    if not isinstance(model.system, Upscaler):
        others = ", ".join(systems.names("super_resolution"))
        raise UsageError(f"{printable(model.name)} is of {systems.name_of(model.system)}, which does not upscale: use {others}")
    return model.system


def translator(name: str, system: System) -> Translator:
    """Return a model's system, if it can translate.

    Raises:
        UsageError: it cannot.
    """
    from gantool.system import Translator

    if not isinstance(system, Translator):
        others = ", ".join(systems.names("translation"))
        raise UsageError(f"{printable(name)} is of {systems.name_of(system)}, which does not translate: use {others}")
    return system
