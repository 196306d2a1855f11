"""Runs in a hostile place: inputs that vanish or change, too little memory, streams that nobody reads, names full of tricks."""

from __future__ import annotations

import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from conftest import CHECKOUT, Result
from pictures import changed, noise, png_of, saved
from test_hostile import DOUBLE, assert_clean, fill

from gantool import machine, tiling
from gantool.bands import Band
from gantool.engines import Settings, load
from gantool.errors import InputError, OutOfMemory
from gantool.images import open_picture
from gantool.windows import Arrived, Span

Run = Callable[..., Result]
SMALL = png_of(noise(8, 8, 3))
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
COMMAND = [sys.executable, "-m", "gantool", "upscale", "in", *map(str, DOUBLE), "-o", "out"]
PIPE = subprocess.PIPE


# --- inputs --------------------------------------------------------------------------------------------------------------


def test_inputs_that_vanish_or_change_during_the_run_are_its_errors_and_no_others(tmp_path: Path) -> None:
    fill(tmp_path, {"0.png": SMALL, "1.png": png_of(noise(1500, 1500, 3)), "2.png": SMALL, "3.png": SMALL, "4.png": SMALL})
    with (
        written_to(tmp_path / "in/1.png"),
        subprocess.Popen([*COMMAND, "--json"], stdout=PIPE, stderr=PIPE, text=True, cwd=tmp_path, env=ENVIRONMENT) as process,
    ):
        assert process.stdout is not None
        first = process.stdout.readline()  # what comes last is taken away, now that it has begun
        (tmp_path / "in/2.png").unlink()
        (tmp_path / "in/3.png").write_bytes(SMALL[:-20])
        out, err = process.communicate(timeout=100)
    lines = assert_clean(Result(process.returncode, first + out, err), tmp_path, {f"{number}.png" for number in range(5)})
    assert [lines[f"{number}.png"]["error"] for number in range(5)] == [
        None,
        "in/1.png changed while it was read: run again when nothing writes to it",
        "in/2.png cannot be read: No such file or directory",
        "in/3.png is damaged or cut short: its end is missing",
        None,
    ]


@contextmanager
def written_to(path: Path) -> Iterator[None]:
    """Add to a file all the time."""
    ended = threading.Event()

    def write() -> None:
        while not ended.wait(0.002):
            with path.open("ab") as file:
                file.write(b"\0")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        ended.set()
        writer.join()


def test_a_file_without_permission_is_named() -> None:
    with tempfile.TemporaryDirectory() as name, ExitStack() as after:
        Path(name).chmod(0o755)  # root reads everything, so it is somebody else who looks
        path = Path(name, "a.png")
        path.write_bytes(SMALL)
        path.chmod(0)
        if os.geteuid() == 0:
            os.setresuid(65534, 65534, 0)
            after.callback(os.setresuid, 0, 0, 0)
        with pytest.raises(InputError, match="^it cannot be read: Permission denied$"):
            open_picture(path, "it", 10**6)


def failing(error: Exception) -> Iterator[Band]:
    yield np.zeros((64, 300, 3), np.uint8)
    raise error


@pytest.mark.parametrize("memory", [False, True])
def test_what_ends_a_picture_early_is_the_same_error_for_all_threads(memory: bool) -> None:
    error, kind, words = InputError("it is damaged"), InputError, "it is damaged"
    if memory:
        error, kind, words = MemoryError(), OutOfMemory, "there is not enough memory to read it"  # type: ignore[assignment]
    arrived = Arrived(failing(error), 300, 300, 1)
    for _ in range(3):
        with pytest.raises(kind, match=words):
            arrived.rows(0, 200, Span(0, 300, 0, 300))
    engine = load("bicubic-x2", Settings()).engine
    for _ in range(20):  # whichever of the threads meets the end first
        with pytest.raises(kind, match=words):
            list(tiling.run(engine, failing(error), (300, 300, 3), tile=50))


# --- memory --------------------------------------------------------------------------------------------------------------

LIMITED = """
import os, resource, sys
import cv2, PIL.BmpImagePlugin, gantool.backends.pytorch, gantool.images.decoders.vips, gantool.images.writers.png
from gantool import cli
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])  # each thread takes addresses for its stack
taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + 300 * 2**20,) * 2)
cli.main()
"""


def large_files() -> dict[str, bytes]:
    """Return pictures that have to be decoded as wholes, which takes more than 300 MB: small ones, said to be larger."""
    side, black = 9400, np.zeros((16, 16, 3), np.uint8)
    bitmap, jpeg = saved(black, "BMP", "P"), saved(black, "JPEG", progressive=True)
    place = jpeg.index(b"\xff\xc2") + 5
    webp = saved(black, "WEBP", lossless=True)
    return {
        "bitmap.png": changed(bitmap, range(18, 26), struct.pack("<ii", side, side)) + bytes(side * side),
        "progressive.png": changed(jpeg, range(place, place + 4), struct.pack(">HH", side, side)),
        "webp.png": changed(webp, range(21, 25), struct.pack("<I", side - 1 | (side - 1) << 14)),
    }


@pytest.mark.skipif(sys.platform != "linux", reason="there are no such limits")
def test_too_little_memory_for_a_picture_is_its_error_and_the_others_are_done(tmp_path: Path) -> None:
    """A limit that leaves 300 MB beside the libraries, as `ulimit -v` sets one."""
    fill(tmp_path, {"0.png": SMALL, **large_files(), "z.png": SMALL})
    command = [sys.executable, "-c", LIMITED, *COMMAND[3:], "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=ENVIRONMENT, timeout=100)
    err = done.stderr.replace("not enough memory for the usual tiles: going on with smaller ones\n", "")
    lines = assert_clean(Result(done.returncode, done.stdout, err), tmp_path, {"0.png", *large_files(), "z.png"})
    assert {name for name, line in lines.items() if line["status"] == "ok"} == {"0.png", "z.png"}
    for name in large_files():
        assert re.match(f"in/{name}: there is not enough memory", str(lines[name]["error"]))


def test_what_a_container_and_a_limit_leave_is_what_is_free(tmp_path: Path) -> None:
    told = {"memory.max": "1000\n", "memory.current": "900\n", "memory.stat": "anon 790\nactive_file 10\ninactive_file 100\n"}
    for name, text in told.items():
        (tmp_path / name).write_text(text)
    assert next(machine._below_limits(tmp_path)) == 210
    (tmp_path / "memory.max").write_text("max\n")
    assert list(machine._below_limits(tmp_path)) == list(machine._below_limits(tmp_path / "none"))
    code = (
        "import resource; from gantool import machine\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2**33, 2**33))\n"
        "print(machine.free_memory())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT, check=True)
    assert 0 < int(done.stdout) < 2**33


@pytest.mark.parametrize("words", ["can't allocate memory", "CUDA out of memory", "can't start new thread"])
def test_too_little_memory_before_the_first_picture_is_a_sentence(
    words: str, tmp_path: Path, run_cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load_nothing(*_: object) -> None:
        raise RuntimeError(words)

    monkeypatch.setattr("gantool.engines.load", load_nothing)
    (tmp_path / "a.png").write_bytes(SMALL)
    said = "gantool: there is not enough memory to begin: free some, or allow more (ulimit -v)\n"
    assert run_cli("upscale", tmp_path / "a.png", *DOUBLE) == Result(4, "", said)


# --- streams and names ---------------------------------------------------------------------------------------------------


def test_a_reader_that_goes_away_does_not_end_the_work(tmp_path: Path) -> None:
    fill(tmp_path, {f"{number}.png": SMALL for number in range(5)})
    with subprocess.Popen(COMMAND, stdout=PIPE, stderr=PIPE, text=True, cwd=tmp_path, env=ENVIRONMENT) as process:
        assert process.stdout is not None
        process.stdout.close()
        _, err = process.communicate(timeout=100)
    assert (process.returncode, err) == (0, "5 of 5 done\n")
    assert len(os.listdir(tmp_path / "out")) == 5


def test_a_picture_for_a_reader_that_goes_away_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png_of(noise(300, 300, 3)))
    command = [*COMMAND[:4], "a.png", *COMMAND[5:-1], "-"]
    with subprocess.Popen(command, stdout=PIPE, stderr=PIPE, cwd=tmp_path, env=ENVIRONMENT) as process:
        assert process.stdout is not None
        process.stdout.close()
        _, err = process.communicate(timeout=100)
    assert (process.returncode, err) == (4, b"gantool: standard output cannot be written: [Errno 32] Broken pipe\n")
    assert os.listdir(tmp_path) == ["a.png"]


@pytest.mark.parametrize("redirect", ["<&-", "</dev/null"])
def test_standard_input_without_a_picture_is_a_line(redirect: str, tmp_path: Path) -> None:
    command = " ".join([*COMMAND[:4], "-", *COMMAND[5:-1], "a.png", redirect])
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, cwd=tmp_path, env=ENVIRONMENT)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith("gantool: standard input ")
    assert os.listdir(tmp_path) == []


NAMES = {
    b":cat:": ":cat:",
    b"[reverse]": "[reverse]",
    b"[bold": "[bold",
    b"%s {in} $(x)": "%s {in} $(x)",
    b"\x1b[31m\x07": r"\x1b[31m\x07",
    b"\xff\xfe": r"\xff\xfe",
    b"a\rb\nc": r"a\rb\nc",
    "\u202e\u200b\U0001f408".encode(): "\\u202e\\u200b\U0001f408",
}
"""Bytes of names, and how they are shown."""


def test_names_print_as_they_are_on_a_terminal_too(tmp_path: Path) -> None:
    """With progress, in which each name has its turn, and a line of its own for what is wrong."""
    (tmp_path / "in").mkdir()
    for name in NAMES:
        Path(os.fsdecode(os.fsencode(tmp_path / "in") + b"/" + name + b".png")).write_bytes(b"no picture")
    terminal, end = pty.openpty()
    with subprocess.Popen(COMMAND, stdout=PIPE, stderr=end, cwd=tmp_path, env={**ENVIRONMENT, "TERM": "xterm"}) as process:
        os.close(end)
        shown = everything(terminal).decode()
    assert process.returncode == 1
    assert "8 of 8" in shown  # the progress
    for name in NAMES.values():
        assert f"gantool: in/{name}.png is not a picture" in shown, name
    assert "Traceback" not in shown


def everything(terminal: int) -> bytes:
    """Return all that is written to a terminal until nobody has it open any more."""
    parts = []
    with os.fdopen(terminal, "rb", buffering=0) as file, suppress(OSError):
        while part := file.read(4096):
            parts.append(part)
    return b"".join(parts)


def test_no_home_and_no_folder_for_temporary_files_are_needed(tmp_path: Path, run_process: Run) -> None:
    (tmp_path / "a.png").write_bytes(SMALL)
    (tmp_path / "file").touch()
    nowhere = dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "HF_HOME", "MPLCONFIGDIR"), "file/x")
    assert run_process("upscale", "a.png", cwd=tmp_path, env=nowhere) == Result(0, "a_x4.png\n", "")
