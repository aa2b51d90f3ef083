"""The page of what operators did."""

from urllib.parse import urlencode

from litestar import Response, get

from mailworkers.web.console.asking import ask
from mailworkers.web.console.pages import page
from mailworkers.web.console.paths import CONSOLE
from mailworkers.web.deliveries import Cursor
from mailworkers.web.orders import WebRequest
from mailworkers.web.overview import Subject, get_actions
from mailworkers.web.queries import check_query
from mailworkers.web.tokens import needs


@get("/audit", guards=[needs("read")], before_request=check_query)
async def show_audit(
    request: WebRequest, subject: Subject = None, cursor: Cursor = None
) -> Response[str]:
    """Show who did what to what, before, after, why; newest first."""
    found = await ask(get_actions, request, subject=subject, cursor=cursor)
    more = {"subject": subject or "", "cursor": found.next_cursor or ""}
    return page(
        request,
        "audit.html",
        found=found,
        subject=subject or "",
        is_later=cursor is not None,
        older=f"{CONSOLE}/audit?{urlencode(more)}" if found.next_cursor else "",
    )
