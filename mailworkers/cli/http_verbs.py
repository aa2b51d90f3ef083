"""Verbs through the API: what operators do to one delivery or refused entry.

An answer 409 is not a failure: it says what stood in the way.
"""

from datetime import datetime
from http import HTTPStatus
from typing import Any
from uuid import UUID

import msgspec

from mailworkers.adapters.store.malformed import MalformedCommand
from mailworkers.cli.acting import DRY_RUN
from mailworkers.cli.http_pages import HttpPages, milliseconds, or_none
from mailworkers.cli.operations import Clone, Done, Taken
from mailworkers.core.errors import ApiRefused
from mailworkers.core.refusals import FailureCode


class _Verdict(msgspec.Struct):
    status: str


class _Clone(msgspec.Struct):
    delivery_id: UUID
    outcome: str


class _Taken(msgspec.Struct):
    delivery_id: UUID
    outcome: str


class _Detail(msgspec.Struct):
    command: MalformedCommand
    fields: dict[str, str] | None


class HttpVerbs(HttpPages):
    """Cancel, requeue, resend; refused entries judged again."""

    def cancel(self, delivery_id: UUID, reason: str) -> Done | None:
        """Withdraw a delivery before it is sent."""
        return self._do(f"/deliveries/{delivery_id}/cancel", {"reason": reason})

    def requeue(self, delivery_id: UUID, reason: str, expires_at: datetime | None) -> Done | None:
        """Send a delivery again that is in trouble."""
        return self._do(f"/deliveries/{delivery_id}/requeue", _order(reason, expires_at))

    def _do(self, path: str, body: dict[str, Any]) -> Done | None:
        try:
            done = or_none(lambda: self._client.post(path, _Verdict, body))
        except ApiRefused as error:
            why = _conflict(error)
            return Done(str(error.details.get("status", "")), why, error.message)
        return None if done is None else Done(done.status)

    def resend(
        self, delivery_id: UUID, reason: str, key: str | None, expires_at: datetime | None
    ) -> Clone | None:
        """Send what an ended delivery says anew; the same *key* twice sends once."""
        path, headers = f"/deliveries/{delivery_id}/resend", {"Idempotency-Key": key} if key else {}
        body = _order(reason, expires_at)
        try:
            made = or_none(lambda: self._client.post(path, _Clone, body, headers))
        except ApiRefused as error:
            return Clone(None, refusal=_conflict(error), words=error.message)
        if made is None:
            return None
        is_replay = self._client.is_replayed
        return Clone(made.delivery_id, is_replay, made.outcome == "suppressed")

    def read_malformed(self, number: int) -> dict[str, str] | None:
        """Return what stood in a refused entry; the API records who looks at a secret."""
        asked = [("content", True)]
        path = f"/malformed-commands/{number}"
        found = or_none(lambda: self._client.get(path, _Detail, asked))
        return None if found is None else found.fields

    def find_malformed(self, number: int) -> MalformedCommand | None:
        """Return one refused entry, without what stood in it."""
        found = self.find(f"/malformed-commands/{number}", _Detail)
        return None if found is None else found.command

    def replay_malformed(self, number: int, reason: str, *, is_dry: bool) -> Taken | None:
        """Judge a refused entry again, and accept it if nothing speaks against it."""
        path = f"/malformed-commands/{number}/replay"
        body: dict[str, Any] = {"reason": reason or DRY_RUN}
        if is_dry:
            body["dry_run"] = True
        try:
            taken = or_none(lambda: self._client.post(path, _Taken, body))
        except ApiRefused as error:
            reason, words = _conflict(error), error.message
            if reason in {str(code) for code in FailureCode}:
                words = f"{reason}: {words}"
            return Taken(None, reason=reason, words=words)
        if taken is None:
            return None
        return Taken(taken.delivery_id, is_new=taken.outcome == "accepted")


def _order(reason: str, expires_at: datetime | None) -> dict[str, Any]:
    body: dict[str, Any] = {"reason": reason}
    return body if expires_at is None else body | {"expires_at_ms": milliseconds(expires_at)}


def _conflict(error: ApiRefused) -> str:
    """Return the reason of an answer 409; every other error goes on."""
    if error.status != HTTPStatus.CONFLICT or "reason" not in error.details:
        raise error
    return str(error.details["reason"])
