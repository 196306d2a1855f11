"""`gantool generate`: seeds in, pictures out; or a sheet of them, or the way from one to another."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import torch

from gantool import animation, batch, images, latents, machine, outputs, weights
from gantool.bands import Band, Bands
from gantool.carrying import result_file
from gantool.errors import UsageError, printable
from gantool.images import Format, Metadata, Page, Picture
from gantool.outputs import Existing, Item
from gantool.sampling import Drawing, Point, Sampler
from gantool.seeds import MOST, Seeds, parse_grid, parse_pair, parse_seeds

_FRAMES: Final = 50  # of an animation, unless told: two seconds
_RATE: Final = 25  # frames a second


@dataclass(frozen=True)
class Options:
    """What the command line says; see its help."""

    model: str
    seeds: str | None = None
    output: str | None = None
    labels: str | None = None
    truncation: float | None = None
    grid: str | None = None
    interpolate: str | None = None
    frames: int | None = None
    rate: int | None = None
    at_once: int | None = None
    form: Format | None = None
    quality: int = 95
    existing: Existing = "refuse"
    device: str = "auto"
    dtype: str = "auto"
    offline: bool = False
    registry: Path | None = None
    reporting: batch.Reporting = field(default_factory=batch.Reporting)


@dataclass(frozen=True)
class Drawn(Item):
    """An output that no file is read for.

    Attributes:
        title: what messages call it.
        said: what a report says of it in any case.
        place: of its seed among all.
    """

    title: str = ""
    said: Mapping[str, str | int | None] = field(default_factory=dict)
    place: int = 0

    @property
    def name(self) -> str:
        """What messages call it, safe to print."""
        return self.title

    @property
    def facts(self) -> Mapping[str, str | int | None]:
        """What a report says of it before anything is done."""
        return {"input": None, **self.said}


class _Task(Protocol):
    """What the command can be asked for; made when that has been understood, before there is a model."""

    def plan(self, sampler: Sampler, folder: Path) -> Collection[Drawn]:
        """Return what is to be made; what no file is named for goes into the folder."""

    def work(self, item: Drawn, advance: batch.Advance) -> batch.Facts:
        """Make one of them."""


def run(options: Options) -> int:
    """Generate what the options ask for, and return the exit status.

    Raises:
        GantoolError: nothing was done, or the run could not go on; a single picture's errors are only reported.
    """
    _check_sense(options)
    task = _task(options)
    single = _is_file(options.output)
    if options.output is not None and options.output != "-":
        outputs.check_writable(Path(options.output).parent if single else Path(options.output))
    model = weights.load(options.model, offline=options.offline, registry=options.registry)
    labels = [label.strip() for label in options.labels.split(",")] if options.labels is not None else []
    sampler = Sampler(model, labels, options.truncation, options.device, options.dtype, options.at_once)
    default = model.name.strip(".") or "generated"  # no way to another folder
    folder = Path(default if single or options.output in (None, "-") else str(options.output))
    if options.output is None:
        outputs.check_writable(folder)
    items = task.plan(sampler, folder)
    outputs.check_existing(items)
    machine.keep_freed_memory()
    return batch.run(items, task.work, options.reporting)


def _task(options: Options) -> _Task:
    if options.interpolate is not None:
        return _Animation(options)
    return _Pictures(options) if options.grid is None else _Grid(options)


def _check_sense(options: Options) -> None:
    """Refuse options that exclude one another or would have no effect."""
    if options.interpolate is None and (options.frames or options.rate):
        raise UsageError("--frames and --fps are for --interpolate: give two seeds with it, or leave them out")
    if options.interpolate is not None and (options.grid is not None or options.seeds is not None):
        raise UsageError("--interpolate names its own two seeds: leave --seeds and --grid out")
    if options.output == "":
        raise UsageError("-o has no name: leave it out, or see whether a variable is empty")
    if options.output == "-" and options.reporting.as_json:
        raise UsageError("--json and the picture would both go to standard output: use --report, or name a file with -o")


def _is_file(output: str | None) -> bool:
    """Return whether -o names a file: what is called like a picture or video, and is no folder."""
    if output in (None, "-") or str(output).endswith("/") or os.path.isdir(str(output)):
        return False
    return Path(str(output)).suffix.lower() in images.EXTENSIONS | animation.FORMS.keys()


def _target(output: str | None, folder: Path, name: str) -> Path | None:
    """Return where the only output goes; None is standard output."""
    return None if output == "-" else Path(str(output)) if _is_file(output) else folder / name


def _form(options: Options) -> Format:
    """Return the format of pictures.

    Raises:
        UsageError: -o and --format disagree, or -o is called like something that is not written.
    """
    if not _is_file(options.output):
        return options.form or "png"
    path = Path(str(options.output))
    by_name = images.FORMATS.get(path.suffix.lower())
    if by_name is None:
        raise UsageError(f"{printable(path)} has no extension that pictures are written with: use {_listed(images.FORMATS)}")
    if options.form not in (None, by_name):
        raise UsageError(f"{printable(path)} and --format {options.form} say different things: leave one out")
    return by_name


def _listed(known: Iterable[str]) -> str:
    return " ".join(sorted(known))


class _Pictures:
    """A picture for each seed."""

    def __init__(self, options: Options) -> None:
        self.seeds = parse_seeds("0" if options.seeds is None else options.seeds)
        twice = self.seeds.repeated()
        if twice is not None:
            raise UsageError(f"--seeds names {twice} twice, for one file: leave one out, or ask for a sheet with --grid")
        if len(self.seeds) > 1 and (options.output == "-" or _is_file(options.output)):
            place = "standard output takes" if options.output == "-" else f"{printable(options.output)} is"
            remedy = "name a folder that ends with /, or ask for a sheet with --grid"
            raise UsageError(f"{place} one picture, and --seeds names {len(self.seeds)}: {remedy}")
        self.options, self.form = options, _form(options)
        self.ready: dict[int, tuple[Point, Drawing]] = {}  # by place; what was drawn together with an earlier one

    def plan(self, sampler: Sampler, folder: Path) -> Collection[Drawn]:
        """See `_Task`."""
        images.check_fits(self.form, [sampler.page], animated=False)
        self.sampler = sampler
        suffix = images.SUFFIXES[self.form]
        self.items = _Items(
            self.seeds, lambda seed: _target(self.options.output, folder, f"seed{seed:04}{suffix}"), self.options.existing
        )
        return self.items

    def work(self, item: Drawn, advance: batch.Advance) -> batch.Facts:
        """See `_Task`."""
        if item.place not in self.ready:
            self.ready = self._drawn(item.place)
        point, drawing = self.ready.pop(item.place)
        _write(item, self.form, self.sampler.page, self.options.quality, [drawing.pixels()])
        return {"label": self.sampler.label(point), **_facts(self.sampler, self.sampler.page)}

    def _drawn(self, place: int) -> dict[int, tuple[Point, Drawing]]:
        """Draw the seed at a place, and with it those behind it that are not done already."""
        places = range(place, min(place + self.sampler.batch, len(self.seeds)))
        points = {at: self.sampler.point(self.seeds[at], at) for at in places if at == place or not self.items[at].is_done()}
        return dict(zip(points, zip(points.values(), self.sampler.draw(list(points.values())), strict=True), strict=True))


class _Items(Collection[Drawn]):
    """An output for each seed, made when it is asked for: a million would take a gigabyte."""

    def __init__(self, seeds: Seeds, target: Callable[[int], Path | None], existing: Existing) -> None:
        self._seeds, self._target, self._existing = seeds, target, existing

    def __len__(self) -> int:
        return len(self._seeds)

    def __getitem__(self, place: int) -> Drawn:
        seed = self._seeds[place]
        return Drawn(None, self._target(seed), self._existing, f"seed {seed}", {"seed": seed}, place)

    def __iter__(self) -> Iterator[Drawn]:
        return (self[place] for place in range(len(self)))

    def __contains__(self, item: object) -> bool:
        return isinstance(item, Drawn) and item.place < len(self) and self[item.place] == item


class _Grid:
    """One picture of many seeds, in reading order."""

    def __init__(self, options: Options) -> None:
        self.columns, self.rows = parse_grid(str(options.grid))
        places = self.columns * self.rows
        if places > MOST:
            raise UsageError(f"--grid {self.columns}x{self.rows} has {places} places: it can have {MOST}")
        self.seeds = Seeds([range(places)]) if options.seeds is None else parse_seeds(options.seeds)
        if len(self.seeds) != places:
            raise UsageError(
                f"--grid {self.columns}x{self.rows} has {places} places, and --seeds names {len(self.seeds)}: "
                f"name as many, or leave --seeds out for 0-{places - 1}"
            )
        self.options, self.form = options, _form(options)

    def plan(self, sampler: Sampler, folder: Path) -> Collection[Drawn]:
        """See `_Task`."""
        one = sampler.page
        self.sampler, self.page = sampler, Page(self.columns * one.width, self.rows * one.height, one.channels)
        if self.page.width * self.page.height > images.MAX_PIXELS:
            size = f"{self.page.width}x{self.page.height}"
            raise UsageError(f"the sheet would have {size} pixels, more than {images.MAX_PIXELS}: use a smaller --grid")
        images.check_fits(self.form, [self.page], animated=False)
        name = f"grid{self.columns}x{self.rows}{images.SUFFIXES[self.form]}"
        target = _target(self.options.output, folder, name)
        return [Drawn(None, target, self.options.existing, "the sheet", {"seeds": str(self.seeds)})]

    def work(self, item: Drawn, advance: batch.Advance) -> batch.Facts:
        """See `_Task`."""
        _write(item, self.form, self.page, self.options.quality, self._bands(advance))
        return {"label": self.options.labels, **_facts(self.sampler, self.page)}

    def _bands(self, advance: batch.Advance) -> Bands:
        """Yield the sheet, one row of pictures at a time."""
        for first in range(0, len(self.seeds), self.columns):
            points = (self.sampler.point(self.seeds[place], place) for place in range(first, first + self.columns))
            yield np.concatenate([drawing.pixels() for drawing in self.sampler.drawings(points)], axis=1)
            advance(1 / self.rows)


class _Animation:
    """The way from one seed to another."""

    def __init__(self, options: Options) -> None:
        self.first, self.last = parse_pair(str(options.interpolate))
        self.frames, self.rate = options.frames or _FRAMES, options.rate or _RATE
        path = Path(str(options.output)) if _is_file(options.output) else Path("animation.gif")
        known = _listed(animation.FORMS)
        if options.output == "-" or path.suffix.lower() not in animation.FORMS:
            name = "standard output" if options.output == "-" else printable(path)
            raise UsageError(f"{name} cannot be an animation: name a file that ends with {known}")
        if options.form is not None:
            raise UsageError(f"--format {options.form} is for pictures: an animation goes by -o's extension, of {known}")
        if options.labels is not None and "," in options.labels:
            raise UsageError(f"--label {printable(options.labels)}: an animation keeps to one class, so name one")
        self.form, self.options = animation.FORMS[path.suffix.lower()], options
        most = animation.MOST_A_SECOND[self.form]
        if self.rate > most:
            raise UsageError(f"--fps {self.rate} is too fast for {path.suffix}: use at most {most}")

    def plan(self, sampler: Sampler, folder: Path) -> Collection[Drawn]:
        """See `_Task`."""
        self.sampler, self.ends = sampler, [sampler.point(seed) for seed in (self.first, self.last)]
        target = _target(self.options.output, folder, f"seed{self.first:04}-{self.last:04}.gif")
        return [Drawn(None, target, self.options.existing, "the animation", {"seeds": f"{self.first},{self.last}"})]

    def work(self, item: Drawn, advance: batch.Advance) -> batch.Facts:
        """See `_Task`."""
        with result_file(item) as path:
            animation.write(path, self.form, self._pixels(advance), self.sampler.page, self.frames, self.rate)
        label = self.sampler.label(self.ends[0])
        return {"label": label, "frames": self.frames, **_facts(self.sampler, self.sampler.page)}

    def _pixels(self, advance: batch.Advance) -> Iterator[animation.Frame]:
        for drawing in self.sampler.drawings(map(self._point, range(self.frames))):
            yield drawing.pixels()
            advance(1 / self.frames)

    def _point(self, frame: int) -> Point:
        """Return what a frame is made of: a latent on the way, the first seed's class."""
        start, end = self.ends
        latent = latents.between(start.latent, end.latent, frame / (self.frames - 1))
        return Point(f"frame {frame} of {self.frames}", latent, start.label)


def _write(item: Drawn, form: Format, page: Page, quality: int, bands: Iterable[Band]) -> None:
    with result_file(item) as path, images.create(path, form, [page], Metadata(), quality) as writer:
        for band in bands:
            writer.write(band)


def _facts(sampler: Sampler, page: Page) -> dict[str, str | int | float | None]:
    model = sampler.model
    return {"model": model.name, "sha256": model.sha256, "width": page.width, "height": page.height}


def generate(
    model: weights.Model,
    seeds: Iterable[int],
    labels: Sequence[str | int] = (),
    truncation: float | None = None,
    *,
    device: str = "auto",
    dtype: str = "auto",
    at_once: int | None = None,
) -> Iterator[Picture]:
    """Yield a picture for each seed, in order; a few are made at a time, and no more are kept.

    Args:
        model: from `gantool.load`; moved to the device.
        seeds: 0 to 2**63 - 1.
        labels: names or indices of classes, which seeds take in turns; without any, each seed draws its own.
        truncation: numbers in a latent that are further from 0 than this are drawn again.
        device: auto, cpu, cuda, cuda:1 or mps.
        dtype: auto, fp32, fp16 or bf16.
        at_once: pictures at a time, which changes only the speed.

    Raises:
        UsageError: the model does not generate, or has no such class; a seed is not possible.
        InputError: the network gave values that are not finite.
    """
    sampler = Sampler(model, labels, truncation, device, dtype, at_once)  # errors come here, not with the first picture
    points = (sampler.point(seed, place) for place, seed in enumerate(seeds))
    return (Picture(torch.from_numpy(drawing.pixels()).permute(2, 0, 1)) for drawing in sampler.drawings(points))
