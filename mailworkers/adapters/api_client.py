"""A client of the internal API, for people and programs that reach no store.

One kept connection; answers are decoded into the records they were made of. Whatever goes wrong is
ApiRefused or ApiUnavailable, and neither tells the token.
"""

import http.client
import ssl
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from mailworkers.core.errors import ApiRefused, ApiUnavailable, reason_of

PREFIX = "/api/v1/internal"
PATIENCE = 30.0  # seconds; the API answers after its commit, 15 s later at most
_LARGEST_ANSWER = 64 * 1024 * 1024

Answer = TypeVar("Answer")
Parameters = Iterable[tuple[str, object]]


class _Error(msgspec.Struct):
    code: str
    message: str
    details: dict[str, Any] = {}


class _Envelope(msgspec.Struct):
    error: _Error


class ApiClient:
    """Asks the API at *url*, its root or its prefix; ValueError when that is no http(s) URL.

    `is_replayed`: the last answer was that of an earlier request with the same key.
    """

    def __init__(self, url: str, token: str | None) -> None:
        place = urlsplit(url)
        if place.scheme not in ("http", "https") or not place.hostname or place.query:
            raise ValueError(f"{url!r} is not the URL of an API: write http://127.0.0.1:8080")
        self.url = f"{place.scheme}://{place.netloc.rpartition('@')[2]}"
        self.is_replayed = False
        self._path = place.path.rstrip("/").removesuffix(PREFIX) + PREFIX
        self._headers = {"Accept": "application/json", "User-Agent": "mailworkers-cli"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._connection = _connection(place.scheme, place.hostname, place.port)

    def get(self, path: str, kind: type[Answer], parameters: Parameters = ()) -> Answer:
        """Return what *path* answers as a *kind*."""
        return self._ask("GET", path, kind, parameters)

    def delete(self, path: str, kind: type[Answer], parameters: Parameters = ()) -> Answer:
        """Remove what is at *path*; return what the answer says of it."""
        return self._ask("DELETE", path, kind, parameters)

    def post(
        self,
        path: str,
        kind: type[Answer],
        body: object,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send *body* to *path* as JSON; return the answer."""
        return self._ask("POST", path, kind, (), body, headers)

    def post_for_bytes(self, path: str, body: object, parameters: Parameters = ()) -> bytes:
        """Send *body* to *path* as JSON; return the answer as it is."""
        return self._send("POST", path, parameters, body)

    def put(self, path: str, kind: type[Answer], body: object) -> Answer:
        """Put *body* at *path* as JSON; return the answer."""
        return self._ask("PUT", path, kind, (), body)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _ask(
        self,
        method: str,
        path: str,
        kind: type[Answer],
        parameters: Parameters,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        answer = self._send(method, path, parameters, body, headers)
        try:
            return msgspec.json.decode(answer, type=kind)
        except msgspec.MsgspecError:
            reason = "it answered something else than this command understands"
            raise ApiUnavailable(self.url, reason) from None

    def _send(
        self,
        method: str,
        path: str,
        parameters: Parameters,
        body: object,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        given = [(name, _text(value)) for name, value in parameters if value is not None]
        target = f"{self._path}{path}" + (f"?{urlencode(given)}" if given else "")
        sent = {**self._headers, **(headers or {})}
        content = None
        if body is not None:
            content = msgspec.json.encode(body)
            sent["Content-Type"] = "application/json"
        status, answer = self._exchange(method, target, content, sent)
        if status >= http.client.BAD_REQUEST:
            raise self._refusal(status, answer)
        return answer

    def _exchange(
        self, method: str, target: str, content: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        """Return status and body; once more for reads when a kept connection has been closed."""
        is_kept = self._connection.sock is not None
        try:
            self._connection.request(method, target, content, dict(headers))
            with self._connection.getresponse() as answer:
                self.is_replayed = answer.headers.get("Idempotent-Replayed") == "true"
                return answer.status, answer.read(_LARGEST_ANSWER)
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            if is_kept and method == "GET":
                return self._exchange(method, target, content, headers)
            raise ApiUnavailable(self.url, _reason(error)) from error

    def _refusal(self, status: int, body: bytes) -> ApiRefused:
        """Return the API's own words for a refusal, or its status alone."""
        try:
            said = msgspec.json.decode(body, type=_Envelope).error
        except msgspec.MsgspecError:
            return ApiRefused(self.url, status, "", "", {})
        return ApiRefused(self.url, status, said.code, said.message, said.details)


def segment(text: object) -> str:
    """Return *text* as one segment of a path."""
    return quote(str(text), safe="@+")


def _connection(scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
    if scheme == "https":
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(host, port, timeout=PATIENCE, context=context)
    return http.client.HTTPConnection(host, port, timeout=PATIENCE)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _reason(error: Exception) -> str:
    """Return what went wrong in a few words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS: its certificate is not trusted ({error.verify_message})"
    if isinstance(error, ssl.SSLError):
        return "TLS: it does not speak TLS, or not one we know"
    if isinstance(error, TimeoutError):
        return f"no answer within {PATIENCE:.0f} s"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return reason_of(error)
