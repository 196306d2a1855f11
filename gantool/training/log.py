"""What a run tells: one JSON object per line in `log.jsonl`, a progress display on a terminal, sentences on standard error."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gantool.errors import console, say


class Log:
    """The log of one run; a context manager that owns the progress display.

    Args:
        path: the JSON lines file, appended to.
        quiet: no display, no sentences; processes other than the first are quiet.
    """

    def __init__(self, path: Path, quiet: bool) -> None:
        self._file = None if quiet else path.open("a", encoding="utf-8")
        self._quiet = quiet
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[values]}"),
        )
        self._progress = Progress(*columns, console=console(), disable=quiet or not console().is_terminal)
        self._task = self._progress.add_task("", values="")

    def __enter__(self) -> Log:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._progress.stop()
        if self._file:
            self._file.close()

    def stage(self, name: str, step: int, steps: int) -> None:
        """Begin a stage's progress bar."""
        self._progress.reset(self._task, description=name, completed=step, total=steps)

    def step(self, step: int, losses: Mapping[str, float]) -> None:
        """Show a step."""
        values = " ".join(f"{name} {value:.4g}" for name, value in losses.items())
        self._progress.update(self._task, completed=step, values=values)

    def write(self, **values: object) -> None:
        """Append a line to the log, with the time."""
        if self._file:
            self._file.write(json.dumps({"time": round(time.time(), 3), **values}) + "\n")
            self._file.flush()

    def say(self, sentence: str) -> None:
        """Tell the user something."""
        if not self._quiet:
            say(sentence)
