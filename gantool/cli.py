"""The command line: parse, check, call one function. Nothing heavy is imported until a command runs."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Annotated

import typer

from gantool import __version__
from gantool.commands import evaluate, generate, models, study, train, translate, upscale
from gantool.errors import GantoolError, RunError, Stopped, printable, say
from gantool.machine import is_out_of_memory

app = typer.Typer(
    name="gantool",
    help="Make pictures larger, translate them and generate them with GANs; train and compare the networks that do it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (upscale.upscale, translate.translate, generate.generate, train.train, evaluate.evaluate):
    app.command()(command)
app.add_typer(study.app, name="study")
app.add_typer(models.app, name="models")


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False) -> None:
    """Make pictures larger, translate them and generate them with GANs; train and compare the networks that do it."""
    if version:
        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Run the command line; every known fault ends in one line on standard error and its exit status."""
    status = _status()
    if "TORCHELASTIC_RUN_ID" in os.environ:
        # torchrun started this process. Python's end destroys threads of torch.distributed that now and then still run, which
        # C++ answers with an abort after all work is done.
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(status)
    sys.exit(status)


def _status() -> int:
    try:
        app(prog_name="gantool")
    except Stopped as stopped:
        say(f"gantool: {stopped}")
        os._exit(stopped.status)  # Python's own end would wait for threads that are amid a tile
    except GantoolError as error:
        if "--debug" in sys.argv:
            traceback.print_exc()
        say(f"gantool: {error}")
        return error.status
    except KeyboardInterrupt:
        say("gantool: stopped")
        return 130
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except Exception as error:  # a fault of ours: the line says how to see where
        if "--debug" in sys.argv:
            raise
        if is_out_of_memory(error):
            say("gantool: there is not enough memory to begin: free some, or allow more (ulimit -v)")
            return RunError.status
        say(f"gantool: unexpected {type(error).__name__}: {printable(error)}: run again with --debug and report it")
        return 1
    return 0
