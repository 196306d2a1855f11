"""Networks on OpenVINO, the fastest that CPUs offer: graphs straight from model files, without torch."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import cache, partial
from math import ceil, prod
from queue import Empty, SimpleQueue
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from gantool import machine
from gantool.backends import Nature
from gantool.backends.checked import Checked, Floats
from gantool.backends.drawings import DRAWINGS, Drawn, Result, draw
from gantool.backends.graphs import Form, State
from gantool.bands import Band, Bands
from gantool.errors import InputError, OutOfMemory, UsageError, printable
from gantool.windows import Span, spans

if TYPE_CHECKING:
    import openvino as ov

    from gantool.modelheader import Contents

_BANDS = 1 << 26  # bytes of a band's features: every core has one, and more is no faster
_WINDOW = 1 << 28  # bytes of a window's features, where the network does not run in bands: smaller ones are mostly halo
_CONVERTER = "openvino.tools.ovc"
_IMPORT = threading.Lock()
_NO_MEMORY = ("Failed to allocate", "can't alloc", "bad_alloc")  # in what OpenVINO says of it
_NOT_FINITE = "the network's result is not finite: use another model"


def library() -> ModuleType:
    """Return OpenVINO, without its converter of other formats: that one tells its makers of every import, by default.

    Raises:
        UsageError: it is not installed.
    """
    with _IMPORT:
        if _CONVERTER not in sys.modules and "openvino" not in sys.modules:
            sys.modules[_CONVERTER] = None  # type: ignore[assignment]  # which makes its import fail, as OpenVINO allows for
        try:
            import openvino
        except ImportError as error:
            raise UsageError("--backend openvino needs one more package: pip install 'gantool[openvino]'") from error
        finally:
            if sys.modules.get(_CONVERTER, sys) is None:
                del sys.modules[_CONVERTER]
    module: ModuleType = openvino
    return module


def for_upscaling(
    found: Contents,
    *,
    device: str = "auto",
    dtype: str = "auto",
    halo: int | None = None,
    memory: int | None = None,
    ensemble: bool = False,
) -> OpenVinoEngine:
    """Return an engine for a model.

    Args:
        found: its file.
        device: auto or cpu.
        dtype: auto, fp32 or bf16.
        halo: instead of the network's own radius; with a smaller one seams may show.
        memory: bytes that may be used in all.
        ensemble: mean over the eight turns and reflections of the input.

    Raises:
        UsageError: OpenVINO is not there, or cannot do this.
        WeightsError: the file does not hold what it claims.
    """
    if device not in ("auto", "cpu"):
        raise UsageError(f"--backend openvino computes on the CPU, not on {printable(device)}: use --backend torch")
    system = str(found.header["system"])
    if system not in DRAWINGS:
        known = ", ".join(DRAWINGS)
        raise UsageError(f"{printable(found.name)} is of {printable(system)}, openvino has {known}: use --backend torch")
    core = library().Core()
    model = Checked(found.header, found.tensors, "generator", found.origin)
    compiler = Compiler(core, system, model, _precision(dtype, core))
    return OpenVinoEngine(compiler, halo=halo, memory=memory, ensemble=ensemble)


def _precision(dtype: str, core: ov.Core) -> str:
    if dtype in ("auto", "fp32"):
        return "f32"  # said, as OpenVINO would take bfloat16 where the CPU has it
    if dtype != "bf16":
        raise UsageError(f"--backend openvino has no precision {printable(dtype)}: use --dtype fp32 or bf16")
    if "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise UsageError("this CPU has no bfloat16: use --dtype fp32")
    return "bf16"


class Network:
    """A graph ready to run, and its requests, of which each runs in one thread at a time.

    Args:
        drawn: the graph.
        compiled: the same.
    """

    def __init__(self, drawn: Drawn, compiled: ov.CompiledModel) -> None:
        self.states = drawn.states
        self._compiled = compiled
        self._idle: SimpleQueue[ov.InferRequest] = SimpleQueue()

    def take(self) -> ov.InferRequest:
        """Return a request that nobody else has."""
        try:
            return self._idle.get_nowait()
        except Empty:
            return self._compiled.create_infer_request()

    def give(self, request: ov.InferRequest) -> None:
        """Take a request back."""
        self._idle.put(request)

    def free(self) -> None:
        """Give up the memory that is only needed while running, unless something runs just now."""
        self._idle = SimpleQueue()
        with suppress(RuntimeError):
            self._compiled.release_memory()


class Compiler:
    """The graphs of a model, each made when it is first needed.

    Args:
        core: of OpenVINO.
        system: of DRAWINGS.
        model: what its file holds.
        precision: f32 or bf16.
    """

    def __init__(self, core: ov.Core, system: str, model: Checked, precision: str) -> None:
        self._core, self.system = core, system
        self.workers = machine.usable_cores()
        self._settings = {
            "INFERENCE_PRECISION_HINT": precision,
            "NUM_STREAMS": self.workers,
            "INFERENCE_NUM_THREADS": self.workers,  # one for each stream: several would wait for one another
            "ENABLE_CPU_PINNING": False,  # others use the machine too
            "ENABLE_HYPER_THREADING": True,
            "CPU_RUNTIME_CACHE_CAPACITY": 64,  # kernels for shapes; the usual 5000 are half a MiB each in a run over many sizes
        }
        self._networks: dict[tuple[Form, int, str, Result], Network] = {}
        self._lock = threading.Lock()
        self.drawn = cache(partial(draw, library(), system, model))
        self.drawn("whole", 3, "uint8", "levels")
        model.check_all_used()

    def network(self, form: Form, band: Band, result: Result = "levels") -> Network:
        """Return the network for pictures such as a band's."""
        key = (form, band.shape[2], band.dtype.name, result)
        with self._lock:
            if key not in self._networks:
                drawn = self.drawn(*key)
                self._networks[key] = Network(drawn, self._core.compile_model(drawn.model, "CPU", self._settings))
            return self._networks[key]

    def free(self) -> None:
        """Give up the memory that is only needed while running."""
        for network in list(self._networks.values()):
            network.free()


def _infer(request: ov.InferRequest, *inputs: Band | Floats) -> tuple[Band, list[Floats]]:
    """Return (scale h, scale w, C) and what is to be remembered; all lie in the request's memory until its next run."""
    results = request.infer([np.ascontiguousarray(each) for each in inputs], share_inputs=True, share_outputs=True)
    *kept, levels, total = (results[number] for number in range(len(results)))
    if not np.isfinite(total):
        raise InputError(_NOT_FINITE)
    return levels[0], kept


class OpenVinoEngine:
    """A network on the CPU; see `gantool.backends.Engine`.

    Args:
        compiler: of the network's graphs.
        halo: instead of the network's own radius.
        memory: bytes that may be used in all.
        ensemble: mean over the eight turns and reflections of the input (Lim et al., EDSR, CVPRW 2017, section 3.4).
    """

    multiple = 1

    def __init__(self, compiler: Compiler, *, halo: int | None, memory: int | None, ensemble: bool) -> None:
        self.compiler, self._memory, self._ensemble = compiler, memory, ensemble
        whole = compiler.drawn("whole", 3, "uint8", "levels")
        self.scale, self.workers = whole.scale, compiler.workers
        self.delay = ceil(whole.lag / self.scale)  # rows of the picture that a row of the result waits for
        self.radius: int | None = self.delay if halo is None else halo
        self.nature = cache(self._study)  # once for gray, once for colour

    def _study(self, channels: int) -> Nature:
        whole = self.compiler.drawn("whole", 3, "uint8", "levels")
        if not DRAWINGS[self.compiler.system].streams or self._ensemble or self.delay > (self.radius or 0):
            return Nature(1.25 * _peak(whole.model), None, self._limited(_WINDOW), 512)
        states = self.compiler.drawn("band", 3, "uint8", "levels").states
        held = sum(state.channels * state.rows * state.factor for state in states)
        # of float32, twice, as new rows come beside the old ones
        return Nature(1.25 * _peak(whole.model), 8.0 * held, self._limited(_BANDS), 512)

    def _limited(self, usual: int) -> int:
        if self._memory is None:
            return usual
        return max(1 << 20, min(usual, (self._memory - machine.resident_memory()) // (2 * self.workers)))

    def run(self, window: Band, rows: slice, columns: slice) -> Band:
        """See `Engine`."""
        if self._ensemble:
            return self._run_turned(window, rows, columns)
        network = self.compiler.network("whole", window)
        request = network.take()
        result = _infer(request, window[None])[0][rows, columns].copy()
        network.give(request)
        return result

    def _run_turned(self, window: Band, rows: slice, columns: slice) -> Band:
        network = self.compiler.network("whole", window, "values")
        request = network.take()
        total = np.zeros(())
        for turns in range(4):
            for mirrored in (False, True):
                result, _ = _infer(request, np.rot90(window[:, ::-1] if mirrored else window, turns)[None])
                result = np.rot90(result, -turns)
                total = total + (result[:, ::-1] if mirrored else result)[rows, columns]
        network.give(request)
        top = np.iinfo(window.dtype).max
        return np.clip(total * (top / 8) + 0.5, 0, top).astype(window.dtype)

    def holds(self, size: tuple[int, int, int]) -> bool:
        """See `Engine`. No network here looks at the whole picture."""
        return True

    def layerwise(self, bands: Bands, size: tuple[int, int, int], tile: int | None, notify: Callable[[float], None]) -> Bands:
        """See `Engine`. No network here looks at the whole picture."""
        raise OutOfMemory("openvino cannot divide this network into layers: use --backend torch")

    def passage(self, start: int, columns: slice) -> _Passage:
        """See `Engine`."""
        return _Passage(self, start, columns)

    def session(self) -> AbstractContextManager[None]:
        """See `Engine`. Threads change nothing here."""
        return nullcontext()

    def enter_thread(self, threads: int) -> None:
        """See `Engine`. The network's threads are its own, one for each that calls."""

    def is_out_of_memory(self, error: Exception) -> bool:
        """See `Engine`."""
        found = machine.is_out_of_memory(error) or any(sign in str(error) for sign in _NO_MEMORY)
        if found:
            self.compiler.free()
        return found


def _peak(model: ov.Model) -> float:
    """Return the bytes at the peak for a pixel of the input: what lives at the same time, each value until its last use."""
    side, model = 32, model.clone()
    model.reshape([1, side, side, 3])
    nodes = [node for node in model.get_ordered_ops() if node.get_type_name() != "Constant"]
    uses = Counter(_key(source) for node in nodes for source in node.input_values())
    sizes: dict[tuple[str, int], int] = {}
    peak = 0
    for node in nodes:
        sizes |= {_key(each): prod(each.get_shape()) * each.get_element_type().size for each in node.outputs()}
        peak = max(peak, sum(sizes.values()))
        for source in node.input_values():
            uses[_key(source)] -= 1
            if not uses[_key(source)]:
                sizes.pop(_key(source), None)
    return peak / side**2


def _key(value: ov.Output) -> tuple[str, int]:
    return value.get_node().get_name(), value.get_index()


class _Passage:
    """See `gantool.backends.Passage`."""

    def __init__(self, engine: OpenVinoEngine, start: int, columns: slice) -> None:
        self._engine, self._columns = engine, columns
        self._row = engine.scale * start  # the next of the result
        self._waiting: list[Band] = []  # rows that have come before any can be given
        self._states: list[State] = []
        self._past: list[Floats] = []  # of each state; none before the first rows are given

    def push(self, band: Band) -> tuple[int, Band]:
        """See `Passage`."""
        self._waiting.append(band)
        self._like = band[:0]
        if not self._past and sum(each.shape[0] for each in self._waiting) <= self._engine.delay:
            return self._row, band[:0]
        network = self._engine.compiler.network("band", band)
        if not self._past:
            self._states = network.states
            shapes = [(1, each.channels, each.above, each.factor * band.shape[1]) for each in self._states]
            self._past = [np.zeros(shape, np.float32) for shape in shapes]
        request = network.take()
        levels, kept = _infer(request, self._take(), *self._past)
        levels, self._past = levels[:, self._columns].copy(), [each.copy() for each in kept]
        network.give(request)
        self._row += levels.shape[0]
        return self._row - levels.shape[0], levels

    def _take(self) -> Band:
        rows = np.concatenate(self._waiting)[None]
        self._waiting = []
        return rows

    def finish(self) -> Iterator[tuple[int, Band]]:
        """See `Passage`. The rows that layers still keep back come at once, in parts of their width, to save memory."""
        rows = None if self._past else self._take()
        network = self._engine.compiler.network("whole" if rows is not None else "last", self._like)
        request, parts = network.take(), []
        for span in self._spans(0 if rows is None else rows.shape[1]):
            width = slice(span.start, span.stop)
            window = np.zeros((1, 3, 0, span.stop - span.start), np.float32) if rows is None else rows[:, :, width]
            levels, _ = _infer(request, window, *self._cut(span))
            parts.append(levels[:, span.kept(self._engine.scale)].copy())
        network.free()
        yield self._row, np.concatenate(parts, 1)[:, self._columns]

    def _cut(self, span: Span) -> list[Floats]:
        pairs = zip(self._states, self._past, strict=True)
        return [values[..., state.factor * span.start : state.factor * span.stop] for state, values in pairs]

    def _spans(self, rows: int) -> list[Span]:
        nature, delay = self._engine.nature(self._like.shape[2]), self._engine.delay
        pixels = nature.memory / nature.bytes_per_pixel
        core = max(64, 2 * delay, int(pixels / (rows + delay)) - 2 * delay)
        return spans(self._like.shape[1], core, delay)
