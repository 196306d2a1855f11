"""Animations that are made frame by frame, so that no more than one is in memory: animated PNG, GIF and MP4."""

from __future__ import annotations

import shutil
import struct
import tempfile
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Final, Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gantool.errors import InputError
from gantool.images import Metadata, Page, create

Form: TypeAlias = Literal["png", "gif", "mp4"]
Frame: TypeAlias = NDArray[np.uint8]
FORMS: Final[dict[str, Form]] = {".gif": "gif", ".png": "png", ".apng": "png", ".mp4": "mp4"}
"""What is written under a name that ends so."""
MOST_A_SECOND: Final[dict[Form, int]] = {"png": 1000, "gif": 50, "mp4": 1000}
"""Frames; a GIF counts in hundredths of a second, and viewers slow down what stays for less than two."""


def write(path: Path, form: Form, frames: Iterable[Frame], page: Page, count: int, rate: int) -> None:
    """Write an animation; GIF and PNG play for ever.

    GIF has 256 colours a frame. MP4 loses a little of everything, holds MPEG-4 part 2, which OpenCV has everywhere, and wants
    even sides: an odd one gets its last row or column twice.

    Args:
        path: replaced if it is there.
        form: of the file.
        frames: `count` of them, (H, W, C) as `page` says.
        page: size and type of a frame, 8 bits without alpha.
        count: 2 or more.
        rate: frames a second, at most `MOST_A_SECOND`.

    Raises:
        OSError: the file cannot be written.
        InputError: OpenCV cannot write the video.
    """
    if form == "gif":
        _write_gif(path, frames, page, _delays(count, rate, 100))
    elif form == "mp4":
        _write_mp4(path, frames, page, count, rate)
    else:
        with create(path, "png", [page] * count, Metadata(delays=_delays(count, rate, 1000)), 100) as writer:
            for frame in frames:
                writer.write(frame)


def _delays(count: int, rate: int, unit: int) -> tuple[int, ...]:
    """Return how long each frame stays, in 1/unit of a second: whole numbers that keep to the rate in the long run."""
    ends = [(2 * unit * frame + rate) // (2 * rate) for frame in range(count + 1)]
    return tuple(end - start for start, end in zip(ends, ends[1:], strict=False))


def _write_gif(path: Path, frames: Iterable[Frame], page: Page, delays: Sequence[int]) -> None:
    with path.open("wb") as file:
        file.write(b"GIF89a" + struct.pack("<2H3x", page.width, page.height))
        file.write(b"!\xff\x0bNETSCAPE2.0\x03\x01\0\0\0")  # played for ever
        for frame, delay in zip(frames, delays, strict=True):
            file.write(b"!\xf9\x04\x04" + struct.pack("<H", delay) + b"\0\0")  # which the next one is drawn over
            file.write(_gif_image(frame))
        file.write(b";")


def _gif_image(frame: Frame) -> bytes:
    """Return a frame as GIF has it inside of a file, with colours of its own: out of a file that Pillow makes of it alone."""
    image = Image.fromarray(frame[:, :, 0]) if frame.shape[2] == 1 else Image.fromarray(frame).quantize(256)
    alone = BytesIO()
    image.save(alone, "GIF")
    data = alone.getvalue()
    table = 3 << 1 + (data[10] & 7)  # bytes of the colours, which stand behind a head of 13
    start = 13 + table
    assert data[start : start + 1] == b"," and not data[start + 9] & 128, "Pillow writes other files than it used to"  # noqa: PT018
    flags = data[start + 9] | 128 | (data[10] & 7)
    return data[start : start + 9] + bytes([flags]) + data[13:start] + data[start + 10 : -1]


def _write_mp4(path: Path, frames: Iterable[Frame], page: Page, count: int, rate: int) -> None:
    """Let OpenCV write elsewhere first: it takes no name that is not Unicode, and does not tell when a disk is full."""
    size = (page.width + page.width % 2, page.height + page.height % 2)
    with tempfile.TemporaryDirectory() as folder:
        place = str(Path(folder, "video.mp4"))
        video = cv2.VideoWriter(place, cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), float(rate), size)
        try:
            for frame in frames:
                color = cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR if frame.shape[2] == 1 else cv2.COLOR_RGB2BGR)
                video.write(cv2.copyMakeBorder(color, 0, page.height % 2, 0, page.width % 2, cv2.BORDER_REPLICATE))
        finally:
            video.release()
        written = cv2.VideoCapture(place)
        found = int(written.get(cv2.CAP_PROP_FRAME_COUNT)) if written.isOpened() else 0
        written.release()
        if found != count:
            raise InputError(f"OpenCV wrote {found} of {count} frames to {folder}: free some space there, or use .gif or .png")
        shutil.copyfile(place, path)
