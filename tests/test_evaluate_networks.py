"""`gantool evaluate` with metrics that look through networks, given as files: values are those of the functions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
import torchmetrics
import torchvision
from inception import random_inception

from gantool import frozen
from gantool.images import Picture, read, write
from gantool.layers.inception import prepared
from gantool.layers.resampling import imresize
from gantool.metrics import bind

if TYPE_CHECKING:
    from conftest import Result

Run = Callable[..., "Result"]
PHOTO = Path(__file__).parent / "data/parrots.png"
HEADS = Path(torchmetrics.__file__).parent / "functional/image/lpips_models/squeeze.pth"


def lines(done: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in done.out.splitlines()]


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two folders, `results` and `references`, of two pairs; results are turned upside down."""
    photo = imresize(read(PHOTO).color[None], 4.0)[0]
    for folder in ("results", "references"):
        (tmp_path / folder).mkdir()
        for number, name in enumerate("ab"):
            part = photo[:, :224, 40 * number : 40 * number + 224]
            write(tmp_path / folder / f"{name}.png", Picture(part.flip(1) if folder == "results" else part))
    return tmp_path / "results", tmp_path / "references"


@pytest.fixture(autouse=True)
def _memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_ASSETS_CACHE", str(tmp_path / "assets"))


@pytest.fixture(scope="module")
def inception(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of FID's network with random weights."""
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save(random_inception(), path)
    return path


@pytest.fixture(scope="module")
def squeezenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of SqueezeNet with random weights."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "squeezenet.pth"
    torch.save(torchvision.models.squeezenet1_1().state_dict(), path)
    return path


def test_lpips_through_given_files_is_that_of_the_function_and_said_to_be_none_to_compare(
    run_cli: Run, folders: tuple[Path, Path], squeezenet: Path
) -> None:
    given = {"squeezenet": squeezenet, "lpips-squeeze": HEADS}
    options = [word for name, path in given.items() for word in ("--weights", f"{name}={path}")]
    done = run_cli("evaluate", *folders, "--metric", "lpips-squeeze", *options, "--crop-border", 8, "--json")
    parts = {name: frozen.part(name, path).value for name, path in given.items()}
    measure = bind("lpips-squeeze", parts)
    *items, last = lines(done)
    assert done.status == 0
    for item, name in zip(items, "ab", strict=True):
        result, reference = (read(folder / f"{name}.png").color[None, :, 8:-8, 8:-8] for folder in folders)
        assert item["values"]["lpips-squeeze"] == pytest.approx(measure(result, reference), rel=1e-5)
    assert "squeezenet.pth" in last["recipe"]
    assert "NOT LPIPS" in last["recipe"]
    assert "lpips-squeeze: " in last["recipe"]


def test_niqe_and_the_perceptual_index_need_no_references(run_cli: Run, folders: tuple[Path, Path], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    spread = rng.normal(size=(36, 36))
    np.savez(
        tmp_path / "niqe.npz",
        mu_pris_param=rng.normal(size=(1, 36)),
        cov_pris_param=spread @ spread.T,
        gaussian_window=np.full((7, 7), 1 / 49),
    )
    (tmp_path / "ma.csv").write_text("name,ma\na.png,8.5\nb,2\n")
    options = ["--metric", "niqe,pi", "--weights", f"niqe={tmp_path / 'niqe.npz'}", "--ma", tmp_path / "ma.csv", "--json"]
    done = run_cli("evaluate", folders[0], *options)
    *items, last = lines(done)
    assert done.status == 0
    measure = bind("niqe", {"niqe": frozen.part("niqe", tmp_path / "niqe.npz").value})
    for item, ma in zip(items, (8.5, 2), strict=True):
        picture = read(Path(item["input"])).color[None]
        assert item["values"]["niqe"] == pytest.approx(measure(picture, picture))
        assert item["values"]["pi"] == pytest.approx(((10 - ma) + item["values"]["niqe"]) / 2)
    assert "Ma as given" in last["recipe"]
    (tmp_path / "ma.csv").write_text("name,ma\na.png,8.5\n")
    lacking = run_cli("evaluate", folders[0], *options)
    assert lacking.status == 1
    assert "b.png" in lacking.err


@pytest.mark.parametrize("variant", ["legacy-pytorch", "clean"])
def test_distances_of_sets_look_through_inception_as_the_variant_says(
    run_cli: Run, folders: tuple[Path, Path], inception: Path, variant: str
) -> None:
    command = ["evaluate", *folders, "--metric", "fid,kid", "--weights", f"inception={inception}", "--fid-variant", variant]
    done = run_cli(*command, "--json")
    [last] = lines(done)
    assert done.status == 0
    found = {value["metric"]: value for value in last["sets"]}
    assert set(found) == {"fid", "kid"}
    network = frozen.part("inception", inception).value
    features = []
    for folder in folders:
        images = torch.cat([prepared(read(folder / f"{name}.png").color[None], variant) for name in "ab"])
        features.append(network(images)[0].double())
    one, other = features
    # two pictures a side span one direction each: the trace of the root is known
    spans = [(side[1] - side[0]) / 2**0.5 for side in features]
    root = (spans[0] @ spans[1]).abs()
    squares = sum(span.square().sum() for span in spans)
    expected = (one.mean(0) - other.mean(0)).square().sum() + squares - 2 * root
    assert found["fid"]["value"] == pytest.approx(float(expected), rel=1e-4)
    assert f"variant {variant}" in found["fid"]["recipe"]
    assert "2 pictures of results against 2 pictures of the references" in found["fid"]["recipe"]
    assert any("below 2,049" in warning for warning in found["fid"]["warnings"])
    text = run_cli(*command).out  # from memory
    assert text.splitlines()[0].startswith("fid: ")
    assert "warning: fid of 2 pictures" in text


def test_statistics_in_a_file_stand_for_references(
    run_cli: Run, folders: tuple[Path, Path], inception: Path, tmp_path: Path
) -> None:
    np.savez(tmp_path / "zero.npz", mu=np.zeros(2048), sigma=np.zeros((2048, 2048)))
    command = [
        "evaluate",
        folders[0],
        tmp_path / "zero.npz",
        "--metric",
        "fid,colorfulness",
        "--weights",
        f"inception={inception}",
    ]
    *items, last = lines(run_cli(*command, "--json"))
    assert len(items) == 2
    assert last["sets"][0]["value"] > 0
    assert "zero.npz" in last["sets"][0]["recipe"]


def test_a_file_of_another_network_is_refused_before_anything_is_measured(
    run_cli: Run, folders: tuple[Path, Path], squeezenet: Path
) -> None:
    refused = run_cli("evaluate", *folders, "--metric", "psnr,fid", "--weights", f"inception={squeezenet}")
    assert (refused.status, refused.out) == (3, "")
    assert "inception" in refused.err
    assert refused.err.count("\n") == 1
