"""The page of dead letters: what could not be sent, for somebody to see to."""

from typing import Annotated, Any
from urllib.parse import urlencode

from litestar import Response, get, post
from litestar.params import QueryParameter

from mailworkers.adapters.store.dead_letters import Cause
from mailworkers.core.counts import plural
from mailworkers.core.states import Lane
from mailworkers.web.console.asking import ask, order, read_form, told
from mailworkers.web.console.deliveries import OneLane, OneSource
from mailworkers.web.console.pages import Flash, page, redirect
from mailworkers.web.console.paths import CONSOLE
from mailworkers.web.dead_letters import DeadLetterPage, get_dead_letters, post_resolve
from mailworkers.web.deliveries import Cursor, Template, To
from mailworkers.web.errors import Problem, bad_parameter
from mailworkers.web.orders import WebRequest
from mailworkers.web.queries import check_query
from mailworkers.web.replays import get_replays
from mailworkers.web.tokens import needs

HERE = f"{CONSOLE}/dead-letters"
FILTERS = ("cause", "source", "lane", "recipient", "template")
OneCause = Annotated[str | None, QueryParameter(name="cause", max_length=20)]
Seen = Annotated[bool | None, QueryParameter(name="resolved")]
_REPLAYS_SHOWN = 5


# Long: a parameter and a value of the page for each filter there is.
@get("/dead-letters", guards=[needs("read")], before_request=check_query)
async def show_dead_letters(
    request: WebRequest,
    cause: OneCause = None,
    source: OneSource = None,
    lane: OneLane = None,
    recipient: To = None,
    template: Template = None,
    resolved: Seen = None,
    cursor: Cursor = None,
) -> Response[str]:
    """Show dead letters, newest first: those nobody has seen to, unless others are asked for."""
    wanted: dict[str, Any] = {"recipient": recipient, "template": template, "cursor": cursor}
    hint = ""
    try:
        found = await ask(
            get_dead_letters,
            request,
            cause=[one_of("cause", cause, Cause)] if cause else None,
            source=[source] if source else None,
            lane=[one_of("lane", lane, [each.label for each in Lane])] if lane else None,
            resolved=resolved or False,
            **wanted,
        )
    except Problem as problem:
        if problem.body.details.get("path") != "recipient":
            raise
        found, hint = DeadLetterPage([], None), problem.body.message
    replays = await ask(get_replays, request, limit=_REPLAYS_SHOWN)
    asked = {name: v for name, v in request.query_params.items() if name != "cursor"}
    more = {**asked, "cursor": found.next_cursor or ""}
    return page(
        request,
        "dead_letters.html",
        found=found,
        hint=hint,
        asked=asked,
        filters=FILTERS,
        replays=replays.items,
        causes=list(Cause),
        lanes=[each.label for each in Lane],
        is_later=cursor is not None,
        newest=f"{HERE}?{urlencode(asked)}",
        older=f"{HERE}?{urlencode(more)}" if found.next_cursor else "",
    )


def one_of(name: str, value: str, allowed: Any) -> str:
    """Return *value*, which parameter *name* holds, or raise the answer 400."""
    if value not in set(allowed):
        raise bad_parameter(name, f"is none of {', '.join(allowed)}")
    return value


@post("/dead-letters/resolve")
async def resolve(request: WebRequest) -> Response[str]:
    """Note for each dead letter that was picked that somebody has seen to it."""
    form = await read_form(request)
    done = 0
    try:
        if not form.picked:
            raise bad_parameter("pick", "no dead letter is marked")
        for number in form.picked:
            fields = {"note": form.get("reason")}
            await order(post_resolve, request, fields, dead_letter_id=number)
            done += 1
    except Problem as problem:
        if done:
            text = f"{plural(done, 'dead letter')} resolved; then: {problem.body.message}"
            return redirect(HERE, Flash("failed", text))
        return told(problem, HERE)
    return redirect(HERE, Flash("done", f"{plural(done, 'dead letter')} resolved."))
