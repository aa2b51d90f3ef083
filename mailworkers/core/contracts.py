"""Template contracts: which variables a template takes, and what it says about its mail.

A variable with a `default` may be left out; any other is required and has a `sample`. Samples and
defaults are what a template is checked with when the catalog is loaded. What the contract says of
sender, lane, expiry and headers holds where the command itself says nothing. The file they come
from is read by `core/contract_files.py`.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import msgspec

from mailworkers.core.errors import TemplateError
from mailworkers.core.refusals import FailureCode
from mailworkers.core.states import Lane
from mailworkers.core.variable_types import TYPES

# Given to every template, so no variable may be these.
BUILT_IN = frozenset({"locale", "direction"})
LONGEST_UNSUBSCRIBE = 900  # characters of a URL that a header line still carries whole


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


class MailDefaults(msgspec.Struct, frozen=True):
    """What a template says about its mail; the command's own word wins.

    `sender` and `reply_to` are mailboxes as people write them; `expires_after` counts from the time
    to send; `headers` are such as a command could add.
    """

    sender: str | None = None
    reply_to: tuple[str, ...] = ()
    lane: Lane | None = None
    expires_after: timedelta | None = None
    headers: tuple[tuple[str, str], ...] = ()


NO_DEFAULTS = MailDefaults()


class Unsubscribe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which url *variable* ends the subscription; by one POST, without a page, if `one_click`."""

    variable: str
    one_click: bool = True


class TemplateContract(msgspec.Struct, frozen=True):
    """What a template is for, which variables it takes by name, and what its mail is like."""

    description: str
    variables: Mapping[str, Variable] = {}
    mail: MailDefaults = NO_DEFAULTS
    unsubscribe: Unsubscribe | None = None

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
        if self.unsubscribe is not None and not faults:
            faults += unsubscribe_faults(self.unsubscribe, bound[self.unsubscribe.variable])
        if faults:
            raise TemplateError(FailureCode.TEMPLATE_VARIABLES, "; ".join(faults))
        return bound

    def examples(self) -> dict[str, Any]:
        """Return a value for each variable: its sample, or else its default."""
        return {name: variable.example for name, variable in self.variables.items()}

    def mail_for(self, bound: Mapping[str, Any]) -> MailDefaults:
        """Return what this template's mail is like with the variables *bound*.

        RFC 8058 section 3.1: the URL alone in List-Unsubscribe, and List-Unsubscribe-Post.
        """
        if self.unsubscribe is None:
            return self.mail
        headers = [("List-Unsubscribe", f"<{bound[self.unsubscribe.variable]}>")]
        if self.unsubscribe.one_click:
            headers.append(("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"))
        return msgspec.structs.replace(self.mail, headers=(*self.mail.headers, *headers))


def unsubscribe_faults(unsubscribe: Unsubscribe, url: str) -> list[str]:
    """Return why the *url*, which is one, cannot stand in List-Unsubscribe."""
    faults = []
    if unsubscribe.one_click and not url.lower().startswith("https:"):
        faults.append(f"{unsubscribe.variable} is not https, as one-click needs it (RFC 8058)")
    if len(url) > LONGEST_UNSUBSCRIBE:
        faults.append(f"{unsubscribe.variable} is longer than {LONGEST_UNSUBSCRIBE} characters")
    return faults
