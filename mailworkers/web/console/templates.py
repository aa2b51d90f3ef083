"""The pages of the template catalog: what there is, and what each makes in every locale."""

from typing import Annotated, Any
from urllib.parse import urlencode

import msgspec
from litestar import Response, get
from litestar.params import QueryParameter

from mailworkers.web.console.asking import ask, order
from mailworkers.web.console.deliveries import framed
from mailworkers.web.console.pages import page
from mailworkers.web.console.paths import CONSOLE
from mailworkers.web.errors import Problem, bad_parameter
from mailworkers.web.orders import WebRequest
from mailworkers.web.previews import TemplatePreview, preview_template
from mailworkers.web.queries import check_query
from mailworkers.web.templates import TemplateDetail, TemplateId, get_template, get_templates
from mailworkers.web.tokens import needs

# In the address of the frame, which has to fit into the header of a request.
_LONGEST = 12_000
Locale = Annotated[str | None, QueryParameter(name="locale", max_length=100)]
Variables = Annotated[str | None, QueryParameter(name="v", max_length=_LONGEST)]


class Made(msgspec.Struct, frozen=True):
    """What a template makes in one locale, or why it makes nothing."""

    locale: str
    preview: TemplatePreview | None
    problem: str
    frame: str


@get("/templates", guards=[needs("read")], before_request=check_query)
async def show_templates(request: WebRequest) -> Response[str]:
    """Show the catalog as the api loaded it."""
    return page(request, "templates.html", catalog=await ask(get_templates, request))


# Without `check_query`: what a person writes as JSON has lines.
@get("/templates/{template_id:str}", guards=[needs("read")])
async def show_template(
    request: WebRequest, template_id: TemplateId, locale: Locale = None, text: Variables = None
) -> Response[str]:
    """Show what a template makes of some variables, in one locale or in all it has."""
    template: TemplateDetail = await ask(get_template, request, template_id=template_id)
    written = text if text is not None else _samples(template)
    hint, made = "", []
    try:
        variables = _variables(written)
        wanted = [locale] if locale else template.locales
        made = [await _make(request, template_id, one, variables, written) for one in wanted]
    except Problem as problem:
        hint = problem.body.message
    return page(
        request,
        "template.html",
        template=template,
        locale=locale or "",
        written=written,
        made=made,
        hint=hint,
    )


async def _make(
    request: WebRequest, template_id: str, locale: str, variables: dict[str, Any], written: str
) -> Made:
    query = urlencode({"locale": locale, "v": written})
    frame = f"{CONSOLE}/templates/{template_id}/html?{query}"
    try:
        preview = await _preview(request, template_id, locale, variables)
    except Problem as problem:
        return Made(locale, None, problem.body.message, "")
    return Made(locale, preview, "", frame)


async def _preview(
    request: WebRequest, template_id: str, locale: str, variables: dict[str, Any]
) -> TemplatePreview:
    fields = {"locale": locale, "variables": variables}
    found: TemplatePreview = await order(preview_template, request, fields, template_id=template_id)
    return found


@get("/templates/{template_id:str}/html", guards=[needs("read")])
async def frame_preview(
    request: WebRequest, template_id: TemplateId, locale: Locale = None, text: Variables = None
) -> Response[str]:
    """Serve the HTML a template makes, for a frame that may do nothing but show it."""
    made = await _preview(request, template_id, locale or "en", _variables(text or "{}"))
    return framed(made.html_body or "")


def _samples(template: TemplateDetail) -> str:
    """Return what the contract shows as an example, as a person may change it."""
    samples = {v.name: v.sample for v in template.variables if v.sample is not msgspec.UNSET}
    return msgspec.json.format(msgspec.json.encode(samples), indent=2).decode()


def _variables(written: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(written, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise bad_parameter("variables", f"are not a JSON object: {error}") from None
