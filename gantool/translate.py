"""`gantool translate`: pictures in, the same pictures in another domain, style or condition out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from gantool import engines, jobs, weights
from gantool.engines import Loaded, Settings
from gantool.errors import UsageError, printable
from gantool.images import Page, Picture
from gantool.jobs import Order, Tile
from gantool.scales import Target
from gantool.translating import Translation

Direction: TypeAlias = Literal["AtoB", "BtoA"]


@dataclass(frozen=True)
class Wish:
    """What pictures are to become.

    Attributes:
        to: one of the model's targets, such as zebra.
        direction: of a model that translates between two domains.
        attributes: comma-separated, those that pictures are not to have with a minus: "Blond_Hair,-Male".
    """

    to: str | None = None
    direction: Direction | None = None
    attributes: str | None = None

    def names(self, targets: Sequence[str], model: str) -> tuple[list[str], list[str]]:
        """Return the names of targets that are wanted, and those that are unwanted.

        Raises:
            UsageError: the model has no such directions, or there are attributes without a name.
        """
        wanted = [] if self.to is None else [self.to]
        if self.direction:
            if len(targets) not in (1, 2) or (len(targets) == 1 and self.direction == "BtoA"):
                known = f"it translates to {' or '.join(targets)}" if targets else "it does one thing"
                raise UsageError(f"--direction {self.direction}: {printable(model)} has no such direction, {known}")
            wanted.append(targets[-1] if self.direction == "AtoB" else targets[0])
        parts = [part.strip() for part in (self.attributes or "").split(",") if part.strip()]
        if self.attributes is not None and not parts:
            raise UsageError("--attr names nothing: leave it out, or see whether a variable is empty")
        wanted += [part for part in parts if not part.startswith("-")]
        return list(dict.fromkeys(wanted)), [part[1:].strip() for part in parts if part.startswith("-")]


@dataclass(frozen=True)
class Options:
    """What the command line says; see its help."""

    order: Order
    model: str
    wish: Wish = Wish()
    size: Target | None = None
    deterministic: bool = False


def run(options: Options) -> int:
    """Translate what the options name, and return the exit status.

    Raises:
        GantoolError: nothing was done, or the run could not go on; a single input's errors are only reported.
    """
    return jobs.run(options.order, lambda: _Translating(options))


class _Translating:
    """See `gantool.jobs.Method`."""

    def __init__(self, options: Options) -> None:
        settings = options.order.settings
        model = weights.load(options.model, offline=settings.offline, registry=settings.registry)
        self.loaded, self.keeps_gray = _ready(model, options.wish, settings, options.deterministic)
        self.size = options.size
        to = options.wish.to or options.wish.attributes or options.wish.direction
        self.beside = "{stem}_{model}_{to}" if to else "{stem}_{model}"
        self.fields: Mapping[str, str] = {"model": model.name, "to": to or model.name}

    def choose(self, pages: Sequence[Page], tile: int | None) -> tuple[Loaded, Translation]:
        """See `Method`."""
        return self.loaded, Translation(self.loaded.engine, self.size, tile, self.keeps_gray)


def _ready(model: weights.Model, wish: Wish, settings: Settings, deterministic: bool) -> tuple[Loaded, bool]:
    """Return a model ready to translate to what is wished, and whether it keeps gray pictures gray."""
    system = model.system.deterministic() if deterministic else model.system
    translator = engines.translator(model.name, system)
    target = translator.target(*wish.names(translator.targets, model.name))
    return engines.for_translating(model, system, target, settings), translator.keeps_gray


def translate(
    picture: Picture,
    model: weights.Model,
    to: str | None = None,
    *,
    attributes: str | None = None,
    deterministic: bool = False,
    tile: Tile = "auto",
    device: str = "auto",
    dtype: str = "auto",
    advance: Callable[[float], None] = lambda share: None,
) -> Picture:
    """Return a translated picture of the same size. Transparency stays; gray becomes RGB unless the model keeps it.

    Args:
        picture: not changed.
        model: from `gantool.load`; moved to the device.
        to: one of the model's targets, where it has several.
        attributes: names of attributes, those that the picture is not to have with a minus.
        deterministic: without noise, and with stored statistics instead of the picture's own.
        tile: side of tiles in pixels, off for the whole picture at once.
        device: auto, cpu, cuda, cuda:1 or mps.
        dtype: auto, fp32, fp16 or bf16.
        advance: gets the share of the work that each step has done.

    Raises:
        UsageError: the model does not translate, or not to this.
        OutOfMemory: the picture is too large.
        InputError: the network gave values that are not finite.
    """
    settings = Settings(device=device, dtype=dtype)
    loaded, keeps_gray = _ready(model, Wish(to, attributes=attributes), settings, deterministic)
    return jobs.make(picture, Translation(loaded.engine, None, jobs.side(tile), keeps_gray), advance)
