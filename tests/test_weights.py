"""Names, files and headers of weights: what is found, what is refused, and in which words."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save as to_bytes
from torch import Tensor

from gantool import cache, modelfile, systems, weights
from gantool.entries import Entry, entries, registry_file
from gantool.errors import GantoolError, UsageError, WeightsError
from gantool.modelfile import Json
from gantool.system import System
from gantool.systems.super_resolution import edsr, span

if TYPE_CHECKING:
    from conftest import Result

SHA, COMMIT = "a" * 64, "b" * 40
PINNED = {"system": "span", "repo": "some/one", "revision": COMMIT, "file": "m.safetensors", "sha256": SHA, "bytes": 5}
BUNDLED = {"system": "span", "bundled": "m.safetensors", "sha256": SHA, "bytes": 5}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test sees the caches of whoever runs it."""
    monkeypatch.setattr(constants, "HF_ASSETS_CACHE", str(tmp_path / "assets"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("GANTOOL_WEIGHTS", raising=False)
    return tmp_path


def tiny(**changes: object) -> span.SPAN:
    """A SPAN small enough for tests, with weights that are drawn alike each time."""
    torch.manual_seed(0)
    config = replace(span.Config(scale=2, channels=4, reparameterized=False), **changes)  # type: ignore[arg-type]
    return span.SPAN(config)


def saved(path: Path, system: System | None = None) -> Path:
    """Write a model file."""
    weights.save(path, system or tiny(), step=7, metrics={"psnr-y": 31.5}, average=True, title="a test", license="CC0-1.0")
    return path


def toml(folder: Path, tables: dict[str, dict[str, object]]) -> Path:
    """Write a registry."""
    path = folder / "own.toml"
    lines = []
    for name, table in tables.items():
        lines.append(f"[{json.dumps(name)}]")
        for key, value in table.items():
            shown = (
                "{ " + ", ".join(f"{k} = {json.dumps(v)}" for k, v in value.items()) + " }"
                if isinstance(value, dict)
                else json.dumps(value)
            )
            lines.append(f"{json.dumps(key)} = {shown}")
    path.write_text("\n".join(lines))
    return path


def refusal(path: Path, system: str | None = None) -> str:
    """Load what cannot be loaded; return the one line that says so, which took neither long nor much."""
    begin = time.monotonic()
    with pytest.raises(WeightsError) as caught:
        weights.load(str(path), system=system)
    assert time.monotonic() - begin < 10
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


# What weights.toml says


def test_the_shipped_entries_are_complete_and_have_licence_and_source() -> None:
    shipped = entries()
    assert {"nearest", "bilinear", "bicubic", "lanczos", "edsr-baseline-x4", "srresnet-x4"} <= shipped.keys()
    for entry in shipped.values():
        assert entry.weightless or "unspecified" not in (entry.license, entry.source), entry.name
        assert entry.weightless or entry.scale is None or entry.name.endswith(f"-x{entry.scale}"), entry.name
        if not entry.features:
            modelfile.configure(systems.load(str(entry.system)).config(), dict(entry.config or {}), entry.name)


def test_bundled_files_are_what_weights_toml_says() -> None:
    for entry in entries().values():
        if entry.bundled:
            path = weights.locate(entry)
            assert path.stat().st_size == entry.bytes
            assert path.stat().st_size <= 6_000_000
            assert weights.load(entry.name).header["scale"] == entry.scale


def test_listing_and_choosing_import_neither_torch_nor_the_client() -> None:
    code = "import sys; from gantool import weights; weights.choose('bicubic', 3); weights.find('a/b:c.pth'); "
    code += "print([m for m in ('torch', 'numpy', 'PIL', 'cv2', 'huggingface_hub', 'safetensors') if m in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == "[]"


def test_ones_own_registry_is_added_by_option_or_variable(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = toml(home, {"mine": PINNED})
    assert "mine" not in entries()
    assert entries(path).keys() == entries().keys() | {"mine"}
    monkeypatch.setenv("GANTOOL_WEIGHTS", str(path))
    assert entries()["mine"].sha256 == SHA
    assert "bicubic" in entries()


def test_an_entry_of_ones_own_cannot_take_a_shipped_name(home: Path) -> None:
    with pytest.raises(WeightsError, match=r"\[bicubic\].*give it another"):
        entries(toml(home, {"bicubic": PINNED}))


@pytest.mark.parametrize(
    ("base", "changes", "words"),
    [
        (PINNED, {"sha256": None}, "sha256 is missing"),
        (PINNED, {"sha256": ""}, "sha256"),
        (PINNED, {"sha256": SHA[:-1]}, "sha256"),
        (PINNED, {"sha256": SHA.upper()}, "sha256"),
        (PINNED, {"sha256": "z" * 64}, "sha256"),
        (PINNED, {"bytes": None}, "bytes is missing"),
        (PINNED, {"bytes": "5"}, "bytes"),
        (PINNED, {"bytes": True}, "bytes"),
        (PINNED, {"revision": None}, "revision is missing"),
        (PINNED, {"revision": "main"}, "revision is 'main'"),
        (PINNED, {"revision": COMMIT[:7]}, "revision"),
        (PINNED, {"file": None}, "file is missing"),
        (PINNED, {"file": "../m.safetensors"}, "file"),
        (PINNED, {"file": "a/../m.safetensors"}, "file"),
        (PINNED, {"file": "/etc/passwd"}, "file"),
        (PINNED, {"file": "https://example.org/m.safetensors"}, "file"),
        (PINNED, {"file": "%2e%2e/m.safetensors"}, "file"),
        (PINNED, {"file": "a\\m.safetensors"}, "file"),
        (PINNED, {"file": "m.safetensors\n"}, "file"),
        (PINNED, {"repo": "one"}, "repo"),
        (PINNED, {"repo": "../one"}, "repo"),
        (PINNED, {"repo": "a/b/c"}, "repo"),
        (PINNED, {"repo": "https://example.org/a"}, "repo"),
        (PINNED, {"system": None}, "system"),
        (PINNED, {"system": "spam"}, "did you mean span"),
        (PINNED, {"config": {"scale": 0}}, "scale"),
        (PINNED, {"config": {"scale": 2.5}}, "scale"),
        (PINNED, {"config": {"scale": 1_000_000}}, "scale"),
        (PINNED, {"config": {"scale": True}}, "scale"),
        (PINNED, {"config": {"channels": [[1]]}}, "channels"),
        (PINNED, {"config": "x4"}, "config"),
        (PINNED, {"unpinned": True}, "does not go"),
        (PINNED, {"unpinned": "yes", "sha256": None, "bytes": None}, "unpinned"),
        (PINNED, {"unpinned": True, "sha256": None, "bytes": None, "file": None}, "file is missing"),
        (PINNED, {"sha265": SHA}, "did you mean sha256"),
        (PINNED, {"license": ""}, "license"),
        (BUNDLED, {"sha256": None}, "sha256 is missing"),
        (BUNDLED, {"bundled": "../m.safetensors"}, "bundled"),
        (BUNDLED, {"bundled": "sub/m.safetensors"}, "bundled"),
        (BUNDLED, {"bundled": "m.pth"}, "bundled"),
        (BUNDLED, {"repo": "some/one"}, "repo does not go"),
        ({"system": "kernel"}, {"sha256": SHA}, "sha256 does not go"),
    ],
)
def test_an_entry_that_is_not_whole_is_refused(
    home: Path, base: dict[str, object], changes: dict[str, object], words: str
) -> None:
    entries(toml(home, {"mine": base}))  # it was whole
    table = {key: value for key, value in {**base, **changes}.items() if value is not None}
    with pytest.raises(WeightsError, match=r"own\.toml, \[mine\]: ") as caught:
        entries(toml(home, {"mine": table}))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["Mine", "a b", "", "a/b", "-x", "a\u202eb", "a\nb"])
def test_an_odd_name_of_an_entry_is_refused(home: Path, name: str) -> None:
    with pytest.raises(WeightsError) as caught:
        entries(toml(home, {name: PINNED}))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe", b"[mine", b"mine = 1", b"<!doctype html>", b"a = " + b"[" * 100_000, b"[a]\n[a]\n", b"#" * 2_000_000],
)
def test_what_is_no_registry_is_refused(home: Path, content: bytes) -> None:
    path = home / "own.toml"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"own\.toml"):
        entries(path)


def test_a_registry_that_is_not_there_is_named(home: Path) -> None:
    with pytest.raises(WeightsError, match=r"absent\.toml"):
        entries(home / "absent.toml")


# Names


@pytest.mark.parametrize(
    ("reference", "scale", "chosen"),
    [
        ("edsr", 1.5, "edsr-x2"), ("edsr", 2, "edsr-x2"), ("edsr", 2.5, "edsr-x3"), ("edsr", 9, "edsr-x4"),
        ("srresnet", 3, "srresnet-x4"), ("edsr-x2", 4, "edsr-x2"), ("bicubic", 2.5, "bicubic-x3"),
        ("bicubic", 0.5, "bicubic-x1"), ("lanczos", 99, "lanczos-x16"), ("bicubic-x3", 2, "bicubic-x3"),
        ("a/b:m.pth", 2, "a/b:m.pth"), ("./m.pth", 2, "./m.pth"),
    ],
)  # fmt: skip
def test_a_family_gives_the_smallest_scale_that_suffices(reference: str, scale: float, chosen: str) -> None:
    assert weights.choose(reference, scale) == chosen


def test_no_name_means_the_default_family(home: Path) -> None:
    missing = {f"span-x{n}": {**BUNDLED, "config": {"scale": n}} for n in (2, 3, 4) if f"span-x{n}" not in entries()}
    registry = toml(home, missing) if missing else None
    assert [weights.choose(None, scale, registry) for scale in (1, 2, 3, 4, 8)] == [
        "span-x2",
        "span-x2",
        "span-x3",
        "span-x4",
        "span-x4",
    ]


def test_a_name_of_the_hub_is_taken_apart_and_finds_its_entry() -> None:
    found = weights.find("some/repo@v1.0:folder/m.pth")
    assert isinstance(found, Entry)
    assert (found.repo, found.revision, found.file, found.system) == ("some/repo", "v1.0", "folder/m.pth", None)
    assert weights.find("eugenesiow/edsr-base:pytorch_model_4x.pt") == entries()["edsr-baseline-x4"]  # whose config matters


@pytest.mark.parametrize(
    "reference",
    ["spam-x4", "edsr-x5", "bicubic-x17", "a/../b", "a/b:../c", "a/b@../c", "", "-", "a/b:%2e", "https://a/b", "a//b"],
)
def test_what_stands_for_nothing_is_a_usage_error(reference: str) -> None:
    with pytest.raises(UsageError, match="no model named"):
        weights.find(reference)


def test_a_mistyped_name_is_answered_with_near_ones() -> None:
    with pytest.raises(UsageError, match="did you mean bicubic"):
        weights.load("bicubc")


def test_weightless_entries_upscale_by_any_whole_scale() -> None:
    picture = torch.rand(1, 3, 5, 4)
    for name in ("nearest", "bilinear", "bicubic", "lanczos"):
        for scale in (2, 3):
            model = weights.load(f"{name}-x{scale}")
            assert model.system.upscale(picture).shape == (1, 3, 5 * scale, 4 * scale)  # type: ignore[operator]
            assert (model.header["scale"], model.sha256) == (scale, "")
    assert weights.load("bicubic").header["scale"] == 4


def test_an_entry_without_a_file_cannot_stand_for_a_network(home: Path) -> None:
    with pytest.raises(WeightsError, match="expects generator"):
        weights.load("mine", registry=toml(home, {"mine": {"system": "span"}}))


# Our own files


def test_what_is_saved_is_loaded_bit_for_bit(home: Path) -> None:
    picture, system = torch.rand(1, 3, 9, 8), tiny().eval()
    model = weights.load(str(saved(home / "m.safetensors", system)))
    assert model.name == "m"
    assert not model.system.training
    assert not any(parameter.requires_grad for parameter in model.system.parameters())
    assert torch.equal(model.system.upscale(picture), system.upscale(picture))  # type: ignore[operator]
    assert model.sha256 == hashlib.sha256((home / "m.safetensors").read_bytes()).hexdigest()


def test_a_system_is_saved_in_the_form_for_inference(home: Path) -> None:
    system, picture = tiny(reparameterized=True).eval(), torch.rand(1, 3, 9, 8)
    model = weights.load(str(saved(home / "m.safetensors", system)))
    config = model.header["config"]
    assert isinstance(config, dict)
    assert config["reparameterized"] is False
    assert torch.allclose(model.system.upscale(picture), system.upscale(picture), atol=1e-4)  # type: ignore[operator]


def test_the_header_says_what_the_file_is(home: Path) -> None:
    tensors, metadata = modelfile.read(saved(home / "m.safetensors"))
    assert metadata["format"] == "pt"
    assert metadata["modelspec.sai_model_spec"] == "1.0.0"
    assert metadata["modelspec.architecture"] == "span"
    assert metadata["modelspec.implementation"] == "gantool"
    assert (metadata["modelspec.title"], metadata["modelspec.license"]) == ("a test", "CC0-1.0")
    assert json.loads(metadata["gantool"]) == {
        "schema": 1, "system": "span", "config": asdict(tiny().config), "task": "super_resolution", "scale": 2,
        "multiple": 1, "halo": 21, "half_safe": tiny().half_safe, "weights": "ema", "step": 7, "source_sha256": None,
        "metrics": {"psnr-y": 31.5}, "behaviour": "",
    }  # fmt: skip
    assert all(key.startswith("generator.") for key in tensors)


def test_the_same_content_gives_the_same_bytes(home: Path) -> None:
    first, second = (saved(home / name).read_bytes() for name in ("a.safetensors", "b.safetensors"))
    assert first == second


def test_an_infinite_metric_is_written_as_a_word(home: Path) -> None:
    weights.save(home / "m.safetensors", tiny(), step=0, metrics={"psnr-y": float("inf")}, average=False, title="")
    assert weights.load(str(home / "m.safetensors")).header["metrics"] == {"psnr-y": "inf"}


def test_a_failed_save_leaves_nothing(home: Path) -> None:
    with pytest.raises(GantoolError):
        saved(home / "absent" / "m.safetensors")
    (home / "d.safetensors").mkdir()
    with pytest.raises(GantoolError):
        saved(home / "d.safetensors")
    assert [path.name for path in home.iterdir()] == ["d.safetensors"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types_are_read_as_float32(home: Path, dtype: torch.dtype) -> None:
    rewrite(saved(home / "m.safetensors"), lambda tensors: {key: value.to(dtype) for key, value in tensors.items()})
    assert {p.dtype for p in weights.load(str(home / "m.safetensors")).system.parameters()} == {torch.float32}


def test_a_bundled_file_is_loaded_only_with_its_hash(
    home: Path, monkeypatch: pytest.MonkeyPatch, run_cli: Callable[..., Result]
) -> None:
    monkeypatch.setattr(weights, "BUNDLED", home)
    path = saved(home / "m.safetensors")
    table = {**BUNDLED, "config": {"scale": 2}, "sha256": cache.digest(path), "bytes": path.stat().st_size}
    registry = toml(home, {"mine-x2": table, "mine-x4": {**table, "config": {"scale": 4}}})
    assert weights.load("mine-x2", registry=registry).name == "mine-x2"
    assert weights.find("mine", registry).name == "mine-x4"  # a family without a wanted scale
    assert run_cli("models", "verify", "mine-x2", "--registry", registry).out.startswith("mine-x2  ok")
    with pytest.raises(WeightsError, match="says otherwise than scale = 4"):
        weights.load("mine-x4", registry=registry)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="sha256 of .*m.safetensors is .*weights.toml says.*install gantool again"):
        weights.load("mine-x2", registry=registry)
    result = run_cli("models", "verify", "--registry", registry)
    assert result.status == 3
    assert "mine-x2  WRONG" in result.out
    path.unlink()
    with pytest.raises(WeightsError, match=r"m\.safetensors"):
        weights.load("mine-x2", registry=registry)
    result = run_cli("models", "verify", "--registry", registry)
    assert (result.status, "mine-x2  MISSING" in result.out) == (3, True)


def test_a_system_that_contradicts_the_file_is_refused(home: Path) -> None:
    assert "edsr" in refusal(saved(home / "m.safetensors"), system="edsr")
    with pytest.raises(UsageError, match="no system named 'spam'"):
        weights.load(str(home / "m.safetensors"), system="spam")


# Files that are not what they should be


def rewrite(path: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]], **facts: Json) -> Path:
    """Change the tensors, and facts of the header, of a model file."""
    tensors, metadata = modelfile.read(path)
    header = {**json.loads(metadata["gantool"]), **facts}
    path.write_bytes(to_bytes({k: v.clone() for k, v in change(tensors).items()}, {**metadata, "gantool": json.dumps(header)}))
    return path


def raw(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file made by hand."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def f32(start: int, end: int, shape: list[int]) -> dict[str, object]:
    return {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}


MALFORMED = {
    "empty": b"",
    "zeros": b"\0" * 4096,
    "noise": bytes(range(256)) * 16,
    "html": b"<!DOCTYPE html><html>log in</html>",
    "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 9\n",
    "tar": b"x" * 257 + b"ustar\x0000" + b"\0" * 300,
    "short": raw({"a": f32(0, 4, [1])}, b"\0\0\0\0")[:-3],
    "header cut": raw({"a": f32(0, 4, [1])}, b"\0\0\0\0")[:20],
    "length 2^64-1": raw(b"{}", length=2**64 - 1),
    "length past the end": raw(b"{}", length=10**6),
    "length 0": raw(b"{}", length=0),
    "no JSON": raw(b"{nonsense}"),
    "not UTF-8": raw(b'{"\xff\xfe": 1}'),
    "list": raw(b"[1, 2, 3]"),
    "overlap": raw({"a": f32(0, 8, [2]), "b": f32(4, 12, [2])}, b"\0" * 12),
    "hole": raw({"a": f32(0, 4, [1]), "b": f32(8, 12, [1])}, b"\0" * 12),
    "trailing": raw({"a": f32(0, 4, [1])}, b"\0" * 99),
    "backwards": raw({"a": f32(4, 0, [1])}, b"\0" * 4),
    "shape and size differ": raw({"a": f32(0, 4, [2])}, b"\0" * 4),
    "shape overflows": raw({"a": f32(0, 4, [2**32, 2**32])}, b"\0" * 4),
    "negative shape": raw({"a": f32(0, 4, [-1])}, b"\0" * 4),
    "unknown type": raw({"a": {"dtype": "F31", "shape": [1], "data_offsets": [0, 4]}}, b"\0" * 4),
    "metadata no text": raw({"__metadata__": {"format": 3}, "a": f32(0, 4, [1])}, b"\0" * 4),
    "100,000 levels": raw(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "header deep": raw({"__metadata__": {"gantool": "[" * 100_000}, "a": f32(0, 4, [1])}, b"\0" * 4),
    "header no JSON": raw({"__metadata__": {"gantool": "nonsense"}, "a": f32(0, 4, [1])}, b"\0" * 4),
    "header a list": raw({"__metadata__": {"gantool": "[]"}, "a": f32(0, 4, [1])}, b"\0" * 4),
    "header without system": raw({"__metadata__": {"gantool": '{"schema": 1}'}, "a": f32(0, 4, [1])}, b"\0" * 4),
    "no tensors": raw({"__metadata__": {"format": "pt"}}),
    "200,000 tensors": raw({f"t{n}": f32(0, 0, [0]) for n in range(200_000)}),
    "float4": raw({"a": {"dtype": "F4", "shape": [2], "data_offsets": [0, 1]}}, b"\0"),
}


@pytest.mark.parametrize("kind", MALFORMED)
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_malformed_file_is_refused_in_one_line(home: Path, kind: str, suffix: str) -> None:
    path = home / f"m{suffix}"
    path.write_bytes(MALFORMED[kind])
    refusal(path)


@pytest.mark.parametrize("size", range(0, 3000, 200))
def test_a_file_cut_anywhere_is_refused(home: Path, size: int) -> None:
    path = saved(home / "m.safetensors")
    path.write_bytes(path.read_bytes()[:size])
    assert path.stat().st_size == size
    refusal(path)


def test_what_is_no_file_is_refused_at_once(home: Path) -> None:
    os.mkfifo(home / "fifo.safetensors")
    (home / "folder.safetensors").mkdir()
    (home / "link.safetensors").symlink_to("link.safetensors")
    for name in ("fifo", "folder", "link", "absent"):
        refusal(home / f"{name}.safetensors")


def test_a_huge_file_is_refused_unread(home: Path) -> None:
    path = home / "m.safetensors"
    path.write_bytes(raw({"a": f32(0, 2**40, [2**38])}))
    os.truncate(path, path.stat().st_size + 2**40)
    assert "GiB" in refusal(path)


def nan(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {**tensors, "generator.conv_cat.bias": torch.full_like(tensors["generator.conv_cat.bias"], float("nan"))}


def infinite(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {**tensors, "generator.conv_cat.bias": torch.full_like(tensors["generator.conv_cat.bias"], float("inf"))}


def too_large_for_float32(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {**tensors, "generator.conv_cat.bias": torch.full([4], 1e300, dtype=torch.float64)}


def integers(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.int() for key, value in tensors.items()}


def eight_bit_floats(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.to(torch.float8_e4m3fn) for key, value in tensors.items()}


def one_missing(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in tensors.items() if key != "generator.conv_cat.bias"}


def one_more(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {**tensors, "generator.conv_dog.bias": torch.zeros(1)}


def one_renamed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return one_more(one_missing(tensors))


def transposed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.flatten() for key, value in tensors.items()}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (nan, "not finite in generator.conv_cat.bias"),
        (infinite, "not finite in generator.conv_cat.bias"),
        (too_large_for_float32, "not finite in generator.conv_cat.bias"),
        (integers, "expects generator.conv_first.weight float32 (4, 3, 3, 3), file holds int32 (4, 3, 3, 3)"),
        (eight_bit_floats, "file holds float8"),
        (one_missing, "expects generator.conv_cat.bias float32 (4,), file holds none"),
        (one_more, "expects no generator.conv_dog.bias, file holds float32 (1,)"),
        (one_renamed, "expects generator.conv_cat.bias float32 (4,), file holds none"),
        (transposed, "file holds float32 (108,)"),
    ],
)
def test_weights_that_do_not_fit_are_refused_with_what_differs(
    home: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]], words: str
) -> None:
    message = refusal(rewrite(saved(home / "m.safetensors"), change))
    assert words in message
    assert message.count("file holds") <= 5


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"scale": 3}, "expects"),
        ({"channels": 10**6}, "far larger"),
        ({"channels": -1}, "channels = -1: it must be a whole number, 1 or more"),
        ({"channels": 0}, "channels = 0: it must be a whole number, 1 or more"),
        ({"channels": 4.5}, "channels"),
        ({"channels": True}, "channels"),
        ({"channels": "4"}, "channels"),
        ({"channels": None}, "channels"),
        ({"channels": 10**400}, "m.safetensors"),
        ({"scale": 10**9}, "m.safetensors"),
        ({"colour": 1}, "colour"),
        ({"learning_rate": 1e999}, "learning_rate"),
    ],
)
def test_a_header_that_asks_for_something_else_is_refused(home: Path, config: dict[str, Json], words: str) -> None:
    path = saved(home / "m.safetensors")
    assert words in refusal(rewrite(path, lambda tensors: tensors, config={**asdict(tiny().config), **config}))


def test_a_header_that_asks_for_a_billion_layers_is_refused_in_time(home: Path) -> None:
    config: dict[str, Json] = dict(asdict(edsr.Config(scale=2, channels=1, blocks=10**9)))
    path = rewrite(saved(home / "m.safetensors"), lambda tensors: tensors, system="edsr", config=config)
    assert "layers" in refusal(path)


@pytest.mark.parametrize(
    ("facts", "words"),
    [({"schema": 2}, "update gantool"), ({"system": "esrgan3"}, "update gantool"), ({"system": "edsr"}, "no field")],
)
def test_a_header_of_another_version_or_system_is_refused(home: Path, facts: dict[str, Json], words: str) -> None:
    assert words in refusal(rewrite(saved(home / "m.safetensors"), lambda tensors: tensors, **facts))


def test_a_training_checkpoint_is_recognised_and_sent_back(home: Path) -> None:
    path = home / "00000007.safetensors"
    path.write_bytes(to_bytes({"system.generator.conv_cat.bias": torch.zeros(4)}, {"state": "{}"}))
    assert "model.safetensors of that run" in refusal(path)


def test_escape_sequences_in_names_are_not_printed(home: Path) -> None:
    path = home / "\x1b[31mred\n.safetensors"
    path.write_bytes(b"")
    with pytest.raises(WeightsError) as caught:
        weights.load(str(path))
    assert str(caught.value).isprintable()
    path = rewrite(saved(home / "m.safetensors"), lambda tensors: {**tensors, "\x1b[31m": torch.zeros(1)})
    assert refusal(path).isprintable()


# Hashes of large files


def test_the_hash_of_a_large_file_is_remembered_until_the_file_changes(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "LARGE", 1000)
    path = home / "large"
    path.write_bytes(b"a" * 5000)
    first = cache.sha256(path)
    [key] = cache.recall("hashes.json")
    assert key == str(path)
    stored = cache.recall("hashes.json")[key]
    assert isinstance(stored, list)
    cache.remember("hashes.json", key, [*stored[:-1], "remembered"])
    assert cache.sha256(path) == "remembered"
    path.write_bytes(b"b" * 5000)
    assert cache.sha256(path) == hashlib.sha256(b"b" * 5000).hexdigest() != first


@pytest.mark.parametrize("content", [b"", b"[]", b"nonsense", b"\xff", b"[" * 100_000])
def test_a_damaged_memory_is_an_empty_one(home: Path, content: bytes) -> None:
    cache.folder().mkdir(parents=True)
    (cache.folder() / "pins.json").write_bytes(content)
    assert cache.recall("pins.json") == {}
    cache.remember("pins.json", "a", 1)
    assert cache.recall("pins.json") == {"a": 1}


def test_a_cache_that_cannot_be_written_does_not_matter_for_a_local_model(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "file").write_text("")
    monkeypatch.setattr(constants, "HF_ASSETS_CACHE", str(home / "file" / "assets"))
    monkeypatch.setattr(cache, "LARGE", 10)
    assert weights.load(str(saved(home / "m.safetensors"))).name == "m"


# The command


def test_models_list_shows_every_entry_with_its_state(run_cli: Callable[..., Result], home: Path) -> None:
    result = run_cli("models", "list", "--registry", toml(home, {"mine": PINNED, "lost": BUNDLED}))
    lines = {line.split()[0]: line for line in result.out.splitlines()}
    assert (result.status, result.err) == (0, "")
    assert lines["NAME"].split() == ["NAME", "SYSTEM", "SCALE", "LICENSE", "SIZE", "STATE"]
    assert lines.keys() - {"NAME"} == entries().keys() | {"mine", "lost"}
    assert "no file needed" in lines["bicubic"]
    assert "not downloaded" in lines["mine"]
    assert lines["lost"].endswith("missing")
    rows = [json.loads(line) for line in run_cli("models", "list", "--json").out.splitlines()]
    assert [row["name"] for row in rows] == list(entries())
    assert next(row for row in rows if row["name"] == "edsr-x3")["scale"] == 3


def test_models_show_tells_the_facts_in_a_file(run_cli: Callable[..., Result], home: Path) -> None:
    path = saved(home / "m.safetensors")
    shown = run_cli("models", "show", path).out
    assert "psnr-y 31.5" in shown
    assert "CC0-1.0" in shown
    facts = json.loads(run_cli("models", "show", path, "--json").out)
    assert facts["sha256"] == cache.digest(path)
    assert facts["parameters"] == sum(p.numel() for p in tiny().parameters())
    assert (facts["step"], facts["halo"], facts["config"]["channels"]) == (7, 21, 4)
    assert json.loads(run_cli("models", "show", "edsr-x4", "--json").out)["repo"] == "eugenesiow/edsr"


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["show", "edrs-x4"], 2, "did you mean edsr-x4"),
        (["download", "spam"], 2, "no model named 'spam'"),
        (["download", "bicubic"], 2, "needs no file"),
        (["download", "absent.safetensors"], 2, "is a file"),
        (["verify", "edsr-x4"], 3, "gantool models download edsr-x4"),
        (["download", "edsr-x4", "--offline"], 3, "not in the cache"),
        (["list", "--registry", "absent.toml"], 3, "absent.toml"),
        (["show", "absent.safetensors"], 3, "absent.safetensors"),
    ],
)
def test_models_says_what_is_wrong_in_one_line(
    run_cli: Callable[..., Result], arguments: list[str], status: int, words: str
) -> None:
    result = run_cli("models", *arguments)
    assert (result.status, result.out) == (status, "")
    assert words in result.err
    assert result.err.count("\n") == 1


def test_the_registry_is_found_in_a_checkout_and_in_a_package() -> None:
    assert registry_file().is_file()
