"""`gantool upscale`: pictures in, larger pictures out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from gantool import engines, jobs, weights
from gantool.engines import Loaded, Settings
from gantool.enlarging import Enlarger
from gantool.errors import InputError, UsageError
from gantool.images import Page, Picture
from gantool.jobs import Order, Tile
from gantool.scales import DEFAULT, Target, check_reach


@dataclass(frozen=True)
class Options:
    """What the command line says; see its help."""

    order: Order
    model: str | None = None
    target: Target = Target()


def run(options: Options) -> int:
    """Upscale what the options name, and return the exit status.

    Raises:
        GantoolError: nothing was done, or the run could not go on; a single input's errors are only reported.
    """
    return jobs.run(options.order, lambda: _Upscaling(options))


class _Upscaling:
    """See `gantool.jobs.Method`."""

    beside = "{stem}_{size}"

    def __init__(self, options: Options) -> None:
        self.model, self.target, self.settings = options.model, options.target, options.order.settings
        self.load = cache(lambda name: engines.load(name, self.settings))
        self.first = self._load(self.target.scale or DEFAULT)  # what is wrong with it shows before the first picture
        if self.target.scale is not None:
            check_reach(self.target.scale, self.first.engine.scale, self.first.name, UsageError)
        label = self.target.label if self.target.by_sides else f"x{self.target.scale or self.first.engine.scale:g}"
        self.fields: Mapping[str, str] = {"scale": label.removeprefix("x"), "size": label, "model": self.first.name}

    def _load(self, scale: float) -> Loaded:
        return self.load(weights.choose(self.model, scale, self.settings.registry))

    def choose(self, pages: Sequence[Page], tile: int | None) -> tuple[Loaded, Enlarger]:
        """See `Method`: where sides are asked for, each picture may take another model of a family."""
        loaded = self.first
        if self.target.by_sides:
            largest = max(max(self.target.factors(page.height, page.width, 1)) for page in pages)
            loaded = self._load(largest)
            check_reach(largest, loaded.engine.scale, loaded.name, InputError)
        return loaded, Enlarger(loaded.engine, self.target, tile)


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
    check_reach(scale or 1, loaded.engine.scale, model.name, UsageError)
    return jobs.make(picture, Enlarger(loaded.engine, Target(scale), jobs.side(tile)), advance)
