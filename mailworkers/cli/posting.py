"""Posting a command to the internal API."""

import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import msgspec

ROUTE = "/api/v1/internal/deliveries"
TIMEOUT = 30.0  # seconds; the API answers after its commit


def post_command(
    url: str, token: str | None, fields: dict[str, str], payload: dict[str, Any]
) -> dict[str, Any]:
    """Post the command to *url* (the API's root, or the whole route) and return its answer."""
    place = urlsplit(url)
    if place.scheme not in ("http", "https") or not place.netloc:
        raise click.UsageError(f"--http {url!r} is not a URL: write http://127.0.0.1:8080")
    target = url if place.path.strip("/") else url.rstrip("/") + ROUTE
    headers = {"Content-Type": "application/json", "Idempotency-Key": fields["idempotency_key"]}
    if token:
        headers["Authorization"] = f"Bearer {_read_token(token)}"
    request = urllib.request.Request(  # noqa: S310  the scheme was checked above
        target, msgspec.json.encode({**fields, "payload": payload}), headers, method="POST"
    )
    return _answer(request)


def _answer(request: urllib.request.Request) -> dict[str, Any]:
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310  as above
            return msgspec.json.decode(answer.read(), type=dict[str, Any])
    except urllib.error.HTTPError as error:
        raise click.ClickException(_explain(error.code, error.read(65536))) from None
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        raise click.ClickException(
            f"{request.host} does not answer ({reason}): is `mailworkers api` running there?"
        ) from None
    except msgspec.MsgspecError:
        raise click.ClickException(f"{request.host} answered something else than JSON") from None


class _Error(msgspec.Struct):
    code: str
    message: str
    details: Any = None


class _Envelope(msgspec.Struct):
    error: _Error


def _explain(status: int, body: bytes) -> str:
    """Return the API's own words for a refusal, or its status alone."""
    try:
        error = msgspec.json.decode(body, type=_Envelope).error
    except msgspec.MsgspecError:
        return f"the API answered {status}; is this the internal API?"
    if status == 401:
        return f"{error.code}: {error.message}; give --token @FILE"
    return f"{error.code}: {error.message}"


def _read_token(token: str) -> str:
    """Return *token*, or what `@FILE` holds."""
    if not token.startswith("@"):
        return token
    try:
        return Path(token[1:]).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{token[1:]} cannot be read: {error}") from None
