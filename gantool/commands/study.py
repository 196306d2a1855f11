"""Options of `gantool study`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from gantool import flags

app = typer.Typer(
    help="Ask people: pages of questions about pictures that need no server, and what the votes say.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("make")
def study_make(
    mode: Annotated[
        Literal["ab", "real-fake", "best-of-n", "mos"],
        typer.Argument(
            help="ab: which of two results is better; real-fake: which picture was real; best-of-n: which of up to 9 is best; "
            "mos: a score of 1 to 5 for each version of a picture."
        ),
    ],
    folders: Annotated[
        list[str],
        typer.Argument(
            metavar="FOLDER",
            help="Folders of results, as FOLDER or LABEL=FOLDER, paired by name; for real-fake the real pictures, then others.",
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The page to write, ending in .html.")],
    key: Annotated[
        Path | None, typer.Option(help="File for what raters must not know. Default: beside the page, ending in .key.json.")
    ] = None,
    inputs: Annotated[
        Path | None,
        typer.Option(
            help="Folder of what the results were made from, shown with them; for mos their nearest-neighbour enlargement is "
            "an example of 1, and scored too."
        ),
    ] = None,
    references: Annotated[
        Path | None,
        typer.Option(help="Folder of the originals, shown with the results; for mos an example of 5, and scored too."),
    ] = None,
    beside: Annotated[
        Literal["partner", "any", "none"] | None,
        typer.Option(
            help="What a generated picture is shown beside, for real-fake: the real one of its name, any real one of its size, "
            "or nothing. Default: partner."
        ),
    ] = None,
    exposure: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=60_000,
            metavar="MS",
            help="Milliseconds that each picture is shown; 0: until answered. Real-fake shows one after the other, with 0 side "
            "by side. Default: 1000 for real-fake, else 0.",
        ),
    ] = None,
    practice: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Pictures that come first and are not scored: questions with feedback for real-fake, 10 by default; "
            "examples for mos, one of each by default.",
        ),
    ] = None,
    checks: Annotated[
        int | None,
        typer.Option(
            min=0, max=1000, help="Attention checks, where noise is the wrong answer. Default: one in ten trials, at least 4."
        ),
    ] = None,
    pictures: Annotated[
        int | None, typer.Option(min=1, help="Score only so many pictures, drawn at random. Default: all.")
    ] = None,
    question: Annotated[
        str | None,
        typer.Option(
            help="What the page asks, such as 'Which face is happier?'; not for real-fake. It has to ask for the better one, "
            "as attention checks expect noise to lose: ab and best-of-n want --checks beside it, 0 for others. For mos the "
            "scale stays 1 bad to 5 excellent."
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of order and sides: same seed, same page. Default: drawn, and kept in the key.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace page and key where they exist.")] = False,
    debug: flags.Debug = False,
) -> None:
    """Write a page that asks people about pictures, and its key.

    The page is one file with all pictures in it, for any browser; it does not say which picture is whose. Raters save their
    votes to a file, which 'gantool study score' reads.
    """
    from gantool import study as verb

    verb.make(
        verb.Making(
            mode, tuple(folders), output, key, inputs, references, beside, exposure, practice, checks, pictures, question, seed,
            overwrite,
        )
    )  # fmt: skip


@app.command("score")
def study_score(
    votes: Annotated[list[Path], typer.Argument(help="Files that raters saved, one a rater.")],
    key: Annotated[Path, typer.Option(help="The study's key.")],
    csv: Annotated[Path | None, typer.Option(help="Write all numbers, unrounded, and each picture's to this file.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the --csv file where it exists.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON object a picture, then one with all numbers.")] = False,
    debug: flags.Debug = False,
) -> None:
    """Say what votes say: shares or mean scores with 95 % intervals, and how far raters agree.

    Raters who fail the attention checks are left out. The status is 1 if files were refused; the others are scored.
    """
    from gantool import study as verb

    verb.score(verb.Scoring(tuple(votes), key, csv, overwrite, json))
