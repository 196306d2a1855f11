"""Options that several commands have, with one spelling and one help each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import typer

from gantool.errors import UsageError

Device: TypeAlias = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
Dtype: TypeAlias = Annotated[str, typer.Option(help="Precision: auto, fp32, fp16 or bf16.")]
Offline: TypeAlias = Annotated[bool, typer.Option("--offline", help="Never ask the network; use what is bundled or cached.")]
Registry: TypeAlias = Annotated[
    Path | None, typer.Option(help="A weights.toml of your own, added to the shipped one.", envvar="GANTOOL_WEIGHTS")
]
Debug: TypeAlias = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON objects, one per line.")]
MaxPixels: TypeAlias = Annotated[
    int, typer.Option(min=1, help="Refuse larger pictures, which may be traps that fill the memory.")
]

# of verbs that make pictures of pictures
Inputs: TypeAlias = Annotated[
    list[str],
    typer.Argument(
        help="Pictures, folders, patterns such as '*.png', or @files.txt: a list of these, one in a line or as "
        "'find -print0' writes them. - is standard input."
    ),
]
Tile: TypeAlias = Annotated[
    str, typer.Option(metavar="auto|off|N", help="Side, in pixels, of the parts that are done one by one, to save memory.")
]
Halo: TypeAlias = Annotated[
    int | None, typer.Option(min=0, help="Pixels that a part sees around it. Default: all that matter, so no seam shows.")
]
Memory: TypeAlias = Annotated[
    str | None, typer.Option(metavar="AMOUNT", help="The most that the device may use, such as 800M or 6G.")
]
BitDepth: TypeAlias = Annotated[Literal["auto", "8", "16"], typer.Option(help="Of outputs; auto keeps that of the picture.")]
Background: TypeAlias = Annotated[
    str | None, typer.Option(metavar="COLOR", help="Put transparent pictures on this colour: white, '#ffcc00'.")
]
Strip: TypeAlias = Annotated[
    Literal["none", "gps", "all"], typer.Option(help="Leave out where it was taken, or all that the file says of it.")
]
Recursive: TypeAlias = Annotated[bool, typer.Option("-r", "--recursive", help="Take sub-folders too, and mirror them.")]
Shard: TypeAlias = Annotated[
    str | None, typer.Option(metavar="K/N", help="Do every N-th picture only, from the K-th on, as 3/8: for job arrays.")
]
DryRun: TypeAlias = Annotated[
    bool, typer.Option("--dry-run", help="Print outputs, their sizes and the expected time, then stop.")
]

# of verbs that make pictures
Form: TypeAlias = Annotated[
    Literal["auto", "png", "jpeg", "webp", "avif", "tiff"],
    typer.Option("--format", help="Of outputs; auto goes by a file's name, keeps TIFF, and else is PNG."),
]
Quality: TypeAlias = Annotated[
    int, typer.Option(min=1, max=100, help="Of JPEG, WebP and AVIF; JPEG has full colour resolution from 90 on.")
]
Overwrite: TypeAlias = Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")]
SkipExisting: TypeAlias = Annotated[bool, typer.Option("--skip-existing", help="Leave out pictures whose output exists.")]
FailFast: TypeAlias = Annotated[bool, typer.Option("--fail-fast", help="End with the first picture that fails.")]
Quiet: TypeAlias = Annotated[bool, typer.Option("-q", "--quiet", help="Print nothing but errors.")]
EachAsJson: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print a JSON object for each picture instead of its output's name.")
]
Report: TypeAlias = Annotated[Path | None, typer.Option(help="Add the JSON objects to this file, each as soon as it is known.")]


def existing(overwrite: bool, skip: bool) -> Literal["refuse", "overwrite", "skip"]:
    """Return what becomes of outputs that exist."""
    if overwrite and skip:
        raise UsageError("--overwrite and --skip-existing exclude one another: give one")
    return "overwrite" if overwrite else "skip" if skip else "refuse"
