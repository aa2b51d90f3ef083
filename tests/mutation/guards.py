"""The guards of a statement: every condition that says which rows it may touch.

A statement is read just far enough: strings, words, parentheses. What only says which rows belong
together (`r.delivery_id = m.delivery_id`) is not a guard.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

_TOKEN = re.compile(r"'(?:[^']|'')*'|%\(\w+\)[bs]|[A-Za-z_][\w.]*|::|<=|>=|<>|\S")
# What ends a list of conditions, unless it is inside parentheses of its own.
_ENDS = {"group", "order", "limit", "offset", "returning", "for", "union", "having", "window"}
_ENDS |= {"where", "on", "join", "left", "cross", "from", "set", "do", ";", "then"}
_KEY = r"(?:\w+\.)?(?:delivery_id|ordinal)"
_BELONGING = re.compile(rf"{_KEY} = (?:{_KEY}|ANY \(.*\))", re.DOTALL)
_LOCK = re.compile(r"\s*FOR UPDATE(?: OF \w+)?(?P<skip> SKIP LOCKED)?")
_CONFLICT = re.compile(r"\s*ON CONFLICT\b.*?DO NOTHING", re.DOTALL)
_CANCEL = re.compile(r"\bd\.cancel_requested_at IS (?P<is_not>NOT )?NULL")


class Guard(NamedTuple):
    """One condition of a statement: where it stands, and what takes its place in the mutant."""

    statement: str
    text: str
    start: int
    end: int
    instead: str

    def without(self, sql: str) -> str:
        """Return *sql*, the statement, without this guard."""
        return sql[: self.start] + self.instead + sql[self.end :]


class _Token(NamedTuple):
    word: str
    start: int
    end: int
    depth: int


def find(statement: str, sql: str) -> list[Guard]:
    """Return the guards of *sql*, in the order in which they stand."""
    found = [*_conditions(statement, sql), *_locks(statement, sql), *_conflicts(statement, sql)]
    taken = [(guard.start, guard.end) for guard in found]
    found += [
        guard
        for guard in _cancels(statement, sql)
        if not any(start <= guard.start and guard.end <= end for start, end in taken)
    ]
    return sorted(found, key=lambda guard: guard.start)


def _tokens(sql: str) -> list[_Token]:
    tokens, depth = [], 0
    for match in _TOKEN.finditer(sql):
        word = match.group().lower()
        if word == ")":
            depth -= 1
        tokens.append(_Token(word, match.start(), match.end(), depth))
        if word == "(":
            depth += 1
    return tokens


def _conditions(statement: str, sql: str) -> Iterator[Guard]:
    """Yield each condition that is joined to others by AND, of every WHERE and ON."""
    tokens = _tokens(sql)
    for place, token in enumerate(tokens):
        is_conflict = any(before.word == "conflict" for before in tokens[max(0, place - 4) : place])
        follows = tokens[place + 1].word if place + 1 < len(tokens) else ""
        if token.word not in {"where", "on"} or is_conflict or follows == "conflict":
            continue
        for start, end in _parts(tokens, place + 1, token.depth):
            text = sql[start:end]
            if not _BELONGING.fullmatch(text):
                yield Guard(statement, text, start, end, "true")


def _parts(tokens: list[_Token], first: int, depth: int) -> list[tuple[int, int]]:
    """Return the spans of the conditions from *first* on; one where an OR stands among them."""
    clause = []
    for token in tokens[first:]:
        is_closing = token.word == ")" and token.depth < depth
        if is_closing or (token.depth == depth and token.word in _ENDS):
            break
        clause.append(token)
    outer = [token.word for token in clause if token.depth == depth]
    if "between" in outer:
        raise ValueError("BETWEEN has an AND of its own: write two comparisons")
    if "or" in outer:
        return [(clause[0].start, clause[-1].end)]
    parts: list[tuple[int, int]] = []
    begun = 0
    joints = [n for n, token in enumerate(clause) if (token.word, token.depth) == ("and", depth)]
    for place in [*joints, len(clause)]:
        parts.append((clause[begun].start, clause[place - 1].end))
        begun = place + 1
    return parts


def _locks(statement: str, sql: str) -> Iterator[Guard]:
    """Yield each lock, and its SKIP LOCKED apart."""
    for match in _LOCK.finditer(sql):
        yield Guard(statement, match.group().strip(), match.start(), match.end(), "")
        if match.group("skip"):
            yield Guard(statement, "SKIP LOCKED", *match.span("skip"), "")


def _conflicts(statement: str, sql: str) -> Iterator[Guard]:
    for match in _CONFLICT.finditer(sql):
        yield Guard(statement, match.group().strip(), match.start(), match.end(), "")


def _cancels(statement: str, sql: str) -> Iterator[Guard]:
    """Yield each place where a requested cancel changes what is written."""
    for match in _CANCEL.finditer(sql):
        instead = "false" if match.group("is_not") else "true"
        yield Guard(statement, match.group(), match.start(), match.end(), instead)
