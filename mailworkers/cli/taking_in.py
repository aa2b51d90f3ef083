"""Taking mail in on this host, as a role does: by its settings, its templates and its keys."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mailworkers.adapters.db import Connection
    from mailworkers.adapters.intake import Intake
    from mailworkers.adapters.settings import Settings


def intake_of(conn: "Connection", settings: "Settings") -> "Intake":
    """Return what composes and signs by *settings*, at the time of the database."""
    from mailworkers.adapters.catalog import Catalog, packaged_directory
    from mailworkers.adapters.intake import Intake
    from mailworkers.adapters.store import database_time

    catalog = Catalog.load(settings.template_dir or packaged_directory())
    return Intake(settings, catalog, lambda: database_time(conn))


def count_accepted(settings: "Settings", source: str, status: str) -> None:
    """Count a delivery that was accepted here, on a host where roles count, and where we may."""
    from mailworkers.adapters.telemetry import METRICS_DIRECTORY, Telemetry

    if not (settings.state_dir / METRICS_DIRECTORY).is_dir():
        return
    try:
        telemetry = Telemetry("cli", "cli", state_dir=settings.state_dir, level="error", fd=2)
    except OSError:
        return
    telemetry.command_accepted(source, status)
    telemetry.close()
