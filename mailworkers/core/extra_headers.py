"""The headers a caller may add to a message: the allow-list, and the grammar of each.

What machines read (List-*, References, Feedback-ID ...) is checked and written as raw ASCII, never
as encoded words: those break one-click unsubscribe (RFC 8058) and threading.
"""

import re
from collections.abc import Callable, Sequence

from mailworkers.core.headers import (
    Field,
    MessageError,
    fold,
    phrase,
    refuse_controls,
    unquote,
    unstructured,
)

_CUSTOM = re.compile(r"X-[A-Za-z0-9](?:[A-Za-z0-9-]{0,46}[A-Za-z0-9])?", re.IGNORECASE)
_URI = re.compile(r"<(?:https?|mailto):[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]{1,900}>", re.IGNORECASE)
_MSG_ID = re.compile(r"<[!-;=?A-~]{1,400}@[!-;=?-~]{1,400}>")
_LIST_ID = re.compile(r"([^<>]*)<([A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)+)>")
_VISIBLE = re.compile(r"[!-~]{1,255}")
_LONGEST_WORD = 900  # of an X- header, whose readers are machines: raw as long as a line may be


def _raw(name: str, value: str) -> str:
    if not value.isascii():
        raise MessageError(name, "only ASCII can stand here")
    if "=?" in value:
        raise MessageError(name, "`=?` could be read as an encoded word; write `=%3F`")
    return value.strip(" ")


def _uris(name: str, value: str) -> str:
    """RFC 2369 section 2: URIs in angle brackets, divided by commas; other text is refused."""
    uris = re.split(r"(?<=>) *, *", _raw(name, value))
    if not all(map(_URI.fullmatch, uris)):
        raise MessageError(name, "write URIs as <https://...> or <mailto:...>, divided by commas")
    return fold(name, [*(f"{uri}," for uri in uris[:-1]), uris[-1]])


def _list_post(name: str, value: str) -> str:
    """RFC 2369 section 3.4: `NO` says that nobody may post."""
    return "NO" if value == "NO" else _uris(name, value)


def _list_id(name: str, value: str) -> str:
    """RFC 2919 section 3: an optional phrase, which may be encoded, and an identifier."""
    found = _LIST_ID.fullmatch(value.strip(" "))
    label = unquote(found[1].strip(" ")) if found else None
    if found is None or label is None:
        raise MessageError(name, "write it as `Name <list.example.com>`")
    return fold(name, [*(phrase(name, label) if label else ()), f"<{found[2]}>"])


def _message_ids(name: str, value: str) -> str:
    """RFC 5322 section 3.6.4: message identifiers divided by spaces."""
    identifiers = _raw(name, value).split()
    if not identifiers or not all(map(_MSG_ID.fullmatch, identifiers)):
        raise MessageError(name, "write message identifiers as <left@right>, divided by spaces")
    return fold(name, identifiers)


def _one_of(*words: str) -> Callable[[str, str], str]:
    def check(name: str, value: str) -> str:
        if value not in words:
            raise MessageError(name, f"only {', '.join(words)} can stand here")
        return value

    return check


def _feedback_id(name: str, value: str) -> str:
    if not _VISIBLE.fullmatch(_raw(name, value)):
        raise MessageError(name, "1 to 255 visible ASCII characters, no spaces")
    return fold(name, [value.strip(" ")])


def _custom(name: str, value: str) -> str:
    return unstructured(name, value, longest_word=_LONGEST_WORD)


_GRAMMARS: dict[str, Callable[[str, str], str]] = {
    "Auto-Submitted": _one_of("auto-generated", "auto-replied", "auto-notified", "no"),
    "Feedback-ID": _feedback_id,
    "In-Reply-To": _message_ids,
    "List-Archive": _uris,
    "List-Help": _uris,
    "List-Id": _list_id,
    "List-Owner": _uris,
    "List-Post": _list_post,
    "List-Subscribe": _uris,
    "List-Unsubscribe": _uris,
    "List-Unsubscribe-Post": _one_of("List-Unsubscribe=One-Click"),
    "Precedence": _one_of("bulk", "list", "junk", "auto_reply"),
    "References": _message_ids,
}
ALLOWED_HEADERS = frozenset(_GRAMMARS)  # and `X-...`: ask `is_allowed_header`
_WRITTEN = {name.lower(): name for name in ALLOWED_HEADERS}


def is_allowed_header(name: str) -> bool:
    """Return whether a caller may add a header *name*, in any case: a listed one or `X-...`."""
    return name.lower() in _WRITTEN or _CUSTOM.fullmatch(name) is not None


def extra_fields(headers: Sequence[tuple[str, str]]) -> list[Field]:
    """Return *headers* checked and folded, in order; only `X-...` headers may be repeated."""
    fields = []
    seen = set()
    for given, value in headers:
        name = _WRITTEN.get(given.lower(), given)
        refuse_controls("header name", given)
        refuse_controls(name, value)
        if not is_allowed_header(name):
            raise MessageError("header name", f"{given[:60]!r} is not one that can be added")
        if name in seen:
            raise MessageError(name, "given twice")
        if name in _GRAMMARS:
            seen.add(name)
        fields.append((name, _GRAMMARS.get(name, _custom)(name, value)))
    _check_one_click(dict(fields))
    return fields


def _check_one_click(fields: dict[str, str]) -> None:
    """RFC 8058 section 3.1: one-click needs an https URI to post to."""
    one_click = "List-Unsubscribe-Post"
    if one_click in fields and "<https:" not in fields.get("List-Unsubscribe", "").lower():
        raise MessageError(one_click, "needs List-Unsubscribe with an https URI")
