"""Pictures made of pictures, many at a time: what `upscale` and `translate` have in common."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

import numpy as np

from gantool import batch, images, machine, outputs, tiling
from gantool.backends import Engine
from gantool.bands import Bands, Source
from gantool.carrying import HOLDS_ALL, Carrier
from gantool.engines import Loaded, Settings
from gantool.errors import GantoolError, InputError, OutOfMemory, UsageError, printable, say
from gantool.images import Page, Picture, Reader
from gantool.outputs import Item, Naming

Tile: TypeAlias = int | Literal["auto", "off"]
_TRIAL = 192  # side, in pixels, of the picture that `--dry-run` measures a network with


@dataclass(frozen=True)
class Order:
    """What a command line says of inputs, outputs and how they are done; see its help."""

    inputs: tuple[str, ...]
    output: str | None = None
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


class Maker(Protocol):
    """What makes one picture of another.

    Attributes:
        engine: the network.
        tile: side of what a window gives, in pixels; None chooses it, 0 takes the whole picture.
    """

    @property
    def engine(self) -> Engine: ...  # noqa: D102
    @property
    def tile(self) -> int | None: ...  # noqa: D102

    def page(self, page: Page) -> Page:
        """Return what the result for a page is like."""

    def inputs(self, page: Page) -> Sequence[int]:
        """Return the pixels of what goes through the network for a page, each time that something does."""

    def make(self, source: Source, page: Page, notify: tiling.Notify = lambda done: None) -> Bands:
        """Return the result for a page."""


class Method(Protocol):
    """What a verb does with pictures.

    Attributes:
        beside: pattern for an output's name that lies beside its input.
        fields: names for patterns, and their values.
    """

    beside: str
    fields: Mapping[str, str]

    def choose(self, pages: Sequence[Page], tile: int | None) -> tuple[Loaded, Maker]:
        """Return the model for a picture of some pages, and what uses it.

        Raises:
            InputError: there is none for it.
        """


def run(order: Order, begin: Callable[[], Method]) -> int:
    """Do what an order says, and return the exit status.

    Args:
        order: see `Order`.
        begin: gives the method, when it is known that the inputs and outputs make sense: models are loaded there.

    Raises:
        GantoolError: nothing was done, or the run could not go on; a single input's errors are only reported.
    """
    if order.dry_run and order.reporting.file is not None:
        raise UsageError("--report tells what was done, and --dry-run does nothing: leave one out, or use --json")
    sources = outputs.expand(order.inputs, order.recursive)
    root = outputs.output_folder(sources, order.output)
    carrier = _carrier(order, single=root is None)
    if order.output is not None and order.output != "-":
        outputs.check_writable(root or Path(order.output).parent)
    tile = parse_tile(order.tile)
    method = begin()
    job = _Job(order, carrier, side(tile), method)
    naming = Naming(order.output, method.beside, order.name, method.fields, carrier.extension)
    items = outputs.plan(sources, naming, order.existing, order.shard)
    if order.dry_run:
        return job.preview(items)
    if items and items[0].target is None and order.reporting.as_json:
        raise UsageError("--json and the picture would both go to standard output: use --report, or name a file with -o")
    machine.keep_freed_memory()
    return batch.run(items, job.work, order.reporting, order.fail_fast)


class _Job:
    """What is done to each picture."""

    def __init__(self, order: Order, carrier: Carrier, tile: int | None, method: Method) -> None:
        self.order, self.carrier, self.tile, self.method = order, carrier, tile, method
        self.speeds: dict[str, float] = {}  # seconds a pixel, by the model's name

    def work(self, item: Item, advance: batch.Advance) -> batch.Facts:
        """Make one picture of another, from file to file."""
        with self.carrier.opened(item) as reader, _named(item):
            loaded, maker, pages, results = self._planned(reader, item)
            part = 1 / len(pages)
            self.carrier.write(
                item,
                reader,
                results,
                lambda number, source: maker.make(source, pages[number], lambda done: advance(part * done)),
            )
            return _facts(loaded, pages, results)

    def _planned(self, reader: Reader, item: Item) -> tuple[Loaded, Maker, Sequence[Page], Sequence[Page]]:
        """Return what makes the result, the picture's pages and those of the result, if all that can be known allows it."""
        pages = [self.carrier.prepared(page) for page in reader.pages]
        loaded, maker = self.method.choose(pages, self.tile)
        results = [maker.page(page) for page in pages]
        self.carrier.check_fits(item, reader, results)
        check_memory(maker, pages, results, held=self.carrier.form_of(item) in HOLDS_ALL)
        return loaded, maker, pages, results

    def preview(self, items: Sequence[Item]) -> int:
        """Print what would be made, how large and in about what time, and return the exit status that is to be expected."""
        seconds, statuses, reporting = 0.0, [], self.order.reporting
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
            loaded, maker, pages, results = self._planned(reader, item)
        if loaded.name not in self.speeds:
            self.speeds[loaded.name] = _speed(loaded.engine)
        pixels, done = sum(sum(maker.inputs(page)) for page in pages), item.is_done()
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


def check_memory(maker: Maker, pages: Sequence[Page], results: Sequence[Page], held: bool) -> None:
    """Refuse what would not fit into memory before it is computed: the system might end the process without a word.

    Args:
        maker: of the results.
        pages: of the picture.
        results: what it becomes.
        held: whether the whole result is kept until it is written.

    Raises:
        OutOfMemory: it would not fit.
    """
    need = sum(r.width * r.height * r.channels for r in results) * 2.0 if held else 0.0
    if maker.tile == 0:
        need += max(max(maker.inputs(page)) for page in pages) * maker.engine.nature(3).bytes_per_pixel
    free = machine.free_memory()
    if free is not None and need > free:
        size = f"{results[0].width}x{results[0].height}"
        raise OutOfMemory(
            f"{size} pixels in one piece would take {need / 2**30:.1f} GB of memory, {free / 2**30:.1f} are free: "
            "use --tile auto and --format png or tiff, ask for a smaller result, or crop it"
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


def side(tile: Tile) -> int | None:
    """Return the side of tiles: None for auto, 0 for the whole picture."""
    return {"auto": None, "off": 0}[tile] if isinstance(tile, str) else tile


def _carrier(order: Order, single: bool) -> Carrier:
    """Return how pictures are read and stored; a single output's name decides its format, where --format does not.

    Raises:
        UsageError: the two disagree, or neither says anything.
    """
    asked = order.carrier.form
    if not single or order.output in (None, "-"):
        return order.carrier
    path = Path(str(order.output))
    by_name = images.FORMATS.get(path.suffix.lower())
    if by_name is None and asked is None:
        known = " ".join(sorted(images.FORMATS))
        raise UsageError(f"{printable(path)} has no extension of a picture: use {known}, or end a folder's name with /")
    if by_name and asked not in (None, by_name):
        raise UsageError(f"{printable(path)} and --format {asked} say different things: leave one out")
    return replace(order.carrier, form=asked or by_name)


def make(picture: Picture, maker: Maker, advance: Callable[[float], None]) -> Picture:
    """Return what is made of a picture in memory.

    Raises:
        OutOfMemory: the result is too large.
        InputError: the network gave values that are not finite.
    """
    page = picture.page()
    result = maker.page(page)
    check_memory(maker, [page], [result], held=True)
    return Picture.of(maker.make(picture.bands, page, advance), result, picture.icc)
