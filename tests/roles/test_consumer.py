"""The consumer on a real stream: what becomes of every entry, and when it is acknowledged."""

import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from mailworkers.adapters import db
from mailworkers.adapters.stream import GROUP, MOST_HANDOUTS, SENDER_WAKE
from mailworkers.core.commands import FailureCode
from mailworkers.core.errors import ConfigError
from mailworkers.roles.consumer import MOST_RAW, Consumer

STREAM = "mail:delivery_commands"
Build = Callable[..., Consumer]


def _entry(**changes: Any) -> dict[str, Any]:
    """Return the fields of a good command; None takes a field away."""
    fields: dict[str, Any] = {
        "delivery_id": str(uuid4()),
        "source": "notification",
        "payload_mode": "rendered",
        "idempotency_key": str(uuid4()),
        "requested_at_ms": "1770000000000",
        "payload_json": _payload(),
        **changes,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _payload(**changes: Any) -> str:
    return json.dumps(
        {"to": ["Ann <ann@example.com>"], "subject": "hi", "text_body": "hello", **changes}
    )


def _drain(consumer: Consumer) -> None:
    while consumer.step():
        pass


def _deliveries(conn: db.Connection) -> int:
    found = conn.execute("SELECT count(*) FROM deliveries").fetchone()
    assert found is not None
    return int(found[0])


def _codes(conn: db.Connection) -> list[str]:
    rows = conn.execute("SELECT failure_code FROM malformed_commands ORDER BY malformed_id")
    return [code for (code,) in rows]


def _pending(redis_client: Any) -> int:
    return int(redis_client.xpending(STREAM, GROUP)["pending"])


def test_an_entry_becomes_a_durable_delivery_and_is_acknowledged(
    consumer: Consumer, conn: db.Connection, redis_client: Any
) -> None:
    """Row, bytes, recipients; nothing pending; a sender is woken."""
    fields = _entry()
    redis_client.xadd(STREAM, fields)

    _drain(consumer)

    found = conn.execute("SELECT delivery_id::text, status, source FROM deliveries").fetchall()
    assert found == [(fields["delivery_id"], "queued", "notification")]
    mime = conn.execute("SELECT mime FROM delivery_payloads").fetchone()
    assert mime is not None
    assert b"To: Ann <ann@example.com>\r\n" in mime[0]
    assert _pending(redis_client) == 0
    assert redis_client.llen(SENDER_WAKE) == 1


def test_another_stream_is_read_where_the_settings_name_one(
    build: Callable[..., Consumer], conn: db.Connection, redis_client: Any
) -> None:
    """MS-16: that one, and the usual one is left to others."""
    consumer = build(Consumer, MAIL_REDIS_COMMAND_STREAM="shop:mail")
    fields = _entry()
    redis_client.xadd("shop:mail", fields)
    redis_client.xadd(STREAM, _entry())

    _drain(consumer)

    found = conn.execute("SELECT delivery_id::text FROM deliveries").fetchall()
    assert found == [(fields["delivery_id"],)]
    assert redis_client.xlen(STREAM) == 1


def test_a_template_command_is_rendered_at_intake(
    consumer: Consumer, conn: db.Connection, redis_client: Any
) -> None:
    """Accepting means composed: template, version and locale stand on the row."""
    payload = {
        "to": ["a@example.com"],
        "template_id": "login-code",
        "locale": "de-at",
        "variables": {"code": "482913"},
    }
    redis_client.xadd(STREAM, _entry(payload_mode="template", payload_json=json.dumps(payload)))

    _drain(consumer)

    row = conn.execute("SELECT status, template_id, locale FROM deliveries").fetchone()
    assert row == ("rendered", "login-code", "de")
    mime = conn.execute("SELECT mime FROM delivery_payloads").fetchone()
    assert mime is not None
    assert b"482913" in mime[0]


REFUSED: list[tuple[FailureCode, dict[str, Any]]] = [
    (FailureCode.INVALID_JSON, {"payload_json": "{"}),
    (FailureCode.MISSING_FIELD, {"source": None}),
    (FailureCode.UNKNOWN_FIELD, {"surprise": "1"}),
    (FailureCode.INVALID_VALUE, {"payload_mode": "telegram"}),
    (FailureCode.INVALID_ADDRESS, {"payload_json": _payload(to=["nobody"])}),
    (FailureCode.HEADER_INJECTION, {"payload_json": _payload(subject="a\r\nBcc: v@example.com")}),
    (
        FailureCode.UNKNOWN_TEMPLATE,
        {
            "payload_mode": "template",
            "payload_json": json.dumps(
                {"to": ["a@example.com"], "template_id": "none", "locale": "en", "variables": {}}
            ),
        },
    ),
    (
        FailureCode.TEMPLATE_VARIABLES,
        {
            "payload_mode": "template",
            "payload_json": json.dumps(
                {
                    "to": ["a@example.com"],
                    "template_id": "login-code",
                    "locale": "en",
                    "variables": {"colour": "red"},
                }
            ),
        },
    ),
    (FailureCode.PAYLOAD_TOO_LARGE, {"payload_json": _payload(text_body="x" * 11_000_000)}),
]


@pytest.mark.parametrize(("code", "changes"), REFUSED, ids=[str(code) for code, _ in REFUSED])
def test_a_refused_entry_is_set_aside_with_its_code_and_blocks_nobody(
    consumer: Consumer,
    conn: db.Connection,
    redis_client: Any,
    code: FailureCode,
    changes: dict[str, Any],
) -> None:
    """Stored raw, acknowledged; the entries around it arrive."""
    redis_client.xadd(STREAM, _entry())
    refused = _entry(**changes)
    entry_id = redis_client.xadd(STREAM, refused)
    redis_client.xadd(STREAM, _entry())

    _drain(consumer)

    assert _deliveries(conn) == 2
    row = conn.execute(
        "SELECT failure_code, stream_entry_id, source, delivery_id, detail <> '', raw_size,"
        " length(raw), is_complete FROM malformed_commands"
    ).fetchone()
    assert row is not None
    assert row[:2] == (code, entry_id.decode())
    assert row[2:5] == (refused.get("source", ""), refused["delivery_id"], True)
    assert row[6:] == (min(row[5], MOST_RAW), row[5] <= MOST_RAW)
    assert _pending(redis_client) == 0


def test_a_rendering_that_fails_is_refused(
    build: Build, conn: db.Connection, redis_client: Any, tmp_path: Any
) -> None:
    """`render_failed`: the template was good with its samples and fails on these values."""
    folder = tmp_path / "catalog" / "ratio"
    (folder / "en").mkdir(parents=True)
    (tmp_path / "catalog" / "catalog.toml").write_text('default_locale = "en"\n')
    (folder / "contract.toml").write_text(
        'description = "divides"\n[variables.by]\ntype = "integer"\nsample = 2\n'
        'description = "the divisor"\nrequired = true\n'
    )
    (folder / "en" / "subject.txt").write_text("half\n")
    (folder / "en" / "body.txt").write_text("{{ 1 / by }}\n")
    consumer = build(
        Consumer, MAIL_TEMPLATE_DIR=str(tmp_path / "catalog"), MAIL_POLL_INTERVAL="50ms"
    )
    payload = {
        "to": ["a@example.com"],
        "template_id": "ratio",
        "locale": "en",
        "variables": {"by": 0},
    }
    redis_client.xadd(STREAM, _entry(payload_mode="template", payload_json=json.dumps(payload)))

    _drain(consumer)

    assert _codes(conn) == [FailureCode.RENDER_FAILED]


def test_the_same_command_twice_is_one_delivery(
    consumer: Consumer, conn: db.Connection, redis_client: Any
) -> None:
    """A producer that repeats itself is answered by the first; it is no refusal."""
    fields = _entry()
    for _ in range(3):
        redis_client.xadd(STREAM, fields)

    _drain(consumer)

    assert (_deliveries(conn), _codes(conn)) == (1, [])


def test_the_same_key_with_other_content_is_refused(
    consumer: Consumer, conn: db.Connection, redis_client: Any
) -> None:
    """`idempotency_conflict`; the first delivery is untouched (MS-30)."""
    first = _entry()
    redis_client.xadd(STREAM, first)
    redis_client.xadd(
        STREAM,
        _entry(idempotency_key=first["idempotency_key"], payload_json=_payload(subject="other")),
    )

    _drain(consumer)

    assert (_deliveries(conn), _codes(conn)) == (1, [FailureCode.IDEMPOTENCY_CONFLICT])


def test_a_taken_delivery_id_is_refused(
    consumer: Consumer, conn: db.Connection, redis_client: Any
) -> None:
    """`duplicate_delivery_id`."""
    first = _entry()
    redis_client.xadd(STREAM, first)
    redis_client.xadd(STREAM, _entry(delivery_id=first["delivery_id"]))

    _drain(consumer)

    assert (_deliveries(conn), _codes(conn)) == (1, [FailureCode.DUPLICATE_DELIVERY_ID])


def test_an_entry_handed_out_too_often_is_set_aside_unread(
    build: Build, conn: db.Connection, redis_client: Any
) -> None:
    """`poison`: whoever decodes it dies; the raw bytes are kept, the others arrive."""
    consumer = build(Consumer, MAIL_POLL_INTERVAL="50ms")
    entry_id = redis_client.xadd(STREAM, _entry())
    redis_client.xadd(STREAM, _entry())
    name = consumer._stream.consumer
    redis_client.xreadgroup(GROUP, name, {STREAM: ">"}, count=1)
    for _ in range(MOST_HANDOUTS - 1):
        redis_client.xclaim(STREAM, GROUP, name, 0, [entry_id])

    _drain(consumer)

    assert (_deliveries(conn), _codes(conn)) == (1, [FailureCode.POISON])
    assert _pending(redis_client) == 0


def test_entries_of_a_dead_process_of_the_same_name_are_done_first(
    build: Build, conn: db.Connection, redis_client: Any
) -> None:
    """A respawned consumer finds what it held, by its name, without waiting (R-08)."""
    consumer = build(Consumer, MAIL_POLL_INTERVAL="50ms")
    for _ in range(3):
        redis_client.xadd(STREAM, _entry())
    redis_client.xreadgroup(GROUP, consumer._stream.consumer, {STREAM: ">"}, count=3)

    _drain(consumer)

    assert _deliveries(conn) == 3
    assert _pending(redis_client) == 0


def test_entries_of_a_dead_consumer_are_taken_over(
    build: Build, conn: db.Connection, redis_client: Any
) -> None:
    """When they have been left alone long enough."""
    consumer = build(Consumer, MAIL_POLL_INTERVAL="50ms")
    entry_id = redis_client.xadd(STREAM, _entry())
    redis_client.xreadgroup(GROUP, "elsewhere:consumer", {STREAM: ">"}, count=1)
    redis_client.xclaim(STREAM, GROUP, "elsewhere:consumer", 0, [entry_id], idle=60_000)

    _drain(consumer)

    assert _deliveries(conn) == 1
    assert _pending(redis_client) == 0


def test_a_redelivered_entry_that_was_committed_is_recognised(
    build: Build, conn: db.Connection, redis_client: Any
) -> None:
    """Killed between COMMIT and XACK (K-C5): acknowledged, nothing new."""
    fields = _entry()
    redis_client.xadd(STREAM, fields)
    _drain(build(Consumer, MAIL_POLL_INTERVAL="50ms"))
    consumer = build(Consumer, MAIL_POLL_INTERVAL="50ms")
    redis_client.xadd(STREAM, fields)
    redis_client.xreadgroup(GROUP, consumer._stream.consumer, {STREAM: ">"}, count=1)

    _drain(consumer)

    assert (_deliveries(conn), _codes(conn)) == (1, [])
    assert _pending(redis_client) == 0


def test_a_redelivered_entry_that_would_be_refused_now_is_still_a_replay(
    build: Build, conn: db.Connection, redis_client: Any
) -> None:
    """The key is judged first: the settings changed between COMMIT and XACK."""
    fields = _entry(payload_json=_payload(**{"from": "shop@elsewhere.example"}))
    redis_client.xadd(STREAM, fields)
    _drain(
        build(
            Consumer,
            MAIL_POLL_INTERVAL="50ms",
            MAIL_SMTP_FROM_ALLOWED="example.org,elsewhere.example",
        )
    )
    redis_client.xadd(STREAM, fields)

    _drain(build(Consumer, MAIL_POLL_INTERVAL="50ms"))

    assert (_deliveries(conn), _codes(conn)) == (1, [])


def test_a_lost_group_is_made_again_and_skips_nothing(
    consumer: Consumer, conn: db.Connection, redis_client: Any
) -> None:
    """Redis came back empty: the group begins at 0, so entries added before are read (R-05)."""
    redis_client.flushall()
    redis_client.xadd(STREAM, _entry())

    _drain(consumer)

    assert _deliveries(conn) == 1


def test_the_stream_is_trimmed_below_what_anybody_still_needs(
    build: Build, redis_client: Any
) -> None:
    """Finished entries go; a pending one and everything after it stays."""
    consumer = build(Consumer, MAIL_POLL_INTERVAL="50ms")
    for _ in range(10):
        redis_client.xadd(STREAM, _entry())
    redis_client.xreadgroup(GROUP, "slow", {STREAM: ">"}, count=1)
    _drain(consumer)
    consumer._stream.trim()
    kept = redis_client.xlen(STREAM)
    redis_client.xack(STREAM, GROUP, redis_client.xrange(STREAM)[0][0])

    consumer._stream.trim()

    assert (kept, redis_client.xlen(STREAM)) == (10, 0)


def test_a_wrong_type_of_key_is_the_operators_mistake(build: Build, redis_client: Any) -> None:
    """Refused at start, by name (F-R08)."""
    redis_client.set(STREAM, "x")

    with pytest.raises(ConfigError, match=STREAM):
        build(Consumer)


HOSTILE: dict[str, dict[Any, Any]] = {
    "nested": {"payload_json": '{"to":' + "[" * 200_000},
    "nul": {"payload_json": _payload(subject="a\u0000b")},
    "surrogate": {"payload_json": '{"to":["a@example.com"],"subject":"\\ud800","text_body":"x"}'},
    "duplicate keys": {
        "payload_json": '{"to":["a@example.com"],"to":["b@example.com"],"subject":"s"}'
    },
    "not utf-8": {"payload_json": b'{"to":["a@example.com"],"subject":"\xff","text_body":"x"}'},
    "huge integer": {"send_at_ms": "9" * 30},
    "twelve megabytes": {"payload_json": b"[" * 12_000_000},
    "binary field name": {b"\xff\x00": b"x"},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_entry_harms_nothing(
    consumer: Consumer, conn: db.Connection, redis_client: Any, name: str
) -> None:
    """One malformed record, acknowledged, and its neighbour arrives (M-12, M-15)."""
    redis_client.xadd(STREAM, {**_entry(), **HOSTILE[name]})
    redis_client.xadd(STREAM, _entry())

    _drain(consumer)

    assert _deliveries(conn) == 1
    assert len(_codes(conn)) == 1
    assert _pending(redis_client) == 0
