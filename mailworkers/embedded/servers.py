"""A running PostgreSQL and Valkey or Redis for tests and measurements, thrown away afterwards.

`mailworkers up` lets supervisord run the same commands on data that stays.
"""

import atexit
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from mailworkers.embedded.account import Account, servers_account
from mailworkers.embedded.binaries import Binaries, Source, find_binaries
from mailworkers.embedded.server_commands import (
    Places,
    ServerFailed,
    is_keyvalue_ready,
    is_postgres_ready,
    keyvalue_command,
    places_in,
    postgres_command,
    prepare_postgres,
    tail,
)

_STARTING = timedelta(seconds=60)
_STOPPING = timedelta(seconds=30)


class Server:
    """One server process, which can be stopped, killed and started again on the same data."""

    def __init__(
        self,
        command: list[str],
        account: Account,
        *,
        log: Path,
        is_ready: Callable[[], bool],
        ending: signal.Signals,
    ) -> None:
        self._command = command
        self._account = account
        self._log = log
        self._is_ready = is_ready
        self._ending = ending
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Return the process id, None while the server is down."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self) -> None:
        """Start the server and return when it answers; call it from a thread that lives on."""
        deadline = time.monotonic() + _STARTING.total_seconds()
        while not (self.pid and self._is_ready()):
            if time.monotonic() > deadline:
                self.kill()
                raise ServerFailed(f"{self._command[0]} did not start:\n{tail(self._log)}")
            # After a kill the old server's children may hold its memory a moment: start once more.
            if self.pid is None:
                self._spawn()
            time.sleep(0.02)

    def _spawn(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C at the terminal is for us, we stop it in order
                **self._account.popen,
            )

    def stop(self, ending: signal.Signals | None = None) -> None:
        """Stop the server in good order, or by *ending*; kill it when that takes too long."""
        self._end(ending or self._ending)

    def kill(self) -> None:
        """End the server as a crash does (SIGKILL)."""
        self._end(signal.SIGKILL)

    def _end(self, ending: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(ending)
        try:
            self._process.wait(_STOPPING.total_seconds())
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def restart(self) -> None:
        """Stop the server and start it again."""
        self.stop()
        self.start()


class Servers:
    """A running PostgreSQL and a running Valkey or Redis; a context manager that stops both."""

    def __init__(
        self,
        binaries: Binaries,
        places: Places,
        account: Account,
        *,
        log: Path,
        durable: bool,
        postgres_settings: Sequence[str] = (),
    ) -> None:
        self.binaries = binaries
        self.places = places
        self.postgres = Server(
            postgres_command(binaries, places, durable=durable, settings=postgres_settings),
            account,
            log=log / "postgres.log",
            is_ready=lambda: is_postgres_ready(places.postgres, self.postgres.pid),
            ending=signal.SIGINT,
        )
        self.keyvalue = Server(
            keyvalue_command(binaries, places, durable=durable),
            account,
            log=log / "keyvalue.log",
            is_ready=lambda: is_keyvalue_ready(places.keyvalue_socket),
            ending=signal.SIGTERM,
        )

    @property
    def postgres_dsn(self) -> str:
        """Return the libpq address of an empty database owned by its user."""
        return self.places.postgres_dsn

    @property
    def redis_addr(self) -> str:
        """Return the address of Valkey or Redis as `MAIL_REDIS_MASTER_ADDR` takes it."""
        return self.places.redis_addr

    def start(self) -> None:
        """Start both and return when both answer."""
        atexit.register(self.stop)
        try:
            self.keyvalue.start()
            self.postgres.start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop both."""
        atexit.unregister(self.stop)
        self.keyvalue.stop()
        self.postgres.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def start_servers(
    directory: Path,
    *,
    source: Source | str = Source.AUTO,
    durable: bool = True,
    postgres_settings: Sequence[str] = (),
) -> Servers:
    """Start a pair of servers with their data in *directory*, which is made when missing.

    With *durable* off PostgreSQL does not wait for the disk: for throwaway data only;
    *postgres_settings*, each `name=value`, are PostgreSQL's own. The servers
    end with the context, at the interpreter's exit, or (Linux) when this process is killed.
    """
    account = servers_account()
    directory.mkdir(parents=True, exist_ok=True)
    if not account.can_enter(directory):
        raise ServerFailed(f"{directory} must be open to the account {account.name}")
    binaries = find_binaries(Source(source), account, directory)
    places = places_in(directory, binaries, account)
    prepare_postgres(binaries, places, account, durable=durable)
    servers = Servers(
        binaries,
        places,
        account,
        log=directory,
        durable=durable,
        postgres_settings=postgres_settings,
    )
    servers.start()
    return servers
