"""The template catalog by HTTP: what there is, what a template takes, what it makes."""

import email
import email.policy
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psycopg
import pytest

from mailworkers.embedded.servers import Servers
from mailworkers.web.previews import TemplatePreview
from mailworkers.web.templates import TemplateDetail, TemplateList
from tests.dkim_keys import put_key
from tests.web.conftest import MakeToken, Row, RunningApi, error_of, make_settings, only_row

IDS = ["login-code", "password-reset", "receipt", "weekly-digest", "welcome"]
WELCOME = "/templates/welcome/preview"
VALUES = {"name": "Bo {{7*7}} <b>", "confirm_url": "https://example.com/confirm?a=1&b=2"}


def decode(answer: httpx.Response, kind: Any) -> Any:
    """Return the body of a good answer, strictly as *kind*."""
    assert answer.status_code == 200, answer.text
    return msgspec.json.decode(answer.content, type=kind)


def preview(client: httpx.Client, body: object, path: str = WELCOME) -> TemplatePreview:
    """Return the preview that *body* asks for."""
    made: TemplatePreview = decode(client.post(path, json=body), TemplatePreview)
    return made


def test_the_catalog_is_listed_by_id(client: httpx.Client) -> None:
    """With the languages and the kind of mail of each."""
    found: TemplateList = decode(client.get("/templates"), TemplateList)

    assert [one.template_id for one in found.items] == IDS
    assert (found.default_locale, found.warnings) == ("en", [])
    assert {one.template_id: one.lane for one in found.items}["weekly-digest"] == "bulk"
    assert all(one.locales == ["ar", "de", "en", "ja"] and one.version for one in found.items)


def test_a_template_is_shown_with_all_of_its_contract(client: httpx.Client) -> None:
    """Whoever fills it in needs nothing else."""
    found: TemplateDetail = decode(client.get("/templates/weekly-digest"), TemplateDetail)

    variables = {variable.name: variable for variable in found.variables}
    assert found.expires_after_ms == 172_800_000
    assert found.unsubscribe is not None
    assert found.unsubscribe.variable == "unsubscribe_url"
    assert "List-Id" in [header.name for header in found.headers]
    assert variables["name"].is_required
    assert variables["product"].default == "Example"
    assert not variables["product"].is_required
    assert "default" not in client.get("/templates/weekly-digest").json()["variables"][0]


@pytest.mark.parametrize("template_id", IDS)
def test_each_template_shows_itself_with_its_samples(
    client: httpx.Client, template_id: str
) -> None:
    """An empty object is enough; the catalog's default language is taken."""
    made = preview(client, {}, f"/templates/{template_id}/preview")

    assert (made.template_id, made.locale) == (template_id, "en")
    assert made.text_body
    assert made.html_body
    assert made.message_size > made.html_size > len(made.html_body) // 2


def test_a_preview_is_what_a_delivery_would_say(api: httpx.Client) -> None:
    """One path: the same values in a command give the same subject and bodies."""
    payload = {
        "to": ["reader@example.com"],
        "template_id": "welcome",
        "locale": "de-AT",
        "variables": VALUES,
    }
    command = {"payload_mode": "template", "idempotency_key": "k", "payload": payload}
    delivery_id = api.post("/deliveries", json=command).json()["delivery_id"]
    sent = api.get(f"/deliveries/{delivery_id}/content").json()
    shown = preview(api, {"locale": "de-AT", "variables": VALUES, "samples": False})

    assert shown.locale == "de"
    assert shown.subject == sent["subject"]
    assert shown.text_body == sent["text_body"]
    assert shown.html_body == sent["html_body"]
    assert "Bo {{7*7}} <b>" in (shown.text_body or "")
    assert "Bo {{7*7}} &lt;b&gt;" in (shown.html_body or "")


def test_nothing_is_stored_and_the_same_question_has_the_same_answer(
    api: httpx.Client, conn: psycopg.Connection[Row]
) -> None:
    """Looking changes nothing, so it may be repeated."""
    first, second = preview(api, {}), preview(api, {"samples": True, "locale": None})

    assert msgspec.structs.replace(first, headers=[]) == msgspec.structs.replace(second, headers=[])
    assert only_row(conn, "SELECT count(*) FROM deliveries") == (0,)
    assert only_row(conn, "SELECT count(*) FROM operator_actions") == (0,)


def test_the_message_itself_can_be_had(client: httpx.Client) -> None:
    """To open in a mail program, as `templates preview --output` writes it."""
    answer = client.post(WELCOME, json={"locale": "ja"}, params={"raw": "true"})
    message = email.message_from_bytes(answer.content, policy=email.policy.default)

    assert answer.headers["content-type"] == "message/rfc822"
    assert message["To"] == "Reader <reader@example.com>"
    assert message["Subject"] == "Ada Lovelace 様、Example へようこそ"


@pytest.mark.parametrize(
    ("body", "code", "path"),
    [
        ({"variables": {"nmae": "x"}}, "template_variables", "variables"),
        ({"variables": {"name": 5}}, "template_variables", "variables"),
        ({"samples": False}, "template_variables", "variables"),
        ({"variables": {"name": "a\nb"}}, "header_injection", "variables"),
        ({"locale": "de_DE"}, "invalid_value", "locale"),
        ({"locale": ""}, "invalid_value", "locale"),
        ({"locale": 7}, "invalid_value", "locale"),
        ({"variables": []}, "invalid_value", "variables"),
        ({"samples": "no"}, "invalid_value", "samples"),
        ({"samples": None}, "invalid_value", "samples"),
        ({"variables": None}, "invalid_value", "variables"),
        ({"to": ["eve@example.com"]}, "unknown_field", "to"),
        ([], "invalid_value", "body"),
    ],
)
def test_what_intake_would_refuse_is_refused_in_the_words_of_the_body(
    client: httpx.Client, body: object, code: str, path: str
) -> None:
    """400, the command's own failure code, and the field of this body that is to blame."""
    answer = client.post(WELCOME, json=body)

    error = error_of(answer)
    assert answer.status_code == 400
    assert (error["code"], error["details"]["path"]) == (code, path)
    assert error["message"].startswith(f"{path}: ")


@pytest.mark.parametrize("body", [b"", b"{", b'{"samples": true, "samples": false}', b"\xff"])
def test_a_body_that_is_not_json_is_refused(client: httpx.Client, body: bytes) -> None:
    """As everywhere."""
    answer = client.post(WELCOME, content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code == 400
    assert error_of(answer)["code"] == "invalid_json"


def test_a_template_that_does_not_exist_is_404(client: httpx.Client) -> None:
    """Whatever its name looks like; folders are not asked."""
    for name in ("welcom", "_shared", "..", "welcome%2Fen", "WELCOME", "%00"):
        for answer in (
            client.get(f"/templates/{name}"),
            client.post(f"/templates/{name}/preview", json={}),
        ):
            assert answer.status_code == 404, name
            assert error_of(answer)["code"] == "not_found"


def test_looking_needs_the_scope_read(own_api: RunningApi, make_token: MakeToken) -> None:
    """A producer's token is no reader's."""
    tokens = {scope: make_token(scope, [scope]) for scope in ("read", "intake", "operate")}
    statuses = {}
    for scope, token in tokens.items():
        with own_api.client(headers={"Authorization": f"Bearer {token}"}) as client:
            asked = [
                client.get("/templates"),
                client.get("/templates/welcome"),
                client.post(WELCOME, json={}),
            ]
        statuses[scope] = {answer.status_code for answer in asked}

    assert statuses == {"read": {200}, "intake": {403}, "operate": {403}}


def test_a_preview_is_never_signed(servers: Servers, database: str, tmp_path: Path) -> None:
    """Its values are a stranger's: a signature would make them our word, wherever it is sent."""
    put_key(tmp_path / "keys", "example.com", "r2026")
    settings = make_settings(
        servers,
        tmp_path / "state",
        MAIL_DKIM_DIR=str(tmp_path / "keys"),
        MAIL_DKIM_SELECTORS="example.com:r2026",
    )
    api = RunningApi(settings, database)
    try:
        with api.client() as client:
            raw = client.post(WELCOME, json={}, params={"raw": "true"}).content
            command = {
                "payload_mode": "rendered",
                "idempotency_key": "k",
                "payload": {"to": ["a@example.com"], "subject": "x", "text_body": "y"},
            }
            delivery_id = client.post("/deliveries", json=command).json()["delivery_id"]
            sent = client.get(f"/deliveries/{delivery_id}/content", params={"raw": "true"}).content
    finally:
        api.close()

    assert sent.startswith(b"DKIM-Signature: ")
    assert b"DKIM-Signature" not in raw
    assert raw.startswith(b"From: ")
