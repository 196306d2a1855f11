"""`gantool upscale`: pictures in, larger pictures out."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from gantool import batch, devices, images, outputs, scales, systems, tiling, weights
from gantool.errors import InputError, OutOfMemory, UsageError, printable
from gantool.images import Format, Picture
from gantool.layers.resampling import imresize, output_size
from gantool.outputs import Item, Naming
from gantool.streaming import Network
from gantool.system import Upscaler
from gantool.transparency import bleed, keep_flat
from gantool.weights import Model

Tile: TypeAlias = int | Literal["auto", "off"]
_STRIP = 1 << 20  # pixels that are made smaller at a time


@dataclass(frozen=True)
class Options:
    """What the command line says; see its help."""

    inputs: tuple[str, ...]
    output: str | None = None
    model: str | None = None
    scale: float | None = None
    tile: str = "auto"
    halo: int | None = None
    device: str = "auto"
    dtype: str = "auto"
    form: Literal["auto", "png", "jpeg"] = "auto"
    quality: int = 95
    name: str | None = None
    recursive: bool = False
    existing: outputs.Existing = "refuse"
    max_pixels: int = images.MAX_PIXELS
    offline: bool = False
    registry: Path | None = None
    reporting: batch.Reporting = field(default_factory=batch.Reporting)


def run(options: Options) -> int:
    """Upscale what the options name, and return the exit status.

    Raises:
        GantoolError: nothing was done, or the run could not go on; a single input's errors are only reported.
    """
    tile = parse_tile(options.tile)
    sources = outputs.expand(options.inputs, options.recursive)
    root = outputs.output_folder(sources, options.output)
    form = _format(options, single=root is None)
    if options.output is not None and options.output != "-":
        outputs.check_writable(root or Path(options.output).parent)
    device = devices.choose_device(options.device)
    model = _load(options)
    job = _Job(options, model, _scale(options, model), form, tile, device, devices.choose_dtype(options.dtype, device))
    items = outputs.plan(sources, job.naming(), options.existing)
    if items[0].target is None and options.reporting.as_json:
        raise UsageError("--json and the picture would both go to standard output: use --report, or name a file with -o")
    devices.keep_freed_memory()
    return batch.run(items, job.work, options.reporting)


def _load(options: Options) -> Model:
    name = weights.choose(options.model, options.scale or scales.DEFAULT, options.registry)
    return weights.load(name, offline=options.offline, registry=options.registry)


def _scale(options: Options, model: Model) -> float:
    own = upscaler(model).scale
    scale = float(own) if options.scale is None else options.scale
    scales.check(scale, own, model.name)
    return scale


@dataclass(frozen=True)
class _Job:
    """What is done to each picture."""

    options: Options
    model: Model
    scale: float
    form: Format
    tile: Tile
    device: torch.device
    dtype: torch.dtype

    def naming(self) -> Naming:
        """Return how outputs are called."""
        fields = {"scale": f"{self.scale:g}", "model": self.model.name}
        extension = ".png" if self.form == "png" else ".jpg"
        return Naming(self.options.output, "{stem}_x{scale}", self.options.name, fields, extension)

    def work(self, item: Item, advance: batch.Advance) -> batch.Facts:
        """Make one picture larger, from file to file."""
        picture = _read(item, self.options.max_pixels)
        try:
            result = self._enlarge(picture, advance)
        except InputError as error:
            raise type(error)(f"{batch.name(item.source)}: {error}") from error
        if item.target is None:
            batch.emit_bytes(images.encode(result, self.form, self.options.quality))
        else:
            images.write(item.target, result, self.form, self.options.quality)
        _, height, width = result.color.shape
        return {"model": self.model.name, "scale": self.scale, "width": width, "height": height}

    def _enlarge(self, picture: Picture, advance: batch.Advance) -> Picture:
        side = output_size(max(picture.color.shape[1:]), self.scale)
        images.check_fits(self.form, side, picture.alpha is not None)
        return upscale(
            picture,
            self.model,
            self.scale,
            tile=self.tile,
            halo=self.options.halo,
            device=self.device,
            dtype=self.dtype,
            advance=advance,
        )


def parse_tile(text: str) -> Tile:
    """Return what `--tile` says.

    Raises:
        UsageError: neither auto, off nor a number above 0.
    """
    named: dict[str, Tile] = {"auto": "auto", "off": "off"}
    if text in named:
        return named[text]
    if not text.isdecimal() or int(text) == 0:
        raise UsageError(f"--tile {printable(text)} is not possible: use auto, off or a number of pixels")
    return int(text)


def _format(options: Options, single: bool) -> Format:
    """Return the format of outputs: what --format says, or the name of the one output, or PNG."""
    if not single or options.output in (None, "-"):
        return "png" if options.form == "auto" else options.form
    path = Path(str(options.output))
    by_name = images.FORMATS.get(path.suffix.lower())
    if by_name is None and options.form == "auto":
        known = " ".join(sorted(images.EXTENSIONS))
        raise UsageError(f"{printable(path)} has no extension of a picture: use {known}, or end a folder's name with /")
    if by_name and options.form not in ("auto", by_name):
        raise UsageError(f"{printable(path)} and --format {options.form} say different things: leave one out")
    return by_name if options.form == "auto" and by_name else "jpeg" if options.form == "jpeg" else "png"


def _read(item: Item, max_pixels: int) -> Picture:
    if item.source is not None:
        return images.read(item.source, max_pixels)
    data = sys.stdin.buffer.read(images.MAX_BYTES + 1)
    if not data or len(data) > images.MAX_BYTES:
        raise InputError(f"standard input has {'too much' if data else 'nothing'} in it: give it one picture")
    return images.decode(BytesIO(data), "standard input", max_pixels)


def upscaler(model: Model) -> Upscaler:
    """Return a model's system, if it can upscale.

    Raises:
        UsageError: it cannot.
    """
    if not isinstance(model.system, Upscaler):
        others = ", ".join(systems.names("super_resolution"))
        raise UsageError(f"{printable(model.name)} is of {systems.name_of(model.system)}, which does not upscale: use {others}")
    return model.system


def upscale(
    picture: Picture,
    model: Model,
    scale: float | None = None,
    *,
    tile: Tile = "auto",
    halo: int | None = None,
    device: torch.device | str = "auto",
    dtype: torch.dtype | str = "auto",
    advance: Callable[[float], None] = lambda share: None,
) -> Picture:
    """Return a larger picture.

    Gray stays gray and transparency stays. Alpha goes through the network as a gray picture does: as three equal channels,
    of whose results the mean is taken, as none of them knows more of gray than the others.

    Args:
        picture: 8-bit gray or RGB; not changed.
        model: from `gantool.load`; moved to the device.
        scale: output side / input side, the model's own if None. Sides become max(1, floor(scale * side + 0.5)).
        tile: side of tiles in pixels of the input, off for the whole picture at once.
        halo: pixels around a tile that the network sees, if not as many as it needs; with fewer, seams may show.
        device: where to compute.
        dtype: what to compute in.
        advance: gets the share of the work that each step has done.

    Raises:
        UsageError: the model does not reach the scale, or is nothing that upscales.
        OutOfMemory: the result is too large.
        InputError: the network gave values that are not finite.
    """
    system = upscaler(model)
    scale = float(system.scale) if scale is None else scale
    scales.check(scale, system.scale, model.name)
    enlarger = _Enlarger(model, system, scale, tile, halo, _device(device), dtype)
    _, height, width = picture.color.shape
    enlarger.check_memory(height, width)
    alpha = picture.alpha
    if alpha is None or alpha.min() == alpha.max():
        flat = None if alpha is None else alpha.new_full((1, *enlarger.size(height, width)), int(alpha.max()))
        return Picture(enlarger.enlarge(picture.color, advance), flat, picture.icc)
    color = enlarger.enlarge(bleed(picture.color, alpha), lambda share: advance(share / 2))
    larger = enlarger.enlarge(alpha, lambda share: advance(share / 2))
    return Picture(color, keep_flat(alpha, larger), picture.icc)


def _device(device: torch.device | str) -> torch.device:
    return devices.choose_device(device) if isinstance(device, str) else device


@dataclass(frozen=True)
class _Gray:
    """An upscaler for one channel, made of one for three."""

    system: Upscaler
    thirds: Tensor = field(compare=False)  # as a convolution, (1, 3, 1, 1)

    def __call__(self, gray: Tensor) -> Tensor:
        """Return (1, 1, scale H, scale W) for (1, 1, H, W)."""
        return F.conv2d(self.system.upscale(torch.cat([gray, gray, gray], 1)), self.thirds)


class _Enlarger:
    """A model in its place, with all that was asked for."""

    def __init__(
        self,
        model: Model,
        system: Upscaler,
        scale: float,
        tile: Tile,
        halo: int | None,
        device: torch.device,
        dtype: torch.dtype | str,
    ) -> None:
        self.system, self.scale, self.device = system, scale, device
        self.dtype = devices.choose_dtype(dtype, device) if isinstance(dtype, str) else dtype
        if self.dtype == torch.float16 and not model.system.half_safe:
            raise UsageError(f"{printable(model.name)} is not sound in fp16: use --dtype bf16 or fp32")
        self.tile = {"auto": None, "off": 0}[tile] if isinstance(tile, str) else tile
        self.radius = system.radius if halo is None else halo
        if self.tile and self.radius is None:
            raise UsageError(f"{printable(model.name)} looks at whole pictures: with --tile, give the --halo it is to do with")
        devices.channels_last(model.system.to(device, self.dtype))
        self.passes = scales.passes(scale, system.scale)

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Return the size of the result for a picture's."""
        return output_size(height, self.scale), output_size(width, self.scale)

    def check_memory(self, height: int, width: int) -> None:
        """Refuse what would not fit into memory before it is computed: the system might end the process without a word."""
        largest = height * width * self.system.scale ** (2 * self.passes)
        need, free = 8 * largest, devices.free_memory()  # bytes: the result, its copy in the codec, the file
        if free is not None and need > free:
            rows, columns = self.size(height, width)
            raise OutOfMemory(
                f"{columns}x{rows} pixels would take {need / 2**30:.1f} GB of memory, {free / 2**30:.1f} are free: "
                "use a smaller --scale, or crop it"
            )

    def enlarge(self, image: Tensor, advance: Callable[[float], None]) -> Tensor:
        """Return (C, *size) uint8 for an image (C, H, W) uint8 of 1 or 3 channels."""
        size = self.size(*image.shape[1:])
        network: Network = self.system.upscale
        if image.shape[0] == 1:
            network = _Gray(self.system, torch.full((1, 3, 1, 1), 1 / 3, device=self.device, dtype=self.dtype))
        pixels = [image.shape[1] * image.shape[2] * self.system.scale ** (2 * k) for k in range(self.passes)]
        for _ in pixels:
            image = tiling.run(
                network,
                image,
                scale=self.system.scale,
                radius=self.radius,
                multiple=self.system.multiple,
                tile=self.tile,
                device=self.device,
                dtype=self.dtype,
                notify=lambda done: advance(done / sum(pixels)),
            )
        return shrink(image, self.scale / self.system.scale**self.passes, size)


def shrink(image: Tensor, scale: float, size: tuple[int, int]) -> Tensor:
    """Make an image smaller as MATLAB does, in strips, so that only they are ever held as floating point.

    Args:
        image: (C, H, W) uint8.
        scale: output side / input side, at most 1.
        size: of the result.

    Returns:
        (C, *size) uint8: what `imresize` gives for the whole image.
    """
    for axis in (1, 2):  # 8-bit images are rounded between the axes, so that these may go one by one
        if image.shape[axis] == size[axis - 1] and scale == 1:
            continue
        across = 3 - axis
        step = max(1, _STRIP // image.shape[axis])
        factors = (scale, 1.0) if axis == 1 else (1.0, scale)
        strips = []
        for strip in torch.split(image, step, across):
            sides = (size[0], strip.shape[2]) if axis == 1 else (strip.shape[1], size[1])
            strips.append(imresize(strip[None], factors, sides)[0])
        image = torch.cat(strips, across)
    return image
