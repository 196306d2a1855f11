"""What systems learn from: every kind of folder, table and file, its samples, and what is wrong with it in a sentence."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import noise
from PIL import Image

from gantool.data.folders import batches
from gantool.data.making import deblur, in_8_bits
from gantool.data.samples import Made
from gantool.data.sources import Kind, Source, open_source
from gantool.errors import RunError, UsageError
from gantool.fitting import Fit

RANDOM = Fit("crop", random=True, flip=True)


def flat(path: Path, level: int, height: int = 12, width: int = 10) -> Path:
    """Write a picture of one level, by which a sample tells which picture it shows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((height, width, 3), level, np.uint8)).save(path)
    return path


def opened(kind: Kind, *paths: Path, made: str | None = None, said: list[str] | None = None) -> Source:
    return open_source(kind, paths, made, ([] if said is None else said).append)


def level(image: torch.Tensor) -> int:
    return round(image.mean().item() * 255)


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    for number in range(5):
        path = tmp_path / "plain" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(noise(30 + number, 40, 3, seed=number)).save(path)
    return tmp_path / "plain"


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    for number, name in enumerate(["ant", "bee", "bee/deeper", "cow"]):
        for one in range(3):
            flat(tmp_path / "classes" / name / f"{one}.png", 40 * number + one)
    return tmp_path / "classes"


@pytest.fixture
def celeba(tmp_path: Path) -> Path:
    for number in range(4):
        flat(tmp_path / "c" / "img_align_celeba" / f"{number}.png", 200 + number)
    rows = "0.png -1 1\n1.png  1 1\n2.png  1 -1\n3.png -1 -1\n"
    (tmp_path / "c" / "list_attr_celeba.txt").write_text(f"4\nMale Young \n{rows}")
    return tmp_path / "c" / "list_attr_celeba.txt"


@pytest.fixture
def pairs(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("1", "2", "sub/1"):
        pixels = noise(30, 24, 3, seed=len(name))
        for folder, shown, suffix in (("x", pixels, "png"), ("y", 255 - pixels, "bmp")):
            path = tmp_path / folder / f"{name}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(shown).save(path)
    return tmp_path / "x", tmp_path / "y"


def idx(folder: Path, labels: Sequence[int]) -> Path:
    """Write images of 6x6 whose level is ten times their label."""
    folder.mkdir(exist_ok=True)
    count = len(labels)
    pixels = np.repeat(np.array(labels, np.uint8) * 10, 36).tobytes()
    (folder / "t-labels-idx1-ubyte").write_bytes(struct.pack(">II", 0x801, count) + bytes(labels))
    path = folder / "t-images-idx3-ubyte"
    path.write_bytes(struct.pack(">IIII", 0x803, count, 6, 6) + pixels)
    return path


# --- kinds -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
def test_plain_pictures_are_images(plain: Path, channels: int) -> None:
    source = opened("plain", plain)
    sample = source.samples(16, RANDOM, channels, 0, 4)[0]
    assert source.count == 5
    assert dict(source.facts) == {}
    assert {name: tuple(image.shape) for name, image in sample.items()} == {"image": (channels, 16, 16)}
    assert 0 <= sample["image"].min() < 0.5 < sample["image"].max() <= 1


def test_an_idx_file_is_plain_or_labelled(tmp_path: Path) -> None:
    path = idx(tmp_path / "digits", [3, 9, 3, 7])
    for place in (path, path.parent):
        assert opened("plain", place).count == 4
        source = opened("labelled", place)
        assert source.facts == {"classes": ["3", "7", "9"], "exclusive": True, "sets": [3]}
        samples = source.samples(8, Fit(), 1, 0, 4)
        shown = sorted((level(samples[n]["image"]), samples[n]["label"].tolist()) for n in range(4))
        assert shown == [(30, [1, 0, 0]), (30, [1, 0, 0]), (70, [0, 1, 0]), (90, [0, 0, 1])]


def test_class_folders_give_labels(classes: Path) -> None:
    said: list[str] = []
    flat(classes / "stray.png", 250)
    source = opened("labelled", classes, said=said)
    assert source.facts == {"classes": ["ant", "bee", "cow"], "exclusive": True, "sets": [3]}
    assert source.count == 12
    assert said == [f"left out: 1 pictures of {classes} that lie in no class folder"]
    samples = source.samples(8, Fit(), 3, 0, 4)
    for number in range(12):
        sample = samples[number]
        assert set(sample) == {"image", "label"}
        assert sample["label"].tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1]][level(sample["image"]) // 40]


def test_labels_stay_with_their_pictures_when_one_is_left_out(classes: Path) -> None:
    said: list[str] = []
    (classes / "ant" / "0.png").write_bytes(b"\x89PNG\r\n\x1a\n and nothing more")
    source = opened("labelled", classes, said=said)
    for size in (8, 10):
        samples = source.samples(size, Fit(), 3, 0, 4)
    assert [line for line in said if "ant/0.png" in line] == said
    assert len(said) == 1
    for number in range(11):
        expected = [0, 1, 1, 2][level(samples[number]["image"]) // 40]
        assert samples[number]["label"].argmax() == expected


WANTED = {200: [0, 1], 201: [1, 1], 202: [1, 0], 203: [0, 0]}


def test_celebas_list_gives_attributes(celeba: Path) -> None:
    source = opened("labelled", celeba)
    assert source.facts == {"classes": ["Male", "Young"], "exclusive": False, "sets": [2]}
    samples = source.samples(8, Fit(), 3, 0, 4)
    assert {level(samples[n]["image"]): samples[n]["label"].tolist() for n in range(4)} == WANTED


@pytest.mark.parametrize("folder", ["table", "."])
def test_a_csv_table_gives_attributes(tmp_path: Path, folder: str) -> None:
    for number in range(200, 204):
        flat(tmp_path / folder / f"{number}, x.png", number)
    rows = [f'"{number}, x.png",{male}, {young}' for number, (male, young) in WANTED.items()]
    (tmp_path / "table.csv").write_text("\n".join(["\ufefffile,Male,Young", *rows, ""]), encoding="utf-8")
    samples = opened("labelled", tmp_path / "table.csv").samples(8, Fit(), 3, 0, 4)
    assert {level(samples[n]["image"]): samples[n]["label"].tolist() for n in range(4)} == WANTED


def test_several_labelled_sets_take_turns_batch_by_batch(classes: Path, celeba: Path) -> None:
    source = opened("labelled", classes, celeba)
    assert source.facts == {"classes": ["ant", "bee", "cow", "Male", "Young"], "exclusive": False, "sets": [3, 2]}
    assert source.count == 16
    batch = 4
    samples = source.samples(8, Fit(), 3, 0, batch)
    owners = []
    shown: dict[int, list[int]] = {0: [], 1: []}
    for number in range(10 * batch):
        sample = samples[number]
        own = int(level(sample["image"]) >= 200)
        shown[own].append(level(sample["image"]))
        owners.append(own)
        assert sample["mask"].tolist() == [1 - own, own]
        assert not sample["label"][3:].any() if own == 0 else not sample["label"][:3].any()
    assert owners == [own for n in range(10) for own in [(n + n // 2) % 2] * batch]
    assert len(set(shown[0][:12])) == 12  # each picture once an epoch
    assert len(set(shown[1][:4])) == 4


def check_inverted(source: Source, count: int = 3) -> None:
    samples = source.samples(16, RANDOM, 3, 0, 4)
    for number in range(3 * count):
        sample = samples[number]
        torch.testing.assert_close(sample["input"], 1 - sample["target"])


def test_partners_are_cut_and_mirrored_alike(pairs: tuple[Path, Path]) -> None:
    source = opened("paired", *pairs)
    assert source.count == 3
    check_inverted(source)


@pytest.mark.parametrize("names", [("A", "B"), ("trainA", "trainB"), ("input", "target")])
def test_a_folder_may_hold_the_two(pairs: tuple[Path, Path], names: tuple[str, str]) -> None:
    for path, name in zip(pairs, names, strict=True):
        path.rename(path.with_name(name))
    check_inverted(opened("paired", pairs[0].parent))
    assert opened("unpaired", pairs[0].parent).facts == {"domains": list(names)}


def test_pairs_may_lie_side_by_side(tmp_path: Path) -> None:
    for number in range(3):
        pixels = noise(20, 18, 3, seed=number)
        Image.fromarray(np.hstack([pixels, 255 - pixels])).save(tmp_path / f"{number}.png")
    check_inverted(opened("paired", tmp_path))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("made", ["colorize", "inpaint", "edges", "deblur", "denoise", "lowres"])
def test_pairs_are_made_of_plain_photos(plain: Path, made: str, channels: int) -> None:
    samples = opened("paired", plain, made=made).samples(24, RANDOM, channels, 0, 4)
    photos = opened("plain", plain).samples(24, RANDOM, 3, 0, 4)
    for number in range(3):
        pair = samples[number]
        assert {name: tuple(image.shape) for name, image in pair.items()} == dict.fromkeys(
            ["input", "target"], (channels, 24, 24)
        )
        torch.testing.assert_close(
            pair["input"] * 255, (pair["input"] * 255).round(), atol=1e-3 if channels == 3 else 1, rtol=0
        )
        assert 0 <= pair["input"].min() <= pair["input"].max() <= 1
        if channels == 3:
            assert torch.equal(pair["target"], photos[number]["image"])
            assert not torch.equal(pair["input"], pair["target"])


def test_a_made_input_is_cut_from_the_damaged_picture(plain: Path) -> None:
    samples = opened("paired", plain, made="deblur").samples(8, RANDOM, 3, 0, 4)
    assert isinstance(samples, Made)
    for number in range(10):
        drawn = samples.cuts.drawn(number)
        whole = in_8_bits(deblur(drawn.pictures[0].float() / 255, drawn.rng))
        # a mirrored picture is blurred along a mirrored line, so only what is not mirrored is compared
        if not drawn.cut.mirrored:
            torch.testing.assert_close(samples[number]["input"], drawn.cut.of(whole), atol=1.01 / 255, rtol=0)


def test_unpaired_pictures_go_each_in_an_order_of_their_own(tmp_path: Path) -> None:
    for number in range(6):
        flat(tmp_path / "horse" / f"{number}.png", number)
    for number in range(4):
        flat(tmp_path / "zebra" / f"{number}.png", 100 + number)
    source = opened("unpaired", tmp_path / "horse", tmp_path / "zebra")
    assert source.facts == {"domains": ["horse", "zebra"]}
    assert source.count == 6
    samples = source.samples(8, Fit(), 3, 0, 4)
    horses, zebras = zip(*[(level(samples[n]["a"]), level(samples[n]["b"])) for n in range(12)], strict=True)
    assert sorted(horses[:6]) == sorted(horses[6:]) == list(range(6))
    assert all(sorted(zebras[n : n + 4]) == list(range(100, 104)) for n in (0, 4, 8))
    assert horses[:6] != horses[6:]
    twice = opened("unpaired", tmp_path / "horse", tmp_path / "horse").samples(8, Fit(), 3, 0, 4)
    assert any(level(twice[n]["a"]) != level(twice[n]["b"]) for n in range(12))


def test_two_folders_of_one_name_are_domains_a_and_b(plain: Path) -> None:
    assert opened("unpaired", plain, plain).facts == {"domains": ["a", "b"]}


# --- purity ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["plain", "labelled", "paired", "made", "unpaired", "turns"])
def test_a_sample_depends_on_its_number_and_the_seed_alone(
    kind: str, plain: Path, classes: Path, celeba: Path, pairs: tuple[Path, Path]
) -> None:
    sources: dict[str, Callable[[], Source]] = {
        "plain": lambda: opened("plain", plain),
        "labelled": lambda: opened("labelled", classes),
        "paired": lambda: opened("paired", *pairs),
        "made": lambda: opened("paired", plain, made="denoise"),
        "unpaired": lambda: opened("unpaired", plain, pairs[0]),
        "turns": lambda: opened("labelled", classes, celeba),
    }
    first, second = (sources[kind]().samples(9, RANDOM, 3, 5, 4) for _ in range(2))
    other = sources[kind]().samples(9, RANDOM, 3, 6, 4)
    for number in (17, 3, 0):
        assert all(torch.equal(value, second[number][name]) for name, value in first[number].items())
    assert any(not torch.equal(value, other[n][name]) for n in range(8) for name, value in first[n].items())
    alone, helped = (islice(batches(first, 4, 2, 0, 1, workers), 2) for workers in (0, 1))
    for one, two in zip(alone, helped, strict=True):
        assert all(torch.equal(value, two[name]) for name, value in one.items())


def test_other_files_are_another_fingerprint(classes: Path, pairs: tuple[Path, Path], celeba: Path) -> None:
    def marks() -> list[str]:
        return [
            opened("labelled", classes).fingerprint,
            opened("labelled", classes, celeba).fingerprint,
            opened("labelled", celeba).fingerprint,
            opened("unpaired", *pairs).fingerprint,
            opened("paired", *pairs).fingerprint,
        ]

    before = marks()
    assert marks() == before
    (classes / "ant" / "0.png").rename(classes / "ant" / "9.png")
    (pairs[1] / "1.bmp").write_bytes((pairs[1] / "1.bmp").read_bytes() + b" ")
    celeba.write_text(celeba.read_text() + "\n")
    assert all(old != new for old, new in zip(before, marks(), strict=True))


def test_pictures_are_read_once_for_the_same_samples(plain: Path) -> None:
    source = opened("plain", plain)
    before = source.samples(8, Fit(), 3, 0, 4)[0]
    for path in plain.iterdir():
        path.write_bytes(b"")
    assert torch.equal(source.samples(8, Fit(), 3, 0, 4)[0]["image"], before["image"])


def test_a_picture_that_vanishes_while_training_ends_the_run_in_a_sentence(
    plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gantool.data.sources.CACHE_BYTES", 0)
    source = opened("unpaired", plain, plain)  # whose room is asked for when it is opened
    samples = source.samples(8, Fit(), 3, 0, 4)
    for path in plain.iterdir():
        path.unlink()
    with pytest.raises(RunError, match="put the pictures back"):
        samples[0]


# --- what is wrong -----------------------------------------------------------------------------------------------------


def test_one_folder_too_many_or_too_few(plain: Path) -> None:
    with pytest.raises(UsageError, match="one folder is learned from, not 2"):
        opened("plain", plain, plain)
    with pytest.raises(UsageError, match="unpaired pictures come in two folders"):
        opened("unpaired", plain)
    with pytest.raises(UsageError, match="pairs come in two folders"):
        opened("paired", plain, plain, plain)
    with pytest.raises(UsageError, match="one folder is learned from, not 2"):
        opened("paired", plain, plain, made="denoise")


def test_pairs_are_made_for_pairs_and_in_known_ways(plain: Path) -> None:
    with pytest.raises(UsageError, match="--pairs denoise is for systems that learn from pairs: this one takes plain pictures"):
        opened("plain", plain, made="denoise")
    with pytest.raises(UsageError, match=r"no kind of pairs named 'colourize': did you mean colorize\?"):
        opened("paired", plain, made="colourize")


def test_missing_partners_are_named(pairs: tuple[Path, Path]) -> None:
    for number in range(7):
        flat(pairs[1] / f"new{number}.png", 0)
    with pytest.raises(UsageError, match=r"no partner in .*x for .*new0\.png.*new4\.png and 2 more"):
        opened("paired", *pairs)
    (pairs[1] / "sub" / "1.bmp").unlink()
    with pytest.raises(UsageError, match=r"no partner in .*y for .*sub/1\.png: "):
        opened("paired", *pairs)


def test_two_files_of_one_name_are_named(pairs: tuple[Path, Path]) -> None:
    flat(pairs[0] / "1.jpg", 0)
    with pytest.raises(UsageError, match=r"1\.jpg and .*1\.png have one name"):
        opened("paired", *pairs)


def test_partners_of_different_size_are_named(pairs: tuple[Path, Path]) -> None:
    flat(pairs[1] / "2.bmp", 0, 30, 25)
    with pytest.raises(UsageError, match=r"partners must have one size: .*2\.png 24x30, .*2\.bmp 25x30; resize"):
        opened("paired", *pairs).samples(8, Fit(), 3, 0, 4)


def test_an_odd_width_side_by_side_is_named(tmp_path: Path) -> None:
    flat(tmp_path / "a.png", 0, 10, 21)
    with pytest.raises(UsageError, match=r"a\.png is 21 pixels wide: .*even width.*--pairs"):
        opened("paired", tmp_path).samples(8, Fit(), 3, 0, 4)


def test_pictures_too_small_to_cut_from_are_counted(plain: Path, tmp_path: Path) -> None:
    said: list[str] = []
    with pytest.raises(UsageError, match=r"2 of 5 pictures in .* cannot be used \(unreadable, or a side under 32 pixels\)"):
        opened("plain", plain, said=said).samples(32, RANDOM, 3, 0, 4)
    assert "0.png is 40x30, training needs 32 pixels a side" in said[0]
    with pytest.raises(UsageError, match="1 of 1 pictures .*under 28 pixels"):
        opened("plain", idx(tmp_path / "d", [1, 2])).samples(28, RANDOM, 1, 0, 4)


def test_unreadable_pictures_are_counted(plain: Path) -> None:
    for number in (1, 3):
        (plain / f"{number}.png").write_bytes(b"no picture")
    with pytest.raises(UsageError, match=r"2 of 5 pictures in .* cannot be used \(unreadable\): remove them"):
        opened("plain", plain).samples(8, Fit(), 3, 0, 4)


def test_empty_classes_and_single_ones_are_named(classes: Path, plain: Path, tmp_path: Path) -> None:
    (classes / "dog").mkdir()
    with pytest.raises(UsageError, match="no pictures in .*classes/dog: remove empty classes"):
        opened("labelled", classes)
    with pytest.raises(UsageError, match="plain has no class folders: two classes or more are needed"):
        opened("labelled", plain)
    with pytest.raises(UsageError, match=r"t-labels-idx1-ubyte has only the class 4: two"):
        opened("labelled", idx(tmp_path / "fours", [4, 4]))
    flat(tmp_path / "one" / "ant" / "1.png", 0)
    with pytest.raises(UsageError, match="one has only the class ant: two classes or more are needed"):
        opened("labelled", tmp_path / "one")


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere is nothing with labels: name a folder"):
        opened("labelled", tmp_path / "nowhere")
    for kind in ("plain", "paired"):
        with pytest.raises(UsageError, match="nowhere is not a folder"):
            opened(kind, tmp_path / "nowhere")


def test_a_folder_with_several_idx_files_lists_them(tmp_path: Path) -> None:
    path = idx(tmp_path / "d", [1, 2])
    path.with_name("u-images-idx3-ubyte.gz").write_bytes(b"")
    for kind in ("plain", "labelled"):
        with pytest.raises(UsageError, match="d holds t-images-idx3-ubyte, u-images-idx3-ubyte.gz: name the file"):
            opened(kind, path.parent)


def test_two_sets_with_one_class_name_are_refused(classes: Path) -> None:
    with pytest.raises(UsageError, match="ant, bee, cow: the name of several classes"):
        opened("labelled", classes, classes)


CSV = {
    "row without a file": ("file,A\n0.png,1\n1.png,0\n2.png,0\n7.png,0\n", "rows without a file: 7.png"),
    "file without a row": ("file,A\n0.png,1\n1.png,0\n", "files without a row: 2.png"),
    "row twice": ("file,A\n0.png,1\n1.png,0\n2.png,0\n0.png,0\n", "more than one row: 0.png"),
    "not 0 or 1": ("file,A\n0.png,1\n1.png,yes\n2.png,0\n", "row of 1.png: A is 'yes': use 1 for yes and 0 or -1 for no"),
    "short row": ("file,A,B\n0.png,1,1\n1.png,0\n2.png,0,0\n", "row of 1.png: 1 values for 2 attributes"),
    "nobody": ("file,A,B\n0.png,1,0\n1.png,0,0\n2.png,0,-1\n", "no picture of .* has B: remove the column"),
    "one column": ("file\n0.png\n", "has no attributes"),
    "no rows": ("file,A\n", "has no rows"),
    "empty": ("", "has no attributes"),
    "twice": ("file,A,A\n0.png,1,1\n1.png,0,0\n2.png,0,0\n", "A: the name of several"),
}


@pytest.mark.parametrize("name", CSV)
def test_a_wrong_table_is_a_sentence(tmp_path: Path, name: str) -> None:
    text, message = CSV[name]
    for number in range(3):
        flat(tmp_path / "t" / f"{number}.png", number)
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(UsageError, match=message):
        opened("labelled", tmp_path / "t.csv")


@pytest.mark.parametrize("text", ["", "3\nA\n0.png 1\n", "A\n0.png 1\n", "many\nA\n0.png 1\n"])
def test_a_wrong_list_is_a_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(UsageError, match="is no list like CelebA's"):
        opened("labelled", tmp_path / "list.txt")


@pytest.mark.parametrize("suffix", [".csv", ".txt"])
def test_a_table_that_is_no_text_is_a_sentence(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"t{suffix}").write_bytes(b"\xff\xfe\x00a,b\n\x80")
    with pytest.raises(UsageError, match="cannot be read as a table"):
        opened("labelled", tmp_path / f"t{suffix}")


# --- real data ---------------------------------------------------------------------------------------------------------


def test_mnist_is_read(shared: Path) -> None:
    source = opened("labelled", shared / "data" / "mnist" / "t10k-images-idx3-ubyte.gz")
    assert source.count == 10_000
    assert source.facts == {"classes": [str(n) for n in range(10)], "exclusive": True, "sets": [10]}
    samples = source.samples(28, Fit(), 1, 0, 64)
    counts = torch.stack([samples[n]["label"] for n in range(10_000)]).sum(0).tolist()
    assert counts == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]  # as LeCun's page and many papers have them


def test_the_two_styles_of_emoji_are_pairs(shared: Path) -> None:
    emoji = shared / "data" / "emoji"
    assert opened("paired", emoji / "noto72", emoji / "twemoji72").count == 2856
    assert opened("unpaired", emoji / "noto72", emoji / "twemoji72").facts == {"domains": ["noto72", "twemoji72"]}
