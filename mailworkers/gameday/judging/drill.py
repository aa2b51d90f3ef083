"""The verdict over a drill: pure, from what was seen while it went and what the ledgers say."""

from collections.abc import Callable, Iterator

import msgspec

DRAINED_WITHIN = 120.0  # seconds after the fault is over
RESOLVED_WITHIN = 180.0


class Alarm(msgspec.Struct):
    """One alarm that fired: seconds after the fault began, and when it was quiet again, if ever."""

    name: str
    fired: float
    resolved: float | None = None


class Evidence(msgspec.Struct, kw_only=True):
    """What was seen. Times are seconds after the fault began, *over* is when it ended.

    *must*: the alarms that have to fire, and within how many seconds; *may*: others that can;
    *is_alarm_real*: a Prometheus said so, not the conditions alone. *waiting*: time and how much
    waited between producers and relay; *limit* is what counts as nothing. *before* and *after*:
    process ids of each program; *killed*: those whose process we ended. *arrived*: when mail
    came to the sink. *ledgers*: violations of the ledgers' judge by check, *missed* the faults that
    took no effect. *ends*: deliveries by status. *is_quiet*: every delivery came to its end.
    """

    over: float
    must: dict[str, float]
    may: frozenset[str]
    is_alarm_real: bool
    alarms: list[Alarm]
    waiting: list[tuple[float, int]]
    limit: int
    before: dict[str, int]
    after: dict[str, int]
    killed: frozenset[str]
    goes_on: bool
    arrived: list[float]
    ledgers: dict[str, int]
    missed: list[str]
    ends: dict[str, int]
    is_quiet: bool
    told: list[str] = []  # what each role had to say and did not


_LOST = ("I-01", "I-02", "I-05")
_DOUBLED = ("I-06", "I-07", "park")
_HELD = ("I-04",)
Check = Callable[[Evidence], Iterator[str]]


def _of_ledgers(evidence: Evidence, ids: tuple[str, ...]) -> Iterator[str]:
    for name, count in evidence.ledgers.items():
        if count and name.startswith(ids):
            yield f"{name}: {count}"


def _took_effect(evidence: Evidence) -> Iterator[str]:
    yield from evidence.missed


def _nothing_is_lost(evidence: Evidence) -> Iterator[str]:
    yield from _of_ledgers(evidence, _LOST)


def _nothing_is_given_up(evidence: Evidence) -> Iterator[str]:
    """Every command of a drill is one that must be sent."""
    for status, count in sorted(evidence.ends.items()):
        if count and status != "sent":
            yield f"{count} deliveries ended {status}"


def _duplicates_are_explained(evidence: Evidence) -> Iterator[str]:
    yield from _of_ledgers(evidence, _DOUBLED)


def _nothing_is_stuck(evidence: Evidence) -> Iterator[str]:
    yield from _of_ledgers(evidence, _HELD)
    if not evidence.is_quiet:
        yield "some deliveries did not come to their end"


def _ledgers_agree(evidence: Evidence) -> Iterator[str]:
    for name, count in evidence.ledgers.items():
        if count and not name.startswith((*_LOST, *_DOUBLED, *_HELD)):
            yield f"{name}: {count}"


def _mail_goes_on(evidence: Evidence) -> Iterator[str]:
    """In each third of the time: what arrives at its very end could have waited."""
    if not evidence.goes_on:
        return
    third = evidence.over / 3
    for number in range(3):
        if not any(number * third <= at < (number + 1) * third for at in evidence.arrived):
            yield f"nothing arrived from {number * third:.0f} to {(number + 1) * third:.0f} s"


def _is_drained(evidence: Evidence) -> Iterator[str]:
    took = drained_after(evidence)
    if took is None:
        left = evidence.waiting[-1][1] if evidence.waiting else "an unknown number"
        yield f"{left} wait still"
    elif took > DRAINED_WITHIN:
        yield f"it took {took:.0f} s"


def drained_after(evidence: Evidence) -> float | None:
    """Return seconds from the end of the fault until no backlog was left for good."""
    since = None
    for at, count in evidence.waiting:
        if at < evidence.over:
            continue
        if count > evidence.limit:
            since = None
        elif since is None:
            since = at - evidence.over
    return since


def _roles_recover(evidence: Evidence) -> Iterator[str]:
    for program, pid in evidence.before.items():
        now = evidence.after.get(program, 0)
        if not now:
            yield f"{program} does not run"
        elif program in evidence.killed and now == pid:
            yield f"{program} was to be killed and lives"
        elif program not in evidence.killed and now != pid:
            yield f"{program} was restarted, which nobody should have to"
    yield from evidence.told


def _alarms_fire(evidence: Evidence) -> Iterator[str]:
    fired = {alarm.name: alarm for alarm in reversed(evidence.alarms)}
    for name, within in evidence.must.items():
        if name not in fired:
            yield f"{name} did not fire"
        elif fired[name].fired > within:
            yield f"{name} fired after {fired[name].fired:.0f} s, the bar is {within:.0f} s"


def _alarms_resolve(evidence: Evidence) -> Iterator[str]:
    for alarm in evidence.alarms:
        if alarm.name in evidence.may:
            continue
        if alarm.resolved is None:
            yield f"{alarm.name} fires still"
        elif alarm.resolved - evidence.over > RESOLVED_WITHIN:
            yield f"{alarm.name} was quiet {alarm.resolved - evidence.over:.0f} s after the fault"


def _no_alarm_is_false(evidence: Evidence) -> Iterator[str]:
    """Those of a Prometheus; conditions alone are asked only of the alarms that must fire."""
    for alarm in evidence.alarms:
        if alarm.name not in evidence.must.keys() | evidence.may:
            yield f"{alarm.name} fired after {alarm.fired:.0f} s and has nothing to do with it"


CHECKS: dict[str, Check] = {
    "what was to go wrong did": _took_effect,
    "nothing is lost": _nothing_is_lost,
    "every mail is sent, none given up": _nothing_is_given_up,
    "duplicates are few and explained": _duplicates_are_explained,
    "nothing is stuck": _nothing_is_stuck,
    "ledgers, tables and counters agree": _ledgers_agree,
    "mail goes on meanwhile": _mail_goes_on,
    "the backlog is gone within 2 minutes": _is_drained,
    "roles recover by themselves": _roles_recover,
    "the alarms fire in time": _alarms_fire,
    "the alarms resolve": _alarms_resolve,
    "no false alarm": _no_alarm_is_false,
}


def judge_drill(evidence: Evidence) -> dict[str, list[str]]:
    """Return what each check found wrong; a drill is good when that is nothing."""
    return {name: list(check(evidence)) for name, check in CHECKS.items()}
