"""Everything a dashboard can show, made to happen: each status, each doubt, a relay at fault."""

from collections.abc import Callable

import redis

from mailworkers.adapters import db
from tests.crash.operation.commands import STREAM, put
from tests.crash.operation.verdicts import count
from tests.eventually import eventually
from tests.relay import Relay, accepting, reset

ENVIRON = {"MAIL_UNCERTAIN_POLICY_BULK": "park"}
TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE}-b7ad6b7169203331-01"
_GONE = "gone@example.com"


class Story:
    """Lets mail come to each of its ends, again and again."""

    def __init__(self, conn: db.Connection, client: redis.Redis, relay: Relay) -> None:
        self._conn = conn
        self._client = client
        self._relay = relay
        conn.execute(
            "INSERT INTO suppressed_addresses (canonical, reason, created_by)"
            " VALUES (%s, 'left', 'ada')",
            [_GONE],
        )

    def tell(self) -> None:
        """Let every thing happen once that happens to mail."""
        self._ends("sent", 6, lambda: put(self._client, traceparent=TRACEPARENT))
        self._relay.says(DOT=["451 4.3.0 later"] * 3)
        self._ends("sent", 3, lambda: put(self._client, source="authsession", lane="auth"))
        self._relay.says(RCPT=["550 5.1.1 nobody"] * 2)
        self._ends("failed", 2, lambda: put(self._client))
        self._relay.says(DOT="451 4.3.0 never")
        self._ends("dead_letter", 1, lambda: put(self._client))
        self._relay.says(DOT=[accepting(reset)])
        self._ends("uncertain", 1, lambda: put(self._client, lane="bulk"))
        payload = f'{{"to":["{_GONE}"],"subject":"s","text_body":"t"}}'
        self._ends("suppressed", 1, lambda: put(self._client, payload_json=payload))
        put(self._client, payload_mode="shouted")

    def break_the_relay(self) -> None:
        """Let the relay refuse everybody; mail waits."""
        self._relay.says("554 5.3.2 not today")
        self._relay.hangs_up()
        put(self._client)

    def mend_the_relay(self) -> None:
        """Let what waited go."""
        waiting = count(self._conn, "queued") + count(self._conn, "sending")
        self._relay.forgets()
        self._ends("sent", waiting, lambda: None, times=1)

    def lose_the_stream(self) -> None:
        """Let Redis forget the stream with its group."""
        self._client.delete(STREAM)

    def _ends(
        self, status: str, number: int, act: Callable[[], object], times: int | None = None
    ) -> None:
        before = count(self._conn, status)
        for _ in range(number if times is None else times):
            act()
        eventually(lambda: count(self._conn, status) >= before + number, within=60)
