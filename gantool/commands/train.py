"""Options of `gantool train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from gantool import flags, systems


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
