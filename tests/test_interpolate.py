"""What lies between two networks: exact at the ends and in between, refused where it would mean nothing, and `--denoise`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import networks
import numpy as np
import pytest
import torch
from conftest import Result
from hub import COMMIT, REPO, serve
from huggingface_hub import constants
from torch import Tensor

from gantool import cache, interpolating, modelfile, systems, weights
from gantool.errors import UsageError, WeightsError
from gantool.modelfile import inference_tensors
from gantool.system import System
from gantool.weights import Model

Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test sees the caches of whoever runs it."""
    monkeypatch.setattr(constants, "HF_ASSETS_CACHE", str(tmp_path / "assets"))
    monkeypatch.delenv("GANTOOL_WEIGHTS", raising=False)
    return tmp_path


def model(name: str, seed: int = 0, **changes: object) -> Model:
    """A small system in the form for inference; other seeds have other weights and counters."""
    system = networks.small(name, **changes).for_inference().eval().requires_grad_(False)
    networks.randomize(system)
    for value in inference_tensors(system).values():
        value.mul_(1 + 0.125 * seed) if value.is_floating_point() else value.fill_(seed)
    return Model(f"{name}-{seed}", system, "", {})


def same(system: System, tensors: dict[str, Tensor]) -> bool:
    """Whether a system's tensors are these, bit for bit: -0 is not 0."""
    own = inference_tensors(system)
    return own.keys() == tensors.keys() and all(own[k].numpy().tobytes() == tensors[k].numpy().tobytes() for k in own)


# --- the mixture -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in systems.names() if name != "kernel"])
def test_every_system_is_exact_at_the_ends_and_linear_in_between(name: str) -> None:
    first, second = model(name), model(name, 2)
    key = next(key for key, value in inference_tensors(first.system).items() if value.is_floating_point())
    inference_tensors(first.system)[key].fill_(-0.0)
    a, b = ({k: v.clone() for k, v in inference_tensors(each.system).items()} for each in (first, second))
    assert same(interpolating.between(first, second, 0.0), a)
    assert same(interpolating.between(first, second, 1.0), b)
    for key, value in inference_tensors(interpolating.between(first, second, 0.25)).items():
        torch.testing.assert_close(value.double(), (0.75 * a[key].double() + 0.25 * b[key]).to(value.dtype).double())
    assert same(first.system, a)
    assert same(second.system, b)


def test_counters_are_rounded() -> None:
    mixed = inference_tensors(interpolating.between(model("srresnet"), model("srresnet", 3), 0.5))
    assert {int(value) for key, value in mixed.items() if key.endswith("num_batches_tracked")} == {2}  # of 1.5, to even


# --- what cannot be mixed ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("span", {"learning_rate": 1.0, "steps": 3, "patch": 32}),
        ("srresnet", {"learning_rate": 1.0, "batch": 3}),
        ("real-esrgan", {"generator": "compact", "pixel_weight": 9.0, "degradation": "bsrgan", "discriminator_channels": 16}),
        ("pix2pix", {"learning_rate": 1.0}),
        ("cyclegan", {"learning_rate": 1.0}),
        ("cgan", {"learning_rate": 1.0}),
    ],
)
def test_what_concerns_only_training_may_differ(name: str, changes: dict[str, object]) -> None:
    same_network = {key: value for key, value in changes.items() if key == "generator"}
    mixed = interpolating.between(model(name, **same_network), model(name, 1, **changes), 1.0)
    assert same(mixed, inference_tensors(model(name, 1, **changes).system))


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("span", {"scale": 2}, "scale (4 and 2)"),
        ("span", {"channels": 12}, "channels (8 and 12)"),
        ("span", {"input_range": 1.0}, "input_range (255.0 and 1.0)"),  # of the same shapes
        ("span", {"mean_shift": False}, "mean_shift (True and False)"),
        ("edsr", {"residual_scaling": 0.1}, "residual_scaling (1.0 and 0.1)"),
        ("srresnet", {"signed": False}, "signed (True and False)"),
        ("real-esrgan", {"generator": "compact"}, "generator (rrdb and compact)"),
        ("cyclegan", {"domains": ("sea", "land")}, "domains ("),
    ],
)
def test_what_inference_depends_on_is_named_and_nothing_else(name: str, changes: dict[str, object], words: str) -> None:
    fields = [field.name for field in dataclasses.fields(systems.load(name).config)]
    training = {key: 0.5 for key in ("learning_rate", "pixel_weight") if key in fields}
    with pytest.raises(UsageError) as caught:
        interpolating.between(model(name), model(name, 1, **changes, **training), 0.5)
    message = str(caught.value)
    assert message.startswith(f"{name}-0 and {name}-1 cannot be mixed, as they differ in {words}")
    assert not any(key in message for key in training)
    assert "\n" not in message


def test_networks_of_two_systems_are_not_mixed() -> None:
    with pytest.raises(UsageError, match=r"differ in system \(span and edsr\): use two models of one system"):
        interpolating.between(model("span"), model("edsr"), 0.5)


def test_similarity_tells_relatives_from_strangers() -> None:
    first, second = model("span"), model("span", 3)
    assert interpolating.similarity(first.system, second.system) == pytest.approx(1)  # the same, and larger
    for value in inference_tensors(second.system).values():
        value.copy_(torch.randn(value.shape, generator=torch.Generator().manual_seed(value.numel())))
    assert abs(interpolating.similarity(first.system, second.system)) < 0.1


# --- gantool models interpolate ----------------------------------------------------------------------------------------


def saved(path: Path, each: Model, license: str = "CC0-1.0", average: bool = True) -> Path:
    weights.save(path, each.system, step=7, metrics={"psnr-y": 31.5}, average=average, title="a test", license=license)
    return path


@pytest.fixture
def pair(home: Path) -> tuple[Path, Path]:
    """Two model files of one small network."""
    return saved(home / "a.safetensors", model("span", scale=2)), saved(home / "b.safetensors", model("span", 1, scale=2))


def test_a_model_file_is_written_that_says_what_it_was_made_of(pair: tuple[Path, Path], home: Path, run_cli: Run) -> None:
    target = home / "mix.safetensors"
    result = run_cli("models", "interpolate", *pair, "--alpha", 0.25, "-o", target)
    assert (result.status, result.out, result.err) == (0, f"{target}\n", "")
    loaded, (a, b) = weights.load(str(target)), (weights.load(str(path)) for path in pair)
    assert same(loaded.system, inference_tensors(interpolating.between(a, b, 0.25)))
    assert loaded.license == "CC0-1.0"
    assert loaded.header["interpolated"] == {
        "a": "a", "a_sha256": cache.digest(pair[0]), "b": "b", "b_sha256": cache.digest(pair[1]), "alpha": 0.25,
    }  # fmt: skip
    assert (loaded.header["weights"], loaded.header["step"], loaded.header["metrics"]) == ("ema", 0, {})
    assert f"a_sha256 {cache.digest(pair[0])}" in run_cli("models", "show", target).out


@pytest.mark.parametrize(("alpha", "end"), [(0, 0), (1, 1)])
def test_at_the_ends_a_file_has_the_tensors_of_one(
    pair: tuple[Path, Path], home: Path, run_cli: Run, alpha: int, end: int
) -> None:
    assert run_cli("models", "interpolate", *pair, "--alpha", alpha, "-o", home / "mix.safetensors").status == 0
    assert same(weights.load(str(home / "mix.safetensors")).system, dict(modelfile.read(pair[end])[0]))


def test_licences_that_differ_are_both_named_once(pair: tuple[Path, Path], home: Path, run_cli: Run) -> None:
    other = saved(home / "c.safetensors", model("span", 1, scale=2), "MIT", average=False)
    target = home / "mix.safetensors"
    run_cli("models", "interpolate", pair[0], other, "--alpha", 0.5, "-o", target)
    assert weights.load(str(target)).license == "CC0-1.0 AND MIT"
    assert weights.load(str(target)).header["weights"] == "raw"
    run_cli("models", "interpolate", target, other, "--alpha", 0.5, "-o", home / "again.safetensors")
    assert weights.load(str(home / "again.safetensors")).license == "CC0-1.0 AND MIT"


def test_a_licence_of_an_entry_goes_before_that_of_its_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(home / "a.safetensors", model("span", scale=2))
    registry = write_registry(home, monkeypatch, {"mine-x2": {"file": path, "license": "MIT"}, "other-x2": {"file": path}})
    assert weights.load("mine-x2", registry=registry).license == "MIT"
    assert weights.load("other-x2", registry=registry).license == "CC0-1.0"


def test_an_output_that_exists_is_kept_unless_told_and_a_source_always(
    pair: tuple[Path, Path], home: Path, run_cli: Run
) -> None:
    target, order = home / "mix.safetensors", ("models", "interpolate", *pair, "--alpha", 0.5, "-o")
    target.write_bytes(b"mine")
    refused = run_cli(*order, target)
    assert (refused.status, refused.out) == (1, "")
    assert refused.err == f"gantool: {target} exists: name another with -o, or use --overwrite\n"
    assert target.read_bytes() == b"mine"
    assert run_cli(*order, target, "--overwrite").status == 0
    assert weights.load(str(target)).name == "mix"
    for source in pair:
        content = source.read_bytes()
        assert run_cli(*order, source, "--overwrite").err == f"gantool: {source} exists: name another with -o\n"
        assert source.read_bytes() == content


@pytest.mark.parametrize(
    ("order", "words"),
    [
        (("A", "B", "--alpha", "1.5", "-o", "new.safetensors"), "--alpha 1.5 is not possible: use a number from 0 to 1"),
        (("A", "B", "--alpha", "-0.1", "-o", "new.safetensors"), "--alpha -0.1 is not possible"),
        (("A", "B", "--alpha", "nan", "-o", "new.safetensors"), "--alpha nan is not possible"),
        (("A", "B", "--alpha", "0.5", "-o", "new.pth"), "let its name end in .safetensors"),
        (("A", "span-x2", "--alpha", "0.5", "-o", "new.safetensors"), "differ in channels (8 and 48)"),
        (("A", "span-x3", "--alpha", "0.5", "-o", "new.safetensors"), "differ in scale (2 and 3), channels (8 and 48)"),
        (("bicubic", "bicubic", "--alpha", "0.5", "-o", "new.safetensors"), "bicubic-x4 has no weights to mix"),
        (("A", "spn-x2", "--alpha", "0.5", "-o", "new.safetensors"), "did you mean span-x2"),
    ],
)
def test_what_cannot_be_is_one_sentence_and_leaves_nothing(
    pair: tuple[Path, Path], home: Path, monkeypatch: pytest.MonkeyPatch, run_cli: Run, order: tuple[str, ...], words: str
) -> None:
    monkeypatch.chdir(home)
    before = {path.name for path in home.iterdir()}
    result = run_cli("models", "interpolate", *({"A": "a.safetensors", "B": "b.safetensors"}.get(word, word) for word in order))
    assert (result.status, result.out) == (2, "")
    assert words in result.err
    assert len(result.err.splitlines()) == 1
    assert {path.name for path in home.iterdir()} == before


def test_networks_that_are_strangers_are_mixed_with_a_warning(pair: tuple[Path, Path], home: Path, run_cli: Run) -> None:
    stranger = model("span", scale=2)
    for value in inference_tensors(stranger.system).values():
        value.copy_(torch.randn(value.shape, generator=torch.Generator().manual_seed(value.numel())))
    other = saved(home / "c.safetensors", stranger)
    result = run_cli("models", "interpolate", pair[0], other, "--alpha", 0.5, "-o", home / "mix.safetensors")
    assert result.status == 0
    assert "a and c seem to be of different origin" in result.err


# --- gantool upscale --denoise -----------------------------------------------------------------------------------------


def write_registry(home: Path, monkeypatch: pytest.MonkeyPatch, tables: dict[str, dict[str, object]]) -> Path:
    """Entries for files that lie in one folder, as bundled files do."""
    lines = []
    for name, table in tables.items():
        file = Path(str(table["file"]))
        monkeypatch.setattr(weights, "BUNDLED", file.parent)
        table = {"system": "span", "bundled": file.name, "sha256": cache.digest(file), "bytes": file.stat().st_size} | table
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items() if key != "file")]
    path = home / "own.toml"
    path.write_text("\n".join(lines))
    return path


@pytest.fixture
def twins(pair: tuple[Path, Path], home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A registry in which a.safetensors has the twin b.safetensors."""
    return write_registry(home, monkeypatch, {"strong": {"file": pair[0], "twin": "weak"}, "weak": {"file": pair[1]}})


@pytest.fixture
def picture(home: Path) -> Path:
    noise = np.random.default_rng(0).integers(0, 256, (12, 10, 3), np.uint8)
    cv2.imwrite(str(home / "in.png"), noise)
    return home / "in.png"


def test_the_strength_is_the_share_of_the_named_model(twins: Path, pair: tuple[Path, Path]) -> None:
    strong, weak = (weights.load(str(path)) for path in pair)
    mixed = interpolating.denoised("strong", 0.75, registry=twins)
    assert same(mixed.system, inference_tensors(interpolating.between(weak, strong, 0.75)))
    assert (mixed.name, mixed.sha256) == ("strong-denoise-0.75", "")


@pytest.mark.parametrize(("strength", "end", "name"), [(1.0, 0, "strong"), (0.0, 1, "weak")])
def test_at_the_ends_one_file_is_enough_and_taken_as_it_is(
    twins: Path, pair: tuple[Path, Path], strength: float, end: int, name: str
) -> None:
    pair[1 - end].unlink()
    found = interpolating.denoised("strong", strength, registry=twins)
    assert same(found.system, dict(modelfile.read(pair[end])[0]))
    assert (found.name, found.sha256) == (name, cache.digest(pair[end]))


def test_without_the_option_the_model_is_as_it_is(twins: Path, pair: tuple[Path, Path], picture: Path, run_cli: Run) -> None:
    results = {}
    for options in ((), ("--denoise", 1), ("--denoise", 0.5), ("--denoise", 0)):
        target = picture.parent / f"out{len(results)}.png"
        line = run_cli("upscale", picture, "-m", "strong", "--registry", twins, "-o", target, "--json", *options)
        assert line.status == 0, line.err
        results[options[-1:]] = (target.read_bytes(), json.loads(line.out)["model"])
    assert results[()] == results[(1,)]
    assert [name for _, name in results.values()] == ["strong", "strong", "strong-denoise-0.5", "weak"]
    assert len({data for data, _ in results.values()}) == 3
    run_cli("upscale", picture, "-m", pair[1], "-o", picture.parent / "weak.png")
    assert cv2.imread(str(picture.parent / "weak.png")).tobytes() == cv2.imread(str(target)).tobytes()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("-m", "strong", "--denoise", "1.01"), "--denoise 1.01 is not possible: use a number from 0 to 1"),
        (("-m", "strong", "--denoise", "-1"), "--denoise -1 is not possible"),
        (("-m", "strong", "--denoise", "nan"), "--denoise nan is not possible"),
        (("-m", "weak", "--denoise", "0.5"), "weak has none: use real-esrgan-general-x4 or strong, or mix two"),
        (("--denoise", "0.5"), "`gantool models interpolate`"),
        (("-m", "a.safetensors", "--denoise", "0.5"), "a.safetensors has none"),
        (("-m", "strong", "--denoise", "0.5", "--backend", "openvino"), "use --backend torch"),
    ],
)
def test_a_strength_that_cannot_be_is_one_sentence(
    twins: Path, picture: Path, monkeypatch: pytest.MonkeyPatch, run_cli: Run, options: tuple[str, ...], words: str
) -> None:
    monkeypatch.chdir(picture.parent)
    result = run_cli("upscale", "in.png", "-o", "out.png", "--registry", twins, *options)
    assert (result.status, result.out) == (2, "")
    assert words in result.err
    assert len(result.err.splitlines()) == 1
    assert not Path("out.png").exists()


def test_a_twin_of_another_form_is_a_fault_of_the_list(
    pair: tuple[Path, Path], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = saved(home / "wide.safetensors", model("span", scale=2, channels=12))
    registry = write_registry(home, monkeypatch, {"strong": {"file": pair[0], "twin": "weak"}, "weak": {"file": wide}})
    with pytest.raises(WeightsError, match=r"\[strong\] of weights.toml has a twin that is none: .*channels \(12 and 8\)"):
        interpolating.denoised("strong", 0.5, registry=registry)


@pytest.mark.parametrize("twin", ["nobody", "bicubic", "edsr-x2", "", 3])
def test_a_twin_that_is_none_is_refused_with_the_list(
    pair: tuple[Path, Path], home: Path, monkeypatch: pytest.MonkeyPatch, twin: object
) -> None:
    registry = write_registry(home, monkeypatch, {"strong": {"file": pair[0], "twin": twin}})
    with pytest.raises(WeightsError, match=r"own\.toml, \[strong\]: .*twin.*refused"):
        weights.load("strong", registry=registry)


def test_both_files_come_from_the_hub_and_then_from_the_cache(
    pair: tuple[Path, Path], picture: Path, home: Path, monkeypatch: pytest.MonkeyPatch, run_cli: Run
) -> None:
    order = ("upscale", picture, "-m", "strong", "--denoise", 0.5, "--registry", home / "own.toml", "-o")
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    with serve() as hub:
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
        hub.files = {path.name: path.read_bytes() for path in pair}
        lines = []
        for name, path, more in (("strong", pair[0], 'twin = "weak"'), ("weak", pair[1], "")):
            lines += [f"[{name}]", 'system = "span"', f'repo = "{REPO}"', f'revision = "{COMMIT}"', f'file = "{path.name}"']
            lines += [f'sha256 = "{cache.digest(path)}"', f"bytes = {path.stat().st_size}", more]
        (home / "own.toml").write_text("\n".join(lines))
        refused = run_cli(*order, home / "first.png", "--offline")
        assert (refused.status, hub.requests) == (3, [])
        assert run_cli(*order, home / "first.png").status == 0
        assert hub.count("GET") == 2
    assert run_cli(*order, home / "second.png", "--offline").status == 0
    assert (home / "first.png").read_bytes() == (home / "second.png").read_bytes()


# --- the published pair ------------------------------------------------------------------------------------------------


@pytest.fixture
def published(shared: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The folder of Real-ESRGAN's small networks, and a registry with the general one and its twin."""
    folder = shared / "data" / "weights" / "real-esrgan-compact"
    tables: dict[str, dict[str, object]] = {
        "general": {"system": "real-esrgan", "file": folder / "realesr-general-x4v3.safetensors", "twin": "wdn"},
        "wdn": {"system": "real-esrgan", "file": folder / "realesr-general-wdn-x4v3.safetensors"},
    }
    return folder, write_registry(home, monkeypatch, tables)


def test_strengths_of_the_published_pair_are_the_two_files_bit_for_bit_and_linear(published: tuple[Path, Path]) -> None:
    folder, registry = published
    general, wdn = (modelfile.read(folder / f"realesr-general-{name}x4v3.safetensors")[0] for name in ("", "wdn-"))
    for strength, tensors in ((1.0, general), (0.0, wdn)):
        expected = {f"generator.{key}": value.float() for key, value in tensors.items()}
        assert same(interpolating.denoised("general", strength, registry=registry).system, expected)
    middle = inference_tensors(interpolating.denoised("general", 0.3, registry=registry).system)
    for key, value in middle.items():
        name = key.removeprefix("generator.")
        torch.testing.assert_close(value, 0.3 * general[name].float() + 0.7 * wdn[name].float())


def test_strength_0_of_the_published_pair_keeps_the_noise_as_the_reference_does(
    published: tuple[Path, Path], home: Path, run_cli: Run
) -> None:
    folder, registry = published
    order = ("upscale", folder / "input.png", "-m", "general", "--registry", registry, "--denoise", 0, "-o", home / "out.png")
    assert run_cli(*order).status == 0
    result, expected = (
        cv2.imread(str(path)).astype(int) for path in (home / "out.png", folder / "realesr-general-wdn-x4v3_expected.png")
    )
    assert np.abs(result - expected).max() <= 1
