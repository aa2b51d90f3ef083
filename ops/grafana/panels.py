"""What the dashboard shows: rows of panels, each a question to Prometheus and the alarms about it.

Gauges that monitors read from the database are the same on every host (`max`); counters are each
host's own (`sum`). `or vector(0)` is where "never yet" and "none" are the same to who looks.
"""

from records import Alarm, Panel, Query, Row

HOST = 'instance=~"$host"'
RATE = "$__rate_interval"
_WAITING = 'status=~"scheduled|queued|rendered|sending|deferred"'


def _per_second(metric: str, by: str = "") -> str:
    return f"{_sum(by)} (rate({metric}{{{HOST}}}[{RATE}]))"


def _lately(metric: str, span: str, by: str = "") -> str:
    return f"{_sum(by)} (increase({metric}{{{HOST}}}[{span}]))"


def _sum(by: str) -> str:
    return f"sum by ({by})" if by else "sum"


def _now(metric: str, more: str = "", by: str = "") -> str:
    labels = ",".join(filter(None, (HOST, more)))
    return f"{f'max by ({by})' if by else 'max'} ({metric}{{{labels}}})"


def _depth(by: str = "", more: str = 'lane=~"$lane"') -> str:
    return f"{_sum(by)} ({_now('mail_attempt_schedule_depth', more, 'status, lane')})"


def _share(metric: str, share: float) -> Query:
    ask = f"histogram_quantile({share}, {_per_second(f'{metric}_bucket', 'le')})"
    return Query(ask, f"p{share * 100:g}", is_trace_wanted=True)


def _or_none(ask: str) -> str:
    return f"{ask} or vector(0)"


def _any(ask: str) -> str:
    """Return *ask* without its series at 0: a legend of codes that never came helps nobody."""
    return f"{ask} > 0"


def _burn(span: str) -> Query:
    return Query(f"(1 - avg_over_time(mail:available[{span}])) / 0.001", span)


def _stat(title: str, says: str, ask: str, *alarms: Alarm, unit: str = "short") -> Panel:
    return Panel(title, says, (Query(ask),), unit, width=4, height=4, kind="stat", alarms=alarms)


_ENDS = ("sent", "suppressed", "failed", "dead_letters", "uncertain")
_OLDEST = "mail_attempt_schedule_oldest_age_ms"

_BUDGET = 43.2  # minutes: 0.1 % of 30 days

# fmt: off
DELIVERING = Row("Am I delivering?", (
    Panel("Mail flows", "Both stores answer, and a process of each role that mail takes lives.",
          (Query("mail:available"),), width=4, height=4, kind="stat",
          words=("no", "yes"), alarms=(Alarm("MailMonitorDown"), Alarm("MailRoleDown"))),
    _stat("Sent a second", "What the relay took.",
          _or_none(_per_second("mail_delivery_sent_total")), unit="mails/s"),
    _stat("Accepted a second", "What was made durable: from the stream and by HTTP.",
          _or_none(_per_second("mail_delivery_accepted_total")), unit="mails/s"),
    _stat("Waiting now", "Live deliveries of all lanes, those that wait for a retry among them.",
          _depth(more=_WAITING)),
    _stat("Oldest login code", "How long the oldest delivery of lane auth that is due has waited.",
          _now(_OLDEST, 'lane="auth"'), Alarm("MailAuthLate", 15_000), unit="ms"),
    Panel("Alarms firing", "How many; the list is below.",
          (Query(_or_none('count(ALERTS{alertstate="firing"})')),), width=4, height=4, kind="stat",
          red_from=1),
    Panel("In and out", "What came in, what the relay took. Apart for long: look at the queue.", (
          Query(_per_second("mail_delivery_accepted_total"), "accepted"),
          Query(_per_second("mail_delivery_sent_total"), "sent")), "mails/s", 16),
    Panel("Alarms", "What fires now; each has its page.",
          (Query('sum by (alertname, severity) (ALERTS{alertstate="firing"})'),), kind="table"),
))

QUEUE = Row("Queue and ages", (
    Panel("Waiting, by status", "queued and rendered are ready; deferred waits for its retry.",
          (Query(_depth("status"), "{{status}}"),), "mails",
          alarms=(Alarm("MailBacklogGrows", 10_000),)),
    Panel("Waiting, by lane", "auth goes before normal before bulk.",
          (Query(_depth("lane"), "{{lane}}"),), "mails"),
    Panel("Oldest that is due", "How long it has waited to be sent: the first thing to be late.",
          (Query(_now(_OLDEST, 'lane=~"$lane"', "lane"), "{{lane}}"),), "ms", log_base=10,
          alarms=(Alarm("MailAuthLate", 15_000), Alarm("MailLate", 300_000),
                  Alarm("MailLate", 14_400_000))),
    Panel("Retries that wait", "Deliveries whose next attempt is in the future, or due now.",
          (Query(_now("retry_queue_depth"), "deferred"),), "mails"),
    Panel("Commands in Redis", "Entries no consumer was handed; only Redis knows them.",
          (Query(_now("mail_stream_commands_lag"), "lag"),), "short",
          alarms=(Alarm("MailIntakeStalled"), Alarm("MailCommandsWait", 5000))),
    Panel("Oldest pause", "How long the oldest pause has lasted, 0 without one.",
          (Query(_now("mail_pauses_oldest_age_ms"), "oldest"),), "ms", log_base=10,
          alarms=(Alarm("MailPausedLong", 14_400_000),)),
))

OUTCOMES = Row("Outcomes", (
    Panel("How deliveries end", "A second. dead_letters: those of failed and of spent ladders.",
          tuple(Query(_per_second(f"mail_delivery_{end}_total"), end) for end in _ENDS),
          "mails/s", alarms=(Alarm("MailUncertain"), Alarm("MailDeadLetters"))),
    Panel("Attempts, by what came of them", "Each a transaction with the relay.",
          (Query(_per_second("mail_attempt_outcomes_total", "status"), "{{status}}"),),
          "ops"),
    Panel("Accepted, by source", "Who sends how much.",
          (Query(_per_second("mail_delivery_accepted_total", "source"), "{{source}}"),),
          "mails/s", is_stacked=True),
    Panel("Dead letters in ten minutes", "What did not arrive, by source.",
          (Query(_lately("mail_delivery_dead_letters_total", "10m", "source"), "{{source}}"),),
          "mails", alarms=(Alarm("MailDeadLetterRate", 10),)),
    Panel("Refused commands in five minutes", "By failure code; the raw entries are kept.",
          (Query(_any(_lately("mail_stream_commands_malformed_total", "5m", "failure_code")),
                 "{{failure_code}}"),), "short", is_stacked=True,
          alarms=(Alarm("MailMalformedSpike", 50),)),
    Panel("Retries", "A second: scheduled, run by what came of it, run out.", (
          Query(_per_second("retries_scheduled_total"), "scheduled"),
          Query(_per_second("retries_executed_total", "status"), "run: {{status}}"),
          Query(_per_second("retries_exhausted_total"), "run out")), "ops",
          alarms=(Alarm("MailRetriesExhausted"),)),
))

LATENCY = Row("Latency", (
    Panel("Accepted to sent", "Whole way of what was sent, waiting and retries included.",
          tuple(_share("mail_delivery_end_to_end_ms", share) for share in (0.5, 0.95, 0.99)), "ms",
          log_base=10),
    Panel("One attempt", "How long the relay takes.",
          tuple(_share("mail_provider_send_duration_ms", share) for share in (0.5, 0.95, 0.99)),
          "ms", log_base=10),
    Panel("Retries after their time", "Promised: within 5 s.",
          tuple(_share("mail_retry_lateness_ms", share) for share in (0.5, 0.99)), "ms",
          log_base=10, alarms=(Alarm("MailRetriesLate", 5000),)),
    Panel("Accepted to sent, all of it", "How many took how long; two clouds are two stories.",
          (Query(_lately("mail_delivery_end_to_end_ms_bucket", RATE, "le"), "{{le}}",
                 is_trace_wanted=True),), "ms", 24, kind="heatmap"),
))

RELAY = Row("Relay and breaker", (
    Panel("Senders that hold mail back", "Their breaker is not closed: the relay or our account.",
          (Query(_now("mail_relay_breakers_open"), "open"),), "short",
          alarms=(Alarm("MailBreakerOpen", 0),)),
    Panel("Faults of the relay or our account", "In five minutes, by stage of the conversation.",
          (Query(_any(_lately("mail_relay_faults_total", "5m", "stage")), "{{stage}}"),), "short",
          is_stacked=True),
    Panel("Leases", "Overdue: nobody took it back. Late, lost: a sender was away longer than it.", (
          Query(_now("mail_lease_overdue"), "overdue"),
          Query(_lately("mail_lease_late_total", "10m"), "late in ten minutes"),
          Query(_lately("mail_lease_lost_total", "10m"), "lost in ten minutes")), "short",
          alarms=(Alarm("MailLeasesOverdue", 0),)),
))

STORES = Row("Stores", (
    Panel("Answers within 2 s", "Each store, as each monitor sees it.",
          (Query(f"min by (store) (mail_store_up{{{HOST}}})", "{{store}}"),), kind="state-timeline",
          words=("away", "there"),
          alarms=(Alarm("PostgresUnreachable"), Alarm("RedisUnreachable"))),
    Panel("Went away in an hour", "Once for each process that noticed.",
          (Query(_lately("mail_store_lost_total", "1h", "store"), "{{store}}"),)),
    Panel("Connections of PostgreSQL", "As a share of the most it takes.",
          (Query(f"{_now('mail_database_connections')} / {_now('mail_database_connections_max')}",
                 "used"),), "percentunit", alarms=(Alarm("MailDatabaseConnections", 0.8),)),
    Panel("Oldest transaction", "It keeps dead rows from being removed.",
          (Query(_now("mail_database_oldest_transaction_ms"), "open for"),), "ms", log_base=10,
          alarms=(Alarm("MailOldTransaction", 900_000),)),
    Panel("Dead rows", "In our tables, by the database's statistics.",
          (Query(_now("mail_database_dead_rows"), "dead"),), "rows",
          alarms=(Alarm("MailDeadRows", 5_000_000),)),
    Panel("Lost by Redis in ten minutes", "Entries trimmed unread; times the group was gone.", (
          Query(_lately("mail_stream_commands_vanished_total", "10m"), "entries"),
          Query(_lately("mail_stream_commands_group_lost_total", "10m"), "times made anew")),
          alarms=(Alarm("MailStreamLost", 0),)),
))

PROCESSES = Row("Processes", (
    Panel("Alive, by role", "On all hosts, by heartbeats: a hung process is not alive.",
          (Query(_now("mail_roles_live", by="service"), "{{service}}"),)),
    Panel("Roles", "Whether any process of it lives.",
          (Query(_now("service_up", by="service"), "{{service}}"),), kind="state-timeline",
          words=("down", "up"), alarms=(Alarm("MailRoleDown"),)),
    Panel("Senders", "Configured on these hosts, alive on all.", (
          Query(f"sum(mail_senders_configured{{{HOST}}})", "configured"),
          Query(_now("mail_roles_live", 'service="sender"'), "alive")),
          alarms=(Alarm("MailSendersMissing"),)),
    Panel("Journals", "One a living sender; more: of dead ones, that nobody brought in yet.", (
          Query(f"mail_journal_files{{{HOST}}}", "{{instance}}"),
          Query(_lately("mail_journal_adopted_total", "1h"), "brought in within an hour")),
          alarms=(Alarm("MailJournalsNotDrained"),)),
    Panel("Log lines lost in ten minutes", "A full disk, or nobody reads.",
          (Query(_lately("mail_log_lines_lost_total", "10m"), "lost"),),
          alarms=(Alarm("MailLogLinesLost", 0),)),
    Panel("Hosts that answer", "Prometheus reaches the monitor.",
          (Query(f"up{{job=\"mailworkers\",{HOST}}}", "{{instance}}"),), kind="state-timeline",
          words=("silent", "answers"), alarms=(Alarm("MailMonitorDown"),)),
))

OBJECTIVE = Row("The promise: 99.9 % of a month", (
    Panel("Mail can come in and go out", "0 where a store or a role was away.",
          (Query("mail:available", "available"),), kind="state-timeline",
          words=("down", "up")),
    Panel("Burn of the error budget", "1 spends it in just a month.",
          (_burn("5m"), _burn("30m"), _burn("1h"), _burn("6h")),
          alarms=(Alarm("MailErrorBudgetBurnsSlowly", 6), Alarm("MailErrorBudgetBurnsFast", 14.4))),
    Panel("Left of 30 days' budget", "Of 43.2 minutes: less each minute that was down.",
          (Query(f"1 - sum_over_time((1 - mail:available)[30d:1m]) / {_BUDGET}", "left"),),
          "percentunit", kind="stat", red_below=0),
))
# fmt: on
ROWS = (DELIVERING, QUEUE, OUTCOMES, LATENCY, RELAY, STORES, PROCESSES, OBJECTIVE)
