"""The route that shows what a template makes."""

from http import HTTPStatus
from typing import Annotated, Any

import msgspec
from litestar import Response, post
from litestar.params import QueryParameter

from mailworkers.adapters.previews import Previewer
from mailworkers.core.commands import MAX_BODY
from mailworkers.core.deliveries import NewDelivery
from mailworkers.core.payloads import PATH
from mailworkers.core.refusals import Refusal, Refused, bad_value, unknown_field
from mailworkers.core.strictjson import parse_object
from mailworkers.web.answers import Header
from mailworkers.web.backend import backend_of
from mailworkers.web.bodies import read_body
from mailworkers.web.content import read_content
from mailworkers.web.errors import refused
from mailworkers.web.examples import PREVIEW
from mailworkers.web.orders import WebRequest
from mailworkers.web.queries import check_query
from mailworkers.web.templates import TemplateId, find_template
from mailworkers.web.tokens import needs


class PreviewRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """With what to make it; `samples` stand in for variables that are not given."""

    locale: str | None = None
    variables: dict[str, Any] = {}
    samples: bool = True


class TemplatePreview(msgspec.Struct, frozen=True):
    """The message a template makes, decoded; `locale` is the one that was taken, sizes in bytes."""

    template_id: str
    version: str
    locale: str
    lane: str
    subject: str
    headers: list[Header]
    text_body: str | None
    html_body: str | None
    message_size: int
    text_size: int
    html_size: int


@post(
    "/templates/{template_id:str}/preview",
    status_code=HTTPStatus.OK,
    guards=[needs("read")],
    before_request=check_query,
    operation_id="previewTemplate",
    summary="Show what a template makes",
    tags=["templates"],
    opt={
        "answer": TemplatePreview,
        "also": ("message/rfc822",),
        "body": (PreviewRequest,),
        "examples": PREVIEW,
        "errors": (HTTPStatus.NOT_FOUND,),
    },
)
async def preview_template(
    request: WebRequest,
    template_id: TemplateId,
    raw: Annotated[
        bool, QueryParameter(description="true: the message itself, as message/rfc822")
    ] = False,
) -> Response[TemplatePreview | bytes]:
    """Make the message of a template as intake makes it, and show it; nothing is stored or sent.

    What intake would refuse is refused, with the same code. It is addressed to reader@example.com,
    and never signed.
    """
    backend = backend_of(request)
    find_template(backend.catalog, template_id)
    body = await read_body(request, MAX_BODY)

    def job(previewer: Previewer) -> TemplatePreview | bytes:
        delivery = _compose(previewer, template_id, body)
        return delivery.mime if raw else _preview(delivery)

    made = await backend.preview(job)
    return Response(made, media_type="message/rfc822" if raw else "application/json")


def _compose(previewer: Previewer, template_id: str, body: bytes) -> NewDelivery:
    """Return the delivery that *body* asks to see, or raise the answer that refuses it."""
    try:
        asked = _read(body)
    except Refused as error:
        raise refused(error.refusal()) from None
    result = previewer.compose(
        template_id,
        previewer.catalog.default_locale if asked.locale is None else asked.locale,
        asked.variables,
        samples=asked.samples,
    )
    if isinstance(result, Refusal):
        raise refused(_as_asked(result))
    return result


def _read(body: bytes) -> PreviewRequest:
    """Return what *body* asks for, or raise `Refused` naming the field."""
    given = parse_object(body, path="body")
    if given.get("locale", "") is None:  # as if it were not there
        del given["locale"]
    for name, value in given.items():
        if name not in _KINDS:
            raise unknown_field(name)
        kind, said = _KINDS[name]
        if not isinstance(value, kind):
            raise bad_value(name, f"is not {said}")
    return PreviewRequest(**given)


_KINDS: dict[str, tuple[type, str]] = {
    "locale": (str, "a string"),
    "variables": (dict, "an object"),
    "samples": (bool, "true or false"),
}


def _as_asked(refusal: Refusal) -> Refusal:
    """Return *refusal* of the command in the words of the body it was made of."""
    prefix = f"{PATH}."
    detail, path = refusal.detail.removeprefix(prefix), refusal.path.removeprefix(prefix)
    return msgspec.structs.replace(refusal, detail=detail, path=path)


def _preview(delivery: NewDelivery) -> TemplatePreview:
    content = read_content(delivery.delivery_id, delivery.mime)
    return TemplatePreview(
        template_id=delivery.template_id or "",
        version=delivery.template_version or "",
        locale=delivery.locale or "",
        lane=delivery.lane.label,
        subject=content.subject,
        headers=content.headers,
        text_body=content.text_body,
        html_body=content.html_body,
        message_size=len(delivery.mime),
        text_size=len((content.text_body or "").encode()),
        html_size=len((content.html_body or "").encode()),
    )
