"""What is remembered between runs: hashes of large files, what unpinned names stand for, converted checkpoints.

All of it lies in the folder that the Hub's client gives to programs (`HF_ASSETS_CACHE`, below `HF_HOME`): `hashes.json` by
size, time and inode, `pins.json` by repository, `converted/` by the hash of the source with `converted.json`, their hashes.
Losing it costs time, never correctness.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path

from gantool.errors import GantoolError, WeightsError, printable
from gantool.files import atomic

LARGE = 8 << 20  # bytes from which on a hash is remembered; smaller files are hashed in milliseconds
REMEMBERED = 500  # entries of each memory


def folder() -> Path:
    """Return the folder of all this."""
    from huggingface_hub import constants  # 30 ms that a small file does without

    return Path(constants.HF_ASSETS_CACHE) / "gantool"


def sha256(path: Path) -> str:
    """Return a file's sha256; that of a large file is remembered by size, time and inode."""
    mark = stamp(path)
    if mark[0] < LARGE:
        return digest(path)
    key = str(path.resolve())
    known = recall("hashes.json").get(key)
    if isinstance(known, list) and known[:-1] == mark:
        return str(known[-1])
    found = digest(path)
    if stamp(path) == mark:
        remember("hashes.json", key, [*mark, found])
    return found


def digest(path: Path) -> str:
    """Return a file's sha256, read anew.

    Raises:
        WeightsError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"{printable(path)} cannot be read: {error.strerror}") from error


def stamp(path: Path) -> list[int]:
    """Return size, time and inode of a file, which tell whether it is still the same.

    Raises:
        WeightsError: it is not there.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise WeightsError(f"{printable(path)} cannot be read: {error.strerror}") from error
    return [status.st_size, status.st_mtime_ns, status.st_ino]


def recall(name: str) -> dict[str, object]:
    """Return one of the memories; empty if it is not there or damaged."""
    try:
        found = json.loads((folder() / name).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def remember(name: str, key: str, value: object) -> None:
    """Add to one of the memories; where that is not possible, it is not."""
    entries = {**recall(name), key: value}
    newest = dict(list(entries.items())[-REMEMBERED:])
    with suppress(OSError, GantoolError):
        folder().mkdir(parents=True, exist_ok=True)
        with atomic(folder() / name) as temporary:
            temporary.write_text(json.dumps(newest, indent=1), encoding="utf-8")
