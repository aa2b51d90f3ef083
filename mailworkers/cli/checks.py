"""What `mailworkers doctor` looks at, in the order in which a role would meet it."""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from mailworkers.adapters.settings import Settings
from mailworkers.cli.findings import Finding, fine, judge, wrong
from mailworkers.cli.redis_checks import check_redis
from mailworkers.cli.service_checks import check_journals, check_service
from mailworkers.cli.store_checks import check_postgres
from mailworkers.core.addresses import domain
from mailworkers.core.dkim import signing_domain
from mailworkers.core.errors import ConfigError, RelayUnavailable
from mailworkers.core.states import Stage

if TYPE_CHECKING:
    from mailworkers.adapters.smtp import Session
    from mailworkers.core.wire import Capabilities

LEAST_FREE = 256 * 1024 * 1024  # bytes: sixteen full journals


def examine(settings: Settings) -> Iterator[Finding]:
    """Yield the findings; one broken thing does not hide the others."""
    for name, look in CHECKS.items():
        try:
            yield from look(settings)
        except Exception as error:  # what a check did not foresee is a finding as well
            first_line = str(error).split("\n", 1)[0]
            yield wrong(name, f"{type(error).__name__}: {first_line}", "please report this")


def check_state_dir(settings: Settings) -> Iterator[Finding]:
    """Journals and metric files need a place that can be written."""
    directory = settings.state_dir
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            usage = os.statvfs(directory)
    except OSError as error:
        advice = "make it writable for this account, or set MAIL_STATE_DIR"
        yield wrong("state directory", f"{directory}: {error.strerror}", advice)
        return
    free = usage.f_bavail * usage.f_frsize
    detail = f"{directory}, {free // 2**20} MiB free"
    advice = "free some space: senders stop when they cannot write their journal"
    yield judge("state directory", free >= LEAST_FREE, detail, advice)


RELAY_ADVICE = dict.fromkeys(Stage, "ask the relay's operator about this answer") | {
    Stage.CONNECT: "check MAIL_SMTP_ADDR, the network, and MAIL_SMTP_TLS (port 465 is implicit)",
    Stage.STARTTLS: "check MAIL_SMTP_TLS, and MAIL_SMTP_CA_FILE for a private authority",
    Stage.AUTH: "check MAIL_SMTP_USERNAME and MAIL_SMTP_PASSWORD",
}


def check_relay(settings: Settings) -> Iterator[Finding]:
    """The relay lets us in: connect, EHLO, TLS, AUTH, our identity at MAIL; no mail is sent."""
    if settings.smtp_mode == "stub":
        yield fine("relay", "mode stub: nothing is sent")
        return
    from mailworkers.adapters.smtp import Session

    session = Session(settings.smtp_settings())
    begun = time.monotonic()
    try:
        session.open()
    except RelayUnavailable as error:
        yield wrong("relay", f"{settings.smtp_addr}: {error}", RELAY_ADVICE[error.stage])
        return
    took_ms = (time.monotonic() - begun) * 1000
    offers = " ".join(_offer(word, session.capabilities) for word in session.capabilities.keywords)
    login = ", login accepted" if settings.smtp_username else ""
    yield fine("relay", f"{session.relay} in {took_ms:.0f} ms{login}, offers {offers}")
    yield _identity(session, settings.smtp_from_email)
    session.close()


def _offer(keyword: str, capabilities: "Capabilities") -> str:
    """Return *keyword*, with what one chooses a login by."""
    return f"AUTH({','.join(capabilities.auth)})" if keyword == "AUTH" else keyword


def _identity(session: "Session", mail_from: str) -> Finding:
    """The relay takes mail of the sender identity, as far as it says so at MAIL FROM."""
    try:
        session.propose_sender(mail_from)
    except RelayUnavailable as error:
        advice = "have the relay's operator allow this sender, or correct MAIL_SMTP_FROM_EMAIL"
        if error.reply is None:  # no answer is no refusal
            advice = "it let us in and stalls now: ask its operator; mail is tried again by itself"
        return wrong("relay identity", f"MAIL FROM {mail_from}: {error.reason}", advice)
    return fine("relay identity", f"{mail_from} may send")


def check_templates(settings: Settings) -> Iterator[Finding]:
    """The whole catalog can be parsed."""
    from mailworkers.adapters.catalog import Catalog, packaged_directory

    try:
        catalog = Catalog.load(settings.template_dir or packaged_directory())
    except ConfigError as error:
        yield wrong("templates", str(error), "correct that file; the roles refuse to start")
        return
    place = settings.template_dir or "the example catalog"
    yield fine("templates", f"{len(catalog.templates)} in {place}")


def check_dkim(settings: Settings) -> Iterator[Finding]:
    """The keys that sign can be used, and cover the sender identity; the DNS is not asked."""
    if not settings.dkim_selectors:
        yield fine("dkim", "off: mail is signed by the relay or not at all")
        return
    from mailworkers.adapters.dkim_keys import load_keys

    try:
        keys = load_keys(settings.dkim_dir, settings.dkim_selectors)
    except ConfigError as error:
        for line in str(error).splitlines():
            yield wrong("dkim", line, "correct it; consumer and api refuse to start")
        return
    for doubt in keys.doubts():
        yield fine("dkim", f"doubtful: {doubt}")
    yield _judge_coverage(settings)


def _judge_coverage(settings: Settings) -> Finding:
    """Say who signs, and whose mail leaves unsigned; only the identity's must not."""
    signing = settings.dkim_selectors
    uncovered = sorted(d for d in settings.smtp_from_allowed if not signing_domain(d, signing))
    detail = "signs for " + ", ".join(f"{name} ({'+'.join(signing[name])})" for name in signing)
    if uncovered:
        detail += f"; unsigned: {', '.join(uncovered)}"
    advice = "name a key for the domain of MAIL_SMTP_FROM_EMAIL in MAIL_DKIM_SELECTORS"
    identity = domain(settings.smtp_from_email)
    return judge("dkim", signing_domain(identity, signing) is not None, detail, advice)


CHECKS: dict[str, Callable[[Settings], Iterator[Finding]]] = {
    "state directory": check_state_dir,
    "journals": check_journals,
    "postgres": check_postgres,
    "redis": check_redis,
    "relay": check_relay,
    "templates": check_templates,
    "dkim": check_dkim,
    "service": check_service,
}
