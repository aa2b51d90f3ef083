"""Reviews on the stores of this host: dead letters, their replays, refused entries."""

from datetime import datetime

from mailworkers.adapters.store import dead_letters, malformed, replays
from mailworkers.adapters.store.dead_letters import DeadLetter, DeadLetterFilter
from mailworkers.adapters.store.malformed import MalformedCommand, MalformedFilter
from mailworkers.adapters.store.replays import Replay, ReplayPlan
from mailworkers.cli.acting import actor, wake_scheduler
from mailworkers.cli.host_stores import HostStores
from mailworkers.cli.paging import all_pages


class HostReviews(HostStores):
    """What operators look after."""

    def list_dead_letters(self, wanted: DeadLetterFilter, limit: int) -> list[DeadLetter]:
        """Return up to *limit* dead letters, newest first."""
        return all_pages(
            lambda before, left: dead_letters.list_dead_letters(
                self._conn, wanted, before=before, limit=left
            ),
            limit,
        )

    def find_dead_letter(self, number: int) -> DeadLetter | None:
        """Return one dead letter, also one that is none any more."""
        return dead_letters.find_dead_letter(self._conn, number)

    def resolve_dead_letter(self, number: int, note: str) -> DeadLetter | None:
        """Note that one was seen to; None also where it is no dead letter any more."""
        found = dead_letters.resolve_dead_letter(self._conn, number, actor=actor(), note=note)
        return found if found is not None and found.resolved_at else None

    def plan_replay(
        self,
        wanted: DeadLetterFilter,
        rate: float,
        expires_at: datetime | None,
        reason: str,  # noqa: ARG002  the API asks for it
    ) -> ReplayPlan:
        """Return what a replay would do; nothing is changed."""
        return replays.plan_replay(self._conn, wanted, rate=rate, expires_at=expires_at)

    def order_replay(
        self, wanted: DeadLetterFilter, rate: float, expires_at: datetime | None, reason: str
    ) -> Replay | None:
        """Have dead letters sent again at *rate* a second; None where none can be."""
        ordered = replays.order_replay(
            self._conn, wanted, rate=rate, actor=actor(), reason=reason, expires_at=expires_at
        )
        if ordered is not None:
            wake_scheduler()
        return ordered

    def list_replays(self, limit: int) -> list[Replay]:
        """Return up to *limit* replays, newest first."""
        return replays.list_replays(self._conn, before_id=None, limit=limit)

    def find_replay(self, replay_id: int) -> Replay | None:
        """Return one replay and what became of its deliveries."""
        return replays.find_replay(self._conn, replay_id)

    def cancel_replay(self, replay_id: int, reason: str) -> Replay | None:
        """Have what a replay left scheduled put back."""
        found = replays.cancel_replay(self._conn, replay_id, actor=actor(), reason=reason)
        wake_scheduler()
        return found

    def list_malformed(self, wanted: MalformedFilter, limit: int) -> list[MalformedCommand]:
        """Return up to *limit* refused entries, newest first."""
        return all_pages(
            lambda before, left: malformed.list_malformed(
                self._conn, wanted, before=before, limit=left
            ),
            limit,
        )

    def find_malformed(self, number: int) -> MalformedCommand | None:
        """Return one refused entry, without what stood in it."""
        return malformed.find_malformed(self._conn, number)
