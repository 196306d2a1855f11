"""How good upscalers are: PSNR-Y and SSIM-Y of every picture of Set14, beside bicubic interpolation and published figures.

    python tests/benchmarks/quality.py [MODEL ...] [--data FOLDER] [--device cpu]

A model is whatever `gantool upscale -m` takes. The folder has `hr/` and, for each scale, `lr_x2/`, ... of 8-bit files.
Protocol: low resolution by MATLAB's bicubic in 8 bits, results rounded to 8 bits, references cropped to a multiple of the
scale, as many pixels shaved on each side, luma BT.601 in 16 to 235, a gray picture is its own luma.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from gantool import systems, weights
from gantool.engines import upscaler
from gantool.errors import GantoolError
from gantool.evaluation.contestants import find_pairs
from gantool.images import read
from gantool.metrics import measure
from gantool.upscale import upscale

SET14 = Path(__file__).resolve().parents[3] / "shared/data/set14"
METRICS = ("psnr-y", "ssim-y")
PUBLISHED = {("span", 4): 28.66}  # mean PSNR-Y on Set14, of NTIRE 2024's SPAN with 48 channels


def scores(model: weights.Model, data: Path, device: str) -> dict[str, dict[str, float]]:
    """Return the metrics by picture of a model on the set of its own scale."""
    scale = upscaler(model).scale
    result = {}
    for pair in find_pairs(data / f"lr_x{scale}", data / "hr"):
        larger = upscale(read(pair.result), model, device=device).color
        reference = read(pair.reference).color[:, : larger.shape[1], : larger.shape[2]]
        result[pair.reference.stem] = measure(larger, reference, METRICS, scale)
    return result


def table(columns: dict[str, dict[str, dict[str, float]]]) -> str:
    """Return the lines of a table: a row a picture and their mean, two columns a model."""
    pictures = list(next(iter(columns.values())))
    rows = [("", *(name[-16:] for name in columns)), ("", *(f"{'psnr-y':>8}{'ssim-y':>8}" for _ in columns))]
    rows += [(name, *(cells(*column[name].values()) for column in columns.values())) for name in pictures]
    means = [[fmean(column[name][metric] for name in pictures) for metric in METRICS] for column in columns.values()]
    rows.append(("mean", *(cells(*mean) for mean in means)))
    return "\n".join(f"{name:12}" + "".join(f"{cell:>18}" for cell in row) for name, *row in rows)


def cells(psnr: float, ssim: float) -> str:
    return f"{psnr:8.3f}{ssim:8.4f}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["span-x2", "span-x3", "span-x4"], metavar="MODEL")
    parser.add_argument("--data", type=Path, default=SET14)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args(arguments)
    by_scale: dict[int, dict[str, weights.Model]] = {}
    for reference in options.models:
        model = weights.load(reference)
        by_scale.setdefault(upscaler(model).scale, {})[reference] = model
    for scale, asked in sorted(by_scale.items()):
        models = {"bicubic": weights.load(weights.choose("bicubic", scale)), **asked}
        columns = {name: scores(model, options.data, options.device) for name, model in models.items()}
        sys.stdout.write(f"\nx{scale}\n{table(columns)}\n")
        for name in {systems.name_of(model.system) for model in models.values()}:
            if (name, scale) in PUBLISHED:
                sys.stdout.write(f"published for {name} at x{scale}: {PUBLISHED[name, scale]:.2f}\n")


if __name__ == "__main__":
    try:
        main()
    except GantoolError as error:
        sys.exit(str(error))
