"""`gantool models`: what weights there are; fetching, checking, converting and mixing them. Results go to standard output."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gantool import cache, weights
from gantool.entries import Entry, entries
from gantool.errors import InputError, UsageError, WeightsError, printable, say

if TYPE_CHECKING:
    from gantool.system import Json

KIN = 0.5  # cosine of two networks' weights, from which on they are taken to be of one ancestry; such have 0.98, others 0.1
COLUMNS = ("name", "system", "scale", "license", "size", "state")


def list_all(registry: Path | None, as_json: bool) -> None:
    """Print a table of all entries, or one JSON object per line."""
    rows = [_row(entry) for entry in entries(registry).values()]
    if as_json:
        _print([json.dumps(row) for row in rows])
        return
    table = [[column.upper() for column in COLUMNS], *([_cell(row[column]) for column in COLUMNS] for row in rows)]
    widths = [max(len(line[i]) for line in table) for i in range(len(COLUMNS))]
    _print(["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table])


def _row(entry: Entry) -> dict[str, Json]:
    return {
        "name": entry.name,
        "system": entry.system or f"features of {entry.features}",
        "scale": "any" if entry.weightless else entry.scale,
        "license": None if entry.weightless else entry.license,
        "size": entry.bytes,
        "state": weights.state(entry),
    }


def _cell(value: Json) -> str:
    if value is None:
        return "-"
    if isinstance(value, int) and value > 1000:
        return f"{value / 1e6:.1f} MB"
    return printable(value)


def show(reference: str, registry: Path | None, as_json: bool) -> None:
    """Print everything that is known of one entry or file: what weights.toml says, and its header where it is at hand.

    Raises:
        UsageError: there is no such model.
        WeightsError: its file is damaged.
    """
    found = weights.find(reference, registry)
    path = found if isinstance(found, Path) else _at_hand(found)
    facts: dict[str, Json] = {"file": printable(path)} if path else {}
    if isinstance(found, Entry):
        said = {name: value for name, value in vars(found).items() if value not in (None, False)}
        facts = {**said, **facts, "state": weights.state(found)}
    if path:
        facts |= _header(path)
    width = max(len(name) for name in facts)
    _print([json.dumps(facts)] if as_json else [f"{name.ljust(width)}  {_value(value)}" for name, value in facts.items()])


def _header(path: Path) -> dict[str, Json]:
    from gantool import modelfile, modelheader

    facts: dict[str, Json] = {"sha256": cache.sha256(path)}
    if modelheader.sniff(path) == "safetensors":
        tensors, metadata = modelfile.read(path)
        facts["parameters"] = sum(tensor.numel() for tensor in tensors.values())
        facts |= {name.removeprefix("modelspec."): value for name, value in metadata.items() if name != "gantool"}
        facts |= modelheader.header(metadata, printable(path)) or {}
    return facts


def _value(value: Json) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{printable(key)} {_value(item)}" for key, item in value.items()) or "none"
    return "none" if value is None else printable(value)


def _at_hand(entry: Entry) -> Path | None:
    """Return where an entry's file lies, if it does."""
    if entry.bundled:
        path = weights.BUNDLED / entry.bundled
        return path if path.is_file() else None
    if entry.weightless:
        return None
    from gantool import hub

    return hub.cached(entry)


def download(reference: str, registry: Path | None, offline: bool) -> None:
    """Fetch and check one model, and print where it lies.

    Raises:
        UsageError: there is no such model, or it needs no file.
        WeightsError: it cannot be had, or is not what it should be.
    """
    entry = _entry(reference, registry)
    _print([printable(weights.locate(entry, offline))])


def _entry(reference: str, registry: Path | None) -> Entry:
    found = weights.find(reference, registry)
    if isinstance(found, Path):
        raise UsageError(f"{printable(found)} is a file, not a model known by name")
    if found.weightless:
        raise UsageError(f"{found.name} needs no file")
    return found


def verify(reference: str | None, registry: Path | None) -> None:
    """Hash every file that is bundled or cached, or one model's, and print what was found.

    Raises:
        WeightsError: a file is not what it should be, or the named model is not here.
    """
    chosen = [_entry(reference, registry)] if reference else [e for e in entries(registry).values() if not e.weightless]
    wrong = 0
    for entry in chosen:
        path = _at_hand(entry)
        if path is None and entry.bundled is None:
            if reference:
                raise WeightsError(f"{entry.name} is not here: fetch it with `gantool models download {entry.name}`")
            continue
        verdict = _verdict(entry, path)
        wrong += verdict != "ok"
        _print([f"{entry.name}  {verdict}  {printable(path or entry.bundled)}"])
    if wrong:
        raise WeightsError(f"{wrong} of the files are not what they should be: fetch them, or install gantool, again")


def _verdict(entry: Entry, path: Path | None) -> str:
    if path is None:
        return "MISSING"
    expected, found = _expected(entry), cache.digest(path)
    return "ok" if found == expected else f"WRONG: sha256 {found}, expected {expected}"


def _expected(entry: Entry) -> str:
    from gantool import hub

    pin = hub.known_pin(entry)
    return pin.sha256 if pin else ""


def convert(file: Path, output: Path | None, system: str | None, overwrite: bool) -> None:
    """Convert a checkpoint from elsewhere to a model file of gantool's, print its path, and report the keys.

    Raises:
        InputError: the output exists or cannot be written.
        UsageError: there is no such system.
        WeightsError: the checkpoint is damaged, unsafe, or of no known system.
    """
    from gantool import convert as foreign
    from gantool import modelfile, modelheader, systems
    from gantool.errors import unknown

    if system is not None and system not in systems.names():
        raise unknown("system", system, systems.names())
    kind = modelheader.sniff(file)
    target = output or file.with_suffix(".safetensors")
    _check_target(target, overwrite, file)
    found, metadata = modelfile.read(file) if kind == "safetensors" else (foreign.unpickle(file, kind), {})
    if modelheader.header(metadata, printable(file)):
        raise UsageError(f"{printable(file)} is a model file of gantool's already: use it as it is")
    converted = foreign.convert(found, printable(file), system)
    source = cache.sha256(file)
    facts = modelfile.describe(converted.system, average=converted.average, source=source)
    modelfile.write(target, converted.system, facts, file.stem, "unspecified")
    for old, new in converted.renamed.items():
        say(f"{printable(old)} -> {new}")
    for key in converted.dropped:
        say(f"{printable(key)} dropped")
    say(converted.summary())
    _print([printable(target)])


def interpolate(
    first: str, second: str, alpha: float, output: Path, overwrite: bool, offline: bool, registry: Path | None
) -> None:
    """Write the model file of a network between two, and print its path.

    Args:
        first: what `weights.load` takes.
        second: another; the share `alpha`, 0 to 1, is of this one.
        alpha: see `gantool.interpolating`.
        output: ends with .safetensors.
        overwrite: replace it where it exists.
        offline: never ask the network.
        registry: a weights.toml of one's own.

    Raises:
        InputError: the output exists or cannot be written.
        UsageError: there is no such model, the two cannot be mixed, or alpha is no share.
        WeightsError: a model's weights cannot be had.
    """
    from gantool import interpolating, modelfile

    interpolating.check_share("--alpha", alpha)
    found = [weights.find(name, registry) for name in (first, second)]
    _check_target(output, overwrite, *(each for each in found if isinstance(each, Path)))
    a, b = (weights.load(name, offline=offline, registry=registry) for name in (first, second))
    system = interpolating.between(a, b, alpha)
    if (similarity := interpolating.similarity(a.system, b.system)) < KIN:
        say(
            f"{printable(a.name)} and {printable(b.name)} seem to be of different origin (the cosine of their weights is "
            f"{similarity:.2f}): what lies between such networks is of little use"
        )
    made_of: dict[str, Json] = {"a": a.name, "a_sha256": a.sha256, "b": b.name, "b_sha256": b.sha256, "alpha": alpha}
    facts = modelfile.describe(system, average=all(model.header.get("weights") == "ema" for model in (a, b)))
    licenses = dict.fromkeys(part for model in (a, b) for part in model.license.split(" AND "))
    modelfile.write(output, system, {**facts, "interpolated": made_of}, output.stem, " AND ".join(licenses))
    _print([printable(output)])


def _check_target(target: Path, overwrite: bool, *sources: Path) -> None:
    """Refuse what a model file is not to be written to.

    Raises:
        InputError: it exists, or is one of those that it is made of.
        UsageError: it is not named like one.
    """
    if target.suffix != ".safetensors":
        raise UsageError(f"{printable(target)} is to be a model file: let its name end in .safetensors")
    if not target.exists():
        return
    is_source = any(source.exists() and target.samefile(source) for source in sources)
    if is_source or not overwrite:
        raise InputError(f"{printable(target)} exists: name another with -o{'' if is_source else ', or use --overwrite'}")


def _print(lines: Sequence[str]) -> None:
    print("\n".join(lines))  # noqa: T201  these are the results
