"""From nothing to a session ready for MAIL: resolve, connect, banner, EHLO, STARTTLS, AUTH.

All of it has one deadline. Whatever goes wrong here is the relay's fault or ours, never a
message's, and comes out as RelayUnavailable with its stage and a reason for operators. No secret is
ever part of that, even if the relay repeats ours (X-31).
"""

import contextlib
import ipaddress
import queue
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

from mailworkers.adapters.crash_points import Point, reached
from mailworkers.adapters.smtp_auth import log_in
from mailworkers.adapters.smtp_channel import Channel, Refused
from mailworkers.adapters.smtp_settings import SmtpSettings
from mailworkers.adapters.smtp_transcript import Transcript, without_secrets
from mailworkers.core.errors import RelayUnavailable
from mailworkers.core.states import Stage
from mailworkers.core.wire import BadReply, Capabilities, UnsafeOnWire, command

_MOST_ADDRESSES = 6
_TICK = 0.2  # seconds
_NO_SUCH_COMMAND = frozenset({500, 502})

_Addresses = list[tuple[int, Any]]  # family, and the address in the form getaddrinfo gives
# Not SimpleQueue: interrupted by a signal when its time is just over, it waits for ever (CPython
# 3.11, _queuemodule.c: what is left is negative).
_Answers = queue.Queue[_Addresses | Exception]


def set_up(
    settings: SmtpSettings,
    context: Callable[[], ssl.SSLContext],
    *,
    transcript: Transcript,
    tick: Callable[[], None],
    deadline: float,
) -> tuple[Channel, Capabilities]:
    """Return a channel on which MAIL may be said, and what the relay offers there.

    *context* gives the TLS rules, asked for only when they are needed. Raises RelayUnavailable.
    """
    with blaming(Stage.CONNECT, settings):
        channel = _connect(settings, transcript, tick, deadline)
    try:
        reached(Point.CONNECTED)
        return channel, _greet(channel, settings, context, deadline)
    except BaseException:
        channel.abort()
        raise


def _greet(
    channel: Channel,
    settings: SmtpSettings,
    context: Callable[[], ssl.SSLContext],
    deadline: float,
) -> Capabilities:
    """Go from the banner to AUTH; what was offered before TLS is forgotten (RFC 3207 4.2)."""
    if settings.tls == "implicit":
        _shake_hands(channel, settings, context, deadline)
    with blaming(Stage.CONNECT, settings):
        channel.expect(deadline)
    offered = _ehlo(channel, settings, deadline)
    reached(Point.GREETED)
    if settings.tls in ("starttls", "opportunistic") and _starttls(
        channel, settings, offered, deadline
    ):
        _shake_hands(channel, settings, context, deadline)
        offered = _ehlo(channel, settings, deadline)
    with blaming(Stage.AUTH if settings.username else Stage.EHLO, settings):
        if settings.username:
            log_in(channel, settings, offered, deadline)
        if not channel.is_quiet():  # nothing asked for it: a 421, or it is out of step already
            channel.expect(deadline, digit=None)
    reached(Point.LOGGED_IN)
    return offered


def _ehlo(channel: Channel, settings: SmtpSettings, deadline: float) -> Capabilities:
    """Say EHLO, or HELO to a relay that does not know the word (RFC 5321 section 2.2.1).

    Such a relay offers nothing: no TLS where `tls` insists on it, and no login.
    """
    with blaming(Stage.EHLO, settings):
        try:
            channel.ask(command("EHLO", settings.helo), deadline)
        except Refused as refused:
            if refused.reply.code not in _NO_SUCH_COMMAND:
                raise
            channel.ask(command("HELO", settings.helo), deadline)
            return Capabilities()
        return Capabilities.parse(channel.lines)


def _starttls(
    channel: Channel, settings: SmtpSettings, offered: Capabilities, deadline: float
) -> bool:
    """Ask for TLS. False when it is not to be had and `tls` does not insist on it."""
    with blaming(Stage.STARTTLS, settings):
        if settings.tls == "starttls":
            if not offered.starttls:
                reason = "the relay does not offer STARTTLS and nothing is sent in plaintext"
                raise RelayUnavailable(Stage.STARTTLS, reason)
            channel.ask(command("STARTTLS"), deadline)
            return True
        try:
            if offered.starttls:
                channel.ask(command("STARTTLS"), deadline)
                return True
        except Refused as refused:
            if refused.reply.code == 421:
                raise
    return False


def _shake_hands(
    channel: Channel,
    settings: SmtpSettings,
    context: Callable[[], ssl.SSLContext],
    deadline: float,
) -> None:
    try:
        rules = context()
    except OSError as error:
        reason = f"the CA file {settings.ca_file} cannot be used: {error.strerror or error}"
        raise RelayUnavailable(Stage.STARTTLS, reason) from None
    with blaming(Stage.STARTTLS, settings):
        channel.start_tls(rules, settings.host, deadline)


@contextlib.contextmanager
def blaming(stage: Stage, settings: SmtpSettings) -> Iterator[None]:
    """Turn whatever goes wrong inside into RelayUnavailable at *stage*."""
    try:
        yield
    except TimeoutError as error:
        raise RelayUnavailable(stage, str(error), timed_out=True) from None
    except Refused as refused:
        reply = refused.reply
        raise RelayUnavailable(stage, f"the relay answered {reply}", reply) from None
    except ssl.SSLCertVerificationError as error:
        reason = f"the relay's certificate is refused: {error.verify_message}"
        raise RelayUnavailable(stage, reason) from None
    except (OSError, BadReply, UnsafeOnWire, UnicodeError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
        raise RelayUnavailable(stage, without_secrets(reason, settings.secrets)) from None


def _connect(
    settings: SmtpSettings, transcript: Transcript, tick: Callable[[], None], deadline: float
) -> Channel:
    """Return a channel to the first address that answers; each gets its share of the time left."""
    addresses = _resolve(settings.host, settings.port, tick, deadline)[:_MOST_ADDRESSES]
    fault = OSError(f"{settings.host} has no address")
    for tried, (family, address) in enumerate(addresses):
        share = (deadline - monotonic()) / (len(addresses) - tried)
        try:
            channel = _connected(family, address, transcript, tick, monotonic() + share)
        except OSError as error:
            transcript.note(f"{address[0]} port {address[1]}: {error.strerror or error}")
            fault = error
        else:
            transcript.note(f"connected to {address[0]} port {address[1]}")
            return channel
    raise fault


def _connected(
    family: int, address: Any, transcript: Transcript, tick: Callable[[], None], deadline: float
) -> Channel:
    """Return a channel to *address*. Raises OSError, also where the kernel lacks *family*."""
    channel = Channel(family, transcript, tick)
    try:
        channel.connect(address, deadline)
    except BaseException:
        channel.abort()
        raise
    return channel


def _resolve(host: str, port: int, tick: Callable[[], None], deadline: float) -> _Addresses:
    """Return the addresses of *host* in the resolver's order.

    getaddrinfo knows no deadline, so a thread waits for it (F-S21); one that hangs is left behind
    and ends by the resolver's own limits.
    """
    with contextlib.suppress(ValueError):
        version = ipaddress.ip_address(host).version
        return [(socket.AF_INET if version == 4 else socket.AF_INET6, (host, port))]
    answers: _Answers = queue.Queue()
    try:
        threading.Thread(target=_look_up, args=(host, port, answers), daemon=True).start()
    except RuntimeError as error:  # no thread to be had, as no descriptor or no port (F-S23)
        raise OSError(str(error)) from None
    while (left := deadline - monotonic()) > 0:
        with contextlib.suppress(queue.Empty):
            answer = answers.get(timeout=min(_TICK, left))
            if isinstance(answer, Exception):
                raise answer
            return answer
        tick()
    raise TimeoutError(f"the resolver gave no address of {host} in time")


def _look_up(host: str, port: int, answers: _Answers) -> None:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        answers.put([(family, address) for family, _, _, _, address in found])
    except (OSError, UnicodeError) as error:
        answers.put(error)
