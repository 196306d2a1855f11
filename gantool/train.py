"""`gantool train`: from folders of pictures to a model file, in one run folder that can be stopped and resumed."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from gantool import devices, frozen, machine, systems, weights
from gantool.data.folders import fingerprint
from gantool.data.sources import Source, open_source
from gantool.data.transforms import Bicubic
from gantool.errors import UsageError, printable, say, unknown
from gantool.files import atomic
from gantool.system import Generator, Scored, Stage, Student, System, Translator, Upscaler, configured
from gantool.systems import Paper
from gantool.training import distributed, planning
from gantool.training import recipe as recipes
from gantool.training.generating import Generating
from gantool.training.log import Log
from gantool.training.loop import Hooks, Settings, Training
from gantool.training.recipe import Recipe
from gantool.training.tasks import Circumstances, Task
from gantool.training.translating import Translating
from gantool.training.upscaling import Upscaling

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


@dataclass(frozen=True)
class Options:
    """What was asked for; None means that the configuration file, or else the system, decides."""

    system: str
    data: tuple[Path, ...]
    output: Path
    val: tuple[Path, ...] = ()
    pairs: str | None = None  # what paired systems learn to undo on plain photos
    init: str | None = None
    features: str | None = None  # where the frozen network is from that losses look through
    teacher: str | None = None  # a model whose results stand for the true images
    config: Path | None = None
    set: tuple[str, ...] = ()  # key=value, fields of the system's Config
    resume: bool = False
    dry_run: bool = False
    preview: Path | None = None  # gets sheets of what is learned from, at a dry run
    steps: tuple[str, ...] = ()  # N for the last stage, or STAGE=N
    batch: int | None = None
    seed: int | None = None
    dtype: str | None = None
    workers: int = 0
    save_every: int | None = None
    device: str = "auto"
    offline: bool = False
    registry: Path | None = None
    tensorboard: bool = False


def run(options: Options) -> None:
    """Train as the options say.

    Raises:
        UsageError: the options do not fit together, or there is nothing to learn from.
        RunError: a loss is not finite, or the disk is full.
        Stopped: a signal came; everything is saved.
    """
    if options.preview and not options.dry_run:
        raise UsageError("--preview writes its sheets at a --dry-run: add that")
    device = devices.choose_device(_own_gpu(options.device))
    with distributed.process_group(device):
        paper, stored = systems.load(options.system), _stored(options)
        source = _source(paper, options.data, options.pairs or stored.pairs)
        recipe, config = _recipe(options, paper, stored, source)
        devices.seed_everything(recipe.seed)
        system = paper.system(config)
        recipe = _look_through(system, options, recipe, stored, device)
        recipe = _teach(system, options, recipe, stored, device)
        stages = _stages(system, recipe)
        if options.init and not options.resume:
            _initialize(system, options)
        system = devices.channels_last(system.to(device))
        task = _task(system, options, recipe, source)
        if options.dry_run:
            planning.print_plan(system, stages, task.batches, options.preview)
            return
        _train(system, stages, options, recipe, task, source)


def _own_gpu(device: str) -> str:
    """Give each process that torchrun started on this machine a GPU of its own."""
    local = os.environ.get("LOCAL_RANK")
    return f"cuda:{local}" if local is not None and device in ("auto", "cuda") and torch.cuda.is_available() else device


def _say(sentence: str) -> None:
    """Tell the user something, once where there are several processes."""
    if distributed.rank() == 0:
        say(sentence)


def _source(paper: Paper, data: tuple[Path, ...], pairs: str | None) -> Source | None:
    """Return the pictures to learn from; None for systems that upscale, which have their own way with photos."""
    kind = paper.system.folder
    if pairs is not None and kind != "paired":
        raise UsageError(f"--pairs {printable(pairs)} makes pairs, and {paper.name} does not learn from pairs: leave it out")
    if kind != "degraded":
        return open_source(kind, data, pairs, _say)
    if len(data) > 1:
        raise UsageError(f"{paper.name} learns from one folder of photos, not from {len(data)}: put them into one")
    return None


def _task(system: System, options: Options, recipe: Recipe, source: Source | None) -> Task:
    run = Circumstances(recipe.seed, options.workers, system.progress.device, _say)
    if source is None:
        if not isinstance(system, Upscaler):
            raise UsageError(f"{recipe.system} cannot be trained: it neither upscales, translates nor generates")
        if len(options.val) > 1:
            raise UsageError("--val is one folder of photos here: leave the others out")
        return Upscaling(system.degradation or Bicubic(system.scale), options.data[0], next(iter(options.val), None), run)
    val = _validation(system, options, recipe)
    return Translating(system, source, val, run) if isinstance(system, Translator) else Generating(system, source, val, run)


def _validation(system: System, options: Options, recipe: Recipe) -> Source | None:
    """Return the pictures to validate on: pairs for what learns from pairs, pictures for what can score them."""
    if not options.val:
        return None
    if isinstance(system, Translator) and system.folder == "paired":
        return open_source("paired", options.val, recipe.pairs, _say)
    if isinstance(system, Generator) and isinstance(system, Scored):
        return open_source("plain", options.val, None, _say)
    raise UsageError(f"{recipe.system} has no measure of its own to validate by: leave --val out, and judge what it makes")


def _train(system: System, stages: list[Stage], options: Options, recipe: Recipe, task: Task, source: Source | None) -> None:
    machine.keep_freed_memory()
    device = system.progress.device
    data = fingerprint(options.data[0]) if source is None else source.fingerprint
    settings = Settings(device, _train_dtype(recipe.dtype, device), recipe.save_every, data=data)
    _prepare_folder(options, recipe)
    board = options.output if options.tensorboard else None
    with Log(options.output / "log.jsonl", quiet=distributed.rank() != 0, board=board) as log:
        hooks = Hooks(task.batches, _exporter(recipe, options.val), task.validate, task.draw_samples)
        log.write(recipe=asdict(recipe), threads=torch.get_num_threads(), device=str(device), dtype=str(settings.dtype))
        Training(system, stages, options.output, settings, hooks, log).run(options.resume)
        log.say(f"trained {recipe.system}: {printable(options.output / 'model.safetensors')}")


def _exporter(recipe: Recipe, val: tuple[Path, ...]) -> Callable[[System, Path, int, Mapping[str, float]], None]:
    """Return what writes a model file that runs with no flags."""

    def export(system: System, path: Path, step: int, metrics: Mapping[str, float]) -> None:
        scaled = f" x{system.scale}" if isinstance(system, Upscaler) else ""
        protocol = f", protocol sr{scaled}" if scaled else ""
        on = " and ".join(folder.name for folder in val)
        measured = {f"{name}{protocol}, on {on}": value for name, value in metrics.items()}
        title = f"{recipe.system}{scaled}"
        weights.save(path, system, step=step, metrics=measured, average=True, title=title, license=recipe.license)

    return export


def _train_dtype(name: str, device: torch.device) -> torch.dtype:
    """Return the precision of autocast; auto is bfloat16 on GPUs that have it, since weights stay float32 anyway."""
    if name == "auto" and device.type == "cuda" and torch.cuda.is_bf16_supported():
        return torch.bfloat16
    return devices.choose_dtype(name, device)


def _stored(options: Options) -> Recipe:
    """Return what the configuration file, or at a resume the run itself, says."""
    path = options.output / "config.toml" if options.resume else options.config
    return recipes.read(path) if path else Recipe(options.system)


def _recipe(options: Options, paper: Paper, stored: Recipe, source: Source | None) -> tuple[Recipe, DataclassInstance]:
    """Join command line, data, configuration file and the system's own values; a resume may only change the number of steps."""
    known = {f.name for f in fields(paper.config)}
    facts = {name: value for name, value in (source.facts if source else {}).items() if name in known}
    if source and source.facts.get("exclusive") is False and "exclusive" not in known:
        raise UsageError(
            f"{paper.name} learns classes, of which a picture has one, and this table gives attributes: use stargan"
        )
    asked = recipes.assigned_fields(paper.config, options.set)
    # a configuration file may be of a run with other data; a run's own says what it began with
    known_before = facts | stored.config if options.resume else stored.config | facts
    wanted = replace(
        stored,
        system=paper.name,
        config=known_before | asked,
        pairs=options.pairs or stored.pairs,
        seed=stored.seed if options.seed is None else options.seed,
        dtype=options.dtype or stored.dtype,
        batch=options.batch or stored.batch,
        save_every=options.save_every or stored.save_every,
    )
    config = configured(paper.config(), wanted.config)
    for name, value in facts.items():
        if isinstance(value, list) and len(value) != len(getattr(config, name)):
            raise UsageError(f"--set {name} names {len(getattr(config, name))}, the data has {len(value)}: {value}")
    system_stages = [stage.name for stage in paper.system(config).stages()]
    if not system_stages:
        raise UsageError(f"{paper.name} has nothing to train: it works as it is")
    for name in stored.steps:
        if name not in system_stages:
            raise unknown("stage", name, system_stages)
    steps = stored.steps | recipes.assigned_steps(options.steps, system_stages)
    wanted = replace(wanted, config=recipes.plain(config), steps=steps)
    if options.resume:
        recipes.refuse_changes(stored, wanted, options.output)
    return wanted, config


def _stages(system: System, recipe: Recipe) -> list[Stage]:
    """Return the system's stages with the recipe's steps and batch."""
    stages = [replace(s, steps=recipe.steps.get(s.name, s.steps), batch=recipe.batch or s.batch) for s in system.stages()]
    if not any(stage.steps for stage in stages):
        raise UsageError("every stage has 0 steps, so that nothing is left to train: give one of them --steps")
    for stage in stages:
        if isinstance(system, Upscaler) and stage.size and stage.size % system.scale == 0:
            _check_multiple(stage.size, system.scale, system.multiple)
        if stage.batch % distributed.ranks():
            processes = distributed.ranks()
            raise UsageError(f"a batch of {stage.batch} does not divide among {processes} processes: choose another --batch")
        if stage.batch == distributed.ranks() and any(isinstance(module, nn.BatchNorm1d) for module in system.modules()):
            raise UsageError("batch norm compares the samples of a batch, and one a process is too few: use a larger --batch")
    return stages


def _check_multiple(size: int, scale: int, multiple: int) -> None:
    if size // scale % multiple:
        raise UsageError(
            f"small images of {size // scale} pixels are no multiple of the {multiple} that the network takes together: "
            f"use a patch that is one of {scale * multiple}"
        )


def _look_through(system: System, options: Options, recipe: Recipe, stored: Recipe, device: torch.device) -> Recipe:
    """Give a system the frozen network that its losses need; return the recipe that says which file that was."""
    if not system.features:
        if options.features:
            raise UsageError(
                f"--features {printable(options.features)}: this configuration of {recipe.system} looks through none"
            )
        return recipe
    network, sha256 = frozen.load(system.features, options.features, offline=options.offline, registry=options.registry)
    if stored.features not in (None, sha256):
        raise UsageError(f"the features of {system.features} are of sha256 {sha256}, the configuration says {stored.features}")
    system.give_features(network.to(device))
    return replace(recipe, features=sha256)


def _teach(system: System, options: Options, recipe: Recipe, stored: Recipe, device: torch.device) -> Recipe:
    """Give a system the teacher that was asked for; return the recipe that says which file that was."""
    if options.teacher is None:
        if stored.teacher:
            raise UsageError(f"the configuration has a teacher, of sha256 {stored.teacher}: name its file with --teacher")
        return recipe
    given = f"--teacher {printable(options.teacher)}"
    if not isinstance(system, Student):
        raise UsageError(f"{given}: {recipe.system} learns from images alone, leave it out")
    model = weights.load(options.teacher, offline=options.offline, registry=options.registry)
    if not isinstance(model.system, Upscaler) or model.system.scale != system.scale:
        does = f"upscales by {model.system.scale}" if isinstance(model.system, Upscaler) else "does not upscale"
        raise UsageError(f"{given} {does}, a teacher of x{system.scale} is needed: name another, or change --set scale")
    if stored.teacher not in (None, model.sha256):
        raise UsageError(f"{given} is of sha256 {model.sha256}, the configuration says {stored.teacher}: name that file")
    system.give_teacher(model.system.to(device))
    return replace(recipe, teacher=model.sha256)


def _initialize(system: System, options: Options) -> None:
    """Copy from trained weights whatever has the same name and shape; the rest starts fresh and is named."""
    loaded = weights.load(str(options.init), offline=options.offline, registry=options.registry).system
    held = tuple(f"{name}." for name in loaded.inference_modules())  # its other networks are not in the file
    given = {key: value for key, value in loaded.state_dict().items() if key.startswith(held)}
    own, origin = system.state_dict(), f"--init {printable(options.init)}"
    fitting = {key: value for key, value in given.items() if key in own and own[key].shape == value.shape}
    differing = [key for key in given if key in own and key not in fitting]
    if len(fitting) <= len(differing):
        shapes = [f"{key} is {tuple(given[key].shape)} there and {tuple(own[key].shape)} here" for key in differing[:1]]
        names = f"it is of {systems.name_of(loaded)}, whose tensors have other names"
        raise UsageError(f"{origin} is of another network: {(shapes or [names])[0]}; start from one of the same --set")
    system.load_state_dict(own | fitting)
    fresh = sorted(own.keys() - fitting.keys())
    modules = sorted({key.partition(".")[0] for key in fresh}.difference(key.partition(".")[0] for key in fitting))
    rest = [key for key in fresh if key.partition(".")[0] not in modules]  # of networks that are not fresh as a whole
    named = ", ".join(modules + rest) or "none"
    say(f"started from {printable(options.init)}: {len(fitting)} tensors taken; fresh are {named}")


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
