"""The judge is judged: a world with a defect planted in it must be found out."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec
import pytest

from mailworkers.adapters.store import Leased, Reclaim
from mailworkers.core.journal import Dot, Journal, Record
from mailworkers.core.retry import RetryPolicy
from mailworkers.core.settlement import Settlement
from mailworkers.core.states import AttemptStatus, Lane, RecipientStatus, Status
from tests.model.adoptions import Adoption
from tests.model.hosts import Host, JournalFile
from tests.model.memory import MemoryStore
from tests.model.rows import Row
from tests.model.store import Lease
from tests.model.walks import draw, run
from tests.model.world import World

MOST = 20_000  # schedules until a defect must have been found


class SettlesAnybodysLease(MemoryStore):
    """`settle` without its guard on the token."""

    def settle(self, settlements: Sequence[Settlement]) -> dict[UUID, str]:
        return super().settle([self._with_token(found) for found in settlements])

    def _with_token(self, found: Settlement) -> Settlement:
        row = self.rows.get(found.delivery_id)
        token = row.lease_token if row and row.lease_token else found.lease_token
        return msgspec.structs.replace(found, lease_token=token)


class HandsBackAnyLease(MemoryStore):
    """`hand_back` without its guard on the token."""

    def hand_back(self, leases: Sequence[Lease]) -> int:
        rows = [self.rows[key] for key, _ in leases if key in self.rows]
        return super().hand_back([(r.delivery_id, r.lease_token) for r in rows if r.lease_token])


class ReclaimsAnybodysLease(MemoryStore):
    """`reclaim` without its guards on token and end of the lease."""

    def reclaim(self, reclaims: Sequence[Reclaim]) -> dict[UUID, str]:
        moved = {}
        for found in reclaims:
            row = self.rows.get(found.delivery_id)
            if row and row.lease_token:
                self._reclaim(row, found)
                moved[row.delivery_id] = row.status.value
        return moved


class RecordsTwice(MemoryStore):
    """`settle_late` that corrects any attempt called abandoned."""

    def settle_late(self, settlements: Sequence[Settlement]) -> dict[UUID, str]:
        held = {}
        for found in settlements:
            row = self.rows.get(found.delivery_id)
            last = row.last_attempt if row else None
            if row and last and last.status is AttemptStatus.ABANDONED and not row.lease_token:
                held[row.delivery_id] = self._settle_late(row, last, found)
        return held


class LeasesWhatIsLeased(MemoryStore):
    """`lease_ready` that does not skip what another has just taken."""

    def lease_ready(self, **asked: Any) -> list[Leased]:
        for row in self.rows.values():
            if row.status is Status.SENDING:
                row.status, row.lease_token, row.leased_by = row.payload_mode.ready, None, None
        return super().lease_ready(**asked)


class KeepsLettersOpen(MemoryStore):
    """`requeue` that forgets the dead letter."""

    def _close_letters(self, row: Row) -> None:
        pass


class TriesWhoHasIt(MemoryStore):
    """A settle that leaves an accepted recipient open."""

    def _settle(self, row: Row, found: Settlement) -> None:
        super()._settle(row, found)
        if row.status is Status.DEFERRED:
            row.recipients = [RecipientStatus.OPEN for _ in row.recipients]


class ForgetsDots(JournalFile):
    """A journal that does not take `dot`."""

    def write(self, record: Record) -> None:
        if not isinstance(record, Dot):
            super().write(record)


class ForgettingWorld(World):
    """A world of such journals."""

    journal = ForgetsDots


class TrustsAnyJournal(Host):
    """A host that believes in what the journal of another boot does not say."""

    def is_trusted(self, _content: Journal) -> bool:
        return True


class TrustingWorld(World):
    """A world of such hosts."""

    host = TrustsAnyJournal


class HasNoLocks(Host):
    """A host on which a journal can be adopted while its sender lives."""

    def orphans(self) -> list[JournalFile]:
        return list(self.journals)


class LocklessWorld(World):
    """A world of such hosts."""

    host = HasNoLocks


class TriesParkedAgain(Adoption):
    """An adopter that does not know of the policy `park`."""

    def __init__(
        self,
        host: Host,
        journal: JournalFile,
        policies: Mapping[str, RetryPolicy],
        _parked: frozenset[Lane],
    ) -> None:
        super().__init__(host, journal, policies, frozenset())


class UnparkingWorld(World):
    """A world of such adopters."""

    adoption = TriesParkedAgain


def on(store: type[MemoryStore]) -> type[World]:
    """Return worlds on *store*."""

    class Stored(World):
        def __init__(self, parked: frozenset[Lane]) -> None:
            super().__init__(parked, lambda clock: store(clock.now))

    Stored.__name__ = store.__name__
    return Stored


SOON = [
    ForgettingWorld,
    TrustingWorld,
    LocklessWorld,
    *map(on, (RecordsTwice, LeasesWhatIsLeased, ReclaimsAnybodysLease, SettlesAnybodysLease)),
    *map(on, (KeepsLettersOpen, TriesWhoHasIt)),
]
LATER = [UnparkingWorld, on(HandsBackAnyLease)]
_slow = pytest.mark.slow


@pytest.mark.parametrize(
    "world",
    [*SOON, *(pytest.param(world, marks=_slow) for world in LATER)],
    ids=lambda world: world.__name__,
)
def test_a_planted_defect_is_found(world: type[World]) -> None:
    """Within thousands of schedules some invariant does not hold in such a world."""
    found = (run(draw(seed), world) for seed in range(MOST))

    assert any(found)
