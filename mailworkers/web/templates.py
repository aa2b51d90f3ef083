"""Routes of the template catalog: what there is, and what each template takes."""

from datetime import timedelta
from http import HTTPStatus
from typing import Annotated, Any

import msgspec
from litestar import get
from litestar.params import PathParameter

from mailworkers.adapters.catalog import Catalog, CatalogTemplate
from mailworkers.core.contracts import Unsubscribe
from mailworkers.web.answers import Header
from mailworkers.web.backend import backend_of
from mailworkers.web.errors import ErrorCode, Problem
from mailworkers.web.orders import WebRequest
from mailworkers.web.queries import check_query
from mailworkers.web.tokens import needs

TemplateId = Annotated[str, PathParameter(description="the id of a template")]


class TemplateSummary(msgspec.Struct, frozen=True):
    """A template: what it is for, its languages, its kind of mail (`lane` null: the source's)."""

    template_id: str
    version: str
    description: str
    locales: list[str]
    lane: str | None


class TemplateList(msgspec.Struct, frozen=True):
    """The catalog by id; `warnings` is what is allowed in its files and probably not meant."""

    default_locale: str
    items: list[TemplateSummary]
    warnings: list[str]


class TemplateVariable(msgspec.Struct, frozen=True):
    """A variable: `default` stands in for one that is left out, `sample` shows what is meant."""

    name: str
    type: str
    description: str
    is_required: bool
    sample: Any = msgspec.UNSET
    default: Any = msgspec.UNSET


class TemplateDetail(TemplateSummary, frozen=True, kw_only=True):
    """All of a template's contract. A command's own sender, headers and times win over these."""

    sender: str | None = msgspec.field(name="from")
    reply_to: list[str]
    expires_after_ms: int | None
    headers: list[Header]
    unsubscribe: Unsubscribe | None
    variables: list[TemplateVariable]


@get(
    "/templates",
    guards=[needs("read")],
    before_request=check_query,
    operation_id="listTemplates",
    summary="Show the templates",
    tags=["templates"],
    opt={"answer": TemplateList},
)
async def get_templates(request: WebRequest) -> TemplateList:
    """List the catalog as this process loaded it: changed files count from the next start."""
    catalog = backend_of(request).catalog
    return TemplateList(
        catalog.default_locale,
        [_summary(template) for template in catalog.templates.values()],
        [str(problem) for problem in catalog.warnings],
    )


@get(
    "/templates/{template_id:str}",
    guards=[needs("read")],
    before_request=check_query,
    operation_id="getTemplate",
    summary="Show one template",
    tags=["templates"],
    opt={"answer": TemplateDetail, "errors": (HTTPStatus.NOT_FOUND,)},
)
async def get_template(request: WebRequest, template_id: TemplateId) -> TemplateDetail:
    """Show a template's contract: its variables, and what it says of its mail."""
    return _detail(find_template(backend_of(request).catalog, template_id))


def find_template(catalog: Catalog, template_id: str) -> CatalogTemplate:
    """Return a template, or raise the answer 404."""
    template = catalog.templates.get(template_id)
    if template is None:
        raise Problem(HTTPStatus.NOT_FOUND, ErrorCode.NOT_FOUND, "there is no such template")
    return template


def _summary(template: CatalogTemplate) -> TemplateSummary:
    lane = template.contract.mail.lane
    return TemplateSummary(
        template.template_id,
        template.version,
        template.contract.description,
        list(template.pages),
        lane.label if lane is not None else None,
    )


def _detail(template: CatalogTemplate) -> TemplateDetail:
    contract, mail = template.contract, template.contract.mail
    return TemplateDetail(
        **msgspec.structs.asdict(_summary(template)),
        sender=mail.sender,
        reply_to=list(mail.reply_to),
        expires_after_ms=_milliseconds(mail.expires_after),
        headers=[Header(name, value) for name, value in mail.headers],
        unsubscribe=contract.unsubscribe,
        variables=[
            TemplateVariable(name, v.type, v.description, v.is_required, v.sample, v.default)
            for name, v in contract.variables.items()
        ],
    )


def _milliseconds(span: timedelta | None) -> int | None:
    return None if span is None else span // timedelta(milliseconds=1)
