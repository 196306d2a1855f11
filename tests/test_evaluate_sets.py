"""`gantool evaluate` with metrics of whole sets and with a user's own networks, as a user runs them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from gantool.images import Picture, read, write

if TYPE_CHECKING:
    from conftest import Result

Run = Callable[..., "Result"]
PHOTO = Path(__file__).parent / "data/parrots.png"


def lines(done: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in done.out.splitlines()]


@pytest.fixture
def sets(tmp_path: Path) -> tuple[Path, Path]:
    """Two folders whose pictures do not pair: 5 results and 4 references of 48x48 pixels."""
    photo = read(PHOTO).color
    for folder, names in (("results", "abcde"), ("references", "vwxy")):
        (tmp_path / folder).mkdir()
        for number, name in enumerate(names):
            place = 3 * number + len(names)
            write(tmp_path / folder / f"{name}.png", Picture(photo[:, :48, place : place + 48]))
    return tmp_path / "results", tmp_path / "references"


def test_sets_are_compared_without_pairs_and_too_few_pictures_are_said(run_cli: Run, sets: tuple[Path, Path]) -> None:
    done = run_cli("evaluate", *sets, "--metric", "swd")
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith("swd: ")
    assert "4 pictures a side" in done.out
    assert "warning: swd of 4 pictures a side" in done.out
    [last] = lines(run_cli("evaluate", *sets, "--metric", "swd", "--json"))
    [found] = last["sets"]
    assert found["metric"] == "swd"
    assert found["value"] > 0
    same = lines(run_cli("evaluate", sets[0], sets[0], "--metric", "swd", "--json"))
    assert same[-1]["sets"][0]["value"] == 0


def test_pictures_and_sets_are_measured_in_one_run_also_of_models(
    run_cli: Run, sets: tuple[Path, Path], tmp_path: Path
) -> None:
    command = ["evaluate", "-m", "nearest", "-m", "bicubic", sets[1], "--scale", 2, "--metric", "psnr-y,swd"]
    found = lines(run_cli(*command, "--json", "--csv", tmp_path / "a.csv"))
    by_label = {item["contestant"]: item for item in found if "recipe" in item}
    assert {label: [value["metric"] for value in item["sets"]] for label, item in by_label.items()} == {
        "nearest-x2": ["swd"],
        "bicubic-x2": ["swd"],
    }
    assert by_label["nearest-x2"]["sets"][0]["value"] != by_label["bicubic-x2"]["sets"][0]["value"]
    header, *table = (tmp_path / "a.csv").read_text().splitlines()
    assert header.startswith("result,reference,psnr-y,swd,contestant")
    _, mean = (line for line in table if line.startswith("mean,"))
    assert float(mean.split(",")[3]) == pytest.approx(by_label["bicubic-x2"]["sets"][0]["value"])


def test_an_unreadable_picture_of_a_set_is_named_and_the_number_withheld(run_cli: Run, sets: tuple[Path, Path]) -> None:
    (sets[0] / "c.png").write_bytes(b"\x89PNG no more")
    done = run_cli("evaluate", *sets, "--metric", "swd")
    assert done.status == 1
    assert "c.png" in done.err
    assert "1 picture could not be read" in done.err
    assert "swd: " not in done.out.partition("\n")[0]
    assert "Traceback" not in done.err


def test_one_damaged_result_withholds_its_sets_number_beside_its_mean_and_is_counted_once(
    run_cli: Run, sets: tuple[Path, Path]
) -> None:
    (sets[0] / "c.png").write_bytes(b"\x89PNG no more")
    shutil.copytree(sets[1], sets[1].parent / "true")
    for name in "vwxy":
        (sets[1].parent / "true" / f"{name}.png").unlink()
    for path in sets[0].iterdir():
        write(sets[1].parent / "true" / path.name, Picture(read(PHOTO).color[:, :48, :48]))
    done = run_cli("evaluate", sets[0], sets[1].parent / "true", "--metric", "psnr,swd", "--json")
    assert done.status == 1
    last = lines(done)[-1]
    assert (last["mean"], "sets" in last) == (None, False)
    assert "1 of 5 pictures could not be measured" in done.err


def test_a_network_that_is_not_at_hand_is_a_sentence_with_the_remedy(
    run_cli: Run, sets: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "empty"))
    for metric, part in (("fid", "inception"), ("niqe", "niqe")):
        done = run_cli("evaluate", *sets, "--metric", metric, "--offline")
        assert (done.status, done.out) == (3, "")
        assert f"--weights {part}=FILE" in done.err
        assert done.err.count("\n") == 1


def test_a_file_of_statistics_stands_for_the_references_of_fid_alone(
    run_cli: Run, sets: tuple[Path, Path], tmp_path: Path
) -> None:
    np.savez(tmp_path / "reference.npz", mu=np.zeros(2048), sigma=np.eye(2048))
    refused = run_cli("evaluate", sets[0], tmp_path / "reference.npz", "--metric", "fid,psnr")
    assert (refused.status, refused.out) == (2, "")
    assert "reference.npz has statistics for fid, and psnr needs the pictures" in refused.err


@pytest.mark.parametrize("metric", ["swd", "precision", "seg"])
def test_metrics_of_two_sides_ask_for_the_other_one(run_cli: Run, sets: tuple[Path, Path], metric: str) -> None:
    refused = run_cli("evaluate", sets[0], "--metric", metric)
    assert (refused.status, refused.out) == (2, "")
    assert "name their folder too" in refused.err


def test_label_maps_in_colours_are_scored_by_their_nearest_colours(run_cli: Run, tmp_path: Path) -> None:
    classes = np.arange(64, dtype=np.uint8).reshape(8, 8) % 3
    for folder in ("maps", "labels"):
        (tmp_path / folder).mkdir()
    Image.fromarray(classes).save(tmp_path / "labels/a.png")
    colors = np.array([(250, 3, 0), (0, 251, 4), (9, 0, 244)], np.uint8)
    said = classes.copy()
    said[0] = 0  # 8 of 64 pixels, of which 3 are true
    Image.fromarray(colors[said]).save(tmp_path / "maps/a.png")
    (tmp_path / "colours.csv").write_text("name,r,g,b\nsky,255,0,0\ngrass,0,255,0\nsea,0,0,255\n")
    command = ["evaluate", tmp_path / "maps", tmp_path / "labels", "--metric", "seg"]
    [last] = lines(run_cli(*command, "--palette", tmp_path / "colours.csv", "--json"))
    found = {value["metric"]: value["value"] for value in last["sets"]}
    assert found["seg pixel"] == pytest.approx(59 / 64)
    assert set(found) == {"seg pixel", "seg class", "seg iou"}
    refused = run_cli(*command)
    assert refused.status == 2
    assert "--segmenter" in refused.err


def brightness(path: Path) -> Path:
    """A classifier of two classes: 0 for a dark picture, 1 for a bright one."""
    weight = numpy_helper.from_array(np.array([[-1, 1]], np.float32), "w")
    bias = numpy_helper.from_array(np.array([1, 0], np.float32), "b")
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w", "b"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "brightness",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 8, 8])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 2])],
        [weight, bias],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    path.with_suffix(".toml").write_text('channels = 1\nsize = [8, 8]\nnames = ["dark", "bright"]\n')
    return path


def test_a_classifier_says_how_many_results_show_what_they_should(run_cli: Run, tmp_path: Path) -> None:
    levels = {"results": {"dark": [10, 20, 200], "bright": [240]}, "real": {"dark": [0, 30], "bright": [250, 220]}}
    for folder, by_class in levels.items():
        for name, values in by_class.items():
            (tmp_path / folder / name).mkdir(parents=True)
            for number, value in enumerate(values):
                picture = Picture(torch.full((1, 8, 8), value, dtype=torch.uint8))
                write(tmp_path / folder / name / f"{number}.png", picture)
    network = brightness(tmp_path / "net.onnx")
    command = ["evaluate", tmp_path / "results", tmp_path / "real", "--metric", "accuracy", "--classifier", network, "--json"]
    [last] = lines(run_cli(*command))
    assert {value["metric"]: value["value"] for value in last["sets"]} == {"accuracy": 0.75, "accuracy real": 1}
    assert last["sets"][0]["details"]["confusion"] == [[2, 1], [0, 1]]
    refused = run_cli("evaluate", "-m", "bicubic", tmp_path / "real/dark", "--scale", 2, "--metric", "accuracy")
    assert refused.status == 2
    assert "leave out -m" in refused.err


def test_sets_of_models_are_those_that_are_measured_and_faults_of_sets_cost_no_picture(
    run_cli: Run, sets: tuple[Path, Path]
) -> None:
    """Sides are no multiples of 2, so results are smaller than the files of references."""
    for path in sets[1].iterdir():
        write(path, Picture(read(path).color[:, :47, :45]))
    command = ["evaluate", "-m", "nearest", sets[1], "--scale", 2, "--metric", "psnr-y,swd", "--json"]
    done = run_cli(*command)
    assert done.status == 0
    assert lines(done)[-1]["sets"][0]["value"] > 0
    write(sets[1] / "w.png", Picture(read(PHOTO).color[:, :40, :40]))
    mixed = run_cli(*command)  # swd takes one size
    assert mixed.status == 1
    assert mixed.err.count("\n") == 1
    assert "40" in mixed.err
    assert lines(mixed)[-1]["mean"]["psnr-y"] > 0


def test_an_error_in_a_set_is_told_beside_the_pictures_numbers(run_cli: Run, sets: tuple[Path, Path]) -> None:
    results = sets[0].parent / "copies"
    shutil.copytree(sets[1], results)
    for folder in (results, sets[1]):
        write(folder / "w.png", Picture(read(PHOTO).color[:, :40, :40]))
    done = run_cli("evaluate", results, sets[1], "--metric", "psnr,swd")
    assert done.status == 1
    assert "mean of 4" in done.out
    assert "swd" in done.err
