"""Ways to compose a message: ours, as intake does it, and the standard library's beside them."""

import base64
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from mailworkers.adapters.catalog import Catalog, packaged_directory
from mailworkers.adapters.dkim_keys import key_path, load_keys, make_key, write_key
from mailworkers.bench.commands import FROM, Mode, text_of
from mailworkers.bench.testbed import BenchFailed
from mailworkers.core.commands import Command, Refusal, decode_body
from mailworkers.core.dkim import Algorithm
from mailworkers.core.intake import Composer, Identity, Rendered
from mailworkers.core.payloads import TemplatePayload

Way = Callable[[int], bytes]  # from a message's number to its bytes

_SENDER = f"Example Shop <{FROM}>"
_DOMAIN = FROM.partition("@")[2]
_SELECTOR = "bench"
_DATE = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
_DIFFERENT = 64  # messages of a kind follow one another, so that nothing is only remembered
_LARGE = 1024 * 1024  # bytes of the file


class Workbench:
    """Composers and commands for all ways; *size* is the bytes of text of a rendered message.

    The key that signs is made in *directory*.
    """

    def __init__(self, directory: Path, size: int) -> None:
        self._catalog = Catalog.load(packaged_directory())
        self._plain = Composer(identity=Identity(_SENDER), renderer=self._catalog)
        write_key(key_path(directory, _DOMAIN, _SELECTOR), make_key(Algorithm.RSA))
        keyring = load_keys(directory, {_DOMAIN: (_SELECTOR,)}).keyring()
        self._signing = msgspec.structs.replace(self._plain, keyring=keyring)
        self._text = text_of(size)

    def template(self) -> Way:
        """Return the way of a command with a template: text and html, three variables."""
        return _composes(self._plain, _decoded(map(_template_body, range(_DIFFERENT))))

    def signed(self) -> Way:
        """Return the same with a signature of RSA-2048."""
        return _composes(self._signing, _decoded(map(_template_body, range(_DIFFERENT))))

    def rendered(self) -> Way:
        """Return the way of a command that brings its text."""
        return _composes(self._plain, _decoded(map(self._rendered_body, range(_DIFFERENT))))

    def attachment(self) -> Way:
        """Return the same with a file of 1 MiB."""
        return _composes(self._plain, _decoded([self._attachment_body()]))

    def attachment_with_decoding(self) -> Way:
        """Return the same from the JSON on, which holds the file in base64."""
        body = self._attachment_body()
        return lambda number: _composed(self._plain, decode_body(body), number)

    def emailmessage(self) -> Way:
        """Return how `EmailMessage` writes what the template says; rendering is done already."""
        contents = [self._render(n) for n in range(_DIFFERENT)]
        return lambda number: _write_emailmessage(contents[number % _DIFFERENT], number)

    def _render(self, number: int) -> Rendered:
        (command,) = _decoded([_template_body(number)])
        payload = command.payload
        assert isinstance(payload, TemplatePayload)  # noqa: S101  what such a body holds
        return self._catalog.render(payload.template_id, payload.locale, payload.variables)

    def _rendered_body(self, number: int, **more: object) -> bytes:
        subject = f"Order {number} has shipped"
        content = {"subject": subject, "text_body": self._text, **more}
        return _body(Mode.RENDERED, number, content)

    def _attachment_body(self) -> bytes:
        content = base64.b64encode(bytes(range(256)) * (_LARGE // 256)).decode()
        file = {
            "filename": "report.pdf",
            "content_type": "application/pdf",
            "content_base64": content,
        }
        return self._rendered_body(0, attachments=[file])


def _template_body(number: int) -> bytes:
    variables = {
        "name": f"Person {number}",
        "confirm_url": f"https://example.com/confirm?token={number:032x}",
        "product": "Example",
    }
    content = {"template_id": "welcome", "locale": "en", "variables": variables}
    return _body(Mode.TEMPLATE, number, content)


def _body(mode: Mode, number: int, content: Mapping[str, object]) -> bytes:
    payload: dict[str, Any] = {"to": [_recipient(number)], **content}
    body = {"payload_mode": mode.value, "idempotency_key": "bench", "payload": payload}
    return msgspec.json.encode(body)


def _recipient(number: int) -> str:
    return f"person{number}@example.com"


def _decoded(bodies: Iterable[bytes]) -> list[Command]:
    """Return commands as intake has them when it begins to compose."""
    return [_accepted(decode_body(body)) for body in bodies]


def _composes(composer: Composer, commands: list[Command]) -> Way:
    return lambda number: _composed(composer, commands[number % len(commands)], number)


def _composed(composer: Composer, command: Command | Refusal, number: int) -> bytes:
    delivery_id = _id(number)
    made = composer.compose(_accepted(command), delivery_id=delivery_id, now=_DATE)
    return _accepted(made).mime


_Made = TypeVar("_Made")


def _accepted(made: _Made | Refusal) -> _Made:
    if isinstance(made, Refusal):
        raise BenchFailed(f"the command was refused: {made.detail}")
    return made


def _id(number: int) -> UUID:
    return UUID(int=(number << 80) | (0x7 << 76) | (0b10 << 62))


def _write_emailmessage(content: Rendered, number: int) -> bytes:
    message = EmailMessage(policy=SMTP)
    message["From"] = _SENDER
    message["To"] = _recipient(number % _DIFFERENT)
    message["Subject"] = content.subject
    message["Date"] = _DATE
    message["Message-ID"] = f"<{_id(number)}@{_DOMAIN}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(content.text or "")
    message.add_alternative(content.html or "", subtype="html")
    return message.as_bytes()
