"""`mailworkers doctor`: the cause of each fault, injected for real, and what to do about it."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest
import redis
from psycopg.conninfo import make_conninfo

from mailworkers.adapters import db
from mailworkers.core.states import Status
from mailworkers.embedded.servers import Servers
from tests.certificates import Certificates
from tests.crash.processes import Roles, roles
from tests.crash.stores.conftest import open_path
from tests.crash.stores.keyvalue import KeyValue
from tests.crash.stores.own import lack, own_servers, resize, small_disk
from tests.crash.stores.standby import Standby
from tests.deliveries import accept, new_delivery, put
from tests.eventually import eventually
from tests.relay import Relay, hang
from tests.roles.test_cli import Run, environ, here, run

__all__ = ["environ", "here", "open_path", "roles", "run"]

# Each asks everything, a second or two; the common faults are in test_cli.py as well.
pytestmark = pytest.mark.slow

Connection = psycopg.Connection[tuple[Any, ...]]


class Found(NamedTuple):
    """A finding of doctor."""

    check: str
    detail: str
    advice: str


Ask = Callable[..., list[Found]]


@pytest.fixture
def ask(run: Run, here: dict[str, str], relay: Relay) -> Ask:
    """Return what runs `doctor` and gives what it calls wrong; arguments are variables."""

    def call(**changes: str) -> list[Found]:
        result = run("doctor", "--json", **{"MAIL_SMTP_ADDR": relay.addr, **changes})
        told = json.loads(result.stdout)
        wrong = [found for found in told["checks"] if not found["ok"]]
        assert result.exit_code == (1 if wrong else 0)
        return [Found(found["check"], found["detail"], found["advice"]) for found in wrong]

    return call


def only(found: list[Found], check: str) -> Found:
    """Return the one thing that is wrong, which *check* found."""
    assert [it.check for it in found] == [check], found
    assert found[0].advice
    return found[0]


# The relay.


@pytest.mark.parametrize(("identity", "said"), [("elsewhere", "mismatch"), ("expired", "expired")])
@pytest.mark.parametrize("tls", ["starttls", "implicit"])
def test_a_certificate_that_is_wrong_is_named(
    ask: Ask, certificates: Certificates, tls: str, identity: str, said: str
) -> None:
    """Whose name it does not carry, or when it ended; the advice names both settings."""
    with Relay(certificates, implicit=tls == "implicit") as own:
        own.identity = identity
        place = {"MAIL_SMTP_ADDR": f"localhost:{own.port}", "MAIL_SMTP_TLS": tls}
        found = only(ask(MAIL_SMTP_CA_FILE=str(certificates.ca), **place), "relay")

    assert "certificate" in found.detail
    assert said in found.detail
    assert "MAIL_SMTP_CA_FILE" in found.advice


def test_a_relay_that_is_down_is_told_from_one_that_refuses(ask: Ask, relay: Relay) -> None:
    """Nobody listens: address, network or the relay itself."""
    relay.stop()

    found = only(ask(), "relay")

    assert "connect: " in found.detail
    assert "MAIL_SMTP_ADDR" in found.advice


def test_a_relay_that_refuses_our_identity_is_found_without_sending(ask: Ask, relay: Relay) -> None:
    """MAIL FROM is asked and taken back: nothing is sent (account fault, not the recipient's)."""
    relay.says(MAIL="550 5.7.1 not your domain")

    found = only(ask(), "relay identity")

    assert "shop@example.com" in found.detail
    assert "550 5.7.1 not your domain" in found.detail
    assert "MAIL_SMTP_FROM_EMAIL" in found.advice
    assert relay.accepted == []
    assert not any(line.startswith(("RCPT", "DATA")) for line in relay.commands[-1])


def test_a_relay_that_stalls_at_our_identity_is_not_called_a_refusal(
    ask: Ask, relay: Relay
) -> None:
    """Whoever is told to have the sender allowed would look in the wrong place."""
    relay.says(MAIL=hang)

    found = only(ask(MAIL_SMTP_TIMEOUT="1s"), "relay identity")

    assert "stalls" in found.advice
    assert "MAIL_SMTP_FROM_EMAIL" not in found.advice


def test_a_login_that_works_is_told_with_what_the_relay_offers(
    run: Run, here: dict[str, str], relay: Relay
) -> None:
    """Capabilities, and the mechanisms by which one logs in."""
    relay.users = {"shop": "open sesame"}

    found = run("doctor", "--json", MAIL_SMTP_ADDR=relay.addr, MAIL_SMTP_USERNAME="shop",
                MAIL_SMTP_PASSWORD="open sesame")  # fmt: skip

    told = {check["check"]: check["detail"] for check in json.loads(found.stdout)["checks"]}
    assert "login accepted, offers PIPELINING" in told["relay"]
    assert "AUTH(PLAIN,LOGIN,CRAM-MD5)" in told["relay"]


# Postgres.


@contextmanager
def account(conn: Connection, options: str) -> Iterator[str]:
    """Make an account called `doctor_test`; yield its name; remove it."""
    conn.execute(f"CREATE ROLE doctor_test LOGIN {options}".encode())
    try:
        yield "doctor_test"
    finally:
        conn.execute("DROP ROLE doctor_test")


def test_an_account_without_connections_left_is_told_from_a_server_that_is_away(
    ask: Ask, database: str, conn: Connection
) -> None:
    """The limit, not the address."""
    with account(conn, "CONNECTION LIMIT 0") as name:
        found = ask(MAIL_POSTGRES_PRIMARY_DSN=make_conninfo(database, user=name))

    assert (found[0].check, "too many connections" in found[0].detail) == ("postgres", True)
    assert "max_connections" in found[0].advice


def test_a_wrong_password_is_told_as_one(
    ask: Ask, servers: Servers, database: str, conn: Connection
) -> None:
    """The password, not the network; it is not shown."""
    hba = servers.places.postgres / "pg_hba.conf"
    before = hba.read_text()
    hba.write_text(f"local all doctor_test scram-sha-256\n{before}")
    conn.execute("SELECT pg_reload_conf()")
    try:
        with account(conn, "PASSWORD 'right'") as name:
            dsn = make_conninfo(database, user=name, password="c4n4ry-wrong")
            eventually(lambda: _refused(ask(MAIL_POSTGRES_PRIMARY_DSN=dsn)), within=20)
            (found,) = _refused(ask(MAIL_POSTGRES_PRIMARY_DSN=dsn))
    finally:
        hba.write_text(before)
        conn.execute("SELECT pg_reload_conf()")

    assert "correct the password" in found.advice
    assert "c4n4ry" not in str(found)


def _refused(found: list[Found]) -> list[Found]:
    return [it for it in found if "password authentication failed" in it.detail]


def test_a_database_that_does_not_exist_is_told_as_one(ask: Ask, database: str) -> None:
    """Not a server that is away."""
    found = ask(MAIL_POSTGRES_PRIMARY_DSN=make_conninfo(database, dbname="nowhere"))

    assert 'database "nowhere" does not exist' in found[0].detail
    assert "create that database" in found[0].advice


def test_a_schema_that_is_missing_or_too_new_says_what_to_run(
    ask: Ask, database: str, conn: Connection
) -> None:
    """Old code is upgraded, an old schema migrated."""
    conn.execute("CREATE DATABASE doctor_test")
    try:
        dsn = make_conninfo(database, dbname="doctor_test")
        missing = only(ask(MAIL_POSTGRES_PRIMARY_DSN=dsn), "schema")
        db.migrate(dsn)
        with db.connect(dsn) as other:
            other.execute("UPDATE schema_versions SET oldest_code = 99")
        too_new = only(ask(MAIL_POSTGRES_PRIMARY_DSN=dsn), "schema")
    finally:
        conn.execute("DROP DATABASE doctor_test (FORCE)")

    assert missing.advice == "run: mailworkers migrate"
    assert "upgrade" in too_new.advice


def test_a_database_made_read_only_is_found(ask: Ask, database: str, conn: Connection) -> None:
    """An operator, or whoever hosts it, allows no more writes (F-P14)."""
    with account(conn, "SUPERUSER") as name:
        conn.execute(f"ALTER ROLE {name} SET default_transaction_read_only = on".encode())
        found = ask(MAIL_POSTGRES_PRIMARY_DSN=make_conninfo(database, user=name))

    (writes,) = [it for it in found if it.check == "postgres writes"]
    assert "read-only" in writes.detail
    assert "default_transaction_read_only" in writes.advice


def test_a_full_disk_and_a_standby_are_found(ask: Ask, request: pytest.FixtureRequest) -> None:
    """Nothing can be recorded: there is no room, or the server follows another (F-P09, F-P13)."""
    with small_disk(700) as disk, own_servers(request.config, disk) as own:
        resize(disk)
        full = ask(MAIL_POSTGRES_PRIMARY_DSN=own.postgres_dsn)
        resize(disk, 700)
        standby = Standby(own)
        try:
            dsn = make_conninfo(own.postgres_dsn, host=str(standby.places.sockets))
            following = ask(MAIL_POSTGRES_PRIMARY_DSN=dsn)
        finally:
            standby.server.stop()

    (writes,) = [it for it in full if it.check == "postgres writes"]
    assert "No space left on device" in writes.detail
    assert "free some space" in writes.advice
    assert "a standby" in following[0].detail
    assert "target_session_attrs" in following[0].advice


# Redis.


def test_a_redis_that_wants_another_password_is_told_as_one(
    ask: Ask, servers: Servers, open_path: Path
) -> None:
    """None given, or a wrong one; it is not shown."""
    own = KeyValue(servers, open_path / "kv", "--requirepass", "right", "--appendonly", "yes")
    own.server.start()
    try:
        none = only(ask(MAIL_REDIS_MASTER_ADDR=own.addr), "redis")
        wrong = only(
            ask(MAIL_REDIS_MASTER_ADDR=own.addr, MAIL_REDIS_PASSWORD="c4n4ry-wrong"), "redis"
        )
        right = ask(MAIL_REDIS_MASTER_ADDR=own.addr, MAIL_REDIS_PASSWORD="right")
    finally:
        own.server.stop()

    assert "set MAIL_REDIS_PASSWORD" in none.advice
    assert "correct MAIL_REDIS_PASSWORD" in wrong.advice
    assert "c4n4ry" not in str(wrong)
    assert right == []


def test_a_replica_is_found(ask: Ask, redis_client: redis.Redis) -> None:
    """It can be read, so everything looks well until something is put there (F-R06)."""
    redis_client.replicaof("127.0.0.1", 1)
    try:
        found = ask()
    finally:
        redis_client.replicaof("NO", "ONE")

    assert [it.check for it in found][:2] == ["redis", "redis writes"]
    assert "REPLICAOF NO ONE" in found[1].advice


def test_a_redis_without_memory_left_is_found(ask: Ask, redis_client: redis.Redis) -> None:
    """Under noeviction commands are refused (F-R06)."""
    redis_client.config_set("maxmemory", 1)
    try:
        found = only(ask(), "redis writes")
    finally:
        redis_client.config_set("maxmemory", 0)

    assert "maxmemory" in found.detail
    assert "raise maxmemory" in found.advice


@pytest.mark.parametrize("what", ["snapshot", "append-only file"])
def test_a_redis_that_cannot_save_is_found(
    ask: Ask, servers: Servers, redis_client: Any, what: str
) -> None:
    """A snapshot that fails stops all writes; an append-only file that cannot be rewritten will."""
    if os.geteuid() == 0 and servers.places.keyvalue.stat().st_uid == 0:
        lack("servers under an account that obeys the rights of a directory")
    servers.places.keyvalue.chmod(0o500)
    field = "rdb_last_bgsave_status" if what == "snapshot" else "aof_last_bgrewrite_status"
    try:
        redis_client.config_set("save", "3600 1" if what == "snapshot" else "")
        eventually(lambda: _fails_to_save(redis_client, what, field), within=20)
        (found,) = ask()
    finally:
        servers.places.keyvalue.chmod(0o700)
        redis_client.config_set("save", "")
        eventually(lambda: _saves(redis_client, what, field), within=20)

    assert found.check in {"redis", "redis writes"}  # some refuse even to be asked
    assert "MISCONF" in found.detail
    assert "disk" in found.advice


def _fails_to_save(client: Any, what: str, field: str) -> bool:
    with suppress(redis.ResponseError):
        client.bgsave() if what == "snapshot" else client.bgrewriteaof()
    return bool(client.info("persistence")[field] == "err")


def _saves(client: Any, what: str, field: str) -> bool:
    return not _fails_to_save(client, what, field)


# What runs.


def test_a_breaker_that_opened_is_told_with_the_relays_answer(
    ask: Ask, roles: Roles, relay: Relay, conn: Connection
) -> None:
    """The cause the senders met, also when the relay is well for whoever asks now."""
    relay.says(BANNER="554 5.7.1 no service for this address")
    for role in ("consumer", "scheduler", "retention", "api", "monitor"):
        _alive(conn, role)
    roles.start("sender")
    accept(conn, new_delivery())

    seen: list[Found] = []

    def is_told() -> bool:
        seen[:] = [it for it in ask() if it.detail.startswith("breaker ")]
        return bool(seen)

    eventually(is_told, within=40)

    assert seen[0].check == "service"
    assert "554" in seen[0].detail
    assert "no service for this address" in seen[0].detail


def _alive(conn: Connection, role: str) -> None:
    conn.execute(
        "INSERT INTO processes (process_id, role, host, pid, version, detail)"
        " VALUES (gen_random_uuid(), %s, 'elsewhere', 1, '0', '{}')",
        [role],
    )


def test_a_role_that_is_missing_beside_others_is_found(ask: Ask, conn: Connection) -> None:
    """Nothing started at all is no fault, part of it is."""
    nothing = ask()
    for role in ("consumer", "sender", "retention", "api", "monitor"):
        _alive(conn, role)

    assert nothing == []
    assert only(ask(), "service").detail == "no scheduler is alive"


def test_a_frozen_sender_is_found_at_once_by_its_pid(
    ask: Ask, roles: Roles, conn: Connection
) -> None:
    """Before it is silent for long enough to be called dead."""
    sender = roles.start("sender")
    eventually(lambda: conn.execute("SELECT FROM processes").fetchone() is not None, within=30)
    sender.signal(signal.SIGSTOP)
    try:
        (found,) = [it for it in ask() if it.check == "processes"]
    finally:
        sender.signal(signal.SIGCONT)

    assert f"(pid {sender.pid}) is frozen" in found.detail
    assert f"kill -CONT {sender.pid}" in found.advice


def test_leases_that_nobody_takes_back_are_found(ask: Ask, conn: Connection) -> None:
    """Their holder is gone and no scheduler is there: they would be `sending` for ever."""
    stuck = put(conn, Status.SENDING)

    found = [it for it in ask() if it.check == "leases"]

    (lease,) = found
    assert str(stuck) in lease.detail
    assert "start a scheduler" in lease.advice


def test_what_a_killed_sender_left_is_found_until_another_adopts_it(
    ask: Ask, roles: Roles, here: dict[str, str], tmp_path: Path
) -> None:
    """Its journal says what was sent; nobody has told the database (F-S22)."""
    sender = roles.start("sender")
    place = tmp_path / "journals"
    eventually(lambda: list(place.glob("*.journal")), within=30)
    sender.signal(signal.SIGKILL)
    sender.wait()

    left = [it for it in ask(MAIL_STATE_DIR=str(tmp_path)) if it.check == "journals"]
    roles.start("sender")
    eventually(lambda: len(list(place.glob("*.journal"))) == 1, within=30)
    adopted = [it for it in ask(MAIL_STATE_DIR=str(tmp_path)) if it.check == "journals"]

    assert "1 of dead senders" in left[0].detail
    assert "start a sender on this host" in left[0].advice
    assert adopted == []


@pytest.mark.usefixtures("here")
def test_a_forgotten_pause_is_shown_to_whoever_misses_mail(run: Run, conn: Connection) -> None:
    """It is on purpose, so not wrong; who did it, why, and how to end it."""
    run("pause", "--lane", "bulk", "--reason", "the relay is slow")

    result = run("doctor")

    (line,) = [line for line in result.stdout.splitlines() if "held back" in line]
    assert line.startswith("ok")
    assert "lane bulk" in line
    assert "the relay is slow (`mailworkers resume " in line


def test_commands_that_nobody_reads_are_found(ask: Ask, redis_client: redis.Redis) -> None:
    """By the age of the oldest, which its id tells."""
    at = datetime.now(UTC) - timedelta(minutes=3)
    redis_client.xadd("mail:delivery_commands", {"a": "b"}, id=f"{int(at.timestamp() * 1000)}-0")

    found = [it for it in ask() if it.check == "service"]

    assert "no consumer, no scheduler" in found[0].detail
    assert found[1].detail.startswith("1 commands unread, the oldest for 3m")


def test_a_broken_template_is_found_with_its_place(ask: Ask, tmp_path: Path) -> None:
    """Roles would refuse to start."""
    page = tmp_path / "catalog" / "hello" / "en"
    page.mkdir(parents=True)
    (page.parent / "template.toml").write_text("[template]\n")
    (page / "subject.txt").write_text("{{ oops")

    found = ask(MAIL_TEMPLATE_DIR=str(tmp_path / "catalog"))

    assert {it.check for it in found} == {"templates"}
    assert "hello" in found[0].detail


def test_a_state_directory_without_rights_is_found(ask: Ask) -> None:
    """Journals and metrics need it; sysfs takes no files from anybody."""
    found = ask(MAIL_STATE_DIR="/sys/kernel/mailworkers")

    assert only(found, "state directory").detail.startswith("/sys/kernel/mailworkers: ")
