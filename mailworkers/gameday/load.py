"""The load: a producer with a ledger, that does what a good producer does: it repeats until told.

A process of its own, `python -m mailworkers.gameday.load SETTINGS` with a JSON object. A line
`command` is on the disk before a command is sent the first time, a line `sent` before each time, a
line `told` after its answer. Operators cancel, list addresses and try again from here, too
(`verbs`).

It waits when the service falls behind, prints how many seconds of its plan are done and how many
commands wait with it, so that faults keep step, and slows down past the second it reads from stdin,
when they do not. A steady one does neither: it draws each command in its time, whatever waits, and
only such as must be sent. It ends when everything was answered, or at the deadline; memory holds
only what is under way.
"""

import contextlib
import http.client
import json
import math
import random
import sys
import threading
import time
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from mailworkers.gameday.backlog import Backlog
from mailworkers.gameday.commands import Command, command, plain_command
from mailworkers.gameday.errands import Errand, Errands, Sending
from mailworkers.gameday.internal_api import DELIVERIES, post
from mailworkers.gameday.ledger import Ledger, Line
from mailworkers.gameday.plan import SHARE
from mailworkers.gameday.verbs import Lister, Verbs

_HTTP_WORKERS = 12
_AGAIN = 0.3  # seconds before a command without an answer is repeated
_MOST = 100  # entries of one pipeline
_AHEAD = 0.05  # seconds: commands are drawn in steps of this
_TOLD_EVERY = 20  # commands
_SLOWER = 10  # times: what faults need to be seen goes on while they are late
_LONGEST_END = 300.0  # seconds
_LOOK_EVERY = 0.5


class Load:
    """Sends the commands of a run."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings
        self._ledger = Ledger(Path(settings["ledger"]))
        self._allowed = 0.0  # seconds of the plan that may be done at full pace
        self._is_steady = bool(settings.get("is_steady"))
        self._deadline = time.monotonic() + settings["deadline"]
        self._stream, self._http, self._lists = Errands(), Errands(), Errands()
        self._backlog = Backlog(settings["dsn"], settings["redis"], settings["stream"])
        self._errands = {
            "stream": self._stream,
            "http": self._http,
            "cancel": self._http,
            "requeue": self._http,
            "list": self._lists,
        }

    def run(self) -> None:
        """Send everything; return when all of it was answered, or at the deadline."""
        threading.Thread(target=self._listen, daemon=True).start()
        lister = Lister(self._settings["dsn"], self._ledger)
        threads = [
            threading.Thread(target=self._put),
            threading.Thread(target=lister.work, args=(self._lists, self._goes_on)),
            *(threading.Thread(target=self._post) for _ in range(_HTTP_WORKERS)),
        ]
        for thread in threads:
            thread.start()
        self._draw()
        self._backlog.close()
        for errands in (self._stream, self._http, self._lists):
            errands.complete()
        for thread in threads:
            while thread.is_alive():
                thread.join(_LOOK_EVERY)
                self._say(self._settings["seconds"])

    def _draw(self) -> None:
        """Draw each command when its time comes, later while too much waits."""
        start = time.monotonic()
        messages, seconds = self._settings["messages"], self._settings["seconds"]
        drawn = plain_command if self._is_steady else command
        for number in range(messages):
            at = number * seconds / messages
            while start + at > time.monotonic() + _AHEAD:
                time.sleep(_AHEAD / 2)  # the pace of the load
            lost = self._seconds_to_lose(at)
            start += lost * seconds / messages
            if lost or number % _TOLD_EVERY == 0:
                self._say(at)  # a fault may wait for this very moment
            if number % _TOLD_EVERY == 0:
                start += self._seconds_held_back()
            self._plan(Sending(drawn(self._settings["seed"], number, at)), start + at)
        self._say(seconds)

    def _seconds_held_back(self) -> float:
        """Wait until little waits; return for how long."""
        if self._is_steady:
            return 0.0
        return self._backlog.wait_until_small(self._waiting, self._deadline)

    def _seconds_to_lose(self, at: float) -> float:
        """Return by how much a second of the plan is to be longer, since faults are late.

        What comes after the last fault's time is spread widest: late ones need somebody to meet.
        """
        lost = 0.0
        if self._is_steady:
            return lost
        if at > self._allowed:
            lost = _SLOWER - 1
        if SHARE * self._settings["seconds"] < at and self._allowed < math.inf:
            lost = max(lost, _LONGEST_END / ((1 - SHARE) * self._settings["seconds"]))
        return lost

    def _listen(self) -> None:
        for line in sys.stdin:
            self._allowed = float(line)

    def _say(self, seconds: float) -> None:
        sys.stdout.write(f"{seconds:.2f} {self._waiting()}\n")
        sys.stdout.flush()

    def _waiting(self) -> int:
        return sum(errands.waiting for errands in (self._stream, self._http, self._lists))

    def _plan(self, sending: Sending, at: float) -> None:
        what = sending.command
        self._errands[what.way].add(at, sending, what.way)
        for later, name in (*what.repeats, *what.verbs):
            self._errands[name].add(at + later, sending, name)

    def _goes_on(self, errands: Errands) -> bool:
        return not errands.is_over and time.monotonic() < self._deadline

    def _sent_line(self, errand: Errand) -> Line:
        """Return what is written before sending; what the command is was written before that.

        Two ways may send one command at the same moment: whoever has the lock first is the first.
        """
        sending = errand.sending
        with sending.lock:
            if sending.times is None:
                sending.times = sending.command.times(time.time())
                self._ledger.write(_described(sending.command, sending.times))
        return {"kind": "sent", "number": sending.command.number, "way": errand.what}

    # The stream.

    def _put(self) -> None:
        client: Any = redis.Redis(
            unix_socket_path=self._settings["redis"], socket_timeout=5, retry=Retry(NoBackoff(), 0)
        )
        while self._goes_on(self._stream):
            due = self._stream.take(_MOST)
            if due and not self._put_batch(client, due):
                self._wait_for_redis(client)

    def _wait_for_redis(self, client: Any) -> None:
        """Return when it answers: what waits is not written down again and again meanwhile."""
        while self._goes_on(self._stream):
            with contextlib.suppress(redis.RedisError):
                if client.ping():
                    return
            time.sleep(_AGAIN)

    def _put_batch(self, client: Any, due: list[Errand]) -> bool:
        """Put entries, again later what was not taken; False when nothing was."""
        self._ledger.commit(*map(self._sent_line, due))
        answers: list[Any] = [None] * len(due)
        try:
            with client.pipeline(transaction=False) as pipe:
                for errand in due:
                    sending = errand.sending
                    pipe.xadd(self._settings["stream"], sending.command.entry(sending.times or {}))
                answers = pipe.execute(raise_on_error=False)
        except redis.RedisError:
            pass  # whether it was taken is not known: all of them again
        told = []
        for errand, answer in zip(due, answers, strict=True):
            if isinstance(answer, bytes):
                told.append(_told(errand, entry_id=answer.decode()))
            else:
                self._stream.add(time.monotonic() + _AGAIN, errand.sending, errand.what)
        self._stream.settle(len(due))
        if told:
            self._ledger.write(*told)
        return bool(told)

    # HTTP.

    def _post(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._settings["port"], timeout=10)
        verbs = Verbs(connection, self._ledger, self._http)
        while self._goes_on(self._http):
            for errand in self._http.take(1):
                if errand.what == "http":
                    self._post_one(connection, errand)
                else:
                    verbs.do(errand)
                self._http.settle(1)

    def _post_one(self, connection: http.client.HTTPConnection, errand: Errand) -> None:
        self._ledger.commit(self._sent_line(errand))
        body = errand.sending.command.body(errand.sending.times or {})
        status, answer = post(connection, DELIVERIES, body)
        if status in (200, 202):
            self._ledger.write(_told(errand, delivery_id=answer["delivery_id"]))
        elif 400 <= status < 500 and status not in (408, 425, 429):
            self._ledger.write(_told(errand, refused=status, answer=answer))
        else:
            later = _AGAIN * random.uniform(0.5, 1.5)
            self._http.add(time.monotonic() + later, errand.sending, errand.what)
            if self._is_steady:
                time.sleep(later)  # who is told to come later does not come with the next at once


def _described(what: Command, times: dict[str, int]) -> Line:
    return {
        "kind": "command",
        "number": what.number,
        "source": what.source,
        "lane": what.lane,
        "key": what.key,
        "delivery_id": what.delivery_id,
        "canary": what.canary,
        "recipients": what.recipients,
        "is_broken": what.is_broken,
        **times,
    }


def _told(errand: Errand, **answer: Any) -> Line:
    return {"kind": "told", "number": errand.sending.command.number, "way": errand.what, **answer}


def main() -> None:
    """Send the commands that SETTINGS describes."""
    Load(json.loads(sys.argv[1])).run()


if __name__ == "__main__":
    main()
