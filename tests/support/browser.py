"""Drive a real browser without a window."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import axe_core_python
import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

_CHROMIUM, _DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
_OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-dev-shm-usage",
    "--autoplay-policy=no-user-gesture-required",
)
_AXE = (Path(axe_core_python.__file__).with_name("axe.min.js")).read_text(encoding="utf-8")


class Browser:
    """A browser with one page. Fails a test that waits for what does not come."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, address: str) -> None:
        self.driver.get(address)

    def look(self, width: int, height: int = 900, *, dark: bool = False) -> None:
        """Change the size of the window, and whether the user likes it dark."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})

    def run(self, script: str, *values: object) -> Any:
        """Return what a script returns."""
        return self.driver.execute_script(script, *values)

    def until(self, script: str, *values: object) -> Any:
        """Wait until a script returns something true, and return it."""
        return WebDriverWait(self.driver, 20, 0.05).until(lambda _: self.run(script, *values), f"never true: {script}")

    def press(self, *keys: str) -> None:
        """Press keys, wherever the focus is, and let what they lead to load."""
        for key in keys:
            element: WebElement = self.driver.switch_to.active_element
            element.send_keys(key)

    def leads_on(self, act: Any, *values: object) -> None:
        """Do something that leads to another page, and wait for that page."""
        self.run("window.stale = true")
        act(*values)
        self.until("return !window.stale && document.readyState === 'complete'")

    def texts(self, selector: str) -> list[str]:
        """Return the texts of the elements of a selector, as they are seen."""
        found: list[str] = self.run(
            "return [...document.querySelectorAll(arguments[0])].map(e => e.innerText.trim())", selector
        )
        return found

    def problems_for_screen_readers(self) -> list[str]:
        """Return what axe finds that is serious or critical, with where it is."""
        self.run(_AXE)
        found = self.driver.execute_async_script(
            "const done = arguments[0]; axe.run(document).then(all => done(all.violations), error => done([{id: String(error), "
            "impact: 'critical', nodes: []}]))"
        )
        return [
            f"{each['id']}: {node['target']} {node.get('failureSummary', '')}"
            for each in found
            if each["impact"] in ("serious", "critical")
            for node in each["nodes"] or [{"target": "page"}]
        ]

    def complaints(self) -> list[str]:
        """Return what the browser has written into its console since the last call: errors, and what a policy forbade."""
        return [line["message"] for line in self.driver.get_log("browser") if line["level"] in ("SEVERE", "WARNING")]

    def picture(self, path: Path) -> None:
        """Write the page as a PNG, if AVIZOR_SCREENSHOTS names a folder for such."""
        if folder := os.environ.get("AVIZOR_SCREENSHOTS"):
            self.driver.save_screenshot(str(Path(folder) / path))


@contextmanager
def browser() -> Iterator[Browser]:
    """Start a browser; skip the test where there is none."""
    if not (_CHROMIUM and _DRIVER):
        pytest.skip(
            "no chromium and chromedriver here (Debian: chromium-driver); nothing is proven about the page in a browser"
        )
    options = webdriver.ChromeOptions()
    options.binary_location = _CHROMIUM
    for each in _OPTIONS:
        options.add_argument(each)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, Service(_DRIVER))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
