"""Sets of pictures from files to numbers in words: gathered in one pass, remembered by folder, with warnings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from inception import random_inception
from torch import Tensor
from torch_fidelity.feature_extractor_vgg16 import FeatureExtractorVGG16

from gantool import cache, images
from gantool.errors import InputError, UsageError, WeightsError
from gantool.evaluation import remembering
from gantool.evaluation.gathering import BATCH, Gathered, Gatherer
from gantool.evaluation.remembering import gathered_folder
from gantool.evaluation.sets import score
from gantool.evaluation.values import SetValue
from gantool.frozen import Part
from gantool.images import Picture
from gantool.layers.features import VGG16Features
from gantool.layers.inception import CLASSES, FEATURES, Inception, Variant, prepared
from gantool.metrics.fid import Statistics, fid

CPU = torch.device("cpu")
LOOKED = ("fid", "kid", "is")


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def inception() -> Part:
    """The network with random weights, as `frozen.part` gives it."""
    return Part("inception", Inception(random_inception()), "ab" * 32, False, "in many words")


@pytest.fixture(autouse=True)
def _memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_ASSETS_CACHE", str(tmp_path / "assets"))


def gathered(pictures: list[Tensor], metrics: tuple[str, ...], *parts: Part, variant: Variant = "legacy-tf") -> Gathered:
    gatherer = Gatherer(metrics, {part.name: part for part in parts}, variant, CPU)
    for picture in pictures:
        gatherer.add(picture)
    return gatherer.finish("mine")


def of_features(features: Tensor, label: str = "mine", variant: Variant | None = "clean") -> Gathered:
    """Return what would be gathered of pictures with these features."""
    statistics = Statistics(features.shape[1])
    statistics.add(features)
    found = Gathered(label, len(features), variant, features=features, logits=features, looks=features)
    return replace(found, gaussian=statistics.gaussian() if len(features) > 1 else None)


def random_features(count: int, seed: int) -> Tensor:
    return torch.rand(count, 24, generator=torch.Generator().manual_seed(seed))


# --- gathering -----------------------------------------------------------------------------------------------------------


def test_one_pass_in_batches_finds_what_the_network_says_of_each_picture(
    inception: Part, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gantool.evaluation.gathering.BATCH", 2)
    pictures = [noise(3, 30, 40), noise(1, 25, 25), noise(3, 64, 20)]  # of all sizes, one of them gray
    found = gathered(pictures, LOOKED, inception, variant="clean")
    answers = [inception.value(prepared(picture.expand(3, -1, -1)[None], "clean")) for picture in pictures]
    features, logits = (torch.cat(rows) for rows in zip(*answers, strict=True))
    assert found.count == 3
    assert torch.allclose(found.features, features, rtol=1e-4, atol=1e-5)
    assert torch.allclose(found.logits, logits, rtol=1e-4, atol=1e-4)
    assert np.allclose(found.gaussian.covariance, np.cov(features.double().numpy(), rowvar=False), rtol=1e-3, atol=1e-5)
    assert (found.looks, found.patches, found.similarity) == (None, (), None)


def test_only_what_is_asked_for_is_kept(inception: Part) -> None:
    found = gathered([noise(3, 16, 16)], ("fid", "psnr"), inception)
    assert (found.features, found.logits, found.gaussian, found.count) == (None, None, None, 1)
    found = gathered([noise(3, 161, 161, seed=seed) for seed in range(3)], ("swd", "ms-ssim-diversity"))
    assert [len(level) for level in found.patches] == [3] * 4
    assert found.pairs == 1


def test_a_gatherer_for_fid_keeps_no_more_pictures_than_a_batch(inception: Part) -> None:
    gatherer = Gatherer(("fid",), {"inception": inception}, "legacy-tf", CPU)
    for viewer in gatherer._viewers:
        viewer._network = lambda batch: (torch.ones(len(batch), FEATURES), torch.ones(len(batch), CLASSES))
    for seed in range(BATCH + 3):
        gatherer.add(noise(3, 8, 8, seed=seed))
    assert [len(viewer._waiting) for viewer in gatherer._viewers] == [3]
    assert (gatherer._features, gatherer._logits) == (None, None)
    assert gatherer.finish("mine").count == BATCH + 3


def test_numbers_that_are_not_finite_are_refused(inception: Part) -> None:
    broken = replace(
        inception, value=Inception({**inception.value.state_dict(), "fc.weight": torch.full((CLASSES, FEATURES), 1e38)})
    )
    with pytest.raises(WeightsError, match="no finite numbers"):
        gathered([noise(3, 16, 16)], ("is",), broken)


@pytest.mark.slow
def test_what_precision_and_recall_look_at_is_torch_fidelity_s(tmp_path: Path) -> None:
    network = torchvision.models.vgg16()
    network.load_state_dict({key: value * 1.5 for key, value in network.state_dict().items()})
    torch.save(network.state_dict(), tmp_path / "vgg16.pth")
    oracle = FeatureExtractorVGG16("oracle", ["fc2_relu"], str(tmp_path / "vgg16.pth"))
    ours = VGG16Features()
    named = {key.replace("features.", "convolutions.features.", 1): value for key, value in network.state_dict().items()}
    del network
    ours.load_state_dict({key: named[key] for key in ours.state_dict()}, assign=True)
    picture = noise(3, 50, 70)
    found = gathered([picture], ("precision",), Part("vgg16-fc", ours, "", False, "vgg16"))
    [expected] = oracle(picture[None])
    assert expected.std() > 0
    assert torch.allclose(found.looks, expected, rtol=1e-3, atol=1e-4 * float(expected.max()))


# --- folders -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / name for name in ("a.png", "b.jpg", "c.png")]
    for seed, path in enumerate(paths):
        images.write(path, Picture(noise(3, 20, 24, seed=seed)))
    return paths


class Reading:
    """Reads pictures and remembers which."""

    def __init__(self) -> None:
        self.read: list[str] = []
        self.failed: list[tuple[str, str]] = []

    def __call__(self, path: Path) -> Tensor:
        self.read.append(path.name)
        return images.read(path).color

    def on_error(self, path: Path, error: InputError) -> None:
        self.failed.append((path.name, str(error)))


def pass_over(
    paths: list[Path], part: Part, metrics: tuple[str, ...] = LOOKED, variant: Variant = "clean"
) -> tuple[Gathered, Reading]:
    reading = Reading()
    found = gathered_folder(paths, metrics, {"inception": part}, variant, CPU, 0, "set", reading, reading.on_error)
    return found, reading


def test_a_folder_seen_before_is_not_read_again(folder: list[Path], inception: Part) -> None:
    first, reading = pass_over(folder, inception)
    assert reading.read == ["a.png", "b.jpg", "c.png"]
    moved = [path.rename(path.with_stem("moved-" + path.stem)) for path in folder]
    second, reading = pass_over(moved, inception)
    assert reading.read == []
    assert (second.count, second.jpegs, second.label, second.variant) == (3, 1, "set", "clean")
    words = "inception of sha256 abababab, not known to be the published file"
    assert second.through == first.through == {"inception": words}
    assert torch.equal(second.features, first.features)
    assert torch.equal(second.logits, first.logits)
    assert torch.equal(second.gaussian.covariance, first.gaussian.covariance)
    assert score(("kid",), second, first) == score(("kid",), first, first)


def test_only_pixels_are_looked_at_again(folder: list[Path], inception: Part) -> None:
    pass_over(folder, inception, ("fid",))
    found, reading = pass_over(folder, replace(inception, value=None), ("fid", "swd"))  # there is no network to ask
    assert len(reading.read) == found.count == 3
    assert found.gaussian is not None
    assert (found.size, len(found.patches)) == ((20, 24), 1)


def test_each_answer_is_remembered_on_its_own(folder: list[Path], inception: Part) -> None:
    first, _ = pass_over(folder, inception, ("fid", "kid"))
    blind = replace(inception, value=None)
    for metric, fields in (("kid", (True, False)), ("fid", (False, True))):
        found, reading = pass_over(folder, blind, (metric,))
        assert (reading.read, found.count, found.jpegs) == ([], 3, 1)
        assert (found.features is not None, found.gaussian is not None) == fields
    found, reading = pass_over(folder, inception, ("is", "kid"))  # the first of which is new
    assert len(reading.read) == found.count == len(found.logits) == 3
    assert torch.equal(found.features, first.features)
    found, reading = pass_over(folder, blind, LOOKED)
    assert reading.read == []
    assert all(value is not None for value in (found.features, found.logits, found.gaussian))


def test_what_vgg16_says_does_not_depend_on_the_way_into_inception(folder: list[Path]) -> None:
    class Looks(torch.nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.mean((1, 2, 3))[:, None].expand(-1, 4096)

    part, reading = Part("vgg16-fc", Looks(), "ef" * 32, False, "vgg16"), Reading()
    for metrics, variant in ((("recall",), "clean"), (("precision", "recall"), "legacy-tf")):
        found = gathered_folder(folder, metrics, {part.name: part}, variant, CPU, 0, "set", reading, reading.on_error)
        assert found.looks.shape == (3, 4096)
    assert len(reading.read) == 3


def test_much_memory_is_said_beforehand(
    folder: list[Path], inception: Part, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pass_over(folder, inception, ("kid", "swd"))
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(remembering, "MUCH_BYTES", 3 * 4 * FEATURES)
    found, _ = pass_over(folder[:2], inception, ("kid", "swd"))
    said = " ".join(capsys.readouterr().err.split())
    assert said.startswith("0.0 GiB of memory will be taken by 2 pictures of set: if that is too much")
    assert found.features.nbytes + sum(patches.nbytes for level in found.patches for patches in level) == 2 * (8192 + 37632)


def test_networks_are_shared_between_gatherers(inception: Part) -> None:
    gatherers = [Gatherer(("fid",), {"inception": inception}, "clean", CPU) for _ in range(2)]
    assert all(gatherer._viewers[0]._network is inception.value for gatherer in gatherers)


@pytest.mark.slow
def test_anything_else_is_looked_at_anew(folder: list[Path], inception: Part) -> None:
    pass_over(folder[:2], inception, ("kid",))
    assert pass_over(folder[1::-1], inception, ("kid",))[1].read
    assert pass_over(folder[:1], inception, ("kid",))[1].read
    assert pass_over(folder[:1], inception, ("kid",), "legacy-tf")[1].read
    assert pass_over(folder[:1], replace(inception, sha256="cd" * 32), ("kid",))[1].read
    assert pass_over(folder[:1], inception, ("is",))[1].read
    assert not pass_over(folder[:1], inception, ("kid",))[1].read
    images.write(folder[0], Picture(noise(3, 20, 24, seed=9)))
    assert pass_over(folder[:1], inception, ("kid",))[1].read


@pytest.mark.parametrize("damage", ["truncated", "one bit", "garbage"])
def test_a_damaged_memory_is_made_anew(folder: list[Path], inception: Part, damage: str) -> None:
    first, _ = pass_over(folder[:2], inception, ("fid",))
    [place] = (cache.folder() / "statistics").iterdir()
    content = bytearray(place.read_bytes())
    content[-1000] ^= 1
    place.write_bytes({"truncated": bytes(content[:5000]), "one bit": bytes(content), "garbage": b"{}" * 99}[damage])
    second, reading = pass_over(folder[:2], inception, ("fid",))
    assert len(reading.read) == 2
    assert torch.equal(second.gaussian.covariance, first.gaussian.covariance)
    assert not pass_over(folder[:2], inception, ("fid",))[1].read


def test_a_file_that_cannot_be_read_is_named_and_nothing_is_remembered(folder: list[Path], inception: Part) -> None:
    folder[1].write_bytes(b"no picture")
    for _ in range(2):
        found, reading = pass_over(folder, inception, ("fid",))
        assert [name for name, _ in reading.failed] == ["b.jpg"]
        assert found.count == 2
    missing, reading = pass_over([*folder[::2], Path("gone.png")], inception, ("fid",))
    assert [name for name, _ in reading.failed] == ["gone.png"]
    assert not (cache.folder() / "statistics").exists()


def test_a_place_that_cannot_be_written_is_no_fault(folder: list[Path], inception: Part) -> None:
    cache.folder().parent.mkdir(parents=True)
    cache.folder().write_text("a file")
    assert pass_over(folder, inception, ("fid",))[0].count == 3


def test_what_was_asked_for_last_is_kept(folder: list[Path], inception: Part, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembering, "REMEMBERED_BYTES", 3 * 4 * (FEATURES + 100))  # one pass of features, not two
    pass_over(folder, inception, ("kid",))
    pass_over(folder[:2], inception, ("kid",))
    assert len(list((cache.folder() / "statistics").iterdir())) == 1
    assert not pass_over(folder[:2], inception, ("kid",))[1].read
    pass_over(folder, inception, ("fid",))  # too large on its own
    assert not pass_over(folder[:2], inception, ("kid",))[1].read


# --- numbers in words ----------------------------------------------------------------------------------------------------


def only(values: tuple[SetValue, ...]) -> SetValue:
    [value] = values
    return value


def test_fid_says_its_variant_counts_reference_and_network() -> None:
    one, other = of_features(random_features(30, 1)), of_features(random_features(40, 2), "refs")
    one = replace(one, through={"inception": "inception of sha256 12ab, the published file", "vgg16-fc": "another"})
    found = only(score(("psnr", "fid"), one, other))
    assert found.value == fid(one.gaussian, other.gaussian)
    assert found.words == (
        "variant clean; 30 pictures of mine against 40 pictures of refs; through inception of sha256 12ab, the published file"
    )
    assert "fid of 30 pictures: below 2,049 a covariance is not of full rank" in found.warnings[0]
    assert found.details == {"pictures": [30, 40], "variant": "clean"}


def test_enough_pictures_give_no_warning() -> None:
    one, other = (replace(of_features(random_features(30, seed)), count=2049) for seed in (1, 2))
    assert only(score(("fid",), one, other)).warnings == ()


def test_jpeg_files_are_warned_of() -> None:
    one = replace(of_features(random_features(30, 1)), jpegs=12, count=3000)
    [warning] = only(score(("fid",), one, replace(one, jpegs=0))).warnings
    assert warning.startswith("12 of the 3,000 pictures of mine are JPEG files")


def test_statistics_of_a_file_serve_fid_alone(tmp_path: Path) -> None:
    one, other = of_features(random_features(30, 1)), of_features(random_features(40, 2))
    np.savez(tmp_path / "zebras.npz", mu=other.gaussian.mean.numpy(), sigma=other.gaussian.covariance.numpy())
    references = Gathered.from_npz(tmp_path / "zebras.npz")
    found = only(score(("fid",), one, references))
    assert found.value == pytest.approx(fid(one.gaussian, other.gaussian))
    assert "against zebras.npz, of an unknown number of pictures" in found.words
    assert "zebras.npz does not say its variant: the figure holds only if it is clean" in found.warnings
    with pytest.raises(UsageError, match="zebras.npz holds statistics for fid alone: name a folder of references for kid"):
        score(("fid", "kid"), one, references)


def test_kid_says_how_many_pictures_its_subsets_have() -> None:
    found = only(score(("kid",), of_features(random_features(30, 1)), of_features(random_features(40, 2))))
    assert "100 subsets of 30 pictures" in found.words
    assert found.spread is not None
    assert found.spread > 0


def test_the_inception_score_of_few_pictures_is_warned_of() -> None:
    found = only(score(("is",), of_features(random_features(40, 1)), None))
    assert found.value >= 1
    assert "is of 40 pictures: each of the 10 splits has about 4" in found.warnings[0]
    assert found.words.endswith("; 40 pictures of mine")


def test_precision_and_recall_are_not_taken_for_each_other() -> None:
    one, other = of_features(0.45 + 0.1 * random_features(30, 1)), of_features(random_features(40, 2), "refs")
    found = {value.metric: value.value for value in score(("recall", "precision"), one, other)}
    backwards = {value.metric: value.value for value in score(("recall", "precision"), other, one)}
    assert list(found) == ["recall", "precision"]
    assert found["recall"] == backwards["precision"] < backwards["recall"] == found["precision"] == 1


def test_swd_tells_each_level_and_the_number_of_pictures() -> None:
    sides = [gathered([noise(3, 32, 40, seed=seed + i) for i in range(3 + seed)], ("swd",)) for seed in (0, 1)]
    found = only(score(("swd",), *sides))
    assert found.value == pytest.approx(sum(found.details["levels"].values()) / 2)
    assert list(found.details["levels"]) == ["32", "16"]
    assert "swd of 3 pictures a side: the paper has 16,384" in found.warnings[0]
    assert only(score(("swd",), sides[0], sides[0])).value == 0
    smaller = gathered([noise(3, 32, 39)], ("swd",))
    with pytest.raises(UsageError, match="one size, and the sides have 40x32 and 39x32: resize them"):
        score(("swd",), sides[0], smaller)
    with pytest.raises(UsageError, match="the sides have 40x32 and none"):
        score(("swd",), sides[0], gathered([], ("swd",)))


def test_diversity_tells_its_pairs() -> None:
    found = only(score(("ms-ssim-diversity",), gathered([noise(1, 161, 161)] * 4, ("ms-ssim-diversity",)), None))
    assert found.value == pytest.approx(1)
    assert found.words == "2 random pairs; 4 pictures of mine"
    assert "of 2 pairs" in found.warnings[0]


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_pictures_are_refused(count: int) -> None:
    few, many = of_features(random_features(count, 1)), of_features(random_features(20, 2), "refs")
    for metric in ("fid", "kid", "precision", "recall"):
        for sides in ((few, many), (many, few)):
            with pytest.raises(UsageError, match=f"{metric}.*needs? at least.*add some"):
                score((metric,), *sides)
    with pytest.raises(UsageError, match=f"is needs at least 10.*{count}"):
        score(("is",), few, None)
    with pytest.raises(UsageError, match=f"there are {count} pictures of mine: give at least 2"):
        score(("ms-ssim-diversity",), few, None)


def test_a_comparison_without_references_is_refused() -> None:
    with pytest.raises(UsageError, match="recall compares two sets of pictures: name a folder of references too"):
        score(("is", "recall"), of_features(random_features(30, 1)), None)
