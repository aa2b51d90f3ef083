"""A standby of a PostgreSQL of the test's own, made and run with the programs beside its server."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from mailworkers.adapters import db
from mailworkers.embedded.account import servers_account
from mailworkers.embedded.server_commands import postgres_command
from mailworkers.embedded.servers import Server, Servers
from tests.crash.stores.own import lack
from tests.eventually import eventually


class Standby:
    """A second server that follows the first."""

    def __init__(self, primary: Servers) -> None:
        self._primary = primary
        account = servers_account()
        root = primary.places.postgres.parent
        self.places = msgspec.structs.replace(
            primary.places,
            postgres=root / "standby",
            sockets=account.make_directory(root / "s2"),
        )
        account.make_directory(self.places.postgres)
        self._copy()
        self.server = Server(
            postgres_command(primary.binaries, self.places),
            account,
            log=root / "standby.log",
            is_ready=lambda: _answers(self.places.postgres, self.server.pid),
            ending=signal.SIGINT,
        )
        self.server.start()

    @property
    def postgres_dsn(self) -> str:
        """Return the address of the standby alone."""
        return self.places.postgres_dsn

    @property
    def both_dsn(self) -> str:
        """Return the address that names the first server, then the standby."""
        first = self._primary.postgres_dsn
        return f"{first},{self.postgres_dsn.rpartition('host=')[2]}"

    def _copy(self) -> None:
        program = self._primary.binaries.postgres.path.with_name("pg_basebackup")
        if not program.exists():
            lack("pg_basebackup beside the server", str(program))
        command = [str(program), "-h", str(self._primary.places.sockets), "-U", "mailworkers"]
        command += ["-D", str(self.places.postgres), "-R", "-X", "stream", "-c", "fast"]
        account = servers_account()
        subprocess.run(command, cwd="/", check=True, capture_output=True, **account.popen)

    def wait_until_it_has_all(self) -> None:
        """Wait until everything committed on the first server is here."""
        with db.connect(self._primary.postgres_dsn) as conn:
            lag = (
                "SELECT count(*) FROM pg_stat_replication"
                " WHERE replay_lsn >= (SELECT pg_current_wal_lsn())"
            )
            eventually(lambda: conn.execute(lag).fetchone() == (1,), within=20)

    def promote(self) -> None:
        """Make it the primary."""
        with db.connect(self.postgres_dsn) as conn:
            conn.execute("SELECT pg_promote()")


def _answers(data: Path, pid: int | None) -> bool:
    """Whether the server on *data* takes connections, be it only to read."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except OSError:
        return False
    return lines[:1] == [str(pid)] and [line.strip() for line in lines[7:8]] in (
        ["ready"],
        ["standby"],
    )


@contextmanager
def following(primary: Servers) -> Iterator[Standby]:
    """Start a standby of *primary*; stop it at the end."""
    standby = Standby(primary)
    try:
        yield standby
    finally:
        standby.server.stop()
