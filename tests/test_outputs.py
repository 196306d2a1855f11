"""Inputs become outputs by rule, and whatever can be known to go wrong is said before the first picture is opened."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Result
from PIL import Image

from gantool import outputs
from gantool.errors import UsageError
from gantool.outputs import Item, Naming, Source

Run = Callable[..., Result]


def png(source: Path) -> str:
    return ".png"


def naming(output: object = None, pattern: str | None = None) -> Naming:
    return Naming(None if output is None else str(output), "{stem}_x{scale}", pattern, {"scale": "4", "model": "m"}, png)


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


def test_the_extension_may_depend_on_the_input(tmp_path: Path) -> None:
    make(tmp_path, "in/a.png", "in/b.jpg")
    own = Naming(f"{tmp_path}/out", "{stem}", None, {}, lambda source: source.suffix.upper())
    items = outputs.plan(outputs.expand([f"{tmp_path}/in"], False), own, "refuse")
    assert [item.target for item in items] == [tmp_path / "out/a.PNG", tmp_path / "out/b.JPG"]


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
    assert [item.is_done() for item in outputs.plan(sources, naming(tmp_path / "out"), "skip")] == [True, False, False]
    assert not any(item.is_done() for item in outputs.plan(sources, naming(tmp_path / "out"), "overwrite"))
    os.mkfifo(tmp_path / "pipe.png")
    assert not Item(tmp_path / "a.png", tmp_path / "pipe.png", "skip").is_done()  # and is not waited for


def test_streams_carry_one_picture(tmp_path: Path) -> None:
    make(tmp_path, "a.png", "b.png")
    files = [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    assert outputs.plan(outputs.expand(["-"], False), naming(), "refuse") == [Item(None, None, "refuse")]
    assert outputs.plan(outputs.expand(["-"], False), naming(tmp_path / "o.png"), "refuse") == [
        Item(None, tmp_path / "o.png", "refuse")
    ]
    assert outputs.plan(outputs.expand(files[:1], False), naming("-"), "refuse") == [Item(Path(files[0]), None, "refuse")]
    for inputs, output in ((["-", *files], None), (files, "-"), (["-"], f"{tmp_path}/")):
        with pytest.raises(UsageError):
            outputs.plan(outputs.expand(inputs, False), naming(output), "refuse")


def test_a_plan_makes_nothing(tmp_path: Path) -> None:
    make(tmp_path, "in/a.png", "in/sub/b.png")
    targets(tmp_path, ["in"], "new/deep/out", recursive=True)
    assert os.listdir(tmp_path) == ["in"]


# --- shards --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "parts"), [(10, 3), (3, 8), (8, 8), (1, 1)])
def test_shards_have_every_item_once_and_differ_by_one_at_most(count: int, parts: int, tmp_path: Path) -> None:
    sources = [Source(tmp_path / f"{n}.png") for n in range(count)]
    items = outputs.plan(sources, naming(), "refuse")
    shards = [outputs.plan(sources, naming(), "refuse", (part, parts)) for part in range(1, parts + 1)]
    assert sorted((item for shard in shards for item in shard), key=items.index) == items
    assert max(map(len, shards)) - min(map(len, shards)) <= 1
    assert shards[0][0] == items[0]


def test_a_shard_that_does_not_exist_is_refused() -> None:
    assert outputs.parse_shard("3/8") == (3, 8)
    for wrong in ("0/8", "9/8", "3", "3/", "/8", "-1/8", "1.5/8", "3/8/9", "a/b", "", "0/0", " 3/8", "٣/٨", "1/" + "9" * 5000):
        with pytest.raises(UsageError, match="use K/N with K from 1 to N, such as 3/8"):
            outputs.parse_shard(wrong)


@pytest.mark.slow
def test_shards_share_a_folder_from_the_command_line(tmp_path: Path, run_process: Run) -> None:
    make(tmp_path, *(f"in/{n}.png" for n in "abc"))

    def shard(text: str, output: str = "out") -> Result:
        return run_process("upscale", "in", "-m", "bicubic", "-o", output, "--shard", text, cwd=tmp_path)

    first, second, fourth = shard("1/2"), shard("2/2"), shard("4/4", output="none")
    assert (first.status, first.out) == (0, "out/a.png\nout/c.png\n")
    assert (second.status, second.out) == (0, "out/b.png\n")
    assert (fourth.status, fourth.out) == (0, "")
    assert fourth.err == "nothing to do: there are fewer pictures than shards, and this one has none\n"
    assert not (tmp_path / "none").exists()
    wrong = shard("3/2")
    assert (wrong.status, wrong.err.count("\n")) == (2, 1)


def test_every_shard_finds_the_collisions_of_all(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "a.png", "b.png", "out/b.png")
    sources = outputs.expand([str(tmp_path)], False)
    with pytest.raises(UsageError, match="would both become"):
        outputs.plan(sources, naming(tmp_path / "out"), "refuse", (3, 3))
    assert outputs.plan(sources[1:], naming(tmp_path / "out"), "refuse", (1, 2))
    with pytest.raises(UsageError, match="exists already"):  # but existing outputs are each shard's own affair
        outputs.plan(sources[1:], naming(tmp_path / "out"), "refuse", (2, 2))


def test_a_shard_that_finds_outputs_of_another_among_its_inputs_is_refused(tmp_path: Path) -> None:
    make(tmp_path, "a.png", "b.png", "c.png", "a_x4.png")  # the last by an earlier shard: the others' lists would shift
    with pytest.raises(UsageError, match=r"a_x4\.png, the output for .*a\.png, is the input"):
        outputs.plan(outputs.expand([f"{tmp_path}/*.png"], False), naming(), "skip")


def test_names_that_are_too_long_are_clean_errors(tmp_path: Path, run_process: Run) -> None:
    fits, long = "n" * 249 + ".png", "n" * 252 + ".png"
    make(tmp_path, fits, "a.png")
    result = run_process("upscale", fits, long, "a.png", "-m", "bicubic", cwd=tmp_path)
    assert result.status == 1
    first, second, summary = result.err.splitlines()
    assert first == f"gantool: {fits[:-4]}_x4.png cannot be written: File name too long"
    assert second.startswith(f"gantool: {long[:-4]}_x4.png cannot be written")
    assert summary == "1 of 3 done, 2 failed"
    refused = run_process("upscale", "a.png", "-m", "bicubic", "-o", f"{'n' * 300}/b.png", cwd=tmp_path)
    assert (refused.status, refused.err.count("\n")) == (1, 1)
    assert refused.err.endswith("n cannot be written: File name too long\n")
    with pytest.raises(UsageError, match="an input has no name"):
        outputs.expand([""], False)


def test_an_input_that_is_named_twice_is_refused(tmp_path: Path) -> None:
    make(tmp_path, "in/a.png")
    with pytest.raises(UsageError, match=r"in/a\.png is named twice: leave one out"):
        targets(tmp_path, ["in", "in/a.png"], "out")
