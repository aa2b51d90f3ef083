"""Which faults come when: drawn from a seed before anything starts, so that a run can be repeated.

Pure: the same seed, length and counts give the same plan.
"""

import random
from collections.abc import Iterator
from typing import Any, NamedTuple

POSTGRES, REDIS, RELAY, SUPERVISOR = "postgres", "redis", "relay", "supervisord"
MOST_SENDERS = 3  # that a scale adds to those there always are
# Who is killed how often: the sender is where mail is lost and doubled.
_WEIGHTS = {"sender": 60, "consumer": 16, "scheduler": 10, "api": 7, "retention": 3, "monitor": 4}
# What the relay does, once or several times; `accepted` means that the mail is at the sink.
RELAY_MODES = (
    "connect_reset",
    "banner_421",
    "login_535",
    "mail_451",
    "mail_421",
    "mail_stall",
    "rcpt_451",
    "body_reset",
    "dot_451",
    "dot_421",
    "dot_reset_refused",
    "dot_reset_accepted",
    "dot_stall_accepted",
    "cut_sessions",
)
# What does not count towards the breaker may come often.
_HARMLESS = {"mail_451", "rcpt_451", "dot_451"}


# Of the load that sees faults; the rest is what late ones still meet.
SHARE = 0.95


class Fault(NamedTuple):
    """One fault: *at* seconds after the load began, to *target*, which is a program or a store."""

    number: int
    at: float
    target: str
    action: str
    about: dict[str, Any]

    @property
    def name(self) -> str:
        """Return what it is called in reports: `sender kill`, `postgres crash`."""
        return f"{self.target.partition('-')[0]} {self.action}"


def plan(seed: int, *, seconds: float, kills: int, senders: int, lease: float) -> list[Fault]:
    """Return the faults of a run, in order; `kills` of them are SIGKILLs of roles, 0: no fault."""
    if not kills:
        return []
    chance = random.Random(f"plan {seed}")
    wanted = [
        *_on_roles(chance, kills),
        *_on_stores(kills),
        *_on_relay(chance, kills),
        *_on_supervisor(kills),
    ]
    chance.shuffle(wanted)
    return _place(chance, wanted, seconds, senders, lease)


def restarts(seed: int, *, seconds: float, terms: int, senders: int, lease: float) -> list[Fault]:
    """Return *terms* SIGTERMs of roles at work, in order."""
    chance = random.Random(f"restarts {seed}")
    roles, weights = list(_WEIGHTS), list(_WEIGHTS.values())
    wanted = [(role, "term", "at work") for role in chance.choices(roles, weights, k=terms)]
    return _place(chance, wanted, seconds, senders, lease)


_Want = tuple[str, str, str]  # target or role, action, manner


def _on_roles(chance: random.Random, kills: int) -> Iterator[_Want]:
    roles, weights = list(_WEIGHTS), list(_WEIGHTS.values())
    for action, count in (("kill", kills), ("term", kills // 5), ("freeze", kills // 6)):
        for role in chance.choices(roles, weights, k=count):
            yield role, action, "short"
    for _ in range(max(1, kills // 15)):
        yield "sender", "freeze", "long"


def _on_stores(kills: int) -> Iterator[_Want]:
    yield from [(POSTGRES, "cut", "")] * (kills // 5)
    yield from [(POSTGRES, "immediate", "")] * max(1, kills // 20)
    yield from [(POSTGRES, "crash", "")] * max(1, kills // 20)
    yield from [(REDIS, "cut", "")] * max(1, kills // 8)
    yield from [(REDIS, "restart", "")] * max(1, kills // 36)
    yield from [(REDIS, "crash", "")] * max(1, kills // 36)
    yield from [(REDIS, "restart_empty", "")] * max(1, kills // 18)


def _on_supervisor(kills: int) -> Iterator[_Want]:
    yield from [(SUPERVISOR, "kill", "")] * (kills // 60)
    yield from [(SUPERVISOR, "scale", "")] * (kills // 20)


def _on_relay(chance: random.Random, kills: int) -> Iterator[_Want]:
    """Half as many as kills while those are few; each may close the breaker for everybody."""
    count = max(len(RELAY_MODES) // 2, min(kills // 2, 60 + kills // 6))
    modes: list[str] = []
    while len(modes) < count:
        modes += chance.sample(RELAY_MODES, len(RELAY_MODES))
    yield from ((RELAY, mode, "") for mode in modes[:count])


def _place(
    chance: random.Random, wanted: list[_Want], seconds: float, senders: int, lease: float
) -> list[Fault]:
    """Give each fault its time, its process and its numbers."""
    gap = SHARE * seconds / len(wanted)
    at, busy = 0.0, dict.fromkeys((f"sender-{n:02d}" for n in range(1, senders + 1)), 0.0)
    faults, running = [], senders
    for number, (target, action, manner) in enumerate(wanted, 1):
        at += min(3.0, chance.uniform(min(0.2, gap), max(0.2, 2 * gap - 0.2)))
        about = _numbers(chance, target, action, manner, lease)
        victim = target
        if target == "sender":
            free = [name for name, until in busy.items() if until <= at]
            victim = chance.choice(free or list(busy))
            busy[victim] = at + float(about.get("seconds", 2.0))
        if action == "scale":
            sizes = range(senders, senders + MOST_SENDERS + 1)
            running = about["senders"] = chance.choice([n for n in sizes if n != running])
        faults.append(Fault(number, round(at, 3), victim, action, about))
    return _squeezed(faults, SHARE * seconds)


def _squeezed(faults: list[Fault], end: float) -> list[Fault]:
    """Move faults closer together where chance has put the last of them past *end*."""
    scale = min(1.0, end / max(fault.at for fault in faults))
    return [fault._replace(at=round(fault.at * scale, 3)) for fault in faults]


def _numbers(
    chance: random.Random, target: str, action: str, manner: str, lease: float
) -> dict[str, Any]:
    """Return the details of one fault."""
    if target == RELAY:
        return {"times": chance.randint(1, 30 if action in _HARMLESS else 2)}
    if target == SUPERVISOR:
        # Started again before its children have ended, or after.
        return {"down": round(chance.uniform(0.0, 3.0), 2)}
    if target in (POSTGRES, REDIS):
        return (
            {"connections": chance.randint(1, 4)}
            if action == "cut"
            else {"down": round(chance.uniform(0.0, 1.5), 2)}
        )
    if action == "freeze":
        low, high = (lease + 1, lease + 3) if manner == "long" else (0.1, lease / 2)
        return {"is_at_work": True, "after": 0.0, "seconds": round(chance.uniform(low, high), 2)}
    # Some die while they start, most after a while at work.
    return {
        "is_at_work": manner == "at work" or chance.random() < 0.8,
        "after": round(chance.random(), 2),
    }
