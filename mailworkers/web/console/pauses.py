"""The page of what is held back."""

from litestar import Response, get, post

from mailworkers.core.states import Lane
from mailworkers.web.console.asking import ask, order, read_form, told
from mailworkers.web.console.pages import Flash, page, redirect
from mailworkers.web.console.paths import CONSOLE
from mailworkers.web.console.suppressions import reason_in
from mailworkers.web.console.verbs import until_ms
from mailworkers.web.errors import Problem
from mailworkers.web.orders import WebRequest
from mailworkers.web.pauses import PauseId, delete_pause, get_pauses, post_pause
from mailworkers.web.queries import check_query
from mailworkers.web.tokens import needs

_HERE = f"{CONSOLE}/pauses"


@get("/pauses", guards=[needs("read")], before_request=check_query)
async def show_pauses(request: WebRequest) -> Response[str]:
    """Show what is held back now."""
    found = await ask(get_pauses, request)
    return page(
        request,
        "pauses.html",
        pauses=found.items,
        lanes=[lane.label for lane in Lane],
        sources=sorted(request.app.state.backend.sources),
    )


@post("/pauses")
async def pause(request: WebRequest) -> Response[str]:
    """Hold a lane, a source, both together or all mail back."""
    form = await read_form(request)
    try:
        fields = {name: form.get(name) for name in ("reason", "lane", "source")}
        ends = until_ms("ends", form.get("ends", ""))
        made = await order(post_pause, request, {**fields, "ends_at_ms": ends})
    except Problem as problem:
        return told(problem, _HERE)
    what = " of ".join(part for part in (made.lane, made.source) if part) or "all mail"
    return redirect(_HERE, Flash("done", f"Paused: {what}. What a sender has still goes out."))


@post("/pauses/{pause_id:int}/end")
async def resume(request: WebRequest, pause_id: PauseId) -> Response[str]:
    """Let mail go again."""
    form = await read_form(request)
    try:
        await ask(delete_pause, request, pause_id=pause_id, why=reason_in(form))
    except Problem as problem:
        return told(problem, _HERE)
    return redirect(_HERE, Flash("done", "Resumed. What waited goes out now."))
