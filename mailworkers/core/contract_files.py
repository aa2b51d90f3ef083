"""`contract.toml` read: every fault with its line, whether in TOML, a variable or the mail's kind.

description = "The week in numbers"
from = "Example <digest@example.com>"        # these six may be missing
reply_to = "help@example.com"                # or a list
lane = "bulk"
expires_after = "2d"
headers = { List-Id = "Digest <digest.example.com>" }
unsubscribe = { variable = "unsubscribe_url", one_click = true }

[variables.unsubscribe_url]
type = "url"
description = "The page and the one-click address to end the subscription"
sample = "https://example.com/unsubscribe/4f1c2a"
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, TypeVar

import msgspec

from mailworkers.core.addresses import AddressError, parse_mailbox
from mailworkers.core.contracts import (
    BUILT_IN,
    MailDefaults,
    TemplateContract,
    Unsubscribe,
    Variable,
    unsubscribe_faults,
)
from mailworkers.core.extra_headers import extra_fields
from mailworkers.core.headers import MessageError
from mailworkers.core.retry import parse_span
from mailworkers.core.states import Lane
from mailworkers.core.variable_types import TYPES

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_LANES = {lane.label: lane for lane in Lane}
_Kind = TypeVar("_Kind")


class ContractError(ValueError):
    """A contract cannot be used: *line* of the file, counted from 1, and the *reason*.

    *others* are the further faults that were found, each with its line.
    """

    def __init__(self, line: int, reason: str, others: tuple["ContractError", ...] = ()) -> None:
        super().__init__(reason)
        self.line = line
        self.reason = reason
        self.others = others


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file as it is written; a field's fault is found when it is read."""

    description: str
    sender: str | None = msgspec.field(name="from", default=None)
    reply_to: str | list[str] = []
    lane: str | None = None
    expires_after: str | None = None
    headers: dict[str, str] = {}
    unsubscribe: Unsubscribe | None = None
    variables: dict[str, dict[str, Any]] = {}

    @property
    def answers(self) -> tuple[str, ...]:
        """Return where answers go."""
        return (self.reply_to,) if isinstance(self.reply_to, str) else tuple(self.reply_to)


def parse_contract(text: str) -> TemplateContract:
    """Return the contract in the TOML *text*, checked; ContractError says what is wrong where."""
    try:
        document = _convert(tomllib.loads(text), _Document, text, "")
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"at line (\d+)", str(error))
        raise ContractError(int(found[1]) if found else text.count("\n") + 1, str(error)) from None
    variables: dict[str, Variable] = {}
    faults = [*_read_variables(document, text, variables)]
    for path, reason in (*_mailbox_faults(document), *_mail_faults(document)):
        faults.append(ContractError(line_of(text, path), reason))
    if not faults:
        faults += _unsubscribe_faults(document, text, variables)
    if faults:
        first, *others = sorted(faults, key=lambda fault: fault.line)
        raise ContractError(first.line, first.reason, tuple(others))
    return TemplateContract(document.description, variables, _mail(document), document.unsubscribe)


def _read_variables(
    document: _Document, text: str, variables: dict[str, Variable]
) -> Iterator[ContractError]:
    """Put the document's variables into *variables*; yield what is wrong with them."""
    for name, table in document.variables.items():
        path = f"variables.{name}"
        try:
            variables[name] = _convert(table, Variable, text, path)
        except ContractError as error:
            yield error
            continue
        if fault := _variable_fault(name, variables[name]):
            yield ContractError(line_of(text, path), f"variable {name}: {fault}")


def _convert(table: object, kind: type[_Kind], text: str, path: str) -> _Kind:
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        place = re.search(r"at `\$\.?([\w.-]*)", str(error))
        field = re.search(r"field `([\w-]+)`", str(error))
        names = [path, place[1] if place else "", field[1] if field else ""]
        where = ".".join(name for name in names if name)
        raise ContractError(line_of(text, where), str(error)) from None


def _variable_fault(name: str, variable: Variable) -> str:
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


def _mailbox_faults(document: _Document) -> Iterator[tuple[str, str]]:
    """Yield the path and the reason of each sender or reply-to that is no mailbox."""
    mailboxes = [("reply_to", text) for text in document.answers]
    if document.sender is not None:
        mailboxes.append(("from", document.sender))
    for field, text in mailboxes:
        try:
            parse_mailbox(text)
        except AddressError as error:
            yield field, f"{field}: {error.reason}"


def _mail_faults(document: _Document) -> Iterator[tuple[str, str]]:
    """Yield the path and the reason of what else is wrong with the kind of mail."""
    if document.lane is not None and document.lane not in _LANES:
        yield "lane", f"lane is not one of {', '.join(_LANES)}"
    if document.expires_after is not None:
        try:
            too_short = parse_span(document.expires_after) <= timedelta(0)
        except ValueError as error:
            yield "expires_after", f"expires_after: {error}"
        else:
            if too_short:
                yield "expires_after", "expires_after: such mail could never be sent"
    try:
        extra_fields(tuple(document.headers.items()))
    except MessageError as error:
        yield f"headers.{error.field}", f"headers: {error}"


def _unsubscribe_faults(
    document: _Document, text: str, variables: Mapping[str, Variable]
) -> Iterator[ContractError]:
    """Yield why the subscription could not be ended that way."""
    if document.unsubscribe is None:
        return
    line = line_of(text, "unsubscribe.variable")
    variable = variables.get(document.unsubscribe.variable)
    if variable is None or variable.type != "url":
        reason = f"unsubscribe: {document.unsubscribe.variable} is not a variable of type url"
        yield ContractError(line, reason)
        return
    for value in (variable.default, variable.sample):
        if value is not msgspec.UNSET:
            for fault in unsubscribe_faults(document.unsubscribe, value):
                yield ContractError(line, f"unsubscribe: {fault}")
    if any(name.lower().startswith("list-unsubscribe") for name in document.headers):
        yield ContractError(line, "unsubscribe: the headers hold List-Unsubscribe already")


def _mail(document: _Document) -> MailDefaults:
    """Return the kind of mail, which has no fault."""
    return MailDefaults(
        sender=document.sender,
        reply_to=document.answers,
        lane=_LANES[document.lane] if document.lane is not None else None,
        expires_after=parse_span(document.expires_after) if document.expires_after else None,
        headers=tuple(document.headers.items()),
    )


def line_of(text: str, path: str) -> int:
    """Return the line of *text* that *path* (`variables.code.type`) is on, or the nearest above."""
    lines = text.splitlines()
    best = 1
    words = path.split(".")
    for depth in range(1, len(words) + 1):
        header = f"[{'.'.join(words[:depth])}]"
        key = words[depth - 1]
        for number, line in enumerate(lines[best - 1 :], start=best):
            if line.strip() == header or line.partition("=")[0].strip().strip("\"'") == key:
                best = number
                break
    return best
