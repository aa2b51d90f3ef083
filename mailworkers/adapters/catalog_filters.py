"""The filters, tests and methods that templates may use, each with a bound on what it does.

Those of Jinja are taken as they are, behind a guard that pays for them first. Left out: what pads,
formats or repeats without end (`center`, `format`, `xmlattr`, `pprint`), what marks text as markup
(`safe`, and `tojson`, whose quotes end an attribute), and what is never the same (`random`).
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from jinja2 import Environment, pass_context
from jinja2 import filters as jinja_filters
from jinja2 import tests as jinja_tests
from jinja2.exceptions import SecurityError
from jinja2.runtime import BlockReference, Context, LoopContext, Macro
from jinja2.utils import Cycler
from markupsafe import Markup

from mailworkers.adapters.catalog_budget import MAX_TEXT, PER_STEP, Budget, refuse_length

GROUP: type = jinja_filters._GroupTuple  # what the filter groupby gives
Filter = Callable[..., Any]
_FILTERS: Any = jinja_filters.FILTERS
_TESTS: Any = jinja_tests.TESTS
Guard = Callable[[Any, tuple[Any, ...]], Any]

# Filters by what they cost: of a text, so many characters a step; of a sequence, nothing until it
# is gone through; or all that the value holds.
_SLOW, _SHORT = 2, 64 * 1024  # characters; some of the short ones copy the rest again and again
_TEXTS = {
    **dict.fromkeys(
        ["capitalize", "e", "escape", "forceescape", "lower", "string", "trim", "upper"], PER_STEP
    ),
    **dict.fromkeys(["title", "truncate", "urlencode", "wordcount"], _SLOW),
}
_SHORT_TEXTS = ("indent", "striptags", "urlize", "wordwrap")
_NUMBERS = ("filesizeformat", "float", "int", "round")
_SEQUENCES = ["count", "default", "d", "first", "items", "last", "length", "reverse"]
_GONE_THROUGH = ["batch", "list", "map", "reject", "rejectattr", "select", "selectattr", "slice"]
_DEEP = ["dictsort", "groupby", "max", "min", "sort", "sum", "unique"]
_UNCHANGED = ("abs", "attr")
_GROWING = ("batch", "indent", "round", "slice", "wordwrap")  # by the size of an argument
_MAX_NUMBER_TEXT = 100  # characters of a text that is to be a number
_MAX_ARGUMENT = 1000  # columns, places, digits, characters
_ESCAPED = 5  # characters that one becomes at most when it is escaped: `&#34;`

_TEXT_METHODS = """
capitalize casefold count endswith find isalnum isalpha isdecimal isdigit islower isnumeric isspace
istitle isupper join lower lstrip partition removeprefix removesuffix replace rfind rpartition
rsplit rstrip split splitlines startswith strip swapcase title upper
"""
_LOOP = """
changed cycle depth depth0 first index index0 last length nextitem previtem revindex revindex0
"""
# What may follow a dot, by the type of what stands before it; of other types, nothing may.
ATTRIBUTES: Mapping[type, frozenset[str]] = {
    str: frozenset(_TEXT_METHODS.split()),
    Markup: frozenset(_TEXT_METHODS.split()),
    dict: frozenset({"get", "items", "keys", "values"}),
    Cycler: frozenset({"current", "next", "reset"}),
    LoopContext: frozenset(_LOOP.split()),
    Macro: frozenset({"name"}),
    BlockReference: frozenset({"super"}),
    GROUP: frozenset({"grouper", "list"}),
}


def install(environment: Environment, budget: Budget) -> None:
    """Give *environment* these filters and tests and no others, paying out of *budget*."""
    guards = {
        **{name: _text_guard(name, budget, rate, MAX_TEXT) for name, rate in _TEXTS.items()},
        **{name: _text_guard(name, budget, _SLOW, _SHORT) for name in _SHORT_TEXTS},
        **{name: _text_guard(name, budget, 1, _MAX_NUMBER_TEXT) for name in _NUMBERS},
        **dict.fromkeys(_SEQUENCES, _sequence_guard(budget)),
        **{name: _stream_guard(name, budget) for name in _GONE_THROUGH},
        **dict.fromkeys(_DEEP, _deep_guard(budget)),
    }
    filters: dict[str, Any] = {
        **{name: _FILTERS[name] for name in _UNCHANGED},
        **{name: _guarded(name, guard) for name, guard in guards.items()},
        "isolate": _isolating(budget),
        "join": _joining(budget),
        "replace": _replacing(budget),
    }
    environment.filters = filters
    environment.tests = _bounded_tests(budget)


def bound_method(budget: Budget, text: str, name: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Pay for calling the method *name* of *text*; return the arguments to call it with."""
    if len(text) > MAX_TEXT or any(isinstance(arg, str) and len(arg) > MAX_TEXT for arg in args):
        refuse_length()
    budget.charge(1 + len(text) // (4 if "split" in name else PER_STEP))
    if name == "replace" and len(args) > 1:
        _bound_replacement(budget, text, str(args[0]), str(args[1]))
    elif name == "join" and args:
        return (_bound_join(budget, args[0], text),)
    return args


def _bounded_tests(budget: Budget) -> dict[str, Any]:
    """Return all tests by name; those that go through what they compare pay for it."""

    def comparing(test: Filter) -> Filter:
        return lambda value, *others: test(
            budget.compared(value), *(budget.compared(other) for other in others)
        )

    constant = {n for n, test in _TESTS.items() if test.__module__ == "jinja2.tests"}
    constant = (constant | {"callable"}) - {"in", "lower", "upper"}
    return {n: t if n in constant else comparing(t) for n, t in _TESTS.items()}


def _guarded(name: str, guard: Guard) -> Filter:
    """Return Jinja's filter *name* behind *guard*, which pays and returns the value to use.

    Every filter takes the context, also where it has no use for it: Jinja would otherwise work out
    what is constant while it compiles, where nobody counts.
    """
    inner: Filter = _FILTERS[name]
    passed = getattr(inner, "jinja_pass_arg", None)
    wanted = {"context": "context", "eval_context": "eval_ctx", "environment": "environment"}
    what = wanted[passed.name] if passed is not None else ""

    @pass_context
    def filtered(context: Context, value: Any, *args: Any, **kwargs: Any) -> Any:
        value = guard(value, (*args, *kwargs.values()))
        if not what:
            return inner(value, *args, **kwargs)
        first = context if what == "context" else getattr(context, what)
        return inner(first, value, *args, **kwargs)

    return filtered


def _text_guard(name: str, budget: Budget, rate: int, longest: int) -> Guard:
    def guard(value: Any, args: tuple[Any, ...]) -> Any:
        if isinstance(value, str):
            if len(value) > longest:
                raise SecurityError(f"this text is too long for the filter {name}")
            budget.charge(1 + len(value) // rate)
        elif isinstance(value, list | tuple | dict) and name != "urlencode":
            raise SecurityError(f"the filter {name} is not for lists and objects")
        else:
            budget.weigh(value)
        _refuse_large(name, args)
        return value

    return guard


def _sequence_guard(budget: Budget) -> Guard:
    def guard(value: Any, args: tuple[Any, ...]) -> Any:  # noqa: ARG001  every guard's signature
        budget.charge(1 + len(value) // PER_STEP if isinstance(value, str | list | tuple) else 1)
        return value

    return guard


def _stream_guard(name: str, budget: Budget) -> Guard:
    def guard(value: Any, args: tuple[Any, ...]) -> Any:
        _refuse_large(name, args)
        return budget.counted(value, 4)

    return guard


def _deep_guard(budget: Budget) -> Guard:
    def guard(value: Any, args: tuple[Any, ...]) -> Any:
        if isinstance(value, Iterable) and not isinstance(value, str | dict):
            value = list(budget.counted(value))
        steps = budget.weigh(value)
        budget.charge(steps * steps.bit_length())  # what sorting compares
        if any(isinstance(arg, list | tuple | dict) for arg in args):
            raise SecurityError("a list or an object is no argument of this filter")
        return value

    return guard


def _refuse_large(name: str, args: tuple[Any, ...]) -> None:
    """Refuse arguments that would make something huge of something small."""
    if name not in _GROWING:
        return
    for arg in args:
        size = len(arg) if isinstance(arg, str) else arg if isinstance(arg, int) else 0
        if abs(size) > _MAX_ARGUMENT:
            raise SecurityError(f"more than {_MAX_ARGUMENT} in the filter {name}")


def _isolating(budget: Budget) -> Filter:
    @pass_context  # as in `_guarded`
    def isolate(_: Context, value: Any) -> str:
        """Return *value* between marks that keep its direction to itself (UAX #9): text's `bdi`."""
        text = "" if value is None else written(value)
        budget.charge_text(len(text))
        return "\u2068" + text + "\u2069" if text else ""  # adding keeps Markup what it is

    return isolate


def _joining(budget: Budget) -> Filter:
    inner = _FILTERS["join"]

    @pass_context
    def join(context: Context, value: Any, d: str = "", attribute: Any = None) -> Any:
        """Return the items of *value*, or an attribute of each, as one text divided by *d*."""
        if attribute is not None:
            named = {"attribute": attribute}
            value = context.environment.call_filter("map", value, kwargs=named, context=context)
        return inner(context.eval_ctx, _bound_join(budget, value, written(d)), d)

    return join


def _bound_join(budget: Budget, items: Iterable[Any], divider: str) -> list[str]:
    texts = [written(item) for item in budget.counted(items, 2)]
    growth = _ESCAPED if isinstance(divider, Markup) else 1
    budget.charge_text(sum(map(len, texts)) * growth + len(divider) * len(texts))
    return texts


def _replacing(budget: Budget) -> Filter:
    inner = _FILTERS["replace"]

    @pass_context
    def replace(context: Context, s: Any, old: str, new: str, count: int | None = None) -> Any:
        """Return *s* with *old* replaced by *new*."""
        _bound_replacement(budget, written(s), written(old), written(new))
        return inner(context.eval_ctx, s, old, new, count)

    return replace


def _bound_replacement(budget: Budget, text: str, old: str, new: str) -> None:
    """Pay for replacing all of *old* in *text*, or refuse it for the length it could have."""
    budget.charge_text(len(text))
    if len(text) + text.count(old) * _ESCAPED * len(new) > _ESCAPED * MAX_TEXT:
        refuse_length()


def written(value: Any) -> str:
    """Return *value* as text; SecurityError where that is surely not meant."""
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple | dict):
        raise SecurityError("a list or an object cannot be written as text")
    return str(value)
