"""Every command by section: where it is, and what its help says first."""

from collections.abc import Mapping

# Where each command is, and its first line of help, which a test compares with the command's own:
# so `--help` and completion need not import what they name.
SECTIONS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "Roles (one process each, in the foreground)": {
        "consumer": (
            "roles:consumer",
            "Take commands from the Redis Stream and make them durable deliveries.",
        ),
        "scheduler": (
            "roles:scheduler",
            (
                "Watch the clock: make due deliveries ready, take expired leases back, end what is "
                "overdue."
            ),
        ),
        "sender": (
            "roles:sender",
            "Send: lease ready deliveries, hand them to the relay, record what it answered.",
        ),
        "retention": (
            "roles:retention",
            "Delete what is final and old; never anything that lives.",
        ),
        "api": ("roles:api", "Serve the internal HTTP API."),
        "monitor": ("roles:monitor", "Serve health, readiness and metrics of this host."),
    },
    "Running": {
        "up": (
            "up:up",
            "Run all roles on a PostgreSQL, a Redis and a mailbox of their own, until Ctrl-C.",
        ),
        "supervise": (
            "processes:supervise",
            (
                "Run every role on this host under supervisord, in the foreground, until it is "
                "told to stop."
            ),
        ),
        "scale": (
            "processes:scale",
            "Run ROLE in so many PROCESSES from now on, also after a restart of supervisord.",
        ),
        "restart": (
            "processes:restart",
            (
                "Restart all processes of ROLE; nothing is lost, they finish or hand back what "
                "they hold."
            ),
        ),
        "migrate": (
            "migrate:migrate",
            "Bring the schema up to date; safe while roles run and when several do it at once.",
        ),
        "config": (
            "configuration:config",
            "Show the settings in force, secrets masked; exit 78 when they cannot work.",
        ),
        "shell": (
            "shell:shell",
            (
                "Open a shell, or run COMMAND, with the settings in force, for what no command of "
                "ours does."
            ),
        ),
        "tokens": ("tokens:tokens", "Make, see and revoke the tokens of the internal API."),
        "completion": ("completion:completion", "Print what makes a shell complete our commands."),
    },
    "Looking": {
        "status": (
            "status:status",
            (
                "Show on one screen how it stands: stores, roles, queue, rates, relay, pauses, "
                "last errors."
            ),
        ),
        "top": (
            "status:top",
            (
                "Show what `status` shows, live. q ends it, r looks at once, + and - change the "
                "interval."
            ),
        ),
        "doctor": (
            "doctor:doctor",
            "Find what is wrong and say what to do: settings, stores, relay, templates, what runs.",
        ),
        "bench": (
            "bench:bench",
            "Measure the real roles on throwaway stores; each message must arrive exactly once.",
        ),
        "gameday": (
            "gameday:gameday",
            "Break things on purpose and judge what became of the mail.",
        ),
    },
    "Mail": {
        "send": (
            "send:send",
            "Ask for one message to be sent, and say where to look what became of it.",
        ),
        "deliveries": (
            "deliveries:deliveries",
            "See what became of deliveries, withdraw them, send them again.",
        ),
        "dead-letters": (
            "dead_letters:dead_letters",
            "See what could not be sent, note what was done about it, send it again.",
        ),
        "malformed": (
            "malformed:malformed",
            "See the entries of the stream that were refused, and have one judged again.",
        ),
        "templates": (
            "templates:templates",
            "Look at the templates, check them, see what they make.",
        ),
        "commands": ("commands:commands", "Check commands before they are sent."),
        "dkim": (
            "dkim:dkim",
            "Sign mail: make keys, print their DNS records, compare what is published.",
        ),
        "suppressions": (
            "suppressions:suppressions",
            "See and change the list of addresses that get no mail.",
        ),
        "pause": (
            "pauses:pause",
            "Hold mail back: a lane, a source, both together, or everything.",
        ),
        "resume": (
            "pauses:resume",
            "End pauses by their numbers, or all of them; what waited goes out at once.",
        ),
        "pauses": (
            "pauses:pauses",
            "Show what is held back now, since when, by whom, why and until when.",
        ),
    },
}
