"""Accepting: (source, idempotency_key) is taken and the delivery stored in one transaction.

The key is judged first: a key that is taken makes the input a replay or a conflict; only a free key
with a `delivery_id` that exists is a duplicate.
"""

import enum
from collections.abc import Iterable, Sequence
from uuid import UUID

import msgspec

from mailworkers.adapters.db import Connection, run
from mailworkers.core.deliveries import NewDelivery
from mailworkers.core.states import Failure, RecipientStatus, Status


class Verdict(enum.StrEnum):
    """What accepting one input came to."""

    ACCEPTED = "accepted"
    REPLAYED = "replayed"
    CONFLICT = "conflict"
    DUPLICATE_ID = "duplicate_id"


class Acceptance(msgspec.Struct, frozen=True):
    """The verdict about one input; `delivery_id` is the first one when its key was taken before.

    `status` is the status given now, "" for what was not stored now.
    """

    verdict: Verdict
    delivery_id: UUID
    status: str = ""


class _Holder(msgspec.Struct, frozen=True):
    """What holds a key: the delivery and the fingerprint of its content."""

    fingerprint: bytes
    delivery_id: UUID


class Claim(msgspec.Struct, frozen=True):
    """What one command claims: a key, for content of this fingerprint."""

    source: str
    idempotency_key: str
    fingerprint: bytes


_Key = tuple[str, str]


def accept(conn: Connection, news: Sequence[NewDelivery]) -> list[Acceptance]:
    """Store *news* and return a verdict for each, in order. Inside the caller's transaction.

    Works in rounds: each stores the first input of every key and delivery_id. One round is the
    rule; more are needed only when inputs of one batch share a delivery_id.
    """
    verdicts: dict[int, Acceptance] = {}
    listed = _find_suppressed(conn, news)
    pending = list(range(len(news)))
    while pending:
        leaders, followers = _first_of_each(news, pending)
        holders = _store_round(conn, news, leaders, listed, verdicts)
        pending = [i for i in leaders if i not in verdicts]
        for i in followers:
            holder = holders.get(_key(news[i]))
            if holder is None:
                pending.append(i)
            else:
                verdicts[i] = _compare(news[i], holder)
        pending.sort()
    return [verdicts[i] for i in range(len(news))]


def find_replays(conn: Connection, claims: Sequence[Claim]) -> list[Acceptance | None]:
    """Return a replay for each of *claims* that was accepted before, None for the others."""
    if not claims:
        return []
    rows = run(
        conn,
        "find_reservations",
        sources=[claim.source for claim in claims],
        idempotency_keys=[claim.idempotency_key for claim in claims],
    )
    held = {Claim(source, key, fingerprint): at for source, key, fingerprint, at in rows}
    return [
        Acceptance(Verdict.REPLAYED, held[claim]) if claim in held else None for claim in claims
    ]


def _key(new: NewDelivery) -> _Key:
    return (new.source, new.idempotency_key)


def _compare(new: NewDelivery, holder: _Holder) -> Acceptance:
    """Return what *new* is to the *holder* of its key: the same again, or something else."""
    same = new.fingerprint == holder.fingerprint
    return Acceptance(Verdict.REPLAYED if same else Verdict.CONFLICT, holder.delivery_id)


def _first_of_each(
    news: Sequence[NewDelivery], indexes: Iterable[int]
) -> tuple[list[int], list[int]]:
    """Split *indexes* into those that are first with their key and their id, and the rest."""
    keys: set[_Key] = set()
    ids: set[UUID] = set()
    leaders: list[int] = []
    followers: list[int] = []
    for i in indexes:
        key, delivery_id = _key(news[i]), news[i].delivery_id
        (followers if key in keys or delivery_id in ids else leaders).append(i)
        keys.add(key)
        ids.add(delivery_id)
    return leaders, followers


def _store_round(
    conn: Connection,
    news: Sequence[NewDelivery],
    leaders: list[int],
    listed: frozenset[_Key],
    verdicts: dict[int, Acceptance],
) -> dict[_Key, _Holder]:
    """Store the *leaders*, enter their *verdicts* and return who holds their keys now."""
    ends = [_initial_end(news[i], listed) for i in leaders]
    # In the order of their keys: two batches must not wait for each other crosswise.
    ordered = sorted(zip(leaders, ends, strict=True), key=lambda pair: _key(news[pair[0]]))
    stored = _insert(conn, [news[i] for i, _ in ordered], [end for _, end in ordered])
    holders: dict[_Key, _Holder] = {}
    accepted = []
    for i, (status, _) in zip(leaders, ends, strict=True):
        new = news[i]
        if new.delivery_id in stored:
            verdicts[i] = Acceptance(Verdict.ACCEPTED, new.delivery_id, status)
            holders[_key(new)] = _Holder(new.fingerprint, new.delivery_id)
            accepted.append(new)
    if accepted:
        _insert_contents(conn, accepted, listed)
    rest = [i for i in leaders if i not in verdicts]
    if rest:
        holders |= _judge_the_rest(conn, news, rest, verdicts)
    return holders


def _judge_the_rest(
    conn: Connection,
    news: Sequence[NewDelivery],
    rest: list[int],
    verdicts: dict[int, Acceptance],
) -> dict[_Key, _Holder]:
    """Enter verdicts for what was not stored: replay, conflict or duplicate id.

    A key neither inserted nor found was freed in between: no verdict, it is tried again.
    """
    rows = run(
        conn,
        "find_reservations",
        sources=[news[i].source for i in rest],
        idempotency_keys=[news[i].idempotency_key for i in rest],
    )
    holders = {(source, key): _Holder(fingerprint, at) for source, key, fingerprint, at in rows}
    keyless = [i for i in rest if _key(news[i]) not in holders]
    taken = _taken(conn, [news[i].delivery_id for i in keyless])
    for i in rest:
        if holder := holders.get(_key(news[i])):
            verdicts[i] = _compare(news[i], holder)
        elif news[i].delivery_id in taken:
            verdicts[i] = Acceptance(Verdict.DUPLICATE_ID, news[i].delivery_id)
    return holders


def _taken(conn: Connection, delivery_ids: list[UUID]) -> frozenset[UUID]:
    if not delivery_ids:
        return frozenset()
    rows = run(conn, "taken_delivery_ids", delivery_ids=delivery_ids)
    return frozenset(row[0] for row in rows)


def _find_suppressed(conn: Connection, news: Sequence[NewDelivery]) -> frozenset[_Key]:
    """Return the (source, canonical) pairs of *news* that are on the suppression list now."""
    pairs = {(new.source, r.canonical) for new in news for r in new.recipients}
    if not pairs:
        return frozenset()
    sources, canonicals = zip(*pairs, strict=True)
    rows = run(conn, "find_suppressed", sources=list(sources), canonicals=list(canonicals))
    return frozenset((source, canonical) for source, canonical in rows)


def _initial_end(new: NewDelivery, listed: frozenset[_Key]) -> tuple[str, str | None]:
    """Return the status and failure a new delivery is stored with."""
    if all((new.source, r.canonical) in listed for r in new.recipients):
        return Status.SUPPRESSED, new.failure or Failure.LISTED
    return new.status, new.failure


def _insert(
    conn: Connection, news: list[NewDelivery], ends: list[tuple[str, str | None]]
) -> frozenset[UUID]:
    """Reserve the keys and store the rows; return the delivery_ids that were stored."""
    rows = run(
        conn,
        "accept",
        delivery_ids=[n.delivery_id for n in news],
        sources=[n.source for n in news],
        lanes=[int(n.lane) for n in news],
        statuses=[str(status) for status, _ in ends],
        payload_modes=[str(n.payload_mode) for n in news],
        template_ids=[n.template_id for n in news],
        template_versions=[n.template_version for n in news],
        locales=[n.locale for n in news],
        mail_froms=[n.mail_from for n in news],
        idempotency_keys=[n.idempotency_key for n in news],
        fingerprints=[n.fingerprint for n in news],
        retry_policies=[n.retry_policy for n in news],
        next_attempt_ats=[n.next_attempt_at for n in news],
        expires_ats=[n.expires_at for n in news],
        mime_sizes=[len(n.mime) for n in news],
        failures=[failure and str(failure) for _, failure in ends],
        traceparents=[n.traceparent for n in news],
        resend_ofs=[n.resend_of for n in news],
    )
    return frozenset(row[0] for row in rows)


def _insert_contents(conn: Connection, news: list[NewDelivery], listed: frozenset[_Key]) -> None:
    """Store recipients and bytes of deliveries that were stored just now."""
    flat = [(n, ordinal, r) for n in news for ordinal, r in enumerate(n.recipients)]
    run(
        conn,
        "store_recipients",
        delivery_ids=[n.delivery_id for n, _, _ in flat],
        ordinals=[ordinal for _, ordinal, _ in flat],
        kinds=[str(r.kind) for _, _, r in flat],
        addresses=[r.address for _, _, r in flat],
        canonicals=[r.canonical for _, _, r in flat],
        statuses=[
            str(RecipientStatus.SUPPRESSED)
            if n.status == Status.SUPPRESSED or (n.source, r.canonical) in listed
            else str(RecipientStatus.OPEN)
            for n, _, r in flat
        ],
    )
    run(
        conn,
        "store_payloads",
        delivery_ids=[n.delivery_id for n in news],
        mimes=[n.mime for n in news],
    )
