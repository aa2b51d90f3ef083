"""The pages of refused entries: why, what stood in them, and taking them in after all."""

from collections import Counter
from typing import Annotated
from urllib.parse import urlencode

from litestar import Response, get, post
from litestar.params import QueryParameter

from mailworkers.core.counts import plural
from mailworkers.core.refusals import FailureCode
from mailworkers.web.console.asking import ask, order, read_form, told
from mailworkers.web.console.dead_letters import one_of
from mailworkers.web.console.deliveries import OneSource
from mailworkers.web.console.pages import Flash, page, redirect
from mailworkers.web.console.paths import CONSOLE
from mailworkers.web.console.suppressions import reason_in
from mailworkers.web.deliveries import Cursor
from mailworkers.web.errors import ErrorCode, Problem, bad_parameter
from mailworkers.web.malformed import (
    MalformedId,
    get_malformed_command,
    get_malformed_commands,
    post_malformed_replay,
)
from mailworkers.web.orders import WebRequest
from mailworkers.web.queries import check_query
from mailworkers.web.tokens import needs

_HERE = f"{CONSOLE}/malformed"
OneCode = Annotated[str | None, QueryParameter(name="failure_code", max_length=40)]
Seen = Annotated[bool | None, QueryParameter(name="replayed")]
WithContent = Annotated[bool, QueryParameter(name="content")]


@get("/malformed", guards=[needs("read")], before_request=check_query)
async def show_malformed(
    request: WebRequest,
    code: OneCode = None,
    source: OneSource = None,
    replayed: Seen = None,
    cursor: Cursor = None,
) -> Response[str]:
    """Show refused entries, newest first: those not replayed, unless others are asked for."""
    found = await ask(
        get_malformed_commands,
        request,
        failure_code=[FailureCode(one_of("failure_code", code, FailureCode))] if code else None,
        source=[source] if source else None,
        replayed=replayed or False,
        cursor=cursor,
    )
    asked = {name: v for name, v in request.query_params.items() if name != "cursor"}
    more = {**asked, "cursor": found.next_cursor or ""}
    return page(
        request,
        "malformed.html",
        found=found,
        asked=asked,
        codes=list(FailureCode),
        is_later=cursor is not None,
        newest=f"{_HERE}?{urlencode(asked)}",
        older=f"{_HERE}?{urlencode(more)}" if found.next_cursor else "",
    )


@get("/malformed/{malformed_id:int}", guards=[needs("read")], before_request=check_query)
async def show_entry(
    request: WebRequest, malformed_id: MalformedId, has_content: WithContent = False
) -> Response[str]:
    """Show why an entry was refused; what stood in it when that is asked for."""
    found = await ask(
        get_malformed_command, request, malformed_id=malformed_id, content=has_content
    )
    return page(request, "entry.html", one=found.command, fields=found.fields, asked=has_content)


@post("/malformed/replay")
async def replay_malformed(request: WebRequest) -> Response[str]:
    """Judge the entries that were picked again, each as if it stood on the stream now.

    Asked what would become of them, it says so and changes nothing.
    """
    form = await read_form(request)
    counts: Counter[str] = Counter()
    refusals: dict[str, None] = {}
    back = f"{_HERE}/{form.picked[0]}" if form.get("from") == "entry" and form.picked else _HERE
    try:
        if not form.picked:
            raise bad_parameter("pick", "no entry is marked")
        is_dry = form.get("do") == "try"
        fields = {"reason": "tried", "dry_run": True} if is_dry else {"reason": reason_in(form)}
        for number in form.picked:
            try:
                found = await order(post_malformed_replay, request, fields, malformed_id=number)
                counts[found.outcome] += 1
            except Problem as problem:
                if problem.body.code != ErrorCode.NOT_REPLAYABLE:
                    raise
                counts["refused"] += 1
                refusals[problem.body.message] = None
    except Problem as problem:
        return told(problem, back)
    return redirect(back, _summary(counts, list(refusals), is_dry=is_dry))


def _summary(counts: Counter[str], refusals: list[str], *, is_dry: bool) -> Flash:
    would, parts = "would be " if is_dry else "", []
    if counts["accepted"]:
        parts.append(f"{plural(counts['accepted'], 'entry', 'entries')} {would}taken in.")
    if counts["repeated"]:
        parts.append(f"{counts['repeated']} had been deliveries already.")
    if counts["refused"]:
        parts.append(f"{counts['refused']} {would}refused again: {'; '.join(refusals[:3])}.")
    if is_dry:
        parts.append("Nothing was changed.")
    return Flash("failed" if counts["refused"] else "done", " ".join(parts))
