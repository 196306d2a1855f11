"""A process that runs one ONNX network by OpenCV: `usernet` starts this file as a script and talks to it.

It is apart because OpenCV trusts ONNX files: a few changed bytes, or a picture smaller than a layer's window, are enough to
end the process it works in. What it prints is thrown away, too.

Messages both ways are a line of JSON, then as many bytes as its "bytes" says. First comes the file, then float32 images; each
is answered by what became of it, or by {"error": ...} in OpenCV's own words. The end of the input ends the process.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import IO, TypeAlias

import numpy as np
from numpy.typing import NDArray

Head: TypeAlias = "Mapping[str, str | int | bool | Sequence[int] | Sequence[str]]"
Message: TypeAlias = "tuple[Head, bytes]"


def send(stream: IO[bytes], head: Head, data: bytes = b"") -> None:
    """Write a message."""
    stream.write(json.dumps({**head, "bytes": len(data)}).encode() + b"\n")
    stream.write(data)
    stream.flush()


def receive(stream: IO[bytes]) -> Message | None:
    """Return the next message; None where there is none, or no whole one: the other side has ended."""
    line = stream.readline()
    if not line.endswith(b"\n"):
        return None
    head = json.loads(line)
    data = stream.read(head["bytes"])
    return (head, data) if len(data) == head["bytes"] else None


def reduced(output: NDArray[np.generic]) -> tuple[Head, bytes]:
    """Return what is sent of a network's output: its shape, whether it is finite, and its classes as int32.

    "whole" tells whether these are whole numbers.

    Scores (1, N, ...) become the class with the highest one, the first of several; a single map (1, H, W) or (1, 1, H, W) is
    taken to hold classes itself.
    """
    finite = bool(np.isfinite(output).all())
    if not finite or output.ndim < 2 or 0 in output.shape:
        return {"shape": output.shape, "finite": finite, "whole": False}, b""
    is_map = output.ndim == 3 or (output.ndim == 4 and output.shape[1] == 1)
    classes = output.clip(-1, 1 << 30) if is_map else output.argmax(1)
    found = np.ascontiguousarray(classes, np.int32)
    return {"shape": output.shape, "finite": True, "whole": bool((found == classes).all())}, found.tobytes()


def main() -> None:
    """Serve until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the other side has the word
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints must not get between messages
    first = receive(requests)
    if first is None:
        return
    import cv2  # only here: the other side imports this file for its messages alone

    try:
        network = cv2.dnn.readNetFromONNX(np.frombuffer(first[1], np.uint8))
        names = network.getUnconnectedOutLayersNames()
    except Exception as error:
        send(answers, {"error": str(error)})
        return
    send(answers, {"opencv": cv2.__version__, "outputs": list(names)})
    while (message := receive(requests)) is not None:
        head, data = message
        try:
            network.setInput(np.frombuffer(data, np.float32).reshape(head["shape"]))  # type: ignore[arg-type]
            answer = reduced(network.forward())
        except Exception as error:
            answer = {"error": str(error)}, b""
        send(answers, *answer)


if __name__ == "__main__":
    main()
