"""Templates, dead letters and refused entries on the console's pages."""

import re
from html import unescape

import psycopg

from tests.console.conftest import PageClient, text_of
from tests.console.scenes import HOSTILE, entry, put_dead_letters, put_login_code, put_malformed
from tests.deliveries import status
from tests.web.conftest import Row, RunningApi

Connection = psycopg.Connection[Row]
WHY = "the relay is well again"


def test_a_template_is_shown_in_every_locale(pages: PageClient) -> None:
    """The same variables in each; the frames hold what the mail would."""
    page = pages.get("/templates/receipt")
    frames = [
        unescape(found) for found in re.findall(r'iframe sandbox src="/console([^"]+)"', page.text)
    ]

    assert [re.search("locale=([a-z]+)", frame)[1] for frame in frames] == ["ar", "de", "en", "ja"]  # type: ignore[index]
    for frame in frames:
        answer = pages.get(frame)
        assert answer.status_code == 200, answer.text
        assert "2026-004711" in answer.text
        assert answer.headers["content-security-policy"].endswith("; sandbox")


def test_a_preview_follows_what_is_written(pages: PageClient) -> None:
    """Values of the person's own; what is wrong with them is told beside, not as an error page."""
    written = '{\n  "name": "<b>Grace</b>",\n  "confirm_url": "https://example.com/c"\n}'
    good = pages.get("/templates/welcome", params={"locale": "en", "v": written})
    frame = unescape(re.findall(r'iframe sandbox src="/console([^"]+)"', good.text)[0])

    assert "&lt;b&gt;Grace" in pages.get(frame).text
    for wrong, said in (
        ("{", "Variables: are not a JSON object"),
        ("[1]", "Variables: are not a JSON object"),
        ('{"nme": "x"}', "nme"),
        ('{"name": 7}', "name"),
    ):
        answer = pages.get("/templates/welcome", params={"v": wrong})
        assert answer.status_code == 200
        assert said in text_of(answer), wrong
    assert pages.get("/templates/no-such").status_code == 404
    assert pages.get("/templates/no-such/html").status_code == 404
    assert pages.get("/templates/welcome", params={"v": "x" * 13_000}).status_code == 400


def test_the_catalog_is_listed(pages: PageClient) -> None:
    """With its locales and what each template is for."""
    said = text_of(pages.get("/templates"))

    assert "receipt The receipt for a paid order, with its items in a table. ar de en ja" in said


def test_dead_letters_are_counted_replayed_and_their_replay_stopped(
    pages: PageClient, conn: Connection
) -> None:
    """Counting changes nothing; the order has a page that counts; stopping is asked for there."""
    put_dead_letters(conn, 30, source="newsletter")
    put_dead_letters(conn, 5)
    fields = {"which": "all", "source": "newsletter", "rate": "10"}

    plan = text_of(pages.submit("/dead-letters", "/dead-letters/plan", **fields))
    before = conn.execute("SELECT count(*) FROM operator_actions").fetchone()
    done = pages.submit("/dead-letters", "/dead-letters/replay", **fields, reason=WHY)

    assert "30 of 30 dead letters would be sent again, within 2.9 s. Nothing was changed." in plan
    assert before == (0,)
    assert done.url.path.startswith("/console/replays/")
    said = text_of(done)
    assert "0 of 30 are on their way or done, at 10 a second" in said
    assert WHY in said
    assert "requeueing" in text_of(pages.get("/dead-letters"))
    page = done.url.path.removeprefix("/console")
    stopped = text_of(pages.submit(page, f"{page}/cancel", reason="not so well after all"))
    assert "Stopped." in stopped
    assert "cancelling" in stopped
    assert [row[0] for row in conn.execute("SELECT action FROM operator_actions")] == [
        "replay",
        "cancel_replay",
    ]


def test_marked_dead_letters_are_replayed_or_resolved(pages: PageClient, conn: Connection) -> None:
    """Those and no others; with a note, which the list shows."""
    put_dead_letters(conn, 4)
    numbers = [str(row[0]) for row in conn.execute("SELECT dead_letter_id FROM dead_letters")]

    plan = pages.submit("/dead-letters", "/dead-letters/plan", which="marked", pick=numbers[0])
    nothing = pages.submit("/dead-letters", "/dead-letters/plan", which="marked")
    fields = {"pick": numbers[:3], "reason": "told by phone"}
    done = text_of(pages.submit("/dead-letters", "/dead-letters/resolve", **fields))

    assert "1 of 1 dead letter would be sent again" in text_of(plan)
    assert "no dead letter is marked" in text_of(nothing)
    assert "3 dead letters resolved." in done
    assert done.count("mailbox") + done.count("451 4.3.0") == 1
    seen = text_of(pages.get("/dead-letters?resolved=true"))
    assert seen.count("local: told by phone") == 3
    for path in ("/dead-letters?cause=bad", "/dead-letters?lane=x", "/dead-letters?resolved=maybe"):
        assert pages.get(path).status_code == 400


def test_what_a_replay_cannot_do_is_told(pages: PageClient, conn: Connection) -> None:
    """No reason, a rate that is none, nothing there: nothing is ordered."""
    put_dead_letters(conn, 2)
    for fields, said in (
        ({"rate": "10"}, "reason"),
        ({"rate": "fast", "reason": WHY}, "rate"),
        ({"rate": "0", "reason": WHY}, "rate"),
        ({"source": "nobody", "reason": WHY}, "no dead letter is it"),
        ({"which": "marked", "pick": "999", "reason": WHY}, "no dead letter is it"),
    ):
        answer = text_of(pages.submit("/dead-letters", "/dead-letters/replay", **fields))
        assert said in answer, fields
    assert conn.execute("SELECT count(*) FROM replays").fetchone() == (0,)
    assert pages.get("/replays/77").status_code == 404


def test_a_refused_entry_is_looked_at_and_taken_in(
    pages: PageClient, conn: Connection, running: RunningApi
) -> None:
    """Those that are refused again are counted, with the reason; the others are deliveries."""
    good = put_malformed(conn, entry(), detail="there was no such template")
    bad = put_malformed(conn, entry("no-such"), detail=f"there is no template {HOSTILE}")

    shown = pages.get(f"/malformed/{bad}")
    fields = pages.get(f"/malformed/{bad}?content=true")
    picks = {"pick": [str(good), str(bad), "999999"][:2], "reason": "the template is there"}
    done = text_of(pages.submit("/malformed", "/malformed/replay", **picks))

    assert "<script>alert" not in shown.text
    assert "Show it" in text_of(shown)
    assert "no-such" in text_of(fields)
    assert "1 entry taken in. 1 refused again:" in done
    row = conn.execute(
        "SELECT replayed_as FROM malformed_commands WHERE malformed_id = %s", [good]
    ).fetchone()
    assert row is not None
    assert status(conn, row[0]) == "rendered"
    assert str(row[0]) in pages.get(f"/malformed/{good}").text
    assert "taken in" in text_of(pages.get("/malformed?replayed=true"))
    assert pages.get("/malformed/999999").status_code == 404
    assert pages.get("/malformed?failure_code=bad").status_code == 400
    none = pages.submit("/malformed", "/malformed/replay", reason="x")
    assert "no entry is marked" in text_of(none)


def test_what_would_become_of_refused_entries_is_told_and_nothing_is_changed(
    pages: PageClient, conn: Connection, running: RunningApi
) -> None:
    """Without a reason, since nothing is kept of it."""
    good = put_malformed(conn, entry(), detail="there was no such template")
    bad = put_malformed(conn, entry("no-such"), detail="there is no such template")
    tried = {"do": "try", "reason": ""}

    both = pages.submit("/malformed", "/malformed/replay", pick=[str(good), str(bad)], **tried)
    one = pages.submit(
        f"/malformed/{good}", "/malformed/replay", pick=str(good), **tried, **{"from": "entry"}
    )

    assert "1 entry would be taken in. 1 would be refused again:" in text_of(both)
    assert "1 entry would be taken in. Nothing was changed." in text_of(one)
    assert conn.execute("SELECT count(*) FROM deliveries").fetchone() == (0,)
    assert conn.execute("SELECT count(*) FROM operator_actions").fetchone() == (0,)
    assert "Judge it again" in text_of(pages.get(f"/malformed/{good}"))


def test_what_stood_in_an_entry_of_auth_mail_is_a_secret(
    pages: PageClient, conn: Connection
) -> None:
    """As its content is; what can be read of it otherwise is shown."""
    secret = put_malformed(conn, entry(source="authsession"), detail="x")
    put_login_code(conn)

    assert pages.get(f"/malformed/{secret}").status_code == 200
    assert pages.get(f"/malformed/{secret}?content=true").status_code == 403
