"""The drill: what happens to a cluster under load, one fault after the other.

Each fault waits until the one before is healed and everything is redundant again, so that what was
measured belongs to one cause.
"""

import math
import time
from typing import Any

from mailworkers.gameday.service import STREAM
from tests.eventually import eventually
from tests.ha.run import LONG, Run
from tests.ha.senders import LEASE, SENDERS, SenderHost
from tests.ha.stores import Store

MOST_CONNECTIONS = 16  # of a host, beside its senders'


class Drill(Run):
    """A run, and all that can happen in it."""

    def lose_the_primary(self) -> None:
        """Take the network, then the power, from the host of PostgreSQL's primary."""
        lost = self.cluster.primary()
        assert lost is not None
        began = self._power_off(lost, "PostgreSQL's primary")
        heir = eventually(self.cluster.primary, within=LONG)
        self.say(f"{heir and heir.name} is primary after {time.monotonic() - began:.1f} s")
        self._go_on_and_boot(lost, began)

    def lose_the_standby(self) -> None:
        """The same to the host whose PostgreSQL every COMMIT waits for."""
        primary = self.cluster.primary()
        assert primary is not None
        name = primary.ask_postgres(
            "SELECT application_name FROM pg_stat_replication WHERE sync_state = 'sync'"
        )
        lost = self.cluster.stores[name]
        self._go_on_and_boot(lost, self._power_off(lost, "PostgreSQL's synchronous standby"))

    def _power_off(self, lost: Store, what: str) -> float:
        with self.in_the_middle():
            has_master = self.cluster.master_of_redis() is lost
            also = " and Redis' master" if has_master else ""
            self.say(f"power off: {lost.name}, {what}{also}, without a farewell")
            began = self.note(f"{what} lost", "postgres", "host lost")
            self.cluster.inner.cut(lost)
            lost.power_off()
        if has_master:
            self._follow_redis(lost, began)
        return began

    def _go_on_and_boot(self, lost: Store, began: float) -> None:
        self.until_mail_flows(began)
        self.cluster.boot_store(lost)
        self.say(f"power on: {lost.name}")
        eventually(self.cluster.is_redundant, within=LONG)
        self.say(f"everything is redundant again after {time.monotonic() - began:.1f} s")
        self.tell_pauses(began)

    def switch_over(self) -> None:
        """Let another host be primary, as before maintenance."""
        before = self.cluster.primary()
        assert before is not None
        command = ("-c", "/etc/patroni/config.yml", "switchover", "--leader", before.name)
        self.say(f"patronictl switchover, away from {before.name}")
        began = time.monotonic()
        before.run("patronictl", *command, "--force")
        eventually(lambda: self.cluster.primary() not in (None, before), within=LONG)
        self.until_mail_flows(began)
        eventually(self.cluster.is_redundant, within=LONG)
        self.tell_pauses(began)

    def lose_redis(self) -> None:
        """Kill Redis' master; start it again when another is master."""
        lost = self.cluster.master_of_redis()
        assert lost is not None
        assert lost.redis is not None
        self.say(f"kill -9: Redis' master on {lost.name}")
        lost.redis.kill()
        began = time.monotonic()
        self._follow_redis(lost, began)
        self.until_mail_flows(began)
        lost.start_redis()
        eventually(self.cluster.is_redundant, within=LONG)
        self.tell_pauses(began)

    def _follow_redis(self, lost: Store, began: float) -> None:
        """Wait for the next master; tell the judge what was gone with the last one."""
        last_ids = {
            name: store.ask_redis("XINFO STREAM", STREAM)["last-generated-id"].decode()
            for name, store in self.cluster.stores.items()
            if store is not lost
        }
        heir = eventually(lambda: self._other_master(lost.name), within=LONG)
        # What was put before and is younger than the heir's last entry.
        self.note(
            "Redis' master lost",
            "redis",
            "restart_empty",
            delivered=last_ids[heir],
            pending=[],
            t=began,
        )
        self.say(f"{heir} is Redis' master after {time.monotonic() - began:.1f} s")

    def _other_master(self, lost: str) -> str:
        found = self.cluster.master_of_redis()
        if found is None or found.name == lost or found.ask_redis("ROLE")[0] != b"master":
            return ""
        return found.name

    def split(self, host: SenderHost, seconds: float, *, with_relay: bool = False) -> None:
        """Cut *host* off from all stores for so long, and from the relay or not."""
        switches = [self.cluster.inner, *([self.cluster.world] if with_relay else [])]
        with self.in_the_middle():
            also = "and from the relay" if with_relay else "the relay it still reaches"
            self.say(f"cut off: {host.name} from all stores, {also}")
            began = time.monotonic()
            for switch in switches:
                switch.cut(host)
            held = self._held_by(host)
            # To the judge: so many doubts, one for each delivery the host had leased.
            self.note(f"{host.name} cut off, {also}", "relay", "cut_sessions", cut=held)
            self.say(f"{host.name} held {held} deliveries then")
        eventually(lambda: time.monotonic() > began + seconds, within=seconds + 5)
        for switch in switches:
            switch.mend(host)
        mended = time.monotonic()
        self._tell_who_sent(host, began, mended)
        eventually(lambda: self.ledgers.mail(mended, math.inf, host.address_outside), within=LONG)
        back = self.ledgers.mail(mended, math.inf, host.address_outside)[0]["t"] - mended
        self.say(f"{host.name} sends again {back:.1f} s after it was mended")
        self.tell_pauses(began)

    def _held_by(self, host: SenderHost) -> int:
        """Return how many deliveries *host* has leased: each may be sent once more by others."""
        with self.cluster.connect() as conn:
            row: Any = conn.execute(
                "SELECT count(*) FROM mail.deliveries WHERE leased_by = ANY (%s::uuid[])",
                [host.journals()],
            ).fetchone()
        return int(row[0])

    def _tell_who_sent(self, host: SenderHost, began: float, mended: float) -> None:
        """Say who sent while *host* was cut off; it must not when its leases have ended."""
        own = [line["t"] - began for line in self.ledgers.mail(began, mended, host.address_outside)]
        others = self.ledgers.mail(began, mended, self.cluster.senders["sender1"].address_outside)
        last = f", the last {max(own):.1f} s after the cut" if own else ""
        span = mended - began
        self.say(f"mended after {span:.1f} s: {host.name} sent {len(own)} messages{last};")
        self.say(f"the other host {len(others)} meanwhile")
        assert max(own, default=0.0) < LEASE, "it sent when its leases had ended"
        assert others

    def lose_a_sender(self, host: SenderHost) -> None:
        """Take the power from *host* for good, its journals with it; the others take over."""
        with self.in_the_middle():
            self.left_figures[host.name] = host.metrics()
            self.say(f"power off: {host.name}, for good")
            began = time.monotonic()
            for switch in (self.cluster.inner, self.cluster.world):
                switch.cut(host)
            host.power_off()
            held = self._held_by(host)
            self.note(f"{host.name} lost", "relay", "cut_sessions", cut=held)
        eventually(lambda: self._held_by(host) == 0, within=LONG)
        took = time.monotonic() - began
        self.say(f"the {held} deliveries it held were taken back after {took:.1f} s")

    def count_connections(self) -> None:
        """Say how many connections each host has to the primary; the sum of docs/topology.md."""
        with self.cluster.connect() as conn:
            rows: Any = conn.execute(
                "SELECT host(client_addr), count(*) FROM pg_stat_activity"
                " WHERE application_name LIKE 'mailworkers%' GROUP BY 1"
            ).fetchall()
        counts = dict(rows)
        for host in self.cluster.senders.values():
            self.say(f"{host.name} has {counts[host.address]} connections to PostgreSQL")
            assert counts[host.address] <= MOST_CONNECTIONS + SENDERS
