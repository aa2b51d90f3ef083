"""Resending: a delivery that has ended is accepted anew, as a clone with a link to it.

For whoever lost the mail, or gave a wrong address that is right now. The original stays as it is.
"""

import enum
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID, uuid4

import msgspec

from mailworkers.adapters import db, store
from mailworkers.adapters.intake import Intake
from mailworkers.adapters.store import Acceptance, Verdict, reads
from mailworkers.adapters.store.operator_actions import record_action
from mailworkers.adapters.store.reads import LANES, Delivery
from mailworkers.core.deliveries import NewDelivery, NewRecipient
from mailworkers.core.resending import SOURCE, Original
from mailworkers.core.states import FINAL, Lane, Status


class Refusal(enum.StrEnum):
    """Why a delivery is not sent anew."""

    NOT_ENDED = "not_ended"
    AUTH = "auth"
    CONTENT_DELETED = "content_deleted"
    EXPIRED = "expired"
    KEY_TAKEN = "key_taken"

    def words(self, status: str) -> str:
        """Return this as a sentence for people, about a delivery of this *status*."""
        return _WORDS[self].format(status=status)


_WORDS = {
    Refusal.NOT_ENDED: "it is {status}: wait for its end, or cancel it",
    Refusal.AUTH: "auth mail is not sent again: whoever signs in asks for a new code",
    Refusal.CONTENT_DELETED: "its content was deleted, its time is over",
    Refusal.EXPIRED: "it would expire before it is sent: give an expires_at in the future",
    Refusal.KEY_TAKEN: "the idempotency key was used for another resend",
}


class Resent(msgspec.Struct, frozen=True):
    """What a resend came to: the clone's id and status, or why there is none.

    `is_replay`: the clone was made before, under the same key; its `status` is "" then.
    `is_suppressed`: it ended the moment it was accepted.
    """

    original: Delivery
    delivery_id: UUID | None = None
    status: str = ""
    is_replay: bool = False
    is_suppressed: bool = False
    refusal: Refusal | None = None


def resend(
    conn: db.Connection,
    intake: Intake,
    delivery_id: UUID,
    *,
    actor: str,
    reason: str,
    idempotency_key: str | None = None,
    expires_at: datetime | None = None,
) -> Resent | None:
    """Accept what a delivery says anew, for the same recipients; None: there is no such delivery.

    Whoever is on the suppression list by now gets none. The same *idempotency_key* gives the same
    clone; without one every call makes one. *expires_at* replaces that of the original.
    """
    original = reads.find_delivery(conn, delivery_id)
    if original is None:
        return None
    mime = reads.find_mime(conn, delivery_id)
    end = expires_at or original.expires_at
    is_late = end is not None and end <= store.database_time(conn)
    if refusal := _refusal(original, has_content=mime is not None, is_late=is_late):
        return Resent(original, refusal=refusal)
    clone = intake.clone(
        _original(original, mime or b"", reads.list_envelope(conn, delivery_id)),
        idempotency_key=idempotency_key or f"{SOURCE}-{uuid4()}",
        expires_at=expires_at,
    )

    acceptance = db.run_transaction(
        conn, lambda: _accept(conn, original, clone, actor=actor, reason=reason)
    )
    return _resent(conn, original, acceptance)


def _accept(
    conn: db.Connection, original: Delivery, clone: NewDelivery, *, actor: str, reason: str
) -> Acceptance:
    """Store *clone*, and say so in the trail where it is new: inside a transaction."""
    (acceptance,) = store.accept(conn, [clone])
    if acceptance.verdict is Verdict.ACCEPTED:
        record_action(
            conn,
            actor=actor,
            action="resend",
            subject=f"delivery {original.delivery_id}",
            before={"status": original.status},
            after={"status": original.status, "resent_as": str(acceptance.delivery_id)},
            reason=reason,
        )
    return acceptance


def _refusal(original: Delivery, *, has_content: bool, is_late: bool) -> Refusal | None:
    """Return why *original* cannot be sent anew, what cannot be helped first."""
    if original.status not in FINAL:
        return Refusal.NOT_ENDED
    if original.lane == Lane.AUTH.label:
        return Refusal.AUTH
    if not has_content:
        return Refusal.CONTENT_DELETED
    return Refusal.EXPIRED if is_late else None


def _original(found: Delivery, mime: bytes, recipients: Sequence[NewRecipient]) -> Original:
    return Original(
        delivery_id=found.delivery_id,
        lane=LANES[found.lane],
        payload_mode=found.payload_mode,
        template_id=found.template_id,
        template_version=found.template_version,
        locale=found.locale,
        mail_from=found.mail_from,
        retry_policy=found.retry_policy,
        expires_at=found.expires_at,
        mime=mime,
        recipients=tuple(recipients),
    )


def _resent(conn: db.Connection, original: Delivery, acceptance: Acceptance) -> Resent:
    made = acceptance.delivery_id
    if acceptance.verdict is Verdict.ACCEPTED:
        is_suppressed = acceptance.status == Status.SUPPRESSED
        return Resent(original, made, acceptance.status, is_suppressed=is_suppressed)
    if acceptance.verdict is Verdict.REPLAYED:
        is_suppressed = bool(reads.suppressed_at_intake(conn, [made]))
        return Resent(original, made, is_replay=True, is_suppressed=is_suppressed)
    return Resent(original, refusal=Refusal.KEY_TAKEN)
