"""Commands that are wrong in every way a producer, a bug or an attacker can make them wrong.

A command is made by chance from nothing but its generator: the same one, the same command.
"""

import base64
import json
import random
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from tests.core.hostile_values import ENCODED_WORDS, LINE_BREAKS, STRUCTURE

Entry = Mapping[bytes, bytes]
HOSTILE_TEXTS = (
    *LINE_BREAKS,
    *ENCODED_WORDS,
    *STRUCTURE,
    "",
    " ",
    "\0",
    "\ufeff",
    "\u202etxt.exe",
    "é" * 500,
    "a" * 5000,
    "{{ 7 * 7 }}",
    "{% for x in range(10**9) %}{% endfor %}",
    "%s%s%n",
    "../../etc/passwd",
    "'; DROP TABLE mail.deliveries; --",
    "a@" + "b." * 200 + "example",
    '"\\"'.join(["a"] * 40) + "@example.com",
    "a@[127.0.0.1]",
    "ä@exämple.com",
    "infinity",
    "NaN",
)
HOSTILE_JSON = (
    b"",
    b"null",
    b"[]",
    b"{",
    b"}",
    b"\xef\xbb\xbf{}",
    b"\xff\xfe{\0}\0",
    b"{} {}",
    b"{}\0",
    b'{"to":["a@b.example"],"to":["c@d.example"]}',
    b'{"to":["a@b.example"],"subject":"\\ud800","text_body":"x"}',
    b'{"to":["a@b.example"],"subject":"\\u0000","text_body":"x"}',
    b'{"to":["a@b.example"],"subject":' + b"9" * 30 + b"}",
    b'{"to":["a@b.example"],"subject":1e400,"text_body":"x"}',
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b"[" * 100_000 + b"]" * 100_000,
    b'{"variables":{"a":' + b"[" * 31 + b"]" * 31 + b"}}",
)
HOSTILE_VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    2**63,
    10**30,
    0.5,
    1e308,
    [],
    {},
    [[]],
    [None],
    {"": ""},
    [{}] * 60,
    ["a@example.com"] * 51,
    {"to": ["a@example.com"]},
)
NAMES = (
    *("to", "cc", "bcc", "reply_to", "from", "headers", "attachments", "subject"),
    *("text_body", "html_body", "template_id", "locale", "variables", "surprise", ""),
)
FIELDS = (
    *("delivery_id", "source", "payload_mode", "idempotency_key", "requested_at_ms"),
    *("request_id", "traceparent", "lane", "send_at_ms", "expires_at_ms"),
)
FIELD_VALUES = (
    *(b"", b"\0", b"\xff", b"x" * 1025, b"9" * 30, b"-1", b"1.5", b"0", b"4102444800000"),
    *(b"253402300799999", b"1795255260123", b"infinity", b"auth", b"bulk", b"AUTH", b"template"),
    *(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "é".encode(), b"a\r\nb"),
)
# One in so many is as large as may be: they take a thousand times as long.
ONE_IN_LARGE = 2000
LARGE = 10 * 1024 * 1024
# How often each of `Maker._ways` is gone.
_WEIGHTS = (3, 12, 4, 1, 1)


class Maker:
    """Makes one command out of *chance*."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def make(self) -> Entry | bytes:
        """Return a stream entry, or every third time the body of a request."""
        as_body = self._chance.random() < 1 / 3
        if self._chance.randrange(ONE_IN_LARGE) == 0:
            text = self._large()
        else:
            (way,) = self._chance.choices(self._ways, _WEIGHTS)
            text = way()
        return self._body(text) if as_body else self._entry(text)

    @property
    def _ways(self) -> tuple[Callable[[], bytes], ...]:
        return (
            self._good,
            self._with_hostile_values,
            self._torn,
            self._nonsense,
            lambda: self._chance.choice(HOSTILE_JSON),
        )

    # Payloads.

    def _payload(self) -> dict[str, Any]:
        payload: dict[str, Any] = {"to": [f"p{self._chance.randrange(10**9)}@example.com"]}
        if self._chance.random() < 0.3:
            return payload | {
                "template_id": "login-code",
                "locale": self._chance.choice(("en", "de-DE", "xx", "")),
                "variables": {self._chance.choice(("code", "colour")): self._value(1)},
            }
        return payload | {"subject": "s", "text_body": "t", "html_body": "<p>t</p>"}

    def _good(self) -> bytes:
        return json.dumps(self._payload()).encode()

    def _with_hostile_values(self) -> bytes:
        """Return a payload of which one or more values are not what they should be."""
        payload = self._payload()
        for _ in range(self._chance.choice((1, 1, 1, 2, 3))):
            payload[self._chance.choice(NAMES)] = self._value(3)
        return json.dumps(payload).encode()

    def _value(self, depth: int) -> Any:
        """Return any JSON value, of a likely shape more often than not."""
        kind = self._chance.randrange(8 if depth else 4)
        match kind:
            case 0 | 1:
                return self._chance.choice(HOSTILE_TEXTS)
            case 2:
                return self._chance.choice(HOSTILE_VALUES)
            case 3:
                return self._any_text()
            case 4 | 5:
                return [self._value(depth - 1) for _ in range(self._chance.randrange(4))]
            case 6:
                return [self._attachment() for _ in range(self._chance.randrange(23))]
            case _:
                names = (self._chance.choice((*NAMES, *HOSTILE_TEXTS)) for _ in range(3))
                return {name: self._value(depth - 1) for name in names}

    def _attachment(self) -> dict[str, Any]:
        return {
            "filename": self._chance.choice(HOSTILE_TEXTS),
            "content_type": self._chance.choice(("text/plain", *HOSTILE_TEXTS)),
            "content_base64": self._chance.choice(("QUJD", "====", "Q", *HOSTILE_TEXTS)),
        }

    def _any_text(self) -> str:
        """Return text of any characters but lone surrogates, now and then with one of those."""
        letters = [chr(self._chance.randrange(0xD800)) for _ in range(self._chance.randrange(40))]
        letters += [chr(self._chance.randrange(0xE000, 0x110000)) for _ in range(3)]
        self._chance.shuffle(letters)
        return "".join(letters)

    def _torn(self) -> bytes:
        """Return a payload with bytes changed, left out, doubled or put in."""
        raw = bytearray(self._chance.choice((self._good, self._with_hostile_values))())
        for _ in range(self._chance.randint(1, 6)):
            at = self._chance.randrange(len(raw) + 1)
            match self._chance.randrange(4):
                case 0:
                    raw[at : at + 1] = bytes([self._chance.randrange(256)])
                case 1:
                    del raw[at : at + self._chance.randint(1, 9)]
                case 2:
                    raw[at:at] = raw[at : at + self._chance.randint(1, 30)]
                case _:
                    raw[at:at] = self._chance.choice(HOSTILE_JSON[:12])
        return bytes(raw)

    def _nonsense(self) -> bytes:
        return self._chance.randbytes(self._chance.randrange(200))

    def _large(self) -> bytes:
        """Return something as large as a payload may be, or a little larger."""
        size = LARGE + self._chance.choice((-1000, 1000))
        piece = self._chance.choice(
            (b"[", b"{", b"[],", b'"a":0,', b"\\u0000", b'"', b"a", "é".encode(), b"\xff", b"0,")
        )
        filled = piece * (size // len(piece))
        match self._chance.randrange(3):
            case 0:
                return filled
            case 1:
                return b'{"to":["a@example.com"],"subject":"s","text_body":"' + filled[:-60] + b'"}'
            case _:
                content = base64.b64encode(filled[: size * 3 // 4 - 200])
                return (
                    b'{"to":["a@example.com"],"subject":"s","text_body":"t","attachments":[{'
                    b'"filename":"a","content_type":"a/b","content_base64":"' + content + b'"}]}'
                )

    # What a payload comes in.

    def _fields(self, payload: bytes) -> dict[bytes, bytes]:
        mode = b"template" if b'"template_id"' in payload else b"rendered"
        given = {
            b"delivery_id": str(UUID(int=self._chance.getrandbits(128))).encode(),
            b"source": self._chance.choice((b"notification", b"api", b"authsession")),
            b"payload_mode": mode,
            b"idempotency_key": str(self._chance.getrandbits(64)).encode(),
            b"requested_at_ms": b"1795255200000",
        }
        while self._chance.random() < 0.15:
            name = self._chance.choice(FIELDS).encode()
            given[name] = self._chance.choice(FIELD_VALUES)
        if self._chance.random() < 0.03:
            del given[self._chance.choice(list(given))]
        if self._chance.random() < 0.03:
            given[self._chance.randbytes(self._chance.randrange(12))] = b"x"
        return given

    def _entry(self, payload: bytes) -> Entry:
        return {**self._fields(payload), b"payload_json": payload}

    def _body(self, payload: bytes) -> bytes:
        """Return a request's body around *payload*, whatever that makes of it."""
        if self._chance.random() < 0.1:
            return payload
        given = self._fields(payload)
        members = [
            json.dumps(name.decode("latin-1")).encode() + b":" + self._written(value)
            for name, value in given.items()
        ]
        return b"{" + b",".join([*members, b'"payload":' + payload]) + b"}"

    def _written(self, value: bytes) -> bytes:
        """Return *value* as JSON: a string, or as it is where it looks like a number."""
        if value.isdigit() and self._chance.random() < 0.5:
            return value
        return json.dumps(value.decode("latin-1")).encode()
