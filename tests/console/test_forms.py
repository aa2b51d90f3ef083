"""What forms of the console change, and whom they refuse."""

from datetime import UTC, datetime, timedelta

import httpx
import psycopg
import pytest

from mailworkers.core.states import Lane, Status
from tests.console.conftest import PageClient, text_of, visitor_of
from tests.console.scenes import put_dead_letters, put_login_code, put_message
from tests.deliveries import put, status
from tests.web.conftest import MakeToken, Row, RunningApi

Connection = psycopg.Connection[Row]
WHY = "they asked for it"


def trail(conn: Connection) -> list[Row]:
    """Return who did what to what and why, oldest first."""
    return conn.execute(
        "SELECT actor, action, subject, reason FROM operator_actions ORDER BY action_id"
    ).fetchall()


def test_a_delivery_is_cancelled_with_a_reason(pages: PageClient, conn: Connection) -> None:
    """The page says so, the trail has it, a second time is told to be over."""
    late = put(conn, Status.DEFERRED)
    page = f"/deliveries/{late}"

    said = text_of(pages.submit(page, f"{page}/cancel", reason=WHY))

    assert "Cancelled. It will not be sent." in said
    assert status(conn, late) == "cancelled"
    assert trail(conn) == [("local", "cancel", f"delivery {late}", WHY)]
    assert "Cancelled. It will" not in text_of(pages.get(page))  # told once
    sent = put(conn, Status.SENT)
    again = pages.submit("/pauses", f"/deliveries/{sent}/cancel", reason=WHY)
    assert "it is sent: there is nothing left to withdraw" in text_of(again)


def test_a_delivery_that_a_sender_has_is_cancelled_as_far_as_possible(
    pages: PageClient, conn: Connection
) -> None:
    """Nobody can call back what is on its way."""
    sending = put(conn, Status.SENDING)
    page = f"/deliveries/{sending}"

    said = text_of(pages.submit(page, f"{page}/cancel", reason=WHY))

    assert "A sender has it in hand" in said
    assert "cancel asked for" in said


def test_a_dead_letter_is_requeued(pages: PageClient, conn: Connection) -> None:
    """Past its time it needs a new one: the form has it."""
    (dead,) = put_dead_letters(conn, 1)
    conn.execute("UPDATE deliveries SET expires_at = clock_timestamp() - interval '1 h'")
    page = f"/deliveries/{dead}"

    refused = pages.submit(page, f"{page}/requeue", reason=WHY)
    done = pages.submit(page, f"{page}/requeue", reason=WHY, expires="1d")

    assert "it would expire before it is sent" in text_of(refused)
    assert "Requeued." in text_of(done)
    assert status(conn, dead) == "queued"


def test_what_was_sent_is_sent_anew(pages: PageClient, conn: Connection) -> None:
    """As a delivery of its own, whose page leads back; not while it lives, not auth mail."""
    sent = put_message(conn, subject="Receipt 7")
    page = f"/deliveries/{sent}"
    early = pages.submit(page, f"{page}/resend", reason=WHY)
    conn.execute(
        "UPDATE deliveries SET status = 'sent', ready_at = NULL, finished_at = clock_timestamp()"
    )

    done = pages.submit(page, f"{page}/resend", reason=WHY)

    assert "it is queued" in text_of(early)
    assert "Accepted anew: this is the new delivery." in text_of(done)
    assert done.url.path != f"/console{page}"
    assert f'href="/console{page}"' in done.text
    assert "Resend…" not in text_of(pages.get(f"/deliveries/{put_login_code(conn)}"))


def test_what_is_wrong_in_a_form_is_told_where_it_was_filled_in(
    pages: PageClient, conn: Connection
) -> None:
    """No reason, a reason of two lines, a span that is none: nothing is done."""
    late = put(conn, Status.DEFERRED)
    page = f"/deliveries/{late}"

    for fields in ({}, {"reason": "two\nlines"}, {"reason": "x" * 501}):
        assert "reason" in text_of(pages.submit(page, f"{page}/cancel", **fields))
    wrong = {"address": "no address", "reason": WHY, "scope": "*"}
    said = text_of(pages.submit("/suppressions", "/suppressions", **wrong))

    assert "address" in said
    spans = {"address": "ada@example.com", "reason": WHY, "expires": "7y"}
    assert "expires" in text_of(pages.submit("/suppressions", "/suppressions", **spans))
    assert trail(conn) == []


def test_an_address_is_suppressed_looked_up_and_let_go(pages: PageClient, conn: Connection) -> None:
    """The same list as the API's, for a time where one is given."""
    fields = {"address": "Bob@Example.COM", "scope": "*", "reason": WHY, "expires": "30d"}
    said = text_of(pages.submit("/suppressions", "/suppressions", **fields))
    ends = conn.execute("SELECT expires_at FROM suppressed_addresses").fetchone()

    assert "bob@example.com gets no more mail." in said
    assert ends is not None
    assert timedelta(days=29) < ends[0] - datetime.now(UTC) < timedelta(days=31)
    assert WHY in text_of(pages.get("/suppressions?address=BOB@example.com"))
    assert "it gets mail" in text_of(pages.get("/suppressions?address=ada@example.com"))

    gone = {"address": "bob@example.com", "scope": "*", "reason": "they asked again"}
    said = text_of(pages.submit("/suppressions", "/suppressions/remove", **gone))

    assert "bob@example.com gets mail again." in said
    assert "Nobody is suppressed" in said
    again = pages.submit("/suppressions", "/suppressions/remove", **gone)
    assert "this address is not on the list" in text_of(again)
    assert [row[1] for row in trail(conn)] == ["suppress", "unsuppress"]


def test_bulk_is_paused_and_resumed(pages: PageClient, conn: Connection) -> None:
    """Both with a reason; resuming what is over says so."""
    fields = {"lane": "bulk", "source": "", "reason": "the relay is slow", "ends": "1h"}
    said = text_of(pages.submit("/pauses", "/pauses", **fields))
    row = conn.execute("SELECT pause_id, lane, source, ends_at FROM pauses").fetchone()

    assert "Paused: bulk." in said
    assert "Lane bulk paused" in said
    assert row is not None
    assert row[1:3] == (int(Lane.BULK), None)
    assert row[3] is not None

    said = text_of(pages.submit("/pauses", f"/pauses/{row[0]}/end", reason="it is fast again"))

    assert "Resumed." in said
    assert "Nothing is paused" in said
    late = pages.submit("/pauses", f"/pauses/{row[0]}/end", reason="again")
    assert "there is no such pause" in text_of(late)
    assert "resume" in text_of(pages.get("/audit"))


def test_the_audit_log_is_told_of_one_subject(pages: PageClient, conn: Connection) -> None:
    """A delivery's page leads there."""
    one, other = put(conn, Status.DEFERRED), put(conn, Status.DEFERRED)
    for late in (one, other):
        pages.submit(f"/deliveries/{late}", f"/deliveries/{late}/cancel", reason=WHY)

    said = text_of(pages.get("/audit", params={"subject": f"delivery {one}"}))

    assert str(one) in said
    assert str(other) not in said
    assert "status: deferred" in said
    assert "status: cancelled" in said


# Who may not.


def test_a_form_without_its_token_changes_nothing(
    pages: PageClient, running: RunningApi, conn: Connection
) -> None:
    """Neither without one, nor with one that another browser was given."""
    late = put(conn, Status.DEFERRED)
    page = f"/deliveries/{late}"
    with visitor_of(running) as other:
        stolen = other.get(page).text.partition('name="csrf" value="')[2][:64]
    pages.get(page)

    for fields in ({"reason": WHY}, {"reason": WHY, "csrf": stolen}, {"reason": WHY, "csrf": "é"}):
        answer = pages.post(f"{page}/cancel", data=fields)
        assert answer.status_code == 403
        assert "reload the page" in text_of(answer)
    assert status(conn, late) == "deferred"


def test_other_sites_and_other_kinds_of_bodies_are_refused(
    pages: PageClient, conn: Connection
) -> None:
    """Before the body is looked at; also in the name of another host (DNS rebinding)."""
    late = put(conn, Status.DEFERRED)
    action = f"/deliveries/{late}/cancel"
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    refused: list[dict[str, str]] = [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Host": "evil.example"},
    ]

    for headers in refused:
        answer = pages.post(action, content="reason=x", headers={**form, **headers})
        assert answer.status_code == 403, headers
    for kind in ("text/plain", "application/json", "multipart/form-data; boundary=x"):
        answer = pages.post(action, content="reason=x", headers={"Content-Type": kind})
        assert answer.status_code == 415
    assert pages.get("/", headers={"Host": "evil.example"}).status_code == 403
    assert pages.post(action, content="x" * 20_000, headers=form).status_code == 413
    assert status(conn, late) == "deferred"


def test_a_link_on_another_page_may_lead_here_but_no_script_may_read(pages: PageClient) -> None:
    """A person who follows a link sees the page; a page that fetches it gets nothing."""
    visit = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}

    assert pages.get("/", headers={**visit, "Sec-Fetch-Dest": "document"}).status_code == 200
    assert pages.get("/", headers={**visit, "Sec-Fetch-Dest": "iframe"}).status_code == 403
    fetch = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}
    assert pages.get("/", headers=fetch).status_code == 403


@pytest.fixture
def locked(own_api: RunningApi, make_token: MakeToken) -> RunningApi:
    """Return an API of the test's own that has tokens."""
    make_token("reader", ["read"])
    make_token("operator", ["read", "operate"])
    make_token("boss", ["read", "operate", "admin"])
    make_token("shop", ["intake"])
    return own_api


def log_in(client: PageClient, name: str, to: str = "") -> httpx.Response:
    """Log in with the token of *name*."""
    return client.submit("/login", "/login", token=f"token-of-{name}", next=to)


def test_with_tokens_a_person_logs_in_and_comes_back_to_where_they_were(
    locked: RunningApi, conn: Connection
) -> None:
    """The cookie is for the console alone, out of reach of scripts and of other sites."""
    with visitor_of(locked) as pages:
        asked = pages.get("/deliveries?status=sent")
        assert "Log in" in text_of(asked)
        assert "/console/deliveries?status=sent" in asked.text.replace("%3D", "=")

        done = log_in(pages, "reader", "/console/deliveries?status=sent")

        assert (done.url.path, done.url.query) == ("/console/deliveries", b"status=sent")
        assert "reader" in done.text
        cookie = done.history[0].headers["set-cookie"]
        assert "; Path=/console; Max-Age=43200; HttpOnly; SameSite=Strict" in cookie
        assert trail(conn) == [("reader", "log_in", "token reader", "")]
        stored = conn.execute("SELECT session_hash FROM console_sessions").fetchone()
        assert stored is not None
        assert stored[0].hex() not in cookie


def test_a_wrong_token_is_told_and_nothing_else(locked: RunningApi) -> None:
    """No page, no session; nobody is led elsewhere by the address."""
    with visitor_of(locked) as pages:
        wrong = log_in(pages, "nobody")
        assert wrong.status_code == 401
        assert "This token is not valid" in text_of(wrong)
        for to in ("https://evil.example/", "//evil.example", "/console/\\evil", "/api/v1"):
            assert log_in(pages, "reader", to).url.path == "/console/"
        huge = pages.submit("/audit", "/logout")
        assert huge.url.path == "/console/login"
        assert log_in(pages, "x" * 600).status_code == 401


def test_scopes_are_those_of_the_api(locked: RunningApi, conn: Connection) -> None:
    """Who may only look sees no buttons, and is refused what they would do."""
    late, code = put(conn, Status.DEFERRED), put_login_code(conn)
    page = f"/deliveries/{late}"
    with visitor_of(locked) as pages:
        log_in(pages, "reader")
        assert "scope operate" in text_of(pages.get(page))
        refused = pages.submit(page, f"{page}/cancel", reason=WHY)
        assert refused.status_code == 403
        assert "This needs an API token with the scope operate" in text_of(refused)
        assert pages.get(f"/deliveries/{code}/content").status_code == 403
    with visitor_of(locked) as pages:
        log_in(pages, "shop")
        assert pages.get("/").status_code == 403
    with visitor_of(locked) as pages:
        log_in(pages, "operator")
        assert "Cancelled." in text_of(pages.submit(page, f"{page}/cancel", reason=WHY))
    assert (trail(conn)[-1][0], status(conn, late)) == ("operator", "cancelled")


def test_auth_mail_is_shown_to_an_administrator_and_recorded(
    locked: RunningApi, conn: Connection
) -> None:
    """Only when asked for: its page alone does not read it."""
    code = put_login_code(conn)
    with visitor_of(locked) as pages:
        log_in(pages, "boss")
        assert "492817" not in pages.get(f"/deliveries/{code}").text
        assert [row[1] for row in trail(conn)] == ["log_in"]

        assert "492817" in pages.get(f"/deliveries/{code}/content").text

        assert trail(conn)[-1][:3] == ("boss", "read_content", f"delivery {code}")


def test_a_session_ends_with_its_time_its_token_or_a_log_out(
    locked: RunningApi, conn: Connection
) -> None:
    """Its cookie is worth nothing then, whoever has it."""
    ends = (
        "UPDATE console_sessions SET expires_at = clock_timestamp()",
        "UPDATE api_tokens SET revoked_at = clock_timestamp() WHERE name = 'reader'",
    )
    for end in ends:
        with visitor_of(locked) as pages:
            log_in(pages, "reader")
            assert "Log in" not in text_of(pages.get("/pauses"))
            conn.execute(end.encode())
            assert "Log in" in text_of(pages.get("/pauses"))
            part = pages.get("/pauses", headers={"HX-Request": "true"})
            assert (part.status_code, part.headers["hx-redirect"]) == (401, "/console/login")
    with visitor_of(locked) as pages:
        log_in(pages, "boss")
        kept = dict(pages.cookies)
        assert pages.submit("/pauses", "/logout").url.path == "/console/login"
        pages.cookies.update(kept)
        assert "Log in" in text_of(pages.get("/pauses"))


def test_a_person_with_a_message_open_sees_it_in_the_frame(
    locked: RunningApi, conn: Connection
) -> None:
    """The frame's request carries the session as the page's does."""
    shown = put_message(conn, html="<i>hello</i>")
    with visitor_of(locked) as pages:
        assert "hello" not in pages.get(f"/deliveries/{shown}/html").text
        log_in(pages, "reader")
        assert "<i>hello</i>" in pages.get(f"/deliveries/{shown}/html").text
