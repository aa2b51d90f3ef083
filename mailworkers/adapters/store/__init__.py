"""The truth: one function for each named statement of `sql/`, by subject.

accept       taking deliveries in
leases       handing ready work to a sender, and taking it back unstarted
settling     recording what became of attempts
clock        promoting, reclaiming, expiring: what the scheduler does
retention    deleting what is final and old
malformed    entries that were refused
heartbeats   signs of life of processes
verbs        cancel and requeue: what operators do, with their audit trail
reads        what people and services ask
"""

from mailworkers.adapters.store.accept import Acceptance, Claim, Verdict, accept, find_replays
from mailworkers.adapters.store.clock import (
    ExpiredLease,
    Overdue,
    Reclaim,
    end_pauses,
    expire_overdue,
    expired_leases,
    next_due,
    promote_due,
    reclaim,
)
from mailworkers.adapters.store.heartbeats import (
    beat,
    database_time,
    forget_processes,
    leave,
    namesakes,
    other_installations,
)
from mailworkers.adapters.store.leases import (
    Leased,
    LeasedRow,
    hand_back,
    lease_ready,
    leased_rows,
    load_mime,
)
from mailworkers.adapters.store.malformed import Malformed, store_malformed
from mailworkers.adapters.store.settling import Settled, settle, settle_late
from mailworkers.adapters.store.verbs import Effect, Hindrance, Snapshot, cancel, requeue

__all__ = [
    "Acceptance",
    "Claim",
    "Effect",
    "ExpiredLease",
    "Hindrance",
    "Leased",
    "LeasedRow",
    "Malformed",
    "Overdue",
    "Reclaim",
    "Settled",
    "Snapshot",
    "Verdict",
    "accept",
    "beat",
    "cancel",
    "database_time",
    "end_pauses",
    "expire_overdue",
    "expired_leases",
    "find_replays",
    "forget_processes",
    "hand_back",
    "lease_ready",
    "leased_rows",
    "leave",
    "load_mime",
    "namesakes",
    "next_due",
    "other_installations",
    "promote_due",
    "reclaim",
    "requeue",
    "settle",
    "settle_late",
    "store_malformed",
]
