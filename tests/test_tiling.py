"""Tiles and bands give what the whole picture gives, for every size of picture and tile."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gantool import systems, tiling
from gantool.backends.pytorch import TorchEngine
from gantool.backends.streaming import Network, Stream, Unstreamable, trial
from gantool.bands import Band, Bands
from gantool.errors import InputError, OutOfMemory
from gantool.system import System
from gantool.windows import spans

EDGE = 255e-4  # levels: a float value that lies within 1e-4 of a rounding edge may come out one level apart


def picture(height: int, width: int, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(height * 71 + width)
    return torch.randint(0, 256, (channels, height, width), dtype=torch.uint8, generator=generator)


def build(name: str, **config: object) -> System:
    torch.manual_seed(0)
    paper = systems.load(name)
    system = paper.system(paper.config(**config)).eval().requires_grad_(False)
    return system.for_inference()


SYSTEMS: dict[str, Callable[[], System]] = {
    "span": lambda: build("span", scale=2, channels=8),
    "edsr": lambda: build("edsr", scale=3, blocks=2, channels=8),
    "srresnet": lambda: build("srresnet", scale=4, blocks=2, channels=8),
    "srcnn": lambda: build("srcnn", scale=2),
    "enhancenet": lambda: build("enhancenet", scale=4, blocks=2, channels=8, losses="E"),
    "esrgan": lambda: build("esrgan", scale=2, blocks=1, channels=8, growth=4, discriminator_channels=4),
    "compact": lambda: build("real-esrgan", scale=4, generator="compact", blocks=3, channels=8, discriminator_channels=4),
    "bicubic": lambda: build("kernel", scale=3),
}


@pytest.fixture(scope="module", params=SYSTEMS)
def system(request: pytest.FixtureRequest) -> System:
    return SYSTEMS[request.param]()


def whole(system: System, image: Tensor) -> Tensor:
    """The result for the whole image at once, in levels that are not rounded."""
    with torch.inference_mode():
        return system.upscale(image[None] / 255)[0] * 255  # type: ignore[operator]


def assert_equal(result: Tensor, expected: Tensor) -> None:
    """The same 8-bit levels, but where the value lies on a rounding edge."""
    rounded = (expected + 0.5).floor().clamp(0, 255)
    assert result.shape == expected.shape
    apart = (result - rounded).abs()
    from_edge = (expected - 0.5 - (expected - 0.5).round()).abs()
    assert apart.max() <= 1
    assert (from_edge[apart > 0] <= EDGE).all()


def bands(pixels: Band, rows: int) -> Bands:
    yield from (pixels[start : start + rows] for start in range(0, len(pixels), rows))


def run_network(
    network: Network,
    image: Tensor,
    *,
    scale: int,
    radius: int | None,
    multiple: int = 1,
    tile: int | None = None,
    workers: int = 2,
) -> Tensor:
    """The tiled result (C, scale H, scale W) for an image (C, H, W), which comes in bands of uneven fit."""
    engine = TorchEngine(network, scale=scale, radius=radius, multiple=multiple)
    engine.workers = workers
    pixels = image.permute(1, 2, 0).numpy()
    result = np.concatenate(list(tiling.run(engine, bands(pixels, 13), pixels.shape, tile=tile)))
    return torch.from_numpy(result).permute(2, 0, 1)


def run(system: System, image: Tensor, tile: int | None = None, workers: int = 2) -> Tensor:
    return run_network(system.upscale, image, scale=system.scale, radius=system.radius, tile=tile, workers=workers)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [(1, 1), (1, 70), (70, 1), (2, 3), (5, 64), (21, 22), (43, 44), (67, 59), (70, 70)])
@pytest.mark.parametrize("tile", [None, 0, 1, 7, 16, 64])
def test_the_tiled_result_equals_the_untiled_one(system: System, size: tuple[int, int], tile: int | None) -> None:
    image = picture(*size)
    before = image.clone()
    assert_equal(run(system, image, tile=tile), whole(system, image))
    assert torch.equal(image, before)


@pytest.mark.parametrize("tile", [13, 40])
def test_every_size_from_one_to_seventy_pixels_is_right(tile: int) -> None:
    system = SYSTEMS["span"]()
    for side in range(1, 71):
        image = picture(side, 71 - side)
        assert_equal(run(system, image, tile=tile), whole(system, image))


@pytest.mark.parametrize("length", range(1, 71))
def test_windows_have_one_length_and_what_they_give_covers_the_axis_once(length: int) -> None:
    for core in (1, 2, 7, 8, 30, 70):
        for halo in (0, 1, 4, 21):
            for multiple in (1, 2, 4):
                n = length * multiple
                parts = spans(n, core, halo, multiple)
                assert len({part.stop - part.start for part in parts}) == 1
                assert [part.first for part in parts] == [0, *(part.last for part in parts[:-1])]
                assert parts[-1].last == n
                for part in parts:
                    assert part.first < part.last
                    assert 0 <= part.start <= max(0, part.first - halo)
                    assert min(n, part.last + halo) <= part.stop <= n
                    assert part.start % multiple == part.stop % multiple == 0


def test_a_larger_picture_goes_in_bands_over_threads_and_equals_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    pushed: list[tuple[int, str]] = []
    original = Stream.push

    def push(stream: Stream, band: Tensor) -> tuple[int, Tensor]:
        pushed.append((band.shape[2], threading.current_thread().name))
        return original(stream, band)

    monkeypatch.setattr(Stream, "push", push)
    for name in ("span", "edsr", "srresnet", "esrgan", "compact"):
        system, image = SYSTEMS[name](), picture(301, 157)
        pushed.clear()
        result = run(system, image, workers=3)
        assert max(rows for rows, _ in pushed) <= 64
        assert len({thread for _, thread in pushed}) > 1
        assert_equal(result, whole(system, image))


def test_bands_of_a_network_with_too_small_a_halo_are_not_used() -> None:
    """Bands that are cut off short would leave rows of the result unfilled."""
    system, image = SYSTEMS["edsr"](), picture(300, 100)
    result = run_network(system.upscale, image, scale=3, radius=1)
    apart = (result - (whole(system, image) + 0.5).floor().clamp(0, 255)).abs()
    assert (apart > 0).float().mean() < 0.1


@pytest.mark.parametrize("name", ["span", "edsr", "srresnet", "esrgan", "unshuffled", "compact"])
def test_the_radius_that_a_system_states_is_that_of_its_layers(name: str) -> None:
    unshuffled = partial(build, "esrgan", scale=2, blocks=1, channels=8, growth=4, unshuffle=2, discriminator_channels=4)
    system = (SYSTEMS | {"unshuffled": unshuffled})[name]()
    image = torch.rand(1, 3, 60, 60)
    with torch.inference_mode():
        seen = trial(system.upscale, image, system.upscale(image))  # type: ignore[operator, arg-type]
    assert seen is not None
    assert seen.radius == system.radius


@pytest.mark.parametrize("layer", [
    nn.Conv2d(3, 3, 3, stride=2, padding=1), nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect"),
    nn.AdaptiveAvgPool2d(1), nn.InstanceNorm2d(3), nn.BatchNorm2d(3), nn.Upsample(scale_factor=2, mode="bilinear"),
    nn.Conv2d(3, 3, 3, padding=2, dilation=2),
])  # fmt: skip
def test_layers_that_bands_cannot_do_are_found(layer: nn.Module) -> None:
    with pytest.raises(Unstreamable):
        Stream(layer.train()).push(torch.rand(1, 3, 8, 8))


def test_layers_that_work_in_place_do_so_in_bands_too() -> None:
    """As in the reference code of SPAN, where what is joined later has been activated in the meantime."""
    torch.manual_seed(0)
    first, second = (nn.Conv2d(3, 3, 3, padding=1).requires_grad_(False) for _ in range(2))

    def network(x: Tensor) -> Tensor:
        y = first(x)
        z = second(F.silu(y, inplace=True))
        return torch.cat([z + y, F.relu(y - 0.5, inplace=True)], 1)

    image = torch.rand(1, 3, 40, 9)
    stream = Stream(network)
    with torch.inference_mode():
        parts = [stream.push(image[:, :, row : row + 7])[1] for row in range(0, 40, 7)]
        parts += [rows for _, rows in stream.finish(image[:, :, 40:], 7)]
        torch.testing.assert_close(torch.cat(parts, 2), network(image))


def unshuffling(x: Tensor) -> Tensor:
    """A network of scale 2 whose input sides must be multiples of 4, and which sees its neighbours."""
    assert x.shape[2] % 4 == x.shape[3] % 4 == 0
    blocks = F.pixel_unshuffle(x, 4)
    mixed = F.avg_pool2d(F.pad(blocks, (1, 1, 1, 1)), 3, 1) + blocks
    return F.interpolate(F.pixel_shuffle(mixed / 2, 4), scale_factor=2)


@pytest.mark.parametrize("size", [(1, 1), (3, 70), (8, 8), (61, 33)])
@pytest.mark.parametrize("tile", [0, 1, 5, 24])
def test_a_size_multiple_is_filled_up_by_reflection_and_cut_off_again(size: tuple[int, int], tile: int) -> None:
    image = picture(*size)
    result = run_network(unshuffling, image, scale=2, radius=7, multiple=4, tile=tile)
    rows, columns = (-(-n // 4) * 4 for n in size)
    padded = image
    for axis, n in ((1, rows), (2, columns)):
        parts = [padded, padded.flip(axis)] * n
        padded = torch.cat(parts, axis).narrow(axis, 0, n)
    expected = unshuffling(padded[None] / 255)[0] * 255
    assert_equal(result, expected[:, : 2 * size[0], : 2 * size[1]])


def test_values_are_rounded_half_up_and_clamped() -> None:
    values = torch.tensor([-1.0, 0.0, 0.49, 0.51, 254.4, 254.6, 300.0]) / 255
    result = run_network(lambda x: values.view(1, 1, 1, 7).expand(1, 3, 1, 7), picture(1, 7), scale=1, radius=0)
    assert result[0].flatten().tolist() == [0, 0, 0, 1, 254, 255, 255]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_value_that_is_not_finite_is_an_error_and_not_a_black_picture(value: float) -> None:
    def network(x: Tensor) -> Tensor:
        y = x.clone()
        y[:, :, -1, -1] = value
        return y

    with pytest.raises(InputError, match="not finite"):
        run_network(network, picture(30, 20), scale=1, radius=2, tile=8)


def test_what_is_not_finite_in_half_precision_is_done_again_in_float32(capsys: pytest.CaptureFixture[str]) -> None:
    """Of windows, those alone where it is so; and 16 bits never go through half precision, which has fewer."""
    system, image = SYSTEMS["bicubic"](), picture(64, 48)
    full, half = [0], [0]

    def network(x: Tensor) -> Tensor:
        full[0] += 1
        return system.upscale(x)  # type: ignore[operator, no-any-return]

    def halved(x: Tensor) -> Tensor:
        half[0] += 1
        return system.upscale(x.float()).to(x.dtype) * (float("nan") if half[0] % 4 == 0 else 1.0)  # type: ignore[operator]

    engine = TorchEngine(network, scale=3, radius=2, halved=halved, dtype=torch.bfloat16)
    engine.workers = 1
    pixels = image.permute(1, 2, 0).numpy()
    result = np.concatenate(list(tiling.run(engine, bands(pixels, 13), pixels.shape, tile=8)))
    windows = half[0]
    assert windows > 8
    assert full[0] == windows // 4
    apart = np.abs(result - whole(system, image).clamp(0, 255).permute(1, 2, 0).numpy())
    assert apart.max() < 4
    assert capsys.readouterr().err == "a result in half precision is not finite: such parts are done again in float32\n"
    list(tiling.run(engine, bands(pixels.astype(np.uint16), 13), pixels.shape, tile=8))
    assert (half[0], full[0]) == (windows, windows // 4 + windows)


def test_a_network_without_a_radius_gets_the_whole_picture() -> None:
    shapes = []

    def network(x: Tensor) -> Tensor:
        shapes.append(tuple(x.shape))
        return x - x.mean()

    for tile in (None, 0):
        run_network(network, picture(120, 110), scale=1, radius=None, tile=tile)
    assert shapes == [(1, 3, 120, 110)] * 2


class Tight:
    """A network that has not enough memory for windows of more pixels than `pixels`."""

    def __init__(self, system: System, pixels: int, error: Exception) -> None:
        self.system, self.pixels, self.error = system, pixels, error
        self.failures = 0

    def __call__(self, x: Tensor) -> Tensor:
        if x.shape[2] * x.shape[3] > self.pixels:
            self.failures += 1
            raise self.error
        return self.system.upscale(x)  # type: ignore[operator]


@pytest.mark.parametrize("error", [
    torch.OutOfMemoryError("CUDA out of memory"), MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"),
])  # fmt: skip
def test_a_tile_without_memory_is_done_again_in_smaller_ones(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    system, image = SYSTEMS["bicubic"](), picture(90, 130)
    network = Tight(system, 40 * 40, error)
    result = run_network(network, image, scale=3, radius=2, tile=60)
    assert network.failures > 0
    assert capsys.readouterr().err == "not enough memory for the usual tiles: going on with smaller ones\n"
    assert_equal(result, whole(system, image))


def test_no_memory_even_for_small_tiles_is_an_error() -> None:
    with pytest.raises(OutOfMemory, match="not enough memory even for small tiles") as error:
        run_network(Tight(SYSTEMS["bicubic"](), 100, MemoryError()), picture(90, 130), scale=3, radius=2, tile=60)
    assert error.value.status == 4


def test_a_passage_without_memory_goes_on_from_its_last_row_in_smaller_squares(capsys: pytest.CaptureFixture[str]) -> None:
    """Memory ends in the middle of the picture; nothing is skipped, and nothing is given twice."""
    system, image = SYSTEMS["edsr"](), picture(500, 200)
    passes = 0

    def network(x: Tensor) -> Tensor:
        nonlocal passes
        passes += 1
        if passes > 12 and x.dim() == 4 and (not isinstance(x, Tensor) or x.shape[2] * x.shape[3] > 50 * 50):
            raise MemoryError
        return system.upscale(x)  # type: ignore[operator, no-any-return]

    result = run_network(network, image, scale=3, radius=system.radius)  # type: ignore[arg-type]
    assert passes > 12
    assert capsys.readouterr().err == "not enough memory for the usual tiles: going on with smaller ones\n"
    assert_equal(result, whole(system, image))


@pytest.mark.parametrize("workers", [1, 3])
def test_another_error_in_tile_k_is_an_error_of_the_picture(workers: int) -> None:
    calls = 0

    def network(x: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise RuntimeError("tile 5")
        return x

    threads = torch.get_num_threads()
    with pytest.raises(RuntimeError, match="tile 5"):
        run_network(network, picture(64, 48), scale=1, radius=0, tile=8, workers=workers)
    assert torch.get_num_threads() == threads


def test_progress_adds_up_to_one() -> None:
    for name, tile in (("edsr", None), ("edsr", 20), ("bicubic", 20)):
        system, pixels, done = SYSTEMS[name](), picture(200, 150).permute(1, 2, 0).numpy(), []
        engine = TorchEngine(system.upscale, scale=3, radius=system.radius)  # type: ignore[arg-type]
        list(tiling.run(engine, bands(pixels, 200), pixels.shape, tile=tile, notify=done.append))
        assert sum(done) == pytest.approx(1)
        assert len(done) > 1


@pytest.mark.parametrize("early", [False, True])
def test_a_reader_that_stops_early_leaves_no_thread_behind(early: bool) -> None:
    before = threading.active_count()
    pixels = picture(400, 200).permute(1, 2, 0).numpy()
    engine = TorchEngine(SYSTEMS["edsr"]().upscale, scale=3, radius=7)  # type: ignore[arg-type]
    result = tiling.run(engine, bands(pixels, 10), pixels.shape)
    next(result)
    if early:
        result.close()  # type: ignore[attr-defined]
    else:
        list(result)
    for _ in range(100):
        if threading.active_count() == before:
            return
        time.sleep(0.05)
    pytest.fail("threads are left")


def test_only_some_rows_of_the_picture_and_of_the_result_are_held() -> None:
    """Of a tall picture, the network's part takes memory for what its windows need, whatever the height."""
    alive = [0, 0]  # rows that were handed out and not yet freed; the most there were

    def source() -> Bands:
        for _ in range(300):
            band = np.zeros((20, 100, 3), np.uint8)
            alive[0] += 20
            alive[1] = max(alive)
            weakref.finalize(band, lambda: alive.__setitem__(0, alive[0] - 20))
            yield band

    system = SYSTEMS["edsr"]()
    engine = TorchEngine(system.upscale, scale=3, radius=system.radius)  # type: ignore[arg-type]
    assert engine.nature(3).held is not None  # it runs in bands
    rows = sum(len(band) for band in tiling.run(engine, source(), (6000, 100, 3)))
    assert rows == 18000
    assert alive[1] < 1500


def test_a_tile_is_chosen_so_that_the_network_has_memory_for_it() -> None:
    """The kernel is no convolution, so it is tiled; less memory means smaller windows."""
    system, sides = SYSTEMS["bicubic"](), []
    engine = TorchEngine(system.upscale, scale=3, radius=2)  # type: ignore[arg-type]
    nature = engine.nature(3)
    assert 3 * 9 * 4 < nature.bytes_per_pixel < 100 * 3 * 9 * 4
    for memory in (1 << 24, 1 << 22):
        engine.nature = lambda channels, memory=memory: replace(nature, memory=memory)
        plan = tiling.choose(engine, (700, 600, 3), None)
        sides.append((plan.rows[0].stop - plan.rows[0].start) * (plan.columns[0].stop - plan.columns[0].start))
    assert sides[1] * nature.bytes_per_pixel < 2 * (1 << 22)
    assert sides[0] > 2 * sides[1]


@pytest.mark.parametrize("workers", [1, 2, 16])
def test_narrow_and_wide_pictures_give_every_core_a_tile_and_no_course_is_higher_than_memory_allows(workers: int) -> None:
    engine = TorchEngine(SYSTEMS["edsr"]().upscale, scale=3, radius=7)  # type: ignore[arg-type]
    engine.workers = workers
    for height, width in ((200, 20_000), (20_000, 200), (3000, 3000), (1_000_000, 150)):
        plan = tiling.choose(engine, (height, width, 3), None)
        assert len(plan.rows) * len(plan.columns) >= workers
        assert plan.ahead * 9 * width * 3 <= 1 << 28
