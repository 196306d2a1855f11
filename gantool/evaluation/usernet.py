"""A user's own network that says what is in a picture: an ONNX file, which is data and never code, run by OpenCV.

`netinput` tells what pictures it is given: resized bilinearly, with antialiasing where they shrink, as Pillow does. It gives
(1, N) scores of N classes for the whole picture, (1, N, h, w) for each place, or (1, h, w) the classes themselves. Of
several outputs OpenCV does not always know which comes first, so there must be one.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from gantool.errors import InputError, UsageError, WeightsError, printable, unknown
from gantool.evaluation import onnxprocess
from gantool.evaluation.netinput import MAX_CLASSES, taken
from gantool.evaluation.values import Json
from gantool.metrics.luma import to_gray

MAX_BYTES = 2 << 30  # of an ONNX file: protobuf has no larger messages

Classes = NDArray[np.int32]


@dataclass(frozen=True)
class _Answer:
    """A network's output: its shape, the classes it stands for, and whether these are whole numbers."""

    shape: list[int]
    whole: bool
    classes: Classes


class UserNet:
    """A network at work, in a process of its own; a context manager, whose end ends that process.

    Attributes:
        path: the ONNX file.
        sha256: of it.
        taken: what it takes.
        classes: how many it tells apart; None until it is said or the first picture was looked at.

    Args:
        path: an ONNX file.

    Raises:
        UsageError: there is no such file.
        WeightsError: it is no network that OpenCV can run, or the TOML file beside it is wrong.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise UsageError(f"{printable(path)} is no file: name a network in an ONNX file")
        self.path, self.taken = path, taken(path)
        self.classes = self.taken.classes
        self._name, self._toml = printable(path.name), printable(path.with_suffix(".toml").name)
        self._data = _contents(path)
        self.sha256 = hashlib.sha256(self._data).hexdigest()
        self._start()

    def __enter__(self) -> UserNet:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _start(self) -> None:
        script = [sys.executable, "-P", onnxprocess.__file__]  # -P: its folder holds modules, which must not hide others
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(script, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)
        try:
            answer = self._asked({}, self._data)
            if answer is None:
                raise WeightsError(f"OpenCV crashed when it read {printable(self.path)}, which is damaged: export it anew")
            if "error" in answer[0]:
                raise WeightsError(self._refusal(str(answer[0]["error"])))
            outputs = cast("list[str]", answer[0]["outputs"])
            if len(outputs) != 1:
                listed = printable(", ".join(outputs) or "none")
                raise WeightsError(f"{self._name} has not one output ({listed}): export the one that tells classes alone")
        except BaseException:
            self.close()
            raise
        self.opencv = str(answer[0]["opencv"])

    def close(self) -> None:
        """End its process."""
        self._process.kill()
        with suppress(OSError):  # what was still to be written
            self._process.communicate()

    def words(self) -> str:
        """Return which network it is, for a recipe."""
        return f"{self._name} (sha256 {self.sha256[:12]}, run by OpenCV {self.opencv}; takes {self.taken.words()})"

    def identity(self) -> dict[str, Json]:
        """Return which file it is, for reports."""
        return {"network": self.path.name, "sha256": self.sha256}

    def names(self, classes: int) -> tuple[str, ...]:
        """Return what its classes, of which there are so many, are called: by their numbers where they have no names."""
        return self.taken.names or tuple(map(str, range(classes)))

    def index(self, label: str) -> int:
        """Return the number of a class that is named, or given by its number.

        Raises:
            UsageError: there is no such class.
        """
        if label in self.taken.names:
            return self.taken.names.index(label)
        most = MAX_CLASSES if self.classes is None else self.classes
        if label.isascii() and label.isdecimal() and int(label) < most:
            return int(label)
        if self.taken.names:
            raise unknown(f"class of {self._name}", label, self.taken.names)
        count = "" if self.classes is None else f", 0 to {self.classes - 1}"
        raise UsageError(f"'{printable(label)}' is no class of {self._name}: use numbers{count}, or give names in {self._toml}")

    def expect(self, classes: int) -> None:
        """Refuse a network that tells another number of classes apart.

        Raises:
            UsageError: it does so, by its TOML file; if only its output shows it, that is told then.
        """
        if self.classes not in (None, classes):
            raise UsageError(f"{self._name} tells {self.classes} classes apart, and there are {classes}: name another network")
        self.classes = classes

    def classify(self, color: Tensor, name: Path) -> int:
        """Return the class of a picture.

        Args:
            color: (3|1, H, W) uint8.
            name: of the picture, for messages.

        Raises:
            InputError: the network fails on this picture.
            WeightsError: it does not give scores of classes.
        """
        answer = self._run(self._prepared(color, self.taken.size), name)
        shape = answer.shape
        if len(shape) not in (2, 4) or shape[0] != 1 or any(side != 1 for side in shape[2:]):
            raise WeightsError(f"{self._name} gives {_shape(shape)} for a picture: a classifier gives 1xN, N scores")
        self._count(shape[1])
        return int(answer.classes[0])

    def segment(self, color: Tensor, size: tuple[int, int], name: Path) -> Classes:
        """Return the class of each place of a picture, (height, width).

        The picture is resized to `size`, unless the network needs another one; its classes are brought to `size` by nearest
        neighbours.

        Args:
            color: (3|1, H, W) uint8.
            size: height and width of the answer.
            name: of the picture, for messages.

        Raises:
            InputError: the network fails on this picture.
            WeightsError: it does not give scores of classes, or classes, for places.
        """
        answer = self._run(self._prepared(color, self.taken.size or size), name)
        shape, found = answer.shape, answer.classes
        if len(shape) == 4 and shape[0] == 1 and shape[1] > 1:
            self._count(shape[1])
        elif len(shape) not in (3, 4) or shape[0] != 1:
            raise WeightsError(f"{self._name} gives {_shape(shape)} for a picture: a segmenter gives 1xNxHxW scores, or 1xHxW")
        elif self.classes is None:
            raise WeightsError(f"{self._name} gives a map of classes but not their number: say classes = N in {self._toml}")
        elif not answer.whole or found.min() < 0 or found.max() >= self.classes:
            raise WeightsError(
                f"{self._name} gives a map of other values than 0 to {self.classes - 1}, its classes: export scores"
            )
        return nearest(found.reshape(shape[-2:]), size)

    def _count(self, classes: int) -> None:
        if self.classes not in (None, classes) or classes < 2:
            wanted = self.classes or "two or more"
            raise WeightsError(f"{self._name} tells {classes} classes apart, it should be {wanted}: see {self._toml}")
        self.classes = classes

    def _prepared(self, color: Tensor, size: tuple[int, int] | None) -> Tensor:
        """Return an image (1, C, H, W) float32 as the network takes it."""
        it = self.taken
        images = to_gray(color[None]) if it.channels == 1 else color[None].expand(-1, 3, -1, -1)
        images = resized(images.float(), size or (color.shape[1], color.shape[2])) * (it.range / 255)
        if it.order == "bgr":
            images = images.flip(1)
        return (images - _channels(it.mean or (0.0,))) / _channels(it.std or (1.0,))

    def _run(self, images: Tensor, name: Path) -> _Answer:
        answer = self._asked({"shape": list(images.shape)}, images.contiguous().numpy().tobytes())
        if answer is None:
            self.close()
            self._start()  # for the next picture
        head, data = answer or ({"error": "OpenCV crashed"}, b"")
        if "error" in head:
            what, said = f"{images.shape[3]}x{images.shape[2]} pixels of {printable(name)}", _said(str(head["error"]))
            raise InputError(f"{self._name} fails on {what} ({said}): say the size and the channels it needs in {self._toml}")
        if not head["finite"]:
            raise InputError(f"{self._name} gives values that are not finite for {printable(name)}: see {self._toml}")
        return _Answer(cast("list[int]", head["shape"]), bool(head["whole"]), np.frombuffer(data, np.int32))

    def _asked(self, head: onnxprocess.Head, data: bytes) -> onnxprocess.Message | None:
        """Return the process's answer; None if it has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(OSError):
            onnxprocess.send(self._process.stdin, head, data)
            return onnxprocess.receive(self._process.stdout)
        return None

    def _refusal(self, error: str) -> str:
        node = re.search(r"Node \[([^@\]]+)", error)
        if node:
            return f"OpenCV cannot run the {printable(node[1])} of {self._name}: export it with other operators or fixed sizes"
        return f"OpenCV cannot read {printable(self.path)} as an ONNX network ({_said(error)}): export it anew"


def resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Return images (N, C, H, W) in floating point in another size, bilinearly; antialiased where they shrink."""
    if tuple(images.shape[2:]) == size:
        return images
    return F.interpolate(images, size=size, mode="bilinear", align_corners=False, antialias=True)


def nearest(classes: Classes, size: tuple[int, int]) -> Classes:
    """Return a map (H, W) in another size: each place has the value below its centre."""
    rows, columns = ((2 * np.arange(new) + 1) * old // (2 * new) for new, old in zip(size, classes.shape, strict=True))
    picked: Classes = classes[rows[:, None], columns]
    return picked


def _contents(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise WeightsError(f"{printable(path)} has more than {MAX_BYTES >> 30} GiB, which no ONNX file has")
        return path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{printable(path)} cannot be read: {error.strerror}") from error


def _said(error: str) -> str:
    """Return what OpenCV means, without its own files and functions."""
    words = re.sub(r"^.*?error: (\([^)]*\) ?)?| ?in function '.*", "", error.strip().partition("\n")[0])
    return printable(words.strip())[:120] or "without a word"


def _channels(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values).view(1, -1, 1, 1)


def _shape(shape: list[int]) -> str:
    return "x".join(map(str, shape))
