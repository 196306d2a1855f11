"""`gantool evaluate`: results against references, with numbers that can be put beside published ones."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path

from rich.progress import Progress
from torch import Tensor, nn

from gantool import devices, frozen, metrics
from gantool.batch import emit_bytes
from gantool.engines import Settings
from gantool.errors import InputError, UsageError, WeightsError, console, printable, say
from gantool.evaluation import page, reporting, statistics
from gantool.evaluation.contestants import Contestant, Folder, Upscaler, cases
from gantool.evaluation.degrading import BICUBIC, Degradation
from gantool.evaluation.explaining import EXPLAINED, Explaining
from gantool.evaluation.rows import Measuring, check_sizes, rows, show
from gantool.evaluation.values import Evaluation, Json, Row, SetValue
from gantool.evaluation.wholes import STATISTICS, VARIANT, UserNetworks, Wholes
from gantool.frozen import Part
from gantool.images import EXTENSIONS, MAX_PIXELS
from gantool.layers.inception import Variant
from gantool.metrics import METRICS, Kind
from gantool.metrics.pi import MISSING, read_ma
from gantool.metrics.protocols import Recipe

_PLAIN = ("sr", "rgb", "ntire")  # protocols of numbers that are of bicubic reductions


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
    variant: Variant | None = None
    networks: UserNetworks = UserNetworks()
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
        _check(options)
        self.options, self.contestants = options, _contestants(options)
        # what models make has the size of what was made small
        degraded = options.degradation not in (None, BICUBIC)
        self.recipe = replace(options.recipe, crops=options.recipe.crops or bool(options.models), degraded=degraded)
        self.parts = _parts(options)
        self.wholes = _wholes(options, self.parts)
        self.pictured = self.recipe.pictured
        # sets need not pair, unless models make them of references
        references = None if options.references and options.references.suffix == STATISTICS else options.references
        single = bool(self.pictured or options.models)
        self.cases = cases(self.contestants, references, options.recursive) if single else []
        self.explaining = {
            contestant.label: [Explaining(name, self.recipe) for name in self.pictured if name in EXPLAINED and options.explain]
            for contestant in self.contestants
        }
        self.made = self.wholes.made([contestant.label for contestant in self.contestants]) if options.models else None
        self.how = self._measuring()
        self.told: set[str] = set()  # words of errors
        self.failed = 0  # files of sets

    def _measuring(self) -> Measuring:
        options, values = self.options, {name: part.value for name, part in self.parts.items()}
        bound = {name: metrics.bind(name, values, self.recipe.rounded) for name in self.pictured}
        looks = [self._explain, *([self.made.add] if self.made else [])]
        return Measuring(self.recipe, bound, read_ma(options.ma) if options.ma else {}, looks, options.max_pixels)

    def run(self) -> None:
        """Measure and tell; what was measured is told also where the numbers of sets fail."""
        found, fault = self._rows(), None
        labels = [contestant.label for contestant in self.contestants]
        whole = self.made is None or not any(row.error for row in found)
        sets: Mapping[str, tuple[SetValue, ...]] = {}
        try:
            if whole:
                made = self.made.finish() if self.made else None
                sets = self.wholes.values(self.contestants, made, self._fail)
        except (UsageError, WeightsError) as error:
            if not found:
                raise
            fault = error
        self._tell(self._evaluation(labels, found, sets))
        if fault is not None:
            raise InputError(str(fault)) from fault
        self._judge(found)

    def _rows(self) -> list[Row]:
        as_json = self.options.reports.as_json
        found: list[Row] = []
        with Progress(
            console=console(), transient=True, redirect_stdout=False, disable=as_json or not console().is_terminal
        ) as progress:
            check_sizes(progress.track(self.cases, description="checking sizes"), self.recipe, self.how.max_pixels)
            for case in progress.track(self.cases, description="measuring"):
                for row in rows(case, self.contestants, self.how):
                    found.append(row)
                    if row.error:
                        self.told.add(row.error)
                        say(f"gantool: {row.error}")
                    if as_json:
                        _print(reporting.row_json(row))
        return found

    def _explain(self, label: str, result: Tensor, reference: Tensor | None) -> None:
        if reference is not None:
            for explaining in self.explaining[label]:
                explaining.add(result, reference)

    def _fail(self, path: Path, error: InputError) -> None:
        """Tell of a picture of a set that cannot be used, unless that is known already."""
        if str(error) not in self.told:
            self.told.add(str(error))
            self.failed += 1
            say(f"gantool: {error}")
            if self.options.reports.as_json:
                _print({"input": str(path), "status": "error", "error": str(error)})

    def _evaluation(self, labels: Sequence[str], found: Sequence[Row], sets: Mapping[str, tuple[SetValue, ...]]) -> Evaluation:
        seed, by_label = self.options.seed, {label: [row for row in found if row.contestant == label] for label in labels}
        means = {label: statistics.means(of, self.pictured, seed) for label, of in by_label.items() if of}
        if self.recipe.named == "pirm":
            root = {label: (statistics.rmse(mean["mse-y"]),) for label, mean in means.items() if "mse-y" in mean}
            sets = {label: (*root.get(label, ()), *sets.get(label, ())) for label in labels}
        return Evaluation(
            contestants=tuple(labels),
            metrics=self.pictured,
            rows=tuple(found),
            means=means,
            sets=sets,
            comparisons=statistics.comparisons([by_label[label] for label in labels], self.pictured, seed) if found else (),
            explained={
                label: tuple(each for explaining in self.explaining[label] for each in explaining.finish())
                for label in means
                if self.options.explain
            },
            recipe=tuple(self._recipe(any(mean.low is not None for of in means.values() for mean in of.values()))),
            protocol=self.recipe.protocol,
        )

    def _recipe(self, intervals: bool) -> Iterator[str]:
        lines = self.recipe.lines()
        yield lines[0]
        yield from dict.fromkeys(each.degradation.words for each in self.contestants if isinstance(each, Upscaler))
        yield from lines[1:]
        yield from (self.parts[need].words for name in self.pictured for need in METRICS[name].needs)
        if intervals:
            samples = f"{statistics.RESAMPLES:,} bootstrap samples of pictures, seed {self.options.seed}"
            yield f"intervals: the middle {statistics.LEVEL:.0%} of {samples}"

    def _tell(self, found: Evaluation) -> None:
        """Write the reports, then print, as nobody may be listening any more."""
        reports = self.options.reports
        if reports.csv is not None:
            reporting.write_csv(reports.csv, found)
        if reports.html is not None:
            page.write(reports.html, found, self._show)
        if reports.as_json:
            for summary in reporting.summaries(found, self.recipe.scale, self.recipe.border):
                _print(summary)
        else:
            emit_bytes(f"{reporting.table(found)}\n".encode())

    def _judge(self, found: Sequence[Row]) -> None:
        """End with status 1 if a picture failed."""
        failed = sum(row.error is not None for row in found)
        if failed:
            raise InputError(f"{failed} of {len(found)} pictures could not be measured: the mean is withheld")
        if self.failed:
            some = "1 picture" if self.failed == 1 else f"{self.failed} pictures"
            raise InputError(f"{some} could not be read: the numbers of their sets are withheld")

    def _show(self, label: str, name: str) -> tuple[Tensor, Tensor | None]:
        """Return a result and its reference once more, for a page."""
        case = next(case for case in self.cases if case.name == name)
        contestant = next(contestant for contestant in self.contestants if contestant.label == label)
        return show(case, contestant, self.how)


def _print(line: Mapping[str, Json]) -> None:
    """Print an object; that nobody takes it ends the run, as the numbers are what it is for."""
    emit_bytes(json.dumps(line, allow_nan=False).encode() + b"\n")


def _check(options: Options) -> None:
    """Refuse what does not go together, before anything is loaded.

    Raises:
        UsageError: says what to add or to leave out.
    """
    recipe, names = options.recipe, options.recipe.metrics
    if options.models and options.references is None:
        raise UsageError("-m makes results of true pictures: name their folder")
    if options.models and recipe.scale is None:
        raise UsageError("-m enlarges what was made small by the scale: add --scale 4, or another")
    if options.models and (judged := _of(names, "labels")):
        raise UsageError(f"{', '.join(judged)} judges results that lie in a folder: leave out -m")
    if options.degradation is not None and not options.models:
        raise UsageError("--degradation is for models named with -m: these results have been made already")
    if {"seg", "accuracy"} <= set(names):
        raise UsageError("seg takes label pictures for references and accuracy real ones: ask for one at a time")
    if options.degradation not in (None, BICUBIC) and recipe.named in _PLAIN:
        raise UsageError(f"--protocol {recipe.named} is of bicubic reductions: leave out --protocol or --degradation")
    _check_references(options)
    _check_use(options)
    _check_reports(options)


def _check_references(options: Options) -> None:
    names = options.recipe.metrics
    if options.references is None and (paired := [*_of(names, "pair", "sets"), *(n for n in names if n == "seg")]):
        raise UsageError(f"{', '.join(paired)} compares results with true pictures: name their folder too")
    if options.explain and not set(names) & set(EXPLAINED):
        raise UsageError(f"--explain has other conventions of {', '.join(EXPLAINED)} only: add one of these to --metric")
    if options.references is not None and options.references.suffix == STATISTICS:
        other = [name for name in names if name != "fid" and METRICS[name].kind in ("pair", "sets", "labels")]
        if other or options.models:
            what = f"{', '.join(other)} needs" if other else "-m needs"
            raise UsageError(
                f"{printable(options.references)} has statistics for fid, and {what} the pictures: name their folder"
            )


def _check_use(options: Options) -> None:
    """Refuse options that no metric asked for would look at."""
    names, networks = options.recipe.metrics, options.networks
    given = {
        "--ma": (options.ma, ("pi",)),
        "--fid-variant": (options.variant, ("fid", "kid", "is")),
        "--segmenter": (networks.segmenter, ("seg",)),
        "--palette": (networks.palette, ("seg",)),
        "--classifier": (networks.classifier, ("accuracy",)),
        "--labels": (networks.labels, ("accuracy",)),
    }
    for flag, (value, users) in given.items():
        if value is not None and not set(users) & set(names):
            raise UsageError(f"{flag} is for {', '.join(users)}: add it to --metric, or leave {flag} out")
    if "pi" in names and options.ma is None:
        raise UsageError(MISSING)
    if set(names) & {"kid", "is"} and find_spec("torch_fidelity") is None:
        raise UsageError("kid and is are computed by torch-fidelity: pip install 'gantool[eval]'")


def _check_reports(options: Options) -> None:
    reports, networks = options.reports, options.networks
    palette = Path(networks.palette) if networks.palette else None
    named = [
        *options.results,
        options.references,
        options.ma,
        networks.segmenter,
        networks.classifier,
        networks.labels,
        palette,
    ]
    files = [path for path in (*named, *options.weights.values(), options.settings.registry) if path is not None]
    for flag, path in (("--csv", reports.csv), ("--html", reports.html)):
        if path is not None:
            _check_output(flag, path, reports.overwrite)
            for file in files:
                if path.exists() and file.exists() and path.samefile(file):
                    raise UsageError(f"{flag} {printable(path)} is what is read: choose another name")
    if reports.csv is not None and reports.html is not None and reports.csv.resolve() == reports.html.resolve():
        raise UsageError(f"--csv and --html both name {printable(reports.csv)}: give each a file of its own")


def _of(names: Sequence[str], *kinds: Kind) -> list[str]:
    return [name for name in names if METRICS[name].kind in kinds]


def _check_output(flag: str, path: Path, overwrite: bool) -> None:
    if str(path) == "-" or path.suffix.lower() in EXTENSIONS or path.is_dir() or not os.access(path.parent, os.W_OK):
        kind = flag.removeprefix("--")
        raise UsageError(f"{flag} {printable(path)} cannot be written: name a .{kind} file in a folder that takes one")
    if path.exists() and not overwrite:
        raise UsageError(f"{printable(path)} exists: add --overwrite or choose another name")


def _contestants(options: Options) -> list[Contestant]:
    """Return who is evaluated, each under a label of its own.

    Raises:
        UsageError: a model is not there or does not upscale so far; one is named twice.
        WeightsError: a model's weights cannot be had.
    """
    given = [*(str(path.resolve()) for path in options.results), *options.models]
    if twice := [name for name in given if given.count(name) > 1]:
        raise UsageError(f"{printable(twice[0])} is named twice: name each folder and model once")
    text = BICUBIC if options.degradation is None else options.degradation
    degradation = Degradation(text, options.recipe.scale or 1, options.seed)
    models = [Upscaler.load(name, degradation, options.settings) for name in options.models]
    short = [*(path.name or path.resolve().name for path in options.results), *(model.label for model in models)]
    labels = [name if short.count(name) == 1 else full for name, full in zip(short, given, strict=True)]
    folders = [Folder(label, path, options.max_pixels) for label, path in zip(labels, options.results, strict=False)]
    return [*folders, *(replace(model, label=label) for label, model in zip(labels[len(folders) :], models, strict=True))]


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
    settings, device = options.settings, devices.choose_device(options.settings.device)
    found = {
        name: frozen.part(name, options.weights.get(name), offline=settings.offline, registry=settings.registry)
        for name in needed
    }
    for part in found.values():
        if isinstance(part.value, nn.Module):
            part.value.to(device)
    return found


def _wholes(options: Options, parts: Mapping[str, Part]) -> Wholes:
    return Wholes(
        metrics=options.recipe.metrics,
        references=options.references,
        recursive=options.recursive,
        parts=parts,
        variant=options.variant or VARIANT,
        device=devices.choose_device(options.settings.device),
        seed=options.seed,
        networks=options.networks,
        max_pixels=options.max_pixels,
    )
