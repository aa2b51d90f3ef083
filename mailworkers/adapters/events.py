"""The texts of the log lines: an interface, for alerts and runbooks search for them."""

from collections.abc import Mapping

STARTED = "role started"
STOPPED = "role stopped"
SETTING = "setting is doubtful"
LEVEL_CHANGED = "log level changed"
STORE_LOST = "store lost"
STORE_RETURNED = "store returned"
ACCEPTED = "deliveries accepted"
VANISHED = "stream entry vanished"
GROUP_MADE_ANEW = "consumer group made anew"
REJECTED = "stream command rejected"
SENT = "mail delivery sent"
RETRY = "mail delivery retry scheduled"
DEAD_LETTERED = "mail delivery dead-lettered"
ENDED = "mail delivery ended"
RELAY_FAULT = "relay fault"
RELAY_RECOVERED = "relay recovered"
LEASE_LOST = "lease lost"
CORRECTED = "outcome corrected"
ADOPTED = "journal adopted"
LINES_LOST = "log lines lost"
UNCOUNTED = "numbers not kept"
CLOCK_OFF = "host clock is off"
REQUEUED = "mail delivery requeued"
CANCEL_REQUESTED = "mail delivery cancel requested"
EXPORT_FAILED = "telemetry not exported"
EXPORT_RETURNED = "telemetry exported again"

EVENTS: Mapping[str, str] = {
    STARTED: "a role has its settings and stores and begins to work",
    STOPPED: "a role ends; `reason` says why",
    SETTING: "a setting is unknown, retired or probably not meant",
    LEVEL_CHANGED: "LOG_LEVEL was changed at run time",
    STORE_LOST: "Postgres or Redis cannot be reached; the role waits and tries again",
    STORE_RETURNED: "the store answers again after `away_seconds`",
    ACCEPTED: "a batch of commands is durable (at level debug)",
    REJECTED: "a command was refused and set aside; `failure_code` says why",
    VANISHED: "an entry was trimmed by somebody while it was still to be done: it is lost",
    GROUP_MADE_ANEW: "the stream or its group was gone: what Redis lost before it was read is lost",
    SENT: "the relay accepted the message",
    RETRY: "the attempt failed for now; the next one is at `next_attempt_at`",
    DEAD_LETTERED: "the delivery is final and did not arrive; an operator may look at it",
    ENDED: "the delivery is final without success or failure: suppressed, uncertain, cancelled",
    RELAY_FAULT: "the relay or our account there is at fault; sending pauses and probes",
    RELAY_RECOVERED: "the relay takes mail again",
    CORRECTED: "an outcome became known after its lease had been taken back, and holds",
    ADOPTED: "the journal of a dead sender was brought into the database; rows by their fate",
    LEASE_LOST: "a result was dropped since the lease had ended; another process decides",
    LINES_LOST: "`lines` before it could not be written: full disk, or nobody reads; mail went on",
    UNCOUNTED: "a process found no room for its metric files and counts for nobody; mail goes on",
    CLOCK_OFF: "this host's clock is far from the database's, which is the one that counts",
    REQUEUED: "an operator lets an ended delivery be sent again; `before` is what it was",
    EXPORT_FAILED: "the OpenTelemetry collector is away, slow or refuses; told every 5 minutes",
    EXPORT_RETURNED: "the OpenTelemetry collector takes data again after `away_seconds`",
    CANCEL_REQUESTED: "an operator withdraws what a sender has now: unless it is sent, it ends",
}
