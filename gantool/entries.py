"""What weights.toml says: the checkpoints known by name, checked before anything is asked of the network for them.

Apart from `weights.py`, which makes systems of them. Nothing heavy is imported: help and completion list these names.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from gantool import systems
from gantool.errors import WeightsError, first_line, printable, unknown

if TYPE_CHECKING:
    from gantool.system import Json

LARGEST_SCALE = 16  # of one network; more is reached by using it again
MAX_REGISTRY = 1 << 20  # bytes of a weights.toml

_PART = r"[A-Za-z0-9_][A-Za-z0-9._+-]*"
NAME = re.compile(r"[a-z0-9]+(?:[.-][a-z0-9]+)*")
REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9_][A-Za-z0-9._-]*")
FILE = re.compile(rf"{_PART}(?:/{_PART})*")
BUNDLE = re.compile(rf"{_PART}\.safetensors")
COMMIT = re.compile(r"[0-9a-f]{40}")
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Entry:
    """One table of weights.toml, checked; or a reference to the Hub, whose system is not known yet."""

    name: str
    system: str | None = None  # None: recognised when the file is read
    config: Mapping[str, Json] | None = None  # fields that differ from what the file tells
    bundled: str | None = None  # file in gantool/bundled
    repo: str | None = None
    revision: str | None = None
    file: str | None = None
    sha256: str | None = None
    bytes: int | None = None
    unpinned: bool = False
    license: str = "unspecified"
    source: str = "unspecified"
    features: str | None = None  # instead of a system: what losses and metrics look through (gantool.frozen)
    twin: str | None = None  # the entry of the same network that keeps noise, between which and this one --denoise chooses

    @property
    def weightless(self) -> bool:
        """Whether the system needs no file and has any scale."""
        return self.bundled is None and self.repo is None

    @property
    def scale(self) -> int | None:
        """Output side / input side, where it is known."""
        scale = (self.config or {}).get("scale")
        return scale if isinstance(scale, int) else None


def registry_file() -> Path:
    """Return the shipped weights.toml: in the installed package, or at the root of a checkout."""
    inside = Path(__file__).parent / "weights.toml"
    return inside if inside.is_file() else Path(__file__).parents[1] / "weights.toml"


def entries(registry: Path | None = None) -> dict[str, Entry]:
    """Return all entries by name: the shipped ones and those of one's own registry, or of $GANTOOL_WEIGHTS.

    Raises:
        WeightsError: a file is not readable, or an entry is not complete and plausible.
    """
    shipped = _read(registry_file())
    variable = os.environ.get("GANTOOL_WEIGHTS")
    own = registry or (Path(variable) if variable else None)
    added = _read(own) if own else {}
    for name in shipped.keys() & added.keys():
        raise WeightsError(f"{printable(own)}, [{name}]: gantool ships an entry of this name, so give it another")
    known = shipped | added
    for entry in known.values():
        if entry.twin is not None and (entry.twin not in known or known[entry.twin].system != entry.system):
            where = printable(own if entry.name in added else registry_file())
            raise WeightsError(f"{where}, [{entry.name}]: its twin is no model of {entry.system}, so the entry is refused")
    return known


def _read(path: Path) -> dict[str, Entry]:
    try:
        if path.stat().st_size > MAX_REGISTRY:
            raise WeightsError(f"{printable(path)} has more than {MAX_REGISTRY >> 20} MiB: it is no list of weights")
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{printable(path)} is no list of weights ({first_line(error)}): correct it") from error
    return {name: _entry(name, table, f"{printable(path)}, [{printable(name)}]") for name, table in tables.items()}


def _entry(name: str, table: object, where: str) -> Entry:
    if not isinstance(table, dict) or not NAME.fullmatch(name):
        raise WeightsError(f"{where}: expected a table under a name such as span-x4")
    known = {field.name: field.default for field in fields(Entry) if field.name != "name"}
    for key in table:
        if key not in known:
            raise WeightsError(f"{where}: {unknown('field', key, known)}")
    for problem in _problems(table):
        raise WeightsError(f"{where}: {problem}, so the entry is refused")
    return Entry(name, **table)


def _problems(table: Mapping[str, object]) -> Iterator[str]:
    """Yield what is wrong with an entry, so that nothing is asked of the network for it."""
    kinds = {"config": dict, "bytes": int, "unpinned": bool}
    for key, value in table.items():
        if type(value) is not kinds.get(key, str) or value == "":
            yield f"{key} is {value!r:.80}, which is no {kinds.get(key, str).__name__} or empty"
    system, config = table.get("system"), table.get("config", {})
    if "features" in table:
        if system is not None or config or not table.get("repo"):
            yield "features has no system and no config, but a repo"
    elif system not in systems.names():
        yield str(unknown("system", str(system), systems.names()))
    if isinstance(config, dict):
        yield from _config_problems(config)
    yield from _file_problems(table)


def _config_problems(config: Mapping[str, object]) -> Iterator[str]:
    for key, value in config.items():
        if not all(isinstance(each, bool | int | float | str) for each in (value if isinstance(value, list) else [value])):
            yield f"config {printable(key)} is {value!r:.80}, which is no single value and no list of these"
    scale = config.get("scale", 1)
    if type(scale) is not int or not 1 <= scale <= LARGEST_SCALE:
        yield f"config scale is {scale!r:.80}, which is no whole number from 1 to {LARGEST_SCALE}"


def _file_problems(table: Mapping[str, object]) -> Iterator[str]:
    """Yield what is wrong with an entry's file: an absent hash never means that nothing is checked."""
    patterns = {"bundled": BUNDLE, "repo": REPO, "revision": COMMIT, "file": FILE, "sha256": SHA256}
    meant = {
        "bundled": "a plain name ending in .safetensors",
        "repo": "organisation/name",
        "revision": "a commit of 40 hexadecimal digits",
        "file": "a plain name",
        "sha256": "64 hexadecimal digits",
    }
    for key, pattern in patterns.items():
        value = table.get(key)
        if value is not None and (not isinstance(value, str) or not pattern.fullmatch(value) or ".." in value):
            yield f"{key} is {value!r:.80}, which is not {meant[key]}"
    pinned = {"sha256", "bytes"}
    if "bundled" in table:
        needed, barred = pinned, {"repo", "revision", "file", "unpinned"}
    elif "repo" in table and table.get("unpinned"):
        needed, barred = {"file"}, pinned
    elif "repo" in table:
        needed, barred = pinned | {"revision", "file"}, set()
    else:
        needed, barred = set(), pinned | {"revision", "file", "unpinned", "twin"}
    for key in sorted(needed - table.keys()):
        yield f"{key} is missing"
    for key in sorted(barred & table.keys()):
        yield f"{key} does not go with the rest"
