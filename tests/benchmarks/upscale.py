"""`gantool upscale` against the usual loop, interleaved in one run: python tests/benchmarks/upscale.py.

The usual loop is Real-ESRGAN's, told again: the whole picture as float, eager NCHW under no_grad, tiles of 400 with 10 pixels
of overlap, cv2.imwrite. All sides have the same weights and picture and are processes of their own; CPU seconds and peak
memory are the operating system's. OpenVINO is measured where it is installed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from gantool import engines, images, machine, tiling, weights
from gantool.layers.resampling import imresize
from gantool.systems.super_resolution import edsr, span

PICTURE = Path(__file__).parents[1] / "data" / "parrots.png"
GEMM_SIDE = 2048


# --- the two sides, each run in a process of its own -------------------------------------------------------------------


def usual_loop(source: Path, target: Path, model: Path) -> dict[str, float]:
    """Upscale the usual way; return the CPU seconds of network and encoder."""
    system = weights.load(str(model)).system
    picture = cv2.imread(str(source)).astype(np.float32) / 255
    image = torch.from_numpy(np.transpose(picture[:, :, ::-1], (2, 0, 1)).copy())[None]
    begin = time.process_time()
    result = usual_tiles(system.upscale, image, system.scale)
    network = time.process_time() - begin
    array = np.transpose(result[0].clamp_(0, 1).numpy()[::-1], (1, 2, 0))
    begin = time.process_time()
    cv2.imwrite(str(target), (array * 255.0).round().astype(np.uint8))
    return {"network": network, "encoder": time.process_time() - begin}


@torch.no_grad()
def usual_tiles(network: Callable[[Tensor], Tensor], image: Tensor, scale: int, tile: int = 400, pad: int = 10) -> Tensor:
    """Return the whole result as float, tile by tile with a fixed overlap."""
    _, channels, height, width = image.shape
    result = image.new_zeros(1, channels, height * scale, width * scale)
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            bottom, right = min(top + tile, height), min(left + tile, width)
            y, x = max(top - pad, 0), max(left - pad, 0)
            part = network(image[:, :, y : min(bottom + pad, height), x : min(right + pad, width)])
            inner = part[:, :, (top - y) * scale :, (left - x) * scale :]
            inner = inner[:, :, : (bottom - top) * scale, : (right - left) * scale]
            result[:, :, top * scale : bottom * scale, left * scale : right * scale] = inner
    return result


def our_parts(source: Path, target: Path, model: Path, backend: engines.Backend) -> dict[str, float]:
    """Upscale with gantool's functions; return the CPU seconds of network and encoder, and of all up to the first rows."""
    machine.keep_freed_memory()
    engine = engines.load(str(model), engines.Settings(backend)).engine
    with images.open_picture(source, str(source), images.MAX_PIXELS) as reader:
        page = reader.pages[0]
        rows = list(reader.bands())
    engine.nature(page.channels)
    begin = time.process_time()
    bands = tiling.run(engine, iter(rows), (page.height, page.width, page.channels))
    result = [next(bands)]
    first = time.process_time()
    result += bands
    network = time.process_time() - begin
    begin = time.process_time()
    larger = replace(page, width=page.width * engine.scale, height=page.height * engine.scale)
    with images.create(target, "png", [larger], images.Metadata(), 95) as writer:
        for band in result:
            writer.write(band)
    return {"network": network, "encoder": time.process_time() - begin, "first": first}


SIDES: dict[str, Callable[[Path, Path, Path], dict[str, float]]] = {
    "usual": usual_loop,
    "torch": partial(our_parts, backend="torch"),
    "openvino": partial(our_parts, backend="openvino"),
}


# --- measuring -------------------------------------------------------------------------------------------------------


def measured(command: list[str]) -> dict[str, float]:
    """Run a command; return its CPU seconds, peak resident MiB and whatever JSON it printed last."""
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(command, stdout=out)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
        out.seek(0)
        line = (out.read().strip().splitlines() or ["{}"])[-1]
    printed = json.loads(line) if line.startswith("{") else {}
    return {"cpu": usage.ru_utime + usage.ru_stime, "mib": usage.ru_maxrss / 1024, **printed}


def gemm_rate() -> float:
    """Return the float32 matrix product's FLOP per CPU second on one thread."""
    a, b = torch.rand(2, GEMM_SIDE, GEMM_SIDE)
    torch.set_num_threads(1)
    a @ b
    begin = time.process_time()
    for _ in range(4):
        a @ b
    return 4 * 2 * GEMM_SIDE**3 / (time.process_time() - begin)


def flop_per_pixel(model: Path) -> float:
    """Return a network's FLOP per input pixel."""
    system = weights.load(str(model)).system
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        system.upscale(torch.zeros(1, 3, 64, 64))
    return counter.get_total_flops() / 64**2


def compare(name: str, model: Path, source: Path, folder: Path, repeats: int, backends: Sequence[str]) -> None:
    """Print the ratios for one model."""
    here = [sys.executable, __file__, "--side"]
    runs: dict[str, list[dict[str, float]]] = defaultdict(list)
    rates = []
    for _ in range(repeats):
        for side in ("usual", *backends):
            output = folder / f"{side}.png"
            runs[side].append(measured([*here, side, str(source), str(output), str(model)]))
            if side != "usual":
                runs[f"{side} command"].append(measured(command(source, folder / f"{side} command.png", model, side)))
        rates.append(gemm_rate())
    with images.open_picture(source, str(source), images.MAX_PIXELS) as reader:
        page = reader.pages[0]
    flop = flop_per_pixel(model) * page.height * page.width
    gemm = statistics.median(rates)
    print(f"{name}, {page.width}x{page.height} in, medians of {repeats} interleaved runs, GEMM {gemm / 1e9:.0f} GFLOP/s:")
    print(f"  the usual loop reaches {reached(flop, runs['usual'], rates)} of the GEMM rate")
    for backend in backends:
        check_outputs(folder, backend)
        ours = runs[f"{backend} command"]
        megapixels = page.width * page.height * 16 / 1e6
        encoder = statistics.median(run["encoder"] for run in runs[backend]) / megapixels
        sizes = [(folder / f"{side}.png").stat().st_size for side in (f"{backend} command", "usual")]
        print(f"  usual loop / gantool on {backend}:")
        print(f"    CPU time, whole process   {ratio('cpu', runs['usual'], ours)}")
        print(f"    CPU time, network         {ratio('network', runs['usual'], runs[backend])}")
        print(f"    CPU time, encoder         {ratio('encoder', runs['usual'], runs[backend])}, {1000 * encoder:.0f} ms/MP")
        print(f"    peak memory               {ratio('mib', runs['usual'], ours)}, {median('mib', ours):.0f} MiB")
        print(f"    of the GEMM rate          {reached(flop, runs[backend], rates)}")
        print(f"    CPU time to first rows    {median('first', runs[backend]):.1f} s")
        print(f"    size of the PNG           {sizes[0] / sizes[1]:.2f} of the usual loop's", flush=True)


def command(source: Path, target: Path, model: Path | str, backend: str) -> list[str]:
    """Return a call of gantool."""
    options = ["-o", str(target), "-m", str(model), "--backend", backend, "--overwrite", "-q"]
    return [sys.executable, "-m", "gantool", "upscale", str(source), *options]


def median(key: str, runs: Sequence[Mapping[str, float]]) -> float:
    """Return the median of one figure."""
    return statistics.median(run[key] for run in runs)


def ratio(key: str, usual: Sequence[Mapping[str, float]], ours: Sequence[Mapping[str, float]]) -> str:
    """Return the median of the ratios of each round, and their spread."""
    values = sorted(a[key] / b[key] for a, b in zip(usual, ours, strict=True))
    return f"{statistics.median(values):.2f}x ({values[0]:.2f} to {values[-1]:.2f})"


def reached(flop: float, runs: Sequence[Mapping[str, float]], rates: Sequence[float]) -> str:
    """Return what part of the matrix product's rate a network reaches."""
    return f"{statistics.median(flop / run['network'] / rate for run, rate in zip(runs, rates, strict=True)):.0%}"


def check_outputs(folder: Path, backend: str) -> None:
    """Stop unless both of ours are equal and the usual loop's differs by no more than its short overlap explains."""
    names = (backend, f"{backend} command", "usual")
    ours, whole, usual = (cv2.imread(str(folder / f"{name}.png")).astype(np.int16) for name in names)
    if not np.array_equal(ours, whole):
        raise SystemExit("the command's result differs from the functions' result")
    difference = np.abs(ours - usual)
    print(f"  {backend}: differs from the usual loop in {(difference > 0).mean():.2%} of values, by at most {difference.max()}")
    if (difference**2).mean() > 255**2 / 10**5:
        raise SystemExit("the two results are under 50 dB apart: not the same picture")


def compare_memory(folder: Path, side: int = 1768) -> None:
    """Print the peak memory of both for a result of 50 megapixels from a network without weights, where only pictures count."""
    source = folder / "large.png"
    large = imresize(images.read(PICTURE).color[None], (side / 128, side / 192), (side, side))[0]
    images.write(source, images.Picture(large))
    usual = measured([sys.executable, __file__, "--side", "usual", str(source), str(folder / "usual.png"), "bicubic-x4"])
    ours = measured(command(source, folder / "ours.png", "bicubic-x4", "torch"))
    share = ours["mib"] / usual["mib"]
    size = f"{4 * side}x{4 * side}"
    print(f"bicubic, {size} out: peak {ours['mib']:.0f} MiB, {share:.2f} of the usual loop's {usual['mib']:.0f} MiB")


def random_model(path: Path, name: str) -> Path:
    """Write a network with random weights: for time and memory, their values do not matter."""
    torch.manual_seed(0)
    system = edsr.EDSR(edsr.Config(scale=4)) if name == "edsr-baseline" else span.SPAN(span.Config(reparameterized=False))
    weights.save(path, system.eval(), step=0, metrics={}, average=False, title=f"{name} with random weights")
    return path


def main() -> None:
    """Compare on EDSR-baseline and SPAN."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", choices=SIDES)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--zoom", type=float, default=6.5, help="side of the input over that of the test picture")
    parser.add_argument("paths", nargs="*", type=Path)
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps(SIDES[arguments.side](*arguments.paths)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        large = imresize(images.read(PICTURE).color[None], arguments.zoom)[0]
        images.write(folder / "in.png", images.Picture(large))
        backends = ["torch", "openvino"] if find_spec("openvino") else ["torch"]
        for network in ("edsr-baseline", "span"):
            model = random_model(folder / f"{network}.safetensors", network)
            compare(network, model, folder / "in.png", folder, arguments.repeats, backends)
        compare_memory(folder)


if __name__ == "__main__":
    main()
