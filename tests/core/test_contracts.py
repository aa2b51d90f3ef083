"""Template contracts: read from TOML, checked to the line, and held against what commands give."""

from typing import Any

import pytest

from mailworkers.core.contracts import ContractError, TemplateContract, parse_contract
from mailworkers.core.errors import TemplateError

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
