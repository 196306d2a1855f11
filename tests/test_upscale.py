"""`gantool upscale`: what comes out, under which name and status, and what is refused."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import CHECKOUT, Result
from PIL import Image
from torch import Tensor

from gantool import enlarging, images, machine, systems, upscale, weights
from gantool.bands import Bands
from gantool.errors import InputError, OutOfMemory, UsageError
from gantool.images import Picture
from gantool.layers.resampling import imresize

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a small SPAN of scale 2 with random weights."""
    torch.manual_seed(0)
    paper = systems.load("span")
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    weights.save(path, paper.system(paper.config(scale=2, channels=8)), step=0, metrics={}, average=False, title="small")  # type: ignore[call-arg]
    return path


def picture(height: int, width: int, channels: int = 3, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (channels, height, width), dtype=torch.uint8, generator=generator)


def photo(folder: Path, name: str = "a.png", height: int = 30, width: int = 40, **options: int) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    images.write(path, Picture(picture(height, width, **options)), "png")
    return path


def stored(path: Path) -> Tensor:
    return images.read(path).color


def once(model: Path, image: Tensor) -> Tensor:
    """The model's own result for a whole image."""
    system = weights.load(str(model)).system
    with torch.inference_mode():
        values = system.upscale(image[None] / 255)[0]  # type: ignore[operator]
    return (values * 255 + 0.5).floor().clamp(0, 255).to(torch.uint8)


def bicubic(image: Tensor, scale: int) -> Tensor:
    return (imresize(image[None].double(), scale)[0] + 0.5).floor().clamp(0, 255).to(torch.uint8)


def assert_near(result: Tensor, expected: Tensor) -> None:
    """Equal but for rounding edges, which are one level."""
    assert result.shape == expected.shape
    apart = (result.int() - expected.int()).abs()
    assert apart.max() <= 1
    assert (apart > 0).float().mean() < 1e-3


def test_a_picture_is_enlarged_and_the_name_of_the_result_printed(tmp_path: Path, run_cli: Run) -> None:
    path = photo(tmp_path)
    result = run_cli("upscale", path, "-m", "bicubic")
    assert result == Result(0, f"{tmp_path / 'a_x4.png'}\n", "")
    assert_near(stored(tmp_path / "a_x4.png"), bicubic(stored(path), 4))


@pytest.mark.parametrize(
    ("scale", "size"), [("3", (90, 120)), ("2.5", (75, 100)), ("0.5", (15, 20)), ("1.05", (32, 42)), ("0.001", (1, 1))]
)
def test_any_scale_gives_the_rounded_size(scale: str, size: tuple[int, int], tmp_path: Path, run_cli: Run) -> None:
    assert run_cli("upscale", photo(tmp_path), "-m", "bicubic", "-s", scale).status == 0
    assert stored(tmp_path / f"a_x{scale}.png").shape[1:] == size


def test_a_scale_below_the_models_is_reached_by_shrinking_its_result(model: Path, tmp_path: Path, run_cli: Run) -> None:
    path = photo(tmp_path)
    run_cli("upscale", path, "-m", model, "-s", 1.5)
    expected = imresize(once(model, stored(path))[None], 0.75, (45, 60))[0]
    assert_near(stored(tmp_path / "a_x1.5.png"), expected)


def test_a_scale_beyond_the_models_goes_through_it_twice(model: Path, tmp_path: Path, run_cli: Run) -> None:
    path = photo(tmp_path, height=9, width=11)
    run_cli("upscale", path, "-m", model, "-s", 4)
    twice = once(model, once(model, stored(path)))
    assert_near(stored(tmp_path / "a_x4.png"), twice)
    run_cli("upscale", path, "-m", model, "-s", 3)
    assert_near(stored(tmp_path / "a_x3.png"), imresize(twice[None], 0.75, (27, 33))[0])


def test_without_a_scale_the_model_decides(model: Path, tmp_path: Path, run_cli: Run) -> None:
    run_cli("upscale", photo(tmp_path), "-m", model)
    assert stored(tmp_path / "a_x2.png").shape == (3, 60, 80)


@pytest.mark.parametrize("scale", ["0", "-1", "nan", "inf", "1e6"])
def test_a_wrong_scale_is_refused_before_anything_heavy_is_imported(scale: str) -> None:
    program = """
import sys
from gantool import cli
sys.argv = ["gantool", "upscale", "a.png", "-m", "bicubic", "-s", sys.argv[1]]
try:
    cli.main()
except SystemExit as end:
    print(end.code, sorted({"torch", "numpy", "PIL", "cv2"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program, scale], capture_output=True, text=True, cwd=CHECKOUT, check=True)
    assert done.stdout == "2 []\n"
    assert done.stderr.startswith(f"gantool: --scale {float(scale):g} is ")
    assert done.stderr.count("\n") == 1


def test_more_than_the_model_twice_is_refused(model: Path, tmp_path: Path, run_cli: Run) -> None:
    result = run_cli("upscale", photo(tmp_path), "-m", model, "-s", 4.1)
    assert result.status == 2
    assert "--scale 4.1 is too large for small: it reaches 4, going through it twice" in result.err
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_gray_stays_gray_and_transparency_stays(mode: str, model: Path, tmp_path: Path, run_cli: Run) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, len(mode)), np.uint8)
    Image.fromarray(pixels.squeeze()).save(tmp_path / "a.png")
    assert run_cli("upscale", tmp_path / "a.png", "-m", model).status == 0
    with Image.open(tmp_path / "a_x2.png") as result:
        assert (result.mode, result.size) == (mode, (32, 24))


def test_gray_goes_through_the_network_as_three_equal_channels(model: Path) -> None:
    gray = picture(20, 30, 1)
    loaded = weights.load(str(model))
    result = upscale.upscale(Picture(gray), loaded).color
    with torch.inference_mode():
        values = loaded.system.upscale(gray.expand(3, -1, -1)[None] / 255)[0].mean(0, keepdim=True)  # type: ignore[operator]
    assert_near(result, (values * 255 + 0.5).floor().clamp(0, 255).to(torch.uint8))


def test_the_callers_picture_is_not_changed(model: Path) -> None:
    original = Picture(picture(20, 30), picture(20, 30, 1), b"profile")
    before = original.color.clone(), original.alpha.clone() if original.alpha is not None else None
    result = upscale.upscale(original, weights.load(str(model)), 1.5)
    assert torch.equal(original.color, before[0])
    assert original.alpha is not None
    assert before[1] is not None
    assert torch.equal(original.alpha, before[1])
    assert result.icc == b"profile"


def test_a_constant_alpha_costs_no_pass(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = weights.load(str(model))
    calls: list[int] = []
    original = enlarging.tiling.run

    def count(*args: object, **options: object) -> Bands:
        calls.append(1)
        return original(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(enlarging.tiling, "run", count)
    for level in (0, 100, 255):
        calls.clear()
        result = upscale.upscale(Picture(picture(9, 8), torch.full((1, 9, 8), level, dtype=torch.uint8)), loaded)
        assert result.alpha is not None
        assert result.alpha.unique().tolist() == [level]
        assert result.alpha.shape == (1, 18, 16)
        assert len(calls) == 1


def disc(side: int = 40) -> Tensor:
    y, x = torch.meshgrid(torch.arange(side) - side / 2, torch.arange(side) - side / 2, indexing="ij")
    return ((x**2 + y**2 < (side / 3) ** 2) * 255).to(torch.uint8)[None]


def test_no_dark_fringe_comes_from_black_under_transparency() -> None:
    alpha = disc()
    white = (alpha > 0).to(torch.uint8).expand(3, -1, -1) * 255
    result = upscale.upscale(Picture(white, alpha), weights.load("lanczos-x3"))
    assert result.alpha is not None
    assert result.color[:, result.alpha[0] > 0].min() == 255


def test_what_is_opaque_or_clear_stays_exactly_so(model: Path) -> None:
    result = upscale.upscale(Picture(picture(40, 40), disc()), weights.load(str(model)))
    assert result.alpha is not None
    inside = disc(80)[0].bool()
    edge = (inside != inside.roll(1, 0)) | (inside != inside.roll(1, 1))
    near_edge = torch.nn.functional.max_pool2d(edge.float()[None], 13, 1, 6)[0] > 0
    assert (result.alpha[0][inside & ~near_edge] == 255).all()
    assert (result.alpha[0][~inside & ~near_edge] == 0).all()
    assert not near_edge.all()


def test_tiles_do_not_change_the_result_and_too_small_a_halo_does(model: Path, tmp_path: Path, run_cli: Run) -> None:
    path = photo(tmp_path, height=70, width=90)
    for name, *options in (("off", "--tile", "off"), ("small", "--tile", "20"), ("seams", "--tile", "20", "--halo", "0")):
        assert run_cli("upscale", path, "-m", model, "--name", name, *options).status == 0
    assert_near(stored(tmp_path / "small.png"), stored(tmp_path / "off.png"))
    assert ((stored(tmp_path / "seams.png").int() - stored(tmp_path / "off.png").int()).abs() > 1).any()
    for wrong in ("0", "-5", "big", "1.5"):
        result = run_cli("upscale", path, "-m", model, "--tile", wrong)
        assert result.status == 2
        assert f"--tile {wrong} is not possible: use auto, off or a number" in result.err


def test_half_precision_is_used_on_request_and_refused_where_it_is_slow(model: Path, tmp_path: Path, run_cli: Run) -> None:
    path = photo(tmp_path)
    for dtype in ("fp32", "bf16"):
        assert run_cli("upscale", path, "-m", model, "--dtype", dtype, "--name", dtype).status == 0
    apart = (stored(tmp_path / "fp32.png").int() - stored(tmp_path / "bf16.png").int()).abs()
    assert 0 < apart.float().mean() < 30
    assert run_cli("upscale", path, "-m", model, "--dtype", "fp16", "--device", "cpu").status == 2
    assert run_cli("upscale", path, "-m", model, "--device", "toaster").status == 2


def test_the_format_follows_the_name_or_the_option(tmp_path: Path, run_cli: Run) -> None:
    path = photo(tmp_path)
    formats = {}
    for name, *options in (
        ("a_x2.png",),
        ("a_x2.jpg", "--format", "jpeg"),
        ("b.jpeg", "-o", tmp_path / "b.jpeg"),
        ("c.PNG", "-o", tmp_path / "c.PNG"),
        ("d", "-o", tmp_path / "d", "--format", "jpeg"),
    ):
        assert run_cli("upscale", path, "-m", "bicubic", "-s", 2, *options).status == 0
        with Image.open(tmp_path / name) as result:
            formats[name] = result.format
    assert formats == {"a_x2.png": "PNG", "a_x2.jpg": "JPEG", "b.jpeg": "JPEG", "c.PNG": "PNG", "d": "JPEG"}
    for options in (("-o", tmp_path / "e"), ("-o", tmp_path / "e.gif"), ("-o", tmp_path / "e.png", "--format", "jpeg")):
        assert run_cli("upscale", path, "-m", "bicubic", *options).status == 2


def test_quality_decides_the_size_of_jpeg_files(tmp_path: Path, run_cli: Run) -> None:
    path = photo(tmp_path)
    for quality in (20, 100):
        run_cli("upscale", path, "-m", "bicubic", "-o", tmp_path / f"{quality}.jpg", "--quality", quality)
    assert (tmp_path / "20.jpg").stat().st_size * 3 < (tmp_path / "100.jpg").stat().st_size
    assert run_cli("upscale", path, "-m", "bicubic", "--quality", 101).status == 2


def test_a_transparent_picture_as_jpeg_is_refused_before_the_work(tmp_path: Path, run_cli: Run) -> None:
    images.write(tmp_path / "a.png", Picture(picture(8, 8), picture(8, 8, 1)))
    result = run_cli("upscale", tmp_path / "a.png", "-m", "bicubic", "--format", "jpeg")
    remedy = "use --background to fill it with a colour, or --format png"
    assert result == Result(1, "", f"gantool: {tmp_path / 'a.png'}: JPEG cannot hold transparency: {remedy}\n")
    assert len(list(tmp_path.iterdir())) == 1


def test_folders_are_mirrored_with_r(tmp_path: Path, run_cli: Run) -> None:
    photo(tmp_path, "in/a.png")
    photo(tmp_path, "in/sub/b.jpg")
    assert run_cli("upscale", tmp_path / "in", "-m", "bicubic", "-s", 2).status == 0
    assert not (tmp_path / "in_x2/sub").exists()
    assert run_cli("upscale", tmp_path / "in", "-m", "bicubic", "-s", 2, "-r", "-o", f"{tmp_path}/out/").status == 0
    assert stored(tmp_path / "out/sub/b.png").shape == (3, 60, 80)


def test_existing_outputs_stay_unless_told_otherwise(tmp_path: Path, run_cli: Run) -> None:
    path, output = photo(tmp_path), photo(tmp_path, "out.png", seed=1)
    before = output.read_bytes()
    command = ("upscale", path, "-m", "bicubic", "-o", output)
    refused = run_cli(*command)
    assert (refused.status, output.read_bytes()) == (2, before)
    assert "out.png exists already: use --overwrite or --skip-existing" in refused.err
    skipped = run_cli(*command, "--skip-existing", "--json")
    assert (skipped.status, output.read_bytes()) == (0, before)
    assert json.loads(skipped.out)["status"] == "skipped"
    assert run_cli(*command, "--skip-existing", "--overwrite").status == 2
    assert run_cli(*command, "--overwrite").status == 0
    assert output.read_bytes() != before


def test_json_says_what_was_made_and_quiet_says_nothing(tmp_path: Path, run_cli: Run) -> None:
    path = photo(tmp_path)
    line = json.loads(run_cli("upscale", path, "-m", "bicubic", "-s", 2, "--json", "--report", tmp_path / "report").out)
    assert json.loads((tmp_path / "report").read_text()) == line
    assert 0 <= line.pop("seconds") < 100
    assert 1 << 26 < line.pop("peak_bytes") < 1 << 34
    assert line == {
        "input": str(path), "status": "ok", "output": str(tmp_path / "a_x2.png"), "error": None,
        "model": "bicubic-x2", "sha256": "", "scale": 2.0, "width": 80, "height": 60, "pages": 1,
    }  # fmt: skip
    assert run_cli("upscale", path, "-m", "bicubic", "-s", 3, "-q") == Result(0, "", "")


def test_the_pixel_limit_is_an_option(tmp_path: Path, run_cli: Run) -> None:
    path = photo(tmp_path)
    result = run_cli("upscale", path, "-m", "bicubic", "--max-pixels", 1199)
    assert result.status == 1
    assert "has 40x30 pixels, more than the limit of 1199: raise it with --max-pixels" in result.err
    assert run_cli("upscale", path, "-m", "bicubic", "--max-pixels", 1200).status == 0


def bad_inputs(folder: Path) -> list[str]:
    """One of each kind that must fail; returns their names."""
    photo(folder, "good1.png")
    whole = photo(folder, "good2.jpg", seed=1).read_bytes()
    (folder / "empty.png").write_bytes(b"")
    (folder / "cut.png").write_bytes(whole[:300])
    (folder / "text.jpg").write_text("no picture")
    (folder / "noise.png").write_bytes(random.Random(0).randbytes(999))
    (folder / "page.png").write_text("<html></html>")
    (folder / "huge.png").write_bytes(whole[:16] + (b"\x7f\xff\xff\xff" * 2) + whole[24:])
    (folder / "lost.png").symlink_to("nothing")
    (folder / "folder.png").mkdir()
    os.mkfifo(folder / "pipe.png")
    bad = sorted(set(os.listdir(folder)) - {"good1.png", "good2.jpg", "folder.png"})
    Image.new("CMYK", (9, 9)).save(folder / "print.jpg")
    Image.new("I;16", (9, 9)).save(folder / "deep.png")
    Image.new("RGB", (9, 9)).save(folder / "other.png", "GIF")
    photo(folder, "one.png", 1, 1)
    photo(folder, "row.png", 1, 50)
    return bad


def test_bad_inputs_are_told_in_a_line_each_and_the_others_are_done(model: Path, tmp_path: Path, run_cli: Run) -> None:
    bad = bad_inputs(tmp_path / "in")
    result = run_cli("upscale", tmp_path / "in", "-m", model, "-o", tmp_path / "out")
    lines = result.err.splitlines()
    assert result.status == 1
    assert lines[-1] == f"7 of {7 + len(bad)} done, {len(bad)} failed"
    assert len(lines) == len(bad) + 1
    for name, line in zip(bad, lines, strict=False):
        assert line.startswith(f"gantool: {tmp_path}/in/{name} ")
    assert sorted(os.listdir(tmp_path / "out")) == [
        "deep.png", "good1.png", "good2.png", "one.png", "other.png", "print.png", "row.png",
    ]  # fmt: skip
    assert stored(tmp_path / "out/one.png").shape == (3, 2, 2)
    assert stored(tmp_path / "out/row.png").shape == (3, 2, 100)


def test_a_folder_or_a_missing_file_by_name_is_a_clean_error(tmp_path: Path, run_cli: Run) -> None:
    good = photo(tmp_path)
    result = run_cli("upscale", tmp_path / "missing.png", good, "-m", "bicubic", "-o", f"{tmp_path}/out/")
    assert result.status == 1
    assert f"gantool: {tmp_path / 'missing.png'} cannot be read: No such file or directory" in result.err
    assert os.listdir(tmp_path / "out") == ["a.png"]
    (tmp_path / "none").mkdir()
    assert run_cli("upscale", tmp_path / "none", "-m", "bicubic").status == 2


@pytest.mark.parametrize("output", ["file/out.png", "file/out/", "/dev/null/out.png", "/proc/nothing/out.png"])
def test_an_impossible_place_is_refused(output: str, tmp_path: Path, run_cli: Run) -> None:
    path = photo(tmp_path)
    (tmp_path / "file").write_text("no folder")
    result = run_cli("upscale", path, "-m", "bicubic", "-o", output if output.startswith("/") else f"{tmp_path}/{output}")
    assert result.status == 1
    assert "cannot be" in result.err
    assert result.err.count("\n") == 1
    assert sorted(os.listdir(tmp_path)) == ["a.png", "file"]


@pytest.mark.parametrize("output", ["/dev/null", "/dev/full"])
def test_a_device_is_never_written_over(output: str, tmp_path: Path, run_cli: Run) -> None:
    result = run_cli("upscale", photo(tmp_path), "-m", "bicubic", "-o", output, "--format", "png", "--overwrite")
    assert result.status == 1
    assert "exists and is not a file" in result.err
    assert Path(output).is_char_device()


def test_a_network_that_runs_wild_gives_no_black_picture(tmp_path: Path, run_cli: Run) -> None:
    torch.manual_seed(0)
    paper = systems.load("span")
    system = paper.system(paper.config(scale=2, channels=8))  # type: ignore[call-arg]
    with torch.no_grad():
        for parameter in system.parameters():
            parameter.mul_(1e3)
    weights.save(tmp_path / "wild.safetensors", system, step=0, metrics={}, average=False, title="wild")
    path = photo(tmp_path)
    result = run_cli("upscale", path, "-m", tmp_path / "wild.safetensors")
    assert result.status == 1
    assert f"gantool: {path}: the network's result is not finite" in result.err
    assert not (tmp_path / "a_x2.png").exists()


def test_a_result_beyond_the_memory_is_refused_before_the_work(
    tmp_path: Path, run_cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = photo(tmp_path)
    monkeypatch.setattr(machine, "free_memory", lambda: 80_000)
    result = run_cli("upscale", path, "-m", "bicubic", "--format", "webp")  # which is encoded as a whole
    assert result.status == 4  # nothing could be done
    assert "a.png: 160x120 pixels in one piece would take" in result.err
    small = photo(tmp_path, "small.png", 9, 9)
    assert run_cli("upscale", path, small, "-m", "bicubic", "--format", "webp", "-o", f"{tmp_path}/out/").status == 1
    assert run_cli("upscale", path, "-m", "bicubic", "--tile", "off").status == 4
    assert run_cli("upscale", path, "-m", "bicubic").status == 0
    with pytest.raises(OutOfMemory):
        upscale.upscale(images.read(path), weights.load("bicubic-x4"))


def test_a_system_that_does_not_upscale_is_named(model: Path) -> None:
    loaded = weights.load(str(model))
    other = weights.Model("painter", torch.nn.Identity(), "", {})  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="painter is of .*, which does not upscale: use .*span"):
        upscale.upscale(Picture(picture(4, 4)), other)
    with pytest.raises(UsageError, match="--scale 9 is too large for small"):
        upscale.upscale(Picture(picture(4, 4)), loaded, 9)


def test_pictures_go_through_standard_input_and_output(tmp_path: Path, run_process: Run) -> None:
    path = photo(tmp_path)
    program = [sys.executable, "-m", "gantool", "upscale", "-", "-m", "bicubic", "-s", "2"]
    done = subprocess.run(program, input=path.read_bytes(), capture_output=True, cwd=CHECKOUT, check=True)
    assert done.stderr == b""
    result = images.read(done.stdout)
    assert_near(result.color, bicubic(stored(path), 2))
    empty = run_process("upscale", "-", "-m", "bicubic", "-o", tmp_path / "b.png")
    assert (empty.status, empty.out) == (1, "")
    assert empty.err == "gantool: standard input has nothing in it: give it one picture\n"
    assert not (tmp_path / "b.png").exists()


def test_names_of_every_kind_are_processed_and_printed_harmlessly(tmp_path: Path, run_process: Run) -> None:
    names = [
        b"new\nline",
        b"[red]",
        b"[red",
        b"\x1b[31mescape",
        b"not utf-8 \xff",
        b"-dash",
        b"%s {in}",
        "right\u202eleft".encode(),
        b"n" * 248,
    ]
    source = photo(tmp_path)
    os.mkdir(tmp_path / "in")
    for name in names:
        shutil.copy(source, os.fsencode(tmp_path / "in") + b"/" + name + b".png")
        (tmp_path / "in" / "bad").with_suffix(".png").write_bytes(b"")
    result = run_process(
        "upscale", "in", "-m", "bicubic", "-s", 2, "-o", "out", cwd=tmp_path, env={"LC_ALL": "C", "PYTHONUTF8": "0"}
    )
    assert result.status == 1  # bad.png
    assert sorted(os.listdir(os.fsencode(tmp_path / "out"))) == sorted(name + b".png" for name in names)
    assert len(result.out.splitlines()) == len(names)
    assert "\x1b" not in result.out + result.err
    assert r"out/new\nline.png" in result.out
    assert "out/[red].png" in result.out
    assert r"out/not utf-8 \xff.png" in result.out
    assert result.err == "gantool: in/bad.png is empty\n9 of 10 done, 1 failed\n"
    dash = run_process("upscale", "-m", "bicubic", "-s", 2, "--", "-dash.png", cwd=tmp_path / "in")
    assert dash.status == 0
    assert (tmp_path / "in" / "-dash_x2.png").is_file()


@pytest.mark.parametrize("where", ["/dev/full", "closed"])
def test_the_work_is_done_though_nobody_takes_what_is_printed(where: str, tmp_path: Path) -> None:
    paths = [str(photo(tmp_path, f"{n}.png")) for n in range(3)]
    out = os.path.join(tmp_path, "out/")
    command = " ".join([sys.executable, "-m", "gantool", "upscale", *paths, "-m", "bicubic", "-o", out])
    redirect = ">&- 2>&-" if where == "closed" else f">{where} 2>{where}"
    status = subprocess.run(["sh", "-c", f"{command} {redirect}"], cwd=CHECKOUT, check=False).returncode
    assert status == 0
    assert len(os.listdir(out)) == 3


def start(model: Path, folder: Path, *options: str) -> subprocess.Popen[str]:
    program = [sys.executable, "-m", "gantool", "upscale", str(folder / "in"), "-m", str(model), "-o", str(folder / "out")]
    pipe = subprocess.PIPE
    return subprocess.Popen([*program, *options], stdout=pipe, stderr=pipe, text=True, cwd=CHECKOUT)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures that take some seconds together."""
    folder = tmp_path_factory.mktemp("many")
    for number in range(4):
        photo(folder, f"in/{number}.png", 300, 400, seed=number)
    return folder


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_run_within_seconds_and_keeps_what_is_finished(
    number: signal.Signals, model: Path, many: Path
) -> None:
    shutil.rmtree(many / "out", ignore_errors=True)
    with start(model, many, "-s", "4") as process:
        assert process.stdout is not None
        process.stdout.readline()  # the first one is done
        process.send_signal(number)
        begin = time.monotonic()
        _, err = process.communicate()
        assert time.monotonic() - begin < 5
    assert process.returncode == 128 + number
    assert_finished(many / "out", whole=range(1, 4))
    last = err.splitlines()[-1]
    assert last.startswith(f"gantool: stopped by {number.name}, ")
    assert last.endswith("of 4 done: --skip-existing does the rest")


def assert_finished(folder: Path, whole: Sequence[int]) -> None:
    """All that is there is whole pictures, in a number that is expected; and no temporary file."""
    names = os.listdir(folder)
    assert len(names) in whole
    for name in names:
        assert stored(folder / name).shape == (3, 1200, 1600)


def test_after_a_kill_the_next_run_completes_with_the_same_files(model: Path, many: Path) -> None:
    shutil.rmtree(many / "out", ignore_errors=True)
    with start(model, many, "-s", "4") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
    kept = {path.name: path.stat().st_mtime_ns for path in (many / "out").glob("[0-9].png")}
    left = many / "out" / ".0123456789abcdef.gantool-tmp.png"  # as a kill amid writing leaves it
    left.write_bytes(b"half")
    os.utime(left, (0, 0))
    with start(model, many, "-s", "4", "--skip-existing") as process:
        _, err = process.communicate()
    assert process.returncode == 0
    assert_finished(many / "out", whole=[4])
    assert f"{len(kept)} skipped" in err
    for name, modified in kept.items():
        assert (many / "out" / name).stat().st_mtime_ns == modified
    expected = upscale.upscale(images.read(many / "in" / "3.png"), weights.load(str(model)), 4)
    assert_near(stored(many / "out" / "3.png"), expected.color)


def test_the_plain_command_beats_bicubic_and_that_nearest_on_a_photo(shared: Path, tmp_path: Path, run_cli: Run) -> None:
    """The whole path on a real picture: colours are in order and nothing is shifted."""
    high = stored(shared / "data/kodak24/23.png")[:, 100:356, 200:456]
    images.write(tmp_path / "low.png", Picture(imresize(high[None], 1 / 4)[0]))
    errors = []
    for options in ((), ("-m", "bicubic", "--overwrite"), ("-m", "nearest", "--overwrite")):
        assert run_cli("upscale", tmp_path / "low.png", *options).status == 0
        errors.append((stored(tmp_path / "low_x4.png").float() - high.float()).square().mean().item())
    assert errors[0] < 0.8 * errors[1] < 0.8 * 0.8 * errors[2]


def test_an_error_has_its_traceback_only_with_debug(tmp_path: Path, run_cli: Run) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    assert "Traceback" not in run_cli("upscale", tmp_path / "a.png", "-m", "bicubic").err
    assert "Traceback" in run_cli("upscale", tmp_path / "a.png", "-m", "bicubic", "--debug").err
    with pytest.raises(InputError):
        images.read(tmp_path / "a.png")
