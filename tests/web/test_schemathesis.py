"""The api against its own description, by requests that schemathesis makes of it.

Right ones and wrong ones of every operation, single and in the order in which one answers with what
the next asks for. No answer may be a failure of ours, or one that the description does not promise.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import psycopg
import pytest

from mailworkers.core.states import Lane, Status
from tests.crash.processes import Roles
from tests.deliveries import put
from tests.eventually import eventually
from tests.store.situations import enter_letter
from tests.web.conftest import PLAIN, MakeToken, Row
from tests.web.test_malformed import refuse
from tests.web.test_roles import Ports, deliveries_url, ports, processes

__all__ = ["ports", "processes"]

ROOT = Path(__file__).parents[2]
DESCRIPTION = ROOT / "api" / "internal-openapi.yaml"
CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
SCOPES = ["intake", "read", "operate", "admin"]

Try = Callable[..., None]


@pytest.fixture
def try_api(
    processes: Roles,
    ports: Ports,
    conn: psycopg.Connection[Row],
    make_token: MakeToken,
    tmp_path: Path,
) -> Try:
    """Return what lets schemathesis try the real api, which has something of everything."""
    for status in Status:
        delivery_id = put(conn, status)
        if status in {Status.FAILED, Status.DEAD_LETTER}:
            enter_letter(conn, delivery_id, None)
    put(conn, Status.SENT, lane=int(Lane.AUTH))
    refuse(conn)
    token = make_token("everything", SCOPES)
    processes.start("api")
    scheduler = processes.start("scheduler")
    eventually(lambda: _answers(ports, token), within=30)

    def try_it(*options: str) -> None:
        done = _try(ports.api, token, tmp_path, *options)
        assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
        assert '"level":"ERROR"' not in processes.logs()
        assert scheduler.exit_code is None

    return try_it


def _answers(ports: Ports, token: str) -> bool:
    headers = {"Authorization": f"Bearer {token}"}
    try:
        return httpx.get(deliveries_url(ports), headers=headers, timeout=5, **PLAIN).is_success
    except httpx.TransportError:
        return False


def _try(port: int, token: str, directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Let schemathesis ask the api on *port* whatever its description allows, and more.

    What it remembers from one run to the next is left in *directory*, which nobody reads.
    """
    return subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli"),
            f"--config-file={CONFIGURATION}",
            *("run", str(DESCRIPTION), f"--url=http://127.0.0.1:{port}"),
            *("--checks=all", f"--header=Authorization: Bearer {token}"),
            *("--no-color", "--warnings=off", "--generation-database=none", "--request-timeout=30"),
            *("--continue-on-failure", *options),
        ],
        cwd=directory,
        env={**os.environ, "NO_PROXY": "*", "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_api_does_what_its_description_says(try_api: Try) -> None:
    """All checks there are, some thousand requests, the same every time."""
    try_api("--max-examples=15", "--seed=1")


@pytest.mark.long
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("seed", range(2, 6))
def test_the_api_does_what_its_description_says_however_long_one_looks(
    try_api: Try, seed: int
) -> None:
    """The same with other chances, and more of them."""
    try_api("--max-examples=200", f"--seed={seed}")
