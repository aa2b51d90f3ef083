"""What was due while nobody could work, and comes out all at once afterwards (F-C07)."""

import random
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from mailworkers.adapters import db
from mailworkers.core.states import Lane
from mailworkers.roles.scheduler import BATCH, Scheduler
from mailworkers.roles.sender import Sender
from tests.crash.operation.verdicts import count
from tests.deliveries import accept, new_delivery
from tests.relay import Relay
from tests.roles.conftest import build, make_settings

__all__ = ["build", "make_settings"]

EACH = 400
SOURCES = ("api", "notification")


@pytest.mark.slow
def test_a_backlog_of_hours_goes_out_by_lane_and_then_by_age(
    build: Callable[..., Any], relay: Relay, conn: db.Connection
) -> None:
    """Six hours of mail are due at once. Codes that are still good go first, dead ones not at all.

    Within a lane each source's mail goes oldest first, as exactly as the scheduler hands it out:
    the oldest batch before the next. Nobody floods the relay: a sender has one session at a time.
    """
    _be_away_for_six_hours(conn)
    scheduler = build(Scheduler)
    sender = build(Sender, MAIL_SMTP_ADDR=relay.addr)

    while scheduler.step():
        pass
    while sender.step():
        pass

    went = [message.rcpt_to[0].split("@")[0].split("-") for message in relay.accepted]
    assert len(went) == EACH * 5
    assert count(conn, "failed") == EACH
    assert {lane for lane, *_ in went[:EACH]} == {"auth"}
    by_age = sorted((int(age) for *_, age in went), reverse=True)
    for lane in ("auth", "normal", "bulk"):
        for source in SOURCES:
            ages = [int(age) for was, whose, age in went if (was, whose) == (lane, source)]
            ranks = [by_age.index(age) for age in ages]
            assert all(last - BATCH < next_one for last, next_one in pairwise(ranks))


def _be_away_for_six_hours(conn: db.Connection) -> None:
    """Accept mail of all lanes that was due within the last hours; recipients tell what it was.

    As much auth mail again has passed its life.
    """
    ages = random.Random(7).sample(range(1, 6 * 3600), EACH)
    news = [
        new_delivery(f"{lane.label}-{source}-{age}@example.com", lane=lane, source=source)
        for lane in Lane
        for number, age in enumerate(ages)
        for source in SOURCES[number % 2 :][:1]
    ]
    dead = [
        new_delivery(f"dead-api-{age}@example.com", lane=Lane.AUTH, source="api") for age in ages
    ]
    more = [
        new_delivery(f"{lane.label}-{source}-{age}@example.com", lane=lane, source=source)
        for lane in (Lane.NORMAL, Lane.BULK)
        for number, age in enumerate(ages)
        for source in SOURCES[(number + 1) % 2 :][:1]
    ]
    accept(conn, *news, *dead, *more)
    conn.execute(
        "UPDATE deliveries d SET status = 'deferred', ready_at = NULL, next_attempt_at ="
        " clock_timestamp() - make_interval(secs => split_part(split_part(address, '@', 1), '-', 3)"
        "::int), expires_at = CASE WHEN address LIKE 'dead-%%' THEN clock_timestamp() END"
        " FROM delivery_recipients r WHERE r.delivery_id = d.delivery_id"
    )
