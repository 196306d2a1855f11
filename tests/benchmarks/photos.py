"""How well photos are enlarged four times, clean ones and such as people have.

    python tests/benchmarks/photos.py strengths DATA MODEL ... [--sheet SHEET.png]
    python tests/benchmarks/photos.py clean     DATA MODEL ... [--sheet SHEET.png]
    python tests/benchmarks/photos.py corrupted DATA MODEL ... [--sheet SHEET.png]

A model is whatever `gantool upscale -m` takes; bicubic interpolation comes first. DATA has the folders kodak24, set14, weights.
Printed are means over pictures, as tables of Markdown, with CPU seconds of all threads per million pixels of the results; a
sheet for each table, its case added to the file's name, has the middles of every third picture. Pictures are whole, in 8 bits:

`strengths`: kodak24 made small and worse in three ways (`CASES`: Gaussian blur, MATLAB's bicubic by 4, Gaussian noise, JPEG of
halved chroma, the noise by a seed for each picture, from the order of names). NIQE; feature distance (see `judging.py`); PSNR-Y
with 4 pixels shaved; colour shift, the mean CIE 1976 colour difference to the input when both are blurred by 8 or 32 pixels.
The row "original" tells what a perfect result would get: 8 pixels leave much of the noise that is to be removed.
`clean`: set14 by its files of MATLAB's bicubic; PSNR-Y as above, `bridge` in gray, and feature distance.
`corrupted`: kodak24 made small by MATLAB's bicubic, with noise or JPEG; PSNR, SSIM, feature distance.
With --self-ensemble each model also runs as one of eight, as "name+".
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil, nan
from pathlib import Path
from statistics import fmean

import cv2
import numpy as np
import torch
from judging import color_shift, feature_distance
from torch import Tensor

from gantool import engines, frozen, images, jobs
from gantool.degradations import add_noise, jpeg
from gantool.degradations.kernels import gaussian
from gantool.degradations.operations import array, blur, tensor
from gantool.engines import Settings
from gantool.enlarging import Enlarger
from gantool.errors import GantoolError
from gantool.evaluation.contestants import find_pairs
from gantool.images import Picture
from gantool.layers.resampling import imresize
from gantool.metrics import measure
from gantool.metrics.niqe import Pristine, niqe
from gantool.scales import Target

SCALE = 4
CROP = 192  # pixels a side, of a sheet's pieces
CAPTION = 24  # pixels
Measure = Callable[[Tensor, Tensor, Tensor], float]  # of a result, the input it was made of, and the original


@dataclass(frozen=True)
class Damage:
    """What is done to a photo besides making it small."""

    blur: float = 0.0  # sigma in pixels of the original
    noise: float = 0.0  # sigma in levels, of the small picture
    quality: int | None = None  # of JPEG, of the small picture; None leaves it out

    def of(self, original: Tensor, rng: np.random.Generator) -> Tensor:
        """Return a small picture (3, H / 4, W / 4) uint8 of an original (3, H, W) uint8."""
        image = original.float() / 255
        if self.blur:
            image = tensor(blur(array(image), gaussian(2 * ceil(4 * self.blur) + 1, (self.blur, self.blur))))
        small = add_noise(imresize(image[None], 1 / SCALE)[0], self.noise, rng)
        if self.quality is not None:
            small = jpeg(small, self.quality)
        return (small.clamp(0, 1) * 255).round().to(torch.uint8)


CASES = {
    "strengths": {"mild": Damage(1, 2, 85), "medium": Damage(2, 6, 60), "strong": Damage(3, 15, 35)},
    "clean": {"clean": Damage()},  # whose small pictures are files
    "corrupted": {"noise 8": Damage(noise=8), "JPEG 30": Damage(quality=30)},
}
COLUMNS = {
    "strengths": ("NIQE", "feature distance", "PSNR-Y", "shift 8", "shift 32"),
    "clean": ("PSNR-Y", "feature distance"),
    "corrupted": ("PSNR", "SSIM", "feature distance"),
}
DIGITS = {"feature distance": 4, "SSIM": 4}  # else 2
TIME = "s/Mpx"


@dataclass(frozen=True)
class Model:
    """A model, by itself or as its self-ensemble."""

    name: str
    enlarger: Enlarger

    @classmethod
    def load(cls, reference: str, ensemble: bool = False) -> Model:
        """Return a model that has run once, as the first time takes longer."""
        loaded = engines.load(reference, Settings(device="cpu", ensemble=ensemble))
        name = Path(reference).parent.name if Path(reference).name == "model.safetensors" else loaded.name
        model = cls(name + "+" * ensemble, Enlarger(loaded.engine, Target(SCALE)))
        model.enlarge(torch.zeros(3, 64, 64, dtype=torch.uint8))
        return model

    def enlarge(self, low: Tensor) -> tuple[Tensor, float]:
        """Return the larger picture, and CPU seconds per million of its pixels."""
        begin = time.process_time()
        result = jobs.make(Picture(low), self.enlarger, lambda share: None).color
        return result, (time.process_time() - begin) / (result.shape[1] * result.shape[2] / 1e6)


def measures(data: Path) -> dict[str, Measure]:
    """Return what columns have, by their names."""
    pristine = frozen.part("niqe", data / "weights/niqe/niqe_pris_params.npz").value
    assert isinstance(pristine, Pristine)
    network, _ = frozen.load("squeezenet", str(data / "weights/squeezenet/squeezenet1_1_features.safetensors"))

    def metric(name: str, border: int) -> Measure:
        return lambda result, low, original: measure(result, original, [name], border)[name]

    return {
        "NIQE": lambda result, low, original: niqe(result[None], pristine),
        "feature distance": lambda result, low, original: feature_distance(result, original, network),
        "PSNR-Y": metric("psnr-y", SCALE),
        "PSNR": metric("psnr", 0),
        "SSIM": metric("ssim", 0),
        "shift 8": lambda result, low, original: color_shift(result, low, 8),
        "shift 32": lambda result, low, original: color_shift(result, low, 32),
    }


def pictures(what: str, damage: Damage, data: Path) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield each small picture with its original."""
    if what == "clean":
        for pair in find_pairs(data / f"set14/lr_x{SCALE}", data / "set14/hr"):
            low, original = (images.read(path).color for path in (pair.result, pair.reference))
            yield low, original[:, : SCALE * low.shape[1], : SCALE * low.shape[2]]
    else:
        for number, path in enumerate(sorted((data / "kodak24").glob("*.png"))):
            original = images.read(path).color
            yield damage.of(original, np.random.default_rng(number)), original


def judge(
    models: Sequence[Model], chosen: Sequence[Measure], pairs: Iterator[tuple[Tensor, Tensor]]
) -> tuple[list[list[float]], list[Tensor]]:
    """Return the means of what is measured and of the seconds, for each model and the original, and the rows of a sheet."""
    values: list[list[list[float]]] = [[] for _ in range(len(models) + 1)]  # by model and picture
    rows = []
    for number, (low, original) in enumerate(pairs):
        results = [*(model.enlarge(low) for model in models), (original, nan)]
        for found, (result, seconds) in zip(values, results, strict=True):
            found.append([*(each(result, low, original) for each in chosen), seconds])
        if number % 3 == 0:
            rows.append(torch.cat([middle(result) for result, _ in results], 2))
    return [[fmean(column) for column in zip(*found, strict=True)] for found in values], rows


def middle(picture: Tensor) -> Tensor:
    """Return the middle of a picture, (3, CROP, CROP)."""
    top, left = ((side - CROP) // 2 for side in picture.shape[1:])
    return picture[:, top : top + CROP, left : left + CROP].expand(3, -1, -1)


def table(case: str, names: Sequence[str], columns: Sequence[str], means: Sequence[Sequence[float]]) -> str:
    """Return a table of Markdown."""
    lines = [[case, *columns], ["---"] * (len(columns) + 1)]
    for name, row in zip(names, means, strict=True):
        cells = [f"{value:.{DIGITS.get(column, 2)}f}" for column, value in zip(columns, row, strict=True)]
        lines.append([name, *(cell if cell not in ("inf", "nan") else "" for cell in cells)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def sheet(names: Sequence[str], rows: Sequence[Tensor]) -> Tensor:
    """Return rows of pieces under their captions."""
    caption = np.full((CAPTION, CROP * len(names)), 255, np.uint8)
    for number, name in enumerate(names):
        place = (CROP * number + 4, CAPTION - 8)
        cv2.putText(caption, name[:24], place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, 0, 1, cv2.LINE_AA)
    return torch.cat([torch.from_numpy(caption).expand(3, -1, -1), *rows], 1)


def main(command: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=tuple(CASES))
    parser.add_argument("data", type=Path)
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--self-ensemble", action="store_true")
    parser.add_argument("--sheet", type=Path)
    arguments = parser.parse_args(command)
    what, twice = arguments.what, (False, True) if arguments.self_ensemble else (False,)
    models = [Model.load("bicubic"), *(Model.load(name, ensemble) for name in arguments.models for ensemble in twice)]
    names, known = [*(model.name for model in models), "original"], measures(arguments.data)
    for case, damage in CASES[what].items():
        means, rows = judge(models, [known[name] for name in COLUMNS[what]], pictures(what, damage, arguments.data))
        shown = len(names) if what == "strengths" else len(models)  # elsewhere a perfect result needs no telling
        print(table(case, names[:shown], (*COLUMNS[what], TIME), means[:shown]), end="\n\n", flush=True)
        if arguments.sheet:
            target = arguments.sheet.with_stem(f"{arguments.sheet.stem}-{case.replace(' ', '-').lower()}")
            images.write(target, Picture(sheet(names, rows)))


if __name__ == "__main__":
    try:
        main()
    except GantoolError as error:
        sys.exit(str(error))
