"""Running the tests against mutants, inside one pytest session on one PostgreSQL.

First every test runs once as it is, and which statements it executes is noted. Then each mutant
takes the place of its statement, and the tests that execute it run, those about it first, until one
fails. That one must pass again with the statement as it is, or the run says nothing.
"""

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest

from mailworkers.adapters import db
from tests.mutation.guards import Guard

Tell = Callable[[str], None]


class Verdict(NamedTuple):
    """What became of a mutant: the test that failed, None when all passed; `tests` were tried."""

    guard: Guard
    killer: str | None
    tests: int


class Inconclusive(Exception):  # noqa: N818  it names the condition
    """A test fails whatever statement it runs on: nothing can be said."""


class _Recorder(dict[str, bytes]):
    """The statements; which of them were asked for is noted."""

    def __init__(self, statements: Mapping[str, bytes]) -> None:
        super().__init__(statements)
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> bytes:
        self.asked.add(name)
        return super().__getitem__(name)


class MutationRun:
    """A pytest plugin that runs the collected tests in its own way; `verdicts` is what it found."""

    def __init__(self, guards: Sequence[Guard], tell: Tell) -> None:
        self.verdicts: list[Verdict] = []
        self.error: str | None = None
        self._guards = guards
        self._tell = tell
        self._failure: str | None = None
        self._dsn = ""
        self._statements_of: dict[pytest.Item, set[str]] = {}
        self._seconds: dict[pytest.Item, float] = {}

    # What pytest calls.

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Do all of it in place of running each test once."""
        try:
            self._run_all(session)
        except Inconclusive as error:
            self.error = str(error)
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a failure, in whatever phase."""
        if report.failed:
            self._failure = self._failure or report.longreprtext or "it failed"

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Generator[None, Any, Any]:
        """Remember where the servers are."""
        made = yield
        if fixturedef.argname == "servers":
            self._dsn = made.postgres_dsn
        return made

    # What it does.

    def _run_all(self, session: pytest.Session) -> None:
        recorder = _Recorder(db.SQL)
        with _statements(recorder):
            for item in session.items:
                self._note(item, recorder)
            self._tell(f"{len(session.items)} tests pass as things are")
            for guard in self._guards:
                verdict = self._judge(guard, recorder)
                self.verdicts.append(verdict)
                self._tell(_line(verdict))
            last = session.items[-1]
            last.ihook.pytest_runtest_protocol(item=last, nextitem=None)  # ends the servers

    def _note(self, item: pytest.Item, recorder: _Recorder) -> None:
        """Run *item* as things are: which statements does it execute, how long does it take?"""
        recorder.asked.clear()
        started = time.monotonic()
        if self._fails(item):
            raise Inconclusive(f"{item.nodeid} fails without any mutant:\n{self._failure}")
        self._seconds[item] = time.monotonic() - started
        self._statements_of[item] = set(recorder.asked)

    def _judge(self, guard: Guard, recorder: _Recorder) -> Verdict:
        """Run what executes the statement, until a test notices that *guard* is gone."""
        tests = [item for item, names in self._statements_of.items() if guard.statement in names]
        # What executes little else is about this statement.
        tests.sort(key=lambda item: (len(self._statements_of[item]), self._seconds[item]))
        whole = recorder[guard.statement]
        mutant = guard.without(whole.decode()).encode()
        for number, item in enumerate(tests, 1):
            recorder[guard.statement] = mutant
            noticed = self._fails(item)
            recorder[guard.statement] = whole
            if noticed:
                self._end_connections()
                if self._fails(item):
                    raise Inconclusive(
                        f"{item.nodeid} fails without the mutant, too:\n{self._failure}"
                    )
                return Verdict(guard, item.nodeid, number)
        return Verdict(guard, None, len(tests))

    def _fails(self, item: pytest.Item) -> bool:
        """Run one test; whatever it needs is made anew, but for what the session has."""
        self._failure = None
        # What comes next shares the session with it and nothing else.
        item.ihook.pytest_runtest_protocol(item=item, nextitem=item.session)
        return self._failure is not None

    def _end_connections(self) -> None:
        """End what a test that failed may have left open: its locks would stop the next one."""
        with db.connect(self._dsn) as conn:
            conn.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )


@contextmanager
def _statements(recorder: _Recorder) -> Iterator[None]:
    """Let the product take its statements from *recorder*."""
    before = db.SQL
    vars(db)["SQL"] = recorder
    try:
        yield
    finally:
        vars(db)["SQL"] = before


def _line(verdict: Verdict) -> str:
    guard = verdict.guard
    if verdict.killer is None:
        return f"SURVIVED {guard.statement}: {guard.text} ({verdict.tests} tests)"
    return f"killed   {guard.statement}: {guard.text} by {verdict.killer}"
