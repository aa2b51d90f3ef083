"""What operators do to single deliveries meanwhile: cancel, have it tried again, list an address.

Written down before it is asked (`asked`), and what the answer was (`answered`, `listed`).
"""

import http.client
import json
import time
from collections.abc import Callable

import psycopg

from mailworkers.gameday.errands import Errand, Errands
from mailworkers.gameday.internal_api import DELIVERIES, is_final_answer, post
from mailworkers.gameday.ledger import Ledger

_AGAIN = {"cancel": 0.2, "requeue": 2.0}  # seconds
_MOST_TRIES = 20
_BODY = json.dumps({"reason": "game day"}).encode()
# Not there yet: accepted a moment later. Not failed yet: it still waits for its refusal.
_TOO_EARLY = {"cancel": {404}, "requeue": {404, 409}}
_LIST = """
INSERT INTO mail.suppressed_addresses (canonical, reason, created_by)
SELECT unnest(%s::text[]), 'game day', 'chaos' ON CONFLICT DO NOTHING"""


class Verbs:
    """Asks for one verb at a time over one connection."""

    def __init__(
        self, connection: http.client.HTTPConnection, ledger: Ledger, errands: Errands
    ) -> None:
        self._connection = connection
        self._ledger = ledger
        self._errands = errands

    def do(self, errand: Errand) -> None:
        """Ask; plan to ask again when it came too early, or when nobody answered."""
        what, verb = errand.sending.command, errand.what
        about = {"number": what.number, "verb": verb}
        self._ledger.commit({"kind": "asked", **about})
        route = f"{DELIVERIES}/{what.delivery_id}/{verb}"
        status, answer = post(self._connection, route, _BODY)
        if is_final_answer(status):
            word = answer.get("status") or answer.get("error", {}).get("code", "")
            self._ledger.write({"kind": "answered", **about, "status": status, "word": word})
        is_early = not is_final_answer(status) or status in _TOO_EARLY[verb]
        if is_early and errand.tries < _MOST_TRIES:
            later = time.monotonic() + _AGAIN[verb]
            self._errands.add(later, errand.sending, verb, errand.tries + 1)


class Lister:
    """Puts addresses on our own list, many at a time, and writes down when they were on it."""

    def __init__(self, dsn: str, ledger: Ledger) -> None:
        self._dsn = dsn
        self._ledger = ledger
        self._conn: psycopg.Connection[tuple[object, ...]] | None = None

    def work(self, errands: Errands, goes_on: Callable[[Errands], bool]) -> None:
        """List what is due until there is nothing left."""
        while goes_on(errands):
            due = errands.take(100)
            while due and not self._list(due) and goes_on(errands):
                time.sleep(0.2)  # until the database is there again
            errands.settle(len(due))
        if self._conn is not None:
            self._conn.close()

    def _list(self, due: list[Errand]) -> bool:
        """List the first recipient of each; False when the database did not answer."""
        addresses = [errand.sending.command.recipients[0] for errand in due]
        try:
            if self._conn is None:
                self._conn = psycopg.connect(
                    self._dsn, autocommit=True, application_name="chaos", connect_timeout=5
                )
            self._conn.execute(_LIST, [addresses])
        except psycopg.Error:
            if self._conn is not None:
                self._conn.close()
            self._conn = None
            return False
        wall = time.time()
        self._ledger.write(
            *(
                {
                    "kind": "listed",
                    "number": errand.sending.command.number,
                    "address": address,
                    "wall": wall,
                }
                for errand, address in zip(due, addresses, strict=True)
            )
        )
        return True
