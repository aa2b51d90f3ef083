"""A running internal API on a free port, on the real stores, and a client of it."""

import hashlib
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psycopg
import pytest

from mailworkers.adapters.catalog import Catalog, packaged_directory
from mailworkers.adapters.intake import Intake
from mailworkers.adapters.policies import retry_policies
from mailworkers.adapters.previews import Previewer
from mailworkers.adapters.settings import Settings, load
from mailworkers.adapters.situation import Observer
from mailworkers.adapters.store.pool import Pool
from mailworkers.adapters.stream import Waker
from mailworkers.adapters.telemetry import Telemetry
from mailworkers.embedded.servers import Servers
from mailworkers.web.accepting import Acceptor
from mailworkers.web.app import internal_api
from mailworkers.web.backend import Backend
from mailworkers.web.gate import PREFIX
from mailworkers.web.serving import Listener, Server

Row = tuple[Any, ...]
# No proxies of the machine, and no certificates: reading those takes longer than most tests.
PLAIN: dict[str, Any] = {
    "trust_env": False,
    "verify": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
}


def make_settings(servers: Servers, state_dir: Path, **more: str) -> Settings:
    """Return settings on the throwaway servers; *more* are further variables."""
    return load(
        {
            "MAIL_REDIS_MASTER_ADDR": servers.redis_addr,
            "MAIL_POSTGRES_PRIMARY_DSN": servers.postgres_dsn,
            "MAIL_SMTP_ADDR": "127.0.0.1:2525",
            "MAIL_SMTP_FROM_EMAIL": "mail@example.com",
            "MAIL_STATE_DIR": str(state_dir),
            **more,
        }
    )


class RunningApi:
    """The API behind its real listener; `surprises` are the errors nobody foresaw."""

    def __init__(self, settings: Settings, dsn: str) -> None:
        self.surprises: list[Exception] = []
        self.telemetry = Telemetry("api", "api", state_dir=settings.state_dir)
        self.waker = Waker(settings)
        pool = Pool(dsn, "mailworkers test", size=4, limit=timedelta(seconds=3))
        catalog = Catalog.load(settings.template_dir or packaged_directory())
        intake = Intake(settings, catalog, lambda: datetime.now(UTC))
        acceptor = Acceptor(intake, pool, self.telemetry, self.waker)
        self.backend = Backend(
            pool,
            acceptor,
            Previewer(intake, catalog),
            sources=settings.sources,
            policies=retry_policies(settings),
            size=4,
            observer=Observer(settings, "mailworkers test status"),
        )
        app = internal_api(self.backend, pool, report=self.surprises.append)
        self.listener = Listener(app, "127.0.0.1", 0, setting="MAIL_INTERNAL_HTTP_ADDR")
        self.server = Server([self.listener], grace=timedelta(seconds=2))
        self.url = f"http://127.0.0.1:{self.listener.port}"

    def close(self) -> None:
        """Stop listening and let go of everything."""
        self.server.close()
        self.backend.close()
        self.waker.close()
        self.telemetry.close()

    def client(self, **options: Any) -> httpx.Client:
        """Return a client whose paths start below the API's prefix."""
        return httpx.Client(base_url=f"{self.url}{PREFIX}", timeout=20, **PLAIN, **options)


@pytest.fixture(scope="session")
def one_api(
    servers: Servers, _migrated: object, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningApi]:
    """Return the API that most tests share, running."""
    api = RunningApi(make_settings(servers, tmp_path_factory.mktemp("api")), servers.postgres_dsn)
    yield api
    api.close()


@pytest.fixture
def running(one_api: RunningApi) -> Iterator[RunningApi]:
    """Return the API, whatever is in its database; no test may surprise it."""
    one_api.surprises.clear()
    yield one_api
    assert one_api.surprises == []


@pytest.fixture
def client(running: RunningApi) -> Iterator[httpx.Client]:
    """Return a client of the API for requests that come to nothing: emptying tables takes time."""
    with running.client() as made:
        yield made


@pytest.fixture
def api(database: str, client: httpx.Client) -> httpx.Client:
    """Return a client of the API on an empty database."""
    return client


@pytest.fixture
def own_api(servers: Servers, database: str, tmp_path: Path) -> Iterator[RunningApi]:
    """Return an API of the test's own: one that may be given tokens, or lose its stores."""
    api = RunningApi(make_settings(servers, tmp_path), database)
    yield api
    api.close()
    assert api.surprises == []


def error_of(answer: httpx.Response) -> dict[str, Any]:
    """Return the error in *answer*, which has the one shape of all errors and nothing else."""
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message", "details"}
    error: dict[str, Any] = body["error"]
    return error


def with_status(answer: httpx.Response, status: int) -> httpx.Response:
    """Return *answer*, which has *status*: for waiting until it has."""
    assert answer.status_code == status
    return answer


def exchange(running: "RunningApi", sent: bytes, within: float = 5) -> bytes:
    """Return what the API says to the bytes *sent*, up to the end of one answer or connection."""
    with socket.create_connection(("127.0.0.1", running.listener.port), timeout=within) as sock:
        sock.sendall(sent)
        return receive_answer(sock)


def receive_answer(sock: socket.socket) -> bytes:
    """Return one whole answer, or what came before the connection ended."""
    received = b""
    while True:
        head, ended, body = received.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: ([0-9]+)", head)
        if ended and length and len(body) >= int(length[1]):
            return received
        part = sock.recv(65536)
        if not part:
            return received
        received += part


def command(**more: Any) -> dict[str, Any]:
    """Return the body of a small delivery; *more* replaces fields."""
    return {
        "payload_mode": "rendered",
        "idempotency_key": "key-1",
        "payload": {"to": ["ada@example.com"], "subject": "Hello", "text_body": "Hello Ada."},
        **more,
    }


def encoded(body: object) -> bytes:
    """Return *body* as JSON."""
    return msgspec.json.encode(body)


def only_row(conn: psycopg.Connection[Row], statement: str) -> Row:
    """Return the one row of *statement*."""
    (row,) = conn.execute(statement.encode()).fetchall()
    return row


MakeToken = Callable[..., str]


@pytest.fixture
def make_token(conn: psycopg.Connection[Row]) -> Iterator[MakeToken]:
    """Return what makes an API token and returns its text: `make_token(name, scopes, ...)`.

    Further arguments are columns. The tokens go with the test, or the shared API would want one.
    """

    def make(name: str, scopes: list[str], **columns: object) -> str:
        token = f"token-of-{name}"
        conn.execute(
            "INSERT INTO api_tokens (token_hash, name, scopes, expires_at, revoked_at)"
            " VALUES (%s, %s, %s, %s, %s)",
            [
                hashlib.sha256(token.encode()).digest(),
                name,
                scopes,
                columns.get("expires_at"),
                columns.get("revoked_at"),
            ],
        )
        return token

    yield make
    conn.execute("DELETE FROM api_tokens")
