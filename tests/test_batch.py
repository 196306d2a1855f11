"""One bad input does not cost the others, everything is told once, and the status says what became of it all."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from conftest import CHECKOUT, Result
from PIL import Image

from gantool import batch
from gantool.batch import Reporting
from gantool.errors import InputError, OutOfMemory, RunError, Stopped, UsageError
from gantool.outputs import Item, check_writable

Run = Callable[..., Result]


def make(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((60, 60), 50).convert("RGB").save(path, "PNG")


def items_of(folder: Path, *names: str) -> list[Item]:
    make(folder, *names)
    return [Item(folder / name, folder / "out" / name) for name in names]


def copy(item: Item, advance: Callable[[float], None]) -> dict[str, int]:
    assert item.source is not None
    assert item.target is not None
    if item.source.stem.startswith("bad"):
        raise InputError(f"{item.source} is bad")
    item.target.write_bytes(item.source.read_bytes())
    return {"bytes": item.target.stat().st_size}


def test_errors_do_not_stop_the_others_and_everything_is_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path, "out/d.png")
    there = Item(tmp_path / "a.png", tmp_path / "out/d.png", "skip")
    items = [*items_of(tmp_path, "a.png", "bad.png", "c.png"), there]
    assert batch.run(items, copy, Reporting(as_json=True, file=tmp_path / "report")) == 1
    said = capsys.readouterr()
    lines = [json.loads(line) for line in said.out.splitlines()]
    assert [line["status"] for line in lines] == ["ok", "error", "ok", "skipped"]
    assert lines[0] | {"seconds": 0, "peak_bytes": 0} == {
        "input": str(tmp_path / "a.png"), "status": "ok", "output": str(tmp_path / "out/a.png"), "error": None, "seconds": 0,
        "peak_bytes": 0, "bytes": (tmp_path / "a.png").stat().st_size,
    }  # fmt: skip
    assert all(line["peak_bytes"] > 1 << 20 for line in lines)
    assert lines[1]["error"] == f"{tmp_path / 'bad.png'} is bad"
    assert (tmp_path / "report").read_text() == said.out
    assert said.err.splitlines() == [f"gantool: {tmp_path / 'bad.png'} is bad", "2 of 4 done, 1 skipped, 1 failed"]
    assert sorted(os.listdir(tmp_path / "out")) == ["a.png", "c.png", "d.png"]


def test_a_report_is_added_to_and_never_written_over_a_picture(tmp_path: Path) -> None:
    items = items_of(tmp_path, "a.png")
    (tmp_path / "report").write_text("before\n")
    batch.run(items, copy, Reporting(file=tmp_path / "report"))
    assert (tmp_path / "report").read_text().startswith('before\n{"input"')
    for path in (tmp_path / "a.png", tmp_path / "out" / "a.png"):
        before = path.read_bytes()
        with pytest.raises(UsageError, match="is an input or output"):
            batch.run(items, copy, Reporting(file=path))
        assert path.read_bytes() == before


def test_quiet_prints_only_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    batch.run(items_of(tmp_path, "a.png", "bad.png"), copy, Reporting(quiet=True))
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == f"gantool: {tmp_path / 'bad.png'} is bad\n"


def failing(error: Exception) -> batch.Work:
    def work(item: Item, advance: Callable[[float], None]) -> dict[str, int]:
        raise error

    return work


def test_the_status_says_what_went_wrong(tmp_path: Path) -> None:
    items = items_of(tmp_path, "a.png", "b.png")
    assert batch.run(items, copy, Reporting()) == 0
    assert batch.run(items, failing(InputError("no")), Reporting()) == 1
    for error in (OutOfMemory("no"), MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")):
        assert batch.run(items, failing(error), Reporting()) == 4  # nothing could be done
    one_skipped = [Item(tmp_path / "a.png", tmp_path / "a.png", "skip"), items[1]]
    assert batch.run(one_skipped, failing(OutOfMemory("no")), Reporting()) == 1


def test_a_fault_of_ours_is_one_line_and_does_not_cost_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    items = items_of(tmp_path, "a.png", "b.png")
    seen = []

    def work(item: Item, advance: Callable[[float], None]) -> dict[str, int]:
        seen.append(item)
        if len(seen) == 1:
            raise ZeroDivisionError("of\nours")
        return {}

    assert batch.run(items, work, Reporting()) == 1
    said = capsys.readouterr().err
    assert len(seen) == 2
    assert r"a.png failed unexpectedly (ZeroDivisionError: of\nours): --debug shows where" in said
    assert "Traceback" not in said
    batch.run(items[:1], failing(ZeroDivisionError()), Reporting(debug=True))
    assert "Traceback" in capsys.readouterr().err


def test_a_full_disk_stops_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RunError, match="disk full"):
        batch.run(items_of(tmp_path, "a.png", "b.png", "c.png"), failing(RunError("disk full")), Reporting())
    assert capsys.readouterr().err == "0 of 3 done, 1 failed, 2 not tried\n"


def test_the_place_is_tried_before_the_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path, "a.png")
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    for place in ("file/a.png", "link/a.png", "folder.png", "pipe.png", "n" * 256, f"{'n' * 256}/a.png"):
        for existing in ("overwrite", "skip"):
            item = Item(tmp_path / "a.png", tmp_path / place, existing)  # type: ignore[arg-type]
            assert batch.run([item], failing(AssertionError("begun")), Reporting()) == 1
            assert "cannot be written: " in capsys.readouterr().err
    for place in ("file", "link"):
        with pytest.raises(InputError, match="is not a folder"):
            check_writable(tmp_path / place / "deeper")
    check_writable(tmp_path / "new" / "deeper")
    assert sorted(os.listdir(tmp_path)) == ["a.png", "file", "folder.png", "link", "pipe.png"]


def test_what_appears_during_a_run_is_refused_skipped_or_replaced(tmp_path: Path) -> None:
    """Existing outputs are looked for again when an item's turn comes, not only in the plan."""
    make(tmp_path, "a.png", "b.png", "other.png")
    (tmp_path / "out").mkdir()
    other = (tmp_path / "other.png").read_bytes()

    def work(item: Item, advance: Callable[[float], None]) -> dict[str, int]:
        (tmp_path / "out/b.png").write_bytes(other)  # by somebody else, during the work on a.png
        return copy(item, advance)

    for existing, status, result in (("refuse", 1, other), ("skip", 0, other), ("overwrite", 0, b"")):
        items = [Item(tmp_path / name, tmp_path / "out" / name, existing) for name in ("a.png", "b.png")]  # type: ignore[arg-type]
        assert batch.run(items, work, Reporting(file=tmp_path / "report")) == status
        assert (tmp_path / "out/b.png").read_bytes() == (result or (tmp_path / "b.png").read_bytes())
        for path in (tmp_path / "out").iterdir():
            path.unlink()
    states = [json.loads(line)["status"] for line in (tmp_path / "report").read_text().splitlines()]
    assert states == ["ok", "error", "ok", "skipped", "ok", "ok"]


def test_with_fail_fast_the_first_error_is_the_last(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    items = items_of(tmp_path, "a.png", "bad1.png", "c.png", "bad2.png")
    assert batch.run(items, copy, Reporting(), fail_fast=True) == 1
    said = capsys.readouterr()
    assert said.err.splitlines() == [f"gantool: {tmp_path}/bad1.png is bad", "1 of 4 done, 1 failed, 2 not tried"]
    assert os.listdir(tmp_path / "out") == ["a.png"]
    assert batch.run(items[2:3] * 2, failing(OutOfMemory("no")), Reporting(), fail_fast=True) == 4  # the error's own


def test_fail_fast_is_an_option(tmp_path: Path, run_process: Run) -> None:
    make(tmp_path, "in/b.png")
    (tmp_path / "in/a.png").touch()
    result = run_process("upscale", "in", "-m", "bicubic", "-o", "out", "--fail-fast", cwd=tmp_path)
    assert (result.status, result.out) == (1, "")
    assert result.err == "gantool: in/a.png is empty\n0 of 2 done, 1 failed, 1 not tried\n"
    assert run_process("upscale", "in", "-m", "bicubic", "-o", "out", cwd=tmp_path).out == "out/b.png\n"


def test_an_empty_shard_is_no_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert batch.run([], copy, Reporting(file=tmp_path / "report")) == 0
    assert capsys.readouterr() == ("", "nothing to do: there are fewer pictures than shards, and this one has none\n")
    assert batch.run([], copy, Reporting(quiet=True)) == 0
    assert capsys.readouterr() == ("", "")


def test_a_signal_goes_through_work_that_takes_every_exception_for_a_fault(tmp_path: Path) -> None:
    def work(item: Item, advance: Callable[[float], None]) -> dict[str, int]:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        except Exception:
            pytest.fail("taken for a fault")
        return {}

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Stopped, match="stopped by SIGTERM, 0 of 2 done: --skip-existing does the rest") as stopped:
        batch.run(items_of(tmp_path, "a.png", "b.png"), work, Reporting(file=tmp_path / "report"))
    assert stopped.value.status == 143
    assert signal.getsignal(signal.SIGTERM) == before
    lines = [json.loads(line) for line in (tmp_path / "report").read_text().splitlines()]
    assert [(line["status"], line["error"][:18]) for line in lines] == [("error", "stopped by SIGTERM")]


def test_a_signal_that_is_ignored_stays_ignored(tmp_path: Path) -> None:
    def work(item: Item, advance: Callable[[float], None]) -> dict[str, int]:
        os.kill(os.getpid(), signal.SIGHUP)
        return copy(item, advance)

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        assert batch.run(items_of(tmp_path, "a.png"), work, Reporting()) == 0
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_report_on_a_full_disk_ends_the_run_in_a_sentence(tmp_path: Path, run_process: Run) -> None:
    make(tmp_path, "in/a.png", "in/b.png")
    options = ("-m", "bicubic", "-o", "out", "--report", "/dev/full")
    result = run_process("upscale", "in", *options, cwd=tmp_path)
    assert result.status == 4
    assert result.err.splitlines() == [
        "1 of 2 done, 1 not tried",
        "gantool: disk full while writing /dev/full: free some space and run again with --skip-existing",
    ]
    assert os.listdir(tmp_path / "out") == ["a.png"]


@pytest.mark.skipif(shutil.which("unshare") is None, reason="no small disk can be made here")
def test_a_full_disk_is_one_sentence_and_leaves_whole_files_only(tmp_path: Path) -> None:
    make(tmp_path, *(f"in/{n}.png" for n in range(4)))
    (tmp_path / "out").mkdir()
    disk = "mount -t tmpfs -o size=100k none out && echo old >out/1.png && echo old >out/3.png || exit 99"
    run = f"{sys.executable} -m gantool upscale in -m bicubic -o out --overwrite"
    script = f"{disk}; {run}; echo $?; cat out/1.png out/3.png; ls -A out; base64 -w0 out/0.png"
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True, cwd=tmp_path, env=environment, check=False
    )
    if done.returncode == 99 or done.stderr.startswith("unshare:"):
        pytest.skip("no small disk can be made here")
    name, status, *rest, first = done.stdout.splitlines()
    assert (name, status, rest) == ("out/0.png", "4", ["old", "old", "0.png", "1.png", "3.png"])
    with Image.open(BytesIO(base64.b64decode(first))) as picture:
        picture.load()
    assert done.stderr.splitlines() == [
        "1 of 4 done, 1 failed, 2 not tried",
        "gantool: disk full while writing out/1.png: free some space and run again with --skip-existing",
    ]


# --- memory --------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process's figure may begin with its parent's")
def test_peak_memory_is_this_processs_own_and_keeps_the_most() -> None:
    code = "from gantool.batch import peak_memory as p; a = p(); b = bytearray(b'1') * (100 << 20); del b; print(a, p() - a)"
    ballast = bytearray(b"1") * (300 << 20)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=CHECKOUT, check=True)
    start, more = map(int, done.stdout.split())
    assert start < len(ballast)
    assert 95 << 20 < more < 110 << 20


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_pictures(tmp_path: Path, run_process: Run) -> None:
    make(tmp_path, *(f"in/{number:03}.png" for number in range(300)))
    result = run_process("upscale", "in", "-m", "bicubic", "-s", 2, "-o", "out", "--json", cwd=tmp_path)
    peaks = [json.loads(line)["peak_bytes"] for line in result.out.splitlines()]
    assert len(peaks) == 300
    assert peaks[-1] <= 1.02 * peaks[99]
