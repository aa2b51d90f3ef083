"""The api at each of its points: killed, told to stop, cut off, or frozen. A caller that repeats
what was not answered has one delivery, and every answer names it.
"""

import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from uuid import UUID

import httpx
import msgspec
import pytest
import redis

from mailworkers.adapters import db
from mailworkers.adapters.crash_points import Act, Order, Point
from mailworkers.adapters.stream import SENDER_WAKE
from mailworkers.embedded.ports import free_port
from mailworkers.web.gate import PREFIX
from tests.crash.crash_points.cells import Cell, cells
from tests.crash.crash_points.rehearsal import (
    PATIENCE,
    assert_cut,
    assert_nothing_leased,
    assert_stops,
    end_of,
    parametrized,
    start_armed,
    thaw,
    wait_until_fired,
)
from tests.crash.processes import Process, Roles
from tests.eventually import eventually

CUTS = (Act.CUT, Act.CUT_POSTGRES, Act.CUT_REDIS, Act.CUT_CLIENT)
KEY = "the key that is repeated"
_COMMITTED = frozenset({Point.ANSWER_LOST, Point.ANSWER_HALF_SENT})


def ask(port: int, key: str = KEY) -> str | None:
    """Ask for a delivery; return its id, None where there is no answer or not now."""
    body = {
        "payload_mode": "rendered",
        "payload": {"to": ["ada@example.com"], "subject": "s", "text_body": "t"},
    }
    url = f"http://127.0.0.1:{port}{PREFIX}/deliveries"
    try:
        answer = httpx.post(url, json=body, headers={"Idempotency-Key": key}, timeout=120)
        answer.read()
    except httpx.TransportError:
        return None
    assert answer.status_code in (202, 503), answer.text
    return str(answer.json()["delivery_id"]) if answer.status_code == 202 else None


class Scene(msgspec.Struct):
    """One rehearsal of an api."""

    roles: Roles
    conn: db.Connection
    client: redis.Redis
    caller: ThreadPoolExecutor
    port: int

    def play(self, cell: Cell) -> tuple[Process, Future[str | None], list[str]]:
        """Bring an api to its point with its second request: by then it is connected to all."""
        order = Order(cell.point, cell.act, 2)
        actor = start_armed(self.roles, "api", order, **self.listening(self.port))
        assert self.ask_until_answered(self.port, "another key")
        eventually(lambda: self.client.llen(SENDER_WAKE), within=PATIENCE)
        answer = self.caller.submit(ask, self.port)
        return actor, answer, wait_until_fired(actor, order)

    @staticmethod
    def listening(port: int) -> dict[str, str]:
        """Return the setting of an api on *port*."""
        return {"MAIL_INTERNAL_HTTP_ADDR": f"127.0.0.1:{port}"}

    @staticmethod
    def ask_until_answered(port: int, key: str = KEY) -> str:
        """Repeat as a good caller does; return the id of the delivery."""
        return eventually(lambda: ask(port, key), within=60) or ""

    def deliveries(self) -> list[str]:
        """Return what stands under the key."""
        rows = self.conn.execute(
            "SELECT delivery_id FROM deliveries WHERE idempotency_key = %s", [KEY]
        ).fetchall()
        return [str(found) for (found,) in rows]

    def assert_ends(self, cell: Cell, *answers: str | None) -> None:
        """There is one delivery, untouched, and all answers name it."""
        (found,) = self.deliveries()
        assert {answer for answer in answers if answer} == {found}
        assert end_of(self.conn, UUID(found)) == cell.expected
        assert_nothing_leased(self.conn)


@pytest.fixture
def scene(roles: Roles, conn: db.Connection, redis_client: redis.Redis) -> Iterator[Scene]:
    """Return an empty scene."""
    with ThreadPoolExecutor(1) as caller:
        yield Scene(roles, conn, redis_client, caller, free_port())


@pytest.mark.parametrize("cell", parametrized(cells("api", Act.KILL)))
def test_an_api_killed_at_a_point_has_accepted_or_not(scene: Scene, cell: Cell) -> None:
    """No answer; whoever repeats is accepted, or recognised."""
    actor, answer, _ = scene.play(cell)
    assert actor.wait(PATIENCE) == -signal.SIGKILL
    assert answer.result(PATIENCE) is None
    assert len(scene.deliveries()) == (cell.point in _COMMITTED)
    scene.roles.start("api", **scene.listening(scene.port))

    scene.assert_ends(cell, *scene.deliveries(), scene.ask_until_answered(scene.port))


@pytest.mark.parametrize("cell", parametrized(cells("api", Act.TERM)))
def test_an_api_told_to_stop_at_a_point_answers_first(scene: Scene, cell: Cell) -> None:
    """What is under way is finished; exit 0."""
    actor, answer, _ = scene.play(cell)
    assert actor.wait(PATIENCE) == 0

    scene.assert_ends(cell, answer.result(PATIENCE))


@pytest.mark.parametrize("cell", parametrized(cells("api", *CUTS)))
def test_an_api_cut_off_at_a_point_lives_on(scene: Scene, cell: Cell) -> None:
    """The caller gets the answer, is asked to come again, or gets none."""
    actor, answer, kinds = scene.play(cell)
    assert_cut(kinds, cell.act)
    first = answer.result(PATIENCE)

    scene.assert_ends(cell, first, scene.ask_until_answered(scene.port))
    assert_stops(actor)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("cell", parametrized(cells("api", Act.STOP)))
def test_a_frozen_api_and_another_one_give_the_same_answer(scene: Scene, cell: Cell) -> None:
    """A transaction it has open keeps others out of its keys until the server ends it, after 30 s;
    meanwhile they are asked to come again."""
    actor, answer, _ = scene.play(cell)
    other = free_port()
    scene.roles.start("api", **scene.listening(other))
    second = scene.ask_until_answered(other)

    thaw(actor)
    first = answer.result(PATIENCE)

    scene.assert_ends(cell, first, second)
    assert scene.ask_until_answered(scene.port, "a new key")
    assert_stops(actor)
