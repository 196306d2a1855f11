"""What a run tells: one JSON object per line in `log.jsonl`, curves for TensorBoard, a progress display, sentences."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gantool.errors import UsageError, console, say

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter


class Log:
    """The log of one run; a context manager that owns the progress display.

    Args:
        path: the JSON lines file, appended to.
        quiet: no display, no sentences; processes other than the first are quiet.
        board: folder that gets the losses for TensorBoard, if they are wanted.

    Raises:
        UsageError: TensorBoard is not installed.
    """

    def __init__(self, path: Path, quiet: bool, board: Path | None = None) -> None:
        self._board = None if quiet or board is None else _open_board(board)
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
        if self._board:
            self._board.close()

    def stage(self, name: str, step: int, steps: int) -> None:
        """Begin a stage's progress bar."""
        self._progress.reset(self._task, description=name, completed=step, total=steps)

    def step(self, step: int, losses: Mapping[str, float]) -> None:
        """Show a step."""
        values = " ".join(f"{name} {value:.4g}" for name, value in losses.items())
        self._progress.update(self._task, completed=step, values=values)

    def curves(self, step: int, values: Mapping[str, float]) -> None:
        """Draw values into TensorBoard's curves; `step` counts those of all stages."""
        for name, value in values.items() if self._board else ():
            self._board.add_scalar(name, value, step)  # type: ignore[union-attr]

    def write(self, **values: object) -> None:
        """Append a line to the log, with the time."""
        if self._file:
            self._file.write(json.dumps({"time": round(time.time(), 3), **values}) + "\n")
            self._file.flush()

    def say(self, sentence: str) -> None:
        """Tell the user something."""
        if not self._quiet:
            say(sentence)


def _open_board(folder: Path) -> SummaryWriter:
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError as error:
        raise UsageError("--tensorboard needs the package tensorboard: pip install 'gantool[train]'") from error
    return SummaryWriter(str(folder))
