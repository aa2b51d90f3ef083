"""What can go wrong, by whose fault it is.

MailworkersError
  x ConfigError                 the operator's: exit 78 at start, one line naming the setting
  x SchemaTooNew                this code is older than the schema allows: exit 78 at start
  x StoreUnavailable            Postgres or Redis is away: the role waits and tries again
  x RelayUnavailable            the relay gave no usable session: attempt recorded, never final
  x TemplateError               a template cannot be used, or refused its variables
  x ApiRefused                  the API said no to the command line: a token, a scope, a wrong wish
  x ApiUnavailable              the API that the command line was told to ask does not answer
"""

from collections.abc import Mapping
from typing import Any

from mailworkers.core.states import Stage
from mailworkers.core.wire import Reply


class MailworkersError(Exception):
    """The root of our own exceptions."""


class ConfigError(MailworkersError):
    """A setting is wrong; the message is one line that names it and what to do."""


class SchemaTooNew(MailworkersError):  # noqa: N818  it names the condition, as operators read it
    """The database schema refuses code as old as this."""


class StoreUnavailable(MailworkersError):  # noqa: N818
    """Postgres or Redis cannot be reached now."""

    def __init__(self, store: str, reason: str) -> None:
        super().__init__(f"{store} is away: {reason}")
        self.store = store
        self.reason = reason


class RelayUnavailable(MailworkersError):  # noqa: N818
    """No session with the relay: *stage* says where it ended, *reply* what it said, if anything."""

    def __init__(
        self, stage: Stage, reason: str, reply: Reply | None = None, *, timed_out: bool = False
    ) -> None:
        super().__init__(f"{stage}: {reason}")
        self.stage = stage
        self.reason = reason
        self.reply = reply
        self.timed_out = timed_out


class TemplateError(MailworkersError):
    """A template is unknown, wrong, or refused what it was given; *code* is a failure code."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class ApiRefused(MailworkersError):  # noqa: N818
    """The API answered with an error: *code* for programs, *message* for people, or both ""."""

    def __init__(
        self, url: str, status: int, code: str, message: str, details: Mapping[str, Any]
    ) -> None:
        super().__init__(f"{code}: {message}" if code else f"{url} answered {status}")
        self.url = url
        self.status = status
        self.code = code
        self.message = message
        self.details = details


class ApiUnavailable(MailworkersError):  # noqa: N818
    """The API cannot be asked now."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"{url}: {reason}")
        self.url = url
        self.reason = reason


def reason_of(error: BaseException) -> str:
    """Return the first line of what *error* says, the name of its kind when it says nothing."""
    return str(error).strip().split("\n", 1)[0] or type(error).__name__
