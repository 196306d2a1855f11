"""The one writer: a file is there whole or not at all, whatever happens while it is written."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gantool import files
from gantool.errors import InputError, RunError


def write(path: Path, text: str) -> None:
    with files.atomic(path) as temporary:
        temporary.write_text(text)


def write_half(path: Path, error: BaseException) -> None:
    with files.atomic(path) as temporary:
        temporary.write_text("half")
        raise error


def test_a_file_is_written_with_the_usual_permissions_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write(tmp_path / "a.txt", "new")
    finally:
        os.umask(before)
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "new"
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_an_error_while_writing_leaves_the_old_file(error: BaseException, tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "old")
    with pytest.raises(type(error)):
        write_half(tmp_path / "a.txt", error)
    assert [p.read_text() for p in tmp_path.iterdir()] == ["old"]


def test_a_full_disk_ends_the_run_and_other_faults_only_the_file(tmp_path: Path) -> None:
    for number, kind, words in ((errno.ENOSPC, RunError, "disk full"), (errno.EIO, InputError, "cannot be written")):
        with pytest.raises(kind, match=words):
            write_half(tmp_path / "a.txt", OSError(number, os.strerror(number)))
        assert list(tmp_path.iterdir()) == []


def test_only_files_are_ever_replaced(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "folder", tmp_path / "pipe", Path("/dev/null"), tmp_path / "missing" / "a.txt"):
        with pytest.raises(InputError, match="cannot be written"):
            write(path, "text")
    assert {p.name for p in tmp_path.iterdir()} == {"folder", "pipe"}
    assert (tmp_path / "pipe").is_fifo()


def test_the_longest_name_is_possible_and_one_beyond_a_clean_error(tmp_path: Path) -> None:
    write(tmp_path / ("n" * 251 + ".txt"), "text")
    with pytest.raises(InputError, match="cannot be written: File name too long"):
        write(tmp_path / ("n" * 252 + ".txt"), "text")
    assert len(list(tmp_path.iterdir())) == 1


def test_what_killed_runs_left_is_removed_and_what_living_ones_write_is_not(tmp_path: Path) -> None:
    program = """
import sys, time
from pathlib import Path
from gantool import files
with files.atomic(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print("written", flush=True)
    time.sleep(60)
"""
    command = [sys.executable, "-c", program]
    writers = [subprocess.Popen([*command, tmp_path / name], stdout=subprocess.PIPE) for name in ("a.txt", "b.txt")]
    try:
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"written\n"
        temporaries = sorted(tmp_path.iterdir())
        assert len(temporaries) == 2
        writers[0].kill()
        writers[0].wait()
        files.clear_stale(tmp_path)  # too new: its writer may be about to lock it
        assert sorted(tmp_path.iterdir()) == temporaries
        old = time.time() - 3600
        for path in temporaries:
            os.utime(path, (old, old))
        files.clear_stale(tmp_path)
        assert len(list(tmp_path.iterdir())) == 1
    finally:
        for writer in writers:
            writer.kill()
            writer.communicate()
    files.clear_stale(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_other_files_are_never_taken_for_left_ones(tmp_path: Path) -> None:
    names = [".hidden.png", "a.gantool-tmp", ".x.txt"]
    for name in names:
        (tmp_path / name).write_text("mine")
        os.utime(tmp_path / name, (0, 0))
    files.clear_stale(tmp_path)
    files.clear_stale(tmp_path / "missing")
    assert {p.name for p in tmp_path.iterdir()} == set(names)
