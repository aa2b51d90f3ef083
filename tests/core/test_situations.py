"""What `status` calls wrong, and what it does not."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from mailworkers.core.situations import (
    LaneView,
    MailView,
    PauseView,
    Rates,
    RelayView,
    RoleView,
    SilentProcess,
    Situation,
    StoreView,
    StreamView,
    in_short,
    judge,
)

NOW = datetime(2027, 1, 31, 12, tzinfo=UTC)
THERE = [StoreView(name, is_there=True, detail="reachable") for name in ("postgres", "redis")]
WELL = MailView(
    roles=[RoleView("sender", 2, NOW - timedelta(hours=1), ["0.1.0"])],
    lanes=[LaneView(lane, {}, 0.0) for lane in ("auth", "normal", "bulk")],
    rates=Rates(0, 0, 0, 0),
    relay=RelayView("relay mx:25", "closed", ""),
    pauses=[],
    troubles=[],
    open_dead_letters=3,
    malformed=4,
)


def words(stream: StreamView | None = None, **changes: Any) -> list[str]:
    """Return what is wrong when *changes* are made to a service that is well."""
    mail = msgspec.structs.replace(WELL, **changes)
    found = judge(Situation(NOW, THERE, mail, stream or StreamView("s", 0)))
    assert all(problem.advice for problem in found)
    return [problem.what for problem in found]


def pause(lane: str | None) -> PauseView:
    """Return a pause of a lane, or of everything."""
    return PauseView(1, lane, None, "why", "cli:me", NOW, None)


def waiting(lane: str, span: timedelta) -> list[LaneView]:
    """Return lanes of which one has had mail due for *span*."""
    milliseconds = span / timedelta(milliseconds=1)
    return [LaneView(name, {}, milliseconds if name == lane else 0.0) for name in ("auth", "bulk")]


def test_what_waits_for_review_is_not_wrong() -> None:
    """Dead letters and refused entries are a person's work, not a fault of the service."""
    assert words() == []


def test_a_store_that_is_away_is_wrong_and_hides_nothing_else() -> None:
    """The other store's problems are told as well."""
    stores = [StoreView("postgres", is_there=False, detail="connection refused"), THERE[1]]

    found = judge(Situation(NOW, stores, None, StreamView("s", 9, 120_000.0, 0)))

    assert [problem.what for problem in found] == [
        "postgres: connection refused",
        "9 commands unread, the oldest for 2m",
    ]


def test_a_role_without_a_process_is_wrong() -> None:
    """All that are missing in one line."""
    roles = [RoleView("consumer", 0), RoleView("sender", 1), RoleView("monitor", 0)]

    assert words(roles=roles) == ["no consumer, no monitor is alive"]


def test_a_silent_process_is_wrong_beside_living_ones() -> None:
    """It may be frozen with leases in its hands."""
    silent = SilentProcess("host-1", "sender-02", 4711, NOW - timedelta(minutes=1))

    found = words(roles=[RoleView("sender", 1, silent=[silent])])

    assert found == ["sender-02 on host-1 (pid 4711) is silent"]


@pytest.mark.parametrize("state", ["open", "half_open"])
def test_a_breaker_that_is_not_closed_is_wrong_with_its_reason(state: str) -> None:
    """The reason is the relay's answer, or what kept it from one."""
    found = words(relay=RelayView("relay mx:25", state, "auth: 535 no"))

    assert found == [f"breaker {state}: auth: 535 no"]


def test_overdue_mail_is_wrong_by_its_lane_unless_it_is_held_back() -> None:
    """A login code of a minute is late, bulk of a minute is not; a pause is on purpose."""
    late = waiting("auth", timedelta(minutes=1))

    assert words(lanes=late) == ["auth mail has been due for 1m"]
    assert words(lanes=waiting("bulk", timedelta(minutes=1))) == []
    assert words(lanes=late, pauses=[pause("auth")]) == []
    assert words(lanes=late, pauses=[pause(None)]) == []
    assert words(lanes=late, pauses=[pause("bulk")]) == ["auth mail has been due for 1m"]


def test_commands_are_unread_for_too_long_after_a_minute() -> None:
    """A burst that is being read is not wrong, however long."""
    assert words(StreamView("s", 100_000, 59_000.0, 500)) == []
    assert words(StreamView("s", None)) == []
    assert len(words(StreamView("s", 1, 61_000.0, 0))) == 1


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-1, "0s"), (0.4, "0s"), (59, "59s"), (60, "1m"), (3600, "1h"), (3661, "1h 1m"),
     (90_000, "1d 1h"), (86_401, "1d")],
)  # fmt: skip
def test_spans_are_told_in_two_units(seconds: float, shown: str) -> None:
    """As people say them."""
    assert in_short(timedelta(seconds=seconds)) == shown
