"""The monitor: the signs of life of this installation, for supervisors and Prometheus.

Its listeners open before anything else and stay open whatever happens to the stores: saying that
one is lost is what it is for. It holds nothing; killed anywhere, its successor says the same.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

from mailworkers.adapters import process
from mailworkers.adapters.gauges import Stores
from mailworkers.adapters.settings import Settings
from mailworkers.adapters.telemetry import METRICS_DIRECTORY
from mailworkers.adapters.tracing import exporter_installed
from mailworkers.web.ops import Signs, health_app, metrics_app
from mailworkers.web.serving import Listener, Server

if TYPE_CHECKING:
    from mailworkers.adapters.otlp_metrics import MetricsExport

_HOST = "127.0.0.1"
_GRACE = timedelta(seconds=3)
_PULSE = timedelta(seconds=1)


class Front:
    """The listeners, open before the role begins; `report` takes errors nobody foresaw."""

    def __init__(self, settings: Settings) -> None:
        self.report: Callable[[Exception], None] | None = None
        self.stores = Stores(settings, "mailworkers monitor")
        self.metrics = settings.state_dir / METRICS_DIRECTORY
        self.signs = Signs(self.stores, self.metrics)
        health = health_app(self.signs, report=self._report)
        metrics = metrics_app(self.signs, report=self._report)
        listeners = [
            Listener(health, _HOST, settings.http_port, setting="HTTP_PORT"),
            Listener(metrics, _HOST, settings.prometheus_port, setting="PROMETHEUS_PORT"),
        ]
        self.server = Server(listeners, grace=_GRACE)

    def _report(self, error: Exception) -> None:
        if self.report is not None:
            self.report(error)

    def close(self) -> None:
        """Close the listeners and the connections."""
        self.server.close()
        self.stores.close()


class Monitor:
    """The role's loop beside the listeners: heartbeats, and a line when a store goes or returns."""

    def __init__(self, context: process.Context, front: Front) -> None:
        self._front = front
        self._stop = context.stop
        self._poll = context.settings.poll
        front.report = lambda error: context.telemetry.failed("request failed", error)
        front.signs.lacks_room = lambda: context.heartbeat.lacks_room
        self._export = _open_export(context, front)

    def step(self) -> bool:
        """Hear from the listeners and from Redis; the heartbeat before was Postgres' answer."""
        while not self._front.server.ping(_PULSE) and not self._stop.is_requested:
            pass
        self._front.stores.redis.ask()
        return False

    def wait(self) -> None:
        """Sleep one poll."""
        self._stop.wait(self._poll)

    def interrupt(self, store_name: str) -> None:
        """Nothing is held between two requests."""

    def close(self) -> None:
        """Send the last numbers; the listeners close last, with the process."""
        if self._export is not None:
            self._export.close()


def _open_export(context: process.Context, front: Front) -> "MetricsExport | None":
    """Begin to send metrics to the collector, where settings name one."""
    if context.settings.metrics_exporter != "otlp":
        return None
    with exporter_installed():
        from mailworkers.adapters.otlp_metrics import MetricsExport

        return MetricsExport(
            context.settings,
            context.process,
            front.metrics,
            front.stores.readings,
            context.telemetry,
        )


def main(settings: Settings) -> int:
    """Watch until told to stop; return the exit code."""
    front = Front(settings)
    try:
        return process.run("monitor", settings, lambda context: Monitor(context, front))
    finally:
        front.close()
