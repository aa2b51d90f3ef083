"""The api: takes commands from trusted services, and tells people what became of them.

It answers in a thread of its own while the role's loop keeps signals, heartbeats and outages. While
Postgres is away it answers 503 and goes on; Redis it only needs to wake others, and does without.

Killed before the COMMIT of a command: nothing happened, and its sender, who got no answer, repeats
it. Killed between COMMIT and answer: the repeated command has the same key and is recognised.
"""

from datetime import timedelta

from mailworkers.adapters import process
from mailworkers.adapters.catalog import Catalog, packaged_directory
from mailworkers.adapters.intake import Intake
from mailworkers.adapters.policies import retry_policies
from mailworkers.adapters.previews import Previewer
from mailworkers.adapters.setting_forms import split_address
from mailworkers.adapters.settings import Settings
from mailworkers.adapters.situation import Observer
from mailworkers.adapters.store.pool import Pool
from mailworkers.adapters.store.reads import list_tokens
from mailworkers.core.errors import ConfigError
from mailworkers.web.accepting import Acceptor
from mailworkers.web.app import internal_api
from mailworkers.web.backend import Backend
from mailworkers.web.gate import is_loopback
from mailworkers.web.serving import Listener, Server

_ADDRESS = "MAIL_INTERNAL_HTTP_ADDR"
# The longest any answer may keep the database busy; the stop must be able to wait for it.
_LIMIT = timedelta(seconds=15)
_RESERVE = timedelta(seconds=3)
_PULSE = timedelta(seconds=1)


class Api:
    """A server beside the role's loop."""

    def __init__(self, context: process.Context) -> None:
        settings = context.settings
        self._stop = context.stop
        self._poll = settings.poll
        host, port = split_address(settings.internal_http_addr)
        _refuse_open_door(context, host)
        catalog = Catalog.load(settings.template_dir or packaged_directory())
        intake = Intake(settings, catalog, context.clock.now, context.telemetry.tracer)
        for doubt in intake.doubts:
            context.telemetry.setting_doubted(doubt)
        pool = Pool(
            settings.postgres_dsn,
            f"mailworkers {context.process}",
            size=settings.postgres_pool_max,
            limit=_LIMIT,
        )
        self._backend = Backend(
            pool,
            Acceptor(intake, pool, context.telemetry, context.waker),
            Previewer(intake, catalog),
            sources=settings.sources,
            policies=retry_policies(settings),
            size=settings.postgres_pool_max,
            observer=Observer(settings, f"mailworkers {context.process} status"),
        )

        def report(error: Exception) -> None:
            context.telemetry.failed("request failed", error)

        app = internal_api(self._backend, pool, report=report)
        listener = Listener(app, host, port, setting=_ADDRESS, is_shared=True)
        self._server = Server([listener], grace=settings.shutdown_timeout - _RESERVE)

    def step(self) -> bool:
        """Wait until the server's loop answers: while it hangs, so do the heartbeats."""
        while not self._server.ping(_PULSE) and not self._stop.is_requested:
            pass
        return False

    def wait(self) -> None:
        """Sleep one poll."""
        self._stop.wait(self._poll)

    def interrupt(self, store_name: str) -> None:
        """Nothing is held between two requests."""

    def close(self) -> None:
        """Take no more requests, finish those that are here."""
        self._server.close()
        self._backend.close()


def _refuse_open_door(context: process.Context, host: str) -> None:
    """Without a token the API trusts its callers, so only callers of this host may reach it."""
    if not is_loopback(host) and not list_tokens(context.database.conn):
        raise ConfigError(
            f"{_ADDRESS}: {host} can be reached from elsewhere and there is no API token; "
            "make one, or listen on 127.0.0.1"
        )


def main(settings: Settings) -> int:
    """Serve the internal API until told to stop; return the exit code."""
    return process.run("api", settings, Api)
