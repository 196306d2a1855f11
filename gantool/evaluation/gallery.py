"""The pictures that a page shows: the worst and the best of an evaluation, as text that a page can hold."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite, isnan, sqrt
from statistics import fmean
from typing import TypeAlias

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d

from gantool.errors import InputError
from gantool.evaluation.values import Evaluation
from gantool.metrics import METRICS

Show: TypeAlias = Callable[[str, str], tuple[Tensor, Tensor | None]]
"""A contestant and the name of a picture in; its result and reference out, (3|1, H, W) uint8, the same height and width."""

BYTES = 24 << 20  # of all pictures as they stand in a page: what browsers open at once and mail still takes
SIDE = 1024  # pixels; longer pictures are shown in part
_CELL = 8  # pixels per side of the squares that errors are summed in, when the worst part is looked for
_BAND = 64 * _CELL  # rows that are looked at at once, so that memory stays small
_SMALLEST = 32  # pixels per side, below which nobody sees anything


@dataclass(frozen=True)
class Group:
    """Pictures that belong together for a reason."""

    title: str
    words: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class Part:
    """What is shown of a picture, in pixels; all of it where the sizes agree."""

    left: int
    top: int
    width: int
    height: int
    whole: tuple[int, int]

    def cut(self, color: Tensor) -> Tensor:
        """Return this part of a picture (C, H, W)."""
        return color[:, self.top : self.top + self.height, self.left : self.left + self.width]


@dataclass(frozen=True)
class Exhibit:
    """One picture of a page.

    Attributes:
        name: the picture's.
        part: what is shown of it; None where nothing could be read.
        results: data URIs by contestant; lossless WebP.
        reference: data URI, if there is one.
        error: why something is missing.
    """

    name: str
    part: Part | None
    results: Mapping[str, str]
    reference: str | None
    error: str | None = None

    @property
    def bytes(self) -> int:
        """What it takes of a page."""
        return sum(map(len, self.results.values())) + len(self.reference or "")


def groups(evaluation: Evaluation, shown: int) -> tuple[Group, ...]:
    """Return the worst and the best pictures, and those on which contestants are farthest apart.

    That is by the first metric that knows a better; if none does, the highest and the lowest.

    Of several contestants the mean counts, so that all are seen on the same pictures. A value that is not a number is the
    worst there is. Where so few pictures were measured that worst and best would share some, all are in one group.

    Args:
        evaluation: what was found.
        shown: pictures in a group, at most.
    """
    if not evaluation.metrics:
        return ()
    metric = next((name for name in evaluation.metrics if METRICS[name].better), evaluation.metrics[0])
    values = _values(evaluation, metric)
    first, last = ("worst", "best") if METRICS[metric].better else ("highest", "lowest")
    sign = -1 if METRICS[metric].better == "higher" else 1
    ordered = sorted(values, key=lambda name: sign * _mean(values[name]), reverse=True)
    by = f"by {metric}" + (", the mean of all contestants" if len(evaluation.contestants) > 1 else "")
    if len(ordered) <= 2 * shown:
        return (Group(f"From {first} to {last}", by, tuple(ordered)),) if ordered else ()
    ends = (first.capitalize(), ordered[:shown]), (last.capitalize(), ordered[: -shown - 1 : -1])
    found = [Group(title, by, tuple(names)) for title, names in ends]
    apart = [name for name in ordered if _spread(values[name]) > 0]
    if apart:
        apart.sort(key=lambda name: _spread(values[name]), reverse=True)
        found.append(Group("Farthest apart", f"by {metric}, between contestants", tuple(apart[:shown])))
    return tuple(found)


def _values(evaluation: Evaluation, metric: str) -> dict[str, list[float]]:
    """Return what was measured of each picture, by name, in the order of the rows."""
    found: dict[str, list[float]] = {}
    for row in evaluation.rows:
        if metric in row.values:
            found.setdefault(row.name, []).append(row.values[metric])
    worst = -inf if METRICS[metric].better == "higher" else inf
    return {name: [worst if isnan(value) else value for value in values] for name, values in found.items()}


def _mean(values: Sequence[float]) -> float:
    infinite = [value for value in values if not isfinite(value)]
    return min(infinite) if infinite else fmean(values)  # inf and -inf have no mean


def _spread(values: Sequence[float]) -> float:
    return 0.0 if min(values) == max(values) else max(values) - min(values)


def exhibits(evaluation: Evaluation, chosen: Sequence[Group], show: Show, limit: int = BYTES) -> tuple[Exhibit, ...]:
    """Return the pictures of all groups, each once, with `show` asked once for each contestant's.

    Every pixel is as it was measured: what is too large is cut, never resized or compressed with losses. The part around
    the largest squared error (of all contestants together) is kept, or the middle where there are no references.

    Args:
        evaluation: what was found.
        chosen: from `groups`.
        show: see `Show`; an InputError of it is told in the exhibit.
        limit: bytes of all data URIs together. A picture may take two shares, as long as half of one stays for each other.
    """
    names = tuple(dict.fromkeys(name for group in chosen for name in group.names))
    measured = {(row.contestant, row.name) for row in evaluation.rows if not row.error}
    share, spent = limit // max(len(names), 1), 0
    found = []
    for count, name in enumerate(names, 1):
        contestants = [label for label in evaluation.contestants if (label, name) in measured]
        rest = limit - spent - (len(names) - count) * share // 2
        found.append(_exhibit(name, contestants, show, min(2 * share, max(rest, 0))))
        spent += found[-1].bytes
    return tuple(found)


def _exhibit(name: str, contestants: Sequence[str], show: Show, limit: int) -> Exhibit:
    results: dict[str, Tensor] = {}
    reference: Tensor | None = None
    fault: str | None = None
    for label in contestants:
        try:
            results[label], seen = show(label, name)
        except InputError as error:
            fault = str(error)
        else:
            reference = reference if reference is not None else seen
    if not results:
        return Exhibit(name, None, {}, None, fault)
    pictures = list(results.values()) + ([] if reference is None else [reference])
    part, uris = _fitting(pictures, reference, limit)
    return Exhibit(name, part, dict(zip(results, uris, strict=False)), None if reference is None else uris[-1], fault)


def _fitting(pictures: Sequence[Tensor], reference: Tensor | None, limit: int) -> tuple[Part, list[str]]:
    """Return the largest part, of those tried, whose data URIs stay within a limit, and these."""
    # contestants of several scales may have lost different rows at the bottom: what all have is shown
    height, width = (min(picture.shape[axis] for picture in pictures) for axis in (1, 2))
    errors = None if reference is None else _errors(pictures, reference, height, width)
    rows, columns = min(height, SIDE), min(width, SIDE)
    while True:
        part = _part(errors, rows, columns, height, width)
        uris = [_uri(part.cut(picture)) for picture in pictures]
        size = sum(map(len, uris))
        if size <= limit or max(rows, columns) <= _SMALLEST:
            return part, uris
        smaller = min(0.95 * sqrt(limit / size), 0.9)  # bytes go about with the area
        rows, columns = (max(min(side, _SMALLEST), int(side * smaller)) for side in (rows, columns))


def _errors(pictures: Sequence[Tensor], reference: Tensor, height: int, width: int) -> Tensor:
    """Return the squared error, summed over pictures, in cells of `_CELL` pixels per side (rows, columns), float64."""
    bands = []
    for top in range(0, height, _BAND):
        kept = (..., slice(top, min(top + _BAND, height)), slice(0, width))
        error = sum((picture[kept].float() - reference[kept].float()).square().mean(0) for picture in pictures)
        assert isinstance(error, Tensor)
        bands.append(avg_pool2d(error[None, None], _CELL, ceil_mode=True)[0, 0].double())
    return torch.cat(bands)


def _part(errors: Tensor | None, rows: int, columns: int, height: int, width: int) -> Part:
    top, left = (height - rows) // 2, (width - columns) // 2
    if errors is not None and (rows, columns) != (height, width):
        window = tuple(max(side // _CELL, 1) for side in (rows, columns))
        sums = avg_pool2d(errors[None, None], window, stride=1)[0, 0]
        y, x = divmod(int(sums.argmax()), sums.shape[1])
        top, left = min(y * _CELL, height - rows), min(x * _CELL, width - columns)
    return Part(left, top, columns, rows, (width, height))


def _uri(color: Tensor) -> str:
    """Return a picture (3|1, H, W) as a data URI: lossless WebP, a third smaller than PNG, and all browsers know it."""
    pixels = color.permute(1, 2, 0).contiguous().cpu().numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(
        buffer, "WEBP", lossless=True, method=2, quality=20
    )  # quality is effort here; more makes 2 % less
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
