"""What votes in human studies come to: numbers, their intervals and agreement, and the recipe in words."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from scipy import stats
from voting import Run, Study, Trial, attentive, folder, kept, made, prefer, vote, votes

from gantool.studies import agreement
from gantool.studies.designing import UNLIKE
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
        "12 pictures, 12 trials, 2 raters, every question answered",
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
    assert found["alpha"] == pytest.approx(agreement.alpha(list(zip(*given.values(), strict=True)), agreement.ordinal))


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
        answer["interrupted"] = number > 9
    file = tmp_path / "votes.json"
    file.write_text(json.dumps(whole))
    done = run_cli("study", "score", file, "--key", study.key)
    assert "pictures shown for 500 ms, measured 480 to 590, median 535" in done.out
    assert "3 of 12 answers were on pictures shrunk to fit the screen" in done.out
    assert "2 of 12 answers count though the page was out of sight while pictures were shown" in done.out
    assert "1 of 12 answers were given after pictures were shown again by a reload" in done.out


# --- what single pictures get ------------------------------------------------------------------------------------------


def rows_of(run_cli: Run, study: Study, *files: Path) -> dict[tuple[str, str], tuple[str, float, int]]:
    """Return what each version of each picture got, by picture and label."""
    done = run_cli("study", "score", *files, "--key", study.key, "--json")
    rows = [json.loads(line) for line in done.out.splitlines()[:-1]]
    found = {(row["picture"], row["of"]): (row["what"], row["value"], row["answers"]) for row in rows}
    assert len(found) == len(rows)
    return found


@pytest.mark.parametrize(("mode", "names"), [("ab", "AB"), ("best-of-n", "ABCD")])
def test_each_version_of_each_picture_has_the_share_that_chose_it(
    run_cli: Run, folders: Folders, tmp_path: Path, mode: str, names: str
) -> None:
    study = made(run_cli, tmp_path, mode, *(folders[name] for name in names))
    mixed = attentive(lambda trial: trial["options"].index("A" if trial["picture"] < "e" else "B"))
    files = [vote(study, "anna", mixed), vote(study, "bob", prefer("B")), vote(study, "carl", mixed)]
    what = "share of answers that prefer it" if mode == "ab" else "share of answers that chose it"
    expected = {}
    for name in "abcdefghijkl":
        shares = dict.fromkeys(names, 0.0) | ({"A": 2 / 3, "B": 1 / 3} if name < "e" else {"B": 1.0})
        expected |= {(f"{name}.png", label): (what, share, 3) for label, share in shares.items()}
    assert rows_of(run_cli, study, *files) == expected


def test_of_single_pictures_each_real_and_generated_one_has_the_share_that_took_it_for_real(
    run_cli: Run, folders: Folders, tmp_path: Path
) -> None:
    study = made(run_cli, tmp_path, "real-fake", folders["A"], folders["B"], "--practice", 1, "--beside", "none")
    doubting = attentive(lambda trial: int(trial["options"] == ["B"] or trial["picture"] < "e"))
    files = [vote(study, "anna", doubting), vote(study, "bob", attentive(lambda trial: 0))]
    found = rows_of(run_cli, study, *files)
    pictures = {trial["picture"] for trial in study.of("trial")}
    real = {(name, "A"): 0.5 if name < "e" else 1.0 for name in pictures}
    assert {each: value for each, (_, value, _) in found.items()} == real | {(name, "B"): 0.5 for name in pictures}
    assert {(what, answers) for what, _, answers in found.values()} == {("share of answers that took it for real", 2)}


# --- what numbers do not claim -----------------------------------------------------------------------------------------


def test_the_agreement_on_opinion_scores_is_without_the_anchors(run_cli: Run, tmp_path: Path) -> None:
    low, high = folder(tmp_path / "low", "abcdef", (8, 5)), folder(tmp_path / "high", "abcdef", (24, 15), seed=3)
    results = folder(tmp_path / "ours", "abcdef", (24, 15), seed=4)
    study = made(run_cli, tmp_path, "mos", results, "--inputs", low, "--references", high)
    anchors = {"nearest": 1, "original": 5}
    given = {name: {f"{p}.png": Random(f"{name} {p}").randint(1, 5) for p in "abcdef"} for name in ("anna", "bob", "carl")}
    files = [
        vote(study, name, attentive(lambda t, s=scores: anchors.get(t["options"][0]) or s[t["picture"]]))  # type: ignore[misc]
        for name, scores in given.items()
    ]
    scored = {trial["picture"] for trial in study.of("trial")}
    units = [[scores[picture] for scores in given.values()] for picture in scored]
    found = summary(run_cli, study, *files)
    assert found["alpha"] == pytest.approx(agreement.alpha(units, agreement.ordinal))
    assert found["alpha"] < 0.5 < (agreement.alpha([*units, *[[1] * 3, [5] * 3] * len(units)], agreement.ordinal) or 0)
    assert "alpha (ordinal, of scores, without the anchors nearest and original; " in found["recipe"]


def test_raters_with_equal_shares_give_no_interval_of_no_width(run_cli: Run, preference: Study, tmp_path: Path) -> None:
    study = kept(preference, tmp_path)
    files = [vote(study, name, prefer("A")) for name in ("anna", "bob")]
    assert [number["over_raters"] for number in summary(run_cli, study, *files)["numbers"]] == [None, None]
    lines = run_cli("study", "score", *files, "--key", study.key).out.splitlines()
    assert re.split("  +", lines[1]) == ["A", "100.0 %", "86.2 % to 100.0 %", "-", "24 of 24"]
    assert "- where there is one rater, or all have equal shares, which have no spread to tell it by" in lines[5]


def test_a_probability_too_small_for_a_fraction_is_not_printed_as_nothing(
    run_cli: Run, preference: Study, tmp_path: Path
) -> None:
    study = kept(preference, tmp_path)
    files = [vote(study, f"rater {number}", prefer("A")) for number in range(84)]
    assert "p < 1e-300, " in run_cli("study", "score", *files, "--key", study.key).out
    assert "p = 0.0004883, " in run_cli("study", "score", files[0], "--key", study.key).out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--practice", 2), "a real and a generated picture of one name, one after the other"),
        (("--practice", 2, "--exposure", 0), "a real and a generated picture of one name, side by side"),
        (("--practice", 2, "--beside", "any"), "any real picture and a generated one, one after the other"),
        (("--practice", 2, "--beside", "none"), "one picture at a time, real or generated"),
    ],
)
def test_the_recipe_of_real_fake_says_how_pictures_were_shown_and_what_is_unlike_the_published_protocol(
    run_cli: Run, folders: Folders, tmp_path: Path, options: tuple[object, ...], words: str
) -> None:
    study = made(run_cli, tmp_path, "real-fake", folders["A"], folders["B"], *options)
    recipe = summary(run_cli, study, vote(study, "anna", attentive(lambda trial: 0)))["recipe"]
    assert f"real-fake, {words}, '" in recipe
    assert (UNLIKE in recipe) == ("none" not in options)
