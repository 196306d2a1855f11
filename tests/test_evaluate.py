"""`gantool evaluate` as a user runs it: pairs, recipes, reports, and what it refuses."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
import torch
from torch import Tensor

from gantool.data.pairing import Pair, pair
from gantool.errors import UsageError
from gantool.images import Picture, read, write
from gantool.metrics import measure

if TYPE_CHECKING:
    from conftest import Result

Run = Callable[..., "Result"]


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Return random bytes."""
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def altered(path: Path, target: Path, by: int = 5) -> None:
    """Write a picture with every value moved by up to `by`."""
    color = read(path).color
    write(target, Picture((color.int() + noise(*color.shape, seed=by) % (2 * by + 1) - by).clamp(0, 255).byte()))


@pytest.fixture
def sets(tmp_path: Path) -> tuple[Path, Path]:
    """Two folders, `results` and `references`, of three pairs with sides that are multiples of 4: a, b in colour, c gray."""
    results, references = tmp_path / "results", tmp_path / "references"
    results.mkdir()
    references.mkdir()
    for number, (name, shape) in enumerate([("a", (3, 32, 40)), ("b", (3, 24, 28)), ("c", (1, 36, 32))]):
        write(references / f"{name}.png", Picture(noise(*shape, seed=number)))
        altered(references / f"{name}.png", results / f"{name}_x4.png", by=number + 3)
    return results, references


def expected(
    results: Path, references: Path, metrics: Iterable[str], border: int, names: str = "abc"
) -> list[dict[str, float]]:
    colors = [(read(results / f"{n}_x4.png").color, read(references / f"{n}.png").color) for n in names]
    return [measure(result, reference, list(metrics), border) for result, reference in colors]


def json_lines(text: str) -> list[dict[str, object]]:
    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def csv_rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def mean(values: list[dict[str, float]], name: str) -> float:
    return sum(v[name] for v in values) / len(values)


def test_the_table_has_a_row_a_picture_the_mean_and_the_recipe_in_words(run_cli: Run, sets: tuple[Path, Path]) -> None:
    done = run_cli("evaluate", *sets, "--scale", 4)
    values = expected(*sets, ["psnr-y", "ssim-y"], border=4)
    assert (done.status, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0].split() == ["psnr-y", "ssim-y"]
    for line, name, row in zip(lines[1:4], "abc", values, strict=True):
        assert line.split() == [f"{name}_x4.png", f"{row['psnr-y']:.4f}", f"{row['ssim-y']:.4f}"]
    assert lines[4].split() == ["mean", "of", "3", f"{mean(values, 'psnr-y'):.4f}", f"{mean(values, 'ssim-y'):.4f}"]
    words = "\n".join(lines[5:])
    for words_of_the_recipe in ("protocol sr at scale 4", "multiple of 4", "4 pixels shaved", "16 to 235", "11x11 Gaussian"):
        assert words_of_the_recipe in words


def test_json_lines_carry_full_values_and_the_last_one_the_mean_with_its_recipe(run_cli: Run, sets: tuple[Path, Path]) -> None:
    done = run_cli("evaluate", *sets, "--json", "--metric", "ssim,psnr", "--scale", 4)
    values = expected(*sets, ["ssim", "psnr"], border=4)
    *items, last = json_lines(done.out)
    assert [item["values"] for item in items] == values
    assert [item["status"] for item in items] == ["ok"] * 3
    assert items[0]["input"] == str(sets[0] / "a_x4.png")
    assert items[0]["reference"] == str(sets[1] / "a.png")
    assert last["mean"] == pytest.approx({name: mean(values, name) for name in ("ssim", "psnr")}, abs=1e-12)
    assert (last["protocol"], last["scale"], last["border"], last["measured"], last["pictures"]) == ("rgb", 4, 4, 3, 3)
    assert "protocol rgb at scale 4" in str(last["recipe"])


def test_without_a_scale_whole_pictures_are_compared_and_the_report_says_so(run_cli: Run, sets: tuple[Path, Path]) -> None:
    done = run_cli("evaluate", *sets, "--json")
    last = json_lines(done.out)[-1]
    assert last["mean"]["psnr-y"] == pytest.approx(mean(expected(*sets, ["psnr-y"], border=0), "psnr-y"))
    assert (last["protocol"], last["border"]) == (None, 0)
    assert "no border shaved" in last["recipe"]
    assert "no named protocol" in last["recipe"]


def test_crop_border_shaves_so_many_pixels_with_or_without_a_scale(run_cli: Run, sets: tuple[Path, Path]) -> None:
    for options, border in [(["--crop-border", 3], 3), (["--crop-border", 0, "--scale", 4], 0)]:
        last = json_lines(run_cli("evaluate", *sets, "--json", *options).out)[-1]
        assert last["mean"]["psnr-y"] == pytest.approx(mean(expected(*sets, ["psnr-y"], border), "psnr-y"))
        assert (last["border"], last["protocol"]) == (border, None)


def test_crop_border_scale_is_the_scale(run_cli: Run, sets: tuple[Path, Path]) -> None:
    assert json_lines(run_cli("evaluate", *sets, "--json", "--crop-border", "scale", "--scale", 2).out)[-1]["border"] == 2


def test_the_mean_is_that_of_decibels_not_of_errors(run_cli: Run, tmp_path: Path) -> None:
    for name, level in [("a", 1), ("b", 100)]:
        for folder, value in [("results", level), ("references", 0)]:
            (tmp_path / folder).mkdir(exist_ok=True)
            write(tmp_path / folder / f"{name}.png", Picture(torch.full((1, 16, 16), value, dtype=torch.uint8)))
    last = json_lines(run_cli("evaluate", tmp_path / "results", tmp_path / "references", "--metric", "psnr", "--json").out)[-1]
    assert last["mean"]["psnr"] == pytest.approx((48.130804 + 8.130804) / 2, abs=1e-5)


def test_references_are_cropped_to_a_multiple_of_the_scale_at_the_right_and_the_bottom(run_cli: Run, tmp_path: Path) -> None:
    write(tmp_path / "true.png", Picture(noise(3, 35, 42)))
    write(tmp_path / "big.png", Picture(noise(3, 32, 40, seed=1)))
    refused = run_cli("evaluate", tmp_path / "big.png", tmp_path / "true.png")
    assert (refused.status, refused.out) == (2, "")
    assert "40x32" in refused.err
    assert "42x35" in refused.err
    assert "--scale" in refused.err
    done = run_cli("evaluate", tmp_path / "big.png", tmp_path / "true.png", "--scale", 4, "--json")
    values = measure(noise(3, 32, 40, seed=1), noise(3, 35, 42)[:, :32, :40], ["psnr-y", "ssim-y"], 4)
    assert json_lines(done.out)[-1]["mean"] == values
    # a result of the whole size is cropped alike
    write(tmp_path / "whole.png", Picture(noise(3, 35, 42, seed=2)))
    done = run_cli("evaluate", tmp_path / "whole.png", tmp_path / "true.png", "--scale", 4, "--json")
    values = measure(noise(3, 35, 42, seed=2)[:, :32, :40], noise(3, 35, 42)[:, :32, :40], ["psnr-y", "ssim-y"], 4)
    assert json_lines(done.out)[-1]["mean"] == values


def test_a_result_of_another_size_is_named_and_nothing_is_measured(run_cli: Run, sets: tuple[Path, Path]) -> None:
    write(sets[0] / "b_x4.png", Picture(noise(3, 24, 27)))  # neither whole nor cropped, though cropping would hide it
    done = run_cli("evaluate", *sets, "--scale", 4)
    assert (done.status, done.out) == (2, "")
    assert "b_x4.png has 27x24" in done.err
    assert "a_x4.png" not in done.err
    assert done.err.count("\n") == 1


def test_protocol_sr_insists_on_a_scale_and_its_border(run_cli: Run, sets: tuple[Path, Path]) -> None:
    assert run_cli("evaluate", *sets, "--protocol", "sr", "--scale", 4).status == 0
    for options, words in [([], "add --scale 4"), (["--scale", 4, "--crop-border", 2], "shaves 4 pixels at --scale 4, not 2")]:
        refused = run_cli("evaluate", *sets, "--protocol", "sr", *options)
        assert (refused.status, refused.out) == (2, "")
        assert words in refused.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--metric", "psnry"], "no metric named 'psnry': did you mean psnr-y"),
        (["--metric", "psnr-y,vmaf"], "no metric named 'vmaf': there are accuracy, colorfulness, delta-e"),
        (["--metric", ""], "no metric is named"),
        (["--protocol", "srr"], "no protocol named 'srr': did you mean sr?"),
        (["--crop-border", "scale"], "--crop-border scale needs the scale"),
        (["--crop-border", "-1"], "--crop-border -1 is no number of pixels"),
        (["--crop-border", "4.5"], "--crop-border 4.5 is no number of pixels"),
        (["--scale", "2.5"], "--scale 2.5"),
        (["--scale", "0"], "--scale 0"),
        (["--scale", "nan"], "--scale nan"),
        (["--scale", "inf"], "--scale inf"),
        (["--colour"], "--colour"),
    ],
)
def test_a_wrong_option_is_refused_with_status_2(run_cli: Run, sets: tuple[Path, Path], options: list[str], words: str) -> None:
    refused = run_cli("evaluate", *sets, *options)
    assert (refused.status, refused.out) == (2, "")
    assert words in refused.err


def test_a_wrong_metric_is_answered_without_importing_torch(run_process: Run, tmp_path: Path) -> None:
    refused = run_process("evaluate", tmp_path, tmp_path, "--metric", "psnry", env={"PYTHONPROFILEIMPORTTIME": "1"})
    assert refused.status == 2
    assert "did you mean psnr-y" in refused.err
    imported = {line.rpartition("|")[2].strip() for line in refused.err.splitlines() if line.startswith("import time")}
    assert "gantool.metrics" in imported
    assert not imported & {"torch", "numpy", "PIL", "cv2"}


def test_an_unreadable_picture_is_named_the_others_are_given_and_the_mean_is_withheld(
    run_cli: Run, sets: tuple[Path, Path], tmp_path: Path
) -> None:
    content = (sets[0] / "b_x4.png").read_bytes()
    (sets[0] / "b_x4.png").write_bytes(content[: len(content) // 2])
    done = run_cli("evaluate", *sets, "--scale", 4, "--csv", tmp_path / "numbers.csv")
    assert done.status == 1
    assert [line.split()[0] for line in done.out.splitlines()[1:3]] == ["a_x4.png", "c_x4.png"]
    assert "mean withheld: 2 of 3 measured" in done.out
    assert "mean of" not in done.out
    assert "b_x4.png" in done.err
    assert "1 of 3 pictures could not be measured" in done.err
    assert "Traceback" not in done.err
    table = csv_rows(tmp_path / "numbers.csv")
    assert [(Path(row["result"]).name, bool(row["psnr-y"]), bool(row["error"])) for row in table] == [
        ("a_x4.png", True, False),
        ("b_x4.png", False, True),
        ("c_x4.png", True, False),
    ]
    again = run_cli("evaluate", *sets, "--scale", 4, "--json")
    *items, last = json_lines(again.out)
    assert again.status == 1
    assert [item["status"] for item in items] == ["ok", "error", "ok"]
    assert "b_x4.png" in items[1]["error"]
    assert "values" not in items[1]
    assert (last["mean"], last["measured"], last["pictures"]) == (None, 2, 3)


def test_max_pixels_decides_which_pictures_are_too_large(run_cli: Run, sets: tuple[Path, Path]) -> None:
    done = run_cli("evaluate", *sets, "--max-pixels", 36 * 32)
    assert done.status == 1
    assert "a.png has 40x32 pixels" in done.err
    assert "mean withheld: 2 of 3 measured" in done.out
    assert run_cli("evaluate", *sets, "--max-pixels", 40 * 32).status == 0


def test_a_picture_too_small_for_what_is_asked_is_an_item_that_fails(run_cli: Run, sets: tuple[Path, Path]) -> None:
    for folder, name in zip(sets, ("d_x4.png", "d.png"), strict=True):
        write(folder / name, Picture(noise(3, 16, 40)))
    done = run_cli("evaluate", *sets, "--scale", 4)
    assert done.status == 1
    assert "d_x4.png: 32x8 pixels are too few for ssim" in done.err
    rows = {line.split()[0]: line.split()[1:] for line in done.out.splitlines()[1:5]}
    assert rows["d_x4.png"][1] == "-"
    assert float(rows["d_x4.png"][0]) > 0  # what can be measured is
    [mean_line] = [line.split() for line in done.out.splitlines() if line.startswith("mean of 4")]
    assert mean_line[4] == "withheld"
    assert float(mean_line[3]) == pytest.approx(sum(float(values[0]) for values in rows.values()) / 4, abs=1e-3)
    assert run_cli("evaluate", *sets, "--scale", 4, "--metric", "psnr-y").status == 0


def test_identical_pictures_are_infinite_and_so_is_a_mean_with_one(
    run_cli: Run, sets: tuple[Path, Path], tmp_path: Path
) -> None:
    shutil.copy(sets[1] / "a.png", sets[0] / "a_x4.png")
    done = run_cli("evaluate", *sets, "--csv", tmp_path / "numbers.csv")
    assert done.status == 0
    assert done.out.splitlines()[1].split()[1:] == ["inf", "1.0000"]
    assert done.out.splitlines()[4].split()[3] == "inf"
    *items, last = json_lines(run_cli("evaluate", *sets, "--json").out)
    assert [items[0]["values"]["psnr-y"], last["mean"]["psnr-y"]] == ["inf", "inf"]
    assert isinstance(items[1]["values"]["psnr-y"], float)
    assert float(csv_rows(tmp_path / "numbers.csv")[0]["psnr-y"]) == inf


def test_the_csv_file_has_unrounded_numbers_the_mean_and_the_recipe_in_every_line(
    run_cli: Run, sets: tuple[Path, Path], tmp_path: Path
) -> None:
    assert run_cli("evaluate", *sets, "--scale", 4, "--csv", tmp_path / "numbers.csv").status == 0
    values = expected(*sets, ["psnr-y", "ssim-y"], border=4)
    *rows, last, low, high = csv_rows(tmp_path / "numbers.csv")
    assert [{name: float(row[name]) for name in ("psnr-y", "ssim-y")} for row in rows] == values
    assert [row["reference"] for row in rows] == [str(sets[1] / f"{name}.png") for name in "abc"]
    assert last["result"] == "mean"
    assert float(last["ssim-y"]) == pytest.approx(mean(values, "ssim-y"), abs=1e-12)
    assert [low["result"], high["result"]] == ["95 % from", "95 % to"]
    assert float(low["psnr-y"]) < float(last["psnr-y"]) < float(high["psnr-y"])
    assert all("protocol sr at scale 4" in row["recipe"] for row in [*rows, last, low, high])


def test_an_existing_csv_file_is_replaced_only_when_asked(run_cli: Run, sets: tuple[Path, Path], tmp_path: Path) -> None:
    target = tmp_path / "numbers.csv"
    target.write_text("mine")
    refused = run_cli("evaluate", *sets, "--csv", target)
    assert (refused.status, refused.out, target.read_text()) == (2, "", "mine")
    assert "--overwrite" in refused.err
    assert run_cli("evaluate", *sets, "--csv", target, "--overwrite").status == 0
    assert target.read_text().startswith("result,reference,psnr-y,ssim-y")


@pytest.mark.parametrize("name", ["nowhere/numbers.csv", "references", "references/a.png"])
def test_a_csv_file_that_cannot_be_or_would_replace_a_picture_is_refused_before_measuring(
    run_cli: Run, sets: tuple[Path, Path], tmp_path: Path, name: str
) -> None:
    before = (sets[1] / "a.png").read_bytes()
    refused = run_cli("evaluate", *sets, "--csv", tmp_path / name, "--overwrite")
    assert (refused.status, refused.out) == (2, "")
    assert "cannot be written" in refused.err
    assert (sets[1] / "a.png").read_bytes() == before


def test_a_report_never_takes_the_place_of_what_is_read(run_cli: Run, sets: tuple[Path, Path], tmp_path: Path) -> None:
    scores = tmp_path / "ma.csv"
    scores.write_text("name,ma\na_x4.png,3\n")
    link = tmp_path / "link.csv"
    link.symlink_to(scores)
    for target in (scores, link):
        refused = run_cli("evaluate", sets[0], "--metric", "pi", "--ma", scores, "--csv", target, "--overwrite")
        assert (refused.status, refused.out) == (2, "")
        assert "is what is read" in refused.err
    assert scores.read_text() == "name,ma\na_x4.png,3\n"


def test_values_that_are_no_numbers_are_no_picture(run_cli: Run, sets: tuple[Path, Path], tmp_path: Path) -> None:
    values = np.full((32, 40, 3), 0.5, np.float32)
    values[7, 3] = np.nan
    (sets[0] / "a_x4.png").unlink()
    tifffile.imwrite(sets[0] / "a_x4.tif", values, photometric="rgb")
    done = run_cli("evaluate", *sets, "--json")
    first, *_, last = json_lines(done.out)
    assert done.status == 1
    assert (first["status"], last["mean"], last["measured"]) == ("error", None, 2)
    assert "no numbers (NaN)" in first["error"]


def test_numbers_that_nobody_takes_are_a_failure_but_reports_stand(sets: tuple[Path, Path], tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    report = tmp_path / "numbers.csv"
    command = [sys.executable, "-m", "gantool", "evaluate", *map(str, sets), "--csv", str(report)]
    with Path("/dev/full").open("wb") as full:
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, env=environment, timeout=120)
    assert done.returncode == 4
    assert b"standard output cannot be written" in done.stderr
    assert len(csv_rows(report)) == 6


def test_transparent_pictures_are_refused_and_an_opaque_alpha_is_ignored(run_cli: Run, sets: tuple[Path, Path]) -> None:
    color = read(sets[0] / "a_x4.png").color
    plain = json_lines(run_cli("evaluate", *sets, "--json").out)[0]["values"]
    write(sets[0] / "a_x4.png", Picture(color, torch.full((1, 32, 40), 255, dtype=torch.uint8)))
    assert json_lines(run_cli("evaluate", *sets, "--json").out)[0]["values"] == plain
    write(sets[0] / "a_x4.png", Picture(color, noise(1, 32, 40)))
    refused = run_cli("evaluate", *sets)
    assert refused.status == 1
    assert "a_x4.png is transparent" in refused.err
    assert "mean withheld" in refused.out


def test_a_gray_reference_and_a_result_in_color_are_compared_as_gray_and_it_is_said(
    run_cli: Run, sets: tuple[Path, Path]
) -> None:
    plain = json_lines(run_cli("evaluate", *sets, "--json").out)[2]
    write(sets[0] / "c_x4.png", Picture(read(sets[0] / "c_x4.png").color.expand(3, -1, -1)))
    done = json_lines(run_cli("evaluate", *sets, "--json").out)[2]
    assert done["values"] == plain["values"]
    assert "note" not in plain
    assert "the reference is gray" in done["note"]
    assert "c_x4.png: the reference is gray" in run_cli("evaluate", *sets).out


def test_two_single_pictures_need_no_common_name(run_cli: Run, sets: tuple[Path, Path], tmp_path: Path) -> None:
    shutil.copy(sets[0] / "a_x4.png", tmp_path / "anything.png")
    done = run_cli("evaluate", tmp_path / "anything.png", sets[1] / "a.png", "--json")
    assert json_lines(done.out)[0]["values"] == expected(*sets, ["psnr-y", "ssim-y"], border=0, names="a")[0]


def test_a_picture_and_a_folder_do_not_go_together(run_cli: Run, sets: tuple[Path, Path]) -> None:
    refused = run_cli("evaluate", sets[0] / "a_x4.png", sets[1])
    assert (refused.status, refused.out) == (2, "")
    assert "two pictures or two folders" in refused.err


def test_a_folder_that_is_empty_or_missing_is_refused_with_what_was_looked_for(run_cli: Run, sets: tuple[Path, Path]) -> None:
    (sets[0].parent / "empty").mkdir()
    refused = run_cli("evaluate", sets[0].parent / "empty", sets[1])
    assert (refused.status, refused.out) == (2, "")
    assert "no images found" in refused.err
    assert ".png" in refused.err
    refused = run_cli("evaluate", sets[0], sets[1].parent / "missing")
    assert (refused.status, refused.out) == (2, "")
    assert "missing is not there" in refused.err


@pytest.mark.parametrize("side", [0, 1])
def test_one_file_removed_on_one_side_is_named_and_nothing_is_measured(
    run_cli: Run, sets: tuple[Path, Path], side: int
) -> None:
    removed = sorted(sets[side].iterdir())[0]
    removed.unlink()
    refused = run_cli("evaluate", *sets)
    assert (refused.status, refused.out) == (2, "")
    lone = ["without a result: a.png", "without a reference: a_x4.png"][side]
    assert lone in refused.err
    assert "b_x4.png" not in refused.err.partition(". ")[0]


def test_sub_folders_are_compared_when_asked(run_cli: Run, sets: tuple[Path, Path]) -> None:
    for folder, name in zip(sets, ("a_x4.png", "a.png"), strict=True):
        (folder / "more").mkdir()
        shutil.copy(folder / name, folder / "more" / name)
    assert "mean of 3" in run_cli("evaluate", *sets).out
    done = run_cli("evaluate", *sets, "-r")
    assert "mean of 4" in done.out
    assert "more/a_x4.png" in done.out
    (sets[0] / "more/a_x4.png").rename(sets[0] / "more/b_x4.png")  # there is a b, but not in that folder
    refused = run_cli("evaluate", *sets, "--recursive")
    assert refused.status == 2
    assert "without a reference: more/b_x4.png" in refused.err


def test_names_of_any_kind_are_printed_literally_and_in_one_line(run_cli: Run, sets: tuple[Path, Path]) -> None:
    for folder in sets:
        for path in folder.iterdir():
            path.unlink()
        write(folder / "[red]\n\x1b[31m{0}%s.png", Picture(noise(3, 16, 16)))
    done = run_cli("evaluate", *sets)
    assert done.status == 0
    assert done.out.splitlines()[1].startswith("[red]\\n\\x1b[31m{0}%s.png")


def names(*stems: str, suffix: str = ".png") -> list[Path]:
    return [Path(stem + suffix) for stem in stems]


@pytest.mark.parametrize(
    "expected_pairs",
    [
        {"a": "a", "b": "b"},
        {"a_x4": "a", "bx4": "b"},
        {"a_out": "a", "b_x2.5": "b"},
        {"ax4_x4": "a", "bx4_out": "b"},  # what upscaling ax4.png gives
        {"a_span-x4": "a", "b_span-x4": "b"},
        {"ax4_span_x4": "a", "bx4_span_x4": "b"},
        {"a_b_x4": "a_b", "a_x4": "a"},  # the longest reference
        {"img_1_x4_x4": "img_1_x4", "img_10": "img_10", "img_1": "img_1"},
        {"x4": "x4", "x4x4": "x4x4"},
    ],
)
def test_pairs_go_by_name_with_the_endings_that_tools_append(expected_pairs: dict[str, str]) -> None:
    references = names(*sorted(expected_pairs.values()), suffix=".jpg")
    pairs = pair(names(*expected_pairs), references)
    assert pairs == [Pair(Path(f"{a}.png"), Path(f"{b}.jpg")) for a, b in expected_pairs.items()]


@pytest.mark.parametrize(
    ("results", "references", "words"),
    [
        (["a", "c"], ["a", "b"], ["without a reference: c.png", "without a result: b.png"]),
        (["a", "a_x4"], ["a"], ["results of one name: a.png, a_x4.png"]),
        (["a_span", "a_edsr"], ["a"], ["a_span.png", "a_edsr.png"]),
        (["house_front", "tree"], ["house", "tree"], ["without a reference: house_front.png"]),  # front is no model
        (["img_2"], ["img"], ["without a reference: img_2.png"]),
        (["a4"], ["a"], ["without a reference: a4.png"]),
        (["b"], ["a"], ["without a reference: b.png", "without a result: a.png"]),  # same number, same position
        (["A"], ["a"], ["without a reference: A.png"]),
    ],
)
def test_files_without_exactly_one_partner_are_named(results: list[str], references: list[str], words: list[str]) -> None:
    with pytest.raises(UsageError) as refused:
        pair(names(*results), names(*references))
    for word in words:
        assert word in str(refused.value)


def test_two_references_of_one_name_are_ambiguous() -> None:
    with pytest.raises(UsageError, match=r"references of one name: a\.png, a\.jpg"):
        pair(names("a_x4"), [Path("a.png"), Path("a.jpg")])


def test_many_files_without_a_partner_are_named_up_to_five_and_counted() -> None:
    with pytest.raises(UsageError, match=r"without a result: r0\.png, r1\.png, r2\.png, r3\.png, r4\.png and 7 more"):
        pair(names("a"), names("a", *(f"r{n}" for n in range(12))))


def test_bicubic_on_set14_has_the_published_row_through_the_command(run_cli: Run, shared: Path, tmp_path: Path) -> None:
    """Results named as `upscale` names those of `baboonx4.png`: the 8-bit pipeline of the published row, 26.00 at x4."""
    from gantool.layers.resampling import imresize

    for low in (shared / "data/set14/lr_x4").glob("*.png"):
        high = imresize(read(low).color[None].double(), 4.0)[0]
        write(tmp_path / f"{low.stem}_x4.png", Picture((high + 0.5).floor().clamp(0, 255).byte()))
    done = run_cli("evaluate", tmp_path, shared / "data/set14/hr", "--protocol", "sr", "--scale", 4, "--json")
    last = json_lines(done.out)[-1]
    assert last["measured"] == 14
    assert last["mean"]["psnr-y"] == pytest.approx(26.00, abs=0.02)
    assert last["mean"]["ssim-y"] == pytest.approx(0.7029, abs=0.0005)
