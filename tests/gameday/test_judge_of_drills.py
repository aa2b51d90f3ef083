"""The judge of drills is judged: each lie about a good drill is found out, by its own check."""

from collections.abc import Callable

import msgspec
import pytest

from mailworkers.gameday.judging.drill import (
    CHECKS,
    DRAINED_WITHIN,
    RESOLVED_WITHIN,
    Alarm,
    Evidence,
    drained_after,
    judge_drill,
)

OVER = 90.0
LIMIT = 150


def _good() -> Evidence:
    """Return what a drill leaves behind in which all went well."""
    return Evidence(
        over=OVER,
        must={"RedisUnreachable": 60.0},
        may=frozenset({"MailLate"}),
        is_alarm_real=True,
        alarms=[Alarm("RedisUnreachable", 31.0, OVER + 12), Alarm("MailLate", 80.0)],
        waiting=[(10.0, 500), (80.0, 4000), (95.0, 900), (100.0, 20), (110.0, 3)],
        limit=LIMIT,
        before={"consumer": 11, "sender-01": 12},
        after={"consumer": 11, "sender-01": 99},
        killed=frozenset({"sender-01"}),
        goes_on=True,
        arrived=[5.0, 40.0, 70.0, 99.0],
        ledgers={"I-01 every acknowledged command": 0, "I-19 counters agree": 0},
        missed=[],
        ends={"sent": 4500},
        is_quiet=True,
    )


def _nothing_happened(evidence: Evidence) -> None:
    evidence.missed.append("redis outage: {'is_done': False}")


def _a_command_is_gone(evidence: Evidence) -> None:
    evidence.ledgers["I-01 every acknowledged command has exactly one delivery"] = 1


def _mail_that_no_relay_has(evidence: Evidence) -> None:
    evidence.ledgers["I-05 what is said to be sent is at the sink"] = 1


def _a_dead_letter(evidence: Evidence) -> None:
    evidence.ends["dead_letter"] = 1


def _a_doubt(evidence: Evidence) -> None:
    evidence.ends["uncertain"] = 1


def _an_unexplained_copy(evidence: Evidence) -> None:
    evidence.ledgers["I-06 every duplicate is explained"] = 1


def _a_lease_that_stays(evidence: Evidence) -> None:
    evidence.ledgers["I-04 no row is leased after lease + 5 s"] = 1


def _no_quiet(evidence: Evidence) -> None:
    evidence.is_quiet = False


def _counters_that_lie(evidence: Evidence) -> None:
    evidence.ledgers["I-19 counters agree with the tables"] = 1


def _a_pause_in_the_middle(evidence: Evidence) -> None:
    evidence.arrived = [5.0, 70.0, 99.0]


def _a_slow_backlog(evidence: Evidence) -> None:
    evidence.waiting = [(95.0, 900), (OVER + DRAINED_WITHIN + 1, 0)]


def _a_backlog_that_stays(evidence: Evidence) -> None:
    evidence.waiting.append((300.0, LIMIT + 1))


def _a_role_that_is_down(evidence: Evidence) -> None:
    evidence.after = {"sender-01": 99}


def _a_role_that_was_restarted(evidence: Evidence) -> None:
    evidence.after["consumer"] = 13


def _a_role_that_did_not_die(evidence: Evidence) -> None:
    evidence.after["sender-01"] = 12


def _a_role_that_said_nothing(evidence: Evidence) -> None:
    evidence.told = ["consumer did not say that its clock is off"]


def _no_alarm(evidence: Evidence) -> None:
    evidence.alarms = []


def _a_late_alarm(evidence: Evidence) -> None:
    evidence.alarms[0].fired = 60.5


def _an_alarm_without_end(evidence: Evidence) -> None:
    evidence.alarms[0].resolved = None


def _an_alarm_that_lingers(evidence: Evidence) -> None:
    evidence.alarms[0].resolved = OVER + RESOLVED_WITHIN + 1


def _another_alarm(evidence: Evidence) -> None:
    evidence.alarms.append(Alarm("PostgresUnreachable", 40.0, 50.0))


# What is done to the evidence, and the one check that must find it.
LIES: dict[Callable[[Evidence], None], str] = {
    _nothing_happened: "what was to go wrong did",
    _a_command_is_gone: "nothing is lost",
    _mail_that_no_relay_has: "nothing is lost",
    _a_dead_letter: "every mail is sent, none given up",
    _a_doubt: "every mail is sent, none given up",
    _an_unexplained_copy: "duplicates are few and explained",
    _a_lease_that_stays: "nothing is stuck",
    _no_quiet: "nothing is stuck",
    _counters_that_lie: "ledgers, tables and counters agree",
    _a_pause_in_the_middle: "mail goes on meanwhile",
    _a_slow_backlog: "the backlog is gone within 2 minutes",
    _a_backlog_that_stays: "the backlog is gone within 2 minutes",
    _a_role_that_is_down: "roles recover by themselves",
    _a_role_that_was_restarted: "roles recover by themselves",
    _a_role_that_did_not_die: "roles recover by themselves",
    _a_role_that_said_nothing: "roles recover by themselves",
    _no_alarm: "the alarms fire in time",
    _a_late_alarm: "the alarms fire in time",
    _an_alarm_without_end: "the alarms resolve",
    _an_alarm_that_lingers: "the alarms resolve",
    _another_alarm: "no false alarm",
}


def test_a_good_drill_is_good() -> None:
    """Nothing is found where nothing was wrong: else the lies below would prove nothing."""
    assert not any(judge_drill(_good()).values())


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__.strip("_"))
def test_a_lie_is_found_by_its_check_and_by_no_other(lie: Callable[[Evidence], None]) -> None:
    """One thing is wrong: one check says so."""
    evidence = msgspec.json.decode(msgspec.json.encode(_good()), type=Evidence)
    lie(evidence)

    found = {name for name, lines in judge_drill(evidence).items() if lines}

    assert found == {LIES[lie]}


def test_every_check_has_a_lie() -> None:
    """A check that nobody saw fail may be one that cannot."""
    assert set(LIES.values()) == set(CHECKS)


def test_a_backlog_that_comes_back_was_not_gone() -> None:
    """It counts from when it was small for good."""
    evidence = _good()
    evidence.waiting = [(95.0, 10), (100.0, 900), (105.0, 10), (110.0, 3)]

    assert drained_after(evidence) == 15.0


def test_where_nothing_must_go_on_nothing_is_asked_of_the_time_between() -> None:
    """Without PostgreSQL no mail is sent, and that is right."""
    evidence = _good()
    evidence.goes_on = False
    evidence.arrived = []

    assert not any(judge_drill(evidence).values())
