"""What people, services and the monitor ask: one function for each statement of `sql/reads.sql`.

The answers carry the words of the contract (lanes by name, statuses as they are) and are what the
internal API shows.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, TypeVar
from uuid import UUID

import msgspec
from msgspec import Meta

from mailworkers.adapters.db import SQL, Connection, run
from mailworkers.adapters.sqlstates import translated
from mailworkers.core.deliveries import NewRecipient
from mailworkers.core.states import (
    AttemptOutcome,
    AttemptStatus,
    Lane,
    PayloadMode,
    RecipientStatus,
    Stage,
    Status,
)

Time = Annotated[datetime, Meta(tz=True)]
LANES = {lane.label: lane for lane in Lane}
_ALL = 2**31 - 1


class Position(msgspec.Struct, frozen=True):
    """Where a page ended: the last delivery on it."""

    created_at: datetime
    delivery_id: UUID


class NumberedPosition(msgspec.Struct, frozen=True):
    """Where a page of numbered rows ended: when the last one came, and its number."""

    at: datetime
    number: int


class DeliveryFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which deliveries to list; what is empty or None is not asked for.

    `created_from` is included, `created_to` is not.
    """

    statuses: tuple[Status, ...] = ()
    sources: tuple[str, ...] = ()
    lanes: tuple[Lane, ...] = ()
    template_id: str | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None

    def parameters(self) -> dict[str, object]:
        """Return this as the statements that list deliveries take it."""
        return {
            "statuses": [str(status) for status in self.statuses] or None,
            "sources": list(self.sources) or None,
            "lanes": [int(lane) for lane in self.lanes] or None,
            "template_id": self.template_id,
            "created_from": self.created_from,
            "created_to": self.created_to,
        }


class DeliverySummary(msgspec.Struct, frozen=True):
    """One delivery in a list. `recipients` are the addresses of its envelope."""

    delivery_id: UUID
    source: str
    lane: str
    status: Status
    payload_mode: PayloadMode
    template_id: str | None
    template_version: str | None
    locale: str | None
    cycle_attempt: int
    attempt_no: int
    failure: str | None
    next_attempt_at: Time | None
    expires_at: Time | None
    created_at: Time
    finished_at: Time | None
    recipients: list[str]


class Recipient(msgspec.Struct, frozen=True):
    """One recipient and what became of it, with the relay's last reply to it."""

    kind: str
    address: str
    status: RecipientStatus
    reply_code: int | None
    enhanced_code: str | None


class Delivery(msgspec.Struct, frozen=True):
    """Everything about one delivery but its content.

    `next_attempt_at` is given while it waits, `ready_at` while it is ready, `lease_until` while it
    is sending; `failure` says why it ended without being sent; `mime_size` is in bytes.
    """

    delivery_id: UUID
    source: str
    lane: str
    status: Status
    payload_mode: PayloadMode
    template_id: str | None
    template_version: str | None
    locale: str | None
    mail_from: str
    idempotency_key: str
    resend_of: UUID | None
    cycle_attempt: int
    attempt_no: int
    retry_policy: str
    failure: str | None
    next_attempt_at: Time | None
    ready_at: Time | None
    lease_until: Time | None
    expires_at: Time | None
    cancel_requested_at: Time | None
    mime_size: int
    created_at: Time
    finished_at: Time | None
    traceparent: str | None
    recipients: list[Recipient] = []


class Attempt(msgspec.Struct, frozen=True):
    """One SMTP transaction; `summary` is the relay's redacted reply, or what went wrong."""

    attempt_no: int
    cycle_attempt: int
    status: AttemptStatus
    outcome: AttemptOutcome | None
    stage: Stage | None
    reply_code: int | None
    enhanced_code: str | None
    summary: str | None
    relay: str | None
    started_at: Time
    finished_at: Time | None


class TokenRow(msgspec.Struct, frozen=True):
    """One API token, known by the SHA-256 of its text; `is_valid` now."""

    token_hash: bytes
    name: str
    scopes: frozenset[str]
    is_valid: bool


def list_deliveries(
    conn: Connection, wanted: DeliveryFilter, *, before: Position | None, limit: int
) -> list[DeliverySummary]:
    """Return up to *limit* deliveries older than *before*, newest first, whoever they are for.

    It looks until it has found so many, however long that takes: see `delivery_pages`.
    """
    parameters = {**wanted.parameters(), "wanted_statuses": None, "most": _ALL}
    return list_as(conn, "list_deliveries", parameters, before, limit)


def list_deliveries_to(
    conn: Connection,
    canonical: str,
    wanted: DeliveryFilter,
    *,
    before: Position | None,
    limit: int,
) -> list[DeliverySummary]:
    """Return the same of the deliveries for one recipient."""
    parameters = {**wanted.parameters(), "canonical": canonical}
    return list_as(conn, "list_deliveries_to", parameters, before, limit)


def list_as(
    conn: Connection,
    statement: str,
    parameters: dict[str, object],
    before: Position | None,
    limit: int,
) -> list[DeliverySummary]:
    """Return what a *statement* that lists deliveries finds, with a plan of its own."""
    parameters = {
        **parameters,
        "before_at": before and before.created_at,
        "before_id": before and before.delivery_id,
        "limit": limit,
    }
    with translated():
        rows = conn.execute(SQL[statement], parameters, prepare=False, binary=True).fetchall()
    return [_summary(row) for row in rows]


def _summary(row: tuple[Any, ...]) -> DeliverySummary:
    delivery_id, source, lane, *rest, addresses = row
    return _read(DeliverySummary, (delivery_id, source, Lane(lane).label, *rest, addresses or []))


_Row = TypeVar("_Row", bound=msgspec.Struct)


def _read(kind: type[_Row], values: Sequence[object]) -> _Row:
    """Return the columns *values* as a *kind*, its words being members of their enumerations."""
    return msgspec.convert(dict(zip(kind.__struct_fields__, values, strict=False)), kind)


def find_delivery(conn: Connection, delivery_id: UUID) -> Delivery | None:
    """Return one delivery without its recipients, None when there is none."""
    rows = run(conn, "find_delivery", delivery_id=delivery_id)
    if not rows:
        return None
    found_id, source, lane, *rest = rows[0]
    return _read(Delivery, (found_id, source, Lane(lane).label, *rest))


def list_recipients(conn: Connection, delivery_id: UUID) -> list[Recipient]:
    """Return the recipients of one delivery, in the order of its envelope."""
    return [_read(Recipient, row) for row in run(conn, "list_recipients", delivery_id=delivery_id)]


def list_envelope(conn: Connection, delivery_id: UUID) -> list[NewRecipient]:
    """Return the envelope of one delivery, in order."""
    return [NewRecipient(*row) for row in run(conn, "list_envelope", delivery_id=delivery_id)]


def list_attempts(
    conn: Connection, delivery_id: UUID, *, before_no: int | None, limit: int
) -> list[Attempt]:
    """Return up to *limit* attempts of one delivery before attempt *before_no*, newest first."""
    rows = run(conn, "list_attempts", delivery_id=delivery_id, before_no=before_no, limit=limit)
    return [_read(Attempt, row) for row in rows]


def find_mime(conn: Connection, delivery_id: UUID) -> bytes | None:
    """Return the bytes of one delivery, None when they were deleted, or never there."""
    rows = run(conn, "find_mime", delivery_id=delivery_id)
    return bytes(rows[0][0]) if rows else None


def suppressed_at_intake(conn: Connection, delivery_ids: Sequence[UUID]) -> frozenset[UUID]:
    """Return which of *delivery_ids* were suppressed in the moment they were accepted."""
    rows = run(conn, "suppressed_at_intake", delivery_ids=list(delivery_ids))
    return frozenset(row[0] for row in rows)


def list_tokens(conn: Connection) -> tuple[TokenRow, ...]:
    """Return every API token there is, those no longer valid too."""
    return tuple(
        TokenRow(token_hash, name, frozenset(scopes), is_valid)
        for token_hash, name, scopes, is_valid in run(conn, "list_tokens")
    )


def ping(conn: Connection) -> None:
    """Do nothing but hear from the server."""
    run(conn, "ping")


def count_live(conn: Connection) -> dict[tuple[str, str], int]:
    """Return how many deliveries live, by status and lane."""
    return {(status, Lane(lane).label): count for status, lane, count in run(conn, "count_live")}


def oldest_due(conn: Connection) -> dict[str, float]:
    """Return, by lane, how many milliseconds the oldest due delivery has waited."""
    return {Lane(lane).label: float(age_ms) for lane, age_ms in run(conn, "oldest_due")}


def live_roles(conn: Connection, *, silence: timedelta) -> dict[str, int]:
    """Return how many processes of each role gave a sign of life within *silence*."""
    return dict(run(conn, "live_roles", silence=silence))


def is_process_alive(
    conn: Connection, *, role: str, host: str, pid: int, silence: timedelta
) -> bool:
    """Return whether process *pid* of *host*, of *role*, gave a sign of life within *silence*."""
    rows = run(conn, "is_process_alive", role=role, host=host, pid=pid, silence=silence)
    return bool(rows[0][0])
