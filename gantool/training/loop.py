"""The loop: stages of phases, for every system. Checkpoints, averages, validation, signals and logs are here and only here."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from math import inf, isfinite
from pathlib import Path
from types import FrameType
from typing import cast

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from gantool.errors import InputError, RunError, Stopped, UsageError, printable
from gantool.system import Batch, Json, Phase, Stage, System
from gantool.training import checkpoints, distributed
from gantool.training.averaging import Average
from gantool.training.checkpoints import Checkpoint
from gantool.training.log import Log

LOG_EVERY = 50  # steps
WATCHED = "pixel"  # the loss or note that tells a collapse: how far made images are from the true ones
COLLAPSED = 5.0  # times the least mean of it so far; adversarial training from a PSNR network raises it to twice


@dataclass(frozen=True)
class Hooks:
    """What the loop asks of the verb: data, and what to do with the average at a save."""

    data: Callable[[Stage, int], Iterator[Batch]]  # stage and batches to pass over -> batches without end
    export: Callable[[System, Path, int, Mapping[str, float]], None]  # system, file, steps taken, metrics
    validate: Callable[[System], dict[str, float]]  # metrics by name, the first is the one to maximise; {} without a set
    sample: Callable[[System, Path], None]  # writes a sheet of samples


@dataclass(frozen=True)
class Settings:
    """How to run, apart from what the system says."""

    device: torch.device
    dtype: torch.dtype = torch.float32  # of autocast; weights and their average stay float32
    save_every: int = 1000  # steps between checkpoints, validations and samples
    keep: int = 3  # numbered checkpoints kept
    data: str = ""  # fingerprint of the training data, which must not differ at a resume


@dataclass
class Position:
    """How far a run is."""

    stage: int = 0  # number of the stage
    step: int = 0  # steps taken in it
    batches_taken: int = 0  # in the stage
    total_steps: int = 0
    best: float = -inf  # leading metric of the best validation of the stage so far
    least: float = inf  # least mean of the watched loss in the stage


@dataclass
class _Turn:
    """A phase with what it needs from step to step."""

    phase: Phase
    optimizer: Optimizer
    rates: list[float]
    scaler: torch.amp.GradScaler
    parameters: list[Tensor]


class Training:
    """One run in one folder.

    Args:
        system: trained in place; already on the device.
        stages: the schedule, with the steps and batches of this run.
        folder: gets `checkpoints/`, `samples/`, `model.safetensors` and, with validation, `best.safetensors`.
        settings: see `Settings`.
        hooks: see `Hooks`.
        log: where steps and sentences go.
    """

    def __init__(self, system: System, stages: list[Stage], folder: Path, settings: Settings, hooks: Hooks, log: Log) -> None:
        self.system, self.stages, self.folder = system, stages, folder
        self.settings, self.hooks, self.log = settings, hooks, log
        self.average = Average(system)
        self.at = Position()
        self.turns: list[_Turn] = []

    def run(self, resume: bool) -> None:
        """Train to the end of the last stage, from the newest whole checkpoint if `resume`.

        Raises:
            RunError: a loss or gradient is not finite, or a checkpoint cannot be written.
            Stopped: a signal came; the state was saved first.
        """
        distributed.broadcast([*self.system.parameters(), *self.system.buffers()])
        restored = self._restore() if resume else None
        distributed.draw_apart()
        with _signals() as received:
            while self.at.stage < len(self.stages):
                stage = self.stages[self.at.stage]
                if stage.steps:  # one of none is left out
                    self._run_stage(stage, restored, received)
                    restored = None
                self.at.stage += 1
                self.at.step = self.at.batches_taken = 0
                self.at.best, self.at.least = -inf, inf  # a stage for pixels alone has the best PSNR, and is not what is wanted

    def _run_stage(self, stage: Stage, restored: Checkpoint | None, received: list[int]) -> None:
        self._start_turns(stage, restored)
        batches = self.hooks.data(stage, self.at.batches_taken)
        self.log.stage(stage.name, self.at.step, stage.steps)
        clock = _Clock()
        while self.at.step < stage.steps:
            losses = self._take_step(stage, batches, clock)
            self.at.step += 1
            self.at.total_steps += 1
            self.log.step(self.at.step, losses)
            clock.add(losses)
            if self.at.step % LOG_EVERY == 0 or self.at.step == stage.steps:
                self._tell(stage, clock)
            ended = next((s for s in received if s != USR1), None)
            stop = distributed.any_rank(ended is not None)
            if stop or USR1 in received or self.at.step % self.settings.save_every == 0 or self.at.step == stage.steps:
                received[:] = [s for s in received if s != USR1]
                self._save(stage, brief=stop)
            if stop:
                raise Stopped(
                    ended or signal.SIGTERM,
                    f"stopped and saved after step {self.at.step} of {stage.name}: go on with --resume",
                )

    def _tell(self, stage: Stage, clock: _Clock) -> None:
        means = clock.read()
        rates = [turn.optimizer.param_groups[0]["lr"] for turn in self.turns]
        self.log.write(stage=stage.name, step=self.at.step, **means, rates=rates)
        values = cast("dict[str, float]", means["losses"]) | cast("dict[str, float]", means["notes"])
        self.log.curves(self.at.total_steps, values)
        if self.at.step % LOG_EVERY == 0:  # the mean over the fewer last steps may rise by chance
            self._check_collapse(stage, values)

    def _check_collapse(self, stage: Stage, values: Mapping[str, float]) -> None:
        watched = [(name, value) for name, value in values.items() if name.rpartition("/")[2] == WATCHED]
        for name, value in watched[:1]:
            self.at.least = min(self.at.least, value)
            if value > COLLAPSED * self.at.least:
                where, times = f"by step {self.at.step} of {stage.name}", value / self.at.least
                raise RunError(
                    f"{name} rose to {value:.3g} {where}, {times:.0f} times its least: the networks collapsed; {self._remedy()}"
                )

    def _remedy(self) -> str:
        model, lower = self.folder / "model.safetensors", "--set learning_rate=..."
        if not model.is_file():
            return f"nothing was saved yet: start again at a lower rate, with {lower}"
        return f"the last good checkpoint is kept: start from it at a lower rate, with --init {printable(model)} {lower}"

    def _start_turns(self, stage: Stage, restored: Checkpoint | None) -> None:
        self.turns = []
        for phase in stage.phases:
            optimizer = phase.optimizer(phase.modules)
            scaler = torch.amp.GradScaler(self.settings.device.type, enabled=self.settings.dtype == torch.float16)
            parameters: list[Tensor] = [p for group in optimizer.param_groups for p in group["params"]]
            turn = _Turn(phase, optimizer, [group["lr"] for group in optimizer.param_groups], scaler, parameters)
            if restored is not None:
                prefix = f"optimizer.{phase.name}"
                checkpoints.restore_optimizer(optimizer, checkpoints.under_prefix(prefix, restored.tensors))
                scaler.load_state_dict(cast("dict[str, dict[str, object]]", restored.state["scalers"])[phase.name])
            self.turns.append(turn)

    def _take_step(self, stage: Stage, batches: Iterator[Batch], clock: _Clock) -> dict[str, float]:
        self.system.train()
        progress = self.at.step / stage.steps
        self.system.progress.fill_(progress)
        losses: dict[str, float] = {}
        batch = self._next(batches, clock)
        for turn in self.turns:
            if self.at.step % turn.phase.every:
                continue
            for repeat in range(turn.phase.repeats):
                if repeat:
                    batch = self._next(batches, clock)
                losses |= self._update(stage, turn, batch, progress, clock)
        self.average.update(self.at.step)
        return losses

    def _next(self, batches: Iterator[Batch], clock: _Clock) -> Batch:
        with clock.waiting():
            batch = next(batches)
        self.at.batches_taken += 1
        return {name: _to_device(tensor, self.settings.device) for name, tensor in batch.items()}

    def _update(self, stage: Stage, turn: _Turn, batch: Batch, progress: float, clock: _Clock) -> dict[str, float]:
        phase, device = turn.phase, self.settings.device
        self.system.requires_grad_(False)
        for parameter in turn.parameters:
            parameter.requires_grad_(True)
        with torch.autocast(device.type, self.settings.dtype, enabled=self.settings.dtype != torch.float32):
            terms = phase.losses(batch)
        clock.note({f"{phase.name}/{name}": value for name, value in self.system.notes.items()})
        self.system.notes.clear()
        if not terms:
            return {}
        turn.optimizer.zero_grad()
        torch.autograd.backward(turn.scaler.scale(torch.stack(list(terms.values())).sum()))
        distributed.average_gradients(turn.parameters)
        turn.scaler.unscale_(turn.optimizer)
        norm = clip_grad_norm_(turn.parameters, phase.clip)
        values = dict(zip([f"{phase.name}/{name}" for name in terms], torch.stack(list(terms.values())).tolist(), strict=True))
        self._check_finite(stage, values, float(norm), turn.scaler.is_enabled())
        for group, rate in zip(turn.optimizer.param_groups, turn.rates, strict=True):
            group["lr"] = rate * phase.schedule(progress)
            if phase.momentum is not None:
                group["momentum"] = phase.momentum(progress)
        turn.scaler.step(turn.optimizer)
        turn.scaler.update()
        return values

    def _check_finite(self, stage: Stage, values: Mapping[str, float], norm: float, scaled: bool) -> None:
        wrong = [f"loss {name} is {value}" for name, value in values.items() if not isfinite(value)]
        if not scaled and not isfinite(norm):  # a gradient scaler skips such a step and lowers its scale by itself
            wrong.append(f"the gradient's norm is {norm}")
        if wrong:
            raise RunError(f"{wrong[0]} at step {self.at.step + 1} of {stage.name}; {self._remedy()}")

    def _save(self, stage: Stage, brief: bool) -> None:
        """Write a checkpoint; unless a signal presses, also validate, draw samples and export the average."""
        if distributed.rank() != 0:
            return
        metrics = {} if brief else self.hooks.validate(self.average.system)
        leading = next(iter(metrics.values()), None)
        improved = leading is not None and leading > self.at.best
        if leading is not None:
            self.at.best = max(self.at.best, leading)
            self.log.write(stage=stage.name, step=self.at.step, validation=metrics)
            self.log.curves(self.at.total_steps, {f"validation/{name}": value for name, value in metrics.items()})
            shown = ", ".join(f"{name} {value:.3f}" for name, value in metrics.items())
            self.log.say(f"{stage.name} step {self.at.step}: {shown}{' (best)' if improved else ''}")
        folder = self.folder / "checkpoints"
        checkpoints.save(folder / f"{self.at.total_steps:08}.safetensors", self._tensors(), self._state())
        checkpoints.prune(folder, self.settings.keep)
        if brief:
            return
        self.hooks.export(self.average.system, self.folder / "model.safetensors", self.at.total_steps, metrics)
        if improved:
            self.hooks.export(self.average.system, self.folder / "best.safetensors", self.at.total_steps, metrics)
        self.hooks.sample(self.average.system, self.folder / "samples" / f"{self.at.total_steps:08}.png")

    def _tensors(self) -> dict[str, Tensor]:
        tensors = checkpoints.with_prefix("system", self.system.state_dict())
        tensors |= checkpoints.with_prefix("average", self.average.model.state_dict())
        tensors |= checkpoints.with_prefix("random", checkpoints.random_tensors())
        for turn in self.turns:
            tensors |= checkpoints.with_prefix(f"optimizer.{turn.phase.name}", checkpoints.optimizer_tensors(turn.optimizer))
        return tensors

    def _state(self) -> dict[str, Json]:
        return {
            **asdict(self.at),
            "scalers": {turn.phase.name: turn.scaler.state_dict() for turn in self.turns},
            "random": checkpoints.random_json(),
            "data": self.settings.data,
        }

    def _restore(self) -> Checkpoint:
        """Take up the newest whole checkpoint and return it; a damaged one is named and passed over."""
        for path in checkpoints.by_step(self.folder / "checkpoints"):
            try:
                restored = checkpoints.load(path)
            except InputError as error:
                self.log.say(f"{error}: taking the one before")
                continue
            if restored.state["data"] != self.settings.data:
                raise UsageError(
                    f"the pictures are not those of the run in {printable(self.folder)}: put them back, or start another run"
                )
            self.system.load_state_dict(checkpoints.under_prefix("system", restored.tensors))
            self.average.model.load_state_dict(checkpoints.under_prefix("average", restored.tensors))
            known = {f.name: restored.state[f.name] for f in fields(Position) if f.name in restored.state}  # less, if it is old
            self.at = Position(**known)  # type: ignore[arg-type]  # from JSON
            checkpoints.restore_random(checkpoints.under_prefix("random", restored.tensors), restored.state["random"])  # type: ignore[arg-type]
            self.log.say(f"resumed from {printable(path)}")
            return restored
        raise UsageError(f"no whole checkpoint in {printable(self.folder / 'checkpoints')}: start a new run in another folder")


class _Clock:
    """Means of losses and notes, the rate of steps and the share of time spent waiting for data, since the last reading."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._sums: dict[str, list[float]] = {}
        self._notes: dict[str, list[Tensor]] = {}
        self._begin, self._waited, self._steps = time.perf_counter(), 0.0, 0

    def add(self, losses: Mapping[str, float]) -> None:
        self._steps += 1
        for name, value in losses.items():
            self._sums.setdefault(name, []).append(value)

    def note(self, values: Mapping[str, Tensor]) -> None:
        for name, value in values.items():
            self._notes.setdefault(name, []).append(value)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        self._waited += time.perf_counter() - begin

    def read(self) -> dict[str, object]:
        seconds = time.perf_counter() - self._begin
        means = {name: sum(values) / len(values) for name, values in self._sums.items()}
        result = {
            "losses": means,
            "notes": {name: float(torch.stack(values).float().mean()) for name, values in self._notes.items()},
            "steps_per_second": round(self._steps / seconds, 3),
            "waited_for_data": round(self._waited / seconds, 4),
        }
        self._reset()
        return result


USR1 = getattr(signal, "SIGUSR1", None)


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect SIGINT, SIGTERM, SIGHUP (end after a save) and SIGUSR1 (save and go on) instead of dying of them."""
    received: list[int] = []

    def receive(signum: int, frame: FrameType | None) -> None:
        received.append(signum)

    names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {number: signal.signal(number, receive) for number in numbers}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _to_device(tensor: Tensor, device: torch.device) -> Tensor:
    if tensor.dim() == 4:
        return tensor.to(device, non_blocking=True, memory_format=torch.channels_last)
    return tensor.to(device, non_blocking=True)
