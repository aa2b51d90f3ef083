"""Who may talk to the internal API at all: the gate, with and without tokens."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from uuid import uuid4

import httpx
import psycopg
import pytest

from mailworkers.web.gate import is_loopback
from tests.eventually import eventually
from tests.web.conftest import (
    PLAIN,
    MakeToken,
    Row,
    RunningApi,
    command,
    encoded,
    error_of,
    exchange,
)

Connection = psycopg.Connection[Row]
JSON = "application/json"


def bearer(token: str) -> dict[str, str]:
    """Return the header that carries *token*."""
    return {"Authorization": f"Bearer {token}"}


# What there is and what not.


@pytest.mark.parametrize(
    "path",
    ["/", "/healthz", "/readyz", "/metrics", "/health", "/schema", "/docs", "/api/v1/internal"],
)
def test_there_are_no_probes_and_no_pages_on_this_listener(running: RunningApi, path: str) -> None:
    """404 with the envelope (MS-56, MS-57, MS-58)."""
    answer = httpx.get(f"{running.url}{path}", **PLAIN)

    assert (answer.status_code, error_of(answer)["code"]) == (404, "not_found")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "HEAD"])
def test_a_method_a_path_does_not_know_is_405_and_says_which_it_knows(
    client: httpx.Client, method: str
) -> None:
    """With the envelope, and the header Allow (RFC 9110 section 15.5.6)."""
    answer = client.request(method, "/deliveries", headers={"Content-Type": JSON})

    assert answer.status_code == 405
    assert {"GET", "POST"} <= set(answer.headers["allow"].split(", "))
    if method != "HEAD":
        assert error_of(answer)["code"] == "method_not_allowed"


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json; charset=latin-1",
        "application/jsonx",
        "text/json",
    ],
)
def test_a_body_that_is_not_json_is_415(client: httpx.Client, content_type: str | None) -> None:
    """What a page of another site could send without asking is refused before it is read."""
    headers = {} if content_type is None else {"Content-Type": content_type}
    answer = client.post("/deliveries", content=b"{}", headers=headers)

    assert (answer.status_code, error_of(answer)["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    "content_type", ["application/json", "Application/JSON; charset=UTF-8", "application/json;"]
)
def test_json_may_say_that_it_is_utf8(client: httpx.Client, content_type: str) -> None:
    """Media types are compared in any case (RFC 9110 section 8.3.1)."""
    answer = client.post(
        "/deliveries",
        content=encoded(command(idempotency_key=str(uuid4()))),
        headers={"Content-Type": content_type},
    )

    assert answer.status_code == 202


# Without tokens: programs of this host.


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8080", "localhost", "LOCALHOST:1", "[::1]:8080", "127.1.2.3"]
)
def test_a_loopback_host_is_let_in(client: httpx.Client, host: str) -> None:
    """Any port: a tunnel may have its own."""
    assert client.get("/deliveries", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.1", "[::", "::1x"],
)
def test_another_host_is_refused(client: httpx.Client, host: str) -> None:
    """A name that an attacker's resolver turned into 127.0.0.1 (DNS rebinding)."""
    answer = client.get("/deliveries", headers={"Host": host})

    assert (answer.status_code, error_of(answer)["code"]) == (403, "forbidden")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:3000"},
        {"Origin": ""},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_page_of_another_site_is_refused(client: httpx.Client, headers: dict[str, str]) -> None:
    """Whatever it sends, and however: a browser always says where it comes from."""
    answer = client.post("/deliveries", json=command(), headers=headers)

    assert (answer.status_code, error_of(answer)["code"]) == (403, "forbidden")


def test_a_page_of_our_own_is_let_in(running: RunningApi, api: httpx.Client) -> None:
    """The console will be one."""
    headers = {"Origin": running.url, "Sec-Fetch-Site": "same-origin"}

    assert api.post("/deliveries", json=command(), headers=headers).status_code == 202


def test_another_site_gets_no_leave_to_ask(client: httpx.Client) -> None:
    """A preflight is answered without any Access-Control header."""
    answer = client.options(
        "/deliveries",
        headers={"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"},
    )

    assert answer.status_code == 403
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.255.255.254", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),  # noqa: S104
        ("::", False),
        ("10.0.0.1", False),
        ("", False),
        ("localhost.", False),
    ],
)
def test_loopback_is_known_without_a_resolver(host: str, *, expected: bool) -> None:
    """A name other than localhost means what a resolver says, which may be an attacker."""
    assert is_loopback(host) is expected


def test_a_header_given_twice_is_refused(running: RunningApi) -> None:
    """Two keys, two hosts, two media types: two readers that disagree (X-36)."""
    for name in (b"Idempotency-Key", b"Content-Type", b"Host", b"Authorization", b"Origin"):
        answer = exchange(
            running,
            b"POST /api/v1/internal/deliveries HTTP/1.1\r\nContent-Length: 2\r\n"
            b"%b: a\r\n%b: b\r\n\r\n{}" % (name, name),
        )
        assert answer.startswith(b"HTTP/1.1 400 "), name
        assert b'"code":"bad_request"' in answer


# With tokens.


@pytest.fixture
def guarded(own_api: RunningApi, make_token: MakeToken) -> Iterator[httpx.Client]:
    """Return a client of an API for which tokens exist; it sends none by itself."""
    make_token("producer", ["intake"])
    make_token("support", ["read"])
    make_token("both", ["intake", "read"])
    make_token("former", ["intake", "read"], revoked_at=datetime.now(UTC))
    make_token("late", ["intake", "read"], expires_at=datetime.now(UTC) - timedelta(seconds=1))
    with own_api.client() as client:
        yield client


@pytest.mark.parametrize(
    ("token", "intake", "read"),
    [
        ("token-of-producer", 202, 403),
        ("token-of-support", 403, 200),
        ("token-of-both", 202, 200),
        ("token-of-former", 401, 401),
        ("token-of-late", 401, 401),
        ("token-of-nobody", 401, 401),
        ("x" * 1000, 401, 401),
    ],
)
def test_a_token_opens_what_its_scopes_say(
    guarded: httpx.Client, token: str, intake: int, read: int
) -> None:
    """401 for who is not known, 403 for who may not (RFC 9110 sections 15.5.2, 15.5.4)."""
    posted = guarded.post("/deliveries", json=command(), headers=bearer(token))
    got = guarded.get("/deliveries", headers=bearer(token))

    assert (posted.status_code, got.status_code) == (intake, read)
    for answer in (posted, got):
        if answer.status_code == HTTPStatus.UNAUTHORIZED:
            assert error_of(answer)["code"] == "unauthorized"
            assert answer.headers["www-authenticate"].startswith("Bearer")
        if answer.status_code == HTTPStatus.FORBIDDEN:
            assert error_of(answer)["code"] == "forbidden"


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        b"",
        b"Bearer",
        b"Basic dG9rZW4tb2YtYm90aDo=",
        b"token-of-both",
        "Bearer tökén".encode(),
        b"Bearer \xff\xfe",
        b"Bearer token-of-both x",
    ],
)
def test_what_is_no_bearer_token_is_401(guarded: httpx.Client, authorization: bytes | None) -> None:
    """Bytes beyond ASCII too: they are compared as digests (M-17, X-23)."""
    headers = [] if authorization is None else [(b"Authorization", authorization)]
    answer = guarded.get("/deliveries", headers=headers)

    assert (answer.status_code, error_of(answer)["code"]) == (401, "unauthorized")


def test_an_empty_bearer_token_is_401(own_api: RunningApi, guarded: httpx.Client) -> None:
    """Nothing is not the digest of anything."""
    assert guarded.get("/deliveries").status_code == 401
    answer = exchange(
        own_api,
        b"GET /api/v1/internal/deliveries HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \r\n\r\n",
    )

    assert answer.startswith(b"HTTP/1.1 401 ")


def test_the_scheme_is_read_in_any_case(guarded: httpx.Client) -> None:
    """RFC 9110 section 11.1."""
    headers = {"Authorization": "bearer token-of-both"}

    assert guarded.get("/deliveries", headers=headers).status_code == 200


def test_with_tokens_any_host_may_ask(guarded: httpx.Client) -> None:
    """The token decides, wherever the request comes from."""
    headers = {**bearer("token-of-both"), "Host": "mail.example"}

    assert guarded.get("/deliveries", headers=headers).status_code == 200


def test_probes_stay_404_with_tokens(own_api: RunningApi, guarded: httpx.Client) -> None:
    """Nothing outside the prefix exists, so nothing there asks who you are."""
    assert guarded.get("/deliveries").status_code == 401
    assert httpx.get(f"{own_api.url}/healthz", **PLAIN).status_code == 404


def test_without_a_token_the_answer_comes_before_the_body_is_read(
    own_api: RunningApi, guarded: httpx.Client
) -> None:
    """X-23: a stranger's ten megabytes are not waited for."""
    assert guarded.get("/deliveries").status_code == 401
    answer = exchange(
        own_api,
        b"POST /api/v1/internal/deliveries HTTP/1.1\r\nHost: x\r\n"
        b"Content-Type: application/json\r\nContent-Length: 10000000\r\n\r\n",
    )

    assert answer.startswith(b"HTTP/1.1 401 ")


def test_a_new_token_counts_and_a_revoked_one_stops_within_two_seconds(
    own_api: RunningApi, conn: Connection, make_token: MakeToken
) -> None:
    """No restart; the first token closes the door to programs without one."""
    with own_api.client() as api:
        assert api.get("/deliveries").status_code == 200

        token = make_token("first", ["read"])
        assert eventually(lambda: api.get("/deliveries").status_code == 401, within=2)
        assert api.get("/deliveries", headers=bearer(token)).status_code == 200

        conn.execute("UPDATE api_tokens SET revoked_at = clock_timestamp()")
        assert eventually(
            lambda: api.get("/deliveries", headers=bearer(token)).status_code == 401, within=2
        )
        # The last valid token is gone; the door stays closed.
        assert api.get("/deliveries").status_code == 401


@pytest.mark.parametrize(
    ("path", "methods"),
    [("/deliveries", "GET, OPTIONS, POST"), ("/pauses/1", "DELETE, OPTIONS")],
)
def test_options_names_every_method_of_a_path(
    client: httpx.Client, path: str, methods: str
) -> None:
    """RFC 9110 section 9.3.7; and so does the answer to one it does not know."""
    asked, wrong = client.options(path), client.patch(path)

    assert (asked.status_code, asked.headers["allow"]) == (204, methods)
    assert wrong.status_code == 405
    assert sorted(wrong.headers["allow"].split(", ")) == methods.split(", ")
