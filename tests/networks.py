"""Systems for tests: as the paper has them, small, and with weights that let every path speak."""

from __future__ import annotations

import dataclasses
import importlib
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from gantool import systems
from gantool.layers.features import FeatureNetwork
from gantool.layers.resampling import imresize
from gantool.system import Batch, Generator, Stage, System, Translator, Upscaler

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

SMALL = {  # what makes a network small, by the name of the field
    "channels": 8,
    "blocks": 2,
    "size": 16,
    "latent": 6,
    "downs": 3,
    "layers": 2,
    "units": 12,
    "hidden": (12, 10, 8),
    "judge_hidden": (10, 8),
    "base": 32,
    "discriminator_channels": 8,
    "growth": 4,
    "groups": 2,
    "reduction": 4,
}
SAMPLES = 4  # in a batch: batch norm over 2 numbers gives only their signs


def presets(name: str) -> dict[str, DataclassInstance]:
    """A system's published recipes by name, "" for its defaults."""
    paper = systems.load(name)
    return {"": paper.config(), **getattr(importlib.import_module(paper.config.__module__), "PRESETS", {})}


def build(name: str, preset: str = "", **changes: Any) -> System:
    return systems.load(name).system(dataclasses.replace(presets(name)[preset], **changes))


def small(name: str, preset: str = "", **changes: Any) -> System:
    """A system with few and narrow layers and the weights that training starts from."""
    torch.manual_seed(0)
    kinds = {field.name: type(field.default) for field in dataclasses.fields(systems.load(name).config)}
    sizes = {key: value for key, value in SMALL.items() if kinds.get(key) is type(value)}
    if "features" in kinds:  # of a large network, so let it see small images; their side suits discriminators and the scale
        sizes["patch"] = 96 if changes.get("scale") == 3 else 32
    system = build(name, preset, **sizes | changes)
    if system.features:
        system.give_features(FeatureNetwork(system.features))
    return system


def tiny(name: str, preset: str = "", **changes: Any) -> System:
    """A small system in evaluation mode and float64, with random weights."""
    system = small(name, preset, **changes)
    randomize(system)
    return system.double().eval()


def randomize(module: nn.Module) -> None:
    """Draw all weights at the size that keeps signals as they are, biases and statistics away from their start values."""
    generator = torch.Generator().manual_seed(0)
    norms = (nn.BatchNorm1d, nn.BatchNorm2d, nn.InstanceNorm2d)
    normalizing = {name for name, part in module.named_modules() if isinstance(part, norms)}
    for key, value in module.state_dict().items():
        if value.is_floating_point():
            spread = 0.1 if value.dim() < 2 else value[0].numel() ** -0.5
            drawn = torch.randn(value.shape, generator=generator) * spread
            positive = key.endswith("running_var") or (value.dim() < 2 and key.rpartition(".")[0] in normalizing)
            value.copy_(drawn.abs() + 0.5 if positive else drawn)


def image(*shape: int) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def labels_for(system: System) -> Tensor | None:
    """One sample of each of the first classes, as a labelled folder gives them; None where the system has no classes."""
    names = getattr(system.config, "classes", ())
    return torch.eye(len(names)).repeat(SAMPLES, 1)[:SAMPLES] if names else None


def batch_for(system: System, stage: Stage) -> Batch:
    """A few smooth random pictures at the stage's size, as the system's kind of folder gives them."""
    assert stage.size is not None
    channels = system.image_channels
    pictures = torch.rand(2 * SAMPLES, channels, 8, 8, generator=torch.Generator().manual_seed(2))
    pictures = imresize(pictures, stage.size / 8, (stage.size,) * 2).clamp(0, 1)
    first, second = pictures.chunk(2)
    if system.folder == "degraded":
        assert isinstance(system, Upscaler)
        return {"low": imresize(first, 1 / system.scale), "high": first}
    if system.folder == "paired":
        return {"input": first, "target": second}
    if system.folder == "unpaired":
        return {"a": first, "b": second}
    if system.folder == "plain":
        return {"image": first}
    labels = labels_for(system)
    assert labels is not None
    sets = getattr(system.config, "sets", ())
    marks = {"mask": torch.eye(len(sets))[:1].repeat(SAMPLES, 1)} if len(sets) > 1 else {}
    return {"image": first, "label": labels, **marks}


def use(system: System) -> Tensor:
    """What a system makes of a fixed input, in the precision of its weights: images (N, C, H, W)."""
    kind = next((p.dtype for p in system.parameters()), torch.float64)
    if isinstance(system, Upscaler):
        return system.upscale(image(1, 3, 9, 7).to(kind))
    if isinstance(system, Translator):
        return system.translate(image(2, 3, 2 * system.multiple, 3 * system.multiple).to(kind), target_for(system))
    assert isinstance(system, Generator)
    labels = labels_for(system)
    return system.generate(latents_for(system).to(kind), labels if labels is None else labels.to(kind))


def latents_for(system: Generator) -> Tensor:
    """As many latents as labels."""
    return torch.randn(SAMPLES, *system.latent, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def target_for(system: Translator) -> Tensor | None:
    """The first thing that images can become."""
    return system.target(system.targets[:1], ())
