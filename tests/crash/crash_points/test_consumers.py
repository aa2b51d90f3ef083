"""A consumer at each of its points: killed, told to stop, cut off, or frozen. Nothing is lost, and
nothing is accepted or refused twice.
"""

import signal

import msgspec
import pytest
import redis
from psycopg import sql

from mailworkers.adapters import db
from mailworkers.adapters.crash_points import PLACES, Act, Order, Point
from mailworkers.embedded.servers import Servers
from tests.crash.crash_points.cells import Cell, cells
from tests.crash.crash_points.entries import assert_processed_once, put_entries
from tests.crash.crash_points.rehearsal import (
    PATIENCE,
    assert_cut,
    assert_nothing_leased,
    assert_stops,
    parametrized,
    start_armed,
    thaw,
    wait_until_fired,
)
from tests.crash.processes import Process, Roles, environ_of
from tests.relay import Relay

CUTS = (Act.CUT, Act.CUT_POSTGRES, Act.CUT_REDIS)
NAME = "consumer_00"


class Scene(msgspec.Struct):
    """One rehearsal of a consumer."""

    roles: Roles
    conn: db.Connection
    client: redis.Redis
    servers: Servers
    relay: Relay

    def play(self, cell: Cell) -> tuple[Process, list[str], list[str]]:
        """Bring a consumer to its point; return it, the commands' ids, and what was cut."""
        order = Order(cell.point, cell.act)
        ids = put_entries(self.servers, self.client, cell.point)
        actor = start_armed(self.roles, "consumer", order, SUPERVISOR_PROCESS_NAME=NAME)
        return actor, ids, wait_until_fired(actor, order)

    def assert_ends(self, cell: Cell, ids: list[str]) -> None:
        """A sender finishes, and each command has come to its end once."""
        sender = self.roles.start("sender")
        refusals = int(cell.point is Point.REFUSAL_STORED)
        assert_processed_once(self.conn, self.client, self.relay, ids, refusals=refusals)
        assert_stops(sender)
        assert_nothing_leased(self.conn)


@pytest.fixture
def scene(
    roles: Roles,
    conn: db.Connection,
    redis_client: redis.Redis,
    servers: Servers,
    relay: Relay,
) -> Scene:
    """Return an empty scene."""
    return Scene(roles, conn, redis_client, servers, relay)


@pytest.mark.parametrize("cell", parametrized(cells("consumer", Act.KILL, Act.TERM)))
def test_a_consumer_that_ends_at_a_point_is_followed_by_another(scene: Scene, cell: Cell) -> None:
    """The respawned process has the same name and finds what it held."""
    actor, ids, _ = scene.play(cell)
    assert actor.wait(PATIENCE) == (-signal.SIGKILL if cell.act is Act.KILL else 0)
    next_one = scene.roles.start("consumer", SUPERVISOR_PROCESS_NAME=NAME)

    scene.assert_ends(cell, ids)
    assert_stops(next_one)


@pytest.mark.parametrize("cell", parametrized(cells("consumer", *CUTS)))
def test_a_consumer_cut_off_at_a_point_goes_on(scene: Scene, cell: Cell) -> None:
    """It connects anew and brings what it has in hand to its end."""
    actor, ids, kinds = scene.play(cell)
    assert_cut(kinds, cell.act)

    scene.assert_ends(cell, ids)
    assert_stops(actor)


# Entries of a silent consumer are taken over after 15 s, looked for every 5 s. One that was frozen
# in its transaction keeps others out of its keys until the server ends that, after 30 s.
TAKEN_OVER_WITHIN = 90.0


@pytest.fixture(scope="module")
def frozen(
    servers: Servers, _migrated: sql.Composed, tmp_path_factory: pytest.TempPathFactory
) -> dict[Point, str]:
    """Freeze a consumer at each point, let another take over, wake them one by one.

    Return by point what went wrong, "" for nothing.
    """
    directory = tmp_path_factory.mktemp("frozen")
    with (
        Relay() as relay,
        Roles(environ_of(servers, relay, directory), directory) as roles,
        redis.Redis(unix_socket_path=str(servers.places.keyvalue_socket)) as client,
        db.connect(servers.postgres_dsn) as conn,
    ):
        client.flushall()
        conn.execute(_migrated)
        scene = Scene(roles, conn, client, servers, relay)
        return _rehearse(scene)


def _rehearse(scene: Scene) -> dict[Point, str]:
    conn, client, relay, roles = scene.conn, scene.client, scene.relay, scene.roles
    standing: dict[Point, Process] = {}
    ids: list[str] = []
    for point in [point for point, place in PLACES.items() if place.role == "consumer"]:
        order = Order(point, Act.STOP)
        ids += put_entries(scene.servers, client, point, count=1)
        name = f"consumer_{point}"
        standing[point] = start_armed(roles, "consumer", order, SUPERVISOR_PROCESS_NAME=name)
        wait_until_fired(standing[point], order)
    healthy = [roles.start("consumer", SUPERVISOR_PROCESS_NAME="healthy"), roles.start("sender")]
    assert_processed_once(conn, client, relay, ids, refusals=1, within=TAKEN_OVER_WITHIN)
    assert_stops(healthy[0])
    return {point: _wake(scene, process, ids) for point, process in standing.items()}


def _wake(scene: Scene, process: Process, ids: list[str]) -> str:
    """Let one consumer go on, alone; return what went wrong, of old commands or a new one."""
    thaw(process)
    ids += put_entries(scene.servers, scene.client, Point.ENTRIES_READ, count=1)
    try:
        assert_processed_once(scene.conn, scene.client, scene.relay, ids, refusals=1)
    except AssertionError as error:
        return str(error) or "not every command was processed once"
    finally:
        assert_stops(process)
    return ""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("cell", parametrized(cells("consumer", Act.STOP)))
def test_a_consumer_frozen_until_others_took_over_does_nothing_twice(
    frozen: dict[Point, str], cell: Cell
) -> None:
    """What it still has in hand is recognised by its keys; then it reads on."""
    assert frozen[cell.point] == ""
