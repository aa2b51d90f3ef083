"""A service with a story, put straight into the database: for the console's tests and pictures."""

import itertools
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import msgspec

from mailworkers.adapters import db
from mailworkers.adapters.store.malformed import Malformed, store_malformed
from mailworkers.adapters.store.pauses import add_pause
from mailworkers.adapters.store.suppressions import Listing, put_suppressions
from mailworkers.core.addresses import Mailbox
from mailworkers.core.deliveries import NewRecipient
from mailworkers.core.mime import Message, compose
from mailworkers.core.states import Lane, PayloadMode, Status
from tests.deliveries import accept, new_delivery

_entries = itertools.count(1)
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>"

# Sent within the last quarter of an hour, a wave of them every five minutes.
_BUSY = """
WITH made AS (
    INSERT INTO deliveries (delivery_id, source, lane, status, payload_mode, template_id, locale,
        mail_from, idempotency_key, attempt_no, cycle_attempt, retry_policy, mime_size, created_at,
        finished_at, failure)
    SELECT gen_random_uuid(), CASE WHEN n %% 5 = 0 THEN 'authsession' ELSE 'notification' END,
        CASE WHEN n %% 5 = 0 THEN 0 WHEN n %% 3 = 0 THEN 2 ELSE 1 END,
        CASE WHEN n %% 97 = 0 THEN 'failed' WHEN n %% 31 = 0 THEN 'suppressed' ELSE 'sent' END,
        'template', CASE WHEN n %% 5 = 0 THEN 'login-code' ELSE 'receipt' END, 'en',
        'mail@example.com', 'busy-' || n, 1, 1, 'ladder', 2300 + n %% 900, at,
        at + make_interval(secs => 0.3 + (n %% 7) * 0.11),
        CASE WHEN n %% 97 = 0 THEN 'rejected' WHEN n %% 31 = 0 THEN 'listed' END
    FROM generate_series(1, %(count)s) n CROSS JOIN LATERAL (
        SELECT clock_timestamp() - make_interval(secs =>
            3 + 896.0 * n / %(count)s + 40 * sin(n * 6.283 / (%(count)s / 3.0))) AS at) t
    RETURNING delivery_id, created_at, finished_at, status, source, idempotency_key
), recipients AS (
    INSERT INTO delivery_recipients (delivery_id, ordinal, kind, address, canonical, status)
    SELECT delivery_id, 0, 'to', who, who, CASE status WHEN 'sent' THEN 'accepted'
        WHEN 'failed' THEN 'refused' ELSE 'suppressed' END
    FROM made, LATERAL (SELECT (ARRAY['ada', 'grace', 'alan', 'edsger', 'barbara', 'ken', 'radia',
        'leslie'])[1 + abs(hashtext(idempotency_key)) %% 8] || abs(hashtext(idempotency_key)) %% 900
        || '@' || (ARRAY['example.com', 'example.org', 'example.net'])
        [1 + abs(hashtext(idempotency_key)) %% 3]) w (who)
)
INSERT INTO attempts (delivery_id, attempt_no, cycle_attempt, status, outcome, stage, reply_code,
    enhanced_code, summary, relay, lease_token, leased_by, started_at, finished_at)
SELECT delivery_id, 1, 1, CASE status WHEN 'failed' THEN 'provider_rejected'
        ELSE 'provider_accepted' END,
    CASE status WHEN 'failed' THEN 'permanent_error' ELSE 'success' END, 'end_of_data',
    CASE status WHEN 'failed' THEN 550 ELSE 250 END, '2.0.0', 'queued', 'relay.example.com:25',
    gen_random_uuid(), gen_random_uuid(),
    finished_at - (finished_at - created_at) * (0.2 + 0.6 * random()), finished_at
FROM made WHERE status <> 'suppressed'
"""


def be_busy(conn: db.Connection, count: int = 1200) -> None:
    """Have sent *count* deliveries in the last quarter of an hour."""
    conn.execute(_BUSY.encode(), {"count": count})


def be_alive(conn: db.Connection, *, relay_fails: str = "") -> None:
    """Have two senders and one of each other role alive; *relay_fails* is what senders say."""
    roles = ["consumer", "scheduler", "retention", "api", "monitor", "sender", "sender"]
    for number, role in enumerate(roles):
        name = f"{role}-{1 + number % 5 // 4:02}" if role == "sender" else role
        detail: dict[str, object] = {"process": name}
        if role == "sender":
            detail = {
                "process": f"sender-{number - 4:02}",
                "breaker": "open" if relay_fails else "closed",
                "reason": relay_fails,
                "transcript": "",
            }
        conn.execute(
            "INSERT INTO processes (process_id, role, host, pid, version, started_at, detail)"
            " VALUES (%s, %s, 'mail-1', %s, '0.1.0', clock_timestamp() - interval '3 h', %s)",
            [uuid4(), role, 4000 + number, msgspec.json.encode(detail).decode()],
        )


def put_message(
    conn: db.Connection,
    *,
    subject: str = "Your receipt",
    html: str | None = "<h1>Thank you</h1><p>We have received your order.</p>",
    text: str = "Thank you. We have received your order.",
    to: str = "ada@example.com",
    **changes: Any,
) -> UUID:
    """Accept one message as intake makes it; return its id."""
    message = Message(
        sender=Mailbox("Shop", "shop@example.org"),
        to=(Mailbox("", to),),
        cc=(),
        reply_to=(),
        subject=subject,
        text=text,
        html=html,
    )
    mime = compose(message, message_id="<1@example.org>", date=datetime.now(UTC))
    new = new_delivery(mime=mime, recipients=(NewRecipient("to", to, to.lower()),), **changes)
    accept(conn, new)
    return new.delivery_id


def fail_attempts(
    conn: db.Connection, delivery_id: UUID, count: int, *, said: str = "mailbox is over quota"
) -> None:
    """Have tried a delivery *count* times, the last a minute ago; the relay *said* no each time."""
    conn.execute(
        "INSERT INTO attempts (delivery_id, attempt_no, cycle_attempt, status, outcome, stage,"
        " reply_code, enhanced_code, summary, relay, lease_token, leased_by, started_at,"
        " finished_at) SELECT %(id)s, n, n, 'provider_deferred', 'transient_error', 'rcpt', 452,"
        " '4.2.2', %(said)s, 'relay.example.com:25', gen_random_uuid(), gen_random_uuid(), at,"
        " at + interval '84 ms' FROM generate_series(1, %(count)s) n CROSS JOIN LATERAL"
        " (SELECT clock_timestamp() - make_interval(secs => 60 + 400 * (%(count)s - n)) AS at) t",
        {"id": delivery_id, "count": count, "said": said},
    )
    conn.execute(
        "UPDATE deliveries SET attempt_no = %(count)s, cycle_attempt = %(count)s,"
        " created_at = clock_timestamp() - make_interval(secs => 65 + 400 * (%(count)s - 1)),"
        " ready_at = NULL, status = 'deferred',"
        " next_attempt_at = clock_timestamp() + interval '9 min' WHERE delivery_id = %(id)s",
        {"id": delivery_id, "count": count},
    )


def put_dead_letters(conn: db.Connection, count: int, **changes: Any) -> list[UUID]:
    """Have *count* deliveries whose ladder is used up, with their content still there."""
    news = [new_delivery(**changes) for _ in range(count)]
    accept(conn, *news)
    found = [new.delivery_id for new in news]
    conn.execute(
        "UPDATE deliveries SET status = 'dead_letter', failure = 'exhausted', attempt_no = 8,"
        " cycle_attempt = 8, ready_at = NULL, finished_at = clock_timestamp()"
        " WHERE delivery_id = ANY (%s)",
        [found],
    )
    conn.execute(
        "UPDATE delivery_recipients SET status = 'exhausted' WHERE delivery_id = ANY (%s)", [found]
    )
    conn.execute(
        "INSERT INTO dead_letters (delivery_id, cause, attempt_no, cycle_attempt, reason)"
        " SELECT unnest(%s::uuid[]), 'exhausted', 8, 8, '451 4.3.0 try again later'",
        [found],
    )
    return found


def put_malformed(conn: db.Connection, fields: dict[str, str], *, detail: str) -> int:
    """Have refused an entry of the stream; return its number."""
    raw = msgspec.msgpack.encode({n.encode(): v.encode() for n, v in fields.items()})
    record = Malformed(
        entry_id=f"1700000000000-{next(_entries)}",
        failure_code="unknown_template",
        detail=detail,
        source=fields.get("source", ""),
        delivery_id=fields.get("delivery_id", ""),
        raw=raw,
        raw_size=len(raw),
        is_complete=True,
    )
    store_malformed(conn, "mail:delivery_commands", [record])
    row = conn.execute("SELECT max(malformed_id) FROM malformed_commands").fetchone()
    return int(row[0]) if row else 0


def entry(template_id: str = "welcome", **more: str) -> dict[str, str]:
    """Return the fields of an entry that asks for a template."""
    payload = {
        "to": ["ada@example.com"],
        "template_id": template_id,
        "locale": "en",
        "variables": {"name": "Ada", "confirm_url": "https://example.com/a"},
    }
    return {
        "delivery_id": str(uuid4()),
        "source": "notification",
        "payload_mode": "template",
        "idempotency_key": f"entry-{next(_entries)}",
        "requested_at_ms": "1793000000000",
        "payload_json": msgspec.json.encode(payload).decode(),
        **more,
    }


def put_login_code(conn: db.Connection) -> UUID:
    """Accept auth mail, whose content is a secret."""
    return put_message(
        conn,
        subject="Your code",
        html=None,
        text="Your code is 492817.",
        source="authsession",
        lane=Lane.AUTH,
    )


def tell_the_story(conn: db.Connection) -> dict[str, UUID]:
    """Fill an empty database with an ordinary bad day; return deliveries by what they are."""
    be_busy(conn)
    be_alive(conn, relay_fails="connect: relay.example.com:25: connection refused")
    late = put_message(conn, subject="Your table tonight", to="grace@example.org")
    fail_attempts(conn, late, 3)
    put_dead_letters(conn, 118, source="notification")
    accept(
        conn,
        *(
            new_delivery(f"reader{n}@example.net", lane=Lane.BULK, source="newsletter")
            for n in range(140)
        ),
    )
    shown = put_message(
        conn,
        to="ada@example.com",
        payload_mode=PayloadMode.TEMPLATE,
        status=Status.RENDERED,
        template_id="receipt",
        locale="en",
    )
    code = put_login_code(conn)
    for number in range(4):
        said = f"payload.template_id: there is no template spring-sale-{number}"
        put_malformed(conn, entry(f"spring-sale-{number}"), detail=said)
    listings = [
        Listing(f"{name}@example.net", reason)
        for name, reason in (
            ("angry", "they complained at the postmaster"),
            ("bounced", "the mailbox does not exist since 2025"),
            ("left", "unsubscribed by letter"),
        )
    ]
    put_suppressions(conn, listings, actor="maria", reason="support tickets 1181 to 1183")
    add_pause(conn, lane=Lane.BULK, source=None, actor="maria", reason="the relay is slow")
    return {"late": late, "shown": shown, "code": code}
