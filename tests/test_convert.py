"""Checkpoints from elsewhere: what is understood, what is refused, and that none of their code ever runs."""

from __future__ import annotations

import argparse
import collections
import io
import os
import pickle
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save_file
from torch import Tensor, nn

from gantool import cache, convert, modelfile, modelheader, weights
from gantool.errors import WeightsError
from gantool.systems.super_resolution import edsr, span

if TYPE_CHECKING:
    from conftest import Result

PICTURE = torch.rand(1, 3, 7, 9, generator=torch.Generator().manual_seed(3))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test sees the caches of whoever runs it."""
    monkeypatch.setattr(constants, "HF_ASSETS_CACHE", str(tmp_path / "assets"))
    monkeypatch.delenv("GANTOOL_WEIGHTS", raising=False)
    return tmp_path


def network(**changes: object) -> edsr.EDSR:
    """A small EDSR with random weights."""
    torch.manual_seed(5)
    config = replace(edsr.Config(scale=2, blocks=2, channels=6), **changes)  # type: ignore[arg-type]
    return edsr.EDSR(config).eval()


def official(system: edsr.EDSR) -> dict[str, Tensor]:
    """The state of an EDSR under the keys of the reference code."""
    blocks, state = system.config.blocks, {}
    for key, value in system.generator.state_dict().items():
        parts = key.split(".")
        if parts[0] == "body":
            parts[2:3] = ["body", "0" if parts[2] == "conv1" else "2"]
        renamed = {"conv_first": ["head", "0"], "conv_after_body": ["body", str(blocks)], "upsample": ["tail", "0"]}
        parts[:1] = renamed.get(parts[0], ["tail", "1"] if parts[0] == "conv_last" else parts[:1])
        state[".".join(parts)] = value.clone()
    bias = -255 * torch.tensor([0.4488, 0.4371, 0.4040])
    ones = [torch.eye(3).view(3, 3, 1, 1) for _ in range(2)]
    return state | {"sub_mean.weight": ones[0], "sub_mean.bias": bias, "add_mean.weight": ones[1], "add_mean.bias": -bias}


def prefixed(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in state.items()}


def upscaled(path: Path, **options: str) -> Tensor:
    """What the model in a file makes of the picture."""
    result: Tensor = weights.load(str(path), **options).system.upscale(PICTURE)  # type: ignore[operator, arg-type]
    return result


def refusal(path: Path) -> str:
    """Load what cannot be loaded; return the one line that says so, which took not long."""
    begin = time.monotonic()
    with pytest.raises(WeightsError) as caught:
        weights.load(str(path))
    assert time.monotonic() - begin < 10
    message = str(caught.value)
    assert message.isprintable()
    assert str(path) in message
    assert not (cache.folder() / "converted").exists()
    return message


# What is understood


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"params": state},
        lambda state: {"params": {key: value + 1 for key, value in state.items()}, "params_ema": state},
        lambda state: {"state_dict": state, "epoch": 3, "optimizer": {"state": {0: {"step": torch.zeros(1)}}}},
        lambda state: {"state_dict": {}, "ema_state_dict": {"n_averaged": torch.tensor(4), **prefixed("module.", state)}},
        lambda state: {"model_state_dict": state, "best": 31.2},
        lambda state: {"model": {"net": state}},
        lambda state: {"only": collections.OrderedDict(state)},
        lambda state: prefixed("module.", state),
        lambda state: prefixed("netG.module.", state),
        lambda state: {**state, "iteration": 7},
        lambda state: {key: nn.Parameter(value) for key, value in state.items()},
    ],
)  # fmt: skip
@pytest.mark.parametrize("old_format", [False, True])
def test_a_network_is_found_in_whatever_is_wrapped_round_it(
    home: Path, wrap: Callable[[dict[str, Tensor]], dict[str, object]], old_format: bool
) -> None:
    system = network()
    torch.save(wrap(official(system)), home / "m.pth", _use_new_zipfile_serialization=not old_format)
    assert torch.equal(upscaled(home / "m.pth"), system.upscale(PICTURE))


@pytest.mark.parametrize("name", ["m.pth", "m.pt", "m.ckpt", "m.bin", "m.pth.tar", "m.safetensors", "m.png", "m"])
def test_content_decides_and_not_the_name(home: Path, name: str) -> None:
    torch.save(official(network()), home / "m.x")
    (home / "m.x").rename(home / name)
    assert torch.equal(upscaled(home / name), network().upscale(PICTURE))


def test_a_foreign_safetensors_file_is_recognised_too(home: Path) -> None:
    save_file(official(network()), home / "m.pth", {"format": "pt"})
    assert torch.equal(upscaled(home / "m.pth"), network().upscale(PICTURE))


def test_span_in_training_form_is_merged(home: Path) -> None:
    torch.manual_seed(1)
    system = span.SPAN(span.Config(scale=2, channels=4)).eval()
    state = {}
    for key, value in system.generator.state_dict().items():
        new = key.replace("conv_first.", "conv_1.").replace("conv_last.", "conv_2.").replace(".skip.", ".sk.")
        if key.startswith("blocks."):
            _, number, name, rest = new.split(".", 3)
            new = f"block_{int(number) + 1}.{name}_r.{rest}"
        state[new.replace("upsampler.", "upsampler.0.")] = value
    state["block_1.c1_r.eval_conv.weight"] = torch.zeros(4, 4, 3, 3)
    torch.save({"params": state}, home / "m.pth")
    model = weights.load(str(home / "m.pth"))
    assert model.header["config"] | {"reparameterized": False} == model.header["config"]  # type: ignore[operator]
    assert torch.allclose(model.system.upscale(PICTURE), system.upscale(PICTURE), atol=1e-3)  # type: ignore[operator]


def test_half_precision_is_read_as_float32(home: Path) -> None:
    torch.save({key: value.half() for key, value in official(network()).items() if "mean" not in key}, home / "m.pth")
    assert {value.dtype for value in weights.load(str(home / "m.pth")).system.state_dict().values()} == {torch.float32}


def test_an_entry_overrides_what_the_file_tells_wrongly(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(official(network()), home / "m.pth")
    entry = weights.Entry("mine", "edsr", {"scale": 2, "mean_shift": False, "rgb_range": 1.0})
    other = network(mean_shift=False, rgb_range=1.0)
    for _ in range(2):  # converted, then from the copy
        found = weights._load_file(home / "m.pth", entry).system.upscale(PICTURE)  # type: ignore[operator]
        assert torch.equal(found, other.upscale(PICTURE))
    assert torch.equal(upscaled(home / "m.pth"), network().upscale(PICTURE))  # the copy of one is not taken for the other


def test_a_named_system_takes_keys_that_are_already_ours(home: Path) -> None:
    state = {f"generator.{key}": value for key, value in edsr.EDSR(edsr.Config()).generator.state_dict().items()}
    torch.save(state, home / "m.pth")
    assert "--system" in refusal(home / "m.pth")
    assert upscaled(home / "m.pth", system="edsr").shape == (1, 3, 28, 36)


def test_a_checkpoint_is_converted_once(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(official(network()), home / "m.pth")
    upscaled(home / "m.pth")
    said = capsys.readouterr().err
    assert "edsr in the official layout, 16 keys renamed, 4 dropped (sub_mean.weight" in said.replace("\n", "")
    [copy] = (cache.folder() / "converted").iterdir()
    _, metadata = modelfile.read(copy)
    facts = modelheader.header(metadata, "copy") or {}
    assert facts["source_sha256"] == cache.digest(home / "m.pth")
    before = copy.stat().st_mtime_ns
    assert torch.equal(upscaled(home / "m.pth"), network().upscale(PICTURE))
    assert capsys.readouterr().err == ""
    assert copy.stat().st_mtime_ns == before


def test_a_damaged_copy_is_made_again(home: Path) -> None:
    torch.save(official(network()), home / "m.pth")
    upscaled(home / "m.pth")
    [copy] = (cache.folder() / "converted").iterdir()
    whole = copy.read_bytes()
    copy.write_bytes(whole[:-1] + bytes([whole[-1] ^ 64]))
    assert torch.equal(upscaled(home / "m.pth"), network().upscale(PICTURE))
    assert copy.read_bytes() == whole


def test_a_conversion_needs_no_cache(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "file").write_text("")
    monkeypatch.setattr(constants, "HF_ASSETS_CACHE", str(home / "file" / "assets"))
    torch.save(official(network()), home / "m.pth")
    assert torch.equal(upscaled(home / "m.pth"), network().upscale(PICTURE))


def test_a_real_checkpoint_of_a_port_loads(shared: Path) -> None:
    path = shared / "data" / "weights" / "srgan-port" / "netG_epoch_4_100.pth"
    assert weights.load(str(path)).header["system"] == "srresnet"
    assert upscaled(path).shape == (1, 3, 28, 36)


# What is refused


class Reduced:
    """An object whose unpickling calls something."""

    def __init__(self, call: Callable[..., object], *arguments: object) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call, self.arguments


def payloads(marker: Path) -> dict[str, object]:
    """Objects that write a marker when a careless program unpickles them."""
    touch = f"__import__('pathlib').Path({str(marker)!r}).touch()"
    command = f'{sys.executable} -c "{touch}"'
    system = Reduced(os.system, command)
    return {
        "os.system": system,
        "eval": Reduced(eval, touch),
        "exec": Reduced(exec, touch),
        "nested": {"state_dict": {"head.0.weight": system}},
        "in a tensor": {"w": Reduced(torch._utils._rebuild_tensor_v2, Reduced(exec, touch), 0, (1,), (1,), False, None)},
        "in a key": {Reduced(eval, touch): 1},
        "subprocess": Reduced(subprocess.call, [sys.executable, "-c", touch]),
        "getattr": Reduced(getattr, Reduced(__import__, "os"), "system"),
        "apply": [Reduced(map, exec, [touch]), Reduced(list, Reduced(map, exec, [touch]))],
        "torch.load": Reduced(torch.load, str(marker)),
    }


class Written:
    """How a pickle is clothed."""

    @staticmethod
    def plain(path: Path, data: bytes) -> None:
        path.write_bytes(data)

    @staticmethod
    def legacy(path: Path, data: bytes) -> None:
        head = (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}})
        path.write_bytes(b"".join(pickle.dumps(part, 2) for part in head) + data + pickle.dumps([], 2))

    @staticmethod
    def zip(path: Path, data: bytes) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in (("data.pkl", data), ("byteorder", b"little"), ("version", b"3\n")):
                archive.writestr(f"archive/{name}", content)

    @staticmethod
    def tar(path: Path, data: bytes) -> None:
        with tarfile.open(path, "w") as archive:
            for name in ("pickle", "storages", "tensors"):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))


@pytest.mark.parametrize("payload", payloads(Path("marker")))
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("clothes", [Written.plain, Written.legacy, Written.zip, Written.tar])
def test_no_code_in_a_checkpoint_ever_runs(
    home: Path, payload: str, protocol: int, clothes: Callable[[Path, bytes], None]
) -> None:
    marker = home / "marker"
    data = pickle.dumps(payloads(marker)[payload], protocol)
    for name in ("m.pth", "m.safetensors", "m.png"):
        clothes(home / name, data)
        refusal(home / name)
    assert not marker.exists()


def test_the_payloads_would_run_in_a_careless_program(home: Path) -> None:
    marker = home / "marker"
    for name in ("os.system", "eval", "exec", "nested", "in a key", "subprocess", "apply"):
        pickle.loads(pickle.dumps(payloads(marker)[name], 2))  # noqa: S301
        assert marker.exists(), name
        marker.unlink()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (nn.Conv2d(1, 1, 1), "needs code to unpickle (torch.nn.modules.conv.Conv2d)"),
        ({"w": torch.zeros(1), "args": argparse.Namespace(a=1)}, "needs code to unpickle (argparse.Namespace)"),
        ({"w": torch.zeros(1), "best": np.float64(3)}, "needs code to unpickle (numpy"),
        (torch.zeros(3), "holds a Tensor"),
        ([torch.zeros(3)], "holds a list"),
        ({1: torch.zeros(3)}, "holds a dict"),
        ({}, "holds no weights"),
        ({"epoch": 3}, "holds no weights"),
        ({"state_dict": {}}, "holds no weights"),
        ({"some.weight": torch.zeros(3)}, "no known layout (it has some.weight)"),
        ({"w": torch.eye(3).to_sparse()}, "not plain numbers"),
        ({"w": torch.zeros(3, device="meta")}, "not plain numbers"),
        ({"module.w": torch.zeros(1), "w": torch.zeros(1)}, "two networks in one"),
        ({"body.99999.weight": torch.zeros(1)}, "counts beyond"),
    ],
)  # fmt: skip
def test_what_is_no_network_is_refused(home: Path, content: object, words: str) -> None:
    torch.save(content, home / "m.pth")
    assert words in refusal(home / "m.pth")


def test_a_network_with_a_part_missing_or_of_another_shape_is_refused(home: Path) -> None:
    state = official(network())
    torch.save({key: value for key, value in state.items() if key != "body.1.body.2.bias"}, home / "missing.pth")
    assert "expects generator.body.1.conv2.bias float32 (6,), file holds none" in refusal(home / "missing.pth")
    torch.save({**state, "body.1.body.2.bias": torch.zeros(7)}, home / "shape.pth")
    assert "expects generator.body.1.conv2.bias float32 (6,), file holds float32 (7,)" in refusal(home / "shape.pth")
    torch.save({**state, "body.1.body.2.bias": torch.full([6], torch.nan)}, home / "nan.pth")
    assert "not finite in generator.body.1.conv2.bias" in refusal(home / "nan.pth")
    torch.save({**state, "discriminator.weight": torch.zeros(1)}, home / "more.pth")
    assert "discriminator.weight" in refusal(home / "more.pth")
    torch.save({**state, "sub_mean.bias": torch.ones(3)}, home / "mean.pth")
    assert "sub_mean.bias" in refusal(home / "mean.pth")
    torch.save({**state, "head.0.weight": torch.zeros(())}, home / "scalar.pth")
    assert "edsr" in refusal(home / "scalar.pth")


def test_torchscript_is_refused_as_code(home: Path) -> None:
    with zipfile.ZipFile(home / "m.pt", "w") as archive:
        for name in ("data.pkl", "constants.pkl", "code/__torch__.py", "version"):
            archive.writestr(f"m/{name}", b"")
    assert "TorchScript" in refusal(home / "m.pt")


def test_a_zip_that_unpacks_to_more_than_its_size_is_refused(home: Path) -> None:
    with zipfile.ZipFile(home / "m.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}, 2))
        with archive.open("archive/data/0", "w", force_zip64=True) as file:
            for _ in range(64):
                file.write(bytes(1 << 20))
    assert "unpacks to more than its size" in refusal(home / "m.pth")
    with zipfile.ZipFile(home / "other.pth", "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert "without a torch checkpoint" in refusal(home / "other.pth")


class _Storage:
    """Stands for a storage of some numbers in a pickle made by hand."""

    def __init__(self, numbers: int) -> None:
        self.numbers = numbers


class _Pickler(pickle.Pickler):
    def persistent_id(self, found: object) -> object:
        return ("storage", torch.FloatStorage, "0", "cpu", found.numbers) if isinstance(found, _Storage) else None


@pytest.mark.parametrize(
    ("numbers", "offset", "shape", "stride"),
    [
        (2**62, 0, (2**62,), (1,)),
        (2**30, 0, (2**30,), (1,)),
        (4, 0, (2**40,), (0,)),
        (4, 0, (100,), (1,)),
        (4, 50, (1,), (1,)),
        (4, 3, (4,), (-1,)),
        (4, -1, (4,), (1,)),
        (-4, 0, (4,), (1,)),
    ],
)
def test_a_tensor_that_claims_more_than_the_file_holds_is_refused(
    home: Path, numbers: int, offset: int, shape: tuple[int], stride: tuple[int]
) -> None:
    tensor = Reduced(
        torch._utils._rebuild_tensor_v2, _Storage(numbers), offset, shape, stride, False, collections.OrderedDict()
    )
    stream = io.BytesIO()
    _Pickler(stream, 2).dump({"head.0.weight": tensor})
    with zipfile.ZipFile(home / "m.pth", "w") as archive:
        for name, content in (
            ("data.pkl", stream.getvalue()),
            ("data/0", bytes(16)),
            ("byteorder", b"little"),
            ("version", b"3"),
        ):
            archive.writestr(f"archive/{name}", content)
    refusal(home / "m.pth")


NESTED = {
    "tuples": b"\x80\x02})" + b"\x85" * 1_000_000 + b"K\x01s.",  # as a key, which has to be hashed
    "marked tuples": b"\x80\x02}" + b"(" * 500_000 + b"t" * 500_000 + b"K\x01s.",
    "lists": b"\x80\x02" + b"]" * 1_000_000 + b"a" * 999_999 + b".",
    "itself": b"\x80\x02}q\x00X\x05\x00\x00\x00modelh\x00s.",
    "a string of 4 GiB": b"\x80\x02\x8d" + (2**32).to_bytes(8, "little") + b"abc.",
    "a string of 2^63": b"\x80\x02\x8d" + (2**63).to_bytes(8, "little") + b"abc.",
    "a memo": b"\x80\x02]r\xff\xff\xff\x7f.",
    "too long": b"\x80\x02" + b"N0" * 1_500_000 + b"}.",
    "cut": b"\x80\x02}X\x05\x00",
    "nothing": b"\x80\x02",
}


@pytest.mark.parametrize("kind", NESTED)
@pytest.mark.parametrize("clothes", [Written.legacy, Written.zip])
def test_a_pickle_without_measure_is_refused(home: Path, kind: str, clothes: Callable[[Path, bytes], None]) -> None:
    clothes(home / "m.pth", NESTED[kind])
    origin = str(home / "m.pth")
    if "tuples" in kind:  # would take the interpreter down, and this test with it
        with pytest.raises(WeightsError, match="deeper"):
            (convert._check_zip if clothes is Written.zip else convert._check_legacy)(home / "m.pth", origin)
    refusal(home / "m.pth")


@pytest.mark.parametrize("old_format", [False, True])
def test_a_checkpoint_cut_anywhere_is_refused(home: Path, old_format: bool) -> None:
    torch.save(official(network()), home / "whole.pth", _use_new_zipfile_serialization=not old_format)
    whole = (home / "whole.pth").read_bytes()
    for size in range(0, len(whole), len(whole) // 23):
        (home / "m.pth").write_bytes(whole[:size])
        refusal(home / "m.pth")


# The command


def test_models_convert_writes_a_model_file_and_reports_keys(run_cli: Callable[..., Result], home: Path) -> None:
    torch.save(official(network()), home / "m.pth")
    result = run_cli("models", "convert", home / "m.pth")
    assert (result.status, result.out.strip()) == (0, str(home / "m.safetensors"))
    said = result.err.replace("\n", " ")
    assert "head.0.weight -> generator.conv_first.weight" in said
    assert "sub_mean.bias dropped" in said
    assert torch.equal(upscaled(home / "m.safetensors"), network().upscale(PICTURE))
    assert weights.load(str(home / "m.safetensors")).header["source_sha256"] == cache.digest(home / "m.pth")


def test_models_convert_replaces_nothing_unasked(run_cli: Callable[..., Result], home: Path) -> None:
    torch.save(official(network()), home / "m.pth")
    (home / "m.safetensors").write_bytes(b"precious")
    refused = run_cli("models", "convert", home / "m.pth")
    assert (refused.status, "exists" in refused.err) == (1, True)
    assert (home / "m.safetensors").read_bytes() == b"precious"
    assert run_cli("models", "convert", home / "m.pth", "-o", home / "n.safetensors").status == 0
    assert run_cli("models", "convert", home / "m.pth", "--overwrite").status == 0
    assert (home / "m.safetensors").read_bytes() == (home / "n.safetensors").read_bytes()
    itself = run_cli("models", "convert", home / "m.safetensors", "--overwrite")
    assert itself.status == 1
    again = run_cli("models", "convert", home / "m.safetensors", "-o", home / "o.safetensors")
    assert (again.status, "already" in again.err) == (2, True)
    assert run_cli("models", "convert", home / "m.pth", "-o", home / "o.pth").status == 2
    assert not (home / "o.safetensors").exists()


def test_models_convert_takes_a_system_that_cannot_be_recognised(run_cli: Callable[..., Result], home: Path) -> None:
    state = {f"generator.{key}": value for key, value in edsr.EDSR(edsr.Config()).generator.state_dict().items()}
    torch.save(state, home / "m.pth")
    refused = run_cli("models", "convert", home / "m.pth")
    assert (refused.status, "--system" in refused.err) == (3, True)
    assert run_cli("models", "convert", home / "m.pth", "--system", "spam").status == 2
    assert run_cli("models", "convert", home / "m.pth", "--system", "span").status == 3
    assert run_cli("models", "convert", home / "m.pth", "--system", "edsr").status == 0


def test_models_convert_leaves_nothing_of_a_refused_file(run_cli: Callable[..., Result], home: Path) -> None:
    (home / "m.pth").write_bytes(pickle.dumps(Reduced(os.system, f"touch {home / 'marker'}"), 2))
    result = run_cli("models", "convert", home / "m.pth")
    assert (result.status, result.out, result.err.count("\n")) == (3, "", 1)
    assert [path.name for path in home.iterdir()] == ["m.pth"]
