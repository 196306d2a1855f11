"""What goes into training and comes out, for every system: fields to set, the header of its file, data that is no use."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Result
from networks import build, small, use
from PIL import Image

from gantool import systems, weights
from gantool.errors import UsageError
from gantool.system import Upscaler, configured
from gantool.training import recipe

Run = Callable[..., Result]


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", systems.names())
def test_the_header_of_a_saved_system_says_what_it_is_and_the_file_gives_it_back(name: str, tmp_path: Path) -> None:
    system = small(name).eval().requires_grad_(False)
    weights.save(tmp_path / "m.safetensors", system, step=3, metrics={"l1": 0.5}, average=True, title=name)
    model = weights.load(str(tmp_path / "m.safetensors"))
    final = system.for_inference()
    radius = final.radius
    told = {
        "system": name,
        "task": next(task for task in ("super_resolution", "translation", "generation") if name in systems.names(task)),
        "scale": final.scale if isinstance(final, Upscaler) else None,
        "multiple": final.multiple,
        "halo": "global" if radius is None else radius,
        "half_safe": final.half_safe,
        "behaviour": final.behaviour,
        "config": recipe.plain(final.config),
        "step": 3,
        "metrics": {"l1": 0.5},
        "weights": "ema",
    }
    assert {key: model.header[key] for key in told} == told
    assert torch.equal(use(model.system), use(final.eval()))
    for fact in ("config", "scale", "multiple", "radius", "half_safe", "behaviour", "image_channels", "latent", "targets"):
        assert getattr(model.system, fact, None) == getattr(final, fact, None)


# --- options ---------------------------------------------------------------------------------------------------------


def other(name: str, field: str, value: object) -> object:
    """Another legal value of a field."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, tuple):
        return tuple(item * 2 for item in value)
    if field == "image_channels":
        return 4 - value  # type: ignore[operator]
    if isinstance(value, int | float):
        return value + 1
    with pytest.raises(UsageError, match="there are ") as refusal, torch.device("meta"):
        build(name, **{field: "?"})
    return next(choice for choice in str(refusal.value).partition("there are ")[2].split(", ") if choice != value)


FIELDS = [
    (name, field.name, field.default) for name in systems.names() for field in dataclasses.fields(systems.load(name).config)
]


@pytest.mark.parametrize(("name", "field", "value"), FIELDS, ids=lambda part: str(part) if isinstance(part, str) else "")
def test_every_field_can_be_set_and_is_in_the_recipe_of_the_run(name: str, field: str, value: object, tmp_path: Path) -> None:
    base = systems.load(name).config()
    wanted = other(name, field, value)
    written = wanted if isinstance(wanted, str) else json.dumps(wanted)
    set_ = configured(base, recipe.assigned_fields(type(base), [f"{field}={written}"]))
    assert set_ == dataclasses.replace(base, **{field: wanted})
    assert set_ != base
    path = tmp_path / "config.toml"
    path.write_text(recipe.to_toml(dataclasses.asdict(recipe.Recipe(name, config=recipe.plain(set_)))))
    assert configured(base, recipe.read(path).config) == set_


# --- what is wrong ---------------------------------------------------------------------------------------------------


TABLES = {
    "word": "0.png,1,0\n1.png,0,yes\n2.png,0,1\n",
    "short": "0.png,1,0\n1.png,0\n2.png,0,1\n",
    "nobody": "0.png,1,0\n1.png,0,-1\n2.png,1,0\n",
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three pictures, as a folder, as three classes of which one is empty, and under tables of attributes."""
    root = tmp_path / "data"
    for number, folder in enumerate(("ant", "bee", "bee")):
        for path in (root / "plain" / f"{number}.png", root / "classes" / folder / f"{number}.png"):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((16, 16, 3), 80 * number, np.uint8)).save(path)
    (root / "classes" / "cow").mkdir()
    for name, rows in TABLES.items():
        (root / "plain" / f"{name}.csv").write_text(f"file,striped,winged\n{rows}")
    return root


@pytest.mark.parametrize(
    ("name", "folder", "options", "words"),
    [
        ("pggan", "plain", ["--set", "size=48"], "size 48: pggan grows by doubling from 4 pixels: use 32 or 64"),
        ("cgan", "classes", [], "cow: remove empty classes"),
        ("stargan", "classes", [], "cow: remove empty classes"),
        ("cgan", "plain/word.csv", [], "row of 1.png: winged is 'yes': use 1 for yes and 0 or -1 for no"),
        ("stargan", "plain/nobody.csv", [], "has winged: remove the column"),
        ("stargan", "plain/short.csv", [], "row of 1.png: 1 values for 2 attributes"),
    ],
)
def test_data_that_a_system_cannot_learn_from_is_answered_in_a_line(
    name: str, folder: str, options: list[str], words: str, data: Path, tmp_path: Path, run_cli: Run
) -> None:
    ended = run_cli("train", name, data / folder, "-o", tmp_path / "run", *options)
    assert ended.status == 2
    assert words in ended.err
    assert len(ended.err.strip().splitlines()) == 1, ended.err
    assert not (tmp_path / "run").exists()


def test_a_label_that_a_trained_model_does_not_know_is_answered_with_those_that_it_does(tmp_path: Path, run_cli: Run) -> None:
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(tmp_path / "0.png")
    cases: list[tuple[str, dict[str, Any], tuple[object, ...]]] = [
        ("cgan", {}, ("generate", "--label")),
        ("stargan", {"sets": (2,)}, ("translate", tmp_path / "0.png", "--to")),
    ]
    for name, changes, verb in cases:
        path = tmp_path / f"{name}.safetensors"
        weights.save(path, small(name, classes=("ant", "bee"), **changes), step=1, metrics={}, average=False, title=name)
        ended = run_cli(*verb, "cow", "-m", path, "-o", f"{tmp_path}/made/")
        assert ended.status == 2, ended.err
        assert "named 'cow': there are ant, bee" in ended.err
        assert len(ended.err.strip().splitlines()) == 1, ended.err
