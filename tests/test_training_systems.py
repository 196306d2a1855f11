"""Every system through the real loop: its turns, what it learns, how it resumes, and its gradients on several processes."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import count, pairwise, repeat
from math import isfinite
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from networks import batch_for, presets, randomize, small
from torch import Tensor, nn

from gantool import systems
from gantool.errors import Stopped
from gantool.system import Batch, Phase, Stage, System
from gantool.training import checkpoints
from gantool.training.log import Log
from gantool.training.loop import Hooks, Settings, Training

Data = Callable[[Stage, int], Iterator[Batch]]

FAITHFUL = {"l1", "mse", "reconstruction", "cycle_a", "cycle_b"}  # losses that ask for given pictures
PIXELS = 32  # pixels per side of what super-resolution learns from


def fast(name: str, **changes: Any) -> System:
    """A small system on small pictures, with a pool that is soon full."""
    given = {field.name for field in dataclasses.fields(systems.load(name).config)}
    changes = {key: value for key, value in {"pool": 3}.items() if key in given} | changes
    if "patch" in given and isinstance(presets(name)[""].patch, int):  # type: ignore[attr-defined]  # of low or high resolution
        with torch.device("meta"):
            side = small(name, patch=PIXELS).stages()[0].size
        changes["patch"] = PIXELS * PIXELS // (side or PIXELS)
    return small(name, **changes)


def trainable(name: str) -> bool:
    with torch.device("meta"):
        return bool(small(name).stages())


NAMES = [name for name in systems.names() if trainable(name)]


def varied(system: System) -> Data:
    """Batches without end that depend on their number alone: the same pictures, in another light each time."""

    def data(stage: Stage, passed: int) -> Iterator[Batch]:
        batch = batch_for(system, stage)
        for number in count(passed):
            light = 0.5 + 0.5 * torch.rand(64, 1, 1, 1, generator=torch.Generator().manual_seed(number))
            yield {key: value * light[: len(value)] if value.dim() == 4 else value for key, value in batch.items()}

    return data


def interrupted(data: Data, at: str, number: int) -> Data:
    """The same data, but as a batch of a stage is asked for, the process is told to end."""

    def signalling(stage: Stage, passed: int) -> Iterator[Batch]:
        for position, batch in enumerate(data(stage, passed), passed):
            if (stage.name, position) == (at, number):
                signal.raise_signal(signal.SIGTERM)
            yield batch

    return signalling


def train(
    system: System, stages: list[Stage], folder: Path, data: Data, *, resume: bool = False, dtype: torch.dtype = torch.float32
) -> None:
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    hooks = Hooks(data, lambda *_: None, lambda _: {}, lambda *_: None)
    settings = Settings(torch.device("cpu"), dtype, save_every=1000, data="varied")
    with Log(folder / "log.jsonl", quiet=True) as log:
        Training(system, stages, folder, settings, hooks, log).run(resume)


# --- turns -----------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Turn:
    """What a phase found when its turn came, and what it then minimised."""

    stage: str
    phase: Phase
    before: dict[str, Tensor]  # all parameters of the system
    terms: dict[str, float]


def watched(system: System, stage: Stage, turns: list[Turn]) -> Stage:
    """The stage, with phases that note their turns."""

    def watch(phase: Phase) -> Phase:
        def losses(batch: Batch) -> dict[str, Tensor]:
            terms = phase.losses(batch)
            turns.append(Turn(stage.name, phase, parameters(system), {name: loss.item() for name, loss in terms.items()}))
            return terms

        return dataclasses.replace(phase, losses=losses)

    return dataclasses.replace(stage, phases=[watch(phase) for phase in stage.phases])


def parameters(system: System) -> dict[str, Tensor]:
    return {key: parameter.detach().clone() for key, parameter in system.named_parameters()}


@pytest.mark.parametrize("name", NAMES)
def test_in_its_turn_each_phase_of_each_stage_moves_its_own_parameters_and_nothing_else(name: str, tmp_path: Path) -> None:
    system, turns = fast(name), list[Turn]()
    stages = [dataclasses.replace(stage, steps=2) for stage in system.stages()]
    train(system, [watched(system, stage, turns) for stage in stages], tmp_path, varied(system))
    due = [(s.name, p.name) for s in stages for _ in range(2) for p in s.phases for _ in range(p.repeats)]
    assert [(turn.stage, turn.phase.name) for turn in turns] == due
    found: dict[tuple[str, str], set[str]] = {}
    for turn, (before, after) in zip(turns, pairwise([*(t.before for t in turns), parameters(system)]), strict=True):
        assert turn.terms
        assert all(isfinite(loss) for loss in turn.terms.values()), turn.terms
        moved = {key for key, value in before.items() if not torch.equal(value, after[key])}
        found[turn.stage, turn.phase.name] = found.get((turn.stage, turn.phase.name), set()) | moved
    names = {id(parameter): key for key, parameter in system.named_parameters()}
    for stage in stages:
        for phase in stage.phases:
            owned = [{names[id(p)] for p in module.parameters()} for module in phase.modules]
            assert found[stage.name, phase.name] <= set().union(*owned)
            assert all(found[stage.name, phase.name] & own for own in owned)


# --- learning --------------------------------------------------------------------------------------------------------


def hastened(phase: Phase) -> Phase:
    """The phase at a constant rate; Adam's, which are meant for long runs, are five times as high."""
    factor = 5.0 if isinstance(phase.optimizer(phase.modules), torch.optim.Adam) else 1.0
    return dataclasses.replace(phase, schedule=lambda _: factor)


@pytest.mark.parametrize("name", NAMES)
def test_on_two_pictures_what_asks_for_them_falls_and_else_the_judges_loss(name: str, tmp_path: Path) -> None:
    """Where all that a generator is told is a judge's opinion, that opinion need not improve: its judge learns alone there."""
    system, turns = fast(name), list[Turn]()
    randomize(system)  # some papers start so flat that little moves for hundreds of steps
    for module in system.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0  # by which a loss of two pictures jumps more than it falls
    stage = system.stages()[-1]
    batch = {key: value[:2].round() for key, value in batch_for(system, stage).items()}  # of bits, which have no entropy
    asking = {term for phase in stage.phases for term in phase.losses(batch)} & FAITHFUL
    taking_part = [phase for phase in stage.phases if asking or phase.name in ("critic", "discriminator")]
    assert taking_part
    stage = dataclasses.replace(stage, steps=30, phases=[hastened(phase) for phase in taking_part])
    train(system, [watched(system, stage, turns)], tmp_path, lambda *_: repeat(batch))
    values = [sum(turn.terms[key] for key in asking or turn.terms) for turn in turns if asking <= turn.terms.keys()]
    first, last = sum(values[:3]), sum(values[-3:])
    assert last < first - 0.1 * abs(first)


# --- resuming --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("name", "dtype"), [*((name, torch.float32) for name in NAMES), ("dcgan", torch.float16)])
def test_a_run_stopped_within_a_stage_resumes_to_the_bits_of_an_unbroken_one(
    name: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    runs = {}
    for run in ("straight", "broken"):
        system = fast(name)
        stages = system.stages()
        broken = stages[min(1, len(stages) - 1)].name  # the first in which a system that grows does so
        stages = [dataclasses.replace(stage, steps=4 if stage.name == broken else 1) for stage in stages[:3]]
        data, a_step = varied(system), 1 + sum(phase.repeats - 1 for phase in stages[-1].phases)
        if run == "broken":
            with pytest.raises(Stopped, match=f"stopped and saved after step 2 of {broken}: go on with --resume"):
                train(system, stages, tmp_path / run, interrupted(data, broken, a_step), dtype=dtype)
            system = fast(name)
            randomize(system)
            torch.manual_seed(99)
        named = {stage.name: stage.steps for stage in stages}
        stages = [dataclasses.replace(s, steps=named[s.name]) for s in system.stages() if s.name in named]
        train(system, stages, tmp_path / run, data, resume=run == "broken", dtype=dtype)
        runs[run] = checkpoints.load(checkpoints.by_step(tmp_path / run / "checkpoints")[0])
    straight, resumed = runs["straight"], runs["broken"]
    assert resumed.state == straight.state
    assert resumed.tensors.keys() == straight.tensors.keys()
    assert [key for key, value in straight.tensors.items() if not torch.equal(value, resumed.tensors[key])] == []
    scalers = cast("dict[str, dict[str, float]]", straight.state["scalers"])
    if dtype == torch.float16:  # so that a scaler that starts anew would be found out
        assert all(state["scale"] < 65536 and state["_growth_tracker"] > 0 for state in scalers.values())


RELATIVE = {"esrgan", "esrgan-plus", "srrescgan", "srrescycgan"}  # each process compares with the mean logit of its own images

# --- several processes -----------------------------------------------------------------------------------------------

# Every process computes the gradients of the whole batch alone, and those of its half averaged with the other's. For the two
# to be the same, statistics of batches are frozen, deviations within a batch taken over one image, pools have room for all, and
# all that is drawn is a property of the image: each call draws for the whole batch from one seed, and a process takes the rows
# of its images.
TWO_PROCESSES = """
import dataclasses, json, sys
import torch
import torch.nn.functional as F
from torch import nn
from networks import SAMPLES, batch_for
from test_training_systems import NAMES, fast
from gantool import systems
from gantool.training import distributed

first = 0  # number, in the whole batch, of the first image at hand

def rows(draw):
    def drawn(*shape, **options):
        shape = tuple(shape[0]) if isinstance(shape[0], (tuple, list)) else shape
        options.pop("device", None)
        whole = draw(SAMPLES, *shape[1:], generator=torch.Generator().manual_seed(1), **options)
        return whole[first:first + shape[0]]
    return drawn

normal, uniform = rows(torch.randn), rows(torch.rand)
torch.set_default_dtype(torch.float64)  # so that what remains is not rounding

prepared = []
for name in NAMES:
    known = {field.name for field in dataclasses.fields(systems.load(name).config)}
    apart = {key: value for key, value in {"group": 1, "pool": 2 * SAMPLES, "mixup": 0.0}.items() if key in known}
    system = fast(name, **apart).double().train()
    system.progress.fill_(0.5)
    for module in system.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)) or type(module).__name__ == "_SpectralNorm":
            module.eval()
    for stage in system.stages():
        batch = {key: value.double() for key, value in batch_for(system, stage).items()}
        prepared += [(f"{name} {stage.name} {phase.name}", system, phase, batch) for phase in stage.phases]

torch.randn, torch.rand = normal, uniform
torch.randn_like = lambda x: normal(*x.shape)
torch.randperm = lambda n, device=None: torch.arange(n) ^ 1  # partners stay in one half
F.dropout = lambda x, p=0.5, training=True, inplace=False: x * (uniform(*x.shape) > p) / (1 - p) if training else x

def gradient(system, phase, batch, begin):
    global first
    first = begin
    system.requires_grad_(False)
    system.zero_grad()
    for module in phase.modules:
        module.requires_grad_(True)
    sum(phase.losses(batch).values()).backward()
    return flat(phase)

def flat(phase):
    return torch.cat([p.grad.flatten() for module in phase.modules for p in module.parameters()])

with distributed.process_group(torch.device("cpu")):
    result = {}
    for line, system, phase, batch in prepared:
        alone = gradient(system, phase, batch, 0)
        half = {key: value.chunk(2)[distributed.rank()] for key, value in batch.items()}
        part = gradient(system, phase, half, distributed.rank() * SAMPLES // 2)
        distributed.average_gradients([p for module in phase.modules for p in module.parameters()])
        result[line] = [float((other - alone).abs().max() / alone.abs().max()) for other in (flat(phase), part)]
    if distributed.rank() == 0:
        open(sys.argv[1], "w").write(json.dumps(result))
"""


@pytest.mark.slow
def test_the_averaged_gradients_of_two_processes_are_those_of_one(tmp_path: Path) -> None:
    script, told = tmp_path / "gradients.py", tmp_path / "told.json"
    script.write_text(TWO_PROCESSES)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script), str(told)]
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
    done = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(told.read_text())
    assert {line.split()[0] for line in found} == set(NAMES)
    apart = {line: error for line, (error, _) in found.items() if not error < 1e-9}
    assert {line: error for line, error in apart.items() if line.split()[0] not in RELATIVE} == {}
    assert all(line.split()[1] == "adversarial" for line in apart)
    assert all(before > 1e-3 for _, before in found.values())  # the halves' own gradients differ, so they were averaged
