"""How the console says things: times, sizes, counts, statuses."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import msgspec
from markupsafe import Markup

from mailworkers.core.counts import count, plural

_STEPS = (
    (timedelta(days=2), timedelta(days=1), "d"),
    (timedelta(hours=2), timedelta(hours=1), "h"),
    (timedelta(minutes=2), timedelta(minutes=1), "min"),
    (timedelta(0), timedelta(seconds=1), "s"),
)
# By colour and by word: the colour alone says nothing to some.
_TONES = {
    "good": "sent accepted provider_accepted success closed alive open",
    "busy": "queued rendered sending scheduled in_progress half_open",
    "warn": "deferred uncertain provider_deferred transient_error timed_out transport_failed"
    " abandoned unknown exhausted",
    "bad": "failed dead_letter refused expired provider_rejected permanent_error",
    "quiet": "suppressed cancelled resolved replayed",
}
_TONE_OF = {word: tone for tone, words in _TONES.items() for word in words.split()}


def tone(word: str) -> str:
    """Return which of the five tones a status has."""
    return _TONE_OF.get(word, "quiet")


def pill(word: str, as_tone: str | None = None) -> Markup:
    """Return *word*, a status, as a pill."""
    shown = word.replace("_", " ")
    return Markup('<span class="pill {}">{}</span>').format(as_tone or tone(word), shown)


def span_words(span: timedelta) -> str:
    """Return the length of *span* in its largest fitting unit: `90 s`, `3 h`."""
    for least, unit, name in _STEPS:
        if span >= least:
            return f"{span // unit} {name}"
    return "0 s"


def relative(at: datetime, now: datetime) -> str:
    """Return *at* as people say it at *now*: `3 min ago`, `in 40 s`."""
    if abs(at - now) < timedelta(seconds=1):
        return "now"
    return f"in {span_words(at - now)}" if at > now else f"{span_words(now - at)} ago"


def ago(at: datetime | None) -> Markup:
    """Return *at* relative to now, the exact time as its title; a dash for None."""
    if at is None:
        return Markup('<span class="faint">–</span>')
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        at.astimezone(UTC).isoformat(), exact(at), relative(at, datetime.now(UTC))
    )


def exact(at: datetime) -> str:
    """Return *at* to the millisecond, in UTC."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3] + " UTC"


def clock(at: datetime) -> Markup:
    """Return the time of day of *at*, the exact time as its title."""
    utc = at.astimezone(UTC)
    return Markup('<time datetime="{}" title="{}" data-fixed>{}</time>').format(
        utc.isoformat(), exact(at), f"{utc:%d %b %H:%M:%S}"
    )


def milliseconds(value: float) -> str:
    """Return a span of *value* milliseconds: `12 ms`, `1.4 s`, `3 min`."""
    if value < 1000:
        return f"{value:.0f} ms"
    if value < 10_000:
        return f"{value / 1000:.1f} s"
    return span_words(timedelta(milliseconds=value))


def size(number: float) -> str:
    """Return *number* bytes: `730 B`, `12 KiB`."""
    for unit in ("B", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.0f} {unit}"
        number /= 1024
    return f"{number:.1f} GiB"


def facts(found: Mapping[str, Any] | None) -> str:
    """Return *found* as one line: `status: failed, cycle attempt: 8`; what is null is left out."""
    if not found:
        return ""
    return ", ".join(
        f"{name.replace('_', ' ')}: {_plain(value)}"
        for name, value in found.items()
        if value is not None and value != ""
    )


def capitalize_first(text: str) -> str:
    """Return *text* as the beginning of a sentence."""
    return text[:1].upper() + text[1:]


_PLACES = {
    "delivery": "deliveries",
    "replay": "replays",
    "malformed command": "malformed",
}


def place(subject: str) -> str:
    """Return the page below the console's that shows what the trail's *subject* names; or ""."""
    kind, _, name = subject.rpartition(" ")
    return f"{_PLACES[kind]}/{quote(name, safe='')}" if kind in _PLACES and name else ""


def _plain(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


FILTERS: dict[str, Callable[..., Any]] = {
    "ago": ago,
    "capitalize_first": capitalize_first,
    "clock": clock,
    "count": count,
    "exact": exact,
    "facts": facts,
    "milliseconds": milliseconds,
    "pill": pill,
    "place": place,
    "plural": plural,
    "size": size,
    "tone": tone,
}
