"""The api and the monitor as real processes: start, stop, and what they do without their stores."""

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

from mailworkers.embedded.ports import free_port
from mailworkers.embedded.servers import Servers
from mailworkers.web.gate import PREFIX
from tests.crash.processes import Roles
from tests.eventually import eventually
from tests.web.conftest import PLAIN, MakeToken, Row, command, with_status

Connection = psycopg.Connection[Row]


class Ports:
    """Where the processes of one test listen."""

    def __init__(self) -> None:
        self.api, self.health, self.metrics = free_port(), free_port(), free_port()

    @property
    def environ(self) -> dict[str, str]:
        """Return the variables that say so."""
        return {
            "MAIL_INTERNAL_HTTP_ADDR": f"127.0.0.1:{self.api}",
            "HTTP_PORT": str(self.health),
            "PROMETHEUS_PORT": str(self.metrics),
        }


@pytest.fixture
def ports() -> Ports:
    """Return free ports."""
    return Ports()


@pytest.fixture
def processes(servers: Servers, database: str, ports: Ports, tmp_path: Path) -> Iterator[Roles]:
    """Return what starts roles on the test's stores and ports."""
    environ = {
        "MAIL_POSTGRES_PRIMARY_DSN": database,
        "MAIL_REDIS_MASTER_ADDR": servers.redis_addr,
        "MAIL_STATE_DIR": str(tmp_path),
        "MAIL_SMTP_ADDR": "127.0.0.1:9",
        "MAIL_SMTP_FROM_EMAIL": "shop@example.org",
        "MAIL_POLL_INTERVAL": "100ms",
        "MAIL_SHUTDOWN_TIMEOUT": "5s",
        **ports.environ,
    }
    with Roles(environ, tmp_path) as started:
        yield started


def answers(url: str, status: int = 200) -> httpx.Response:
    """Wait until *url* answers with *status*; return the answer."""

    def ask() -> httpx.Response | None:
        try:
            return with_status(httpx.get(url, timeout=5, **PLAIN), status)
        except httpx.TransportError:
            return None

    answer = eventually(ask, within=20)
    assert answer is not None
    return answer


def post(ports: Ports, key: str) -> int:
    """Post one delivery and return the status of the answer."""
    return httpx.post(
        f"http://127.0.0.1:{ports.api}{PREFIX}/deliveries",
        json=command(idempotency_key=key),
        timeout=10,
        **PLAIN,
    ).status_code


def deliveries_url(ports: Ports) -> str:
    """Return where deliveries are listed."""
    return f"http://127.0.0.1:{ports.api}{PREFIX}/deliveries"


def test_the_api_starts_serves_and_stops_in_order(processes: Roles, ports: Ports) -> None:
    """A start line, a stop line, exit code 0 (contract section 1)."""
    api = processes.start("api")
    answers(deliveries_url(ports))
    assert post(ports, "one") == 202

    api.signal(signal.SIGTERM)

    assert api.wait() == 0
    assert '"event":"role started"' in processes.logs()
    assert '"event":"role stopped"' in processes.logs()


def test_several_apis_share_the_port_and_one_that_stops_harms_no_request(
    processes: Roles, ports: Ports, conn: Connection
) -> None:
    """Scaling is more processes on the same port (SO_REUSEPORT)."""
    first, second = processes.start("api"), processes.start("api")
    answers(deliveries_url(ports))
    eventually(
        lambda: (
            conn.execute("SELECT count(*) = 2 FROM processes WHERE role = 'api'").fetchone()
            == (True,)
        ),
        within=20,
    )
    statuses = [post(ports, f"both-{n}") for n in range(20)]

    first.signal(signal.SIGTERM)
    assert first.wait() == 0
    statuses += [post(ports, f"one-{n}") for n in range(20)]

    assert set(statuses) == {202}
    assert second.exit_code is None


def test_a_request_under_way_is_finished_before_the_api_stops(
    processes: Roles, ports: Ports, conn: Connection
) -> None:
    """The row it waits for is released only after the signal: the caller still gets its answer."""
    api = processes.start("api")
    answers(deliveries_url(ports))
    assert post(ports, "first") == 202
    with psycopg.connect(conn.info.dsn, options="-c search_path=mail") as other:
        other.execute("LOCK TABLE deliveries IN EXCLUSIVE MODE")
        with socket.create_connection(("127.0.0.1", ports.api), timeout=15) as sock:
            body = httpx.Request("POST", "http://x", json=command(idempotency_key="held")).content
            sock.sendall(
                b"POST /api/v1/internal/deliveries HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
            )
            eventually(
                lambda: (
                    conn.execute("SELECT count(*) > 0 FROM pg_locks WHERE NOT granted").fetchone()
                    == (True,)
                )
            )
            api.signal(signal.SIGTERM)
            eventually(lambda: refuses(ports.api))
            other.rollback()

            assert sock.recv(1000).startswith(b"HTTP/1.1 202 ")

    assert api.wait() == 0


def refuses(port: int) -> bool:
    """Whether nobody listens on *port* any more."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.slow
def test_an_api_that_cannot_finish_ends_within_the_shutdown_timeout(
    processes: Roles, ports: Ports, conn: Connection
) -> None:
    """A request that is stuck does not keep supervisord waiting for its SIGKILL."""
    api = processes.start("api", MAIL_SHUTDOWN_TIMEOUT="4s")
    answers(deliveries_url(ports))
    with psycopg.connect(conn.info.dsn, options="-c search_path=mail") as other:
        other.execute("LOCK TABLE deliveries IN ACCESS EXCLUSIVE MODE")
        with socket.create_connection(("127.0.0.1", ports.api), timeout=15) as sock:
            sock.sendall(b"GET /api/v1/internal/deliveries HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            eventually(
                lambda: (
                    other.execute("SELECT count(*) > 0 FROM pg_locks WHERE NOT granted").fetchone()
                    == (True,)
                )
            )
            api.signal(signal.SIGTERM)

            assert api.wait(within=6) == 0


def test_a_second_signal_ends_the_api_at_once(
    processes: Roles, ports: Ports, conn: Connection
) -> None:
    """Whoever insists gets it."""
    api = processes.start("api")
    answers(deliveries_url(ports))
    with psycopg.connect(conn.info.dsn, options="-c search_path=mail") as other:
        other.execute("LOCK TABLE deliveries IN ACCESS EXCLUSIVE MODE")
        with socket.create_connection(("127.0.0.1", ports.api), timeout=15) as sock:
            sock.sendall(b"GET /api/v1/internal/deliveries HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            eventually(
                lambda: (
                    other.execute("SELECT count(*) > 0 FROM pg_locks WHERE NOT granted").fetchone()
                    == (True,)
                )
            )
            api.signal(signal.SIGTERM)
            eventually(lambda: refuses(ports.api))
            api.signal(signal.SIGTERM)

            assert api.wait(within=2) == 1


def test_without_a_token_the_api_refuses_to_listen_for_others(
    processes: Roles, ports: Ports, make_token: MakeToken
) -> None:
    """Exit code 78 and one line that says what to do; with a token it listens."""
    address = f"0.0.0.0:{ports.api}"
    open_door = processes.start("api", MAIL_INTERNAL_HTTP_ADDR=address)

    assert open_door.wait() == 78
    assert "MAIL_INTERNAL_HTTP_ADDR" in processes.logs()
    assert "no API token" in processes.logs()

    make_token("first", ["read"])
    processes.start("api", MAIL_INTERNAL_HTTP_ADDR=address)
    answers(deliveries_url(ports), status=401)


def test_an_address_of_another_host_is_a_wrong_setting(processes: Roles) -> None:
    """Exit code 78: supervisord does not try again."""
    api = processes.start("api", MAIL_INTERNAL_HTTP_ADDR="localhost.invalid:8080")

    assert api.wait() == 78
    assert "MAIL_INTERNAL_HTTP_ADDR" in processes.logs()


def test_a_broken_template_is_a_wrong_setting(processes: Roles, tmp_path: Path) -> None:
    """The catalog is parsed whole before the listener opens (MS-68)."""
    catalog = tmp_path / "templates"
    (catalog / "broken").mkdir(parents=True)
    (catalog / "broken" / "contract.toml").write_text("not toml at all")
    api = processes.start("api", MAIL_TEMPLATE_DIR=str(catalog))

    assert api.wait() == 78
    assert "broken" in processes.logs()


def test_the_monitor_answers_before_postgres_is_there_and_after(
    servers: Servers, processes: Roles, ports: Ports
) -> None:
    """It comes up and says 503; when the store comes, 200 without a restart."""
    health = f"http://127.0.0.1:{ports.health}/health"
    servers.postgres.stop()
    try:
        monitor = processes.start("monitor")
        unhealthy = answers(health, status=503)
    finally:
        servers.postgres.start()
    answers(health, status=200)
    answers(f"http://127.0.0.1:{ports.metrics}/metrics")
    eventually(lambda: '"event":"store returned"' in processes.logs())
    monitor.signal(signal.SIGTERM)

    checks = unhealthy.json()["checks"]
    assert {name for name, told in checks.items() if told == "ok"} == {"redis"}
    assert monitor.wait() == 0
    assert processes.logs().count('"event":"store lost"') == 1


def test_the_monitor_can_be_asked_from_its_own_host_only(processes: Roles, ports: Ports) -> None:
    """RS-120: bound to 127.0.0.1; another address of the loopback stands for another host."""
    processes.start("monitor")
    answers(f"http://127.0.0.1:{ports.health}/health")

    for port, path in ((ports.health, "health"), (ports.metrics, "metrics")):
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://127.0.0.2:{port}/{path}", timeout=5, **PLAIN)


def test_the_monitor_says_when_redis_goes_and_when_it_returns(
    servers: Servers, processes: Roles, ports: Ports
) -> None:
    """One line each."""
    health = f"http://127.0.0.1:{ports.health}/health"
    monitor = processes.start("monitor")
    answers(health)
    eventually(lambda: '"event":"role started"' in processes.logs())
    servers.keyvalue.stop()
    try:
        answers(health, status=503)
        eventually(lambda: '"event":"store lost"' in processes.logs())
    finally:
        servers.keyvalue.start()
    answers(health)
    eventually(lambda: '"event":"store returned"' in processes.logs())
    monitor.signal(signal.SIGTERM)

    assert monitor.wait() == 0
    assert processes.logs().count('"event":"store lost"') == 1
    assert '"dependency":"redis"' in processes.logs()


def test_a_second_monitor_on_the_same_host_says_that_the_port_is_taken(
    processes: Roles, ports: Ports
) -> None:
    """One a host; supervisord tries again, since the other one may be going."""
    processes.start("monitor")
    answers(f"http://127.0.0.1:{ports.health}/health")
    second = processes.start("monitor")

    assert second.wait() == 1
    assert "HTTP_PORT: cannot listen on 127.0.0.1" in processes.logs()
