"""The page of an evaluation: what is in its file, and which pictures are."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from math import inf, nan
from pathlib import Path
from typing import NoReturn

import pytest
import torch
from evaluations import FULL, HOSTILE, TEN, found, never, noise, shows, written
from torch import Tensor

from gantool.errors import InputError
from gantool.evaluation import page
from gantool.evaluation.gallery import exhibits, groups
from gantool.evaluation.values import Evaluation, Row, SetValue
from gantool.images import read

EMPTY = {"meta", "link", "img", "input"}


class Parsed(HTMLParser):
    """The elements of a page, checked for being nested rightly, and the text of its scripts and style."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inside: list[str] = []
        self.texts: dict[str, list[str]] = {"script": [], "style": []}
        self.feed(text)
        self.close()
        assert self.inside == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in EMPTY:
            self.inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.inside.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.inside and self.inside[-1] in self.texts:
            self.texts[self.inside[-1]].append(data)


def island(text: str) -> dict[str, object]:
    """What was found, out of a page."""

    def refuse(word: str) -> NoReturn:
        raise AssertionError(f"{word} is no JSON")

    data = json.loads(Parsed(text).texts["script"][0], parse_constant=refuse)
    assert isinstance(data, dict)
    return data


def pixels(uri: str) -> Tensor:
    kind, _, content = uri.partition(";base64,")
    assert kind == "data:image/webp"
    return read(base64.b64decode(content)).color


# --- the file ------------------------------------------------------------------------------------------------------------


def test_a_page_is_well_formed_and_holds_two_scripts_and_a_style(tmp_path: Path) -> None:
    text = written(tmp_path, FULL)
    assert text.startswith("<!doctype html>")
    tags = [tag for tag, _ in Parsed(text).elements]
    assert [tags.count(tag) for tag in ("html", "head", "body", "title", "style", "script", "main")] == [1, 1, 1, 1, 1, 2, 1]


def test_what_was_found_is_in_the_page_with_numbers_that_json_lacks_as_words(tmp_path: Path) -> None:
    data = island(written(tmp_path, FULL))
    assert data["contestants"] == ["one", "two"]
    assert data["metrics"] == [{"name": "psnr-y", "better": "higher"}]
    assert [row["values"] for row in data["rows"]] == [[30.0], ["inf"], [31.0], ["nan"]]  # type: ignore[attr-defined]
    assert data["means"] == [[["inf", 20.0, 40.0]], [["nan", 20.0, 40.0]]]
    assert data["sets"][0]["details"] == {"classes": {"cat": 0.5}, "odd": "inf"}  # type: ignore[index]
    assert data["comparisons"] == [
        {"metric": 0, "first": 0, "second": 1, "difference": [1.0, 0.5, 1.5], "wins": 1.0, "p": 0.03}
    ]
    assert data["recipe"] == ["protocol sr at scale 4", "psnr-y: PSNR of the luma"]


def test_only_the_script_and_style_of_the_page_may_run_and_nothing_is_fetched(tmp_path: Path) -> None:
    parsed = Parsed(written(tmp_path, FULL))
    (policy,) = (a["content"] for tag, a in parsed.elements if tag == "meta" and "http-equiv" in a)
    script, style = (
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for text in (parsed.texts["script"][1], parsed.texts["style"][0])
    )
    assert policy is not None
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert (rules["script-src"], rules["style-src"], rules["img-src"]) == (script, style, "data:")
    for _, attributes in parsed.elements:
        for name in ("src", "href", "srcset", "action"):
            assert (attributes.get(name) or "data:").startswith("data:")
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
    assert not re.search(
        r"url\(|@import|fetch|XMLHttp|innerHTML|insertAdjacent|document\.write", "".join(parsed.texts["script"][1:])
    )
    assert not re.search(r"url\(|@import", parsed.texts["style"][0])


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_stays_data(tmp_path: Path, name: str) -> None:
    evaluation = found({name: {name: 30.0}}, rows=(Row(name, name, None, None, {"psnr-y": 30.0}, notes=(name,)),))
    text = written(tmp_path, evaluation)
    data = island(text)
    assert len(Parsed(text).texts["script"]) == 2
    assert data["pictures"] == data["contestants"] == data["rows"][0]["notes"]  # type: ignore[index]
    content = Parsed(text).texts["script"][0]
    assert content.isascii()
    assert not set("<>&") & set(content)


def test_two_names_that_print_alike_are_two_pictures(tmp_path: Path) -> None:
    data = island(written(tmp_path, found({"one": {"\x07.png": 30.0, "\\x07.png": 31.0}})))
    assert data["pictures"] == ["\\x07.png", "\\x07.png"]
    assert data["groups"][0]["pictures"] == [0, 1]  # type: ignore[index]


def test_a_page_is_replaced_only_by_a_whole_one(tmp_path: Path) -> None:
    before = written(tmp_path, FULL)

    def stops(*_: str) -> NoReturn:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        page.write(tmp_path / "page.html", FULL, stops)
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == before
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_a_place_that_takes_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere.page\.html cannot be written"):
        page.write(tmp_path / "nowhere" / "page.html", FULL, shows)


# --- which pictures, and what of them ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("metric", "worst", "best"), [("psnr-y", "012", "987"), ("lpips", "987", "012")])
def test_worst_and_best_go_by_the_direction_of_the_metric(metric: str, worst: str, best: str) -> None:
    chosen = groups(found({"one": TEN}, metric), 3)
    assert [(group.title, [name[0] for name in group.names]) for group in chosen] == [("Worst", [*worst]), ("Best", [*best])]


def test_of_several_contestants_the_mean_counts_and_where_they_differ_is_shown_too() -> None:
    other = {**TEN, "0.png": 9.5, "7.png": 7.5}
    chosen = {group.title: [name[0] for name in group.names] for group in groups(found({"one": TEN, "two": other}), 2)}
    assert chosen == {"Worst": ["1", "2"], "Best": ["9", "8"], "Farthest apart": ["0", "7"]}


def test_contestants_that_agree_have_no_pictures_on_which_they_are_apart() -> None:
    assert [group.title for group in groups(found({"one": TEN, "two": TEN}), 2)] == ["Worst", "Best"]


def test_few_pictures_are_all_shown_once_from_worst_to_best() -> None:
    (only,) = groups(found({"one": TEN}), 5)
    assert [name[0] for name in only.names] == [*"0123456789"]


@pytest.mark.parametrize("metric", ["psnr-y", "lpips"])
def test_what_is_not_a_number_is_the_worst_there_is(metric: str) -> None:
    values = {**TEN, "3.png": nan, "4.png": inf if metric == "psnr-y" else 0.0, "0.png": 0.5}
    worst, best = groups(found({"one": values}, metric), 1)
    assert (worst.names, best.names) == (("3.png",), ("4.png",))


def test_pictures_that_were_not_measured_are_not_asked_for() -> None:
    rows = (Row("one", "a", None, None, {"psnr-y": 1.0}), Row("two", "a", None, None, error="no"))
    asked = []

    def show(label: str, name: str) -> tuple[Tensor, Tensor]:
        asked.append((label, name))
        return shows()

    evaluation = found({"one": {"a": 1.0}, "two": {"a": 1.0}}, rows=rows)
    (exhibit,) = exhibits(evaluation, groups(evaluation, 6), show)
    assert asked == [("one", "a")]
    assert list(exhibit.results) == ["one"]


def test_a_page_of_set_metrics_alone_has_no_pictures(tmp_path: Path) -> None:
    sets = {"one": (SetValue("fid", 3.2),)}
    data = island(written(tmp_path, Evaluation(("one",), (), (), {}, sets, (), {}, (), None), never))
    assert (data["groups"], data["exhibits"], data["rows"]) == ([], [], [])


def test_a_picture_that_is_gone_by_now_is_told(tmp_path: Path) -> None:
    def gone(*_: str) -> NoReturn:
        raise InputError("a.png cannot be read")

    data = island(written(tmp_path, found({"one": {"a.png": 1.0}}), gone))
    told = {"picture": 0, "part": None, "results": [None], "reference": None, "error": "a.png cannot be read"}
    assert data["exhibits"] == [told]


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_are_in_the_page_without_loss(channels: int) -> None:
    result, reference = noise(3, channels=channels), noise(4, channels=channels)
    evaluation = found({"one": {"a": 1.0}})
    (exhibit,) = exhibits(evaluation, groups(evaluation, 6), lambda *_: (result, reference))
    assert exhibit.reference is not None
    assert torch.equal(pixels(exhibit.results["one"]), result.expand(3, -1, -1))
    assert torch.equal(pixels(exhibit.reference), reference.expand(3, -1, -1))


@pytest.mark.parametrize(("top", "left"), [(0, 0), (900, 1200), (1090, 1390), (500, 30)])
def test_of_a_large_picture_the_part_around_the_largest_error_is_shown(top: int, left: int) -> None:
    reference = torch.full((3, 1100, 1400), 128, dtype=torch.uint8)
    result = reference.clone()
    result[:, top : top + 10, left : left + 10] = 255
    evaluation = found({"one": {"a": 1.0}})
    (exhibit,) = exhibits(evaluation, groups(evaluation, 6), lambda *_: (result, reference))
    part = exhibit.part
    assert part is not None
    assert (part.width, part.height, part.whole) == (1024, 1024, (1400, 1100))
    shown = pixels(exhibit.results["one"])
    assert torch.equal(shown, part.cut(result))
    assert (shown == 255).sum() == (result == 255).sum()


def test_of_a_large_picture_without_a_reference_the_middle_is_shown() -> None:
    evaluation = found({"one": {"a": 1.0}}, "niqe")
    (exhibit,) = exhibits(evaluation, groups(evaluation, 6), lambda *_: (torch.zeros(3, 1424, 1124, dtype=torch.uint8), None))
    assert exhibit.part is not None
    assert (exhibit.part.left, exhibit.part.top) == (50, 200)
    assert exhibit.reference is None


@pytest.mark.parametrize("limit", [150_000, 600_000])
def test_a_page_stays_within_its_size_by_showing_less_and_not_worse(limit: int) -> None:
    values = {f"{number}": float(number) for number in range(6)}
    evaluation = found({"one": values, "two": values})
    made = exhibits(
        evaluation, groups(evaluation, 3), lambda label, name: (noise(len(label), 160, 200), noise(2, 160, 200)), limit
    )
    assert limit / 2 < sum(exhibit.bytes for exhibit in made) <= limit
    for exhibit in made:
        assert exhibit.part is not None
        assert torch.equal(pixels(exhibit.results["two"]), exhibit.part.cut(noise(3, 160, 200)))


def test_contestants_of_several_scales_are_shown_where_all_have_pixels() -> None:
    evaluation = found({"x2": {"a": 1.0}, "x3": {"a": 1.0}})
    reference = noise(2, 20, 20)
    made = {"x2": (noise(3, 20, 20), reference), "x3": (noise(4, 18, 18), reference[:, :18, :18])}
    (exhibit,) = exhibits(evaluation, groups(evaluation, 6), lambda label, _: made[label])
    assert exhibit.part is not None
    assert {pixels(uri).shape for uri in (*exhibit.results.values(), exhibit.reference or "")} == {(3, 18, 18)}
