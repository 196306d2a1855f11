"""Options of `gantool models`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gantool import flags

app = typer.Typer(
    help="What weights there are, and fetching, checking, converting and mixing them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
OneModel = Annotated[str, typer.Argument(help="A name, or org/repo[@revision][:file] on the Hub.")]


@app.command("list")
def models_list(as_json: flags.AsJson = False, registry: flags.Registry = None, debug: flags.Debug = False) -> None:
    """List all models: name, system, scale, licence, size, and whether they are bundled, cached or not downloaded."""
    from gantool import models as verb

    verb.list_all(registry, as_json)


@app.command("show")
def models_show(
    name: Annotated[str, typer.Argument(help="A name, a reference to the Hub, or a file.")],
    as_json: flags.AsJson = False,
    registry: flags.Registry = None,
    debug: flags.Debug = False,
) -> None:
    """Show all that is known of one model, with the facts in its file where that is at hand."""
    from gantool import models as verb

    verb.show(name, registry, as_json)


@app.command("download")
def models_download(
    name: OneModel, offline: flags.Offline = False, registry: flags.Registry = None, debug: flags.Debug = False
) -> None:
    """Fetch a model from the Hub, check it, and print where it lies."""
    from gantool import models as verb

    verb.download(name, registry, offline)


@app.command("verify")
def models_verify(
    name: Annotated[str | None, typer.Argument(help="One model; without it all that are bundled or cached.")] = None,
    registry: flags.Registry = None,
    debug: flags.Debug = False,
) -> None:
    """Hash files anew and compare with what they should be; the status is 3 if one differs."""
    from gantool import models as verb

    verb.verify(name, registry)


@app.command("convert")
def models_convert(
    file: Annotated[Path, typer.Argument(help="A checkpoint: .pth, .pt, .ckpt, .bin or .safetensors, known by its content.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Default: the same name with .safetensors.")] = None,
    system: Annotated[str | None, typer.Option(help="The checkpoint's system, where it cannot be recognised.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output where it exists.")] = False,
    debug: flags.Debug = False,
) -> None:
    """Convert a checkpoint from elsewhere to a model file, without running any code in it, and report its keys."""
    from gantool import models as verb

    verb.convert(file, output, system, overwrite)


@app.command("interpolate")
def models_interpolate(
    first: Annotated[str, typer.Argument(metavar="A", help="A name, a reference to the Hub, or a file.")],
    second: Annotated[str, typer.Argument(metavar="B", help="Another, trained on from A or from what A was trained on from.")],
    alpha: Annotated[float, typer.Option(metavar="SHARE", help="Of B, from 0 to 1; of ESRGAN's pair 0.8 is usual.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The model file to write, ending in .safetensors.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output where it exists.")] = False,
    offline: flags.Offline = False,
    registry: flags.Registry = None,
    debug: flags.Debug = False,
) -> None:
    """Make the network between two of one system and form, (1 - SHARE) A + SHARE B, weight by weight."""
    from gantool import models as verb

    verb.interpolate(first, second, alpha, output, overwrite, offline, registry)
