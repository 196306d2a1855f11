"""Row by row of what a run meets, and what it then does; here damaged files and foreign ones, from the command line.

Proved elsewhere, by row of the list of faults:

- 1, 2, 3 files as such, without the command: test_reading_hostile
- 3 traps: test_hostile_traps; 4 results beyond memory or a format: test_upscale, test_sizes
- 5 sizes: test_sizes; 6 kinds of pixels: test_reading, test_reading_kinds, test_reading_tiff, test_fidelity
- 7, 8 EXIF and profiles: test_reading, test_metadata, test_carried; 9 animations, pages: test_reading_animations, test_pages
- 10 links, pipes, devices: test_inputs; 11 places out of reach: test_inputs, test_upscale, test_hostile_runs
- 12 full disks: test_batch, test_writing; 13, 14 inputs as outputs, collisions: test_outputs
- 15 outputs that exist: test_upscale, test_batch, and what counts as whole: test_images
- 16 devices as outputs: test_files, test_batch, test_upscale
- 17 names: test_upscale, test_inputs, test_outputs, test_hostile_runs; 18 streams: test_upscale, test_hostile_runs
- 19, 20 signals and kills: test_upscale, test_batch, test_writing, test_sharing; 21 shared folders: test_sharing
- 22 memory: test_tiling, test_statistics (the network's), test_hostile_runs (all of it); 23: test_hub, test_hostile_runs
- 24 inputs that change: test_reading_hostile, test_hostile_runs; 25 empty folders: test_inputs
- 26 options: test_upscale, test_options, test_sizes
"""

from __future__ import annotations

import json
import os
import re
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from conftest import Result
from hostile import EXTREME, faults, kinds, lied, sealed
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import chunk, frames, metadata, png_of, whole
from PIL import Image

from gantool.errors import InputError
from gantool.images import open_picture

Run = Callable[..., Result]
Lines = dict[str, dict[str, object]]  # what --json says, by the input's name
DOUBLE = ("-m", "nearest", "-s", 2)

NOTICES = re.compile(
    r"in/[^:]+: (its (EXIF|XMP) is damaged( \(.*\))?,? and was left out"
    r"|some of its values lie outside of 0 to 1, and were clipped"
    r"|its colour profile is damaged or for other colours, and was left out)"
    r"|in/[^:]+ is an animated AVIF picture: only its still image is taken"
)
"""What may be said of a picture that is done all the same."""


def fill(folder: Path, files: Mapping[str, bytes]) -> None:
    (folder / "in").mkdir()
    for name, data in files.items():
        (folder / "in" / name).write_bytes(data)


def assert_clean(result: Result, folder: Path, names: set[str]) -> Lines:
    """Check that each input was either done, as is stated, or refused in a line and left nothing, and that all is told once."""
    told = [json.loads(line) for line in result.out.splitlines()]
    lines = {os.path.basename(line["input"]): line for line in told}
    assert (len(told), lines.keys()) == (len(names), names)
    refused = [line["error"] for line in told if line["status"] == "error"]
    *said, summary = result.err.splitlines()
    assert [line for line in said if not NOTICES.fullmatch(line)] == [f"gantool: {error}" for error in refused]
    assert summary == f"{len(told) - len(refused)} of {len(told)} done" + (f", {len(refused)} failed" if refused else "")
    for line in told:
        if line["status"] == "error":
            assert line["error"].startswith(f"{line['input']}"), line
            assert "unexpected" not in line["error"], line
            assert line["output"] is None
    done = {line["output"]: line for line in told if line["status"] == "ok"}
    assert {f"out/{name}" for name in os.listdir(folder / "out")} == done.keys()
    for output, line in done.items():
        with Image.open(folder / output) as picture:
            assert (*picture.size, getattr(picture, "n_frames", 1)) == (line["width"], line["height"], line["pages"])
            for number in range(line["pages"]):
                picture.seek(number)
                picture.load()
    assert result.status == (1 if refused and done else 0 if done else 1)
    return lines


def suffix(kind: str) -> str:
    """Return an extension with which a kind's pages can all be stored."""
    return ".tif" if "tiff" in kind else ".png"


@pytest.mark.slow
def test_damaged_files_of_every_kind_are_refused_in_a_line_or_done_as_stated(tmp_path: Path, run_process: Run) -> None:
    """In a process of its own, so that nothing that a library writes to standard error stays unseen."""
    files, said = {}, {}
    for row, (kind, data) in enumerate(kinds().items()):
        for column, (fault, damaged) in enumerate(faults(kind, data)):
            name = f"{row:02}-{column:02}{suffix(kind)}"
            files[name], said[name] = damaged, (kind, fault)
    fill(tmp_path, files)
    result = run_process("upscale", "in", *DOUBLE, "-o", "out", "--json", "--max-pixels", 10**6, cwd=tmp_path)
    lines = assert_clean(result, tmp_path, set(files))
    taken = {said[name] for name, line in lines.items() if line["status"] == "ok"}
    assert {kind for kind, fault in taken if fault == "cut"} == set()
    assert {kind for kind, fault in taken if fault == "flipped" and "png" in kind} == set()
    strict = {kind for kind in kinds() if kind.startswith(("avif", "jpeg 2000")) or "text" in kind}  # up to the last byte
    strict -= {"jpeg 2000, bare", "jpeg 2000, precincts"}
    assert {kind for kind, fault in taken if fault == "appended"} - strict == kinds().keys() - strict
    assert max(line["seconds"] for line in lines.values()) < 5  # type: ignore[type-var,operator]


def test_sound_files_of_every_kind_are_done_whatever_they_are_called(tmp_path: Path, run_process: Run) -> None:
    """By content, with names of the kinds before them; the extension of TIFF is kept, as only that takes pages."""
    sound = kinds()
    others = [".jpg", ".webp", ".gif", ".bmp", ".avif", ".ppm", ".jp2", ".png"]
    files = {}
    for row, (kind, data) in enumerate(sound.items()):
        files[f"{row:02}" + (".tif" if kind == "tiff, pages" else others[row % len(others)])] = data
    fill(tmp_path, files)
    result = run_process("upscale", "in", *DOUBLE, "-o", "out", "--json", cwd=tmp_path)
    lines = assert_clean(result, tmp_path, set(files))
    assert {line["status"] for line in lines.values()} == {"ok"}
    for (name, line), data in zip(sorted(lines.items()), sound.values(), strict=True):
        pixels, _ = frames(data)
        assert (line["pages"], line["height"], line["width"]) == (len(pixels), *np.multiply(pixels[0].shape[:2], 2)), name


FOREIGN = {
    "svg": b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
    "xml bomb": b"<!DOCTYPE x [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;'>]><svg>&b;</svg>",
    "html": b"\n\n<!doctype html><title>404</title>",
    "pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj",
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%touch${IFS}shot) (r) file\n",
    "eps with a preview": b"\xc5\xd0\xd3\xc6" + bytes(60),
    "icns": b"icns\0\0\0\x10ic07\0\0\0\x08",
    "psd": b"8BPS\0\1" + bytes(60),
    "xcf": b"gimp xcf v011\0" + bytes(60),
    "ico": b"\0\0\1\0\1\0" + bytes(60),
    "cursor": b"\0\0\2\0\1\0" + bytes(60),
    "heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(60),
    "jpeg xl": b"\xff\x0a" + bytes(60),
    "movie": b"\0\0\0\x18ftypmp42\0\0\0\0isommp42" + bytes(60),
    "exr": b"v/1\1" + bytes(60),
    "radiance": b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 1 +X 1\n" + bytes(4),
    "qoi": b"qoif" + bytes(60),
    "pam": b"P7\nWIDTH 1\nHEIGHT 1\nDEPTH 1\nMAXVAL 255\nENDHDR\n0",
    "portable float": b"PF\n1 1\n-1.0\n" + bytes(12),
    "fits": b"SIMPLE  =                    T" + b" " * 60,
    "nifti": b"\x5c\1\0\0" + bytes(400),
    "matlab": b"MATLAB 5.0 MAT-file" + bytes(110),
    "libvips": b"\xb6\xa6\xf2\x08" + bytes(60),
    "magick script": b"push graphic-context\nviewbox 0 0 9 9\nimage over 0,0 0,0 'msl:x'\npop graphic-context",
    "csv": b"1,2,3\n4,5,6\n",
    "dds": b"DDS |\0\0\0" + bytes(120),
    "sgi": b"\1\xda\0\1\0\3" + bytes(500),
    "sun": b"\x59\xa6\x6a\x95" + bytes(60),
    "pcx": b"\x0a\5\1\x08" + bytes(124),
    "tga": b"\0\0\2" + bytes(9) + b"\1\0\1\0\x18\0" + bytes(3),
    "dicom": bytes(128) + b"DICM" + bytes(60),
    "wmf": b"\xd7\xcd\xc6\x9a" + bytes(60),
    "flif": b"FLIF" + bytes(60),
    "zip": b"PK\3\4" + bytes(60),
    "gzip": b"\x1f\x8b\x08" + bytes(60),
    "program": b"\x7fELF" + bytes(60),
    "pickle": b"\x80\4\x8c\5posix\x94\x8c\6system\x94\x93\x94\x8c\6touch x\x94\x85\x94R\x94.",
    "checkpoint": b'\x40\0\0\0\0\0\0\0{"weight":{"dtype":"F32"',
    "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n",
    "one byte": b"\x89",
    "zeros": bytes(5000),
    "text": "No picture, but a text; \U0001f408\n".encode(),
}


def test_what_is_no_picture_is_never_handed_to_a_decoder(tmp_path: Path, run_cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = {f"{number:02}{ending}": data for number, data in enumerate(FOREIGN.values()) for ending in (".png", ".tif")}
    fill(tmp_path, {**names, "sound.png": png_of(np.zeros((4, 4, 3), np.uint8))})
    result = run_cli("upscale", "in", *DOUBLE, "-o", "out", "--json")
    lines = assert_clean(result, tmp_path, {*names, "sound.png"})
    for name in names:
        kind = list(FOREIGN)[int(name[:2])]
        words = "holds HTML, SVG or XML|is a git-lfs pointer|is a .* file: convert it to PNG first|is not a picture of a format"
        assert re.match(f"in/{name} ({words})", str(lines[name]["error"])), (kind, lines[name])
    assert sorted(os.listdir(tmp_path)) == ["in", "out"]


@pytest.mark.parametrize("form", ["png", "jpeg", "webp", "avif", "tiff"])
def test_a_resolution_that_makes_no_sense_is_left_out(form: str, tmp_path: Path, run_cli: Run) -> None:
    for metres in ((1, 1), (1, 4000), (0xFFFFFFFF, 0xFFFFFFFF)):
        pixels = np.zeros((16, 16, 3), np.uint8)
        (tmp_path / "a.png").write_bytes(png_of(pixels, chunk(b"pHYs", struct.pack(">IIB", *metres, 1))))
        output = tmp_path / f"out.{form}"
        assert run_cli("upscale", tmp_path / "a.png", *DOUBLE, "-o", output, "--overwrite").err == ""
        assert metadata(output.read_bytes()).dpi is None


@settings(max_examples=1500, deadline=5000, database=None, derandomize=True)
@given(
    number=st.integers(0, 69),
    lies=st.lists(
        st.tuples(st.integers(0, 700), st.sampled_from([1, 2, 4, 8]), st.sampled_from(EXTREME), st.booleans()),
        min_size=1,
        max_size=3,
    ),
    which=st.integers(0, 7),
)
def test_files_that_lie_are_pictures_of_their_stated_size_or_refused(
    number: int, lies: list[tuple[int, int, int, bool]], which: int
) -> None:
    kind, data = sorted(kinds().items())[number % len(kinds())]
    for place, size, value, big in lies:
        data = sealed(data, which, place, size, value) if "png" in kind else lied(data, place, size, value, big)
    refusal = "it "
    try:
        with open_picture(data, "it", 10**6) as reader:
            for number, page in list(enumerate(reader.pages))[:10]:
                whole(reader.bands(number), page)
    except InputError as error:
        refusal = str(error)
    assert refusal.startswith("it ")
    assert "\n" not in refusal
