"""Settings: read once, wrong ones refused with words that help, secrets never shown."""

import traceback
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailworkers.adapters.secrets import Secret, dsn_secrets, mask_dsn
from mailworkers.adapters.setting_reading import FALLBACK_DSN
from mailworkers.adapters.setting_rules import RETIRED
from mailworkers.adapters.setting_table import NAMES, TABLE
from mailworkers.adapters.settings import Settings, load
from mailworkers.adapters.supervisor_files import supervisord_environment
from mailworkers.core.errors import ConfigError
from mailworkers.core.states import Lane

CANARY = "c4n4ry-s3cret"
LEAST = {
    "MAIL_REDIS_MASTER_ADDR": "127.0.0.1:6379",
    "MAIL_POSTGRES_PRIMARY_DSN": f"postgresql://mail:{CANARY}@db.example/mail",
    "MAIL_SMTP_ADDR": "relay.example:587",
    "MAIL_SMTP_FROM_EMAIL": "shop@example.com",
    "MAIL_STATE_DIR": "/var/tmp/mailworkers",  # noqa: S108  never made
}


def refusals(**changes: str) -> list[str]:
    """Return the lines of the ConfigError that LEAST with *changes* gives."""
    with pytest.raises(ConfigError) as caught:
        load(LEAST | changes)
    return str(caught.value).splitlines()


def test_the_least_environment_gives_the_contracts_defaults() -> None:
    """Contract section 5: everything but stores and relay has a default."""
    settings = load(LEAST)

    assert settings.stream == "mail:delivery_commands"
    assert settings.smtp_tls == "starttls"
    assert settings.lease == timedelta(seconds=150)
    assert settings.smtp_from_allowed == {"example.com"}
    assert settings.internal_http_addr == "127.0.0.1:8080"
    assert (settings.http_port, settings.prometheus_port) == (8086, 9094)
    assert settings.retry_ladder[:2] == (timedelta(seconds=5), timedelta(seconds=30))
    assert settings.uncertain_policy == {"auth": "retry", "normal": "retry", "bulk": "retry"}
    assert settings.template_dir is None
    assert settings.warnings == ()


def test_every_row_of_the_table_fills_a_field_and_every_field_has_a_row() -> None:
    """The table is the only place where a setting is declared."""
    computed = {"shown", "warnings"}

    assert {setting.field for setting in TABLE} == set(Settings.__struct_fields__) - computed


def test_every_default_has_the_form_it_asks_of_others() -> None:
    """A default is written as an operator would write it."""
    for setting in TABLE:
        if setting.default:
            setting.form(setting.default)


def test_what_is_missing_is_named_all_at_once() -> None:
    """Nobody should start a program five times to learn five names."""
    with pytest.raises(ConfigError) as caught:
        load({"HTTP_PORT": "no"})

    lines = str(caught.value).splitlines()
    assert [line.split()[0].partition("=")[0] for line in lines] == [
        "MAIL_REDIS_MASTER_ADDR",
        "MAIL_POSTGRES_PRIMARY_DSN",
        "HTTP_PORT",
    ]


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("MAIL_REDIS_MASTER_ADDR", "redis://h:1", "is a URL"),
        ("MAIL_REDIS_MASTER_ADDR", "h", "write host:port"),
        ("MAIL_REDIS_MASTER_ADDR", "h:70000", "port"),
        ("MAIL_REDIS_MASTER_ADDR", "unix:redis.sock", "absolute path"),
        ("MAIL_REDIS_TLS", "maybe", "write true or false"),
        ("MAIL_POSTGRES_POOL_MAX", "0", "from 1 to 1000"),
        ("MAIL_POSTGRES_POOL_MAX", "٣", "from 1 to 1000"),
        ("MAIL_SMTP_MODE", "sendmail", "smtp, stub"),
        ("MAIL_SMTP_TLS", "ssl", "starttls, opportunistic, implicit, none"),
        ("MAIL_SMTP_ADDR", "[::g]:25", "IPv6"),
        ("MAIL_SMTP_FROM_EMAIL", "Shop <shop@example.com>", "display name"),
        ("MAIL_SMTP_FROM_EMAIL", "shop", "not a mail address"),
        ("MAIL_SMTP_TIMEOUT", "15", "a number and its unit"),
        ("MAIL_SMTP_TIMEOUT", "2h", "outside 100ms to 10m"),
        ("MAIL_SMTP_TIMEOUT", "9" * 400 + "d", "span of time"),
        ("MAIL_SMTP_CA_FILE", "/nowhere/ca.pem", "cannot be read"),
        ("MAIL_SMTP_HELO", "two words", "domain name"),
        ("MAIL_RETRY_LADDER", " ", "list of spans"),
        ("MAIL_RETRY_LADDER", "5s,soon", "list of spans"),
        ("MAIL_RETRY_JITTER", "1", "from 0 to below 1"),
        ("MAIL_RETRY_JITTER", "nan", "from 0 to below 1"),
        ("MAIL_UNCERTAIN_POLICY_BULK", "drop", "retry, park"),
        ("MAIL_TEMPLATE_DIR", "/nowhere", "not a directory"),
        ("MAIL_STATE_DIR", "state", "absolute path"),
        ("MAIL_SOURCES", "Billing=bulk", "name=lane"),
        ("MAIL_SOURCES", "billing=fast", "name=lane"),
        ("LOG_LEVEL", "loud", "debug, info"),
    ],
)
def test_a_wrong_form_names_the_setting_shows_the_text_and_says_what_to_write(
    name: str, value: str, told: str
) -> None:
    """An operator corrects it without looking anything up."""
    (line,) = refusals(**{name: value})

    assert line.startswith(f"{name}={value[:80]!r} ")
    assert told in line


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"MAIL_LEASE": "100s"}, "3 x MAIL_SMTP_TIMEOUT 15s + MAIL_SMTP_DOT_TIMEOUT 60s + 10.5s"),
        ({"MAIL_LEASE": "100s"}, "= 115.5s"),
        ({"MAIL_SHUTDOWN_TIMEOUT": "30s"}, "MAIL_STOP_WAIT=30s"),
        ({"MAIL_SMTP_USERNAME": "u"}, "MAIL_SMTP_PASSWORD is not set"),
        ({"MAIL_SMTP_PASSWORD": CANARY}, "MAIL_SMTP_USERNAME is not set"),
        ({"MAIL_SMTP_ADDR": ""}, "MAIL_SMTP_ADDR is not set"),
        ({"MAIL_SMTP_FROM_EMAIL": ""}, "MAIL_SMTP_FROM_EMAIL is not set"),
        ({"MAIL_SMTP_FROM_ALLOWED": "other.example"}, "does not have example.com"),
        ({"MAIL_AUTH_RETRY_LADDER": "20m"}, "never be retried"),
        ({"MAIL_PAYLOAD_RETENTION": "60d"}, "MAIL_DELIVERY_RETENTION"),
        ({"HTTP_PORT": "8080"}, "both use port 8080"),
        ({"MAIL_SUPERVISOR_SOCKET": "/" + "x" * 99}, "at most 99"),
    ],
)
def test_pairs_that_cannot_work_are_refused_with_the_sum(
    changes: dict[str, str], told: str
) -> None:
    """F-L01: a lease shorter than the budgets it must cover hands deliveries out twice."""
    assert told in "\n".join(refusals(**changes))


def test_a_state_directory_with_a_long_path_is_refused_only_where_the_socket_is_needed(
    tmp_path: Path,
) -> None:
    """A role under another supervisor binds no control socket; whoever starts supervisord does."""
    settings = load(LEAST | {"MAIL_STATE_DIR": str(tmp_path / ("x" * 99))})

    with pytest.raises(ConfigError, match=r"MAIL_SUPERVISOR_SOCKET has .* at most 99"):
        supervisord_environment(settings, {})


def test_several_contradictions_are_one_line_each() -> None:
    """All of them, in one start."""
    lines = refusals(MAIL_LEASE="10s", MAIL_STOP_WAIT="5s", MAIL_SMTP_USERNAME="u")

    assert len(lines) == 3


def test_stub_mode_needs_neither_relay_nor_identity() -> None:
    """Nothing leaves, so nothing about the relay is asked."""
    environ = LEAST | {"MAIL_SMTP_MODE": "stub", "MAIL_SMTP_ADDR": "", "MAIL_SMTP_FROM_EMAIL": ""}

    assert load(environ).smtp_from_email == "mailworkers@localhost"


def test_an_empty_variable_counts_as_unset() -> None:
    """supervisord has no default syntax: whoever starts it sets every variable."""
    settings = load(LEAST | {setting.name: "" for setting in TABLE if setting.name not in LEAST})

    assert settings.lease == timedelta(seconds=150)


def test_database_url_is_read_when_there_is_no_dsn() -> None:
    """Tools and platforms set DATABASE_URL."""
    environ = {name: value for name, value in LEAST.items() if "DSN" not in name}

    settings = load(environ | {FALLBACK_DSN: "postgresql://elsewhere/mail"})

    assert settings.postgres_dsn == "postgresql://elsewhere/mail"
    assert ("MAIL_POSTGRES_PRIMARY_DSN", "dbname=mail host=elsewhere", FALLBACK_DSN) in (
        settings.masked()
    )


def test_the_dsn_wins_over_database_url() -> None:
    """The service's own name is the one that counts."""
    settings = load(LEAST | {FALLBACK_DSN: "postgresql://elsewhere/mail"})

    assert "db.example" in settings.postgres_dsn


def test_a_dsn_written_for_another_driver_is_understood() -> None:
    """`search_path=mail` is refused by libpq, and ours anyway."""
    dsn = "postgres://m@127.0.0.1:5432/galaxy?search_path=mail&sslmode=disable"

    settings = load(LEAST | {"MAIL_POSTGRES_PRIMARY_DSN": dsn})

    assert settings.postgres_dsn == "postgres://m@127.0.0.1:5432/galaxy?sslmode=disable"
    assert "search_path" not in repr(settings.masked())


def test_secrets_are_read_from_files(tmp_path: Path) -> None:
    """`..._FILE`, without the line break that every editor adds."""
    file = tmp_path / "password"
    file.write_text(f"{CANARY}\n")
    file.chmod(0o640)

    settings = load(LEAST | {"MAIL_REDIS_PASSWORD_FILE": str(file)})

    assert settings.redis_password == CANARY
    assert ("MAIL_REDIS_PASSWORD", "***", f"file {file}") in settings.masked()


@pytest.mark.parametrize(
    ("content", "mode", "told"),
    [
        (b"secret", 0o644, "chmod o-rwx"),
        (b"secret", 0o602, "chmod o-rwx"),
        (b"", 0o600, "is empty"),
        (b"\n", 0o600, "is empty"),
        (b"\xff", 0o600, "not UTF-8"),
        (b"x" * 70_000, 0o600, "larger than"),
        (b"two\nlines", 0o600, "line break"),
    ],
)
def test_a_secrets_file_that_is_open_or_senseless_is_refused(
    tmp_path: Path, content: bytes, mode: int, told: str
) -> None:
    """A secret others can read is none."""
    file = tmp_path / "password"
    file.write_bytes(content)
    file.chmod(mode)

    (line,) = refusals(MAIL_REDIS_PASSWORD_FILE=str(file))

    assert line.startswith("MAIL_REDIS_PASSWORD")
    assert told in line
    assert "two" not in line


def test_a_secret_and_its_file_at_once_are_refused() -> None:
    """Which of two passwords is meant must not be guessed."""
    (line,) = refusals(MAIL_REDIS_PASSWORD=CANARY, MAIL_REDIS_PASSWORD_FILE="/nowhere")

    assert line == "MAIL_REDIS_PASSWORD and MAIL_REDIS_PASSWORD_FILE are both set; keep one of them"


def test_a_secret_in_another_encoding_is_refused() -> None:
    """Bytes that are no UTF-8 reach us as surrogates and would fail in the middle of a session."""
    (line,) = refusals(MAIL_REDIS_PASSWORD="p\udcff")

    assert line.startswith("MAIL_REDIS_PASSWORD (hidden, 2 characters) is not UTF-8")


def test_a_missing_secrets_file_is_named() -> None:
    """The path is no secret."""
    (line,) = refusals(MAIL_SMTP_PASSWORD_FILE="/nowhere/password")

    assert line == (
        "MAIL_SMTP_PASSWORD_FILE: /nowhere/password cannot be read (No such file or directory)"
    )


def test_no_secret_is_in_reprs_masked_settings_errors_or_tracebacks() -> None:
    """X-31: canaries, wherever a careless print could put them."""
    environ = LEAST | {
        "MAIL_REDIS_PASSWORD": CANARY,
        "MAIL_SMTP_USERNAME": "u",
        "MAIL_SMTP_PASSWORD": CANARY,
    }
    settings = load(environ)

    assert CANARY not in repr(settings)
    assert CANARY not in repr(settings.masked())
    assert settings.secrets() == (CANARY, CANARY, CANARY)
    for broken in ("postgres:/u:{}@h", "host=h passwrd={}", "postgresql://u:{}@h:port/x"):
        try:
            load(LEAST | {"MAIL_POSTGRES_PRIMARY_DSN": broken.format(CANARY)})
        except ConfigError:
            assert CANARY not in traceback.format_exc()
        else:
            pytest.fail(f"{broken} was taken")


@pytest.mark.parametrize(
    ("dsn", "shown"),
    [
        ("postgresql://u:p@h:5432/d", "user=u password=*** dbname=d host=h port=5432"),
        ("postgresql://u@h/d", "user=u dbname=d host=h"),
        ("postgresql://u:p:q@h1,h2:1/d", "user=u password=*** dbname=d host=h1,h2 port=,1"),
        ("postgresql://h/d?user=u&password=p", "user=u password=*** dbname=d host=h"),
        ("postgresql:///d?pass%77ord=p", "password=*** dbname=d"),
        ("host=h password=p dbname=d", "password=*** dbname=d host=h"),
        (r"host=h password = 'a b\' c' dbname=d", "password=*** dbname=d host=h"),
        (r"host=h password=a\ b", "password=*** host=h"),
        ("host=h sslpassword=p", "host=h sslpassword=***"),
    ],
)
def test_a_connection_string_is_shown_without_its_password(dsn: str, shown: str) -> None:
    """`mailworkers config` shows where, not how; as libpq reads it, whatever its form."""
    assert mask_dsn(dsn) == shown


@pytest.mark.parametrize(
    ("dsn", "found"),
    [
        ("postgresql://u:a%20b@h/d", {"a b", "a%20b"}),
        ("postgresql:///d?pass%77ord=a%20b&sslpassword=c", {"a b", "a%20b", "c"}),
        (r"host=h password=a\ b", {"a b", r"a\ b"}),
        (r"host=h password = 'a b\' c' dbname=d", {"a b' c", r"a b\' c"}),
        ("host=h dbname=d", set()),
    ],
)
def test_the_secrets_of_a_connection_string_are_found_as_read_and_as_written(
    dsn: str, found: set[str]
) -> None:
    """The log hides them in either form: an error may quote one or the other."""
    assert set(dsn_secrets(dsn)) == found


@given(st.text())
def test_a_secret_is_a_string_to_libraries_and_stars_to_people(text: str) -> None:
    """Only the repr differs: formatting must give what AUTH and libpq need."""
    secret = Secret(text)

    assert secret == text
    assert f"{secret}" == text
    assert repr([secret]) == "['***']"


def test_what_the_command_line_reads_is_not_warned_about() -> None:
    """A host may have it in the environment of everything, roles too."""
    client = dict.fromkeys(("MAIL_API_URL", "MAIL_API_TOKEN", "MAIL_API_TOKEN_FILE"), "x")

    assert load(LEAST | client).warnings == load(LEAST).warnings


def test_unknown_and_retired_names_are_warned_about() -> None:
    """MS-17: an old name set is a warning, not silence."""
    warnings = load(
        LEAST | {"MAIL_LEESE": "1s", "MAIL_XYZZY": "1"} | dict.fromkeys(RETIRED, "x")
    ).warnings

    assert "MAIL_LEESE is not a known setting: did you mean MAIL_LEASE?" in warnings
    assert "MAIL_XYZZY is not a known setting: `mailworkers config` lists all names" in warnings
    for name in RETIRED:
        assert any(line.startswith(f"{name} is no longer read: ") for line in warnings)


def test_no_retired_name_is_read() -> None:
    """A name cannot be both."""
    assert not RETIRED.keys() & NAMES


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"MAIL_SMTP_ADDR": "h:465"}, "port 465"),
        ({"MAIL_SMTP_TLS": "implicit"}, "port 587 begins in clear text"),
        ({"MAIL_SMTP_TLS": "none", "MAIL_SMTP_USERNAME": "u", "MAIL_SMTP_PASSWORD": "p"}, "AUTH"),
        ({"MAIL_AUTH_LIFE": "1m"}, "last retries will never run"),
    ],
)  # fmt: skip
def test_what_is_probably_not_meant_is_accepted_with_a_warning(
    changes: dict[str, str], told: str
) -> None:
    """It may be meant; the log says it once."""
    (warning,) = load(LEAST | changes).warnings

    assert told in warning


def test_more_sources_are_added_to_the_known_ones() -> None:
    """MAIL_SOURCES; lane auth makes a source of kind auth."""
    sources = load(LEAST | {"MAIL_SOURCES": "billing, newsletter=bulk, otp=auth"}).sources

    assert sources["api"].lane is Lane.NORMAL
    assert sources["billing"].lane is Lane.NORMAL
    assert sources["newsletter"].lane is Lane.BULK
    assert sources["otp"].auth


def test_a_lane_has_its_own_policy_for_doubt() -> None:
    """`..._AUTH` overrides the general one."""
    policy = load(
        LEAST | {"MAIL_UNCERTAIN_POLICY": "park", "MAIL_UNCERTAIN_POLICY_AUTH": "retry"}
    ).uncertain_policy

    assert policy == {"auth": "retry", "normal": "park", "bulk": "park"}


def test_the_state_directory_follows_xdg_where_the_systems_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ordinary user has no /var/lib/mailworkers."""
    monkeypatch.setattr("mailworkers.adapters.settings.SYSTEM_STATE_DIR", tmp_path / "none")
    environ = {name: value for name, value in LEAST.items() if name != "MAIL_STATE_DIR"}

    settings = load(environ | {"XDG_STATE_HOME": "/x/state", "HOME": "/home/ada"})
    without = load(environ | {"HOME": "/home/ada"})

    assert settings.state_dir == Path("/x/state/mailworkers")
    assert settings.supervisor_socket == Path("/x/state/mailworkers/supervisor.sock")
    assert without.state_dir == Path("/home/ada/.local/state/mailworkers")


def test_the_session_gets_what_the_settings_say() -> None:
    """One relay, described once."""
    smtp = load(LEAST | {"MAIL_SMTP_ADDR": "[::1]:2525", "MAIL_SMTP_TLS": "none"}).smtp_settings()

    assert (smtp.host, smtp.port, smtp.tls) == ("::1", 2525, "none")
    assert smtp.timeout == timedelta(seconds=15)
