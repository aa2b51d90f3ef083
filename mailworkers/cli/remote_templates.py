"""The catalog that an API serves, asked from elsewhere: what it holds and what it makes."""

from typing import Any

import msgspec

from mailworkers.adapters.api_client import segment
from mailworkers.cli.http_pages import api_at, or_none
from mailworkers.core.contracts import Unsubscribe, Variable


class _Named(msgspec.Struct):
    template_id: str


class _List(msgspec.Struct):
    items: list[_Named]


class _Header(msgspec.Struct):
    name: str
    value: str


class _Variable(msgspec.Struct):
    name: str
    type: str
    description: str
    is_required: bool
    sample: Any = msgspec.UNSET
    default: Any = msgspec.UNSET


class RemoteTemplate(msgspec.Struct):
    """One template of the API's catalog, with its whole contract."""

    template_id: str
    version: str
    description: str
    locales: list[str]
    lane: str | None
    reply_to: list[str]
    expires_after_ms: int | None
    headers: list[_Header]
    unsubscribe: Unsubscribe | None
    variables: list[_Variable]
    sender: str | None = msgspec.field(name="from")


class _Made(msgspec.Struct):
    version: str
    locale: str
    lane: str


class RemoteMessage(msgspec.Struct, frozen=True):
    """The message that a template made there, and in which version, locale and lane."""

    mime: bytes
    version: str
    locale: str
    lane: str


class RemoteCatalog:
    """The templates of the API at *url*; ConfigError when that is not the URL of one."""

    def __init__(self, url: str, token: str | None) -> None:
        self._client = api_at(url, token)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def all(self) -> list[RemoteTemplate]:
        """Return every template, by id."""
        named = self._client.get("/templates", _List).items
        return [found for one in named if (found := self.find(one.template_id)) is not None]

    def find(self, template_id: str) -> RemoteTemplate | None:
        """Return one template, None where there is none of this id."""
        path = f"/templates/{segment(template_id)}"
        return or_none(lambda: self._client.get(path, RemoteTemplate))

    def preview(
        self, template_id: str, locale: str | None, variables: dict[str, Any]
    ) -> RemoteMessage:
        """Return the message a template makes; samples stand in for what is not in *variables*.

        Without *locale* it is the catalog's default. ApiRefused where intake would refuse it.
        """
        path = f"/templates/{segment(template_id)}/preview"
        body = {"locale": locale, "variables": variables}
        made = self._client.post(path, _Made, body)
        mime = self._client.post_for_bytes(path, body, [("raw", True)])
        return RemoteMessage(mime, made.version, made.locale, made.lane)


def facts_of(template: RemoteTemplate) -> dict[str, Any]:
    """Return what there is to know of *template*, in the form the command prints on the host."""
    expires = template.expires_after_ms
    return {
        "template_id": template.template_id,
        "version": template.version,
        "description": template.description,
        "locales": template.locales,
        "lane": template.lane,
        "from": template.sender,
        "reply_to": template.reply_to,
        "expires_after_seconds": None if expires is None else expires / 1000,
        "headers": {header.name: header.value for header in template.headers},
        "unsubscribe": template.unsubscribe,
        "variables": {
            it.name: {"is_required": it.is_required, "variable": _contract_of(it)}
            for it in template.variables
        },
    }


def _contract_of(variable: _Variable) -> Variable:
    return Variable(variable.type, variable.description, variable.sample, variable.default)
