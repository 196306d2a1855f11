"""What metrics look through: parts by name or file, checked, known by hash, missing with a remedy."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torchmetrics
import torchvision
from safetensors.torch import save_file
from torch import Tensor

from gantool import frozen, weights
from gantool.entries import entries
from gantool.errors import UsageError, WeightsError
from gantool.layers.features import FeatureNetwork
from gantool.layers.inception import CLASSES, Inception
from gantool.metrics import METRICS

SHIPPED = Path(torchmetrics.__file__).parent / "functional/image"  # has the published heads


def test_every_need_of_a_metric_is_a_part_that_can_be_had_or_named() -> None:
    for metric in METRICS.values():
        assert set(metric.needs) <= frozen.PARTS.keys()
    published = {entry.features: entry for entry in entries().values() if entry.features}
    assert published.keys() - {"vgg19"} <= frozen.PARTS.keys()  # which losses alone look through
    for name, entry in published.items():
        if name != "vgg19" and entry.sha256:
            assert entry.sha256 in frozen._KINDS[name].hashes


@pytest.mark.parametrize("name", ["squeezenet", "niqe"])
def test_a_part_that_no_repository_is_known_for_is_a_sentence_with_the_remedy(name: str) -> None:
    said = f"{name} ({frozen.PARTS[name]}) is not at hand: get {frozen._KINDS[name].published} and give it with --weights "
    with pytest.raises(WeightsError, match=re.escape(f"{said}{name}=FILE")):
        frozen.part(name)


@pytest.mark.parametrize("name", sorted({"alexnet", "vgg16", "vgg16-fc", "inception", "lpips-alex", "dists"}))
def test_a_part_that_is_not_in_the_cache_is_a_sentence_that_names_the_option(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_ASSETS_CACHE", str(tmp_path / "assets"))
    entry = name.removesuffix("-fc")
    with pytest.raises(WeightsError, match=f"^{entry} is not in the cache .*a local file with --weights {name}=FILE$"):
        frozen.part(name, offline=True)


def test_losses_name_their_own_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_ASSETS_CACHE", str(tmp_path / "assets"))
    with pytest.raises(WeightsError, match=r"^vgg19 is not in the cache .*a local file with --features$"):
        frozen.load("vgg19", None, offline=True)


def test_a_name_that_is_no_part_is_answered_with_the_near_ones() -> None:
    with pytest.raises(UsageError, match="no part named 'lpips-alx': did you mean lpips-alex"):
        frozen.part("lpips-alx")


@pytest.mark.parametrize("name", ["lpips-alex", "lpips-vgg", "lpips-squeeze"])
def test_published_heads_are_official_and_others_say_that_they_are_not(name: str, tmp_path: Path) -> None:
    path = SHIPPED / f"lpips_models/{name.removeprefix('lpips-')}.pth"
    found = frozen.part(name, path)
    assert found.official
    assert found.words == f"{name}: {frozen.PARTS[name]}, as published (sha256 {found.sha256[:8]})"
    assert isinstance(found.value, list)
    assert all(head.ndim == 1 and head.min() >= 0 for head in found.value)
    state = {f"lin{number}.model.1.weight": 2 * head.view(1, -1, 1, 1) for number, head in enumerate(found.value)}
    save_file(state, tmp_path / "other.safetensors")
    other = frozen.part(name, tmp_path / "other.safetensors")
    assert isinstance(other.value, list)
    assert all(torch.equal(one, 2 * head) for one, head in zip(other.value, found.value, strict=True))
    assert not other.official
    assert re.search(
        r"other\.safetensors .* not known to hold the published weights: a number through it is NOT LPIPS", other.words
    )


def test_the_heads_at_hand_are_those_of_the_authors_package(shared: Path) -> None:
    for name in ("alex", "vgg", "squeeze"):
        ours = frozen.part(f"lpips-{name}", shared / f"data/weights/lpips-heads/v0.1/{name}.pth")
        theirs = frozen.part(f"lpips-{name}", SHIPPED / f"lpips_models/{name}.pth")
        assert ours.sha256 == theirs.sha256


def test_caffes_squeezenet_says_that_it_does_not_give_lpips(shared: Path) -> None:
    found = frozen.part("squeezenet", shared / "data/weights/squeezenet/squeezenet1_1_features.safetensors")
    assert isinstance(found.value, FeatureNetwork)
    assert (found.value.colors, found.official) == ("caffe", False)
    assert "a network that takes Caffe's colours" in found.words
    assert "NOT LPIPS" in found.words


def test_inception_is_built_with_its_weights_in_single_precision(tmp_path: Path) -> None:
    with torch.device("meta"):
        layout = torchvision.models.inception_v3(num_classes=CLASSES, aux_logits=False, init_weights=False).state_dict()
    state = {  # one number again and again, so that the file is small; counters are whole numbers
        key: torch.ones((), dtype=torch.half if value.is_floating_point() else torch.long).expand(value.shape)
        for key, value in layout.items()
    }
    torch.save(state, tmp_path / "a.pth")
    found = frozen.part("inception", tmp_path / "a.pth").value
    assert isinstance(found, Inception)
    assert {value.dtype for value in found.state_dict().values() if value.is_floating_point()} == {torch.float32}
    assert not any(parameter.is_meta or parameter.requires_grad for parameter in found.parameters())
    torch.save(state | {"fc.weight": state["fc.weight"] * torch.nan}, tmp_path / "b.pth")
    with pytest.raises(WeightsError, match=r"b\.pth holds values that are not finite"):
        frozen.part("inception", tmp_path / "b.pth")
    torch.save(state | {"fc.weight": torch.zeros(1).expand(101, 1_000_000)}, tmp_path / "c.pth")
    with pytest.raises(WeightsError, match=r"not those of FID's inception .*--weights inception=FILE"):
        frozen.part("inception", tmp_path / "c.pth")


def test_what_is_not_at_hand_is_asked_for_by_the_option_that_names_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match=r"name a local file with --weights vgg16-fc=FILE$"):
        frozen.part("vgg16-fc", offline=True)
    with pytest.raises(WeightsError, match=r"name a local file with --features$"):
        frozen.load("vgg16", None, offline=True)
    with pytest.raises(WeightsError, match=r"name a local file with -m$"):
        weights.locate(entries()["vgg16"], offline=True)


def heads(change: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    channels = (64, 192, 384, 256, 256)
    return {f"lin{i}.model.1.weight": change(torch.ones(1, c, 1, 1)) for i, c in enumerate(channels)}


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({}, "does not hold the heads of LPIPS for alexnet"),
        (heads(lambda head: head.flatten()), "does not hold the heads"),
        (heads(lambda head: head * torch.inf), "not finite"),
        (heads(lambda head: head.int()), "does not hold the heads"),
        (heads(lambda head: head.to_sparse()), "does not hold the heads"),
        (heads(lambda head: head) | {"lin5.model.1.weight": torch.ones(1, 256, 1, 1)}, "does not hold the heads"),
        (heads(lambda head: head) | {"lin0.model.1.weight": 3}, "does not hold the heads"),
    ],
)
def test_a_file_of_something_else_is_refused(state: dict[str, object], said: str, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=said):
        frozen.part("lpips-alex", tmp_path / "a.pth")


def parameters() -> dict[str, np.ndarray]:
    return {"mu_pris_param": np.zeros((1, 36)), "cov_pris_param": np.eye(36), "gaussian_window": np.full((7, 7), 1 / 49)}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"mu_pris_param": np.zeros(36)}, "does not hold the parameters of NIQE"),
        ({"cov_pris_param": np.full((36, 36), np.nan)}, "not finite"),
        ({"gaussian_window": np.array(["x"])}, r"is no \.npz of NIQE's parameters"),
        ({"gaussian_window": np.array([None])}, r"is no \.npz of NIQE's parameters"),
        ({"cov_pris_param": np.zeros(9_000_000)}, "it unpacks to 68 MiB"),
    ],
)
def test_a_wrong_file_of_niqe_is_refused(change: dict[str, np.ndarray], said: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **parameters())
    assert not frozen.part("niqe", tmp_path / "a.npz").official
    np.savez_compressed(tmp_path / "b.npz", **(parameters() | change))
    with pytest.raises(WeightsError, match=said):
        frozen.part("niqe", tmp_path / "b.npz")


@pytest.mark.parametrize(
    ("name", "text", "said"), [("niqe", b"", "empty"), ("dists", b"{}", "a.npz is"), ("niqe", None, "not there")]
)
def test_a_damaged_or_missing_file_is_a_sentence(name: str, text: bytes | None, said: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "a.npz").write_bytes(text)
    with pytest.raises(WeightsError, match=said):
        frozen.part(name, tmp_path / "a.npz")
