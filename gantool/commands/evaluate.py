"""Options of `gantool evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from gantool import flags
from gantool.errors import UsageError, printable
from gantool.metrics import METRICS
from gantool.metrics.protocols import PROTOCOLS, recipe


def evaluate(
    results: Annotated[
        Path,
        typer.Argument(
            help="Folder of pictures to judge, or one picture. With -m and one folder only, that of the true pictures."
        ),
    ],
    references: Annotated[
        Path | None,
        typer.Argument(
            help="Folder of the true pictures, or one. Pairs go by name: "
            "a.png with a.png, a_x4.png, ax4.png, a_out.png, or a_MODEL.png where all results are of one model."
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(help=f"Comma-separated: {', '.join(METRICS)}. Default: those of the protocol, else psnr-y,ssim-y."),
    ] = None,
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
        typer.Option(
            help="Measure as published numbers were, and refuse what breaks the rules. "
            + "".join(f"{name}: {rules.words}. " for name, rules in PROTOCOLS.items())
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "-m", "--model", help="Make true pictures small, let this model enlarge them, and judge that; repeatable."
        ),
    ] = None,
    degradation: Annotated[
        str | None,
        typer.Option(
            help="How -m makes pictures small: bicubic (the default), noise8, jpeg30, blur1+noise2+jpeg85 and such, unknown, "
            "real-esrgan or bsrgan."
        ),
    ] = None,
    against: Annotated[
        list[Path] | None,
        typer.Option(help="Another folder of results, compared with the first picture by picture; repeatable."),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Score the same pictures under other papers' conventions of PSNR and SSIM too.")
    ] = False,
    weight: Annotated[
        list[str] | None,
        typer.Option(
            "--weights",
            metavar="NAME=FILE",
            help="A file for a network that a metric looks through, such as alexnet; repeatable.",
        ),
    ] = None,
    fid_variant: Annotated[
        Literal["legacy-pytorch", "legacy-tf", "clean"] | None,
        typer.Option(
            help="How pictures are resized for fid, kid and is, whose numbers compare within a variant only. "
            "Default: legacy-pytorch."
        ),
    ] = None,
    segmenter: Annotated[
        Path | None,
        typer.Option(
            metavar="NET.onnx", help="For seg: a network that tells the class of each place; NET.toml says its input."
        ),
    ] = None,
    palette: Annotated[
        str | None,
        typer.Option(help="For seg without a network: colours of classes, cityscapes or a file of name,r,g,b."),
    ] = None,
    classifier: Annotated[
        Path | None,
        typer.Option(
            metavar="NET.onnx", help="For accuracy: a network that tells what a picture shows; NET.toml says its input."
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="For accuracy: a file of name,label for each result, or a report of generate. Default: a folder per class."
        ),
    ] = None,
    ma: Annotated[Path | None, typer.Option(help="CSV file (name,ma) with the Ma score of each picture, for pi.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of noise that is added and of bootstrap samples.")] = 0,
    recursive: Annotated[
        bool, typer.Option("-r", "--recursive", help="Take sub-folders too; they have to be the same on both sides.")
    ] = False,
    csv: Annotated[Path | None, typer.Option(help="Write the numbers, unrounded, to this file.")] = None,
    html: Annotated[
        Path | None,
        typer.Option(help="Write one page with tables, plots, and the worst and best pictures beside the true ones."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the --csv and --html files where they exist.")
    ] = False,
    json: Annotated[
        bool,
        typer.Option("--json", help='Print a JSON object a picture, then one with mean and recipe; infinity is "inf".'),
    ] = False,
    max_pixels: flags.MaxPixels = 89_000_000,
    device: flags.Device = "auto",
    dtype: flags.Dtype = "auto",
    offline: flags.Offline = False,
    registry: flags.Registry = None,
    debug: flags.Debug = False,
) -> None:
    """Measure results against true pictures as the literature does; every number carries its recipe.

    Pictures of different sizes and files without a partner are refused, and so are transparent pictures.
    """
    chosen = recipe(metric, protocol, scale, crop_border)
    folders, true = ([], results) if model and references is None else ([results], references)
    from gantool import evaluate as verb
    from gantool.engines import Settings
    from gantool.evaluation.wholes import UserNetworks

    verb.run(
        verb.Options(
            recipe=chosen,
            results=(*folders, *(against or ())),
            references=true,
            models=tuple(model or ()),
            degradation=degradation,
            seed=seed,
            recursive=recursive,
            explain=explain,
            weights=_named_files(weight or ()),
            variant=fid_variant,
            networks=UserNetworks(segmenter=segmenter, classifier=classifier, labels=labels, palette=palette),
            ma=ma,
            reports=verb.Reports(csv=csv, html=html, overwrite=overwrite, as_json=json),
            max_pixels=max_pixels,
            settings=Settings(device=device, dtype=dtype, offline=offline, registry=registry),
        )
    )


def _named_files(texts: Sequence[str]) -> dict[str, Path]:
    """Return the files of options NAME=FILE by their names."""
    found: dict[str, Path] = {}
    for text in texts:
        name, equals, file = text.partition("=")
        if not equals or not name or not file or name in found:
            raise UsageError(f"--weights {printable(text)}: write NAME=FILE, such as alexnet=alexnet.pth, each name once")
        found[name] = Path(file)
    return found
