"""docs/api.md is true: it names every route and every code, and its examples do what they show."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import httpx
import msgspec
import psycopg
import pytest
import yaml

from mailworkers.adapters.store.replays import continue_replay
from mailworkers.core.states import Status
from mailworkers.web.errors import ErrorCode
from mailworkers.web.gate import PREFIX
from tests.deliveries import put
from tests.store.situations import enter_letter
from tests.web.conftest import Row, RunningApi, command
from tests.web.test_malformed import refuse

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
Connection = psycopg.Connection[Row]


class Example(NamedTuple):
    """A command line with what it is said to print."""

    line: str
    answer: Any


def examples() -> Iterator[Example]:
    """Yield every example of the page, in order."""
    for block in re.findall(r"```sh\n(curl .*?)```", PAGE, re.DOTALL):
        for part in re.split(r"^(?=curl )", block, flags=re.MULTILINE)[1:]:
            line, _, answer = part.rstrip().rpartition("\n")
            yield Example(line, msgspec.json.decode(answer))


def request_of(line: str, values: dict[str, str]) -> dict[str, Any]:
    """Return what curl would ask by *line*, its variables being *values*."""
    for name, value in values.items():
        line = re.sub(rf"\${name}\b", value, line)
    words = iter(shlex.split(line.replace("\\\n", " "))[1:])
    found: dict[str, Any] = {"method": "", "url": "", "headers": {}, "content": None}
    for word in words:
        if word == "-H":
            name, _, value = next(words).partition(": ")
            found["headers"][name] = value
        elif word in {"-d", "-X"}:
            found["content" if word == "-d" else "method"] = next(words)
        elif word != "-s":
            found["url"] = word
    found["method"] = found["method"] or ("POST" if found["content"] else "GET")
    return found


def shape(value: object) -> object:
    """Return *value* without what differs from one time to the next; of a list the first item."""
    if isinstance(value, dict):
        inner = {name: shape(item) for name, item in value.items()}
        return {name: inner[name] for name in sorted(inner)}
    return [shape(item) for item in value[:1]] if isinstance(value, list) else ""


def prepared(conn: Connection, api: httpx.Client) -> dict[str, str]:
    """Put what the examples speak of; return the values of their variables."""
    failed = put(conn, Status.FAILED, failure="rejected")
    enter_letter(conn, failed, None)
    conn.execute("UPDATE dead_letters SET closed_at = NULL")
    other = put(conn, Status.FAILED, failure="rejected")
    enter_letter(conn, other, None)
    spare = put(conn, Status.FAILED, failure="rejected")
    enter_letter(conn, spare, None)
    sent = UUID(api.post("/deliveries", json=command()).json()["delivery_id"])
    conn.execute(
        "UPDATE deliveries SET status = 'sent', ready_at = NULL, finished_at = clock_timestamp()"
        " WHERE delivery_id = %s",
        [sent],
    )
    ((number,),) = conn.execute(
        "SELECT dead_letter_id FROM dead_letters WHERE delivery_id = %s", [other]
    ).fetchall()
    return {
        "ID": str(put(conn, Status.QUEUED)),
        "FAILED": str(failed),
        "SENT": str(sent),
        "DEAD_LETTER": str(number),
        "MALFORMED": str(refuse(conn, idempotency_key="of-a-refused-entry")),
    }


def test_every_example_answers_what_it_shows(
    running: RunningApi, api: httpx.Client, conn: Connection
) -> None:
    """One after the other, as a reader would try them."""
    values = {"API": f"{running.url}{PREFIX}", **prepared(conn, api)}
    for example in examples():
        answer = api.request(**request_of(example.line, values))

        assert answer.is_success, f"{example.line}\n{answer.text}"
        body = answer.json()
        if "wanted" in body:  # what was asked for, and what has become of it, differ
            body["wanted"], body["outcomes"] = {}, {}
            example.answer["wanted"], example.answer["outcomes"] = {}, {}
        assert shape(body) == shape(example.answer), example.line
        if number := body.get("replay_id"):
            values["REPLAY"] = str(number)
            continue_replay(conn, limit=9)


def test_the_page_has_examples() -> None:
    """The test above does not pass for want of any."""
    assert len(list(examples())) >= 15


def test_every_route_is_on_the_page_and_no_other() -> None:
    """A route that is added gets its line."""
    description = yaml.safe_load((ROOT / "api" / "internal-openapi.yaml").read_text("utf-8"))
    routes = {
        f"{method.upper()} {path.removeprefix(PREFIX)}"
        for path, methods in description["paths"].items()
        for method in methods
    }

    assert set(re.findall(r"^\| `([A-Z]+ /[^`]*)` \|", PAGE, re.MULTILINE)) == routes


@pytest.mark.parametrize("code", list(ErrorCode))
def test_every_code_of_an_error_is_on_the_page(code: ErrorCode) -> None:
    """Callers rely on them."""
    assert f"`{code}`" in PAGE
