"""`gantool generate`: a seed is a picture, whatever is made beside it; sheets, animations, and what is refused."""

from __future__ import annotations

import ast
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from math import pi, sqrt
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import typer
from conftest import CHECKOUT, Result
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

import gantool
from gantool import animation, cli, images, latents, systems, weights
from gantool.errors import InputError, UsageError
from gantool.generate import _Items
from gantool.sampling import Sampler
from gantool.seeds import LARGEST, MOST, Seeds, parse_seeds
from gantool.system import Generator

Run = Callable[..., Result]
Levels = NDArray[np.uint8]
CLASSES = ("cat", "dog", "cow")


def saved(folder: Path, name: str, **changes: object) -> Path:
    """The file of a small system with the weights that training starts from, made three times as large to give contrast."""
    torch.manual_seed(0)
    paper = systems.load(name)
    system = paper.system(dataclasses.replace(paper.config(), **changes))  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in system.parameters():
            parameter.mul_(3)
    path = folder / f"small-{name}.safetensors"
    weights.save(path, system, step=0, metrics={}, average=True, title="small")
    return path


@pytest.fixture(scope="module")
def colored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 16x16 pixels in RGB, without classes."""
    return saved(tmp_path_factory.mktemp("model"), "dcgan", size=16, image_channels=3, channels=4, latent=20)


@pytest.fixture(scope="module")
def classed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 12x12 pixels in gray, with three classes."""
    return saved(tmp_path_factory.mktemp("model"), "cgan", size=12, channels=4, latent=20, classes=CLASSES)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def stored(path: Path) -> Levels:
    """A picture's pixels (H, W, C)."""
    return images.read(path).color.permute(1, 2, 0).numpy()


def own(model: Path, latent: Tensor, label: int = 0) -> Levels:
    """The model's own result for one latent, (H, W, C)."""
    system = weights.load(str(model)).system
    assert isinstance(system, Generator)
    hot = torch.eye(len(system.classes))[[label]] if system.classes else None
    with torch.inference_mode():
        values = system.generate(latent[None], hot)[0]
    return (values * 255 + 0.5).floor().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()


def normal(seed: int, count: int = 20) -> tuple[Tensor, torch.Generator]:
    source = torch.Generator().manual_seed(seed)
    return torch.randn(count, generator=source), source


def apart(first: Levels, second: Levels) -> int:
    assert first.shape == second.shape
    return int(np.abs(first.astype(int) - second).max())


def refused(result: Result, *words: str) -> None:
    """Status 2 and a line that has the words; nothing on standard output."""
    assert (result.status, result.out, result.err.count("\n")) == (2, "", 1), result
    for word in words:
        assert word in result.err, result.err


def test_every_option_is_in_a_test() -> None:
    command = typer.main.get_command(cli.app).commands["generate"]  # type: ignore[attr-defined]
    options = [option.opts for option in command.params if option.param_type_name == "option"]
    found = {node.value for node in ast.walk(ast.parse(Path(__file__).read_bytes())) if isinstance(node, ast.Constant)}
    assert [opts for opts in options if not found & set(opts)] == []


# --- a picture for each seed -------------------------------------------------------------------------------------------


def test_each_seed_is_the_models_picture_of_its_own_latent(colored: Path, here: Path, run_cli: Run) -> None:
    result = run_cli("generate", "-m", colored, "--seeds", "0,3,5-7", "-o", "out")
    expected = [f"seed000{seed}.png" for seed in (0, 3, 5, 6, 7)]
    assert result == Result(0, "".join(f"out/{name}\n" for name in expected), "5 of 5 done\n")
    assert names(here / "out") == expected
    for seed in (0, 3, 7):
        assert apart(stored(here / f"out/seed000{seed}.png"), own(colored, normal(seed)[0])) <= 1
    assert apart(stored(here / "out/seed0003.png"), stored(here / "out/seed0005.png")) > 20


@pytest.mark.parametrize("size", [1, 3, 64])
def test_a_seed_gives_the_same_picture_whatever_is_made_with_it(size: int, colored: Path, here: Path, run_cli: Run) -> None:
    assert run_cli("generate", "-m", colored, "--seeds", "90,5,17,4", "--batch", size, "-o", "out").status == 0
    for seed in (90, 5, 17, 4):
        assert apart(stored(here / f"out/seed{seed:04}.png"), own(colored, normal(seed)[0])) <= 1


def test_without_an_output_pictures_go_to_a_folder_of_the_models_name(colored: Path, here: Path, run_cli: Run) -> None:
    assert run_cli("generate", "-m", colored) == Result(0, "small-dcgan/seed0000.png\n", "")
    assert run_cli("generate", "-m", colored, "--seeds", LARGEST).out == f"small-dcgan/seed{LARGEST}.png\n"


@pytest.mark.parametrize(("name", "kind"), [("a.png", "PNG"), ("a.JPG", "JPEG"), ("a.webp", "WEBP"), ("new/a.tif", "TIFF")])
def test_one_seed_can_have_a_file_whose_name_decides_the_format(
    name: str, kind: str, colored: Path, here: Path, run_cli: Run
) -> None:
    assert run_cli("generate", "-m", colored, "--seeds", 3, "-o", name) == Result(0, f"{name}\n", "")
    with Image.open(name) as picture:
        assert (picture.format, picture.size) == (kind, (16, 16))


def test_the_format_and_quality_of_files_in_a_folder_can_be_chosen(colored: Path, here: Path, run_cli: Run) -> None:
    for quality in (20, 95):
        assert run_cli("generate", "-m", colored, "--format", "jpeg", "--quality", quality, "-o", f"{quality}/").status == 0
    assert names(here) == ["20/seed0000.jpg", "95/seed0000.jpg"]
    assert (here / "20/seed0000.jpg").stat().st_size < (here / "95/seed0000.jpg").stat().st_size


def test_gray_pictures_are_stored_gray(classed: Path, here: Path, run_cli: Run) -> None:
    for name, mode in (("a.png", "L"), ("a.jpg", "L"), ("a.tif", "L")):
        run_cli("generate", "-m", classed, "-o", name)
        with Image.open(name) as picture:
            assert picture.mode == mode


def test_one_picture_can_go_to_standard_output(colored: Path, here: Path, run_process: Run) -> None:
    done = run_process("generate", "-m", colored, "--seeds", 3, "-o", "-", cwd=here)
    assert (done.status, done.err, names(here)) == (0, "", [])
    decoded = cv2.imdecode(np.frombuffer(done.out.encode("utf-8", "surrogateescape"), np.uint8), cv2.IMREAD_COLOR_RGB)
    assert apart(np.asarray(decoded, np.uint8), own(colored, normal(3)[0])) <= 1


def test_what_exists_is_refused_replaced_or_left(colored: Path, here: Path, run_cli: Run) -> None:
    command = ("generate", "-m", colored, "--seeds", "0-2", "-o", "out")
    assert run_cli(*command).status == 0
    before = (here / "out/seed0001.png").read_bytes()
    (here / "out/seed0002.png").unlink()
    refused(run_cli(*command), "out/seed0000.png and 1 more exist already: use --overwrite or --skip-existing")
    Image.new("RGB", (9, 9)).save(here / "out/seed0001.png")
    skipped = run_cli(*command, "--skip-existing")
    assert skipped == Result(0, "out/seed0002.png\n", "1 of 3 done, 2 skipped\n")
    assert stored(here / "out/seed0001.png").shape == (9, 9, 3)
    assert run_cli(*command, "--overwrite", "-q") == Result(0, "", "")
    assert (here / "out/seed0001.png").read_bytes() == before
    refused(run_cli(*command, "--overwrite", "--skip-existing"), "exclude one another")


def test_the_report_has_a_line_for_each_seed(classed: Path, here: Path, run_cli: Run) -> None:
    result = run_cli("generate", "-m", classed, "--seeds", "4,2", "--label", "dog", "--json", "--report", "log")
    lines = [json.loads(line) for line in result.out.splitlines()]
    assert lines[0] | {"seconds": 0, "peak_bytes": 0} == {
        "input": None, "seed": 4, "status": "ok", "output": "small-cgan/seed0004.png", "error": None, "seconds": 0,
        "peak_bytes": 0, "label": "dog", "model": "small-cgan", "sha256": weights.load(str(classed)).sha256, "width": 12,
        "height": 12,
    }  # fmt: skip
    assert lines[1]["seed"] == 2
    assert (here / "log").read_text() == result.out


def test_a_seed_whose_picture_is_not_finite_does_not_cost_the_others(here: Path, run_cli: Run) -> None:
    """A network that overflows where the latent's only number is large, into infinities that cancel to no number."""
    paper = systems.load("gan")
    system = paper.system(paper.config(latent=1, hidden=(2,), prior="normal"))  # type: ignore[call-arg]
    with torch.no_grad():
        first, last = [
            layer for layer in system.inference_modules()["generator"].modules() if isinstance(layer, torch.nn.Linear)
        ]
        first.weight.fill_(2e38)
        first.bias.zero_()
        last.weight.copy_(torch.tensor([1e-38, -1e-38]).expand_as(last.weight))
    weights.save(Path("m.safetensors"), system, step=0, metrics={}, average=True, title="m")
    values = {seed: float(normal(seed, 1)[0]) for seed in range(200)}
    bad = next(seed for seed, value in values.items() if value > 2)
    result = run_cli("generate", "-m", "m.safetensors", "--seeds", f"{bad - 1}-{bad + 1}", "-o", "out", "--json")
    lines = [json.loads(line) for line in result.out.splitlines()]
    assert [(line["seed"], line["status"]) for line in lines] == [(bad - 1, "ok"), (bad, "error"), (bad + 1, "ok")]
    assert (result.status, names(here / "out")) == (1, [f"seed{bad - 1:04}.png", f"seed{bad + 1:04}.png"])
    assert f"gantool: seed {bad}: the network's result is not finite: use another seed or model\n" in result.err


# --- classes -----------------------------------------------------------------------------------------------------------


def test_classes_are_named_or_numbered_and_seeds_take_them_in_turns(classed: Path, here: Path, run_cli: Run) -> None:
    assert run_cli("generate", "-m", classed, "--seeds", "0-4", "--label", "cow, 1", "-o", "out").status == 0
    for seed, label in enumerate((2, 1, 2, 1, 2)):
        assert apart(stored(here / f"out/seed000{seed}.png"), own(classed, normal(seed)[0], label)) <= 1
        assert apart(own(classed, normal(seed)[0], 1), own(classed, normal(seed)[0], 2)) > 5


def test_without_a_label_each_seed_draws_its_class_after_its_latent(classed: Path, here: Path, run_cli: Run) -> None:
    result = run_cli("generate", "-m", classed, "--seeds", "0-19", "--json", "--batch", 7)
    drawn = [CLASSES.index(json.loads(line)["label"]) for line in result.out.splitlines()]
    assert set(drawn) == {0, 1, 2}
    for seed, label in enumerate(drawn):
        latent, source = normal(seed)
        assert label == int(torch.randint(3, (), generator=source))
        assert apart(stored(here / f"small-cgan/seed{seed:04}.png"), own(classed, latent, label)) <= 1


def test_a_name_comes_before_an_index(here: Path) -> None:
    model = weights.load(str(saved(here, "cgan", size=12, channels=4, latent=20, classes=("2", "1", "0"))))
    assert [Sampler(model, [label]).point(0).label for label in ("2", "0", 0)] == [0, 2, 0]


@pytest.mark.parametrize(("label", "words"), [
    ("dgo", "no class named 'dgo': did you mean dog?"),
    ("xyz", "no class named 'xyz': there are cat, cow, dog"),
    ("3", "there is no class 3: small-cgan has 3, from 0 to 2"),
    ("99999999999999999999", "no class named '999"),
    ("cat,", "no class named ''"),
    ("-1", "no class named '-1'"),
])  # fmt: skip
def test_a_class_that_is_not_there_is_refused(label: str, words: str, classed: Path, here: Path, run_cli: Run) -> None:
    refused(run_cli("generate", "-m", classed, f"--label={label}"), words)
    assert names(here) == []


# --- truncation --------------------------------------------------------------------------------------------------------


def test_truncation_draws_again_only_what_is_beyond_it() -> None:
    plain, own_class = latents.draw(7, (2000,), 10)
    cut, same_class = latents.draw(7, (2000,), 10, 0.7)
    within = plain.abs() <= 0.7
    assert 0.4 < within.float().mean() < 0.6  # 0.516 of a normal distribution
    assert torch.equal(cut[within], plain[within])
    assert own_class == same_class
    assert cut.abs().max() <= 0.7
    density = (cut.abs() > 0.35).float().mean()  # of the truncated normal: (F(0.7) - F(0.35)) / (F(0.7) - 0.5)
    assert abs(density - 0.4716) < 0.04


def test_truncation_makes_pictures_of_nearer_latents(colored: Path, here: Path, run_cli: Run) -> None:
    assert run_cli("generate", "-m", colored, "--seeds", 3, "--truncation", 0.5, "-o", "a.png").status == 0
    assert apart(stored(here / "a.png"), own(colored, latents.draw(3, (20,), 0, 0.5)[0])) <= 1
    assert apart(stored(here / "a.png"), own(colored, normal(3)[0])) > 5


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "1e-9"])
def test_a_truncation_that_nothing_fulfils_is_refused(value: str, colored: Path, here: Path, run_cli: Run) -> None:
    refused(run_cli("generate", "-m", colored, f"--truncation={value}"), "--truncation ", "is not possible")


# --- sheets ------------------------------------------------------------------------------------------------------------


def test_a_sheet_has_seeds_in_reading_order(classed: Path, here: Path, run_cli: Run) -> None:
    options = ("--grid", "3x2", "--label", "0,1,2", "--batch", 2, "--json")
    line = json.loads(run_cli("generate", "-m", classed, *options).out)
    assert (line["output"], line["seeds"], line["label"]) == ("small-cgan/grid3x2.png", "0-5", "0,1,2")
    assert (line["width"], line["height"]) == (36, 24)
    sheet = stored(here / "small-cgan/grid3x2.png")
    for seed in range(6):
        row, column = divmod(seed, 3)
        part = sheet[12 * row : 12 * row + 12, 12 * column : 12 * column + 12]
        assert apart(part, own(classed, normal(seed)[0], column)) <= 1


def test_a_sheet_can_show_a_seed_twice_and_has_a_place_for_each(classed: Path, here: Path, run_cli: Run) -> None:
    assert run_cli("generate", "-m", classed, "--grid", "2x1", "--seeds", "8,8", "--label", "0,1", "-o", "a.png").status == 0
    sheet = stored(here / "a.png")
    for column in range(2):
        assert apart(sheet[:, 12 * column : 12 * column + 12], own(classed, normal(8)[0], column)) <= 1


@pytest.mark.parametrize(("options", "words"), [
    (("--grid", "8"), "--grid 8 is not understood: use COLUMNSxROWS"),
    (("--grid", "0x8"), "--grid 0x8 is not understood"),
    (("--grid", ""), "--grid  is not understood"),
    (("--grid", "-1x8"), "is not understood"),
    (("--grid", "2x2", "--seeds", "0-4"), "has 4 places, and --seeds names 5"),
    (("--grid", "2x2", "--seeds", "0"), "has 4 places, and --seeds names 1"),
    (("--grid", "999x999"), "the sheet would have 15984x15984 pixels, more than 89000000: use a smaller --grid"),
    (("--grid", "999999999x999999999"), f"it can have {MOST}"),
    (("--grid", "2x2", "-o", "a.gif"), "a.gif has no extension that pictures are written with"),
    (("--grid", "2x2", "--interpolate", "1,2"), "leave --seeds and --grid out"),
])  # fmt: skip
def test_sheets_that_make_no_sense_are_refused(
    options: tuple[str, ...], words: str, colored: Path, here: Path, run_cli: Run
) -> None:
    refused(run_cli("generate", "-m", colored, *options), words)
    assert names(here) == []


# --- animations --------------------------------------------------------------------------------------------------------


def test_the_way_between_latents_is_an_arc() -> None:
    start, end = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0])
    for share in (0.0, 0.25, 0.5, 1.0):
        point = torch.tensor([share * pi / 2]).cos(), torch.tensor([share * pi / 2]).sin()
        torch.testing.assert_close(latents.between(start, end, share), 2 * torch.cat(point))
    a, b = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.5, sqrt(3) / 2, 0.0])  # 60 degrees: half-way, (a + b) / (2 cos 30)
    torch.testing.assert_close(latents.between(a, b, 0.5), (a + b) / sqrt(3))


@pytest.mark.parametrize("factor", [-1.0, 1.0, 3.0])
def test_between_latents_on_one_line_the_way_is_that_line(factor: float) -> None:
    start = torch.tensor([1.0, -2.0])
    torch.testing.assert_close(latents.between(start, factor * start, 0.25), (0.75 + 0.25 * factor) * start)


def frames_of(path: Path) -> list[Levels]:
    with images.open_picture(path, str(path), images.MAX_PIXELS) as reader:
        return [np.concatenate(list(reader.bands(number)))[:, :, :3].astype(np.uint8) for number in range(len(reader.pages))]


def on_the_way(model: Path, first: int, last: int, count: int, label: int = 0) -> list[Levels]:
    ends = normal(first)[0], normal(last)[0]
    return [own(model, latents.between(*ends, number / (count - 1)), label) for number in range(count)]


@pytest.mark.parametrize("name", ["a.png", "a.apng"])
def test_an_animated_png_goes_from_seed_to_seed_and_loops(name: str, colored: Path, here: Path, run_cli: Run) -> None:
    line = json.loads(run_cli("generate", "-m", colored, "--interpolate", "3,7", "--frames", 6, "-o", name, "--json").out)
    assert (line["output"], line["frames"], line["seeds"], line["width"]) == (name, 6, "3,7", 16)
    for frame, expected in zip(frames_of(here / name), on_the_way(colored, 3, 7, 6), strict=True):
        assert apart(frame, expected) <= 1
    with images.open_picture(here / name, name, images.MAX_PIXELS) as reader:
        assert (reader.metadata.delays, reader.metadata.loop) == ((40,) * 6, 0)


def test_a_gif_of_gray_pictures_has_their_very_levels_and_one_class(classed: Path, here: Path, run_cli: Run) -> None:
    command = ("generate", "-m", classed, "--interpolate", "3,7", "--frames", 6, "--fps", 30)
    assert run_cli(*command, "--label", "cow") == Result(0, "small-cgan/seed0003-0007.gif\n", "")
    path = here / "small-cgan/seed0003-0007.gif"
    for frame, expected in zip(frames_of(path), on_the_way(classed, 3, 7, 6, 2), strict=True):
        assert apart(frame, np.broadcast_to(expected, frame.shape)) <= 1
    with images.open_picture(path, "it", images.MAX_PIXELS) as reader:
        assert reader.metadata.delays == (30, 40, 30, 30, 40, 30)  # 1/30 s in hundredths, without drift
        assert reader.metadata.loop == 0
    label = json.loads(run_cli(*command, "-o", "b.gif", "--json").out)["label"]
    assert label == CLASSES[latents.draw(3, (20,), 3)[1]]


def test_a_gif_of_coloured_pictures_is_near_them(colored: Path, here: Path, run_cli: Run) -> None:
    run_cli("generate", "-m", colored, "--interpolate", "3,7", "--frames", 5, "-o", "a.gif")
    for frame, expected in zip(frames_of(here / "a.gif"), on_the_way(colored, 3, 7, 5), strict=True):
        assert np.abs(frame.astype(int) - expected).mean() < 4


@pytest.mark.parametrize(("rate", "size"), [(None, 16), (10, 15)])
def test_a_video_has_the_frames_the_rate_and_even_sides(
    rate: int | None, size: int, tmp_path: Path, here: Path, run_cli: Run
) -> None:
    model = saved(tmp_path, "vae", size=size, units=4, latent=20)
    options = () if rate is None else ("--fps", rate)
    assert run_cli("generate", "-m", model, "--interpolate", "3,7", "-o", "a.mp4", *options).status == 0
    video = cv2.VideoCapture("a.mp4")
    assert video.get(cv2.CAP_PROP_FPS) == (rate or 25)
    for expected in on_the_way(model, 3, 7, 50):
        found, frame = video.read()
        assert found
        assert frame.shape == (16, 16, 3)
        assert np.abs(frame[:size, :size].astype(int) - expected).mean() < 12
    assert not video.read()[0]
    video.release()


def test_a_video_that_opencv_could_not_write_is_no_success(tmp_path: Path) -> None:
    frames = [np.zeros((8, 8, 1), np.uint8)] * 3
    with pytest.raises(InputError, match=r"OpenCV wrote 3 of 5 frames .* use \.gif or \.png"):
        animation.write(tmp_path / "a.mp4", "mp4", frames, images.Page(8, 8, 1), 5, 25)
    assert names(tmp_path) == []


@pytest.mark.parametrize(("options", "words"), [
    (("--interpolate", "1"), "--interpolate 1 is not understood: use two seeds"),
    (("--interpolate", ""), "is not understood"),
    (("--interpolate", "1,2,3"), "is not understood"),
    (("--interpolate", "a,2"), "is not understood"),
    (("--interpolate", f"0,{LARGEST + 1}"), "is not understood"),
    (("--interpolate", "4,4"), "goes nowhere"),
    (("--interpolate", "1,2", "--seeds", "3"), "leave --seeds and --grid out"),
    (("--interpolate", "1,2", "-o", "a.jpg"), "a.jpg cannot be an animation: name a file that ends with .apng .gif .mp4 .png"),
    (("--interpolate", "1,2", "-o", "-"), "standard output cannot be an animation"),
    (("--interpolate", "1,2", "--format", "png"), "--format png is for pictures"),
    (("--interpolate", "1,2", "--fps", "60"), "--fps 60 is too fast for .gif: use at most 50"),
    (("--interpolate", "1,2", "--label", "a,b"), "an animation keeps to one class"),
    (("--frames", "9"), "--frames and --fps are for --interpolate"),
    (("--fps", "9"), "--frames and --fps are for --interpolate"),
])  # fmt: skip
def test_animations_that_make_no_sense_are_refused(
    options: tuple[str, ...], words: str, colored: Path, here: Path, run_cli: Run
) -> None:
    refused(run_cli("generate", "-m", colored, *options), words)
    assert names(here) == []


@pytest.mark.parametrize("options", [("--frames", "1"), ("--frames", 10**12), ("--fps", "0"), ("--batch", "0")])
def test_numbers_out_of_range_are_refused(options: tuple[object, ...], colored: Path, here: Path, run_cli: Run) -> None:
    result = run_cli("generate", "-m", colored, "--interpolate", "1,2", *options)
    assert (result.status, result.out) == (2, "")
    assert f"Invalid value for '{options[0]}'" in result.err


# --- bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seeds", "words"), [
    ("5-", "--seeds 5- is not understood: use numbers and ranges, such as 0,3,5-10"),
    ("a", "is not understood"),
    ("", "is not understood"),
    ("1,,2", "is not understood"),
    ("-3", "is not understood"),
    ("1.5", "is not understood"),
    ("\u0663", "is not understood"),  # a digit, but none of those
    ("9-3", "--seeds 9-3 runs backwards: use 3-9"),
    (str(LARGEST + 1), f"seeds go up to {LARGEST}"),
    (f"5-{LARGEST + 1}", f"seeds go up to {LARGEST}"),
    ("9" * 5000, "is not understood"),
    ("0-1000000000000", "1000000000001 seeds are too many for one run: use at most 1000000 at a time"),
    (f"0-{LARGEST}", "are too many"),
    ("3,5,3", "--seeds names 3 twice, for one file"),
    ("4,0-9", "--seeds names 4 twice"),
    ("0-9,9", "--seeds names 9 twice"),
])  # fmt: skip
def test_seeds_that_are_none_are_refused(seeds: str, words: str, colored: Path, here: Path, run_cli: Run) -> None:
    begin = time.monotonic()
    refused(run_cli("generate", "-m", colored, f"--seeds={seeds}"), words)
    assert time.monotonic() - begin < 5
    assert names(here) == []


@pytest.mark.parametrize(("options", "words"), [
    (("--seeds", "0-1", "-o", "a.png"), "a.png is one picture, and --seeds names 2: name a folder"),
    (("--seeds", "0-1", "-o", "-"), "standard output takes one picture, and --seeds names 2"),
    (("-o", "a.bmp"), "a.bmp has no extension that pictures are written with: use .avif .jpeg .jpg .png"),
    (("-o", "a.mp4"), "a.mp4 has no extension"),
    (("-o", "a.png", "--format", "jpeg"), "say different things"),
    (("-o", ""), "-o has no name"),
    (("-o", "-", "--json"), "would both go to standard output"),
    (("--label", "1"), "small-dcgan has no classes to choose from: leave --label out"),
    (("--device", "cuda:99"), "device 'cuda:99' is not available here"),
    (("--dtype", "fp16", "--device", "cpu"), "50 times slower"),
])  # fmt: skip
def test_options_that_make_no_sense_are_refused(
    options: tuple[str, ...], words: str, colored: Path, here: Path, run_cli: Run
) -> None:
    refused(run_cli("generate", "-m", colored, *options), words)
    assert names(here) == []


def test_a_model_of_another_task_is_answered_with_those_that_generate(here: Path, run_cli: Run) -> None:
    result = run_cli("generate", "-m", "bicubic")
    refused(result, "bicubic-x4 is of kernel, which does not generate: use cgan, dcgan, gan,")
    refused(run_cli("upscale", "a.png", "-m", saved(here, "vae", units=4)), "small-vae is of vae, which does not upscale")


def test_a_system_that_does_not_truncate_says_so(here: Path, run_cli: Run) -> None:
    model = saved(here, "pggan", size=8, channels=4, latent=8)
    assert run_cli("generate", "-m", model, "-o", "a.png").status == 0
    refused(run_cli("generate", "-m", model, "--truncation", 1), "mean nothing to small-pggan: leave --truncation out")


def test_an_output_that_cannot_be_a_folder_is_told_in_a_line(colored: Path, here: Path, run_cli: Run) -> None:
    (here / "file").write_text("mine")
    (here / "small-dcgan").write_text("mine")
    for options in (("-o", "file"), ("-o", "file/"), ("-o", "file/a.png"), ()):
        result = run_cli("generate", "-m", colored, *options)
        assert (result.status, result.out, result.err.count("\n")) == (1, "", 1)
        assert "cannot be written" in result.err
    assert (here / "file").read_text() == (here / "small-dcgan").read_text() == "mine"


def test_a_model_can_come_from_ones_own_registry_and_never_from_the_network_offline(here: Path, run_cli: Run) -> None:
    (here / "mine.toml").write_text('[mine]\nsystem = "kernel"\n', encoding="utf-8")
    refused(run_cli("generate", "-m", "mine", "--registry", "mine.toml"), "is of kernel, which does not generate")
    refused(run_cli("generate", "-m", "mine"), "no model named 'mine'")
    result = run_cli("generate", "-m", "somebody/something:model.safetensors", "--offline")
    assert (result.status, result.out, result.err.count("\n")) == (3, "", 1)


def test_debug_shows_where_an_error_comes_from(colored: Path, here: Path, run_cli: Run) -> None:
    assert "Traceback" in run_cli("generate", "-m", colored, "--label", "1", "--debug").err
    assert "Traceback" not in run_cli("generate", "-m", colored, "--label", "1").err


# --- precision, memory and signals -------------------------------------------------------------------------------------


def test_lower_precision_is_near_and_leaves_the_model_as_it_was(colored: Path, here: Path, run_cli: Run) -> None:
    assert run_cli("generate", "-m", colored, "--dtype", "bf16", "--device", "cpu", "-o", "a.png").status == 0
    assert 0 < np.abs(stored(here / "a.png").astype(int) - own(colored, normal(0)[0])).mean() < 3
    model = weights.load(str(colored))
    Sampler(model, dtype="bf16", device="cpu")
    assert {parameter.dtype for parameter in model.system.parameters()} == {torch.float32}


def test_where_memory_does_not_suffice_fewer_are_made_at_a_time(
    colored: Path, here: Path, run_cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    most, sizes = [3], []
    paper = systems.load("dcgan").system
    generate = paper.generate  # type: ignore[attr-defined]

    def limited(self: object, points: Tensor, labels: Tensor | None) -> Tensor:
        if len(points) > most[0]:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        sizes.append(len(points))
        return generate(self, points, labels)  # type: ignore[no-any-return]

    monkeypatch.setattr(paper, "generate", limited)
    assert run_cli("generate", "-m", colored, "--seeds", "0-9", "--batch", 10, "-o", "out").status == 0
    assert sizes == [1, 2, 3, 2, 3]  # the first is the trial that tells the size
    assert len(names(here / "out")) == 10
    most[0] = 0
    result = run_cli("generate", "-m", colored, "--seeds", "0-9", "-o", "new")
    assert result == Result(4, "", "gantool: small-dcgan: there is not enough memory for one picture: free some\n")


def test_seeds_take_no_memory_of_their_own() -> None:
    tracemalloc.start()
    items = _Items(parse_seeds("0-500000,700000,800000-999999"), lambda seed: Path(f"{seed}.png"), "refuse")
    assert sum(1 for item, _ in zip(items, range(5000), strict=False) if item.target) == 5000
    assert tracemalloc.get_traced_memory()[1] < 100_000
    tracemalloc.stop()
    assert len(items) == 700_002
    assert [items[place].facts["seed"] for place in (0, 500_000, 500_001, 500_002, 700_001)] == [
        0, 500_000, 700_000, 800_000, 999_999,
    ]  # fmt: skip


def test_seeds_are_a_sequence_as_they_were_named() -> None:
    seeds = parse_seeds(" 7, 2-4,9 ")
    assert list(seeds) == [seeds[place] for place in range(len(seeds))] == [7, 2, 3, 4, 9]
    assert (str(seeds), seeds.repeated()) == ("7,2-4,9", None)
    with pytest.raises(IndexError):
        seeds[5]
    assert len(Seeds([range(MOST)])) == MOST


def stopped(number: signal.Signals, model: Path, folder: Path, *options: str) -> list[str]:
    """Send a signal to a run as soon as it writes to `out`; return the names that it printed."""
    command = [sys.executable, "-m", "gantool", "generate", "-m", str(model), *options]
    pipe, environment = subprocess.PIPE, {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=folder, env=environment) as process:
        while process.poll() is None and not names(folder):
            time.sleep(0.02)
        time.sleep(0.2)
        process.send_signal(number)
        begin = time.monotonic()
        out, err = process.communicate()
    assert time.monotonic() - begin < 5
    assert (process.returncode, err.count("\n")) == (128 + number, 1), err
    return out.splitlines()


def test_a_signal_leaves_whole_pictures_and_a_rerun_does_the_rest(colored: Path, here: Path, run_cli: Run) -> None:
    printed = stopped(signal.SIGTERM, colored, here, "--seeds", "0-9999", "-o", "out")
    there = [name for name in names(here) if not name.startswith("out/.")]  # a temporary file is what a rerun may find
    assert set(printed) <= set(there)
    assert len(there) - len(printed) <= 1  # the last may be in its place and not yet printed
    assert all(stored(here / name).shape == (16, 16, 3) for name in there)
    count = len(there)
    result = run_cli("generate", "-m", colored, "--seeds", f"0-{count}", "-o", "out", "--skip-existing")
    assert result == Result(0, f"out/seed{count:04}.png\n", f"1 of {count + 1} done, {count} skipped\n")
    assert names(here) == [*there, f"out/seed{count:04}.png"]


def test_a_signal_leaves_no_part_of_an_animation(colored: Path, here: Path) -> None:
    assert stopped(signal.SIGINT, colored, here, "--interpolate", "1,2", "--frames", "100000", "-o", "out/a.gif") == []
    assert names(here) == []


# --- from Python -------------------------------------------------------------------------------------------------------


def test_from_python_seeds_give_the_same_pictures_one_after_the_other(classed: Path) -> None:
    model = gantool.load(str(classed))
    pictures = list(model.generate(range(100, 170), label="cow"))
    assert len(pictures) == 70
    for seed, picture in list(zip(range(100, 170), pictures, strict=True))[::23]:
        assert apart(picture.color.permute(1, 2, 0).numpy(), own(classed, normal(seed)[0], 2)) <= 1
    nearer = next(model.generate([100], label=2, truncation=0.5))
    assert not torch.equal(nearer.color, pictures[0].color)


def test_from_python_mistakes_are_told_at_once(classed: Path) -> None:
    with pytest.raises(UsageError, match="did you mean cow"):
        gantool.load(str(classed)).generate([0], label="cov")
    with pytest.raises(UsageError, match="does not generate"):
        gantool.load("bicubic").generate([0])
    with pytest.raises(UsageError, match="seed -1 is not possible"):
        next(gantool.load(str(classed)).generate([-1]))
    seeds = (number for number in iter(int, 1))  # endless: only what is asked for is made
    assert next(gantool.load(str(classed)).generate(seeds)).color.shape == (1, 12, 12)
