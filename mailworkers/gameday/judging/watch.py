"""What only shows while it happens: leases and expiries that stay, after the faults ended."""

import time

import psycopg

_LOOK_EVERY = 0.5


class Watch:
    """Looks at the deliveries that live still."""

    def __init__(self, dsn: str) -> None:
        self._conn = psycopg.connect(dsn, autocommit=True, application_name="chaos watch")
        self.stuck: set[str] = set()
        self.overdue: set[str] = set()

    def close(self) -> None:
        """Close the connection."""
        self._conn.close()

    def look(self) -> int:
        """Return how many deliveries live still; note those that should have moved by now."""
        self.stuck |= self._ids("status = 'sending' AND next_attempt_at < now() - interval '5 s'")
        self.overdue |= self._ids(
            "status IN ('scheduled', 'queued', 'rendered', 'deferred')"
            " AND expires_at < now() - interval '3 s'"
        )
        row = self._conn.execute(
            "SELECT count(*) FROM mail.deliveries WHERE finished_at IS NULL"
        ).fetchone()
        return int(row[0]) if row else 0

    def _ids(self, condition: str) -> set[str]:
        query = f"SELECT delivery_id FROM mail.deliveries WHERE {condition} LIMIT 20"  # noqa: S608
        return {str(row[0]) for row in self._conn.execute(query.encode())}

    def wait_until_quiet(self, within: float) -> bool:
        """Return whether every delivery came to its end in *within* seconds."""
        deadline = time.monotonic() + within
        while self.look():
            if time.monotonic() > deadline:
                return False
            time.sleep(_LOOK_EVERY)
        return True
