"""One loop over many inputs for all verbs: go on after errors, report, end with the right status."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import BinaryIO, Literal, TypeAlias, TypeVar

from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

from gantool.errors import GantoolError, InputError, OutOfMemory, RunError, Stopped, UsageError, console, printable, say
from gantool.files import check_place, claim, clear_stale, write_error
from gantool.machine import is_out_of_memory
from gantool.outputs import Item, check_writable, identity

Facts: TypeAlias = Mapping[str, str | int | float | None]
Advance: TypeAlias = Callable[[float], None]  # gets the share of an item that each step has done
T = TypeVar("T", bound=Item)
Work: TypeAlias = Callable[[T, Advance], Facts]
State: TypeAlias = Literal["ok", "skipped", "error"]
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


def run(items: Collection[T], work: Work[T], reporting: Reporting, fail_fast: bool = False) -> int:
    """Do the work for each item, whatever happens to the others, and return the exit status.

    An output that other processes may be making too, as existing ones are skipped, is claimed first. What another one has
    claimed comes last: it is waited for, and done here if it is then not there, so the end finds every output in its place.

    Args:
        items: from `outputs.plan`, none for an empty shard; gone through several times, so they may be made as they are needed.
        work: makes one item's output; returns facts for its report. GantoolError is that item's failure, but for RunError,
            which ends the run.
        reporting: what is told.
        fail_fast: end with the first item that fails.

    Returns:
        0 if all is well; 1 if some items failed; if all did that were tried, the status of their errors.

    Raises:
        Stopped: a signal came; what was finished is in place.
        RunError: the run cannot go on.
    """
    if not items and not reporting.quiet:
        say("nothing to do: there are fewer pictures than shards, and this one has none")
    for folder in {item.target.parent for item in items if item.target}:
        clear_stale(folder)
    with ExitStack() as stack:
        record = _Record(len(items), reporting, _open_report(stack, reporting.file, items))
        stack.enter_context(_signals(record))
        show = stack.enter_context(_progress(record))
        try:
            _do_all(items, work, record, show, fail_fast)
        except RunError:
            record.sum_up()
            raise
        record.sum_up()
    return record.status()


def _do_all(items: Iterable[T], work: Work[T], record: _Record, show: Callable[[Item], Advance], fail_fast: bool) -> None:
    elsewhere: list[T] = []
    for turns, wait in ((items, False), (elsewhere, True)):
        for item in turns:
            if not _do(item, work, record, show(item), wait):
                elsewhere.append(item)
            if fail_fast and record.statuses:
                return


def _do(item: T, work: Work[T], record: _Record, advance: Advance, wait: bool) -> bool:
    """Do one item and record it; return False, and record nothing, if another process is doing it."""
    start = time.monotonic()
    try:
        with _claimed(item, wait) as claimed:
            if not claimed:
                return False
            done = item.is_done()
            facts = {} if done else _work(item, work, advance, record.reporting.debug)
    except GantoolError as error:
        record.add(item, start, "error", error=error)
        if isinstance(error, RunError):
            raise
    except Stopped as stopped:
        record.add(item, start, "error", error=stopped)
        raise
    else:
        record.add(item, start, "skipped" if done else "ok", facts)
    return True


@contextmanager
def _claimed(item: Item, wait: bool) -> Iterator[bool]:
    """Make an item's output possible and yield whether it is this process's to make."""
    if item.target is None or item.is_done():
        yield True
        return
    _make_folder(item.target.parent)
    check_place(item.target)
    if item.existing == "refuse" and os.path.lexists(item.target):
        what = f"{printable(item.target)} has come to exist during the run"
        raise InputError(f"{what}: use --overwrite or --skip-existing")
    if item.existing != "skip":
        yield True
        return
    with claim(item.target, wait) as claimed:
        yield claimed


def _work(item: T, work: Work[T], advance: Advance, debug: bool) -> Facts:
    try:
        return work(item, advance)
    except GantoolError:
        if debug:
            traceback.print_exc()
        raise
    except Exception as error:  # a fault of ours with one picture must not cost the others
        if debug:
            traceback.print_exc()
        raise unexpected(item.name, error) from error


def unexpected(name: str, error: Exception) -> InputError:
    """Return what a fault of ours, or the end of memory, is to one item, whose name is safe to print."""
    if is_out_of_memory(error):
        return OutOfMemory(f"{name}: there is not enough memory for it: free some, or crop it")
    what = f"{type(error).__name__}: {printable(error)}"
    return InputError(f"{name} failed unexpectedly ({what}): --debug shows where")


def _make_folder(folder: Path) -> None:
    check_writable(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(folder, error) from error


def peak_memory() -> int:
    """Return the most bytes of main memory that this process has had at a time; 0 where the system does not tell.

    Of two sources the first is the better, where it is: the second begins with what the parent had when it started us.
    """
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    if sys.platform == "win32":
        return 0
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def name(path: Path | None) -> str:
    """Return how an input or output is called in messages."""
    return "-" if path is None else printable(path)


@dataclass
class _Record:
    """What became of the items so far."""

    total: int
    reporting: Reporting
    file: BinaryIO | None
    done: int = 0
    skipped: int = 0
    statuses: list[int] = field(default_factory=list)  # of errors

    def add(
        self, item: Item, start: float, state: State, facts: Facts | None = None, error: GantoolError | Stopped | None = None
    ) -> None:
        if error:
            self.statuses.append(error.status)
            if not isinstance(error, (Stopped, RunError)):  # those end the run, and are printed there
                say(f"gantool: {error}")
        else:
            self.skipped += state == "skipped"
            self.done += state == "ok"
        self._tell(item, state, {**_line(item, state, error, time.monotonic() - start), **(facts or {})})

    def _tell(self, item: Item, state: State, line: Facts) -> None:
        text = json.dumps(line)
        if self.file is not None and self.reporting.file is not None:
            _append(self.file, text.encode("ascii") + b"\n", self.reporting.file)
        if self.reporting.as_json:
            emit(text)
        elif state == "ok" and item.target is not None and not self.reporting.quiet:
            emit(printable(item.target))

    def summary(self) -> str:
        parts = [f"{self.done} of {self.total} done"]
        parts += [f"{self.skipped} skipped"] if self.skipped else []
        parts += [f"{len(self.statuses)} failed"] if self.statuses else []
        return ", ".join(parts)

    def sum_up(self) -> None:
        if not self.reporting.quiet and self.total > 1:
            rest = self.total - self.settled()
            say(self.summary() + (f", {rest} not tried" if rest else ""))

    def settled(self) -> int:
        return self.done + self.skipped + len(self.statuses)

    def status(self) -> int:
        if not self.statuses:
            return 0
        return 1 if self.done or self.skipped else max(self.statuses)


def _line(item: Item, state: State, error: GantoolError | Stopped | None, seconds: float) -> Facts:
    return {
        **item.facts,
        "status": state,
        "output": None if state == "error" else "-" if item.target is None else str(item.target),
        "error": str(error) if error else None,
        "seconds": round(seconds, 3),
        "peak_bytes": peak_memory(),
    }


def _open_report(stack: ExitStack, path: Path | None, items: Iterable[Item]) -> BinaryIO | None:
    if path is None:
        return None
    found = identity(path)
    if found and any(found in (identity(item.source), identity(item.target)) for item in items):
        raise UsageError(f"--report {printable(path)} is an input or output: name another file")
    try:
        return stack.enter_context(path.open("ab", buffering=0))  # unbuffered: a line is there when the next item begins
    except OSError as error:
        raise InputError(f"--report {printable(path)} cannot be written: {error.strerror}") from error


def _append(file: BinaryIO, data: bytes, path: Path) -> None:
    try:
        while data:
            data = data[file.write(data) :]
    except OSError as error:
        raise write_error(path, error) from error


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

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    heard = [number for number, handler in before.items() if handler is not signal.SIG_IGN]

    def stop(number: int, frame: FrameType | None) -> None:
        for each in heard:
            signal.signal(each, signal.SIG_DFL)  # whoever is impatient ends it at once
        raise Stopped(number, f"stopped by {signal.Signals(number).name}, {record.summary()}: --skip-existing does the rest")

    for number in heard:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in heard:
            signal.signal(number, before[number])


@contextmanager
def _progress(record: _Record) -> Iterator[Callable[[Item], Advance]]:
    """Show how far the run is, on a terminal; yields what begins an item and returns its `Advance`."""
    if record.reporting.quiet or not console().is_terminal:
        yield lambda item: lambda share: None
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(), transient=True) as progress:
        overall = progress.add_task("", total=record.total, visible=record.total > 1)
        current: list[TaskID] = []

        def begin(item: Item) -> Advance:
            if current:
                progress.remove_task(current.pop())
            done = record.settled()
            progress.update(overall, completed=done, description=f"{done + 1} of {record.total}")
            current.append(progress.add_task(item.name, total=1.0))
            return lambda share: progress.advance(current[0], share)

        yield begin
