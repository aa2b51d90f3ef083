"""Reviews through the API: dead letters, their replays, refused entries."""

from datetime import datetime
from http import HTTPStatus
from typing import Any

import msgspec

from mailworkers.adapters.store.dead_letters import DeadLetter, DeadLetterFilter
from mailworkers.adapters.store.malformed import MalformedCommand, MalformedFilter
from mailworkers.adapters.store.replays import Replay, ReplayPlan
from mailworkers.cli.acting import DRY_RUN
from mailworkers.cli.http_pages import HttpPages, Page, milliseconds, or_none
from mailworkers.core.errors import ApiRefused


class _Ordered(msgspec.Struct):
    replay_id: int | None
    plan: ReplayPlan


class HttpReviews(HttpPages):
    """What operators look after."""

    def list_dead_letters(self, wanted: DeadLetterFilter, limit: int) -> list[DeadLetter]:
        """Return up to *limit* dead letters, newest first."""
        parameters = [
            *(("cause", cause) for cause in wanted.causes),
            *(("source", source) for source in wanted.sources),
            *(("lane", lane) for lane in wanted.lanes),
            ("recipient", wanted.recipient),
            ("template", wanted.template_id),
            ("from", wanted.created_from and wanted.created_from.isoformat()),
            ("to", wanted.created_to and wanted.created_to.isoformat()),
            ("resolved", wanted.is_resolved),
        ]
        return self.pages("/dead-letters", Page[DeadLetter], parameters, limit)

    def find_dead_letter(self, number: int) -> DeadLetter | None:
        """Return one dead letter, also one that is none any more."""
        return self.find(f"/dead-letters/{number}", DeadLetter)

    def resolve_dead_letter(self, number: int, note: str) -> DeadLetter | None:
        """Note that one was seen to; None also where it is no dead letter any more."""
        path, body = f"/dead-letters/{number}/resolve", {"note": note}
        try:
            return or_none(lambda: self._client.post(path, DeadLetter, body))
        except ApiRefused as error:
            if error.code != "not_resolvable":
                raise
            return None

    def plan_replay(
        self, wanted: DeadLetterFilter, rate: float, expires_at: datetime | None, reason: str
    ) -> ReplayPlan:
        """Return what a replay would do; nothing is changed."""
        body = _order(wanted, rate, expires_at, reason or DRY_RUN) | {"dry_run": True}
        return self._client.post("/dead-letters:replay", _Ordered, body).plan

    def order_replay(
        self, wanted: DeadLetterFilter, rate: float, expires_at: datetime | None, reason: str
    ) -> Replay | None:
        """Have dead letters sent again at *rate* a second; None where none can be."""
        body = _order(wanted, rate, expires_at, reason)
        try:
            made = self._client.post("/dead-letters:replay", _Ordered, body)
        except ApiRefused as error:
            if error.status != HTTPStatus.CONFLICT:
                raise
            return None
        return None if made.replay_id is None else self.find_replay(made.replay_id)

    def list_replays(self, limit: int) -> list[Replay]:
        """Return up to *limit* replays, newest first."""
        return self.pages("/replays", Page[Replay], (), limit)

    def find_replay(self, replay_id: int) -> Replay | None:
        """Return one replay and what became of its deliveries."""
        return self.find(f"/replays/{replay_id}", Replay)

    def cancel_replay(self, replay_id: int, reason: str) -> Replay | None:
        """Have what a replay left scheduled put back."""
        path, body = f"/replays/{replay_id}/cancel", {"reason": reason}
        return or_none(lambda: self._client.post(path, Replay, body))

    def list_malformed(self, wanted: MalformedFilter, limit: int) -> list[MalformedCommand]:
        """Return up to *limit* refused entries, newest first."""
        parameters = [
            *(("failure_code", code) for code in wanted.failure_codes),
            *(("source", source) for source in wanted.sources),
            ("replayed", wanted.is_replayed),
            ("from", wanted.received_from and wanted.received_from.isoformat()),
            ("to", wanted.received_to and wanted.received_to.isoformat()),
        ]
        return self.pages("/malformed-commands", Page[MalformedCommand], parameters, limit)


def _order(
    wanted: DeadLetterFilter, rate: float, expires_at: datetime | None, reason: str
) -> dict[str, Any]:
    """Return the body that orders a replay; what is not asked for is left out."""
    given = {
        "cause": list(wanted.causes),
        "source": list(wanted.sources),
        "lane": list(wanted.lanes),
        "recipient": wanted.recipient,
        "template": wanted.template_id,
        "from_ms": milliseconds(wanted.created_from),
        "to_ms": milliseconds(wanted.created_to),
        "dead_letter_ids": list(wanted.dead_letter_ids),
    }
    chosen: dict[str, Any] = {name: value for name, value in given.items() if value}
    body: dict[str, Any] = {
        "reason": reason,
        "rate_per_second": rate,
        "filter": chosen | {"resolved": wanted.is_resolved},
    }
    return body if expires_at is None else body | {"expires_at_ms": milliseconds(expires_at)}
