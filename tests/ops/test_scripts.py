"""The scripts as an operator first meets them: help, refusals, dry runs; and as a linter does."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.crash.stores.own import lack
from tests.ops.parts import OPS, SCRIPTS, parts, script
from tests.ops.unit_files import ROOT


def _listing(host: Path) -> list[tuple[str, int]]:
    return sorted((str(path), path.lstat().st_mtime_ns) for path in host.rglob("*"))


def test_shellcheck_finds_nothing() -> None:
    """Neither in the scripts nor in what they source."""
    if shutil.which("shellcheck") is None:
        lack("shellcheck: install the package shellcheck")
    ours = [OPS / name for name in (*SCRIPTS, "host/mailworkers")]
    plain = [ROOT / name for name in ("run", "test", ".ci/run")]
    checks: list[list[str | Path]] = [
        ["shellcheck", "--external-sources", "--check-sourced", "--source-path=ops", *ours],
        ["shellcheck", "--external-sources", "--source-path=SCRIPTDIR:.", *plain],
    ]

    found = [
        subprocess.run(check, cwd=ROOT, capture_output=True, text=True, check=False).stdout
        for check in checks
    ]

    assert found == ["", ""]


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_explains_itself_to_anybody(name: str, host: Path) -> None:
    """`--help` needs no root, changes nothing and names `--dry-run`."""
    shown = script(host, name, "--help")

    assert shown.returncode == 0, shown.stderr
    assert "--dry-run" in shown.stdout
    assert shown.stdout.count("\n") > 5


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_option_is_in_the_help(name: str, host: Path) -> None:
    """What can be given can be found."""
    text = (OPS / name).read_text(encoding="utf-8")
    options = {line.split(")")[0].strip() for line in text.splitlines() if "  --" in line[:4]}

    shown = script(host, name, "--help").stdout

    assert options
    assert [option for option in sorted(options) if option not in shown] == []


@pytest.mark.parametrize("name", SCRIPTS)
def test_an_unknown_option_is_a_mistake_of_the_call(name: str, host: Path) -> None:
    """Exit code 2, the option named, and where to look; nothing is written, not even a log."""
    before = _listing(host)

    refused = script(host, name, "--frobnicate")

    assert refused.returncode == 2
    assert "--frobnicate" in refused.stderr
    assert f"-> ops/{name} --help" in refused.stderr
    assert _listing(host) == before


@pytest.mark.parametrize("name", ["upgrade", "rollback", "backup", "restore"])
def test_where_nothing_is_installed_the_way_to_an_installation_is_told(
    name: str, host: Path
) -> None:
    """One line what is missing, one what to do."""
    refused = script(host, name)

    assert refused.returncode == 1
    assert "not installed here" in refused.stderr
    assert "-> ops/install" in refused.stderr


def test_a_dry_run_of_the_installation_changes_nothing(host: Path) -> None:
    """It says what it would do, as far as the place where a person is needed."""
    before = _listing(host)

    shown = script(host, "install", "--dry-run", "--no-systemd")

    assert shown.returncode == 0, shown.stderr
    assert "would write: " in shown.stdout
    assert "would stop here: MAIL_SMTP_ADDR MAIL_SMTP_FROM_EMAIL not given" in shown.stdout
    assert _listing(host) == before


def test_a_dry_run_with_a_relay_goes_on_to_the_start(host: Path) -> None:
    """What was given by options counts as filled in."""
    relay = ("--smtp-addr", "relay.example.com:587", "--smtp-from", "shop@example.com")

    shown = script(host, "install", "--dry-run", "--no-systemd", *relay)

    assert shown.returncode == 0, shown.stderr
    assert "would set: MAIL_SMTP_ADDR" in shown.stdout
    assert "would do: service start (none)" in shown.stdout


@pytest.mark.parametrize("cluster", ["", "16/main", "13/old"])
def test_only_a_host_without_postgresql_gets_one_with_our_settings(
    host: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    cluster: str,
) -> None:
    """A cluster of another package is left alone, though the package we want is not there."""
    programs = tmp_path_factory.mktemp("programs")
    (programs / "dpkg-query").write_text("#!/bin/sh\nexit 1\n")
    (programs / "dpkg-query").chmod(0o755)
    (programs / "pg_lsclusters").symlink_to("/bin/false")
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    if cluster:
        (host / "etc/postgresql" / cluster / "conf.d").mkdir(parents=True)

    shown = script(host, "install", "--dry-run", "--no-systemd")

    assert shown.returncode == 0, shown.stderr
    assert "postgresql redis-server" in shown.stdout
    assert "conf.d/mailworkers.conf" not in shown.stdout
    assert "pg_ctlcluster" not in shown.stdout


def test_an_empty_secret_file_is_refused_before_anything_is_done(host: Path) -> None:
    """A typing error in a path must not become a relay without a password."""
    before = _listing(host)

    refused = script(host, "install", "--no-systemd", "--smtp-password-file", "/nowhere")

    assert refused.returncode == 1
    assert "/nowhere" in refused.stderr
    assert _listing(host) == before


def test_removing_wants_the_word_typed(host: Path) -> None:
    """Nobody answers: nothing is removed."""
    (host / "opt/mailworkers/releases/one").mkdir()

    refused = script(host, "uninstall")

    assert refused.returncode == 1
    assert "nothing was changed" in refused.stderr
    assert (host / "opt/mailworkers/releases/one").is_dir()


def test_no_script_ends_without_a_word(host: Path) -> None:
    """What nobody foresaw is told by its line; values do not stand there."""
    failed = parts(host, 'secret=swordfish; grep -q "$secret" /dev/null; echo never')

    assert failed.returncode == 1
    assert "stopped at line" in failed.stderr
    assert "swordfish" not in failed.stderr


def test_two_operations_at_once_are_refused(host: Path) -> None:
    """The second one says that another is at work."""
    (host / "run/lock").mkdir(parents=True)
    with (host / "run/lock/mailworkers-operations").open("w") as lock:
        subprocess.run(
            ["flock", "--nonblock", str(lock.fileno())], pass_fds=[lock.fileno()], check=True
        )
        refused = script(host, "uninstall", "--yes")

    assert refused.returncode == 1
    assert "at work" in refused.stderr


def test_scripts_can_be_executed() -> None:
    """As they come out of a checkout."""
    assert [name for name in SCRIPTS if not os.access(OPS / name, os.X_OK)] == []
