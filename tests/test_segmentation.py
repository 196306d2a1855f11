"""What a user's own network sees at each place of results: against closed forms and a plain count."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from labels import COLORS, Told, constant, convolution, oracle, refuse, save_color, save_labels, some_classes
from PIL import Image

from gantool.errors import UsageError, WeightsError
from gantool.evaluation.palettes import CITYSCAPES, read_numbers
from gantool.evaluation.segmentation import segmentation
from gantool.evaluation.values import SetValue
from gantool.evaluation.wanted import label_pairs
from gantool.metrics.seg import Confusion


def score(pairs: Sequence[tuple[Path, Path]], network: Path | None, palette: str | None = None) -> dict[str, SetValue]:
    found = segmentation({"out": pairs}, segmenter=network, palette=palette, on_error=refuse)
    return {value.metric: value for value in found["out"]}


def test_scores_are_those_of_a_plain_count() -> None:
    true, said = some_classes(30, 40, 1, 4), some_classes(30, 40, 2, 4)
    counts = Confusion(4)
    counts.add(said[:10], true[:10])
    counts.add(said[10:], true[10:])
    shares, ious = [], []
    for c in range(4):
        shares.append(((said == c) & (true == c)).sum() / (true == c).sum())
        ious.append(((said == c) & (true == c)).sum() / ((said == c) | (true == c)).sum())
    assert counts.matrix.dtype == np.int64
    assert counts.matrix[2, 3] == ((true == 2) & (said == 3)).sum()
    assert counts.pixel_accuracy() == pytest.approx((said == true).mean(), abs=1e-12)
    assert counts.class_accuracies() == pytest.approx(shares, abs=1e-12)
    assert counts.class_accuracy() == pytest.approx(np.mean(shares), abs=1e-12)
    assert counts.ious() == pytest.approx(ious, abs=1e-12)
    assert counts.iou() == pytest.approx(np.mean(ious), abs=1e-12)


def test_a_worked_matrix_has_its_shares() -> None:
    counts = Confusion(2)
    counts.add(np.array([0, 0, 0, 1, 1]), np.array([0, 0, 1, 1, 255]), (255,))
    assert counts.matrix.tolist() == [[2, 0], [1, 1]]
    assert counts.pixel_accuracy() == pytest.approx(3 / 4)
    assert counts.class_accuracy() == pytest.approx((1 + 1 / 2) / 2)
    assert counts.iou() == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_a_class_that_never_occurs_counts_as_zero_in_the_means() -> None:
    counts = Confusion(4)
    counts.add(np.array([0, 1]), np.array([0, 1]))
    assert (counts.pixel_accuracy(), counts.class_accuracy(), counts.iou()) == pytest.approx((1, 0.5, 0.5))


@pytest.mark.parametrize(("said", "true"), [(3, 0), (0, 3), (-1, 0), (0, 255)])
def test_a_value_that_is_no_class_is_never_counted(said: int, true: int) -> None:
    with pytest.raises(ValueError, match="classes are 0 to 2"):
        Confusion(3).add(np.array([said]), np.array([true]))


def test_an_oracle_sees_everything_right(tmp_path: Path) -> None:
    pairs = []
    for number in range(3):
        classes = some_classes(5 + number, 7, number)
        result = save_color(tmp_path / f"{number}.png", COLORS[classes])
        pairs.append((result, save_labels(tmp_path / f"{number}_labels.png", classes)))
    found = score(pairs, oracle(tmp_path / "net.onnx", "names = ['road', 'tree', 'sky']"))
    assert list(found) == ["seg pixel", "seg class", "seg iou"]
    assert [value.value for value in found.values()] == pytest.approx([1, 1, 1], abs=1e-9)
    words = found["seg iou"].words
    assert "3 pictures of 7x5 to 7x7, 3 classes by net.onnx (sha256 " in words
    assert "places labelled 255 do not count" in words
    assert found["seg iou"].details["by_class"] == pytest.approx({"road": 1, "tree": 1, "sky": 1})
    assert found["seg pixel"].details["sha256"] == hashlib.sha256((tmp_path / "net.onnx").read_bytes()).hexdigest()
    assert found["seg iou"].warnings == ()


def test_a_network_that_always_says_the_same_is_right_as_often_as_that_class_is_there(tmp_path: Path) -> None:
    classes = some_classes(20, 30, 5)
    truth = save_labels(tmp_path / "labels.png", classes)
    result = save_color(tmp_path / "result.png", np.zeros((20, 30, 3), np.uint8))
    for says in range(3):
        share = (classes == says).mean()
        found = score([(result, truth)], constant(tmp_path / f"{says}.onnx", says))
        assert found["seg pixel"].value == pytest.approx(share, abs=1e-12)
        assert found["seg class"].value == pytest.approx(1 / 3, abs=1e-12)
        assert found["seg iou"].value == pytest.approx(share / 3, abs=1e-12)


def test_counts_are_summed_over_pictures_not_their_shares(tmp_path: Path) -> None:
    pairs = []
    for number, (height, says) in enumerate(((1, 0), (9, 1))):
        result = save_color(tmp_path / f"{number}.png", COLORS[np.zeros((height, 4), int)])
        pairs.append((result, save_labels(tmp_path / f"{number}l.png", np.full((height, 4), says))))
    assert score(pairs, oracle(tmp_path / "net.onnx"))["seg pixel"].value == pytest.approx(0.1)


def test_places_labelled_255_do_not_count_and_absent_classes_are_named(tmp_path: Path) -> None:
    classes = np.array([[0, 0, 1, 255]])
    result = save_color(tmp_path / "a.png", COLORS[[[0, 1, 1, 2]]])
    found = score([(result, save_labels(tmp_path / "l.png", classes))], oracle(tmp_path / "net.onnx"))
    assert [value.value for value in found.values()] == pytest.approx([2 / 3, (1 / 2 + 1) / 3, (1 / 2 + 1 / 2) / 3])
    assert found["seg class"].warnings == (
        "2: in no label picture, and counted as 0 in the mean over classes, as published scores do",
    )
    assert found["seg class"].details["by_class"] == pytest.approx({"0": 0.5, "1": 1, "2": None})
    assert found["seg pixel"].details["confusion"] == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]


def test_results_are_blown_up_to_their_label_pictures_and_coarse_maps_too(tmp_path: Path) -> None:
    classes = some_classes(4, 6)
    small = save_color(tmp_path / "small.png", COLORS[classes])
    large = save_labels(tmp_path / "large.png", np.kron(classes, np.ones((8, 8), int)))
    blown_up = score([(small, large)], oracle(tmp_path / "net.onnx"))
    assert 0.85 < blown_up["seg pixel"].value < 1  # borders of blobs move a little
    assert "to the size of label pictures" in blown_up["seg pixel"].words
    fixed = score([(small, large)], oracle(tmp_path / "fixed.onnx", "size = [4, 6]"))
    assert fixed["seg pixel"].value == pytest.approx(1, abs=1e-12)
    assert "to what it takes" in fixed["seg pixel"].words
    coarse = score([(save_color(tmp_path / "c.png", COLORS[np.kron(classes, np.ones((8, 8), int))]), large)],
                   oracle(tmp_path / "coarse.onnx", stride=4))  # fmt: skip
    assert coarse["seg pixel"].value == pytest.approx(1, abs=1e-12)


def test_coloured_maps_are_read_by_the_nearest_colour(tmp_path: Path) -> None:
    (tmp_path / "palette.csv").write_text("name,r,g,b\nroad,255,0,0\ntree,0,255,0\nsky,0,0,255\n")
    classes = some_classes(16, 24, 4)
    noise = np.random.default_rng(0).integers(-60, 60, (16, 24, 3))
    result = save_color(tmp_path / "a.png", (COLORS[classes].astype(int) + noise).clip(0, 255).astype(np.uint8))
    wrong = classes.copy()
    wrong[0, :4] = (wrong[0, :4] + 1) % 3
    found = score([(result, save_labels(tmp_path / "l.png", wrong))], None, str(tmp_path / "palette.csv"))
    assert found["seg pixel"].value == pytest.approx(1 - 4 / classes.size)
    assert set(found["seg iou"].details["by_class"]) == {"road", "tree", "sky"}  # type: ignore[arg-type]
    assert "the nearest of 3 colours" in found["seg iou"].words


def test_cityscapes_numbers_become_its_19_classes(tmp_path: Path) -> None:
    assert (len(CITYSCAPES.names), len(set(CITYSCAPES.colors)), len(set(CITYSCAPES.ids))) == (19, 19, 19)
    ids = np.array([[7, 8, 0, 9], [33, 26, 30, 23]])
    truth = save_labels(tmp_path / "x_gtFine_labelIds.png", ids)
    assert read_numbers(truth, CITYSCAPES).tolist() == [[0, 1, 255, 255], [18, 13, 255, 10]]
    colors = np.array([CITYSCAPES.colors[n] for n in (0, 1, 4, 4, 18, 13, 4, 10)], np.uint8).reshape(2, 4, 3)
    result = save_color(tmp_path / "x.png", colors)
    found = score([(result, truth)], None, "cityscapes")
    assert found["seg pixel"].value == pytest.approx(1)
    assert found["seg class"].value == pytest.approx(5 / 19)
    assert "Cityscapes' label ids without a train id do not count" in found["seg class"].words


def test_a_segmenter_of_cityscapes_has_19_classes(tmp_path: Path) -> None:
    truth = save_labels(tmp_path / "l.png", np.full((2, 2), 26))
    result = save_color(tmp_path / "a.png", np.zeros((2, 2, 3), np.uint8))
    found = score([(result, truth)], constant(tmp_path / "net.onnx", 13, 19), "cityscapes")
    assert found["seg pixel"].value == pytest.approx(1)
    assert found["seg iou"].details["by_class"]["car"] == pytest.approx(1)  # type: ignore[index, call-overload]
    with pytest.raises(WeightsError, match="tells 3 classes apart, it should be 19"):
        score([(result, truth)], oracle(tmp_path / "three.onnx"), "cityscapes")
    with pytest.raises(UsageError, match="tells 3 classes apart, and there are 19"):
        score([(result, truth)], oracle(tmp_path / "said.onnx", "classes = 3"), "cityscapes")


def test_cityscapes_files_pair_by_shot(tmp_path: Path) -> None:
    results, labels = tmp_path / "results", tmp_path / "val"
    (labels / "bonn").mkdir(parents=True)
    results.mkdir()
    for shot in ("bonn_000_001", "bonn_000_002"):
        save_labels(results / f"{shot}_leftImg8bit.png", np.zeros((2, 2)))
        for kind in ("labelIds", "color", "instanceIds"):
            save_labels(labels / "bonn" / f"{shot}_gtFine_{kind}.png", np.zeros((2, 2)))
    pairs = label_pairs(results, labels)
    assert [(a.name[:12], b.name) for a, b in pairs] == [
        (shot, f"{shot}_gtFine_labelIds.png") for shot in ("bonn_000_001", "bonn_000_002")
    ]
    (results / "bonn_000_002_leftImg8bit.png").unlink()
    with pytest.raises(UsageError, match="without a result: bonn_000_002.png"):
        label_pairs(results, labels)
    assert label_pairs(results, results) == [(results / "bonn_000_001_leftImg8bit.png",) * 2]


def bad_labels(folder: Path) -> dict[str, Path]:
    """Return label pictures that cannot be used, by what is said of them."""
    rng = np.random.default_rng(0)
    whole = save_labels(folder / "whole.png", rng.integers(0, 3, (40, 40))).read_bytes()
    (folder / "cut.png").write_bytes(whole[:200])
    (folder / "text.png").write_text("no picture")
    Image.new("RGB", (4, 4)).save(folder / "rgb.png")
    Image.new("LA", (4, 4)).save(folder / "la.png")
    Image.new("L", (4, 4)).save(folder / "gray.jpg")
    (folder / "folder.png").mkdir()
    return {
        "cut.png is damaged or cut short": folder / "cut.png",
        "text.png is no PNG: label pictures are": folder / "text.png",
        "gray.jpg is no PNG": folder / "gray.jpg",
        "rgb.png has colours: label pictures are gray": folder / "rgb.png",
        "la.png has transparency": folder / "la.png",
        "folder.png is no file": folder / "folder.png",
        "beyond.png has the class 3, and there are 3, from 0 on": save_labels(folder / "beyond.png", np.array([[0, 3]])),
    }


def test_one_picture_that_cannot_be_used_is_named_and_the_numbers_are_withheld(tmp_path: Path) -> None:
    classes = some_classes(4, 4)
    good = save_color(tmp_path / "good.png", COLORS[classes]), save_labels(tmp_path / "labels.png", classes)
    bad = bad_labels(tmp_path)
    pairs = [good, *((good[0], truth) for truth in bad.values()), good]
    told, network = Told(), oracle(tmp_path / "net.onnx", "classes = 3")
    assert segmentation({"out": pairs}, segmenter=network, palette=None, on_error=told) == {"out": ()}
    assert told.files == [path.name for path in bad.values()]
    for message, said in zip(bad, told.messages, strict=True):
        assert message in said


def test_results_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    truth = save_labels(tmp_path / "labels.png", some_classes(4, 4))
    Image.new("RGBA", (4, 4), (9, 9, 9, 99)).save(tmp_path / "transparent.png")
    (tmp_path / "cut.png").write_bytes(truth.read_bytes()[:50])
    names, told = ["transparent.png", "cut.png", "missing.png"], Told()
    pairs = {"out": [(tmp_path / name, truth) for name in names]}
    assert segmentation(pairs, segmenter=oracle(tmp_path / "net.onnx"), palette=None, on_error=told) == {"out": ()}
    assert "is transparent" in told.messages[0]
    assert told.files == names


def test_each_file_that_fails_is_told_once_by_its_name_and_others_keep_their_numbers(tmp_path: Path) -> None:
    """Among them one that the network fails on, both files of a pair, and a label picture of two folders."""
    truth = save_labels(tmp_path / "labels.png", np.zeros((6, 6)))
    (tmp_path / "bad_labels.png").write_text("no picture")
    (tmp_path / "bad.png").write_text("no picture")
    beyond = save_labels(tmp_path / "beyond.png", np.full((6, 6), 2))
    small, tiny = save_labels(tmp_path / "small_labels.png", np.zeros((2, 2))), tmp_path / "tiny.png"
    good = save_color(tmp_path / "good.png", np.zeros((6, 6, 3), np.uint8))
    save_color(tiny, np.zeros((2, 2, 3), np.uint8))
    network = convolution(tmp_path / "net.onnx", np.zeros((2, 3, 5, 5)), np.array([1.0, 0.0]))  # needs 5 pixels a side
    pairs = {
        "one": [(good, truth), (good, beyond), (tiny, small), (tmp_path / "bad.png", tmp_path / "bad_labels.png")],
        "two": [(good, truth), (good, tmp_path / "bad_labels.png"), (good, beyond)],
        "three": [(good, truth)],
    }
    told = Told()
    found = segmentation(pairs, segmenter=network, palette=None, on_error=told)
    assert told.files == ["beyond.png", "tiny.png", "bad.png", "bad_labels.png"]
    for name, message in zip(told.files, told.messages, strict=True):
        assert name in message
    assert {name: len(values) for name, values in found.items()} == {"one": 0, "two": 0, "three": 3}
    assert found["three"][0].value == pytest.approx(1)


def test_a_16_bit_result_is_seen_in_8_bits(tmp_path: Path) -> None:
    classes = some_classes(4, 4)
    cv2.imwrite(str(tmp_path / "deep.png"), COLORS[classes][:, :, ::-1].astype(np.uint16) * 257)
    pair = tmp_path / "deep.png", save_labels(tmp_path / "l.png", classes)
    assert score([pair], oracle(tmp_path / "net.onnx"))["seg pixel"].value == pytest.approx(1)


def test_without_anything_that_knows_classes_seg_says_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--segmenter net.onnx.*--palette cityscapes"):
        score([], None)
    truth = save_labels(tmp_path / "l.png", np.full((2, 2), 255))
    result = save_color(tmp_path / "a.png", np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(UsageError, match="say nothing but 255"):
        score([(result, truth)], oracle(tmp_path / "net.onnx"))
