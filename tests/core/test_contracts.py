"""Template contracts: read from TOML, checked to the line, and held against what commands give."""

from datetime import timedelta
from typing import Any

import pytest

from mailworkers.core.contract_files import ContractError, parse_contract
from mailworkers.core.contracts import MailDefaults, TemplateContract
from mailworkers.core.errors import TemplateError
from mailworkers.core.states import Lane

CONTRACT = """\
description = "A receipt"

[variables.name]
type = "string"
description = "Whose"
sample = "Ada"

[variables.count]
type = "integer"
description = "How many"
default = 1
"""


def contract(kind: str = "string", sample: str = '"x"') -> TemplateContract:
    """Return a contract with one required variable, `x`."""
    return parse_contract(
        f'description = "d"\n[variables.x]\ntype = "{kind}"\ndescription = "d"\nsample = {sample}\n'
    )


def test_a_contract_says_what_is_required_and_what_has_a_default() -> None:
    """A variable with a default may be left out."""
    parsed = parse_contract(CONTRACT)

    assert parsed.description == "A receipt"
    assert parsed.bind({"name": "Bo"}) == {"name": "Bo", "count": 1}
    assert parsed.bind({"name": "Bo", "count": 2}) == {"name": "Bo", "count": 2}
    assert parsed.bind({"name": "Bo", "count": None}) == {"name": "Bo", "count": 1}
    assert parsed.examples() == {"name": "Ada", "count": 1}


@pytest.mark.parametrize(
    ("given", "detail"),
    [
        ({}, "name is missing"),
        ({"name": None}, "name is missing"),
        ({"name": "Bo", "nmae": 1}, "nmae is unknown"),
        ({"name": 7}, "name is not of type string"),
        (
            {"nmae": "Bo", "count": "2"},
            "nmae is unknown; count is not of type integer; name is missing",
        ),
    ],
)
def test_variables_are_strict_and_all_faults_are_told_at_once(
    given: dict[str, Any], detail: str
) -> None:
    """Unknown, missing or mistyped is `template_variables`, and no value is repeated."""
    with pytest.raises(TemplateError) as caught:
        parse_contract(CONTRACT).bind(given)

    assert (caught.value.code, caught.value.detail) == ("template_variables", detail)


GOOD_AND_BAD: dict[str, tuple[str, list[Any], list[Any]]] = {
    "string": ('"x"', ["", "a\nb", "ä"], [1, True, [], {}]),
    "integer": ("1", [0, -5], [1.0, True, "1"]),
    "number": ("1.5", [0, 1.5], [True, "1"]),
    "boolean": ("true", [True, False], [0, 1, "true"]),
    "list": ("[]", [[], [1, "a"]], [{}, "a"]),
    "object": ("{}", [{}, {"a": 1}], [[], "a"]),
    "url": (
        '"https://example.com/"',
        ["https://example.com/a?b=c#d", "http://localhost:8080", "HTTPS://EXAMPLE.COM"],
        [
            "javascript:alert(1)",
            "//example.com",
            "example.com",
            "https:///path",
            "https://[::1",
            'https://example.com/"onclick=',
            "https://example.com/a b",
            "https://example.com/\n",
            " https://example.com",
            "data:text/html,x",
            7,
        ],
    ),
    "email": ('"a@example.com"', ["a@b.example"], ["a", "A <a@example.com>", 1]),
    "date": ('"2026-11-21"', ["2024-02-29"], ["2026-02-29", "20261121", "2026-W47-6", "now", 1]),
    "datetime": (
        '"2026-11-21T10:00:00Z"',
        ["2026-11-21T10:00:00+01:00"],
        ["2026-11-21T10:00:00", "2026-11-21", "20261121T100000Z", "x", 1],
    ),
}


@pytest.mark.parametrize("kind", GOOD_AND_BAD)
def test_a_type_takes_what_it_names_and_nothing_else(kind: str) -> None:
    """JSON's own types, and texts of a known form."""
    sample, good, bad = GOOD_AND_BAD[kind]
    of_this_type = contract(kind, sample)

    for value in good:
        assert of_this_type.bind({"x": value}) == {"x": value}
    for value in bad:
        with pytest.raises(TemplateError, match=f"^x is not of type {kind}$"):
            of_this_type.bind({"x": value})


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ('description = "d"\nthis is not TOML', 2, "at line 2"),
        ('description = "d', 1, "at"),
        ("", 1, "missing required field `description`"),
        ("description = 1", 1, "Expected `str`"),
        ('description = "d"\ncolour = "red"', 2, "unknown field `colour`"),
        ('description = "d"\nvariables = 1', 2, "Expected `object`"),
        (CONTRACT.replace('sample = "Ada"', 'smaple = "Ada"'), 6, "unknown field `smaple`"),
        (CONTRACT.replace('type = "integer"\n', ""), 8, "missing required field `type`"),
        (CONTRACT.replace('"integer"', '"int"'), 8, "type 'int' is not one of string, integer"),
        (CONTRACT.replace('type = "integer"', "type = 3"), 9, "Expected `str`"),
        (CONTRACT.replace("default = 1", 'default = "1"'), 8, "the default is not of type"),
        (CONTRACT.replace('sample = "Ada"', "sample = 1"), 3, "the sample is not of type"),
        (CONTRACT.replace('sample = "Ada"', ""), 3, "needs a sample"),
        (CONTRACT.replace("default = 1", "default = 1\nrequired = true"), 8, "has no default"),
        (CONTRACT.replace('sample = "Ada"', 'sample = "A"\nrequired = false'), 3, "has no default"),
        (CONTRACT.replace("variables.name", "variables.locale"), 3, "has this one already"),
        (CONTRACT.replace("variables.name", "variables.Name"), 3, "lower-case letters"),
    ],
)
def test_a_wrong_contract_is_refused_with_the_line(text: str, line: int, reason: str) -> None:
    """Whoever writes a contract wrong is told where."""
    with pytest.raises(ContractError) as caught:
        parse_contract(text)

    assert reason in caught.value.reason
    assert caught.value.line == line


DIGEST = """\
description = "A digest"
from = "Example <digest@example.com>"
reply_to = ["help@example.com"]
lane = "bulk"
expires_after = "1d12h"
headers = { List-Id = "Digest <digest.example.com>" }
unsubscribe = { variable = "stop_url" }

[variables.stop_url]
type = "url"
description = "Ends it"
sample = "https://example.com/stop"
"""


def test_a_contract_says_what_its_mail_is_like() -> None:
    """Sender, reply-to, lane, expiry and headers, for where the command says nothing."""
    mail = parse_contract(DIGEST).mail

    assert mail.sender == "Example <digest@example.com>"
    assert mail.reply_to == ("help@example.com",)
    assert mail.lane is Lane.BULK
    assert mail.expires_after == timedelta(hours=36)
    assert mail.headers == (("List-Id", "Digest <digest.example.com>"),)
    assert parse_contract(CONTRACT).mail == MailDefaults()
    assert parse_contract('reply_to = "a@example.com"\n' + CONTRACT).mail.reply_to == (
        "a@example.com",
    )


def test_the_subscription_is_ended_by_the_url_of_the_command() -> None:
    """RFC 8058 section 3.1: one https URL, and the header that says one POST is enough."""
    contract = parse_contract(DIGEST)
    bound = contract.bind({"stop_url": "https://example.com/stop/7"})

    assert contract.mail_for(bound).headers == (
        ("List-Id", "Digest <digest.example.com>"),
        ("List-Unsubscribe", "<https://example.com/stop/7>"),
        ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
    )
    by_page = parse_contract(DIGEST.replace('"stop_url" }', '"stop_url", one_click = false }'))
    assert by_page.mail_for(bound).headers[1:] == (
        ("List-Unsubscribe", "<https://example.com/stop/7>"),
    )


@pytest.mark.parametrize(
    ("url", "detail"),
    [
        ("http://example.com/stop", "stop_url is not https, as one-click needs it (RFC 8058)"),
        ("https://example.com/" + "x" * 900, "stop_url is longer than 900 characters"),
        ("mailto:stop@example.com", "stop_url is not of type url"),
    ],
)
def test_a_url_that_could_not_end_the_subscription_is_refused(url: str, detail: str) -> None:
    """Better no mail than mail that nobody can end."""
    with pytest.raises(TemplateError) as caught:
        parse_contract(DIGEST).bind({"stop_url": url})

    assert (caught.value.code, caught.value.detail) == ("template_variables", detail)


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        (DIGEST.replace("digest@example.com", "digest"), 2, "from: there is no @ in it"),
        (DIGEST.replace('["help@example.com"]', '["a@example.com", "b"]'), 3, "reply_to: there is"),
        (DIGEST.replace('["help@example.com"]', "7"), 3, "Expected `str | array`"),
        (DIGEST.replace('"bulk"', '"fast"'), 4, "lane is not one of auth, normal, bulk"),
        (DIGEST.replace('"1d12h"', '"36"'), 5, "expires_after: '36' is not a span of time"),
        (DIGEST.replace('"1d12h"', '"0s"'), 5, "expires_after: such mail could never be sent"),
        (DIGEST.replace("List-Id", "Received"), 6, "headers: header name: 'Received' is not one"),
        (DIGEST.replace("Digest <digest.example.com>", "a\\nb"), 6, "headers: List-Id: control"),
        (DIGEST.replace("List-Id =", "List-Unsubscribe-Post ="), 6, "headers: List-Unsubscribe-Po"),
        (DIGEST.replace('"stop_url" }', '"stop" }'), 7, "stop is not a variable of type url"),
        (DIGEST.replace('"stop_url" }', '"stop_url", x = 1 }'), 7, "unknown field `x`"),
        (DIGEST.replace('type = "url"', 'type = "string"'), 7, "stop_url is not a variable of"),
        (DIGEST.replace("https:", "http:"), 7, "unsubscribe: stop_url is not https"),
        (
            DIGEST.replace("List-Id", "list-unsubscribe").replace("Digest <dig", "<https://dig"),
            7,
            "the headers hold List-Unsubscribe already",
        ),
    ],
)
def test_a_wrong_kind_of_mail_is_refused_with_the_line(text: str, line: int, reason: str) -> None:
    """No message would come of it."""
    with pytest.raises(ContractError) as caught:
        parse_contract(text)

    assert reason in caught.value.reason
    assert caught.value.line == line


def test_all_faults_of_a_contract_are_told() -> None:
    """Each with its line, in the order of the file."""
    text = DIGEST.replace('"bulk"', '"fast"').replace('"url"', '"link"').replace('"1d', '"x1d')
    with pytest.raises(ContractError) as caught:
        parse_contract(text)

    faults = [caught.value, *caught.value.others]
    assert [(fault.line, fault.reason.split(":")[0]) for fault in faults] == [
        (4, "lane is not one of auth, normal, bulk"),
        (5, "expires_after"),
        (9, "variable stop_url"),
    ]
