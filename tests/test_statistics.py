"""Networks that look at the whole picture give in tiles what they give at once."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from gantool import tiling
from gantool.backends.layerwise.blocks import Blocks
from gantool.backends.layerwise.spool import Spool
from gantool.backends.layerwise.statistics import Moments
from gantool.backends.pytorch import TorchEngine
from gantool.bands import Band, Bands
from gantool.errors import InputError, OutOfMemory, RunError
from gantool.windows import Arrived, Span

Network = Callable[[Tensor], Tensor]


# --- networks, as papers have them ------------------------------------------------------------------------------------------


class Residual(nn.Module):
    """A block of CycleGAN: reflection padding, instance norm, layers that work in place."""

    def __init__(self, channels: int, affine: bool) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(channels, channels, 3), nn.Conv2d(channels, channels, 3)
        self.norms = nn.ModuleList(nn.InstanceNorm2d(channels, affine=affine) for _ in range(2))
        for norm in self.norms if affine else []:
            nn.init.normal_(norm.weight, 1, 0.3)
            nn.init.normal_(norm.bias, 0, 0.3)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norms[0](self.first(F.pad(x, (1, 1, 1, 1), "reflect"))), inplace=True)
        y = self.norms[1](self.second(F.pad(y, (1, 1, 1, 1), "reflect")))
        y += x
        return y


class Translator(nn.Module):
    """CycleGAN's generator, small: down twice, residual blocks, up once by a transposed convolution and once by resizing."""

    def __init__(self, affine: bool) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReflectionPad2d(3), nn.Conv2d(3, 6, 7), nn.InstanceNorm2d(6), nn.ReLU(inplace=True),
            nn.Conv2d(6, 8, 3, 2, 1), nn.InstanceNorm2d(8), nn.ReLU(inplace=True),
            nn.Conv2d(8, 12, 3, 2, 1), nn.InstanceNorm2d(12), nn.ReLU(inplace=True),
            Residual(12, affine), Residual(12, affine),
            nn.ConvTranspose2d(12, 8, 3, 2, 1, 1), nn.InstanceNorm2d(8), nn.ReLU(inplace=True),
            nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(8, 6, 3, 1, 1), nn.InstanceNorm2d(6), nn.ReLU(inplace=True),
            nn.ReflectionPad2d(3), nn.Conv2d(6, 3, 7), nn.Tanh(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return (self.layers(2 * x - 1) + 1) / 2


class Attention(nn.Module):
    """Channel attention: of RCAN by means, of CBAM by largest values too."""

    def __init__(self, channels: int, largest: bool) -> None:
        super().__init__()
        self.down, self.up, self.largest = nn.Conv2d(channels, 4, 1), nn.Conv2d(4, channels, 1), largest

    def forward(self, x: Tensor) -> Tensor:
        weights = self.up(F.relu(self.down(F.adaptive_avg_pool2d(x, 1))))
        if self.largest:
            weights = weights + self.up(F.relu(self.down(F.adaptive_max_pool2d(x, 1))))
        return x * torch.sigmoid(weights)


class Attentive(nn.Module):
    """RCAN, small, for twice the size."""

    def __init__(self, largest: bool) -> None:
        super().__init__()
        self.head, self.tail = nn.Conv2d(3, 8, 3, 1, 1), nn.Conv2d(8, 12, 3, 1, 1)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 1, 1), Attention(8, largest))
            for _ in range(3)
        )

    def forward(self, x: Tensor) -> Tensor:
        start = y = self.head(x)
        for block in self.blocks:
            y = y + block(y)
        return 0.5 + 0.5 * F.pixel_shuffle(self.tail(y + start), 2)


class Denoiser(nn.Module):
    """A network that asks for the picture's noise first, in every way that torch has, and for its features' at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Conv2d(9, 8, 3, 1, 1), nn.Conv2d(8, 8, 3, 1, 1), nn.Conv2d(8, 3, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        noise = x.std((2, 3), keepdim=True) + torch.var(x, dim=(-2, -1), keepdim=True, unbiased=False)
        level = (x.mean() + x.amax((1, 2, 3)) - x.min()).expand(1, 3, *x.shape[2:])
        y = F.relu(self.first(torch.cat([x, noise.expand_as(x), level], 1)))
        y = self.second((y - y.mean((2, 3), keepdim=True)) / (y.var((1, 2, 3), keepdim=True) + 0.01).sqrt())
        y = y * (1e-3 * y.sum((2, 3), keepdim=True)).sigmoid()
        return x + 0.1 * self.last(y - F.avg_pool2d(y, y.shape[2:]))


class Grouped(nn.Module):
    """Group norm and batch norm, of which the one looks at the whole picture."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, 1, 1), nn.GroupNorm(2, 8), nn.SiLU(), nn.Conv2d(8, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.PReLU(8),
            nn.GroupNorm(8, 8), nn.Conv2d(8, 3, 3, 1, 1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.2 * self.layers(x)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], int, int]] = {  # and its scale and multiple
    "instance norm": (lambda: Translator(affine=False), 1, 4),
    "affine instance norm": (lambda: Translator(affine=True), 1, 4),
    "channel attention": (lambda: Attentive(largest=False), 2, 1),
    "attention to largest values": (lambda: Attentive(largest=True), 2, 1),
    "noise estimate": (Denoiser, 1, 1),
    "group norm": (Grouped, 1, 1),
}


def engine_for(name: str, memory: int | None = None) -> TorchEngine:
    torch.manual_seed(0)
    build, scale, multiple = NETWORKS[name]
    engine = TorchEngine(build().eval().requires_grad_(False), scale=scale, radius=None, multiple=multiple, memory=memory)
    engine.workers = 2
    return engine


@pytest.fixture(scope="module", params=NETWORKS)
def engine(request: pytest.FixtureRequest) -> TorchEngine:
    return engine_for(request.param)


# --- what they give ---------------------------------------------------------------------------------------------------------


def picture(height: int, width: int, channels: int = 3, dtype: type = np.uint8) -> Band:
    """Noise on a slope, so that parts of the picture differ in what is asked of them."""
    generator = np.random.default_rng(height * 71 + width)
    slope = np.linspace(0.1, 0.7, height)[:, None, None] * np.linspace(0.5, 1, width)[:, None]
    return ((slope + generator.uniform(0, 0.3, (height, width, channels))) * np.iinfo(dtype).max).astype(dtype)


def in_bands(pixels: Band) -> Bands:
    yield from (pixels[start : start + 13] for start in range(0, len(pixels), 13))


def in_tiles(engine: TorchEngine, pixels: Band, tile: int | None, notify: tiling.Notify = lambda share: None) -> Band:
    return np.concatenate(list(tiling.run(engine, in_bands(pixels), pixels.shape, tile=tile, notify=notify)))


def assert_as_whole(engine: TorchEngine, pixels: Band, result: Band) -> None:
    """The levels that the network gives at once, but where the value lies on a rounding edge."""
    height, width, channels = pixels.shape
    filled = Arrived(iter([pixels]), height, width, engine.multiple)
    window = filled.rows(0, filled.height, Span(0, filled.width, 0, filled.width))
    top = np.iinfo(pixels.dtype).max
    image = torch.from_numpy(window.astype(np.float32) / top).permute(2, 0, 1)[None]
    with torch.inference_mode():
        if channels == 3:
            values = engine._network(3, torch.float32)(image)
        else:
            values = engine._network(3, torch.float32)(image.expand(-1, 3, -1, -1)).mean(1, keepdim=True)
    expected = values[0].permute(1, 2, 0).double().numpy()[: engine.scale * height, : engine.scale * width] * top
    assert result.shape == expected.shape
    assert result.dtype == pixels.dtype
    assert expected.clip(0, top).std() > 0.02 * top
    apart = np.abs(result - np.floor(expected + 0.5).clip(0, top))
    edge = 1e-4 * top
    from_edge = np.abs(expected - 0.5 - np.round(expected - 0.5))
    assert ((apart == 0) | ((apart <= max(1, np.ceil(edge))) & ((from_edge <= edge) | (edge > 0.5)))).all()


@pytest.mark.parametrize(("size", "tile"), [((61, 47), 16), ((90, 131), 40), ((33, 140), 1000)])
def test_tiles_agree_with_the_whole_picture(engine: TorchEngine, size: tuple[int, int], tile: int) -> None:
    pixels = picture(*size)
    before = pixels.copy()
    assert_as_whole(engine, pixels, in_tiles(engine, pixels, tile))
    assert (pixels == before).all()


@pytest.mark.parametrize(("channels", "dtype"), [(1, np.uint8), (3, np.uint16), (1, np.uint16)])
def test_gray_and_16_bits_agree_too(engine: TorchEngine, channels: int, dtype: type) -> None:
    pixels = picture(70, 59, channels, dtype)
    assert_as_whole(engine, pixels, in_tiles(engine, pixels, 24))


def test_parts_of_a_map_add_up_to_it_however_it_is_divided() -> None:
    """Far from zero too, where a sum of squares less a square of sums has few digits."""
    values = torch.randn(1, 5, 60, 47, generator=torch.Generator().manual_seed(0)) + torch.tensor([0, 1, -3, 1e3, 1e4]).view(
        5, 1, 1
    )
    cuts = [slice(0, 1), slice(1, 20), slice(20, 60)]
    found = Moments.together(
        [Moments.of(values[:, :, rows, columns]) for rows in cuts for columns in (slice(0, 30), slice(30, 47))]
    )
    exact = values[0].double().flatten(1)
    torch.testing.assert_close(found.mean, exact.mean(1), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.variance(1), exact.var(1), rtol=1e-7, atol=0)
    assert found.sums[2].equal(exact.amax(1))
    assert (-found.sums[3]).equal(exact.amin(1))


def test_progress_adds_up_to_the_picture(engine: TorchEngine) -> None:
    done: list[float] = []
    in_tiles(engine, picture(60, 70), 24, done.append)
    assert sum(done) == pytest.approx(1)
    assert len(done) > 9  # not only in the last pass


def test_the_tool_says_what_it_did_and_what_it_cost(capsys: pytest.CaptureFixture[str]) -> None:
    in_tiles(engine_for("channel attention"), picture(60, 70), 24)
    said = capsys.readouterr().err
    assert said.startswith("the network looks at the whole picture, which was done in 9 tiles: 3 statistics in 4 passes, ")
    assert f" times the arithmetic of one, 0.0 GB through {tempfile.gettempdir()}, " in said
    assert said.count("\n") == 1


# --- when -------------------------------------------------------------------------------------------------------------------


class Watched:
    """A network that remembers what it was given, and has no memory for some of it."""

    def __init__(self, network: Network, too_large: Callable[[int], bool] = lambda pixels: False) -> None:
        self.network, self.too_large, self.shapes = network, too_large, set[tuple[int, ...]]()

    def __call__(self, x: Tensor) -> Tensor:
        self.shapes.add(tuple(x.shape[2:]))
        if self.too_large(x.shape[2] * x.shape[3]):
            raise MemoryError
        return self.network(x)


def watched(
    name: str, too_large: Callable[[int], bool] = lambda pixels: False, memory: int | None = None
) -> tuple[TorchEngine, Watched]:
    engine = engine_for(name)
    network = Watched(engine._network(3, torch.float32), too_large)
    engine = TorchEngine(network, scale=engine.scale, radius=None, multiple=engine.multiple, memory=memory)
    engine.workers = 2
    return engine, network


def test_the_picture_is_done_at_once_where_memory_allows() -> None:
    engine, network = watched("group norm")
    pixels = picture(170, 160)
    assert_as_whole(engine, pixels, in_tiles(engine, pixels, None))
    assert (170, 160) in network.shapes


def test_the_picture_is_done_in_tiles_where_too_little_memory_is_allowed(capsys: pytest.CaptureFixture[str]) -> None:
    engine, network = watched("group norm", memory=1)
    pixels = picture(170, 160)
    result = in_tiles(engine, pixels, None)
    assert (170, 160) not in network.shapes
    assert_as_whole(engine, pixels, result)
    assert "done in" in capsys.readouterr().err


def test_after_memory_did_not_suffice_the_same_picture_is_done_in_tiles(capsys: pytest.CaptureFixture[str]) -> None:
    engine, network = watched("group norm", lambda pixels: pixels == 170 * 161)
    pixels = picture(170, 161)
    result = in_tiles(engine, pixels, None)
    assert capsys.readouterr().err.startswith("not enough memory for the whole picture at once: going on in tiles\n")
    network.too_large = lambda pixels: False
    assert_as_whole(engine, pixels, result)


def test_tiles_off_never_divides_such_a_network() -> None:
    engine, _ = watched("group norm", lambda pixels: pixels == 170 * 161)
    with pytest.raises(OutOfMemory, match="whole picture at once"):
        in_tiles(engine, picture(170, 161), 0)


# --- memory -----------------------------------------------------------------------------------------------------------------


class Meter(TorchDispatchMode):
    """Counts the bytes of the tensors that live at the same time, each memory once."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._alive: dict[int, tuple[weakref.ref[Tensor], int]] = {}

    def __torch_dispatch__(
        self,
        function: Callable[..., object],
        types: Sequence[type],
        args: tuple = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        result = function(*args, **(kwargs or {}))
        for each in result if isinstance(result, tuple) else (result,):
            if isinstance(each, Tensor):
                self._alive[each.untyped_storage().data_ptr()] = weakref.ref(each), each.untyped_storage().nbytes()
        self._alive = {place: (tensor, size) for place, (tensor, size) in self._alive.items() if tensor() is not None}
        self.peak = max(self.peak, sum(size for _, size in self._alive.values()))
        return result


def peak_of(engine: TorchEngine, pixels: Band, tile: int | None) -> int:
    """Bytes of tensors in the threads that compute."""
    meter = Meter()

    def enter_thread(threads: int) -> None:
        torch.set_num_threads(threads)
        meter.__enter__()  # for as long as the thread lives

    engine.workers, engine.enter_thread = 1, enter_thread  # type: ignore[method-assign]
    in_tiles(engine, pixels, tile)
    return meter.peak


def test_memory_does_not_grow_with_the_picture() -> None:
    once = peak_of(engine_for("instance norm"), picture(480, 160), 0)
    small, large = (peak_of(engine_for("instance norm", memory=1), picture(height, 160), None) for height in (160, 480))
    assert large < 1.5 * small  # windows have not quite one size
    assert large < once / 5


@pytest.mark.parametrize("name", ["instance norm", "noise estimate"])
def test_a_tile_without_memory_is_done_again_in_smaller_ones(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    engine, network = watched(name, lambda pixels: pixels > 150 * 150)
    pixels = picture(230, 160)
    result = in_tiles(engine, pixels, 1000)
    assert capsys.readouterr().err.startswith("not enough memory for the usual tiles: going on with smaller ones\n")
    network.too_large = lambda pixels: False
    assert_as_whole(engine, pixels, result)


def test_no_memory_to_find_out_how_is_an_error() -> None:
    engine, _ = watched("group norm", lambda pixels: True)
    with pytest.raises(OutOfMemory, match="not enough memory even for small tiles"):
        in_tiles(engine, picture(60, 70), 24)


def test_no_memory_even_for_small_tiles_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, pixels = engine_for("group norm"), picture(60, 70)
    in_tiles(engine, pixels, 24)  # with all that is found out of the network

    def run(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Blocks, "run", run)
    with pytest.raises(OutOfMemory, match="not enough memory even for small tiles"):
        in_tiles(engine, pixels, 24)


# --- what goes wrong --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [5, 25])
def test_an_error_in_tile_k_is_an_error_of_the_picture(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, pixels = engine_for("group norm"), picture(60, 70)
    in_tiles(engine, pixels, 24)
    original, calls = Blocks.run, iter(range(1000))

    def run(*args: object) -> None:
        if next(calls) == number:
            raise RuntimeError("tile k")
        original(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(Blocks, "run", run)
    with pytest.raises(RuntimeError, match="tile k"):
        in_tiles(engine, pixels, 24)


def softmax_over_positions(x: Tensor) -> Tensor:
    return x * x.flatten(2).softmax(2).view_as(x) * x.shape[2] * x.shape[3]


def decision_by_values(x: Tensor) -> Tensor:
    return x if float(x.mean()) > 0.5 else 1 - x


def sum_by_size(x: Tensor) -> Tensor:
    return x - x.sum((2, 3), keepdim=True) / (x.shape[2] * x.shape[3])


def place_in_the_picture(x: Tensor) -> Tensor:
    return (x - x.mean()) * torch.linspace(0, 1, x.shape[3])


def place_of_the_largest(x: Tensor) -> Tensor:
    return x * F.adaptive_max_pool2d(x, 1, return_indices=True)[1] / 1000


def means_of_rows(x: Tensor) -> Tensor:
    return x - x.mean(3, keepdim=True)


def corners_aligned(x: Tensor) -> Tensor:
    smaller = F.avg_pool2d(x - x.mean(), 2)
    return F.interpolate(smaller, size=x.shape[2:], mode="bilinear", align_corners=True)


def buffer_of_its_own(x: Tensor) -> Tensor:
    result = torch.zeros(1, 3, *x.shape[2:])
    result[:, :, 1:] = x[:, :, 1:] - x.mean()
    return result


@pytest.mark.parametrize(
    "network",
    [
        softmax_over_positions, decision_by_values, sum_by_size, place_in_the_picture, place_of_the_largest, means_of_rows,
        corners_aligned, buffer_of_its_own,
    ],
)  # fmt: skip
def test_what_cannot_be_done_in_tiles_is_refused_and_not_done_wrongly(network: Network) -> None:
    engine = TorchEngine(network, scale=1, radius=None, multiple=2)
    with pytest.raises(OutOfMemory, match="looks at whole pictures and cannot do tiles, as .*: use --tile off"):
        in_tiles(engine, picture(60, 70), 24)


def test_values_that_are_not_finite_are_an_error() -> None:
    def network(x: Tensor) -> Tensor:
        return x / x.std() + torch.tensor([0.0, torch.nan, 0.0]).view(3, 1, 1)

    with pytest.raises(InputError, match="not finite"):
        in_tiles(TorchEngine(network, scale=1, radius=None), picture(60, 70), 24)


# --- the disk ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def open_files(folder: Path) -> int:
    """How many files of a folder this process has open, with names or without."""
    handles = Path("/proc/self/fd")
    if not handles.is_dir():
        pytest.skip("the system does not tell which files are open")
    links = []
    for handle in handles.iterdir():
        with suppress(FileNotFoundError):  # the one that lists them
            links.append(os.readlink(handle))
    return sum(link.startswith(str(folder)) for link in links)


def test_files_have_no_name_and_are_closed_afterwards(folder: Path) -> None:
    seen: list[int] = []
    in_tiles(engine_for("instance norm"), picture(60, 70), 24, lambda share: seen.append(open_files(folder)))
    assert 2 <= max(seen) <= 8  # the picture, and what a block reads and leaves
    assert list(folder.iterdir()) == []
    assert open_files(folder) == 0


def test_files_are_closed_after_an_error_and_when_nobody_wants_the_rest(folder: Path) -> None:
    engine, pixels = engine_for("channel attention"), picture(60, 70)

    def fail(share: float) -> None:
        raise KeyError

    with pytest.raises(KeyError):
        in_tiles(engine, pixels, 24, fail)
    assert open_files(folder) == 0
    rest = tiling.run(engine, in_bands(pixels), pixels.shape, tile=24)
    next(rest)
    assert open_files(folder) > 0
    rest.close()  # type: ignore[attr-defined]
    del rest
    deadline = time.monotonic() + 10  # a window that is being computed has its maps open
    while open_files(folder) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert open_files(folder) == 0


def test_a_disk_that_is_too_small_is_an_error_before_the_work(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, pixels = engine_for("instance norm"), picture(60, 70)
    in_tiles(engine, pixels, 24)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**6, 10**6, 0))
    with pytest.raises(OutOfMemory, match=f"{folder} has 0.0 GB of the 0.0 that its feature maps take: set TMPDIR"):
        next(tiling.run(engine, in_bands(pixels), pixels.shape, tile=24))


def test_a_disk_that_takes_no_more_is_an_error(folder: Path) -> None:
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(RunError, match=f"the folder for temporary files, {folder}, cannot be used: .*: set TMPDIR"):
            in_tiles(engine_for("instance norm"), picture(60, 70), 24)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert open_files(folder) == 0


def test_what_is_written_is_read_wherever_it_lies(folder: Path) -> None:
    spool, values = Spool((20, 30, 4), np.dtype(np.float32)), np.random.default_rng(0).random((20, 30, 4), np.float32)
    for row in (10, 0):
        for column in (0, 17):
            spool.write(row, column, values[row : row + 10, column : 17 if column < 17 else 30])
    assert (spool.read(slice(3, 18), slice(2, 29)) == values[3:18, 2:29]).all()
