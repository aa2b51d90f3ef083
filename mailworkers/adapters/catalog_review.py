"""What is wrong with the files of a template, found by reading them.

Each file is read once, whatever extends or includes it; what it uses is compared with the contract
of each template that it belongs to.
"""

from collections.abc import Mapping

import jinja2
import msgspec
from jinja2 import meta, nodes

from mailworkers.adapters.catalog_html import LINK
from mailworkers.adapters.catalog_sandbox import Sandbox
from mailworkers.adapters.catalog_text import NEEDED, is_available
from mailworkers.adapters.template_files import (
    CONTRACT,
    MJML,
    TEXT,
    Fault,
    Problem,
    TemplateFiles,
    TemplateFolder,
)
from mailworkers.core.contract_files import line_of
from mailworkers.core.contracts import BUILT_IN
from mailworkers.core.states import Lane

_REFUSED = (
    nodes.Import,
    nodes.FromImport,
    nodes.EvalContextModifier,
    nodes.ScopedEvalContextModifier,
)


class Facts(msgspec.Struct, frozen=True):
    """What there is to know of one file: names and references, each with its line."""

    unknown: Mapping[str, int]  # variables that it uses and does not set
    set_here: frozenset[str]
    links: tuple[tuple[str, int], ...]  # variables that begin a link
    refused: tuple[int, ...]
    references: tuple[tuple[str | None, int], ...]  # None where it is no file's name in quotes


def study(sandbox: Sandbox, name: str) -> Facts:
    """Return the facts of the file *name*, or raise Fault where Jinja cannot read it."""
    try:
        tree, unknown = _read(sandbox, name)
    except jinja2.TemplateSyntaxError as error:
        raise Fault(name, error.lineno, str(error.message)) from None
    everything = list(tree.find_all(nodes.Node))
    names = [node for node in everything if isinstance(node, nodes.Name)]
    links = (n for n in everything if isinstance(n, nodes.Filter) and n.name == LINK)
    found: list[nodes.Extends | nodes.Include] = []
    for kind in (nodes.Extends, nodes.Include):
        found.extend(node for node in everything if isinstance(node, kind))
    return Facts(
        {v: next(n.lineno for n in names if n.name == v) for v in sorted(unknown - BUILT_IN)},
        frozenset(
            [node.name for node in names if node.ctx != "load"]
            + [node.name for node in everything if isinstance(node, nodes.Macro)]
        ),
        tuple((n.node.name, n.lineno) for n in links if isinstance(n.node, nodes.Name)),
        tuple(node.lineno for node in everything if isinstance(node, _REFUSED)),
        tuple((_constant(node.template), node.lineno) for node in found),
    )


def _read(sandbox: Sandbox, name: str) -> tuple[nodes.Template, set[str]]:
    """Return a file's tree and what it uses and does not set; MJML is no HTML yet."""
    if not name.endswith(MJML):
        return sandbox.study(name)
    tree = sandbox.parse_plainly(sandbox.sources[name], name)
    return tree, meta.find_undeclared_variables(tree)


def _constant(node: nodes.Expr) -> str | None:
    return node.value if isinstance(node, nodes.Const) and isinstance(node.value, str) else None


class Review:
    """Looks at every file of one folder, and at what these extend and include.

    Args:
        facts: what was found of each file so far; layouts and partials are read once.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        files: TemplateFiles,
        folder: TemplateFolder,
        facts: dict[str, Facts],
    ) -> None:
        self.sandbox = sandbox
        self.files = files
        self.contract = folder.contract
        self.facts = facts
        self.problems: list[Problem] = []
        self.used_files = {f"{folder.template_id}/{CONTRACT}"}
        self.used_variables: set[str] = set()
        for locale, names in folder.files.items():
            within = f"{folder.template_id}/{locale}"
            for name in sorted(names):
                self._check(f"{within}/{name}", ())
            if TEXT not in names and not is_available():
                reason = f"is missing; write it, or install {NEEDED}, which makes it of the HTML"
                self._note(f"{within}/{TEXT}", 1, reason)
        self._warn(f"{folder.template_id}/{CONTRACT}")

    def _note(self, file: str, line: int, reason: str, *, is_warning: bool = False) -> None:
        problem = Problem(file, line, reason, is_warning)
        if problem not in self.problems:
            self.problems.append(problem)

    def _warn(self, contract: str) -> None:
        """Note what is allowed and probably not meant."""
        text = self.files.sources[contract]
        needed = {self.contract.unsubscribe.variable} if self.contract.unsubscribe else set()
        for name in self.contract.variables:
            if name not in self.used_variables | needed:
                line = line_of(text, f"variables.{name}")
                self._note(contract, line, f"no file uses the variable {name}", is_warning=True)
        if self.contract.mail.lane is Lane.BULK and self.contract.unsubscribe is None:
            reason = "bulk mail without unsubscribe: large mailboxes refuse it"
            self._note(contract, line_of(text, "lane"), reason, is_warning=True)

    def _check(self, name: str, above: tuple[str, ...]) -> None:
        """Look at the file *name* and all it extends or includes.

        Args:
            above: the files on the way here; what they set is known in this one.
        """
        self.used_files.add(name)
        try:
            facts = self.facts.get(name) or study(self.sandbox, name)
        except Fault as fault:
            self._note(name, fault.problem.line, fault.problem.reason)
            return
        self.facts[name] = facts
        above = (*above, name)
        known = {variable for file in above for variable in self.facts[file].set_here}
        unknown = facts.unknown.keys() - known
        self.used_variables |= unknown
        for variable in sorted(unknown - self.contract.variables.keys()):
            reason = f"the contract declares no variable {variable}"
            self._note(name, facts.unknown[variable], reason)
        for variable, line in facts.links:
            self._check_link(name, variable, line)
        for line in facts.refused:
            self._note(name, line, "import and autoescape cannot be used here")
        for reference, line in facts.references:
            self._follow(name, line, reference, above)

    def _check_link(self, name: str, variable: str, line: int) -> None:
        """Note a variable that is a link and whose values may be anything else."""
        declared = self.contract.variables.get(variable)
        if declared is not None and declared.type != "url":
            self._note(name, line, f"{variable} starts a link, so its type must be url")

    def _follow(self, name: str, line: int, reference: str | None, above: tuple[str, ...]) -> None:
        """Look at a file that *name* extends or includes."""
        if reference is None or reference not in self.files.sources:
            self._note(name, line, "this must be the name of a file, in quotes")
        elif reference.endswith(".txt") is not name.endswith(".txt"):
            self._note(name, line, "HTML and text cannot be put into each other")
        elif reference in above:
            self._note(name, line, f"{reference} would contain itself")
        else:
            self._check(reference, above)
