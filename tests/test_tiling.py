"""Tiles and bands give what the whole picture gives, for every size of picture and tile."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gantool import systems, tiling
from gantool.errors import InputError, OutOfMemory
from gantool.streaming import Stream, Unstreamable
from gantool.system import System

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


def run(system: System, image: Tensor, **options: object) -> Tensor:
    return tiling.run(system.upscale, image, scale=system.scale, radius=system.radius, **options)  # type: ignore[arg-type]


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
                parts = tiling.spans(n, core, halo, multiple)
                assert len({part.stop - part.start for part in parts}) == 1
                assert [part.first for part in parts] == [0, *(part.last for part in parts[:-1])]
                assert parts[-1].last == n
                for part in parts:
                    assert part.first < part.last
                    assert 0 <= part.start <= max(0, part.first - halo)
                    assert min(n, part.last + halo) <= part.stop <= n
                    assert part.start % multiple == part.stop % multiple == 0


def test_a_larger_picture_goes_in_bands_over_threads_and_equals_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiling, "usable_cores", lambda: 3)
    bands: list[tuple[int, str]] = []
    original = Stream.push

    def push(stream: Stream, band: Tensor) -> tuple[int, Tensor]:
        bands.append((band.shape[2], threading.current_thread().name))
        return original(stream, band)

    monkeypatch.setattr(Stream, "push", push)
    for name in ("span", "edsr", "srresnet"):
        system, image = SYSTEMS[name](), picture(301, 157)
        bands.clear()
        result = run(system, image)
        assert max(rows for rows, _ in bands) <= 64
        assert len({thread for _, thread in bands}) > 1
        assert_equal(result, whole(system, image))


def test_bands_of_a_network_with_too_small_a_halo_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bands that are cut off short would leave rows of the result unfilled."""
    system, image = SYSTEMS["edsr"](), picture(300, 100)
    assert tiling.study(system.upscale, 3, 3, 1, tiling.CPU, torch.float32).reach == system.radius
    result = tiling.run(system.upscale, image, scale=3, radius=1)
    apart = (result - (whole(system, image) + 0.5).floor().clamp(0, 255)).abs()
    assert (apart > 0).float().mean() < 0.1


@pytest.mark.parametrize("name", ["span", "edsr", "srresnet"])
def test_the_radius_that_a_system_states_is_that_of_its_layers(name: str) -> None:
    system = SYSTEMS[name]()
    nature = tiling.study(system.upscale, 3, system.scale, 1, tiling.CPU, torch.float32)  # type: ignore[arg-type]
    assert nature.reach == system.radius


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
    result = tiling.run(unshuffling, image, scale=2, radius=7, multiple=4, tile=tile)
    rows, columns = (-(-n // 4) * 4 for n in size)
    padded = image
    for axis, n in ((1, rows), (2, columns)):
        parts = [padded, padded.flip(axis)] * n
        padded = torch.cat(parts, axis).narrow(axis, 0, n)
    expected = unshuffling(padded[None] / 255)[0] * 255
    assert_equal(result, expected[:, : 2 * size[0], : 2 * size[1]])


def test_values_are_rounded_half_up_and_clamped() -> None:
    values = torch.tensor([-1.0, 0.0, 0.49, 0.51, 254.4, 254.6, 300.0]) / 255
    result = tiling.run(lambda x: values.view(1, 1, 1, 7), picture(1, 7, 1), scale=1, radius=0)
    assert result.flatten().tolist() == [0, 0, 0, 1, 254, 255, 255]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_value_that_is_not_finite_is_an_error_and_not_a_black_picture(value: float) -> None:
    def network(x: Tensor) -> Tensor:
        y = x.clone()
        y[:, :, -1, -1] = value
        return y

    with pytest.raises(InputError, match="not finite"):
        tiling.run(network, picture(30, 20), scale=1, radius=2, tile=8)


def test_a_network_without_a_radius_gets_the_whole_picture() -> None:
    shapes = []

    def network(x: Tensor) -> Tensor:
        shapes.append(tuple(x.shape))
        return x - x.mean()

    for tile in (None, 8):
        tiling.run(network, picture(200, 190), scale=1, radius=None, tile=tile)
    assert shapes == [(1, 3, 200, 190)] * 2


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
    result = tiling.run(network, image, scale=3, radius=2, tile=60)
    assert network.failures > 0
    assert capsys.readouterr().err == "not enough memory for 43x44 pixels at once: going on with fewer\n"
    assert_equal(result, whole(system, image))


def test_no_memory_even_for_small_tiles_is_an_error() -> None:
    with pytest.raises(OutOfMemory, match="not enough memory even for small tiles") as error:
        tiling.run(Tight(SYSTEMS["bicubic"](), 100, MemoryError()), picture(90, 130), scale=3, radius=2, tile=60)
    assert error.value.status == 4


@pytest.mark.parametrize("cores", [1, 3])
def test_another_error_in_tile_k_is_an_error_of_the_picture(cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiling, "usable_cores", lambda: cores)
    calls = 0

    def network(x: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise RuntimeError("tile 5")
        return x

    threads = torch.get_num_threads()
    with pytest.raises(RuntimeError, match="tile 5"):
        tiling.run(network, picture(64, 48), scale=1, radius=0, tile=8)
    assert torch.get_num_threads() == threads


def test_progress_adds_up_to_the_picture() -> None:
    for name, tile in (("edsr", None), ("edsr", 20), ("bicubic", 20)):
        done: list[int] = []
        run(SYSTEMS[name](), picture(200, 150), tile=tile, notify=done.append)
        assert sum(done) == pytest.approx(200 * 150, abs=len(done))
        assert len(done) > 1


def test_a_tile_is_chosen_so_that_the_network_has_memory_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel is no convolution, so it is tiled; less memory means smaller windows."""
    system = SYSTEMS["bicubic"]()
    sides = []
    for memory in (1 << 24, 1 << 22):
        monkeypatch.setattr(tiling, "tile_memory", lambda device, memory=memory: memory)
        seen: list[int] = []

        def network(x: Tensor, seen: list[int] = seen) -> Tensor:
            seen.append(x.shape[2] * x.shape[3])
            return system.upscale(x)  # type: ignore[operator]

        tiling.run(network, picture(700, 600), scale=3, radius=2)
        sides.append(max(seen))
    per_pixel = tiling.study(system.upscale, 3, 3, 1, tiling.CPU, torch.float32).bytes_per_pixel
    assert 3 * 9 * 4 < per_pixel < 100 * 3 * 9 * 4
    assert sides[1] * per_pixel < 2 * (1 << 22)
    assert sides[0] > 2 * sides[1]


def test_the_result_has_channels_innermost_for_the_codec() -> None:
    result = run(SYSTEMS["bicubic"](), picture(20, 30))
    assert result.permute(1, 2, 0).is_contiguous()
