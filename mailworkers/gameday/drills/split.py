"""Two hosts, of which one loses the stores: it is there, it reaches the relay, and nothing else."""

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import redis

from mailworkers.gameday.drills.acts import Act
from mailworkers.gameday.drills.isolation import Elsewhere, own_network, run
from mailworkers.gameday.drills.needs import CannotRun
from mailworkers.gameday.drills.scene import Scene
from mailworkers.gameday.host import Host
from mailworkers.gameday.judging.whole import EXPOSITION
from mailworkers.gameday.service import STREAM, Service, wait_until

# Of a range for measurements (RFC 2544), in a network that is only ours.
_STORES_HERE, _STORES_THERE = "198.18.1.1", "198.18.1.2"
_RELAY_HERE, _RELAY_THERE = "198.18.2.1", "198.18.2.2"
_POSTGRES_PORT, _REDIS_PORT, _PROMETHEUS_PORT = 5432, 6390, 9090
_NAME = "second-host"
_READ = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1]).read().decode())"
_WORKS_WITHIN = 90.0  # seconds


class HostSplit(Act):
    """A second host runs every role in a namespace, one link to the stores, one to the relay."""

    def __init__(self) -> None:
        self._elsewhere: Elsewhere | None = None
        self._host: Host | None = None
        self._pids: dict[str, int] = {}
        self._hba = Path()

    def prepare(self, directory: Path) -> Mapping[str, str]:
        """Make both networks, and let PostgreSQL take whoever comes from the other one."""
        own_network()
        self._elsewhere = Elsewhere(_NAME)
        self._elsewhere.join("stores", f"{_STORES_HERE}/30", f"{_STORES_THERE}/30")
        self._elsewhere.join("relay", f"{_RELAY_HERE}/30", f"{_RELAY_THERE}/30")
        self._hba = directory / "pg_hba.conf"
        self._hba.write_text(f"local all all trust\nhost all all {_STORES_THERE}/32 trust\n")
        self._hba.chmod(0o644)  # PostgreSQL runs as another account
        return {}

    def postgres(self) -> Sequence[str]:
        """Return the settings that let it listen for the other host."""
        return (f"listen_addresses={_STORES_HERE}", f"hba_file={self._hba}")

    def sink_address(self) -> str:
        """Return every address: the network is ours alone."""
        return "0.0.0.0"  # noqa: S104

    def observed_from(self, service: Service) -> tuple[Sequence[str], int, str]:
        """Let Prometheus look from the second host: it is the one in trouble."""
        address = f"{_RELAY_THERE}:{_PROMETHEUS_PORT}"
        return self._there.inside, service.metrics_port, address

    @property
    def _there(self) -> Elsewhere:
        if self._elsewhere is None:
            raise CannotRun("the second host was not prepared")
        return self._elsewhere

    def started(self, service: Service) -> None:
        """Open Redis for the other host, and start every role there."""
        with redis.Redis(unix_socket_path=service.redis_socket) as client:
            client.config_set("protected-mode", "no")
            client.config_set("bind", _STORES_HERE)
            client.config_set("port", _REDIS_PORT)
        directory, sockets = service.directory, service.servers.places.sockets.parent
        environ = {
            **service.environ,
            "MAIL_POSTGRES_PRIMARY_DSN": f"postgresql://mailworkers@{_STORES_HERE}/mailworkers",
            "MAIL_REDIS_MASTER_ADDR": f"{_STORES_HERE}:{_REDIS_PORT}",
            "MAIL_REDIS_COMMAND_STREAM": STREAM,
            "MAIL_SMTP_ADDR": f"{_RELAY_HERE}:{service.sink.port}",
            "MAIL_STATE_DIR": str(directory / "state-of-second"),
            "MAIL_SUPERVISOR_SOCKET": str(sockets / "w.sock"),
        }
        self._host = Host(
            environ, directory / "second.out", senders=service.senders, inside=self._there.inside
        )
        self._host.start()
        wait_until(self._host.supervisor.is_up, 30, "the second supervisord does not answer")
        wait_until(
            lambda: self._beats(service) >= len(self._now()), 60, "the second host is silent"
        )
        self._pids = self._now()

    def _now(self) -> dict[str, int]:
        return self._host.roles() if self._host else {}

    def _beats(self, service: Service, seconds: float = 15.0) -> int:
        """Return how many processes of the second host gave a sign of life lately."""
        with service.connect() as conn:
            row = conn.execute(
                "SELECT count(*) FROM mail.processes WHERE host = %s"
                " AND beat_at > clock_timestamp() - make_interval(secs => %s)",
                [_NAME, seconds],
            ).fetchone()
        return int(row[0]) if row else 0

    def happen(self, scene: Scene[Service]) -> None:
        """Let the link fall silent, as a cable that is cut behind the switch, and heal it."""
        number = scene.fault("host", "split", f"{_NAME} is cut off from PostgreSQL and Redis")
        run("ip", "link", "set", "stores", "down")
        scene.hold(scene.seconds)
        is_silent = self._beats(scene.service) == 0
        run("ip", "link", "set", "stores", "up")
        scene.say(f"{_NAME} reaches the stores again")
        scene.effect(number, is_done=is_silent, sessions=scene.senders)
        began = time.monotonic()
        everybody = len(self._pids)
        wait_until(
            lambda: self._beats(scene.service) >= everybody,
            _WORKS_WITHIN,
            f"not every role of {_NAME} works again",
        )
        scene.say(
            f"every role of {_NAME} gives signs of life after {time.monotonic() - began:.0f} s"
        )

    def gather(self, service: Service) -> None:
        """Save what the second monitor shows: its counters belong to the sum."""
        url = f"http://127.0.0.1:{service.metrics_port}/metrics"
        shown = run(*self._there.inside, sys.executable, "-c", _READ, url)
        (service.directory / f"{EXPOSITION}{_NAME}.txt").write_text(shown)

    def told(self, service: Service) -> list[str]:  # noqa: ARG002  others use it
        """Return which processes of the second host are not those of before."""
        now = self._now()
        return [
            f"{name} of {_NAME} was restarted, which nobody should have to"
            for name, pid in self._pids.items()
            if now.get(name) != pid
        ]

    def leave(self) -> None:
        """End the second host, which needs the stores for that."""
        if self._host is not None:
            self._host.stop()

    def close(self) -> None:
        """End its network."""
        if self._elsewhere is not None:
            self._elsewhere.close()
