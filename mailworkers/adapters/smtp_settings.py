"""One relay and how to talk to it."""

import base64
import ssl
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import msgspec

_SLOWEST = 64 * 1024  # bytes a second that an honest relay takes at least


class SmtpSettings(msgspec.Struct, frozen=True):
    """A relay's address, its TLS and login, and how long we wait.

    `tls`: `starttls` and `implicit` insist on TLS with a verified chain and name; `opportunistic`
    encrypts when that is offered, and verifies only when there is a password to protect or a CA
    file to go by; `none` never encrypts, and then a password goes to a relay on loopback only.
    `timeout` is for connect..AUTH, again for MAIL..354, again for the body (plus `body_time`);
    `dot_timeout` for the answer after the final dot. A session is given up after `max_messages`,
    or when it was idle for `idle`.
    """

    host: str
    port: int
    tls: Literal["starttls", "opportunistic", "implicit", "none"] = "starttls"
    ca_file: Path | None = None
    username: str | None = None
    password: str | None = None
    helo: str = "localhost"
    timeout: timedelta = timedelta(seconds=15)
    dot_timeout: timedelta = timedelta(seconds=60)
    max_messages: int = 1000
    idle: timedelta = timedelta(seconds=10)

    def __repr__(self) -> str:
        login = f", username={self.username!r}" if self.username else ""
        return f"SmtpSettings({self.relay!r}, tls={self.tls!r}{login})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("relay", self.relay), ("tls", self.tls), ("username", self.username)]

    @property
    def relay(self) -> str:
        """Return `host:port`; an IPv6 address stands in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def secrets(self) -> tuple[str, ...]:
        """Return the password in every form it has on the wire; CRAM-MD5 does not show it."""
        if not self.password:
            return ()
        plain = f"\0{self.username or ''}\0{self.password}"
        return (self.password, in_base64(self.password), in_base64(plain))

    def budget(self, size: int) -> timedelta:
        """Return the longest a transaction of *size* bytes can take once the session is open."""
        return 2 * self.timeout + body_time(size) + self.dot_timeout


def body_time(size: int) -> timedelta:
    """Return what a body of *size* bytes adds to the timeout."""
    return timedelta(seconds=size / _SLOWEST)


def in_base64(text: str) -> str:
    """Return *text* as AUTH carries it (RFC 4954 section 4)."""
    return base64.b64encode(text.encode()).decode("ascii")


def tls_context(settings: SmtpSettings) -> ssl.SSLContext:
    """Return the TLS rules: 1.2 or newer, chain and name verified unless `tls` says otherwise.

    Raises OSError when the CA file cannot be used.
    """
    context = ssl.create_default_context(cafile=settings.ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.tls == "opportunistic" and not (settings.password or settings.ca_file):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
