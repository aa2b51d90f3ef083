"""The console as a person has it: a real browser, by mouse, by keyboard, wide and narrow.

The fixture `visitor` fails a test whose browser complained: of a script's error, of what the policy
of the page forbids, of anything asked from another host.
"""

from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect

from mailworkers.adapters import db
from mailworkers.core.states import Status
from tests.console.browsing import Scheme, Visitor
from tests.console.pictures import paths, settle
from tests.console.scenes import (
    HOSTILE,
    be_alive,
    be_busy,
    fail_attempts,
    put_dead_letters,
    put_malformed,
    put_message,
    tell_the_story,
)
from tests.deliveries import put, status
from tests.eventually import eventually
from tests.web.conftest import MakeToken, Row, RunningApi

pytestmark = pytest.mark.slow

Connection = psycopg.Connection[Row]
WHY = "they asked for it"


@pytest.fixture
def story(conn: db.Connection) -> dict[str, UUID]:
    """Return what happened on an ordinary bad day."""
    return tell_the_story(conn)


@pytest.mark.parametrize(
    ("is_narrow", "scheme"), [(False, "dark"), (True, "light")], ids=["wide-dark", "narrow-light"]
)
def test_every_page_is_accessible_and_fits(
    database: str,
    story: dict[str, UUID],
    running: RunningApi,
    browser: Browser,
    tmp_path: Path,
    is_narrow: bool,
    scheme: Scheme,
) -> None:
    """WCAG 2.2 AA by axe-core, contrast included; nothing is wider than the window.

    The pictures stay in the test's folder, to be looked at.
    """
    window = Visitor(browser, running.url, is_narrow=is_narrow, scheme=scheme)
    found = {}
    for name, path in paths(story).items():
        window.see(path)
        settle(window)
        window.picture(tmp_path / f"{name}.png")
        wide = window.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        result = Axe().run(window.page, options=_RULES)
        if result.violations_count or wide > 0:
            found[name] = (wide, result.generate_report())
    window.close()

    assert found == {}
    expected = "Failed to load resource: the server responded with a status of 404 (Not Found)"
    assert [told for told in window.complaints if told != expected] == []
    assert window.foreign == []


# The frames hold what strangers wrote: their contrast is not ours.
_RULES = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    "iframes": False,
}


def test_a_mail_is_found_by_its_recipient_and_says_why_it_is_late(
    visitor: Visitor, conn: Connection
) -> None:
    """From the key `/` to the reason, without the mouse."""
    fail_attempts(conn, put_message(conn, to="grace@example.org"), 3)
    page = visitor.see("/")

    page.keyboard.press("/")
    page.keyboard.type("Grace@example.org")
    page.keyboard.press("Enter")
    page.wait_for_url("**/deliveries?recipient=*")
    page.keyboard.press("j")
    page.keyboard.press("Enter")

    expect(
        page.get_by_role("heading", name="Attempt 3 of at most 9 did not succeed")
    ).to_be_visible()
    expect(page.get_by_text("452 4.2.2 mailbox is over quota").first).to_be_visible()
    expect(page.frame_locator("iframe").get_by_text("We have received your order")).to_be_visible()


def test_the_keyboard_reaches_the_content_first(visitor: Visitor) -> None:
    """A link at the top skips what is the same on every page; the focus is seen."""
    page = visitor.see("/pauses")

    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")

    expect(page.get_by_label("Lane")).to_be_focused()
    ring = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert ring == "solid"


def test_filters_change_the_list_without_loading_the_page_anew(
    visitor: Visitor, conn: Connection
) -> None:
    """And the address with it, so that it can be sent to somebody."""
    put(conn, Status.SENT)
    late = put(conn, Status.DEFERRED)
    page = visitor.see("/deliveries")
    page.evaluate("window.isTheSame = true")
    expect(page.locator("[data-row]")).to_have_count(2)

    page.get_by_label("Status").select_option("deferred")

    expect(page.locator("[data-row]")).to_have_count(1)
    expect(page.locator("[data-row]")).to_have_attribute("href", f"/console/deliveries/{late}")
    assert "status=deferred" in page.url
    assert page.evaluate("window.isTheSame")
    page.go_back()
    expect(page.locator("[data-row]")).to_have_count(2)


def test_bulk_is_paused_and_resumed_by_hand(visitor: Visitor, conn: Connection) -> None:
    """The overview says so in between."""
    be_alive(conn)
    page = visitor.see("/pauses")
    page.get_by_label("Lane").select_option("bulk")
    page.get_by_label("Until").select_option("for an hour")
    page.get_by_label("Reason").fill("the relay is slow")
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("status")).to_contain_text("Paused: bulk.")
    visitor.see("/")
    expect(page.locator("#live")).to_contain_text("Lane bulk is paused", timeout=20_000)

    visitor.see("/pauses")
    page.get_by_label("Reason").first.fill("it is fast again")
    page.get_by_role("button", name="Resume").click()

    expect(page.get_by_role("status")).to_contain_text("Resumed.")
    expect(page.get_by_text("Nothing is paused")).to_be_visible()


def test_an_address_is_suppressed_by_hand(visitor: Visitor) -> None:
    """And let go again."""
    page = visitor.see("/suppressions")
    page.get_by_label("Address", exact=True).fill("Bob@Example.COM")
    page.get_by_label("Reason").fill(WHY)
    page.get_by_role("button", name="Suppress").click()
    expect(page.get_by_role("cell", name="bob@example.com", exact=True)).to_be_visible()

    page.get_by_text("Remove…").click()
    page.get_by_label("Reason").last.fill("they asked again")
    page.get_by_role("button", name="Send it mail again").click()

    expect(page.get_by_text("Nobody is suppressed")).to_be_visible()


def test_a_delivery_is_cancelled_by_hand(visitor: Visitor, conn: Connection) -> None:
    """A reason is asked for before anything is sent."""
    late = put(conn, Status.DEFERRED)
    page = visitor.see(f"/deliveries/{late}")
    page.get_by_text("Cancel…").click()
    page.get_by_role("button", name="Cancel this delivery").click()
    assert status(conn, late) == "deferred"

    page.get_by_label("Reason").fill(WHY)
    page.get_by_role("button", name="Cancel this delivery").click()

    expect(page.get_by_role("status")).to_contain_text("Cancelled. It will not be sent.")
    assert status(conn, late) == "cancelled"


def test_a_hundred_dead_letters_are_counted_and_sent_again_at_ten_a_second(
    visitor: Visitor, conn: Connection
) -> None:
    """Count, order, watch, stop."""
    put_dead_letters(conn, 100)
    page = visitor.see("/dead-letters")

    page.get_by_role("button", name="Count first").click()
    expect(page.locator("#plan")).to_contain_text(
        "100 of 100 dead letters would be sent again, within 9.9 s"
    )
    page.get_by_label("Reason").fill("the relay is well again")
    page.get_by_role("button", name="Send again").click()
    page.wait_for_url("**/replays/*")
    expect(page.locator("#state")).to_contain_text(
        "0 of 100 are on their way or done, at 10 a second"
    )
    page.get_by_text("Stop…").click()
    page.get_by_label("Reason").fill("not yet")
    page.get_by_role("button", name="Stop this replay").click()

    expect(page.get_by_role("status").first).to_contain_text("Stopped.")


def test_all_rows_are_marked_with_one_click(visitor: Visitor, conn: Connection) -> None:
    """And resolved together."""
    put_dead_letters(conn, 3)
    page = visitor.see("/dead-letters")

    page.get_by_label("Mark all on this page").check()
    page.get_by_label("Reason").fill("told by phone")
    page.get_by_role("button", name="Resolve those marked").click()

    expect(page.get_by_role("status")).to_contain_text("3 dead letters resolved.")


def test_a_template_is_previewed_in_every_locale_while_it_is_written(visitor: Visitor) -> None:
    """Four frames; each follows the variables; one locale alone when chosen."""
    page = visitor.see("/templates/welcome")
    expect(page.locator("#preview iframe")).to_have_count(4)

    page.get_by_text("Variables", exact=True).click()
    page.get_by_label("Variables, as JSON").fill(
        '{"name": "Grace Hopper", "confirm_url": "https://example.com/c"}'
    )

    for number in range(4):
        frame = page.frame_locator("#preview iframe").nth(number)
        expect(frame.get_by_text("Grace Hopper").first).to_be_visible()
    page.get_by_role("radio", name="ja").check()
    expect(page.locator("#preview iframe")).to_have_count(1)
    page.get_by_label("Variables, as JSON").fill("{")
    expect(page.locator("#preview")).to_contain_text("are not a JSON object")


def test_the_overview_follows_what_happens_and_keeps_its_shape(
    visitor: Visitor, conn: Connection
) -> None:
    """New numbers without a new page, and nothing moves under the reader's eyes."""
    be_alive(conn)
    be_busy(conn, 300)
    page = visitor.see("/")
    shape = "[...document.querySelectorAll('.chart')].map(c => c.getBoundingClientRect().height)"
    before = page.evaluate(shape)
    put_dead_letters(conn, 7)

    expect(page.locator(".figures")).to_contain_text("7", timeout=20_000)
    assert page.evaluate(shape) == before


def test_the_relay_that_is_down_is_seen_at_once(visitor: Visitor, conn: Connection) -> None:
    """In red, first of all."""
    be_alive(conn, relay_fails="connect: connection refused")
    page = visitor.see("/")

    expect(page.locator(".notice").nth(1)).to_contain_text("The relay is down", timeout=20_000)
    expect(page.locator(".notice.bad").last).to_contain_text("connection refused")


def test_what_strangers_write_does_nothing(visitor: Visitor, conn: Connection) -> None:
    """No script of theirs runs, on no page and in no frame; nothing is loaded for them."""
    html = f'{HOSTILE}<form action="/console/logout" method="post"><button>b</button></form>'
    html += '<img src="http://192.0.2.1/pixel"><a href="javascript:alert(3)">x</a>'
    hostile = put_message(conn, subject=HOSTILE, html=html, text=HOSTILE)
    fail_attempts(conn, hostile, 1, said=HOSTILE)
    conn.execute("UPDATE deliveries SET failure = %s", [HOSTILE])
    put_malformed(conn, {"source": HOSTILE, HOSTILE: HOSTILE}, detail=HOSTILE)
    be_alive(conn, relay_fails=HOSTILE)

    page = visitor.see(f"/deliveries/{hostile}")
    expect(page.frame_locator("iframe").get_by_role("button", name="b")).to_be_visible()
    for path in ("/", "/deliveries", "/malformed", "/roles"):
        visitor.see(path)
        expect(page.locator("h1")).to_be_visible()

    # The frame's own policy forbade all of it, and said so.
    told = [text for text in visitor.complaints if "alert" not in text.lower() or "Refused" in text]
    forbidden = [t for t in told if "Content Security Policy" in t or "sandboxed" in t]
    assert len(forbidden) == len(visitor.complaints) > 0
    visitor.complaints.clear()


def test_a_person_logs_in_and_out(
    own_api: RunningApi, make_token: MakeToken, browser: Browser
) -> None:
    """With tokens; a page that is open when the session ends leads to the login."""
    make_token("reader", ["read"])
    window = Visitor(browser, own_api.url)
    page = window.see("/audit")
    page.get_by_label("API token").fill("token-of-reader")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="Audit log")).to_be_visible()
    assert page.evaluate("document.cookie") == ""
    window.see("/")
    other = page.context.new_page()
    other.goto(f"{own_api.url}/console/pauses")
    other.get_by_role("button", name="Log out").click()
    expect(other.get_by_label("API token")).to_be_visible()

    page.wait_for_url("**/login")
    window.close()
    expected = "Failed to load resource: the server responded with a status of 401 (Unauthorized)"
    assert [told for told in window.complaints if told != expected] == []


def test_a_console_that_is_away_is_said_to_be(
    own_api: RunningApi, browser: Browser, conn: Connection
) -> None:
    """What stays on the screen is old, and the page says so."""
    be_alive(conn)
    window = Visitor(browser, own_api.url)
    page = window.see("/roles")

    page.context.set_offline(True)

    expect(page.get_by_role("alert")).to_contain_text("does not answer", timeout=20_000)
    page.context.set_offline(False)
    eventually(lambda: page.get_by_role("alert").count() == 0 or _is_quiet(page), within=20)
    window.close()


def _is_quiet(page: object) -> bool:
    hidden: bool = page.locator("#trouble").is_hidden()  # type: ignore[attr-defined]
    return hidden
