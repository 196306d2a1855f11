"""The zoo: one file per paper. Names and summaries are read from files, so listing them imports nothing heavy."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from gantool.errors import unknown

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from gantool.system import System


@dataclass(frozen=True)
class Paper:
    """A system's two classes under its command-line name."""

    name: str
    task: str
    system: type[System]
    config: type[DataclassInstance]


@cache
def _files() -> dict[str, Path]:
    here = Path(__file__).parent
    return {path.stem.replace("_", "-"): path for path in sorted(here.glob("*/*.py")) if path.stem != "__init__"}


def names(task: str | None = None) -> list[str]:
    """Return the names of all systems, or of one task: super_resolution, translation, generation."""
    return [name for name, path in _files().items() if task in (None, path.parent.name)]


def summary(name: str) -> str:
    """Return the first line of a system's docstring."""
    return (ast.get_docstring(ast.parse(_file(name).read_text(encoding="utf-8"))) or "").partition("\n")[0]


def _file(name: str) -> Path:
    if name not in _files():
        raise unknown("system", name, _files())
    return _files()[name]


def load(name: str) -> Paper:
    """Import a system's file.

    Raises:
        UsageError: there is no such system; the near names are in the message.
    """
    from gantool.system import System

    path = _file(name)
    module = import_module(f"{__name__}.{path.parent.name}.{path.stem}")
    [system] = [
        c for c in vars(module).values() if isinstance(c, type) and issubclass(c, System) and c.__module__ == module.__name__
    ]
    return Paper(name, path.parent.name, system, module.Config)


def name_of(system: System) -> str:
    """Return the command-line name of a system."""
    return type(system).__module__.rpartition(".")[2].replace("_", "-")
