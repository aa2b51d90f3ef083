"""Signing at intake, whichever way a command comes: what is stored arrives and verifies."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
import redis

from mailworkers.adapters import db
from mailworkers.adapters.catalog import Catalog, packaged_directory
from mailworkers.adapters.dkim_keys import key_path, write_key
from mailworkers.adapters.intake import Intake
from mailworkers.adapters.settings import Settings
from mailworkers.core.commands import SOURCES, Command, Refusal, decode_body
from mailworkers.core.dkim import Algorithm
from mailworkers.roles.consumer import Consumer
from mailworkers.roles.sender import Sender
from tests.dkim_keys import pem, published, put_key, signed_names, tags, verifies
from tests.nameserver import nameserver
from tests.relay import Relay
from tests.web.conftest import RunningApi

__all__ = ["nameserver"]

STREAM = "mail:delivery_commands"
DOMAIN = "example.org"
SELECTORS = f"{DOMAIN}:r2026,{DOMAIN}:e2026"
Signing = tuple[dict[str, str], dict[str, str]]


@pytest.fixture
def signing(tmp_path: Path) -> Signing:
    """Return the settings by which example.org signs twice, and what is published for it."""
    directory = tmp_path / "dkim"
    files = (
        put_key(directory, DOMAIN, "r2026"),
        put_key(directory, DOMAIN, "e2026", Algorithm.ED25519),
    )
    settings = {"MAIL_DKIM_DIR": str(directory), "MAIL_DKIM_SELECTORS": SELECTORS}
    return settings, published(*files)


def entry(**payload: Any) -> dict[str, str]:
    """Return the fields of a command whose text relaxed canonicalisation has to change."""
    content = {
        "to": ["Ann <ann@example.com>"],
        "subject": "Grüße aus einer langen Betreffzeile, die gefaltet werden muss, wie man sieht",
        "text_body": "two  blanks\tand a tab\n.\nFrom here\n\n\n",
        "html_body": "<p>two  blanks</p>\n" * 20,
        "headers": {
            "List-Unsubscribe": "<https://example.org/u?" + "x" * 100 + ">",
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        },
    }
    return {
        "delivery_id": str(uuid4()),
        "source": "notification",
        "payload_mode": "rendered",
        "idempotency_key": str(uuid4()),
        "requested_at_ms": "1770000000000",
        "payload_json": json.dumps({**content, **payload}),
    }


def stored(conn: db.Connection, delivery_id: str) -> bytes:
    """Return the bytes that senders will send."""
    row = conn.execute(
        "SELECT mime FROM delivery_payloads WHERE delivery_id = %s", [UUID(delivery_id)]
    ).fetchone()
    assert row is not None
    return bytes(row[0])


def test_what_the_consumer_stores_is_signed_and_arrives_as_it_is(
    build: Callable[..., Any],
    relay: Relay,
    conn: db.Connection,
    redis_client: "redis.Redis",
    signing: Signing,
) -> None:
    """Signed once, when it is accepted: senders know nothing of keys, every retry is the same."""
    settings, records = signing
    fields = entry()
    redis_client.xadd(STREAM, fields)  # type: ignore[arg-type]
    consumer = build(Consumer, MAIL_POLL_INTERVAL="50ms", **settings)
    sender = build(Sender, MAIL_SMTP_ADDR=relay.addr)

    assert consumer.step()
    mime = stored(conn, fields["delivery_id"])
    assert sender.step()

    (message,) = relay.accepted
    assert message.raw == mime
    assert verifies(message.raw, records) == [True, True]
    assert {"list-unsubscribe", "list-unsubscribe-post"} <= set(signed_names(mime))
    assert tags(mime)["d"] == DOMAIN


@pytest.fixture
def signing_api(
    make_settings: Callable[..., Settings], database: str, signing: Signing
) -> Iterator[RunningApi]:
    """Return the API of an installation that signs."""
    api = RunningApi(make_settings(**signing[0]), database)
    yield api
    api.close()


def test_what_the_api_stores_is_signed_too(
    signing_api: RunningApi, conn: db.Connection, signing: Signing
) -> None:
    """One way in for the stream and for HTTP."""
    fields = entry()
    body = {**fields, "payload": json.loads(fields.pop("payload_json"))}
    body.pop("payload_json")

    with signing_api.client() as client:
        answer = client.post("/deliveries", json=body)

    assert answer.status_code == 202, answer.text
    assert verifies(stored(conn, fields["delivery_id"]), signing[1]) == [True, True]


def command() -> Command:
    """Return a command from a template, as HTTP brings it."""
    found = decode_body(
        json.dumps(
            {
                "source": "authsession",
                "payload_mode": "template",
                "idempotency_key": "k",
                "payload": {
                    "to": ["ada@example.com"],
                    "template_id": "login-code",
                    "locale": "de",
                    "variables": {"code": "492817"},
                },
            }
        ).encode(),
        sources=SOURCES,
    )
    assert not isinstance(found, Refusal), found
    return found


def test_every_process_writes_the_same_bytes(
    make_settings: Callable[..., Settings], signing: Signing
) -> None:
    """No chance in it: consumer, api and command line agree on one delivery, time and key."""
    at = datetime(2026, 11, 22, 8, tzinfo=UTC)
    catalog = Catalog.load(packaged_directory())
    fixed = command()
    one, other = (Intake(make_settings(**signing[0]), catalog, lambda: at) for _ in range(2))

    first, second = one.prepare(with_id(fixed)).result, other.prepare(with_id(fixed)).result

    assert not isinstance(first, Refusal)
    assert not isinstance(second, Refusal)
    assert first.mime == second.mime
    assert verifies(first.mime, signing[1]) == [True, True]
    assert tags(first.mime)["t"] == str(int(at.timestamp()))


def with_id(found: Command) -> Command:
    """Return *found* with an id that is always the same."""
    return msgspec.structs.replace(found, delivery_id=UUID("0199f0a4-7c1e-7d52-9a55-3f0c8f6f2b10"))


def test_a_rotation_changes_the_selector_of_new_mail_only(
    make_settings: Callable[..., Settings], tmp_path: Path, signing: Signing
) -> None:
    """Both records stay published while mail signed with the older key is on its way."""
    settings, records = signing
    catalog = Catalog.load(packaged_directory())

    def compose(**changes: str) -> bytes:
        intake = Intake(make_settings(**settings, **changes), catalog, lambda: datetime.now(UTC))
        made = intake.prepare(command()).result
        assert not isinstance(made, Refusal)
        return made.mime

    before = compose()
    newer = key_path(tmp_path / "dkim", DOMAIN, "r2027")
    write_key(newer, pem(Algorithm.RSA, number=2))
    unnamed = compose()
    settings["MAIL_DKIM_SELECTORS"] = f"{DOMAIN}:r2027"
    after = compose()

    assert [tags(mime)["s"] for mime in (before, unnamed, after)] == ["r2026", "r2026", "r2027"]
    assert verifies(before, records) == [True, True]
    assert verifies(after, records) == [False]


def test_doubtful_keys_are_said_when_a_role_starts(
    build: Callable[..., Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """In the log, as all doubtful settings are."""
    directory = tmp_path / "dkim"
    put_key(directory, DOMAIN, "e2026", Algorithm.ED25519)

    build(Consumer, MAIL_DKIM_DIR=str(directory), MAIL_DKIM_SELECTORS=f"{DOMAIN}:e2026")

    lines = capfd.readouterr().out.splitlines()
    (line,) = [line for line in lines if json.loads(line)["event"] == "setting is doubtful"]
    assert "no RSA key for example.org" in line


@pytest.mark.parametrize("role", ["consumer", "api"])
def test_a_role_whose_key_cannot_be_used_ends_with_78(
    make_settings: Callable[..., Settings],
    database: str,
    servers: Any,
    tmp_path: Path,
    signing: Signing,
    role: str,
) -> None:
    """One line that names the file; mail is not sent unsigned instead, and nothing is told."""
    directory = Path(signing[0]["MAIL_DKIM_DIR"])
    file = key_path(directory, DOMAIN, "r2026")
    file.chmod(0o644)
    environ = {
        "MAIL_POSTGRES_PRIMARY_DSN": database,
        "MAIL_REDIS_MASTER_ADDR": servers.redis_addr,
        "MAIL_STATE_DIR": str(tmp_path / "state"),
        "MAIL_SMTP_ADDR": "127.0.0.1:9",
        "MAIL_SMTP_FROM_EMAIL": f"shop@{DOMAIN}",
        **signing[0],
    }

    ended = subprocess.run(
        [sys.executable, "-m", "mailworkers", role],
        env={**os.environ, **environ},
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )

    assert ended.returncode == 78
    (line,) = ended.stderr.splitlines()
    assert f"{file} is open to every user; close it with: chmod o-rwx {file}" in line
    assert "PRIVATE" not in ended.stdout + ended.stderr
