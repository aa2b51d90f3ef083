"""Settings that contradict each other, that are probably not meant, and names nobody knows."""

import difflib
import os
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from mailworkers.adapters.setting_forms import split_address
from mailworkers.adapters.setting_table import CLIENT_NAMES, LONGEST_SOCKET, NAMES
from mailworkers.core.addresses import domain
from mailworkers.core.dkim import signing_domain

SHORTEST_MARGIN = timedelta(seconds=1)
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

RETIRED = {
    "MAIL_REDIS_ADDR": "use MAIL_REDIS_MASTER_ADDR",
    "MAIL_REDIS_USERNAME": "only a password is used: MAIL_REDIS_PASSWORD",
    "MAIL_REDIS_TLS_ENABLED": "use MAIL_REDIS_TLS",
    "MAIL_REDIS_REPLICA_ADDRS": "replicas are not read; leave it out",
    "MAIL_REDIS_ATTEMPT_SCHEDULE_KEY": "the schedule is kept in Postgres; leave it out",
    "MAIL_REDIS_DEAD_LETTER_PREFIX": "dead letters are kept in Postgres; leave it out",
    "MAIL_DELIVERY_TTL": "use MAIL_DELIVERY_RETENTION",
    "MAIL_ATTEMPT_TTL": "attempts are kept with their delivery: use MAIL_DELIVERY_RETENTION",
    "MAIL_SMTP_INSECURE_SKIP_VERIFY": "name the relay's authority in MAIL_SMTP_CA_FILE, or set "
    "MAIL_SMTP_TLS=none for a local test server",
    "MAIL_INTERNAL_HTTP_READ_HEADER_TIMEOUT": "the limit is built in; leave it out",
    "MAIL_INTERNAL_HTTP_READ_TIMEOUT": "the limit is built in; leave it out",
    "MAIL_INTERNAL_HTTP_WRITE_TIMEOUT": "the limit is built in; leave it out",
    "MAIL_INTERNAL_HTTP_IDLE_TIMEOUT": "the limit is built in; leave it out",
    "RABBITMQ_URL": "commands arrive on Redis: use MAIL_REDIS_MASTER_ADDR",
}


def seconds(length: timedelta) -> str:
    """Return *length* in seconds, as short as it is exact: 150s, 0.25s."""
    return f"{length.total_seconds():g}s"


def find_conflicts(values: Mapping[str, Any]) -> list[str]:
    """Return a line for each pair of settings that cannot work together, with the sum shown."""
    return [line for rule in CONFLICTS for line in rule(values)]


def find_doubts(values: Mapping[str, Any]) -> list[str]:
    """Return a line for each setting that works but is probably not what was meant."""
    return [line for rule in DOUBTS for line in rule(values)]


def find_unknown(environ: Mapping[str, str]) -> list[str]:
    """Return a line for each variable named like ours that nothing reads."""
    lines = []
    for name in sorted(environ):
        if name in RETIRED:
            lines.append(f"{name} is no longer read: {RETIRED[name]}")
        elif name.startswith("MAIL_") and name not in NAMES | CLIENT_NAMES:
            close = difflib.get_close_matches(name, NAMES, n=1, cutoff=0.8)
            hint = f"did you mean {close[0]}?" if close else "`mailworkers config` lists all names"
            lines.append(f"{name} is not a known setting: {hint}")
    return lines


def _lease_covers_an_attempt(values: Mapping[str, Any]) -> Iterator[str]:
    """A lease that ends before the attempt can hands the delivery out twice."""
    timeout, dot = values["smtp_timeout"], values["smtp_dot_timeout"]
    budget = 3 * timeout + dot
    margin = max(SHORTEST_MARGIN, budget / 10)
    if values["lease"] < budget + margin:
        yield (
            f"MAIL_LEASE={seconds(values['lease'])} is shorter than one attempt may take: "
            f"3 x MAIL_SMTP_TIMEOUT {seconds(timeout)} + MAIL_SMTP_DOT_TIMEOUT {seconds(dot)} + "
            f"{seconds(margin)} margin = {seconds(budget + margin)}; lengthen the lease or shorten "
            "the others"
        )


def _stop_fits(values: Mapping[str, Any]) -> Iterator[str]:
    if values["shutdown_timeout"] >= values["stop_wait"]:
        yield (
            f"MAIL_SHUTDOWN_TIMEOUT={seconds(values['shutdown_timeout'])} is not shorter than "
            f"MAIL_STOP_WAIT={seconds(values['stop_wait'])}, after which supervisord kills; "
            "lengthen the stop wait"
        )


def _relay_is_complete(values: Mapping[str, Any]) -> Iterator[str]:
    if values["smtp_mode"] == "smtp":
        needed = {"smtp_addr": "MAIL_SMTP_ADDR", "smtp_from_email": "MAIL_SMTP_FROM_EMAIL"}
        for field, name in needed.items():
            if not values[field]:
                yield f"{name} is not set; MAIL_SMTP_MODE=smtp needs it (stub sends nothing)"
    if (values["smtp_username"] is None) != (values["smtp_password"] is None):
        missing = "MAIL_SMTP_PASSWORD" if values["smtp_username"] else "MAIL_SMTP_USERNAME"
        yield f"{missing} is not set although its partner is; set both or neither"


def _identity_is_allowed(values: Mapping[str, Any]) -> Iterator[str]:
    identity, allowed = values["smtp_from_email"], values["smtp_from_allowed"]
    if identity and domain(identity) not in allowed:
        yield (
            f"MAIL_SMTP_FROM_ALLOWED does not have {domain(identity)}, the domain of "
            "MAIL_SMTP_FROM_EMAIL; add it"
        )


def _auth_is_retried_in_its_life(values: Mapping[str, Any]) -> Iterator[str]:
    first, life = values["auth_retry_ladder"][0], values["auth_life"]
    if first >= life:
        yield (
            f"MAIL_AUTH_RETRY_LADDER begins with {seconds(first)}, not before MAIL_AUTH_LIFE="
            f"{seconds(life)} ends: auth mail would never be retried; shorten the first delay"
        )


def _content_goes_before_its_delivery(values: Mapping[str, Any]) -> Iterator[str]:
    payload, delivery = values["payload_retention"], values["delivery_retention"]
    if payload > delivery:
        yield (
            f"MAIL_PAYLOAD_RETENTION={seconds(payload)} is longer than MAIL_DELIVERY_RETENTION="
            f"{seconds(delivery)}, with which the content goes; shorten the first"
        )


def _ports_differ(values: Mapping[str, Any]) -> Iterator[str]:
    ports = {
        "HTTP_PORT": values["http_port"],
        "PROMETHEUS_PORT": values["prometheus_port"],
        "MAIL_INTERNAL_HTTP_ADDR": split_address(values["internal_http_addr"])[1],
    }
    first_with: dict[int, str] = {}
    for name, port in ports.items():
        if port in first_with:
            yield f"{name} and {first_with[port]} both use port {port}; give each its own"
        first_with.setdefault(port, name)


def socket_complaint(socket: Path) -> str | None:
    """Return why supervisord cannot bind *socket*, None where it can."""
    length = len(os.fsencode(socket))
    if length <= LONGEST_SOCKET:
        return None
    return (
        f"MAIL_SUPERVISOR_SOCKET has {length} bytes, supervisord can use at most "
        f"{LONGEST_SOCKET}; put it in a shorter directory that only you can open"
    )


def _socket_path_fits(values: Mapping[str, Any]) -> Iterator[str]:
    """Judge a path that was given; the computed one concerns only who starts supervisord."""
    socket = values["supervisor_socket"]
    complaint = socket_complaint(socket)
    if complaint and socket != default_socket(values["state_dir"]):
        yield complaint


def default_socket(state_dir: Path) -> Path:
    """Return where supervisord's control socket is, unless a setting says otherwise."""
    return state_dir / "supervisor.sock"


def _keys_have_a_place(values: Mapping[str, Any]) -> Iterator[str]:
    if values["dkim_selectors"] and not values["dkim_dir"]:
        yield "MAIL_DKIM_DIR is not set; MAIL_DKIM_SELECTORS names keys, whose directory it is"


def _tls_fits_port(values: Mapping[str, Any]) -> Iterator[str]:
    if not values["smtp_addr"]:
        return
    port, tls = split_address(values["smtp_addr"])[1], values["smtp_tls"]
    if port == 465 and tls != "implicit":
        yield f"port 465 speaks TLS from the first byte; MAIL_SMTP_TLS={tls} will time out"
    if port in (25, 587) and tls == "implicit":
        yield f"port {port} begins in clear text; MAIL_SMTP_TLS=implicit will fail, use starttls"


def _password_is_encrypted(values: Mapping[str, Any]) -> Iterator[str]:
    if not values["smtp_addr"] or not values["smtp_username"]:
        return
    host = split_address(values["smtp_addr"])[0]
    if values["smtp_tls"] == "none" and host not in LOOPBACK:
        yield (
            f"MAIL_SMTP_TLS=none sends no password to {host}, which is not this machine: sessions "
            "will fail at AUTH; use starttls or implicit"
        )


def _auth_ladder_fits_life(values: Mapping[str, Any]) -> Iterator[str]:
    total = sum(values["auth_retry_ladder"], timedelta())
    if values["auth_retry_ladder"][0] < values["auth_life"] < total:
        yield (
            f"MAIL_AUTH_RETRY_LADDER sums to {seconds(total)}, longer than MAIL_AUTH_LIFE="
            f"{seconds(values['auth_life'])}: its last retries will never run"
        )


def _mail_is_signed(values: Mapping[str, Any]) -> Iterator[str]:
    selectors, identity = values["dkim_selectors"], values["smtp_from_email"]
    if values["dkim_dir"] and not selectors:
        yield "MAIL_DKIM_SELECTORS is not set: nothing is signed, though MAIL_DKIM_DIR has keys"
    if selectors and identity and not signing_domain(domain(identity), selectors):
        yield (
            f"MAIL_DKIM_SELECTORS has no key for {domain(identity)}, the domain of "
            "MAIL_SMTP_FROM_EMAIL: its mail leaves unsigned"
        )


def _nothing_is_rehearsed(values: Mapping[str, Any]) -> Iterator[str]:
    if (order := values["crash_point"]) is not None:
        yield (
            f"MAIL_CRASH_POINT={order.point}:{order.act} is a rehearsal: a process that gets there "
            "is killed, stopped or cut off; unset it in production"
        )


CONFLICTS = (
    _lease_covers_an_attempt,
    _stop_fits,
    _relay_is_complete,
    _identity_is_allowed,
    _auth_is_retried_in_its_life,
    _content_goes_before_its_delivery,
    _ports_differ,
    _socket_path_fits,
    _keys_have_a_place,
)
DOUBTS = (
    _tls_fits_port,
    _password_is_encrypted,
    _auth_ladder_fits_life,
    _mail_is_signed,
    _nothing_is_rehearsed,
)
