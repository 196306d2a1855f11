"""Human studies without a browser: what a page holds and hides, what is refused, and the numbers that votes give."""

from __future__ import annotations

import base64
import csv
import io
import itertools
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import stats
from voting import Run, Study, Trial, attentive, folder, made, prefer, vote, votes

from gantool.images import Picture, read, write
from gantool.studies import agreement
from gantool.studies.intervals import binomial_p, student, t_quantile, wilson
from gantool.study import Making, make

Folders = dict[str, Path]


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    """Four folders of twelve pictures each."""
    return {name: folder(tmp_path / name, "abcdefghijkl", seed=seed) for seed, name in enumerate("ABCD")}


@pytest.fixture(scope="module")
def preference(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A study of the mode ab of twelve pictures of A and B, for tests that only read it."""
    place = tmp_path_factory.mktemp("preference")
    pair = [str(folder(place / name, "abcdefghijkl", seed=seed)) for seed, name in enumerate("AB")]
    make(Making("ab", tuple(pair), place / "study.html", seed=0))
    return Study(place / "study.html", place / "study.key.json")


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


def test_the_key_has_the_hash_of_the_page_and_both_are_named(run_cli: Run, folders: Folders, tmp_path: Path) -> None:
    import hashlib

    page, key = tmp_path / "p.html", tmp_path / "k.json"
    done = run_cli("study", "make", "ab", folders["A"], folders["B"], "-o", page, "--key", key)
    assert done.out.splitlines() == [str(page), str(key)]
    assert json.loads(key.read_text())["page_sha256"] == hashlib.sha256(page.read_bytes()).hexdigest()
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
    assert (said["exposure"], said["question"]) == (1000, "Which picture is real?")
    assert [trial.get("good") for trial in said["trials"]] == [
        trial["good"] if trial["kind"] == "practice" else None for trial in study.trials
    ]


def test_real_pictures_of_other_names_are_drawn_by_size_and_none_twice(run_cli: Run, tmp_path: Path) -> None:
    real, fake = folder(tmp_path / "real", "abcdefgh", (24, 16)), folder(tmp_path / "fake", "pqrs", (24, 16), seed=1)
    folder(tmp_path / "more", "z", (30, 16)).joinpath("z.png").rename(real / "z.png")
    args = ("real-fake", real, fake, "--practice", 1)
    refused = run_cli("study", "make", *args, "-o", tmp_path / "x.html")
    assert refused.status == 2
    assert "do not pair" in refused.err
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
    plain, asked = (made(run_cli, tmp_path, "ab", folders["A"], folders["B"], *more) for more in ([], [option, value]))
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
        (("mos", "original=A", "--references", "B"), "the label original cannot be used here: it is an anchor's"),
        (("ab", "A", "B", "--key", "study.html"), "cannot both be"),
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


def test_transparent_gray_and_deep_pictures_are_shown_as_they_are(run_cli: Run, tmp_path: Path) -> None:
    for name in "AB":
        (tmp_path / name).mkdir()
        color = torch.full((1, 8, 8), 90, dtype=torch.uint8)
        write(tmp_path / name / "gray.png", Picture(color))
        write(tmp_path / name / "clear.png", Picture(color.expand(3, -1, -1), torch.full((1, 8, 8), 40, dtype=torch.uint8)))
        Image.fromarray(np.full((8, 8), 90 * 257, np.uint16)).save(tmp_path / name / "deep.png")
    study = made(run_cli, tmp_path, "ab", tmp_path / "A", tmp_path / "B", "--checks", 0)
    text = study.page.read_text(encoding="utf-8")
    images = [Image.open(io.BytesIO(base64.b64decode(data))) for data in re.findall(r'plain" id="\w+">([\w+/=]*)<', text)]
    assert sorted((image.mode, image.getpixel((3, 3))) for image in images) == [("L", 90), ("RGBA", (90, 90, 90, 40))]


# --- statistics --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("hits", "answers"), [(0, 1), (1, 1), (0, 7), (3, 7), (50, 100), (999, 1000), (19_900, 40_100)])
def test_wilsons_interval_and_the_binomial_test_are_scipys(hits: int, answers: int) -> None:
    expected = stats.binomtest(hits, answers)
    interval = expected.proportion_ci(0.95, "wilson")
    found = wilson(hits, answers)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=1e-12)
    assert binomial_p(hits, answers) == pytest.approx(expected.pvalue, rel=1e-9)


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 7, 25, 999])
@pytest.mark.parametrize("p", [0.5, 0.9, 0.975, 0.9995])
def test_students_quantile_is_scipys(p: float, freedom: int) -> None:
    assert t_quantile(p, freedom) == pytest.approx(stats.t.ppf(p, freedom), rel=1e-9, abs=1e-9)


def test_students_interval_is_scipys_and_one_value_has_none() -> None:
    values = [3.1, 2.2, 4.8, 3.9]
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    found = student(values)
    assert found
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-9)
    assert student([3.0]) is None


EXAMPLE = """
    1 2 3 3 2 1 4 1 2 . . .
    1 2 3 3 2 2 4 1 2 5 . 3
    . 3 3 3 2 3 4 2 2 5 1 .
    1 2 3 3 2 4 4 1 2 5 1 .
"""


def test_alpha_of_krippendorffs_own_example_of_four_observers_and_twelve_units() -> None:
    columns = zip(*(line.split() for line in EXAMPLE.strip().splitlines()), strict=True)
    units = [[int(value) for value in column if value != "."] for column in columns]
    assert agreement.alpha(units, agreement.nominal) == pytest.approx(0.743, abs=5e-4)
    assert agreement.alpha(units, agreement.interval) == pytest.approx(0.849, abs=5e-4)


@pytest.mark.parametrize("difference", [agreement.nominal, agreement.interval])
def test_alpha_is_one_less_the_ratio_of_disagreement_within_units_and_among_all_values(
    difference: Callable[[float, float], float],
) -> None:
    rng = Random(0)
    units = [[rng.randint(1, 5) for _ in range(6)] for _ in range(9)]

    def mean(values: list[int]) -> float:
        return float(np.mean([difference(a, b) for a, b in itertools.permutations(values, 2)]))

    expected = 1 - np.mean([mean(unit) for unit in units]) / mean([value for unit in units for value in unit])
    assert agreement.alpha(units, difference) == pytest.approx(expected)


def test_alpha_is_not_defined_for_one_rater_or_one_value() -> None:
    assert agreement.alpha([[1], [2]], agreement.nominal) is None
    assert agreement.alpha([[2, 2], [2, 2]], agreement.interval) is None
    assert agreement.alpha([[1, 1], [2, 2]], agreement.interval) == 1


def kept(study: Study, place: Path) -> Study:
    """Return a study with a key and a folder for votes of its own."""
    return Study(study.page, Path(shutil.copy(study.key, place)))


# --- scores ------------------------------------------------------------------------------------------------------------


def summary(run_cli: Run, study: Study, *files: Path) -> dict[str, Any]:
    done = run_cli("study", "score", *files, "--key", study.key, "--json")
    assert done.status == 0, done.err
    return json.loads(done.out.splitlines()[-1])  # type: ignore[no-any-return]


def test_preferences_are_shares_of_all_answers_with_wilsons_interval_and_an_exact_test(
    run_cli: Run, preference: Study, tmp_path: Path
) -> None:
    study = kept(preference, tmp_path)
    mixed = attentive(lambda trial: trial["options"].index("A" if trial["picture"] < "d" else "B"))  # 3 of 12
    found = summary(run_cli, study, vote(study, "anna", mixed), vote(study, "bob", prefer("B")), vote(study, "carl", mixed))
    expected = stats.binomtest(6, 36)
    first, second = found["numbers"]
    assert [(n["of"], n["hits"], n["answers"], n["value"]) for n in (first, second)] == [
        ("A", 6, 36, 6 / 36),
        ("B", 30, 36, 30 / 36),
    ]
    assert first["wilson"] == pytest.approx(list(expected.proportion_ci(method="wilson")))
    assert found["p"] == pytest.approx(expected.pvalue)
    raters = stats.ttest_1samp([0.75, 1, 0.75], 0).confidence_interval()
    assert second["over_raters"] == pytest.approx([raters.low, 1.0])  # the upper end would be above 1
    units = [["A", "B", "A"]] * 3 + [["B", "B", "B"]] * 9
    assert found["alpha"] == pytest.approx(agreement.alpha(units, agreement.nominal))
    assert found["raters"] == ["anna", "bob", "carl"]


def test_the_table_gives_numbers_and_their_recipe_in_words(run_cli: Run, preference: Study, tmp_path: Path) -> None:
    study = kept(preference, tmp_path)
    files = [vote(study, "anna", prefer("A")), vote(study, "bob", prefer("B"))]
    done = run_cli("study", "score", *files, "--key", study.key)
    assert (done.status, done.err) == (0, "")
    lines = done.out.splitlines()
    assert re.split("  +", lines[0]) == ["", "share", "95 % (Wilson)", "95 % over raters", "answers"]
    assert re.split("  +", lines[1]) == ["A", "50.0 %", "31.4 % to 68.6 %", "0.0 % to 100.0 %", "12 of 24"]
    recipe = "\n".join(lines[4:])
    for words in (
        "12 pictures, 12 trials, 2 raters",
        "Wilson",
        "Student's t",
        "p = 1, ",
        "alpha (nominal",
        "0 of 2 raters left out",
    ):
        assert words in recipe


def test_the_fooling_rate_counts_generated_pictures_taken_for_real_and_no_practice(
    run_cli: Run, folders: Folders, tmp_path: Path
) -> None:
    study = made(run_cli, tmp_path, "real-fake", folders["A"], folders["B"], "--practice", 4)
    fooled = attentive(lambda trial: trial["options"].index("B" if trial["picture"] < "g" else "A"))
    hits = sum(trial["picture"] < "g" for trial in study.of("trial"))
    wrong_in_practice = vote(
        study, "anna", lambda trial: 1 - trial["good"][0] if trial["kind"] == "practice" else fooled(trial)
    )
    for file in (wrong_in_practice, vote(study, "bob", fooled)):
        [number] = summary(run_cli, study, file)["numbers"]
        assert (number["of"], number["hits"], number["answers"]) == ("generated taken for real", hits, 8)


def test_of_single_pictures_both_mistakes_are_told(run_cli: Run, folders: Folders, tmp_path: Path) -> None:
    study = made(run_cli, tmp_path, "real-fake", folders["A"], folders["B"], "--practice", 2, "--beside", "none")
    choose = attentive(lambda trial: int(trial["picture"] < "d" if trial["options"] == ["A"] else trial["picture"] < "f"))
    found = summary(run_cli, study, vote(study, "anna", choose))
    by_label = {label: [t["picture"] for t in study.of("trial") if t["options"] == [label]] for label in "AB"}
    fooled = sum(name >= "f" for name in by_label["B"])
    doubted = sum(name < "d" for name in by_label["A"])
    assert [(n["hits"], n["answers"]) for n in found["numbers"]] == [(fooled, 10), (doubted, 10), (fooled + doubted, 20)]


def test_best_of_n_gives_each_folders_share(run_cli: Run, folders: Folders, tmp_path: Path) -> None:
    study = made(run_cli, tmp_path, "best-of-n", *folders.values())
    files = [vote(study, f"rater {k}", prefer(label)) for k, label in enumerate("AABD")]
    found = summary(run_cli, study, *files)
    assert [(n["of"], n["value"]) for n in found["numbers"]] == [("A", 0.5), ("B", 0.25), ("C", 0), ("D", 0.25)]
    assert found["numbers"][2]["wilson"] == pytest.approx(list(stats.binomtest(0, 48).proportion_ci(method="wilson")))
    assert found["p"] is None


def test_opinion_scores_are_means_with_students_interval_over_raters(run_cli: Run, tmp_path: Path) -> None:
    results = folder(tmp_path / "ours", "abc")
    study = made(run_cli, tmp_path, "mos", results)
    given = {"anna": [2, 3, 5], "bob": [1, 3, 4], "carl": [3, 3, 3]}
    files = [
        vote(study, name, attentive(lambda trial, s=scores: s["abc".index(trial["picture"][0])]))
        for name, scores in given.items()
    ]  # type: ignore[misc]
    found = summary(run_cli, study, *files)
    [number] = found["numbers"]
    means = [np.mean(scores) for scores in given.values()]
    expected = stats.ttest_1samp(means, 0).confidence_interval()
    assert number["value"] == pytest.approx(np.mean(means))
    assert number["over_raters"] == pytest.approx([expected.low, expected.high])
    assert number["wilson"] is None
    assert found["alpha"] == pytest.approx(agreement.alpha(list(zip(*given.values(), strict=True)), agreement.interval))


def test_every_picture_has_its_numbers_in_json_and_csv(run_cli: Run, tmp_path: Path) -> None:
    study = made(run_cli, tmp_path, "mos", folder(tmp_path / "ours", "ab"), folder(tmp_path / "theirs", "ab", seed=1))
    choose = attentive(lambda trial: 4 if trial["options"] == ["ours"] else 2 + (trial["picture"] == "a.png"))
    table = tmp_path / "scores.csv"
    args = ("study", "score", vote(study, "anna", choose), "--key", study.key, "--csv", table)
    done = run_cli(*args, "--json")
    rows = [json.loads(line) for line in done.out.splitlines()]
    values = {("a.png", "ours"): 4, ("b.png", "ours"): 4, ("a.png", "theirs"): 3, ("b.png", "theirs"): 2}
    assert {(row["picture"], row["of"]): row["value"] for row in rows[:-1]} == values
    lines = list(csv.DictReader(table.read_text().splitlines()))
    assert {(r["picture"], r["of"]): float(r["value"]) for r in lines if r["picture"] != "all"} == values
    assert {r["of"]: float(r["value"]) for r in lines if r["picture"] == "all"} == {"ours": 4, "theirs": 2.5}
    assert all("Krippendorff" in r["recipe"] for r in lines)
    refused = run_cli(*args)
    assert refused.status == 2
    assert "exists: add --overwrite" in refused.err
    assert run_cli(*args, "--overwrite").status == 0
    for other in (study.key, args[2]):
        refused = run_cli(*args[:-1], other, "--overwrite")
        assert refused.status == 2
        assert "is the key or has votes" in refused.err


def test_raters_who_fail_the_attention_checks_are_left_out_named_and_counted(
    run_cli: Run, folders: Folders, tmp_path: Path
) -> None:
    study = made(run_cli, tmp_path, "ab", folders["A"], folders["B"], "--checks", 10)
    checks = [trial["id"] for trial in study.of("check")]

    def failing(number: int) -> Callable[[Trial], int]:
        good = prefer("B")
        return lambda trial: 1 - good(trial) if trial["id"] in checks[:number] else good(trial)

    files = [vote(study, "anna", prefer("A")), vote(study, "bob", failing(1)), vote(study, "carl", failing(2))]
    done = run_cli("study", "score", *files, "--key", study.key)
    assert done.status == 0
    assert done.err == "carl is left out: 8 of 10 attention checks answered rightly\n"
    assert "12 of 24" in done.out
    assert "1 of 3 raters left out for answering fewer than 90 % of 10 attention checks rightly" in done.out
    alone = run_cli("study", "score", files[2], "--key", study.key)
    assert (alone.status, alone.out) == (1, "")
    assert "no votes count" in alone.err


def test_what_was_not_shown_as_planned_is_told(run_cli: Run, folders: Folders, tmp_path: Path) -> None:
    study = made(run_cli, tmp_path, "ab", folders["A"], folders["B"], "--exposure", 500)
    whole = votes(study, "anna", prefer("A"))
    counted = {trial["id"] for trial in study.of("trial")}
    for number, answer in enumerate([a for a in whole["votes"] if a["trial"] in counted]):
        answer |= {"shown": 480 + 10 * number, "scale": 0.5 if number < 3 else 1, "views": 2 if number == 0 else 1}
    file = tmp_path / "votes.json"
    file.write_text(json.dumps(whole))
    done = run_cli("study", "score", file, "--key", study.key)
    assert "pictures shown for 500 ms, measured 480 to 590, median 535" in done.out
    assert "3 of 12 answers were on pictures shrunk to fit the screen" in done.out
    assert "1 of 12 answers were given after pictures were shown again by a reload" in done.out


# --- files that do not count -------------------------------------------------------------------------------------------

Change = Callable[[dict[str, Any]], object]


def text(change: Change) -> Callable[[dict[str, Any]], str]:
    """Return a function that gives a file's text after a change to what it holds."""

    def changed(whole: dict[str, Any]) -> str:
        change(whole)
        return json.dumps(whole)

    return changed


DAMAGE: dict[str, tuple[Callable[[dict[str, Any]], str], str]] = {
    "nothing": (lambda _: "", "is no JSON that can be read"),
    "cut": (lambda whole: json.dumps(whole)[:-40], "is no JSON that can be read"),
    "list": (lambda _: "[]", "the whole is no object"),
    "deep": (lambda _: "[" * 200_000, "is no JSON that can be read"),
    "digits": (lambda whole: json.dumps(whole).replace("812.5", "9" * 5000, 1), "is no JSON that can be read"),
    "nan": (lambda whole: json.dumps(whole).replace("812.5", "NaN", 1), "is no JSON that can be read"),
    "infinite": (lambda whole: json.dumps(whole).replace("812.5", "1e999", 1), "is no JSON that can be read"),
    "huge": (lambda whole: json.dumps(whole).replace("812.5", "1e300", 1), "votes[0].ms is no number from 0 on"),
    "other": (lambda _: '{"format": "else"}', "is no file of the format gantool-votes"),
    "version": (text(lambda w: w.update(version=2)), "is of version 2"),
    "study": (text(lambda w: w.update(study="\x1b[31m")), r"has votes of another study, \x1b[31m"),
    "study type": (text(lambda w: w.update(study=5)), "study is no text"),
    "no votes": (text(lambda w: w.pop("votes")), "votes is missing"),
    "votes type": (text(lambda w: w.update(votes={})), "votes is no list"),
    "vote type": (text(lambda w: w["votes"].insert(0, 7)), "votes[0] is no object"),
    "unknown trial": (text(lambda w: w["votes"][2].update(trial="x")), "votes[2].trial is none of the study: x"),
    "same trial": (text(lambda w: w["votes"].append(w["votes"][1])), "was answered before"),
    "missing": (text(lambda w: w["votes"].pop()), "lacks 1 of 16 answers: only finished sessions"),
    "choice": (text(lambda w: w["votes"][0].update(choice=2)), "votes[0].choice is 2, not one of 0 to 1"),
    "choice type": (text(lambda w: w["votes"][0].update(choice=True)), "votes[0].choice is no whole number"),
    "negative": (text(lambda w: w["votes"][0].update(choice=-1)), "votes[0].choice is no whole number from 0 on"),
    "fraction": (text(lambda w: w["votes"][0].update(choice=0.5)), "votes[0].choice is no whole number"),
    "time": (text(lambda w: w["votes"][0].update(ms="fast")), "votes[0].ms is no number"),
    "rater": (text(lambda w: w.update(rater="")), "rater is no name of 1 to 64 characters"),
    "long rater": (text(lambda w: w.update(rater="r" * 65)), "rater is no name of 1 to 64 characters"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_file_of_votes_that_does_not_count_is_named_and_the_others_are_scored(
    run_cli: Run, preference: Study, tmp_path: Path, damage: str
) -> None:
    study = kept(preference, tmp_path)
    write_damaged, words = DAMAGE[damage]
    bad = tmp_path / "bad.json"
    bad.write_text(write_damaged(votes(study, "mallory", prefer("A"))))
    done = run_cli("study", "score", bad, vote(study, "bob", prefer("B")), "--key", study.key)
    assert done.status == 1
    first, last = done.err.splitlines()
    assert str(bad) in first
    assert words in first
    assert last == "gantool: 1 of 2 files were refused"
    assert "12 of 12" in done.out
    alone = run_cli("study", "score", bad, "--key", study.key)
    assert (alone.status, alone.out) == (1, "")


def test_a_rater_counts_once(run_cli: Run, preference: Study, tmp_path: Path) -> None:
    study = kept(preference, tmp_path)
    first = vote(study, "anna", prefer("A"))
    copy, second = tmp_path / "copy.json", tmp_path / "second.json"
    shutil.copy(first, copy)
    second.write_text(json.dumps(votes(study, "anna", prefer("B"))))
    done = run_cli("study", "score", first, copy, second, "--key", study.key)
    assert done.status == 1
    assert f"{copy} has the same votes as {first}: a rater counts once" in done.err
    assert f"{second} is of the rater anna as {first}: a rater counts once" in done.err
    assert "12 of 12" in done.out


def test_a_file_that_is_not_there_and_half_a_character_are_no_crash(run_cli: Run, preference: Study, tmp_path: Path) -> None:
    study = kept(preference, tmp_path)
    odd = tmp_path / "odd.json"
    odd.write_text(json.dumps(votes(study, "\ud800\x1b[2J", prefer("A"))))
    done = run_cli("study", "score", odd, tmp_path / "none.json", "/dev/zero", tmp_path, "--key", study.key, "--json")
    assert done.status == 1
    assert "none.json cannot be read: No such file" in done.err
    assert "/dev/zero cannot be read: it is no file" in done.err
    assert f"{tmp_path} cannot be read: it is no file" in done.err
    assert json.loads(done.out.splitlines()[-1])["raters"] == ["?\x1b[2J"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda key: key.update(mode="else"), "mode is none that there is"),
        (lambda key: key["trials"][1].update(id=key["trials"][0]["id"]), "trials[1].id is the second"),
        (lambda key: key["trials"][0].update(kind="x"), "trials[0].kind is none that there is"),
        (lambda key: key["trials"][0].update(options=[]), "trials[0].options are none"),
        (lambda key: key.update(labels=["A", "C"]), "trials do not show what labels name"),
        (lambda key: key.update(trials=[]), "trials do not show what labels name"),
        (lambda key: key.update(beside=3), "beside is none that there is"),
        (lambda key: key.update(format="gantool-votes"), "is no file of the format gantool-study-key"),
    ],
)
def test_a_damaged_key_is_refused(run_cli: Run, preference: Study, tmp_path: Path, change: Change, words: str) -> None:
    study = kept(preference, tmp_path)
    file = vote(study, "anna", prefer("A"))
    key = study.known
    change(key)
    study.key.write_text(json.dumps(key))
    done = run_cli("study", "score", file, "--key", study.key)
    assert (done.status, done.out) == (2, "")
    assert "the key " in done.err
    assert words in done.err
