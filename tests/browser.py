"""Headless Chromium, for tests of the pages that gantool writes: the system's own, with nothing fetched and no network.

The fixture `browser` of conftest.py is one for the whole session; it skips with the reason where Chromium is not installed.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest

if TYPE_CHECKING:
    from selenium.webdriver import Chrome
    from selenium.webdriver.remote.webelement import WebElement

T = TypeVar("T")
SECONDS = 20.0  # what a loaded machine may need for any one step
FLAGS = (
    "--headless",
    "--no-sandbox",  # the sandbox refuses to run as root, as which containers run
    "--disable-dev-shm-usage",  # containers have little of it
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1200,900",
)


@dataclass(frozen=True)
class Browser:
    """A running Chromium.

    Attributes:
        driver: selenium's, for what the methods below do not have.
        downloads: folder that downloads go to, without a question.
    """

    driver: Chrome
    downloads: Path

    def open(self, page: Path) -> None:
        """Open a page from its file, with the logs of the last one thrown away; its local storage stays."""
        self.driver.get("about:blank")
        for kind in ("performance", "browser"):
            self.driver.get_log(kind)
        self.driver.get(page.resolve().as_uri())

    def find(self, selector: str) -> WebElement:
        """Return the first visible element that a CSS selector finds, as soon as there is one."""
        return self.wait(lambda: next((e for e in self.all(selector) if e.is_displayed()), None), selector)

    def all(self, selector: str) -> list[WebElement]:
        """Return all elements that a CSS selector finds, visible or not."""
        return self.driver.find_elements("css selector", selector)

    def press(self, keys: str) -> None:
        """Type keys to whatever has the focus; special ones are in `selenium.webdriver.Keys`."""
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).send_keys(keys).perform()

    def run(self, script: str, *values: object) -> object:
        """Return what JavaScript returns; `arguments[0]` and so on are `values`."""
        return self.driver.execute_script(script, *values)  # type: ignore[no-untyped-call]

    def wait(self, condition: Callable[[], T | None], what: str = "it", seconds: float = SECONDS) -> T:
        """Return what a condition returns, as soon as that is true."""
        from selenium.common import StaleElementReferenceException

        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if found := condition():
                    return found
            except StaleElementReferenceException:  # the page changed while it was looked at
                pass
            time.sleep(0.02)
        raise AssertionError(f"{what} did not come within {seconds:g} s; the console says {self.errors()}")

    def download(self, name: str) -> Path:
        """Return a file that the page was asked to save, once it is there whole."""
        path = self.downloads / name
        return self.wait(lambda: path if path.is_file() else None, f"the download {name}")

    def requests(self) -> list[str]:
        """Return the addresses asked for since the page was opened, its own and those of data: in it left out."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
        here = self.driver.current_url.partition("#")[0]
        return [url for url in sent if not url.startswith(("data:", "about:", "blob:")) and url.partition("#")[0] != here]

    def errors(self) -> list[str]:
        """Return what the console has complained of since the page was opened or this was last asked."""
        return [entry["message"] for entry in self.driver.get_log("browser")]


@contextmanager
def chromium(folder: Path) -> Iterator[Browser]:
    """Run Chromium with its profile and downloads in an empty folder; skip where it or selenium is not installed."""
    selenium = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    program, driver = shutil.which("chromium") or shutil.which("chromium-browser"), shutil.which("chromedriver")
    if not program or not driver:
        pytest.skip("chromium and chromedriver are not installed")
    downloads = folder / "downloads"
    downloads.mkdir()
    options = selenium.ChromeOptions()
    options.binary_location = program
    for flag in (*FLAGS, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    running = selenium.Chrome(options=options, service=selenium.ChromeService(executable_path=driver))
    try:
        running.set_page_load_timeout(SECONDS)
        yield Browser(running, downloads)
    finally:
        running.quit()
