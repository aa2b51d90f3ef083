"""The template catalog: every template compiled, checked and tried at load, then fixed.

Nothing is read at render time, so a change needs a restart. Values are escaped in HTML, nowhere
else, and never rendered again. Templates are the operator's and trusted with what they say; what
they can make of a stranger's value is bounded.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mailworkers.adapters.catalog_checks import Workshop
from mailworkers.adapters.catalog_pages import CatalogTemplate, Page, render_page
from mailworkers.adapters.catalog_sandbox import Sandbox
from mailworkers.adapters.template_files import Problem, packaged_directory, read_templates
from mailworkers.core.errors import ConfigError, TemplateError
from mailworkers.core.intake import Rendered
from mailworkers.core.locales import fallbacks
from mailworkers.core.refusals import FailureCode

__all__ = ["Catalog", "CatalogTemplate", "Page", "Problem", "examine", "packaged_directory"]


class Catalog:
    """All templates of an installation by their ids; immutable.

    *warnings* are what is allowed in its files and probably not meant.
    """

    def __init__(
        self,
        templates: Mapping[str, CatalogTemplate],
        default_locale: str,
        sandbox: Sandbox | None = None,
        warnings: tuple[Problem, ...] = (),
    ) -> None:
        self.templates = templates
        self.default_locale = default_locale
        self.warnings = warnings
        self._sandbox = sandbox or Sandbox({})

    @classmethod
    def load(cls, directory: Path) -> "Catalog":
        """Return the catalog in *directory*, all of it checked, and tried with its samples.

        Raises ConfigError, one line: `file:line: what is wrong`, of the first thing that is.
        """
        catalog, problems = examine(directory)
        if catalog is None:
            first, *others = [problem for problem in problems if not problem.is_warning]
            more = f" ({len(others)} more: `mailworkers templates check`)" if others else ""
            raise ConfigError(f"{directory}/{first}{more}")
        return catalog

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
        nearest = next(tag for tag in chain if tag in template.pages)
        return render_page(self._sandbox, template, nearest, bound)


def examine(directory: Path) -> tuple[Catalog | None, list[Problem]]:
    """Return the catalog in *directory*, None if it is broken, and all that is wrong or doubtful.

    Raises ConfigError when there is no catalog at all.
    """
    files = read_templates(directory)
    workshop = Workshop(files)
    made = [workshop.template(folder) for folder in files.folders]
    workshop.sandbox.forget_studies()
    problems = workshop.problems
    if any(not problem.is_warning for problem in problems):
        return None, problems
    templates = {template.template_id: template for template in made if template is not None}
    return Catalog(templates, files.default_locale, workshop.sandbox, tuple(problems)), problems
