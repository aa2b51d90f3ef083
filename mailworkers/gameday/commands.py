"""The commands of a run: drawn from the seed, one by one, when their time comes.

Most are plain. Some have several recipients, some wait, some expire, some come twice by another
way, some are broken, some are cancelled, put on our own list, or tried again by an operator.
Addresses tell the sink what to do: `refuse`, `policy`, `grey`, and `once`, which is refused until
an operator has the delivery tried again. Addresses `listed` are on our own list from the beginning.
"""

import json
import random
import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple

# source, lane named in the command, weight
_KINDS = (("authsession", None, 15), ("notification", None, 60), ("api", "bulk", 25))
LISTED = tuple(f"listed-{number}@example.com" for number in range(200))
# What the local part of an address begins with, and how often of a hundred.
_WORDS = {"user": 93, "refuse": 2, "policy": 1, "grey": 3, "listed": 1}
_PLAIN = {"user": 97, "grey": 3}
PARKED_LANE = "bulk"  # where a doubt is never resolved by a second copy


class Command(NamedTuple):
    """One command, and when and how it is sent, in seconds after the load began."""

    number: int
    at: float
    way: str  # stream, http
    repeats: tuple[tuple[float, str], ...]  # the same command again: when, by which way
    verbs: tuple[tuple[float, str], ...]  # what operators do to it: when, and cancel, requeue, list
    is_broken: bool
    source: str
    lane: str | None
    key: str
    delivery_id: str
    canary: str
    mode: str
    payload: dict[str, Any]
    recipients: tuple[str, ...]
    waits: float | None  # send_at, from the moment it is first sent
    lives: float | None  # expires_at, likewise

    def times(self, now: float) -> dict[str, int]:
        """Return `send_at_ms` and `expires_at_ms` when it is first sent at *now*."""
        times = {}
        if self.waits is not None:
            times["send_at_ms"] = int((now + self.waits) * 1000)
        if self.lives is not None:
            times["expires_at_ms"] = int((now + self.lives) * 1000)
        return times

    def entry(self, times: dict[str, int]) -> dict[str, str]:
        """Return the fields of a stream entry."""
        payload = json.dumps(self.payload)
        fields = {
            "delivery_id": self.delivery_id,
            "source": self.source,
            "payload_mode": self.mode,
            "idempotency_key": self.key,
            "requested_at_ms": "1770000000000",
            "payload_json": payload[:-1] if self.is_broken else payload,
            **{name: str(value) for name, value in times.items()},
        }
        return fields if self.lane is None else {**fields, "lane": self.lane}

    def body(self, times: dict[str, int]) -> bytes:
        """Return the body of a request to the internal API."""
        fields: dict[str, Any] = {
            "delivery_id": self.delivery_id,
            "source": self.source,
            "payload_mode": self.mode,
            "idempotency_key": self.key,
            "payload": self.payload,
            **times,
        }
        return json.dumps(fields if self.lane is None else {**fields, "lane": self.lane}).encode()


def command(seed: int, number: int, at: float) -> Command:
    """Return command *number* of the run *seed*."""
    chance, begun = _begin("command", seed, number, at)
    source, canary = begun["source"], begun["canary"]
    is_broken = chance.random() < 0.005
    way = "stream" if is_broken or chance.random() < 0.75 else "http"
    mode, payload, recipients = _content(chance, number, canary, may_requeue=_is_normal(source))
    waits, lives = _clock(chance, may_expire=source != "authsession")
    return Command(
        **begun,
        way=way,
        repeats=() if is_broken else _repeats(chance),
        verbs=() if is_broken else _verbs(chance, recipients, waits),
        is_broken=is_broken,
        delivery_id=delivery_id(number, chance),
        mode=mode,
        payload=payload,
        recipients=recipients,
        waits=waits,
        lives=lives,
    )


def plain_command(seed: int, number: int, at: float) -> Command:
    """Return command *number* of a run in which every mail must be sent, whatever happens.

    Some have several recipients, wait, come twice or are greylisted; none is broken, expires, is
    refused or cancelled.
    """
    chance, begun = _begin("plain", seed, number, at)
    mode, payload, recipients = _content(
        chance, number, begun["canary"], may_requeue=False, words=_PLAIN
    )
    return Command(
        **begun,
        way="stream" if chance.random() < 0.75 else "http",
        repeats=_repeats(chance),
        verbs=(),
        is_broken=False,
        delivery_id=delivery_id(number, chance),
        mode=mode,
        payload=payload,
        recipients=recipients,
        waits=_clock(chance, may_expire=False)[0],
        lives=None,
    )


def _begin(kind: str, seed: int, number: int, at: float) -> tuple[random.Random, dict[str, Any]]:
    """Return where the rest of a command is drawn from, and the fields that are drawn first."""
    chance = random.Random(f"{kind} {seed} {number}")
    canary = f"canary{chance.getrandbits(64):016x}"
    source, lane = _kind(chance)
    return chance, {
        "number": number,
        "at": at,
        "key": f"key-{seed}-{number}",
        "canary": canary,
        "source": source,
        "lane": lane,
    }


def delivery_id(number: int, chance: random.Random) -> str:
    """Return an id that begins with *number*: what belongs together is found by ranges of ids."""
    return str(uuid.UUID(int=number << 96 | chance.getrandbits(96), version=4))


def _is_normal(source: str) -> bool:
    """Whether operators may have it tried again: not auth mail, and nothing parked in doubt."""
    return source == "notification"


def _clock(chance: random.Random, *, may_expire: bool) -> tuple[float | None, float | None]:
    """Return how long a command waits before it may go, and how long it lives."""
    kind, span = chance.random(), round(chance.uniform(1, 5), 2)
    if kind < 0.05:
        return span, None
    return None, span + 1 if kind < 0.11 and may_expire else None


def _kind(chance: random.Random) -> tuple[str, str | None]:
    kinds = [(source, lane) for source, lane, _ in _KINDS]
    return chance.choices(kinds, [weight for _, _, weight in _KINDS])[0]


def _repeats(chance: random.Random) -> tuple[tuple[float, str], ...]:
    if chance.random() > 0.06:
        return ()
    return tuple(
        (round(chance.uniform(0, 2), 2), chance.choice(("stream", "http")))
        for _ in range(chance.randint(1, 3))
    )


def _verbs(
    chance: random.Random, recipients: tuple[str, ...], waits: float | None
) -> tuple[tuple[float, str], ...]:
    """Return what operators do: cancels come early, to meet what is scheduled, ready or sending."""
    if recipients[0].startswith("once"):
        return ((round(chance.uniform(1, 4), 2), "requeue"),)
    kind = chance.random()
    if kind < 0.02:
        return ((round(chance.uniform(0, waits or 0.3), 3), "cancel"),)
    if kind < 0.03 and not recipients[0].startswith("listed"):
        return ((round(chance.uniform(0, 3), 2), "list"),)
    return ()


def _content(
    chance: random.Random,
    number: int,
    canary: str,
    *,
    may_requeue: bool,
    words: Mapping[str, int] = _WORDS,
) -> tuple[str, dict[str, Any], tuple[str, ...]]:
    count = 1 if chance.random() < 0.85 else chance.randint(2, 5)
    recipients = tuple(_address(chance, number, ordinal, words) for ordinal in range(count))
    if count == 1 and may_requeue and chance.random() < 0.01:
        recipients = (f"once-{number}-0@example.com",)
    people: dict[str, Any] = {"to": [recipients[0]]}
    if count > 1:
        people["cc"] = list(recipients[1:-1])
        people["bcc"] = [recipients[-1]]
    if chance.random() < 0.1:
        return (
            "template",
            {
                **people,
                "template_id": "login-code",
                "locale": chance.choice(("en", "de")),
                "variables": {"code": canary},
            },
            recipients,
        )
    filler = "\n".join(
        chance.choice((".", "..", "a line", "")) for _ in range(chance.randint(0, 40))
    )
    text = f"Hello,\n{canary}\n{filler}\n"
    return "rendered", {**people, "subject": f"Number {number}", "text_body": text}, recipients


def _address(chance: random.Random, number: int, ordinal: int, words: Mapping[str, int]) -> str:
    word = chance.choices(list(words), list(words.values()))[0]
    if word == "listed":
        # One address of the list for each ordinal: no command names a recipient twice.
        return LISTED[chance.randrange(ordinal, len(LISTED), 5)]
    return f"{word}-{number}-{ordinal}@example.com"
