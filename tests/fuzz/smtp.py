"""A fuzzer of whole SMTP sessions: `python -m tests.fuzz.smtp --sessions 50000 --seed 1`.

Each session of `adapters/smtp.py` meets a relay that says anything at all (N-12). What must hold,
whatever it says: no phase lasts longer than its deadline and a second more; nothing is raised but
what is promised; every message ends in one classified outcome, in doubt only if its final dot was
sent; a dot that was not sent is not in what the relay heard, a message that counts as sent is; the
password is in nothing that is kept; memory and file descriptors do not grow.

The same seed gives the same sessions; `--only N` plays one of them and shows its transcript.
"""

import argparse
import gc
import os
import ssl
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any, Self

from mailworkers.adapters.smtp import Session, SmtpSettings
from mailworkers.core.errors import RelayUnavailable
from mailworkers.core.replies import judge
from mailworkers.core.states import AttemptOutcome
from mailworkers.core.wire import Envelope, Reply, Transaction, dot_stuff
from tests.certificates import Certificates
from tests.fuzz.hostile_relay import DOT, HostileRelay, Scene
from tests.fuzz.hostile_scripts import PASSWORD, script
from tests.sessions import yes

LIMIT = 0.25  # seconds of each phase
MARGIN = 1.0
MOST_GROWTH = 32 << 20  # bytes
MOST_KEPT = 1 << 20  # characters
_SMALL = b"Subject: hi\r\n\r\n.dot\r\n..\r\nbye\r\n"
_LARGE = _SMALL + (b"x" * 70 + b"\r\n") * 2000
_LONG = 10.0  # seconds
_PAGE = os.sysconf("SC_PAGESIZE")


class Report:
    """What came of it; `problems` must stay empty."""

    def __init__(self) -> None:
        self.sessions = 0
        self.outcomes: Counter[str] = Counter()
        self.ends: Counter[str] = Counter()
        self.problems: list[str] = []
        self.slowest = 0.0  # seconds past a deadline, time lost by the machine not counted
        self.growth = 0  # bytes of memory
        self._lock = threading.Lock()

    def add(self, number: int, played: "Played") -> None:
        """Take in session *number*."""
        with self._lock:
            self.sessions += 1
            self.outcomes.update(played.outcomes)
            self.ends.update(played.ends)
            self.slowest = max(self.slowest, played.slowest)
            self.problems += [f"session {number}: {problem}" for problem in played.problems]


class Played:
    """What came of one session."""

    def __init__(self) -> None:
        self.sent: list[tuple[Transaction, bytes]] = []
        self.faults: list[str] = []
        self.outcomes: list[str] = []
        self.ends: list[str] = []
        self.problems: list[str] = []
        self.slowest = 0.0


class Stalls:
    """How long this process got no time to run at all, which is no fault of the client."""

    _EVERY = 0.02

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float]] = deque(maxlen=5000)
        self._stop = threading.Event()
        self._is_up_to_date = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def since(self, began: float) -> float:
        """Return the seconds lost since *began*, those of this moment too."""
        self._is_up_to_date.clear()
        self._is_up_to_date.wait(_LONG)
        return sum(lost for at, lost in list(self._seen) if at >= began)

    def _watch(self) -> None:
        asked = time.monotonic()
        while not self._stop.wait(self._EVERY):
            now = time.monotonic()
            if (lost := now - asked - self._EVERY) > 0.01:
                self._seen.append((now, lost))
            self._is_up_to_date.set()
            asked = now


class Fuzzer:
    """One client and its relay."""

    def __init__(self, relay: HostileRelay, ca: Path, seed: int, stalls: Stalls) -> None:
        self._relay = relay
        self._ca = ca
        self._seed = seed
        self._stalls = stalls
        self._played = Played()

    def play(self, number: int, *, is_shown: bool = False) -> Played:
        """Play session *number* of the seed."""
        rng = Random(f"{self._seed}/{number}")
        settings, scene = self._draw(rng)
        self._played = played = Played()
        self._relay.plays(scene)
        session = Session(settings)
        try:
            self._talk(rng, session)
        except Exception:  # whatever it is, it was not promised
            played.problems.append(traceback.format_exc())
        session.close()
        if sum(map(len, session.transcript)) > MOST_KEPT:
            played.problems.append("the transcript is too long")
        self._compare(self._relay.finish(), is_honest=not {"DATA", "BODY"} & set(scene.script))
        if settings.password:
            self._keeps_no_secret(session)
        if is_shown:
            print(*session.transcript, *(transaction for transaction, _ in played.sent), sep="\n")
        return played

    def _draw(self, rng: Random) -> tuple[SmtpSettings, Scene]:
        """Return how the client is set and what the relay does."""
        tls = rng.choice(("none", "none", "none", "none", "starttls", "opportunistic", "implicit"))
        offered = "implicit" if tls == "implicit" else "starttls" if tls != "none" else ""
        login: dict[str, Any] = {}
        if rng.random() < 0.3:
            login = {"username": "alice", "password": PASSWORD}
        settings = SmtpSettings(
            "127.0.0.1",
            self._relay.port,
            tls=tls,  # type: ignore[arg-type]
            ca_file=self._ca,
            timeout=timedelta(seconds=LIMIT),
            dot_timeout=timedelta(seconds=LIMIT),
            **login,
        )
        scene = Scene({}, tls=offered, pipelining=rng.random() < 0.7)
        scene.script = script(rng, scene.good)
        return settings, scene

    def _talk(self, rng: Random, session: Session) -> None:
        """Send one to three messages."""
        for _ in range(rng.choice((1, 1, 2, 3))):
            if not session.is_usable() and not self._opens(session):
                break
            mime = _LARGE if rng.random() < 0.04 else _SMALL
            people = tuple(f"r{place}@example.com" for place in range(rng.choice((1, 1, 2, 5))))
            envelope = Envelope("sender@example.com", people, len(mime))
            agrees = rng.random() > 0.02
            began = time.monotonic()
            transaction = session.transact(envelope, mime, before_dot=yes if agrees else no)
            self._was_in_time(began, 4 * LIMIT + len(mime) / 65536)
            self._played.sent.append((transaction, mime))

    def _opens(self, session: Session) -> bool:
        began = time.monotonic()
        try:
            session.open()
        except RelayUnavailable as fault:
            self._played.ends.append(f"no session: {fault.stage}")
            self._played.faults.append(f"{fault} {fault.reply}")
            return False
        finally:
            self._was_in_time(began, LIMIT)
        return True

    def _was_in_time(self, began: float, limit: float) -> None:
        over = time.monotonic() - began - limit
        if over > 0:
            over -= self._stalls.since(began)
        self._played.slowest = max(self._played.slowest, over)
        if over > MARGIN:
            self._played.problems.append(f"{over:.2f} s past the deadline of {limit:.2f} s")

    def _compare(self, heard: bytes, *, is_honest: bool) -> None:
        """Compare what the client says with what the relay heard.

        *is_honest*: it says nothing about a message before it has all of it.
        """
        problems = self._played.problems
        for transaction, mime in self._played.sent:
            verdict = judge(transaction, own_identity=True)
            self._played.outcomes.append(verdict.outcome)
            self._played.ends.append(f"{verdict.stage}: {verdict.attempt_status}")
            if len(verdict.recipients) != len(transaction.rcpt_replies):
                problems.append("recipients are missing from the verdict")
            if verdict.outcome in _ABOUT_THE_DOT and not transaction.dot_sent:
                problems.append(f"{verdict.outcome}, and the dot was not sent")
            is_sent = verdict.outcome is AttemptOutcome.SUCCESS
            if is_sent and is_honest and dot_stuff(mime) + b".\r\n" not in heard:
                problems.append("sent, and the relay has not heard it")
        if heard.count(DOT) > sum(transaction.dot_sent for transaction, _ in self._played.sent):
            problems.append("the relay heard a dot that was not sent")

    def _keeps_no_secret(self, session: Session) -> None:
        played = self._played
        kept = [*session.transcript, *played.faults, *(repr(sent) for sent, _ in played.sent)]
        if any(PASSWORD in text for text in kept):
            played.problems.append("the password is in what is kept")


def no(_: tuple[Reply | None, ...]) -> bool:
    """Do not agree to the final dot."""
    return False


_ABOUT_THE_DOT = {AttemptOutcome.UNKNOWN, AttemptOutcome.SUCCESS}


def fuzz(
    sessions: int, seed: int, threads: int = 8, *, first: int = 0, is_told: bool = False
) -> Report:
    """Play *sessions* sessions of *seed* in so many threads and return what came of it."""
    report = Report()
    numbers = iter(range(first, first + sessions))
    with ExitStack() as stack:
        certificates = Certificates(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        stalls = stack.enter_context(Stalls())
        fuzzers = [
            Fuzzer(
                stack.enter_context(HostileRelay(server_context(certificates))),
                certificates.ca,
                seed,
                stalls,
            )
            for _ in range(threads)
        ]
        memory = stack.enter_context(Memory(report))
        _play_all(fuzzers, numbers, report, memory, is_told=is_told)
    return report


def server_context(certificates: Certificates) -> ssl.SSLContext:
    """Return the TLS rules of a hostile relay; its certificate is good."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificates.chain("localhost"))
    return context


def _play_all(
    fuzzers: list[Fuzzer],
    numbers: Iterator[int],
    report: Report,
    memory: "Memory",
    *,
    is_told: bool,
) -> None:
    """Let every fuzzer play the next session until there is none left."""
    lock = threading.Lock()

    def work(fuzzer: Fuzzer) -> None:
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            played = fuzzer.play(number)
            report.add(number, played)
            memory.look(report.sessions)
            if is_told and (played.problems or number % 1000 == 999):
                print(f"session {number}:", *played.problems or ["well"], file=sys.stderr)

    workers = [threading.Thread(target=work, args=(fuzzer,)) for fuzzer in fuzzers]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


class Memory:
    """How memory and file descriptors grow once everything has been done a few hundred times."""

    _SETTLED = 500
    _EVERY = 200

    def __init__(self, report: Report) -> None:
        self._report = report
        self._first = 0
        self._descriptors = 0

    def __enter__(self) -> Self:
        self._descriptors = _descriptors()
        return self

    def __exit__(self, *_: object) -> None:
        if (left := _descriptors() - self._descriptors) > 0:
            self._report.problems.append(f"{left} file descriptors are left open")
        if self._report.growth > MOST_GROWTH:
            self._report.problems.append(f"memory grew by {self._report.growth >> 20} MiB")

    def look(self, sessions: int) -> None:
        """Measure, after every so many sessions."""
        if sessions < self._SETTLED or sessions % self._EVERY:
            return
        resident = _resident()
        self._first = self._first or resident
        self._report.growth = max(self._report.growth, resident - self._first)


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


def _descriptors() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def show(seed: int, number: int) -> Report:
    """Play one session and print what was said."""
    report = Report()
    with tempfile.TemporaryDirectory() as directory, Stalls() as stalls:
        certificates = Certificates(Path(directory))
        with HostileRelay(server_context(certificates)) as relay:
            fuzzer = Fuzzer(relay, certificates.ca, seed, stalls)
            report.add(number, fuzzer.play(number, is_shown=True))
    return report


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz, print a summary, return 1 when something does not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.smtp")
    parser.add_argument("--sessions", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--first", type=int, default=0, metavar="N", help="begin with session N")
    parser.add_argument("--only", type=int, metavar="N", help="play session N and show it")
    given = parser.parse_args(arguments)
    began = time.monotonic()
    if given.only is not None:
        report = show(given.seed, given.only)
    else:
        report = fuzz(given.sessions, given.seed, given.threads, first=given.first, is_told=True)
    took = time.monotonic() - began
    messages = sum(report.outcomes.values())
    print(f"seed {given.seed}: {report.sessions} sessions, {messages} messages in {took:.0f} s")
    for counts in (report.outcomes, report.ends):
        print(", ".join(f"{name} {count}" for name, count in counts.most_common()))
    print(f"latest {report.slowest:+.2f} s after a deadline, memory +{report.growth >> 20} MiB")
    print(*report.problems[:20], sep="\n")
    print(f"{len(report.problems)} problems")
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
