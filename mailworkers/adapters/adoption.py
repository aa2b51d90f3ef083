"""Adopting the journals of dead senders of this host: every row they held gets what happened.

Outcomes that were read are settled; a dot without its reply is unknown; what was begun without a
dot is ready again and costs nothing, but for the third death over one delivery; what was not
started is handed back. Killed in the middle: the journal is still there, and each step leaves the
rest as it was.
"""

import random
from collections.abc import Mapping
from pathlib import Path

import msgspec

from mailworkers.adapters import store
from mailworkers.adapters.db import Connection
from mailworkers.adapters.journal import Orphan, orphans
from mailworkers.adapters.outcomes import Outcome, record, tell
from mailworkers.adapters.store import LeasedRow
from mailworkers.adapters.telemetry import Telemetry
from mailworkers.core.adoption import (
    MOST_DEATHS,
    Fate,
    fate,
    verdict_of_begun,
    verdict_of_poison,
    verdict_of_unknown,
)
from mailworkers.core.journal import Answered, Begin, Dot
from mailworkers.core.retry import RetryPolicy
from mailworkers.core.settlement import Case, Settlement, decide
from mailworkers.core.states import Lane, PayloadMode, RecipientStatus

_DIED = "the sender died"


class Adopter:
    """Settles what dead senders left behind, by the policies of this installation."""

    def __init__(
        self,
        state_dir: Path,
        policies: Mapping[str, RetryPolicy],
        parked: frozenset[Lane],
        telemetry: Telemetry,
    ) -> None:
        self._state_dir = state_dir
        self._policies = policies
        self._parked = parked
        self._telemetry = telemetry
        # A journal names no policy; the number is for a log line only.
        self._most_attempts = max(policy.max_attempts for policy in policies.values())

    def adopt(self, conn: Connection) -> None:
        """Adopt every journal of this host whose sender is dead, then remove it."""
        with orphans(self._state_dir) as found:
            for orphan in found:
                self._adopt(conn, orphan)
                orphan.remove()

    def _adopt(self, conn: Connection, orphan: Orphan) -> None:
        """Bring one journal into the database."""
        latest = orphan.content.latest
        counts = dict.fromkeys(Fate, 0)
        answered = [r.settlement for r in latest.values() if isinstance(r, Answered)]
        counts[Fate.ANSWERED] = self._settle(conn, answered)
        if orphan.journal_id is not None:
            rows = store.leased_rows(conn, orphan.journal_id)
            self._settle(conn, self._decide(rows, orphan, counts))
            counts[Fate.UNTOUCHED] = store.hand_back(conn, leased_by=orphan.journal_id, held=[])
        self._telemetry.journal_adopted(**{str(kind): count for kind, count in counts.items()})

    def _settle(self, conn: Connection, settlements: list[Settlement]) -> int:
        """Settle, in time or late, and tell; return how many of them held."""
        if not settlements:
            return 0
        outcomes = [Outcome(settlement, self._most_attempts) for settlement in settlements]
        recorded = record(conn, outcomes)
        lost = tell(self._telemetry, outcomes, recorded)
        return len(outcomes) - len(lost)

    def _decide(
        self, rows: list[LeasedRow], orphan: Orphan, counts: dict[Fate, int]
    ) -> list[Settlement]:
        """Return the settlements of rows that were begun, or may have gone out."""
        settlements: list[Settlement] = []
        for row in rows:
            record = orphan.content.latest.get((row.delivery_id, row.lease_token))
            kind = fate(record, is_trusted=orphan.is_trusted)
            if kind in {Fate.UNKNOWN, Fate.BEGUN}:
                counts[kind] += 1
                settlements.append(self._settlement(row, record, kind))
        return settlements

    def _settlement(
        self, row: LeasedRow, record: Begin | Dot | Answered | None, kind: Fate
    ) -> Settlement:
        recipients = len(row.ordinals)
        if kind is Fate.UNKNOWN:
            verdict, summary = verdict_of_unknown(record, recipients), f"{_DIED} after the dot"
        elif row.abandoned + 1 >= MOST_DEATHS:
            verdict, summary = verdict_of_poison(recipients), f"{_DIED} {MOST_DEATHS} times over it"
        else:
            verdict, summary = verdict_of_begun(recipients), f"{_DIED} before the dot"
        settlement = decide(
            Case(
                delivery_id=row.delivery_id,
                lease_token=row.lease_token,
                payload_mode=PayloadMode(row.payload_mode),
                cycle_attempt=row.cycle_attempt,
                expires_at=row.expires_at,
                ordinals=row.ordinals,
                closed=[RecipientStatus(status) for status in row.closed],
            ),
            verdict,
            now=row.now,
            policy=self._policies[row.retry_policy],
            chance=random.random(),  # noqa: S311
            is_parked=Lane(row.lane) in self._parked,
            relay="",
            summary=summary,
        )
        # How far it got within its stage, nobody has seen.
        is_unknown = kind is Fate.UNKNOWN
        return settlement if is_unknown else msgspec.structs.replace(settlement, stage=None)
