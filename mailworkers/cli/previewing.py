"""Previews of templates: made by the production path, shown as text or as a page of pages."""

import email
import email.policy
import os
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from html import escape
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click
import msgspec

from mailworkers.adapters.catalog import Catalog
from mailworkers.adapters.intake import Intake
from mailworkers.adapters.previews import Previewer
from mailworkers.adapters.settings import Settings, load
from mailworkers.cli.commands import JUDGING, UNUSED
from mailworkers.cli.main import Failure
from mailworkers.core.addresses import domain, parse_mailbox
from mailworkers.core.refusals import Refusal, Refused
from mailworkers.core.strictjson import parse

if TYPE_CHECKING:
    from mailworkers.cli.remote_templates import RemoteCatalog, RemoteTemplate

Given = IO[bytes] | None
HEADERS = (
    *("From", "Reply-To", "Subject", "Auto-Submitted", "Precedence"),
    *("List-Id", "List-Unsubscribe", "List-Unsubscribe-Post"),
)


class Preview(msgspec.Struct, frozen=True):
    """A template in one language as its reader gets it, and what mailboxes judge it by."""

    name: str
    mime: bytes
    text: str
    html: str
    facts: dict[str, Any]


def make_previews(
    catalog: Catalog, template_id: str, locales: list[str], given: Given
) -> list[Preview]:
    """Return the message of a template in each of *locales*; Failure says why one is refused.

    Args:
        given: a JSON object of variables; samples stand in for those that are not in it.
    """
    variables = _read(given)
    now = datetime.now(UTC)
    previewer = Previewer(Intake(_settings(catalog), catalog, lambda: now), catalog)
    made = []
    for locale in locales:
        result = previewer.compose(template_id, locale, variables, samples=True)
        if isinstance(result, Refusal):
            raise Failure(f"{template_id} in {locale} would be refused: {result.detail}")
        ends = result.expires_at - now if result.expires_at is not None else None
        name = f"{result.template_id} {result.template_version}"
        made.append(_preview(result.mime, name, result.locale or "", result.lane.label, ends))
    return made


def fetch_previews(
    catalog: "RemoteCatalog", template: "RemoteTemplate", locales: list[str | None], given: Given
) -> list[Preview]:
    """Return what *template* of the API's *catalog* makes in *locales*; None is its default."""
    variables = _read(given)
    lasts = template.expires_after_ms
    ends = timedelta(milliseconds=lasts) if lasts is not None else None
    made = []
    for locale in locales:
        found = catalog.preview(template.template_id, locale, variables)
        name = f"{template.template_id} {found.version}"
        made.append(_preview(found.mime, name, found.locale, found.lane, ends))
    return made


def _settings(catalog: Catalog) -> Settings:
    """Return the settings of this environment; where they say nothing, each sender is allowed."""
    judging = {name: os.environ[name] for name in JUDGING if name in os.environ}
    settings = load({**UNUSED, **judging})
    if judging.keys() & {"MAIL_SMTP_FROM_EMAIL", "MAIL_SMTP_FROM_ALLOWED"}:
        return settings
    senders = [template.contract.mail.sender for template in catalog.templates.values()]
    domains = {domain(parse_mailbox(sender).address) for sender in senders if sender is not None}
    allowed = settings.smtp_from_allowed | domains
    return msgspec.structs.replace(settings, smtp_from_allowed=allowed)


def _read(given: Given) -> dict[str, Any]:
    if given is None:
        return {}
    try:
        variables = parse(given.read(), path="")
    except Refused as refused:
        raise click.UsageError(f"--variables {refused.reason}") from None
    if not isinstance(variables, dict):
        raise click.UsageError("--variables is not a JSON object")
    return variables


def _preview(
    mime: bytes, template: str, locale: str, lane: str, expires_in: timedelta | None
) -> Preview:
    message = email.message_from_bytes(mime, policy=email.policy.default)
    assert isinstance(message, EmailMessage)  # noqa: S101  what this policy makes
    text, html = (_part(message, kind) for kind in ("plain", "html"))
    facts = {
        "template": template,
        "locale": locale,
        **{name: str(message[name]) for name in HEADERS if message[name] is not None},
        "lane": lane,
        "expires after": str(expires_in) if expires_in is not None else None,
        "subject characters": len(str(message["Subject"])),
        "message bytes": len(mime),
        "html bytes": len(html.encode()),
        "text bytes": len(text.encode()),
    }
    return Preview(f"{template.partition(' ')[0]}.{locale}", mime, text, html, facts)


def _part(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    return str(part.get_content()) if part is not None else ""


def write_previews(previews: list[Preview], directory: Path) -> list[Path]:
    """Write message, text and page of each preview, and an index; return the files, it last."""
    directory.mkdir(parents=True, exist_ok=True)
    files = []
    for one in previews:
        contents = {"eml": one.mime, "txt": one.text.encode(), "html": one.html.encode()}
        for ending, content in contents.items():
            if content:
                files.append(directory / f"{one.name}.{ending}")
                files[-1].write_bytes(content)
    files.append(directory / "index.html")
    files[-1].write_text(_index(previews), encoding="utf-8")
    return [file.resolve() for file in files]


_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
body {{ margin: 24px; font: 15px/1.5 system-ui, sans-serif; }}
section {{ display: flex; flex-wrap: wrap; gap: 20px; align-items: flex-start; margin: 0 0 40px; }}
iframe {{ height: 640px; border: 1px solid #8888; }}
pre {{ max-width: 480px; margin: 0; white-space: pre-wrap; }}
th {{ padding-inline-end: 16px; text-align: start; font-weight: normal; opacity: 0.7; }}
</style>
</head>
<body>
{sections}
</body>
</html>
"""


def _index(previews: list[Preview]) -> str:
    """Return a page that shows each preview narrow and wide, its text and its facts."""
    title = escape(", ".join(one.name for one in previews))
    return _PAGE.format(title=title, sections="\n".join(map(_section, previews)))


def _section(one: Preview) -> str:
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td dir=auto>{escape(str(value))}</td></tr>"
        for name, value in one.facts.items()
        if value is not None
    )
    frames = "".join(
        f'<iframe src="{escape(one.name)}.html" title="{width} pixels wide" width="{width}"'
        ' sandbox="allow-popups"></iframe>'
        for width in (360, 720)
        if one.html
    )
    text = f'<pre dir="auto">{escape(one.text)}</pre>'
    return f"<h1>{escape(one.name)}</h1><table>{rows}</table><section>{frames}{text}</section>"
