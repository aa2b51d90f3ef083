"""The language of templates: Jinja without what could escape, guess, or grow without bound (M-16).

What a template does is paid for where it does it. Loops, macros, blocks, comparisons, slices and
concatenations get their payment when the tree is compiled; calls, operators and filters when they
are made. Templates are the operator's and trusted with what they say; values are strangers'.
"""

from collections.abc import Callable, Iterable
from io import StringIO
from typing import Any

import jinja2
from jinja2 import nodes, pass_context
from jinja2.compiler import CodeGenerator, Frame
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from markupsafe import Markup, escape

from mailworkers.adapters.catalog_budget import PER_STEP, Budget
from mailworkers.adapters.catalog_filters import ATTRIBUTES, bound_method, install, written
from mailworkers.adapters.catalog_html import LINK, STYLE, check_link, check_style, guard_html
from mailworkers.adapters.catalog_metering import (
    CALL,
    COMPARED,
    EACH,
    ENTER,
    JOINED,
    SLICED,
    Meter,
    weight_of,
)

_LARGEST = 2**63
_FREE_TEXT = 64  # characters; so many times as there are steps fit into memory


class _Writer(CodeGenerator):
    """Writes the Python of a file; *missing* are the variables that it uses and does not set.

    As jinja2.meta.find_undeclared_variables, which writes the same and throws it away.
    """

    def __init__(self, environment: jinja2.Environment, name: str) -> None:
        self.python = StringIO()
        super().__init__(environment, name, name, self.python)
        self.missing: set[str] = set()

    def enter_frame(self, frame: Frame) -> None:
        """Remember what a frame looks for outside of the file."""
        super().enter_frame(frame)
        taken = {name for action, name in frame.symbols.loads.values() if action == "resolve"}
        self.missing |= {name for name in taken if name} - self.environment.globals.keys()


class Sandbox(ImmutableSandboxedEnvironment):
    """An environment for the files in *sources*; *budget* is what a rendering may do."""

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "**", "%"})

    def __init__(self, sources: dict[str, str]) -> None:
        budget = Budget()
        super().__init__(
            loader=jinja2.FunctionLoader(
                lambda name: (sources[name], plain_name(name), None) if name in sources else None
            ),
            autoescape=lambda name: name is not None and not name.endswith(".txt"),
            undefined=jinja2.StrictUndefined,
            finalize=_writing(budget),
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
            cache_size=-1,
        )
        self.sources = sources
        self._weights: dict[str, int] = {}
        self._found: dict[tuple[Any, Any], jinja2.Template] = {}
        self._written: dict[str, str] = {}
        self.budget = budget
        del self.globals["lipsum"]
        install(self, budget)
        self.filters |= _payments(budget)

    def concat(self, pieces: Iterable[str]) -> str:
        """Return *pieces* as one text, as sets, macros and calls of blocks need it; paid for."""
        return self.budget.concat(pieces)

    def join_path(self, template: str, parent: str) -> str:
        """Return the name of the file *template* as *parent* means it: of its own variant."""
        _, mark, variant = parent.partition("#")
        name = f"{template}{mark}{variant}"
        return name if name in self.sources else template

    def get_template(self, name: Any, parent: Any = None, globals: Any = None) -> jinja2.Template:
        """Return the compiled file *name*; whoever renders it pays for its whole body."""
        found = self._found.get((name, parent))
        if found is None:
            found = self._found[name, parent] = super().get_template(name, parent, globals)
        self.budget.charge(self._weights[found.name or ""])
        return found

    def study(self, name: str) -> tuple[nodes.Template, set[str]]:
        """Return the tree of the file *name*, and the variables that it uses and does not set.

        What is written of it on the way is kept for `get_template`.
        """
        tree = self.parse(self.sources[name], name)
        writer = _Writer(self, name)
        writer.visit(tree)
        self._written[name] = writer.python.getvalue()
        return tree, writer.missing

    def forget_studies(self) -> None:
        """Let go of what was written of files that nothing asked for."""
        self._written.clear()

    def compile(self, source: Any, name: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Return the code of the file *name*; a file that was studied is not written again."""
        written = self._written.pop(name, None)
        if written is not None:
            return self._compile(written, name)
        return super().compile(source, name, *args, **kwargs)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        """Return the tree of *source* with payments, and in HTML with checks of its links."""
        tree = super()._parse(source, name, filename)
        self._weights[name or ""] = weight_of(tree.body) + 2 * CALL
        if not plain_name(name or "").endswith(".txt"):
            guard_html(tree, name)
        metered: nodes.Template = Meter().visit(tree)
        return metered

    def parse_plainly(self, source: str, name: str) -> nodes.Template:
        """Return the tree of *source*, the file *name*, as it is written."""
        return super()._parse(source, name, None)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Return what an operator gives for two numbers of 64 bits, or `+` for two texts."""
        if all(isinstance(n, int | float) and abs(n) < _LARGEST for n in (left, right)):
            if operator != "**":
                return super().call_binop(context, operator, left, right)
        elif operator == "+" and isinstance(left, str) and isinstance(right, str):
            self.budget.charge_text(len(left) + len(right))
            return left + right
        elif operator == "+" and isinstance(left, list) and isinstance(right, list):
            self.budget.charge(len(left) + len(right))
            return left + right
        raise SecurityError(f"`{operator}` is not for these values")

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call *obj*, and pay for it and for going through its arguments."""
        self.budget.charge(CALL + len(args) + len(kwargs))
        for arg in (*args, *kwargs.values()):
            self.budget.compared(arg)
        owner = getattr(obj, "__self__", None)
        if isinstance(owner, str):
            args = bound_method(self.budget, owner, obj.__name__, args)
        return super().call(context, obj, *args, **kwargs)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Return `obj.attribute`: of an object the key, also where a method has this name."""
        if type(obj) is dict and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)

    def wrap_str_format(self, value: Any) -> None:
        """Leave str.format to `is_safe_attribute`, which refuses it: it pads to any width."""

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:  # noqa: ARG002
        """Return whether a template may use this attribute: one listed, or of a namespace any."""
        if isinstance(obj, Namespace):
            return not attr.startswith("_")
        return attr in ATTRIBUTES.get(type(obj), ())


def plain_name(name: str) -> str:
    """Return the file's name that *name* is of: one file may be compiled in several variants."""
    return name.partition("#")[0]


def _writing(budget: Budget) -> Callable[[Any], Any]:
    """Return what Jinja puts every `{{ value }}` through."""

    def finalize(value: Any) -> Any:
        """Return what is written: nothing for null, and never a list or an object."""
        kind = type(value)
        if kind is str or kind is Markup:
            if len(value) > _FREE_TEXT:
                budget.charge_text(len(value))
            return value
        if kind is int:
            return value
        if value is None:
            return ""
        is_text = isinstance(value, str | jinja2.Undefined) or hasattr(value, "__html__")
        if not is_text and (callable(value) or hasattr(value, "__iter__")):
            raise SecurityError("a list or an object cannot be written as text")
        return value

    return finalize


def _payments(budget: Budget) -> dict[str, Any]:
    """Return the filters that the compiled tree pays with, and those that check values in HTML."""

    @pass_context
    def each(context: Context, value: Any, weight: int) -> Any:  # noqa: ARG001  see pass_context
        return budget.each(value, weight)

    @pass_context
    def enter(context: Context, weight: int) -> None:  # noqa: ARG001
        budget.left -= weight  # `charge` without the call: every block of every message is here
        if budget.left < 0:
            budget.charge(0)

    finalize = _writing(budget)

    @pass_context
    def joined(context: Context, values: tuple[Any, ...]) -> str:
        texts = [written(finalize(value)) for value in values]
        if context.eval_ctx.autoescape and any(isinstance(text, Markup) for text in texts):
            return Markup(budget.concat(escape(text) for text in texts))  # noqa: S704  escaped
        return budget.concat(texts)

    @pass_context
    def compared(context: Context, value: Any) -> Any:  # noqa: ARG001
        return budget.compared(value)

    @pass_context
    def sliced(context: Context, value: Any) -> Any:  # noqa: ARG001
        budget.charge(1 + len(value) // PER_STEP)
        return value

    return {
        EACH: each,
        ENTER: enter,
        JOINED: joined,
        COMPARED: compared,
        SLICED: sliced,
        LINK: pass_context(lambda _, value: check_link(value)),
        STYLE: pass_context(lambda _, value: check_style(value)),
    }
