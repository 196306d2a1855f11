"""One loop over many inputs for all verbs: go on after errors, report, end with the right status."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO, TypeAlias

from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

from gantool.devices import is_out_of_memory
from gantool.errors import GantoolError, InputError, OutOfMemory, RunError, Stopped, UsageError, console, printable, say
from gantool.files import clear_stale
from gantool.outputs import Item, check_writable

Facts: TypeAlias = Mapping[str, str | int | float | None]
Advance: TypeAlias = Callable[[float], None]  # gets the share of an item that each step has done
Work: TypeAlias = Callable[[Item, Advance], Facts]
_SIGNALS = (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if sys.platform != "win32" else []))


@dataclass(frozen=True)
class Reporting:
    """What a run tells.

    Attributes:
        quiet: only errors.
        as_json: an object for each item on standard output, instead of the outputs' names.
        file: takes the same objects, each as soon as it is known; added at its end.
        debug: show where errors come from.
    """

    quiet: bool = False
    as_json: bool = False
    file: Path | None = None
    debug: bool = False


def run(items: Sequence[Item], work: Work, reporting: Reporting) -> int:
    """Do the work for each item, whatever happens to the others, and return the exit status.

    Args:
        items: from `outputs.plan`.
        work: makes one item's output; returns facts for its report. GantoolError is that item's failure, but for RunError,
            which ends the run.
        reporting: what is told.

    Returns:
        0 if all is well; 1 if some items failed; if all did, the status of their errors.

    Raises:
        Stopped: a signal came; what was finished is in place.
        RunError: the run cannot go on.
    """
    for folder in {item.target.parent for item in items if item.target}:
        clear_stale(folder)
    with ExitStack() as stack:
        record = _Record(len(items), reporting, _open_report(stack, reporting.file, items))
        stack.enter_context(_signals(record))
        show = stack.enter_context(_progress(len(items), reporting))
        try:
            for item in items:
                _do(item, work, record, show(item))
        finally:
            if not reporting.quiet and len(items) > 1:
                say(record.summary())
    return record.status()


def _do(item: Item, work: Work, record: _Record, advance: Advance) -> None:
    start = time.monotonic()
    try:
        facts = {} if item.skip else _work(item, work, advance, record.reporting.debug)
    except (Stopped, RunError) as error:
        record.add(item, start, error=error)
        raise
    except GantoolError as error:
        record.add(item, start, error=error)
    else:
        record.add(item, start, facts)


def _work(item: Item, work: Work, advance: Advance, debug: bool) -> Facts:
    try:
        if item.target is not None:
            _make_folder(item.target.parent)
        return work(item, advance)
    except GantoolError:
        if debug:
            traceback.print_exc()
        raise
    except Exception as error:  # a fault of ours with one picture must not cost the others
        if debug:
            traceback.print_exc()
        if is_out_of_memory(error):
            raise OutOfMemory(f"{name(item.source)}: there is not enough memory for it: free some, or crop it") from error
        what = f"{type(error).__name__}: {printable(error)}"
        raise InputError(f"{name(item.source)} failed unexpectedly ({what}): --debug shows where") from error


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{printable(folder)} cannot be made: {error.strerror}") from error
    check_writable(folder)


def name(path: Path | None) -> str:
    """Return how an input or output is called in messages."""
    return "-" if path is None else printable(path)


@dataclass
class _Record:
    """What became of the items so far."""

    total: int
    reporting: Reporting
    file: IO[str] | None
    done: int = 0
    skipped: int = 0
    statuses: list[int] = field(default_factory=list)  # of errors

    def add(self, item: Item, start: float, facts: Facts | None = None, error: GantoolError | None = None) -> None:
        state = "error" if error else "skipped" if item.skip else "ok"
        if error:
            self.statuses.append(error.status)
            if not isinstance(error, (Stopped, RunError)):  # those end the run, and are printed there
                say(f"gantool: {error}")
        else:
            self.skipped += item.skip
            self.done += not item.skip
        self._tell(item, state, {**_line(item, state, error, time.monotonic() - start), **(facts or {})})

    def _tell(self, item: Item, state: str, line: Facts) -> None:
        text = json.dumps(line)
        if self.file is not None:
            self.file.write(text + "\n")
            self.file.flush()
        if self.reporting.as_json:
            emit(text)
        elif state == "ok" and item.target is not None and not self.reporting.quiet:
            emit(printable(item.target))

    def summary(self) -> str:
        parts = [f"{self.done} of {self.total} done"]
        parts += [f"{self.skipped} skipped"] if self.skipped else []
        parts += [f"{len(self.statuses)} failed"] if self.statuses else []
        return ", ".join(parts)

    def status(self) -> int:
        if not self.statuses:
            return 0
        return 1 if self.done or self.skipped else max(self.statuses)


def _line(item: Item, state: str, error: GantoolError | None, seconds: float) -> Facts:
    return {
        "input": "-" if item.source is None else str(item.source),
        "status": state,
        "output": None if state == "error" else "-" if item.target is None else str(item.target),
        "error": str(error) if error else None,
        "seconds": round(seconds, 3),
    }


def _open_report(stack: ExitStack, path: Path | None, items: Sequence[Item]) -> IO[str] | None:
    if path is None:
        return None
    for item in items:
        for other in (item.source, item.target):
            if other is not None and other.exists() and path.exists() and other.samefile(path):
                raise UsageError(f"--report {printable(path)} is an input or output: name another file")
    try:
        return stack.enter_context(path.open("a", encoding="utf-8"))
    except OSError as error:
        raise InputError(f"--report {printable(path)} cannot be written: {error.strerror}") from error


def emit(line: str) -> None:
    """Print a line of results to standard output; if nobody takes it, the work goes on all the same."""
    with suppress(RunError):
        emit_bytes(line.encode("utf-8") + b"\n")


def emit_bytes(data: bytes) -> None:
    """Write a result to standard output.

    Raises:
        RunError: it is closed or full.
    """
    try:
        if sys.stdout is None:
            raise OSError("it is closed")
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except (OSError, ValueError) as error:
        with suppress(OSError, ValueError, AttributeError):  # what is left in the buffer would fail again at the end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise RunError(f"standard output cannot be written: {printable(error)}") from error


@contextmanager
def _signals(record: _Record) -> Iterator[None]:
    """Turn the first signal that ends the run into `Stopped`; what a parent has set to be ignored stays ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)  # whoever is impatient ends it at once
        raise Stopped(number, f"stopped by {signal.Signals(number).name}, {record.summary()}: --skip-existing does the rest")

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _progress(total: int, reporting: Reporting) -> Iterator[Callable[[Item], Advance]]:
    """Show how far the run is, on a terminal; yields what begins an item and returns its `Advance`."""
    if reporting.quiet or not console().is_terminal:
        yield lambda item: lambda share: None
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(), transient=True) as progress:
        overall = progress.add_task("", total=total, visible=total > 1)
        current: list[TaskID] = []
        count = iter(range(total))

        def begin(item: Item) -> Advance:
            if current:
                progress.remove_task(current.pop())
            done = next(count)
            progress.update(overall, completed=done, description=f"{done + 1} of {total}")
            current.append(progress.add_task(name(item.source), total=1.0))
            return lambda share: progress.advance(current[0], share)

        yield begin
