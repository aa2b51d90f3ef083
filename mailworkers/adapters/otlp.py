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

# How often the same trouble with the collector is worth a line, in seconds.
_TOLD_EVERY = 300.0
# How long the end of a process waits for what is still to be sent, in seconds.
PATIENCE = 2.0

Trouble = Callable[[str], None]


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


class _Reporter(logging.Handler):
    """Hears what OpenTelemetry's own threads complain about; tells it, but not every second."""

    def __init__(self, tell: Trouble) -> None:
        super().__init__(logging.WARNING)
        self._tell = tell
        self._told_at = float("-inf")

    def emit(self, record: logging.LogRecord) -> None:
        now = time.monotonic()
        if now - self._told_at >= _TOLD_EVERY:
            self._told_at = now
            self._tell(record.getMessage())


def report_trouble(tell: Trouble) -> None:
    """Let *tell* have the complaints of OpenTelemetry, which else go to standard error as text."""
    for name in ("opentelemetry", "urllib3", "requests", "grpc"):
        logger = logging.getLogger(name)
        logger.handlers = [_Reporter(tell)]
        logger.propagate = False
        logger.setLevel(logging.WARNING)


def give_time(work: Callable[[], object]) -> None:
    """Do *work* in a thread of its own, and wait for it no longer than `PATIENCE`."""
    thread = threading.Thread(target=work, name="flush telemetry", daemon=True)
    thread.start()
    thread.join(PATIENCE)
