"""Accepting: one delivery a key, whatever comes at once, again, or half way."""

import threading
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import psycopg

from mailworkers.adapters import db, store
from mailworkers.adapters.store import Verdict
from mailworkers.core.states import Failure, Status
from tests.deliveries import accept, new_delivery, recipient_statuses, row, status


def _count(conn: db.Connection, table: str) -> int:
    found = conn.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608
    assert found is not None
    return int(found[0])


def test_an_accepted_delivery_is_stored_whole(conn: db.Connection) -> None:
    """Row, recipients, bytes and reservation stand together after the commit."""
    new = new_delivery("a@example.com", "B@example.com", mime=b"\x00\xffbytes")

    (acceptance,) = accept(conn, new)

    assert acceptance.verdict is Verdict.ACCEPTED
    assert acceptance.status == "queued"
    stored = row(conn, new.delivery_id)
    assert (stored["status"], stored["mime_size"]) == ("queued", 7)
    assert stored["ready_at"] is not None
    assert recipient_statuses(conn, new.delivery_id) == ["open", "open"]
    assert store.load_mime(conn, new.delivery_id) == b"\x00\xffbytes"


def test_the_same_key_with_the_same_content_answers_the_first_delivery(
    conn: db.Connection,
) -> None:
    """A replay answers the first delivery_id, even when it names another one."""
    first = new_delivery()
    again = new_delivery(idempotency_key=first.idempotency_key, fingerprint=first.fingerprint)
    accept(conn, first)

    (acceptance,) = accept(conn, again)

    assert acceptance == store.Acceptance(Verdict.REPLAYED, first.delivery_id)
    assert _count(conn, "deliveries") == 1


def test_the_same_key_with_other_content_is_a_conflict(conn: db.Connection) -> None:
    """The first delivery is untouched; the answer names it."""
    first = new_delivery()
    accept(conn, first)

    (acceptance,) = accept(conn, new_delivery(idempotency_key=first.idempotency_key))

    assert acceptance == store.Acceptance(Verdict.CONFLICT, first.delivery_id)
    assert _count(conn, "deliveries") == 1


def test_the_same_key_of_another_source_is_another_key(conn: db.Connection) -> None:
    """Keys belong to their source."""
    first = new_delivery()
    other = new_delivery(idempotency_key=first.idempotency_key, source="api")

    verdicts = [a.verdict for a in accept(conn, first, other)]

    assert verdicts == [Verdict.ACCEPTED, Verdict.ACCEPTED]


def test_a_taken_delivery_id_under_a_free_key_is_a_duplicate(conn: db.Connection) -> None:
    """The key stays free: the producer may use it with another id."""
    first = new_delivery()
    clash = new_delivery(delivery_id=first.delivery_id)
    accept(conn, first)

    (acceptance,) = accept(conn, clash)

    assert acceptance.verdict is Verdict.DUPLICATE_ID
    (retried,) = accept(
        conn, new_delivery(idempotency_key=clash.idempotency_key, fingerprint=clash.fingerprint)
    )
    assert retried.verdict is Verdict.ACCEPTED


def test_the_key_is_judged_before_the_delivery_id(conn: db.Connection) -> None:
    """A redelivered entry has both taken: it is a replay, not a duplicate."""
    first = new_delivery()
    accept(conn, first)

    (acceptance,) = accept(conn, first)

    assert acceptance.verdict is Verdict.REPLAYED


def test_duplicates_inside_one_batch_are_judged_as_if_they_came_one_after_the_other(
    conn: db.Connection,
) -> None:
    """Same key same content, same key other content, same id other key."""
    first = new_delivery(idempotency_key="a")
    replay = new_delivery(idempotency_key="a", fingerprint=first.fingerprint)
    conflict = new_delivery(idempotency_key="a")
    same_id = new_delivery(idempotency_key="b", delivery_id=first.delivery_id)
    after_same_id = new_delivery(idempotency_key="b")

    verdicts = [a.verdict for a in accept(conn, first, replay, conflict, same_id, after_same_id)]

    assert verdicts == [
        Verdict.ACCEPTED,
        Verdict.REPLAYED,
        Verdict.CONFLICT,
        Verdict.DUPLICATE_ID,
        Verdict.ACCEPTED,
    ]


def test_a_batch_rolled_back_leaves_nothing(conn: db.Connection) -> None:
    """Before the commit nothing was accepted: the key is free again."""
    new = new_delivery()
    with conn.transaction(force_rollback=True):
        store.accept(conn, [new])

    (acceptance,) = accept(conn, new)

    assert acceptance.verdict is Verdict.ACCEPTED


def test_concurrent_duplicates_of_many_keys_give_one_delivery_a_key(
    database: str, conn: db.Connection
) -> None:
    """Eight producers send the same 50 commands at once, in different orders (I-11)."""
    news = [new_delivery() for _ in range(50)]
    answers: list[list[store.Acceptance]] = []

    def produce(turn: int) -> None:
        rotated = news[turn * 6 :] + news[: turn * 6]
        with db.connect(database) as own:
            answers.append(sorted(accept(own, *rotated), key=lambda a: str(a.delivery_id)))

    threads = [threading.Thread(target=produce, args=(turn,)) for turn in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(answers) == 8
    ids = {tuple(a.delivery_id for a in answer) for answer in answers}
    assert len(ids) == 1
    verdicts = [a.verdict for answer in answers for a in answer]
    assert verdicts.count(Verdict.ACCEPTED) == 50
    assert verdicts.count(Verdict.REPLAYED) == 350
    assert _count(conn, "deliveries") == 50


def test_concurrent_use_of_one_delivery_id_under_two_keys_accepts_one(
    database: str, conn: db.Connection
) -> None:
    """The loser meets a unique violation, is repeated, and is told that the id is taken."""
    one = new_delivery()
    two = new_delivery(delivery_id=one.delivery_id)
    with db.connect(database) as other:
        verdicts: list[Verdict] = []
        with conn.transaction():
            store.accept(conn, [one])
            thread = threading.Thread(
                target=lambda: verdicts.extend(a.verdict for a in accept(other, two))
            )
            thread.start()
            _wait_until_blocked(database, other)
        thread.join()

    assert verdicts == [Verdict.DUPLICATE_ID]


def _wait_until_blocked(database: str, waiting: psycopg.Connection[tuple[object, ...]]) -> None:
    """Wait until the server says that *waiting* waits for a lock."""
    from tests.eventually import eventually

    pid = waiting.info.backend_pid
    with db.connect(database) as third:
        eventually(
            lambda: (
                third.execute(
                    "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = %s", [pid]
                ).fetchone()
                == (True,)
            )
        )


def test_suppressed_recipients_are_dropped_at_accept(conn: db.Connection) -> None:
    """The rest is sent; scope is all mail or one source; an ended entry does not count."""
    ended = datetime.now(UTC) - timedelta(seconds=1)
    for canonical, scope, expires_at in (
        ("all@example.com", "*", None),
        ("api@example.com", "api", None),
        ("ended@example.com", "*", ended),
    ):
        conn.execute(
            "INSERT INTO suppressed_addresses (canonical, scope, reason, created_by, expires_at)"
            " VALUES (%s, %s, 'complaint', 'test', %s)",
            [canonical, scope, expires_at],
        )
    addresses = ("ALL@example.com", "api@example.com", "ended@example.com")
    by_notification, by_api = new_delivery(*addresses), new_delivery(*addresses, source="api")

    accept(conn, by_notification, by_api)

    assert recipient_statuses(conn, by_notification.delivery_id) == ["suppressed", "open", "open"]
    assert recipient_statuses(conn, by_api.delivery_id) == ["suppressed", "suppressed", "open"]
    assert status(conn, by_api.delivery_id) == "queued"


def test_a_delivery_with_no_recipient_left_ends_suppressed(conn: db.Connection) -> None:
    """Not a failure: it is final, says why, and was never attempted."""
    conn.execute(
        "INSERT INTO suppressed_addresses (canonical, reason, created_by)"
        " VALUES ('no@example.com', 'asked', 'test')"
    )
    new = new_delivery("no@example.com")

    (acceptance,) = accept(conn, new)

    assert acceptance.status == Status.SUPPRESSED
    stored = row(conn, new.delivery_id)
    assert (stored["status"], stored["failure"]) == (Status.SUPPRESSED, Failure.LISTED)
    assert stored["finished_at"] is not None


def test_a_new_source_is_added_once(conn: db.Connection) -> None:
    """The lease walks the table of sources, so every accepted source must be in it."""
    accept(conn, new_delivery(source="billing"), new_delivery(source="billing"))
    accept(conn, new_delivery(source="billing"))

    rows = conn.execute("SELECT count(*) FROM sources WHERE source = 'billing'").fetchone()
    assert rows == (1,)


def test_replays_are_found_for_commands_that_would_be_refused_now(conn: db.Connection) -> None:
    """The key is judged first: a redelivered entry whose template has changed is a replay."""
    new = new_delivery()
    accept(conn, new)
    same = store.Claim(new.source, new.idempotency_key, new.fingerprint)
    other = store.Claim(new.source, new.idempotency_key, uuid4().bytes * 2)

    found = store.find_replays(conn, [same, other])

    assert found == [store.Acceptance(Verdict.REPLAYED, new.delivery_id), None]


def test_the_first_of_a_batch_wins_whatever_its_key(conn: db.Connection) -> None:
    """Inputs are judged in their order; their keys have no rank."""
    first = new_delivery(idempotency_key="z")
    same_id = new_delivery(idempotency_key="a", delivery_id=first.delivery_id)
    conflict = new_delivery(idempotency_key="z")
    replay = new_delivery(idempotency_key="z", fingerprint=first.fingerprint)

    verdicts = [a.verdict for a in accept(conn, first, same_id, conflict, replay)]

    assert verdicts == [
        Verdict.ACCEPTED,
        Verdict.DUPLICATE_ID,
        Verdict.CONFLICT,
        Verdict.REPLAYED,
    ]
