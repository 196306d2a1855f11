"""`gantool translate` as a user runs it, on tiny networks: what becomes of pictures, names, targets and mistakes."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from conftest import Result
from expected import levels, planes
from hub import COMMIT, REPO, serve, sha256
from networks import small
from pictures import noise, png_of
from PIL import Image
from torch import nn

from gantool import cli, images, translate, weights
from gantool.errors import UsageError
from gantool.system import System, Translator

Run = Callable[..., Result]
Pixels = np.ndarray

TESTS = Path(__file__).parent


def save(folder: Path, system: System, name: str) -> Path:
    path = folder / f"{name}.safetensors"
    weights.save(path, system, step=0, metrics={}, average=False, title=name)
    return path


@pytest.fixture(scope="module")
def cycle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CycleGAN between horses and zebras, both ways."""
    return save(tmp_path_factory.mktemp("m"), small("cyclegan", domains=("horse", "zebra")), "cycle")


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A StarGAN of three attributes."""
    classes = ("Blond_Hair", "Male", "Young")
    return save(tmp_path_factory.mktemp("m"), small("stargan", classes=classes, sets=(3,)), "faces")


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pix2pix with dropout for noise and the picture's own statistics."""
    return save(tmp_path_factory.mktemp("m"), small("pix2pix"), "noisy")


@pytest.fixture(scope="module")
def restorer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pix2pix that adds to its input and sees no farther than a few pixels."""
    local = small("pix2pix", norm="none", dropout=False, residual=True, fit="crop")
    return save(tmp_path_factory.mktemp("m"), local, "restorer")


def picture(folder: Path, name: str, height: int, width: int, channels: int = 3) -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes(png_of(noise(height, width, channels)))
    return path


def pixels_of(path: Path) -> Pixels:
    with Image.open(path) as image:
        return np.atleast_3d(np.asarray(image))


def expected(model: Path, pixels: Pixels, wanted: tuple[str, ...] = (), unwanted: tuple[str, ...] = ()) -> Pixels:
    """What the network makes of a whole picture, mirrored below and to the right up to its multiple, and cut off again."""
    system = weights.load(str(model)).system
    assert isinstance(system, Translator)
    height, width = pixels.shape[:2]
    below, right = -height % system.multiple, -width % system.multiple
    padded = np.pad(pixels, ((0, below), (0, right), (0, 0)), mode="symmetric")
    made = system.translate(planes(padded).float(), system.target(wanted, unwanted))
    return levels(made.double(), pixels.dtype)[:height, :width]


def test_every_option_is_in_a_test() -> None:
    command = typer.main.get_command(cli.app).commands["translate"]  # type: ignore[attr-defined]
    options = [option.opts for option in command.params if option.param_type_name == "option"]
    assert len(options) > 25
    given: set[object] = set()
    for path in TESTS.glob("test_*.py"):
        found = {node.value for node in ast.walk(ast.parse(path.read_bytes())) if isinstance(node, ast.Constant)}
        given |= found if "translate" in found else set()
    assert [names for names in options if not given & set(names)] == []


# --- pictures ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sides", [(16, 16), (21, 35), (1, 7), (40, 3)])
def test_the_result_has_the_size_of_the_picture_and_is_what_the_network_gives(
    cycle: Path, tmp_path: Path, run_cli: Run, sides: tuple[int, int]
) -> None:
    source = picture(tmp_path, "a.png", *sides)
    ended = run_cli("translate", source, "-m", cycle, "--to", "zebra", "-o", tmp_path / "b.png")
    assert ended.status == 0, ended.err
    wanted = expected(cycle, pixels_of(source), ("zebra",))
    assert np.abs(pixels_of(tmp_path / "b.png").astype(int) - wanted).max() <= 1


@pytest.mark.parametrize("model", ["cycle", "faces", "restorer"])
def test_tiles_give_what_the_whole_picture_gives(
    model: str, tmp_path: Path, run_cli: Run, request: pytest.FixtureRequest
) -> None:
    path = request.getfixturevalue(model)
    wish = {"cycle": ("--direction", "BtoA"), "faces": ("--attr", "Male,-Young"), "restorer": ()}[model]
    source = picture(tmp_path, "a.png", 70, 90)
    for tile, output in (("off", "whole.png"), ("32", "tiled.png")):
        ended = run_cli("translate", source, "-m", path, *wish, "--tile", tile, "-o", tmp_path / output)
        assert ended.status == 0, ended.err
    whole, tiled = (pixels_of(tmp_path / name).astype(int) for name in ("whole.png", "tiled.png"))
    assert whole.std() > 0
    assert np.abs(whole - tiled).max() <= 1


def test_transparency_stays_as_it_is(cycle: Path, tmp_path: Path, run_cli: Run) -> None:
    source = picture(tmp_path, "a.png", 20, 24, 4)
    assert run_cli("translate", source, "-m", cycle, "--to", "horse", "-o", tmp_path / "b.png").status == 0
    before, after = pixels_of(source), pixels_of(tmp_path / "b.png")
    assert np.array_equal(before[..., 3], after[..., 3])
    assert not np.array_equal(before[..., :3], after[..., :3])


def test_gray_becomes_rgb_unless_the_model_keeps_it(cycle: Path, restorer: Path, tmp_path: Path, run_cli: Run) -> None:
    source = tmp_path / "a.png"
    source.write_bytes(png_of(100 + noise(20, 24, 1) // 5))  # nothing is clipped
    for model, wish, channels in ((cycle, ("--to", "zebra"), 3), (restorer, (), 1)):
        assert run_cli("translate", source, "-m", model, *wish, "-o", tmp_path / "b.png", "--overwrite").status == 0
        result = pixels_of(tmp_path / "b.png")
        assert result.shape == (20, 24, channels)
        rgb = np.repeat(pixels_of(source), 3, 2)
        made = expected(model, rgb, ("zebra",) if wish else ()).astype(float)
        made = made if channels == 3 else made.mean(2, keepdims=True)
        assert np.abs(result - made).max() <= 1.1


def test_a_size_that_is_asked_for_is_given_before_the_network_sees_the_picture(
    cycle: Path, tmp_path: Path, run_cli: Run
) -> None:
    source = picture(tmp_path, "a.png", 40, 60)
    ended = run_cli("upscale", source, "-m", "bicubic", "--long-side", "30", "-o", tmp_path / "less.png")
    assert ended.status == 0, ended.err
    wish = ("--to", "zebra", "--long-side", "30")
    assert run_cli("translate", source, "-m", cycle, *wish, "-o", tmp_path / "b.png").status == 0
    wanted = expected(cycle, pixels_of(tmp_path / "less.png"), ("zebra",))
    assert wanted.shape == (20, 30, 3)
    assert np.abs(pixels_of(tmp_path / "b.png").astype(int) - wanted).max() <= 2  # bicubic of upscale comes after a rounding


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 9), (9, 3)])
def test_the_smallest_pictures_can_be_translated(
    cycle: Path, faces: Path, noisy: Path, tmp_path: Path, run_cli: Run, height: int, width: int
) -> None:
    source = picture(tmp_path, "a.png", height, width)
    for model, wish in ((cycle, ["--to", "zebra"]), (faces, ["--attr", "Male"]), (noisy, [])):
        ended = run_cli("translate", source, "-m", model, *wish, "-o", tmp_path / "b.png", "--overwrite")
        assert ended.status == 0, ended.err
        assert pixels_of(tmp_path / "b.png").shape == (height, width, 3)


@pytest.mark.parametrize(
    ("options", "size"),
    [(("--width", 16), (24, 16)), (("--height", 12), (12, 8)), (("--short-side", 12), (18, 12))],
)
def test_sides_are_asked_for_like_those_of_upscale(
    restorer: Path, tmp_path: Path, run_cli: Run, options: tuple[object, ...], size: tuple[int, int]
) -> None:
    source = picture(tmp_path, "a.png", 30, 20)
    assert run_cli("translate", source, "-m", restorer, *options, "-o", tmp_path / "b.png").status == 0
    assert pixels_of(tmp_path / "b.png").shape[:2] == size


# --- what pictures become ----------------------------------------------------------------------------------------------


def test_names_directions_and_attributes_choose_the_target(cycle: Path, faces: Path, tmp_path: Path, run_cli: Run) -> None:
    source = picture(tmp_path, "a.png", 16, 16)
    results = {}
    for model, wish in [
        (cycle, ("--to", "zebra")), (cycle, ("--direction", "AtoB")), (cycle, ("--direction", "BtoA")),
        (faces, ("--to", "Male")), (faces, ("--attr", "Male")), (faces, ("--attr", "Male, Young")), (faces, ("--attr=-Male",)),
        (faces, ("--attr", "- Male")),
    ]:  # fmt: skip
        ended = run_cli("translate", source, "-m", model, *wish, "-o", tmp_path / "b.png", "--overwrite")
        assert ended.status == 0, ended.err
        results[wish] = (tmp_path / "b.png").read_bytes()
    assert results["--to", "zebra"] == results["--direction", "AtoB"] != results["--direction", "BtoA"]
    assert results["--to", "Male"] == results["--attr", "Male"] != results["--attr", "Male, Young"]
    assert results["--attr=-Male",] not in (results["--attr", "Male"], results["--attr", "Male, Young"])
    assert results["--attr=-Male",] == results["--attr", "- Male"]


@pytest.mark.parametrize(
    ("model", "options", "words"),
    [
        ("cycle", ["--to", "zebar"], "did you mean zebra"),
        ("cycle", [], "zebra"),
        ("cycle", ["--attr", "-zebra"], "zebra"),
        ("cycle", ["--to", ""], "no target named ''"),
        ("faces", ["--attr", " , "], "--attr names nothing"),
        ("restorer", ["--attr", ""], "--attr names nothing"),
        ("faces", ["--attr", "Mail"], "did you mean Male"),
        ("faces", ["--direction", "AtoB"], "no such direction"),
        ("restorer", ["--to", "clean"], "leave out 'clean'"),
        ("restorer", ["--direction", "AtoB"], "it does one thing"),
        ("cycle", ["--to", "zebra", "--tile", "0"], "--tile 0 is not possible"),
        ("cycle", ["--to", "zebra", "--width", "0"], "--width 0 is not possible"),
        ("cycle", ["--to", "zebra", "--overwrite", "--skip-existing"], "exclude one another"),
        ("cycle", ["--to", "zebra", "--memory", "lots"], "lots"),
        ("cycle", ["--to", "zebra", "--shard", "3/2"], "3/2"),
    ],
)
def test_what_does_not_fit_is_answered_in_a_line(
    model: str, options: list[str], words: str, tmp_path: Path, run_cli: Run, request: pytest.FixtureRequest
) -> None:
    source = picture(tmp_path, "a.png", 8, 8)
    ended = run_cli("translate", source, "-m", request.getfixturevalue(model), "-o", tmp_path / "b.png", *options)
    assert ended.status == 2
    assert words in ended.err
    assert len(ended.err.strip().splitlines()) == 1
    assert not (tmp_path / "b.png").exists()


def test_a_model_that_upscales_is_answered_with_those_that_translate(tmp_path: Path, run_cli: Run) -> None:
    source = picture(tmp_path, "a.png", 8, 8)
    ended = run_cli("translate", source, "-m", "span-x4", "-o", tmp_path / "b.png")
    assert ended.status == 2
    assert "does not translate: use " in ended.err
    assert "cyclegan" in ended.err


def test_a_model_that_translates_is_no_upscaler(cycle: Path, tmp_path: Path, run_cli: Run) -> None:
    ended = run_cli("upscale", picture(tmp_path, "a.png", 8, 8), "-m", cycle, "-o", tmp_path / "b.png")
    assert ended.status == 2
    assert "does not upscale" in ended.err


# --- noise -------------------------------------------------------------------------------------------------------------


def test_noise_is_the_same_every_time_and_left_out_on_request(noisy: Path, tmp_path: Path, run_cli: Run) -> None:
    source = picture(tmp_path, "a.png", 30, 50)
    made = {}
    for name, options in (("one", ()), ("other", ()), ("still", ("--deterministic",))):
        ended = run_cli("translate", source, "-m", noisy, "-o", tmp_path / f"{name}.png", *options)
        assert ended.status == 0, ended.err
        made[name] = (tmp_path / f"{name}.png").read_bytes()
    assert made["one"] == made["other"] != made["still"]


def test_the_header_says_what_norm_and_dropout_do(noisy: Path, restorer: Path) -> None:
    assert "dropout active" in str(weights.load(str(noisy)).header["behaviour"])
    assert "no dropout" in str(weights.load(str(restorer)).header["behaviour"])


# --- batches -----------------------------------------------------------------------------------------------------------


def test_a_folder_is_translated_beside_itself_whatever_single_pictures_do(cycle: Path, tmp_path: Path, run_cli: Run) -> None:
    folder = tmp_path / "horses"
    for number in range(60):  # more than the 50 that a well-known tool stops at
        picture(folder, f"{number:02}.png", 6, 8)
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    ended = run_cli("translate", folder, "-m", cycle, "--to", "zebra", "--report", tmp_path / "report.jsonl")
    assert ended.status == 1
    assert "broken.png" in ended.err
    made = sorted((tmp_path / "horses_cycle_zebra").iterdir())
    assert [path.name for path in made] == [f"{number:02}.png" for number in range(60)]
    lines = [json.loads(line) for line in (tmp_path / "report.jsonl").read_text().splitlines()]
    assert [line["status"] for line in lines].count("ok") == 60
    assert {line["model"] for line in lines if line["status"] == "ok"} == {"cycle"}


def test_a_dry_run_says_what_would_be_and_makes_nothing(cycle: Path, tmp_path: Path, run_cli: Run) -> None:
    source = picture(tmp_path, "a.png", 12, 10)
    ended = run_cli("translate", source, "-m", cycle, "--to", "zebra", "--dry-run", "--json", "--name", "{stem}-{to}-{model}")
    assert ended.status == 0, ended.err
    line = json.loads(ended.out)
    assert (Path(line["output"]).name, line["width"], line["height"]) == ("a-zebra-cycle.png", 10, 12)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_a_16_bit_picture_on_a_colour_becomes_a_small_opaque_jpeg(cycle: Path, tmp_path: Path, run_cli: Run) -> None:
    source = picture(tmp_path, "in/sub/a.png", 20, 24, 4)
    sizes = []
    for quality in (5, 95):
        options = (
            "--format",
            "jpeg",
            "--quality",
            quality,
            "--background",
            "white",
            "--strip",
            "all",
            "--recursive",
            "--overwrite",
        )
        ended = run_cli("translate", tmp_path / "in", "-m", cycle, "--to", "zebra", "-o", tmp_path / "out", "--quiet", *options)
        assert (ended.status, ended.out) == (0, ""), ended.err
        made = tmp_path / "out" / "sub" / "a.jpg"
        sizes.append(made.stat().st_size)
        assert pixels_of(made).shape == (20, 24, 3)
    assert sizes[0] < sizes[1]
    ended = run_cli("translate", source, "-m", cycle, "--to", "zebra", "-o", tmp_path / "b.png", "--bit-depth", "16")
    assert ended.status == 0, ended.err
    assert images.open_picture(tmp_path / "b.png", "b.png", 10_000).pages[0].bits == 16


def test_what_the_network_sees_and_how_it_computes_can_be_chosen(restorer: Path, tmp_path: Path, run_cli: Run) -> None:
    source = picture(tmp_path, "a.png", 90, 90)
    made = {}
    for name, options in {
        "usual": ("--device", "cpu"), "blind": ("--tile", "32", "--halo", "0"), "coarse": ("--dtype", "bf16"),
    }.items():  # fmt: skip
        assert run_cli("translate", source, "-m", restorer, "-o", tmp_path / f"{name}.png", *options).status == 0
        made[name] = pixels_of(tmp_path / f"{name}.png").astype(int)
    assert np.abs(made["usual"] - made["blind"]).max() > 1  # seams
    assert 1 <= np.abs(made["usual"] - made["coarse"]).max() <= 8


def test_a_picture_that_is_too_large_ends_a_run_that_is_to_end(cycle: Path, tmp_path: Path, run_cli: Run) -> None:
    for name, side in (("a", 40), ("b", 8)):
        picture(tmp_path / "in", f"{name}.png", side, side)
    options = ("--to", "zebra", "--max-pixels", "100", "-o", tmp_path / "out", "--offline", "--memory", "1G")
    for more, made in (("--fail-fast", []), ("--debug", ["b.png"])):
        ended = run_cli("translate", tmp_path / "in", "-m", cycle, *options, more)
        assert ended.status == 1
        assert "a.png" in ended.err
        assert sorted(path.name for path in (tmp_path / "out").glob("*")) == made


def test_a_model_of_ones_own_registry_is_found(cycle: Path, tmp_path: Path, run_cli: Run) -> None:
    repo = f'[mine]\nsystem = "cyclegan"\nrepo = "{REPO}"\nfile = "a.pth"\nunpinned = true\n'
    (tmp_path / "own.toml").write_text(repo)
    options = ("--registry", tmp_path / "own.toml", "--offline")
    ended = run_cli("translate", picture(tmp_path, "a.png", 8, 8), "-m", "mine", *options)
    assert ended.status == 3
    assert "mine" in ended.err


def test_from_python_it_is_the_same(cycle: Path, tmp_path: Path, run_cli: Run) -> None:
    source = picture(tmp_path, "a.png", 16, 20)
    run_cli("translate", source, "-m", cycle, "--to", "zebra", "-o", tmp_path / "b.png")
    made = translate.translate(images.read(source), weights.load(str(cycle)), "zebra")
    assert torch.equal(made.color, images.read(tmp_path / "b.png").color)
    with pytest.raises(UsageError, match="did you mean zebra"):
        translate.translate(images.read(source), weights.load(str(cycle)), "zebre")


# --- from the Hub ------------------------------------------------------------------------------------------------------


class OfficialResnet(nn.Module):
    """The reference code's generator, with its numbering: 9 blocks, transposed convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        c = channels
        norm = nn.InstanceNorm2d
        layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(3, c, 7), norm(c), nn.ReLU()]
        for wide in (c, 2 * c):
            layers += [nn.Conv2d(wide, 2 * wide, 3, 2, 1), norm(2 * wide), nn.ReLU()]
        layers += [OfficialBlock(4 * c) for _ in range(9)]
        for wide in (4 * c, 2 * c):
            layers += [nn.ConvTranspose2d(wide, wide // 2, 3, 2, 1, output_padding=1), norm(wide // 2), nn.ReLU()]
        self.model = nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(c, 3, 7), nn.Tanh())

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.model(images)


class OfficialBlock(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        half = lambda: [nn.ReflectionPad2d(1), nn.Conv2d(c, c, 3), nn.InstanceNorm2d(c)]  # noqa: E731
        self.conv_block = nn.Sequential(*half(), nn.ReLU(), *half())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv_block(x)


def test_horse2zebra_comes_from_the_hub_and_translates_a_folder(tmp_path: Path, run_process: Callable[..., Result]) -> None:
    torch.manual_seed(0)
    official = OfficialResnet(64).eval()
    torch.save(official.state_dict(), tmp_path / "latest_net_G.pth")
    content = (tmp_path / "latest_net_G.pth").read_bytes()
    entry = weights.find("horse2zebra")
    assert isinstance(entry, weights.Entry)
    horses = [picture(tmp_path / "horses", f"{name}.png", 40, 53) for name in "ab"]
    with serve() as hub:
        hub.repo, hub.files = str(entry.repo), {str(entry.file): content}
        env = {
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(tmp_path / "hf"),
            "XDG_CACHE_HOME": str(tmp_path / "cache"),
            "NO_PROXY": "*",
        }
        ended = run_process("translate", "--model", "horse2zebra", tmp_path / "horses", env=env)
    assert ended.status == 0, ended.err
    assert sha256(content)[:12] in ended.err or COMMIT[:12] in ended.err  # what the Hub said is told
    for path in horses:
        made = pixels_of(tmp_path / "horses_horse2zebra" / path.name)
        given = np.pad(pixels_of(path), ((0, 0), (0, 3), (0, 0)), mode="symmetric")
        with torch.inference_mode():
            wanted = (official(2 * planes(given).float() - 1).double() + 1) / 2
        assert np.abs(made.astype(int) - levels(wanted, made.dtype)[:, :53]).max() <= 1
