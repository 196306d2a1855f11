"""The command line: parse, check, call one function. Nothing heavy is imported until a command runs."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import Annotated, Literal

import typer

from gantool import __version__, flags, systems
from gantool.errors import GantoolError, RunError, Stopped, UsageError, printable, say
from gantool.machine import is_out_of_memory
from gantool.metrics import METRICS
from gantool.metrics.protocols import PROTOCOLS, recipe

app = typer.Typer(
    name="gantool",
    help="Make pictures larger, translate them and generate them with GANs; train and compare the networks that do it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
models = typer.Typer(
    help="What weights there are, and fetching, checking, converting and mixing them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(models, name="models")


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


@app.command()
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
    existing = _existing(overwrite, skip_existing)
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


@app.command()
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
    existing = _existing(overwrite, skip_existing)
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


@app.command()
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
    existing = _existing(overwrite, skip_existing)
    from gantool import batch as batches
    from gantool import generate as verb

    options = verb.Options(
        model, seeds, output, label, truncation, grid, interpolate, frames, fps, batch, None if form == "auto" else form,
        quality, existing, device, dtype, offline, registry, batches.Reporting(quiet, json, report, debug),
    )  # fmt: skip
    raise typer.Exit(verb.run(options))


def _existing(overwrite: bool, skip: bool) -> Literal["refuse", "overwrite", "skip"]:
    """Return what becomes of outputs that exist."""
    if overwrite and skip:
        raise UsageError("--overwrite and --skip-existing exclude one another: give one")
    return "overwrite" if overwrite else "skip" if skip else "refuse"


OneModel = Annotated[str, typer.Argument(help="A name, or org/repo[@revision][:file] on the Hub.")]


@app.command()
def train(
    system: Annotated[str, typer.Argument(help=f"Which paper: {', '.join(systems.names())}.")],
    data: Annotated[
        list[Path],
        typer.Argument(
            help="What to learn from: a folder of pictures; two folders of pairs or of two domains; a folder with a sub-folder "
            "for each class, an attribute table (.csv, list_attr_celeba.txt) or an IDX file, or several of these."
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for checkpoints, log, samples and model.safetensors.")],
    val: Annotated[
        list[Path] | None,
        typer.Option(
            help="Pictures to validate on at every save, as DATA; give it twice for two folders. The best of a stage is kept."
        ),
    ] = None,
    pairs: Annotated[
        Literal["colorize", "inpaint", "edges", "deblur", "denoise", "lowres"] | None,
        typer.Option(help="Make pairs of plain photos on the fly, for systems that learn from pairs."),
    ] = None,
    init: Annotated[str | None, typer.Option(help="Start from these weights: a name or a file.")] = None,
    features: Annotated[
        str | None,
        typer.Option(
            help="File or name of the frozen network that perceptual losses look through. Default: the system's, vgg19."
        ),
    ] = None,
    teacher: Annotated[
        str | None, typer.Option(help="Learn to do what this model does instead of what is true; for real-esrgan.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A configuration file, as a run's config.toml.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="key=value: change a field of the configuration.")] = None,
    steps: Annotated[list[str] | None, typer.Option(help="Steps of the last stage, or STAGE=N.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Samples per step, over all processes together.")] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that prepare samples; 0: in the loop.")] = 0,
    save_every: Annotated[int | None, typer.Option(min=1, help="Steps between checkpoints.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Same seed, same weights.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint in the run's folder.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print stages, losses, parameters, expected memory and time, then stop.")
    ] = False,
    preview: Annotated[
        Path | None, typer.Option(help="With --dry-run: write sheets of what each stage would learn from into this folder.")
    ] = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write the losses for TensorBoard too; needs 'gantool[train]'.")
    ] = False,
    device: flags.Device = "auto",
    dtype: Annotated[str | None, typer.Option(help="Precision of mixed-precision training: auto, fp32, fp16 or bf16.")] = None,
    offline: flags.Offline = False,
    registry: flags.Registry = None,
    debug: flags.Debug = False,
) -> None:
    """Train a system on folders of pictures; `torchrun -m gantool train ...` uses several GPUs."""
    from gantool import train as verb

    verb.run(
        verb.Options(
            system, tuple(data), output, tuple(val or ()), pairs, init, features, teacher, config, tuple(set_ or ()), resume,
            dry_run, preview, tuple(steps or ()), batch, seed, dtype, workers, save_every, device, offline, registry,
            tensorboard,
        )
    )  # fmt: skip


@app.command()
def evaluate(
    results: Annotated[Path, typer.Argument(help="Folder of pictures to judge, or one picture.")],
    references: Annotated[
        Path,
        typer.Argument(
            help="Folder of the true pictures, or one. Pairs go by name: "
            "a.png with a.png, a_x4.png, ax4.png, a_out.png, or a_MODEL.png where all results are of one model."
        ),
    ],
    metric: Annotated[str, typer.Option(help=f"Comma-separated: {', '.join(METRICS)}.")] = "psnr-y,ssim-y",
    scale: Annotated[
        float | None,
        typer.Option(
            "-s",
            "--scale",
            help="What the results were enlarged by: references are cropped to a multiple of it, and a border as wide is "
            "shaved, as for the literature's tables. Without it whole pictures are compared.",
        ),
    ] = None,
    crop_border: Annotated[
        str | None,
        typer.Option(metavar="N|scale", help="Pixels shaved on each side first. Default: the scale where it is given, else 0."),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(help="Refuse what breaks a protocol's rules. " + "".join(f"{n}: {w}." for n, w in PROTOCOLS.items())),
    ] = None,
    recursive: Annotated[
        bool, typer.Option("-r", "--recursive", help="Take sub-folders too; they have to be the same on both sides.")
    ] = False,
    csv: Annotated[Path | None, typer.Option(help="Write the numbers, unrounded, to this file.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the --csv file where it exists.")] = False,
    json: Annotated[
        bool,
        typer.Option("--json", help='Print a JSON object a picture, then one with mean and recipe; infinity is "inf".'),
    ] = False,
    max_pixels: flags.MaxPixels = 89_000_000,
    debug: flags.Debug = False,
) -> None:
    """Measure results against true pictures as the literature does; every number carries its recipe.

    Pictures of different sizes and files without a partner are refused, and so are transparent pictures.
    """
    chosen = recipe(metric, protocol, scale, crop_border)
    from gantool import evaluate as verb

    verb.run(verb.Options(results, references, chosen, recursive, csv, overwrite, json, max_pixels))


def _known_scale(model: str, registry: Path | None) -> int | None:
    """Return a model's scale if it can be known without loading it."""
    from gantool import weights

    found = weights.find(model, registry)
    return None if isinstance(found, Path) else found.scale


@models.command("list")
def models_list(as_json: flags.AsJson = False, registry: flags.Registry = None, debug: flags.Debug = False) -> None:
    """List all models: name, system, scale, licence, size, and whether they are bundled, cached or not downloaded."""
    from gantool import models as verb

    verb.list_all(registry, as_json)


@models.command("show")
def models_show(
    name: Annotated[str, typer.Argument(help="A name, a reference to the Hub, or a file.")],
    as_json: flags.AsJson = False,
    registry: flags.Registry = None,
    debug: flags.Debug = False,
) -> None:
    """Show all that is known of one model, with the facts in its file where that is at hand."""
    from gantool import models as verb

    verb.show(name, registry, as_json)


@models.command("download")
def models_download(
    name: OneModel, offline: flags.Offline = False, registry: flags.Registry = None, debug: flags.Debug = False
) -> None:
    """Fetch a model from the Hub, check it, and print where it lies."""
    from gantool import models as verb

    verb.download(name, registry, offline)


@models.command("verify")
def models_verify(
    name: Annotated[str | None, typer.Argument(help="One model; without it all that are bundled or cached.")] = None,
    registry: flags.Registry = None,
    debug: flags.Debug = False,
) -> None:
    """Hash files anew and compare with what they should be; the status is 3 if one differs."""
    from gantool import models as verb

    verb.verify(name, registry)


@models.command("convert")
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


@models.command("interpolate")
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
