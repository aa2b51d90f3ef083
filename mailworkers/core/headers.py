"""Header fields as text for the wire: folding, encoded words (RFC 2047), parameters (RFC 2231).

A caller's value is refused when it holds a control character, and otherwise arrives literally: what
a reader could take for an encoded word is encoded itself, and `seal` reads the finished block again
and refuses it when it is not, name by name, the block that was meant.
"""

import re
from binascii import b2a_base64
from collections.abc import Iterator, Sequence
from typing import AnyStr

Field = tuple[str, str]  # the name as written, the value folded

LINE = 76  # RFC 2047 section 2 allows no more where an encoded word stands, so all fields keep it
MAX_LINE = 998  # RFC 5322 section 2.1.1, without the CRLF
MAX_VALUE = (
    8000  # characters of one value: far above honest use, far below any relay's header limit
)

_CONTROLS = "\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff"
_BIDI = "\u202a-\u202e\u2066-\u2069"
_CONTROL = re.compile(f"[{_CONTROLS}]")
_CONTROL_OR_BIDI = re.compile(f"[{_CONTROLS}{_BIDI}]")
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_UNQUOTABLE = re.compile(r'["\\;]|=\?')  # some parsers take any semicolon for the next parameter
_BLANKS = (b" ", b"\t")
_LONE_SPACE = re.compile(r"(?<! ) (?! )")

_WORD = LINE - 1  # an encoded word has at most 75 characters, RFC 2047 section 2
_WORD_FRAME = len("=?utf-8?q??=")
_Q_SAFE = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/ "  # section 5 (3)
_Q = [chr(byte) if byte in _Q_SAFE else f"={byte:02X}" for byte in range(256)]
_Q[0x20] = "_"
_PERCENT_SAFE = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$&+-.^_`{|}~"
_PERCENT = [chr(byte) if byte in _PERCENT_SAFE else f"%{byte:02X}" for byte in range(256)]
_SEGMENT = 50  # characters of one RFC 2231 segment, so that `filename*99*=` and all fits a line


class MessageError(ValueError):
    """A message cannot be written as asked; *field* names the header or part, *reason* says why."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class HeaderInjection(MessageError):  # noqa: N818  it names what was tried, as operators read it
    """A value holds what could become structure: a control character, or a disguise in a name."""


def control_character(text: str) -> str:
    """Return `U+XXXX` of the first control character, line separator or surrogate, else ``""``."""
    return _first(_CONTROL, text)


def disguise_character(text: str) -> str:
    """Return the same for names and filenames, where bidi controls are refused too (X-13)."""
    return _first(_CONTROL_OR_BIDI, text)


def _first(pattern: re.Pattern[str], text: str) -> str:
    if text.isascii() and text.isprintable():
        return ""
    found = pattern.search(text)
    return f"U+{ord(found[0]):04X}" if found else ""


def refuse_controls(field: str, text: str) -> None:
    """Raise unless *text* can be the value of *field*."""
    if found := control_character(text):
        raise HeaderInjection(field, f"control character {found}")
    if len(text) > MAX_VALUE:
        raise MessageError(field, f"longer than {MAX_VALUE} characters")


def refuse_disguises(field: str, text: str) -> None:
    """Raise unless *text* can be a display name or a filename in *field*."""
    if found := disguise_character(text):
        raise HeaderInjection(field, f"control or bidi character {found}")
    if len(text) > MAX_VALUE:
        raise MessageError(field, f"longer than {MAX_VALUE} characters")


def fold(name: str, tokens: Sequence[str]) -> str:
    """Return *tokens* joined by spaces as the value of *name*, in lines of 76 where it can be.

    The first token stays on the first line: some parsers keep a break there as part of the value.
    """
    flat = " ".join(tokens)
    if len(name) + 2 + len(flat) <= LINE:
        return flat
    pieces = [tokens[0]]
    used = len(name) + 2 + len(tokens[0])
    for token in tokens[1:]:
        used += 1 + len(token)
        if used <= LINE:
            pieces.append(f" {token}")
        else:
            pieces.append(f"\r\n {token}")
            used = 1 + len(token)
    return "".join(pieces)


def unstructured(name: str, value: str, *, longest_word: int = LINE - 1) -> str:
    """Return *value* as the folded free text of *name*, encoded when plain ASCII will not carry it.

    Args:
        longest_word: ASCII words longer than this cannot be folded and are encoded; headers that
            machines read set it high, so that they stay raw.
    """
    refuse_controls(name, value)
    if value.isascii() and "=?" not in value and value == value.strip():
        if len(name) + 2 + len(value) <= LINE:
            return value
        words = _LONE_SPACE.split(value)
        if max(len(name) + 1 + len(words[0]), *map(len, words)) <= longest_word:
            return fold(name, words)
    return fold(name, encoded_words(value, LINE - len(name) - 2))


def phrase(name: str, text: str) -> list[str]:
    """Return the display name *text* in *name* as tokens to fold (RFC 5322 section 3.2.5).

    Atoms and quoted strings stay readable; anything else, and anything with `=?`, is encoded.
    """
    refuse_disguises(name, text)
    room = LINE - len(name) - 2
    if text.isascii() and "=?" not in text and len(text) <= room - 2:
        if _ATOMS.fullmatch(text):
            return [text]
        quoted = text.replace("\\", "\\\\").replace('"', '\\"')
        if len(quoted) <= room - 2:
            return [f'"{quoted}"']
    return encoded_words(text, room)


def unquote(text: str) -> str | None:
    """Return what *text* means: a quoted string's content, other text as it is, None when torn."""
    if '"' not in text:
        return text
    quoted = _QUOTED.fullmatch(text)
    return re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else None


def encoded_words(text: str, first_room: int) -> list[str]:
    """Return *text* as RFC 2047 words in UTF-8, the first at most *first_room* long, others 75.

    No character is divided between two words (section 5); the shorter of Q and B is taken.
    """
    raw = text.encode()
    escaped = len(raw.translate(None, _Q_SAFE))
    first, rest = max(first_room, 24) - _WORD_FRAME, _WORD - _WORD_FRAME
    if len(raw) + 2 * escaped <= 4 * ((len(raw) + 2) // 3):
        if len(raw) + 2 * escaped <= first:
            return [f"=?utf-8?q?{''.join([_Q[byte] for byte in raw])}?="]
        pieces = ["".join([_Q[byte] for byte in char.encode()]) for char in text]
        return [f"=?utf-8?q?{''.join(word)}?=" for word in _packed(pieces, first, rest)]
    chars = [char.encode() for char in text]
    words = map(b"".join, _packed(chars, first // 4 * 3, rest // 4 * 3))
    return [f"=?utf-8?b?{b2a_base64(word, newline=False).decode()}?=" for word in words]


def parameter(name: str, value: str) -> list[str]:
    """Return the parameter *name* as tokens to fold, in the continuations of RFC 2231 if needed."""
    if value.isascii() and len(value) <= _SEGMENT and not _UNQUOTABLE.search(value):
        return [f'{name}="{value}"']
    pieces = ["".join([_PERCENT[byte] for byte in char.encode()]) for char in value]
    segments = ["".join(segment) for segment in _packed(pieces, _SEGMENT, _SEGMENT)]
    if len(segments) == 1:
        return [f"{name}*=utf-8''{segments[0]}"]
    tokens = [f"{name}*{number}*={segment};" for number, segment in enumerate(segments)]
    tokens[0] = f"{name}*0*=utf-8''{segments[0]};"
    return [*tokens[:-1], tokens[-1][:-1]]


def _packed(pieces: Sequence[AnyStr], first: int, rest: int) -> Iterator[list[AnyStr]]:
    """Yield *pieces* in runs of at most *first*, then *rest*, characters each."""
    room = first
    run: list[AnyStr] = []
    for piece in pieces:
        if len(piece) > room:
            yield run
            room, run = rest, []
        run.append(piece)
        room -= len(piece)
    yield run


def seal(fields: Sequence[Field]) -> bytes:
    """Return *fields* as a header block, read again and found to be exactly these names (X-01).

    The block ends with the CRLF of its last field; the blank line is the caller's.
    """
    text = "".join([f"{name}: {value}\r\n" if value else f"{name}:\r\n" for name, value in fields])
    block = text.encode()
    if _names(block) != [name for name, _ in fields]:
        raise HeaderInjection("message", "a value would become a header of its own")
    return block


def _names(block: bytes) -> list[str] | None:
    """Return the names of the fields in *block*, or None when it is not a well-formed block.

    Strict where RFC 5322 is not: only CRLF ends a line, no line is blank or over 998 bytes, a
    continuation holds more than blanks, nothing stands between a name and its colon.
    """
    lines = block.split(b"\r\n")
    if lines.pop() or not block.count(b"\r") == block.count(b"\n") == len(lines):
        return None
    if b"" in lines or max(map(len, lines)) > MAX_LINE or block.startswith(_BLANKS):
        return None
    if b"\n " in block or b"\n\t" in block:
        if not all(line.strip(b" \t") for line in lines):
            return None
        lines = [line for line in lines if not line.startswith(_BLANKS)]
    return [line.partition(b":")[0].decode() for line in lines]
