"""How a drill is asked for, and the settings of the service in it."""

import msgspec

from mailworkers.gameday.drills import needs

LEASE = 16.0  # holds the budgets of an attempt below, and a margin
LADDER = "1s,2s,2s,5s,5s,5s,10s,10s,10s,10s,10s,10s,10s"
SETTINGS = {
    "MAIL_SMTP_TIMEOUT": "3s",
    "MAIL_SMTP_DOT_TIMEOUT": "5s",
    "MAIL_LEASE": f"{LEASE:g}s",
    "MAIL_RETRY_LADDER": LADDER,
    "MAIL_AUTH_RETRY_LADDER": LADDER,
    "MAIL_AUTH_LIFE": "1h",  # an outage of the day must not end it
    "MAIL_UNCERTAIN_POLICY_BULK": "retry",
    "MAIL_POLL_INTERVAL": "1s",
    "MAIL_CLEANUP_INTERVAL": "1m",
}


class Asked(msgspec.Struct, frozen=True):
    """How a drill is to be done: *rate* commands a second, *seconds* of the fault.

    The load flows for *calm* seconds before it, in which nothing may be wrong, and for *after* or a
    tenth of the fault behind it. *is_observed*: by a Prometheus, where there is one.
    """

    rate: int
    seconds: float
    seed: int
    senders: int = 3
    servers: str = "auto"
    is_observed: bool = True
    calm: float = 15.0
    after: float = 30.0

    @property
    def has_prometheus(self) -> bool:
        """Whether a Prometheus looks on."""
        return self.is_observed and needs.has_prometheus()
