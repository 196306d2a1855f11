"""One model file: tensors in safetensors under a header that says what they are, checked before anything is built from it.

The format and its checks, apart from `weights.py`, which lists names and must not import torch.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from safetensors.torch import save as to_bytes
from torch import Tensor, nn
from torch.nn.modules import module as registration

from gantool import systems
from gantool.errors import GantoolError, UsageError, WeightsError, first_line, printable
from gantool.files import atomic
from gantool.modelheader import SCHEMA, opened
from gantool.system import Json, System, Upscaler, configured

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

MAX_MODULES = 10_000  # layers; no network of this kind comes near, and a header may ask for a billion of them
SPARE_ELEMENTS = 100_000_000  # a system may have networks that its model file does not hold, such as a discriminator
SHOWN = 5  # keys named in a message
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors of a safetensors file, which stay on the disk until they are used, and its metadata.

    Raises:
        WeightsError: the file is malformed.
    """
    with opened(path, "pt") as file:
        tensors = {key: cast("Tensor", file.get_tensor(key)) for key in file.keys()}  # noqa: SIM118  # no dictionary
        return tensors, dict(file.metadata() or {})


def configure(base: DataclassInstance, values: Mapping[str, Json], origin: str) -> DataclassInstance:
    """Return a configuration with some fields changed.

    Raises:
        WeightsError: there is no such field, or a value is not of its kind.
    """
    try:
        return configured(base, values)
    except UsageError as error:
        raise WeightsError(f"{origin} holds an impossible configuration: {error}") from error


def build(name: str, config: DataclassInstance, elements: int, origin: str) -> System:
    """Return an untrained system.

    Args:
        name: of the system.
        config: may come from an untrusted file.
        elements: numbers that the file holds; a network that needs far more is not built.
        origin: the file's name, for messages.

    Raises:
        WeightsError: the configuration is impossible or out of proportion.
    """
    try:
        with warnings.catch_warnings(), _bounded(SPARE_ELEMENTS + 4 * elements):
            warnings.simplefilter("ignore")  # of empty layers; whether the tensors fit is checked anyway
            return systems.load(name).system(config)
    except GantoolError as error:
        raise WeightsError(f"{origin}: {error}") from error
    except (ValueError, TypeError, RuntimeError, LookupError, ArithmeticError, AssertionError, MemoryError) as error:
        raise WeightsError(f"{origin} does not describe a possible {name} ({first_line(error)})") from error


def restore(facts: Mapping[str, Json], tensors: Mapping[str, Tensor], origin: str) -> System:
    """Return the system of a file that gantool wrote.

    Raises:
        WeightsError: the header asks for something else than the tensors are, or than this version knows.
    """
    name, values = facts["system"], facts["config"]
    if name not in systems.names() or not isinstance(name, str) or not isinstance(values, dict):
        raise WeightsError(f"{origin} is of a system that is not known here, {printable(name)[:80]}: update gantool")
    config = configure(systems.load(name).config(), values, origin)
    return fill(build(name, config, sum(tensor.numel() for tensor in tensors.values()), origin), tensors, origin)


@contextmanager
def _bounded(elements: int) -> Iterator[None]:
    """Stop the construction of modules as soon as it exceeds a number of elements; memory is not touched before that."""
    modules = 0

    def count_module(parent: nn.Module, name: str, child: nn.Module | None) -> None:
        nonlocal modules
        modules += 1
        if modules > MAX_MODULES:
            raise WeightsError(f"its header asks for more than {MAX_MODULES} layers")

    def count_elements(parent: nn.Module, name: str, tensor: Tensor | None) -> None:
        nonlocal elements
        elements -= 0 if tensor is None else tensor.numel()
        if elements < 0:
            raise WeightsError("its header asks for a far larger network than the file holds")

    handles = [
        registration.register_module_module_registration_hook(count_module),
        registration.register_module_parameter_registration_hook(count_elements),
        registration.register_module_buffer_registration_hook(count_elements),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def fill(system: System, tensors: Mapping[str, Tensor], origin: str) -> System:
    """Copy tensors into a system and return it in the form that inference uses: evaluating, without gradients.

    Args:
        system: just built.
        tensors: by "module.key", exactly those of the system's inference modules.
        origin: the file's name, for messages.

    Raises:
        WeightsError: names, shapes or types differ, or a value is not finite; the system is untouched then.
    """
    expected = inference_tensors(system)
    _check_fit(expected, tensors, f"{origin} does not fit {systems.name_of(system)}")
    values = {key: tensors[key].to(expected[key].dtype) for key in expected}
    broken = [key for key, value in values.items() if not torch.isfinite(value).all()]
    if broken:
        raise WeightsError(f"{origin} holds values that are not finite in {_some(broken, str)}: it is of no use")
    for name, module in system.inference_modules().items():
        module.load_state_dict({key: values[f"{name}.{key}"] for key in module.state_dict()})
    return system.for_inference().eval().requires_grad_(False)


def _check_fit(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], complaint: str) -> None:
    def describe(key: str) -> str:
        wanted = f"expects {printable(key)} {_kind(expected[key])}" if key in expected else f"expects no {printable(key)[:80]}"
        return f"{wanted}, file holds {_kind(found[key]) if key in found else 'none'}"

    wrong = [key for key in expected if key not in found or not _same(expected[key], found[key])]
    wrong += [key for key in found if key not in expected]
    if wrong:
        raise WeightsError(f"{complaint}: {_some(wrong, describe)}")


def _same(expected: Tensor, found: Tensor) -> bool:
    same_type = found.dtype in FLOATS if expected.is_floating_point() else found.dtype == expected.dtype
    return same_type and found.shape == expected.shape


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _some(keys: list[str], show: Callable[[str], str]) -> str:
    more = f"; and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    return "; ".join(show(key) for key in keys[:SHOWN]) + more


def inference_tensors(system: System) -> dict[str, Tensor]:
    """Return what a model file holds of a system, by "module.key"."""
    modules = system.inference_modules().items()
    return {f"{name}.{key}": value for name, module in modules for key, value in module.state_dict().items()}


def describe(
    system: System, step: int = 0, metrics: Mapping[str, float] | None = None, average: bool = False, source: str | None = None
) -> dict[str, Json]:
    """Return the facts of a header.

    Args:
        system: in the form that inference uses.
        step: training steps taken.
        metrics: by name; a name says its protocol (conventions: `psnr-y` is one).
        average: whether the weights are a moving average.
        source: sha256 of the file that the weights were converted from.
    """
    paper = systems.load(systems.name_of(system))
    return {
        "schema": SCHEMA,
        "system": paper.name,
        "config": dict(asdict(system.config)),
        "task": paper.task,
        "scale": system.scale if isinstance(system, Upscaler) else None,
        "multiple": system.multiple,
        "halo": "global" if system.radius is None else system.radius,
        "half_safe": system.half_safe,
        "behaviour": system.behaviour,
        "weights": "ema" if average else "raw",
        "step": step,
        "source_sha256": source,
        "metrics": {name: value if isfinite(value) else str(value) for name, value in (metrics or {}).items()},
    }


def write(path: Path, system: System, facts: Mapping[str, Json], title: str, license: str, half: bool = False) -> None:
    """Write a model file atomically; the same content gives the same bytes.

    Args:
        path: ends with .safetensors.
        system: in the form that inference uses.
        facts: see `describe`.
        title: for people.
        license: of the weights, an SPDX identifier.
        half: store numbers in half precision; they are computed with in float32 all the same.

    Raises:
        InputError: the file cannot be written.
        RunError: the disk is full.
    """
    metadata = {
        "format": "pt",
        "gantool": json.dumps(facts, sort_keys=True, allow_nan=False),
        "modelspec.architecture": str(facts["system"]),
        "modelspec.implementation": "gantool",
        "modelspec.license": license,
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.title": title,
    }
    tensors = {key: value.detach().cpu().contiguous().clone() for key, value in inference_tensors(system).items()}
    if half:
        tensors = {key: value.half() if value.is_floating_point() else value for key, value in tensors.items()}
    data = _sorted_metadata(to_bytes(tensors, metadata))
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def _sorted_metadata(data: bytes) -> bytes:
    """Return a safetensors file with its metadata in alphabetical order; the library's order changes from call to call."""
    end = 8 + int.from_bytes(data[:8], "little")
    entries = json.loads(data[8:end])
    entries["__metadata__"] = dict(sorted(entries["__metadata__"].items()))
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # the data stay aligned
    return len(text).to_bytes(8, "little") + text + data[end:]
