"""The relaxed form of messages, which DKIM signs (RFC 6376 sections 3.4.2 and 3.4.4).

What relays do to a message on its way disappears in it: folding, the case of names, how many blanks
stand in a row or at the end of a line, empty lines at the end.
"""

from collections.abc import Iterator, Sequence

_RARE = 1000  # bytes of a body for each blank that may be looked at one by one
_NOT_AFTER_BLANK = (b" ", b"\r", b"")


def relaxed_fields(block: bytes) -> list[tuple[str, bytes]]:
    """Return each field of a header *block* as its name in lower case and its relaxed form.

    RFC 6376 section 3.4.2. The block ends with the CRLF of its last field, and so does each form.
    """
    unfolded = _with_single_blanks(block.replace(b"\r\n ", b" ").replace(b"\r\n\t", b" "))
    return list(_relaxed(unfolded.split(b"\r\n")[:-1]))


def _relaxed(lines: Sequence[bytes]) -> Iterator[tuple[str, bytes]]:
    for line in lines:
        written, _, value = line.partition(b":")
        name = written.rstrip(b" ").lower()
        yield name.decode(), b"%b:%b\r\n" % (name, value.strip(b" "))


def relaxed_body(body: bytes) -> bytes:
    """Return *body*, whose line ends are CRLF, in relaxed form (RFC 6376 section 3.4.4)."""
    if not _is_surely_relaxed(body):
        body = _with_single_blanks(body).replace(b" \r\n", b"\r\n").removesuffix(b" ")
    if body.endswith(b"\r\n") and not body.endswith(b"\r\n\r\n") and body != b"\r\n":
        return body
    body = body.rstrip(b"\r\n")
    return body + b"\r\n" if body else b""


def _is_surely_relaxed(body: bytes) -> bool:
    """Return whether no blank in *body* stands beside another or ends a line; False when in doubt.

    One byte is found a hundred times faster than two in a row, so this is quick where blanks are
    rare, as in bodies of base64; where they are not it gives up at once.
    """
    if b"\t" in body:
        return False
    blank = -1
    for _ in range(len(body) // _RARE):
        blank = body.find(b" ", blank + 1)
        if blank < 0:
            return True
        if body[blank + 1 : blank + 2] in _NOT_AFTER_BLANK:
            return False
    return False


def _with_single_blanks(data: bytes) -> bytes:
    """Return *data* with a single space for each run of spaces and tabs."""
    if b"\t" in data:
        data = data.replace(b"\t", b" ")
    while b"  " in data:  # halves the longest run: at most twenty times for a megabyte of blanks
        data = data.replace(b"  ", b" ")
    return data
