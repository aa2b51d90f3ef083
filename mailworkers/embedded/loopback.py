"""HTTP to our own servers on this host, without any proxy that the environment may name."""

import urllib.error
import urllib.request
from typing import Any

import msgspec

_TIMEOUT = 10.0


class Refused(Exception):  # noqa: N818  it names the condition
    """The server answered with another code than 2yz; *body* is the beginning of what it said."""

    def __init__(self, code: int, body: str) -> None:
        super().__init__(f"HTTP {code} {body}")
        self.code = code
        self.body = body


def fetch(url: str) -> bytes:
    """Return what *url* answers; OSError when nobody does, Refused for an error."""
    return _open(urllib.request.Request(url))  # noqa: S310  our own loopback addresses only


def fetch_json(url: str) -> Any:
    """Return the JSON that *url* answers."""
    return msgspec.json.decode(fetch(url))


def post_json(url: str, body: object, headers: dict[str, str]) -> Any:
    """Post *body* as JSON and return the JSON that is answered."""
    content = msgspec.json.encode(body)
    headers = {"Content-Type": "application/json", **headers}
    request = urllib.request.Request(url, content, headers)  # noqa: S310
    return msgspec.json.decode(_open(request))


def is_fine(url: str) -> bool:
    """Whether *url* answers 2yz."""
    try:
        fetch(url)
    except (OSError, Refused):
        return False
    return True


def _open(request: urllib.request.Request) -> bytes:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=_TIMEOUT) as answer:
            content: bytes = answer.read()
    except urllib.error.HTTPError as error:
        with error:
            raise Refused(error.code, error.read(2000).decode("utf-8", "replace")) from None
    return content
