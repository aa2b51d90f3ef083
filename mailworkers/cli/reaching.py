"""Where a command works: on the stores of this host's settings, or through the API elsewhere.

`--api URL`, or MAIL_API_URL, says that it is the API; then no other setting is needed. One and the
same code follows: `operations()` gives it what it asks for, whichever way.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mailworkers.core.errors import ApiRefused, ApiUnavailable, ConfigError

if TYPE_CHECKING:
    from mailworkers.cli.operations import Operations

URL, TOKEN = "MAIL_API_URL", "MAIL_API_TOKEN"
_KEPT = "mailworkers.api"
Command = TypeVar("Command", bound=Callable[..., Any])


def _keep(context: click.Context, _option: click.Parameter, url: str | None) -> None:
    context.meta[_KEPT] = url


def api_option(command: Command) -> Command:
    """Give *command* the option `--api`; `operations` and `api_url` know what it says."""
    return click.option(
        "--api",
        envvar=URL,
        metavar="URL",
        expose_value=False,
        callback=_keep,
        help=f"Ask the API there, with the token in {TOKEN}.  [env var: {URL}]",
    )(command)


def api_url() -> str | None:
    """Return the API that the running command was told to ask; None: the stores themselves."""
    return click.get_current_context().meta.get(_KEPT) or None


@contextmanager
def operations(command: str) -> "Iterator[Operations]":
    """Yield what *command* can ask and do, on the stores or through the API."""
    url = api_url()
    if url is None:
        from mailworkers.cli.on_host import HostOperations

        opened: Operations = HostOperations(command)
    else:
        from mailworkers.cli.by_http import HttpOperations

        opened = HttpOperations(url, read_token())
    try:
        yield opened
    finally:
        opened.close()


def read_token() -> str | None:
    """Return the token for the API, from MAIL_API_TOKEN or the file that MAIL_API_TOKEN_FILE names.

    Not an option: what stands in `argv` everybody on the host can read.
    """
    from mailworkers.adapters.secrets import read_secret

    token, path = os.environ.get(TOKEN), os.environ.get(f"{TOKEN}_FILE")
    if token and path:
        raise ConfigError(f"{TOKEN} and {TOKEN}_FILE are both set; keep one of them")
    if path:
        try:
            token = read_secret(path)
        except ValueError as error:
            raise ConfigError(f"{TOKEN}_FILE: {error}") from None
    if token and not (token.isascii() and token.isprintable() and " " not in token):
        raise ConfigError(f"{TOKEN} is no token: it holds a space, a line break or the like")
    return token or None


def next_step(error: ApiRefused | ApiUnavailable) -> str:
    """Return *error* in words, with what to do about it on a line of its own."""
    if isinstance(error, ApiUnavailable):
        return _unavailable(error)
    if error.status == 401:
        return _no_token(error)
    if error.status == 403 and "scope" in error.details:
        scope = error.details["scope"]
        return (
            f"{error.url}: this token may not do that, it lacks the scope {scope}\n"
            f"on that host: mailworkers tokens create NAME --scope {scope} --reason TEXT"
        )
    if error.status == 503:
        return f"{error.url}: {error.message}\n`mailworkers status` there says more"
    if not error.code:
        return f"{error}: is that the internal API?\n{URL} names it, such as http://127.0.0.1:8080"
    return str(error)


def _unavailable(error: ApiUnavailable) -> str:
    if error.reason.startswith("TLS: its certificate"):
        advice = "name the file with its authority in SSL_CERT_FILE"
    elif error.reason.startswith("TLS"):
        advice = "write http:// if the API has no TLS in front of it"
    else:
        advice = f"is `mailworkers api` running there? {URL} or --api says where"
    return f"{error.url} does not answer: {error.reason}\n{advice}"


def _no_token(error: ApiRefused) -> str:
    if os.environ.get(TOKEN) or os.environ.get(f"{TOKEN}_FILE"):
        return (
            f"{error.url}: the token in {TOKEN} is not valid: revoked, past its end, or of another "
            "installation\non that host: mailworkers tokens list"
        )
    return (
        f"{error.url} wants a token: set {TOKEN}, or {TOKEN}_FILE to a file that holds it\n"
        "on that host: mailworkers tokens create NAME --scope read --reason TEXT"
    )
