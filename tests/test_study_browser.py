"""Studies in a browser, from the page to the scores: what raters see, what is kept, and that votes are what was clicked."""

from __future__ import annotations

import base64
import itertools
import json
import math
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browser import Browser
from numpy.typing import NDArray
from PIL import Image
from voting import Choose, Run, Study, Trial, attentive, folder, made, prefer

from gantool.images import Picture, read, write

pytestmark = pytest.mark.slow
Pixels = NDArray[np.uint8]
ASKED = "main button:not([id]):enabled"


def begin(browser: Browser, rater: str) -> None:
    name = browser.find("#rater")
    if not name.get_attribute("readonly"):
        name.send_keys(rater)
    browser.find("#begin").click()


def go_on(browser: Browser) -> None:
    [button] = browser.wait(lambda: [e for e in browser.all("main button") if e.text == "Go on"] or None, "feedback")
    browser.press("\n")
    browser.wait(lambda: button not in browser.all("main button") or None, "its end")


def answer(browser: Browser, trial: Trial, choice: int, first: int, by_key: bool) -> None:
    """Answer the trial on the screen, and go on where there is feedback."""
    if not (trial["kind"] == "practice" and first):  # examples of scores are told, not asked
        browser.find(ASKED)
        if by_key:
            browser.press(str(choice - first + 1))
        else:
            browser.all("main button")[choice - first].click()
    if trial["kind"] == "practice":
        go_on(browser)


def rate(browser: Browser, study: Study, rater: str, choose: Choose, first: int = 0, skip: int = 0) -> list[int]:
    """Go through a study, by mouse and keyboard in turn; return the choices."""
    begin(browser, rater)
    choices = []
    for number, trial in enumerate(study.trials[skip:]):
        choices.append(choose(trial))
        answer(browser, trial, choices[-1], first, by_key=number % 2 == 1)
    return choices


def saved(browser: Browser, study: Study, rater: str) -> Path:
    browser.find("#save").click()
    return browser.download(f"votes-{study.known['study']}-{rater}.json")


def read_votes(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


MODES = {
    "ab": ("ab", "A", "B", "--checks", 2),
    "real-fake": ("real-fake", "A", "B", "--checks", 1, "--practice", 2, "--exposure", 100),
    "single": ("real-fake", "A", "B", "--beside", "none", "--checks", 1, "--practice", 2, "--exposure", 50, "--pictures", 1),
    "best-of-n": ("best-of-n", "A", "B", "C", "--inputs", "A", "--checks", 1, "--pictures", 3),
    "mos": ("mos", "B", "C", "--references", "A", "--checks", 1, "--practice", 1, "--pictures", 1),
}
RATERS: dict[str, Choose] = {
    "ab": prefer("B"),
    "real-fake": prefer("B"),
    "single": attentive(lambda _: 0),
    "best-of-n": prefer("C"),
    "mos": attentive(lambda trial: {"A": 1, "B": 2, "C": 4, "original": 5}[trial["options"][0]]),
}
SAID = {
    "ab": {"A": 0, "B": 1},
    "real-fake": {"generated taken for real": 1},
    "single": {"generated taken for real": 1, "real taken for generated": 0, "wrong of all": 0.5},
    "best-of-n": {"A": 0, "B": 0, "C": 1},
    "mos": {"B": 2, "C": 4, "original": 5},
}


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_goes_from_the_page_to_the_scores(run_cli: Run, browser: Browser, tmp_path: Path, mode: str) -> None:
    for seed, name in enumerate("ABC"):
        folder(tmp_path / name, seed=seed)
    args = [tmp_path / arg if arg in ("A", "B", "C") else arg for arg in MODES[mode]]
    study = made(run_cli, tmp_path, *args)
    browser.open(study.page)
    choices = rate(browser, study, "anna", RATERS[mode], first=int(mode == "mos"))
    votes = saved(browser, study, "anna")
    assert browser.requests() == []
    assert browser.errors() == []
    assert [vote["choice"] for vote in read_votes(votes)["votes"]] == choices
    assert [vote["trial"] for vote in read_votes(votes)["votes"]] == [trial["id"] for trial in study.trials]
    done = run_cli("study", "score", votes, "--key", study.key, "--json")
    assert (done.status, done.err) == (0, "")
    assert {n["of"]: n["value"] for n in json.loads(done.out.splitlines()[-1])["numbers"]} == SAID[mode]


def ended_when_opened_again(browser: Browser, study: Study) -> bool:
    browser.open(study.page)  # Chromium may be late in handing over what another page has stored
    return browser.find("#save, #rater").get_attribute("id") == "save"


def test_a_reload_goes_on_where_it_was_and_the_next_rater_begins_anew(run_cli: Run, browser: Browser, tmp_path: Path) -> None:
    args = [folder(tmp_path / name, seed=seed) for seed, name in enumerate("AB")]
    study = made(run_cli, tmp_path, "ab", *args, "--checks", 1)
    browser.open(study.page)
    begin(browser, "anna")
    for trial in study.trials[:2]:
        answer(browser, trial, prefer("A")(trial), 0, by_key=False)
    browser.wait(lambda: browser.run("return document.getElementById('main').className") or None, "the third trial")
    browser.driver.refresh()
    assert browser.find("#rater").get_attribute("value") == "anna"
    rate(browser, study, "nobody", prefer("A"), skip=2)
    browser.find("#save")
    browser.driver.refresh()
    browser.find("#save")
    browser.wait(lambda: ended_when_opened_again(browser, study), "the end, in a later visit")
    votes = read_votes(saved(browser, study, "anna"))["votes"]
    assert [vote["choice"] for vote in votes] == [prefer("A")(trial) for trial in study.trials]
    assert [vote["views"] for vote in votes] == [1, 1, 2, 1, 1]
    browser.find("#next").click()
    assert browser.wait(lambda: browser.find("#begin").text == "Begin" or None, "the first page")
    assert browser.find("#rater").get_attribute("value") == ""


def shot(browser: Browser) -> Pixels:
    return np.asarray(Image.open(BytesIO(base64.b64decode(browser.driver.get_screenshot_as_base64()))).convert("RGB"))


def is_shown(browser: Browser, image: object, expected: Pixels) -> bool:
    """Return whether a picture is on the screen exactly, with its corner rounded up or down to whole pixels."""
    box = browser.run("const b = arguments[0].getBoundingClientRect(); return [b.left, b.top, devicePixelRatio]", image)
    left, top = (number * box[2] for number in box[:2])  # type: ignore[index]
    corners = itertools.product((math.floor(left), math.ceil(left)), (math.floor(top), math.ceil(top)))
    height, width, _ = expected.shape
    screen = shot(browser)
    return any(np.array_equal(screen[y : y + height, x : x + width], expected) for x, y in corners)


@pytest.fixture
def dense(browser: Browser) -> Iterator[None]:
    """A screen with two pixels in what pages call one."""
    screen = {"width": 1200, "height": 900, "deviceScaleFactor": 2, "mobile": False}
    browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    yield
    browser.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize("ratio", [1, 2])
def test_pictures_are_on_the_screen_pixel_for_pixel_and_are_those_that_the_key_names(
    run_cli: Run, browser: Browser, tmp_path: Path, request: pytest.FixtureRequest, ratio: int
) -> None:
    if ratio == 2:
        request.getfixturevalue("dense")
    args = [folder(tmp_path / name, "a", (300, 200), seed) for seed, name in enumerate("AB")]
    study = made(run_cli, tmp_path, "ab", *args, "--checks", 0)
    browser.open(study.page)
    assert browser.run("return window.devicePixelRatio") == ratio
    begin(browser, "anna")
    browser.find(ASKED)
    for image, label in zip(browser.all("main img"), study.trials[0]["options"], strict=True):
        expected = read(tmp_path / label / "a.png").color.permute(1, 2, 0).numpy()
        assert is_shown(browser, image, expected)


def test_small_pictures_are_enlarged_by_whole_numbers_and_large_ones_shrunk_with_a_note(
    run_cli: Run, browser: Browser, tmp_path: Path
) -> None:
    small = folder(tmp_path / "small", "a", (60, 40))
    browser.open(made(run_cli, tmp_path, "mos", small, "--checks", 0).page)
    begin(browser, "anna")
    browser.find(ASKED)
    expected = read(small / "a.png").color.permute(1, 2, 0).numpy().repeat(4, 0).repeat(4, 1)
    assert is_shown(browser, browser.find("main img"), expected)

    study = made(run_cli, tmp_path, "mos", folder(tmp_path / "large", "a", (1500, 30)), "--checks", 0)
    browser.open(study.page)
    rate(browser, study, "bob", lambda _: 3, first=1)
    votes = saved(browser, study, "bob")
    assert 0.5 < read_votes(votes)["votes"][0]["scale"] < 0.9
    assert "1 of 1 answers were on pictures shrunk" in run_cli("study", "score", votes, "--key", study.key).out


WATCH = """
window.seen = [];
const watch = (now) => {
  const images = Array.from(document.querySelectorAll("main img"));
  const visible = (image) => image.hasAttribute("src") && getComputedStyle(image).visibility === "visible";
  window.seen.push([now, images.filter(visible).map((image) => image.alt)]);
  requestAnimationFrame(watch);
};
requestAnimationFrame(watch);
"""


def test_two_exposures_in_turn_last_as_long_as_they_say_and_then_nothing_is_left_to_see(
    run_cli: Run, browser: Browser, tmp_path: Path
) -> None:
    for name, color in (("A", (255, 0, 255)), ("B", (0, 255, 255))):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "a.png", Picture(torch.tensor(color, dtype=torch.uint8).view(3, 1, 1).expand(3, 64, 64)))
    study = made(
        run_cli, tmp_path, "real-fake", tmp_path / "A", tmp_path / "B", "--practice", 0, "--checks", 0, "--exposure", 400
    )
    browser.open(study.page)
    browser.run(WATCH)
    begin(browser, "anna")
    browser.find(ASKED)
    colors = shot(browser).reshape(-1, 3)
    assert not ((colors == (255, 0, 255)).all(1) | (colors == (0, 255, 255)).all(1)).any()
    seen = [(now, names) for now, names in browser.run("return window.seen") if names]  # type: ignore[attr-defined]
    first, second = ([now for now, names in seen if names == [name]] for name in ("Picture 1", "Picture 2"))
    assert len(first) + len(second) == len(seen)  # never both
    for times in (first, second):
        assert abs(times[-1] - times[0] - 400) < 60
    assert second[0] - first[-1] > 400  # nothing in between
    browser.press("1")
    [vote] = read_votes(saved(browser, study, "anna"))["votes"]
    assert abs(vote["shown"] - 400) <= 17  # half a frame of a screen of 30 a second
    assert min(abs(times[-1] - times[0] - vote["shown"]) for times in (first, second)) < 35
    assert vote["interrupted"] is False


SCREENS = [(1366, 650), (1500, 700), (1590, 900), (1200, 900), (375, 667), (900, 350)]
BOXES = (
    "return Array.from(document.querySelectorAll('main img'), (i) => { const b = i.getBoundingClientRect(); "
    "return [b.left, b.top, b.right, b.bottom]; });"
)


def resize(browser: Browser, width: int, height: int) -> None:
    screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)


@pytest.fixture
def resized(browser: Browser) -> Iterator[None]:
    yield
    browser.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def boxes(browser: Browser, width: int, height: int) -> list[list[float]]:
    """Return where pictures are, which has to be inside the window."""
    assert browser.run("return [innerWidth, innerHeight]") == [width, height]
    found: list[list[float]] = browser.run(BOXES)  # type: ignore[assignment]
    assert all(left >= 0 and top >= 0 and right <= width and bottom <= height for left, top, right, bottom in found)
    return found


@pytest.mark.usefixtures("resized")
@pytest.mark.parametrize(
    "options", [(), ("--exposure", 60_000), ("--exposure", 60_000, "--inputs", "A")], ids=["ab", "exposed", "context"]
)
def test_results_are_side_by_side_and_on_the_screen_whatever_its_size_and_when_it_changes(
    run_cli: Run, browser: Browser, tmp_path: Path, options: tuple[object, ...]
) -> None:
    args = [folder(tmp_path / name, "a", (768, 512), seed) for seed, name in enumerate("AB")]
    study = made(run_cli, tmp_path, "ab", *args, "--checks", 0, *(args[0] if each == "A" else each for each in options))
    for number, (width, height) in enumerate(SCREENS):
        if number == 0 or options:  # with an exposure it is fitted once, before
            resize(browser, width, height)
            browser.open(study.page)
            browser.run("localStorage.clear(); history.replaceState(null, '')")
            browser.driver.refresh()
            begin(browser, "anna")
            browser.wait(lambda: browser.run("return document.getElementById('main').className") or None, "the pictures")
        else:
            resize(browser, width, height)
            browser.wait(lambda: browser.run("return innerWidth") == width or None, "the window")  # noqa: B023
            browser.run("return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        one, other, *_ = boxes(browser, width, height)
        assert one[1] == other[1]
        assert one[2] < other[0]
        assert one[2] - one[0] > min(width / 2 - 90, height / 2 - 160)


@pytest.mark.usefixtures("resized")
@pytest.mark.parametrize(("width", "height"), [(1366, 650), (375, 667)])
def test_pictures_in_turn_are_in_one_place_and_on_the_screen(
    run_cli: Run, browser: Browser, tmp_path: Path, width: int, height: int
) -> None:
    args = [folder(tmp_path / name, "a", (768, 512), seed) for seed, name in enumerate("AB")]
    study = made(run_cli, tmp_path, "real-fake", *args, "--checks", 0, "--practice", 0, "--exposure", 60_000)
    resize(browser, width, height)
    browser.open(study.page)
    begin(browser, "anna")
    browser.wait(lambda: browser.run("return document.getElementById('main').className") or None, "the pictures")
    one, other = boxes(browser, width, height)
    assert one == other
    assert one[2] - one[0] > min(width - 60, 600)
    assert [image.is_displayed() for image in browser.all("main img")] == [True, False]


def test_practice_of_real_fake_shows_both_again_and_says_which_is_real(run_cli: Run, browser: Browser, tmp_path: Path) -> None:
    args = [folder(tmp_path / name, seed=seed) for seed, name in enumerate("AB")]
    study = made(run_cli, tmp_path, "real-fake", *args, "--checks", 0, "--practice", 1, "--exposure", 50)
    browser.open(study.page)
    begin(browser, "anna")
    browser.find(ASKED)
    assert browser.find("h1").text == "Which picture was real?"
    browser.press("1")
    real = study.trials[0]["options"].index("A")
    browser.wait(lambda: browser.find("main button").text == "Go on" or None, "feedback")
    said = [each.text for each in browser.all("figcaption")]
    assert said == [f"{place + 1}: {'Real' if place == real else 'Generated'}" for place in range(2)]
    assert browser.find("main p").text.startswith("Right." if real == 0 else "Wrong.")
    for image, label in zip(browser.all("main img"), study.trials[0]["options"], strict=True):
        pixels = read(tmp_path / label / study.trials[0]["picture"]).color.permute(1, 2, 0).numpy()
        assert is_shown(browser, image, pixels.repeat(10, 0).repeat(10, 1))


def test_examples_of_scores_are_shown_with_their_score_and_not_asked(run_cli: Run, browser: Browser, tmp_path: Path) -> None:
    results, truth, low = (
        folder(tmp_path / name, size=size) for name, size in (("A", (24, 16)), ("B", (24, 16)), ("C", (12, 8)))
    )
    study = made(run_cli, tmp_path, "mos", results, "--references", truth, "--inputs", low, "--checks", 0)
    browser.open(study.page)
    begin(browser, "anna")
    for score in (1, 5):
        browser.wait(lambda: f"example of {score}." in browser.find("main p").text or None, "the example")  # noqa: B023
        assert browser.find("main img").is_displayed()
        assert [each.text for each in browser.all("main button")] == ["Go on"]
        browser.press("12345")
        assert f"example of {score}." in browser.find("main p").text
        go_on(browser)
    browser.find(ASKED)
    assert len(browser.all("main button")) == 5


def test_an_exposure_ends_where_the_window_is_hidden_and_the_vote_says_so(
    run_cli: Run, browser: Browser, tmp_path: Path
) -> None:
    args = [folder(tmp_path / name, "a", seed=seed) for seed, name in enumerate("AB")]
    study = made(run_cli, tmp_path, "ab", *args, "--checks", 0, "--exposure", 30_000)
    browser.open(study.page)
    begin(browser, "anna")
    browser.wait(lambda: browser.run("return document.getElementById('main').className") or None, "the pictures")
    browser.run(
        "Object.defineProperty(document, 'hidden', {value: true}); document.dispatchEvent(new Event('visibilitychange'))"
    )
    assert browser.run("return document.getElementById('main').className") == ""
    browser.find(ASKED)
    browser.press("1")
    [vote] = read_votes(saved(browser, study, "anna"))["votes"]
    assert vote["interrupted"] is True
    assert vote["shown"] < 20_000


def test_sessions_of_two_raters_are_never_mixed(run_cli: Run, browser: Browser, tmp_path: Path) -> None:
    args = [folder(tmp_path / name, seed=seed) for seed, name in enumerate("AB")]
    study = made(run_cli, tmp_path, "ab", *args, "--checks", 0)
    browser.open(study.page)
    begin(browser, "anna")
    for trial in study.trials[:2]:
        answer(browser, trial, prefer("A")(trial), 0, by_key=False)
    browser.find(ASKED)
    browser.driver.refresh()
    browser.find("#other").click()
    assert browser.wait(lambda: browser.find("#begin").text == "Begin" or None, "the first page")
    begin(browser, "bob")
    answer(browser, study.trials[0], prefer("B")(study.trials[0]), 0, by_key=False)
    browser.find(ASKED)
    store = f"'gantool-study-{study.known['study']}'"
    trials = json.dumps([{"trial": trial["id"]} for trial in study.trials[:3]])
    foreign = f"localStorage.setItem({store}, JSON.stringify({{session: 'x', rater: 'carol', votes: {trials}}}))"
    browser.run(foreign)  # another tab's, and longer
    browser.driver.refresh()
    assert browser.find("#rater").get_attribute("value") == "bob"
    rate(browser, study, "bob", prefer("B"), skip=1)
    handed = read_votes(saved(browser, study, "bob"))
    assert [vote["choice"] for vote in handed["votes"]] == [prefer("B")(trial) for trial in study.trials]
    assert len(handed["session"]) == 16


HOSTILE = "<img src=x onerror=document.title='owned'>"


def test_names_and_questions_are_text_whatever_they_hold(run_cli: Run, browser: Browser, tmp_path: Path) -> None:
    first, second = folder(tmp_path / HOSTILE, "a"), folder(tmp_path / "B", "a", seed=1)
    for each in (first, second):
        (each / "a.png").rename(each / f"{HOSTILE}.png")
    study = made(run_cli, tmp_path, "ab", first, second, "--checks", 0, "--question", f"{HOSTILE}</script>")
    assert HOSTILE not in study.page.read_text(encoding="utf-8")
    browser.open(study.page)
    assert browser.find("h1").text == f"{HOSTILE}</script>"
    rate(browser, study, HOSTILE, prefer("B"))
    votes = saved(browser, study, "_img_src_x_onerror_document_titl")
    assert browser.run("return document.title") == "A study of pictures"
    assert read_votes(votes)["rater"] == HOSTILE
    assert f"\n{HOSTILE}" in run_cli("study", "score", votes, "--key", study.key).out


def test_a_rater_without_a_name_gets_one_and_keys_that_answer_nothing_do_nothing(
    run_cli: Run, browser: Browser, tmp_path: Path
) -> None:
    args = [folder(tmp_path / name, "a", seed=seed) for seed, name in enumerate("AB")]
    study = made(run_cli, tmp_path, "ab", *args, "--checks", 0)
    browser.open(study.page)
    begin(browser, "")
    browser.press("12")  # too early: the pictures are not there yet
    browser.find(ASKED)
    browser.press("30x")
    assert browser.find("main button").is_enabled()
    browser.press("\ue014")  # the right arrow
    browser.find("#save")
    kept = browser.run(f"return localStorage.getItem('gantool-study-{study.known['study']}')")
    rater = json.loads(str(kept))["rater"]
    assert len(rater) == 16
    assert read_votes(saved(browser, study, rater))["votes"][0]["choice"] == 1
