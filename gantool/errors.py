"""The faults that a user can act on, with their exit statuses, and how names are shown in messages.

A message is one line: the name, the value, the remedy.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from contextlib import suppress
from functools import cache

from rich.console import Console


class GantoolError(Exception):
    """Base of every fault that ends in one line on standard error and the class's exit status."""

    status = 1


class InputError(GantoolError):
    """One input cannot be read, used or written; the others of a batch go on."""


class OutOfMemory(InputError):
    """There is not enough memory for one input; if nothing else could be done either, the run has failed."""

    status = 4


class UsageError(GantoolError):
    """The command asks for something that does not exist or does not fit together."""

    status = 2


class WeightsError(GantoolError):
    """A model or its weights are unavailable, damaged or refused."""

    status = 3


class RunError(GantoolError):
    """The run itself cannot go on: memory, disk, a loss that is not finite."""

    status = 4


class Stopped(BaseException):
    """A signal ended the run, with everything finished so far in place.

    No fault, and raised wherever the program just is: inside a decoder that takes every `Exception` for a damaged file, say.
    So it is none, as KeyboardInterrupt is none.

    Args:
        signum: number of the signal; the exit status is 128 more, as shells have it.
        message: what stands and how to go on.
    """

    def __init__(self, signum: int, message: str) -> None:
        super().__init__(message)
        self.status = 128 + signum


def printable(name: object) -> str:
    """Return a file name or value as text that is safe to print: control and undecodable characters escaped."""
    text = str(name).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's words, safe to print and at most 200 characters; its class if it has none."""
    lines = str(error).strip().splitlines()
    return printable(lines[0])[:200] if lines else type(error).__name__


def unknown(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """Return the error for a name that does not exist, with the near ones, or else all of them.

    >>> str(unknown("system", "esrgn", ["esrgan", "srgan", "span"]))
    "no system named 'esrgn': did you mean esrgan or srgan?"
    """
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3)
    remedy = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known) or 'none'}"
    return UsageError(f"no {kind} named '{printable(name)}': {remedy}")


@cache
def console() -> Console:
    """Return the one console on standard error; rich's markup, emoji and highlighting stay off, so text prints as it is."""
    return Console(stderr=True, markup=False, emoji=False, highlight=False, soft_wrap=True)


def say(sentence: str) -> None:
    """Print a line to standard error."""
    with suppress(OSError, ValueError):  # a closed standard error must not end the work
        console().print(sentence, markup=False)
