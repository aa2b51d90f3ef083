"""The api beside the other roles, on a port of its own."""

from mailworkers.bench.callers import await_api
from mailworkers.bench.testbed import Testbed
from mailworkers.embedded.ports import free_port

_STATUS = "/api/v1/internal/status"
_STARTING = 60.0  # seconds


def start_api(testbed: Testbed) -> int:
    """Start the api and return its port, once it answers."""
    port = free_port()
    address = {"MAIL_INTERNAL_HTTP_ADDR": f"127.0.0.1:{port}"}
    with testbed.progress.step("starting the api"):
        testbed.roles.start("api", 1, environment=address)
        await_api(port, _STATUS, seconds=_STARTING)
    return port
