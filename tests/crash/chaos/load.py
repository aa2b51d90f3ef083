"""The load: a producer with a ledger, that does what a good producer does: it repeats until told.

A process of its own, `python -m tests.crash.chaos.load SETTINGS` with a JSON object. Before a
command is sent a line `sent` is on the disk, after its answer a line `told`. It ends when every
command was answered, or at the deadline.
"""

import heapq
import http.client
import itertools
import json
import random
import sys
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.crash.chaos.commands import Command, command
from tests.crash.chaos.ledger import Ledger, Line

_ROUTE = "/api/v1/internal/deliveries"
_HTTP_WORKERS = 3
_AGAIN = 0.3  # seconds before a command without an answer is repeated
_MOST = 100  # entries of one pipeline


class Errand(NamedTuple):
    """A command that is due: its first time, a repeat, or one more try."""

    at: float
    order: int
    command: Command
    way: str


class Errands:
    """What is due, by time; shared by the workers of one way."""

    def __init__(self) -> None:
        self._heap: list[Errand] = []
        self._lock = threading.Lock()
        self._order = itertools.count()
        self._unanswered = 0

    def add(self, at: float, what: Command, way: str) -> None:
        """Plan one errand."""
        with self._lock:
            heapq.heappush(self._heap, Errand(at, next(self._order), what, way))
            self._unanswered += 1

    def take(self, most: int) -> list[Errand]:
        """Return up to *most* errands whose time has come."""
        taken: list[Errand] = []
        with self._lock:
            while self._heap and len(taken) < most and self._heap[0].at <= time.monotonic():
                taken.append(heapq.heappop(self._heap))
        return taken

    def settle(self, count: int) -> None:
        """Say that *count* errands are over."""
        with self._lock:
            self._unanswered -= count

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do."""
        return self._unanswered == 0


class Load:
    """Sends the commands of a run."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings
        self._ledger = Ledger(Path(settings["ledger"]), synced=True)
        self._deadline = time.monotonic() + settings["deadline"]
        self._errands = {"stream": Errands(), "http": Errands()}
        self._times: dict[int, dict[str, int]] = {}
        self._lock = threading.Lock()

    def run(self) -> None:
        """Send everything; return when all of it was answered, or at the deadline."""
        start = time.monotonic()
        messages, seconds = self._settings["messages"], self._settings["seconds"]
        for number in range(messages):
            what = command(self._settings["seed"], number, number * seconds / messages)
            self._errands[what.way].add(start + what.at, what, what.way)
            for later, way in what.repeats:
                self._errands[way].add(start + what.at + later, what, way)
        threads = [threading.Thread(target=self._put)]
        threads += [threading.Thread(target=self._post) for _ in range(_HTTP_WORKERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _goes_on(self, errands: Errands) -> bool:
        return not errands.is_over and time.monotonic() < self._deadline

    def _sent(self, errands: list[Errand]) -> None:
        """Write down what is about to be sent."""
        self._ledger.write(*(self._sent_line(errand) for errand in errands))

    def _sent_line(self, errand: Errand) -> Line:
        what = errand.command
        with self._lock:
            times = self._times.setdefault(what.number, what.times(time.time()))
        return {
            "kind": "sent",
            "number": what.number,
            "way": errand.way,
            "source": what.source,
            "key": what.key,
            "delivery_id": what.delivery_id,
            "canary": what.canary,
            "recipients": what.recipients,
            "is_broken": what.is_broken,
            **times,
        }

    # The stream.

    def _put(self) -> None:
        errands = self._errands["stream"]
        client: Any = redis.Redis(
            unix_socket_path=self._settings["redis"], socket_timeout=5, retry=Retry(NoBackoff(), 0)
        )
        while self._goes_on(errands):
            due = errands.take(_MOST)
            if due:
                self._put_batch(client, errands, due)
            else:
                time.sleep(0.02)  # the pace of the load

    def _put_batch(self, client: Any, errands: Errands, due: list[Errand]) -> None:
        self._sent(due)
        answers: list[Any] = [None] * len(due)
        try:
            with client.pipeline(transaction=False) as pipe:
                for errand in due:
                    times = self._times[errand.command.number]
                    pipe.xadd(self._settings["stream"], errand.command.entry(times))
                answers = pipe.execute(raise_on_error=False)
        except redis.RedisError:
            pass  # whether it was taken is not known: all of them again
        told = []
        for errand, answer in zip(due, answers, strict=True):
            if isinstance(answer, bytes):
                told.append(self._told(errand, entry_id=answer.decode()))
            else:
                errands.add(time.monotonic() + _AGAIN, errand.command, errand.way)
        errands.settle(len(due))
        if told:
            self._ledger.write(*told)

    def _told(self, errand: Errand, **answer: Any) -> Line:
        what = errand.command
        return {"kind": "told", "number": what.number, "way": errand.way, **answer}

    # HTTP.

    def _post(self) -> None:
        errands = self._errands["http"]
        connection = http.client.HTTPConnection("127.0.0.1", self._settings["port"], timeout=10)
        while self._goes_on(errands):
            due = errands.take(1)
            if due:
                self._post_one(connection, errands, due[0])
            else:
                time.sleep(0.02)  # the pace of the load

    def _post_one(
        self, connection: http.client.HTTPConnection, errands: Errands, errand: Errand
    ) -> None:
        self._sent([errand])
        body = errand.command.body(self._times[errand.command.number])
        try:
            connection.request("POST", _ROUTE, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            status, answer = response.status, json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError):
            connection.close()
            status, answer = 0, {}
        if status in (200, 202):
            self._ledger.write(self._told(errand, delivery_id=answer["delivery_id"]))
        elif 400 <= status < 500 and status not in (408, 425, 429):
            self._ledger.write(self._told(errand, refused=status, answer=answer))
        else:
            later = _AGAIN * random.uniform(0.5, 1.5)
            errands.add(time.monotonic() + later, errand.command, errand.way)
        errands.settle(1)


def main() -> None:
    """Send the commands that SETTINGS describes."""
    Load(json.loads(sys.argv[1])).run()


if __name__ == "__main__":
    main()
