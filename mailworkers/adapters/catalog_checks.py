"""Makes the templates of a catalog's files, and finds whatever is wrong with them.

Each file is reviewed against the contract, styles are inlined, and each page is compiled and
rendered with its samples, and again with only what is required. What is wrong is noted, with file
and line, and the rest is looked at all the same.
"""

import hashlib
from collections.abc import Iterator

import jinja2
from css_inline import InlineError

from mailworkers.adapters.catalog_css import StyleInliner
from mailworkers.adapters.catalog_mjml import compile_mjml
from mailworkers.adapters.catalog_pages import CatalogTemplate, Page, render_page
from mailworkers.adapters.catalog_review import Facts, Review
from mailworkers.adapters.catalog_sandbox import Sandbox
from mailworkers.adapters.template_files import (
    HTML,
    MJML,
    SUBJECT,
    TEXT,
    Fault,
    Problem,
    TemplateFiles,
    TemplateFolder,
)
from mailworkers.core.errors import TemplateError
from mailworkers.core.headers import MessageError, refuse_controls
from mailworkers.core.intake import Rendered

CLIPPED = 100_000  # bytes of HTML: at 102 kB large mailboxes hide the rest of a message


class Workshop:
    """Makes templates of folders; *problems* are what it finds on the way."""

    def __init__(self, files: TemplateFiles) -> None:
        self.files = files
        self.problems = list(files.problems)
        self.sandbox = Sandbox(dict(files.sources))
        self._facts: dict[str, Facts] = {}
        self._variants: list[dict[str, str]] = []
        self._inliner = StyleInliner(self.sandbox.sources, self.sandbox.parse_plainly)

    def template(self, folder: TemplateFolder) -> CatalogTemplate | None:
        """Return the compiled template of *folder*, tried in every locale; None if it is wrong."""
        review = Review(self.sandbox, self.files, folder, self._facts)
        self.problems += review.problems
        if any(not problem.is_warning for problem in review.problems):
            return None
        try:
            pages = {locale: self._page(folder, locale) for locale in folder.files}
        except Fault as fault:
            self.problems.append(fault.problem)
            return None
        version = self._version(review.used_files)
        template = CatalogTemplate(folder.template_id, version, folder.contract, pages)
        tried = (problem for locale in pages for problem in self._try(template, locale))
        found = list(dict.fromkeys(tried))
        self.problems += found
        return None if any(not problem.is_warning for problem in found) else template

    def _version(self, names: set[str]) -> str:
        content = "\0".join(f"{name}\0{self.files.sources[name]}" for name in sorted(names))
        return hashlib.sha256(content.encode()).hexdigest()[:12]

    def _page(self, folder: TemplateFolder, locale: str) -> Page:
        names = folder.files[locale]
        within = f"{folder.template_id}/{locale}"
        html = None
        if HTML in names:
            html = load(self.sandbox, self._with_styles(f"{within}/{HTML}"))
        elif MJML in names:
            html = load(self.sandbox, compile_mjml(f"{within}/{MJML}", self.sandbox.sources))
        subject = load(self.sandbox, f"{within}/{SUBJECT}")
        text = load(self.sandbox, f"{within}/{TEXT}") if TEXT in names else None
        return Page(subject, text, html)

    def _with_styles(self, root: str) -> str:
        """Return the name of the page *root* with its styles inlined.

        A layout is compiled once for all pages in which its styles come out the same.
        """
        sources = self.sandbox.sources
        try:
            changed = self._inliner.inline(root)
        except InlineError as error:
            raise Fault(root, 1, f"its styles cannot be inlined: {error}") from None
        if not changed:
            return root
        shared = {name: text for name, text in changed.items() if name != root}
        if shared not in self._variants:
            self._variants.append(shared)
        variant = self._variants.index(shared)
        for name, text in {**shared, root: changed.get(root, sources[root])}.items():
            sources[f"{name}#{variant}"] = text
        return f"{root}#{variant}"

    def _try(self, template: CatalogTemplate, locale: str) -> Iterator[Problem]:
        """Render *template* with its samples, and again with only what is required."""
        contract = template.contract
        examples = contract.examples()
        required = {name: examples[name] for name, v in contract.variables.items() if v.is_required}
        for variables in (examples, contract.bind(required)):
            try:
                rendered = render_page(self.sandbox, template, locale, variables)
            except TemplateError as error:
                file, line, reason = error.detail.split(":", 2)
                yield Problem(file, int(line), f"{reason.strip()} (with the samples)")
                return
            yield from _doubts(f"{template.template_id}/{locale}", rendered)


def _doubts(within: str, rendered: Rendered) -> Iterator[Problem]:
    """Yield what is wrong with what the samples gave."""
    subject = rendered.subject
    if not subject.strip() or len(subject.splitlines()) > 1:
        yield Problem(f"{within}/{SUBJECT}", 1, "the subject is not one line")
        return
    try:
        refuse_controls("Subject", subject)
    except MessageError as error:
        yield Problem(f"{within}/{SUBJECT}", 1, str(error))
    size = len((rendered.html or "").encode())
    if size > CLIPPED:
        reason = f"{size} bytes with the samples: large mailboxes show only the first 100,000"
        yield Problem(f"{within}/{HTML}", 1, reason, is_warning=True)


def load(sandbox: Sandbox, name: str) -> jinja2.Template:
    """Return the compiled file *name*, or raise Fault."""
    sandbox.budget.refill()
    try:
        return sandbox.get_template(name)
    except jinja2.TemplateSyntaxError as error:
        raise Fault(error.filename or name, error.lineno, str(error.message)) from None
