"""Options of `gantool upscale`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from gantool import flags
from gantool.errors import UsageError


def upscale(
    inputs: flags.Inputs,
    output: Annotated[
        str | None,
        typer.Option("-o", "--output", help="A file, a folder, or - for standard output. Default: STEM_x4.png beside it."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "-m",
            "--model",
            help="A name ('gantool models list'), org/repo[@revision][:file] on the Hub, or a file. 'photo' is for old, noisy "
            "or compressed pictures; the default is best for clean ones.",
        ),
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option("-s", "--scale", help="Any number above 0, such as 2.5. Default: the model's own; 4 where none is named."),
    ] = None,
    width: Annotated[
        int | None, typer.Option(help="Pixels across, instead of a scale; with --height proportions change.")
    ] = None,
    height: Annotated[int | None, typer.Option(help="Pixels down, instead of a scale.")] = None,
    long_side: Annotated[int | None, typer.Option(help="Pixels of the longer side, instead of a scale.")] = None,
    short_side: Annotated[int | None, typer.Option(help="Pixels of the shorter side, instead of a scale.")] = None,
    self_ensemble: Annotated[
        bool, typer.Option("--self-ensemble", help="Mean over eight turns and reflections: a little better, 8 times the work.")
    ] = False,
    denoise: Annotated[
        float | None,
        typer.Option(
            metavar="STRENGTH",
            help="How much of the noise to remove, for models that have a twin which keeps it: from 0, the twin, to 1, the "
            "strongest. Default: the model itself, which is 1; the reference code of Real-ESRGAN takes 0.5.",
        ),
    ] = None,
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
        typer.Option(metavar="PATTERN", help="Of outputs, without extension: {stem}, {suffix}, {scale}, {size}, {model}."),
    ] = None,
    recursive: flags.Recursive = False,
    overwrite: flags.Overwrite = False,
    skip_existing: flags.SkipExisting = False,
    shard: flags.Shard = None,
    fail_fast: flags.FailFast = False,
    dry_run: flags.DryRun = False,
    max_pixels: flags.MaxPixels = 89_000_000,
    backend: Annotated[
        Literal["auto", "torch", "openvino"], typer.Option(help="What computes; openvino needs 'gantool[openvino]'.")
    ] = "auto",
    device: flags.Device = "auto",
    dtype: flags.Dtype = "auto",
    offline: flags.Offline = False,
    registry: flags.Registry = None,
    quiet: flags.Quiet = False,
    json: flags.EachAsJson = False,
    report: flags.Report = None,
    debug: flags.Debug = False,
) -> None:
    """Make pictures larger, whatever their format, size, depth and colours.

    Prints the name of each picture that it wrote. The status is 0 if all went well, 1 if some pictures failed.
    """
    from gantool import machine, scales, weights

    target = scales.Target(scale, width, height, long_side, short_side)
    existing = flags.existing(overwrite, skip_existing)
    limit = None if memory is None else machine.parse_memory(memory)
    chosen = weights.choose(model, scale or scales.DEFAULT, registry)
    known = _known_scale(chosen, registry)
    if scale is not None and known is not None:
        scales.check_reach(scale, known, chosen, UsageError)
    from gantool import batch, outputs

    part = outputs.parse_shard(shard)
    from gantool import carrying, engines, jobs
    from gantool import upscale as verb

    order = jobs.Order(
        tuple(inputs), output, tile,
        engines.Settings(backend, device, dtype, halo, limit, self_ensemble, offline, registry, denoise),
        carrying.Carrier(None if form == "auto" else form, quality, bit_depth, background, strip, max_pixels),
        name, recursive, existing, part, fail_fast, dry_run, batch.Reporting(quiet, json, report, debug),
    )  # fmt: skip
    raise typer.Exit(verb.run(verb.Options(order, model, target)))


def _known_scale(model: str, registry: Path | None) -> int | None:
    """Return a model's scale if it can be known without loading it."""
    from gantool import weights

    found = weights.find(model, registry)
    return None if isinstance(found, Path) else found.scale
