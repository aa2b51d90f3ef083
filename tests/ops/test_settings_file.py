"""/etc/mailworkers/env: systemd and the scripts must read the same out of it."""

from pathlib import Path

import pytest

from tests.ops.parts import parts

# What stands in the file, and what is read; None: refused.
LINES = [
    ("A=1", "A=1"),
    ("  A=1  ", "A=1"),
    ("A=one two", "A=one two"),
    ('A="one two "', "A=one two "),
    ("A='one \"two\"'", 'A=one "two"'),
    ('A="it\'s"', "A=it's"),
    ("A=b=c", "A=b=c"),
    ("A=", "A="),
    ("A=$HOME`id`", "A=$HOME`id`"),
    ("A=1#2", "A=1#2"),
    ("# A=1", ""),
    ("; A=1", ""),
    ("", ""),
    ("A=back\\slash", None),
    ('A="open', None),
    ("A='open", None),
    ('A=shut"', None),
    ("A", None),
    ("export A=1", None),
    ("1A=1", None),
]


@pytest.mark.parametrize(("line", "read"), LINES)
def test_a_line_is_read_as_systemd_reads_it_or_refused(
    line: str, read: str | None, host: Path
) -> None:
    """Nothing is expanded or executed; what readers could take differently is refused, by line."""
    (host / "etc/mailworkers/env").write_text(f"{line}\n")

    got = parts(host, 'read_settings "$SETTINGS"')

    if read is None:
        assert got.returncode == 78
        assert "env:1" in got.stderr
    else:
        assert got.returncode == 0, got.stderr
        assert got.stdout.strip("\n") == read


def test_a_refusal_does_not_repeat_the_value(host: Path) -> None:
    """It may be a password."""
    (host / "etc/mailworkers/env").write_text("MAIL_SMTP_PASSWORD=se\\cret\n")

    refused = parts(host, 'read_settings "$SETTINGS"')

    assert "cret" not in refused.stdout + refused.stderr
    assert "MAIL_SMTP_PASSWORD_FILE" in refused.stderr


def test_a_setting_that_is_there_is_never_overwritten(host: Path) -> None:
    """Whoever installs again with other options is told, and keeps what works."""
    env = host / "etc/mailworkers/env"
    env.write_text("MAIL_SMTP_ADDR=old.example.com:587\n")

    done = parts(host, "give_setting MAIL_SMTP_ADDR new.example.com:25")

    assert env.read_text() == "MAIL_SMTP_ADDR=old.example.com:587\n"
    assert "MAIL_SMTP_ADDR" in done.stderr
    assert "kept" in done.stderr


def test_an_empty_setting_is_filled_in(host: Path) -> None:
    """The place marked to be filled in goes; the file stays closed to others."""
    env = host / "etc/mailworkers/env"
    env.write_text("A=1\n# FILL IN:\nMAIL_SMTP_ADDR=\n# MAIL_SMTP_ADDR=example\n")

    done = parts(host, "give_setting MAIL_SMTP_ADDR 'one two'; setting MAIL_SMTP_ADDR")

    assert done.stdout == "one two\n"
    assert env.read_text() == 'A=1\nMAIL_SMTP_ADDR="one two"\n'
    assert env.stat().st_mode & 0o777 == 0o600


def test_a_program_of_the_service_gets_the_settings_and_nothing_of_ours(host: Path) -> None:
    """What an operator has in the environment must not change what a command works with."""
    (host / "etc/mailworkers/env").write_text("MAIL_SMTP_MODE=stub\n")

    shown = parts(host, "export MAIL_STRAY=1 PGHOST=elsewhere; (enter_settings; env)").stdout

    names = {line.split("=", 1)[0] for line in shown.splitlines()}
    assert "MAIL_SMTP_MODE=stub" in shown.splitlines()
    assert not names & {"MAIL_STRAY", "PGHOST"}


def test_the_audit_trail_has_the_person_behind_sudo(host: Path) -> None:
    """`cli:` and the account's name come from LOGNAME."""
    (host / "etc/mailworkers/env").write_text("A=1\n")

    shown = parts(host, "export SUDO_USER=ada; (enter_settings; env)").stdout

    assert "LOGNAME=ada" in shown.splitlines()


def test_a_failed_write_leaves_the_old_file(host: Path) -> None:
    """Whole or not at all: a full disk must not cost the settings."""
    env = host / "etc/mailworkers/env"
    env.write_text("A=1\n")

    done = parts(
        host, 'false_input() { return 1; }; echo B=2 | put_file 0600 nobody-there:x "$SETTINGS"'
    )

    assert done.returncode == 1
    assert env.read_text() == "A=1\n"
    assert [path.name for path in env.parent.iterdir()] == ["env"]
