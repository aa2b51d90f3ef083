"""HTML from Jinja templates of ours: every value is escaped, a misspelt one is an error.

Not the mail templates' sandbox: these files are part of the program and trusted like its code.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

__all__ = ["HtmlPages", "Markup"]


class HtmlPages:
    """The templates in *directory*, compiled when they are first shown and then kept."""

    def __init__(
        self,
        directory: Path,
        *,
        filters: Mapping[str, Callable[..., Any]],
        values: Mapping[str, Any],
    ) -> None:
        self._environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(directory),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.filters.update(filters)
        self._environment.globals.update(values)

    def render(self, name: str, values: Mapping[str, Any]) -> str:
        """Return the page *name* with *values*; raises jinja2's errors, which are ours to mend."""
        return self._environment.get_template(name).render(values)
