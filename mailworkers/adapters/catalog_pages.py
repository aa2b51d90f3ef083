"""Templates compiled: what each says in each locale, and how it is rendered."""

from collections.abc import Mapping
from typing import Any

import jinja2
import msgspec
from jinja2.debug import rewrite_traceback_stack
from jinja2.exceptions import SecurityError

from mailworkers.adapters.catalog_budget import MAX_TEXT, refuse_length
from mailworkers.adapters.catalog_sandbox import Sandbox
from mailworkers.adapters.catalog_text import text_of
from mailworkers.core.contracts import TemplateContract
from mailworkers.core.errors import TemplateError
from mailworkers.core.intake import Rendered
from mailworkers.core.locales import direction
from mailworkers.core.refusals import FailureCode

SOURCES = (".txt", ".html", ".mjml")


class Page(msgspec.Struct, frozen=True):
    """A template in one locale, compiled; without *text* it is made of the *html*."""

    subject: jinja2.Template
    text: jinja2.Template | None
    html: jinja2.Template | None


class CatalogTemplate(msgspec.Struct, frozen=True):
    """A template: its contract, its pages by locale, a version that changes with its sources."""

    template_id: str
    version: str
    contract: TemplateContract
    pages: Mapping[str, Page]


def render_page(
    sandbox: Sandbox, template: CatalogTemplate, locale: str, variables: Mapping[str, Any]
) -> Rendered:
    """Return *template* in *locale*, which it has, with *variables*, which are bound.

    Raises TemplateError (render_failed): `file:line: reason`, which repeats no value.
    """
    page = template.pages[locale]
    context = {
        **sandbox.globals,
        **variables,
        "locale": locale,
        "direction": direction(locale),
    }
    sandbox.budget.refill()
    subject = _write(page.subject, context)
    html = _write(page.html, context) if page.html is not None else None
    return Rendered(
        subject=subject,
        text=_write(page.text, context) if page.text is not None else _derive(page, html),
        html=html,
        template_id=template.template_id,
        template_version=template.version,
        locale=locale,
        mail=template.contract.mail_for(variables),
    )


def _write(template: jinja2.Template, context: dict[str, Any]) -> str:
    """Return what *template* says."""
    try:
        # As Template.render does, but the globals are not merged anew: a third of its cost.
        pieces = list(template.root_render_func(template.new_context(context, shared=True)))
        if sum(map(len, pieces)) > MAX_TEXT:
            refuse_length()
        return "".join(pieces)
    except Exception:
        error = rewrite_traceback_stack()
        detail = f"{_place(error, template)}: {_reason(error)}"
        raise TemplateError(FailureCode.RENDER_FAILED, detail) from None


def _derive(page: Page, html: str | None) -> str:
    """Return the text made of *html*."""
    try:
        return text_of(html or "")
    except Exception as error:
        name = page.html.filename if page.html is not None else ""
        detail = f"{name}:1: no text could be made of this: {type(error).__name__}"
        raise TemplateError(FailureCode.RENDER_FAILED, detail) from None


def _reason(error: BaseException) -> str:
    """Return what *error* says where it speaks of names, else just its kind: values are private."""
    told = isinstance(error, jinja2.UndefinedError | SecurityError)
    return str(error) if told else type(error).__name__


def _place(error: BaseException, template: jinja2.Template) -> str:
    """Return the file and line that raised *error*: Jinja rewrites tracebacks to the sources."""
    place, traceback = f"{template.filename}:1", error.__traceback__
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if file.endswith(SOURCES):
            place = f"{file}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return place
