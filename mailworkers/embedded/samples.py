"""Sample mails: put in as producers do, by stream and by HTTP, and followed to the mailbox.

Both payload modes, two locales, the three ways in that a producer has.
"""

import time
from base64 import b64encode
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import msgspec

from mailworkers.adapters.producer import put_command
from mailworkers.adapters.settings import Settings
from mailworkers.core.errors import MailworkersError
from mailworkers.embedded.loopback import Refused, fetch_json, post_json

UNKNOWN = "unknown to the database"


class SampleRefused(MailworkersError):  # noqa: N818  it names the condition
    """The API did not take a sample."""


class Sample(msgspec.Struct, frozen=True):
    """One mail to try: `way` is how it goes in, `order` what the producer writes."""

    title: str
    way: str
    order: dict[str, Any]


class Sent(msgspec.Struct, frozen=True):
    """A sample that went in; `answer` is what the producer was told, `at` monotonic seconds."""

    sample: Sample
    delivery_id: str
    answer: str
    at: float


class Arrival(msgspec.Struct, frozen=True):
    """A sample found in the mailbox, so many copies of it."""

    number: int
    copies: int
    subject: str


_HTML = """\
<!doctype html><html><body style="font-family: sans-serif">
<h1 style="color: #0b57c2">Your week in numbers</h1>
<p>Three reports are ready. <a href="https://reports.example/week">Read them</a>.</p>
<img src="cid:chart" alt="a small chart" width="96" height="48"></body></html>
"""
_CHART = b"""\
<svg xmlns="http://www.w3.org/2000/svg" width="96" height="48"><rect width="96" height="48"
fill="#eef3fb"/><path d="M4 42 28 30 52 34 76 12 92 8" fill="none" stroke="#0b57c2"
stroke-width="3"/></svg>
"""
_INVITATION = b"""\
BEGIN:VCALENDAR\r
VERSION:2.0\r
PRODID:-//mailworkers//samples//EN\r
BEGIN:VEVENT\r
UID:sample@mailworkers.example\r
DTSTAMP:20260101T090000Z\r
DTSTART:20260105T130000Z\r
SUMMARY:Mittagessen\r
END:VEVENT\r
END:VCALENDAR\r
"""


def _attachment(name: str, kind: str, content: bytes, content_id: str = "") -> dict[str, str]:
    found = {
        "filename": name,
        "content_type": kind,
        "content_base64": b64encode(content).decode(),
    }
    return {**found, "content_id": content_id} if content_id else found


SAMPLES = (
    Sample(
        "a report, content by the producer, with html and a picture",
        "stream",
        {
            "source": "notification",
            "payload_mode": "rendered",
            "payload": {
                "to": ["Ada Byron <ada@example.com>"],
                "subject": "Your week in numbers",
                "text_body": "Three reports are ready:\nhttps://reports.example/week\n",
                "html_body": _HTML,
                "attachments": [_attachment("chart.svg", "image/svg+xml", _CHART, "chart")],
            },
        },
    ),
    Sample(
        "an invitation in German with an attachment, two recipients",
        "stream",
        {
            "source": "notification",
            "payload_mode": "rendered",
            "lane": "bulk",
            "payload": {
                "to": ["Jürgen Groß <juergen@example.com>"],
                "bcc": ["archive@example.com"],
                "subject": "Einladung: Mittagessen für alle, mit Grüßen aus der Küche",
                "text_body": "Schöne Grüße!\n\nDer Termin hängt an.\n",
                "attachments": [_attachment("mittagessen.ics", "text/calendar", _INVITATION)],
            },
        },
    ),
    Sample(
        "a welcome from a template, English",
        "stream",
        {
            "source": "notification",
            "payload_mode": "template",
            "payload": {
                "to": ["Grace Hopper <grace@example.com>"],
                "template_id": "welcome",
                "locale": "en",
                "variables": {
                    "name": "Grace",
                    "confirm_url": "https://app.example/confirm?token=4f1c2a",
                    "product": "Mailworkers",
                },
            },
        },
    ),
    Sample(
        "a receipt from a template, German",
        "http",
        {
            "source": "api",
            "payload_mode": "template",
            "payload": {
                "to": ["Emmy Noether <emmy@example.com>"],
                "template_id": "receipt",
                "locale": "de",
                "variables": {
                    "order_number": "2026-004711",
                    "paid_on": "2026-11-21",
                    "items": [
                        {"name": "Notizbuch, A5", "quantity": 2, "amount": "11,80 EUR"},
                        {"name": "Bleistift <HB>", "quantity": 12, "amount": "8,40 EUR"},
                    ],
                    "total": "20,20 EUR",
                },
            },
        },
    ),
    Sample(
        "a login code, English",
        "login",
        {"email": "alan@example.com", "code": "482913", "locale": "en"},
    ),
    Sample(
        "a login code, German",
        "login",
        {"email": "kurt@example.com", "code": "730551", "locale": "de"},
    ),
)


def send(sample: Sample, settings: Settings) -> Sent:
    """Put *sample* in by its way, as something never seen before; return what was answered."""
    if sample.way == "stream":
        return _send_by_stream(sample, settings)
    key = str(uuid4())
    at = time.monotonic()
    if sample.way == "login":
        headers = {"Idempotency-Key": key}
        answer = _post(settings, "/login-code-deliveries", sample.order, headers)
        return Sent(sample, answer["delivery_id"], f"HTTP 200, {answer['outcome']}", at)
    order = {**sample.order, "idempotency_key": key}
    answer = _post(settings, "/deliveries", order, {})
    return Sent(sample, answer["delivery_id"], "HTTP 202", at)


def _send_by_stream(sample: Sample, settings: Settings) -> Sent:
    delivery_id = str(uuid4())
    order = dict(sample.order)
    fields = {
        "delivery_id": delivery_id,
        "idempotency_key": str(uuid4()),
        "requested_at_ms": str(time.time_ns() // 1_000_000),
        "payload_json": msgspec.json.encode(order.pop("payload")).decode(),
        **order,
    }
    at = time.monotonic()
    entry_id = put_command(settings, fields)
    return Sent(sample, delivery_id, f"XADD, entry {entry_id}", at)


def _post(
    settings: Settings, path: str, body: Mapping[str, Any], headers: dict[str, str]
) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = post_json(api_url(settings, path), body, headers)
    except (OSError, Refused) as error:
        raise SampleRefused(f"POST {path}: {error}") from error
    return answer


def api_url(settings: Settings, path: str) -> str:
    """Return the address of a route of the internal API."""
    return f"http://{settings.internal_http_addr}/api/v1/internal{path}"


def console_url(settings: Settings) -> str:
    """Return where the operator console is."""
    return f"http://{settings.internal_http_addr}/console/"


def delivery_status(settings: Settings, delivery_id: str) -> str:
    """Return the status that the API gives a delivery, or in words why it gives none."""
    try:
        found = fetch_json(api_url(settings, f"/deliveries/{delivery_id}"))
    except Refused as error:
        return UNKNOWN if error.code == 404 else f"HTTP {error.code}"
    except OSError as error:
        return f"the API does not answer ({error})"
    return str(found["status"])


def find_arrival(mailbox: str, delivery_id: str) -> Arrival | None:
    """Return the message of a delivery in the *mailbox* at that address, None when it is not there.

    Found by its Message-ID, which carries the delivery's id.
    """
    try:
        found = fetch_json(f"{mailbox}/messages.json?limit=1&q={delivery_id}")
    except OSError:
        return None
    for entry in found["entries"]:
        copies = found["copies"][entry["message_id"]]
        return Arrival(entry["number"], copies, entry["subject"])
    return None
