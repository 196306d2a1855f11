"""Imports go one way: every file is read, and every import of ours in it must lead downwards.

Imports inside functions count too: they put off the cost of an import, not what a file knows.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "gantool"
FILES = sorted(PACKAGE.rglob("*.py"))
HEAVY = {"torch", "torchvision", "PIL", "numpy", "cv2", "huggingface_hub", "safetensors"}

# From the floor up. A file or folder imports from lower lines only, never from its own line.
LEVELS = [
    {"errors"},
    {"bands", "devices", "files", "flags", "fitting", "latents", "machine", "schedules", "seeds"},
    {"layers", "windows"},
    {"cache", "degradations", "images", "losses", "resizing", "transparency"},
    {"animation", "data", "metrics", "outputs", "scales", "system"},
    {"modelheader"},
    {"backends"},
    {"tiling"},
    {"enlarging", "translating"},
    {"systems", "training"},
    {"entries", "modelfile"},
    {"convert", "hub"},
    {"weights"},
    {"interpolating"},
    {"batch", "engines", "frozen", "sampling"},
    {"carrying"},
    {"jobs"},
    {"evaluation", "studies"},
    {"evaluate", "generate", "models", "study", "train", "translate", "upscale"},
    {"api"},
    {"commands"},
    {"__init__", "cli"},
    {"__main__"},
]
LEVEL = {unit: level for level, units in enumerate(LEVELS) for unit in units}
# Where less is allowed than the level says.
ONLY = {
    "layers": {"layers", "errors"},
    "system": {"fitting", "schedules", "errors"},
    "systems": {"systems", "system", "losses", "fitting", "schedules", "degradations", "layers", "errors"},
    "errors": set[str](),
}


def unit_of(path: Path) -> str:
    """The file or folder directly below the package."""
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else path.stem


def imports(tree: ast.AST) -> Iterator[tuple[int, str, str]]:
    """Line, module and name (or nothing) of every import, wherever it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative imports hide where they lead"
            yield from ((node.lineno, node.module or "", alias.name) for alias in node.names)


def wrong_imports(path: Path, source: str) -> list[str]:
    own = unit_of(path)
    wrong = []
    for line, module, name in imports(ast.parse(source)):
        if module.partition(".")[0] != "gantool" or (module, name) == ("gantool", "__version__"):
            continue
        unit = module.split(".")[1] if "." in module else name
        allowed = unit == own or LEVEL.get(unit, len(LEVELS)) < LEVEL.get(own, 0)
        if not allowed or unit not in ONLY.get(own, {unit}):
            wrong.append(f"{path.relative_to(PACKAGE.parent)}:{line}: {own} must not import {unit}")
    return wrong


def test_every_file_has_a_level() -> None:
    assert {unit_of(path) for path in FILES} <= set(LEVEL), "a new file or folder: give it a line in LEVELS"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_lead_downwards(path: Path) -> None:
    assert wrong_imports(path, path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("training/loop.py", "from gantool.systems.super_resolution import edsr"),
        ("train.py", "from gantool import upscale"),
        ("train.py", "def f():\n    from gantool.upscale import run"),
        ("metrics/psnr.py", "from gantool.system import System"),
        ("tiling.py", "import gantool.systems"),
        ("errors.py", "from gantool import files"),
        ("systems/super_resolution/new.py", "from gantool.data.folders import PhotoFolder"),
        ("systems/super_resolution/new.py", "from gantool import weights"),
        ("system.py", "from gantool.layers import resampling"),
    ],
)
def test_an_import_that_leads_up_or_sideways_is_found(file: str, line: str) -> None:
    assert len(wrong_imports(PACKAGE / file, line)) == 1


# --- what answers at once ----------------------------------------------------------------------------------------------


def at_import(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    """Module and name of the imports that run when a file is imported: not in functions, not for type checkers."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            yield from at_import(node.orelse)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from ((module, name) for _, module, name in imports(node))
        else:
            for blocks in ("body", "orelse", "finalbody", "handlers"):
                yield from at_import(getattr(node, blocks, []))


def file_of(module: str) -> Path | None:
    base = PACKAGE.parent / Path(*module.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


def loaded(module: str, seen: dict[str, set[str]]) -> dict[str, set[str]]:
    """Every file of ours that importing a module runs, with the names of what it imports from elsewhere."""
    path = file_of(module)
    if module in seen or path is None:
        return seen
    seen[module] = set()
    if "." in module:
        loaded(module.rpartition(".")[0], seen)
    for target, name in at_import(ast.parse(path.read_text(encoding="utf-8")).body):
        if target.partition(".")[0] == "gantool":
            loaded(target, seen)
            loaded(f"{target}.{name}", seen)
        else:
            seen[module].add(target.partition(".")[0])
    return seen


@pytest.mark.parametrize("module", ["gantool", "gantool.cli", "gantool.__main__", "gantool.weights", "gantool.systems"])
def test_nothing_heavy_is_imported_by_what_answers_help_and_lists_names(module: str) -> None:
    found = loaded(module, {})
    assert module in found
    assert {name: sorted(names & HEAVY) for name, names in found.items() if names & HEAVY} == {}


def test_the_walk_through_imports_finds_torch_where_it_is() -> None:
    found = loaded("gantool.systems.super_resolution.edsr", {})
    assert "torch" in found["gantool.system"]
    assert "gantool.systems" in found


def test_importing_the_command_line_loads_nothing_heavy() -> None:
    code = f"import sys, gantool.cli; print(*sorted({HEAVY} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent, check=True)
    assert done.stdout.split() == []
