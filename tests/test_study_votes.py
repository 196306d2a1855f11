"""Files that scoring human studies is given or writes: votes and keys that do not count, and the table of numbers."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from voting import Run, Study, Trial, attentive, folder, kept, made, prefer, vote, votes

from gantool.study import Making, make


@pytest.fixture(scope="module")
def preference(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A study of the mode ab of twelve pictures of A and B, for tests that only read it."""
    place = tmp_path_factory.mktemp("preference")
    pair = [str(folder(place / name, "abcdefghijkl", seed=seed)) for seed, name in enumerate("AB")]
    make(Making("ab", tuple(pair), place / "study.html", seed=0))
    return Study(place / "study.html", place / "study.key.json")


# --- votes and keys -----------------------------------------------------------------------------------------------------

Change = Callable[[dict[str, Any]], object]


def text(change: Change) -> Callable[[dict[str, Any]], str]:
    """Return a function that gives a file's text after a change to what it holds."""

    def changed(whole: dict[str, Any]) -> str:
        change(whole)
        return json.dumps(whole)

    return changed


def timed(whole: dict[str, Any], number: str) -> str:
    """Return a file's text with another number, as it may stand in a file, for the first time."""
    return re.sub(r'"ms": [\d.]+', f'"ms": {number}', json.dumps(whole), count=1)


DAMAGE: dict[str, tuple[Callable[[dict[str, Any]], str], str]] = {
    "nothing": (lambda _: "", "is no JSON that can be read"),
    "cut": (lambda whole: json.dumps(whole)[:-40], "is no JSON that can be read"),
    "list": (lambda _: "[]", "the whole is no object"),
    "deep": (lambda _: "[" * 200_000, "is no JSON that can be read"),
    "digits": (lambda whole: timed(whole, "9" * 5000), "is no JSON that can be read"),
    "nan": (lambda whole: timed(whole, "NaN"), "is no JSON that can be read"),
    "infinite": (lambda whole: timed(whole, "1e999"), "is no JSON that can be read"),
    "huge": (lambda whole: timed(whole, "1e300"), "votes[0].ms is no number from 0 on"),
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
    "interrupted": (text(lambda w: w["votes"][0].update(interrupted=1)), "votes[0].interrupted is neither true nor false"),
    "half a character": (text(lambda w: w["votes"][0].update(trial="\ud800")), "votes[0].trial is none of the study: ?"),
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
    copy, renamed, second = (tmp_path / f"{name}.json" for name in ("copy", "renamed", "second"))
    shutil.copy(first, copy)
    renamed.write_text(json.dumps(votes(study, "anna", prefer("A")) | {"rater": "berta"}))
    second.write_text(json.dumps(votes(study, "anna", prefer("B"))))
    done = run_cli("study", "score", first, copy, renamed, second, "--key", study.key)
    assert done.status == 1
    for file in (copy, renamed):
        assert f"{file} is a copy of {first}, times and all: a rater counts once" in done.err
    assert f"{second} is of the rater anna as {first}: a rater counts once" in done.err
    assert "12 of 12" in done.out


def test_raters_who_agree_in_everything_but_their_times_both_count(run_cli: Run, preference: Study, tmp_path: Path) -> None:
    study = kept(preference, tmp_path)
    done = run_cli("study", "score", *(vote(study, name, prefer("A")) for name in ("anna", "bob")), "--key", study.key)
    assert (done.status, done.err) == (0, "")
    assert "24 of 24" in done.out


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


def of_kind(key: dict[str, Any], kind: str) -> Trial:
    """Return the first trial of a kind."""
    return next(trial for trial in key["trials"] if trial["kind"] == kind)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda key: key.update(mode="else"), "mode is none that there is"),
        (lambda key: key["trials"][1].update(id=key["trials"][0]["id"]), "trials[1].id is the second"),
        (lambda key: key["trials"][0].update(kind="x"), "trials[0].kind is none that there is"),
        (lambda key: key["trials"][0].update(options=[]), "trials[0].options are 0, where this study has 2"),
        (lambda key: key.update(labels=["A", "A"]), "labels are too few, too many or not different"),
        (lambda key: key.update(labels=["A", "B", "C"]), "labels are too few, too many or not different for the mode ab"),
        (lambda key: key.update(beside="none"), "beside does not fit the mode ab"),
        (lambda key: key.update(mode="real-fake"), "beside does not fit the mode real-fake"),
        (lambda key: key.update(mode="mos"), "trials[0].options are 2, where this study has 1"),
        (lambda key: key.update(mode="real-fake", beside="none"), "trials[0].options are 2, where this study has 1"),
        (lambda key: of_kind(key, "trial").update(options=["A", "A"]), ".options are not one of each label"),
        (lambda key: of_kind(key, "trial").update(good=[0]), ".good is not what a trial has"),
        (lambda key: of_kind(key, "check").update(good=[]), ".good is not what a check has"),
        (lambda key: of_kind(key, "check").update(good=[2]), ".good is not what a check has"),
        (lambda key: key.update(labels=["A", "C"]), ".options are not one of each label"),
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


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda key: [trial.update(options=["A"]) for trial in key["trials"] if trial["options"] == ["B"]], "labels name"),
        (lambda key: key.update(mode="ab", beside=None), "trials[0].options are 1, where this study has 2"),
        (lambda key: key.update(mode="mos", beside=None), "trials[0].good is not what a practice has"),
    ],
)
def test_a_key_of_single_pictures_that_was_edited_is_refused(run_cli: Run, tmp_path: Path, change: Change, words: str) -> None:
    real, fake = folder(tmp_path / "A"), folder(tmp_path / "B", seed=1)
    study = made(run_cli, tmp_path, "real-fake", real, fake, "--beside", "none", "--practice", 1)
    file = vote(study, "anna", attentive(lambda trial: 0))
    key = study.known
    change(key)
    study.key.write_text(json.dumps(key))
    done = run_cli("study", "score", file, "--key", study.key)
    assert (done.status, done.out) == (2, "")
    assert words in done.err


# --- the table to write ------------------------------------------------------------------------------------------------


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
    assert {r["what"] for r in lines} == {"mean opinion score", "mean opinion score, 1 bad to 5 excellent"}
    assert all("Krippendorff" in r["recipe"] for r in lines)
    refused = run_cli(*args)
    assert refused.status == 2
    assert "exists: add --overwrite" in refused.err
    assert run_cli(*args, "--overwrite").status == 0


def test_a_table_replaces_neither_what_is_read_nor_pictures_pages_and_keys(
    run_cli: Run, preference: Study, tmp_path: Path
) -> None:
    study = kept(preference, tmp_path)
    file = vote(study, "anna", prefer("A"))
    linked, key = tmp_path / "linked", tmp_path / "key.txt"
    linked.symlink_to(file)
    shutil.copy(study.key, key)
    picture, page = folder(tmp_path / "ours") / "a.png", tmp_path / "study.html"
    page.write_text("a page")
    for path, words in (
        (linked, "is the key or has votes"),
        (key, "is the key or has votes"),
        (picture, "let it end in .csv"),
        (page, "let it end in .csv"),
        (study.key, "let it end in .csv"),
        (tmp_path / "A.JPG", "let it end in .csv"),
        (tmp_path, "exists and is not a file"),
    ):
        before = path.read_bytes() if path.is_file() else None
        done = run_cli("study", "score", file, "--key", key, "--csv", path, "--overwrite")
        assert (done.status, done.out) == (2, "")
        assert words in done.err
        assert (path.read_bytes() if path.is_file() else None) == before


@pytest.mark.parametrize("place", ["nowhere/scores.csv", "n" * 300, "n" * 300 + "/scores.csv", "votes.txt/scores.csv"])
def test_a_table_that_cannot_be_written_is_refused_before_anything_is_printed(
    run_cli: Run, preference: Study, tmp_path: Path, place: str
) -> None:
    study = kept(preference, tmp_path)
    shutil.copy(file := vote(study, "anna", prefer("A")), tmp_path / "votes.txt")
    done = run_cli("study", "score", file, "--key", study.key, "--csv", tmp_path / place)
    assert (done.status, done.out) == (2, "")
    assert " cannot be written: " in done.err
    assert done.err.count("\n") == 1


def test_names_that_no_file_can_have_are_told_as_such(run_cli: Run, preference: Study, tmp_path: Path) -> None:
    study, long = kept(preference, tmp_path), tmp_path / ("n" * 300)
    file = vote(study, "anna", prefer("A"))
    table = tmp_path / "scores.csv"
    table.write_text("")
    for args, status in (((file, "--key", long), 2), ((long, file, "--key", study.key, "--csv", table, "--overwrite"), 1)):
        done = run_cli("study", "score", *args)
        assert done.status == status
        assert f"{long} cannot be read: File name too long" in done.err
        assert "unexpected" not in done.err
    assert table.read_text().count("\n") == 27
