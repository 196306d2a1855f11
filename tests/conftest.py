"""What every test may use: the data beside the checkout, and the command line as a user runs it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from browser import Browser, chromium

from gantool import cli

CHECKOUT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Result:
    """How a command ended: its exit status and what it wrote."""

    status: int
    out: str
    err: str


@pytest.fixture(scope="session", autouse=True)
def _signals_as_from_a_terminal() -> None:
    """A shell starts background jobs with SIGINT ignored, nohup with SIGHUP; processes that tests start would inherit that."""
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder `shared` beside the checkout, with pictures and checkpoints that are not shipped."""
    folder = CHECKOUT.parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip(f"{folder} is not there")
    return folder


@pytest.fixture
def run_cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Run `gantool ARGS` inside this process, through its real entry point: `run_cli("upscale", path)`."""

    def run(*args: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["gantool", *map(str, args)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        code = end.value.code
        return Result(code if isinstance(code, int) else int(code is not None), *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def run_process() -> Callable[..., Result]:
    """Run `gantool ARGS` in a process of its own, for what only a fresh or killed process shows: `run_process("--help")`."""

    def run(*args: object, stdin: bytes = b"", cwd: Path | None = None, env: dict[str, str] | None = None) -> Result:
        done = subprocess.run(
            [sys.executable, "-m", "gantool", *(a if isinstance(a, bytes) else str(a) for a in args)],
            input=stdin,
            capture_output=True,
            timeout=120,
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT), **(env or {})},
        )
        return Result(done.returncode, done.stdout.decode("utf-8", "surrogateescape"), done.stderr.decode("utf-8", "replace"))

    return run


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Headless Chromium, to open pages in as a reader does: `browser.open(path)`."""
    with chromium(tmp_path_factory.mktemp("chromium")) as running:
        yield running
