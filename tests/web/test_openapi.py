"""The description of the API: it is the one in the repository, and what it says is so."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psycopg
import pytest
import yaml

from mailworkers.adapters.store.reads import Delivery
from mailworkers.core.refusals import FailureCode
from mailworkers.web import answers
from mailworkers.web.errors import ErrorCode, ErrorEnvelope
from mailworkers.web.openapi import as_yaml, describe
from tests.web.conftest import Row, command

FILE = Path(__file__).parents[2] / "api" / "internal-openapi.yaml"


def operations(description: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield every operation."""
    for methods in description["paths"].values():
        yield from methods.values()


def references(value: object) -> Iterator[str]:
    """Yield every reference in *value*."""
    if isinstance(value, dict):
        for name, item in value.items():
            if name == "$ref":
                yield item
            yield from references(item)
    if isinstance(value, list):
        for item in value:
            yield from references(item)


def test_the_description_in_the_repository_is_the_one_of_the_code() -> None:
    """`python -m mailworkers.web.openapi > api/internal-openapi.yaml` writes it."""
    assert FILE.read_text(encoding="utf-8") == as_yaml(describe())


def test_every_reference_leads_somewhere() -> None:
    """A tool that reads it finds everything in it."""
    description = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    for reference in set(references(description)):
        found: Any = description
        for step in reference.removeprefix("#/").split("/"):
            found = found[step]
        assert isinstance(found, dict)


def test_every_operation_has_a_name_of_its_own_words_and_errors() -> None:
    """Generated clients are named by it."""
    found = list(operations(describe()))

    names = [operation["operationId"] for operation in found]
    assert len(set(names)) == len(names) >= 7
    for operation in found:
        assert re.fullmatch("[a-z]+[A-Za-z]+", operation["operationId"])
        assert operation["summary"]
        assert operation["description"]
        assert {"400", "401", "403", "500", "503"} < set(operation["responses"])


def test_the_description_names_every_code_an_error_may_have() -> None:
    """The list is closed, so a caller may rely on it."""
    about = describe()["info"]["description"]

    assert all(f"`{code}`" in about for code in (*ErrorCode, *FailureCode))


@pytest.mark.parametrize("broken", [{}, {"lane": "x"}])
def test_answers_are_what_the_description_says(
    api: httpx.Client, conn: psycopg.Connection[Row], broken: dict[str, Any]
) -> None:
    """Decoded strictly by the types the schemas are made of."""
    accepted = api.post("/deliveries", json=command())
    delivery = msgspec.json.decode(accepted.content, type=answers.AcceptedDelivery)
    path = f"/deliveries/{delivery.delivery_id}"

    for url, kind in (
        ("/deliveries", answers.DeliveryPage),
        (path, Delivery),
        (f"{path}/attempts", answers.AttemptPage),
        (f"{path}/content", answers.Content),
    ):
        msgspec.json.decode(api.get(url).content, type=kind)
    refused = api.post("/deliveries", json={**broken, "payload": 1})
    msgspec.json.decode(refused.content, type=ErrorEnvelope)
