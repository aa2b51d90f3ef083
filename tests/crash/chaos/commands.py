"""The commands of a run: drawn from the seed, written down before they are sent.

Most are plain. Some have several recipients, some wait, some expire, some come twice by another
way, some are broken. Addresses tell the sink what to do: `refuse`, `policy`, `grey`.
"""

import json
import random
import uuid
from typing import Any, NamedTuple

# source, lane named in the command, weight
_KINDS = (("authsession", None, 15), ("notification", None, 50), ("api", "bulk", 35))


class Command(NamedTuple):
    """One command, and when and how it is sent, in seconds after the load began."""

    number: int
    at: float
    way: str  # stream, http
    repeats: tuple[tuple[float, str], ...]  # the same command again: when, by which way
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
    chance = random.Random(f"command {seed} {number}")
    canary = f"canary{chance.getrandbits(64):016x}"
    source, lane = _kind(chance)
    is_broken = chance.random() < 0.005
    way = "stream" if is_broken or chance.random() < 0.75 else "http"
    mode, payload, recipients = _content(chance, number, canary)
    waits, lives = _clock(chance, may_expire=source != "authsession")
    return Command(
        number=number,
        at=at,
        way=way,
        repeats=() if is_broken else _repeats(chance),
        is_broken=is_broken,
        source=source,
        lane=lane,
        key=f"key-{seed}-{number}",
        delivery_id=str(uuid.UUID(int=chance.getrandbits(128), version=4)),
        canary=canary,
        mode=mode,
        payload=payload,
        recipients=recipients,
        waits=waits,
        lives=lives,
    )


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


def _content(
    chance: random.Random, number: int, canary: str
) -> tuple[str, dict[str, Any], tuple[str, ...]]:
    count = 1 if chance.random() < 0.85 else chance.randint(2, 5)
    recipients = tuple(_address(chance, number, ordinal) for ordinal in range(count))
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


def _address(chance: random.Random, number: int, ordinal: int) -> str:
    word = chance.choices(("user", "refuse", "policy", "grey"), (94, 2, 1, 3))[0]
    return f"{word}-{number}-{ordinal}@example.com"
