"""Signs of life are given by the loop itself: a process that hangs is told from one that works."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from typing import Any
from urllib.error import HTTPError

import pytest

from mailworkers.embedded.ports import free_port
from tests.crash.processes import Roles
from tests.eventually import eventually

_STUCK = """
import os, sys, time
from mailworkers.adapters import process
from mailworkers.adapters.settings import load

class Stuck:
    def step(self):
        while True:
            time.sleep(0.1)

sys.exit(process.run("retention", load(os.environ), lambda context: Stuck()))
"""


def _ask(port: int, path: str) -> dict[str, Any]:
    """Return what the monitor at *port* answers, whatever the status; nothing before it listens."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=5) as answer:
            found: dict[str, Any] = json.load(answer)
    except HTTPError as refused:
        with refused:
            found = json.load(refused)
    except OSError:
        return {}
    return found


def _living(port: int) -> dict[str, int]:
    roles = _ask(port, "ready").get("roles", {})
    return {name: roles.get(name, 0) for name in ("scheduler", "retention")}


@pytest.mark.slow
def test_a_process_that_is_stopped_and_one_whose_loop_hangs_are_not_alive(
    database: str, roles: Roles
) -> None:
    """That a process exists, or a thread of it runs, is no sign of life."""
    port = free_port()
    roles.start("monitor", HTTP_PORT=str(port), PROMETHEUS_PORT=str(free_port()))
    scheduler = roles.start("scheduler")
    environ = {**os.environ, **roles.environ}
    with subprocess.Popen(
        [sys.executable, "-c", _STUCK], env=environ, stdout=subprocess.DEVNULL
    ) as stuck:
        try:
            eventually(lambda: _living(port) == {"scheduler": 1, "retention": 1}, within=30)
            scheduler.signal(signal.SIGSTOP)

            eventually(lambda: _living(port) == {"scheduler": 0, "retention": 0}, within=60)

            assert (stuck.poll(), scheduler.exit_code) == (None, None)
            assert _ask(port, "health")["checks"]["retries"] == "failed"
            scheduler.signal(signal.SIGCONT)
            eventually(lambda: _living(port) == {"scheduler": 1, "retention": 0}, within=60)
        finally:
            stuck.kill()
