"""What a weights file says about itself: its format, its header, and its tensors as arrays. Knows no torch.

Apart from `modelfile.py`, which builds systems of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from gantool.errors import WeightsError, first_line, printable

if TYPE_CHECKING:
    from gantool.system import Json

Kind: TypeAlias = Literal["safetensors", "zip", "pickle"]
Array: TypeAlias = NDArray[np.generic]

SCHEMA = 1  # of the header's JSON
MAX_BYTES = 1 << 30  # no network of this kind comes near; what claims more is an accident or an attack
MAX_TENSORS = 20_000  # likewise


@dataclass(frozen=True)
class Contents:
    """A model file that gantool wrote, for those who make something else of it than a system."""

    name: str
    origin: str  # the file, for messages
    sha256: str
    header: Mapping[str, Json]  # system, config, task, scale, multiple, halo, step, metrics ...
    tensors: Mapping[str, Array]  # by "module.key", not checked


def sniff(path: Path) -> Kind:
    """Return what a weights file is, by its first bytes and never by its name.

    Raises:
        WeightsError: there is no such file, or it is nothing that weights come in.
    """
    shown = printable(path)
    try:
        if not path.is_file():
            raise WeightsError(f"{shown} is {'not a file' if path.exists() else 'not there'}: name a file of weights")
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(512)
    except (OSError, ValueError) as error:
        raise WeightsError(f"{shown} cannot be read: {error}") from error
    if size > MAX_BYTES:
        raise WeightsError(
            f"{shown} has {size / 2**30:.1f} GiB, more than the {MAX_BYTES >> 30} GiB that a network is taken for"
        )
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "pickle"
    if head[8:9] == b"{":
        return "safetensors"
    raise WeightsError(f"{shown} is {_what(head)}: download or copy it again")


def _what(head: bytes) -> str:
    if not head:
        return "empty"
    if head.startswith(b"version https://git-lfs"):
        return "a git-lfs pointer, not the weights themselves"
    if head[257:262] == b"ustar":
        return "a tar archive, not a file of weights"
    if head.lstrip()[:1] == b"<":
        return "a web page, not a file of weights"
    return "neither safetensors nor a torch checkpoint"


class _Slice(Protocol):
    def get_dtype(self) -> str: ...


class SafeFile(Protocol):
    """What `safe_open` of safetensors gives, which has no types of its own."""

    def keys(self) -> list[str]:
        """Return the tensors' names."""

    def metadata(self) -> dict[str, str] | None:
        """Return what the header says besides."""

    def get_tensor(self, name: str) -> object:
        """Return a tensor of the framework's own kind."""

    def get_slice(self, name: str) -> _Slice:
        """Return a tensor that has not been read."""


@contextmanager
def opened(path: Path, framework: Literal["pt", "numpy"]) -> Iterator[SafeFile]:
    """Open a safetensors file; its tensors stay on the disk until they are used.

    Raises:
        WeightsError: the file is malformed.
    """
    try:
        with safe_open(path, framework) as file:
            count = len(file.keys())
            if count > MAX_TENSORS:
                raise WeightsError(f"{printable(path)} holds {count} tensors, more than the {MAX_TENSORS} of any network")
            yield file
    except (SafetensorError, OSError, ValueError, TypeError, RuntimeError, MemoryError) as error:
        raise WeightsError(f"{printable(path)} is damaged ({first_line(error)}): download or copy it again") from error


def read_header(path: Path) -> dict[str, Json] | None:
    """Return the facts in a safetensors file that gantool wrote, None for other files.

    Raises:
        WeightsError: the file is malformed, or the facts are damaged or of a later version.
    """
    with opened(path, "numpy") as file:
        metadata = dict(file.metadata() or {})
    return header(metadata, printable(path))


def read_arrays(path: Path) -> dict[str, Array]:
    """Return the tensors of a safetensors file.

    Raises:
        WeightsError: the file is malformed, or holds numbers that NumPy has no type for.
    """
    with opened(path, "numpy") as file:
        types = {file.get_slice(key).get_dtype() for key in file.keys()}  # noqa: SIM118  # no dictionary
        if foreign := types & {"BF16", "F8_E4M3", "F8_E5M2"}:
            raise WeightsError(f"{printable(path)} holds numbers of type {min(foreign)}: use --backend torch")
        return {key: cast("Array", file.get_tensor(key)) for key in file.keys()}  # noqa: SIM118


def header(metadata: Mapping[str, str], origin: str) -> dict[str, Json] | None:
    """Return the facts in the metadata of a file that gantool wrote, None for other files.

    Raises:
        WeightsError: the facts are damaged, or of a later version.
    """
    if "gantool" not in metadata:
        return None
    try:
        facts = json.loads(metadata["gantool"])
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{origin} has a damaged header ({first_line(error)}): download or copy it again") from error
    if not isinstance(facts, dict) or not isinstance(facts.get("system"), str) or not isinstance(facts.get("config"), dict):
        raise WeightsError(f"{origin} has a damaged header (no system or no config in it): download or copy it again")
    if facts.get("schema") != SCHEMA:
        raise WeightsError(f"{origin} has a header of schema {facts.get('schema')!r:.20}, known is {SCHEMA}: update gantool")
    return facts
