"""Inputs become outputs by rule, nothing is lost or overwritten, and one bad input does not cost the others."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from gantool import batch, outputs
from gantool.batch import Reporting
from gantool.errors import InputError, OutOfMemory, RunError, UsageError
from gantool.outputs import Item, Naming

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20) + b"\0\0\0\0IEND\xaeB`\x82"


def naming(output: object = None, pattern: str | None = None) -> Naming:
    return Naming(None if output is None else str(output), "{stem}_x{scale}", pattern, {"scale": "4", "model": "m"}, ".png")


def make(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (2, 2)).save(path, "PNG")


def targets(folder: Path, inputs: list[str], output: object = None, *, recursive: bool = False, **rest: str) -> dict[str, str]:
    """From input to output, below the folder."""
    sources = outputs.expand([str(folder / each) for each in inputs], recursive)
    items = outputs.plan(sources, naming(output and f"{folder}/{output}", **rest), "refuse")
    return {os.path.relpath(str(i.source), folder): os.path.relpath(str(i.target), folder) for i in items}


def test_a_file_goes_beside_its_input_and_a_folder_into_a_sibling(tmp_path: Path) -> None:
    make(tmp_path, "a.png", "in/b.jpg", "in/sub/c.PNG", "in/.hidden.png", "in/.cache/d.png", "in/notes.txt")
    assert targets(tmp_path, ["a.png"]) == {"a.png": "a_x4.png"}
    assert targets(tmp_path, ["in"]) == {"in/b.jpg": "in_x4/b.png"}
    assert targets(tmp_path, ["in"], recursive=True) == {"in/b.jpg": "in_x4/b.png", "in/sub/c.PNG": "in_x4/sub/c.png"}


def test_an_output_names_a_file_or_a_folder(tmp_path: Path) -> None:
    make(tmp_path, "a.png", "b.png", "in/sub/c.png")
    (tmp_path / "there").mkdir()
    assert targets(tmp_path, ["a.png"], "new.png") == {"a.png": "new.png"}
    assert targets(tmp_path, ["a.png"], "new/") == {"a.png": "new/a.png"}
    assert targets(tmp_path, ["a.png"], "there") == {"a.png": "there/a.png"}
    assert targets(tmp_path, ["a.png", "b.png"], "new") == {"a.png": "new/a.png", "b.png": "new/b.png"}
    assert targets(tmp_path, ["in"], "new", recursive=True) == {"in/sub/c.png": "new/sub/c.png"}
    with pytest.raises(UsageError, match=r"a.png is not a folder, and there are 2 pictures"):
        targets(tmp_path, ["a.png", "b.png"], "a.png")


def test_a_pattern_names_outputs(tmp_path: Path) -> None:
    make(tmp_path, "in/a.png", "in/a.jpg", "{stem}.png")
    names = targets(tmp_path, ["in"], "out", pattern="{stem}_{suffix}_{model}@{scale}")
    assert names == {"in/a.png": "out/a_png_m@4.png", "in/a.jpg": "out/a_jpg_m@4.png"}
    assert targets(tmp_path, ["{stem}.png"]) == {"{stem}.png": "{stem}_x4.png"}
    for wrong in ("{size}", "{", "{0}", "{stem.nothing}"):
        with pytest.raises(UsageError, match="is not understood: what can stand in it is {stem}, {suffix}, {scale}, {model}"):
            targets(tmp_path, ["in/a.png"], pattern=wrong)
    for wrong in ("../{stem}", "..", "a/b"):
        with pytest.raises(UsageError, match="no plain file name"):
            targets(tmp_path, ["in/a.png"], pattern=wrong)
    with pytest.raises(UsageError, match=r"out\.png already names the output: leave --name out"):
        targets(tmp_path, ["in/a.png"], "out.png", pattern="{stem}")


def test_patterns_of_inputs_are_expanded_but_files_of_such_names_come_first(tmp_path: Path) -> None:
    make(tmp_path, "a1.png", "a2.png", "[red].png")
    assert set(targets(tmp_path, ["a?.png"])) == {"a1.png", "a2.png"}
    assert set(targets(tmp_path, ["[red].png"])) == {"[red].png"}
    with pytest.raises(UsageError, match=r"no file matches .*b\*\.png"):
        targets(tmp_path, ["b*.png"])


def test_a_folder_without_pictures_is_an_error_with_what_was_looked_for(tmp_path: Path) -> None:
    make(tmp_path, "in/sub/a.png")
    with pytest.raises(UsageError, match=r"no images found in .*in: looked for \.jpeg \.jpg \.png; -r looks in sub-folders"):
        targets(tmp_path, ["in"])


def test_two_inputs_with_one_output_are_refused_with_both_named(tmp_path: Path) -> None:
    make(tmp_path, "in/a.png", "in/a.jpg", "b/a.png")
    (tmp_path / "link").symlink_to("in")
    with pytest.raises(UsageError, match=r"in/a\.jpg and .*in/a\.png would both become"):
        targets(tmp_path, ["in"])
    with pytest.raises(UsageError, match=r"in/a\.png and .*b/a\.png would both become"):
        targets(tmp_path, ["in/a.png", "b/a.png"], "out")
    with pytest.raises(UsageError, match=r"in/a\.png and .*link/a\.png would both become"):
        targets(tmp_path, ["in/a.png", "link/a.png"])


@pytest.mark.parametrize("way", ["path", "link", "hard link", "folder link"])
def test_an_output_that_is_an_input_is_refused(way: str, tmp_path: Path) -> None:
    make(tmp_path, "a.png")
    output = tmp_path / "b.png"
    if way == "path":
        output = tmp_path / "." / "a.png"
    elif way == "link":
        output.symlink_to(tmp_path / "a.png")
    elif way == "hard link":
        os.link(tmp_path / "a.png", output)
    else:
        (tmp_path / "here").symlink_to(tmp_path)
        output = tmp_path / "here" / "a.png"
    for existing in ("refuse", "overwrite", "skip"):
        with pytest.raises(UsageError, match=r"is the input .*a\.png"):
            outputs.plan(outputs.expand([str(tmp_path / "a.png")], False), naming(output), existing)  # type: ignore[arg-type]


def test_the_folder_of_the_inputs_cannot_take_the_outputs(tmp_path: Path) -> None:
    make(tmp_path, "in/a.jpg")
    (tmp_path / "link").symlink_to("in")
    for output in ("in", "link/"):
        with pytest.raises(UsageError, match="is the folder of the inputs"):
            targets(tmp_path, ["in"], output)


def test_outputs_of_an_earlier_run_inside_the_input_folder_are_no_inputs(tmp_path: Path) -> None:
    make(tmp_path, "in/a.png", "in/sub/b.png")
    (tmp_path / "in/big").mkdir()
    make(tmp_path, "in/big/old.png")
    again = targets(tmp_path, ["in"], "in/big", recursive=True)
    assert again == {"in/a.png": "in/big/a.png", "in/sub/b.png": "in/big/sub/b.png"}


def test_existing_outputs_are_refused_skipped_or_replaced(tmp_path: Path) -> None:
    make(tmp_path, "a.png", "b.png", "c.png", "out/a.png")
    (tmp_path / "out/b.png").write_bytes(b"half a picture")
    sources = outputs.expand([str(tmp_path / name) for name in ("a.png", "b.png", "c.png")], False)
    with pytest.raises(UsageError, match=r"out/a\.png and 1 more exist already: use --overwrite or --skip-existing"):
        outputs.plan(sources, naming(tmp_path / "out"), "refuse")
    assert [item.skip for item in outputs.plan(sources, naming(tmp_path / "out"), "skip")] == [True, False, False]
    assert not any(item.skip for item in outputs.plan(sources, naming(tmp_path / "out"), "overwrite"))


def test_streams_carry_one_picture(tmp_path: Path) -> None:
    make(tmp_path, "a.png", "b.png")
    files = [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    assert outputs.plan(outputs.expand(["-"], False), naming(), "refuse") == [Item(None, None)]
    assert outputs.plan(outputs.expand(["-"], False), naming(tmp_path / "o.png"), "refuse") == [Item(None, tmp_path / "o.png")]
    assert outputs.plan(outputs.expand(files[:1], False), naming("-"), "refuse") == [Item(Path(files[0]), None)]
    for inputs, output in ((["-", *files], None), (files, "-"), (["-"], f"{tmp_path}/")):
        with pytest.raises(UsageError):
            outputs.plan(outputs.expand(inputs, False), naming(output), "refuse")


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
    items = [*items_of(tmp_path, "a.png", "bad.png", "c.png"), Item(tmp_path / "a.png", tmp_path / "out/d.png", skip=True)]
    assert batch.run(items, copy, Reporting(as_json=True, file=tmp_path / "report")) == 1
    said = capsys.readouterr()
    lines = [json.loads(line) for line in said.out.splitlines()]
    assert [line["status"] for line in lines] == ["ok", "error", "ok", "skipped"]
    assert lines[0] | {"seconds": 0} == {
        "input": str(tmp_path / "a.png"), "status": "ok", "output": str(tmp_path / "out/a.png"), "error": None, "seconds": 0,
        "bytes": (tmp_path / "a.png").stat().st_size,
    }  # fmt: skip
    assert lines[1]["error"] == f"{tmp_path / 'bad.png'} is bad"
    assert (tmp_path / "report").read_text() == said.out
    assert said.err.splitlines() == [f"gantool: {tmp_path / 'bad.png'} is bad", "2 of 4 done, 1 skipped, 1 failed"]
    assert sorted(os.listdir(tmp_path / "out")) == ["a.png", "c.png"]


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
    one_skipped = [Item(tmp_path / "a.png", tmp_path / "x.png", skip=True), items[1]]
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
    assert capsys.readouterr().err == "0 of 3 done, 1 failed\n"


def test_the_place_is_tried_before_the_work(tmp_path: Path) -> None:
    make(tmp_path, "a.png")
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for place in ("file", "link"):
        assert batch.run([Item(tmp_path / "a.png", tmp_path / place / "a.png")], failing(AssertionError()), Reporting()) == 1
        with pytest.raises(InputError, match="is not a folder"):
            outputs.check_writable(tmp_path / place / "deeper")
    outputs.check_writable(tmp_path / "new" / "deeper")
    assert not (tmp_path / "new").exists()
