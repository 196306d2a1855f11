"""`gantool train`: from a folder of pictures to a model file, in one run folder that can be stopped and resumed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from gantool import devices, machine, systems, weights
from gantool.data.folders import fingerprint
from gantool.errors import UsageError, printable, say
from gantool.files import atomic
from gantool.system import Batch, Phase, Stage, System, Upscaler, configured
from gantool.training import distributed
from gantool.training import recipe as recipes
from gantool.training.log import Log
from gantool.training.loop import Hooks, Settings, Training
from gantool.training.recipe import Recipe
from gantool.training.tasks import Upscaling

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


@dataclass(frozen=True)
class Options:
    """What was asked for; None means that the configuration file, or else the system, decides."""

    system: str
    data: Path
    output: Path
    val: Path | None = None
    init: str | None = None
    config: Path | None = None
    set: tuple[str, ...] = ()  # key=value, fields of the system's Config
    resume: bool = False
    dry_run: bool = False
    steps: tuple[str, ...] = ()  # N for the last stage, or STAGE=N
    batch: int | None = None
    seed: int | None = None
    dtype: str | None = None
    workers: int = 0
    save_every: int | None = None
    device: str = "auto"
    offline: bool = False
    registry: Path | None = None


def run(options: Options) -> None:
    """Train as the options say.

    Raises:
        UsageError: the options do not fit together, or there is nothing to learn from.
        RunError: a loss is not finite, or the disk is full.
        Stopped: a signal came; everything is saved.
    """
    device = devices.choose_device(_own_gpu(options.device))
    with distributed.process_group(device):
        recipe, config = _recipe(options)
        devices.seed_everything(recipe.seed)
        system = systems.load(recipe.system).system(config)
        stages = _stages(system, recipe)
        if options.init and not options.resume:
            _initialize(system, options)
        system = devices.channels_last(system.to(device))
        if options.dry_run:
            _print_plan(system, stages, options, recipe)
            return
        _train(system, stages, options, recipe, device)


def _own_gpu(device: str) -> str:
    """Give each process that torchrun started on this machine a GPU of its own."""
    local = os.environ.get("LOCAL_RANK")
    return f"cuda:{local}" if local is not None and device in ("auto", "cuda") and torch.cuda.is_available() else device


def _task(system: System, options: Options, recipe: Recipe, say: Callable[[str], None]) -> Upscaling:
    if not isinstance(system, Upscaler):
        raise UsageError(f"{recipe.system} cannot be trained: only systems that upscale can so far")
    device = system.progress.device
    return Upscaling(system.scale, options.data, options.val, recipe.seed, options.workers, device, say)


def _train(system: System, stages: list[Stage], options: Options, recipe: Recipe, device: torch.device) -> None:
    machine.keep_freed_memory()
    settings = Settings(device, _train_dtype(recipe.dtype, device), recipe.save_every, data=fingerprint(options.data))
    _prepare_folder(options, recipe)
    with Log(options.output / "log.jsonl", quiet=distributed.rank() != 0) as log:
        task = _task(system, options, recipe, log.say)
        hooks = Hooks(task.batches, _exporter(recipe, options.val), task.validate, task.draw_samples)
        log.write(recipe=asdict(recipe), threads=torch.get_num_threads(), device=str(device), dtype=str(settings.dtype))
        Training(system, stages, options.output, settings, hooks, log).run(options.resume)
        log.say(f"trained {recipe.system}: {printable(options.output / 'model.safetensors')}")


def _exporter(recipe: Recipe, val: Path | None) -> Callable[[System, Path, int, Mapping[str, float]], None]:
    """Return what writes a model file that runs with no flags."""

    def export(system: System, path: Path, step: int, metrics: Mapping[str, float]) -> None:
        scaled = f" x{system.scale}" if isinstance(system, Upscaler) else ""
        measured = {f"{name}, protocol sr{scaled}, on {val.name if val else ''}": value for name, value in metrics.items()}
        title = f"{recipe.system}{scaled}"
        weights.save(path, system, step=step, metrics=measured, average=True, title=title, license=recipe.license)

    return export


def _train_dtype(name: str, device: torch.device) -> torch.dtype:
    """Return the precision of autocast; auto is bfloat16 on GPUs that have it, since weights stay float32 anyway."""
    if name == "auto" and device.type == "cuda" and torch.cuda.is_bf16_supported():
        return torch.bfloat16
    return devices.choose_dtype(name, device)


def _recipe(options: Options) -> tuple[Recipe, DataclassInstance]:
    """Join command line, configuration file and the system's own values; a resume may only change the number of steps."""
    path = options.output / "config.toml" if options.resume else options.config
    stored = recipes.read(path) if path else Recipe(options.system)
    paper = systems.load(options.system)
    wanted = replace(
        stored,
        system=paper.name,
        config=stored.config | recipes.assigned_fields(paper.config, options.set),
        seed=stored.seed if options.seed is None else options.seed,
        dtype=options.dtype or stored.dtype,
        batch=options.batch or stored.batch,
        save_every=options.save_every or stored.save_every,
    )
    config = configured(paper.config(), wanted.config)
    system_stages = [stage.name for stage in paper.system(config).stages()]
    if not system_stages:
        raise UsageError(f"{paper.name} has nothing to train: it works as it is")
    wanted = replace(wanted, config=asdict(config), steps=stored.steps | recipes.assigned_steps(options.steps, system_stages))
    if options.resume:
        recipes.refuse_changes(stored, wanted, options.output)
    return wanted, config


def _stages(system: System, recipe: Recipe) -> list[Stage]:
    """Return the system's stages with the recipe's steps and batch."""
    stages = [replace(s, steps=recipe.steps.get(s.name, s.steps), batch=recipe.batch or s.batch) for s in system.stages()]
    for stage in stages:
        if stage.batch % distributed.ranks():
            processes = distributed.ranks()
            raise UsageError(f"a batch of {stage.batch} does not divide among {processes} processes: choose another --batch")
    return stages


def _initialize(system: System, options: Options) -> None:
    """Copy from trained weights whatever has the same name and shape; the rest starts fresh and is named."""
    given = weights.load(str(options.init), offline=options.offline, registry=options.registry).system.state_dict()
    own = system.state_dict()
    fitting = {key: value for key, value in given.items() if key in own and own[key].shape == value.shape}
    if not fitting:
        raise UsageError(f"--init {printable(options.init)}: no tensor has a name and shape of this system's")
    system.load_state_dict(own | fitting)
    fresh = sorted(own.keys() - fitting.keys())
    say(f"started from {printable(options.init)}: {len(fitting)} tensors taken; fresh are {', '.join(fresh) or 'none'}")


def _prepare_folder(options: Options, recipe: Recipe) -> None:
    if distributed.rank() != 0:
        return
    folder = options.output
    if not options.resume and any((folder / "checkpoints").glob("*.safetensors")):
        raise UsageError(f"{printable(folder)} already holds a run: go on with --resume, or name another folder")
    try:
        for name in ("checkpoints", "samples"):
            (folder / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{printable(folder)} cannot be made: {error.strerror}") from error
    with atomic(folder / "config.toml") as temporary:
        temporary.write_text(recipes.to_toml(asdict(recipe)), encoding="utf-8")


def _print_plan(system: System, stages: list[Stage], options: Options, recipe: Recipe) -> None:
    """Print stages, phases, losses, parameters, and the time that a measured step promises; train nothing."""
    device = system.progress.device
    task = _task(system, options, recipe, say)
    for stage in stages:
        batch = {name: tensor.to(device) for name, tensor in next(task.batches(stage, 0)).items()}
        say(f"stage {stage.name}: {stage.steps} steps, batch {stage.batch}, images of {stage.size} pixels")
        seconds = sum(_print_phase(phase, batch) for phase in stage.phases)
        say(f"  about {seconds:.2f} s a step here, {seconds * stage.steps / 3600:.1f} hours")


def _print_phase(phase: Phase, batch: Batch) -> float:
    """Print a phase and return the seconds that its turn takes, averaged over steps."""
    begin = time.perf_counter()
    terms = phase.losses(batch)
    torch.autograd.backward(torch.stack(list(terms.values())).sum())
    count = sum(p.numel() for module in phase.modules for p in module.parameters())
    say(f"  phase {phase.name}: {count:,} parameters; losses {', '.join(terms)}")
    return (time.perf_counter() - begin) * phase.repeats / phase.every
