"""Every drill: what is done, why, which alarms must fire by when, and what it takes here.

Light to import: the command line is made of it.
"""

import enum

import msgspec

DEPENDENCY = 60.0  # seconds within which the loss of a dependency is told
# Whatever makes mail unavailable spends of the month's budget.
BUDGET = frozenset({"MailErrorBudgetBurnsFast", "MailErrorBudgetBurnsSlowly"})
# What waited is late once it goes, and mail that came meanwhile behind it.
_LATE = frozenset({"MailAuthLate", "MailLate", "MailRetriesLate", "MailBacklogGrows"})


class Need(enum.StrEnum):
    """What a drill takes besides stores, supervisord and Linux."""

    ROOT = "root"
    MOUNT = "mount"
    FAKETIME = "libfaketime"
    NETWORK = "network namespaces"


class Drill(msgspec.Struct, frozen=True):
    """One drill. *must* are alarms that have to fire, and within how many seconds of its beginning.

    *may* fire, too; any other is a false one. *goes_on*: mail must arrive all the while. *seconds*
    is how long it lasts when nobody says otherwise, *least* the shortest that can be judged.
    """

    name: str
    does: str
    why: str
    seconds: int
    least: int
    must: dict[str, float] = {}
    may: frozenset[str] = frozenset()
    goes_on: bool = False
    needs: tuple[Need, ...] = ()


DRILLS = (
    Drill(
        "redis-outage",
        "Stop Redis under load, and start it again on its data.",
        "No command comes in by the stream; producers keep theirs and repeat. HTTP intake, retries "
        "and sending must go on, and what waited at the producers must be through soon after.",
        seconds=90,
        least=65,
        must={"RedisUnreachable": DEPENDENCY},
        may=BUDGET | _LATE | {"MailCommandsWait"},
        goes_on=True,
    ),
    Drill(
        "postgres-outage",
        "Stop PostgreSQL under load, and start it again on its data.",
        "Nothing is accepted or sent; commands wait in Redis, HTTP answers 503, senders keep the "
        "outcomes they have. Every role must wait and go on by itself.",
        seconds=90,
        least=65,
        must={"PostgresUnreachable": DEPENDENCY},
        may=BUDGET | _LATE | {"MailCommandsWait"},
    ),
    Drill(
        "relay-stall",
        "Let the relay accept connections and say nothing, to whoever is connected or comes.",
        "A relay that hangs costs time and no mail: senders must notice, hold mail back without "
        "burning its retries, tell it, and go on when a probe succeeds.",
        seconds=120,
        least=65,
        must={"MailBreakerOpen": DEPENDENCY},
        may=_LATE,
    ),
    Drill(
        "relay-refuses-logins",
        "Let the relay answer 535 to every login, as with a password that was changed.",
        "It is our account, not the mail: nothing may fail, no retry may be burnt, and nobody has "
        "to restart anything once the relay takes the login again.",
        seconds=120,
        least=65,
        must={"MailBreakerOpen": DEPENDENCY},
        may=_LATE,
    ),
    Drill(
        "role-deaths",
        "Kill a process of each role with SIGKILL, one after the other.",
        "supervisord starts each again within seconds; what it held is handed back or its outcome "
        "taken from the journal. Nobody should be woken by it.",
        seconds=90,
        least=30,
        goes_on=True,
    ),
    Drill(
        "journal-disk-full",
        "Fill the disk of the senders' journals, and add a sender meanwhile.",
        "Those that run go on; a sender that starts cannot keep a journal and must wait, not send "
        "without one. With room again it works, and nobody restarts anything.",
        seconds=60,
        least=10,
        goes_on=True,
        may=frozenset({"MailSendersMissing"}),
        needs=(Need.ROOT, Need.MOUNT),
    ),
    Drill(
        "database-disk-full",
        "Fill the disk of PostgreSQL until it cannot write, then make room.",
        "The usual outage of a database. What it cannot take is not acknowledged, what was sent "
        "waits in journal and memory. PostgreSQL may end of it; it is started when there is room.",
        seconds=90,
        least=65,
        must={"MailIntakeStalled": DEPENDENCY},
        may=BUDGET | _LATE | {"MailCommandsWait", "MailRoleDown", "PostgresUnreachable"},
        needs=(Need.ROOT, Need.MOUNT),
    ),
    Drill(
        "clock-step",
        "Set the clock of the host an hour ahead, then an hour back, for the roles alone.",
        "The database's clock is the one that counts: nothing may be early, late, lost or doubled, "
        "and each role must say that its clock is off.",
        seconds=60,
        least=20,
        goes_on=True,
        needs=(Need.FAKETIME,),
    ),
    Drill(
        "host-split",
        "Run a second host in a network namespace and cut it off from both stores, not the relay.",
        "The first host must carry everything; what the second has in hand is taken back when its "
        "lease ends, and it may not send what is no longer its own when the network returns.",
        seconds=90,
        least=65,
        must={"PostgresUnreachable": DEPENDENCY, "RedisUnreachable": DEPENDENCY},
        may=BUDGET | _LATE | {"MailRoleDown", "MailUncertain"},
        goes_on=True,
        needs=(Need.ROOT, Need.NETWORK),
    ),
)


def drill_named(name: str) -> Drill:
    """Return the drill *name*; LookupError when there is none."""
    for drill in DRILLS:
        if drill.name == name:
            return drill
    raise LookupError(f"no drill is called {name}")
