"""`gantool upscale`: pictures in, larger pictures out."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from gantool import batch, engines, images, machine, outputs, tiling, weights
from gantool.backends import Engine
from gantool.carrying import HOLDS_ALL, Carrier
from gantool.engines import Loaded, Settings
from gantool.enlarging import Enlarger
from gantool.errors import GantoolError, InputError, OutOfMemory, UsageError, printable, say
from gantool.images import Page, Picture, Reader
from gantool.outputs import Item, Naming
from gantool.scales import DEFAULT, Target, check_reach

Tile: TypeAlias = int | Literal["auto", "off"]
_TRIAL = 192  # side, in pixels, of the picture that `--dry-run` measures a network with


@dataclass(frozen=True)
class Options:
    """What the command line says; see its help."""

    inputs: tuple[str, ...]
    output: str | None = None
    model: str | None = None
    target: Target = Target()
    tile: str = "auto"
    settings: Settings = Settings()
    carrier: Carrier = Carrier()
    name: str | None = None
    recursive: bool = False
    existing: outputs.Existing = "refuse"
    shard: outputs.Shard = (1, 1)
    fail_fast: bool = False
    dry_run: bool = False
    reporting: batch.Reporting = field(default_factory=batch.Reporting)


def run(options: Options) -> int:
    """Upscale what the options name, and return the exit status.

    Raises:
        GantoolError: nothing was done, or the run could not go on; a single input's errors are only reported.
    """
    if options.dry_run and options.reporting.file is not None:
        raise UsageError("--report tells what was done, and --dry-run does nothing: leave one out, or use --json")
    sources = outputs.expand(options.inputs, options.recursive)
    root = outputs.output_folder(sources, options.output)
    carrier = _carrier(options, single=root is None)
    if options.output is not None and options.output != "-":
        outputs.check_writable(root or Path(options.output).parent)
    job = _Job(options, carrier, parse_tile(options.tile))
    items = outputs.plan(sources, job.naming(), options.existing, options.shard)
    if options.dry_run:
        return job.preview(items)
    if items and items[0].target is None and options.reporting.as_json:
        raise UsageError("--json and the picture would both go to standard output: use --report, or name a file with -o")
    machine.keep_freed_memory()
    return batch.run(items, job.work, options.reporting, options.fail_fast)


class _Job:
    """What is done to each picture."""

    def __init__(self, options: Options, carrier: Carrier, tile: Tile) -> None:
        self.options, self.carrier = options, carrier
        self.tile = {"auto": None, "off": 0}[tile] if isinstance(tile, str) else tile
        self.load = cache(lambda name: engines.load(name, options.settings))
        self.speeds: dict[str, float] = {}  # seconds a pixel, by the model's name
        self.first = self._load(options.target.scale or DEFAULT)  # what is wrong with it shows before the first picture
        if options.target.scale is not None:
            check_reach(options.target.scale, self.first.engine.scale, self.first.name, UsageError)

    def _load(self, scale: float) -> Loaded:
        return self.load(weights.choose(self.options.model, scale, self.options.settings.registry))

    def naming(self) -> Naming:
        """Return how outputs are called."""
        target = self.options.target
        label = target.label if target.by_sides else f"x{target.scale or self.first.engine.scale:g}"
        fields = {"scale": label.removeprefix("x"), "size": label, "model": self.first.name}
        return Naming(self.options.output, "{stem}_{size}", self.options.name, fields, self.carrier.extension)

    def work(self, item: Item, advance: batch.Advance) -> batch.Facts:
        """Make one picture larger, from file to file."""
        with self.carrier.opened(item) as reader, _named(item):
            return self._enlarge(reader, item, advance)

    def _enlarge(self, reader: Reader, item: Item, advance: batch.Advance) -> batch.Facts:
        loaded, enlarger, pages, results = self._planned(reader, item)
        part = 1 / len(pages)
        self.carrier.write(
            item,
            reader,
            results,
            lambda number, source: enlarger.enlarge(source, pages[number], lambda done: advance(part * done)),
        )
        return _facts(loaded, pages, results)

    def _planned(self, reader: Reader, item: Item) -> tuple[Loaded, Enlarger, Sequence[Page], Sequence[Page]]:
        """Return what enlarges a picture, its pages and those of the result, if all that can be known allows it."""
        pages = [self.carrier.prepared(page) for page in reader.pages]
        loaded = self._for(pages)
        enlarger = Enlarger(loaded.engine, self.options.target, self.tile)
        results = [enlarger.page(page) for page in pages]
        self.carrier.check_fits(item, reader, results)
        _check_memory(enlarger, pages, results, held=self.carrier.form_of(item) in HOLDS_ALL)
        return loaded, enlarger, pages, results

    def _for(self, pages: Sequence[Page]) -> Loaded:
        """Return the model for a picture: where sides are asked for, each may take another of a family."""
        target = self.options.target
        if not target.by_sides:
            return self.first
        largest = max(max(target.factors(page.height, page.width, 1)) for page in pages)
        loaded = self._load(largest)
        check_reach(largest, loaded.engine.scale, loaded.name, InputError)
        return loaded

    def preview(self, items: Sequence[Item]) -> int:
        """Print what would be made, how large and in about what time, and return the exit status that is to be expected."""
        seconds, statuses, reporting = 0.0, [], self.options.reporting
        for item in items:
            try:
                line = self._foresee(item)
            except GantoolError as error:
                say(f"gantool: {error}")
                statuses.append(error.status)
                line = {"input": _path(item.source), "status": "error", "output": None, "error": str(error)}
            else:
                seconds += float(line["seconds"] or 0)
            if reporting.as_json:
                batch.emit(json.dumps(line))
            elif line["status"] != "error" and not reporting.quiet:
                shown = {**line, "output": batch.name(item.target)}
                batch.emit("{output}  {width}x{height}  {status}  {seconds} s".format_map(shown))
        if not reporting.quiet:
            say(f"{len(items) - len(statuses)} of {len(items)} pictures, about {seconds:.0f} s")
        return 0 if not statuses else max(statuses) if len(statuses) == len(items) else 1

    def _foresee(self, item: Item) -> batch.Facts:
        with self.carrier.opened(item) as reader, _named(item):
            loaded, enlarger, pages, results = self._planned(reader, item)
        if loaded.name not in self.speeds:
            self.speeds[loaded.name] = _speed(loaded.engine)
        own, done = loaded.engine.scale, item.is_done()
        pixels = sum(p.width * p.height * (1 + p.alpha) * sum(own ** (2 * k) for k in range(enlarger.passes(p))) for p in pages)
        return {
            "input": _path(item.source),
            "status": "skipped" if done else "planned",
            "output": _path(item.target),
            "error": None,
            "seconds": 0.0 if done else round(pixels * self.speeds[loaded.name], 1),
            **_facts(loaded, pages, results),
        }


@contextmanager
def _named(item: Item) -> Iterator[None]:
    """Let errors say which picture they are about, as those of its reader do already."""
    name = batch.name(item.source)
    try:
        yield
    except InputError as error:
        if str(error).startswith((f"{name} ", "standard input ")):
            raise
        raise type(error)(f"{name}: {error}") from error


def _path(path: Path | None) -> str:
    return "-" if path is None else str(path)


def _facts(loaded: Loaded, pages: Sequence[Page], results: Sequence[Page]) -> dict[str, str | int | float | None]:
    return {
        "model": loaded.name,
        "sha256": loaded.sha256,
        "scale": round(results[0].width / pages[0].width, 4),
        "width": results[0].width,
        "height": results[0].height,
        "pages": len(results),
    }


def _speed(engine: Engine) -> float:
    """Return the seconds that a pixel of the input takes, by a trial."""
    noise = np.random.default_rng(0).integers(0, 256, (_TRIAL, _TRIAL, 3), np.uint8)
    engine.nature(3)
    start = time.monotonic()
    for _ in tiling.run(engine, iter([noise]), noise.shape):
        pass
    return (time.monotonic() - start) / noise[:, :, 0].size


def _check_memory(enlarger: Enlarger, pages: Sequence[Page], results: Sequence[Page], held: bool) -> None:
    """Refuse what would not fit into memory before it is computed: the system might end the process without a word."""
    need = sum(r.width * r.height * r.channels for r in results) * 2.0 if held else 0.0
    if enlarger.tile == 0:
        per_pixel = enlarger.engine.nature(3).bytes_per_pixel
        own = enlarger.engine.scale
        need += max(p.width * p.height * own ** (2 * enlarger.passes(p) - 2) * per_pixel for p in pages)
    free = machine.free_memory()
    if free is not None and need > free:
        size = f"{results[0].width}x{results[0].height}"
        raise OutOfMemory(
            f"{size} pixels in one piece would take {need / 2**30:.1f} GB of memory, {free / 2**30:.1f} are free: "
            "use --tile auto and --format png or tiff, a smaller --scale, or crop it"
        )


def parse_tile(text: str) -> Tile:
    """Return what `--tile` says.

    Raises:
        UsageError: neither auto, off nor a number above 0.
    """
    named: dict[str, Tile] = {"auto": "auto", "off": "off"}
    if text in named:
        return named[text]
    if not text.isdecimal() or int(text) == 0:
        raise UsageError(f"--tile {printable(text)} is not possible: use auto, off or a number of pixels")
    return int(text)


def _carrier(options: Options, single: bool) -> Carrier:
    """Return how pictures are read and stored; a single output's name decides its format, where --format does not.

    Raises:
        UsageError: the two disagree, or neither says anything.
    """
    asked = options.carrier.form
    if not single or options.output in (None, "-"):
        return options.carrier
    path = Path(str(options.output))
    by_name = images.FORMATS.get(path.suffix.lower())
    if by_name is None and asked is None:
        known = " ".join(sorted(images.FORMATS))
        raise UsageError(f"{printable(path)} has no extension of a picture: use {known}, or end a folder's name with /")
    if by_name and asked not in (None, by_name):
        raise UsageError(f"{printable(path)} and --format {asked} say different things: leave one out")
    return replace(options.carrier, form=asked or by_name)


def upscale(
    picture: Picture,
    model: weights.Model,
    scale: float | None = None,
    *,
    tile: Tile = "auto",
    halo: int | None = None,
    device: str = "auto",
    dtype: str = "auto",
    advance: Callable[[float], None] = lambda share: None,
) -> Picture:
    """Return a larger picture.

    Gray stays gray and transparency stays. Alpha goes through the network as a gray picture does: as three equal channels,
    of whose results the mean is taken, as none of them knows more of gray than the others.

    Args:
        picture: not changed.
        model: from `gantool.load`; moved to the device.
        scale: output side / input side, the model's own if None. Sides become max(1, floor(scale * side + 0.5)).
        tile: side of tiles in pixels of the input, off for the whole picture at once.
        halo: pixels around a tile that the network sees, if not as many as it needs; with fewer, seams may show.
        device: auto, cpu, cuda, cuda:1 or mps.
        dtype: auto, fp32, fp16 or bf16.
        advance: gets the share of the work that each step has done.

    Raises:
        UsageError: the model does not reach the scale, or is nothing that upscales.
        OutOfMemory: the result is too large.
        InputError: the network gave values that are not finite.
    """
    loaded = engines.on_torch(model, Settings(device=device, dtype=dtype, halo=halo))
    target = Target(scale)
    check_reach(scale or 1, loaded.engine.scale, model.name, UsageError)
    side = {"auto": None, "off": 0}[tile] if isinstance(tile, str) else tile
    page = picture.page()
    enlarger = Enlarger(loaded.engine, target, side)
    result = enlarger.page(page)
    _check_memory(enlarger, [page], [result], held=True)
    return Picture.of(enlarger.enlarge(picture.bands, page, advance), result, picture.icc)
