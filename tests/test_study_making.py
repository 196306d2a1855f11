"""Human studies without a browser: what a page holds and hides, and what is refused."""

from __future__ import annotations

import base64
import io
import itertools
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageCms
from voting import Run, Study, folder, made

from gantool.images import Picture, read, write
from gantool.studies import making

Folders = dict[str, Path]


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    """Four folders of twelve pictures each."""
    return {name: folder(tmp_path / name, "abcdefghijkl", seed=seed) for seed, name in enumerate("ABCD")}


# --- the page ----------------------------------------------------------------------------------------------------------


def page_of(study: Study) -> tuple[dict[str, Any], dict[str, NDArray[np.uint8]]]:
    """Return what a page says of the study, and its pictures by id."""
    text = study.page.read_text(encoding="utf-8")
    blocks = re.findall(r'<script type="text/plain" id="(\w+)">([\w+/=]*)</script>', text)
    pixels = {name: np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")) for name, data in blocks}
    [said] = re.findall(r'<script type="application/json" id="study">(.*)</script>', text)
    return json.loads(said), pixels


def pixels_of(path: Path) -> NDArray[np.uint8]:
    return read(path).color.expand(3, -1, -1).permute(1, 2, 0).numpy()


def test_the_page_shows_in_each_place_the_picture_of_the_folder_that_the_key_says(
    run_cli: Run, folders: Folders, tmp_path: Path
) -> None:
    study = made(run_cli, tmp_path, "best-of-n", *folders.values(), "--references", folders["B"])
    said, pixels = page_of(study)
    for shown, trial in zip(said["trials"], study.trials, strict=True):
        assert shown["id"] == trial["id"]
        [(caption, original)] = shown["context"]
        assert caption == "Original"
        assert np.array_equal(pixels[original], pixels_of(folders["B"] / trial["picture"]))
        for name, label in zip(shown["pictures"], trial["options"], strict=True):
            if label != "noise":
                assert np.array_equal(pixels[name], pixels_of(folders[label] / trial["picture"]))


def test_the_page_tells_neither_names_nor_formats_nor_what_files_say_of_themselves(run_cli: Run, tmp_path: Path) -> None:
    first, second = tmp_path / "secret-method", tmp_path / "baseline"
    for number, place in enumerate((first, second)):
        place.mkdir()
        exif = Image.Exif()
        exif[0x0131] = place.name
        image = Image.fromarray(np.random.default_rng(number).integers(0, 256, (40, 50, 3), np.uint8))
        image.save(place / ("portrait.png" if number else "portrait.jpg"), exif=exif)
    study = made(run_cli, tmp_path, "ab", first, second, "--checks", 2)
    text = study.page.read_text(encoding="utf-8")
    inside = b"".join(base64.b64decode(data) for data in re.findall(r'text/plain" id="\w+">([\w+/=]*)<', text))
    for word in ("secret", "baseline", "portrait"):
        assert word not in text
        assert word.encode() not in inside
    assert inside.count(b"\x89PNG\r\n\x1a\n") == text.count('type="text/plain"') == 4
    assert all("good" not in trial for trial in page_of(study)[0]["trials"])
    assert all(word in study.key.read_text() for word in ("secret", "baseline", "portrait"))


def test_the_page_is_one_file_that_may_load_nothing_and_run_nothing_but_its_own_script(
    run_cli: Run, folders: Folders, tmp_path: Path
) -> None:
    text = made(run_cli, tmp_path, "ab", folders["A"], folders["B"]).page.read_text(encoding="utf-8")
    [policy] = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy.startswith("default-src 'none'; img-src data:; ")
    assert "unsafe" not in policy
    assert not re.search(r'(?:src|href)="|https?:|url\(', text)


@pytest.mark.parametrize("mode", ["ab", "real-fake", "best-of-n"])
def test_each_folder_is_as_often_in_each_place(run_cli: Run, folders: Folders, tmp_path: Path, mode: str) -> None:
    chosen = list(folders)[: 4 if mode == "best-of-n" else 2]
    study = made(
        run_cli, tmp_path, mode, *(folders[name] for name in chosen), *(["--practice", 2] if mode == "real-fake" else [])
    )
    trials = study.of("trial")
    places = Counter((place, label) for trial in trials for place, label in enumerate(trial["options"]))
    expected = len(trials) / len(chosen)
    assert len(places) == len(chosen) ** 2
    assert all(abs(count - expected) < 1 for count in places.values())


def test_the_same_seed_makes_the_same_page_and_another_seed_another(run_cli: Run, folders: Folders, tmp_path: Path) -> None:
    args = ("study", "make", "ab", folders["A"], folders["B"], "-o")
    found = {}
    for name, seed in (("one", 3), ("two", 3), ("other", 4)):
        assert run_cli(*args, tmp_path / f"{name}.html", "--seed", seed).status == 0
        found[name] = (tmp_path / f"{name}.html").read_bytes()
    assert found["one"] == found["two"] != found["other"]
    for name in ("drawn", "again"):
        assert run_cli(*args, tmp_path / f"{name}.html").status == 0
    seeds = [json.loads((tmp_path / f"{name}.key.json").read_text())["seed"] for name in ("drawn", "again")]
    assert seeds[0] != seeds[1]


def test_a_study_of_other_pictures_with_the_same_names_and_seed_is_another_study(run_cli: Run, tmp_path: Path) -> None:
    args = [folder(tmp_path / name, seed=seed) for seed, name in enumerate("AB")]
    before = made(run_cli, tmp_path, "ab", *args).known["study"]
    shutil.rmtree(args[1])
    folder(args[1], seed=7)
    assert made(run_cli, tmp_path, "ab", *args).known["study"] != before


def test_page_and_key_are_named(run_cli: Run, folders: Folders, tmp_path: Path) -> None:
    page, key = tmp_path / "p.html", tmp_path / "k.json"
    done = run_cli("study", "make", "ab", folders["A"], folders["B"], "-o", page, "--key", key)
    assert done.out.splitlines() == [str(page), str(key)]
    assert re.fullmatch(r"12 trials and 4 attention checks with 28 pictures, 0\.\d MB; give .*\n", done.err)


def test_labels_can_be_given_and_pictures_are_paired_by_name(run_cli: Run, tmp_path: Path) -> None:
    low, high = folder(tmp_path / "low", "ab", (6, 4)), folder(tmp_path / "high", "ab", (24, 16))
    results = [folder(tmp_path / name, "ab", (24, 16), seed=seed) for seed, name in enumerate(("x", "y"))]
    for path in [*results[0].iterdir(), *results[1].iterdir()]:
        path.rename(path.with_stem(f"{path.stem}_x4"))
    study = made(run_cli, tmp_path, "ab", f"ours={results[0]}", results[1], "--inputs", low, "--references", high)
    assert study.known["labels"] == ["ours", "y"]
    assert [caption for caption, _ in page_of(study)[0]["trials"][0]["context"]] == ["Input", "Original"]


# --- the modes ---------------------------------------------------------------------------------------------------------


def test_practice_of_real_fake_is_first_with_the_answers_and_its_pictures_are_in_no_trial(
    run_cli: Run, folders: Folders, tmp_path: Path
) -> None:
    study = made(run_cli, tmp_path, "real-fake", folders["A"], folders["B"])
    kinds = [trial["kind"] for trial in study.trials]
    assert kinds[:10] == ["practice"] * 10
    assert Counter(kinds[10:]) == {"trial": 2, "check": 4}
    assert all(trial["options"][trial["good"][0]] == "A" for trial in study.of("practice"))
    practised = {trial["picture"] for trial in study.of("practice")}
    assert not practised & {trial["picture"] for trial in study.of("trial")}
    assert {trial["picture"] for trial in study.of("check")} <= practised  # a check shows which picture is real
    said, _ = page_of(study)
    assert (said["exposure"], said["question"]) == (1000, "Which picture was real?")
    assert [trial.get("good") for trial in said["trials"]] == [
        trial["good"] if trial["kind"] == "practice" else None for trial in study.trials
    ]


def test_real_pictures_of_other_names_are_drawn_by_size_and_none_twice(run_cli: Run, tmp_path: Path) -> None:
    real, fake = folder(tmp_path / "real", "abcdefgh", (24, 16)), folder(tmp_path / "fake", "pqrs", (24, 16), seed=1)
    folder(tmp_path / "more", "z", (30, 16)).joinpath("z.png").rename(real / "z.png")
    args = ("real-fake", real, fake, "--practice", 1)
    refused = run_cli("study", "make", *args, "-o", tmp_path / "x.html")
    assert refused.status == 2
    assert f"{fake} has no picture for a.png, b.png" in refused.err
    said, pixels = page_of(study := made(run_cli, tmp_path, *args, "--beside", "any"))
    reals = {pixels_of(path).tobytes(): path.name for path in real.iterdir()}
    shown = [
        reals[pixels[shown["pictures"][trial["options"].index("real")]].tobytes()]
        for shown, trial in zip(said["trials"], study.trials, strict=True)
        if trial["kind"] != "check"
    ]
    assert len(set(shown)) == len(shown) == 4
    assert "z.png" not in shown


def test_sizes_that_would_tell_are_refused(run_cli: Run, tmp_path: Path) -> None:
    real, fake = folder(tmp_path / "real", "abc", (24, 16)), folder(tmp_path / "fake", "abc", (24, 18))
    for args in (("ab", real, fake), ("real-fake", real, fake, "--practice", 1, "--beside", "none")):
        refused = run_cli("study", "make", *args, "-o", tmp_path / "x.html")
        assert refused.status == 2
        assert "24x18" in refused.err
        assert not (tmp_path / "x.html").exists()


def test_single_pictures_are_as_many_real_as_generated(run_cli: Run, folders: Folders, tmp_path: Path) -> None:
    study = made(run_cli, tmp_path, "real-fake", folders["A"], folders["B"], "--beside", "none", "--practice", 2)
    assert Counter(trial["options"][0] for trial in study.of("trial")) == {"A": 10, "B": 10}
    assert [(trial["options"], trial["good"]) for trial in study.of("practice")] == [(["A"], [0]), (["B"], [1])]
    assert all((trial["options"], trial["good"]) == (["noise"], [1]) for trial in study.of("check"))


def test_opinions_are_asked_on_every_version_with_nearest_and_original_as_examples(run_cli: Run, tmp_path: Path) -> None:
    low, results = folder(tmp_path / "low", size=(8, 5)), folder(tmp_path / "ours", size=(24, 15))
    high = folder(tmp_path / "high", size=(26, 17), seed=3)  # not yet cropped to a multiple of the scale
    study = made(run_cli, tmp_path, "mos", results, "--inputs", low, "--references", high, "--checks", 1)
    assert study.known["labels"] == ["ours", "nearest", "original"]
    assert [(trial["options"], trial["good"]) for trial in study.of("practice")] == [(["nearest"], [1]), (["original"], [5])]
    assert Counter(trial["options"][0] for trial in study.of("trial")) == {"ours": 2, "nearest": 2, "original": 2}
    assert study.of("check")[0]["good"] == [1, 2]
    said, pixels = page_of(study)
    for shown, trial in zip(said["trials"], study.trials, strict=True):
        if trial["options"] == ["nearest"]:
            enlarged = pixels_of(low / trial["picture"]).repeat(3, 0).repeat(3, 1)
            assert np.array_equal(pixels[shown["pictures"][0]], enlarged)
        if trial["options"] == ["original"]:
            assert np.array_equal(pixels[shown["pictures"][0]], pixels_of(high / trial["picture"])[:15, :24])


def test_anchors_that_do_not_fit_are_refused(run_cli: Run, tmp_path: Path) -> None:
    results, other = folder(tmp_path / "ours", size=(24, 16)), folder(tmp_path / "other", size=(7, 5))
    for option in ("--inputs", "--references"):
        refused = run_cli("study", "make", "mos", results, option, other, "-o", tmp_path / "x.html")
        assert refused.status == 2
        assert "is 7x5" in refused.err


@pytest.mark.parametrize(
    ("option", "value", "changes"),
    [
        ("--exposure", 250, lambda said, _: said["exposure"] == 250),
        ("--checks", 7, lambda _, study: len(study.of("check")) == 7),
        ("--pictures", 5, lambda _, study: len(study.of("trial")) == 5),
        ("--question", "Which is <b>?", lambda said, _: said["question"] == "Which is <b>?"),
    ],
)
def test_an_option_does_what_it_says(
    run_cli: Run, folders: Folders, tmp_path: Path, option: str, value: object, changes: Callable[[dict[str, Any], Study], bool]
) -> None:
    more = ["--checks", 4] if option == "--question" else []
    asked = made(run_cli, tmp_path, "ab", folders["A"], folders["B"], option, value, *more)
    assert changes(page_of(asked)[0], asked)
    plain = made(run_cli, tmp_path, "ab", folders["A"], folders["B"])
    assert not changes(page_of(plain)[0], plain)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("ab", "A"), "takes two folders, not 1"),
        (("ab", "A", "B", "C"), "takes two folders, not 3"),
        (("ab", "A", "A"), "two folders are called A: give them labels"),
        (("ab", "A", "nowhere"), "nowhere is not a folder"),
        (("best-of-n", "A"), "takes 2 to 9 folders, not 1"),
        (("ab", "A", "B", "--beside", "any"), "--beside cannot be used here: it is for real-fake"),
        (("ab", "A", "B", "--practice", 1), "--practice cannot be used here"),
        (("mos", "A", "--practice", 1), "--practice cannot be used here"),
        (("real-fake", "A", "B", "--inputs", "C"), "real-fake shows neither"),
        (("real-fake", "A", "B", "--question", "?"), "real-fake has its own question"),
        (("real-fake", "A", "B", "--practice", 12), "--practice 12 leaves none of 12 pictures to score"),
        (("real-fake", "A", "B", "--practice", 0), "use --practice 1 or more, or --checks 0"),
        (("real-fake", "A", "B", "--pictures", 3), "--pictures 3 are more than the 2 that there are beside 10"),
        (("mos", "original=A", "--references", "B"), "the label original cannot be used here: for mos it means an anchor"),
        (("ab", "A", "B", "--key", "study.html"), "--key study.html is to be JSON: let its name end in .json"),
        (("ab", "A", "B", "--key", "A/a.png", "--overwrite"), "--key A/a.png is to be JSON"),
        (("ab", "A", "B", "--question", "Which is worse?"), "--question needs --checks beside it"),
        (("best-of-n", "A", "B", "C", "--question", "Which is worst?"), "--question needs --checks beside it"),
        (("ab", "A", "B", "--checks", 0, "--question", "?" * 501), "--question has 501 characters, more than 500"),
        (("ab", "A", f"{'x' * 256}=B"), "has 256 characters, more than 255: use a shorter one"),
        (("ab", "A", "B", "-o", "study.png"), "let its name end in .html"),
    ],
)
def test_what_makes_no_study_is_refused_in_a_sentence(
    run_cli: Run, folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: tuple[object, ...], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run_cli("study", "make", *args, *([] if "-o" in args else ["-o", "study.html"]))
    assert (done.status, done.out) == (2, "")
    assert words in done.err
    assert done.err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == list("ABCD")


def test_outputs_that_exist_stay_unless_they_are_to_be_replaced(run_cli: Run, folders: Folders, tmp_path: Path) -> None:
    study = made(run_cli, tmp_path, "ab", folders["A"], folders["B"])
    before = study.page.read_bytes()
    args = ("study", "make", "ab", folders["C"], folders["D"], "-o", study.page)
    refused = run_cli(*args)
    assert refused.status == 2
    assert "exists: add --overwrite" in refused.err
    assert study.page.read_bytes() == before
    assert run_cli(*args, "--overwrite").status == 0
    assert study.known["labels"] == ["C", "D"]


def test_a_picture_that_cannot_be_read_ends_the_making_with_nothing_left(
    run_cli: Run, folders: Folders, tmp_path: Path
) -> None:
    path = folders["B"] / "c.png"
    path.write_bytes(path.read_bytes()[:200])
    done = run_cli("study", "make", "ab", folders["A"], folders["B"], "-o", tmp_path / "study.html")
    assert done.status == 1
    assert f"{path} " in done.err
    assert sorted(path.name for path in tmp_path.iterdir()) == list("ABCD")


def clear(level: int) -> Picture:
    return Picture(torch.full((3, 8, 8), 90, dtype=torch.uint8), torch.full((1, 8, 8), level, dtype=torch.uint8))


def pngs(study: Study) -> list[bytes]:
    text = study.page.read_text(encoding="utf-8")
    return [base64.b64decode(data) for data in re.findall(r'plain" id="\w+">([\w+/=]*)<', text)]


def chunks(png: bytes) -> list[bytes]:
    names, place = [], 8
    while place < len(png):
        names.append(png[place + 4 : place + 8])
        place += 12 + int.from_bytes(png[place : place + 4])
    return names


def test_pictures_of_every_type_become_rgb_with_nothing_else(run_cli: Run, tmp_path: Path) -> None:
    for name in "AB":
        (tmp_path / name).mkdir()
        write(tmp_path / name / "gray.png", Picture(torch.full((1, 8, 8), 90, dtype=torch.uint8)))
        write(tmp_path / name / "clear.png", clear(51))
        Image.fromarray(np.full((8, 8), 90 * 257, np.uint16)).save(tmp_path / name / "deep.png", dpi=(300, 300))
    found = pngs(made(run_cli, tmp_path, "ab", tmp_path / "A", tmp_path / "B", "--checks", 2))
    assert {name for png in found for name in chunks(png)} == {b"IHDR", b"IDAT", b"IEND"}
    assert {png[24:26] for png in found} == {b"\x08\x02"}  # 8 bits, RGB
    blended = round(90 * 0.2 + 0x77 * 0.8)
    pixels = [Image.open(io.BytesIO(png)).getpixel((3, 3)) for png in found]
    assert {(90, 90, 90), (blended, blended, blended)} <= set(pixels)
    css = (Path(making.__file__).parent / "page.css").read_text()
    assert css.count("background: #777;") == 2  # of the page and of the buttons


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SWAPPED = SRGB.replace(b"rXYZ", b"----").replace(b"gXYZ", b"rXYZ").replace(b"----", b"gXYZ")  # its red is green


def test_the_profile_of_srgb_changes_nothing_and_others_are_converted(run_cli: Run, tmp_path: Path) -> None:
    plain = folder(tmp_path / "plain", "a")
    pixels = Image.open(plain / "a.png")
    for name, icc in (("profiled", SRGB), ("swapped", SWAPPED), ("gray", None)):
        (tmp_path / name).mkdir()
        pixels.save(tmp_path / name / "a.png", icc_profile=icc)
    same = run_cli("study", "make", "ab", plain, tmp_path / "profiled", "-o", tmp_path / "same.html", "--checks", 0)
    assert same.err.splitlines()[0] == (
        "warning: 1 picture of those scored, such as a.png, is the same in two folders: see that none was named twice"
    )
    assert same.err.splitlines()[1].startswith("1 trial and 0 attention checks with 1 picture, ")
    study = made(run_cli, tmp_path, "ab", plain, tmp_path / "swapped", "--checks", 0)
    images = [np.asarray(Image.open(io.BytesIO(png)), np.int16) for png in pngs(study)]
    assert len(images) == 2
    assert np.abs(images[0] - images[1][:, :, [1, 0, 2]]).max() <= 4


def test_versions_of_which_some_are_transparent_are_refused(run_cli: Run, tmp_path: Path) -> None:
    for name, level in (("A", 40), ("B", 255), ("C", 200)):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "a.png", clear(level))
    args = ("study", "make", "ab", tmp_path / "A")
    refused = run_cli(*args, tmp_path / "B", "-o", tmp_path / "x.html", "--checks", 0)
    assert refused.status == 2
    assert f"{tmp_path / 'A' / 'a.png'} has transparency and {tmp_path / 'B' / 'a.png'} has none" in refused.err
    assert run_cli(*args, tmp_path / "C", "-o", tmp_path / "x.html", "--checks", 0).status == 0


def test_a_key_that_cannot_be_written_leaves_no_page(run_cli: Run, folders: Folders, tmp_path: Path) -> None:
    args = ("study", "make", "ab", folders["A"], folders["B"], "-o", tmp_path / "study.html")
    done = run_cli(*args, "--key", tmp_path / "nowhere" / "key.json")
    assert (done.status, done.out) == (1, "")
    assert "key.json cannot be written" in done.err
    assert sorted(path.name for path in tmp_path.iterdir()) == list("ABCD")


def test_nothing_is_written_over_an_input_or_over_the_page_by_another_name(
    run_cli: Run, folders: Folders, tmp_path: Path
) -> None:
    args = ("study", "make", "ab", folders["A"], folders["B"], "-o", tmp_path / "x.html", "--checks", 0, "--overwrite")
    (tmp_path / "picture.json").hardlink_to(folders["A"] / "a.png")
    refused = run_cli(*args, "--key", tmp_path / "picture.json")
    assert refused.status == 2
    assert "picture.json is a picture of the study" in refused.err
    (tmp_path / "x.html").write_text("")
    (tmp_path / "linked.json").symlink_to("x.html")
    refused = run_cli(*args, "--key", tmp_path / "linked.json")
    assert refused.status == 2
    assert "cannot both be" in refused.err


def test_what_does_not_pair_is_told_with_the_folder_that_lacks_it(run_cli: Run, tmp_path: Path) -> None:
    ours, theirs = folder(tmp_path / "ours", "abc"), folder(tmp_path / "theirs", "ab")
    for args in ((ours, theirs), (theirs, ours)):
        refused = run_cli("study", "make", "ab", *args, "-o", tmp_path / "x.html")
        assert refused.status == 2
        assert f"{theirs} has no picture for c.png;" in refused.err
    above = run_cli("study", "make", "ab", tmp_path, theirs, "-o", tmp_path / "x.html")
    assert above.status == 2
    assert f"no images found in {tmp_path}: name the folder that they lie in, not one above" in above.err


def test_too_much_practice_that_nobody_asked_for_is_told_as_the_default(run_cli: Run, tmp_path: Path) -> None:
    args = [folder(tmp_path / name, "a", seed=seed) for seed, name in enumerate("AB")]
    refused = run_cli("study", "make", "real-fake", *args, "-o", tmp_path / "x.html")
    assert "practice, by default of 10, leaves none of 1 picture to score: use a lower --practice" in refused.err


# --- order: nothing in it may tell who is who --------------------------------------------------------------------------


def seeded(run_cli: Run, place: Path, *args: object) -> list[Study]:
    """Make a study with six seeds, as one alone may look like no order by chance."""
    found = []
    for seed in range(6):
        page = place / f"{seed}.html"
        assert run_cli("study", "make", *args, "-o", page, "--seed", seed).status == 0
        found.append(Study(page, page.with_suffix(".key.json")))
    return found


def test_trials_checks_and_pictures_come_in_random_order(run_cli: Run, folders: Folders, tmp_path: Path) -> None:
    studies = seeded(run_cli, tmp_path, "mos", folders["A"], folders["B"], "--checks", 6)
    places = [[place for place, trial in enumerate(study.trials) if trial["kind"] == "check"] for study in studies]
    assert len(set(map(tuple, places))) == 6
    assert all(min(each) < 15 < max(each) for each in places)
    for study in studies:
        trials = study.of("trial")
        labels = [trial["options"][0] for trial in trials]
        changes = sum(one != other for one, other in itertools.pairwise(labels))
        assert 4 < changes < 19  # of 23: neither one folder first nor one after the other
        together = sum(one["picture"] == other["picture"] for one, other in itertools.pairwise(trials))
        assert together < 8
        said, pixels = page_of(study)
        asked = [name for trial in said["trials"] for name in trial["pictures"]]
        assert list(pixels) != list(dict.fromkeys(asked))
        of = {
            name: trial["options"][0]
            for trial, seen in zip(study.trials, said["trials"], strict=True)
            for name in seen["pictures"]
        }
        changes = sum(of[one] != of[other] for one, other in itertools.pairwise(pixels))
        assert changes > 6


def test_pictures_are_drawn_and_checks_are_on_those_left_and_on_every_folder(
    run_cli: Run, folders: Folders, tmp_path: Path
) -> None:
    drawn, checked, labels = set(), set(), set()
    for study in seeded(run_cli, tmp_path, "ab", folders["A"], folders["B"], "--pictures", 5, "--checks", 4):
        scored = {trial["picture"] for trial in study.of("trial")}
        checks = {trial["picture"] for trial in study.of("check")}
        assert not scored & checks
        drawn |= {tuple(sorted(scored))}
        checked |= checks
        labels |= {label for trial in study.of("check") for label in trial["options"]}
    assert len(drawn) == 6
    assert len(checked) > 6
    assert labels == {"A", "B", "noise"}
