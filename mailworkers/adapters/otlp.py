"""What traces and metrics sent to an OpenTelemetry collector have in common.

Endpoints, headers, time limits, compression and certificates are read by the exporters from the
standard variables (`OTEL_EXPORTER_OTLP_*`). A collector that is away or hangs costs a line now and
then, and the spans that had no room meanwhile; mail goes on.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable

from opentelemetry.sdk.resources import Resource

from mailworkers import __version__
from mailworkers.adapters.settings import Settings
from mailworkers.adapters.tracing import Hearer

# How often the same trouble with the collector is worth a line, in seconds.
_TOLD_EVERY = 300.0
# How long the end of a process waits for what is still to be sent, in seconds.
PATIENCE = 2.0


def resource(settings: Settings, process: str) -> Resource:
    """Return what is said about the sender of all data: service, host, process."""
    return Resource.create(
        {
            "service.name": settings.service_name,
            "service.version": __version__,
            "service.instance.id": f"{socket.gethostname()}/{process}",
            "host.name": socket.gethostname(),
            "process.pid": os.getpid(),
        }
    )


class Reporter(logging.Handler):
    """Tells *hearer* when the collector is in trouble, and when that is over; not every second."""

    def __init__(self, hearer: Hearer) -> None:
        super().__init__(logging.WARNING)
        self._hearer = hearer
        self._told_at = self._since = float("-inf")
        self._is_away = False

    def emit(self, record: logging.LogRecord) -> None:
        """Take in a complaint of OpenTelemetry's own threads."""
        self.note_failure(record.getMessage())

    def note_failure(self, reason: str) -> None:
        """Tell of it, unless that was done within the last five minutes."""
        now = time.monotonic()
        if now - self._told_at >= _TOLD_EVERY:
            if not self._is_away:
                self._is_away, self._since = True, now
            self._told_at = now
            self._hearer.export_failed(reason)

    def note_success(self) -> None:
        """Tell, once, that the trouble that was told of is over."""
        if self._is_away:
            self._is_away = False
            self._hearer.export_returned(time.monotonic() - self._since)


def report_to(hearer: Hearer) -> Reporter:
    """Let *hearer* have the complaints of OpenTelemetry, which else go to stderr as text."""
    reporter = Reporter(hearer)
    for name in ("opentelemetry", "urllib3", "requests", "grpc"):
        logger = logging.getLogger(name)
        logger.handlers = [reporter]
        logger.propagate = False
        logger.setLevel(logging.WARNING)
    return reporter


def give_time(work: Callable[[], object]) -> None:
    """Do *work* in a thread of its own, and wait for it no longer than `PATIENCE`."""
    thread = threading.Thread(target=work, name="flush telemetry", daemon=True)
    thread.start()
    thread.join(PATIENCE)
