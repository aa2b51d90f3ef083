"""The one screen of `status` and `top`: a situation as lines of cells, cut to the terminal.

A line is a list of spans (text, style); it is measured in columns before any colour is added, so
wide characters count twice and colours not at all.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import zip_longest
from typing import Any

import click

from mailworkers.cli.output import cut, printable, width_of
from mailworkers.core.counts import plural
from mailworkers.core.situations import (
    LONGEST_WAITS,
    MailView,
    PauseView,
    Problem,
    RoleView,
    Situation,
    Trouble,
    in_short,
)

Span = tuple[str, str]
Line = list[Span]

_BESIDE = 80  # columns from which on roles and lanes stand side by side
_LEFT = 33
_LEAST = 30  # columns of what is wrong
_MOST = 3  # lines of each list below
_STATUSES = ("scheduled", "queued", "rendered", "sending", "deferred")
_STYLES: dict[str, dict[str, Any]] = {
    "": {},
    "title": {"bold": True},
    "name": {"dim": True},
    "good": {"fg": "green"},
    "bad": {"fg": "red", "bold": True},
    "doubtful": {"fg": "yellow"},
}


def draw(situation: Situation, width: int) -> list[str]:
    """Return the screen as lines of at most *width* columns, with colours for a terminal."""
    return [_render(line, width) for line in compose(situation, width)]


def compose(situation: Situation, width: int) -> list[Line]:
    """Return what the screen says of *situation*; two columns where *width* allows."""
    problems = [_problem(it, width - 2) for it in situation.problems]
    lines = [_title(situation), *([("  ", ""), (text, "bad")] for text in problems)]
    lines.append(_stores(situation))
    if situation.mail is not None:
        mail = situation.mail
        lines += [_relay(mail), []]
        roles, queue = _roles(mail.roles, situation.at), [*_lanes(mail), *_counts(mail)]
        lines += _beside(roles, queue) if width >= _BESIDE else [*roles, [], *queue]
        lines += _listed("paused", [_pause(pause) for pause in mail.pauses])
        lines += _listed("last errors", [_trouble(it, situation, width) for it in mail.troubles])
    return lines


def _problem(problem: Problem, width: int) -> str:
    """Return one line; what is wrong gives way before what to do about it."""
    advice = f"  -> {problem.advice}"
    return cut(printable(problem.what), max(width - width_of(advice), _LEAST)) + advice


def _title(situation: Situation) -> Line:
    count = len(situation.problems)
    verdict = ("all is well", "good")
    if count:
        verdict = (f"{plural(count, 'thing')} wrong", "bad")
    when = situation.at.astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
    return [("mailworkers", "title"), (f"  {when}  ", ""), verdict]


def _stores(situation: Situation) -> Line:
    line: Line = [_name("stores")]
    for store in situation.stores:
        word = ("ok", "good") if store.is_there else ("AWAY", "bad")
        line += [(f"{store.name} ", ""), word, ("   ", "")]
    stream = situation.stream
    if stream is not None and stream.waiting is not None:
        line.append((f"stream {_short(stream.waiting)} unread", ""))
        if stream.oldest_waiting_ms:
            line.append((f" for {_age(stream.oldest_waiting_ms)}", ""))
        if stream.in_hand is not None:
            line.append((f", {_short(stream.in_hand)} in hand", ""))
    return line


def _relay(mail: MailView) -> Line:
    told = mail.relay
    relay = told.works_with.partition(", stream ")[0].removeprefix("relay ")
    if not told.breaker:
        return [_name("relay"), (f"{relay or 'unknown'}   no sender speaks of it", "name")]
    style = "good" if told.breaker == "closed" else "bad"
    reason = f": {told.reason}" if told.reason else ""
    return [_name("relay"), (f"{relay}   ", ""), (f"breaker {told.breaker}{reason}", style)]


def _roles(roles: Sequence[RoleView], at: datetime) -> list[Line]:
    lines: list[Line] = [[(f"{'role':<9}{'alive':>6}  {'up':<7} silent", "name")]]
    for view in roles:
        up = in_short(at - view.started_at) if view.started_at else ""
        line: Line = [
            (f"{view.role:<9}", ""),
            (f"{view.alive:>6}", "good" if view.alive else "bad"),
        ]
        line.append((f"  {up:<7} ", ""))
        if view.silent:
            line.append((f"{len(view.silent):>6}", "bad"))
        lines.append(line)
    return lines


def _lanes(mail: MailView) -> list[Line]:
    lines: list[Line] = [[("lane    sched.  ready sending deferred  oldest", "name")]]
    for view in mail.lanes:
        scheduled, queued, rendered, sending, deferred = (
            view.counts.get(status, 0) for status in _STATUSES
        )
        counts = (scheduled, queued + rendered, sending, deferred)
        waited = timedelta(milliseconds=view.oldest_due_ms)
        style = "doubtful" if waited > LONGEST_WAITS[view.lane] else ""
        age = _age(view.oldest_due_ms) if view.oldest_due_ms else "-"
        pairs = zip(counts, (7, 7, 8, 9), strict=True)
        numbers = "".join(f"{_short(count):>{size}}" for count, size in pairs)
        lines.append([(f"{view.lane:<7}{numbers}", ""), (f"{age:>8}", style)])
    return lines


def _counts(mail: MailView) -> list[Line]:
    rates = mail.rates
    review: Line = [("to review  ", "name")]
    for count, what in ((mail.open_dead_letters, "dead letters"), (mail.malformed, "malformed")):
        review.append((f"{_short(count)} {what}  ", "doubtful" if count else ""))
    return [
        [
            ("per minute ", "name"),
            (f"accepted {_short(rates.accepted)}  sent {_short(rates.sent)}", ""),
        ],
        [
            (" " * 11, ""),
            (f"deferred {_short(rates.deferred)}  ", "doubtful" if rates.deferred else ""),
            (f"failed {_short(rates.failed)}", "bad" if rates.failed else ""),
        ],
        review,
    ]


def _beside(left: Sequence[Line], right: Sequence[Line]) -> list[Line]:
    """Put two blocks side by side, the left one *_LEFT* columns wide."""
    lines = []
    nothing: Line = []
    for one, other in zip_longest(left, right, fillvalue=nothing):
        used = sum(width_of(text) for text, _ in one)
        lines.append([*one, (" " * (_LEFT - used), ""), *other])
    return lines


def _listed(title: str, texts: Sequence[str]) -> Iterator[Line]:
    """Yield a title and the first of *texts* below it; nothing for none."""
    if not texts:
        return
    more = f" ({_MOST} of {len(texts)})" if len(texts) > _MOST else ""
    yield []
    yield [(f"{title}{more}", "name")]
    for text in texts[:_MOST]:
        yield [("  ", ""), (text, "")]


def _pause(pause: PauseView) -> str:
    what = "all mail"
    if pause.lane or pause.source:
        named = (pause.lane and f"lane {pause.lane}", pause.source and f"source {pause.source}")
        what = " of ".join(part for part in named if part)
    until = f" until {pause.ends_at.astimezone():%m-%d %H:%M}" if pause.ends_at else ""
    return f"{pause.pause_id}: {what}{until}, by {pause.created_by}: {pause.reason}"


def _trouble(trouble: Trouble, situation: Situation, width: int) -> str:
    """Return one line; the words give way before the id, which somebody will copy."""
    words = f"{in_short(situation.at - trouble.at)} ago  {trouble.kind.replace('_', ' ')}: "
    words += printable(trouble.words)
    if not trouble.delivery_id:
        return words
    whose = f"  {trouble.delivery_id}"
    return cut(words, width - width_of(whose) - 2) + whose


def _name(text: str) -> Span:
    return (f"{text:<8}", "name")


def _age(milliseconds: float) -> str:
    return in_short(timedelta(milliseconds=milliseconds))


def _short(count: int) -> str:
    """Return *count* in at most six characters: 99999, 123.4k, 12.3M."""
    if count < 100_000:
        return str(count)
    if count < 1_000_000:
        return f"{count / 1000:.1f}k"
    return f"{count / 1_000_000:.1f}M"


def _render(line: Line, width: int) -> str:
    """Return *line* cut to *width* columns and coloured."""
    shown, left = [], width
    for whole, style in line:
        text = cut(printable(whole), left)
        shown.append(click.style(text, **_STYLES[style]) if _STYLES[style] and text else text)
        left -= width_of(text)
        if left <= 0:
            break
    return "".join(shown).rstrip()
