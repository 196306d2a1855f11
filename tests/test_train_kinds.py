"""Training of everything that translates or generates, from every kind of folder, as a user runs it."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Result
from networks import SMALL
from PIL import Image
from safetensors.torch import load_file

from gantool import images, systems, weights
from gantool.system import Generator
from gantool.training import checkpoints

Run = Callable[..., Result]

ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}  # the order of additions, and so the last bit, depends on threads
LEARNERS = [*systems.names("translation"), *systems.names("generation")]


def options(name: str, *more: str) -> list[str]:
    """What makes a system's training small."""
    fields = {field.name for field in dataclasses.fields(systems.load(name).config)}
    changes = [f"{key}={list(v) if isinstance(v, tuple) else v}" for key, v in SMALL.items() if key in fields]
    return [*(part for change in changes for part in ("--set", change)), *more]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders of circles, red and blue, by the same names; and one folder with both in sub-folders."""
    root = tmp_path_factory.mktemp("data")
    y, x = np.mgrid[:24, :24]
    for color, channel in (("red", 0), ("blue", 2)):
        for number in range(6):
            pixels = np.full((24, 24, 3), 255, np.uint8)
            pixels[(y - 12) ** 2 + (x - 8 - number) ** 2 < 36] = np.eye(3, dtype=np.uint8)[channel] * 220
            for folder in (root / color, root / "both" / color):
                folder.mkdir(exist_ok=True, parents=True)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return root


def data_of(name: str, root: Path) -> list[Path]:
    kind = systems.load(name).system.folder
    return {"plain": [root / "both"], "labelled": [root / "both"]}.get(kind, [root / "red", root / "blue"])


def start(name: str, data: list[Path], run: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "gantool", "train", name, *map(str, data), "-o", str(run), *options(name), *more]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=ONE_THREAD, start_new_session=True)


@pytest.mark.parametrize("name", LEARNERS)
def test_a_run_leaves_a_model_that_its_verb_runs_with_no_flags(name: str, folders: Path, tmp_path: Path, run_cli: Run) -> None:
    run, few = tmp_path / "run", ["--batch", "4"]
    plan = run_cli("train", name, *data_of(name, folders), "-o", run, *options(name, *few), "--dry-run")
    assert plan.status == 0, plan.err
    stages = [line.split()[1].rstrip(":") for line in plan.err.splitlines() if line.startswith("stage ")]
    assert "GB of memory" in plan.err
    steps = [part for stage in stages for part in ("--steps", f"{stage}=2")]
    ended = run_cli("train", name, *data_of(name, folders), "-o", run, *options(name, *few), *steps)
    assert ended.status == 0, ended.err
    with Image.open(sorted((run / "samples").iterdir())[-1]) as sheet:
        assert max(sheet.size) >= 4 * 16
    model = weights.load(str(run / "model.safetensors"))
    if isinstance(model.system, Generator):
        ended = run_cli("generate", "-m", run / "model.safetensors", "--seeds", "0,1", "-o", tmp_path / "made/")
        made = [tmp_path / "made" / f"seed000{n}.png" for n in range(2)]
    else:
        targets = model.system.targets  # type: ignore[attr-defined]
        wish = ("--to", targets[-1]) if targets else ()
        ended = run_cli("translate", folders / "red", "-m", run / "model.safetensors", *wish, "-o", tmp_path / "made/")
        made = [tmp_path / "made" / f"{n}.png" for n in range(6)]
    assert ended.status == 0, ended.err
    assert all(path.is_file() for path in made)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cyclegan", "stargan", "pggan"])
def test_a_killed_run_resumes_to_the_bits_of_an_unbroken_one(name: str, folders: Path, tmp_path: Path) -> None:
    more = {
        "cyclegan": ("--set", "pool=3", "--steps", "8"),
        "stargan": ("--steps", "8"),  # a critic that takes five batches a step
        "pggan": ("--steps", "4=2", "--steps", "8-fade=2", "--steps", "8=2", "--steps", "16-fade=1", "--steps", "16=1"),
    }[name]
    data, common = data_of(name, folders), ("--batch", "2", "--save-every", "2", *more)
    straight = start(name, data, tmp_path / "straight", *common)
    killed = start(name, data, tmp_path / "killed", *common)
    end = time.monotonic() + 100
    while not (tmp_path / "killed/checkpoints/00000002.safetensors").exists():
        assert time.monotonic() < end, "no checkpoint came"
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    reached = max(int(path.stem) for path in (tmp_path / "killed/checkpoints").glob("0*.safetensors"))
    assert reached < 8, "the run was over before it was killed"
    resumed = start(name, data, tmp_path / "killed", *common, "--resume")
    assert straight.communicate()[0] is None
    errors = resumed.communicate()[1]
    assert straight.returncode == resumed.returncode == 0, errors
    whole, broken = (load_file(tmp_path / run / "checkpoints/00000008.safetensors") for run in ("straight", "killed"))
    assert whole.keys() == broken.keys()
    assert [key for key in whole if not torch.equal(whole[key], broken[key])] == []


def test_what_the_data_says_goes_into_the_model(folders: Path, tmp_path: Path, run_cli: Run) -> None:
    for name, field, names in (("cgan", "classes", ["blue", "red"]), ("cyclegan", "domains", ["red", "blue"])):
        ended = run_cli("train", name, *data_of(name, folders), "-o", tmp_path / name, *options(name, "--steps", "1"))
        assert ended.status == 0, ended.err
        config = weights.load(str(tmp_path / name / "model.safetensors")).header["config"]
        assert isinstance(config, dict)
        assert config[field] == names


def test_classes_can_be_called_otherwise_but_not_be_others(folders: Path, tmp_path: Path, run_cli: Run) -> None:
    for names, status, words in (('["sky", "fire"]', 0, "trained"), ('["sky", "fire", "sea"]', 2, "names 3, the data has 2")):
        run = tmp_path / str(status)
        more = ("--steps", "1", "--set", f"classes={names}")
        ended = run_cli("train", "cgan", folders / "both", "-o", run, *options("cgan", *more))
        assert ended.status == status, ended.err
        assert words in ended.err


def test_a_run_with_names_of_ones_own_resumes_without_naming_them_again(folders: Path, tmp_path: Path, run_cli: Run) -> None:
    run = tmp_path / "run"
    first = ("--steps", "1", "--set", 'domains=["sky", "fire"]')
    assert run_cli("train", "cyclegan", folders / "red", folders / "blue", "-o", run, *options("cyclegan", *first)).status == 0
    ended = run_cli("train", "cyclegan", folders / "red", folders / "blue", "-o", run, "--resume", "--steps", "2")
    assert ended.status == 0, ended.err
    config = weights.load(str(run / "model.safetensors")).header["config"]
    assert isinstance(config, dict)
    assert config["domains"] == ["sky", "fire"]


def test_only_what_a_file_holds_is_taken_from_it(folders: Path, tmp_path: Path, run_cli: Run) -> None:
    small = ("train", "dcgan", folders / "both", *options("dcgan", "--steps", "1", "--batch", "4"))
    assert run_cli(*small, "-o", tmp_path / "first").status == 0
    ended = run_cli(*small, "-o", tmp_path / "second", "--init", tmp_path / "first" / "model.safetensors")
    assert ended.status == 0, ended.err
    assert ended.err.partition("fresh are")[2].splitlines()[0] == " discriminator"


def test_pairs_are_made_of_plain_photos_and_validated(folders: Path, tmp_path: Path, run_cli: Run) -> None:
    run, small = tmp_path / "run", options("pix2pix", "--set", "fit=crop", "--steps", "2", "--batch", "2")
    ended = run_cli("train", "pix2pix", folders / "both", "-o", run, "--pairs", "denoise", "--val", folders / "red", *small)
    assert ended.status == 0, ended.err
    assert 'pairs = "denoise"' in (run / "config.toml").read_text()
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    [found] = [line["validation"] for line in lines if "validation" in line]
    assert found["psnr-y"] > 5
    assert 0 < found["l1"] < 1
    metrics = weights.load(str(run / "model.safetensors")).header["metrics"]
    assert isinstance(metrics, dict)
    assert set(metrics) == {"psnr-y, on red", "l1, on red"}
    again = run_cli("train", "pix2pix", folders / "both", "-o", run, "--pairs", "deblur", "--resume", *small)
    assert again.status == 2
    assert "pairs is denoise, not deblur" in again.err


def test_a_vae_is_validated_by_its_own_bound(folders: Path, tmp_path: Path, run_cli: Run) -> None:
    run = tmp_path / "run"
    ended = run_cli("train", "vae", folders / "red", "--val", folders / "blue", "-o", run, *options("vae", "--steps", "3"))
    assert ended.status == 0, ended.err
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [line["validation"].keys() for line in lines if "validation" in line] == [{"elbo"}]


def test_losses_go_to_tensorboard_too(folders: Path, tmp_path: Path, run_cli: Run) -> None:
    pytest.importorskip("tensorboard", reason="the extra gantool[train] is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = tmp_path / "run"
    small = options("vae", "--steps", "50", "--tensorboard")
    ended = run_cli("train", "vae", folders / "both", "-o", run, *small)
    assert ended.status == 0, ended.err
    events = EventAccumulator(str(run))
    events.Reload()
    assert sorted(events.Tags()["scalars"]) == ["autoencoder/divergence", "autoencoder/reconstruction"]
    assert [event.step for event in events.Scalars("autoencoder/divergence")] == [50]


def test_without_tensorboard_the_extra_is_named(
    folders: Path, tmp_path: Path, run_cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard.writer", None)
    ended = run_cli("train", "vae", folders / "both", "-o", tmp_path / "run", *options("vae"), "--tensorboard", "--steps", "1")
    assert ended.status == 2
    assert "pip install 'gantool[train]'" in ended.err


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("cyclegan", ["red"], "two"),
        ("dcgan", ["red", "blue"], "one"),
        ("span", ["red", "blue"], "from one folder of photos"),
        ("cyclegan", ["red", "blue", "--pairs", "denoise"], "does not learn from pairs"),
        ("cyclegan", ["red", "blue", "--val", "red"], "no measure of its own"),
        ("dcgan", ["red", "--val", "blue"], "no measure of its own"),
        ("cgan", ["red"], "red"),
        ("pix2pix", ["red", "nowhere"], "nowhere"),
        ("kernel", ["red"], "nothing to train"),
        ("dcgan", ["red", "--set", "image_channels=2"], "1 for gray or 3 for RGB"),
        ("stargan", ["both", "--set", "size=4"], "size 4"),
        ("cgan", ["both", "--set", "form=one-hot", "--batch", "1"], "use a larger --batch"),
    ],
)
def test_data_that_does_not_fit_is_answered_in_a_line(
    name: str, arguments: list[str], words: str, folders: Path, tmp_path: Path, run_cli: Run
) -> None:
    given = [folders / part if (folders / part).is_dir() else part for part in arguments]
    ended = run_cli("train", name, "-o", tmp_path / "run", *options(name, "--steps", "1"), *given)  # what comes last counts
    assert ended.status == 2
    assert words in ended.err
    assert len(ended.err.strip().splitlines()) == 1, ended.err
    assert not (tmp_path / "run").exists()


def test_attributes_are_for_what_can_learn_several_at_once(folders: Path, tmp_path: Path, run_cli: Run) -> None:
    table = "file,round,red\n" + "".join(f"red/{n}.png,1,1\nblue/{n}.png,1,0\n" for n in range(6))
    (folders / "both" / "table.csv").write_text(table)
    for name, status, words in (("cgan", 2, "use stargan"), ("stargan", 0, "trained")):
        run = tmp_path / name
        ended = run_cli(
            "train", name, folders / "both" / "table.csv", "-o", run, *options(name, "--steps", "1", "--batch", "2")
        )
        assert ended.status == status, ended.err
        assert words in ended.err


def test_a_run_saves_each_stage(folders: Path, tmp_path: Path, run_cli: Run) -> None:
    run = tmp_path / "run"
    steps = [part for stage in ("4", "8-fade", "8", "16-fade", "16") for part in ("--steps", f"{stage}=1")]
    ended = run_cli("train", "pggan", folders / "both", "-o", run, *options("pggan", "--batch", "4"), *steps)
    assert ended.status == 0, ended.err
    sheets = [images.read(path) for path in sorted((run / "samples").iterdir())]
    assert [sheet.page().width // 8 for sheet in sheets] == [4, 8, 8, 16, 16]
    assert checkpoints.load(checkpoints.by_step(run / "checkpoints")[0]).state["stage"] == 4
