"""The console behind its real listener, a client of its pages, a browser that looks at them."""

import re
from collections.abc import Iterator, Sequence
from html import unescape

import httpx
import pytest
from playwright.sync_api import Browser

from tests.console.browsing import Visitor, chromium
from tests.web.conftest import PLAIN, RunningApi, make_token, one_api, own_api, running

# Fixtures that live beside what they make.
__all__ = ["make_token", "one_api", "own_api", "running"]

_CSRF = re.compile(r'name="csrf" value="([0-9a-f]{64})"')


class PageClient(httpx.Client):
    """A client of the console that keeps cookies and fills in forms as a browser would."""

    def submit(self, form_on: str, action: str, **fields: str | Sequence[str]) -> httpx.Response:
        """Send *fields* to *action* with the token that the page *form_on* gave."""
        found = _CSRF.search(self.get(form_on).text)
        assert found is not None, f"{form_on} has no form"
        return self.post(action, data={"csrf": found[1], **fields})


def visitor_of(api: RunningApi) -> PageClient:
    """Return a client whose paths start at the console."""
    return PageClient(base_url=f"{api.url}/console", timeout=20, follow_redirects=True, **PLAIN)


@pytest.fixture
def pages(database: str, running: RunningApi) -> Iterator[PageClient]:
    """Return a client of the console on an empty database."""
    with visitor_of(running) as client:
        yield client


def text_of(answer: httpx.Response) -> str:
    """Return the words on a page, without its marks, in one line."""
    main = answer.text.partition("<main")[2] or answer.text
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", main)))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Return a running Chromium."""
    with chromium() as found:
        yield found


@pytest.fixture
def visitor(database: str, running: RunningApi, browser: Browser) -> Iterator[Visitor]:
    """Return a window on the console, whose browser must have nothing to complain about."""
    window = Visitor(browser, running.url)
    yield window
    window.close()
    assert window.complaints == []
    assert window.foreign == []
