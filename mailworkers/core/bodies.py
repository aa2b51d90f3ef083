"""Bodies as 7-bit bytes: the transfer encodings of RFC 2045 section 6, chosen by content."""

import re
import struct
from binascii import b2a_base64, b2a_qp

_MAX_LINE = 998
_QP_LINE = 76
_BASE64_LINE = 76
_BASE64_BLOCK = 57 * 64  # bytes that make 64 lines
_BASE64_LINES = struct.Struct("76s" * 64)
_PLAIN = bytes(range(0x20, 0x7F)) + b"\t\r\n"
_ASCII = bytes(range(0x80))
_FRAGILE_START = (b".", b"From ")
_FRAGILE_END = (b" ", b"\t")
_LINE = re.compile(rb"[^\r\n]+")


def encode_text(text: str) -> tuple[str, bytes]:
    """Return the content-transfer-encoding for *text* and its body; any line end becomes CRLF.

    7bit when nothing on the way could change it, quoted-printable while that stays readable and
    short, base64 for scripts that would be mostly escapes.
    """
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    data = text.replace("\n", "\r\n").encode()
    if _survives(data):
        return "7bit", data
    if 6 * len(data.translate(None, _ASCII)) > len(data):
        return "base64", base64_lines(data)
    return "quoted-printable", _quoted_printable(data)


def _survives(data: bytes) -> bool:
    """Return whether *data* arrives as it is in 7bit, through every relay and mailbox.

    Known to be touched on the way: control characters, dots (RFC 5321 section 4.5.2) and mbox
    separators at the start of a line, blanks at its end, lines over 998; and `--=_` starts our
    own boundaries, which no text may imitate.
    """
    return not (
        data.translate(None, _PLAIN)
        or data.startswith(_FRAGILE_START)
        or data.endswith(_FRAGILE_END)
        or b"\n." in data
        or b"\nFrom " in data
        or b" \r\n" in data
        or (b"\t" in data and b"\t\r\n" in data)
        or b"--=_" in data
        or _has_long_line(data)
    )


def _has_long_line(data: bytes) -> bool:
    """Return whether a line is over 998 bytes, going from line end to line end in long steps."""
    start = 0
    while len(data) - start > _MAX_LINE:
        line_end = data.rfind(b"\r\n", start, start + _MAX_LINE + 2)
        if line_end < 0:
            return True
        start = line_end + 2
    return False


def base64_lines(data: bytes) -> bytes:
    """Return *data* in base64, lines of 76 divided by CRLF, none at the end."""
    # Attachments are long: unpacking 64 lines at once takes half the time of slicing them.
    whole = len(data) - len(data) % _BASE64_BLOCK
    lines = [
        b"\r\n".join(_BASE64_LINES.unpack(b2a_base64(data[i : i + _BASE64_BLOCK], newline=False)))
        for i in range(0, whole, _BASE64_BLOCK)
    ]
    rest = b2a_base64(data[whole:], newline=False)
    lines += [rest[i : i + _BASE64_LINE] for i in range(0, len(rest), _BASE64_LINE)]
    return b"\r\n".join(lines)


def _quoted_printable(data: bytes) -> bytes:
    """Return *data*, whose line ends are CRLF, in quoted-printable.

    The closing CRLF, taken off again, is there because `b2a_qp` divides lines by LF alone when it
    saw no CRLF in its input. It also leaves dots and `From ` alone, and writes lines of up to 78
    where a blank ends them: such lines are repaired.
    """
    encoded = b2a_qp(data + b"\r\n", istext=True)
    if (
        b"\n." in encoded
        or b"\nFrom " in encoded
        or encoded.startswith(_FRAGILE_START)
        or b"=20\r\n" in encoded
        or b"=09\r\n" in encoded
    ):
        encoded = _LINE.sub(lambda line: _repair(line[0]), encoded)
    return encoded[:-2]


def _repair(line: bytes) -> bytes:
    """Return *line*, encoded already, with a fragile start escaped and divided where over 76."""
    if line.startswith(_FRAGILE_START):
        line = b"=%02X%b" % (line[0], line[1:])
    if len(line) <= _QP_LINE:
        return line
    cut = _QP_LINE - 4
    escape = line.rfind(b"=", cut - 2, cut)  # an escape is three bytes and must not be divided
    cut = cut if escape < 0 else escape
    return line[:cut] + b"=\r\n" + _repair(line[cut:])
