"""The peers of PyPI: queues in Postgres or Redis, whose workers send by smtplib."""

import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import msgspec

from mailworkers.bench.arrivals import Arrival, Check, check
from mailworkers.bench.peers.peer import PeerMissing, Work
from mailworkers.bench.peers.venvs import cache_folder, install
from mailworkers.bench.testbed import BenchFailed, Testbed
from mailworkers.embedded.installation import without_foreign_servers
from mailworkers.embedded.server_commands import ends_with_parent, tail

PROGRAMS = Path(__file__).resolve().parents[3] / "bench" / "peers"
_STOPPING = 10  # seconds
_COMMIT = "COMMIT of the enqueue: fsync"


class PythonPeer(msgspec.Struct, frozen=True):
    """A package of PyPI; *workers* processes of its program in `bench/peers` send."""

    name: str
    promise: str
    settings: str
    program: str
    requirements: tuple[str, ...]
    workers: int
    cache: Path | None = None

    def install(self) -> str:
        """Install it into its environment; return what it was made of."""
        if not (PROGRAMS / self.program).exists():
            raise PeerMissing("programs of peers are in a checkout only (bench/peers)")
        self._python()
        return ", ".join(self.requirements)

    def _python(self) -> Path:
        return install(self.name, self.requirements, self.cache or cache_folder())

    @contextmanager
    def running(self, testbed: Testbed) -> Iterator["RunningPython"]:
        """Run workers and a producer on a database of their own in the testbed's PostgreSQL."""
        with _own_database(testbed, self.name) as dsn, ExitStack() as exits:
            folder = Path(tempfile.mkdtemp(prefix=f"{self.name}-", dir=testbed.directory))
            exits.callback(shutil.rmtree, folder, ignore_errors=True)
            job = {
                "postgres": dsn,
                "redis": testbed.servers.redis_addr.removeprefix("unix:"),
                "smtp": testbed.sink.address,
                "directory": str(folder),
            }
            command = [str(self._python()), str(PROGRAMS / self.program)]
            yield exits.enter_context(RunningPython(command, job, folder, self.workers))


PYTHON_PEERS = (
    PythonPeer(
        "pgqueuer",
        _COMMIT,
        "2 processes x 4 threads, batch 500, smtplib kept",
        "pgqueuer_mail.py",
        ("pgqueuer[asyncpg]==1.6.0", "uvloop==0.23.0"),
        workers=2,
    ),
    PythonPeer(
        "post_office",
        _COMMIT,
        "--processes 2, BATCH_SIZE 5000, 2 threads, creation counted",
        "post_office_mail.py",
        ("django-post_office==3.12.0", "django==5.2.19", "psycopg[binary]==3.3.9"),
        workers=1,
    ),
    PythonPeer(
        "celery",
        "Redis answered: AOF everysec, up to 1 s of mail can be lost",
        "2 workers --pool solo, acks_late, prefetch 4, smtplib kept",
        "celery_mail.py",
        ("celery[redis]==5.7.0", "hiredis==3.5.0"),
        workers=2,
    ),
    PythonPeer(
        "procrastinate",
        _COMMIT,
        "2 processes x concurrency 8, delete_jobs=successful, smtplib kept",
        "procrastinate_mail.py",
        ("procrastinate==3.10.0", "psycopg[binary]==3.3.9"),
        workers=2,
    ),
)


@contextmanager
def _own_database(testbed: Testbed, name: str) -> Iterator[str]:
    """Make a database for the time of the context, which gets its address."""
    database = f"peer_{name}"
    testbed.conn.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
    testbed.conn.execute(f"CREATE DATABASE {database}")
    try:
        yield testbed.servers.postgres_dsn.replace("/mailworkers?", f"/{database}?")
    finally:
        testbed.conn.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")


class RunningPython:
    """Workers and producer of one peer as processes; a context manager that ends them all."""

    def __init__(
        self, command: Sequence[str], job: Mapping[str, str], folder: Path, workers: int
    ) -> None:
        self._command = command
        self._job = job
        self._folder = folder
        self._workers = workers
        self._processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> "RunningPython":
        try:
            self._prepare_store()
            self._processes = [self._start("work", n + 1) for n in range(self._workers)]
            self._producer = self._start("enqueue", 0)
            self._processes.append(self._producer)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            _signal_group(process, signal.SIGTERM)
        for process in self._processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_STOPPING)
            _signal_group(process, signal.SIGKILL)  # what a pool may have left behind, too
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()

    def _prepare_store(self) -> None:
        if self._start("prepare", 0).wait(60):
            raise BenchFailed(f"{self._command[-1]} prepare failed:\n{self._log()}")

    def _start(self, task: str, number: int) -> subprocess.Popen[str]:
        environment = {
            **without_foreign_servers(os.environ),
            "BENCH_JOB": json.dumps({**self._job, "number": number}),
        }
        is_producer = task == "enqueue"
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(
                ends_with_parent([*self._command, task], signal.SIGKILL),
                env=environment,
                cwd=self._folder,
                stdin=subprocess.PIPE if is_producer else subprocess.DEVNULL,
                stdout=subprocess.PIPE if is_producer else log,
                stderr=log,
                text=True,
                start_new_session=True,
            )

    def _log(self) -> str:
        return tail(self._folder / "log")

    def prepare(self, work: Work) -> None:
        """Let the producer make the messages of *work*."""
        text = self._folder / "text"
        text.write_text(work.text, encoding="utf-8")
        self._tell(f"prepare {work.run} {work.messages} {text}")
        self._answer()

    def enqueue(self) -> tuple[int, int]:
        """Let the producer enqueue them; return when it began and when it had all answers."""
        self._tell("go")
        started, acknowledged = self._answer().split()
        return int(started), int(acknowledged)

    def _tell(self, line: str) -> None:
        if self._producer.stdin is not None:
            self._producer.stdin.write(line + "\n")
            self._producer.stdin.flush()

    def _answer(self) -> str:
        line = self._producer.stdout.readline() if self._producer.stdout else ""
        if not line:
            raise BenchFailed(f"the producer of {self._command[-1]} ended:\n{self._log()}")
        return line

    def groups(self) -> Mapping[str, Sequence[int]]:
        """Return the process ids of workers and producer."""
        workers = [process.pid for process in self._processes if process is not self._producer]
        return {"peer": workers, "enqueuer": [self._producer.pid]}

    def check(self, work: Work, arrivals: Sequence[Arrival]) -> Check:
        """Compare the Message-IDs of *work* with what arrived."""
        return check((f"<{work.run}.{n}@example.org>" for n in range(work.messages)), arrivals)

    def check_alive(self) -> None:
        """Raise BenchFailed when a worker or the producer is not running any more."""
        if any(process.poll() is not None for process in self._processes):
            raise BenchFailed(f"a process of {self._command[-1]} ended:\n{self._log()}")


def run_name() -> str:
    """Return a name that no other run has."""
    return secrets.token_hex(6)


def _signal_group(process: subprocess.Popen[str], number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return
