"""Training as a user runs it: it learns, it resumes bit for bit, it stops cleanly, and says what is wrong."""

from __future__ import annotations

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
from PIL import Image
from safetensors.torch import load_file

from gantool import systems
from gantool.errors import UsageError
from gantool.system import Json, configured
from gantool.systems.super_resolution.span import SPAN, Config
from gantool.training import checkpoints, recipe
from gantool.training.averaging import Average

TINY = [
    *("--set", "channels=6", "--set", "patch=12", "--set", "reparameterized=false", "--set", "scale=2", "--batch", "2"),
    *("--set", "input_range=1"),
]
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}  # the order of additions, and so the last bit, depends on threads

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three smooth pictures, 60 pixels a side."""
    folder = tmp_path_factory.mktemp("photos")
    y, x = np.mgrid[:60, :60]
    for number in range(3):
        waves = [127 + 120 * np.sin(x / (3 + number + channel) + y / (5 + channel)) for channel in range(3)]
        Image.fromarray(np.stack(waves, 2).astype(np.uint8)).save(folder / f"{number}.png")
    return folder


def start(photos: Path, run: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "gantool", "train", "span", str(photos), "-o", str(run), *TINY, *options]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=ONE_THREAD, start_new_session=True)


def wait_for(path: Path, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} never came"
        time.sleep(0.02)


def test_a_run_leaves_a_model_a_log_samples_and_checkpoints_and_learns(photos: Path, tmp_path: Path, run_cli: Run) -> None:
    run = tmp_path / "run"
    ended = run_cli("train", "span", photos, "-o", run, *TINY, "--steps", "100", "--save-every", "50", "--val", photos)
    assert ended.status == 0, ended.err
    assert sorted(path.name for path in run.iterdir()) == [
        "best.safetensors", "checkpoints", "config.toml", "log.jsonl", "model.safetensors", "samples",
    ]  # fmt: skip
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    means = [line["losses"]["generator/l1"] for line in lines if "losses" in line]
    assert means[-1] < means[0]
    assert all(0 <= line["waited_for_data"] <= 1 for line in lines if "losses" in line)
    assert [line["step"] for line in lines if "validation" in line] == [50, 100]
    with Image.open(run / "samples" / "00000100.png") as sheet:
        assert sheet.size == (4 * 24, 3 * 24)


def test_a_trained_model_upscales_with_no_flags(photos: Path, tmp_path: Path, run_cli: Run) -> None:
    run = tmp_path / "run"
    assert run_cli("train", "span", photos, "-o", run, *TINY, "--steps", "2").status == 0
    ended = run_cli("upscale", photos / "0.png", "-o", tmp_path / "big.png", "-m", run / "model.safetensors")
    assert ended.status == 0, ended.err
    with Image.open(tmp_path / "big.png") as big:
        assert big.size == (120, 120)


def test_a_killed_run_resumes_to_the_bits_of_an_unbroken_one(photos: Path, tmp_path: Path) -> None:
    options = ("--steps", "12", "--save-every", "4")
    straight = start(photos, tmp_path / "straight", *options)
    killed = start(photos, tmp_path / "killed", "--steps", "12", "--save-every", "4")
    wait_for(tmp_path / "killed/checkpoints/00000004.safetensors")
    killed.kill()
    killed.communicate()
    reached = max(int(path.stem) for path in (tmp_path / "killed/checkpoints").glob("0*.safetensors"))
    assert reached < 12, "the run was over before it was killed"
    resumed = start(photos, tmp_path / "killed", *options, "--resume")
    assert straight.communicate()[1] is not None
    errors = resumed.communicate()[1]
    assert straight.returncode == resumed.returncode == 0, errors
    assert "resumed from" in errors
    whole, broken = (load_file(tmp_path / name / "checkpoints/00000012.safetensors") for name in ("straight", "killed"))
    assert whole.keys() == broken.keys()
    assert [key for key in whole if not torch.equal(whole[key], broken[key])] == []
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("straight", "killed"))
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize(("signum", "status", "workers"), [(signal.SIGTERM, 143, "0"), (signal.SIGINT, 130, "1")])
def test_a_signal_saves_first(photos: Path, tmp_path: Path, signum: int, status: int, workers: str) -> None:
    run = tmp_path / "run"
    training = start(photos, run, "--steps", "100000", "--save-every", "5", "--workers", workers)
    wait_for(run / "checkpoints/00000005.safetensors")
    before = {path.name for path in (run / "checkpoints").iterdir()}
    os.killpg(training.pid, signum)  # as a terminal does
    errors = training.communicate(timeout=30)[1]
    assert training.returncode == status
    assert "stopped and saved after step" in errors
    assert "Traceback" not in errors
    newest = checkpoints.by_step(run / "checkpoints")[0]
    assert newest.name not in before
    assert checkpoints.load(newest).state["step"] == int(newest.stem)


def test_a_finished_run_is_extended_by_resuming_with_more_steps(photos: Path, tmp_path: Path, run_cli: Run) -> None:
    run = tmp_path / "run"
    for extra in (["--steps", "3"], ["--steps", "5", "--resume"]):
        assert run_cli("train", "span", photos, "-o", run, *TINY, *extra).status == 0
    assert checkpoints.load(checkpoints.by_step(run / "checkpoints")[0]).state["step"] == 5


def test_a_damaged_checkpoint_is_named_and_the_one_before_taken(photos: Path, tmp_path: Path, run_cli: Run) -> None:
    run = tmp_path / "run"
    run_cli("train", "span", photos, "-o", run, *TINY, "--steps", "4", "--save-every", "2")
    newest = run / "checkpoints/00000004.safetensors"
    newest.write_bytes(newest.read_bytes()[:1000])
    ended = run_cli("train", "span", photos, "-o", run, *TINY, "--resume")
    assert ended.status == 0
    assert "00000004.safetensors is damaged" in ended.err
    assert "resumed from" in ended.err
    assert "00000002.safetensors" in ended.err


def test_a_run_of_an_older_version_resumes(photos: Path, tmp_path: Path, run_cli: Run) -> None:
    run = tmp_path / "run"
    run_cli("train", "span", photos, "-o", run, *TINY, "--steps", "2")
    [path] = checkpoints.by_step(run / "checkpoints")
    whole = checkpoints.load(path)
    checkpoints.save(path, whole.tensors, {key: value for key, value in whole.state.items() if key != "least"})
    ended = run_cli("train", "span", photos, "-o", run, "--resume", "--steps", "3")
    assert (ended.status, "resumed from" in ended.err) == (0, True), ended.err


def test_a_resume_with_other_options_names_them(photos: Path, tmp_path: Path, run_cli: Run) -> None:
    run = tmp_path / "run"
    run_cli("train", "span", photos, "-o", run, *TINY, "--steps", "1")
    ended = run_cli("train", "span", photos, "-o", run, "--resume", "--seed", "3", "--set", "channels=8")
    assert ended.status == 2
    assert "seed is 0, not 3" in ended.err
    assert "set channels is 6, not 8" in ended.err


def test_a_resume_with_other_pictures_is_refused(photos: Path, tmp_path: Path, run_cli: Run) -> None:
    run, data = tmp_path / "run", tmp_path / "data"
    data.mkdir()
    for path in photos.iterdir():
        (data / path.name).write_bytes(path.read_bytes())
    run_cli("train", "span", data, "-o", run, *TINY, "--steps", "1")
    (data / "0.png").unlink()
    ended = run_cli("train", "span", data, "-o", run, "--resume", "--steps", "2")
    assert ended.status == 2
    assert "not those of the run" in ended.err


def test_a_second_run_into_the_same_folder_is_refused(photos: Path, tmp_path: Path, run_cli: Run) -> None:
    run = tmp_path / "run"
    run_cli("train", "span", photos, "-o", run, *TINY, "--steps", "1")
    ended = run_cli("train", "span", photos, "-o", run, *TINY, "--steps", "1")
    assert ended.status == 2
    assert "already holds a run" in ended.err


def test_a_loss_that_is_not_finite_stops_with_its_name_and_step(photos: Path, tmp_path: Path, run_cli: Run) -> None:
    run = tmp_path / "run"
    huge = ("--set", "learning_rate=1e30")
    ended = run_cli("train", "span", photos, "-o", run, *TINY, "--steps", "50", "--save-every", "1", *huge)
    assert ended.status == 4
    assert ended.err.splitlines()[-1].startswith("gantool: ")
    assert "generator" in ended.err
    assert "at step" in ended.err
    for path in checkpoints.by_step(run / "checkpoints"):
        assert all(torch.isfinite(tensor).all() for tensor in load_file(path).values())


def test_old_checkpoints_are_pruned(photos: Path, tmp_path: Path, run_cli: Run) -> None:
    run = tmp_path / "run"
    run_cli("train", "span", photos, "-o", run, *TINY, "--steps", "6", "--save-every", "1")
    assert [path.stem for path in checkpoints.by_step(run / "checkpoints")] == ["00000006", "00000005", "00000004"]


def test_training_goes_on_from_given_weights(photos: Path, tmp_path: Path, run_cli: Run) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    run_cli("train", "span", photos, "-o", first, *TINY, "--steps", "30")
    x3 = [option.replace("scale=2", "scale=3") for option in TINY]
    slow = ("--set", "learning_rate=1e-9")
    ended = run_cli("train", "span", photos, "-o", second, *x3, "--steps", "1", "--init", first / "model.safetensors", *slow)
    assert ended.status == 0, ended.err
    assert "fresh are generator.upsampler.bias, generator.upsampler.weight" in ended.err
    one, other = (load_file(run / "model.safetensors") for run in (first, second))
    assert torch.allclose(one["generator.blocks.0.c1.weight"], other["generator.blocks.0.c1.weight"], atol=1e-6)


def test_a_dry_run_prints_the_plan_and_makes_nothing(photos: Path, tmp_path: Path, run_cli: Run) -> None:
    ended = run_cli("train", "span", photos, "-o", tmp_path / "run", *TINY, "--dry-run", "--steps", "7")
    assert ended.status == 0
    for words in ("stage pixel: 7 steps, batch 2, images of 24 pixels", "phase generator", "parameters; losses l1", "hours"):
        assert words in ended.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--set", "chanels=3"], "did you mean channels"),
        (["--set", "channels=wide"], "it must be a whole number, 1 or more, like 48"),
        (["--set", "channels=0"], "it must be a whole number"),
        (["--set", "channels"], "write --set key=value"),
        (["--steps", "adversarial=3"], "no stage named 'adversarial'"),
        (["--steps", "0"], "a number of steps is needed"),
        (["--dtype", "fp17"], "no precision named 'fp17'"),
        (["--device", "quantum"], "device 'quantum' is not available"),
        (["--config", "missing.toml"], "missing.toml cannot be read as a configuration"),
        (["--val", "nowhere"], "nowhere is not a folder"),
        (["--resume"], "config.toml cannot be read"),
    ],
)
def test_options_that_do_not_fit_are_answered_in_a_line(
    photos: Path, tmp_path: Path, run_cli: Run, options: list[str], words: str
) -> None:
    ended = run_cli("train", "span", photos, "-o", tmp_path / "run", *options)
    assert ended.status == 2
    assert words in ended.err
    assert len(ended.err.strip().splitlines()) == 1


def test_an_unknown_system_is_answered_with_the_near_ones(photos: Path, tmp_path: Path, run_cli: Run) -> None:
    ended = run_cli("train", "spam", photos, "-o", tmp_path / "run")
    assert ended.status == 2
    assert "did you mean span" in ended.err


@pytest.mark.parametrize("path", sorted((Path(__file__).parent / "training").glob("*.toml")), ids=lambda path: path.stem)
def test_a_committed_recipe_fits_its_system(path: Path) -> None:
    stored = recipe.read(path)
    paper = systems.load(stored.system)
    stages = {stage.name for stage in paper.system(configured(paper.config(), stored.config)).stages()}
    assert stored.steps.keys() <= stages


def test_a_recipe_survives_being_written(tmp_path: Path) -> None:
    config: dict[str, Json] = {"scale": 2, "learning_rate": 1e-05, "mean_shift": False}
    before = recipe.Recipe("pix2pix", 3, "bf16", 8, 10, "denoise", "MIT", steps={"pixel": 5}, config=config)
    (tmp_path / "config.toml").write_text(recipe.to_toml(vars(before)))
    assert recipe.read(tmp_path / "config.toml") == before


def test_an_unknown_option_in_a_recipe_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('system = "span"\nsede = 1\n')
    with pytest.raises(UsageError, match="did you mean seed"):
        recipe.read(tmp_path / "config.toml")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("steps = 5", "steps = 5 in .*: it must be a table of whole numbers"),
        ("steps = { pixel = -1 }", "it must be a table of whole numbers, 0 or more"),
        ("save_every = 0", "save_every = 0 in .*: it must be a whole number, 1 or more"),
        ("seed = -1", "it must be a whole number, 0 or more"),
        ("batch = true", "it must be a whole number"),
        ("config = 3", "it must be a table"),
        ("pairs = 7", "it must be text"),
    ],
)
def test_a_recipe_whose_options_are_of_the_wrong_kind_is_refused(tmp_path: Path, line: str, words: str) -> None:
    (tmp_path / "config.toml").write_text(f'system = "span"\n{line}\n')
    with pytest.raises(UsageError, match=words):
        recipe.read(tmp_path / "config.toml")


def test_the_average_follows_by_its_decay_and_faster_where_a_stage_begins() -> None:
    system = SPAN(Config(scale=2, channels=4, reparameterized=False))
    average = Average(system)
    weight, shadow = system.generator.conv_cat.weight, average.system.get_parameter("generator.conv_cat.weight")
    average.update(0)  # the first update copies
    for step, share in ((100_000, 0.001), (8, 0.5), (0, 0.9)):
        before = shadow.detach().clone()
        with torch.no_grad():
            weight.add_(1.0)
        average.update(step)
        assert torch.allclose(shadow, before + share * (weight.detach() - before), atol=1e-6)


def test_validation_and_samples_leave_the_statistics_of_batch_norm_as_training_has_them(
    photos: Path, tmp_path: Path, run_cli: Run
) -> None:
    fields = ("blocks=1", "channels=4", "patch=16", "scale=2")
    small = (*(part for field in fields for part in ("--set", field)), "--batch", "2", "--steps", "4", "--save-every", "2")
    assert run_cli("train", "srresnet", photos, "-o", tmp_path / "run", *small, "--val", photos).status == 0
    model, state = (load_file(tmp_path / "run" / n) for n in ("model.safetensors", "checkpoints/00000004.safetensors"))
    statistics = [key for key in model if "running" in key or "tracked" in key]
    assert len(statistics) == 9
    for key in statistics:
        assert torch.equal(model[key], state[f"system.{key}"]), key


TWO_PROCESSES = """
import sys, torch
from pathlib import Path
from gantool.data.folders import PhotoFolder, batches
from gantool.data.transforms import Bicubic, low_high_pair
from gantool.system import configured
from gantool.systems.super_resolution.span import SPAN, Config
from gantool.training import distributed

with distributed.process_group(torch.device("cpu")):
    torch.manual_seed(0)
    system = SPAN(Config(scale=2, channels=6, reparameterized=False, input_range=1.0))
    photos = PhotoFolder(Path(sys.argv[1]), 36, lambda pixels, rng: low_high_pair(pixels, 24, Bicubic(2), rng), 0, print)
    batch = next(batches(photos, 4, 0, distributed.rank(), distributed.ranks(), 0))
    [phase] = system.stages()[0].phases
    sum(phase.losses(batch).values()).backward()
    distributed.average_gradients(list(system.parameters()))
    if distributed.rank() == 0:
        torch.save([parameter.grad for parameter in system.parameters()], sys.argv[2])
"""


NOISE = """
import sys, torch
from gantool.training import distributed

with distributed.process_group(torch.device("cpu")):
    torch.manual_seed(5)
    distributed.draw_apart()
    torch.save(torch.randn(9), f"{sys.argv[1]}/{distributed.rank()}.pt")
"""


def torchrun(processes: int, *arguments: object) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", processes, *arguments]
    done = subprocess.run([str(part) for part in command], env=ONE_THREAD, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_gradients_of_two_processes_average_to_those_of_one(photos: Path, tmp_path: Path) -> None:
    script = tmp_path / "gradients.py"
    script.write_text(TWO_PROCESSES)
    for processes in (1, 2):
        torchrun(processes, script, photos, tmp_path / f"{processes}.pt")
    one, two = (torch.load(tmp_path / f"{processes}.pt", weights_only=True) for processes in (1, 2))
    assert max((a - b).abs().max().item() for a, b in zip(one, two, strict=True)) < 1e-5
    assert max(a.abs().max().item() for a in one) > 1e-3


@pytest.mark.slow
def test_processes_draw_noise_of_their_own_and_the_first_what_it_would_alone(tmp_path: Path) -> None:
    script = tmp_path / "noise.py"
    script.write_text(NOISE)
    torchrun(2, script, tmp_path)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    torch.manual_seed(5)
    assert torch.equal(first, torch.randn(9))
    assert not torch.isclose(first, second).any()


@pytest.mark.slow
def test_torchrun_trains_and_leaves_one_run(photos: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    torchrun(2, "-m", "gantool", "train", "span", photos, "-o", run, *TINY, "--steps", 3)
    assert checkpoints.load(run / "checkpoints/00000003.safetensors").state["batches_taken"] == 3
    assert (run / "model.safetensors").exists()
