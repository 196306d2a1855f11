"""`gantool evaluate`: results against references, with numbers that can be put beside published ones."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.progress import Progress
from torch import Tensor

from gantool import devices, frozen, metrics
from gantool.batch import emit
from gantool.engines import Settings
from gantool.errors import InputError, UsageError, console, printable, say
from gantool.evaluation import page, reporting, statistics
from gantool.evaluation.contestants import Contestant, Folder, Upscaler, cases
from gantool.evaluation.degrading import BICUBIC, Degradation
from gantool.evaluation.explaining import EXPLAINED, Explaining
from gantool.evaluation.rows import Measuring, check_sizes, rows, show
from gantool.evaluation.values import Comparison, Evaluation, Explained, Mean, Row
from gantool.evaluation.wholes import STATISTICS, Judges, Wholes
from gantool.frozen import Part
from gantool.images import EXTENSIONS, MAX_PIXELS
from gantool.layers.inception import Variant
from gantool.metrics import METRICS, Kind, Measure
from gantool.metrics.niqe import Pristine
from gantool.metrics.pi import MISSING, pi, read_ma, score_of
from gantool.metrics.protocols import Recipe


@dataclass(frozen=True)
class Reports:
    """Where what is found goes, besides the table.

    Attributes:
        csv: a file for the numbers.
        html: a file for a page with pictures.
        overwrite: replace these where they exist.
        as_json: print objects instead of the table.
    """

    csv: Path | None = None
    html: Path | None = None
    overwrite: bool = False
    as_json: bool = False


@dataclass(frozen=True)
class Options:
    """What the command line says; see its help."""

    recipe: Recipe
    results: Sequence[Path] = ()
    references: Path | None = None
    models: Sequence[str] = ()
    degradation: str | None = None
    seed: int = 0
    recursive: bool = False
    explain: bool = False
    weights: Mapping[str, Path] = field(default_factory=dict)
    variant: Variant = "legacy-pytorch"
    judges: Judges = Judges()
    ma: Path | None = None
    reports: Reports = Reports()
    max_pixels: int = MAX_PIXELS
    settings: Settings = Settings()


def run(options: Options) -> None:
    """Measure results against references; print a table, or JSON lines, with means, intervals and the recipe.

    Raises:
        UsageError: sets do not pair or differ in size, or a report cannot be written; nothing was measured.
        WeightsError: a model, or a network that a metric looks through, cannot be had.
        InputError: pictures could not be measured; the others' values were given, the mean was not.
    """
    _Run(options).run()


class _Run:
    """One evaluation, from what is asked for to what is told."""

    def __init__(self, options: Options) -> None:
        self.options, self.recipe = options, options.recipe
        _check(options)
        self.contestants = _contestants(options)
        self.parts = _parts(options)
        self.ma = read_ma(options.ma) if options.ma else {}
        pictured = _of(self.recipe.metrics, "pair", "picture")
        self.measured, self.failed = tuple(pictured), 0
        # sets of pictures need not pair
        single = bool(pictured or options.models)
        self.cases = cases(self.contestants, options.references, options.recursive) if single else []
        self.wholes = Wholes(
            self.recipe.metrics,
            options.references,
            options.recursive,
            self.parts,
            options.variant,
            devices.choose_device(options.settings.device),
            options.seed,
            options.judges,
            options.max_pixels,
        )
        self.gatherers = {c.label: self.wholes.gatherer() for c in self.contestants if isinstance(c, Upscaler)}
        values = {name: part.value for name, part in self.parts.items()}
        self.bound = {name: metrics.bind(name, values, self.recipe.rounded) for name in pictured if name != "pi"}
        self.explaining = {
            contestant.label: [Explaining(name, self.recipe) for name in pictured if name in EXPLAINED and options.explain]
            for contestant in self.contestants
        }
        self.how = Measuring(self.recipe, self._measures, [self._explain, self._gather], options.max_pixels)

    def run(self) -> None:
        """Measure and tell."""
        reports = self.options.reports
        quiet = reports.as_json or not console().is_terminal
        with Progress(console=console(), transient=True, redirect_stdout=False, disable=quiet) as progress:
            check_sizes(progress.track(self.cases, description="checking sizes"), self.recipe.multiple, self.how.max_pixels)
            found: list[Row] = []
            for case in progress.track(self.cases, description="measuring"):
                for row in rows(case, self.contestants, self.how):
                    found.append(row)
                    if row.error:
                        say(f"gantool: {row.error}")
                    if reports.as_json:
                        emit(json.dumps(reporting.row_json(row)))
        self._tell(self._evaluation(found))

    def _measures(self, name: str) -> Mapping[str, Measure]:
        """Return the metrics for a picture; PI's depends on the picture's name, as its Ma is given by that."""
        measures: dict[str, Measure] = {}
        for metric in self.measured:
            measures[metric] = self._pi(name) if metric == "pi" else self.bound[metric]
        return measures

    def _pi(self, name: str) -> Measure:
        pristine, ma = self.parts["niqe"].value, score_of(self.ma, name)
        assert isinstance(pristine, Pristine)
        return lambda result, reference: pi(result, pristine, ma)

    def _explain(self, label: str, result: Tensor, reference: Tensor | None) -> None:
        if reference is not None:
            for explaining in self.explaining[label]:
                explaining.add(result, reference)

    def _gather(self, label: str, result: Tensor, reference: Tensor | None) -> None:
        if label in self.gatherers:
            self.gatherers[label].add(result)

    def _fail(self, path: Path, error: InputError) -> None:
        """Count a picture of a set that cannot be read; `rows` has told it already where it is measured by itself too."""
        if not self.cases:
            self.failed += 1
            say(f"gantool: {error}")

    def _evaluation(self, found: Sequence[Row]) -> Evaluation:
        labels = tuple(contestant.label for contestant in self.contestants)
        by_label = {label: [row for row in found if row.contestant == label] for label in labels}
        means = {label: self._mean(of) for label, of in by_label.items()}
        whole = {label: mean for label, mean in means.items() if mean}
        made = {label: of for label, of in self.gatherers.items() if not any(row.error for row in by_label[label])}
        return Evaluation(
            labels,
            self.measured,
            tuple(found),
            whole,
            self.wholes.values(self.contestants, made, self._fail),
            tuple(self._comparisons([by_label[label] for label in labels if label in whole])),
            {label: self._explained(label) for label in whole if self.options.explain},
            tuple(self._recipe()),
            self.recipe.protocol,
        )

    def _mean(self, of: Sequence[Row]) -> dict[str, Mean]:
        """Return the means of the pictures' values, none where one is missing: a mean of fewer pictures is another number."""
        if not of or any(row.error for row in of):
            return {}
        return {name: statistics.mean([row.values[name] for row in of], self.options.seed) for name in self.measured}

    def _comparisons(self, contestants: Sequence[Sequence[Row]]) -> list[Comparison]:
        """Compare each contestant with the first one, by what has a better and a worse."""
        return [
            statistics.compare(
                metric,
                contestants[0][0].contestant,
                other[0].contestant,
                [(a.values[metric], b.values[metric]) for a, b in zip(contestants[0], other, strict=True)],
                METRICS[metric].better == "higher",
                self.options.seed,
            )
            for other in contestants[1:]
            for metric in self.measured
            if METRICS[metric].better
        ]

    def _explained(self, label: str) -> tuple[Explained, ...]:
        return tuple(each for explaining in self.explaining[label] for each in explaining.finish())

    def _recipe(self) -> list[str]:
        lines = self.recipe.lines()
        models = [contestant for contestant in self.contestants if isinstance(contestant, Upscaler)]
        if models:
            lines.insert(1, models[0].degradation.words)
        lines += [part.words for part in self.parts.values()]
        if len(self.cases) > 1:
            lines.append(
                f"intervals: percentiles of {statistics.RESAMPLES:,} bootstrap samples of pictures, seed {self.options.seed}"
            )
        return lines

    def _tell(self, found: Evaluation) -> None:
        reports = self.options.reports
        if reports.as_json:
            for summary in reporting.summaries(found, self.recipe.scale, self.recipe.border):
                emit(json.dumps(summary))
        else:
            emit(reporting.table(found))
        if reports.csv is not None:
            reporting.write_csv(reports.csv, found)
        if reports.html is not None:
            page.write(reports.html, found, self._show)
        failed = sum(row.error is not None for row in found.rows)
        if failed:
            raise InputError(f"{failed} of {len(found.rows)} pictures could not be measured: the mean is withheld")
        if self.failed:
            some = "1 picture" if self.failed == 1 else f"{self.failed} pictures"
            raise InputError(f"{some} could not be read: the numbers of their sets are withheld")

    def _show(self, label: str, name: str) -> tuple[Tensor, Tensor | None]:
        """Return a result and its reference once more, for a page."""
        case = next(case for case in self.cases if case.name == name)
        contestant = next(contestant for contestant in self.contestants if contestant.label == label)
        return show(case, contestant, self.how)


def _check(options: Options) -> None:
    """Refuse what does not go together, before anything is loaded.

    Raises:
        UsageError: says what to add or to leave out.
    """
    recipe, names = options.recipe, options.recipe.metrics
    if not options.results and not options.models:
        raise UsageError("there is nothing to evaluate: name a folder of results, or a model with -m")
    if options.models and options.references is None:
        raise UsageError("-m makes results of true pictures: name their folder")
    if options.models and recipe.scale is None:
        raise UsageError("-m enlarges what was made small by the scale: add --scale 4, or another")
    if options.degradation is not None and not options.models:
        raise UsageError("--degradation is for models named with -m: these results have been made already")
    if options.references is None and (paired := [*_of(names, "pair", "sets"), *(n for n in names if n == "seg")]):
        raise UsageError(f"{', '.join(paired)} compares results with true pictures: name their folder too")
    if options.references and options.references.suffix == STATISTICS and (paired := _of(names, "pair")):
        raise UsageError(f"{printable(options.references)} has statistics for fid, and {', '.join(paired)} needs the pictures")
    if options.explain and not set(names) & set(EXPLAINED):
        raise UsageError(f"--explain has other conventions of {', '.join(EXPLAINED)} only: add one of these to --metric")
    if options.explain and options.references is None:
        raise UsageError("--explain compares results with true pictures: name their folder too")
    if "pi" in names and options.ma is None:
        raise UsageError(MISSING)
    for flag, path in (("--csv", options.reports.csv), ("--html", options.reports.html)):
        if path is not None:
            _check_output(flag, path, options.reports.overwrite)


def _of(names: Sequence[str], *kinds: Kind) -> list[str]:
    return [name for name in names if METRICS[name].kind in kinds]


def _check_output(flag: str, path: Path, overwrite: bool) -> None:
    if path.suffix.lower() in EXTENSIONS or path.is_dir() or not os.access(path.parent, os.W_OK):
        kind = flag.removeprefix("--")
        raise UsageError(f"{flag} {printable(path)} cannot be written: name a .{kind} file in a folder that takes one")
    if path.exists() and not overwrite:
        raise UsageError(f"{printable(path)} exists: add --overwrite or choose another name")


def _contestants(options: Options) -> list[Contestant]:
    """Return who is evaluated, each under a label of its own.

    Raises:
        UsageError: a model is not there or does not upscale so far; two have one name.
        WeightsError: a model's weights cannot be had.
    """
    labels = _distinct([path.resolve().name for path in options.results], [str(path) for path in options.results])
    found: list[Contestant] = [
        Folder(label, path, options.max_pixels) for label, path in zip(labels, options.results, strict=True)
    ]
    if options.models:
        text = BICUBIC if options.degradation is None else options.degradation
        degradation = Degradation(text, options.recipe.scale or 1, options.seed)
        loaded = [Upscaler.load(name, degradation, options.settings) for name in options.models]
        names = _distinct([model.label for model in loaded], list(options.models))
        found += [Upscaler(name, model.enlarger, degradation) for name, model in zip(names, loaded, strict=True)]
    if len({contestant.label for contestant in found}) < len(found):
        raise UsageError("the same results or models are named twice: name each once")
    return found


def _distinct(short: Sequence[str], long: Sequence[str]) -> list[str]:
    """Return short names where they are distinct, else the long ones."""
    return [name if short.count(name) == 1 else other for name, other in zip(short, long, strict=True)]


def _parts(options: Options) -> dict[str, Part]:
    """Return what metrics look through, loaded from the files that were named, or as weights.toml says.

    Raises:
        UsageError: a file is named for what no metric needs.
        WeightsError: a file cannot be had or is not what it should be.
    """
    needed = list(dict.fromkeys(need for name in options.recipe.metrics for need in METRICS[name].needs))
    for name in options.weights:
        if name not in needed:
            needs = f"these metrics look through {', '.join(needed)}" if needed else "these metrics need no weights"
            raise UsageError(f"--weights {printable(name)}=... is of no use here: {needs}")
    settings = options.settings
    return {
        name: frozen.part(name, options.weights.get(name), offline=settings.offline, registry=settings.registry)
        for name in needed
    }
