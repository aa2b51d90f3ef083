"""Template contracts (`contract.toml`): which variables a template takes, and what they must be.

    description = "The code to sign in with"

    [variables.code]
    type = "string"
    description = "As the user is to type it"
    sample = "492817"

A variable with a `default` may be left out; any other is required and has a `sample`. Samples and
defaults are what a template is checked with when the catalog is loaded.
"""

import re
import tomllib
from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from mailworkers.core.addresses import AddressError, parse_mailbox
from mailworkers.core.errors import TemplateError
from mailworkers.core.refusals import FailureCode

BUILT_IN = frozenset(
    {"locale", "direction"}
)  # given to every template, so no variable may be these

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_URL = re.compile(r"https?://[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]{1,2000}", re.IGNORECASE)


_Kind = TypeVar("_Kind")


class ContractError(ValueError):
    """A contract cannot be used: *line* of the file, counted from 1, and the *reason*."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line
        self.reason = reason


class Variable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One variable of a template: UNSET is its `default` if it is required, else maybe `sample`."""

    type: str
    description: str
    sample: Any = msgspec.UNSET
    default: Any = msgspec.UNSET
    required: bool | None = None

    @property
    def is_required(self) -> bool:
        """Return whether a command must give it."""
        return self.default is msgspec.UNSET

    @property
    def example(self) -> Any:
        """Return a value to show and to try it with."""
        return self.default if self.sample is msgspec.UNSET else self.sample


class TemplateContract(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a template is for and which variables it takes, by name."""

    description: str
    variables: dict[str, Variable] = {}

    def bind(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return all variables, defaults where nothing is *given*; None counts as not given.

        Raises TemplateError (template_variables) that names all which are unknown, missing or not
        of their type; it never repeats a value.
        """
        bound = {name: v.default for name, v in self.variables.items() if not v.is_required}
        faults = []
        for name, value in given.items():
            variable = self.variables.get(name)
            if variable is None:
                faults.append(f"{name} is unknown")
            elif value is not None:
                bound[name] = value
                if not TYPES[variable.type](value):
                    faults.append(f"{name} is not of type {variable.type}")
        if len(bound) < len(self.variables):
            faults += [f"{name} is missing" for name in self.variables if name not in bound]
        if faults:
            raise TemplateError(FailureCode.TEMPLATE_VARIABLES, "; ".join(faults))
        return bound

    def examples(self) -> dict[str, Any]:
        """Return a value for each variable: its sample, or else its default."""
        return {name: variable.example for name, variable in self.variables.items()}


def parse_contract(text: str) -> TemplateContract:
    """Return the contract in the TOML *text*, checked; ContractError says what is wrong where."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"at line (\d+)", str(error))
        raise ContractError(int(found[1]) if found else text.count("\n") + 1, str(error)) from None
    variables = document.get("variables")
    for name, table in variables.items() if isinstance(variables, dict) else ():
        variable = _convert(table, Variable, text, f"variables.{name}")
        if fault := _fault(name, variable):
            raise ContractError(_line(text, f"variables.{name}"), f"variable {name}: {fault}")
    return _convert(document, TemplateContract, text, "")


def _convert(table: object, kind: type[_Kind], text: str, path: str) -> _Kind:
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        field = re.search(r"field `(\w+)`|`\$\.(\w+)`", str(error))
        name = (field[1] or field[2]) if field else ""
        raise ContractError(_line(text, f"{path}.{name}".strip(".")), str(error)) from None


def _fault(name: str, variable: Variable) -> str:
    """Return what is wrong with *variable*, or ""."""
    if not _NAME.fullmatch(name):
        return "the name is not lower-case letters, digits and underscores"
    if name in BUILT_IN:
        return "every template has this one already"
    if variable.type not in TYPES:
        return f"type {variable.type!r} is not one of {', '.join(TYPES)}"
    if variable.required is not None and variable.required is not variable.is_required:
        return "a required variable has no default, any other has one"
    if variable.example is msgspec.UNSET:
        return "a required variable needs a sample"
    fits = TYPES[variable.type]
    for word, value in (("default", variable.default), ("sample", variable.sample)):
        if value is not msgspec.UNSET and not fits(value):
            return f"the {word} is not of type {variable.type}"
    return ""


def _line(text: str, path: str) -> int:
    """Return the line of *text* that *path* (`variables.code.type`) is on, or the nearest above."""
    lines = text.splitlines()
    best = 1
    words = path.split(".")
    for depth in range(1, len(words) + 1):
        header = f"[{'.'.join(words[:depth])}]"
        key = words[depth - 1]
        for number, line in enumerate(lines[best - 1 :], start=best):
            if line.strip() == header or line.partition("=")[0].strip() == key:
                best = number
                break
    return best


def _is_string(value: Any) -> bool:
    return isinstance(value, str)


def _is_integer(value: Any) -> bool:
    return type(value) is int


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _is_boolean(value: Any) -> bool:
    return type(value) is bool


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_url(value: Any) -> bool:
    """An absolute http or https URL in ASCII, so that nothing else ever becomes a link."""
    if not isinstance(value, str) or not _URL.fullmatch(value):
        return False
    try:
        return bool(urlsplit(value).hostname)
    except ValueError:
        return False


def _is_email(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        return parse_mailbox(value).address == value
    except AddressError:
        return False


def _is_date(value: Any) -> bool:
    if not isinstance(value, str) or not _DATE.fullmatch(value):
        return False
    try:
        date.fromisoformat(value)
    except ValueError:
        return False
    return True


def _is_datetime(value: Any) -> bool:
    """A date and time with its offset from UTC (RFC 3339)."""
    if not isinstance(value, str) or not _DATE.match(value):
        return False
    try:
        return datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


TYPES: Mapping[str, Callable[[Any], bool]] = {
    "string": _is_string,
    "integer": _is_integer,
    "number": _is_number,
    "boolean": _is_boolean,
    "list": _is_list,
    "object": _is_object,
    "url": _is_url,
    "email": _is_email,
    "date": _is_date,
    "datetime": _is_datetime,
}
