"""`mailworkers shell`: what somebody needs whom no command of ours helps."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mailworkers.adapters.db import libpq_variables
from mailworkers.core.errors import ConfigError
from mailworkers.embedded.servers import Servers


def shell(*command: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run `mailworkers shell` as a process, since it becomes what was asked for."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "mailworkers", "shell", *command],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )


@pytest.fixture
def here(servers: Servers, database: str, tmp_path: Path) -> dict[str, str]:
    """Return the settings of an installation whose DSN stands in a file."""
    secret = tmp_path / "dsn"
    secret.write_text(f"{database}\n")
    secret.chmod(0o600)
    return {
        "MAIL_POSTGRES_PRIMARY_DSN_FILE": str(secret),
        "MAIL_REDIS_MASTER_ADDR": servers.redis_addr,
        "MAIL_SMTP_MODE": "stub",
        "MAIL_STATE_DIR": str(tmp_path),
    }


def test_psql_is_connected_without_a_word(servers: Servers, here: dict[str, str]) -> None:
    """Wherever the DSN came from; its own options are its own."""
    beside = servers.binaries.postgres.path.parent
    asked = "SELECT count(*) FROM mail.deliveries"

    found = shell("psql", "-Atc", asked, PATH=f"{beside}{os.pathsep}{os.environ['PATH']}", **here)

    assert (found.returncode, found.stdout) == (0, "0\n"), found.stderr


def test_programs_and_places_are_there(here: dict[str, str]) -> None:
    """A shell of the reader's own, what it is given, and its exit code."""
    said = 'command -v supervisorctl; echo "$MAIL_SUPERVISOR_SOCKET"; exit 3'

    found = shell("sh", "-c", said, **here)

    programs = Path(sys.executable).parent
    assert found.returncode == 3
    assert found.stdout.split() == [
        f"{programs}/supervisorctl", f"{here['MAIL_STATE_DIR']}/supervisor.sock",
    ]  # fmt: skip
    assert shell(SHELL="/bin/true", **here).returncode == 0


def test_what_cannot_be_run_is_one_line(here: dict[str, str]) -> None:
    """And wrong settings are 78, as everywhere."""
    found = shell("no-such-program", **here)

    assert (found.returncode, found.stderr) == (
        1, "mailworkers: no-such-program: No such file or directory\n",
    )  # fmt: skip
    assert shell("true", MAIL_LEASE="1s").returncode == 78


def test_a_dsn_becomes_variables_and_its_password_no_argument() -> None:
    """Whatever libpq reads: hosts, TLS, a service; what only drivers know is left out."""
    made = libpq_variables(
        "postgresql://ada:s%40crt@a,b:5433/mail?sslmode=verify-full&search_path=mail"
        "&target_session_attrs=read-write"
    )

    assert made["PGPASSWORD"] == "s@crt"
    assert (made["PGHOST"], made["PGPORT"], made["PGUSER"]) == ("a,b", ",5433", "ada")
    assert (made["PGDATABASE"], made["PGSSLMODE"]) == ("mail", "verify-full")
    assert made["PGTARGETSESSIONATTRS"] == "read-write"
    assert libpq_variables(f"host=/{'d' * 80}")["PGHOST"] == f"/{'d' * 80}"


@pytest.mark.parametrize(
    ("dsn", "said"),
    [
        ("postgresql://a:s3cret@[", "is not a libpq connection string"),
        (f"host={'a' * 64}.example.com password=s3cret", "names a host that cannot be one"),
        ("host=a..b password=s3cret", "names a host that cannot be one"),
    ],
)
def test_a_dsn_that_cannot_be_one_is_a_wrong_setting(dsn: str, said: str) -> None:
    """Not a crash in the driver; and its password is not repeated."""
    with pytest.raises(ConfigError, match=said) as raised:
        libpq_variables(dsn)

    assert "s3cret" not in str(raised.value)
