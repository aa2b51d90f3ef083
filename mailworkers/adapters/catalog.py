"""The template catalog: every template compiled, checked and tried at load, then fixed.

Nothing is read at render time, so a change needs a restart. Values are escaped in `.html`, nowhere
else, and never rendered again. Templates are the operator's and trusted with what they say; what
they can make of a stranger's value is bounded.
"""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jinja2
import msgspec
from jinja2 import meta, nodes
from jinja2.debug import rewrite_traceback_stack
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from mailworkers.adapters.template_files import (
    CONTRACT,
    HTML,
    SUBJECT,
    TEXT,
    TemplateFiles,
    TemplateFolder,
    markup_fault,
    packaged_directory,
    read_templates,
    wrong,
)
from mailworkers.core.contracts import BUILT_IN, TemplateContract
from mailworkers.core.errors import ConfigError, TemplateError
from mailworkers.core.intake import Rendered
from mailworkers.core.locales import direction, fallbacks
from mailworkers.core.refusals import FailureCode

__all__ = ["Catalog", "CatalogTemplate", "Page", "packaged_directory"]

MAX_OUTPUT = 2 * 1024 * 1024  # characters of one rendered part


class Page(msgspec.Struct, frozen=True):
    """A template in one locale, compiled."""

    subject: jinja2.Template
    text: jinja2.Template
    html: jinja2.Template | None


class CatalogTemplate(msgspec.Struct, frozen=True):
    """A template: its contract, its pages by locale, a version that changes with its sources."""

    template_id: str
    version: str
    contract: TemplateContract
    pages: Mapping[str, Page]


class Catalog:
    """All templates of an installation by their ids; immutable."""

    def __init__(self, templates: Mapping[str, CatalogTemplate], default_locale: str) -> None:
        self.templates = templates
        self.default_locale = default_locale

    @classmethod
    def load(cls, directory: Path) -> "Catalog":
        """Return the catalog in *directory*, all of it checked, and tried with its samples.

        Raises ConfigError, one line: `file:line: what is wrong`.
        """
        files = read_templates(directory)
        loader = _Loader(files)
        templates = {folder.template_id: loader.template(folder) for folder in files.folders}
        return cls(templates, files.default_locale)

    def render(self, template_id: str, locale: str, variables: Mapping[str, Any]) -> Rendered:
        """Return the template for *locale*, which is canonical, or for the nearest there is.

        `pt-BR` falls back to `pt`, and that to the catalog's default locale. Raises TemplateError:
        unknown_template, template_variables, or render_failed; its detail repeats no value.
        """
        template = self.templates.get(template_id)
        if template is None:
            raise TemplateError(FailureCode.UNKNOWN_TEMPLATE, "there is no such template")
        bound = template.contract.bind(variables)
        chain = fallbacks(locale, self.default_locale)
        return _render(template, next(tag for tag in chain if tag in template.pages), bound)


def _render(template: CatalogTemplate, locale: str, variables: Mapping[str, Any]) -> Rendered:
    page = template.pages[locale]
    context = {
        **page.text.environment.globals,
        **variables,
        "locale": locale,
        "direction": direction(locale),
    }
    return Rendered(
        subject=_write(page.subject, context),
        text=_write(page.text, context),
        html=_write(page.html, context) if page.html else None,
        template_id=template.template_id,
        template_version=template.version,
        locale=locale,
    )


def _write(template: jinja2.Template, context: dict[str, Any]) -> str:
    """Return what *template* says; TemplateError (render_failed) reads `file:line: reason`."""
    try:
        # As Template.render does, but the globals are not merged anew: a third of its cost.
        pieces = template.root_render_func(template.new_context(context, shared=True))
        return "".join(_bounded(pieces))
    except Exception:
        error = rewrite_traceback_stack()
        detail = f"{_place(error, template)}: {_reason(error)}"
        raise TemplateError(FailureCode.RENDER_FAILED, detail) from None


def _bounded(pieces: Iterator[str]) -> Iterator[str]:
    room = MAX_OUTPUT
    for piece in pieces:
        room -= len(piece)
        if room < 0:
            raise SecurityError(f"more than {MAX_OUTPUT} characters")
        yield piece


def _reason(error: BaseException) -> str:
    """Return what *error* says where it speaks of names, else just its kind: values are private."""
    told = isinstance(error, jinja2.UndefinedError | SecurityError)
    return str(error) if told else type(error).__name__


def _place(error: BaseException, template: jinja2.Template) -> str:
    """Return the file and line that raised *error*: Jinja rewrites tracebacks to the sources."""
    place, traceback = f"{template.name}:1", error.__traceback__
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if file.endswith((".txt", ".html")):
            place = f"{file}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return place


_PADDING = frozenset({"center", "expandtabs", "format", "format_map", "ljust", "rjust", "zfill"})


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja without what could escape, guess, or blow up a short value into a long one (M-16)."""

    intercepted_binops = frozenset({"*", "**", "%"})

    def __init__(self, sources: Mapping[str, str]) -> None:
        super().__init__(
            loader=jinja2.FunctionLoader(
                lambda name: (sources[name], name, None) if name in sources else None
            ),
            autoescape=lambda name: name is not None and name.endswith(".html"),
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
            cache_size=-1,
        )
        for name in ("center", "format", "random", "safe", "xmlattr"):
            del self.filters[name]
        del self.globals["lipsum"]

    def call_binop(
        self, context: jinja2.runtime.Context, operator: str, left: Any, right: Any
    ) -> Any:
        """Return the result of `*` or `%` of two numbers of 64 bits; refuse any other use."""
        small = all(isinstance(n, int | float) and abs(n) < 2**63 for n in (left, right))
        if operator == "**" or not small:
            raise SecurityError(f"`{operator}` is not for these values")
        return super().call_binop(context, operator, left, right)

    def wrap_str_format(self, value: Any) -> None:
        """Leave str.format to `is_safe_attribute`, which refuses it: it pads too."""

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Return whether a template may use this attribute: none that pads to any width."""
        return attr not in _PADDING and super().is_safe_attribute(obj, attr, value)


class _Loader:
    """Compiles and checks one folder after the other; whatever is wrong is a ConfigError."""

    def __init__(self, files: TemplateFiles) -> None:
        self.files = files
        self.sandbox = _Sandbox(files.sources)

    def template(self, folder: TemplateFolder) -> CatalogTemplate:
        """Return the compiled template of *folder*, tried with its samples in every locale."""
        used = {f"{folder.template_id}/{CONTRACT}"}
        pages = {}
        for locale, names in folder.files.items():
            within = f"{folder.template_id}/{locale}"
            for name in sorted(names):
                used |= self._check(f"{within}/{name}", folder.contract, ())
            subject, text = (self._compile(f"{within}/{name}") for name in (SUBJECT, TEXT))
            html = self._compile(f"{within}/{HTML}") if HTML in names else None
            pages[locale] = Page(subject, text, html)
        template = CatalogTemplate(folder.template_id, self._version(used), folder.contract, pages)
        for locale in pages:
            self._try(template, locale)
        return template

    def _wrong(self, name: str, line: int, reason: str) -> ConfigError:
        return wrong(self.files.directory, name, line, reason)

    def _version(self, names: set[str]) -> str:
        content = "\0".join(f"{name}\0{self.files.sources[name]}" for name in sorted(names))
        return hashlib.sha256(content.encode()).hexdigest()[:12]

    def _compile(self, name: str) -> jinja2.Template:
        try:
            return self.sandbox.get_template(name)
        except jinja2.TemplateSyntaxError as error:
            raise self._wrong(error.name or name, error.lineno, str(error.message)) from None

    def _try(self, template: CatalogTemplate, locale: str) -> None:
        """Render *template* with its samples, and again with only what is required."""
        contract = template.contract
        examples = contract.examples()
        required = {name: examples[name] for name, v in contract.variables.items() if v.is_required}
        for variables in (examples, contract.bind(required)):
            try:
                rendered = _render(template, locale, variables)
            except TemplateError as error:
                detail = f"{self.files.directory}/{error.detail} (with the samples)"
                raise ConfigError(detail) from None
            if not rendered.subject.strip() or len(rendered.subject.splitlines()) > 1:
                name = f"{template.template_id}/{locale}/{SUBJECT}"
                raise self._wrong(name, 1, "the subject is not one line")

    def _check(self, name: str, contract: TemplateContract, above: tuple[str, ...]) -> set[str]:
        """Check the file *name* and all it extends or includes; return the names of all.

        Args:
            above: the files on the way here; what they set is known in this one.
        """
        self._compile(name)
        tree = self.sandbox.parse(self.files.sources[name], name)
        above = (*above, name)
        known = BUILT_IN | contract.variables.keys() | self._set_in(above)
        for variable in sorted(meta.find_undeclared_variables(tree) - known):
            line = next(n.lineno for n in tree.find_all(nodes.Name) if n.name == variable)
            raise self._wrong(name, line, f"the contract declares no variable {variable}")
        if name.endswith(".html"):
            line, fault = markup_fault(self.files.sources[name], contract)
            if fault:
                raise self._wrong(name, line, fault)
        used = {name}
        for reference in self._references(name, tree, above):
            used |= self._check(reference, contract, above)
        return used

    def _set_in(self, names: tuple[str, ...]) -> set[str]:
        """Return the variables that the files *names* set themselves."""
        trees = (self.sandbox.parse(self.files.sources[name], name) for name in names)
        found = (node for tree in trees for node in tree.find_all(nodes.Name))
        return {node.name for node in found if node.ctx == "store"}

    def _references(self, name: str, tree: nodes.Template, above: tuple[str, ...]) -> Iterator[str]:
        """Yield the files that *name* extends or includes; refuse what escapes these checks."""
        for node in tree.find_all(_REFUSED):
            raise self._wrong(name, node.lineno, "import and autoescape cannot be used here")
        found: list[nodes.Extends | nodes.Include] = list(tree.find_all(nodes.Extends))
        found.extend(tree.find_all(nodes.Include))
        for line, given in ((node.lineno, node.template) for node in found):
            reference = given.value if isinstance(given, nodes.Const) else None
            if not isinstance(reference, str) or reference not in self.files.sources:
                raise self._wrong(name, line, "this must be the name of a file, in quotes")
            if Path(reference).suffix != Path(name).suffix:
                raise self._wrong(name, line, "HTML and text cannot be put into each other")
            if reference in above:
                raise self._wrong(name, line, f"{reference} would contain itself")
            yield reference


_REFUSED = (
    nodes.Import,
    nodes.FromImport,
    nodes.EvalContextModifier,
    nodes.ScopedEvalContextModifier,
)
