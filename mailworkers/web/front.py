"""What stands behind the internal listener: the API for programs, the console for people."""

from http import HTTPStatus

from litestar.types import ASGIApp, Receive, Scope, Send

from mailworkers.web.console.paths import CONSOLE


class Front:
    """An ASGI application that gives each request to the one whose path it is."""

    def __init__(self, api: ASGIApp, console: ASGIApp) -> None:
        self._api = api
        self._console = console

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; `/console` without its slash leads to the console."""
        path = scope["path"]
        if path == CONSOLE:
            await _lead_on(send)
        elif path.startswith(f"{CONSOLE}/"):
            await self._console(scope, receive, send)
        else:
            await self._api(scope, receive, send)


async def _lead_on(send: Send) -> None:
    headers = [(b"location", f"{CONSOLE}/".encode()), (b"content-length", b"0")]
    start = {"type": "http.response.start", "status": int(HTTPStatus.SEE_OTHER)}
    await send({**start, "headers": headers})  # type: ignore[arg-type]
    await send({"type": "http.response.body", "body": b"", "more_body": False})
