"""JSON from strangers: one value that means one thing, with the standard library as the judge."""

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mailworkers.core.refusals import FailureCode, Refused
from mailworkers.core.strictjson import LARGEST_INTEGER, MAX_DEPTH, MAX_VALUES, parse

TEN_MEGABYTES = 10 * 1024 * 1024


class Twice(Exception):  # noqa: N818
    """The standard library met an object with the same key twice."""


def read_by_the_standard_library(text: bytes) -> Any:
    """Return what *text* says; Twice where a key is repeated."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise Twice
        return dict(pairs)

    return json.loads(text, object_pairs_hook=once)


def refusal(text: bytes) -> Refused:
    """Return why *text* is refused."""
    with pytest.raises(Refused) as caught:
        parse(text, path="x")
    return caught.value


def written(value: Any, space: str, *, ascii_only: bool) -> str:
    """Return JSON for *value*, in which a list of pairs under a `Pairs` is an object."""
    if isinstance(value, Pairs):
        items = (
            f"{json.dumps(key, ensure_ascii=ascii_only)}{space}:{space}"
            f"{written(item, space, ascii_only=ascii_only)}"
            for key, item in value
        )
        return "{" + f"{space},{space}".join(items) + "}"
    if isinstance(value, list):
        items = (written(item, space, ascii_only=ascii_only) for item in value)
        return "[" + ",".join(items) + "]"
    return json.dumps(value, ensure_ascii=ascii_only)


class Pairs(tuple[tuple[str, Any], ...]):
    """An object as it is written: keys may repeat."""

    __slots__ = ()


# Few letters, so that keys repeat; those that structure is made of, so that strings deceive.
DECEITFUL = st.text('ab":\\{}[], \n', max_size=4)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | DECEITFUL,
    lambda inner: (
        st.lists(inner, max_size=4) | st.lists(st.tuples(DECEITFUL, inner), max_size=4).map(Pairs)
    ),
    max_leaves=20,
)


@settings(deadline=None, max_examples=500)
@given(value=VALUES, space=st.sampled_from(["", " ", "\n\t "]), ascii_only=st.booleans())
@example(value=Pairs((("a", 1), ("a", 1))), space="", ascii_only=True)
@example(value=Pairs((('a":', 1), (":b", ':"'))), space=" ", ascii_only=True)
def test_a_key_given_twice_is_found_and_nothing_else_is(
    value: Any, space: str, ascii_only: bool
) -> None:
    """X-15: exact, whatever the strings look like."""
    text = written(value, space, ascii_only=ascii_only).encode()
    try:
        expected = read_by_the_standard_library(text)
    except Twice:
        assert refusal(text).reason == "an object has the same key twice"
    else:
        assert parse(text, path="x") == expected


def test_a_key_written_in_two_ways_is_the_same_key() -> None:
    """RFC 8259 section 8.3: strings are compared after unescaping."""
    assert refusal(b'{"a":1,"\\u0061":2}').code is FailureCode.INVALID_JSON


@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"a":[', '["]",[', '[{"[{":'])
def test_nesting_is_allowed_to_the_limit_and_no_deeper(opening: str) -> None:
    """M-15: a deep value would end the process."""
    closing = {"[": "]", "{": "}"}
    bare = opening.replace('"]"', "").replace('"[{"', "")
    brackets = [character for character in bare if character in closing]

    def nested(depth: int) -> bytes:
        times = depth // len(brackets)
        tail = "".join(closing[bracket] for bracket in reversed(brackets))
        return f"{opening * times}0{tail * times}".encode()

    deepest = MAX_DEPTH // len(brackets) * len(brackets)
    parse(nested(deepest), path="x")
    assert "deep" in refusal(nested(deepest + len(brackets))).reason
    assert "deep" in refusal(nested(100_000)).reason


def test_brackets_in_strings_do_not_nest() -> None:
    """HTML and style sheets are full of them."""
    text = json.dumps({"html": "[{" * 1000 + '\\"[{', "more": ["{" * 100]}).encode()

    assert parse(text, path="x") == json.loads(text)


@pytest.mark.parametrize(
    "integer", [LARGEST_INTEGER + 1, -LARGEST_INTEGER - 1, 10**30, 10**300, -(10**18) * 10]
)
def test_an_integer_beyond_64_bits_is_refused(integer: int) -> None:
    """M-15: 30 digits pass as int, and then overflow whatever stores them."""
    assert refusal(f'{{"x":[{integer}]}}'.encode()).code is FailureCode.INVALID_VALUE


def test_integers_of_64_bits_pass() -> None:
    """The range of a bigint, but for its odd last value."""
    assert parse(f"[{LARGEST_INTEGER},-{LARGEST_INTEGER}]".encode(), path="x") == [
        LARGEST_INTEGER,
        -LARGEST_INTEGER,
    ]


@pytest.mark.parametrize("text", [b'["\\u0000"]', b'{"a\\u0000b":1}', b'["a\\\\\\u0000"]'])
def test_nul_is_refused_wherever_it_stands(text: bytes) -> None:
    """M-12: no text column can hold it."""
    assert refusal(text).reason == "holds the character NUL"


def test_what_only_looks_like_nul_passes() -> None:
    """A backslash before `u0000` may itself be escaped."""
    assert parse(b'["\\\\u0000"]', path="x") == ["\\u0000"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf{}", "starts with a byte order mark"),
        (b'"\xff"', "is not UTF-8"),
        (b'"\xed\xa0\x80"', "is not UTF-8"),
        (b"{}x", "is not JSON: "),
        (b"[1,]", "is not JSON: "),
        (b'{"a"}', "is not JSON: "),
        (b"{'a':1}", "is not JSON: "),
        (b"01", "is not JSON: "),
        (b"Infinity", "is not JSON: "),
        (b"1e999", "is not JSON: "),
        (b'"\\udc00"', "is not JSON: "),
        (b'"\\ud800\\ud800"', "is not JSON: "),
        (b'"\t"', "is not JSON: "),
        (b"1" * 5000, "is not JSON: "),
    ],
)
def test_what_is_not_json_is_refused_with_the_reason(text: bytes, reason: str) -> None:
    """RFC 8259, without its liberties."""
    refused = refusal(text)

    assert refused.code is FailureCode.INVALID_JSON
    assert refused.reason.startswith(reason)


@pytest.mark.parametrize(
    "piece", [b"[],", b"{},", b"0,", b'"ab",', b'"a":0,', b'{"a":"b"},', b"[", b"]", b'"', b"\\"]
)
@pytest.mark.parametrize("opening", [b"", b"[", b"{", b'"'])
def test_ten_megabytes_of_anything_are_refused(opening: bytes, piece: bytes) -> None:
    """N-13: cut short by counting, before a parser makes objects of them."""
    text = opening + piece * (TEN_MEGABYTES // len(piece))

    assert refusal(text).code in {FailureCode.INVALID_JSON, FailureCode.PAYLOAD_TOO_LARGE}


def test_many_values_are_refused_and_as_many_as_allowed_are_not() -> None:
    """A value is an element or a member; the whole is one too."""
    parse(json.dumps([0] * (MAX_VALUES - 1)).encode(), path="x")
    parse(json.dumps({f"k{n}": "," for n in range(MAX_VALUES - 1)}).encode(), path="x")

    assert refusal(json.dumps([0] * MAX_VALUES).encode()).code is FailureCode.PAYLOAD_TOO_LARGE
    assert refusal(json.dumps([[]] * MAX_VALUES).encode()).code is FailureCode.PAYLOAD_TOO_LARGE


def test_commas_in_strings_are_no_values() -> None:
    """A long text has more of them than a payload may have values."""
    text = json.dumps({"text": ", " * MAX_VALUES * 3}).encode()

    assert parse(text, path="x") == json.loads(text)


@settings(deadline=None, max_examples=200)
@given(VALUES)
def test_what_is_read_is_of_plain_types_only(value: Any) -> None:
    """X-09: these become the variables of templates, and nothing of theirs leads to any other."""
    try:
        waiting = [parse(written(value, "", ascii_only=False).encode(), path="x")]
    except Refused:
        return
    while waiting:
        item = waiting.pop()
        assert type(item) in (dict, list, str, int, float, bool, type(None))
        if isinstance(item, dict):
            waiting += [*item, *item.values()]
        elif isinstance(item, list):
            waiting += item
