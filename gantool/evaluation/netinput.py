"""What a user's own network takes, said in a TOML file of the same name beside it: `net.toml` for `net.onnx`.

Each field may be left out, and so may the file:

    order = "rgb"             # or "bgr"
    range = 1                 # white is 1, or 255
    mean = [0.485, 0.456, 0.406]   # subtracted after that, in the order above
    std = [0.229, 0.224, 0.225]    # divided by then
    size = [512, 1024]        # height and width it needs; without it pictures come in their own size
    channels = 3              # or 1: gray, by BT.601 weights
    classes = 19              # how many it tells apart
    names = ["road", "sky"]   # what they are called, all of them, in their order
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from math import isfinite
from pathlib import Path

from gantool.errors import WeightsError, first_line, printable, unknown

MAX_TOML = 1 << 20  # bytes
MAX_SIDE = 1 << 14  # pixels a network may ask for
MAX_CLASSES = 1 << 12  # a matrix of them still fits anywhere


@dataclass(frozen=True)
class Taken:
    """What a network takes and tells apart, as its TOML file says; see the top of this file."""

    order: str = "rgb"
    range: int = 1
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    size: tuple[int, int] | None = None  # height, width
    channels: int = 3
    classes: int | None = None  # None: as many as it gives
    names: tuple[str, ...] = ()

    def words(self) -> str:
        """Return what it takes, for a recipe."""
        color = self.order.upper() if self.channels == 3 else "gray"
        mean = f", minus mean {_listed(self.mean)}" if self.mean else ""
        std = f", divided by {_listed(self.std)}" if self.std else ""
        size = f", {self.size[1]}x{self.size[0]} pixels" if self.size else ""
        return f"{color} in 0 to {self.range}{mean}{std}{size}"


def taken(path: Path) -> Taken:
    """Return what the TOML file beside a network says; the defaults where there is none.

    Raises:
        WeightsError: it cannot be read, or a field does not exist or makes no sense.
    """
    beside = path.with_suffix(".toml")
    if not beside.exists():
        return Taken()
    try:
        if not beside.is_file() or beside.stat().st_size > MAX_TOML:
            raise WeightsError(f"{printable(beside)} is no file of at most {MAX_TOML >> 20} MiB: it cannot be read")
        said = tomllib.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{printable(beside)} cannot be read as TOML ({first_line(error)}): correct it") from error
    known = [field.name for field in fields(Taken)]
    for key in said:
        if key not in known:
            raise WeightsError(f"{printable(beside)}: {unknown('field', key, known)}")
    for problem in _problems(said):
        raise WeightsError(f"{printable(beside)}: {problem}")
    names = tuple(said.get("names", ()))
    lists = {key: tuple(value) for key, value in said.items() if isinstance(value, list)}
    return Taken(**{"classes": len(names) or None, **said, **lists})


def _problems(said: Mapping[str, object]) -> Iterator[str]:
    """Yield what is wrong with the fields, each with what it should be."""
    channels = said.get("channels", 3)
    if type(channels) is not int or channels not in (1, 3):
        yield f"channels is {channels!r:.80}: use 1 for gray or 3 for colour"
    if said.get("order", "rgb") not in ("rgb", "bgr"):
        yield f'order is {said["order"]!r:.80}: use "rgb" or "bgr"'
    if type(said.get("range", 1)) is not int or said.get("range", 1) not in (1, 255):
        yield f"range is {said['range']!r:.80}: use 1 or 255, the value of white"
    for key in ("mean", "std"):
        if key in said and not _is_numbers(said[key], channels, positive=key == "std"):
            what = "numbers above 0" if key == "std" else "numbers"
            yield f"{key} is {said[key]!r:.80}: use a list of {what}, one for each of {channels} channels"
    size = said.get("size", [1, 1])
    if not isinstance(size, list) or len(size) != 2 or not all(type(n) is int and 0 < n <= MAX_SIDE for n in size):
        yield f"size is {size!r:.80}: use [height, width] in pixels, up to {MAX_SIDE}"
    classes = said.get("classes", 2)
    if type(classes) is not int or not 2 <= classes <= MAX_CLASSES:
        yield f"classes is {classes!r:.80}: use a whole number from 2 to {MAX_CLASSES}"
    if "names" in said:
        yield from _name_problems(said["names"], said.get("classes"))


def _is_numbers(value: object, count: object, positive: bool) -> bool:
    if not isinstance(value, list) or len(value) != count:
        return False
    return all(type(n) in (int, float) and isfinite(n) and (n > 0 or not positive) for n in value)


def _name_problems(names: object, classes: object) -> Iterator[str]:
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        yield f"names is {names!r:.80}: use a list of words"
    elif len(set(names)) < len(names) or len(names) < 2:
        yield "names needs two names or more, each of them once"
    elif classes is not None and classes != len(names):
        yield f"classes is {classes} but there are {len(names)} names: they must agree"


def _listed(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)
