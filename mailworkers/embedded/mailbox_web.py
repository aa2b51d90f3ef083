"""The mailbox's web server: pages for people, `/messages.json` for programs. Loopback only."""

import http.server
import secrets
from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import msgspec

from mailworkers.embedded.mailbox_pages import (
    PAGE_SIZE,
    framed_html,
    list_page,
    message_page,
    take_apart,
)
from mailworkers.embedded.mailbox_smtp import Answer, Mailbox
from mailworkers.embedded.mailbox_store import Entry

_LARGEST_FORM = 10_000
_LONGEST_LIST = 10_000
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_HTML = "text/html; charset=utf-8"
# A mail's own html may show its text and its own pictures, and nothing else: no script, no request.
_FRAME_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; font-src data:;"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'self'; sandbox"
)


def _page_policy(nonce: str) -> str:
    return (
        f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}';"
        " connect-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none';"
        " frame-ancestors 'none'"
    )


def serve(mailbox: Mailbox, port: int) -> http.server.ThreadingHTTPServer:
    """Return a server that shows *mailbox* on 127.0.0.1, to be run in a thread."""

    class Handler(_Handler):
        shown = mailbox

    return http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)


class _Handler(http.server.BaseHTTPRequestHandler):
    shown: Mailbox
    protocol_version = "HTTP/1.1"
    server_version = "mailbox"
    timeout = 60

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the page's own requests would fill the log."""

    def do_GET(self) -> None:
        """Answer a page, a list or a part of a message."""
        if not self._is_local():
            return self._refuse(HTTPStatus.FORBIDDEN)
        parts = urlsplit(self.path)
        asked = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        try:
            match parts.path.strip("/").split("/"):
                case [""]:
                    return self._list(asked)
                case ["messages.json"]:
                    return self._list_json(asked)
                case ["messages", number]:
                    return self._message(int(number))
                case ["messages", number, "html"]:
                    return self._framed(int(number))
                case ["messages", number, "raw"]:
                    return self._raw(int(number))
                case ["messages", number, "parts", index]:
                    return self._part(int(number), int(index))
        except ValueError:
            return self._refuse(HTTPStatus.BAD_REQUEST)
        return self._refuse(HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        """Switch the answer, or empty the mailbox; only for our own page or a local program."""
        given = self.headers.get("Content-Length", "0")
        length = int(given) if given.isdecimal() else _LARGEST_FORM + 1
        if not self._is_local() or self._is_cross_site() or length > _LARGEST_FORM:
            self.close_connection = True
            return self._refuse(HTTPStatus.FORBIDDEN)
        form = parse_qs(self.rfile.read(length).decode("utf-8", "replace"))
        if self.path == "/empty":
            self.shown.store.empty()
        elif self.path == "/answer" and form.get("answer", [""])[0] in list(Answer):
            self.shown.answer = Answer(form["answer"][0])
        else:
            return self._refuse(HTTPStatus.BAD_REQUEST)
        self.send_response(HTTPStatus.SEE_OTHER)
        self.send_header("Location", "/")
        self.send_header("Content-Length", "0")
        self.end_headers()
        return None

    def _is_local(self) -> bool:
        """Whether the request names us by a loopback name: a foreign name is DNS rebinding."""
        return urlsplit(f"//{self.headers.get('Host', '')}").hostname in _LOOPBACK

    def _is_cross_site(self) -> bool:
        site = self.headers.get("Sec-Fetch-Site", "none")
        return site not in {"none", "same-origin"}

    def _list(self, asked: dict[str, str]) -> None:
        query, offset = asked.get("q", ""), max(0, int(asked.get("offset", "0")))
        page = self.shown.store.page(query.lower().split(), PAGE_SIZE, offset)
        self._page(
            lambda nonce: list_page(
                page, query=query, offset=offset, answer=self.shown.answer, nonce=nonce
            )
        )

    def _list_json(self, asked: dict[str, str]) -> None:
        limit = min(max(0, int(asked.get("limit", str(PAGE_SIZE)))), _LONGEST_LIST)
        offset = max(0, int(asked.get("offset", "0")))
        page = self.shown.store.page(asked.get("q", "").lower().split(), limit, offset)
        self._answer(msgspec.json.encode(page), "application/json", "default-src 'none'")

    def _message(self, number: int) -> None:
        found = self._find(number)
        if found is None:
            return self._refuse(HTTPStatus.NOT_FOUND)
        entry, raw = found
        copies = self.shown.store.page([entry.message_id.lower()], 1).found
        return self._page(
            lambda nonce: message_page(
                entry, raw, copies=copies, answer=self.shown.answer, nonce=nonce
            )
        )

    def _framed(self, number: int) -> None:
        found = self._find(number)
        if found is None:
            return self._refuse(HTTPStatus.NOT_FOUND)
        return self._answer(framed_html(take_apart(found[1])).encode(), _HTML, _FRAME_POLICY)

    def _raw(self, number: int) -> None:
        found = self._find(number)
        if found is None:
            return self._refuse(HTTPStatus.NOT_FOUND)
        return self._download(found[1], f"{number}.eml", "message/rfc822")

    def _part(self, number: int, index: int) -> None:
        found = self._find(number)
        parts = take_apart(found[1]).parts if found else ()
        for part in parts:
            if part.index == index:
                name = part.filename or f"part-{index}"
                return self._download(part.content, name, "application/octet-stream")
        return self._refuse(HTTPStatus.NOT_FOUND)

    def _find(self, number: int) -> tuple[Entry, bytes] | None:
        entry, raw = self.shown.store.entry(number), self.shown.store.raw(number)
        return (entry, raw) if entry and raw is not None else None

    def _page(self, render: Callable[[str], str]) -> None:
        nonce = secrets.token_urlsafe(16)
        self._answer(render(nonce).encode(), _HTML, _page_policy(nonce))

    def _download(self, content: bytes, name: str, content_type: str) -> None:
        disposition = f"attachment; filename*=UTF-8''{quote(name, safe='')}"
        self._answer(content, content_type, "sandbox", disposition)

    def _answer(self, body: bytes, kind: str, policy: str, disposition: str = "") -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", policy)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cache-Control", "no-store")
        if disposition:
            self.send_header("Content-Disposition", disposition)
        self.end_headers()
        self.wfile.write(body)

    def _refuse(self, status: HTTPStatus) -> None:
        self.send_error(status)
