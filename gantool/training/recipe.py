"""What a run is: the recipe that a configuration file and a run's `config.toml` hold, and the options that change it."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING

from gantool.errors import UsageError, printable, unknown
from gantool.system import Json

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


@dataclass(frozen=True)
class Recipe:
    """What a run is, as its `config.toml` says it: the same recipe, data and seed give the same weights."""

    system: str
    seed: int = 0
    dtype: str = "auto"
    batch: int | None = None
    save_every: int = 1000  # steps
    pairs: str | None = None  # what is learnt to undo, where pairs are made of plain photos
    features: str | None = None  # sha256 of the frozen network that losses look through
    teacher: str | None = None  # sha256 of the model whose results stand for the true images
    license: str = "unspecified"  # of the weights, an SPDX identifier for the model file's header
    steps: dict[str, int] = field(default_factory=dict)  # by stage
    config: dict[str, Json] = field(default_factory=dict)  # every field of the system's Config


def read(path: Path) -> Recipe:
    """Read a configuration file.

    Raises:
        UsageError: it is missing, not TOML, has an option that does not exist, or names no system.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{printable(path)} cannot be read as a configuration: {error}") from error
    known = [f.name for f in fields(Recipe)]
    for key in values:
        if key not in known:
            raise unknown(f"option in {printable(path)}", key, known)
        _check_kind(key, values[key], path)
    if "system" not in values:
        raise UsageError(f'{printable(path)} does not say which system: add a line like system = "span"')
    return Recipe(**values)


_KINDS: Mapping[str, type] = {"seed": int, "batch": int, "save_every": int, "steps": dict, "config": dict}  # else text


def _check_kind(key: str, value: object, path: Path) -> None:
    """Check an option of a configuration file; the fields of `config` are left to `configured`."""
    kind = _KINDS.get(key, str)
    numbers = list(value.values()) if key == "steps" and isinstance(value, dict) else [value] if kind is int else []
    least = 0 if key in ("seed", "steps") else 1
    if type(value) is not kind or not all(type(number) is int and number >= least for number in numbers):
        named = {int: f"a whole number, {least} or more", dict: "a table", str: "text"}[kind]
        wanted = f"{named} of whole numbers, 0 or more" if key == "steps" else named
        raise UsageError(f"{key} = {printable(value)[:40]} in {printable(path)}: it must be {wanted}")


def to_toml(values: Mapping[str, Json]) -> str:
    """Return flat values, and tables of flat values, as TOML; JSON's scalars are TOML's."""
    flat = [f"{key} = {json.dumps(value)}\n" for key, value in values.items() if not isinstance(value, dict | None)]
    tables = [f"\n[{key}]\n{to_toml(value)}" for key, value in values.items() if isinstance(value, dict) and value]
    return "".join(flat + tables)


def plain(config: DataclassInstance) -> dict[str, Json]:
    """Return a configuration's fields as a file gives them: lists for tuples."""
    fields_: dict[str, Json] = json.loads(json.dumps(asdict(config)))
    return fields_


def refuse_changes(stored: Recipe, wanted: Recipe, folder: Path) -> None:
    """Let a resumed run change only the number of steps and how often it is saved.

    Raises:
        UsageError: names what differs, with both values.
    """
    old, new = ({**asdict(r), **{f"set {k}": v for k, v in r.config.items()}} for r in (stored, wanted))
    free = {"steps", "save_every", "config"}
    changed = [f"{key} is {old.get(key)}, not {new[key]}" for key in new if key not in free and new[key] != old.get(key)]
    if changed:
        run = f"the run in {printable(folder)} differs"
        raise UsageError(f"{run}: {'; '.join(changed)}: resume without these options, or start another run")


def assigned_fields(config: type[DataclassInstance], assignments: Sequence[str]) -> dict[str, Json]:
    """Return values by field for assignments "key=value", read as the type of the field's default.

    Raises:
        UsageError: there is no such field (all are listed, with their defaults), or the value is of another type.
    """
    defaults = {f.name: f.default for f in fields(config)}
    values: dict[str, Json] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals:
            raise UsageError(f"--set {printable(assignment)} has no value: write --set key=value")
        values[key] = _parsed(text, defaults.get(key))
    return values


def _parsed(text: str, default: object) -> Json:
    """Return a value as TOML reads it where the field is not text, and text otherwise; `configured` checks the type."""
    if isinstance(default, str):
        return text
    try:
        value: Json = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    return value


def assigned_steps(assignments: Sequence[str], stages: Sequence[str]) -> dict[str, int]:
    """Return steps by stage for assignments "N" (of the last stage) and "STAGE=N"."""
    steps = {}
    for assignment in assignments:
        name, _, number = assignment.rpartition("=")
        name = name or stages[-1]
        if name not in stages:
            raise unknown("stage", name, stages)
        if not number.isdecimal() or (int(number) == 0 and len(stages) == 1):
            raise UsageError(f"--steps {printable(assignment)}: a number of steps is needed, like 5000 or {name}=5000")
        steps[name] = int(number)
    return steps
