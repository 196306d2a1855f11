"""`gantool upscale` against the usual loop, interleaved in one run: python tests/benchmarks/upscale.py.

The usual loop is Real-ESRGAN's, told again: the whole picture as float, eager NCHW under no_grad, tiles of 400 with 10 pixels
of overlap, cv2.imwrite. Both sides have the same weights and picture and are
processes of their own; CPU seconds and peak memory are the operating system's.
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
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from gantool import images, tiling, weights
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


def our_parts(source: Path, target: Path, model: Path) -> dict[str, float]:
    """Upscale with gantool's functions; return the CPU seconds of network and encoder."""
    system = weights.load(str(model)).system
    picture = images.read(source)
    begin = time.process_time()
    result = tiling.run(
        system.upscale, picture.color, scale=system.scale, radius=system.radius, multiple=system.multiple, tile=None,
        device=torch.device("cpu"),
    )  # fmt: skip
    network = time.process_time() - begin
    begin = time.process_time()
    images.write(target, images.Picture(result))
    return {"network": network, "encoder": time.process_time() - begin}


SIDES = {"usual": usual_loop, "ours": our_parts}


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


def compare(name: str, model: Path, source: Path, folder: Path, repeats: int) -> None:
    """Print the ratios for one model."""
    here = [sys.executable, __file__, "--side"]
    outputs = {side: folder / f"{side}.png" for side in ("usual", "ours", "command")}
    command = [sys.executable, "-m", "gantool", "upscale", str(source), "-o", str(outputs["command"]), "-m", str(model)]
    runs: dict[str, list[dict[str, float]]] = {"usual": [], "ours": [], "command": []}
    rates = []
    for _ in range(repeats):
        for side in ("usual", "ours"):
            runs[side].append(measured([*here, side, str(source), str(outputs[side]), str(model)]))
        runs["command"].append(measured([*command, "--overwrite", "-q"]))
        rates.append(gemm_rate())
    check_outputs(outputs)

    def ratio(key: str, side: str) -> str:
        values = sorted(a[key] / b[key] for a, b in zip(runs["usual"], runs[side], strict=True))
        return f"{statistics.median(values):.2f}x ({values[0]:.2f} to {values[-1]:.2f})"

    height, width = images.read(source).color.shape[1:]
    flop = flop_per_pixel(model) * height * width
    reached = statistics.median(flop / run["network"] / rate for run, rate in zip(runs["ours"], rates, strict=True))
    usual = statistics.median(flop / run["network"] / rate for run, rate in zip(runs["usual"], rates, strict=True))
    print(f"{name}, {width}x{height} in, medians of {repeats} interleaved runs, usual loop / gantool:")
    print(f"  CPU time, whole process   {ratio('cpu', 'command')}")
    print(f"  CPU time, network         {ratio('network', 'ours')}")
    print(f"  CPU time, encoder         {ratio('encoder', 'ours')}")
    ours = statistics.median(run["mib"] for run in runs["command"])
    print(f"  peak memory               {ratio('mib', 'command')}, gantool {ours:.0f} MiB")
    gemm = statistics.median(rates) / 1e9
    print(f"  of the GEMM rate          {reached:.0%} (usual loop {usual:.0%}, GEMM {gemm:.0f} GFLOP/s)")
    sizes = {side: path.stat().st_size / 2**20 for side, path in outputs.items()}
    print(f"  size of the PNG           {sizes['command']:.1f} MiB (usual loop {sizes['usual']:.1f} MiB)", flush=True)


def check_outputs(outputs: dict[str, Path]) -> None:
    """Stop unless both of ours are equal and the usual loop's differs by no more than its short overlap explains."""
    ours, command, usual = (cv2.imread(str(outputs[side])).astype(np.int16) for side in ("ours", "command", "usual"))
    if not np.array_equal(ours, command):
        raise SystemExit("the command's result differs from the functions' result")
    difference = np.abs(ours - usual)
    print(f"  the results differ in {(difference > 0).mean():.2%} of values, by {difference.max()} levels at most")
    if (difference**2).mean() > 255**2 / 10**5:
        raise SystemExit("the two results are under 50 dB apart: not the same picture")


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
        for network in ("edsr-baseline", "span"):
            model = random_model(folder / f"{network}.safetensors", network)
            compare(network, model, folder / "in.png", folder, arguments.repeats)


if __name__ == "__main__":
    main()
