"""Checkpoints: everything that a run needs to go on as if it had never stopped, in one safetensors file.

Tensors (system, average, optimiser moments, random states) lie in the file, the rest as JSON in its header, so a checkpoint
cannot carry code and is written by one atomic rename.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.optim import Optimizer

from gantool.errors import InputError, printable
from gantool.files import atomic
from gantool.system import Json


def save(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Json]) -> None:
    """Write one checkpoint atomically.

    Raises:
        RunError: the disk is full or the folder cannot be written.
    """
    with atomic(path) as temporary:
        save_file(
            {key: value.detach().contiguous() for key, value in tensors.items()},
            temporary,
            {"state": json.dumps(state)},
        )


class Checkpoint(NamedTuple):
    """What a checkpoint file holds."""

    tensors: dict[str, Tensor]
    state: dict[str, Json]


def load(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        InputError: the file is damaged.
    """
    try:
        with safe_open(path, "pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  # no mapping
            return Checkpoint(tensors, json.loads(file.metadata()["state"]))
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"checkpoint {printable(path)} is damaged ({error})") from error


def by_step(folder: Path) -> list[Path]:
    """Return the numbered checkpoints of a folder, the newest first."""
    return sorted((p for p in folder.glob("*.safetensors") if p.stem.isdecimal()), key=lambda p: int(p.stem), reverse=True)


def prune(folder: Path, keep: int) -> None:
    """Remove all numbered checkpoints but the newest `keep`."""
    for path in by_step(folder)[keep:]:
        path.unlink(missing_ok=True)


def with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under names that begin with `prefix` and a dot."""
    return {f"{prefix}.{key}": value for key, value in tensors.items()}


def under_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names begin with `prefix` and a dot, without it."""
    return {key[len(prefix) + 1 :]: value for key, value in tensors.items() if key.startswith(prefix + ".")}


def optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    """Return an optimiser's moments and counts by "number.name"."""
    return {f"{number}.{name}": torch.as_tensor(value) for number, name, value in _moments(optimizer)}


def _moments(optimizer: Optimizer) -> Iterator[tuple[int, str, Tensor]]:
    for number, moments in optimizer.state_dict()["state"].items():
        for name, value in moments.items():
            yield number, name, value


def restore_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` returned; rates and options stay those of the run."""
    state = optimizer.state_dict()
    state["state"] = {}
    for key, value in tensors.items():
        number, name = key.split(".", 1)
        state["state"].setdefault(int(number), {})[name] = value
    optimizer.load_state_dict(state)


def random_tensors() -> dict[str, Tensor]:
    """Return the states of the generators of torch (CPU and each GPU)."""
    states = {"cpu": torch.get_rng_state()}
    for number, state in enumerate(torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []):
        states[f"cuda{number}"] = state
    return states


def random_json() -> dict[str, Json]:
    """Return the states of the generators of Python and NumPy."""
    version, words, gauss = random.getstate()
    state = np.random.get_state(legacy=False)
    assert isinstance(state, dict)  # what legacy=False returns
    return {
        "python": [version, list(words), gauss],
        "numpy": state | {"state": {**state["state"], "key": state["state"]["key"].tolist()}},
    }


def restore_random(tensors: Mapping[str, Tensor], state: Mapping[str, Json]) -> None:
    """Put back what `random_tensors` and `random_json` returned; a GPU that is not there now is passed over."""
    torch.set_rng_state(tensors["cpu"])
    for number in range(torch.cuda.device_count()):
        if f"cuda{number}" in tensors:
            torch.cuda.set_rng_state(tensors[f"cuda{number}"], number)
    version, words, gauss = cast("tuple[int, list[int], float | None]", state["python"])
    random.setstate((version, tuple(words), gauss))
    np.random.set_state(cast("dict[str, Any]", state["numpy"]))
