"""The command line: what it prints, what it does to the stores, and its exit codes."""

import base64
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import click
import psycopg
import pytest
import redis
from click.testing import CliRunner, Result

from mailworkers.adapters.supervisor_files import ROLES
from mailworkers.cli.main import main
from mailworkers.cli.output import printable
from mailworkers.cli.sections import SECTIONS
from mailworkers.core.commands import Command, decode_entry
from mailworkers.core.states import AttemptOutcome, AttemptStatus, Stage, Status
from mailworkers.embedded.servers import Servers
from tests.deliveries import accept, new_delivery, put
from tests.eventually import eventually
from tests.relay import Relay, relay

__all__ = ["relay"]

STREAM = "mail:delivery_commands"
CANARY = "c4n4ry-s3cret"
Run = Callable[..., Result]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Return settings that load; nothing they name is there."""
    return {
        "MAIL_REDIS_MASTER_ADDR": "127.0.0.1:1",
        "MAIL_REDIS_PASSWORD": CANARY,
        "MAIL_POSTGRES_PRIMARY_DSN": f"postgresql://mail:{CANARY}@127.0.0.1:1/mail",
        "MAIL_SMTP_ADDR": "127.0.0.1:1",
        "MAIL_SMTP_FROM_EMAIL": "shop@example.com",
        "MAIL_SMTP_TLS": "none",
        "MAIL_STATE_DIR": str(tmp_path / "state"),
    }


@pytest.fixture
def run(environ: dict[str, str]) -> Run:
    """Return a function that runs a command in `environ`."""

    def call(*arguments: str, input: bytes | None = None, **changes: str) -> Result:
        result = CliRunner().invoke(main, arguments, input=input, env={**environ, **changes})
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call


@pytest.fixture
def here(
    environ: dict[str, str], database: str, servers: Servers, redis_client: "redis.Redis"
) -> dict[str, str]:
    """Return `environ` with stores that are there; nothing is in them."""
    environ.pop("MAIL_REDIS_PASSWORD")
    environ["MAIL_POSTGRES_PRIMARY_DSN"] = database
    environ["MAIL_REDIS_MASTER_ADDR"] = f"unix:{servers.places.keyvalue_socket}"
    return environ


# Help and exit codes.


def test_help_names_every_command_and_every_exit_code(run: Run) -> None:
    """What is not in the help does not exist."""
    result = run("--help")

    assert result.exit_code == 0
    for section in SECTIONS.values():
        for name in section:
            assert re.search(rf"^  {name} ", result.output, re.MULTILINE)
    for code in ("0 ", "1 ", "2 ", "78 "):
        assert re.search(rf"^ +{code}", result.output, re.MULTILINE)


def _every_command(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from _every_command(found, (*path, name))
    yield path


@pytest.mark.parametrize("path", sorted(_every_command(main)), ids=" ".join)
def test_every_command_explains_itself(run: Run, path: tuple[str, ...]) -> None:
    """`--help` works everywhere and says more than a usage line."""
    result = run(*path, "--help")

    assert result.exit_code == 0
    assert len(result.output.split("\n\n")) >= 3


def test_the_first_line_of_help_is_the_commands_own() -> None:
    """It stands in a table, so that `--help` need not import what it names."""
    context = click.Context(main)
    for section in SECTIONS.values():
        for name, (_, text) in section.items():
            command = main.get_command(context, name)
            assert command is not None
            assert text == command.get_short_help_str(limit=200)


def test_help_imports_nothing_that_takes_long() -> None:
    """What a person types most must be there at once."""
    script = (
        "import sys\n"
        "sys.argv = ['mailworkers', '--help']\n"
        "from mailworkers.cli.main import main\n"
        "main(standalone_mode=False)\n"
        "heavy = {'psycopg', 'redis', 'rich', 'litestar', 'jinja2', 'email', 'ssl'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_what_the_shell_reads(run: Run, shell: str) -> None:
    """A script that names our program; where there is the shell, it can read it."""
    script = run("completion", shell).stdout

    assert "mailworkers" in script
    assert f"_MAILWORKERS_COMPLETE={shell}_complete" in script
    if program := shutil.which(shell):
        subprocess.run([program, "-n"], input=script.encode(), check=True)
    assert run("completion", "tcsh").exit_code == 2


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("deliveries list --status dead", {"dead_letter"}),
        ("pause --lane b", {"bulk"}),
        ("send --template wel", {"welcome"}),
        ("templates preview pass", {"password-reset"}),
        ("send --source s", {"shop"}),
        ("dead-letters rep", {"replay", "replays"}),
    ],
)
def test_values_are_completed_too(words: str, offered: set[str]) -> None:
    """Lanes, statuses, template ids of the catalog, sources of the settings."""
    script = "from mailworkers.cli.main import main; main(prog_name='mailworkers')"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={
            **os.environ,
            "MAIL_SOURCES": "shop=normal",
            "_MAILWORKERS_COMPLETE": "bash_complete",
            "COMP_WORDS": f"mailworkers {words}",
            "COMP_CWORD": str(len(words.split())),
        },
        capture_output=True,
        text=True,
        check=True,
    )

    assert {line.partition(",")[2] for line in done.stdout.splitlines()} == offered


def test_a_mistyped_command_line_is_2(run: Run) -> None:
    """Usage errors have their own code."""
    assert run("sned").exit_code == 2
    assert run("send").exit_code == 2
    assert run("deliveries", "show", "not-an-id").exit_code == 2


@pytest.mark.parametrize("role", ["consumer", "scheduler", "sender", "retention", "api", "monitor"])
def test_a_role_with_a_wrong_setting_ends_with_78_and_names_it(run: Run, role: str) -> None:
    """supervisord does not try this code again; the line says what to correct."""
    result = run(role, HTTP_PORT="no", MAIL_LEASE="soon")

    assert result.exit_code == 78
    lines = result.stderr.splitlines()
    assert [line.split()[1] for line in lines] == ["MAIL_LEASE='soon'", "HTTP_PORT='no'"]


def test_the_commands_know_every_role() -> None:
    """supervisord, the monitor and the command line speak of the same six."""
    assert tuple(next(iter(SECTIONS.values()))) == ROLES


def test_a_number_below_zero_is_a_wrong_number_and_no_unknown_option(run: Run) -> None:
    """What is wrong is said, not what click makes of a leading dash."""
    result = run("scale", "sender", "-1")

    assert result.exit_code == 2
    assert "-1 is not in the range 0<=x<=256" in result.stderr


@pytest.mark.parametrize("command", ["sender", "retention", "supervise"])
@pytest.mark.parametrize("place", ["/proc/x", "/dev/null"])
def test_a_state_directory_that_cannot_be_used_ends_with_78_and_one_line(
    run: Run, command: str, place: str
) -> None:
    """A wrong setting like any other: no traceback, and supervisord does not try it again."""
    result = run(command, MAIL_STATE_DIR=place)

    assert result.exit_code == 78
    (line,) = result.stderr.splitlines()
    assert line.startswith("mailworkers")
    assert f"MAIL_STATE_DIR={place}: " in line


def test_a_store_that_is_away_is_1_and_says_where_to_look(run: Run) -> None:
    """No traceback for what happens every day; no password either."""
    result = run("migrate")

    assert result.exit_code == 1
    assert "postgres is away" in result.stderr
    assert "mailworkers doctor" in result.stderr
    assert CANARY not in result.output


def test_a_role_imports_nothing_it_does_not_use() -> None:
    """budgets.md: memory and start-up are paid by every process."""
    program = (
        "import sys; from mailworkers.cli.main import main\n"
        "main.get_command(None, 'sender'); import mailworkers.roles.sender\n"
        "print([m for m in ('litestar', 'uvicorn', 'jinja2', 'rich', 'yoyo', 'supervisor',"
        " 'email_validator') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)

    assert found.stdout.strip() == b"[]"


def test_what_a_role_imports_is_looked_through_for_garbage_neither_then_nor_later() -> None:
    """It lives as long as the process; what comes after it is collected as ever."""
    program = (
        "import gc; from mailworkers.cli.roles import import_role\n"
        "import_role('sender'); print(gc.isenabled(), len(gc.get_objects()) < 2000)"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)

    assert found.stdout.split() == [b"True", b"True"]


def test_shell_completion_offers_the_commands() -> None:
    """click's own: `eval "$(_MAILWORKERS_COMPLETE=bash_source mailworkers)"`."""
    script = "from mailworkers.cli.main import main; main(prog_name='mailworkers')"
    found = subprocess.run(
        [sys.executable, "-c", script],
        env={
            "PATH": os.environ["PATH"],
            "_MAILWORKERS_COMPLETE": "bash_complete",
            "COMP_WORDS": "mailworkers d",
            "COMP_CWORD": "1",
        },
        capture_output=True,
        check=True,
    )

    offered = {"plain,doctor", "plain,deliveries", "plain,dead-letters", "plain,dkim"}
    assert set(found.stdout.decode().split()) == offered


def test_nothing_a_terminal_would_obey_is_printed() -> None:
    """Subjects and replies come from strangers."""
    assert printable("a\x1b[2Jb\x9bc\u202ed") == "a\\x1b[2Jb\\x9bc\\u202ed"


def test_a_role_started_by_its_command_works_until_it_is_told_to_stop(
    here: dict[str, str], tmp_path: Path
) -> None:
    """Foreground, one JSON object a line on standard output, SIGTERM, exit 0."""
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", "from mailworkers.cli.main import main; main()", "scheduler"],
            env={**os.environ, **here},
            stdout=output,
        )
        try:
            eventually(lambda: b'"role started"' in log.read_bytes(), within=15)
            process.terminate()
            assert process.wait(timeout=15) == 0
        finally:
            process.kill()

    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["event"] for line in lines] == ["role started", "role stopped"]
    assert {line["role"] for line in lines} == {"scheduler"}


# config


def test_config_shows_every_setting_masked_with_its_origin(run: Run) -> None:
    """What is in force, and who said so."""
    result = run("config")

    assert result.exit_code == 0
    assert "user=mail password=*** dbname=mail host=127.0.0.1 port=1" in result.stdout
    assert re.search(r"MAIL_LEASE +150s +default", result.stdout)
    assert re.search(r"MAIL_SMTP_TLS +none +environment", result.stdout)
    assert CANARY not in result.output


def test_config_as_json_is_the_same(run: Run) -> None:
    """For programs."""
    rows = {row["name"]: row for row in json.loads(run("config", "--json").stdout)}

    assert rows["MAIL_LEASE"] == {"name": "MAIL_LEASE", "value": "150s", "origin": "default"}
    assert rows["MAIL_REDIS_PASSWORD"]["value"] == "***"


def test_config_warns_of_unknown_names_on_standard_error(run: Run) -> None:
    """A typing mistake is not silence, and not in the way of --json."""
    result = run("config", "--json", MAIL_LEESE="1s")

    assert "MAIL_LEESE is not a known setting: did you mean MAIL_LEASE?" in result.stderr
    assert json.loads(result.stdout)


# migrate


def test_migrate_says_what_it_applied(run: Run, here: dict[str, str]) -> None:
    """The second time there is nothing to do."""
    result = run("migrate", "--json")

    assert result.exit_code == 0
    assert json.loads(result.stdout) == {"applied": []}
    assert run("migrate").stdout == "the schema is up to date\n"


# doctor


def test_doctor_finds_everything_well(run: Run, here: dict[str, str], relay: Relay) -> None:
    """Each line ok; the relay is asked up to AUTH and gets no mail."""
    result = run("doctor", MAIL_SMTP_ADDR=relay.addr)

    assert result.exit_code == 0, result.output
    assert "FAIL" not in result.stdout
    found = re.findall(r"^ok +(\w+(?: \w+)?)  ", result.stdout, re.MULTILINE)
    assert found == ["settings", "state directory", "journals", "postgres", "postgres writes",
                     "schema", "clock", "postgres upkeep", "redis", "redis writes",
                     "redis eviction", "redis persistence", "redis permissions",
                     "command stream", "relay", "relay identity", "templates", "dkim",
                     "service", "leases"]  # fmt: skip
    assert "PIPELINING" in result.stdout
    assert relay.accepted == []


def test_doctor_names_everything_that_is_wrong_and_what_to_do(run: Run, tmp_path: Path) -> None:
    """One broken thing does not hide the others; no secret is told."""
    file = tmp_path / "file"
    file.touch()

    result = run("doctor", MAIL_STATE_DIR=str(file / "state"))

    assert result.exit_code == 1
    for check, advice in {
        "state directory": "MAIL_STATE_DIR",
        "postgres": "MAIL_POSTGRES_PRIMARY_DSN",
        "redis": "MAIL_REDIS_MASTER_ADDR",
        "relay": "MAIL_SMTP_ADDR",
    }.items():
        assert re.search(rf"^FAIL +{check} .*\n +-> .*{advice}", result.stdout, re.MULTILINE), check
    assert CANARY not in result.output


def test_doctor_reports_every_wrong_setting(run: Run) -> None:
    """Nothing else can be looked at then."""
    result = run("doctor", "--json", MAIL_LEASE="soon", HTTP_PORT="no")

    findings = json.loads(result.stdout)
    assert result.exit_code == 1
    assert findings["ok"] is False
    assert [found["check"] for found in findings["checks"]] == ["settings", "settings"]


def test_doctor_finds_a_relay_that_refuses_the_login(
    run: Run, here: dict[str, str], relay: Relay
) -> None:
    """535: the password, not the network, and the reply itself is shown."""
    relay.offers("AUTH PLAIN LOGIN")
    relay.says(AUTH="535 5.7.8 bad credentials")

    result = run(
        "doctor", MAIL_SMTP_ADDR=relay.addr, MAIL_SMTP_USERNAME="u", MAIL_SMTP_PASSWORD=CANARY
    )

    assert result.exit_code == 1
    assert re.search(r"^FAIL +relay .*auth.*\n +-> .*MAIL_SMTP_PASSWORD", result.stdout, re.M)
    assert CANARY not in result.output


def test_doctor_finds_a_redis_that_may_lose_commands(
    run: Run, here: dict[str, str], redis_client: "redis.Redis"
) -> None:
    """F-R07: allkeys-lru throws commands away, appendonly no forgets them."""
    redis_client.config_set("maxmemory-policy", "allkeys-lru")
    redis_client.config_set("appendonly", "no")
    redis_client.set(STREAM, "something else")
    try:
        result = run("doctor", MAIL_SMTP_MODE="stub")
    finally:
        redis_client.config_set("maxmemory-policy", "noeviction")
        redis_client.config_set("appendonly", "yes")

    assert re.search(r"^FAIL +redis eviction .*\n.*noeviction", result.stdout, re.MULTILINE)
    assert re.search(r"^FAIL +redis persistence .*\n.*appendonly yes", result.stdout, re.MULTILINE)
    assert re.search(r"^FAIL +command stream .*holds a string", result.stdout, re.MULTILINE)
    assert re.search(r"^ok +relay +mode stub", result.stdout, re.MULTILINE)


# send


def entries(redis_client: "redis.Redis") -> list[dict[bytes, bytes]]:
    """Return the fields of every entry on the stream."""
    found: Any = redis_client.xrange(STREAM)
    return [fields for _, fields in found]


def test_send_puts_a_command_on_the_stream_and_says_where_to_look(
    run: Run, here: dict[str, str], redis_client: "redis.Redis", tmp_path: Path
) -> None:
    """Every option becomes what the contract calls it, and the consumer would accept it."""
    file = tmp_path / "plan.pdf"
    file.write_bytes(b"%PDF-1.7 \x00")

    result = run(
        *("send", "--to", "Ada <ada@example.com>", "--to", "bob@example.com"),
        *("--cc", "c@example.com", "--bcc", "b@example.com", "--reply-to", "r@example.com"),
        *("--from", "other@example.com", "--subject", "Grüße", "--text", "Hi", "--html", "<p>Hi"),
        *("--attach", str(file), "--lane", "bulk", "--key", "k-1", "--send-at", "+10m"),
        *("--expires-at", "2090-01-31T08:00:00Z", "--json"),
    )

    assert result.exit_code == 0, result.output
    (entry,) = entries(redis_client)
    command = decode_entry(entry)
    assert isinstance(command, Command)
    assert json.loads(result.stdout)["delivery_id"] == str(command.delivery_id)
    assert (command.source, command.lane.label, command.idempotency_key) == ("api", "bulk", "k-1")
    assert command.send_at and command.requested_at  # noqa: PT018
    assert 595 <= (command.send_at - command.requested_at).total_seconds() <= 605
    assert command.expires_at
    assert command.expires_at.year == 2090
    payload = json.loads(entry[b"payload_json"])
    assert payload["to"] == ["Ada <ada@example.com>", "bob@example.com"]
    assert (payload["cc"], payload["bcc"]) == (["c@example.com"], ["b@example.com"])
    assert (payload["reply_to"], payload["from"]) == (["r@example.com"], "other@example.com")
    (attachment,) = payload["attachments"]
    assert (attachment["filename"], attachment["content_type"]) == ("plan.pdf", "application/pdf")
    assert base64.b64decode(attachment["content_base64"]) == b"%PDF-1.7 \x00"


def test_send_says_what_to_run_next(run: Run, here: dict[str, str]) -> None:
    """The answer of a person's next question."""
    result = run("send", "--to", "ada@example.com", "--subject", "s", "--text", "t")

    assert re.search(r"^next: mailworkers deliveries show [0-9a-f-]{36}$", result.stdout, re.M)


def test_send_uses_a_template_with_variables(
    run: Run, here: dict[str, str], redis_client: "redis.Redis"
) -> None:
    """NAME=TEXT, or NAME:=JSON for numbers, lists and truth."""
    result = run(
        *("send", "--to", "ada@example.com", "--template", "welcome", "--locale", "de"),
        *("--var", "name=Ada=L", "--var", "items:=[1, true]"),
    )

    assert result.exit_code == 0, result.output
    (entry,) = entries(redis_client)
    payload = json.loads(entry[b"payload_json"])
    assert entry[b"payload_mode"] == b"template"
    assert payload["variables"] == {"name": "Ada=L", "items": [1, True]}
    assert (payload["template_id"], payload["locale"]) == ("welcome", "de")


def test_send_reads_bodies_from_files_and_standard_input(
    run: Run, here: dict[str, str], redis_client: "redis.Redis", tmp_path: Path
) -> None:
    """`@FILE`, and `-`."""
    page = tmp_path / "page.html"
    page.write_text("<p>from a file")

    options = ("--subject", "s", "--text", "-", "--html", f"@{page}")
    run("send", "--to", "ada@example.com", *options, input=b"from a pipe\n")

    (entry,) = entries(redis_client)
    payload = json.loads(entry[b"payload_json"])
    assert (payload["text_body"], payload["html_body"]) == ("from a pipe\n", "<p>from a file")


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (("--subject", "s"), 2, "give --subject with --text or --html"),
        (("--template", "t", "--subject", "s"), 2, "--template brings subject and bodies"),
        (("--subject", "s", "--text", "t", "--var", "a=b"), 2, "--var belongs to --template"),
        (("--template", "t", "--var", "a"), 2, "not NAME=TEXT"),
        (("--template", "t", "--var", "a:={"), 2, "not JSON"),
        (("--subject", "s", "--text", "@/nowhere"), 2, "/nowhere cannot be read"),
        (("--subject", "s", "--text", "t", "--send-at", "tomorrow"), 2, "is not a time"),
        (("--subject", "s", "--text", "t", "--send-at", "2090-01-01"), 2, "with a zone"),
        (("--subject", "s", "--text", "t", "--source", "nobody"), 1, "invalid_value: source"),
        (("--subject", "s\nBcc: x@y.z", "--text", "t"), 1, "would be refused"),
        (("--subject", "s", "--text", "t", "--cc", "not an address"), 1, "invalid_address"),
        (("--subject", "s", "--text", "t", "--from", "a@other.example"), 1, "would be refused"),
    ],
)
def test_send_refuses_what_the_consumer_would_refuse(
    run: Run,
    here: dict[str, str],
    redis_client: "redis.Redis",
    options: tuple[str, ...],
    code: int,
    told: str,
) -> None:
    """At once, with the reason; nothing is put on the stream."""
    result = run("send", "--to", "ada@example.com", *options)

    assert result.exit_code == code, result.output
    assert told in result.stderr
    assert entries(redis_client) == []


class Intake(http.server.BaseHTTPRequestHandler):
    """An API that takes everything, or answers what it is told."""

    answer: ClassVar[tuple[int, bytes]] = (202, b"{}")
    seen: ClassVar[list[tuple[str, dict[str, str], dict[str, Any]]]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.seen.append((self.path, dict(self.headers), body))
        status, content = self.answer
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def intake() -> Iterator[str]:
    """Return the URL of a listening `Intake`."""
    Intake.seen.clear()
    with http.server.HTTPServer(("127.0.0.1", 0), Intake) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_send_posts_to_the_api_without_any_settings(intake: str, tmp_path: Path) -> None:
    """Only a URL and a token are needed where no store can be reached; the token from a file."""
    Intake.answer = (202, b'{"delivery_id":"01a2","status":"queued"}')
    token = tmp_path / "token"
    token.write_text("t0k3n\n")
    token.chmod(0o600)

    options = ["send", "--to", "ada@example.com", "--subject", "s", "--text", "t", "--key", "k"]
    result = CliRunner().invoke(
        main, [*options, "--api", intake], env={"MAIL_API_TOKEN_FILE": str(token)}
    )

    assert result.exit_code == 0, result.output
    ((path, headers, body),) = Intake.seen
    assert path == "/api/v1/internal/deliveries"
    assert headers["Authorization"] == "Bearer t0k3n"
    assert (headers["Idempotency-Key"], body["idempotency_key"]) == ("k", "k")
    assert body["payload"]["to"] == ["ada@example.com"]
    assert "next: mailworkers deliveries show 01a2" in result.stdout


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (409, b'{"error":{"code":"idempotency_conflict","message":"other content","details":{}}}',
         "idempotency_conflict: other content"),
        (401, b'{"error":{"code":"unauthorized","message":"no token"}}', "set MAIL_API_TOKEN"),
        (404, b"<html>", "is that the internal API?"),
        (202, b"<html>", "something else than this command understands"),
    ],
)  # fmt: skip
def test_send_repeats_the_apis_own_words(intake: str, status: int, body: bytes, told: str) -> None:
    """An error says what is wrong, whoever found it."""
    Intake.answer = (status, body)

    options = ["send", "--to", "a@b.example", "--subject", "s", "--text", "t", "--api", intake]
    result = CliRunner().invoke(main, options)

    assert result.exit_code == 1
    assert told in result.stderr


def test_send_says_when_no_api_answers() -> None:
    """Not a traceback."""
    options = ["send", "--to", "a@b.example", "--subject", "s", "--text", "t", "--api"]
    result = CliRunner().invoke(main, [*options, "http://127.0.0.1:1"])

    assert result.exit_code == 1
    assert "is `mailworkers api` running there?" in result.stderr


# deliveries


def test_deliveries_show_tells_status_recipients_and_attempts(
    run: Run, here: dict[str, str], conn: "psycopg.Connection[tuple[Any, ...]]"
) -> None:
    """What became of it, in one look."""
    new = new_delivery("ada@example.com", "bob@example.com")
    accept(conn, new)
    conn.execute(
        "INSERT INTO attempts (delivery_id, attempt_no, cycle_attempt, status, outcome, stage,"
        " reply_code, enhanced_code, summary, relay, lease_token, leased_by, finished_at)"
        " VALUES (%s, 1, 1, %s, %s, %s, 451, '4.3.0', E'later\x1b[2J', '127.0.0.1:25',"
        " gen_random_uuid(), gen_random_uuid(), clock_timestamp())",
        [new.delivery_id, AttemptStatus.PROVIDER_DEFERRED, AttemptOutcome.TRANSIENT_ERROR,
         Stage.RCPT],
    )  # fmt: skip

    result = run("deliveries", "show", str(new.delivery_id))

    assert result.exit_code == 0, result.output
    assert "queued: ready: the next free sender takes it" in result.stdout
    for shown in ("ada@example.com", "bob@example.com", "provider_deferred", "451 4.3.0"):
        assert shown in result.stdout
    assert "\x1b[2J" not in result.stdout


def test_deliveries_show_as_json_has_everything(
    run: Run, here: dict[str, str], conn: "psycopg.Connection[tuple[Any, ...]]"
) -> None:
    """The same facts for programs."""
    delivery_id = put(conn, "sending")

    shown = json.loads(run("deliveries", "show", str(delivery_id), "--json").stdout)

    assert shown["delivery"]["status"] == "sending"
    assert shown["delivery"]["lease_until"]
    assert [attempt["attempt_no"] for attempt in shown["attempts"]] == [1]
    assert shown["delivery"]["recipients"][0]["status"] == "open"


def test_every_status_has_its_meaning(
    run: Run, here: dict[str, str], conn: "psycopg.Connection[tuple[Any, ...]]"
) -> None:
    """No status leaves the reader with a bare word."""
    for status in Status:
        delivery_id = put(conn, status)

        result = run("deliveries", "show", str(delivery_id))

        assert re.search(rf"{status}: \w.+", result.stdout)
        assert "{" not in result.stdout


def test_an_unknown_delivery_is_explained(run: Run, here: dict[str, str]) -> None:
    """Not accepted yet, refused, or deleted: the three things it can be."""
    result = run("deliveries", "show", "01900000-0000-7000-8000-000000000001")

    assert result.exit_code == 1
    for reason in ("consumer", "stream command rejected", "deleted some time after"):
        assert reason in result.stderr


# commands

GOOD = {
    "delivery_id": "01900000-0000-7000-8000-000000000001",
    "source": "api",
    "payload_mode": "rendered",
    "idempotency_key": "k",
    "requested_at_ms": "1790000000000",
    "payload_json": json.dumps({"to": ["a@b.example"], "subject": "s", "text_body": "t"}),
}


def test_validate_takes_an_entry_as_the_stream_carries_it() -> None:
    """No store, no relay and no settings are needed: producers run it in their own tests."""
    result = CliRunner().invoke(main, ["commands", "validate"], input=json.dumps(GOOD).encode())

    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("accepted\n")
    assert "a@b.example" in result.stdout


def test_validate_takes_a_body_as_http_does(run: Run) -> None:
    """`payload` as an object; both ways give the same fingerprint."""
    body = {name: value for name, value in GOOD.items() if name != "payload_json"}
    body["payload"] = json.loads(GOOD["payload_json"])

    as_body = run("commands", "validate", "--json", input=json.dumps(body).encode())
    as_entry = run("commands", "validate", "--json", input=json.dumps(GOOD).encode())

    first, second = json.loads(as_body.stdout), json.loads(as_entry.stdout)
    assert first["command"]["fingerprint"] == second["command"]["fingerprint"]


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        (b"", "invalid_json"),
        (b"\xff", "invalid_json"),
        (b"[1]", "invalid_value"),
        (json.dumps({**GOOD, "color": "red"}).encode(), "unknown_field"),
        (json.dumps({**GOOD, "payload_json": "{"}).encode(), "invalid_json"),
        (json.dumps({**GOOD, "payload_mode": "poem"}).encode(), "invalid_value"),
        (json.dumps({k: v for k, v in GOOD.items() if k != "source"}).encode(), "missing_field"),
        (json.dumps(GOOD).replace("a@b.", "a b.").encode(), "invalid_address"),
    ],
)  # fmt: skip
def test_validate_says_why_a_command_would_be_refused(run: Run, entry: bytes, code: str) -> None:
    """The failure code, the field and the reason, as the malformed record would have them."""
    result = run("commands", "validate", "--json", input=entry)

    verdict = json.loads(result.stdout)
    assert result.exit_code == 1
    assert (verdict["accepted"], verdict["failure_code"]) == (False, code)
    assert verdict["detail"]
