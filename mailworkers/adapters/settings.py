"""The settings of one process, read once from its environment.

`load` reads `setting_table.TABLE`, refuses what cannot work and says everything that is wrong at
once, one line each. Secrets are `Secret` strings: no repr, error or traceback shows them.
"""

import os
import socket
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from mailworkers.adapters.crash_points import Order
from mailworkers.adapters.secrets import dsn_secrets
from mailworkers.adapters.setting_forms import split_address
from mailworkers.adapters.setting_reading import Reading, read_all
from mailworkers.adapters.setting_rules import (
    default_socket,
    find_conflicts,
    find_doubts,
    find_unknown,
)
from mailworkers.core.addresses import domain
from mailworkers.core.commands import SOURCES, SourceKind
from mailworkers.core.errors import ConfigError
from mailworkers.core.states import Lane

if TYPE_CHECKING:
    from mailworkers.adapters.smtp import SmtpSettings

SYSTEM_STATE_DIR = Path("/var/lib/mailworkers")
Exporter = Literal["otlp", "none"]
Tls = Literal["starttls", "opportunistic", "implicit", "none"]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What one process was told; `setting_table` explains each field.

    *shown* is what `mailworkers config` prints: variable, masked text, origin. *warnings* are
    lines about settings that are accepted but probably not meant; the role logs them.
    """

    redis_addr: str
    redis_password: str | None
    redis_tls: bool
    redis_sentinels: tuple[str, ...]
    redis_sentinel_master: str
    redis_sentinel_password: str | None
    stream: str
    postgres_dsn: str
    postgres_pool_max: int
    migrate: str
    template_dir: Path | None
    sources: dict[str, SourceKind]
    smtp_mode: str
    smtp_addr: str
    smtp_from_email: str
    smtp_from_allowed: frozenset[str]
    smtp_username: str | None
    smtp_password: str | None
    smtp_tls: Tls
    smtp_ca_file: Path | None
    smtp_timeout: timedelta
    smtp_dot_timeout: timedelta
    smtp_helo: str
    dkim_selectors: dict[str, tuple[str, ...]]
    dkim_dir: Path | None
    lease: timedelta
    sender_concurrency: int
    poll: timedelta
    retry_policy: str
    retry_ladder: tuple[timedelta, ...]
    retry_jitter: float
    auth_retry_ladder: tuple[timedelta, ...]
    auth_life: timedelta
    uncertain_policy: dict[str, str]
    idempotency_ttl: timedelta
    delivery_retention: timedelta
    payload_retention: timedelta
    malformed_retention: timedelta
    cleanup_interval: timedelta
    internal_http_addr: str
    http_port: int
    prometheus_port: int
    shutdown_timeout: timedelta
    stop_wait: timedelta
    state_dir: Path
    supervisor_socket: Path
    environment: str | None
    log_level: str
    crash_point: Order | None
    service_name: str
    traces_exporter: Exporter
    metrics_exporter: Exporter
    otlp_endpoint: str | None
    otlp_protocol: str
    traces_sampler: str
    traces_sampler_arg: float
    metric_export_interval: int
    shown: tuple[tuple[str, str, str], ...]
    warnings: tuple[str, ...]

    def masked(self) -> list[tuple[str, str, str]]:
        """Return variable, text and origin of each setting; secrets are hidden."""
        return list(self.shown)

    def secrets(self) -> tuple[str, ...]:
        """Return every secret there is, for whoever must keep them out of texts."""
        given = (
            self.redis_password,
            self.redis_sentinel_password,
            self.smtp_password,
            *dsn_secrets(self.postgres_dsn),
        )
        return tuple(str(secret) for secret in given if secret)

    def smtp_settings(self) -> "SmtpSettings":
        """Return what a session with the relay needs; only in mode `smtp`."""
        from mailworkers.adapters.smtp import SmtpSettings

        host, port = split_address(self.smtp_addr)
        return SmtpSettings(
            host=host,
            port=port,
            tls=self.smtp_tls,
            ca_file=self.smtp_ca_file,
            username=self.smtp_username,
            password=self.smtp_password,
            helo=self.smtp_helo,
            timeout=self.smtp_timeout,
            dot_timeout=self.smtp_dot_timeout,
        )


def load(environ: Mapping[str, str]) -> Settings:
    """Return the settings *environ* gives; an empty variable counts as unset.

    Raises ConfigError whose message has one line for each thing that is wrong.
    """
    readings = read_all(environ)
    values = _values(readings, environ)
    if conflicts := find_conflicts(values):
        raise ConfigError("\n".join(conflicts))
    return Settings(
        **values,
        shown=tuple(_show(reading, values) for reading in readings.values()),
        warnings=(*find_unknown(environ), *find_doubts(values)),
    )


def _values(readings: Mapping[str, Reading], environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the value of every field, the computed ones included."""
    values = {reading.setting.field: reading.value for reading in readings.values()}
    general = readings["MAIL_UNCERTAIN_POLICY"].value
    values["uncertain_policy"] = {
        lane.label: readings[f"MAIL_UNCERTAIN_POLICY_{lane.name}"].value or general for lane in Lane
    }
    values["sources"] = {**SOURCES, **(values["sources"] or {})}
    values["redis_sentinels"] = values["redis_sentinels"] or ()
    values["smtp_addr"] = values["smtp_addr"] or ""
    values["smtp_helo"] = values["smtp_helo"] or _own_name()
    values["dkim_selectors"] = values["dkim_selectors"] or {}
    values["state_dir"] = values["state_dir"] or _state_dir(environ)
    values["supervisor_socket"] = values["supervisor_socket"] or default_socket(values["state_dir"])
    if values["smtp_mode"] == "stub":
        values["smtp_from_email"] = values["smtp_from_email"] or "mailworkers@localhost"
    for signal in ("traces", "metrics"):
        values[f"{signal}_exporter"] = _exporter(signal, values, environ)
    identity = values["smtp_from_email"]
    allowed = values["smtp_from_allowed"] or (frozenset({domain(identity)}) if identity else None)
    values["smtp_from_allowed"] = allowed or frozenset()
    return values


def _exporter(signal: str, values: Mapping[str, Any], environ: Mapping[str, str]) -> Exporter:
    """Return where *signal* goes: as it is said, else to the collector that is named, if any."""
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return "none"
    own = environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT")
    said: Exporter | None = values[f"{signal}_exporter"]
    return said or ("otlp" if own or values["otlp_endpoint"] else "none")


def _own_name() -> str:
    """Return a name for EHLO without asking a resolver, which may be slow or away."""
    name = socket.gethostname()
    return name if "." in name.strip(".") else "[127.0.0.1]"


def _state_dir(environ: Mapping[str, str]) -> Path:
    if os.access(SYSTEM_STATE_DIR, os.W_OK | os.X_OK):
        return SYSTEM_STATE_DIR
    root = environ.get("XDG_STATE_HOME", "")
    if root.startswith("/"):
        return Path(root) / "mailworkers"
    return Path(environ.get("HOME") or "~").expanduser() / ".local/state/mailworkers"


_COMPUTED = (
    "smtp_helo",
    "state_dir",
    "supervisor_socket",
    "smtp_from_email",
    "smtp_from_allowed",
    "traces_exporter",
    "metrics_exporter",
)


def _show(reading: Reading, values: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return variable, text and origin of one setting; computed values are shown as they are."""
    setting, text = reading.setting, reading.masked
    if not text and setting.field in _COMPUTED:
        value = values[setting.field]
        text = ",".join(sorted(value)) if isinstance(value, frozenset) else str(value or "")
        return setting.name, text, "computed"
    return setting.name, text, reading.origin
