"""Everything comes many times at once: each key is sent by both ways, and Redis restarts meanwhile.

Every copy has an id of its own, as a producer gives that does not remember what it sent; the key
decides. Afterwards the same keys come with other content, which must be refused.
"""

import http.client
import json
import random
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from queue import Empty, Queue
from typing import Any, NamedTuple

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from mailworkers.bench.progress import Progress
from mailworkers.gameday.backlog import Backlog
from mailworkers.gameday.internal_api import DELIVERIES, is_final_answer, post
from mailworkers.gameday.judging.duplicates import DuplicatesVerdict, judge_duplicates
from mailworkers.gameday.ledger import Ledger
from mailworkers.gameday.service import STREAM, Service, wait_until

SOURCE = "notification"
_WINDOW = 25  # keys whose copies are mixed with each other
_HTTP_SHARE = 8  # of so many copies one goes by HTTP
_HTTP_WORKERS, _STREAM_WORKERS = 12, 4
_PIPELINE = 50
_WAYS = ("stream", "http")
_AGAIN = 0.2
_CONFLICTS = 50  # keys that come again with other content, by each way
_QUIET = 120.0


class Duplicates(NamedTuple):
    """What is asked for: *keys*, each *copies* times."""

    keys: int
    copies: int
    seed: int
    senders: int = 3
    servers: str = "auto"


class Copy(NamedTuple):
    """One copy of the command of a key. *text* is its content: that of all, unless it conflicts."""

    key: str
    delivery_id: str
    text: str

    def payload(self) -> dict[str, Any]:
        """Return the payload."""
        to = [f"{self.key}@example.com"]
        return {"to": to, "subject": "Once", "text_body": f"{self.text}\n"}

    def fields(self) -> dict[str, Any]:
        """Return what a stream entry and a request have in common."""
        return {
            "delivery_id": self.delivery_id,
            "source": SOURCE,
            "payload_mode": "rendered",
            "idempotency_key": self.key,
        }


class Copies:
    """Sends copies by both ways until each is answered."""

    def __init__(self, service: Service, ledger: Ledger) -> None:
        self._service = service
        self._ledger = ledger
        self._over = threading.Event()
        # Not SimpleQueue, shared as they are: whoever finds there that another was faster when its
        # time is over waits for ever (CPython 3.11, _queuemodule.c: what is left is negative).
        self._queues: dict[str, Queue[Copy]] = {"stream": Queue(), "http": Queue()}
        self._lock = threading.Lock()
        self._unanswered = 0
        self._threads = [
            threading.Thread(target=self._put, daemon=True) for _ in range(_STREAM_WORKERS)
        ]
        self._threads += [
            threading.Thread(target=self._post, daemon=True) for _ in range(_HTTP_WORKERS)
        ]

    @property
    def unanswered(self) -> int:
        """How many copies nobody has acknowledged yet."""
        return self._unanswered

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End; call it when nothing is unanswered."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def send(self, way: str, what: Copy) -> None:
        """Send one copy by `stream` or `http`."""
        with self._lock:
            self._unanswered += 1
        self._queues[way].put(what)

    def _settle(self, count: int) -> None:
        with self._lock:
            self._unanswered -= count

    def _take(self, way: str, most: int) -> list[Copy]:
        queue, taken = self._queues[way], []
        try:
            taken.append(queue.get(timeout=0.1))
            while len(taken) < most:
                taken.append(queue.get_nowait())
        except Empty:
            pass
        return taken

    def _put(self) -> None:
        client: Any = redis.Redis(
            unix_socket_path=self._service.redis_socket,
            socket_timeout=5,
            retry=Retry(NoBackoff(), 0),
        )
        with client:
            while not self._over.is_set():
                due = self._take("stream", _PIPELINE)
                while due and not self._put_batch(client, due):
                    time.sleep(_AGAIN)  # until Redis is there again
                self._settle(len(due))

    def _put_batch(self, client: Any, due: list[Copy]) -> bool:
        """Put entries; False when whether all were taken is unknown: all of them again."""
        try:
            with client.pipeline(transaction=False) as pipe:
                for copy in due:
                    payload = json.dumps(copy.payload())
                    times = {"requested_at_ms": "1770000000000", "payload_json": payload}
                    pipe.xadd(STREAM, {**copy.fields(), **times})
                pipe.execute()
        except redis.RedisError:
            return False
        return True

    def _post(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._service.port, timeout=15)
        while not self._over.is_set():
            for copy in self._take("http", 1):
                body = json.dumps({**copy.fields(), "payload": copy.payload()}).encode()
                status, answer = post(connection, DELIVERIES, body)
                while not is_final_answer(status):
                    time.sleep(_AGAIN)
                    status, answer = post(connection, DELIVERIES, body)
                told = answer.get("delivery_id") or answer.get("error", {}).get("code")
                self._ledger.write({"key": copy.key, "status": status, "answer": told})
                self._settle(1)
        connection.close()


def duplicates(
    asked: Duplicates, directory: Path, progress: Progress
) -> tuple[DuplicatesVerdict, dict[str, Any]]:
    """Do it in *directory*; return the verdict, and the report that tells it."""
    with Service(directory, senders=asked.senders, source=asked.servers) as service:
        with progress.step("starting"):
            service.start()
        began = time.monotonic()
        copies = Copies(service, Ledger(directory / "answers.jsonl"))
        copies.start()
        with progress.step("keys sent", total=asked.keys) as advance:
            _send_all(asked, service, copies, advance)
        sent = time.monotonic()
        with progress.step("waiting until every delivery is over"):
            _wait_until_quiet(service)
        _send_conflicts(asked, copies)
        _wait_until_quiet(service)
        copies.stop()
        verdict = judge_duplicates(directory, service.servers.postgres_dsn, asked.keys, _CONFLICTS)
    seconds = {"sending": round(sent - began, 1)}
    report = {**asked._asdict(), "is_good": verdict.is_good, "took_seconds": seconds}
    return verdict, {**report, **verdict._asdict()}


def _send_all(
    asked: Duplicates, service: Service, copies: Copies, advance: Callable[[int], None]
) -> None:
    """Send all copies, window by window; restart Redis, with its data, in the middle."""
    chance = random.Random(f"duplicates {asked.seed}")
    backlog = Backlog(service.servers.postgres_dsn, service.redis_socket, STREAM)
    for first in range(0, asked.keys, _WINDOW):
        if first <= asked.keys // 2 < first + _WINDOW:
            service.servers.keyvalue.restart()
        keys = range(first, min(first + _WINDOW, asked.keys))
        errands = [
            ("http" if number % _HTTP_SHARE == 0 else "stream", _copy(chance, key))
            for key in keys
            for number in range(asked.copies)
        ]
        chance.shuffle(errands)
        for way, copy in errands:
            copies.send(way, copy)
        backlog.wait_until_small(lambda: copies.unanswered, time.monotonic() + _QUIET)
        advance(len(keys))
    backlog.close()
    wait_until(lambda: copies.unanswered == 0, _QUIET, "some copies are not answered")


def _send_conflicts(asked: Duplicates, copies: Copies) -> None:
    """Send keys that are known with other content, by each way."""
    chance = random.Random(f"conflicts {asked.seed}")
    for way in _WAYS:
        for key in chance.sample(range(asked.keys), min(_CONFLICTS, asked.keys)):
            copies.send(way, _copy(chance, key)._replace(text="something else"))
    wait_until(lambda: copies.unanswered == 0, _QUIET, "some conflicts are not answered")


def _copy(chance: random.Random, key: int) -> Copy:
    delivery_id = str(uuid.UUID(int=chance.getrandbits(128), version=4))
    return Copy(f"key-{key}", delivery_id, f"canary{key:016x}")


def _wait_until_quiet(service: Service) -> None:
    """Return when the stream is empty and every delivery is over."""
    client: Any = redis.Redis(unix_socket_path=service.redis_socket)

    def is_quiet() -> bool:
        groups = client.xinfo_groups(STREAM)
        with service.connect() as conn:
            live = conn.execute(
                "SELECT count(*) FROM mail.deliveries WHERE finished_at IS NULL"
            ).fetchone()
        is_read = all(not group["pending"] and not group.get("lag") for group in groups)
        return is_read and live == (0,)

    with client:
        wait_until(is_quiet, _QUIET, "deliveries are not over")
