"""Each page by HTTP: what it shows, and how it says that something is not there."""

from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from mailworkers.core.states import FINAL, Status
from mailworkers.embedded.ports import free_port
from mailworkers.embedded.servers import Servers
from tests.console.conftest import PageClient, text_of, visitor_of
from tests.console.scenes import (
    HOSTILE,
    be_alive,
    be_busy,
    fail_attempts,
    put_login_code,
    put_message,
)
from tests.deliveries import put
from tests.eventually import eventually
from tests.web.conftest import Row, RunningApi, make_settings

Connection = psycopg.Connection[Row]
NOBODY = "/deliveries/01900000-0000-7000-8000-000000000001"
LISTS = [
    "/",
    "/deliveries",
    "/dead-letters",
    "/malformed",
    "/templates",
    "/suppressions",
    "/pauses",
    "/roles",
    "/audit",
]


def test_the_console_is_found_without_its_slash(pages: PageClient) -> None:
    """Whoever types the short address gets there."""
    assert "Overview" in text_of(pages.get(str(pages.base_url).rstrip("/")))


@pytest.mark.parametrize("path", LISTS)
def test_every_page_of_an_empty_service_says_what_to_do_next(pages: PageClient, path: str) -> None:
    """No page is blank, none fails; styles and scripts are our own files, never inline."""
    answer = pages.get(path)

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert "unsafe-inline" not in policy
    assert "default-src 'none'" in policy
    for forbidden in ("<style", "style=", "onclick", "http://", "https://", "<script>"):
        assert forbidden not in answer.text.replace("http://www.w3.org/2000/svg", "")


def test_files_are_kept_by_browsers_until_they_change(pages: PageClient) -> None:
    """Their path names their content; another mark is answered, but not kept."""
    page = pages.get("/").text
    path = page.partition('rel="stylesheet" href="/console')[2].partition('"')[0]

    good, stale = pages.get(path), pages.get("/static/0123/console.css")

    assert "immutable" in good.headers["cache-control"]
    assert stale.headers["cache-control"] == "no-cache"
    assert good.content == stale.content
    assert pages.get("/static/0123/passwd").status_code == 404


def test_a_late_delivery_is_explained_in_words(pages: PageClient, conn: Connection) -> None:
    """Why, what happens next and when, what the relay said: on one page."""
    late = put_message(conn, to="grace@example.org")
    fail_attempts(conn, late, 3)

    said = text_of(pages.get(f"/deliveries/{late}"))

    assert "Attempt 3 of at most 9 did not succeed." in said
    assert "Its time has not come." in said
    assert "452 4.2.2 mailbox is over quota" in said
    assert "it becomes ready, and the next free sender takes it, in 8 min" in said


@pytest.mark.parametrize("status", list(Status))
def test_a_delivery_in_any_status_has_a_page(
    pages: PageClient, conn: Connection, status: Status
) -> None:
    """What has ended is not offered to be cancelled, what lives not to be requeued."""
    said = text_of(pages.get(f"/deliveries/{put(conn, status)}"))

    assert status.replace("_", " ") in said
    assert ("Cancel…" in said) == (status not in FINAL)
    assert ("Requeue…" in said) == (status in {Status.FAILED, Status.DEAD_LETTER, Status.UNCERTAIN})


def test_mail_is_found_by_recipient_in_any_case_and_by_id(
    pages: PageClient, conn: Connection
) -> None:
    """A search for an address lists its mail; one for an id shows that delivery."""
    mine = put_message(conn, to="grace@example.org")
    put_message(conn, to="ada@example.com")

    found = pages.get("/deliveries", params={"recipient": "Grace@EXAMPLE.org"})
    shown = pages.get("/deliveries", params={"recipient": str(mine)})

    assert "grace@example.org" in text_of(found)
    assert "ada@example.com" not in text_of(found)
    assert shown.url.path == f"/console/deliveries/{mine}"
    assert "That is no address" in text_of(pages.get("/deliveries", params={"recipient": "grace"}))
    nothing = pages.get("/deliveries", params={"recipient": "nobody@example.org"})
    assert "Nothing fits these filters" in text_of(nothing)


def test_filters_of_the_list_are_those_of_the_api(pages: PageClient, conn: Connection) -> None:
    """Groups stand for their statuses; an empty field filters nothing; a wrong one is named."""
    sent, late = put(conn, Status.SENT), put(conn, Status.DEFERRED)

    def lists(**asked: str) -> set[str]:
        text = pages.get("/deliveries", params=asked).text
        return {str(found) for found in (sent, late) if str(found) in text}

    assert lists(status="live", source="", lane="", recipient="") == {str(late)}
    assert lists(status="sent") == {str(sent)}
    assert lists(lane="normal", source="notification") == {str(sent), str(late)}
    assert lists(**{"from": "2026-01-01T00:00"}) == {str(sent), str(late)}
    assert lists(to="2026-01-01T00:00") == set()
    for wrong in ({"status": "lost"}, {"lane": "fast"}, {"from": "noon"}, {"colour": "red"}):
        answer = pages.get("/deliveries", params=wrong)
        assert answer.status_code == 400
        assert next(iter(wrong)) in text_of(answer).lower()
    assert pages.get("/deliveries", params={"cursor": "mine"}).status_code == 400


def test_the_list_is_paged_without_gap_or_repeat(pages: PageClient, conn: Connection) -> None:
    """Older pages follow by a link; the first one is always near."""
    be_busy(conn, 120)
    seen: list[str] = []
    path = "/deliveries?status=sent"
    while path:
        text = pages.get(path).text
        seen += [
            row.partition('"')[0] for row in text.split('data-row href="/console/deliveries/')[1:]
        ]
        path = (
            text.partition('rel="next"')[0].rpartition('href="/console')[2].partition('"')[0]
            if 'rel="next"' in text
            else ""
        )
        path = path.replace("&amp;", "&")

    count = conn.execute("SELECT count(*) FROM deliveries WHERE status = 'sent'").fetchone()
    assert (len(seen), len(set(seen))) == (count[0], count[0])  # type: ignore[index]


def test_what_is_not_there_is_told_with_a_way_on(pages: PageClient) -> None:
    """Unknown ids, unknown pages, unknown methods: a page each, with links."""
    for path in (NOBODY, f"{NOBODY}/content", f"{NOBODY}/html", "/nowhere", "/deliveries/x"):
        answer = pages.get(path)
        assert answer.status_code == 404, path
        assert "To the overview" in text_of(answer)
    assert pages.delete("/deliveries").status_code == 405


def test_the_overview_draws_what_happened(pages: PageClient, conn: Connection) -> None:
    """Rates, outcomes and durations of the last quarter of an hour, however few look at it."""
    be_busy(conn, 300)
    be_alive(conn)

    def whole() -> str:
        page = pages.get("/").text
        assert "All is well" in page
        assert page.count('class="area good" d="M') == 1
        assert 'd="M1 ' in page or 'd="M2 ' in page  # the past is read in portions
        return page

    page = eventually(whole, within=30)
    assert page.count("nothing in the last 15 minutes") <= 1  # nothing waits


def test_a_relay_that_is_down_is_the_first_thing_to_see(
    pages: PageClient, conn: Connection
) -> None:
    """With what the senders say of it, in the overview and at the roles."""
    be_alive(conn, relay_fails="starttls: certificate has expired")

    def down() -> bool:
        said = text_of(pages.get("/"))
        return "The relay is down No sender reaches it: starttls: certificate has" in said

    eventually(down, within=30)
    assert "relay down starttls: certificate has expired" in text_of(pages.get("/roles"))


def test_roles_that_are_missing_are_named(pages: PageClient) -> None:
    """Nobody lives here."""
    said = text_of(pages.get("/roles"))

    assert "No sender is alive" in said
    assert "No process has given a sign of life" in said


def test_auth_mail_is_not_shown_while_nobody_can_prove_to_be_an_administrator(
    pages: PageClient, conn: Connection
) -> None:
    """Neither on its page nor by its address."""
    code = put_login_code(conn)

    said = text_of(pages.get(f"/deliveries/{code}"))

    assert "Auth mail holds secrets" in said
    assert "492817" not in said
    for part in ("content", "html", "source"):
        refused = pages.get(f"/deliveries/{code}/{part}")
        assert refused.status_code == 403
        assert "492817" not in refused.text


def test_a_message_is_shown_as_it_is_sent(pages: PageClient, conn: Connection) -> None:
    """Its texts and headers on the page, its HTML in a frame that may do nothing, its source."""
    shown = put_message(conn, subject="Receipt 7", html="<b>Thank you</b>")

    page = pages.get(f"/deliveries/{shown}/content")
    frame = pages.get(f"/deliveries/{shown}/html")
    source = pages.get(f"/deliveries/{shown}/source")

    assert "Receipt 7" in text_of(page)
    assert f'<iframe sandbox src="/console/deliveries/{shown}/html"' in page.text
    assert "<b>Thank you</b>" in frame.text
    assert frame.headers["content-security-policy"].endswith("; sandbox")
    assert "script-src" not in frame.headers["content-security-policy"]
    assert source.headers["content-disposition"] == f'attachment; filename="{shown}.eml"'
    assert b"Subject: Receipt 7\r\n" in source.content


def test_content_that_retention_took_is_said_to_be_gone(
    pages: PageClient, conn: Connection
) -> None:
    """The delivery is still told of."""
    shown = put_message(conn)
    conn.execute("DELETE FROM delivery_payloads")

    assert pages.get(f"/deliveries/{shown}").status_code == 200
    gone = pages.get(f"/deliveries/{shown}/content")
    assert gone.status_code == 410
    assert "No longer here" in text_of(gone)


def test_what_strangers_write_is_only_ever_text(pages: PageClient, conn: Connection) -> None:
    """Subjects, replies, recipients, reasons, names: never markup of ours."""
    hostile = put_message(conn, subject=HOSTILE, to="ada@example.com")
    fail_attempts(conn, hostile, 1, said=HOSTILE)
    conn.execute("UPDATE delivery_recipients SET address = %s", [HOSTILE])
    conn.execute("UPDATE deliveries SET failure = %s, idempotency_key = %s", [HOSTILE, HOSTILE])
    conn.execute(
        "INSERT INTO operator_actions (actor, action, subject, before, after, reason)"
        " VALUES (%(x)s, %(x)s, %(x)s, jsonb_build_object(%(x)s::text, %(x)s::text), NULL, %(x)s)",
        {"x": HOSTILE},
    )
    conn.execute(
        "INSERT INTO pauses (reason, created_by, source) VALUES (%(x)s, %(x)s, %(x)s)",
        {"x": HOSTILE},
    )
    conn.execute(
        "INSERT INTO suppressed_addresses (canonical, scope, reason, created_by)"
        " VALUES (%(x)s, %(x)s, %(x)s, %(x)s)",
        {"x": HOSTILE},
    )
    be_alive(conn, relay_fails=HOSTILE)
    own = [f"/deliveries/{hostile}", f"/deliveries/{hostile}/content"]

    for path in [*LISTS, *own, f"/deliveries?recipient={HOSTILE}", f"/audit?subject={HOSTILE}"]:
        page = pages.get(path).text
        assert "<script>alert" not in page, path
        assert "<img src=x" not in page, path
    assert "&lt;script&gt;alert" in pages.get(f"/deliveries/{hostile}").text


def test_an_address_that_makes_no_sense_is_told_as_a_page(pages: PageClient) -> None:
    """Bytes that are no text, ids of nothing, sixty fields: clear answers, no surprise."""
    assert pages.get("/deliveries?recipient=%ff").status_code == 400
    assert pages.get(f"/deliveries/{uuid4()}").status_code == 404
    assert pages.get("/deliveries?" + "&".join("a=1" for _ in range(60))).status_code == 400


def test_while_the_database_is_away_the_console_says_so(servers: Servers, tmp_path: Path) -> None:
    """A page with a way on, at once; styles are served all the same."""
    nowhere = f"postgresql://nobody@127.0.0.1:{free_port()}/nothing"
    api = RunningApi(make_settings(servers, tmp_path), nowhere)
    with visitor_of(api) as pages:
        answer = pages.get("/")
        style = pages.get("/static/0/console.css")
    api.close()

    assert answer.status_code == 503
    assert "Not available now The database cannot be reached now" in text_of(answer).replace(
        "503 ", ""
    )
    assert style.status_code == 200
    assert api.surprises == []
