"""Options of `gantool generate`."""

from __future__ import annotations

from typing import Annotated

import typer

from gantool import flags


def generate(
    model: Annotated[
        str,
        typer.Option("-m", "--model", help="A name ('gantool models list'), org/repo[@revision][:file] on the Hub, or a file."),
    ],
    seeds: Annotated[
        str | None, typer.Option(help="Numbers and ranges, such as 0,3,5-10: one picture each, always the same. Default: 0.")
    ] = None,
    output: Annotated[
        str | None,
        typer.Option("-o", "--output", help="A folder; for one picture also a file or -, standard output. Default: MODEL/."),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(help="Class by name or index; of several, such as 0,3,7, seeds take turns. Default: each draws its own."),
    ] = None,
    truncation: Annotated[
        float | None,
        typer.Option(help="Draw again what is further from 0 in a latent, such as 0.7: more typical pictures, less variety."),
    ] = None,
    grid: Annotated[
        str | None,
        typer.Option(metavar="COLUMNSxROWS", help="One picture of so many seeds in reading order; without --seeds, from 0 on."),
    ] = None,
    interpolate: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="An animation from one seed to another; -o ends with .gif, .png, .apng or .mp4."),
    ] = None,
    frames: Annotated[int | None, typer.Option(min=2, max=100_000, help="Of the animation. Default: 50.")] = None,
    fps: Annotated[int | None, typer.Option(min=1, max=1000, help="Frames a second. Default: 25.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Pictures made at a time, which changes only the speed.")] = None,
    form: flags.Form = "auto",
    quality: flags.Quality = 95,
    overwrite: flags.Overwrite = False,
    skip_existing: flags.SkipExisting = False,
    device: flags.Device = "auto",
    dtype: flags.Dtype = "auto",
    offline: flags.Offline = False,
    registry: flags.Registry = None,
    quiet: flags.Quiet = False,
    json: flags.EachAsJson = False,
    report: flags.Report = None,
    debug: flags.Debug = False,
) -> None:
    """Generate pictures: seed0000.png and so on, a sheet of them, or an animation from one to another.

    Prints the name of each file that it wrote. The status is 0 if all went well, 1 if some pictures failed.
    """
    existing = flags.existing(overwrite, skip_existing)
    from gantool import batch as batches
    from gantool import generate as verb

    options = verb.Options(
        model, seeds, output, label, truncation, grid, interpolate, frames, fps, batch, None if form == "auto" else form,
        quality, existing, device, dtype, offline, registry, batches.Reporting(quiet, json, report, debug),
    )  # fmt: skip
    raise typer.Exit(verb.run(options))
