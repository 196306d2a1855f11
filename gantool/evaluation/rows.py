"""One picture after the other: read, made, checked, measured; what cannot be measured says why."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor

from gantool import metrics
from gantool.batch import unexpected
from gantool.errors import GantoolError, InputError, UsageError, printable
from gantool.evaluation.contestants import Case, Contestant, Made, opened
from gantool.evaluation.findings import findings
from gantool.evaluation.values import Row
from gantool.images import MAX_PIXELS, Page, open_picture
from gantool.metrics import Measure
from gantool.metrics.pi import pi, score_of
from gantool.metrics.protocols import Recipe

SHOWN = 5  # names in a message
Look = Callable[[str, Tensor, Tensor | None], None]  # gets a label, a result and its reference, both cropped


@dataclass(frozen=True)
class Measuring:
    """How rows come about.

    Attributes:
        recipe: how pictures are taken.
        measures: metrics of pictures, from `gantool.metrics.bind`.
        ma: for `pi`: scores by pictures' names.
        looks: what else wants to see each pair, such as metrics of sets.
        max_pixels: larger pictures are refused.
    """

    recipe: Recipe
    measures: Mapping[str, Measure]
    ma: Mapping[str, float] = field(default_factory=dict)
    looks: Sequence[Look] = field(default_factory=tuple)
    max_pixels: int = MAX_PIXELS


def rows(case: Case, contestants: Sequence[Contestant], how: Measuring) -> Iterator[Row]:
    """Yield a row for each contestant on one picture."""
    true: Made | InputError | None
    try:
        true = _true(case, how)
    except InputError as error:
        true = error
    for contestant in contestants:
        try:
            if isinstance(true, InputError):
                raise true
            yield _measured(case, contestant.label, _made(case, contestant, true, how), true, how)
        except InputError as error:
            yield _failed(case, contestant.label, error)
        except GantoolError:
            raise
        except Exception as error:  # a fault of ours with one picture must not cost the others
            yield _failed(case, contestant.label, unexpected(printable(case.name), error))


def _failed(case: Case, label: str, error: InputError) -> Row:
    return Row(label, case.name, case.results.get(label), case.reference, error=str(error))


def show(case: Case, contestant: Contestant, how: Measuring) -> tuple[Tensor, Tensor | None]:
    """Return a result and its reference as they are measured, before any border is shaved.

    Raises:
        InputError: they cannot be read or made.
    """
    true = _true(case, how)
    return _made(case, contestant, true, how).color, true.color if true else None


def _true(case: Case, how: Measuring) -> Made | None:
    return None if case.reference is None else _cropped(opened(case.reference, how.max_pixels), how.recipe.multiple)


def _made(case: Case, contestant: Contestant, true: Made | None, how: Measuring) -> Made:
    return _cropped(contestant.make(case, true.color if true else None), how.recipe.multiple)


def _measured(case: Case, label: str, made: Made, true: Made | None, how: Measuring) -> Row:
    """Return a row; a metric that cannot be computed says why and leaves the others alone."""
    file, values, faults = case.results.get(label), dict[str, float](), list[str]()
    begin = time.perf_counter()
    one, other = metrics.prepare(made.color, (true or made).color, how.recipe.border)
    for name, measure in how.measures.items():
        try:
            value = measure(one, other)
            values[name] = pi(value, score_of(how.ma, case.name)) if name == "pi" else value
        except InputError as error:
            faults.append(str(error))
    for look in how.looks:
        look(label, made.color, true.color if true else None)
    told = f"{printable(file or case.name)}: {'; '.join(dict.fromkeys(faults))}" if faults else None
    seconds = time.perf_counter() - begin
    same = ["the result is the reference itself"] if file and case.reference and file.samefile(case.reference) else []
    notes = (*same, *_notes(made, true))
    return Row(label, case.name, file, case.reference, values, told, notes, seconds, made.seconds)


def _notes(made: Made, true: Made | None) -> Iterator[str]:
    for picture, what in ((made, "result"), (true, "reference")):
        if picture and picture.bits > 8:
            yield f"the {what} has {picture.bits} bits: it was rounded to 8 before measuring"
    if true:
        yield from _channels(made.color, true.color)
        one, other = metrics.prepare(made.color, true.color, 0)
        yield from findings(one[0], other[0])


def _channels(result: Tensor, reference: Tensor) -> Iterator[str]:
    if result.shape[0] == reference.shape[0]:
        return
    if reference.shape[0] == 1:
        yield "the reference is gray: the result, in colour, was turned to 8-bit gray by BT.601 weights before measuring"
    else:
        yield "the result is gray: it was taken for a colour picture with three equal channels"


def _cropped(made: Made, multiple: int) -> Made:
    """Return a picture cropped at the right and the bottom to a multiple."""
    height, width = made.color.shape[1:]
    return replace(made, color=made.color[:, : height - height % multiple, : width - width % multiple])


def check_sizes(cases: Iterable[Case], recipe: Recipe, max_pixels: int = MAX_PIXELS) -> None:
    """Refuse a whole set in which a result has not the size of its reference, whole or cropped as the recipe says.

    Only headers are read. Files that cannot be read are passed over: they are for `rows` to report.

    Raises:
        UsageError: sizes differ; the pictures are named.
    """
    wrong: list[str] = []
    for case in cases:
        for result in case.results.values():
            with suppress(InputError):
                if case.reference is not None:
                    wrong += _mismatch(result, case.reference, recipe.multiple, max_pixels)
    if wrong:
        more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        remedy = f"--scale {recipe.scale or 4} crops references to a multiple of {recipe.scale or 4}"
        if not recipe.crops:
            remedy = f"--protocol {recipe.named} takes references whole, sr and rgb crop them to a multiple of the scale"
        raise UsageError(
            f"results and references differ in size: {'; '.join(wrong[:SHOWN])}{more}. Nothing is resized to fit; {remedy}"
        )


def _mismatch(result: Path, reference: Path, multiple: int, max_pixels: int) -> Iterator[str]:
    one, other = (_page(path, max_pixels) for path in (result, reference))
    whole, cut = (other.width, other.height), (other.width - other.width % multiple, other.height - other.height % multiple)
    if (one.width, one.height) not in (whole, cut):
        yield f"{printable(result)} has {one.width}x{one.height} but {printable(reference)} has {other.width}x{other.height}"


def _page(path: Path, max_pixels: int) -> Page:
    with open_picture(path, printable(path), max_pixels) as reader:
        return reader.pages[0]
