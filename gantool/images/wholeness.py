"""Whether a file that is there was written to its end: seen from its structure, without decoding it."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from gantool.images.decoders.boxes import boxes
from gantool.images.decoders.ifd import Directories

_PNG, _IEND = b"\x89PNG\r\n\x1a\n", b"\0\0\0\0IEND\xaeB`\x82"


def is_whole(path: Path) -> bool:
    """Return whether a file begins and ends as PNG, JPEG, WebP, AVIF or TIFF does."""
    try:
        with path.open("rb") as file:
            return _is_whole(file, path.stat().st_size)
    except (OSError, ValueError):
        return False


def _is_whole(file: BinaryIO, size: int) -> bool:
    head = file.read(12)
    file.seek(-min(12, size), 2)
    tail = file.read()
    if head[:4] == b"RIFF":
        return head[8:] == b"WEBP" and int.from_bytes(head[4:8], "little") + 8 == size
    if head[4:8] == b"ftyp":
        return {b"meta", b"mdat"} <= {box.kind for box in boxes(file, 0, size)}
    if head[:2] in (b"II", b"MM"):
        directories = Directories(file, size)
        for at in directories.offsets():
            directories.check_data(at)
        return True
    return (head.startswith(_PNG) and tail == _IEND) or (head.startswith(b"\xff\xd8\xff") and tail.endswith(b"\xff\xd9"))
