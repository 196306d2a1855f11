"""The page of an evaluation as a reader sees it in a browser."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from math import inf, nan
from pathlib import Path

import pytest
from browser import Browser
from evaluations import FULL, HOSTILE, TEN, alone, found, never, noise, shows, written

from gantool.evaluation.gallery import Show
from gantool.evaluation.values import Comparison, Evaluation, Mean, Row, SetValue


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
