"""A stores' host: etcd, PostgreSQL under Patroni, Redis and Sentinel, by the files of `ops/ha`."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import psycopg
import redis

from tests.crash.stores.own import lack
from tests.ha.machines import Machine, Program

EXAMPLES = Path(__file__).resolve().parents[2] / "ops" / "ha"
ADDRESSES = {"store1": "10.0.0.11", "store2": "10.0.0.12", "store3": "10.0.0.13"}
PASSWORD = "canary4f1c2a9e"  # one for all; looked for wherever something was written
_PACKAGES = {
    "patroni": "patroni",
    "etcd": "etcd-server",
    "redis-server": "redis-server",
    "redis-sentinel": "redis-sentinel",
    "/usr/lib/postgresql/15/bin/initdb": "postgresql (15, as ops/ha/patroni.yml has it)",
    "ip": "iproute2",
    "bridge": "iproute2",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
}
# Each service's files on the host, whose they are, and where they are there.
_PLACES = {
    "etcd": ("etcd", "/var/lib/etcd"),
    "postgresql": ("postgres", "/var/lib/postgresql"),
    "redis": ("redis", "/var/lib/redis"),
    "patroni-etc": ("postgres", "/etc/patroni"),
    "redis-etc": ("redis", "/etc/redis"),
    "run": ("root", "/run"),
}


def need_the_packages() -> None:
    """Skip, or in CI fail, where a program or the right to use it is missing, naming each."""
    missing = [package for program, package in _PACKAGES.items() if shutil.which(program) is None]
    if missing:
        lack(f"Debian's packages {', '.join(dict.fromkeys(missing))}")
    tried = subprocess.run(["unshare", "--net", "--pid", "--fork", "true"], check=False)
    if os.geteuid() != 0 or tried.returncode:
        lack("the right to make namespaces (root with CAP_SYS_ADMIN)")


def configure(hosts: Path, name: str, directory: Path) -> None:
    """Write the files of one host as its operator does."""
    subprocess.run([EXAMPLES / "configure", hosts, name, directory], check=True, timeout=30)


def fill_in(hosts: Path, **values: str) -> None:
    """Write a filled-in copy of `hosts.example`: *values*, and one password for everything."""
    lines = []
    for line in (EXAMPLES / "hosts.example").read_text().splitlines():
        name, is_assignment, value = line.partition("=")
        if is_assignment and not line.startswith("#"):
            lines.append(f"{name}={values.get(name, value or PASSWORD)}")
    hosts.write_text("\n".join(lines) + "\n")


class Store(Machine):
    """One of the three; its data outlives its boots."""

    def __init__(self, name: str, directory: Path) -> None:
        self.directory = directory / name
        self.address = ADDRESSES[name]
        super().__init__(name, {self.directory / d: there for d, (_, there) in _PLACES.items()})
        self._log = self.directory / "log"
        self.redis: Program | None = None

    def install(self, hosts: Path) -> None:
        """Make its directories, and put the files of `ops/ha` where they belong."""
        self._log.mkdir(parents=True)
        for place, (account, _) in _PLACES.items():
            self._make(self.directory / place, account)
        self._make(self.directory / "run" / "postgresql", "postgres")
        self._make(self.directory / "run" / "redis", "redis")
        made = self.directory / "made"
        configure(hosts, self.name, made)
        self._put(made / "patroni.yml", "patroni-etc/config.yml", "postgres")
        self._put(made / "redis.conf", "redis-etc/redis.conf", "redis")
        self._put(made / "sentinel.conf", "redis-etc/sentinel.conf", "redis")

    def _make(self, directory: Path, account: str) -> None:
        directory.mkdir()
        shutil.chown(directory, account, account)
        directory.chmod(0o755 if account == "root" else 0o700)

    def _put(self, file: Path, place: str, account: str) -> None:
        target = self.directory / place
        shutil.copy(file, target)
        shutil.chown(target, account, account)

    def start_all(self) -> None:
        """Start the four services, as systemd does after a boot."""
        self.start_etcd()
        self.start_redis()
        self.start_sentinel()
        self.start_patroni()

    def start_etcd(self) -> None:
        """Start etcd by its file of settings."""
        lines = (self.directory / "made" / "etcd").read_text().splitlines()
        settings = dict(line.split("=", 1) for line in lines if line.startswith("ETCD_"))
        self._start("etcd", account="etcd", env={**_environment(), **settings})

    def start_patroni(self) -> None:
        """Start Patroni, which starts PostgreSQL."""
        self._start("patroni", "/etc/patroni/config.yml", account="postgres")

    def start_redis(self) -> None:
        """Start Redis."""
        self.redis = self._start("redis-server", "/etc/redis/redis.conf", account="redis")

    def start_sentinel(self) -> None:
        """Start Sentinel."""
        self._start("redis-sentinel", "/etc/redis/sentinel.conf", account="redis")

    def _start(self, *command: str, account: str, **options: Any) -> Program:
        log = self._log / f"{command[0]}.log"
        return self.start(log, *command, account=account, **{"env": _environment(), **options})

    # What it says of itself, past its network.

    @property
    def socket_directory(self) -> Path:
        """Return the directory of PostgreSQL's socket."""
        return self.directory / "run" / "postgresql"

    def ask_postgres(self, query: str) -> Any:
        """Return the first field of the answer, None when there is no server."""
        dsn = f"host={self.socket_directory} user=postgres password={PASSWORD} dbname=postgres"
        try:
            with psycopg.connect(dsn, autocommit=True, connect_timeout=3) as conn:
                row = conn.execute(query.encode()).fetchone()
                return row[0] if row else None
        except psycopg.Error:
            return None

    @property
    def is_primary(self) -> bool:
        """Whether its PostgreSQL can be written."""
        return self.is_up and self.ask_postgres("SELECT NOT pg_is_in_recovery()") is True

    @property
    def redis_socket(self) -> Path:
        """Return the socket of its Redis."""
        return self.directory / "run" / "redis" / "redis-server.sock"

    def ask_redis(self, command: str, *arguments: str) -> Any:
        """Return the answer of its Redis, None when there is none."""
        path = str(self.redis_socket)
        with redis.Redis(unix_socket_path=path, password=PASSWORD, socket_timeout=3) as client:
            try:
                return client.execute_command(command, *arguments)
            except redis.RedisError:
                return None

    def master_of_redis(self) -> str:
        """Return the address its Sentinel gives as that of Redis' master, "" when it gives none."""
        command = ["redis-cli", "-p", "26379", "sentinel", "get-master-addr-by-name", "mymaster"]
        done = subprocess.run(
            self.inside(*command),
            env={**_environment(), "REDISCLI_AUTH": PASSWORD},
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
        )
        return done.stdout.split("\n", 1)[0].strip()


def _environment() -> dict[str, str]:
    """Return what services are started with: nothing of ours."""
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
