"""The one writer: a file is there whole or not at all, whatever happens while it is written; and by one process, if claimed."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
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


def test_clearing_never_takes_what_is_just_being_begun(tmp_path: Path) -> None:
    """Between a file's making and its lock another process may find it, without an owner."""
    ended = threading.Event()

    def clear() -> None:
        while not ended.is_set():
            files.clear_stale(tmp_path)

    threads = [threading.Thread(target=clear) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        with ThreadPoolExecutor(3) as pool:
            assert list(pool.map(lambda number: alone(tmp_path / "a.txt", str(number)), range(150))) == [True] * 150
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def alone(path: Path, text: str) -> bool:
    """Claim and write a file; return whether nobody else wrote it meanwhile."""
    with files.claim(path, wait=True) as claimed:
        write(path, text)
        time.sleep(1e-4)
        return claimed and path.read_text() == text


# --- claims --------------------------------------------------------------------------------------------------------------


def test_a_claim_is_one_holders_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    long = "n" * 251 + ".png"
    for name in ("a.png", long, "not utf-8 \udcff.png"):
        with files.claim(tmp_path / name) as first, files.claim(tmp_path / "link" / name) as second:
            assert (first, second) == (True, False)
            with files.claim(tmp_path / "b.png") as other:
                assert other
            assert len(list(tmp_path.iterdir())) == 2
            files.clear_stale(tmp_path)
            assert len(list(tmp_path.iterdir())) == 2
        with files.claim(tmp_path / name) as again:
            assert again
        assert [p.name for p in tmp_path.iterdir()] == ["link"]


def test_a_claim_ends_with_an_error_and_is_waited_for(tmp_path: Path) -> None:
    got: list[float] = []

    def wait() -> None:
        with files.claim(tmp_path / "a.png", wait=True) as claimed:
            assert claimed
            got.append(time.monotonic())
            time.sleep(0.01)

    threads = [threading.Thread(target=wait) for _ in range(4)]
    with pytest.raises(KeyError), files.claim(tmp_path / "a.png") as claimed:  # noqa: PT012
        assert claimed
        for thread in threads:
            thread.start()
        time.sleep(0.1)
        assert got == []
        raise KeyError
    for thread in threads:
        thread.join()
    got.sort()
    assert len(got) == 4
    assert min(later - sooner for sooner, later in zip(got, got[1:], strict=False)) >= 0.01  # one after the other
    assert list(tmp_path.iterdir()) == []


def test_a_claim_is_possible_where_there_are_no_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with files.claim(tmp_path / "a.png") as claimed:
        assert claimed
        write(tmp_path / "a.png", "text")
        files.clear_stale(tmp_path)  # nobody can tell whether it is used
        assert len(list(tmp_path.iterdir())) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_a_claim_never_follows_a_link_and_is_refused_where_nothing_can_be_made(tmp_path: Path) -> None:
    with files.claim(tmp_path / "a.png"):
        (place,) = tmp_path.iterdir()
    place.symlink_to(tmp_path / "elsewhere")
    for path in (tmp_path / "a.png", tmp_path / "missing/a.png", Path("/proc/a.png")):
        with pytest.raises(InputError, match="cannot be written"), files.claim(path):
            pytest.fail("claimed")
    assert not (tmp_path / "elsewhere").exists()


def test_a_place_is_free_for_a_file_or_taken_by_one(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "old")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    for name in ("a.txt", "new", "dangling", "missing/new"):
        files.check_place(tmp_path / name)
    for name in ("pipe", ".", "loop", "n" * 256, "a.txt/new"):
        with pytest.raises(InputError, match="cannot be written"):
            files.check_place(tmp_path / name)
