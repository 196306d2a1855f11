"""What inputs stand for: files, folders, patterns and lists of them, whatever lies in their way."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from conftest import Result
from PIL import Image

from gantool import outputs
from gantool.errors import InputError, UsageError

Run = Callable[..., Result]


def make(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (2, 2)).save(path, "PNG")


def found(folder: Path, text: str, *, recursive: bool = False) -> list[str]:
    """What an input in a folder stands for, from the folder on."""
    return [os.path.relpath(str(source.path), folder) for source in outputs.expand([f"{folder}/{text}"], recursive)]


def test_patterns_of_inputs_are_expanded_but_files_of_such_names_come_first(tmp_path: Path) -> None:
    make(tmp_path, "a1.png", "a2.png", "[red].png")
    assert found(tmp_path, "a?.png") == ["a1.png", "a2.png"]
    assert found(tmp_path, "[red].png") == ["[red].png"]
    with pytest.raises(UsageError, match=r"no file matches .*b\*\.png"):
        found(tmp_path, "b*.png")


def test_a_folder_without_pictures_is_an_error_with_what_was_looked_for(tmp_path: Path) -> None:
    make(tmp_path, "in/sub/a.png")
    with pytest.raises(UsageError, match=r"no images found in .*in: looked for .*\.jpg .*\.png.*; -r looks in sub-folders"):
        found(tmp_path, "in")


def test_patterns_match_what_a_shell_would_and_any_depth_with_two_stars(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, "a.png", "d/b.png", "d/e/c.png", ".hidden.png", "d/.cache/h.png", "d/.h.png", "d.png/f.png")
    monkeypatch.chdir(tmp_path)

    def matches(pattern: str) -> list[str]:
        return [str(source.path) for source in outputs.expand([pattern], False)]

    assert matches("*.png") == ["a.png"]
    assert matches("*/*.png") == ["d/b.png", "d.png/f.png"]
    assert matches("**/*.png") == ["a.png", "d/b.png", "d/e/c.png", "d.png/f.png"]
    assert matches("d/**") == ["d/b.png", "d/e/c.png"]
    assert matches("d**/b.png") == ["d/b.png"]
    assert matches("*/../[a-b].png") == ["d/../a.png", "d.png/../a.png"]
    assert matches(".*.png") == [".hidden.png"]
    assert matches(f"{tmp_path}/d/?.png") == [f"{tmp_path}/d/b.png"]


# --- what a folder may hold ----------------------------------------------------------------------------------------------


@pytest.fixture
def within_seconds() -> Iterator[None]:
    """Fail what would otherwise go on for ever."""

    def late(*_: object) -> None:
        raise TimeoutError("this does not come to an end")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(10)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("within_seconds")
def test_loops_of_links_come_to_an_end(tmp_path: Path) -> None:
    make(tmp_path, "in/a.png", "in/sub/b.png")
    for name, target in (("loop", "."), ("sub/up", ".."), ("sub/other", "../sub"), ("x.png", "y.png"), ("y.png", "x.png")):
        (tmp_path / "in" / name).symlink_to(target)
    everything = ["in/a.png", "in/sub/b.png", "in/x.png", "in/y.png"]
    assert found(tmp_path, "in", recursive=True) == everything
    assert found(tmp_path, "in/**/*.png") == everything
    naming = outputs.Naming(f"{tmp_path}/in/loop/sub/out", "{stem}", None, {}, lambda source: ".png")
    assert len(outputs.plan(outputs.expand([f"{tmp_path}/in"], True), naming, "refuse")) == 4
    with pytest.raises(InputError, match="cannot be written: Too many levels of symbolic links"):
        outputs.check_writable(tmp_path / "in/x.png/out")


def test_what_is_no_picture_is_named_and_the_others_are_done(tmp_path: Path, run_process: Run) -> None:
    """Nothing is waited for, or read without end; which it would be is the time limit of `run_process`."""
    make(tmp_path, "in/good.png", "in/sub/x.png/deep.png")
    os.mkfifo(tmp_path / "in/pipe.png")
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(os.path.relpath(tmp_path / "in/socket.png"))
    links = {"dangling": "nowhere", "loop": "loop.png", "device": "/dev/zero", "proc": "/proc/self/environ"}
    for name, target in {**links, "away": "sub/x.png"}.items():
        (tmp_path / "in" / f"{name}.png").symlink_to(target)
    result = run_process("upscale", "in", "-r", "-m", "bicubic", "-o", "out", cwd=tmp_path)
    lines = result.err.splitlines()
    assert result.status == 1
    assert sorted(result.out.splitlines()) == ["out/good.png", "out/sub/x.png/deep.png"]
    bad = ["dangling", "device", "loop", "pipe", "proc", "socket"]
    assert [line.split(".png")[0] for line in lines[:-1]] == [f"gantool: in/{name}" for name in bad]
    assert lines[-1] == "2 of 8 done, 6 failed"


def test_folders_without_permission_are_named() -> None:
    with tempfile.TemporaryDirectory() as name, ExitStack() as after:
        folder = Path(name)
        folder.chmod(0o755)  # root reads and writes everything, so it is somebody else who looks
        make(folder, "in/a.png", "in/secret/b.png")
        (folder / "in/secret").chmod(0)
        (folder / "shut").mkdir(mode=0o555)
        if os.geteuid() == 0:
            os.setresuid(65534, 65534, 0)
            after.callback(os.setresuid, 0, 0, 0)
        with pytest.raises(InputError, match=r"in/secret cannot be read: Permission denied"):
            outputs.expand([f"{folder}/in"], True)
        with pytest.raises(InputError, match=r"in/secret cannot be read: Permission denied"):
            outputs.expand([f"{folder}/in/secret"], False)
        assert len(outputs.expand([f"{folder}/in"], False)) == 1
        with pytest.raises(InputError, match=r"shut/new cannot be written: no permission in .*shut"):
            outputs.check_writable(folder / "shut/new")


# --- lists ---------------------------------------------------------------------------------------------------------------


def listed(folder: Path, content: bytes, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What a list of that content stands for; names in it begin in the folder."""
    (folder / "files.txt").write_bytes(content)
    monkeypatch.chdir(folder)
    return [os.fsencode(str(source.path)) for source in outputs.expand(["@files.txt"], False)]


def test_a_list_has_a_file_folder_or_pattern_in_each_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "z.png", "in/b.png", "in/a.png", "p1.png", "p2.png")
    found = listed(tmp_path, b"z.png\n\nin\np?.png\r\nlost.png", monkeypatch)
    assert found == [b"z.png", b"in/a.png", b"in/b.png", b"p1.png", b"p2.png", b"lost.png"]
    assert [str(s.path) for s in outputs.expand(["p2.png", "@files.txt", "p1.png"], False)][::6] == ["p2.png", "lost.png"]


@pytest.mark.parametrize("end", [b"\n", b"\0"])
def test_names_in_a_list_are_taken_as_they_are(end: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [b" two  words .png", b"[red].png", b"not utf-8 \xff.png", b"-dash.png", b"@at.png", b"-", b"\x1b[31m", b"#.png"]
    names += [b"new\nline.png", b"\r"] if end == b"\0" else []
    for name in names:
        with open(os.fsencode(tmp_path) + b"/" + name, "wb"):
            pass
    assert listed(tmp_path, end.join(names) + end, monkeypatch) == names


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("@missing", "@missing is no list of inputs, as it cannot be read (No such file or directory)"),
        ("@empty.txt", "@empty.txt lists no inputs: write one in each line"),
        ("@.", "@. is no list of inputs, as it cannot be read (Is a directory)"),
        ("@", "@ is no list of inputs, as it cannot be read"),
        ("@/dev/zero", "@/dev/zero is no list of inputs but a device"),
        ("@x.png", "@x.png would be a list of inputs, and is called like a picture: a picture of this name is ./@x.png"),
    ],
)
def test_what_is_no_list_is_refused(text: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty.txt").write_text("\n\r\n")
    make(tmp_path, "x.png", "@x.png")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as refusal:
        outputs.expand([text], False)
    assert str(refusal.value).startswith(sentence)


def test_lists_work_from_the_command_line_also_from_a_pipe(tmp_path: Path, run_process: Run) -> None:
    make(tmp_path, "a.png", "@b.png", "new\nline.png")
    double = ("-m", "bicubic", "-s", 2)
    result = run_process("upscale", "@/dev/stdin", *double, stdin=b"a.png\0new\nline.png", cwd=tmp_path)
    assert (result.status, result.out) == (0, "a_x2.png\nnew\\nline_x2.png\n")
    assert run_process("upscale", "./@b.png", *double, cwd=tmp_path).out == "@b_x2.png\n"
    missing = run_process("upscale", "@b.txt", *double, cwd=tmp_path)
    assert (missing.status, missing.out, missing.err.count("\n")) == (2, "", 1)
    assert missing.err.startswith("gantool: @b.txt is no list of inputs")
