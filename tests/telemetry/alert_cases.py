"""For each alarm: series by which it fires within its time, and series near them by which not.

Values are in promtool's notation, a value every 10 s: `0x30` is 0 thirty-one times, `0+5x60` grows
by 5 each time.
"""

import msgspec


class Case(msgspec.Struct, frozen=True):
    """*within*: when it is looked at, after the beginning of the series."""

    alert: str
    within: str
    firing: dict[str, str]
    quiet: dict[str, str]


def _one(alert: str, within: str, series: str, firing: str, quiet: str) -> Case:
    return Case(alert, within, {series: firing}, {series: quiet})


_WELL = {
    'mail_store_up{store="postgres"}': "1x2200",
    'mail_store_up{store="redis"}': "1x2200",
    'service_up{service="consumer"}': "1x2200",
    'service_up{service="scheduler"}': "1x2200",
    'service_up{service="api"}': "1x2200",
}
_SENDER = 'service_up{service="sender"}'


def _unknown(values: str) -> dict[str, str]:
    """Return the series of a service whose roles show *values*; Redis is well."""
    roles = {name: values for name in (*_WELL, _SENDER) if name.startswith("service_up")}
    return {**roles, 'mail_store_up{store="redis"}': "1x2200"}


_STANDS = {
    'mail_store_up{store="postgres"}': "1x30",
    'mail_store_up{store="redis"}': "1x30",
    "mail_stream_commands_lag": "0x6 5+9x24",
}
_QUEUED = 'mail_attempt_schedule_depth{status="queued",lane="bulk"}'
_LATENESS = 'mail_retry_lateness_ms_bucket{le="%s"}'

CASES = (
    Case(
        "MailErrorBudgetBurnsFast",
        "1h",
        {**_WELL, _SENDER: "1x353 0x7"},  # 70 s of the last five minutes
        {**_WELL, _SENDER: "1x300 0x7 1x60"},  # the same, and over for ten minutes
    ),
    # Who lives is read from PostgreSQL: while that is away, nothing says so.
    Case(
        "MailErrorBudgetBurnsFast",
        "1h",
        {**_unknown("1x353 stale"), 'mail_store_up{store="postgres"}': "1x353 0x7"},
        {**_unknown("1x300 stale _x6 1x60"), 'mail_store_up{store="postgres"}': "1x300 0x7 1x60"},
    ),
    Case(
        "MailErrorBudgetBurnsSlowly",
        "6h",
        {**_WELL, _SENDER: "1x2100 0x20 1x40 0x2"},
        {**_WELL, _SENDER: "1x1500 0x20 1x640"},
    ),
    _one("MailMonitorDown", "1m", 'up{job="mailworkers",instance="a"}', "1x1 0x10", "1x10"),
    _one("MailRoleDown", "1m", 'service_up{service="sender"}', "1x2 0x10", "1x3 0x1 1x10"),
    _one(
        "PostgresUnreachable", "1m", 'mail_store_up{store="postgres"}', "1x2 0x10", "1x3 0x1 1x10"
    ),
    _one("RedisUnreachable", "1m", 'mail_store_up{store="redis"}', "1x2 0x10", "1x3 0x1 1x10"),
    Case(
        "MailIntakeStalled",
        "2m",
        {**_STANDS, "mail_delivery_accepted_total": "0+9x6 54x20"},
        {**_STANDS, "mail_delivery_accepted_total": "0+9x10 90+1x20"},  # slow, and it moves
    ),
    _one("MailBreakerOpen", "1m", "mail_relay_breakers_open", "0x1 2x10", "0x3 2x1 0x10"),
    Case(
        "MailStreamLost",
        "5m",
        {
            "mail_stream_commands_vanished_total": "0x10 1x30",
            "mail_stream_commands_group_lost_total": "0x40",
        },
        {
            "mail_stream_commands_vanished_total": "3x40",
            "mail_stream_commands_group_lost_total": "1x40",
        },
    ),
    _one(
        "MailAuthLate",
        "2m",
        'mail_attempt_schedule_oldest_age_ms{lane="auth"}',
        "0x3 16000+10000x20",
        "14000x20",
    ),
    _one(
        "MailLate",
        "5m",
        'mail_attempt_schedule_oldest_age_ms{lane="normal"}',
        "301000x40",
        "299000x40",
    ),
    _one("MailBacklogGrows", "30m", _QUEUED, "9000+100x200", "10001x90 11000x100"),
    _one("MailCommandsWait", "6m", "mail_stream_commands_lag", "5001x40", "5001x20 0x20"),
    Case(
        "MailRetriesLate",
        "7m",
        {
            _LATENESS % "5000.0": "0+98x60",
            _LATENESS % "10000.0": "0+100x60",
            _LATENESS % "+Inf": "0+100x60",
        },
        {
            _LATENESS % "5000.0": "0+100x60",
            _LATENESS % "10000.0": "0+100x60",
            _LATENESS % "+Inf": "0+100x60",
        },
    ),
    _one("MailLeasesOverdue", "90s", "mail_lease_overdue", "1x20", "1x3 0x20"),
    _one("MailPausedLong", "1m", "mail_pauses_oldest_age_ms", "14400001x10", "14000000x10"),
    Case(
        "MailSendersMissing",
        "4m",
        {"mail_senders_configured": "4x30", 'mail_roles_live{service="sender"}': "3x30"},
        {"mail_senders_configured": "4x30", 'mail_roles_live{service="sender"}': "3x6 4x30"},
    ),
    Case(
        "MailJournalsNotDrained",
        "6m",
        {"mail_journal_files": "3x40", "mail_senders_configured": "2x40"},
        {"mail_journal_files": "3x20 2x20", "mail_senders_configured": "2x40"},
    ),
    _one("MailDeadLetters", "30m", "mail_delivery_dead_letters_total", "4x60 6x150", "6x200"),
    Case(
        "MailDeadLetterRate",
        "10m",
        {"mail_delivery_dead_letters_total": "0+1x60", "mail_delivery_sent_total": "0+10x60"},
        {"mail_delivery_dead_letters_total": "0+1x60", "mail_delivery_sent_total": "0+100x60"},
    ),
    _one("MailRetriesExhausted", "10m", "retries_exhausted_total", "2x20 3x60", "3x80"),
    _one("MailUncertain", "10m", "mail_delivery_uncertain_total", "2x20 3x60", "3x80"),
    _one("MailMalformedSpike", "5m", "mail_stream_commands_malformed_total", "0+2x40", "0+1x40"),
    Case(
        "MailDatabaseConnections",
        "3m",
        {"mail_database_connections": "81x30", "mail_database_connections_max": "100x30"},
        {"mail_database_connections": "79x30", "mail_database_connections_max": "100x30"},
    ),
    _one(
        "MailOldTransaction", "2m", "mail_database_oldest_transaction_ms", "900001x20", "800000x20"
    ),
    _one("MailDeadRows", "31m", "mail_database_dead_rows", "5000001x200", "4000000x200"),
    _one("MailLogLinesLost", "5m", "mail_log_lines_lost_total", "0x10 4x30", "4x40"),
)
