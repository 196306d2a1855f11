"""What the options of `gantool upscale` do that no other file of tests is about; and that every option has a test."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from conftest import Result
from expected import Network, Run, assert_near, assert_precise, larger, levels_apart, network, save_span, through, whole
from hub import COMMIT, REPO, serve, sha256
from pictures import noise, png_of, saved

from gantool import cli, tiling

TESTS = Path(__file__).parent


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a small SPAN of scale 2 with random weights."""
    return save_span(tmp_path_factory.mktemp("model"))


def picture(folder: Path, name: str = "a.png", height: int = 30, width: int = 40) -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(png_of(noise(height, width, 3)))
    return path


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_every_option_is_in_a_test() -> None:
    """Whether that tests its effect, only a reader can tell; one without any is found here."""
    command = typer.main.get_command(cli.app).commands["upscale"]  # type: ignore[attr-defined]
    options = [option.opts for option in command.params if option.param_type_name == "option"]
    assert len(options) > 30
    given: set[object] = set()
    for path in TESTS.glob("test_*.py"):
        found = {node.value for node in ast.walk(ast.parse(path.read_bytes())) if isinstance(node, ast.Constant)}
        given |= found if "upscale" in found else set()
    assert [names for names in options if not given & set(names)] == []


# --- how it is computed ------------------------------------------------------------------------------------------------


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> list[tiling.Plan]:
    """How pictures were divided, in turn."""
    found: list[tiling.Plan] = []
    choose = tiling.choose

    def note(*args: object) -> tiling.Plan:
        found.append(choose(*args))  # type: ignore[arg-type]
        return found[-1]

    monkeypatch.setattr(tiling, "choose", note)
    return found


def window(plan: tiling.Plan) -> int:
    """Return the pixels of the largest window, or band, that goes through the network at once."""
    rows = plan.band or max(span.stop - span.start for span in plan.rows)
    return rows * max(span.stop - span.start for span in plan.columns)


def test_less_memory_makes_smaller_windows_and_the_same_result(
    model: Path, plans: list[tiling.Plan], tmp_path: Path, run_cli: Run
) -> None:
    path = picture(tmp_path, height=120, width=500)
    for number, options in enumerate(((), ("--memory", "64G"), ("--memory", "1.5M"))):
        result = run_cli("upscale", path, "-m", model, "--device", "cpu", "-o", tmp_path / f"{number}.png", *options)
        assert result.status == 0
    usual, much, little = plans
    assert much == usual
    assert window(little) < window(usual) / 2
    assert_near(whole(tmp_path / "2.png"), whole(tmp_path / "0.png"))


@pytest.mark.parametrize("amount", ["", "6", "G", "-1G", "0G", "1e3M", "6X", "1,5G", "6G B", "0.0001K", "nanG", "infG"])
def test_an_amount_of_memory_that_is_none_is_refused(amount: str, tmp_path: Path, run_cli: Run) -> None:
    result = run_cli("upscale", tmp_path / "missing.png", "-m", "bicubic", "--memory", amount)
    assert result == Result(2, "", f"gantool: --memory {amount} is not possible: use an amount such as 800M or 6G\n")


def test_tile_says_what_is_done_at_once(model: Path, plans: list[tiling.Plan], tmp_path: Path, run_cli: Run) -> None:
    path = picture(tmp_path, height=140, width=160)
    for tile in ("off", "64", "1000"):
        assert run_cli("upscale", path, "-m", model, "--tile", tile, "-o", tmp_path / f"{tile}.png").status == 0
    assert [(len(plan.rows), len(plan.columns), plan.band) for plan in plans] == [(1, 1, 0), (3, 3, 0), (1, 1, 0)]
    assert_near(whole(tmp_path / "64.png"), whole(tmp_path / "off.png"))
    np.testing.assert_array_equal(whole(tmp_path / "1000.png"), whole(tmp_path / "off.png"))


def mean_of_eight(once: Network) -> Network:
    """The definition: every turn and reflection of the picture goes through, is turned back, and all have one voice."""

    def run(image: torch.Tensor) -> torch.Tensor:
        results = []
        for turns in range(4):
            seen = image.rot90(turns, (2, 3))
            results += [once(seen).rot90(-turns, (2, 3)), once(seen.flip(2)).flip(2).rot90(-turns, (2, 3))]
        return torch.stack(results).mean(0)

    return run


@pytest.mark.parametrize(("channels", "bits"), [(3, 8), (1, 8), (3, 16)])
@pytest.mark.parametrize("tile", ["auto", "20"])
def test_self_ensemble_is_the_mean_of_eight(
    channels: int, bits: int, tile: str, model: Path, tmp_path: Path, run_cli: Run
) -> None:
    pixels = noise(33, 46, channels, bits=bits)
    (tmp_path / "a.png").write_bytes(png_of(pixels))
    result = run_cli("upscale", tmp_path / "a.png", "-m", model, "--self-ensemble", "--device", "cpu", "--tile", tile)
    assert result == Result(0, f"{tmp_path / 'a_x2.png'}\n", "")
    found, once = whole(tmp_path / "a_x2.png"), network(model)
    assert_precise(found, through(mean_of_eight(once), pixels))
    assert levels_apart(found, through(once, pixels)).mean() > 1


def test_self_ensemble_of_what_is_symmetric_changes_nothing(tmp_path: Path, run_cli: Run) -> None:
    path = picture(tmp_path)
    assert run_cli("upscale", path, "-m", "bicubic", "-s", 2, "--self-ensemble").status == 0
    assert_near(whole(tmp_path / "a_x2.png"), larger(whole(path), 2))


# --- dry-run -----------------------------------------------------------------------------------------------------------


def test_dry_run_tells_outputs_and_sizes_and_makes_nothing(tmp_path: Path, run_cli: Run) -> None:
    picture(tmp_path, "in/a.png", 30, 40)
    picture(tmp_path, "in/b.png", 7, 9)
    before = names(tmp_path)
    result = run_cli("upscale", tmp_path / "in", "-m", "bicubic", "-s", 2.5, "-o", tmp_path / "out/deep", "--dry-run")
    lines = [line.split("  ") for line in result.out.splitlines()]
    out = tmp_path / "out/deep"
    assert [line[:3] for line in lines] == [[f"{out}/a.png", "100x75", "planned"], [f"{out}/b.png", "23x18", "planned"]]
    assert all(re.fullmatch(r"[0-9.]+ s", line[3]) for line in lines)
    assert result.status == 0
    assert re.fullmatch(r"2 of 2 pictures, about [0-9]+ s\n", result.err)
    assert names(tmp_path) == before
    assert run_cli("upscale", tmp_path / "in", "-m", "bicubic", "--dry-run", "-q") == Result(0, "", "")
    assert run_cli("upscale", tmp_path / "in", "-m", "bicubic", "--dry-run", "--report", tmp_path / "report").status == 2
    assert not (tmp_path / "report").exists()


def test_dry_run_ends_with_the_status_that_the_run_would_have(tmp_path: Path, run_cli: Run) -> None:
    good, bad = picture(tmp_path), tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    both = run_cli("upscale", good, bad, "-m", "bicubic", "-o", f"{tmp_path}/out/", "--dry-run", "--json")
    lines = [json.loads(line) for line in both.out.splitlines()]
    assert both.status == 1
    assert [line["status"] for line in lines] == ["planned", "error"]
    assert (lines[1]["input"], lines[1]["output"]) == (str(bad), None)
    assert lines[1]["error"].startswith(f"{bad} ")
    assert both.err.splitlines() == [f"gantool: {lines[1]['error']}", "1 of 2 pictures, about 0 s"]
    assert run_cli("upscale", bad, "-m", "bicubic", "--dry-run").status == 1
    assert run_cli("upscale", good, "-m", "bicubic", "-o", good, "--dry-run").status == 2
    assert names(tmp_path) == ["a.png", "bad.png"]


def test_dry_run_tells_what_would_be_left_out_and_what_each_object_says(tmp_path: Path, run_cli: Run) -> None:
    path = picture(tmp_path)
    assert run_cli("upscale", path, "-m", "bicubic", "-s", 2).status == 0
    assert run_cli("upscale", path, "-m", "bicubic", "-s", 2, "--dry-run").status == 2
    line = json.loads(run_cli("upscale", path, "-m", "bicubic", "-s", 2, "--dry-run", "--skip-existing", "--json").out)
    assert line == {
        "input": str(path), "status": "skipped", "output": str(tmp_path / "a_x2.png"), "error": None, "seconds": 0.0,
        "model": "bicubic-x2", "sha256": "", "scale": 2.0, "width": 80, "height": 60, "pages": 1,
    }  # fmt: skip


def test_a_larger_picture_is_expected_to_take_longer(model: Path, tmp_path: Path, run_cli: Run) -> None:
    picture(tmp_path, "in/a.png", 100, 100)
    (tmp_path / "in/b.png").write_bytes(saved(np.zeros((2000, 2000, 3), np.uint8), "PNG"))
    result = run_cli("upscale", tmp_path / "in", "-m", model, "--dry-run", "--json")
    seconds = [json.loads(line)["seconds"] for line in result.out.splitlines()]
    assert seconds[1] > 20 * seconds[0]
    assert 0.1 < seconds[1] < 100


# --- what is told ------------------------------------------------------------------------------------------------------


def test_json_says_of_each_picture_what_became_of_it(model: Path, tmp_path: Path, run_cli: Run) -> None:
    good, bad = picture(tmp_path, "in/a.png"), tmp_path / "in/b.png"
    bad.write_bytes(b"no picture")
    result = run_cli("upscale", tmp_path / "in", "-m", model, "--json", "--report", tmp_path / "report")
    first, second = (json.loads(line) for line in result.out.splitlines())
    assert (tmp_path / "report").read_text(encoding="ascii") == result.out
    assert result.status == 1
    assert set(first) == {
        "input", "status", "output", "error", "seconds", "peak_bytes", "model", "sha256", "scale", "width", "height", "pages",
    }  # fmt: skip
    assert (first["input"], first["output"]) == (str(good), str(tmp_path / "in_x2/a.png"))
    assert (first["model"], first["sha256"]) == ("small", sha256(model.read_bytes()))
    assert (first["status"], first["scale"], first["width"], first["height"]) == ("ok", 2.0, 80, 60)
    assert set(second) == {"input", "status", "output", "error", "seconds", "peak_bytes"}
    assert (second["input"], second["status"], second["output"]) == (str(bad), "error", None)
    assert second["error"].startswith(f"{bad} ")
    assert f"gantool: {second['error']}\n" in result.err


def test_damage_is_told_with_the_name_once(tmp_path: Path, run_cli: Run) -> None:
    data = bytearray(saved(noise(90, 90, 3), "PNG"))
    data[len(data) // 2] ^= 0xFF
    (tmp_path / "a.png").write_bytes(data)
    result = run_cli("upscale", tmp_path / "a.png", "-m", "bicubic")
    assert result.status == 1
    assert result.err.startswith(f"gantool: {tmp_path / 'a.png'} is damaged or cut short: ")
    assert result.err.count("a.png") == 1
    assert names(tmp_path) == ["a.png"]


@pytest.mark.parametrize(("pattern", "options", "expected"), [
    ("{stem}_{size}", ("-s", 2), "a.b_x2.png"),
    ("{size}-{stem}", ("--width", 80), "w80-a.b.png"),
    ("{stem}{size}", ("--width", 80, "--height", 50), "a.b80x50.png"),
    ("{stem} {scale} {suffix} {model}", ("-s", 2), "a.b 2 PNG bicubic-x2.png"),
    ("{stem}@{scale}x", ("-s", 1.5), "a.b@1.5x.png"),
    ("{{{stem}}}", ("-s", 2), "{a.b}.png"),
    ("plain", ("-s", 2), "plain.png"),
])  # fmt: skip
def test_names_follow_a_pattern(pattern: str, options: tuple[object, ...], expected: str, tmp_path: Path, run_cli: Run) -> None:
    path = picture(tmp_path, "a.b.PNG")
    result = run_cli("upscale", path, "-m", "bicubic", "--name", pattern, *options)
    assert result == Result(0, f"{tmp_path / expected}\n", "")
    assert names(tmp_path) == sorted(["a.b.PNG", expected])


@pytest.mark.parametrize(
    "pattern", ["{nothing}", "{stem", "{stem!z}", "{0}", "../{stem}", "", ".", "{stem.x}", "{stem:>9999999999}", "{stem!r}"]
)
def test_a_pattern_that_gives_no_name_is_refused(pattern: str, tmp_path: Path, run_cli: Run) -> None:
    result = run_cli("upscale", picture(tmp_path), "-m", "bicubic", "--name", pattern)
    assert (result.status, result.out, result.err.count("\n")) == (2, "", 1)
    assert result.err.startswith(f"gantool: --name {pattern} ")
    assert names(tmp_path) == ["a.png"]


# --- models ------------------------------------------------------------------------------------------------------------

BACKEND = """
import sys
from gantool import cli
try:
    cli.main()
except SystemExit as end:
    print(end.code, "torch" in sys.modules)
"""


def test_the_backend_openvino_gives_the_same_without_torch(model: Path, tmp_path: Path, run_cli: Run) -> None:
    if find_spec("openvino") is None:  # importing it here would report to its makers
        pytest.skip("OpenVINO is not installed")
    path = picture(tmp_path, height=90, width=130)
    command = ["upscale", str(path), "-m", str(model), "-q", "--dtype", "fp32", "--device", "cpu", "-o"]
    assert run_cli(*command, tmp_path / "torch.png", "--backend", "torch") == Result(0, "", "")
    program = [sys.executable, "-c", BACKEND, *command, str(tmp_path / "openvino.png"), "--backend", "openvino"]
    done = subprocess.run(program, capture_output=True, text=True, cwd=TESTS.parent, check=True)
    assert (done.stdout, done.stderr) == ("0 False\n", "")
    assert_near(whole(tmp_path / "openvino.png"), whole(tmp_path / "torch.png"))
    assert run_cli(*command, tmp_path / "b.png", "--backend", "abacus").status == 2


@pytest.mark.parametrize(("channels", "bits", "ensemble"), [(3, 16, False), (1, 8, False), (3, 8, True), (2, 16, True)])
def test_the_backend_openvino_has_the_same_precision(
    channels: int, bits: int, ensemble: bool, model: Path, tmp_path: Path, run_cli: Run
) -> None:
    if find_spec("openvino") is None:
        pytest.skip("OpenVINO is not installed")
    pixels = noise(40, 50, channels, bits=bits)
    pixels[:, :, 1:] |= 1 << bits - 1  # alpha, if it is that, hides nothing
    (tmp_path / "a.png").write_bytes(png_of(pixels))
    options = ("--self-ensemble",) if ensemble else ()
    assert run_cli("upscale", tmp_path / "a.png", "-m", model, "--backend", "openvino", *options).status == 0
    run = mean_of_eight(network(model)) if ensemble else network(model)
    parts = [pixels[:, :, :1], pixels[:, :, 1:]] if channels == 2 else [pixels]
    assert_precise(whole(tmp_path / "a_x2.png"), np.dstack([through(run, part) for part in parts]))


def test_a_registry_of_ones_own_adds_models(tmp_path: Path, run_cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    registry, path = tmp_path / "mine.toml", picture(tmp_path)
    registry.write_text('[mine]\nsystem = "kernel"\nconfig = { kernel = "nearest" }\n', encoding="utf-8")
    command = ("upscale", path, "-m", "mine", "-s", 2, "--overwrite")
    assert run_cli(*command).status == 2
    assert run_cli(*command, "--registry", registry).status == 0
    np.testing.assert_array_equal(whole(tmp_path / "a_x2.png"), whole(path).repeat(2, 0).repeat(2, 1))
    monkeypatch.setenv("GANTOOL_WEIGHTS", str(registry))
    assert run_cli(*command).status == 0


def test_offline_asks_the_network_nothing(model: Path, tmp_path: Path, run_process: Run) -> None:
    path = picture(tmp_path)
    with serve() as hub:
        hub.files = {"model.safetensors": model.read_bytes()}
        env = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_DISABLE_TELEMETRY": "1"}
        command = ("upscale", path, "-m", f"{REPO}@{COMMIT}:model.safetensors", "-s", 2)
        refused = run_process(*command, "--offline", env=env)
        assert (refused.status, refused.out, hub.requests) == (3, "", [])
        assert "offline" in refused.err
        fetched = run_process(*command, env=env)
        assert (fetched.status, fetched.out) == (0, f"{tmp_path / 'a_x2.png'}\n")
        assert hub.count("GET") == 1
