"""The samples' journeys: put in, followed to the mailbox, told in a table."""

import time
from datetime import timedelta

from mailworkers.embedded.running import Running, UpFailed, ends_of_logs
from mailworkers.embedded.samples import (
    SAMPLES,
    Arrival,
    Sent,
    delivery_status,
    find_arrival,
    send,
)
from mailworkers.embedded.screen import Screen

_ARRIVING = timedelta(seconds=60)
_LOOK_EVERY = 0.05

Arrivals = dict[str, tuple[Arrival, float]]


def send_samples(running: Running, screen: Screen) -> list[Sent]:
    """Put every sample in and return what was answered."""
    with screen.step(f"sending {len(SAMPLES)} sample mails"):
        return [send(sample, running.settings) for sample in SAMPLES]


def follow(running: Running, sent: list[Sent], screen: Screen) -> None:
    """Wait for each sample in the mailbox and tell what became of it.

    Raises UpFailed, with the ends of the logs, when one did not arrive or came twice.
    """
    with screen.step("waiting for them in the mailbox"):
        arrivals = _await_arrivals(running, sent)
    rows = [_journey(running, one, arrivals.get(one.delivery_id)) for one in sent]
    screen.table(["sample", "went in", "became", "look"], rows)
    missing = len(sent) - len(arrivals)
    doubled = sum(arrival.copies - 1 for arrival, _ in arrivals.values())
    if missing or doubled:
        problem = f"{missing} of {len(sent)} sample mails did not arrive, {doubled} came twice"
        raise UpFailed(problem + ends_of_logs(running))


def _await_arrivals(running: Running, sent: list[Sent]) -> Arrivals:
    """Return what arrived, by delivery id, and after how many seconds."""
    arrivals: Arrivals = {}
    deadline = time.monotonic() + _ARRIVING.total_seconds()
    while len(arrivals) < len(sent) and time.monotonic() < deadline:
        for one in sent:
            if one.delivery_id in arrivals:
                continue
            if found := find_arrival(running.mailbox, one.delivery_id):
                arrivals[one.delivery_id] = (found, time.monotonic() - one.at)
        time.sleep(_LOOK_EVERY)
    return arrivals


def _journey(running: Running, one: Sent, found: tuple[Arrival, float] | None) -> list[str]:
    status = delivery_status(running.settings, one.delivery_id)
    if found is None:
        return [one.sample.title, one.answer, status, f"delivery {one.delivery_id}"]
    arrival, took = found
    look = f"{running.mailbox}/messages/{arrival.number}"
    return [one.sample.title, one.answer, f"{status}, arrived after {took:.2f} s", look]
