"""Adopting the journal of a dead sender, statement by statement; `adapters/adoption.py`'s order."""

from collections.abc import Callable, Mapping

import msgspec

from mailworkers.adapters.store import LeasedRow
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
from tests.model.hosts import Host, JournalFile
from tests.model.store import Lease, Store


class Adoption:
    """One journal being brought into the database; each `advance` is one statement."""

    def __init__(
        self,
        host: Host,
        journal: JournalFile,
        policies: Mapping[str, RetryPolicy],
        parked: frozenset[Lane],
    ) -> None:
        self.journal = journal
        self._host = host
        self._policies = policies
        self._parked = parked
        self._content = journal.read()
        self._is_trusted = host.is_trusted(self._content)
        self._settlements = [
            record.settlement
            for record in self._content.latest.values()
            if isinstance(record, Answered)
        ]
        self._leases: list[Lease] = []
        self._stages: list[Callable[[Store], None]] = [
            self._settle,
            self._settle_late,
            self._read,
            self._settle,
            self._settle_late,
            self._read_rest,
            self._hand_back,
            self._remove,
        ]
        journal.is_locked = True

    @property
    def is_over(self) -> bool:
        """Whether the journal is gone."""
        return not self._stages

    def advance(self, store: Store) -> None:
        """Do what comes next."""
        self._stages[0](store)
        self._stages.pop(0)

    def release(self) -> None:
        """Let the journal go: the adopter is dead, or lost the store."""
        self.journal.is_locked = False

    def _settle(self, store: Store) -> None:
        if self._settlements:
            settled = store.settle(self._settlements)
            self._settlements = [s for s in self._settlements if s.delivery_id not in settled]

    def _settle_late(self, store: Store) -> None:
        if self._settlements:
            store.settle_late(self._settlements)
        self._settlements = []

    def _read(self, store: Store) -> None:
        for row in store.leased_rows(self.journal.journal_id):
            record = self._content.latest.get((row.delivery_id, row.lease_token))
            kind = fate(record, is_trusted=self._is_trusted)
            if kind in {Fate.UNKNOWN, Fate.BEGUN}:
                self._settlements.append(self._settlement(row, record, kind))

    def _settlement(
        self, row: LeasedRow, record: Begin | Dot | Answered | None, kind: Fate
    ) -> Settlement:
        recipients = len(row.ordinals)
        if kind is Fate.UNKNOWN:
            verdict = verdict_of_unknown(record, recipients)
        elif row.abandoned + 1 >= MOST_DEATHS:
            verdict = verdict_of_poison(recipients)
        else:
            verdict = verdict_of_begun(recipients)
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
            chance=0.5,
            is_parked=Lane(row.lane) in self._parked,
            relay="",
            summary="the sender died",
        )
        return (
            settlement if kind is Fate.UNKNOWN else msgspec.structs.replace(settlement, stage=None)
        )

    def _read_rest(self, store: Store) -> None:
        self._leases = store.leases_of(self.journal.journal_id, [])

    def _hand_back(self, store: Store) -> None:
        if self._leases:
            store.hand_back(self._leases)

    def _remove(self, _store: Store) -> None:
        self._host.remove(self.journal)
