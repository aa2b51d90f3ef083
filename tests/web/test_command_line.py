"""The command line through the API: the same answers as on the host, and errors that help."""

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result

from mailworkers.cli.main import main
from mailworkers.core.states import Status
from mailworkers.embedded.servers import Servers
from tests.certificates import Certificates, certificates
from tests.deliveries import accept, new_delivery, put
from tests.web.conftest import MakeToken, Row, RunningApi

__all__ = ["certificates"]

Connection = psycopg.Connection[Row]
Run = Callable[..., Result]
NOBODY = "01900000-0000-7000-8000-000000000001"
WHY = ("--reason", "they asked for it")


def run(*arguments: str, input: str | None = None, **environ: str) -> Result:
    """Run a command in *environ* alone."""
    result = CliRunner().invoke(main, arguments, input=input, env=environ)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def on_host(servers: Servers, database: str, tmp_path: Path) -> Run:
    """Return what runs a command on the stores."""

    def call(*arguments: str, **more: Any) -> Result:
        return run(
            *arguments,
            **more,
            MAIL_POSTGRES_PRIMARY_DSN=database,
            MAIL_REDIS_MASTER_ADDR=servers.redis_addr,
            MAIL_SMTP_MODE="stub",
            MAIL_STATE_DIR=str(tmp_path / "state"),
        )

    return call


@pytest.fixture
def by_api(running: RunningApi, database: str) -> Run:
    """Return what runs a command through the API, without a setting but its URL."""

    def call(*arguments: str, **more: Any) -> Result:
        return run(*arguments, **more, MAIL_API_URL=running.url)

    return call


def told(result: Result) -> Any:
    """Return the JSON that a command printed."""
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.parametrize(
    "arguments",
    [
        ("deliveries", "list"),
        ("deliveries", "list", "ada@example.com"),
        ("deliveries", "list", "--trouble", "--lane", "normal", "--source", "notification"),
        ("deliveries", "list", "--since", "-1h", "--until", "+1h", "--status", "queued"),
        ("deliveries", "list", "--limit", "1"),
        ("deliveries", "show", "ID"),
        ("deliveries", "timeline", "ID"),
        ("deliveries", "explain", "ID"),
        ("pauses",),
        ("suppressions", "list"),
        ("suppressions", "list", "bob@example.com"),
        ("suppressions", "list", "nobody@example.com"),
    ],
    ids=" ".join,
)
def test_the_api_answers_what_the_stores_answer(
    on_host: Run, by_api: Run, conn: Connection, arguments: tuple[str, ...]
) -> None:
    """One code path, two ways to reach it: not a field differs."""
    new = new_delivery("ada@example.com")
    accept(conn, new)
    put(conn, Status.FAILED)
    on_host("pause", "--lane", "bulk", *WHY)
    on_host("suppressions", "add", "bob@example.com", "--until", "2099-01-31T08:00:00Z", *WHY)
    asked = [str(new.delivery_id) if word == "ID" else word for word in arguments]

    here, there = told(on_host(*asked, "--json")), told(by_api(*asked, "--json"))

    for found in (here, there):
        if isinstance(found, dict) and "ahead" in found:
            found.pop("ahead")
    assert there == here


def test_status_is_the_same_from_either_side(on_host: Run, by_api: Run, conn: Connection) -> None:
    """But for the moment in which it was looked at."""
    put(conn, Status.DEFERRED)

    here, there = (json.loads(ask("status", "--json").stdout) for ask in (on_host, by_api))

    assert there["problems"] == here["problems"]
    assert there["mail"]["lanes"][1]["counts"] == here["mail"]["lanes"][1]["counts"]
    assert [store["is_there"] for store in there["stores"]] == [True, True]


def test_lists_longer_than_a_page_are_read_to_their_limit(by_api: Run, conn: Connection) -> None:
    """The API gives 200 at a time."""
    accept(conn, *(new_delivery() for _ in range(250)))

    assert len(told(by_api("deliveries", "list", "--limit", "230", "--json"))) == 230
    assert len(told(by_api("deliveries", "list", "--limit", "1000", "--json"))) == 250


def test_mail_is_paused_and_resumed_through_the_api(by_api: Run) -> None:
    """With the same words, exit codes and JSON."""
    made = told(by_api("pause", "--lane", "bulk", "--until", "+2h", *WHY, "--json"))

    assert (made["lane"], made["reason"], made["created_by"]) == ("bulk", WHY[1], "local")
    assert "goes out again" in by_api("resume", str(made["pause_id"]), *WHY).stdout
    missing = by_api("resume", str(made["pause_id"]), *WHY)
    assert (missing.exit_code, "there is no pause" in missing.stderr) == (1, True)
    assert by_api("pauses").stdout == "nothing is held back\n"


def test_suppressions_are_put_exported_and_removed_through_the_api(
    by_api: Run, tmp_path: Path
) -> None:
    """What was there is told apart from what is new; odd addresses keep their characters."""
    odd = "a+b/c?d=1@example.com"
    assert by_api("suppressions", "add", odd, "eve@example.com", *WHY).stdout == (
        "2 put on the list\n"
    )
    again = by_api("suppressions", "add", odd, "new@example.com", *WHY)
    assert again.stdout == "1 put on the list, 1 were there\n"
    file = tmp_path / "list.csv"
    assert by_api("suppressions", "export", str(file)).exit_code == 0

    assert by_api("suppressions", "remove", odd, "--yes", *WHY).stdout == "1 taken off the list\n"
    assert by_api("suppressions", "remove", odd, "--yes", *WHY).exit_code == 1
    put_back = by_api("suppressions", "import", str(file), "--yes", *WHY)
    assert put_back.stdout == "1 put on the list, 2 were there\n"


def test_a_message_is_sent_through_the_api_and_looked_up_there(by_api: Run) -> None:
    """The id that `send` prints is the one that `show` knows."""
    sent = told(
        by_api("send", "--to", "ada@example.com", "--subject", "s", "--text", "t", "--json")
    )

    shown = told(by_api("deliveries", "show", sent["delivery_id"], "--json"))

    assert shown["delivery"]["recipients"][0]["address"] == "ada@example.com"


@pytest.mark.parametrize("command", ["show", "timeline", "explain"])
def test_an_unknown_delivery_is_told_in_the_same_words(
    on_host: Run, by_api: Run, command: str
) -> None:
    """Not an HTTP status."""
    here, there = (ask("deliveries", command, NOBODY) for ask in (on_host, by_api))

    assert (there.exit_code, there.stderr) == (here.exit_code, here.stderr)
    assert here.exit_code == 1


def test_tokens_are_asked_for_by_name_and_scope(
    own_api: RunningApi, make_token: MakeToken, tmp_path: Path
) -> None:
    """No token, a wrong one, one that may not: each error says what to do next."""
    token = make_token("reader", ["read"])
    file = tmp_path / "token"
    file.write_text(f"{token}\n")
    file.chmod(0o600)

    none = run("pauses", "--api", own_api.url)
    wrong = run("pauses", "--api", own_api.url, MAIL_API_TOKEN="mw_wrong")
    lacking = run("pause", "--all", *WHY, "--api", own_api.url, MAIL_API_TOKEN=token)
    right = run("pauses", "--api", own_api.url, MAIL_API_TOKEN_FILE=str(file))

    assert [it.exit_code for it in (none, wrong, lacking, right)] == [1, 1, 1, 0]
    assert "set MAIL_API_TOKEN, or MAIL_API_TOKEN_FILE" in none.stderr
    assert "mailworkers tokens create" in none.stderr
    assert "is not valid" in wrong.stderr
    assert "mw_wrong" not in wrong.output
    assert "lacks the scope operate" in lacking.stderr
    assert "tokens create NAME --scope operate" in lacking.stderr


@pytest.mark.parametrize("token", ["two words", "line\nbreak: x", "ümlaut"])
def test_what_is_no_token_is_not_sent_and_not_shown(running: RunningApi, token: str) -> None:
    """It would become headers, or a traceback that tells it."""
    result = run("pauses", "--api", running.url, MAIL_API_TOKEN=token)

    assert result.exit_code == 78
    assert "MAIL_API_TOKEN is no token" in result.stderr
    assert token not in result.output


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "ftp://x", "http://", "https://x/?a=b"])
def test_what_is_no_url_is_told_with_an_example(url: str) -> None:
    """78: correct it, retrying does not help."""
    result = run("pauses", "--api", url)

    assert result.exit_code == 78
    assert "http://127.0.0.1:8080" in result.stderr


@pytest.fixture
def https(certificates: Certificates) -> Iterator[str]:
    """Return the URL of a server whose certificate nobody here trusts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificates.chain("localhost"))
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client:
                try:
                    context.wrap_socket(client, server_side=True).close()
                except OSError:
                    continue

    threading.Thread(target=serve, daemon=True).start()
    yield f"localhost:{listener.getsockname()[1]}"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def test_faults_of_the_connection_are_told_apart(running: RunningApi, https: str) -> None:
    """Nobody listens, no TLS there, a certificate that is not trusted, not the API at all."""
    plain = running.url.removeprefix("http://")

    nobody = run("pauses", "--api", "http://127.0.0.1:1")
    no_tls = run("pauses", "--api", f"https://{plain}")
    untrusted = run("pauses", "--api", f"https://{https}")
    unknown = run("pauses", "--api", "http://does-not-exist.invalid")
    elsewhere = run("pauses", "--api", f"{running.url}/somewhere")

    assert {it.exit_code for it in (nobody, no_tls, untrusted, unknown, elsewhere)} == {1}
    assert "connection refused\n" in nobody.stderr
    assert "is `mailworkers api` running there?" in nobody.stderr
    assert "write http:// if the API has no TLS" in no_tls.stderr
    assert "certificate is not trusted" in untrusted.stderr
    assert "SSL_CERT_FILE" in untrusted.stderr
    assert "does-not-exist.invalid does not answer" in unknown.stderr
    assert "not_found" in elsewhere.stderr


def test_a_private_authority_can_be_named(https: str, certificates: Certificates) -> None:
    """Then it is the answer that is missing, not the trust."""
    result = run("pauses", "--api", f"https://{https}", SSL_CERT_FILE=str(certificates.ca))

    assert "certificate" not in result.stderr
    assert "does not answer" in result.stderr


def test_the_catalog_is_the_same_through_the_api(on_host: Run, by_api: Run) -> None:
    """What the API serves, with all there is to know of it; the files are not asked."""
    here, there = (told(ask("templates", "list", "--json")) for ask in (on_host, by_api))

    assert there == here
    assert "weekly-digest" in by_api("templates", "list").stdout


@pytest.mark.parametrize("more", [(), ("--locale", "de"), ("--all",)], ids=" ".join)
def test_a_preview_is_the_same_through_the_api(
    on_host: Run, by_api: Run, more: tuple[str, ...]
) -> None:
    """The message that the API makes, in what languages are wanted."""
    asked = ("templates", "preview", "weekly-digest", "--json", *more)

    here, there = told(on_host(*asked))["previews"], told(by_api(*asked))["previews"]

    own = {"From": "", "message bytes": 0}  # each side's own identity
    assert [one | own for one in there] == [one | own for one in here]
    assert [one["locale"] for one in there] == [one["locale"] for one in here]


def test_a_preview_through_the_api_takes_variables_and_says_what_is_wrong(by_api: Run) -> None:
    """In the words of intake; a template that is not there is a usage error."""
    asked = ("templates", "preview", "welcome", "--variables", "-")

    shown = by_api(*asked, input='{"name": "Grace"}')
    refused = by_api(*asked, input='{"name": 7}')
    unknown = by_api("templates", "preview", "wellcome")

    assert "Grace" in shown.stdout
    assert (refused.exit_code, "variables: name" in refused.stderr) == (1, True)
    assert (unknown.exit_code, "welcome" in unknown.stderr) == (2, True)


def test_an_author_s_own_files_are_meant_where_they_are_named(by_api: Run, tmp_path: Path) -> None:
    """Whoever has MAIL_API_URL set still previews what was written just now."""
    result = by_api("templates", "list", "--dir", str(tmp_path / "nothing"))

    assert (result.exit_code, "there is no such directory" in result.stderr) == (78, True)


@pytest.mark.parametrize(
    ("arguments", "instead"),
    [
        (("tokens", "list"), "no token can make another"),
        (("templates", "check"), "mailworkers templates list"),
        (("doctor",), "mailworkers status"),
        (("restart", "sender"), "on a host of the installation"),
    ],
)
def test_what_is_about_a_host_says_so_and_what_helps_instead(
    arguments: tuple[str, ...], instead: str
) -> None:
    """Not just that there is no such option."""
    result = run(*arguments, "--api", "http://127.0.0.1:9")

    assert result.exit_code == 2
    assert instead in result.stderr


def test_a_host_s_command_elsewhere_says_where_it_works() -> None:
    """Not only that settings are missing, which nobody there has or wants."""
    result = run("tokens", "list", MAIL_API_URL="http://127.0.0.1:9")

    assert result.exit_code == 78
    assert "MAIL_API_URL is set, but this one" in result.stderr
    assert "they are made there" in result.stderr
