"""The page of addresses that get no mail."""

from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import urlencode

from litestar import Response, get, post
from litestar.params import QueryParameter

from mailworkers.web.console.asking import ask, order, read_form, told
from mailworkers.web.console.pages import Flash, page, redirect
from mailworkers.web.console.paths import CONSOLE
from mailworkers.web.console.verbs import until_ms
from mailworkers.web.deliveries import Cursor
from mailworkers.web.errors import Problem, bad_parameter
from mailworkers.web.orders import WebRequest
from mailworkers.web.queries import check_query
from mailworkers.web.suppressions import (
    Scope,
    SuppressionPage,
    delete_suppression,
    get_suppression,
    get_suppressions,
    put_suppression,
)
from mailworkers.web.tokens import needs

_HERE = f"{CONSOLE}/suppressions"
Wanted = Annotated[str | None, QueryParameter(name="address", max_length=1000)]


@get("/suppressions", guards=[needs("read")], before_request=check_query)
async def show_suppressions(
    request: WebRequest, wanted: Wanted = None, of_scope: Scope = None, cursor: Cursor = None
) -> Response[str]:
    """Show who gets no mail, by address; or whether one address does."""
    hint = ""
    try:
        if wanted:
            found = await ask(get_suppression, request, address=wanted)
        else:
            found = await ask(get_suppressions, request, of_scope=of_scope, cursor=cursor)
    except Problem as problem:
        if not wanted or problem.status not in (HTTPStatus.NOT_FOUND, HTTPStatus.BAD_REQUEST):
            raise
        found, hint = SuppressionPage([], None), _hint(problem)
    more = {"scope": of_scope or "", "cursor": found.next_cursor or ""}
    return page(
        request,
        "suppressions.html",
        found=found,
        hint=hint,
        wanted=wanted or "",
        of_scope=of_scope or "",
        is_later=cursor is not None,
        older=f"{_HERE}?{urlencode(more)}" if found.next_cursor else "",
        sources=sorted(request.app.state.backend.sources),
    )


def _hint(problem: Problem) -> str:
    if problem.status is HTTPStatus.NOT_FOUND:
        return "This address is not on the list: it gets mail."
    return problem.body.message


@post("/suppressions")
async def suppress(request: WebRequest) -> Response[str]:
    """Put an address on the list."""
    form = await read_form(request)
    try:
        fields: dict[str, Any] = {
            "reason": form.get("reason"),
            "scope": form.get("scope"),
            "expires_at_ms": until_ms("expires", form.get("expires", "")),
        }
        address = _address(form)
        made = await order(put_suppression, request, fields, address=address)
    except Problem as problem:
        return told(problem, _HERE)
    return redirect(_HERE, Flash("done", f"{made.canonical} gets no more mail."))


@post("/suppressions/remove")
async def unsuppress(request: WebRequest) -> Response[str]:
    """Take an address off the list."""
    form = await read_form(request)
    try:
        reason, address = reason_in(form), _address(form)
        scope = form.get("scope") or None
        await ask(delete_suppression, request, address=address, why=reason, of_scope=scope)
    except Problem as problem:
        return told(problem, _HERE)
    return redirect(_HERE, Flash("done", f"{address} gets mail again."))


def _address(form: dict[str, str]) -> str:
    if not form.get("address"):
        raise bad_parameter("address", "is needed")
    return form["address"]


def reason_in(form: dict[str, str]) -> str:
    """Return why, as a DELETE of the API takes it."""
    reason = form.get("reason", "")
    if not 0 < len(reason) <= 500 or not reason.isprintable():
        raise bad_parameter("reason", "is needed, as one line: it stands in the audit trail")
    return reason
