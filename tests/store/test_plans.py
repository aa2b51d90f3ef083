"""At a million deliveries every hot statement reads what it handles, and little more.

The server's own counters judge, not the clock: they hold what the statement itself read, and what
its foreign keys and functions did. A test that fails shows the plans.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID, uuid4

import pytest
from psycopg.conninfo import make_conninfo

from mailworkers.adapters import db, store
from mailworkers.adapters.store import Leased, reads, retention
from mailworkers.adapters.store.dead_letters import DeadLetterFilter, list_dead_letters
from mailworkers.adapters.store.delivery_pages import page_deliveries
from mailworkers.adapters.store.pool import Pool
from mailworkers.adapters.store.pulse import Pulse
from mailworkers.adapters.store.reads import DeliveryFilter, Position
from mailworkers.core.settlement import RecipientEnd, Settlement
from mailworkers.core.states import (
    MOVES,
    REQUEUEABLE,
    AttemptOutcome,
    AttemptStatus,
    Lane,
    RecipientStatus,
    Stage,
    Status,
)
from mailworkers.core.watermarks import Pair
from mailworkers.embedded.servers import Servers
from tests.deliveries import new_delivery
from tests.store import volume

BATCH = 50
# More than there is of anything that is due: the statement goes on until it finds no more.
ALL = 10_000
HOLDER = UUID(int=2)
# Tables of a few rows, which are read whole.
SMALL = {"sources", "pauses", "processes"}

Act = Callable[[], int]
Case = Callable[[db.Connection], Act]


class Work(NamedTuple):
    """What the server did: blocks read, rows and index entries visited, tables read whole."""

    blocks: int
    rows: int
    walked: frozenset[str]


_COUNTERS = """
SELECT sum(pg_stat_get_xact_blocks_fetched(oid))::bigint,
    sum(pg_stat_get_xact_tuples_returned(oid))::bigint,
    array_agg(relname::text || pg_stat_get_xact_numscans(oid)) FILTER (WHERE relkind = 'r')
FROM pg_class WHERE oid >= 16384 AND relkind IN ('r', 'i', 't')
"""


def _counters(conn: db.Connection) -> Work:
    """Return what this transaction did so far; a table's name carries the number of its scans."""
    ((blocks, rows, scans),) = conn.execute(_COUNTERS).fetchall()
    return Work(blocks, rows, frozenset(scans))


def _measure(conn: db.Connection, act: Act) -> tuple[int, Work]:
    """Return what *act* returned, and the work it made."""
    before = _counters(conn)
    handled = act()
    after = _counters(conn)
    walked = {name.rstrip("0123456789") for name in after.walked - before.walked}
    work = Work(after.blocks - before.blocks, after.rows - before.rows, frozenset(walked - SMALL))
    return handled, work


def _check(
    conn: db.Connection, case: Case, *, least: int, spare: int = 50, weight: int = 1
) -> None:
    """Run *case* and compare what it read with what it handled, which is *least* or more.

    *spare* rows may be read whatever is handled, and *weight* times the usual of what is.
    """
    act = case(conn)
    with _plans(conn) as plans:
        handled, work = _measure(conn, act)

    assert handled >= least
    assert not work.walked, plans
    assert work.rows <= spare + 12 * weight * handled, plans
    assert work.blocks <= 100 + 70 * weight * handled, plans


class _Plans(list[str]):
    """Plans as the server reports them, one of each; printed as they are in a failed test."""

    def __repr__(self) -> str:
        return "\n\n".join({re.sub(r"[0-9]+", "", plan): plan for plan in self}.values())


@contextmanager
def _plans(conn: db.Connection) -> Iterator[_Plans]:
    """Collect the plans of what is executed on *conn*, functions and foreign keys included."""
    plans = _Plans()
    conn.add_notice_handler(lambda notice: plans.append(notice.message_primary or ""))
    conn.execute(
        "LOAD 'auto_explain';"
        "SET auto_explain.log_level = notice; SET auto_explain.log_min_duration = 0;"
        "SET auto_explain.log_analyze = on; SET auto_explain.log_nested_statements = on",
        prepare=False,
    )
    yield plans
    conn.execute("SET auto_explain.log_min_duration = -1")


@contextmanager
def _undone(conn: db.Connection) -> Iterator[None]:
    """Undo what the block does, unseen by psycopg: a rollback makes it prepare everything anew."""
    conn.pgconn.exec_(b"BEGIN")
    try:
        yield
    finally:
        conn.pgconn.exec_(b"ROLLBACK")


def _new_database(servers: Servers, name: str) -> str:
    """Make a migrated database beside the one of the other tests; return its DSN."""
    with db.connect(servers.postgres_dsn) as conn:
        conn.execute(f"CREATE DATABASE {name}")
    dsn = make_conninfo(servers.postgres_dsn, dbname=name)
    db.migrate(dsn)
    return dsn


def _drop_database(servers: Servers, name: str) -> None:
    with db.connect(servers.postgres_dsn) as conn:
        conn.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def million(servers: Servers) -> Iterator[str]:
    """Return the DSN of a database with a million deliveries."""
    dsn = _new_database(servers, "million")
    with db.connect(dsn) as conn:
        volume.fill(conn)
    yield dsn
    _drop_database(servers, "million")


@pytest.fixture(params=["custom", "generic"])
def role_conn(million: str, request: pytest.FixtureRequest) -> Iterator[db.Connection]:
    """Return a role's connection to the million; nothing done on it stays.

    Plans are made with the values of each call, or once without them: the server may do either.
    """
    database = db.Database(million, "test")
    conn = database.conn
    conn.prepare_threshold = 0
    conn.execute(f"SET plan_cache_mode = force_{request.param}_plan")
    with conn.transaction(force_rollback=True):
        yield conn
    database.drop()


@pytest.fixture
def web_conn(million: str) -> Iterator[db.Connection]:
    """Return a connection to the million as the api has it; nothing done on it stays."""
    pool = Pool(million, "test", size=1, limit=timedelta(seconds=30))
    with pool.connection() as conn, conn.transaction(force_rollback=True):
        # Parallel workers would count their work for themselves.
        conn.execute("SET LOCAL max_parallel_workers_per_gather = 0")
        yield conn
    pool.close()


@pytest.fixture(scope="module")
def grown(servers: Servers) -> Iterator[db.Database]:
    """Return a role's connection that was at work before the first delivery came.

    Its plans were made for empty tables, whose emptiness the planner had just been told. Since then
    a nineteenth of the million has come at once.
    """
    database = db.Database(_new_database(servers, "grown"), "test")
    conn = database.conn
    conn.prepare_threshold = 0
    conn.execute("VACUUM ANALYZE")
    for case in WORK.values():
        with _undone(conn):
            case(conn)()
    with db.connect(conn.info.dsn) as other:
        volume.fill_thinly(other, step=19)
    yield database
    database.drop()
    _drop_database(servers, "grown")


# What roles do. Each case prepares what it needs and returns the act, which says how much it did.


def _lease(
    conn: db.Connection,
    *,
    limit: int = BATCH,
    since: Mapping[Pair, datetime] | None = None,
    is_stub: bool = False,
    leased_by: UUID = HOLDER,
) -> list[Leased]:
    return store.lease_ready(
        conn,
        lease_token=UUID(int=1),
        leased_by=leased_by,
        lanes=list(Lane),
        after="newsletter",
        since=since or {},
        limit=limit,
        lease=timedelta(minutes=3),
        is_stub=is_stub,
    )


def _settlement(
    delivery_id: UUID, lease_token: UUID, status: Status, end: RecipientStatus
) -> Settlement:
    later = datetime.now(UTC) + timedelta(hours=1) if status is Status.DEFERRED else None
    return Settlement(
        delivery_id=delivery_id,
        lease_token=lease_token,
        status=status,
        failure=None,
        cancelled_status=Status.CANCELLED,
        cancelled_failure=None,
        next_attempt_at=later,
        is_burnt=True,
        attempt_status=AttemptStatus.PROVIDER_ACCEPTED,
        outcome=AttemptOutcome.SUCCESS,
        stage=Stage.END_OF_DATA,
        reply_code=250,
        enhanced_code="2.0.0",
        summary="ok",
        relay="relay:25",
        recipients=(RecipientEnd(0, end, RecipientStatus.CANCELLED, 250, "2.0.0"),),
    )


def _accept(conn: db.Connection) -> Act:
    news = [new_delivery() for _ in range(BATCH)]
    return lambda: len(store.accept(conn, news))


def _accept_again(conn: db.Connection) -> Act:
    news = [new_delivery() for _ in range(BATCH)]
    store.accept(conn, news)
    return lambda: len(store.accept(conn, news))


def _find_reservations(conn: db.Connection) -> Act:
    rows = conn.execute(
        "SELECT source, idempotency_key, fingerprint FROM idempotency_reservations LIMIT %s",
        [BATCH],
    )
    claims = [store.Claim(*row) for row in rows]
    return lambda: len(store.find_replays(conn, claims))


def _lease_ready(conn: db.Connection) -> Act:
    return lambda: len(_lease(conn))


def _lease_one(conn: db.Connection) -> Act:
    return lambda: len(_lease(conn, limit=1))


def _lease_since(conn: db.Connection) -> Act:
    sources: list[str] = [source for (source,) in conn.execute("SELECT source FROM sources")]
    recently = datetime.now(UTC) - timedelta(minutes=20)  # most became ready before
    since = {(int(lane), source): recently for lane in Lane for source in sources}
    return lambda: len(_lease(conn, since=since))


def _lease_in_stub_mode(conn: db.Connection) -> Act:
    return lambda: len(_lease(conn, is_stub=True))


def _settle(status: Status, end: RecipientStatus) -> Case:
    def case(conn: db.Connection) -> Act:
        settlements = [
            _settlement(leased.delivery_id, UUID(int=1), status, end) for leased in _lease(conn)
        ]
        return lambda: len(store.settle(conn, settlements))

    return case


def _settle_late(conn: db.Connection) -> Act:
    rows = conn.execute(
        "UPDATE attempts a SET status = 'abandoned', outcome = 'unknown' FROM ("
        " SELECT delivery_id, attempt_no FROM deliveries WHERE status = 'deferred' LIMIT %s"
        ") d WHERE (a.delivery_id, a.attempt_no) = (d.delivery_id, d.attempt_no)"
        " RETURNING a.delivery_id, a.lease_token",
        [BATCH],
    )
    settlements = [
        _settlement(delivery_id, token, Status.SENT, RecipientStatus.ACCEPTED)
        for delivery_id, token in rows
    ]
    return lambda: len(store.settle_late(conn, settlements))


def _hand_back(conn: db.Connection) -> Act:
    # One of its own: what tests before rolled back lies dead in the index by holder, too.
    holder = uuid4()
    _lease(conn, leased_by=holder)
    return lambda: store.hand_back(conn, leased_by=holder, held=[uuid4()])


def _promote_due(limit: int, since: datetime | None = None) -> Case:
    return lambda conn: lambda: store.promote_due(conn, limit=limit, since=since)


def _expired_leases(limit: int, since: datetime | None = None) -> Case:
    return lambda conn: lambda: len(store.expired_leases(conn, limit=limit, since=since))


def _reclaim(conn: db.Connection) -> Act:
    later = datetime.now(UTC) + timedelta(hours=1)
    reclaims = [
        store.Reclaim(lease.delivery_id, lease.lease_token, Status.DEFERRED, later, None)
        for lease in store.expired_leases(conn, limit=BATCH)
    ]
    return lambda: len(store.reclaim(conn, reclaims))


def _expire_overdue(limit: int, since: datetime | None = None) -> Case:
    return lambda conn: lambda: len(store.expire_overdue(conn, limit=limit, since=since))


def _ids(conn: db.Connection, status: Status) -> list[UUID]:
    rows = conn.execute(
        "SELECT delivery_id FROM deliveries"
        " WHERE status = %s AND lane <> 0 AND coalesce(expires_at, 'infinity') > now() LIMIT %s",
        [status, BATCH],
    )
    return [row[0] for row in rows]


def _cancel(status: Status) -> Case:
    def case(conn: db.Connection) -> Act:
        ids = _ids(conn, status)
        return lambda: len(store.cancel(conn, ids, actor="test", reason="withdrawn"))

    return case


def _cancel_one(conn: db.Connection) -> Act:
    ids = _ids(conn, Status.DEFERRED)[:1]
    return lambda: len(store.cancel(conn, ids, actor="test", reason="withdrawn"))


def _requeue(conn: db.Connection) -> Act:
    ids = _ids(conn, Status.DEAD_LETTER)
    return lambda: len(store.requeue(conn, ids, actor="test", reason="the relay is well again"))


def _dead_letters(conn: db.Connection) -> list[UUID]:
    """Return deliveries that a replay may send again."""
    rows = conn.execute(
        "SELECT delivery_id FROM dead_letters JOIN deliveries USING (delivery_id)"
        " WHERE lane <> 0 AND coalesce(expires_at, 'infinity') > now() LIMIT %s",
        [BATCH],
    )
    return [row[0] for row in rows]


def _replay(conn: db.Connection) -> Act:
    ids = _dead_letters(conn)
    parameters = {"first_at": datetime.now(UTC), "gap": timedelta(0), "expires_at": None}
    return lambda: len(db.run(conn, "replay", replay_id=1, delivery_ids=ids, **parameters))


def _undo_replay(conn: db.Connection) -> Act:
    _replay(conn)()
    rows = db.run(conn, "hold_replayed", replay_id=1, walked_id=0, limit=BATCH)
    numbers = [number for number, _ in rows]
    return lambda: len(db.run(conn, "undo_replay", replay_id=1, dead_letter_ids=numbers))


def _hold_replayed(conn: db.Connection) -> Act:
    _replay(conn)()
    place = {"replay_id": 1, "walked_id": 0, "limit": BATCH}
    return lambda: len(db.run(conn, "hold_replayed", **place))


def _walk_dead_letters(conn: db.Connection) -> Act:
    place = {"walked_at": datetime(2000, 1, 1, tzinfo=UTC), "walked_id": 0, "limit": BATCH}
    wanted = {**DeadLetterFilter(sources=("shop",)).parameters(), "ordered_at": datetime.now(UTC)}
    return lambda: len(db.run(conn, "walk_dead_letters", **place, **wanted))


def _next_due(conn: db.Connection) -> Act:
    return lambda: int(store.next_due(conn, within=timedelta(days=1))[0] is not None)


def _beat(conn: db.Connection) -> Act:
    def act() -> int:
        for process_id in (UUID(int=3), UUID(int=3)):
            store.beat(
                conn, process_id=process_id, role="sender", host="h", pid=1, version="1", detail={}
            )
        return 1

    return act


def _finished_payloads(days: float, limit: int) -> Case:
    def case(conn: db.Connection) -> Act:
        after = (datetime.now(UTC) - timedelta(days=7.02), UUID(int=0))
        keep = timedelta(days=days)
        return lambda: len(retention.finished_payloads(conn, after=after, keep=keep, limit=limit))

    return case


def _delete_payloads(conn: db.Connection) -> Act:
    rows = conn.execute(
        "SELECT delivery_id FROM deliveries JOIN delivery_payloads USING (delivery_id)"
        " WHERE finished_at IS NOT NULL LIMIT %s",
        [BATCH],
    )
    delivery_ids = [row[0] for row in rows]
    return lambda: retention.delete_payloads(conn, delivery_ids)


def _delete_deliveries(days: float, limit: int) -> Case:
    keep = timedelta(days=days)
    return lambda conn: lambda: retention.delete_deliveries(conn, keep=keep, limit=limit)


def _delete_malformed(days: float, limit: int) -> Case:
    keep = timedelta(days=days)
    return lambda conn: lambda: retention.delete_malformed(conn, keep=keep, limit=limit)


def _delete_reservations(days: float, limit: int) -> Case:
    """Most of the old reservations belong to mail that is still scheduled."""
    after = datetime.now(UTC) - timedelta(days=40)
    keep = timedelta(days=days)

    def case(conn: db.Connection) -> Act:
        return lambda: retention.delete_reservations(conn, after=after, keep=keep, limit=limit).seen

    return case


WORK: dict[str, Case] = {
    "accept": _accept,
    "accept again": _accept_again,
    "find_reservations": _find_reservations,
    "lease_ready": _lease_ready,
    "lease_ready of one": _lease_one,
    "lease_ready from a time on": _lease_since,
    "lease_ready in stub mode": _lease_in_stub_mode,
    "settle": _settle(Status.SENT, RecipientStatus.ACCEPTED),
    "settle as deferred": _settle(Status.DEFERRED, RecipientStatus.OPEN),
    "settle as failed": _settle(Status.FAILED, RecipientStatus.REFUSED),
    "settle_late": _settle_late,
    "hand_back": _hand_back,
    "promote_due": _promote_due(BATCH),
    "expired_leases": _expired_leases(BATCH),
    "reclaim": _reclaim,
    "expire_overdue": _expire_overdue(BATCH),
    "cancel": _cancel(Status.SCHEDULED),
    "cancel one": _cancel_one,
    "request_cancel": _cancel(Status.SENDING),
    "requeue": _requeue,
    "replay": _replay,
    "undo_replay": _undo_replay,
    "hold_replayed": _hold_replayed,
    "walk_dead_letters": _walk_dead_letters,
    "next_due": _next_due,
    "beat": _beat,
    "finished_payloads": _finished_payloads(7, BATCH),
    "delete_payloads": _delete_payloads,
    "delete_deliveries": _delete_deliveries(30, BATCH),
    "delete_malformed": _delete_malformed(30, BATCH),
    "delete_reservations": _delete_reservations(7, BATCH),
}
# Those that write deliveries, recipients and dead letters, once a night and not all day.
_WEIGHTS = {"replay": 2, "undo_replay": 2}
_AN_HOUR_AGO = datetime.now(UTC) - timedelta(hours=1)
# The same with a limit that is not reached, up to a time not long after the first.
WORK_TO_THE_END: dict[str, Case] = {
    "promote_due": _promote_due(ALL),
    "expired_leases": _expired_leases(ALL),
    "expire_overdue": _expire_overdue(ALL),
    "promote_due from a time on": _promote_due(ALL, _AN_HOUR_AGO),
    "expired_leases from a time on": _expired_leases(ALL, _AN_HOUR_AGO),
    "expire_overdue from a time on": _expire_overdue(ALL, _AN_HOUR_AGO),
    "finished_payloads": _finished_payloads(7.01, ALL),
    "delete_deliveries": _delete_deliveries(30.99, ALL),
    "delete_malformed": _delete_malformed(30.9, ALL),
    "delete_reservations": _delete_reservations(30.1, ALL),
}


def test_every_statement_that_moves_deliveries_is_tried() -> None:
    """A statement added to MOVES gets its plan test."""
    assert set(MOVES) <= set(WORK)


@pytest.mark.parametrize("name", list(WORK))
def test_a_batch_reads_what_it_handles(role_conn: db.Connection, name: str) -> None:
    """Neither the ended, nor the future, nor the paused cost anything."""
    least = 1 if name in {"lease_ready of one", "cancel one", "next_due", "beat"} else BATCH
    _check(role_conn, WORK[name], least=least, weight=_WEIGHTS.get(name, 1))


@pytest.mark.parametrize("name", list(WORK_TO_THE_END))
def test_a_batch_that_is_not_filled_stops_at_its_time(role_conn: db.Connection, name: str) -> None:
    """A scheduler with little to do must not read through all there will be to do one day."""
    _check(role_conn, WORK_TO_THE_END[name], least=1)


@pytest.mark.parametrize("name", list(WORK))
def test_plans_made_for_empty_tables_serve_full_ones(grown: db.Database, name: str) -> None:
    """A role that met a flood after its start keeps its plans, and those of foreign keys."""
    conn = grown.conn
    with _undone(conn):
        # A table that is small still may be read whole; the large ones have 50,000 rows and more.
        _check(conn, WORK[name], least=1, spare=2000, weight=_WEIGHTS.get(name, 1))


LIMITED: dict[str, Case] = {
    "lease_ready": lambda conn: lambda: len(_lease(conn, limit=5)),
    "promote_due": _promote_due(5),
    "expire_overdue": _expire_overdue(5),
    "delete_deliveries": _delete_deliveries(30, 5),
    "delete_malformed": _delete_malformed(30, 5),
    "delete_reservations": _delete_reservations(7, 5),
}


@pytest.mark.parametrize(
    "off", ["hashjoin mergejoin seqscan material", "nestloop mergejoin", "nestloop hashjoin"]
)
@pytest.mark.parametrize("name", list(LIMITED))
def test_the_limit_holds_whatever_the_plan(grown: db.Database, name: str, off: str) -> None:
    """Written with `IN (SELECT .. LIMIT)`, a claim took all rows under one of these (M-13)."""
    with db.connect(grown.conn.info.dsn) as conn, conn.transaction(force_rollback=True):
        for method in off.split():
            conn.execute(f"SET LOCAL enable_{method} = off")

        assert LIMITED[name](conn)() == 5


# What the web asks, with how much there is of it at least.
_A_DAY = DeliveryFilter(
    created_from=datetime.now(UTC) - timedelta(days=9),
    created_to=datetime.now(UTC) - timedelta(days=8),
)
_A_PLACE = Position(datetime.now(UTC) - timedelta(days=9), UUID(int=0))
_SEVERAL = DeliveryFilter(statuses=(Status.SENT, Status.FAILED, Status.SENDING))
_ANY_LETTER = DeadLetterFilter()
_TROUBLE = DeliveryFilter(statuses=(Status.UNCERTAIN, Status.DEAD_LETTER))


def _list(wanted: DeliveryFilter, before: Position | None = None) -> Case:
    return lambda conn: lambda: len(reads.list_deliveries(conn, wanted, before=before, limit=BATCH))


def _list_deliveries_to(conn: db.Connection) -> Act:
    return lambda: len(
        reads.list_deliveries_to(
            conn, "person77@example.com", DeliveryFilter(), before=None, limit=BATCH
        )
    )


def _of_a_delivery(read: Callable[[db.Connection, UUID], object]) -> Case:
    def case(conn: db.Connection) -> Act:
        row = conn.execute("SELECT delivery_id FROM deliveries WHERE status = 'deferred' LIMIT 1")
        ((delivery_id,),) = row.fetchall()
        return lambda: int(bool(read(conn, delivery_id)))

    return case


QUESTIONS: dict[str, tuple[Case, int]] = {
    "list_deliveries": (_list(DeliveryFilter()), BATCH),
    "list_deliveries further down": (_list(DeliveryFilter(), _A_PLACE), BATCH),
    "list_deliveries of a day": (_list(_A_DAY), BATCH),
    "list_deliveries in trouble": (_list(_TROUBLE), BATCH),
    "list_deliveries_to": (_list_deliveries_to, 3),
    "list_dead_letters": (
        lambda c: lambda: len(list_dead_letters(c, _ANY_LETTER, before=None, limit=BATCH).items),
        BATCH,
    ),
    "find_delivery": (_of_a_delivery(reads.find_delivery), 1),
    "list_recipients": (_of_a_delivery(reads.list_recipients), 1),
    "list_attempts": (
        _of_a_delivery(lambda c, i: reads.list_attempts(c, i, before_no=None, limit=BATCH)),
        1,
    ),
    "find_mime": (_of_a_delivery(reads.find_mime), 1),
    "suppressed_at_intake": (
        _of_a_delivery(lambda c, i: not reads.suppressed_at_intake(c, [i])),
        1,
    ),
}


# What tests before rolled back lies dead at the newest end until a vacuum, and is read on the way.
_DEAD = {"list_dead_letters": 1_000}


@pytest.mark.parametrize("name", list(QUESTIONS))
def test_a_page_reads_what_it_shows(web_conn: db.Connection, name: str) -> None:
    """However much there is, a page takes as long as its rows."""
    case, least = QUESTIONS[name]
    _check(web_conn, case, least=least, spare=_DEAD.get(name, 50))


_NOTHING = {
    "of a template": DeliveryFilter(template_id="nobody-has-this"),
    "of a source": DeliveryFilter(sources=("nobody",)),
    "of a source, in trouble": DeliveryFilter(sources=("nobody",), statuses=tuple(REQUEUEABLE)),
    "cancelled, of a source": DeliveryFilter(sources=("nobody",), statuses=(Status.CANCELLED,)),
    "sending, of a source": DeliveryFilter(sources=("nobody",), statuses=(Status.SENDING,)),
    "of a day": DeliveryFilter(
        sources=("nobody",), created_from=_A_DAY.created_from, created_to=_A_DAY.created_to
    ),
}


@pytest.mark.parametrize("name", list(_NOTHING))
def test_a_filter_that_nothing_passes_does_not_walk_the_table(
    web_conn: db.Connection, name: str
) -> None:
    """A page looks at ten thousand, once for what is wanted and once for where that ended."""

    def act() -> int:
        return len(page_deliveries(web_conn, _NOTHING[name], before=None, limit=BATCH).items)

    with _plans(web_conn) as plans:
        found, work = _measure(web_conn, act)

    assert found == 0
    assert not work.walked, plans
    assert work.rows <= 2 * 2 * 10_100, plans


def test_statuses_of_several_kinds_are_merged_from_their_indexes(web_conn: db.Connection) -> None:
    """A page of each kind; of the thousand that are being sent the newest have to be found."""

    def act() -> int:
        return len(page_deliveries(web_conn, _SEVERAL, before=None, limit=BATCH).items)

    with _plans(web_conn) as plans:
        found, work = _measure(web_conn, act)

    assert found == BATCH
    assert not work.walked, plans
    assert work.rows <= 3 * 1_000 + 3 * 12 * BATCH, plans


def test_dead_letters_that_nothing_is_wanted_of_are_not_all_read(web_conn: db.Connection) -> None:
    """A page looks at five thousand of them, and looks those deliveries up."""
    wanted = DeadLetterFilter(sources=("nobody",))

    def act() -> int:
        return len(list_dead_letters(web_conn, wanted, before=None, limit=BATCH).items)

    with _plans(web_conn) as plans:
        found, work = _measure(web_conn, act)

    assert found == 0
    assert not work.walked, plans
    assert work.rows <= 6 * 5_050, plans


def test_the_age_of_the_oldest_is_found_without_counting(web_conn: db.Connection) -> None:
    """One probe for each lane and source, and at most a thousand of what is late."""
    with _plans(web_conn) as plans:
        _, work = _measure(web_conn, lambda: len(reads.oldest_due(web_conn)))

    assert not work.walked, plans
    assert work.rows <= 1200, plans


def test_counting_what_lives_leaves_out_what_has_ended(web_conn: db.Connection) -> None:
    """The month of ended deliveries is none of its business."""
    with _plans(web_conn) as plans:
        _, work = _measure(web_conn, lambda: sum(reads.count_live(web_conn).values()))

    assert not work.walked, plans
    assert work.rows <= 310_000, plans


def test_the_last_minutes_are_counted_from_the_edge_of_an_index(web_conn: db.Connection) -> None:
    """The overview's quarter of an hour: what came and ended in it, not the month before."""
    with _plans(web_conn) as plans:
        _, work = _measure(web_conn, lambda: len(Pulse().read(web_conn)))

    assert not work.walked, plans
    assert work.rows <= 40_000, plans
