"""Which files inputs stand for, and where each one's output goes.

Everything that can be known to go wrong is found here, before the first picture is opened: names that collide, outputs that
are inputs or exist, folders that cannot be written.
"""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import Formatter
from typing import Literal, TypeAlias

from gantool.errors import InputError, UsageError, printable
from gantool.images import EXTENSIONS, is_whole

Existing: TypeAlias = Literal["refuse", "overwrite", "skip"]
Shard: TypeAlias = tuple[int, int]  # which part, from 1, of how many
_MAX_LIST = 1 << 28  # bytes of a list of inputs


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
        existing: what becomes of the output if it is there when the item's turn comes.
    """

    source: Path | None
    target: Path | None
    existing: Existing = "overwrite"

    @property
    def name(self) -> str:
        """What messages call it, safe to print."""
        return "-" if self.source is None else printable(self.source)

    @property
    def facts(self) -> Mapping[str, str | int | None]:
        """What a report says of it before anything is done."""
        return {"input": "-" if self.source is None else str(self.source)}

    def is_done(self) -> bool:
        """Return whether nothing is to be done, as the output is there, and whole."""
        if self.existing != "skip" or self.target is None:
            return False
        return os.path.isfile(self.target) and is_whole(self.target)


@dataclass(frozen=True)
class Naming:
    """How outputs are called. Patterns have {stem}, {suffix} of the input and the names in `fields`.

    Attributes:
        output: -o as given: a file, a folder, `-`; None puts outputs beside their inputs.
        beside: pattern for an output, or a folder of outputs, that lies beside its input.
        pattern: --name, for all outputs but one that -o names.
        fields: further names for patterns, and their values.
        extension: gives that of the output for an input, unless -o names it.
    """

    output: str | None
    beside: str
    pattern: str | None
    fields: Mapping[str, str]
    extension: Callable[[Path], str]

    def stem(self, path: Path, default: str) -> str:
        """Return the name, without extension, of the output for an input.

        Raises:
            UsageError: the pattern is wrong, or gives no plain file name.
        """
        fields = {"stem": path.stem, "suffix": path.suffix[1:], **self.fields}
        pattern = default if self.pattern is None else self.pattern
        try:
            if any(specification or conversion for _, _, specification, conversion in Formatter().parse(pattern)):
                raise ValueError("a width could be any number of gigabytes")
            stem = pattern.format_map(fields)
        except (KeyError, IndexError, ValueError, AttributeError, TypeError) as error:
            known = ", ".join(f"{{{field}}}" for field in fields)
            raise UsageError(f"--name {printable(self.pattern)} is not understood: what can stand in it is {known}") from error
        if not stem.strip(".") or "/" in stem or os.sep in stem or "\0" in stem:
            raise UsageError(f"--name {printable(self.pattern)} gives '{printable(stem)}', which is no plain file name")
        return stem


def expand(inputs: Sequence[str], recursive: bool) -> list[Source]:
    """Return what inputs stand for. Files that are not there are included.

    Args:
        inputs: files, folders, patterns such as `*.png`, lists of them such as `@files.txt`, or `-` for standard input. What
            begins with @ but is no list is named with its folder, as `./@.png`.
        recursive: take sub-folders too.

    Raises:
        UsageError: a folder, a pattern or a list has no pictures, or a list cannot be read.
        InputError: a folder cannot be read.
    """
    sources: list[Source] = []
    for text in inputs:
        if text == "-":
            sources.append(Source(None))
        elif text.startswith("@"):
            for line in _listed(text):
                sources += _found(line, recursive)
        else:
            sources += _found(text, recursive)
    return sources


def _listed(text: str) -> list[str]:
    """Return the lines of a list; or, if it has NUL bytes, as `find -print0` writes them, what stands between those."""
    shown, remedy = printable(text), f"a picture of this name is ./{printable(text)}"
    if Path(text).suffix.lower() in EXTENSIONS:
        raise UsageError(f"{shown} would be a list of inputs, and is called like a picture: {remedy}")
    try:
        with open(text[1:], "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(_MAX_LIST + 1) if stat.S_ISREG(mode) or stat.S_ISFIFO(mode) else None
    except OSError as error:
        raise UsageError(f"{shown} is no list of inputs, as it cannot be read ({error.strerror}); {remedy}") from error
    if data is None or len(data) > _MAX_LIST:
        raise UsageError(f"{shown} is no list of inputs but a device, or too long: name a file with one input in a line")
    parts = data.split(b"\0") if b"\0" in data else [line.removesuffix(b"\r") for line in data.split(b"\n")]
    lines = [os.fsdecode(part) for part in parts if part]
    if not lines:
        raise UsageError(f"{shown} lists no inputs: write one in each line")
    return lines


def _found(text: str, recursive: bool) -> list[Source]:
    """Return what one input stands for: a folder's pictures, what a pattern matches, or a file."""
    if not text:
        raise UsageError("an input has no name: leave it out, or see whether a variable is empty")
    if os.path.isdir(text):
        return [Source(path, Path(text)) for path in pictures(Path(text), recursive)]
    if not glob.has_magic(text) or os.path.lexists(text):
        return [Source(Path(text))]
    matches = [path for path in sorted(set(_matches(text))) if not os.path.isdir(path)]
    if not matches:
        raise UsageError(f"no file matches {printable(text)}")
    return [Source(path) for path in matches]


def _matches(pattern: str) -> Iterator[Path]:
    """Yield what a pattern matches, as a shell would, but `**` never follows links to folders: these can go round for ever."""
    parts = [part if part == "**" else re.sub(r"\*+", "*", part) for part in Path(pattern).parts]
    first = next(n for n, part in enumerate(parts) if glob.has_magic(part))
    base, wanted = Path(*parts[:first]), parts[first:] + ["*"] * (parts[-1] == "**")
    hidden = any(part.startswith(".") for part in wanted)
    for path in base.glob(os.path.join(*wanted)):
        if hidden or not any(part.startswith(".") for part in path.relative_to(base).parts):
            yield path


def pictures(folder: Path, recursive: bool) -> list[Path]:
    """Return what is called like a picture in a folder, sorted; hidden files and folders are left out.

    Raises:
        UsageError: there is nothing.
        InputError: it cannot be read.
    """
    found = sorted(_pictures(folder, recursive))
    if not found:
        more = "" if recursive else "; -r looks in sub-folders"
        raise UsageError(f"no images found in {printable(folder)}: looked for {' '.join(sorted(EXTENSIONS))}{more}")
    return found


def _pictures(folder: Path, recursive: bool) -> Iterator[Path]:
    """Yield the same unsorted. Links to folders are not followed, so that this comes to an end."""

    def complain(error: OSError) -> None:
        raise InputError(f"{printable(error.filename)} cannot be read: {error.strerror}") from error

    for place, folders, names in os.walk(folder, onerror=complain):
        folders[:] = [name for name in folders if recursive and not name.startswith(".")]
        yield from (Path(place, n) for n in names if Path(n).suffix.lower() in EXTENSIONS and not n.startswith("."))


def plan(sources: Sequence[Source], naming: Naming, existing: Existing, shard: Shard = (1, 1)) -> list[Item]:
    """Return what is to be done; of N shards those for K = 1 to N have each input once, and what is beyond their number none.

    `-o FILE` takes one input. `-o FOLDER` (it exists, ends with /, or there are several inputs) keeps stems and sub-folders.
    Without -o, outputs lie beside their inputs, those of a folder in a sibling folder. Standard input goes to standard output.

    Raises:
        UsageError: outputs collide with one another or with inputs, or exist while that is refused.
    """
    if naming.output == "-" or any(source.path is None for source in sources):
        return _settle_existing([_plan_stream(sources, naming, existing)], shard)
    root = output_folder(sources, naming.output)
    real_root = None if root is None else os.path.realpath(root)
    files = [(s.path, s.folder) for s in sources if s.path is not None and not _is_earlier_output(s.path, s.folder, real_root)]
    if naming.pattern is not None and naming.output is not None and root is None:
        raise UsageError(f"-o {printable(naming.output)} already names the output: leave --name out, or name a folder")
    if not files:
        raise UsageError(f"no images found outside of the output folder {printable(root)}")
    items = [Item(path, _target(path, folder, root, naming), existing) for path, folder in files]
    _check_collisions(items)
    _check_inputs_are_kept(items)
    return _settle_existing(items, shard)


def _plan_stream(sources: Sequence[Source], naming: Naming, existing: Existing) -> Item:
    if len(sources) != 1:
        raise UsageError("standard input and output carry one picture: give it a run of its own")
    source = sources[0].path
    if naming.output in (None, "-"):
        return Item(source, None, existing)
    if output_folder(sources, naming.output) is not None:
        raise UsageError("a picture from standard input has no name: give -o a file, or - for standard output")
    return Item(source, Path(str(naming.output)), existing)


def output_folder(sources: Sequence[Source], output: str | None) -> Path | None:
    """Return the folder that -o names; None if it names a file, or is not given.

    Raises:
        UsageError: it cannot take the outputs.
    """
    if output is None or output == "-":
        return None
    path = Path(output)
    is_folder = os.path.isdir(path)
    if is_folder or output.endswith("/") or len(sources) > 1 or sources[0].folder is not None:
        if os.path.lexists(path) and not is_folder:
            raise UsageError(f"{printable(path)} is not a folder, and there are {len(sources)} pictures: name a folder with -o")
        for folder in {source.folder for source in sources if source.folder is not None}:
            if is_folder and identity(path) == identity(folder):
                raise UsageError(f"{printable(path)} is the folder of the inputs: name another with -o")
        return path
    return None


def _is_earlier_output(path: Path, folder: Path | None, root: str | None) -> bool:
    """Return whether a file that was found in a folder is an earlier output, in an output folder inside of it."""
    return folder is not None and root is not None and os.path.realpath(path).startswith(os.path.join(root, ""))


def _target(path: Path, folder: Path | None, root: Path | None, naming: Naming) -> Path:
    if naming.output is not None and root is None:
        return Path(naming.output)
    if root is None and folder is None:
        return path.parent / (naming.stem(path, naming.beside) + naming.extension(path))
    if root is None:
        absolute = Path(os.path.abspath(folder or "."))
        root = absolute.with_name(naming.beside.format_map({**naming.fields, "stem": absolute.name or "root"}))
    relative = path.relative_to(folder) if folder is not None else Path(path.name)
    return root / relative.parent / (naming.stem(path, "{stem}") + naming.extension(path))


def _check_collisions(items: Sequence[Item]) -> None:
    real = cache(os.path.realpath)
    taken: dict[str, Item] = {}
    for item in items:
        folder, name = os.path.split(str(item.target))
        other = taken.setdefault(os.path.join(real(folder), name), item)
        if other is item:
            continue
        if other.source == item.source:
            raise UsageError(f"{printable(item.source)} is named twice: leave one out")
        both = f"{printable(other.source)} and {printable(item.source)} would both become {printable(item.target)}"
        raise UsageError(f"{both}: tell them apart with --name '{{stem}}_{{suffix}}', or by folders")


def _check_inputs_are_kept(items: Sequence[Item]) -> None:
    """Refuse outputs that are an input, also under another name."""
    inputs = {found: item.source for item in items if (found := identity(item.source))}
    for item in items:
        found = identity(item.target)
        if found in inputs:
            names = f"{printable(item.target)}, the output for {printable(item.source)}"
            raise UsageError(f"{names}, is the input {printable(inputs[found])}: name another output with -o or --name")


def identity(path: Path | None) -> tuple[int, int] | None:
    """Return what is the same for all names of a file or folder and no other; None if it is not there."""
    try:
        status = os.stat(path or "")
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def _settle_existing(items: Sequence[Item], shard: Shard) -> list[Item]:
    """Return a shard's items; outputs of the others may well exist already."""
    first, parts = shard
    own = list(items[first - 1 :: parts])
    check_existing(own)
    return own


def check_existing(items: Iterable[Item]) -> None:
    """Check that no output exists that is not to be touched.

    Raises:
        UsageError: one does.
    """
    there = (item for item in items if item.existing == "refuse" and item.target is not None and os.path.lexists(item.target))
    first = next(there, None)
    if first is not None:
        more = sum(1 for _ in there)
        exist = f"and {more} more exist" if more else "exists"
        raise UsageError(f"{printable(first.target)} {exist} already: use --overwrite or --skip-existing")


def parse_shard(text: str | None) -> Shard:
    """Return what --shard says: `3/8` is the third of eight parts, None the whole.

    Raises:
        UsageError: it is no such pair, or there is no such part.
    """
    if text is None:
        return 1, 1
    found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
    part, parts = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= part <= parts:
        raise UsageError(f"--shard {printable(text)} is not possible: use K/N with K from 1 to N, such as 3/8")
    return part, parts


def check_writable(folder: Path) -> None:
    """Check that files can be made in a folder, or the folder itself, without making anything.

    Raises:
        InputError: they cannot.
    """
    place = Path(os.path.abspath(folder))
    while not _is_there(place, folder):
        place = place.parent
    if not os.path.isdir(place):
        raise InputError(f"{printable(folder)} cannot be written: {printable(place)} is not a folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise InputError(f"{printable(folder)} cannot be written: no permission in {printable(place)}")


def _is_there(place: Path, folder: Path) -> bool:
    try:
        os.lstat(place)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:  # a name that is too long, a loop of links
        raise InputError(f"{printable(folder)} cannot be written: {error.strerror}") from error
    return True
