"""`mailworkers templates`: list, check and preview, as authors of templates use them."""

import email
import email.policy
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mailworkers.adapters.catalog import packaged_directory
from mailworkers.cli.main import main

PAGE = Path(__file__).resolve().parents[2] / "docs" / "templates.md"
Run = Callable[..., Result]


@pytest.fixture
def run() -> Run:
    """Return a function that runs `mailworkers templates`, with no setting but those given."""

    def call(*arguments: str, input: bytes | None = None, **environ: str) -> Result:
        cleared = {name: None for name in os.environ if name.startswith("MAIL_")}
        result = CliRunner().invoke(
            main, ("templates", *arguments), input=input, env={**cleared, **environ}
        )
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    """Return a copy of the catalog we ship."""
    return Path(shutil.copytree(packaged_directory(), tmp_path / "templates"))


def test_the_list_shows_what_a_template_takes(run: Run, catalog: Path) -> None:
    """For people, and for programs with all there is to know."""
    shown = run("list", MAIL_TEMPLATE_DIR=str(catalog))
    found = json.loads(run("list", "--json").output)

    assert shown.exit_code == 0
    assert "weekly-digest" in shown.output
    assert "reset_url*" in shown.output
    digest = next(one for one in found if one["template_id"] == "weekly-digest")
    assert digest["lane"] == "bulk"
    assert digest["expires_after_seconds"] == 172800
    assert digest["locales"] == ["ar", "de", "en", "ja"]
    assert digest["unsubscribe"] == {"variable": "unsubscribe_url", "one_click": True}
    assert digest["variables"]["name"]["is_required"] is True
    assert digest["variables"]["product"]["variable"]["default"] == "Example"


def test_a_catalog_in_order_is_0(run: Run, catalog: Path) -> None:
    """For CI: the exit code; for people: what was looked at."""
    result = run("check", str(catalog))

    assert result.exit_code == 0
    assert result.output == "5 templates, 20 pages, 0 errors, 0 warnings\n"


def test_everything_wrong_is_listed_and_the_exit_code_is_78(run: Run, catalog: Path) -> None:
    """Errors first, each in the form editors jump to; a broken catalog stops roles with 78."""
    (catalog / "welcome/en/subject.txt").write_text("{{ nmae }}{{ name }")
    (catalog / "receipt/ja/body.txt").write_text("{{ total|shout }}")
    (catalog / "login-code/de/body.txt").unlink()

    result = run("check", str(catalog))
    found = json.loads(run("check", "--json", MAIL_TEMPLATE_DIR=str(catalog)).output)

    assert result.exit_code == 78
    assert result.output.splitlines() == [
        f"{catalog}/login-code/de/body.txt:1: error: is missing, but there is one in en",
        f"{catalog}/receipt/ja/body.txt:1: error: No filter named 'shout'.",
        f"{catalog}/welcome/en/subject.txt:1: error: unexpected '}}'",
        "3 errors, 0 warnings",
    ]
    assert found["ok"] is False
    assert {"file": "receipt/ja/body.txt", "line": 1, "is_warning": False}.items() <= (
        found["problems"][1].items()
    )


def test_a_warning_changes_no_exit_code(run: Run, catalog: Path) -> None:
    """Roles start with it."""
    with (catalog / "welcome/contract.toml").open("a") as contract:
        contract.write('\n[variables.spare]\ntype = "string"\ndescription = "x"\ndefault = ""\n')

    result = run("check", str(catalog))

    assert result.exit_code == 0
    assert result.output.splitlines() == [
        f"{catalog}/welcome/contract.toml:18: warning: no file uses the variable spare",
        "5 templates, 20 pages, 0 errors, 1 warning",
    ]


def test_no_catalog_at_all_is_78(run: Run, tmp_path: Path) -> None:
    """One line that names the directory."""
    result = run("check", str(tmp_path / "nowhere"))

    assert result.exit_code == 78
    assert result.stderr.startswith(f"mailworkers: {tmp_path}/nowhere: there is no such directory")


def test_a_template_is_added_by_copying_a_folder(run: Run, catalog: Path, tmp_path: Path) -> None:
    """Nothing else names it: it is listed, checked and shown in all its languages at once."""
    shutil.copytree(catalog / "welcome", catalog / "invitation")
    change("en/subject.txt", "", "{{ name }} is invited to {{ product }}\n")(catalog / "invitation")
    shown = tmp_path / "shown"

    checked = run("check", str(catalog))
    listed = json.loads(run("list", "--dir", str(catalog), "--json").output)
    preview = run("preview", "invitation", "--all", "--dir", str(catalog), "--output", str(shown))

    assert checked.output == "6 templates, 24 pages, 0 errors, 0 warnings\n"
    assert "invitation" in [template["template_id"] for template in listed]
    assert preview.exit_code == 0
    assert len(list(shown.glob("invitation.*.eml"))) == 4
    assert (
        b"Subject: Ada Lovelace is invited to Example" in (shown / "invitation.en.eml").read_bytes()
    )


def _rename(welcome: Path) -> None:
    (welcome / "ar").rename(welcome / "pt_BR")


def _forget_a_variable(welcome: Path) -> None:
    for locale in ("ar", "de", "en", "ja"):
        (welcome / locale / "body.txt").write_text("{{ name }}")
        (welcome / locale / "body.html").write_text("<p>{{ product }}</p>")


def change(name: str, old: str, new: str) -> Callable[[Path], None]:
    """Return what replaces *old* in the file *name* of `welcome`, or with "" as *old* all of it."""

    def apply(welcome: Path) -> None:
        text = (welcome / name).read_text()
        assert old in text
        (welcome / name).write_text(text.replace(old, new, 1) if old else new)

    return apply


LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
WAYS: dict[str, Callable[[Path], None]] = {
    "a variable misspelt": change("de/body.txt", "{{ name }}", "{{ nmae }}"),
    "a brace forgotten": change("en/subject.txt", "{{ name }}", "{{ name }"),
    "a filter that does not exist": change("en/body.txt", "{{ name }}", "{{ name|shout }}"),
    "a file deleted": lambda welcome: (welcome / "ja/subject.txt").unlink(),
    "a language misnamed": _rename,
    "a subject of two lines": change("en/subject.txt", "", "Welcome\n{{ name }} {{ product }}"),
    "any text as a link": change("en/body.html", "<h1>", '<a href="{{ name }}">x</a><h1>'),
    "an attribute without quotes": change("en/body.html", "<h1>", "<td width={{ name }}><h1>"),
    "a sample of the wrong type": change("contract.toml", "https://example.com/confirm", "confirm"),
    "a lane that does not exist": change("contract.toml", "\n", '\nlane = "fast"\n'),
    "a loop without an end in sight": change("en/body.txt", "Hello", f"{LOOP}Hello"),
    "a layout that is not there": change("ar/body.html", "_shared/layout.html", "layout.html"),
    "a variable that nobody shows": _forget_a_variable,
}
ROWS = re.findall(
    r"^\| ([a-z][^|`:]*?)(?::[^|]*(?:\\\|[^|]*)*)? \| `(welcome/.*)` \|$", PAGE.read_text(), re.M
)


def test_the_page_tells_of_every_way_tried_here() -> None:
    """A row that nobody tries may say anything."""
    assert [way for way, _ in ROWS] == list(WAYS)
    assert len(ROWS) >= 10


@pytest.mark.parametrize(("way", "message"), ROWS, ids=[way for way, _ in ROWS])
def test_what_the_page_says_of_a_broken_template_is_said(
    run: Run, catalog: Path, way: str, message: str
) -> None:
    """Ten ways to break one, each with its clear message."""
    WAYS[way](catalog / "welcome")

    result = run("check", str(catalog))

    assert f"{catalog}/{message}" in result.output.splitlines()
    assert result.exit_code == (0 if ": warning:" in message else 78)


def test_a_preview_is_the_text_with_what_mailboxes_judge_by(run: Run) -> None:
    """No store, no relay, no setting is needed."""
    result = run("preview", "weekly-digest", "--locale", "de-AT")

    assert result.exit_code == 0
    facts = dict(line.split(None, 1) for line in result.output.splitlines()[:8])
    assert facts["locale"] == "de"
    assert facts["List-Unsubscribe"] == "<https://example.com/unsubscribe/4f1c2a>"
    assert facts["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert facts["Subject"].startswith("Ihre Woche bei Example")
    assert "html bytes" in result.output
    assert "\n* Exports are twice as fast\n" in result.output


def test_all_languages_at_once_as_files(run: Run, tmp_path: Path) -> None:
    """The message as it would be sent, its text, its page, and a page of all."""
    result = run("preview", "welcome", "--all", "--output", str(tmp_path / "out"))

    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == sorted(
        [
            f"welcome.{locale}.{kind}"
            for locale in ("ar", "de", "en", "ja")
            for kind in ("eml", "html", "txt")
        ]
        + ["index.html"]
    )
    assert result.output.splitlines()[-1] == str((tmp_path / "out" / "index.html").resolve())
    message = email.message_from_bytes(
        (tmp_path / "out/welcome.ja.eml").read_bytes(), policy=email.policy.default
    )
    assert message["To"] == "Reader <reader@example.com>"
    assert message["Subject"] == "Ada Lovelace 様、Example へようこそ"
    index = (tmp_path / "out/index.html").read_text()
    assert index.count("<iframe") == 8
    assert "メールアドレスのご確認" in index


def test_a_preview_takes_values(run: Run, tmp_path: Path) -> None:
    """From a file or standard input; samples stand in for the others."""
    values = tmp_path / "values.json"
    values.write_text('{"name": "Bo <b>"}')

    from_file = run("preview", "welcome", "--variables", str(values))
    from_input = run("preview", "welcome", "--variables", "-", input=b'{"product": "Shop"}')

    assert "Hello Bo <b>," in from_file.output
    assert "Welcome to Shop, Ada Lovelace" in from_input.output


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (b'{"name": 5}', "welcome in en would be refused: payload.variables: name is not of type"),
        (b'{"nmae": "x"}', "welcome in en would be refused: payload.variables: nmae is unknown"),
        (b'{"name": "a\\nb"}', "would be refused: payload.variables: Subject: control character"),
    ],
)
def test_values_that_intake_would_refuse_are_refused(run: Run, values: bytes, said: str) -> None:
    """It is the same path."""
    result = run("preview", "welcome", "--variables", "-", input=values)

    assert result.exit_code == 1
    assert said in result.stderr


def test_a_preview_of_what_is_not_there_is_a_wrong_command_line(run: Run) -> None:
    """With what there is."""
    result = run("preview", "welcom")

    assert result.exit_code == 2
    assert "there are: login-code, password-reset, receipt, weekly-digest, welcome" in result.stderr
    assert run("preview", "welcome", "--variables", "-", input=b"[").exit_code == 2
    assert run("preview", "welcome", "--locale", "de_DE").exit_code == 1


def test_a_preview_knows_the_senders_of_templates(run: Run, catalog: Path) -> None:
    """Without settings they are allowed; with settings that forbid them, roles would not start."""
    change("contract.toml", "\n", '\nfrom = "Shop <shop@example.org>"\n')(catalog / "welcome")

    allowed = run("preview", "welcome", "--dir", str(catalog))
    settings = {"MAIL_SMTP_FROM_EMAIL": "a@a.example", "MAIL_SMTP_FROM_ALLOWED": "a.example"}
    forbidden = run("preview", "welcome", "--dir", str(catalog), **settings)

    assert "Shop <shop@example.org>" in allowed.output
    assert forbidden.exit_code == 78
    assert "welcome/contract.toml: from: its domain is not one that" in forbidden.stderr


def test_a_preview_prints_nothing_that_a_terminal_obeys(run: Run) -> None:
    """A value may hold escape sequences."""
    values = json.dumps({"order_number": "1", "note": "\x1b[2Jred\x07"}).encode()
    result = run("preview", "receipt", "--variables", "-", input=values)

    assert "\x1b[2J" not in result.output
    assert "\\x1b[2Jred" in result.output


def test_a_preview_for_programs(run: Run) -> None:
    """The facts of each language."""
    found = json.loads(run("preview", "receipt", "--all", "--json").output)

    assert [one["locale"] for one in found["previews"]] == ["ar", "de", "en", "ja"]
    assert all(one["message bytes"] > one["html bytes"] for one in found["previews"])
