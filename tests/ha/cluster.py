"""Three stores' hosts, two hosts that send and a relay, on two switches.

Stores and senders hear each other on `stores` (10.0.0.0/24), senders and relay on `world`
(10.0.1.0/24): a host may lose its stores and still reach the relay, which is the worse split.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg

from mailworkers.adapters import db
from mailworkers.gameday.commands import LISTED
from mailworkers.gameday.history import statements
from tests.eventually import eventually
from tests.ha.machines import Machine, Program, Switch
from tests.ha.senders import SenderHost
from tests.ha.stores import ADDRESSES, PASSWORD, Store, fill_in

RELAY = ("10.0.1.1", 2525)
_LONG = 120.0  # seconds: a slow machine's


class Cluster:
    """All of it; made by `running`."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.directory = directory
        self._stack = stack
        self._room = stack.enter_context(Machine("switches"))
        self.inner, self.world = Switch(self._room, "stores"), Switch(self._room, "world")
        self.relay = stack.enter_context(Machine("relay"))
        self.stores = {name: Store(name, directory) for name in ADDRESSES}
        self.senders = {name: SenderHost(name, directory) for name in ("sender1", "sender2")}
        self._sink: Program | None = None
        self.may_be_removed = False

    # Building it up.

    def build(self) -> None:
        """Start everything, return when both hosts' roles work."""
        hosts = self.directory / "hosts"
        fill_in(hosts, RELAY=f"{RELAY[0]}:{RELAY[1]}", SMTP_USERNAME="nobody")
        self._start_relay()
        for store in self.stores.values():
            store.install(hosts)
            self.boot_store(store, with_patroni=False)
        for sender in self.senders.values():
            sender.install(hosts)
            self._stack.enter_context(sender)
            self.inner.plug(sender, sender.address)
            self.world.plug(sender, sender.address_outside)
        self._make_postgres()
        for sender in self.senders.values():
            sender.start_roles()
        eventually(self._do_all_roles_live, within=_LONG)

    def _start_relay(self) -> None:
        self.world.plug(self.relay, RELAY[0])
        command = (
            sys.executable,
            "-m",
            "tests.ha.sink",
            str(self.directory / "sink.jsonl"),
            RELAY[0],
        )
        log = self.directory / "sink.log"
        self._sink = self.relay.start(
            log, *command, str(RELAY[1]), stdin=subprocess.PIPE, text=True, env=dict(os.environ)
        )
        eventually(lambda: "ready" in log.read_text(), within=20)

    @contextmanager
    def slow_relay(self, seconds: float) -> Iterator[None]:
        """Let the relay take so long between taking a message and saying so, in the block."""
        self._order(seconds)
        yield
        self._order(0.0)

    def _order(self, seconds: float) -> None:
        assert self._sink is not None
        orders = self._sink.process.stdin
        assert orders is not None
        orders.write(f"{seconds}\n")
        orders.flush()

    def boot_store(self, store: Store, *, with_patroni: bool = True) -> None:
        """Boot a stores' host with what it has on its disk."""
        store.boot()
        self._stack.callback(store.power_off)
        self.inner.plug(store, store.address)
        if with_patroni:
            store.start_all()
        else:
            store.start_etcd()
            store.start_redis()

    def _make_postgres(self) -> None:
        """Let store2 make the cluster, so that not everything begins on store1; the others join."""
        first = self.stores["store2"]
        first.start_patroni()
        eventually(lambda: first.is_primary, within=_LONG)
        for store in self.stores.values():
            store.start_sentinel()
            if store is not first:
                store.start_patroni()
        with self.connect("postgres") as conn:
            conn.execute(f"CREATE ROLE mailworkers LOGIN PASSWORD '{PASSWORD}'".encode())
            conn.execute("CREATE DATABASE mailworkers OWNER mailworkers")
        self._make_schema()
        eventually(self.is_redundant, within=_LONG)

    def _make_schema(self) -> None:
        """Migrate, and keep every move for the judge."""
        dsn = self.dsn.replace("user=postgres", "user=mailworkers")
        db.migrate(dsn)
        with psycopg.connect(dsn, autocommit=True) as conn:
            for statement in statements():
                conn.execute(statement.encode())
            conn.execute(
                "INSERT INTO mail.suppressed_addresses (canonical, reason, created_by)"
                " SELECT unnest(%s::text[]), 'game day', 'chaos'",
                [list(LISTED)],
            )

    def _do_all_roles_live(self) -> bool:
        with self.connect() as conn:
            rows: Any = conn.execute(
                "SELECT host, count(*) FROM mail.processes"
                " WHERE beat_at > clock_timestamp() - interval '15 s' GROUP BY host"
            ).fetchall()
        return dict(rows) == dict.fromkeys(self.senders, 5 + 2)

    # Asking it.

    @property
    def dsn(self) -> str:
        """Return the address of the primary, whichever it is, past every network."""
        places = ",".join(str(store.socket_directory) for store in self.stores.values())
        return (
            f"host={places} dbname=mailworkers user=postgres password={PASSWORD}"
            " target_session_attrs=read-write connect_timeout=3"
        )

    def connect(self, database: str = "mailworkers") -> psycopg.Connection[tuple[object, ...]]:
        """Return a connection to the primary."""
        dsn = self.dsn.replace("dbname=mailworkers", f"dbname={database}")
        return psycopg.connect(dsn, autocommit=True, application_name="chaos")

    def primary(self) -> Store | None:
        """Return the host whose PostgreSQL can be written."""
        return next((store for store in self.stores.values() if store.is_primary), None)

    def is_redundant(self) -> bool:
        """Whether both standbys follow, one of them synchronously, and so do Redis' replicas."""
        primary = self.primary()
        states = primary and primary.ask_postgres(
            "SELECT string_agg(state || ' ' || sync_state, ',' ORDER BY sync_state)"
            " FROM pg_stat_replication WHERE application_name LIKE 'store%'"
        )
        return states == "streaming async,streaming sync" and self._do_replicas_follow()

    def _do_replicas_follow(self) -> bool:
        master = self.master_of_redis()
        others = [store for store in self.stores.values() if store is not master]
        links = [store.ask_redis("INFO", "replication") or {} for store in others]
        return all(link.get("master_link_status") == "up" for link in links)

    def master_of_redis(self) -> Store | None:
        """Return the host that the Sentinels name as Redis' master, None when none of them does."""
        for store in self.stores.values():
            if store.is_up and (address := store.master_of_redis()):
                return next(s for s in self.stores.values() if s.address == address)
        return None


@contextmanager
def running(directory: Path) -> Iterator[Cluster]:
    """Build a cluster whose files lie in *directory*; end all of it."""
    with ExitStack() as stack:
        cluster = Cluster(directory, stack)
        cluster.build()
        yield cluster
