"""Several runs that share one output folder do each picture once, whatever becomes of one of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from conftest import CHECKOUT
from PIL import Image

PROGRAM = """
import sys, time
from pathlib import Path
from gantool import batch, errors, files, outputs

report, held = sys.argv[1:]

def work(item, advance):
    with files.atomic(item.target) as temporary:
        temporary.write_bytes(item.source.read_bytes())
        if item.source.name == held:
            print("holding", flush=True)
            sys.stdin.readline()
        time.sleep(0.01)
    return {}

naming = outputs.Naming("out", "{stem}", None, {}, lambda source: ".png")
items = outputs.plan(outputs.expand(["in"], False), naming, "skip")
print("ready", flush=True)
sys.stdin.readline()
try:
    sys.exit(batch.run(items, work, batch.Reporting(quiet=True, file=Path(report))))
except errors.Stopped as stopped:
    sys.exit(stopped.status)
"""
PIPE, ENVIRONMENT = subprocess.PIPE, {**os.environ, "PYTHONPATH": str(CHECKOUT)}


class Runs:
    """Processes that fill `out` from `in`, each with a report of its own; they wait for a line before they begin."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[str]] = []

    def start(self, held: str = "") -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PROGRAM, f"report{len(self.processes)}", held]
        process = subprocess.Popen(command, stdin=PIPE, stdout=PIPE, text=True, cwd=self.folder, env=ENVIRONMENT)
        self.processes.append(process)
        expect(process, "ready")
        return process

    def states(self, number: int) -> dict[str, str]:
        """What became of each input, by its name."""
        try:
            lines = [json.loads(line) for line in (self.folder / f"report{number}").read_text().splitlines()]
        except FileNotFoundError:
            return {}
        assert len({line["input"] for line in lines}) == len(lines)
        return {os.path.basename(line["input"]): line["status"] for line in lines}

    def wait_for(self, number: int, count: int) -> dict[str, str]:
        """Wait until a process has told of so many items."""
        end = time.monotonic() + 30
        while len(self.states(number)) < count and time.monotonic() < end:
            time.sleep(0.05)
        return self.states(number)


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def expect(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == f"{word}\n"


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    several = Runs(tmp_path)
    yield several
    for process in several.processes:
        process.kill()
        process.communicate()


def make(folder: Path, count: int) -> list[str]:
    """Make pictures; return their names."""
    names = [f"{number:02}.png" for number in range(count)]
    (folder / "in").mkdir()
    for name in names:
        Image.effect_noise((60, 60), 50).save(folder / "in" / name)
    return names


def assert_copied(folder: Path, expected: Sequence[str]) -> None:
    assert sorted(os.listdir(folder / "out")) == sorted(expected)
    assert all((folder / "out" / name).read_bytes() == (folder / "in" / name).read_bytes() for name in expected)


def test_several_runs_that_share_a_folder_do_each_picture_once(tmp_path: Path, runs: Runs) -> None:
    names = make(tmp_path, 40)
    processes = [runs.start() for _ in range(3)]
    for process in processes:
        go(process)
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    states = [runs.states(number) for number in range(3)]
    for name in names:
        assert sorted(state[name] for state in states) == ["ok", "skipped", "skipped"]
    assert_copied(tmp_path, names)


def test_what_another_run_is_at_is_done_last_and_not_again(tmp_path: Path, runs: Runs) -> None:
    names = make(tmp_path, 5)
    first, second = runs.start(held="00.png"), runs.start()
    go(first)
    expect(first, "holding")
    go(second)
    assert runs.wait_for(1, 4) == dict.fromkeys(names[1:], "ok")
    time.sleep(0.2)
    assert second.poll() is None  # it waits, so that at its end all is there
    go(first)
    assert (first.wait(30), second.wait(30)) == (0, 0)
    assert runs.states(1)["00.png"] == "skipped"
    assert runs.states(0) == {"00.png": "ok", **dict.fromkeys(names[1:], "skipped")}
    assert_copied(tmp_path, names)


def test_what_a_killed_run_was_at_is_done_by_the_other_and_its_leftovers_by_the_next(tmp_path: Path, runs: Runs) -> None:
    names = make(tmp_path, 5)
    first, second = runs.start(held="00.png"), runs.start()
    go(first)
    expect(first, "holding")
    go(second)
    assert len(runs.wait_for(1, 4)) == 4
    first.kill()
    assert second.wait(30) == 0
    assert runs.states(1) == dict.fromkeys(names, "ok")
    third = runs.start()
    go(third)
    assert third.wait(30) == 0
    assert runs.states(2) == dict.fromkeys(names, "skipped")
    assert_copied(tmp_path, names)


def test_a_run_that_waits_for_another_stops_at_a_signal(tmp_path: Path, runs: Runs) -> None:
    names = make(tmp_path, 2)
    first, second = runs.start(held="00.png"), runs.start()
    go(first)
    expect(first, "holding")
    go(second)
    runs.wait_for(1, 1)
    second.send_signal(signal.SIGINT)
    assert second.wait(5) == 130
    go(first)
    assert first.wait(30) == 0
    assert_copied(tmp_path, names)


def test_two_commands_share_a_folder(tmp_path: Path) -> None:
    names = make(tmp_path, 12)
    command = [sys.executable, "-m", "gantool", "upscale", "in", "-m", "bicubic", "-o", "out", "--skip-existing", "--json"]
    both = [subprocess.Popen(command, stdout=PIPE, stderr=PIPE, text=True, cwd=tmp_path, env=ENVIRONMENT) for _ in range(2)]
    told: list[dict[str, Any]] = []
    for process in both:
        out, err = process.communicate(timeout=100)
        assert process.returncode == 0, err
        told += map(json.loads, out.splitlines())
    assert sorted(line["output"] for line in told if line["status"] == "ok") == [f"out/{name}" for name in names]
    assert len(told) == 24
    assert sorted(os.listdir(tmp_path / "out")) == names
