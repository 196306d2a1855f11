"""Networks on torch: layout, precision, rounding, memory, whatever the device."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial
from math import ceil
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.overrides import TorchFunctionMode

from gantool import devices, machine
from gantool.backends import Nature
from gantool.backends.layerwise import Layerwise
from gantool.backends.layerwise.setting import Setting
from gantool.backends.streaming import Network, Stream, trial
from gantool.bands import Band, Bands
from gantool.errors import InputError, say
from gantool.system import System, Translator, Upscaler

_CPU = torch.device("cpu")
_BAND = 8  # rows that the rest of a passage comes in
_NOT_FINITE = "the network's result is not finite: use another model"


class TorchEngine:
    """A network on a device; see `gantool.backends.Engine`.

    Args:
        network: from (1, 3, h, w) in [0, 1] to (1, 3, scale h, scale w), on `device` and in float32.
        scale: output side / input side.
        radius: farthest input pixel that an output pixel depends on; None: all of the picture.
        multiple: what both sides of the network's input must be a multiple of.
        device: where the network is. Pictures stay in main memory.
        halved: the network in half precision; what it gives is done again in float32 where it is not finite.
        dtype: of `halved`, or float32 if there is none.
        memory: bytes that may be used in all; None lets the device decide.
    """

    def __init__(
        self,
        network: Network,
        *,
        scale: int,
        radius: int | None,
        multiple: int = 1,
        device: torch.device = _CPU,
        halved: Network | None = None,
        dtype: torch.dtype = torch.float32,
        memory: int | None = None,
    ) -> None:
        self.scale, self.radius, self.multiple, self.device, self.dtype = scale, radius, multiple, device, dtype
        self._networks = {torch.float32: network, **({} if halved is None else {dtype: halved})}
        self._memory = memory
        self.workers = machine.usable_cores() if device.type == "cpu" else 2 if device.type == "cuda" else 1
        self.nature = cache(self._study)  # once for gray, once for colour
        self._layerwise = cache(self._divided)  # likewise
        self._redone = False  # something was done again in float32

    def _network(self, channels: int, dtype: torch.dtype) -> Network:
        network = self._networks[dtype]
        if channels == 3:
            return network
        return _Gray(network, torch.full((1, 3, 1, 1), 1 / 3, device=self.device, dtype=dtype))

    @torch.inference_mode()
    def run(self, window: Band, rows: slice, columns: slice) -> Band:
        """See `Engine`. 16 bits are more than half precision has."""
        dtype = self.dtype if window.dtype == np.uint8 else torch.float32
        try:
            return self._run(window, rows, columns, dtype)
        except _NotFinite:
            if dtype == torch.float32:
                raise InputError(_NOT_FINITE) from None
        if not self._redone:
            say("a result in half precision is not finite: such parts are done again in float32")
            self._redone = True
        try:
            return self._run(window, rows, columns, torch.float32)
        except _NotFinite:
            raise InputError(_NOT_FINITE) from None

    def _run(self, window: Band, rows: slice, columns: slice, dtype: torch.dtype) -> Band:
        network = self._network(window.shape[2], dtype)
        values = network(_to_tensor(window, self.device, dtype))
        return _to_levels(values[:, :, rows, columns], window.dtype)

    def holds(self, size: tuple[int, int, int]) -> bool:
        """See `Engine`."""
        height, width, channels = size
        free = self._free_memory()
        # a quarter more: norms copy their maps where the trial does not see it
        return free is None or 1.25 * height * width * self.nature(channels).bytes_per_pixel <= free

    def _free_memory(self) -> int | None:
        on_cpu = self.device.type == "cpu"
        if self._memory is not None:
            return self._memory - (machine.resident_memory() if on_cpu else 0)
        if self.device.type == "cuda":
            return int(torch.cuda.mem_get_info(self.device)[0])
        return machine.free_memory() if on_cpu else None

    def layerwise(self, bands: Bands, size: tuple[int, int, int], tile: int | None, notify: Callable[[float], None]) -> Bands:
        """See `Engine`. In float32 always: what does not stay finite in half precision would show after many passes."""
        return self._layerwise(size[2]).run(bands, size[:2], tile, notify)

    def _divided(self, channels: int) -> Layerwise:
        to_tensor = partial(_to_tensor, device=self.device, dtype=torch.float32)
        network = self._network(channels, torch.float32)
        return Layerwise(Setting(self, network, self.device, channels, to_tensor, _finite_levels))

    def passage(self, start: int, columns: slice) -> _Passage:
        """See `Engine`."""
        return _Passage(lambda channels: self._network(channels, torch.float32), start, columns)

    def _study(self, channels: int) -> Nature:
        """Find the network's nature by a trial on a small image."""
        network, side = self._network(channels, self.dtype), ceil(32 / self.multiple) * self.multiple
        image = torch.rand(1, channels, side, side, generator=torch.Generator().manual_seed(0)).to(self.device, self.dtype)
        with torch.inference_mode(), _Meter() as meter:
            expected = network(image.contiguous(memory_format=torch.channels_last))
            on_cpu = self.device.type == "cpu" and self.dtype == torch.float32
            seen = trial(network, image, expected) if on_cpu else None
        held = seen.held if seen is not None and self.radius is not None and seen.radius <= self.radius else None
        # a quarter more for what operations need inside
        return Nature(1.25 * meter.peak / side**2, held, self._window_memory(held is not None), 1024)

    def _window_memory(self, streams: bool) -> int:
        usual = devices.tile_memory(self.device)
        if self.device.type == "cpu" and not streams:  # a small window is mostly halo: EDSR took 5 times as long with 32 MiB
            usual = max(usual, min(1 << 30, (machine.free_memory() or 0) // (4 * self.workers)))
        if self._memory is None:
            return usual
        taken = machine.resident_memory() if self.device.type == "cpu" else 0
        return max(1 << 20, min(usual, (self._memory - taken) // (2 * self.workers)))

    @contextmanager
    def session(self) -> Iterator[None]:
        """See `Engine`."""
        threads = torch.get_num_threads()
        try:
            yield
        finally:
            torch.set_num_threads(threads)

    def enter_thread(self, threads: int) -> None:
        """See `Engine`. At every layer several threads wait for one another, at full power: windows have one each."""
        torch.set_num_threads(threads)
        if self.device.type == "cuda":  # so that one window's transfers go on beside another's computing
            torch.cuda.set_stream(torch.cuda.Stream(self.device))  # type: ignore[no-untyped-call]

    def is_out_of_memory(self, error: Exception) -> bool:
        """See `Engine`."""
        found = machine.is_out_of_memory(error)
        if found and self.device.type == "cuda":
            torch.cuda.empty_cache()
        return found


def for_upscaling(
    system: System, device: torch.device, dtype: torch.dtype, *, halo: int | None, memory: int | None, ensemble: bool
) -> TorchEngine:
    """Return an engine for a system.

    Args:
        system: an `Upscaler` in evaluation mode and float32; moved to the device.
        device: where to compute.
        dtype: what to compute in.
        halo: instead of the system's own radius; with a smaller one seams may show.
        memory: bytes that may be used in all.
        ensemble: mean over the eight turns and reflections of the input (Lim et al., EDSR, CVPRW 2017, section 3.4).
    """

    def network(placed: System) -> Network:
        upscale = cast(Upscaler, placed).upscale
        return Ensemble(upscale) if ensemble else upscale

    return _engine(system, network, cast(Upscaler, system).scale, device, dtype, halo, memory)


def for_translating(
    system: System, target: Tensor | None, device: torch.device, dtype: torch.dtype, *, halo: int | None, memory: int | None
) -> TorchEngine:
    """Return an engine for a system.

    Args:
        system: a `Translator` in evaluation mode and float32; moved to the device.
        target: what it is to translate to.
        device: where to compute.
        dtype: what to compute in.
        halo: instead of the system's own radius; with a smaller one seams may show.
        memory: bytes that may be used in all.
    """

    def network(placed: System) -> Network:
        goal = None if target is None else target.to(device, placed.progress.dtype)
        return partial(cast(Translator, placed).translate, target=goal)

    return _engine(system, network, 1, device, dtype, halo, memory)


def _engine(
    system: System,
    network: Callable[[System], Network],
    scale: int,
    device: torch.device,
    dtype: torch.dtype,
    halo: int | None,
    memory: int | None,
) -> TorchEngine:
    """Return an engine for what a system does; in half precision, a copy of the system does it first."""
    halved = None if dtype == torch.float32 else network(devices.channels_last(copy.deepcopy(system).to(device, dtype)))
    return TorchEngine(
        network(devices.channels_last(system.to(device, torch.float32))),
        scale=scale,
        radius=system.radius if halo is None else halo,
        multiple=system.multiple,
        device=device,
        halved=halved,
        dtype=dtype,
        memory=memory,
    )


class Ensemble:
    """The mean over the eight turns and reflections of the input, each undone on the result."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def __call__(self, image: Tensor) -> Tensor:
        """Return (1, C, scale H, scale W) for (1, C, H, W)."""
        results = []
        for turns in range(4):
            for mirrored in (False, True):
                turned = torch.rot90(image.flip(3) if mirrored else image, turns, (2, 3))
                result = torch.rot90(self._network(turned.contiguous(memory_format=torch.channels_last)), -turns, (2, 3))
                results.append(result.flip(3) if mirrored else result)
        return torch.stack(results).float().mean(0)


class _NotFinite(Exception):  # noqa: N818
    """A result has a value that is not finite."""


def _to_tensor(window: Band, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return (1, C, h, w) in [0, 1] for (h, w, C) levels; channels stay innermost."""
    window = np.require(window, requirements=["C", "W"])  # torch warns of what must not be written to, as decoders may give it
    levels = torch.from_numpy(window)
    if device.type == "cuda":
        levels = levels.pin_memory()
    levels = levels.to(device, non_blocking=True).permute(2, 0, 1)[None]
    return levels.to(dtype, memory_format=torch.channels_last) / np.iinfo(window.dtype).max


def _to_levels(values: Tensor, levels: np.dtype[np.uint8 | np.uint16]) -> Band:
    """Return (h, w, C) levels for (1, C, h, w) in [0, 1], clamped and rounded half up."""
    values = values[0].permute(1, 2, 0).float()
    if not values.sum().isfinite():
        raise _NotFinite
    top = np.iinfo(levels).max
    rounded = (values * top).add_(0.5).clamp_(0, top)
    return rounded.to(torch.uint8 if top == 255 else torch.uint16).contiguous().cpu().numpy()


def _finite_levels(values: Tensor, levels: np.dtype[np.uint8 | np.uint16]) -> Band:
    try:
        return _to_levels(values, levels)
    except _NotFinite:
        raise InputError(_NOT_FINITE) from None


class _Gray:
    """A network for one channel, made of one for three: given them equal, no one of its results knows more than the others."""

    def __init__(self, network: Network, thirds: Tensor) -> None:
        self._network, self._thirds = network, thirds  # the mean as a convolution, (1, 3, 1, 1)

    def __call__(self, gray: Tensor) -> Tensor:
        """Return (1, 1, scale H, scale W) for (1, 1, H, W)."""
        return F.conv2d(self._network(torch.cat([gray, gray, gray], 1)), self._thirds)


class _Passage:
    """See `gantool.backends.Passage`."""

    def __init__(self, network: Callable[[int], Network], start: int, columns: slice) -> None:
        self._network, self._start, self._columns = network, start, columns
        self._stream: Stream | None = None
        self._last: Band | None = None

    @torch.inference_mode()
    def push(self, band: Band) -> tuple[int, Band]:
        """See `Passage`."""
        if self._stream is None:
            self._stream = Stream(self._network(band.shape[2]), self._start)
        self._last = band[:0]
        return self._levels(*self._stream.push(_to_tensor(band, _CPU, torch.float32)))

    def finish(self) -> Iterator[tuple[int, Band]]:
        """See `Passage`."""
        if self._stream is None or self._last is None:
            raise ValueError("nothing was pushed")
        rest = self._stream.finish(_to_tensor(self._last, _CPU, torch.float32), _BAND)
        while True:
            with torch.inference_mode():  # for each step alone, as the next may come in another thread
                rows = next(rest, None)
                if rows is None:
                    return
                levels = self._levels(*rows)
            yield levels

    def _levels(self, first: int, values: Tensor) -> tuple[int, Band]:
        assert self._last is not None
        return first, _finite_levels(values[:, :, :, self._columns], self._last.dtype)


class _Meter(TorchFunctionMode):
    """Counts the bytes of the tensors that live at the same time."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._tensors: dict[int, weakref.ref[Tensor]] = {}

    def __torch_function__(
        self,
        function: Callable[..., object],
        types: Sequence[type],
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        result = function(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self._tensors[id(result)] = weakref.ref(result)
            alive = (reference() for reference in self._tensors.values())
            self.peak = max(self.peak, sum(tensor.nbytes for tensor in alive if tensor is not None))
        return result
