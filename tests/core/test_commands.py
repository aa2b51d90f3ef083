"""Commands from the stream and over HTTP: read exactly, or refused with the code and the field."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailworkers.core.commands import (
    MAX_BODY,
    Command,
    FailureCode,
    Refusal,
    SourceKind,
    decode_body,
    decode_entry,
)
from mailworkers.core.fields import FIELDS
from mailworkers.core.payloads import MAX_PAYLOAD, RenderedPayload, TemplatePayload
from mailworkers.core.states import Lane, PayloadMode
from tests.core.entries import (
    DELIVERY_ID,
    RENDERED,
    REQUESTED_AT_MS,
    TEMPLATE,
    TRACEPARENT,
    body,
    changed,
    entry,
)


def ordered(fields: dict[bytes, bytes]) -> Command:
    """Return the command in an entry that must be a good one."""
    command = decode_entry(fields)
    assert isinstance(command, Command), command
    return command


def refused(fields: dict[bytes, bytes]) -> Refusal:
    """Return why an entry, which must be a bad one, is refused."""
    refusal = decode_entry(fields)
    assert isinstance(refusal, Refusal), refusal
    return refusal


def rendered(**changes: Any) -> dict[bytes, bytes]:
    """Return an entry with the rendered payload changed."""
    return entry(changed(RENDERED, changes))


def template(**changes: Any) -> dict[bytes, bytes]:
    """Return an entry with the template payload changed."""
    return entry(changed(TEMPLATE, changes))


def test_an_entry_becomes_a_command_field_by_field() -> None:
    """Nothing a producer says is lost or bent on the way."""
    command = ordered(
        entry(
            RENDERED,
            request_id="req-1",
            traceparent=TRACEPARENT,
            lane="bulk",
            send_at_ms="1795255260123",
            expires_at_ms="1795341600000",
        )
    )

    assert command.delivery_id == uuid.UUID(DELIVERY_ID)
    assert command.source == "notification"
    assert command.payload_mode is PayloadMode.RENDERED
    assert command.idempotency_key == "order-4711"
    assert command.requested_at == datetime(2026, 11, 21, 10, tzinfo=UTC)
    assert command.request_id == "req-1"
    assert command.traceparent == TRACEPARENT
    assert command.lane is Lane.BULK
    assert command.send_at == datetime(2026, 11, 21, 10, 1, 0, 123000, tzinfo=UTC)
    assert command.expires_at == datetime(2026, 11, 22, 10, tzinfo=UTC)
    assert command.payload == RenderedPayload(
        to=tuple(RENDERED["to"]), subject=RENDERED["subject"], text_body=RENDERED["text_body"]
    )
    assert len(command.fingerprint) == 32


def test_a_payload_is_read_whole() -> None:
    """Each field of contract section 2 has its place, and attachments leave base64 here."""
    payload = ordered(
        rendered(
            cc=["c@example.com"],
            bcc=["b@example.com"],
            reply_to=["r@example.com"],
            headers={"X-Order": "4711"},
            html_body="<p>On its way</p>",
            attachments=[
                {
                    "filename": "a.png",
                    "content_type": "image/png",
                    "content_base64": "QUJD",
                    "content_id": "logo",
                }
            ],
            **{"from": "Shop <shop@example.com>"},
        )
    ).payload

    assert (payload.cc, payload.bcc) == (("c@example.com",), ("b@example.com",))
    assert payload.reply_to == ("r@example.com",)
    assert payload.sender == "Shop <shop@example.com>"
    assert payload.headers == {"X-Order": "4711"}
    assert payload.attachments[0].content == b"ABC"
    assert payload.attachments[0].content_id == "logo"


def test_a_template_payload_has_its_locale_made_canonical() -> None:
    """Contract section 2: BCP 47, canonicalised."""
    payload = ordered(template(locale="ZH-hant-tw")).payload

    assert isinstance(payload, TemplatePayload)
    assert (payload.template_id, payload.locale) == ("login-code", "zh-Hant-TW")
    assert payload.variables == {"code": "492817"}


def test_what_is_empty_or_null_counts_as_not_given() -> None:
    """A stream cannot hold null, and other languages write null or [] for nothing."""
    spare = entry(
        changed(RENDERED, {"cc": None, "bcc": [], "html_body": None, "headers": {}}),
        lane="",
        send_at_ms="",
        request_id="",
        traceparent="",
    )

    assert ordered(spare) == ordered(entry())


REFUSALS: dict[str, tuple[dict[bytes, bytes], FailureCode, str]] = {
    "not JSON": (entry(b"{"), FailureCode.INVALID_JSON, "payload_json"),
    "empty JSON": (entry(b" \n"), FailureCode.INVALID_JSON, "payload_json"),
    "trailing bytes": (entry(b"{} {}"), FailureCode.INVALID_JSON, "payload_json"),
    "byte order mark": (entry(b"\xef\xbb\xbf{}"), FailureCode.INVALID_JSON, "payload_json"),
    "not UTF-8": (entry(b'{"to":["\xff"]}'), FailureCode.INVALID_JSON, "payload_json"),
    "UTF-16": (entry('{"to":[]}'.encode("utf-16")), FailureCode.INVALID_JSON, "payload_json"),
    "NUL escaped": (rendered(text_body="a\0b"), FailureCode.INVALID_JSON, "payload_json"),
    "NUL raw": (entry(b'{"to":["\0"]}'), FailureCode.INVALID_JSON, "payload_json"),
    "surrogate": (entry(b'{"subject":"\\ud800"}'), FailureCode.INVALID_JSON, "payload_json"),
    "NaN": (entry(b'{"variables":{"x":NaN}}'), FailureCode.INVALID_JSON, "payload_json"),
    "deep": (entry(b"[" * 100_000), FailureCode.INVALID_JSON, "payload_json"),
    "twice": (entry(b'{"to":["a@b"],"to":["c@d"]}'), FailureCode.INVALID_JSON, "payload_json"),
    "an array": (entry(b"[]"), FailureCode.INVALID_VALUE, "payload"),
    "a number": (entry(b"1"), FailureCode.INVALID_VALUE, "payload"),
    "many values": (
        template(variables={"x": [0] * 10_001}),
        FailureCode.PAYLOAD_TOO_LARGE,
        "payload_json",
    ),
    "large payload": (
        rendered(text_body="x" * MAX_PAYLOAD),
        FailureCode.PAYLOAD_TOO_LARGE,
        "payload_json",
    ),
    "unknown entry field": (entry(trace_id="x"), FailureCode.UNKNOWN_FIELD, "trace_id"),
    "unknown payload field": (rendered(html="x"), FailureCode.UNKNOWN_FIELD, "payload.html"),
    "field of the other mode": (
        rendered(template_id="x") | {b"payload_mode": b"rendered"},
        FailureCode.UNKNOWN_FIELD,
        "payload.template_id",
    ),
    "unknown attachment field": (
        rendered(attachments=[{"name": "x"}]),
        FailureCode.UNKNOWN_FIELD,
        "payload.attachments[0].name",
    ),
    "no subject": (rendered(subject=...), FailureCode.MISSING_FIELD, "payload.subject"),
    "null subject": (rendered(subject=None), FailureCode.MISSING_FIELD, "payload.subject"),
    "no body": (rendered(text_body=...), FailureCode.MISSING_FIELD, "payload.text_body"),
    "empty bodies": (
        rendered(text_body="", html_body=""),
        FailureCode.MISSING_FIELD,
        "payload.text_body",
    ),
    "no recipient": (rendered(to=...), FailureCode.MISSING_FIELD, "payload.to"),
    "no recipient in the list": (rendered(to=[]), FailureCode.MISSING_FIELD, "payload.to"),
    "no filename": (
        rendered(attachments=[{"content_type": "a/b", "content_base64": ""}]),
        FailureCode.MISSING_FIELD,
        "payload.attachments[0].filename",
    ),
    "no template": (
        template(template_id=...) | {b"payload_mode": b"template"},
        FailureCode.MISSING_FIELD,
        "payload.template_id",
    ),
    "no locale": (template(locale=...), FailureCode.MISSING_FIELD, "payload.locale"),
    "an address that is a number": (rendered(to=[7]), FailureCode.INVALID_VALUE, "payload.to[0]"),
    "addresses that are one": (rendered(to="a@b"), FailureCode.INVALID_VALUE, "payload.to"),
    "a subject that is a list": (
        rendered(subject=[]),
        FailureCode.INVALID_VALUE,
        "payload.subject",
    ),
    "a long subject": (rendered(subject="x" * 999), FailureCode.INVALID_VALUE, "payload.subject"),
    "a header that is a number": (
        rendered(headers={"X-A": 1}),
        FailureCode.INVALID_VALUE,
        "payload.headers[...]",
    ),
    "a long header name": (
        rendered(headers={"X" * 77: "1"}),
        FailureCode.INVALID_VALUE,
        "payload.headers",
    ),
    "51 recipients": (
        rendered(to=["a@example.com"] * 26, bcc=["b@example.com"] * 25),
        FailureCode.INVALID_VALUE,
        "payload.to",
    ),
    "21 attachments": (
        rendered(attachments=[{"filename": "a", "content_type": "a/b", "content_base64": ""}] * 21),
        FailureCode.INVALID_VALUE,
        "payload.attachments",
    ),
    "base64 with a line break": (
        rendered(
            attachments=[{"filename": "a", "content_type": "a/b", "content_base64": "QUJD\n"}]
        ),
        FailureCode.INVALID_VALUE,
        "payload.attachments[0].content_base64",
    ),
    "base64 without padding": (
        rendered(attachments=[{"filename": "a", "content_type": "a/b", "content_base64": "QUI"}]),
        FailureCode.INVALID_VALUE,
        "payload.attachments[0].content_base64",
    ),
    "a locale with an underscore": (
        template(locale="pt_BR"),
        FailureCode.INVALID_VALUE,
        "payload.locale",
    ),
    "a locale that is a number": (template(locale=1), FailureCode.INVALID_VALUE, "payload.locale"),
    "variables that are a list": (
        template(variables=["x"]),
        FailureCode.INVALID_VALUE,
        "payload.variables",
    ),
    "an integer of 30 digits": (
        template(variables={"x": 10**30}),
        FailureCode.INVALID_VALUE,
        "payload_json",
    ),
    "a delivery id that is none": (
        entry(delivery_id="4711"),
        FailureCode.INVALID_VALUE,
        "delivery_id",
    ),
    "a delivery id in braces": (
        entry(delivery_id=f"{{{DELIVERY_ID}}}"),
        FailureCode.INVALID_VALUE,
        "delivery_id",
    ),
    "an unknown source": (entry(source="shop"), FailureCode.INVALID_VALUE, "source"),
    "an unknown mode": (entry(payload_mode="raw"), FailureCode.INVALID_VALUE, "payload_mode"),
    "an unknown lane": (entry(lane="fast"), FailureCode.INVALID_VALUE, "lane"),
    "a long key": (entry(idempotency_key="k" * 256), FailureCode.INVALID_VALUE, "idempotency_key"),
    "a huge key": (entry(idempotency_key="k" * 2000), FailureCode.INVALID_VALUE, "idempotency_key"),
    "NUL in a key": (entry(idempotency_key="a\0b"), FailureCode.INVALID_VALUE, "idempotency_key"),
    "a key not UTF-8": (
        entry(idempotency_key=b"\xff"),
        FailureCode.INVALID_VALUE,
        "idempotency_key",
    ),
    "a line break in a request id": (
        entry(request_id="a\nb"),
        FailureCode.INVALID_VALUE,
        "request_id",
    ),
    "a time that is no number": (entry(send_at_ms="soon"), FailureCode.INVALID_VALUE, "send_at_ms"),
    "a time in other digits": (
        entry(send_at_ms="١٧٩٥٢٥٥٢٠٠٠٠٠"),  # int() would take them
        FailureCode.INVALID_VALUE,
        "send_at_ms",
    ),
    "a negative time": (entry(send_at_ms="-1"), FailureCode.INVALID_VALUE, "send_at_ms"),
    "a time with a fraction": (entry(send_at_ms="1.5"), FailureCode.INVALID_VALUE, "send_at_ms"),
    "a time in seconds": (
        entry(requested_at_ms="1795255200"),
        FailureCode.INVALID_VALUE,
        "requested_at_ms",
    ),
    "a time in the year 2100": (
        entry(send_at_ms="4102444800000"),
        FailureCode.INVALID_VALUE,
        "send_at_ms",
    ),
    "a time of 30 digits": (entry(send_at_ms="9" * 30), FailureCode.INVALID_VALUE, "send_at_ms"),
    "infinity": (entry(expires_at_ms="infinity"), FailureCode.INVALID_VALUE, "expires_at_ms"),
    **{
        f"{given} {name}": (entry(**{name: value}), FailureCode.MISSING_FIELD, name)
        for given, value in (("no", ...), ("empty", ""))
        for name in (
            "delivery_id",
            "source",
            "payload_mode",
            "idempotency_key",
            "requested_at_ms",
            "payload_json",
        )
    },
}


@pytest.mark.parametrize(("fields", "code", "path"), REFUSALS.values(), ids=REFUSALS.keys())
def test_a_bad_entry_is_refused_with_the_code_and_the_field(
    fields: dict[bytes, bytes], code: FailureCode, path: str
) -> None:
    """Contract section 2: one code of a closed list, and the reason with the path (M-12, F-M04)."""
    refusal = refused(fields)

    assert (refusal.code, refusal.path) == (code, path)
    assert refusal.detail.startswith(f"{path}: ")


def test_a_refusal_names_the_command_where_it_can() -> None:
    """The log line of a rejected entry has delivery_id and source (contract section 2)."""
    refusal = refused(entry(lane="fast"))
    disguised = refused(entry(delivery_id="x\nlevel=ERROR", source=b"\xff\x00"))

    assert (refusal.delivery_id, refusal.source) == (DELIVERY_ID, "notification")
    assert (disguised.delivery_id, disguised.source) == ("", "")


def test_a_refusal_never_repeats_a_value() -> None:
    """Bodies and codes stand in no log (contract section 6)."""
    secret = "s3cret-492817"
    for fields in (
        rendered(to=[{secret: secret}]),
        rendered(subject=secret * 99),
        template(variables=secret),
        entry(idempotency_key=f"{secret}\n"),
        entry(lane=secret),
        entry(b'{"subject": "' + secret.encode() + b'"'),
    ):
        assert secret not in refused(fields).detail


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (TRACEPARENT, TRACEPARENT),
        (f"cc{TRACEPARENT[2:]}-what-comes-later", TRACEPARENT),
        (f"cc{TRACEPARENT[2:]}", TRACEPARENT),
        (f"ff{TRACEPARENT[2:]}", None),
        (f"{TRACEPARENT}-more", None),
        (TRACEPARENT.upper(), None),
        (TRACEPARENT.replace("4bf92f3577b34da6a3ce929d0e0e4736", "0" * 32), None),
        (TRACEPARENT.replace("00f067aa0ba902b7", "0" * 16), None),
        ("garbage", None),
    ],
)
def test_a_traceparent_that_is_not_valid_is_ignored(given: str, kept: str | None) -> None:
    """W3C Trace Context section 3.2.2.2: restart the trace, never fail the request."""
    assert ordered(entry(traceparent=given)).traceparent == kept


def test_a_delivery_id_may_be_in_any_letter_case() -> None:
    """RFC 9562 section 4: input is case insensitive; the canonical form is lower case."""
    assert str(ordered(entry(delivery_id=DELIVERY_ID.upper())).delivery_id) == DELIVERY_ID


def test_the_lane_is_that_of_the_source_unless_named() -> None:
    """Contract section 2: authsession is of kind auth, on the lane auth."""
    sources = {"digest": SourceKind(lane=Lane.BULK)}
    digest = decode_entry(entry(source="digest"), sources=sources)

    assert ordered(entry(source="authsession")).lane is Lane.AUTH
    assert ordered(entry(source="authsession", lane="normal")).lane is Lane.NORMAL
    assert isinstance(digest, Command)
    assert digest.lane is Lane.BULK


def test_an_http_body_orders_the_same_as_an_entry() -> None:
    """One rule for stream, HTTP and batch: the fingerprints are equal."""
    for payload in (RENDERED, TEMPLATE):
        by_stream = decode_entry(entry(payload, expires_at_ms="1795341600000"))
        by_http = decode_body(body(payload, expires_at_ms=1795341600000))

        assert isinstance(by_stream, Command)
        assert isinstance(by_http, Command)
        assert by_http.payload == by_stream.payload
        assert by_http.fingerprint == by_stream.fingerprint
        assert by_http.expires_at == by_stream.expires_at


def test_an_http_body_may_leave_out_what_we_can_make() -> None:
    """The id, the source and the time of the request are ours to fill in."""
    command = decode_body(body(source=..., delivery_id=None), idempotency_key="order-4711")

    assert isinstance(command, Command)
    assert command.delivery_id is None
    assert command.requested_at is None
    assert command.source == "api"


def test_the_idempotency_key_may_stand_in_the_header() -> None:
    """The header fills in for the field and must not contradict it."""
    by_header = decode_body(body(idempotency_key=...), idempotency_key="from-the-header")
    contradicted = decode_body(body(), idempotency_key="another")

    assert isinstance(by_header, Command)
    assert by_header.idempotency_key == "from-the-header"
    assert isinstance(contradicted, Refusal)
    assert (contradicted.code, contradicted.path) == (FailureCode.INVALID_VALUE, "idempotency_key")


@pytest.mark.parametrize(
    ("raw", "code", "path"),
    [
        (b"", FailureCode.INVALID_JSON, "body"),
        (b"[]", FailureCode.INVALID_VALUE, "body"),
        (b" " * (MAX_BODY + 1), FailureCode.PAYLOAD_TOO_LARGE, "body"),
        (b'{"source":"api","source":"resend"}', FailureCode.INVALID_JSON, "body"),
        (body(idempotency_key=...), FailureCode.MISSING_FIELD, "idempotency_key"),
        (body(payload=...), FailureCode.MISSING_FIELD, "payload"),
        (body(payload=None), FailureCode.MISSING_FIELD, "payload"),
        (body(payload="{}"), FailureCode.INVALID_VALUE, "payload"),
        (body(payload_json="{}"), FailureCode.UNKNOWN_FIELD, "payload_json"),
        (body(send_at_ms=1.5), FailureCode.INVALID_VALUE, "send_at_ms"),
        (body(send_at_ms=True), FailureCode.INVALID_VALUE, "send_at_ms"),
        (body(lane=1), FailureCode.INVALID_VALUE, "lane"),
        (body(idempotency_key=["k"]), FailureCode.INVALID_VALUE, "idempotency_key"),
        (body({**RENDERED, "to": [1]}), FailureCode.INVALID_VALUE, "payload.to[0]"),
    ],
)
def test_a_bad_body_is_refused_with_the_code_and_the_field(
    raw: bytes, code: FailureCode, path: str
) -> None:
    """HTTP answers with the same codes and paths as the stream."""
    refusal = decode_body(raw)

    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.path) == (code, path)


def test_the_fingerprint_is_of_what_is_asked_for_and_of_nothing_else() -> None:
    """Contract section 2: not over delivery_id, requested_at, request_id, traceparent."""
    first = ordered(entry()).fingerprint
    reordered = dict(reversed(RENDERED.items()))

    assert ordered(entry(reordered)).fingerprint == first
    assert (
        ordered(
            entry(
                delivery_id=str(uuid.uuid4()),
                requested_at_ms="1795255299999",
                request_id="again",
                traceparent=TRACEPARENT,
                lane="normal",
            )
        ).fingerprint
        == first
    )


@pytest.mark.parametrize(
    "other",
    [
        entry(lane="bulk"),
        entry(send_at_ms="1795255260000"),
        entry(expires_at_ms="1795255260000"),
        rendered(subject="Your other order"),
        rendered(bcc=["b@example.com"]),
        rendered(text_body=..., html_body=RENDERED["text_body"]),
        entry(TEMPLATE),
    ],
)
def test_another_order_has_another_fingerprint(other: dict[bytes, bytes]) -> None:
    """Same key, other content is a conflict, so other content must show."""
    assert ordered(other).fingerprint != ordered(entry()).fingerprint


def test_the_fingerprint_does_not_depend_on_the_order_of_variables() -> None:
    """JSON objects have no order (RFC 8259 section 1), at any depth."""
    one = template(variables={"a": {"x": 1, "y": [2]}, "b": "c"})
    other = template(variables={"b": "c", "a": {"y": [2], "x": 1}})

    assert ordered(one).fingerprint == ordered(other).fingerprint


def test_the_fingerprint_stays_what_it_is_over_versions() -> None:
    """A reservation lives for days: an upgrade must not turn replays into conflicts."""
    assert ordered(entry()).fingerprint.hex() == (
        "06e3ed4a61d4b472de820ad6897f37c796b8bd6f099599f1e7d01890c9d8b5eb"
    )
    assert ordered(entry(TEMPLATE)).fingerprint.hex() == (
        "d8df1fc5f4b18663265289f3e8a720f521efca28a0846edd6613e20e9ac3f438"
    )


def test_attachments_of_ten_megabytes_are_read() -> None:
    """The limit is there to be used."""
    content = "QUJD" * ((MAX_PAYLOAD - 1000) // 4)
    part = {"filename": "a.bin", "content_type": "a/b", "content_base64": content}

    assert len(ordered(rendered(attachments=[part])).payload.attachments[0].content) > 7_000_000


NAMES = st.sampled_from([*(name.encode() for name in FIELDS), b"payload_json"])
ALIKE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
PAYLOADS = st.fixed_dictionaries(
    {}, optional=dict.fromkeys((*RENDERED, *TEMPLATE, "headers", "attachments"), ALIKE)
)


@settings(deadline=None, max_examples=300)
@given(
    st.dictionaries(NAMES | st.binary(max_size=8), st.binary(max_size=64), max_size=8)
    | st.builds(entry, st.binary(max_size=64))
    | st.builds(entry, PAYLOADS)
    | st.builds(entry, ALIKE)
)
def test_no_entry_whatever_it_holds_raises(fields: dict[bytes, bytes]) -> None:
    """M-15: what ends a consumer ends it again and again, for the entry comes back."""
    result = decode_entry(fields)

    if isinstance(result, Refusal):
        assert result.detail.isprintable()
        assert 0 < len(result.detail) <= 500


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=64) | st.builds(body, PAYLOADS) | st.builds(body, ALIKE))
def test_no_body_whatever_it_holds_raises(raw: bytes) -> None:
    """A bad body is a 400, never a 500."""
    assert isinstance(decode_body(raw), Command | Refusal)


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_a_torn_payload_is_refused_and_harms_nothing(data: st.DataObject) -> None:
    """Bytes changed on the way are an entry like any other."""
    raw = bytearray(entry()[b"payload_json"])
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))

    assert isinstance(decode_entry(entry(bytes(raw))), Command | Refusal)


def test_an_error_of_our_own_is_a_refusal_that_names_the_place() -> None:
    """One entry must never stop the others, not even by our mistake (M-15)."""
    refusal = decode_entry(entry(), sources=None)  # type: ignore[arg-type]

    assert isinstance(refusal, Refusal)
    assert refusal.code is FailureCode.INVALID_VALUE
    assert refusal.detail.startswith("could not be handled: AttributeError in commands.py, line ")


def test_requested_at_is_exact_to_the_millisecond() -> None:
    """Milliseconds are not rounded through floating point."""
    for milliseconds in range(int(REQUESTED_AT_MS), int(REQUESTED_AT_MS) + 1000, 7):
        at = ordered(entry(requested_at_ms=str(milliseconds))).requested_at
        assert at is not None
        assert (at - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(milliseconds=1) == milliseconds
