"""The database connection is lost at each statement that each role makes (F-P03, F-P04).

A role does a piece of work through a proxy that strikes at one statement; the work must come out
the same every time. BEGIN and COMMIT are statements.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest
import redis

from mailworkers.adapters import db, process
from mailworkers.adapters.journal import SenderJournal
from mailworkers.adapters.store.dead_letters import DeadLetterFilter
from mailworkers.adapters.store.leases import MIME_BUDGET
from mailworkers.adapters.store.replays import cancel_replay, continue_replay, order_replay
from mailworkers.adapters.stream import GROUP
from mailworkers.core.journal import Begin
from mailworkers.embedded.servers import Servers
from mailworkers.roles.consumer import Consumer
from mailworkers.roles.retention import Retention
from mailworkers.roles.scheduler import Scheduler
from mailworkers.roles.sender import Sender
from tests.crash.commands import STREAM, put_commands
from tests.crash.stores.conftest import MakeSettings, behind
from tests.crash.stores.proxy import Proxy
from tests.crash.stores.statements import StatementStrike, Strike
from tests.crash.stores.turning import running
from tests.deliveries import accept, new_delivery, put
from tests.eventually import eventually
from tests.relay import Relay
from tests.store.situations import enter_letter

pytestmark = pytest.mark.slow

LONG_AGO = datetime.now(UTC) - timedelta(days=400)


class Bench:
    """The stores as the work finds them, reached past the proxy."""

    def __init__(
        self, servers: Servers, conn: db.Connection, client: Any, relay: Relay, state_dir: Path
    ) -> None:
        self.servers = servers
        self.conn = conn
        self.redis = client
        self.relay = relay
        self.state_dir = state_dir

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return the rows of *query*, in order."""
        return sorted(self.conn.execute(query.encode()).fetchall())

    def terminate(self, pid: int) -> None:
        """End one backend as an operator does, and wait until it is gone."""
        self.conn.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])


class Work(msgspec.Struct, frozen=True):
    """What a role is given to do, what stands in the stores when it is done, what it asks."""

    build: Callable[[process.Context], process.Role]
    prepare: Callable[[Bench], None]
    look: Callable[[Bench], object]
    expected: object
    statements: frozenset[str]


def _put_entries(bench: Bench) -> None:
    """One good command, one twice, one with a taken key, one with a taken id, one broken."""
    put_commands(bench.servers, 1)
    fields = bench.redis.xrange(STREAM)[0][1]
    bench.redis.xadd(STREAM, fields)
    bench.redis.xadd(STREAM, {**fields, b"expires_at_ms": b"4000000000000"})
    bench.redis.xadd(STREAM, {**fields, b"idempotency_key": b"another"})
    bench.redis.xadd(STREAM, {b"source": b"api"})
    bench.redis.xgroup_create(STREAM, GROUP, id="0")


def _look_at_intake(bench: Bench) -> object:
    pending = bench.redis.xpending(STREAM, GROUP)["pending"]
    lag = bench.redis.xinfo_groups(STREAM)[0]["lag"]
    return (
        bench.rows("SELECT status, count(*) FROM deliveries GROUP BY 1"),
        bench.rows("SELECT failure_code, count(*) FROM malformed_commands GROUP BY 1"),
        bench.rows(
            "SELECT count(*) FROM delivery_recipients JOIN delivery_payloads USING (delivery_id)"
        ),
        (pending, lag),
    )


CONSUMER = Work(
    Consumer,
    _put_entries,
    _look_at_intake,
    (
        [("queued", 1)],
        [("duplicate_delivery_id", 1), ("idempotency_conflict", 1), ("missing_field", 1)],
        [(1,)],
        (0, 0),
    ),
    frozenset({"find_suppressed", "accept", "store_recipients", "store_payloads"})
    | {"find_reservations", "taken_delivery_ids", "store_malformed", "BEGIN", "COMMIT"},
)


def _put_deliveries(bench: Bench) -> None:
    """Three for the relay, the first too large for a lease's answer; two that a dead sender had."""
    large = b"Subject: s\r\n\r\n" + (b"y" * 70 + b"\r\n") * (MIME_BUDGET // 70)
    for name, mime in {"good": large, "bad": b"\r\nhi\r\n", "later": b"\r\nhi\r\n"}.items():
        accept(bench.conn, new_delivery(f"{name}@example.com", mime=mime))
    journal = SenderJournal(bench.state_dir)
    put(bench.conn, "sending", leased_by=journal.journal_id)
    token = uuid4()
    begun = put(bench.conn, "sending", leased_by=journal.journal_id, lease_token=token)
    journal.write(Begin(begun, token))
    journal.close(is_done=False)
    bench.relay.says(RCPT=_by_name)


def _by_name(conversation: Any) -> None:
    answers = {"good": "250 ok", "bad": "550 5.1.1 no", "later": "450 4.2.1 later"}
    conversation.do(answers.get(conversation.commands[-1].split("<")[1].split("@")[0], "250 ok"))


def _look_at_sending(bench: Bench) -> object:
    return (
        bench.rows("SELECT status, attempt_no, cycle_attempt FROM deliveries"),
        bench.rows("SELECT status, outcome FROM attempts"),
        bench.rows("SELECT cause FROM dead_letters"),
        len(bench.relay.accepted),
    )


SENDER = Work(
    Sender,
    _put_deliveries,
    _look_at_sending,
    (
        [("deferred", 1, 1), ("failed", 1, 1), ("sent", 1, 1), ("sent", 1, 1), ("sent", 2, 1)],
        [
            ("abandoned", "transient_error"),
            *[("provider_accepted", "success")] * 3,
            ("provider_deferred", "transient_error"),
            ("provider_rejected", "permanent_error"),
        ],
        [("permanent",)],
        3,
    ),
    frozenset({"lease_ready", "load_mime", "settle", "leases_of", "hand_back", "leased_rows"}),
)


def _put_due(bench: Bench) -> None:
    """One due, one of a vanished sender, one past its time, a pause that ends."""
    put(bench.conn, "deferred")
    put(bench.conn, "sending")
    put(bench.conn, "queued", expires_at=LONG_AGO)
    bench.conn.execute(
        "INSERT INTO pauses (reason, created_by, ends_at) VALUES ('', '', %s)", [LONG_AGO]
    )


def _look_at_times(bench: Bench) -> object:
    return (
        bench.rows("SELECT status FROM deliveries"),
        bench.rows("SELECT status, outcome FROM attempts"),
        bench.rows("SELECT cause FROM dead_letters"),
        bench.rows("SELECT count(*) FROM pauses"),
    )


SCHEDULER = Work(
    Scheduler,
    _put_due,
    _look_at_times,
    (
        [("deferred",), ("failed",), ("queued",)],
        [("abandoned", "unknown")],
        [("expired",)],
        [(0,)],
    ),
    frozenset({"promote_due", "expired_leases", "reclaim", "expire_overdue", "end_pauses"})
    | {"hold_overdue", "next_due"},
)


def _put_replays(bench: Bench) -> None:
    """An order that was cancelled when its delivery had its time, and one that has just come."""
    _put_dead(bench, lane=1)
    cancelled = order_replay(bench.conn, DeadLetterFilter(), rate=1, actor="eve", reason="again")
    assert cancelled is not None
    continue_replay(bench.conn, limit=9)
    bench.conn.execute("UPDATE deliveries SET next_attempt_at = now() + interval '1 hour'")
    cancel_replay(bench.conn, cancelled.replay_id, actor="eve", reason="an error")
    for _ in range(2):
        _put_dead(bench, lane=2)
    bulk = DeadLetterFilter(lanes=("bulk",))
    order_replay(bench.conn, bulk, rate=0.001, actor="eve", reason="again")


def _put_dead(bench: Bench, lane: int) -> None:
    enter_letter(bench.conn, put(bench.conn, "failed", lane=lane), None)


def _look_at_replays(bench: Bench) -> object:
    return (
        bench.rows("SELECT status FROM deliveries"),
        bench.rows("SELECT closed_at IS NULL, replay_id IS NULL FROM dead_letters"),
        bench.rows("SELECT status, requeued, returned, skipped FROM replays"),
    )


REPLAYS = Work(
    Scheduler,
    _put_replays,
    _look_at_replays,
    (
        [("failed",), ("queued",), ("scheduled",)],
        [(False, False), (False, False), (True, True)],
        [("cancelled", 1, 1, 0), ("requeued", 2, 0, 0)],
    ),
    frozenset({"hold_replay", "walk_dead_letters", "hold_free_deliveries", "replay"})
    | {"hold_replayed", "undo_replay", "advance_replay", "BEGIN", "COMMIT"},
)


def _put_old(bench: Bench) -> None:
    """One to be deleted, one of which only the bytes go, one that stays; old odds and ends."""
    put(bench.conn, "sent", finished_at=LONG_AGO)
    put(bench.conn, "sent", finished_at=datetime.now(UTC) - timedelta(days=8))
    put(bench.conn, "sent", finished_at=datetime.now(UTC))
    bench.conn.execute("UPDATE idempotency_reservations SET created_at = %s", [LONG_AGO])
    bench.conn.execute(
        "INSERT INTO malformed_commands (stream, stream_entry_id, failure_code, detail, raw,"
        " raw_size, is_complete, received_at) VALUES ('s', '1-1', 'poison', '', '', 0, true, %s)",
        [LONG_AGO],
    )


def _look_at_remains(bench: Bench) -> object:
    tables = ("deliveries", "delivery_payloads", "idempotency_reservations", "malformed_commands")
    return [bench.rows(f"SELECT count(*) FROM {table}") for table in tables]  # noqa: S608


RETENTION = Work(
    Retention,
    _put_old,
    _look_at_remains,
    [[(2,)], [(1,)], [(0,)], [(0,)]],
    frozenset(
        {
            "find_walk",
            "finished_payloads",
            "save_walk",
            "delete_payloads",
            "delete_deliveries",
            "delete_malformed",
        }
    )
    | {"delete_reservations"},
)

WORKS = {
    "consumer": CONSUMER,
    "sender": SENDER,
    "scheduler": SCHEDULER,
    "replays": REPLAYS,
    "retention": RETENTION,
}
ALWAYS = frozenset({"schema_version", "database_time", "beat", "leave"})


@pytest.fixture
def bench(
    servers: Servers,
    conn: db.Connection,
    redis_client: redis.Redis,
    relay: Relay,
    tmp_path: Path,
) -> Bench:
    """Return the stores, the relay and the state directory."""
    return Bench(servers, conn, redis_client, relay, tmp_path)


CASES = [
    (role, statement)
    for role, work in WORKS.items()
    for statement in sorted(work.statements | ALWAYS)
]


@pytest.mark.parametrize("strike", Strike)
@pytest.mark.parametrize(("role", "statement"), CASES, ids=["-".join(case) for case in CASES])
def test_a_connection_lost_at_a_statement_changes_nothing_about_the_outcome(
    bench: Bench,
    make_settings: MakeSettings,
    postgres_proxy: Proxy,
    role: str,
    statement: str,
    strike: Strike,
) -> None:
    """Lost, done twice or left half: nothing is, wherever the line is cut."""
    work = WORKS[role]
    work.prepare(bench)
    postgres_proxy.rule = rule = StatementStrike(statement, strike, bench.terminate)
    settings = make_settings(
        MAIL_POSTGRES_PRIMARY_DSN=behind(postgres_proxy), MAIL_POLL_INTERVAL="20ms"
    )

    with running(work.build, settings) as turn:
        eventually(lambda: turn() or work.look(bench) == work.expected, within=30)
        turn()
        turn()

    assert rule.has_struck, rule.seen
    assert work.look(bench) == work.expected
