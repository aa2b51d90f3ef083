"""Every setting: its variable, the field it fills, its form, its default and what it means.

This table is the only place: `settings.load` reads it, `mailworkers config` prints it, and
`docs/configuration.md` is checked against it. Adding a setting means a line here and a field of
`Settings`; a test compares the two.
"""

from typing import Any

import msgspec

from mailworkers.adapters import setting_forms as forms
from mailworkers.adapters.crash_points import parse_order
from mailworkers.core.commands import SOURCES

# A socket's path may have 107 bytes, and supervisord binds one with a dot and its pid added (the
# largest pid of Linux has seven digits) before it gives it its name.
LONGEST_SOCKET = 107 - len(".4194304")


class Setting(msgspec.Struct, frozen=True):
    """One variable; *default* is written as an operator would, None means required.

    *computed* says in words what is taken when the variable is unset and *default* is empty.
    """

    name: str
    field: str
    form: forms.Form[Any]
    default: str | None
    means: str
    computed: str = ""

    @property
    def is_secret(self) -> bool:
        """Whether the value must not be shown and `NAME_FILE` may name a file that holds it."""
        return self.name.endswith(("PASSWORD", "DSN"))


POLICIES = {"retry": "retry", "park": "park"}
TLS_MODES = {word: word for word in ("starttls", "opportunistic", "implicit", "none")}
EXPORTERS = {"otlp": "otlp", "none": "none"}
PROTOCOLS = {"http/protobuf": "http/protobuf", "grpc": "grpc"}
SAMPLERS = {
    f"{parent}{root}": f"{parent}{root}"
    for parent in ("", "parentbased_")
    for root in ("always_on", "always_off", "traceidratio")
}
LEVELS = {"debug": "debug", "info": "info", "warn": "warn", "warning": "warn", "error": "error"}

# fmt: off
REDIS = (
    Setting("MAIL_REDIS_MASTER_ADDR", "redis_addr", forms.redis_address, None,
            "Redis master that holds the command stream: `host:port` or `unix:/path`."),
    Setting("MAIL_REDIS_PASSWORD", "redis_password", forms.secret, "",
            "Its password.", "no password"),
    Setting("MAIL_REDIS_TLS", "redis_tls", forms.boolean, "false",
            "Speak TLS with Redis and its Sentinels and verify their certificates."),
    Setting("MAIL_REDIS_SENTINELS", "redis_sentinels", forms.addresses, "",
            "Sentinels, `host:port` comma separated; they name the master, the address above is "
            "then not used.", "no Sentinel"),
    Setting("MAIL_REDIS_SENTINEL_MASTER", "redis_sentinel_master", forms.text, "mymaster",
            "Name under which the Sentinels know the master."),
    Setting("MAIL_REDIS_SENTINEL_PASSWORD", "redis_sentinel_password", forms.secret, "",
            "Password of the Sentinels themselves, where they ask for one.", "no password"),
    Setting("MAIL_REDIS_COMMAND_STREAM", "stream", forms.text, "mail:delivery_commands",
            "Stream the commands arrive on; producers must use the same name."),
)
POSTGRES = (
    Setting("MAIL_POSTGRES_PRIMARY_DSN", "postgres_dsn", forms.dsn, None,
            "Database, as libpq reads it: a URL or `host=... dbname=...`, several hosts allowed.",
            "`DATABASE_URL`"),
    Setting("MAIL_POSTGRES_POOL_MAX", "postgres_pool_max", forms.whole(1, 1000), "8",
            "Most connections of one `api` process; the other roles hold one or two each. "
            "All processes together must stay below the server's `max_connections`."),
    Setting("MAIL_MIGRATE", "migrate", forms.choice({"auto": "auto", "never": "never"}), "auto",
            "`auto`: a role brings the schema up to date when it starts; `never`: only "
            "`mailworkers migrate` does."),
)
CONTENT = (
    Setting("MAIL_TEMPLATE_DIR", "template_dir", forms.directory, "",
            "Template catalog, parsed whole when a role starts.", "the example catalog"),
    Setting("MAIL_SOURCES", "sources", forms.sources, "",
            "Further sources of commands, `name=lane` comma separated, lane `auth`, `normal` or "
            "`bulk`; `" + "`, `".join(SOURCES) + "` are known always.", "none"),
)
SMTP = (
    Setting("MAIL_SMTP_MODE", "smtp_mode", forms.choice({"smtp": "smtp", "stub": "stub"}), "smtp",
            "`smtp` sends; with `stub` nothing leaves and every delivery ends `suppressed`."),
    Setting("MAIL_SMTP_ADDR", "smtp_addr", forms.address, "",
            "Relay, `host:port`; required when the mode is `smtp`.", "none"),
    Setting("MAIL_SMTP_FROM_EMAIL", "smtp_from_email", forms.mail_address, "",
            "Sender identity: the default `From` and envelope sender; required when the mode is "
            "`smtp`.", "`mailworkers@localhost` in mode `stub`"),
    Setting("MAIL_SMTP_FROM_ALLOWED", "smtp_from_allowed", forms.domains, "",
            "Domains a command's `from` may have, comma separated; others are refused.",
            "the identity's domain"),
    Setting("MAIL_SMTP_USERNAME", "smtp_username", forms.text, "",
            "Account at the relay; together with the password or not at all.", "no AUTH"),
    Setting("MAIL_SMTP_PASSWORD", "smtp_password", forms.secret, "",
            "Its password.", "no AUTH"),
    Setting("MAIL_SMTP_TLS", "smtp_tls", forms.choice(TLS_MODES), "starttls",
            "`starttls` insists on it, `opportunistic` uses it when offered, `implicit` is TLS "
            "from the first byte (port 465), `none` is for trusted local relays only."),
    Setting("MAIL_SMTP_CA_FILE", "smtp_ca_file", forms.readable_file, "",
            "PEM file of the authorities that may sign the relay's certificate.",
            "the system's authorities"),
    Setting("MAIL_SMTP_TIMEOUT", "smtp_timeout", forms.span("100ms", "10m"), "15s",
            "Budget for connect to AUTH, again for MAIL to 354, again for the body (plus its size "
            "at 64 KiB/s). Too short: slow relays time out; too long: a stuck one holds a sender."),
    Setting("MAIL_SMTP_DOT_TIMEOUT", "smtp_dot_timeout", forms.span("100ms", "30m"), "60s",
            "Wait for the reply to the final dot. Too short makes outcomes unknown (RFC 5321 "
            "section 4.5.3.2.6 asks for 10 minutes)."),
    Setting("MAIL_SMTP_HELO", "smtp_helo", forms.helo, "",
            "Name given in EHLO.", "the host's full name, else `[127.0.0.1]`"),
)
DKIM = (
    Setting("MAIL_DKIM_SELECTORS", "dkim_selectors", forms.dkim_selectors, "",
            "Keys that sign, `domain:selector` comma separated: for a domain and its subdomains at "
            "most one RSA and one Ed25519 key. A message is signed when it is accepted, by the "
            "domain of its `From`.", "nothing is signed"),
    Setting("MAIL_DKIM_DIR", "dkim_dir", forms.directory, "",
            "Directory of the keys, `domain/selector.pem`; files that users outside their owner "
            "and group can read are refused.", "none"),
)
SENDING = (
    Setting("MAIL_LEASE", "lease", forms.span("1s", "1d"), "150s",
            "How long a sender owns a delivery, plus its size at 64 KiB/s; at least three times "
            "the SMTP timeout + the dot timeout, and a tenth (1s) more."),
    Setting("MAIL_ATTEMPT_WORKER_CONCURRENCY", "sender_concurrency", forms.whole(1, 256), "2",
            "Sender processes at the first start; `mailworkers scale sender N` changes them live."),
    Setting("MAIL_POLL_INTERVAL", "poll", forms.span("10ms", "1m"), "1s",
            "Longest sleep of an idle role; wake-ups come sooner."),
    Setting("MAIL_RETRY_POLICY", "retry_policy",
            forms.choice({"ladder": "ladder", "exponential": "exponential"}), "ladder",
            "How mail other than auth is tried again: by MAIL_RETRY_LADDER, or 8 attempts whose"
            " delays double from 5 s to at most 1 h. Stands on each delivery from its acceptance."),
    Setting("MAIL_RETRY_LADDER", "retry_ladder", forms.ladder, "5s,30s,2m,10m,30m,1h,2h,4h",
            "Delay before each retry; after the last one the delivery is `dead_letter`."),
    Setting("MAIL_RETRY_JITTER", "retry_jitter", forms.fraction, "0.25",
            "Each delay is spread by up to this part of it, both ways; 0 is off."),
    Setting("MAIL_AUTH_RETRY_LADDER", "auth_retry_ladder", forms.ladder, "2s,5s,15s,30s,1m,2m,4m",
            "The same for auth mail."),
    Setting("MAIL_AUTH_LIFE", "auth_life", forms.span("1s", "1d"), "10m",
            "Auth mail older than this is never sent."),
    Setting("MAIL_UNCERTAIN_POLICY", "uncertain_policy", forms.choice(POLICIES), "retry",
            "When it is unknown whether the relay took a message: `retry` (may arrive twice) or "
            "`park` (status `uncertain`, may not arrive)."),
    Setting("MAIL_UNCERTAIN_POLICY_AUTH", "uncertain_policy", forms.choice(POLICIES), "",
            "The same for lane auth.", "`MAIL_UNCERTAIN_POLICY`"),
    Setting("MAIL_UNCERTAIN_POLICY_NORMAL", "uncertain_policy", forms.choice(POLICIES), "",
            "The same for lane normal.", "`MAIL_UNCERTAIN_POLICY`"),
    Setting("MAIL_UNCERTAIN_POLICY_BULK", "uncertain_policy", forms.choice(POLICIES), "",
            "The same for lane bulk.", "`MAIL_UNCERTAIN_POLICY`"),
)
KEEPING = (
    Setting("MAIL_IDEMPOTENCY_TTL", "idempotency_ttl", forms.span("1m", "3650d"), "7d",
            "How long a repeated idempotency key is recognised, at least until its delivery is "
            "final."),
    Setting("MAIL_DELIVERY_RETENTION", "delivery_retention", forms.span("1m", "3650d"), "30d",
            "How long a final delivery is kept."),
    Setting("MAIL_PAYLOAD_RETENTION", "payload_retention", forms.span("0s", "3650d"), "7d",
            "How long a final delivery keeps its content; `failed`, `dead_letter` and `uncertain` "
            "keep theirs as long as the delivery, auth mail loses it at the first cleanup."),
    Setting("MAIL_MALFORMED_COMMAND_RETENTION", "malformed_retention", forms.span("1m", "3650d"),
            "30d", "How long a refused command is kept."),
    Setting("MAIL_CLEANUP_INTERVAL", "cleanup_interval", forms.span("1s", "1d"), "1m",
            "How often `retention` looks for what is old."),
)
LISTENING = (
    Setting("MAIL_INTERNAL_HTTP_ADDR", "internal_http_addr", forms.address, "127.0.0.1:8080",
            "Internal API and console, `host:port`."),
    Setting("HTTP_PORT", "http_port", forms.whole(1, 65535), "8086",
            "`/health` and `/ready`, on 127.0.0.1."),
    Setting("PROMETHEUS_PORT", "prometheus_port", forms.whole(1, 65535), "9094",
            "`/metrics`, on 127.0.0.1."),
)
RUNNING = (
    Setting("MAIL_ENVIRONMENT", "environment", forms.text, "",
            "What this installation is, such as `production` or `staging`: game days ask more "
            "before they touch one that is not for trying.", "no name"),
    Setting("MAIL_SHUTDOWN_TIMEOUT", "shutdown_timeout", forms.span("1s", "10m"), "20s",
            "A role told to stop has ended after this; shorter than the stop wait."),
    Setting("MAIL_STOP_WAIT", "stop_wait", forms.span("2s", "20m"), "30s",
            "How long supervisord waits before it kills a role that was told to stop."),
    Setting("MAIL_STATE_DIR", "state_dir", forms.place, "",
            "Journals, metric files and supervisord's files of this host; on a local disk.",
            "`/var/lib/mailworkers` if writable, else `$XDG_STATE_HOME/mailworkers`"),
    Setting("MAIL_SUPERVISOR_SOCKET", "supervisor_socket", forms.place, "",
            f"supervisord's control socket; the path may have at most {LONGEST_SOCKET} bytes.",
            "`supervisor.sock` in the state directory"),
    Setting("LOG_LEVEL", "log_level", forms.choice(LEVELS), "info",
            "`debug`, `info`, `warn` or `error`; changeable at run time."),
    Setting("MAIL_CRASH_POINT", "crash_point", parse_order, "",
            "A rehearsal tool, **never set in production**: `POINT:ACT` lets a process that comes "
            "to this place of its work kill, stop or cut itself off there, see "
            "[reliability](reliability.md).", "none"),
)
TELEMETRY = (
    Setting("OTEL_SERVICE_NAME", "service_name", forms.text, "mailworkers",
            "The name of the service in traces and metrics."),
    Setting("OTEL_TRACES_EXPORTER", "traces_exporter", forms.choice(EXPORTERS), "",
            "Where traces go: `otlp`, to the collector, or `none`.",
            "`otlp` where an endpoint is set, else `none`"),
    Setting("OTEL_METRICS_EXPORTER", "metrics_exporter", forms.choice(EXPORTERS), "",
            "Where metrics go besides `/metrics`: `otlp` or `none`.",
            "`otlp` where an endpoint is set, else `none`"),
    Setting("OTEL_EXPORTER_OTLP_ENDPOINT", "otlp_endpoint", forms.text, "",
            "The collector, such as `http://127.0.0.1:4318`; the signals may have their own.",
            "none"),
    Setting("OTEL_EXPORTER_OTLP_PROTOCOL", "otlp_protocol", forms.choice(PROTOCOLS),
            "http/protobuf", "`http/protobuf` or `grpc`."),
    Setting("OTEL_TRACES_SAMPLER", "traces_sampler", forms.choice(SAMPLERS),
            "parentbased_traceidratio", "Which traces are recorded: `always_on`, `always_off`, "
            "`traceidratio`, or one of them with `parentbased_` before it: as the producer says."),
    Setting("OTEL_TRACES_SAMPLER_ARG", "traces_sampler_arg", forms.share, "0.01",
            "The share of traces that `traceidratio` records."),
    Setting("OTEL_METRIC_EXPORT_INTERVAL", "metric_export_interval", forms.whole(100, 86_400_000),
            "60000", "Milliseconds between two exports of metrics."),
)
# fmt: on

SECTIONS = {
    "Redis": REDIS,
    "PostgreSQL": POSTGRES,
    "Content": CONTENT,
    "Relay": SMTP,
    "Signing": DKIM,
    "Sending and retrying": SENDING,
    "Keeping": KEEPING,
    "Listening": LISTENING,
    "Running": RUNNING,
    "Traces and metrics": TELEMETRY,
}
TABLE = tuple(setting for section in SECTIONS.values() for setting in section)
NAMES = frozenset(
    name
    for setting in TABLE
    for name in (setting.name, *([f"{setting.name}_FILE"] if setting.is_secret else []))
)
# What the command line reads where it works through the API: no settings of a role, nor unknown.
CLIENT_NAMES = frozenset({"MAIL_API_URL", "MAIL_API_TOKEN", "MAIL_API_TOKEN_FILE"})
