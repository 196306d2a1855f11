"""OpenVINO gives what torch gives, without torch; what it cannot do, it says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import cv2
import networks
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

from gantool import engines, tiling, weights
from gantool.backends.openvino import OpenVinoEngine
from gantool.backends.pytorch import Ensemble
from gantool.engines import Settings
from gantool.errors import GantoolError, InputError, UsageError, WeightsError
from gantool.system import Upscaler

Array = NDArray[np.generic]

CHECKOUT = Path(__file__).parents[1]
needs_openvino = pytest.mark.skipif(
    find_spec("openvino") is None, reason="OpenVINO is not installed: pip install 'gantool[openvino]'"
)
EVERYTHING = (slice(None), slice(None))
SYSTEMS: dict[str, tuple[str, dict[str, object]]] = {
    "span": ("span", {"scale": 2, "input_range": 1.0}),
    "span without a mean": ("span", {"scale": 3, "input_range": 1.0, "mean_shift": False}),
    "edsr x3": ("edsr", {"scale": 3}),
    "edsr x4": ("edsr", {"scale": 4, "residual_scaling": 0.1, "rgb_range": 1.0, "mean_shift": False}),
    "srresnet": ("srresnet", {"scale": 4}),
    "srresnet with slopes": ("srresnet", {"scale": 2, "slopes": True, "bias": True, "tanh": True}),
    "srresnet without a last norm": ("srresnet", {"scale": 2, "norm_after_body": False, "signed": False}),
    "srcnn": ("srcnn", {"scale": 2}),
    "srcnn 9-1-5": ("srcnn", {"scale": 3, "middle": 1}),
}


def picture(height: int, width: int, channels: int = 3, kind: type[np.generic] = np.uint8) -> Array:
    generator = np.random.default_rng(height * 71 + width)
    return generator.integers(0, np.iinfo(kind).max + 1, (height, width, channels), kind)


def write(path: Path, name: str, **config: object) -> Path:
    system = networks.small(name, **config)
    networks.randomize(system)
    if name == "srcnn":
        system.generator.conv3.bias.data.fill_(0.5)  # type: ignore[union-attr]  # in the middle of the range
    weights.save(path, system.eval(), step=0, metrics={}, average=False, title=name)
    return path


@pytest.fixture(scope="module", params=SYSTEMS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    name, config = SYSTEMS[request.param]
    return write(tmp_path_factory.mktemp("model") / "model.safetensors", name, **config)


@pytest.fixture(scope="module")
def runner(model: Path) -> OpenVinoEngine:
    return engine(model)


@pytest.fixture(scope="module")
def edsr(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("model") / "edsr.safetensors", "edsr", scale=2)


def engine(model: Path | str, **settings: object) -> OpenVinoEngine:
    loaded = engines.load(str(model), Settings(backend="openvino", **settings))  # type: ignore[arg-type]
    assert isinstance(loaded.engine, OpenVinoEngine)
    return loaded.engine


def expected(model: Path | str, pixels: Array, ensemble: bool = False) -> NDArray[np.float32]:
    """What torch gives, in [0, 1]."""
    system = weights.load(str(model)).system
    assert isinstance(system, Upscaler)
    network = Ensemble(system.upscale) if ensemble else system.upscale
    image = torch.from_numpy(pixels.astype(np.float32) / np.iinfo(pixels.dtype).max).permute(2, 0, 1)[None]
    with torch.inference_mode():
        result = network(image.expand(1, 3, -1, -1))
    result = result if pixels.shape[2] == 3 else result.mean(1, keepdim=True)
    found: NDArray[np.float32] = result[0].permute(1, 2, 0).clamp(0, 1).numpy()
    return found


def assert_equal(found: Array, values: NDArray[np.float32], kind: type[np.generic] = np.uint8) -> None:
    """The nearest level, but where the value lies within 1e-5 of a rounding edge."""
    assert found.dtype == kind
    assert found.shape == values.shape
    top = np.iinfo(kind).max
    assert np.abs(found / top - values).max() <= 0.5 / top + 1e-5


# --- what comes out -----------------------------------------------------------------------------------------------------


@needs_openvino
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (37, 41)])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_window_gives_what_torch_gives(
    model: Path, runner: OpenVinoEngine, size: tuple[int, int], channels: int, kind: type[np.generic]
) -> None:
    pixels = picture(*size, channels, kind)
    before, values = pixels.copy(), expected(model, pixels)
    assert_equal(runner.run(pixels, *EVERYTHING), values, kind)
    assert np.array_equal(pixels, before)
    assert values.std() > 0.01 or size == (1, 1), "a result of one colour would prove nothing"


@needs_openvino
def test_a_part_of_a_window_is_that_part_of_its_result(runner: OpenVinoEngine) -> None:
    pixels = picture(20, 30)
    whole = runner.run(pixels, *EVERYTHING)
    assert np.array_equal(runner.run(pixels, slice(3, 9), slice(5, 50)), whole[3:9, 5:50])


@needs_openvino
@pytest.mark.parametrize(("size", "tile"), [((133, 129), None), ((40, 50), 16)])
def test_a_picture_in_bands_or_tiles_gives_what_torch_gives_for_the_whole(
    model: Path, runner: OpenVinoEngine, size: tuple[int, int], tile: int | None
) -> None:
    pixels = picture(*size)
    found = np.concatenate(list(tiling.run(runner, iter([pixels]), pixels.shape, tile=tile)))
    assert_equal(found, expected(model, pixels))


@needs_openvino
@pytest.mark.parametrize("heights", [(1,) * 60, (7, 30, 1, 22), (60,), (3, 2), (8,)], ids=str)
def test_bands_of_any_heights_join_to_the_whole(model: Path, runner: OpenVinoEngine, heights: tuple[int, ...]) -> None:
    if runner.nature(3).held is None:
        pytest.skip("srcnn repeats the picture's edges at every layer, which bands cannot")
    pixels = picture(sum(heights), 45)
    passage, start, kept = runner.passage(0, slice(4, 40)), 0, []
    for height in heights:
        kept.append(passage.push(pixels[start : start + height]))
        start += height
    kept = [(first, rows) for first, rows in (*kept, *passage.finish()) if len(rows)]
    assert [first for first, _ in kept] == list(np.cumsum([0, *(len(rows) for _, rows in kept[:-1])]))
    assert_equal(np.concatenate([rows for _, rows in kept]), expected(model, pixels)[:, 4:40])


@needs_openvino
def test_the_end_of_a_wide_picture_comes_in_parts_of_its_width(edsr: Path) -> None:
    runner, pixels = engine(edsr, memory=1), picture(30, 500)
    passage = runner.passage(0, slice(None))
    kept = [passage.push(pixels)[1], *(rows for _, rows in passage.finish())]
    assert_equal(np.concatenate(kept), expected(edsr, pixels))


@needs_openvino
def test_a_passage_from_the_middle_of_a_picture_is_right_beyond_the_radius(edsr: Path) -> None:
    runner, pixels = engine(edsr), picture(60, 30)
    passage = runner.passage(20, slice(None))
    kept = [passage.push(pixels[start : start + 8]) for start in range(20, 60, 8)]
    kept = [(first, rows) for first, rows in (*kept, *passage.finish()) if len(rows)]
    beyond = runner.scale * (20 + (runner.radius or 0))
    found = np.concatenate([rows for _, rows in kept])[beyond - kept[0][0] :]
    assert_equal(found, expected(edsr, pixels)[beyond:])


@needs_openvino
def test_the_bundled_model_gives_what_torch_gives() -> None:
    pixels = np.asarray(cv2.imread(str(CHECKOUT / "tests" / "data" / "parrots.png")))[:60, :50]
    assert_equal(engine("span-x4").run(pixels, *EVERYTHING), expected("span-x4", pixels))


@needs_openvino
def test_radius_and_scale_are_those_of_the_system(model: Path, runner: OpenVinoEngine) -> None:
    system = weights.load(str(model)).system
    assert isinstance(system, Upscaler)
    assert (runner.scale, runner.radius) == (system.scale, system.radius)


@needs_openvino
@pytest.mark.parametrize("channels", [1, 3])
def test_the_self_ensemble_is_the_mean_over_eight_turns_and_reflections(edsr: Path, channels: int) -> None:
    pixels = picture(23, 31, channels)
    runner = engine(edsr, ensemble=True)
    values = expected(edsr, pixels, ensemble=True)
    assert_equal(runner.run(pixels, *EVERYTHING), values)
    assert np.abs(values - expected(edsr, pixels)).max() > 0.01, "both the same would prove nothing"
    assert runner.nature(3).held is None


@needs_openvino
def test_halo_memory_and_precision_have_their_effect(edsr: Path) -> None:
    pixels = picture(60, 60)
    usual = engine(edsr)
    assert engine(edsr, halo=2).radius == 2
    assert engine(edsr, halo=2).nature(3).held is None, "in bands a network would look farther than it is allowed to"
    assert engine(edsr, memory=1 << 20).nature(3).memory < usual.nature(3).memory
    try:
        half = engine(edsr, dtype="bf16").run(pixels, *EVERYTHING)
    except UsageError as error:
        pytest.skip(str(error))
    whole = usual.run(pixels, *EVERYTHING)
    assert 0 < np.abs(half.astype(int) - whole).mean() < 3


@needs_openvino
def test_a_result_that_is_not_finite_is_an_error_of_the_input(tmp_path: Path) -> None:
    path = changed(
        write(tmp_path / "m.safetensors", "edsr", scale=2), lambda tensors: tensors["generator.conv_last.weight"].fill(3e38)
    )
    runner = engine(path)
    with pytest.raises(InputError, match="not finite"):
        runner.run(picture(4, 4), *EVERYTHING)


@needs_openvino
@pytest.mark.parametrize(
    ("error", "found"),
    [
        (
            RuntimeError("[CPU] Add node with name 'Add_47' Check 'ptr' failed\nFailed to allocate 30720000 bytes of memory"),
            True,
        ),
        (RuntimeError("[CPU] Transpose node with name 'Transpose_8' can't alloc"), True),
        (RuntimeError("Exception from src/inference/src/dev/plugin.cpp:54:\nstd::bad_alloc"), True),
        (MemoryError("Unable to allocate 300. KiB"), True),
        (RuntimeError("Shape inference of Multiply node failed"), False),
    ],
    ids=lambda value: str(value).splitlines()[-1][:20],
)
def test_a_lack_of_memory_is_told_from_other_errors(edsr: Path, error: Exception, found: bool) -> None:
    assert engine(edsr).is_out_of_memory(error) is found


# --- what is refused ----------------------------------------------------------------------------------------------------


def changed(path: Path, change: Callable[[dict[str, Array]], object], facts: dict[str, object] | None = None) -> Path:
    """Change what a model file holds and what its header says."""
    with safe_open(path, "numpy") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        metadata = dict(file.metadata())
    change(tensors)
    header = json.loads(metadata["gantool"])
    header["config"] |= facts or {}
    save_file(tensors, path, {**metadata, "gantool": json.dumps(header)})
    return path


def leave(tensors: dict[str, Array]) -> None:
    """Change nothing."""


@needs_openvino
@pytest.mark.parametrize(
    ("change", "facts", "words"),
    [
        (lambda t: t.pop("generator.body.1.conv2.bias"), {}, r"body.1.conv2.bias float32 \(8,\), file holds none"),
        (lambda t: t.update(more=np.zeros(3, np.float32)), {}, "expects no more"),
        (lambda t: t.update({"generator.conv_last.bias": np.zeros(4, np.float32)}), {}, r"file holds float32 \(4,\)"),
        (lambda t: t.update({"generator.conv_last.bias": np.zeros(3, np.int32)}), {}, r"file holds int32 \(3,\)"),
        (lambda t: t["generator.conv_last.bias"].fill(np.nan), {}, "not finite in generator.conv_last.bias"),
        (leave, {"blocks": 3}, "expects generator.body.2.conv1.weight"),
        (leave, {"blocks": 0}, "blocks = 0"),
        (leave, {"channels": 8.5}, "channels = 8.5"),
        (leave, {"mean_shift": 1}, "mean_shift = 1"),
        (leave, {"rgb_range": "white"}, "rgb_range = white"),
        (leave, {"rgb_range": True}, "rgb_range = True"),
        (leave, {"scale": 4}, "expects generator.upsample.2.weight"),
    ],
)  # fmt: skip
def test_a_file_that_does_not_hold_what_it_claims_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Array]], object], facts: dict[str, object], words: str
) -> None:
    path = changed(write(tmp_path / "m.safetensors", "edsr", scale=2), change, facts)
    with pytest.raises(WeightsError, match=words) as error:
        engine(path)
    assert str(path) in str(error.value)
    with pytest.raises(GantoolError):
        weights.load(str(path))  # as torch's way does


@needs_openvino
def test_a_scale_that_the_network_cannot_have_is_refused(tmp_path: Path) -> None:
    path = changed(write(tmp_path / "m.safetensors", "srresnet", scale=2), leave, {"scale": 3})
    with pytest.raises(WeightsError, match=r"does not describe a possible srresnet \(scale 3\)"):
        engine(path)


@needs_openvino
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"device": "cuda"}, "not on cuda: use --backend torch"),
        ({"dtype": "fp16"}, "no precision fp16: use --dtype fp32 or bf16"),
    ],
)
def test_settings_that_openvino_does_not_have_are_refused(edsr: Path, settings: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        engine(edsr, **settings)


@needs_openvino
def test_what_is_no_model_file_is_left_to_torch(tmp_path: Path, edsr: Path) -> None:
    torch.save({"weight": torch.zeros(3)}, tmp_path / "m.pth")
    save_file({"weight": np.zeros(3, np.float32)}, tmp_path / "m.safetensors")
    for model in ("bicubic-x3", tmp_path / "m.pth", tmp_path / "m.safetensors"):
        with pytest.raises(UsageError, match="use --backend torch"):
            engine(model)
    other = tmp_path / "other.safetensors"
    other.write_bytes(edsr.read_bytes().replace(b'\\"system\\": \\"edsr\\"', b'\\"system\\": \\"abcd\\"'))
    with pytest.raises(UsageError, match="is of abcd, openvino has edsr, span, srcnn, srresnet: use --backend torch"):
        engine(other)


def test_without_the_package_a_line_names_the_extra() -> None:
    done = python(
        "import sys; sys.modules['openvino'] = None; from gantool import cli; cli.main()",
        "upscale",
        "x.png",
        "--backend",
        "openvino",
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "gantool: --backend openvino needs one more package: pip install 'gantool[openvino]'\n"


# --- what it leaves alone -----------------------------------------------------------------------------------------------


def python(code: str, *args: object, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *map(str, args)],
        capture_output=True, text=True, timeout=120, cwd=CHECKOUT, env={**os.environ, **env},
    )  # fmt: skip


@needs_openvino
def test_it_upscales_without_torch_and_tells_nobody(tmp_path: Path, edsr: Path) -> None:
    code = """
        import sys
        import numpy as np
        from gantool import engines, tiling
        loaded = engines.load(sys.argv[1], engines.Settings(backend="openvino"))
        rows = list(tiling.run(loaded.engine, iter([np.zeros((150, 150, 3), np.uint8)]), (150, 150, 3)))
        assert sum(len(each) for each in rows) == 300
        print(*sorted({"torch", "openvino.tools.ovc", "openvino_telemetry"} & set(sys.modules)))
    """
    done = python(code, edsr, HOME=str(tmp_path), LOCALAPPDATA=str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")
    assert list(tmp_path.iterdir()) == []


@needs_openvino
def test_the_command_upscales_without_torch(tmp_path: Path) -> None:
    code = """
        import sys
        from gantool import cli
        try:
            cli.main()
        finally:
            print("torch" in sys.modules)
    """
    source, target = CHECKOUT / "tests" / "data" / "parrots.png", tmp_path / "large.png"
    done = python(code, "upscale", source, "-o", target, "--backend", "openvino", "-q", HOME=str(tmp_path))
    assert (done.returncode, done.stdout.split()[-1], done.stderr) == (0, "False", "")
    assert [path.name for path in tmp_path.iterdir()] == ["large.png"]
