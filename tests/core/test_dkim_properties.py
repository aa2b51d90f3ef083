"""Any message: its signatures verify, survive what relays do, and break when anything changes.

The verifier is dkimpy, which shares nothing with our code.
"""

import re
from collections.abc import Callable

from dkim.canonicalization import Relaxed
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mailworkers.core.addresses import Mailbox
from mailworkers.core.dkim import Algorithm, sign
from mailworkers.core.dkim_canonical import relaxed_body, relaxed_fields
from mailworkers.core.mime import Attachment
from tests.core.messages import DATE, MESSAGE_ID, raw
from tests.core.test_mime_properties import bodies, free_text, names
from tests.dkim_keys import DOMAIN, key, published, verifies

BOTH = (key(DOMAIN, "r2026"), key(DOMAIN, "e2026", Algorithm.ED25519))
RECORDS = published(*BOTH)
VALID, BROKEN = [True, True], [False, False]

lightly = settings(deadline=None, database=None, max_examples=100)

extra_headers = st.fixed_dictionaries(
    {},
    optional={
        "References": st.just(MESSAGE_ID),
        "In-Reply-To": st.just(MESSAGE_ID),
        "List-Unsubscribe": st.just("<https://example.com/u?" + "x" * 150 + ">"),
        "List-Id": st.sampled_from(["<l.example.com>", "Grüße <l.example.com>"]),
        "X-Order": free_text.filter(lambda text: not text or text.strip() == text),
        "Feedback-ID": st.just("a:b:c:example"),
    },
)


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """Return what the composer makes of drawn texts, names, files and headers."""
    text = draw(st.none() | bodies)
    html = draw(bodies if text is None else st.none() | bodies)
    files = draw(st.lists(st.tuples(names, st.binary(max_size=2000), st.booleans()), max_size=2))
    headers = draw(extra_headers)
    return raw(
        subject=draw(free_text),
        to=tuple(Mailbox(name, "r@example.com") for name in draw(st.lists(names, max_size=3))),
        cc=tuple(Mailbox(name, "c@example.com") for name in draw(st.lists(names, max_size=2))),
        text=None if text is None else text.encode(errors="replace").decode(),
        html=None if html is None else html.encode(errors="replace").decode(),
        attachments=tuple(
            Attachment(name, "application/x-test", content, f"cid-{n}" if inline else None)
            for n, (name, content, inline) in enumerate(files)
        ),
        headers=tuple(headers.items()),
    )


signed_messages = messages().map(lambda mime: sign(mime, [k.signing for k in BOTH], at=DATE))


@lightly
@given(signed_messages)
def test_any_message_of_the_composer_verifies(mime: bytes) -> None:
    """By both signatures."""
    assert verifies(mime, RECORDS) == VALID


def _fields(mime: bytes) -> tuple[list[bytes], bytes]:
    """Return the fields of *mime*, each without its last CRLF, and the body."""
    header, _, body = mime.partition(b"\r\n\r\n")
    return re.split(rb"\r\n(?![ \t])", header), body


def _joined(fields: list[bytes], body: bytes) -> bytes:
    return b"\r\n".join([*fields, b"", body])


def _unfold(mime: bytes) -> bytes:
    fields, body = _fields(mime)
    return _joined([field.replace(b"\r\n", b"") for field in fields], body)


def _refold(mime: bytes) -> bytes:
    """Fold at every blank of a value, with a tab and a space for it."""
    fields, body = _fields(mime)
    words = [field.replace(b"\r\n", b"").split() for field in fields]
    return _joined([b"\r\n\t ".join([b" ".join(w[:2]), *w[2:]]) for w in words], body)


def _shout_names(mime: bytes) -> bytes:
    fields, body = _fields(mime)
    parted = [field.partition(b":") for field in fields]
    return _joined([name.upper() + colon + value for name, colon, value in parted], body)


def _blank_line_ends(mime: bytes) -> bytes:
    fields, body = _fields(mime)
    return _joined([field + b" \t" for field in fields], body.replace(b"\r\n", b"\t \r\n"))


def _widen_blanks(mime: bytes) -> bytes:
    fields, body = _fields(mime)
    return _joined(fields, body.replace(b" ", b" \t "))


def _add_trace(mime: bytes) -> bytes:
    trace = b"Received: from a by b;\r\n\tTue, 3 Feb 2026 04:05:07 +0000\r\n"
    return b"Return-Path: <shop@example.com>\r\n" + trace + b"X-Spam-Score: 0\r\n" + mime


def _add_empty_lines(mime: bytes) -> bytes:
    return mime + b"\r\n \r\n\r\n"


def _reverse_fields(mime: bytes) -> bytes:
    """Names are unique but for the signatures, which stay in order."""
    fields, body = _fields(mime)
    return _joined([*fields[:2], *reversed(fields[2:])], body)


KIND: list[Callable[[bytes], bytes]] = [
    _unfold,
    _refold,
    _shout_names,
    _blank_line_ends,
    _widen_blanks,
    _add_trace,
    _add_empty_lines,
    _reverse_fields,
]


@lightly
@given(signed_messages, st.lists(st.sampled_from(KIND), min_size=1, max_size=4, unique=True))
def test_what_relays_do_to_a_message_leaves_it_valid(
    mime: bytes, changes: list[Callable[[bytes], bytes]]
) -> None:
    """RFC 6376 section 3.4: what relaxed forgives, in any order and together."""
    changed = mime
    for change in changes:
        changed = change(changed)

    assert verifies(changed, RECORDS) == VALID


@settings(lightly, max_examples=200)
@given(signed_messages, st.data())
def test_any_other_byte_makes_it_invalid(mime: bytes, data: st.DataObject) -> None:
    """One visible byte changed anywhere below the signatures, where it is signed."""
    fields, body = _fields(mime)
    kept = _joined([f for f in fields if not f.startswith(b"X-Order")], body)
    start = kept.index(b"\r\nFrom:") + 2
    visible = [i for i in range(start, len(kept)) if kept[i] > 0x20]
    place = data.draw(st.sampled_from(visible))
    # Only in a name, where letters are lowered, 0x20 would make no difference.
    changed = kept[:place] + bytes([kept[place] ^ data.draw(st.sampled_from([1, 2, 4, 8]))])
    assume(changed[-1] > 0x20)

    assert verifies(kept, RECORDS) == VALID
    assert verifies(changed + kept[place + 1 :], RECORDS) == BROKEN


@lightly
@given(signed_messages, st.data())
def test_no_signed_field_can_be_taken_away_doubled_or_emptied(
    mime: bytes, data: st.DataObject
) -> None:
    """Sealing: each is listed once more than it occurs."""
    fields, body = _fields(mime)
    signed = [n for n in range(2, len(fields)) if not fields[n].startswith(b"X-Order")]
    place = data.draw(st.sampled_from(signed))
    name = fields[place].partition(b":")[0]
    emptied = name + b":"
    assume(fields[place].strip() != emptied)

    for instead in ([], [fields[place]] * 2, [emptied]):
        changed = [*fields[:place], *instead, *fields[place + 1 :]]
        assert verifies(_joined(changed, body), RECORDS) == BROKEN, (name, instead)


@lightly
@given(signed_messages, st.text(alphabet="ab=-. \t", min_size=1).filter(str.strip))
def test_nothing_can_be_appended_to_the_body(mime: bytes, more: str) -> None:
    """No `l=`."""
    assert verifies(mime + more.encode() + b"\r\n", RECORDS) == BROKEN


pieces = st.sampled_from([b" ", b"\t", b"\r\n", b"a", b".", b"=20", b"x" * 1000, b" " * 50])


@settings(lightly, max_examples=500)
@given(st.lists(pieces, max_size=40).map(b"".join))
def test_any_body_has_the_relaxed_form_that_others_give_it(body: bytes) -> None:
    """Bodies end in CRLF, as ours do; what stands without one at the end is dkimpy's own matter."""
    assert relaxed_body(body + b"\r\n") == Relaxed.canonicalize_body(body + b"\r\n")


@lightly
@given(st.lists(st.sampled_from([b" ", b"\t", b"\r\n ", b"\r\n\t", b"a", b":", b"\xc3\xa4"])))
def test_any_field_has_the_relaxed_form_that_others_give_it(value: list[bytes]) -> None:
    """The name in lower case, the value unfolded, blanks single and none around it."""
    written = b"".join(value)
    ((name, theirs),) = Relaxed.canonicalize_headers([(b"Subject ", written)])

    assert relaxed_fields(b"Subject :" + written + b"\r\n") == [("subject", name + b":" + theirs)]
