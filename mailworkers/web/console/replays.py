"""Sending dead letters again from the console: counting first, the order, then its progress."""

from typing import Any

from litestar import Response, get, post

from mailworkers.web.console.asking import Form, ask, order, read_form, told
from mailworkers.web.console.dead_letters import FILTERS, HERE
from mailworkers.web.console.pages import Flash, page, redirect
from mailworkers.web.console.paths import CONSOLE
from mailworkers.web.console.verbs import until_ms
from mailworkers.web.errors import Problem, bad_parameter
from mailworkers.web.orders import WebRequest
from mailworkers.web.queries import check_query
from mailworkers.web.replays import ReplayId, get_replay, post_replay, post_replay_cancel
from mailworkers.web.tokens import needs


@post("/dead-letters/plan")
async def plan_replay(request: WebRequest) -> Response[str]:
    """Say what a replay would do: how many, how long, what stands in the way. Nothing changes."""
    form = await read_form(request)
    try:
        fields = {**_order(form), "dry_run": True}
        found = await order(post_replay, request, {**fields, "reason": "a dry run"})
    except Problem as problem:
        return page(request, "plan.html", plan=None, message=problem.body.message, form=form)
    return page(request, "plan.html", plan=found.plan, message="", form=form)


@post("/dead-letters/replay")
async def replay(request: WebRequest) -> Response[str]:
    """Order that dead letters are sent again, so many a second."""
    form = await read_form(request)
    try:
        fields = {**_order(form), "reason": form.get("reason")}
        found = await order(post_replay, request, fields)
    except Problem as problem:
        return told(problem, HERE)
    text = "Ordered. A scheduler spreads them over time; this page counts."
    return redirect(f"{CONSOLE}/replays/{found.replay_id}", Flash("done", text))


def _order(form: Form) -> dict[str, Any]:
    """Return what a form orders, as the API takes it: those marked, or all that fit the filters."""
    listed = {name: form[name] for name in FILTERS if form.get(name)}
    wanted: dict[str, Any] = {
        name: [value] if name in ("cause", "source", "lane") else value
        for name, value in listed.items()
    }
    if form.get("which") == "marked":
        if not form.picked:
            raise bad_parameter("pick", "no dead letter is marked")
        wanted = {"dead_letter_ids": list(form.picked)}
    if form.get("resolved") == "true":
        wanted["resolved"] = True
    return {
        "filter": wanted,
        "rate_per_second": _rate(form.get("rate", "")),
        "expires_at_ms": until_ms("expires", form.get("expires", "")),
    }


def _rate(text: str) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        raise bad_parameter("rate", "is not a number of deliveries a second") from None


@get("/replays/{replay_id:int}", guards=[needs("read")], before_request=check_query)
async def show_replay(request: WebRequest, replay_id: ReplayId) -> Response[str]:
    """Show how far a replay is, and what became of its deliveries."""
    found = await ask(get_replay, request, replay_id=replay_id)
    return page(request, "replay.html", replay=found)


@post("/replays/{replay_id:int}/cancel")
async def cancel_replay(request: WebRequest, replay_id: ReplayId) -> Response[str]:
    """Stop a replay; what still waits for its time becomes a dead letter again."""
    back = f"{CONSOLE}/replays/{replay_id}"
    form = await read_form(request)
    try:
        fields = {"reason": form.get("reason")}
        await order(post_replay_cancel, request, fields, replay_id=replay_id)
    except Problem as problem:
        return told(problem, back)
    return redirect(back, Flash("done", "Stopped. What was not sent yet is put back as it was."))
