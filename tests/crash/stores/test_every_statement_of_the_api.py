"""The api loses its database connection at each statement of a request (F-P03, F-P04)."""

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from mailworkers.adapters import db
from mailworkers.embedded.servers import Servers
from tests.crash.stores.conftest import behind
from tests.crash.stores.proxy import Proxy
from tests.crash.stores.statements import StatementStrike, Strike
from tests.web.conftest import RunningApi, command, make_settings

pytestmark = pytest.mark.slow

MOST_REPEATS = 5
STATEMENTS = (
    *("BEGIN", "find_suppressed", "accept", "store_recipients", "store_payloads", "COMMIT"),
    *("list_deliveries", "find_delivery", "list_recipients"),
    *("hold_delivery", "cancel", "record_action"),
)


@pytest.fixture
def api(
    servers: Servers, database: str, postgres_proxy: Proxy, tmp_path: Path
) -> Iterator[RunningApi]:
    """Return an API that reaches its database through the proxy."""
    running = RunningApi(make_settings(servers, tmp_path), behind(postgres_proxy))
    yield running
    running.close()
    assert running.surprises == []


def _until_served(ask: Callable[[], httpx.Response]) -> httpx.Response:
    """Ask as a good client does: again when told to come back."""
    for _ in range(MOST_REPEATS):
        answer = ask()
        if answer.status_code != 503:
            return answer
    raise AssertionError("503 again and again")


def _use(client: httpx.Client) -> list[int]:
    """Put a delivery in, look for it, withdraw it; return the statuses of the answers."""
    put = _until_served(lambda: client.post("/deliveries", json=command()))
    delivery = f"/deliveries/{put.json()['delivery_id']}"
    listed = _until_served(lambda: client.get("/deliveries"))
    shown = _until_served(lambda: client.get(delivery))
    cancelled = _until_served(lambda: client.post(f"{delivery}/cancel", json={"reason": "no"}))
    assert [item["delivery_id"] for item in listed.json()["items"]] == [put.json()["delivery_id"]]
    return [answer.status_code for answer in (put, listed, shown, cancelled)]


@pytest.mark.parametrize("strike", Strike)
@pytest.mark.parametrize("name", STATEMENTS)
def test_a_request_that_is_repeated_is_done_once(
    conn: db.Connection, api: RunningApi, postgres_proxy: Proxy, name: str, strike: Strike
) -> None:
    """503 or served: never half, never twice, whatever statement the connection is lost at."""

    def terminate(pid: int) -> None:
        conn.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])

    postgres_proxy.rule = rule = StatementStrike(name, strike, terminate)
    with api.client() as client:
        assert _use(client) == [202, 200, 200, 200], rule.seen

    assert rule.has_struck
    rows = conn.execute(
        "SELECT status, (SELECT count(*) FROM delivery_recipients),"
        " (SELECT count(*) FROM delivery_payloads), (SELECT count(*) FROM operator_actions)"
        " FROM deliveries"
    ).fetchall()
    assert rows == [("cancelled", 1, 1, 1)]
