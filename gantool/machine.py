"""The machine and its memory: cores, what is free and taken, how freed memory is kept. Knows no torch."""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from gantool.errors import UsageError, printable

_NO_MEMORY: Final = (
    *("out of memory", "allocate memory", "not enough memory", "insufficient memory", "could not create a primitive"),
    *("start new thread", "creating thread", "failed to map segment"),  # which need some for their stacks, or their code
)
"""What libraries and the system say when there is no memory."""


def usable_cores() -> int:
    """Return the number of CPU cores that this process may use, which is not always those of the machine."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an error says that there was not enough memory, on whatever device; few libraries have a class for it."""
    return isinstance(error, MemoryError) or any(sign in str(error).lower() for sign in _NO_MEMORY)


def free_memory() -> int | None:
    """Return the bytes of main memory that this process may still take, where the system tells."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")]
    except OSError:
        return None
    return min([*free, *_below_limits()], default=None)


def _below_limits(group: Path = Path("/sys/fs/cgroup")) -> Iterator[int]:
    """Yield the bytes that a container's limit leaves, and those that `ulimit -v` does, where there are such."""
    with suppress(OSError, ValueError, KeyError):
        told = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        files = int(told["active_file"]) + int(told["inactive_file"])  # which counts, but is given up when memory is needed
        yield int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()) + files
    if sys.platform == "linux":
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit != resource.RLIM_INFINITY:
            yield max(0, limit - int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize())


def resident_memory() -> int:
    """Return the bytes of main memory that this process has now; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0


def keep_freed_memory() -> None:
    """Let glibc keep freed blocks up to 1 GiB for the next tile, instead of giving pages back and faulting them in again.

    Measured gain 1.2 to 1.4 in network time on a CPU; no effect elsewhere than on Linux with glibc. All threads share one
    heap, as what one has freed can then serve another: a fifth less memory at the peak of an upscaling run on two.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            trim_threshold, mmap_threshold, arena_max = -1, -3, -8
            mallopt(mmap_threshold, 1 << 30)
            mallopt(trim_threshold, 1 << 30)
            mallopt(arena_max, 1)


def parse_memory(text: str) -> int:
    """Return the bytes that `--memory` says, such as 6G, 800M or 1.5GiB; a G is 2**30.

    Raises:
        UsageError: it is no amount.
    """
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([KMGT])(?:i?B)?", text.strip(), re.IGNORECASE)
    amount = float(match[1]) * 2 ** (10 * (1 + "KMGT".index(match[2].upper()))) if match else 0
    if amount < 1:
        raise UsageError(f"--memory {printable(text)} is not possible: use an amount such as 800M or 6G")
    return int(amount)
