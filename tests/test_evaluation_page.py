"""The page of an evaluation: what is in its file, then what a reader sees of it in a browser."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from math import inf, nan
from pathlib import Path
from typing import NoReturn

import pytest
import torch
from browser import Browser
from torch import Tensor

from gantool.errors import InputError
from gantool.evaluation import page
from gantool.evaluation.gallery import Show, exhibits, groups
from gantool.evaluation.values import Comparison, Evaluation, Explained, Mean, Row, SetValue
from gantool.images import read

EMPTY = {"meta", "link", "img", "input"}
HOSTILE = [
    "<img src=x onerror=document.title='hit'>.png",
    "</script><script>document.title='hit'</script>.png",
    "<!--<script>.png",
    "caf\udce9.png",
    "line\u2028break\u202e\x1b[31m.png",
    "{{script}} & \"quoted\" 'twice' \\u003c.png",
]


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


def found(values: Mapping[str, Mapping[str, float]], metric: str = "psnr-y", **more: object) -> Evaluation:
    """An evaluation with one metric, out of values by contestant and picture."""
    rows = tuple(Row(label, name, None, None, {metric: value}) for label, of in values.items() for name, value in of.items())
    means = {label: {metric: Mean(sum(of.values()) / len(of), 20.0, 40.0)} for label, of in values.items()}
    return Evaluation(
        contestants=tuple(values),
        metrics=(metric,),
        rows=more.pop("rows", rows),  # type: ignore[arg-type]
        means=means,
        sets=more.pop("sets", {}),  # type: ignore[arg-type]
        comparisons=more.pop("comparisons", ()),  # type: ignore[arg-type]
        explained=more.pop("explained", {}),  # type: ignore[arg-type]
        recipe=("protocol sr at scale 4", "psnr-y: PSNR of the luma"),
        protocol="sr",
    )


def noise(seed: int, height: int = 16, width: int = 24, channels: int = 3) -> Tensor:
    made = torch.randint(0, 256, (channels, height, width), generator=torch.Generator().manual_seed(seed))
    return made.to(torch.uint8)


def shows(*_: str) -> tuple[Tensor, Tensor]:
    return noise(1), noise(2)


def alone(*_: str) -> tuple[Tensor, None]:
    return noise(1), None


def never(*_: str) -> NoReturn:
    pytest.fail("it was asked for a picture")


def written(folder: Path, evaluation: Evaluation, show: Show = shows, shown: int = 6) -> str:
    page.write(folder / "page.html", evaluation, show, shown)
    return (folder / "page.html").read_text(encoding="utf-8")


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


FULL = found(
    {"one": {"a.png": 30.0, "b.png": inf}, "two": {"a.png": 31.0, "b.png": nan}},
    sets={"one": (SetValue("fid", 61.5, 0.1, "legacy-pytorch", ("too few",), {"classes": {"cat": 0.5}, "odd": inf}),)},
    comparisons=(Comparison("psnr-y", "one", "two", Mean(1.0, 0.5, 1.5), 1.0, 0.03),),
    explained={"one": (Explained("psnr-y", "luma of 0 to 255", 28.68, -1.32),)},
)


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

TEN = {f"{number}.png": float(number) for number in range(10)}


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


# --- in a browser --------------------------------------------------------------------------------------------------------


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Callable[..., Browser]:
    """Write the page of an evaluation and open it."""

    def open_page(evaluation: Evaluation, show: Show = shows, shown: int = 6) -> Browser:
        written(tmp_path, evaluation, show, shown)
        browser.open(tmp_path / "page.html")
        return browser

    return open_page


def texts(browser: Browser, selector: str) -> list[str]:
    return [element.text for element in browser.all(selector)]


def test_a_reader_sees_all_that_was_found(opened: Callable[..., Browser]) -> None:
    browser = opened(FULL)
    assert browser.find("h1").text == "one and two"
    assert texts(browser, "h2") == [
        "Means", "Whole sets", "Recipe", "Comparison", "Under other conventions", "By picture", "Pictures", "Every picture"
    ]  # fmt: skip
    assert texts(browser, "#means tbody tr")[0].split("\n") == ["one 2 infinite", "20.00 to 40.00"]
    assert texts(browser, "#sets .scroll > table > tbody > tr > td") == [
        "fid",
        "61.50\n± 0.10",
        "legacy-pytorch\nWarning: too few\nDetails",
    ]
    assert texts(browser, "#comparisons td") == ["two against one", "+1.00\n+0.50 to +1.50", "100 %", "0.030", "two is better"]
    explained = [text.replace("\u00a0", "").split() for text in texts(browser, "#explained td.number")]
    assert explained == [["infinite"], ["not", "a", "number"], ["28.68", "-1.32"], ["–"]]
    assert texts(browser, "#recipe li") == ["protocol sr at scale 4", "psnr-y: PSNR of the luma"]
    assert texts(browser, "#rows tbody tr") == ["a.png 30.00 31.00 +1.00", "b.png infinite not a number not a number"]
    assert browser.errors() == []
    assert browser.requests() == []


def test_the_details_of_a_set_open(opened: Callable[..., Browser]) -> None:
    browser = opened(FULL)
    browser.find("summary").click()
    assert texts(browser, "details th") == ["classes", "cat", "odd"]


def test_a_click_on_a_head_sorts_the_table_and_another_turns_it_round(opened: Callable[..., Browser]) -> None:
    values = {"b10.png": 30.0, "b9.png": 32.5, "c.png": nan, "a.png": inf, "d.png": -3.0}
    browser = opened(found({"one": values}))

    def order() -> list[str]:
        return texts(browser, "#rows tbody th")

    assert order() == ["a.png", "b9.png", "b10.png", "c.png", "d.png"]
    browser.all("#rows thead button")[1].click()
    assert order() == ["d.png", "b10.png", "b9.png", "a.png", "c.png"]
    assert [head.get_attribute("aria-sort") for head in browser.all("#rows thead th")] == [None, "ascending"]
    browser.press("\ue007")  # Enter: the head that was clicked still has the focus
    assert order() == ["a.png", "b9.png", "b10.png", "d.png", "c.png"]
    browser.all("#rows thead button")[0].click()
    browser.all("#rows thead button")[0].click()
    assert order() == ["d.png", "c.png", "b10.png", "b9.png", "a.png"]


def test_errors_and_notes_stand_beside_their_pictures(opened: Callable[..., Browser]) -> None:
    rows = (
        Row("one", "a", None, None, {"psnr-y": 30.0}, notes=("it is gray",)),
        Row("one", "b", None, None, error="b is broken"),
    )
    evaluation = found({"one": {"a": 30.0}}, rows=rows)
    browser = opened(Evaluation(**{**vars(evaluation), "means": {}}))
    assert texts(browser, "#rows tbody tr") == ["a 30.00\nit is gray", "b –\nb is broken"]
    assert texts(browser, "#means td") == ["1 of 2", "withheld"]


def test_a_long_table_is_shown_in_part_until_asked_for(opened: Callable[..., Browser]) -> None:
    browser = opened(found({"one": {f"{number}.png": float(number) for number in range(600)}}), shown=1)
    assert len(browser.all("#rows tbody tr")) == 500
    browser.find("#more").click()
    assert len(browser.all("#rows tbody tr")) == 600
    assert not browser.all("#more")[0].is_displayed()


def side(browser: Browser) -> float:
    """How much of the upper picture is seen, in percent."""
    clip = str(browser.run("return document.getElementById('over').style.clipPath"))
    hidden = re.fullmatch(r"inset\(0(?:px)? ([\d.]+)% 0(?:px)? 0(?:px)?\)", clip)
    assert hidden, clip
    return 100 - float(hidden[1])


def test_the_boundary_between_result_and_reference_follows_keys_and_the_pointer(opened: Callable[..., Browser]) -> None:
    from selenium.webdriver import ActionChains

    browser = opened(found({"one": {"a.png": 30.0}}), lambda *_: (noise(1, 100, 200), noise(2, 100, 200)))
    assert side(browser) == 50
    label = browser.find("label[for=slide]")
    assert label.text == "Boundary between left and right"
    browser.run("document.getElementById('slide').focus()")
    browser.press("\ue012\ue012")  # left, twice
    assert side(browser) == 49
    canvas = browser.find("#canvas")
    width = canvas.size["width"]
    ActionChains(browser.driver).move_to_element(canvas).click_and_hold().move_by_offset(width // 4, 0).release().perform()
    assert side(browser) == pytest.approx(75, abs=1)
    ActionChains(browser.driver).move_by_offset(-width // 2, 0).perform()  # no longer held
    assert side(browser) == pytest.approx(75, abs=1)
    assert browser.run("return document.getElementById('slide').valueAsNumber") == pytest.approx(75, abs=1)


def test_the_boundary_follows_a_finger(opened: Callable[..., Browser]) -> None:
    browser = opened(found({"one": {"a.png": 30.0}}), lambda *_: (noise(1, 100, 200), noise(2, 100, 200)))
    box = browser.run("const b = document.getElementById('canvas').getBoundingClientRect(); return [b.left, b.top, b.width]")
    assert isinstance(box, list)
    left, top, width = box
    browser.run("scrollTo(0, arguments[0])", top - 100)
    for kind, share in (("touchStart", 0.5), ("touchMove", 0.4), ("touchMove", 0.2), ("touchEnd", None)):
        points = [] if share is None else [{"x": left + share * width, "y": 150}]
        browser.driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    assert side(browser) == pytest.approx(20, abs=1)


def data_of(browser: Browser) -> dict[str, list[dict[str, list[str] | str]]]:
    return json.loads(str(browser.run("return document.getElementById('data').textContent")))  # type: ignore[no-any-return]


def test_the_worst_picture_comes_first_and_others_are_chosen_by_their_small_ones(opened: Callable[..., Browser]) -> None:
    browser = opened(found({"one": TEN}), lambda _, name: (noise(int(name[0])), noise(99)), shown=2)
    assert texts(browser, ".film .name") == ["0.png", "1.png", "9.png", "8.png"]
    assert texts(browser, ".film .value") == ["0.000", "1.000", "9.000", "8.000"]
    assert browser.find("#caption .name").text == "0.png"
    browser.all(".film button")[2].click()
    assert browser.find("#caption").text.startswith("9.png, 24×16 pixels")
    exhibit = data_of(browser)["exhibits"][2]
    sources = [browser.all(f"#{which}")[0].get_attribute("src") for which in ("over", "under")]
    assert sources == [exhibit["results"][0], exhibit["reference"]]
    assert [button.get_attribute("aria-pressed") for button in browser.all(".film button")] == [
        "false",
        "false",
        "true",
        "false",
    ]
    browser.wait(lambda: browser.run("return document.getElementById('over').naturalWidth === 24"), "the picture")


def test_any_two_sources_can_be_put_side_by_side(opened: Callable[..., Browser]) -> None:
    seeds = {"one": 1, "two": 2}
    browser = opened(found({"one": TEN, "two": TEN}), lambda label, _: (noise(seeds[label]), noise(3)))
    assert texts(browser, "#left option") == ["one", "two", "reference"]
    browser.find("#right option:nth-child(2)").click()
    exhibit = data_of(browser)["exhibits"][0]
    assert [browser.find(f"#{which}").get_attribute("src") for which in ("over", "under")] == exhibit["results"]
    browser.all(".film button")[3].click()  # the choice stays
    assert browser.find("#right").get_attribute("value") == "1"


def test_without_references_pictures_stand_alone(opened: Callable[..., Browser]) -> None:
    browser = opened(found({"one": {"a.png": 4.0}}, "niqe"), alone)
    assert side(browser) == 100
    assert browser.find("#over").is_displayed()
    for hidden in ("#slide", "#divider", "#left", "#right", "#under"):
        assert not browser.all(hidden)[0].is_displayed()


def test_the_size_of_pictures_can_be_chosen(opened: Callable[..., Browser]) -> None:
    browser = opened(found({"one": {"a.png": 30.0}}))
    for choice, width in (("1", 24), ("4", 96)):
        browser.find(f"#zoom option[value='{choice}']").click()
        assert browser.find("#canvas").size["width"] == width
    assert browser.run("return getComputedStyle(document.getElementById('over')).imageRendering") == "pixelated"


def test_a_page_without_pictures_shows_only_what_there_is(opened: Callable[..., Browser]) -> None:
    sets = {"one": (SetValue("fid", 3.25, words="legacy-pytorch"),)}
    browser = opened(Evaluation(("one",), (), (), {}, sets, (), {}, (), None), never)
    assert [title for title in texts(browser, "h2") if title] == ["Whole sets"]
    assert browser.errors() == []


def test_names_are_text_and_nothing_they_say_runs(opened: Callable[..., Browser]) -> None:
    rows = tuple(
        Row(label, name, None, None, {"psnr-y": float(number)}, notes=(name,))
        for label in HOSTILE[:2]
        for number, name in enumerate(HOSTILE)
    )
    browser = opened(found({label: dict.fromkeys(HOSTILE, 1.0) for label in HOSTILE[:2]}, rows=rows))
    assert HOSTILE[0] in texts(browser, "#rows tbody th")
    assert browser.find("h1").text == f"{HOSTILE[0]} and {HOSTILE[1]}"
    assert browser.driver.title.endswith("gantool evaluate")
    assert len(browser.all("img")) == 2 + len(HOSTILE)
    assert browser.errors() == []
    assert browser.requests() == []


def test_plots_have_a_dot_for_each_number_and_tell_its_name(opened: Callable[..., Browser]) -> None:
    from selenium.webdriver import ActionChains

    other = {name: value + 0.5 for name, value in TEN.items()}
    comparison = Comparison("psnr-y", "one", "two", Mean(0.5, 0.5, 0.5), 1.0, 0.002)
    browser = opened(found({"one": {**TEN, "5.png": inf}, "two": other}, comparisons=(comparison,)))
    drawn = [str(path.get_attribute("d")).count("M") for path in browser.all("#plots .dots")]
    assert drawn == [9, 10]
    assert "1 of 20 values" in browser.find("#plots figcaption").text
    bars = {path.get_attribute("class"): str(path.get_attribute("d")).count("M") for path in browser.all("#plots .bars")}
    assert bars == {"bars c0": 0, "bars c1": 9}
    strip = browser.find("#plots svg")
    ActionChains(browser.driver).move_to_element_with_offset(strip, -strip.size["width"] // 2 + 2, 0).perform()
    assert browser.find("#plots figcaption").text in ("0.png, one: 0.000", "0.png, two: 0.500")


@pytest.mark.parametrize("width", [320, 1400])
def test_the_page_fits_a_phone_and_a_screen(opened: Callable[..., Browser], width: int) -> None:
    browser = opened(FULL, lambda *_: (noise(1, 300, 700), noise(2, 300, 700)))
    metrics = {"width": width, "height": 700, "deviceScaleFactor": 1, "mobile": width < 600}
    try:
        browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        browser.wait(lambda: browser.run("return innerWidth") == width, "the new size")
        browser.wait(lambda: browser.find("#canvas").size["width"] <= width, "the picture's new size")
        assert browser.run("return document.documentElement.scrollWidth <= innerWidth")
    finally:
        browser.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
