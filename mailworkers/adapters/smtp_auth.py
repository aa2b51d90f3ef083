"""AUTH (RFC 4954): PLAIN, LOGIN and CRAM-MD5, and nothing else however a relay may insist."""

import binascii
import hmac
import ipaddress

from mailworkers.adapters.smtp_channel import Channel
from mailworkers.adapters.smtp_settings import SmtpSettings, in_base64
from mailworkers.core.errors import RelayUnavailable
from mailworkers.core.states import Stage
from mailworkers.core.wire import BadReply, Capabilities, command

_UNDER_TLS = ("PLAIN", "LOGIN", "CRAM-MD5")  # PLAIN saves a round trip
_IN_PLAINTEXT = ("CRAM-MD5", "PLAIN", "LOGIN")  # the one that does not show the password first
_LONGEST_ARGUMENT = 480  # RFC 4954 section 4: what is longer waits for the relay's 334
_HIDDEN = b"***\r\n"


def log_in(
    channel: Channel, settings: SmtpSettings, offered: Capabilities, deadline: float
) -> None:
    """Log in by the first of our mechanisms that is offered. Raises as the channel, and
    RelayUnavailable when there is no way, or none that keeps the password safe (X-07).
    """
    if not channel.is_encrypted and not _may_go_in_plaintext(channel, settings):
        reason = "the password is sent only under TLS, or with tls=none to a relay on loopback"
        raise RelayUnavailable(Stage.AUTH, reason)
    ours = _UNDER_TLS if channel.is_encrypted else _IN_PLAINTEXT
    mechanism = next((mechanism for mechanism in ours if mechanism in offered.auth), None)
    if mechanism is None:
        theirs = ", ".join(offered.auth) or "none"
        reason = f"AUTH mechanisms offered: {theirs}; ours are {', '.join(_UNDER_TLS)}"
        raise RelayUnavailable(Stage.AUTH, reason)
    _MECHANISMS[mechanism](channel, settings.username or "", settings.password or "", deadline)


def _may_go_in_plaintext(channel: Channel, settings: SmtpSettings) -> bool:
    return settings.tls == "none" and ipaddress.ip_address(channel.peer).is_loopback


def _plain(channel: Channel, username: str, password: str, deadline: float) -> None:
    """RFC 4616."""
    response = in_base64(f"\0{username}\0{password}")
    if len(response) <= _LONGEST_ARGUMENT:
        channel.ask(command("AUTH PLAIN", response), deadline, shown=b"AUTH PLAIN " + _HIDDEN)
    else:
        channel.ask(command("AUTH PLAIN"), deadline, expected=3)
        channel.ask(command(response), deadline, shown=_HIDDEN)


def _login(channel: Channel, username: str, password: str, deadline: float) -> None:
    """What never became a standard and every relay has: user name and password, each asked for."""
    channel.ask(command("AUTH LOGIN"), deadline, expected=3)
    channel.ask(command(in_base64(username)), deadline, expected=3, shown=_HIDDEN)
    channel.ask(command(in_base64(password)), deadline, shown=_HIDDEN)


def _cram_md5(channel: Channel, username: str, password: str, deadline: float) -> None:
    """RFC 2195."""
    reply = channel.ask(command("AUTH CRAM-MD5"), deadline, expected=3)
    try:
        challenge = binascii.a2b_base64(reply.text.encode("ascii"), strict_mode=True)
    except ValueError:
        raise BadReply("the CRAM-MD5 challenge is not base64") from None
    digest = hmac.new(password.encode(), challenge, "md5").hexdigest()
    channel.ask(command(in_base64(f"{username} {digest}")), deadline, shown=_HIDDEN)


_MECHANISMS = {"PLAIN": _plain, "LOGIN": _login, "CRAM-MD5": _cram_md5}
