"""Training on photos made worse: frozen networks, stages left out, previews, starts, balance and collapse in the log."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Result
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gantool import weights
from gantool.errors import RunError
from gantool.layers.features import FeatureNetwork
from gantool.system import Batch, Phase, Stage, System
from gantool.training.log import Log
from gantool.training.loop import COLLAPSED, LOG_EVERY, Hooks, Settings, Training

Run = Callable[..., Result]
SMALL = [
    *("--set", "generator=compact", "--set", "blocks=1", "--set", "channels=4", "--set", "discriminator_channels=4"),
    *("--set", "features=squeezenet", "--set", 'layers=["fire2"]', "--set", "layer_weights=[0.01]"),
    *("--set", "scale=2", "--set", "patch=32", "--batch", "2"),
]
SHORT = ("--steps", "pretrain=2", "--steps", "adversarial=2")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder `photos` of three smooth pictures, 128 pixels a side, and a file of random features beside it."""
    root = tmp_path_factory.mktemp("data")
    (root / "photos").mkdir()
    y, x = np.mgrid[:128, :128]
    for number in range(3):
        waves = [127 + 120 * np.sin(x / (3 + number + channel) + y / (5 + channel)) for channel in range(3)]
        Image.fromarray(np.stack(waves, 2).astype(np.uint8)).save(root / "photos" / f"{number}.png")
    for seed, name in enumerate(("features", "others")):
        torch.manual_seed(seed)
        save_file(FeatureNetwork("squeezenet").state_dict(), root / f"{name}.safetensors")
    return root


@pytest.fixture
def train(run_cli: Run, data: Path, tmp_path: Path) -> Run:
    """Train a small Real-ESRGAN in the folder `run`."""

    def run(*more: object, features: str = "features") -> Result:
        given = ("--features", data / f"{features}.safetensors") if features else ()
        return run_cli("train", "real-esrgan", data / "photos", "-o", tmp_path / "run", *SMALL, *given, *more)

    return run


def lines(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_a_run_has_both_stages_and_a_model_that_upscales_and_holds_no_frozen_network(
    train: Run, run_cli: Run, data: Path, tmp_path: Path
) -> None:
    ended = train(*SHORT, "--val", data / "photos", "--save-every", "1")
    assert ended.status == 0, ended.err
    assert {key.partition(".")[0] for key in load_file(tmp_path / "run" / "model.safetensors")} == {"generator"}
    newest = max((tmp_path / "run" / "checkpoints").iterdir())
    parts = {key.split(".")[1] for key in load_file(newest) if key.startswith("system.")}
    assert parts == {"generator", "discriminator"}
    assert sum("validation" in line for line in lines(tmp_path / "run")) == 4
    result = run_cli(
        "upscale", data / "photos" / "0.png", "-m", tmp_path / "run" / "model.safetensors", "-o", tmp_path / "x.png"
    )
    assert result.status == 0, result.err
    with Image.open(tmp_path / "x.png") as picture:
        assert picture.size == (256, 256)


def test_the_same_seed_gives_the_same_weights(train: Run, tmp_path: Path) -> None:
    found = []
    for _ in range(2):
        assert train(*SHORT).status == 0
        found.append((tmp_path / "run" / "model.safetensors").read_bytes())
        (tmp_path / "run").rename(tmp_path / f"run{len(found)}")
    assert found[0] == found[1]


def test_a_stage_of_no_steps_is_left_out(train: Run, tmp_path: Path) -> None:
    assert train("--steps", "pretrain=0", "--steps", "adversarial=1").status == 0
    assert (tmp_path / "run" / "checkpoints" / "00000001.safetensors").exists()
    resumed = train("--steps", "pretrain=0", "--steps", "adversarial=3", "--resume")
    assert resumed.status == 0, resumed.err
    assert (tmp_path / "run" / "checkpoints" / "00000003.safetensors").exists()
    nothing = train("--steps", "pretrain=0", "--steps", "adversarial=0")
    assert (nothing.status, "every stage has 0 steps" in nothing.err) == (2, True)


def test_a_preview_shows_degraded_samples_and_starts_nothing(train: Run, tmp_path: Path) -> None:
    ended = train(*SHORT, "--dry-run", "--preview", tmp_path / "sheets")
    assert ended.status == 0, ended.err
    assert sorted(path.name for path in (tmp_path / "sheets").iterdir()) == ["adversarial.png", "pretrain.png"]
    with Image.open(tmp_path / "sheets" / "pretrain.png") as sheet:
        pixels = np.asarray(sheet, np.float32)
    assert pixels.shape == (64, 64, 3)  # two samples wide, low over high
    low = pixels[:32]
    assert (low[::2] == low[1::2]).all()
    assert not (tmp_path / "run").exists()
    alone = train(*SHORT, "--preview", tmp_path / "sheets")
    assert (alone.status, "--dry-run" in alone.err) == (2, True)


def test_a_resumed_run_looks_through_the_same_network(train: Run) -> None:
    assert train(*SHORT).status == 0
    longer = ("--steps", "adversarial=3", "--resume")
    other = train(*longer, features="others")
    assert (other.status, "of sha256" in other.err) == (2, True)
    assert train(*longer).status == 0


def test_without_a_file_the_frozen_network_is_the_entry_of_its_name(train: Run) -> None:
    ended = train(*SHORT, features="")
    assert (ended.status, "no file of squeezenet" in ended.err, "--features" in ended.err) == (2, True, True)
    blind = ("--set", "perceptual_weight=0", *SHORT)
    unneeded = train(*blind)
    assert (unneeded.status, "looks through none" in unneeded.err) == (2, True)
    assert train(*blind, features="").status == 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (("layers=fire5",), 'layers = fire5: it must be a list, like ["conv1_2", "conv2_2"'),
        (("channels=6",), "is (4, 3, 3, 3) there and (6, 3, 3, 3) here"),
        (("generator=rrdb", "growth=4"), "another network"),
        (("jpeg_quality=[0,95]",), "jpeg"),
        (("noise_sigma=[1,300]",), "noise = (1, 300)"),
        (("scale=3", "generator=rrdb", "patch=48"), "no scale 3"),
        (("scale=3",), "do not divide by the scale 3"),
        (("generator=rrdb", "unshuffle=32"), "no multiple of the 32"),
        (("generator=span", "input_range=0"), "input_range = 0.0 leaves nothing"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(changes: tuple[str, ...], said: str, train: Run, tmp_path: Path) -> None:
    assert train(*SHORT).status == 0
    (tmp_path / "run").rename(tmp_path / "before")
    options = [part for change in changes for part in ("--set", change)]
    ended = train(*options, *SHORT, "--init", tmp_path / "before" / "model.safetensors")
    assert (ended.status, said in ended.err.splitlines()[-1], "Traceback" in ended.err) == (2, True, False), ended.err
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_a_start_from_another_system_is_refused(train: Run) -> None:
    ended = train(*SHORT, "--init", "restore")
    assert (ended.status, "another network" in ended.err) == (2, True)


def test_a_teachers_results_are_the_targets_and_its_file_is_remembered(train: Run, tmp_path: Path) -> None:
    assert train(*SHORT).status == 0
    (tmp_path / "run").rename(tmp_path / "before")
    own = tmp_path / "before" / "model.safetensors"
    still = ("--init", own, "--set", "pretrain_rate=0", "--steps", "pretrain=50", "--steps", "adversarial=1")
    levels = {}
    for name, teacher in (("untaught", ()), ("taught", ("--teacher", own))):
        ended = train(*still, *teacher)
        assert ended.status == 0, ended.err
        losses, *_ = [line["losses"] for line in lines(tmp_path / "run") if "losses" in line]
        assert isinstance(losses, dict)
        levels[name] = losses["generator/pixel"]
        (tmp_path / "run").rename(tmp_path / name)
    # it does what the teacher does, but for colours, which the truth sets right, and results beyond [0, 1]
    assert levels["taught"] < 0.5 * levels["untaught"]
    (tmp_path / "taught").rename(tmp_path / "run")
    longer = ("--steps", "adversarial=2", "--resume")
    without = train(*longer)
    assert (without.status, "--teacher" in without.err) == (2, True)
    assert train(*longer, "--teacher", own).status == 0


@pytest.mark.parametrize(
    ("system", "teacher", "said"),
    [
        ("real-esrgan", "span-x4", "upscales by 4, a teacher of x2 is needed"),
        ("real-esrgan", "restore", "does not upscale, a teacher of x2 is needed"),
        ("real-esrgan", "nobody", "nobody"),
        ("span", "span-x4", "learns from images alone"),
    ],
)
def test_a_teacher_that_cannot_teach_is_refused(system: str, teacher: str, said: str, run_cli: Run, data: Path) -> None:
    given = SMALL if system == "real-esrgan" else ["--set", "scale=2"]
    features = ("--features", data / "features.safetensors") if system == "real-esrgan" else ()
    ended = run_cli("train", system, data / "photos", "-o", data / "taught", *given, *features, "--teacher", teacher)
    assert (ended.status, said in ended.err, "Traceback" in ended.err) == (2, True, False), ended.err


# --- what the loop says ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Config:
    """Nothing to configure."""


class Drifting(System):
    """Made for these tests: its loss grows with the square of the steps from some step on."""

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.generator = nn.Conv2d(1, 1, 1)
        self.register_buffer("taken", torch.zeros(()))
        self.rise = 0.0

    def stages(self) -> list[Stage]:
        """One stage that logs a loss and an accuracy."""
        return [Stage("adversarial", 4 * LOG_EVERY, [Phase("generator", [self.generator], self.losses)])]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """1, and later more, whatever the weights."""
        taken = float(self.get_buffer("taken").add_(1))
        level = 1 + self.rise * max(0.0, taken - 2 * LOG_EVERY)
        self.note("accuracy", torch.tensor(0.75))
        return {"pixel": level + 0 * self.generator.weight.sum()}

    def inference_modules(self) -> dict[str, nn.Module]:
        """The only module."""
        return {"generator": self.generator}


def drift(folder: Path, rise: float, steps: int = 4 * LOG_EVERY) -> None:
    (folder / "checkpoints").mkdir(parents=True)
    system = Drifting(Config())
    system.rise = rise
    stages = [replace(stage, steps=steps) for stage in system.stages()]

    def data(stage: Stage, first: int) -> Iterator[Batch]:
        while True:
            yield {"image": torch.zeros(1, 1, 1, 1)}

    hooks = Hooks(data, lambda system, path, step, metrics: path.write_text(str(step)) and None, lambda _: {}, lambda *_: None)
    with Log(folder / "log.jsonl", quiet=False) as log:
        Training(system, stages, folder, replace(Settings(torch.device("cpu")), save_every=LOG_EVERY), hooks, log).run(False)


def test_losses_and_notes_are_in_the_log_by_name(tmp_path: Path) -> None:
    drift(tmp_path, rise=0.0)
    means = [line for line in lines(tmp_path) if "losses" in line]
    assert [line["losses"] for line in means] == [{"generator/pixel": 1.0}] * 4
    assert [line["notes"] for line in means] == [{"generator/accuracy": 0.75}] * 4


@pytest.mark.parametrize(("steps", "logged"), [(4, [4]), (LOG_EVERY + 1, [LOG_EVERY, LOG_EVERY + 1])])
def test_the_last_steps_are_in_the_log_however_few_they_are(tmp_path: Path, steps: int, logged: list[int]) -> None:
    drift(tmp_path, 0.0, steps)
    assert [line["step"] for line in lines(tmp_path) if "losses" in line] == logged


def test_a_collapse_is_said_and_the_last_good_state_kept(tmp_path: Path) -> None:
    rise = 2 * COLLAPSED / LOG_EVERY  # the mean of the third interval is 1 + COLLAPSED or so
    with pytest.raises(RunError, match=rf"generator/pixel rose to .* by step {3 * LOG_EVERY} .*networks collapsed.*--init"):
        drift(tmp_path, rise)
    assert (tmp_path / "model.safetensors").read_text() == str(2 * LOG_EVERY)
    assert max(path.name for path in (tmp_path / "checkpoints").iterdir()) == f"{2 * LOG_EVERY:08}.safetensors"


def test_what_goes_wrong_before_anything_was_saved_is_not_said_to_be_kept(train: Run, tmp_path: Path) -> None:
    ended = train(*SHORT, "--set", "pretrain_rate=1e30")
    assert (ended.status, "--init" in ended.err, "nothing was saved yet" in ended.err) == (4, False, True), ended.err


def test_a_loss_that_doubles_is_no_collapse(tmp_path: Path) -> None:
    drift(tmp_path, rise=1 / LOG_EVERY)
    assert (tmp_path / "model.safetensors").read_text() == str(4 * LOG_EVERY)


def test_a_model_that_was_trained_is_what_its_header_says(train: Run, tmp_path: Path) -> None:
    assert train(*SHORT).status == 0
    model = weights.load(str(tmp_path / "run" / "model.safetensors"))
    config = model.header["config"]
    assert isinstance(config, dict)
    assert (model.header["system"], config["features"], config["generator"]) == ("real-esrgan", "squeezenet", "compact")
