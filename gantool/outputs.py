"""Which files inputs stand for, and where each one's output goes.

Everything that can be known to go wrong is found here, before the first picture is opened: names that collide, outputs that
are inputs or exist, folders that cannot be written.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

from gantool.errors import InputError, UsageError, printable
from gantool.images import EXTENSIONS, is_whole

Existing: TypeAlias = Literal["refuse", "overwrite", "skip"]


@dataclass(frozen=True)
class Source:
    """An input: a file, with the folder it was found for, if any; or standard input, if there is no path."""

    path: Path | None
    folder: Path | None = None


@dataclass(frozen=True)
class Item:
    """One input and its output.

    Attributes:
        source: a file; None is standard input.
        target: a file; None is standard output.
        skip: the output is there already and stays.
    """

    source: Path | None
    target: Path | None
    skip: bool = False


@dataclass(frozen=True)
class Naming:
    """How outputs are called. Patterns have {stem}, {suffix} of the input and the names in `fields`.

    Attributes:
        output: -o as given: a file, a folder, `-`; None puts outputs beside their inputs.
        beside: pattern for an output, or a folder of outputs, that lies beside its input.
        pattern: --name, for all outputs but one that -o names.
        fields: further names for patterns, and their values.
        extension: of outputs, but of one that -o names.
    """

    output: str | None
    beside: str
    pattern: str | None
    fields: Mapping[str, str]
    extension: str

    def stem(self, path: Path, default: str) -> str:
        """Return the name, without extension, of the output for an input.

        Raises:
            UsageError: the pattern is wrong, or gives no plain file name.
        """
        fields = {"stem": path.stem, "suffix": path.suffix[1:], **self.fields}
        try:
            stem = (self.pattern or default).format_map(fields)
        except (KeyError, IndexError, ValueError, AttributeError, TypeError) as error:
            known = ", ".join(f"{{{field}}}" for field in fields)
            raise UsageError(f"--name {printable(self.pattern)} is not understood: what can stand in it is {known}") from error
        if not stem.strip(".") or "/" in stem or os.sep in stem or "\0" in stem:
            raise UsageError(f"--name {printable(self.pattern)} gives '{printable(stem)}', which is no plain file name")
        return stem


def expand(inputs: Sequence[str], recursive: bool) -> list[Source]:
    """Return what inputs stand for: files, folders, patterns such as `*.png`, `-`. Files that are not there are included.

    Raises:
        UsageError: a folder or a pattern has no pictures.
        InputError: a folder cannot be read.
    """
    sources: list[Source] = []
    for text in inputs:
        path = Path(text)
        if text == "-":
            sources.append(Source(None))
        elif path.is_dir():
            found = sorted(_pictures(path, recursive))
            if not found:
                more = "" if recursive else "; -r looks in sub-folders"
                raise UsageError(f"no images found in {printable(path)}: looked for {' '.join(sorted(EXTENSIONS))}{more}")
            sources += [Source(each, path) for each in found]
        elif glob.has_magic(text) and not os.path.lexists(path):
            matches = [Path(match) for match in sorted(glob.glob(text, recursive=True)) if not os.path.isdir(match)]
            if not matches:
                raise UsageError(f"no file matches {printable(text)}")
            sources += [Source(match) for match in matches]
        else:
            sources.append(Source(path))
    return sources


def _pictures(folder: Path, recursive: bool) -> Iterator[Path]:
    """Yield what is called like a picture in a folder; hidden files and folders are left out, links to folders not followed."""

    def complain(error: OSError) -> None:
        raise InputError(f"{printable(error.filename)} cannot be read: {error.strerror}") from error

    for place, folders, names in os.walk(folder, onerror=complain):
        folders[:] = [name for name in folders if recursive and not name.startswith(".")]
        yield from (Path(place, n) for n in names if Path(n).suffix.lower() in EXTENSIONS and not n.startswith("."))


def plan(sources: Sequence[Source], naming: Naming, existing: Existing) -> list[Item]:
    """Return what is to be done.

    `-o FILE` takes one input. `-o FOLDER` (it exists, ends with /, or there are several inputs) keeps stems and sub-folders.
    Without -o, outputs lie beside their inputs, those of a folder in a sibling folder. Standard input goes to standard output.

    Raises:
        UsageError: outputs collide with one another or with inputs, or exist while that is refused.
    """
    if naming.output == "-" or any(source.path is None for source in sources):
        return _settle_existing(_plan_streams(sources, naming), existing)
    root = output_folder(sources, naming.output)
    files = [(s.path, s.folder) for s in sources if s.path is not None and not _is_earlier_output(s.path, s.folder, root)]
    if naming.pattern is not None and naming.output is not None and root is None:
        raise UsageError(f"-o {printable(naming.output)} already names the output: leave --name out, or name a folder")
    if not files:
        raise UsageError(f"no images found outside of the output folder {printable(root)}")
    items = [Item(path, _target(path, folder, root, naming)) for path, folder in files]
    _check_collisions(items)
    _check_inputs_are_kept(items)
    return _settle_existing(items, existing)


def _plan_streams(sources: Sequence[Source], naming: Naming) -> list[Item]:
    if len(sources) != 1:
        raise UsageError("standard input and output carry one picture: give it a run of its own")
    source = sources[0].path
    if naming.output in (None, "-"):
        return [Item(source, None)]
    if output_folder(sources, naming.output) is not None:
        raise UsageError("a picture from standard input has no name: give -o a file, or - for standard output")
    return [Item(source, Path(str(naming.output)))]


def output_folder(sources: Sequence[Source], output: str | None) -> Path | None:
    """Return the folder that -o names; None if it names a file, or is not given.

    Raises:
        UsageError: it cannot take the outputs.
    """
    if output is None or output == "-":
        return None
    path = Path(output)
    if path.is_dir() or output.endswith("/") or len(sources) > 1 or sources[0].folder is not None:
        if os.path.lexists(path) and not path.is_dir():
            raise UsageError(f"{printable(path)} is not a folder, and there are {len(sources)} pictures: name a folder with -o")
        for folder in {source.folder for source in sources if source.folder is not None}:
            if path.is_dir() and path.samefile(folder):
                raise UsageError(f"{printable(path)} is the folder of the inputs: name another with -o")
        return path
    return None


def _is_earlier_output(path: Path, folder: Path | None, root: Path | None) -> bool:
    """Return whether a file that was found in a folder is an earlier output, in an output folder inside of it."""
    return folder is not None and root is not None and root.resolve() in path.resolve().parents


def _target(path: Path, folder: Path | None, root: Path | None, naming: Naming) -> Path:
    if naming.output is not None and root is None:
        return Path(naming.output)
    if root is None and folder is None:
        return path.parent / (naming.stem(path, naming.beside) + naming.extension)
    if root is None:
        absolute = Path(os.path.abspath(folder or "."))
        root = absolute.with_name(naming.beside.format_map({**naming.fields, "stem": absolute.name or "root"}))
    relative = path.relative_to(folder) if folder is not None else Path(path.name)
    return root / relative.parent / (naming.stem(path, "{stem}") + naming.extension)


def _check_collisions(items: Sequence[Item]) -> None:
    taken: dict[str, Item] = {}
    for item in items:
        target = str(item.target)
        place = os.path.join(os.path.realpath(os.path.dirname(target)), os.path.basename(target))
        if place in taken:
            both = f"{printable(taken[place].source)} and {printable(item.source)} would both become {printable(target)}"
            raise UsageError(f"{both}: tell them apart with --name '{{stem}}_{{suffix}}', or by folders")
        taken[place] = item


def _check_inputs_are_kept(items: Sequence[Item]) -> None:
    """Refuse outputs that are an input, also under another name."""
    inputs = {identity: item.source for item in items if (identity := _identity(item.source))}
    for item in items:
        identity = _identity(item.target)
        if identity in inputs:
            names = f"{printable(item.target)}, the output for {printable(item.source)}"
            raise UsageError(f"{names}, is the input {printable(inputs[identity])}: name another output with -o or --name")


def _identity(path: Path | None) -> tuple[int, int] | None:
    try:
        status = os.stat(path or "")
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _settle_existing(items: Sequence[Item], existing: Existing) -> list[Item]:
    there = [item for item in items if item.target is not None and os.path.lexists(item.target)]
    if there and existing == "refuse":
        exist = "exists" if len(there) == 1 else f"and {len(there) - 1} more exist"
        raise UsageError(f"{printable(there[0].target)} {exist} already: use --overwrite or --skip-existing")
    if existing == "overwrite":
        return list(items)
    return [replace(item, skip=item.target is not None and is_whole(item.target)) for item in items]


def check_writable(folder: Path) -> None:
    """Check that files can be made in a folder, or the folder itself, without making anything.

    Raises:
        InputError: they cannot.
    """
    place = Path(os.path.abspath(folder))
    while not os.path.lexists(place):
        place = place.parent
    if not place.is_dir():
        raise InputError(f"{printable(folder)} cannot be written: {printable(place)} is not a folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise InputError(f"{printable(folder)} cannot be written: no permission in {printable(place)}")
