"""The commands of a measurement: alike in kind, different in id, key and recipient."""

import enum
import itertools
import random
import time
from collections.abc import Mapping
from uuid import UUID

import msgspec

from mailworkers.bench.producer import xadd

FROM = "shop@example.org"
_DOMAIN = FROM.partition("@")[2]
_WORDS = ("order", "shipped", "number", "street", "Monday", "receipt", "please", "thanks", "total")


class Mode(enum.StrEnum):
    """How commands carry their content."""

    RENDERED = "rendered"
    TEMPLATE = "template"


class Ids(enum.StrEnum):
    """The ids of deliveries: UUIDs of version 4, or of version 7, as we make them."""

    RANDOM = "random"  # as most producers make them, and the less favourable case for an index
    TIME = "time"


class Load(msgspec.Struct, frozen=True):
    """What is sent. *size* is the bytes of text of a rendered message; templates have their own.

    *source* is what commands say of themselves; `authsession` goes by the auth lane.
    """

    messages: int = 10_000
    size: int = 2048
    mode: Mode = Mode.RENDERED
    source: str = "notification"
    ids: Ids = Ids.RANDOM


class Batch(msgspec.Struct, frozen=True):
    """Commands ready to be written, and the Message-IDs of the messages they must become."""

    commands: list[bytes]
    message_ids: list[str]


def prepare(stream: str, load: Load, chance: random.Random) -> Batch:
    """Return the commands of *load*, with ids of their own for each call."""
    batch = Batch([], [])
    text = text_of(load.size)
    for number in range(load.messages):
        delivery_id = _new_id(load.ids, chance)
        payload = _payload(load, number, text)
        fields = {
            "delivery_id": delivery_id,
            "source": load.source,
            "payload_mode": str(load.mode),
            "idempotency_key": f"order-{delivery_id}",
            "requested_at_ms": str(time.time_ns() // 1_000_000),
            "payload_json": msgspec.json.encode(payload).decode(),
        }
        batch.commands.append(xadd(stream, fields))
        batch.message_ids.append(f"<{delivery_id}@{_DOMAIN}>")
    return batch


class Submission(msgspec.Struct, frozen=True):
    """A command as the api takes it, and the Message-ID of the message it must become."""

    body: Mapping[str, object]
    message_id: str


def submissions(load: Load, chance: random.Random) -> list[Submission]:
    """Return the commands of *load* for the api, with ids of their own for each call."""
    text = text_of(load.size)
    found = []
    for number in range(load.messages):
        delivery_id = _new_id(load.ids, chance)
        body = {
            "delivery_id": delivery_id,
            "source": load.source,
            "payload_mode": str(load.mode),
            "idempotency_key": f"order-{delivery_id}",
            "payload": _payload(load, number, text),
        }
        found.append(Submission(body, f"<{delivery_id}@{_DOMAIN}>"))
    return found


def _new_id(ids: Ids, chance: random.Random) -> str:
    if ids is Ids.TIME:
        # Here: the command line imports this module for the names of its options.
        from mailworkers.adapters.intake import new_delivery_id

        return str(new_delivery_id())
    return str(UUID(int=chance.getrandbits(128), version=4))


def _payload(load: Load, number: int, text: str) -> dict[str, object]:
    to = [f"person{number}@example.com"]
    if load.mode is Mode.TEMPLATE:
        variables = {
            "name": f"Person {number}",
            "confirm_url": f"https://example.com/confirm?token={number:032x}",
            "product": "Example",
        }
        return {"to": to, "template_id": "welcome", "locale": "en", "variables": variables}
    return {"to": to, "subject": f"Order {number} has shipped", "text_body": text}


def text_of(size: int) -> str:
    """Return *size* characters of lines as people write them, none of which ends in a blank."""
    words = itertools.cycle(_WORDS)
    lines = (" ".join(itertools.islice(words, 11)) for _ in itertools.count())
    text = ""
    while len(text) < size:
        text += next(lines) + "\n"
    return text[:size].rstrip(" ").ljust(size, ".")
