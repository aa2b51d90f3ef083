"""A real headless Chromium, driven by Playwright; what it complains about is kept."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, ConsoleMessage, Page, Response, sync_playwright

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or "chromium"
# Nothing that would look for other hosts.
_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WIDE = {"width": 1280, "height": 860}
NARROW = {"width": 360, "height": 740}
Scheme = Literal["light", "dark"]


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run a browser with a profile of its own."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_FLAGS)
        yield browser
        browser.close()


class Visitor:
    """One window on the console: its page, and whatever the browser complained about."""

    def __init__(
        self, browser: Browser, url: str, *, is_narrow: bool = False, scheme: Scheme = "light"
    ) -> None:
        self._size = NARROW if is_narrow else WIDE
        self._context = browser.new_context(
            base_url=url,
            viewport=self._size,  # type: ignore[arg-type]
            color_scheme=scheme,
            reduced_motion="reduce",
        )
        self._context.set_default_timeout(20_000)
        self.page: Page = self._context.new_page()
        self.complaints: list[str] = []
        self.foreign: list[str] = []
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(f"dialog {dialog.message}"))
        self.page.on("response", lambda answer: self._on_response(answer, url))

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _on_response(self, answer: Response, url: str) -> None:
        if not answer.url.startswith((url, "data:", "about:", "blob:")):
            self.foreign.append(answer.url)

    def see(self, path: str) -> Page:
        """Open */console* + *path* and return the page."""
        self.page.goto(f"/console{path}")
        return self.page

    def picture(self, path: Path, *, whole: bool = True) -> None:
        """Write what the window shows, *whole*: with what is below its edge.

        The window is made as high as its page: what is out of sight is not always painted.
        """
        if whole:
            height = self.page.evaluate("document.documentElement.scrollHeight")
            width = self.page.evaluate("window.innerWidth")
            self.page.set_viewport_size({"width": width, "height": max(height, 700)})
            self.page.wait_for_load_state("networkidle")
        self.page.screenshot(path=path, full_page=whole)
        self.page.set_viewport_size(self._size)  # type: ignore[arg-type]

    def close(self) -> None:
        """Close the window and forget its cookies."""
        self._context.close()
