"""Style and script of the console: files of ours, named by what is in them, kept by browsers."""

import hashlib
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Annotated

from litestar import Response, get
from litestar.params import PathParameter

from mailworkers.web.console.paths import STATIC
from mailworkers.web.errors import not_found

_DIRECTORY = Path(__file__).parent / "static"
_TYPES = {
    "console.css": "text/css; charset=utf-8",
    "console.js": "text/javascript; charset=utf-8",
    "htmx.min.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}

Part = Annotated[str, PathParameter()]


@cache
def _read(name: str) -> tuple[bytes, str]:
    """Return a file and the mark of what is in it."""
    content = (_DIRECTORY / name).read_bytes()
    return content, hashlib.sha256(content).hexdigest()[:12]


def asset(name: str) -> str:
    """Return the path of the file *name*, another one whenever its content is."""
    return f"{STATIC}/{_read(name)[1]}/{name}"


@get("/static/{mark:str}/{name:str}")
async def get_asset(mark: Part, name: Part) -> Response[bytes]:
    """Serve one file; browsers may keep it for ever under a mark that fits."""
    if name not in _TYPES:
        raise not_found()
    content, right = _read(name)
    kept = "public, max-age=31536000, immutable" if mark == right else "no-cache"
    return Response(
        content,
        status_code=HTTPStatus.OK,
        media_type=_TYPES[name],
        headers={"Cache-Control": kept},
    )
