"""The list of addresses that get no mail: what operators put on it and take off it.

Who is on the list is asked where mail is taken in and where it is leased: a change holds for every
lease that follows it.
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from mailworkers.adapters.db import Connection, run, run_transaction
from mailworkers.adapters.store.operator_actions import Change, record_actions

EVERYTHING = "*"


class Listing(msgspec.Struct, frozen=True):
    """An address to be put on the list, canonical, for one source or `*`; None: for ever."""

    canonical: str
    reason: str
    scope: str = EVERYTHING
    expires_at: datetime | None = None


class Suppression(msgspec.Struct, frozen=True):
    """An address on the list."""

    canonical: str
    scope: str
    reason: str
    created_by: str
    created_at: datetime
    expires_at: datetime | None


Key = tuple[str, str]


def put_suppressions(
    conn: Connection, listings: Sequence[Listing], *, actor: str, reason: str
) -> list[Suppression]:
    """Put *listings* on the list, the last of each address and scope; return what changed.

    One transaction, with a line of the audit trail for each change.
    """
    wanted = {(listing.canonical, listing.scope): listing for listing in listings}

    def work() -> list[Suppression]:
        before = _hold(conn, list(wanted))
        rows = run(
            conn,
            "put_suppressions",
            actor=actor,
            canonicals=[listing.canonical for listing in wanted.values()],
            scopes=[listing.scope for listing in wanted.values()],
            reasons=[listing.reason for listing in wanted.values()],
            expires_ats=[listing.expires_at for listing in wanted.values()],
        )
        changed = [Suppression(*row) for row in rows]
        changes = [_change(now, before.get((now.canonical, now.scope)), now) for now in changed]
        record_actions(conn, changes, actor=actor, action="suppress", reason=reason)
        return changed

    return run_transaction(conn, work) if wanted else []


def remove_suppressions(
    conn: Connection, keys: Sequence[Key], *, actor: str, reason: str
) -> list[Suppression]:
    """Take (canonical, scope) pairs off the list; return what stood there."""

    def work() -> list[Suppression]:
        before = _hold(conn, keys)
        canonicals, scopes = _columns(list(before))
        run(conn, "remove_suppressions", canonicals=canonicals, scopes=scopes)
        changes = [_change(was, was, None) for was in before.values()]
        record_actions(conn, changes, actor=actor, action="unsuppress", reason=reason)
        return list(before.values())

    return run_transaction(conn, work)


def list_suppressions(
    conn: Connection,
    *,
    canonical: str | None = None,
    scope: str | None = None,
    after: Key | None = None,
    limit: int,
) -> list[Suppression]:
    """Return up to *limit* suppressions after *after*, by address and scope; no expired ones."""
    rows = run(
        conn,
        "list_suppressions",
        canonical=canonical,
        scope=scope,
        after_canonical=after and after[0],
        after_scope=after and after[1],
        limit=limit,
    )
    return [Suppression(*row) for row in rows]


def delete_expired_suppressions(conn: Connection, *, limit: int) -> int:
    """Forget up to *limit* suppressions whose time is over; return how many."""
    return len(run(conn, "delete_expired_suppressions", limit=limit))


def _hold(conn: Connection, keys: Sequence[Key]) -> dict[Key, Suppression]:
    canonicals, scopes = _columns(keys)
    rows = run(conn, "hold_suppressions", canonicals=canonicals, scopes=scopes)
    return {(row[0], row[1]): Suppression(*row) for row in rows}


def _columns(keys: Sequence[Key]) -> tuple[list[str], list[str]]:
    return [canonical for canonical, _ in keys], [scope for _, scope in keys]


def _change(named: Suppression, before: Suppression | None, after: Suppression | None) -> Change:
    subject = f"suppression {named.canonical} {named.scope}"
    return Change(subject, _facts(before), _facts(after))


def _facts(suppression: Suppression | None) -> dict[str, object] | None:
    if suppression is None:
        return None
    return {
        "reason": suppression.reason,
        "created_by": suppression.created_by,
        "expires_at": suppression.expires_at and suppression.expires_at.isoformat(),
    }
