"""What a page says when it cannot be shown: what is wrong, and where to go from here."""

from http import HTTPStatus
from typing import Any

from litestar import Request, Response
from litestar.types import Send

from mailworkers.web.console.pages import PAGES, page
from mailworkers.web.errors import Problem, as_problem, internal_error

_TITLES = {
    HTTPStatus.BAD_REQUEST: "That cannot be read",
    HTTPStatus.FORBIDDEN: "Not allowed",
    HTTPStatus.NOT_FOUND: "Not here",
    HTTPStatus.GONE: "No longer here",
    HTTPStatus.CONFLICT: "Not possible now",
    HTTPStatus.SERVICE_UNAVAILABLE: "Not available now",
    HTTPStatus.INTERNAL_SERVER_ERROR: "Our mistake",
}
_ADVICE = {
    HTTPStatus.BAD_REQUEST: "Check the address, or start again from the list.",
    HTTPStatus.FORBIDDEN: "Log in with a token that has the scope, or ask whoever makes tokens.",
    HTTPStatus.NOT_FOUND: "It may have been deleted by retention. Search for its recipient.",
    HTTPStatus.GONE: "Retention deleted it; its story is still told on the delivery's page.",
    HTTPStatus.SERVICE_UNAVAILABLE: "Reload in a moment. `mailworkers doctor` says what is wrong.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "The log of the role api has it as `request failed`.",
}


def respond(request: Request[Any, Any, Any], error: Exception) -> Response[str]:
    """Answer *error* as a page, and record it when it is a surprise."""
    problem = as_problem(error)
    if problem is None:
        request.app.state.report(error)
        problem = internal_error()
    answer = page(request, "error.html", status=problem.status, **_words(problem))
    answer.headers.update(problem.headers)
    return answer


async def send_problem(problem: Problem, send: Send) -> None:
    """Send *problem* as a page to a browser of which nothing is known yet."""
    frame: dict[str, Any] = {
        "path": "",
        "principal": None,
        "scopes": frozenset(),
        "csrf": "",
        "flash": None,
    }
    body = PAGES.render("error.html", {**frame, **_words(problem)}).encode()
    headers = [
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        *((name.lower().encode(), value.encode()) for name, value in problem.headers.items()),
    ]
    await send({"type": "http.response.start", "status": int(problem.status), "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _words(problem: Problem) -> dict[str, Any]:
    return {
        "title": _TITLES.get(problem.status, problem.status.phrase),
        "message": problem.body.message,
        "advice": _ADVICE.get(problem.status, ""),
        "code": int(problem.status),
    }
