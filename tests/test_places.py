"""Where pictures come from and go to: files of every format, standard input and standard output."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Result
from expected import Run, larger, levels_apart, whole
from pictures import Pixels, noise, png_of, saved, smooth
from PIL import Image

from gantool import cli


def picture(folder: Path, height: int = 30, width: int = 40) -> Path:
    path = folder / "a.png"
    path.write_bytes(png_of(noise(height, width, 3)))
    return path


FORMATS = {"png": "PNG", "jpeg": "JPEG", "webp": "WEBP", "avif": "AVIF", "tiff": "TIFF"}
SUFFIXES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".avif": "AVIF", ".tif": "TIFF", ".tiff": "TIFF"}


def near(data: bytes | Path, form: str, expected: Pixels) -> None:
    """Check that a file is of a format, and shows what is expected as well as the format can."""
    with Image.open(io.BytesIO(data) if isinstance(data, bytes) else data) as image:
        assert image.format == form
        found = np.asarray(image)
    assert levels_apart(found, expected).mean() < (0.1 if form in ("PNG", "TIFF") else 3)


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, bytes]]:
    """Run the command with bytes as standard input; returns the status and the bytes of standard output."""

    def run(data: bytes, *args: object) -> tuple[int, bytes]:
        out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "argv", ["gantool", "upscale", *map(str, args)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return int(end.value.code or 0), out.buffer.getvalue()  # type: ignore[attr-defined]

    return run


@pytest.mark.parametrize("form", FORMATS)
def test_standard_input_goes_to_standard_output_in_every_format(form: str, pipe: Callable[..., tuple[int, bytes]]) -> None:
    pixels = smooth(40, 50)
    status, data = pipe(saved(pixels, "BMP"), "-", "-m", "bicubic", "-s", 2, "--format", form)
    assert status == 0
    near(data, FORMATS[form], larger(pixels, 2))


def test_standard_input_without_a_format_becomes_png_and_may_go_to_a_file(
    pipe: Callable[..., tuple[int, bytes]], tmp_path: Path
) -> None:
    pixels = smooth(40, 50)
    status, data = pipe(saved(pixels, "TIFF"), "-", "-m", "bicubic", "-s", 2, "-o", "-")
    assert status == 0
    near(data, "PNG", larger(pixels, 2))
    assert pipe(saved(pixels, "TIFF"), "-", "-m", "bicubic", "-s", 2, "-o", tmp_path / "b.jpg", "-q") == (0, b"")
    near(tmp_path / "b.jpg", "JPEG", larger(pixels, 2))


def test_a_file_may_go_to_standard_output(pipe: Callable[..., tuple[int, bytes]], tmp_path: Path) -> None:
    path = picture(tmp_path)
    status, data = pipe(b"", path, "-m", "bicubic", "-s", 2, "-o", "-", "--format", "tiff")
    assert status == 0
    near(data, "TIFF", larger(whole(path), 2))
    assert list(tmp_path.iterdir()) == [path]


def test_objects_and_a_picture_do_not_share_standard_output(tmp_path: Path, run_cli: Run) -> None:
    result = run_cli("upscale", picture(tmp_path), "-m", "bicubic", "-o", "-", "--json")
    assert (result.status, result.out) == (2, "")
    assert "--json and the picture would both go to standard output: use --report, or name a file with -o" in result.err


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".TIF", ".WebP"])
def test_the_outputs_name_decides_its_format(suffix: str, tmp_path: Path, run_cli: Run) -> None:
    pixels, made = smooth(40, 50), tmp_path / f"b{suffix}"
    (tmp_path / "a.png").write_bytes(png_of(pixels))
    assert run_cli("upscale", tmp_path / "a.png", "-m", "bicubic", "-s", 2, "-o", made) == Result(0, f"{made}\n", "")
    near(made, SUFFIXES[suffix.lower()], larger(pixels, 2))


@pytest.mark.parametrize("form", FORMATS)
def test_quality_matters_where_something_is_lost(form: str, tmp_path: Path, run_cli: Run) -> None:
    path, sizes = picture(tmp_path, height=60, width=60), []
    for quality in (10, 60, 95):
        result = run_cli("upscale", path, "-m", "bicubic", "-s", 2, "--format", form, "--quality", quality, "--overwrite")
        sizes.append(Path(result.out.strip()).stat().st_size)
    assert sizes == sorted(sizes)
    assert (sizes[0] * 2 < sizes[2]) == (form not in ("png", "tiff"))
