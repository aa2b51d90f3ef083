"""Fixtures of the rehearsals."""

from collections.abc import Callable

import pytest

from mailworkers.adapters import db
from mailworkers.adapters.crash_points import Point
from tests.crash.crash_points.scenes import ENCRYPTED, Scene
from tests.crash.processes import Roles
from tests.relay import Relay


@pytest.fixture
def scene(
    request: pytest.FixtureRequest, roles: Roles, conn: db.Connection
) -> Callable[[Point], Scene]:
    """Return what makes the scene of a point, with a relay that encrypts where it is about that."""

    def make(point: Point) -> Scene:
        relay: Relay = request.getfixturevalue("tls_relay" if point in ENCRYPTED else "relay")
        return Scene(roles, conn, relay)

    return make
