"""Commands that come twice, contradict each other, or were made to do harm (F-M)."""

import json
import signal
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID

import httpx
import pytest
import redis

from mailworkers.adapters import db, store
from mailworkers.core.commands import (
    Command,
    FailureCode,
    SourceKind,
    decode_body,
    decode_entry,
)
from mailworkers.core.intake import Composer, Identity, Rendered
from mailworkers.core.states import FINAL, Status
from mailworkers.embedded.servers import Servers
from mailworkers.roles.consumer import Consumer
from mailworkers.roles.retention import Retention
from tests.core.entries import TEMPLATE, body, entry
from tests.crash.operation.commands import GROUP, STREAM, fields, put
from tests.crash.operation.sessions import held_back
from tests.crash.processes import Roles
from tests.deliveries import accept, new_delivery, status
from tests.deliveries import put as put_row
from tests.eventually import eventually
from tests.fuzz.commands import ACCEPTED, Judge, inputs
from tests.fuzz.hostile_commands import HOSTILE_JSON
from tests.relay import Relay, Step, accepting, reset
from tests.roles.conftest import build, make_settings
from tests.web.conftest import RunningApi, own_api

__all__ = ["build", "make_settings", "own_api"]

Build = Callable[..., Any]
# What the store alone knows: that a key or an id was used before.
_BY_THE_STORE = {FailureCode.IDEMPOTENCY_CONFLICT, FailureCode.DUPLICATE_DELIVERY_ID}


def _drain(consumer: Consumer) -> None:
    while consumer.step():
        pass


def _pending(client: redis.Redis) -> int:
    try:
        found: Any = client.xpending(STREAM, GROUP)
    except redis.ResponseError as error:
        raise AssertionError("the consumers have not made their group again yet") from error
    return int(found["pending"])


def _refused(conn: db.Connection) -> dict[str, str]:
    """Return the failure codes by the id of their entry."""
    return dict(conn.execute("SELECT stream_entry_id, failure_code FROM malformed_commands"))


def _number_of_deliveries(conn: db.Connection) -> int:
    (row,) = conn.execute("SELECT count(*) FROM deliveries")
    return int(row[0])


# The same command again.


def test_a_command_again_after_its_delivery_was_deleted_and_redis_was_lost_is_no_new_one(
    build: Build, conn: db.Connection, redis_client: redis.Redis
) -> None:
    """F-M01: the key's window is kept by a table of its own, which retention respects."""
    consumer = build(Consumer, MAIL_POLL_INTERVAL="50ms")
    retention = build(Retention, MAIL_DELIVERY_RETENTION="1d", MAIL_PAYLOAD_RETENTION="1d")
    command: Any = fields()
    redis_client.xadd(STREAM, command)
    _drain(consumer)
    conn.execute(
        "UPDATE deliveries SET status = 'sent', ready_at = NULL,"
        " finished_at = clock_timestamp() - interval '2 days'"
    )
    while retention.step():
        pass
    assert _number_of_deliveries(conn) == 0
    redis_client.flushall()

    consumer._stream.ensure_group()
    redis_client.xadd(STREAM, command)
    _drain(consumer)

    assert _number_of_deliveries(conn) == 0
    assert _refused(conn) == {}
    assert _pending(redis_client) == 0


@pytest.mark.slow
def test_sixty_four_copies_of_each_command_are_one_message_each(
    servers: Servers, roles: Roles, relay: Relay, conn: db.Connection, redis_client: redis.Redis
) -> None:
    """F-M01: two consumers share them, while a sender works, and Redis loses all in the middle."""
    for role in ("consumer", "consumer", "sender"):
        roles.start(role)
    commands: list[Any] = [fields() for _ in range(40)]
    with redis_client.pipeline(transaction=False) as pipe:
        for _ in range(64):
            for command in commands:
                pipe.xadd(STREAM, command)
        pipe.execute()
    eventually(lambda: len(relay.accepted) >= 10, within=60)

    redis_client.flushall()
    for command in commands:
        redis_client.xadd(STREAM, command)
    eventually(lambda: len(relay.accepted) >= len(commands), within=60)
    eventually(lambda: _pending(redis_client) == 0, within=60)

    assert Counter(m.rcpt_to for m in relay.accepted).most_common(1)[0][1] == 1
    assert _number_of_deliveries(conn) == len(commands)
    assert _refused(conn) == {}


def test_a_key_used_for_something_else_is_refused_and_names_what_has_it(
    build: Build, conn: db.Connection, redis_client: redis.Redis
) -> None:
    """F-M02: the report has the delivery that owns the key; both contents can be looked at."""
    consumer = build(Consumer, MAIL_POLL_INTERVAL="50ms")
    first = put(redis_client)
    other = {"to": ["other@example.com"], "subject": "s", "text_body": "t"}
    put(redis_client, idempotency_key=first, payload_json=json.dumps(other))

    _drain(consumer)

    (found,) = conn.execute("SELECT failure_code, detail, raw FROM malformed_commands")
    assert found[0] == FailureCode.IDEMPOTENCY_CONFLICT
    assert first in found[1]
    assert b"other@example.com" in found[2]
    assert [row[0] for row in conn.execute("SELECT delivery_id FROM deliveries")] == [UUID(first)]


def test_a_command_again_after_its_cancel_stays_cancelled(
    build: Build, conn: db.Connection, redis_client: redis.Redis
) -> None:
    """F-M03: create, cancel, create. The key answers with the first delivery, and how it ended."""
    consumer = build(Consumer, MAIL_POLL_INTERVAL="50ms")
    delivery_id = put(redis_client)
    _drain(consumer)

    effects = store.cancel(conn, [UUID(delivery_id)], actor="ada", reason="not meant")
    put(redis_client, delivery_id=delivery_id, idempotency_key=delivery_id, **_same(delivery_id))
    _drain(consumer)

    assert effects[UUID(delivery_id)].after.status == Status.CANCELLED
    assert status(conn, UUID(delivery_id)) == Status.CANCELLED
    assert (_number_of_deliveries(conn), _refused(conn)) == (1, {})


def _same(delivery_id: str) -> dict[str, str]:
    payload = {"to": [f"{delivery_id}@example.com"], "subject": "s", "text_body": "t"}
    return {"payload_json": json.dumps(payload)}


def test_a_cancel_before_the_command_finds_nothing_and_hinders_nothing(
    build: Build, conn: db.Connection, redis_client: redis.Redis
) -> None:
    """F-M03: there is no tombstone. What nobody has accepted cannot be withdrawn: it says so."""
    consumer = build(Consumer, MAIL_POLL_INTERVAL="50ms")
    command: Any = fields()
    delivery_id = UUID(command["delivery_id"])

    assert store.cancel(conn, [delivery_id], actor="ada", reason="too early") == {}
    redis_client.xadd(STREAM, command)
    _drain(consumer)

    assert status(conn, delivery_id) == Status.QUEUED


@pytest.mark.parametrize("before", list(Status))
def test_a_cancel_says_in_every_status_whether_it_won(conn: db.Connection, before: Status) -> None:
    """F-M03: withdrawn, pending, or too late and left alone: one of the three, never silence."""
    delivery_id = put_row(conn, before)

    effect = store.cancel(conn, [delivery_id], actor="ada", reason="not meant")[delivery_id]

    won = effect.after.status == Status.CANCELLED
    assert [won, effect.is_pending, effect.hindrance is not None].count(True) == 1
    assert (
        effect.explanation if effect.hindrance else effect.after.status == status(conn, delivery_id)
    )


@pytest.mark.parametrize(
    ("answer", "end", "copies"),
    [
        ("250 2.0.0 Ok", Status.SENT, 1),
        ("451 4.3.0 later", Status.CANCELLED, 0),
        ("550 5.1.1 nobody", Status.FAILED, 0),
        (accepting(reset), Status.UNCERTAIN, 1),
    ],
)
def test_a_cancel_that_races_an_attempt_wins_over_everything_but_an_end(
    roles: Roles, relay: Relay, conn: db.Connection, answer: Step, end: Status, copies: int
) -> None:
    """F-M03: it comes after the dot. What was sent or refused stays so, a retry does not come."""
    is_cancelled = threading.Event()
    relay.says(DOT=[held_back(is_cancelled, answer)])
    new = new_delivery()
    accept(conn, new)
    roles.start("sender")
    eventually(lambda: relay.commands and "DATA" in relay.commands[-1], within=20)

    effects = store.cancel(conn, [new.delivery_id], actor="ada", reason="not meant")
    is_cancelled.set()
    eventually(lambda: status(conn, new.delivery_id) in FINAL, within=20)

    assert effects[new.delivery_id].is_pending
    assert status(conn, new.delivery_id) == end
    assert len(relay.accepted) == copies


# Commands made to do harm.


@pytest.mark.slow
def test_a_consumer_takes_thousands_of_hostile_entries_each_once(
    roles: Roles, conn: db.Connection, redis_client: redis.Redis
) -> None:
    """F-M04, N-13: no exit, no redelivery, each is a delivery or a record with its code."""
    judge = Judge()
    expected: dict[str, str] = {}
    for _, made in inputs(seed=3, first=0, count=4500):
        if isinstance(made, Mapping) and made:
            entry_id: Any = redis_client.xadd(STREAM, dict(made))
            expected[entry_id.decode()] = judge.judge(made)
    last = put(redis_client)
    consumer = roles.start("consumer")

    eventually(lambda: status(conn, UUID(last)) == Status.QUEUED, within=90)
    eventually(lambda: _pending(redis_client) == 0, within=20)

    refused = _refused(conn)
    by_themselves = {key: code for key, code in expected.items() if code != ACCEPTED}
    assert {key: refused[key] for key in by_themselves} == by_themselves
    assert {refused[key] for key in refused.keys() - by_themselves} <= _BY_THE_STORE
    assert _number_of_deliveries(conn) + len(refused) <= len(expected) + 1
    assert consumer.exit_code is None
    assert "consumer failed" not in roles.logs()


@pytest.mark.parametrize("payload", HOSTILE_JSON, ids=range(len(HOSTILE_JSON)))
def test_hostile_json_ends_the_same_way_by_stream_and_by_http(
    build: Build,
    own_api: RunningApi,
    conn: db.Connection,
    redis_client: redis.Redis,
    payload: bytes,
) -> None:
    """F-M04: a record with its code here, an error of the same kind there; the next one works."""
    consumer = build(Consumer, MAIL_POLL_INTERVAL="50ms")
    put(redis_client, payload_json=payload)
    good = put(redis_client)

    _drain(consumer)
    with own_api.client() as client:
        answer = _post(client, payload)

    (code,) = _refused(conn).values()
    assert FailureCode(code) is not FailureCode.POISON
    assert answer.status_code in (400, 413)
    assert answer.json()["error"]["code"] in {*FailureCode} - {FailureCode.POISON}
    assert status(conn, UUID(good)) == Status.QUEUED


def _post(client: httpx.Client, payload: bytes) -> httpx.Response:
    body = b'{"payload_mode":"rendered","idempotency_key":"k","payload":' + payload + b"}"
    return client.post("/deliveries", content=body, headers={"Content-Type": "application/json"})


@pytest.mark.slow
def test_the_api_answers_hostile_bodies_and_lives(own_api: RunningApi) -> None:
    """F-M04 by HTTP: 202 or an error of the caller's, never one of ours."""
    judge = Judge()
    answers: Counter[int] = Counter()
    with own_api.client() as client:
        for _, made in inputs(seed=4, first=0, count=1500):
            if isinstance(made, bytes):
                headers = {"Content-Type": "application/json"}
                answer = client.post("/deliveries", content=made, headers=headers)
                answers[answer.status_code] += 1
                if judge.judge(made) != ACCEPTED:
                    assert answer.status_code in (400, 409, 413)

    assert set(answers) <= {202, 400, 409, 413}
    assert answers[202] > 10


class _Short(dict[str, SourceKind]):
    """A mapping in whose use memory ends."""

    def get(self, *_: object) -> Any:
        raise MemoryError


class _ShortRenderer:
    """A catalog in whose use memory ends."""

    def render(self, *_: object) -> Rendered:
        raise MemoryError


def test_a_command_for_which_memory_is_short_is_not_called_bad() -> None:
    """F-M05, F-V10: it is no fault of the command. The process ends, and the entry is tried again.

    Alone then; if that ends a process three times it is set aside unread.
    """
    composer = Composer(
        identity=Identity("shop@example.org", frozenset({"example.org"})),
        renderer=_ShortRenderer(),
    )
    command = decode_entry(entry(TEMPLATE))
    assert isinstance(command, Command)

    with pytest.raises(MemoryError):
        composer.compose(command, delivery_id=UUID(int=1), now=datetime.now(UTC))
    with pytest.raises(MemoryError):
        decode_entry(entry(), sources=_Short())
    with pytest.raises(MemoryError):
        decode_body(body(), sources=_Short())


@pytest.mark.slow
def test_an_entry_that_kills_its_consumer_three_times_is_set_aside_unread(
    roles: Roles, conn: db.Connection, redis_client: redis.Redis, database: str
) -> None:
    """F-M05: what was in its batch is taken alone from then on, and arrives."""
    roles.environ["SUPERVISOR_PROCESS_NAME"] = "consumer"  # a respawned one has the same name
    consumer = roles.start("consumer")
    first = put(redis_client)
    eventually(lambda: status(conn, UUID(first)) == Status.QUEUED, within=20)
    batch: list[Any] = [fields() for _ in range(6)]
    with db.connect(database) as locker:
        for deaths in range(3):
            with locker.transaction():
                # So that it dies with the entry in hand: nothing can be stored.
                locker.execute("LOCK TABLE idempotency_reservations IN ACCESS EXCLUSIVE MODE")
                if deaths == 0:
                    _put_together(redis_client, batch)
                else:
                    consumer = roles.start("consumer")
                eventually(partial(_was_handed_out, redis_client, deaths + 1), within=20)
                consumer.signal(signal.SIGKILL)
                consumer.wait()
    survivor = roles.start("consumer")

    eventually(lambda: _pending(redis_client) == 0, within=20)

    assert list(_refused(conn).values()) == [FailureCode.POISON]
    found = {str(row[0]) for row in conn.execute("SELECT delivery_id FROM deliveries")}
    assert found == {first, *(command["delivery_id"] for command in batch[1:])}
    assert survivor.exit_code is None


def _put_together(client: redis.Redis, commands: list[Any]) -> None:
    """Put *commands* on the stream such that one read gets all of them."""
    with client.pipeline(transaction=True) as pipe:
        for command in commands:
            pipe.xadd(STREAM, command)
        pipe.execute()


def _was_handed_out(client: redis.Redis, times: int) -> bool:
    """Whether the oldest entry was handed out so often."""
    found: Any = client.xpending_range(STREAM, GROUP, min="-", max="+", count=1)
    return bool(found) and found[0]["times_delivered"] == times
