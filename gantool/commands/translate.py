"""Options of `gantool translate`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from gantool import flags


def translate(
    inputs: flags.Inputs,
    model: Annotated[
        str,
        typer.Option("-m", "--model", help="A name ('gantool models list'), org/repo[@revision][:file] on the Hub, or a file."),
    ],
    output: Annotated[
        str | None,
        typer.Option("-o", "--output", help="A file, a folder, or - for standard output. Default: STEM_MODEL.png beside it."),
    ] = None,
    to: Annotated[
        str | None, typer.Option(metavar="NAME", help="What pictures are to become, such as zebra, where a model has a choice.")
    ] = None,
    direction: Annotated[
        Literal["AtoB", "BtoA"] | None, typer.Option(help="The same, for a model of two domains, by their order.")
    ] = None,
    attr: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Attributes to give, and with a minus those to take away: 'Blond_Hair,-Male'. Those not named are taken away.",
        ),
    ] = None,
    deterministic: Annotated[
        bool,
        typer.Option("--deterministic", help="Without the noise and the picture's own statistics that pix2pix works with."),
    ] = False,
    width: Annotated[
        int | None, typer.Option(help="Make pictures so wide first; with --height proportions change. Default: their own size.")
    ] = None,
    height: Annotated[int | None, typer.Option(help="Make pictures so high first.")] = None,
    long_side: Annotated[int | None, typer.Option(help="Give the longer side so many pixels first.")] = None,
    short_side: Annotated[int | None, typer.Option(help="Give the shorter side so many pixels first.")] = None,
    tile: flags.Tile = "auto",
    halo: flags.Halo = None,
    memory: flags.Memory = None,
    form: flags.Form = "auto",
    quality: flags.Quality = 95,
    bit_depth: flags.BitDepth = "auto",
    background: flags.Background = None,
    strip: flags.Strip = "none",
    name: Annotated[
        str | None,
        typer.Option(metavar="PATTERN", help="Of outputs, without extension: {stem}, {suffix}, {model}, {to}."),
    ] = None,
    recursive: flags.Recursive = False,
    overwrite: flags.Overwrite = False,
    skip_existing: flags.SkipExisting = False,
    shard: flags.Shard = None,
    fail_fast: flags.FailFast = False,
    dry_run: flags.DryRun = False,
    max_pixels: flags.MaxPixels = 89_000_000,
    device: flags.Device = "auto",
    dtype: flags.Dtype = "auto",
    offline: flags.Offline = False,
    registry: flags.Registry = None,
    quiet: flags.Quiet = False,
    json: flags.EachAsJson = False,
    report: flags.Report = None,
    debug: flags.Debug = False,
) -> None:
    """Translate pictures into another domain, style or condition: horses to zebras, damaged to restored.

    Outputs have the size of the pictures. Prints the name of each that it wrote. The status is 0 if all went well, 1 if some
    pictures failed.
    """
    from gantool import machine, scales, weights

    size = scales.Target(None, width, height, long_side, short_side)
    existing = flags.existing(overwrite, skip_existing)
    limit = None if memory is None else machine.parse_memory(memory)
    weights.find(model, registry)
    from gantool import batch, outputs

    part = outputs.parse_shard(shard)
    from gantool import carrying, engines, jobs
    from gantool import translate as verb

    order = jobs.Order(
        tuple(inputs), output, tile,
        engines.Settings("torch", device, dtype, halo, limit, False, offline, registry),
        carrying.Carrier(None if form == "auto" else form, quality, bit_depth, background, strip, max_pixels),
        name, recursive, existing, part, fail_fast, dry_run, batch.Reporting(quiet, json, report, debug),
    )  # fmt: skip
    wish = verb.Wish(to, direction, attr)
    raise typer.Exit(verb.run(verb.Options(order, model, wish, size if size.by_sides else None, deterministic)))
