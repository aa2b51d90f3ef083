"""Conditions whose loss changes nothing that a delivery could notice, and why.

By statement, text, and which of several alike it is, from 1. They are tried with `--equivalent`,
then one that some test kills makes the run fail. One that names nothing always does.
"""

Key = tuple[str, str, int]

_HELD = "the row is locked by this statement, and was found in that status under the lock"
_INDEX = "the comparison beside it says so, too; it names the partial index for the planner"
_SPARED = "only spares work; what is done there is said by the condition beside it"

EQUIVALENT: dict[Key, str] = {
    ("accept", "NOT EXISTS (SELECT FROM sources s WHERE s.source = i.source)", 1): (
        "ON CONFLICT does the same; without it every accept would burn a lock on the source"
    ),
    ("lease_ready", "status <> was", 1): _SPARED,
    ("lease_ready", "x.status <> x.was", 1): (
        "it sets rows to what they are, but where the delivery ended and was requeued since the"
        " statement began: SKIP LOCKED never waits, so no test can make that moment"
    ),
    ("lease_ready", "d.lease_token IS NULL", 1): _HELD,
    ("settle_late", "d.status NOT IN ('sending', 'sent')", 2): _HELD,
    ("settle_late", "i.status NOT IN ('sent', 'failed', 'suppressed')", 1): (
        "`moved` has updated those rows before; a statement updates a row only once"
    ),
    ("promote_due", "d.status IN ('scheduled', 'deferred')", 1): _HELD,
    ("replay", "d.status = o.status", 1): (
        "the row was locked, and found in that status, by the statement before"
    ),
    ("delete_deliveries", "finished_at IS NOT NULL", 1): _INDEX,
    ("delete_deliveries", "d.finished_at IS NOT NULL", 1): _HELD,
    ("hold_overdue", "expires_at IS NOT NULL", 1): _INDEX,
}
