"""The life of a bare host from its first installation to its last: each step as docs/install.md has
it, in a fresh Debian, with mail arriving at a sink on its loopback."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mailworkers import __version__
from tests.crash.stores.own import lack
from tests.eventually import eventually
from tests.ops.debian_root import DebianRoot, debian_root, missing_programs
from tests.ops.life import OPS, WHEELHOUSE, Host, load
from tests.ops.sandbox import service_as_the_unit
from tests.ops.unit_files import ROOT

SOURCE = "/root/source"


@contextmanager
def _sink(root: DebianRoot) -> Iterator[int]:
    """A relay on the root's loopback that writes down what it takes; its port."""
    program = "-m mailworkers.gameday.sink /root/ledger '' 0 127.0.0.1"
    command = f"cd {SOURCE}; exec $(readlink -f /opt/mailworkers/current)/bin/python {program}"
    sink = subprocess.Popen(
        root.command("sh", "-c", command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert sink.stdin is not None
    assert sink.stdout is not None
    try:
        yield int(sink.stdout.readline())
    finally:
        sink.stdin.close()
        sink.wait(30)
        sink.stdout.close()


@pytest.fixture
def root() -> Iterator[DebianRoot]:
    """A fresh Debian."""
    if missing := missing_programs():
        lack(f"{', '.join(missing)}: install debootstrap, util-linux and slirp4netns")
    with debian_root(ROOT) as running:
        yield running


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_the_whole_life_of_a_host(root: DebianRoot) -> None:
    """Installed, used, upgraded, taken back, backed up, lost, restored, removed."""
    _installs_and_waits_for_the_relay(root)
    with _sink(root) as port:
        host = Host(root, port)
        _is_completed_and_sends(host)
        _is_installed_again_without_a_change(host)
        _works_under_the_restrictions_of_its_unit(host)
        _is_upgraded_while_mail_flows(host)
        _takes_a_bad_upgrade_back_by_itself(host)
        _is_rolled_back(host)
        _survives_an_upgrade_that_is_interrupted(host)
        _survives_an_upgrade_that_is_killed(host)
        _is_backed_up_lost_and_restored(host)
        _is_removed_and_found_again(host)
        _is_purged(host)
        _rises_again_from_its_backup(host)


def _installs_and_waits_for_the_relay(root: DebianRoot) -> None:
    """Without a relay all is laid down, nothing runs, and it is said what to fill in where."""
    done = root.run(f"{SOURCE}/ops/install", "--no-systemd", check=False)

    assert done.returncode == 78, done.stdout + done.stderr
    assert "MAIL_SMTP_ADDR MAIL_SMTP_FROM_EMAIL not set" in done.stderr
    env = root.run("cat", "/etc/mailworkers/env").stdout
    assert "FILL IN" in env
    assert root.run("test", "-e", "/var/lib/mailworkers/supervisord.pid", check=False).returncode
    assert root.run("mailworkers", "sender", check=False).returncode == 78


def _is_completed_and_sends(host: Host) -> None:
    """The same command with the relay goes on where it stopped; each directory has its mode."""
    done = host.run(f"{OPS}/install", *host.relay, "--smtp-from", "shop@example.com")

    assert "FAIL" not in done.stdout
    assert done.stdout.count("\nok  ") > 15
    host.send("first")
    host.expect("first")
    places = "/etc/mailworkers /etc/mailworkers/env /var/lib/mailworkers /var/backups/mailworkers"
    modes = host.run("stat", "-c", "%a %U:%G", *places.split()).stdout.splitlines()
    assert modes == ["750 root:mailworkers", "600 root:root", "700 mailworkers:mailworkers",
                     "700 root:root"]  # fmt: skip
    assert "requirepass" in host.run("cat", "/etc/redis/mailworkers.conf").stdout
    show = "psql -XAtc 'SHOW max_wal_size' -c 'SHOW wal_compression' -c 'SHOW checkpoint_timeout'"
    shown = host.run("runuser", "-u", "postgres", "--", "sh", "-c", f"cd / && {show}").stdout
    assert shown.split() == ["4GB", "lz4", "15min"]
    stranger = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")
    refused = host.run(*stranger, "mailworkers", "status", check=False)
    assert "sudo mailworkers status" in refused.stderr


def _is_installed_again_without_a_change(host: Host) -> None:
    """Neither settings nor secrets, nor the running processes."""

    def look() -> str:
        kept = "cat /etc/mailworkers/env /etc/redis/redis.conf /var/lib/mailworkers/supervisord.pid"
        return host.run("sh", "-c", f"{kept}; ls /opt/mailworkers/releases").stdout

    before = look()

    host.run(f"{SOURCE}/ops/install", "--smtp-addr", "elsewhere.example.com:25", "--no-systemd")

    assert look() == before


def _works_under_the_restrictions_of_its_unit(host: Host) -> None:
    """What the unit forbids, no role needs: mail arrives, senders come and go, doctor agrees."""
    with service_as_the_unit(host):
        eventually(lambda: host.run("mailworkers", "status", check=False).returncode == 0, 60)
        host.send("confined")
        host.expect("confined")
        host.say("scale", "sender", "3")
        host.say("scale", "sender", "2")
        assert "FAIL" not in host.say("doctor")
        confined = host.run("sh", "-c", "grep -hs '^Seccomp:' /proc/[0-9]*/status").stdout
        assert confined.count("\t2") >= 8  # supervisord, its listener, six roles
    eventually(lambda: host.run("mailworkers", "status", check=False).returncode == 0, 60)


def _is_upgraded_while_mail_flows(host: Host) -> None:
    """Role by role: everything sent meanwhile arrives, once; afterwards all run the new release."""
    place = host.other_source("two")
    download = f"{OPS}/../bin/pip download -q -d {WHEELHOUSE} 'setuptools>=77' '{place}[templates]'"
    host.run("sh", "-c", download)

    with load(host.root) as names:
        host.run(f"{place}/ops/upgrade", "--wheelhouse", WHEELHOUSE, "--watch", "5")

    assert host.version() == f"{__version__}+two"
    assert host.versions_alive() == {f"{__version__}+two"}
    assert len(names) > 5
    host.expect(*names)
    again = host.run(f"{OPS}/upgrade", "--source", place)
    assert "installed already" in again.stdout


def _takes_a_bad_upgrade_back_by_itself(host: Host) -> None:
    """A role that does not come up: those before it and it itself get the old release again."""
    place = host.other_source("bad", is_broken=True)

    refused = host.run(
        f"{place}/ops/upgrade", "--wheelhouse", WHEELHOUSE, "--no-backup", check=False
    )

    assert refused.returncode == 1
    assert "taking everything back: scheduler does not come up" in refused.stderr
    assert "all is as before" in refused.stderr
    assert host.version() == f"{__version__}+two"
    assert host.versions_alive() == {f"{__version__}+two"}
    host.send("survivor")
    host.expect("survivor")


def _is_rolled_back(host: Host) -> None:
    """To the release before, which the bad one was never."""
    host.run(f"{OPS}/rollback", "--yes")

    assert host.version() == __version__
    assert host.versions_alive() == {__version__}
    host.send("older")
    host.expect("older")


def _stop_in_the_middle(host: Host, signal: str) -> str:
    """Send *signal* to an upgrade that has restarted two roles; return all it said."""
    command = host.root.command(
        "sh", "-c", "echo $$ >/root/upgrading; exec /root/two/ops/upgrade --no-backup 2>&1"
    )
    upgrade = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert upgrade.stdout is not None
    said = []
    for line in upgrade.stdout:
        said.append(line)
        if line == "restarting scheduler\n":
            host.run("sh", "-c", f"kill -{signal} $(cat /root/upgrading)")
    upgrade.stdout.close()
    assert upgrade.wait(60) != 0
    return "".join(said)


def _survives_an_upgrade_that_is_interrupted(host: Host) -> None:
    """A lost terminal, Ctrl-C or a shutdown: it takes itself back first."""
    said = _stop_in_the_middle(host, "TERM")

    assert "all is as before" in said
    assert host.versions_alive() == {__version__}


def _survives_an_upgrade_that_is_killed(host: Host) -> None:
    """It cannot take itself back: the next one refuses, and names the command that does."""
    _stop_in_the_middle(host, "KILL")
    eventually(lambda: host.run("mailworkers", "status", check=False).returncode == 0, 60)
    assert len(host.versions_alive()) == 2

    refused = host.run("/root/two/ops/upgrade", check=False)
    assert "was killed in the middle" in refused.stderr
    way_back = refused.stderr.split("take it back first: ")[1].split()
    host.run(*way_back, "--yes")

    assert host.version() == __version__
    assert host.versions_alive() == {__version__}
    host.send("unharmed")
    host.expect("unharmed")


def _is_backed_up_lost_and_restored(host: Host) -> None:
    """What went out after the backup waits again: it is held back, found and withdrawn."""
    host.say("pause", "--all", "--reason", "drill")
    host.send("gone")
    eventually(lambda: host.stored("SELECT count(*) FROM mail.deliveries WHERE finished_at IS NULL")
               == "1", 60)  # fmt: skip
    host.run(f"{OPS}/backup", "--keep", "2")
    host.say("resume", "--all", "--reason", "drill")
    host.expect("gone")
    host.run("sh", "-c", "cd / && runuser -u postgres -- dropdb --force mailworkers")

    restored = host.run(f"{OPS}/restore", "latest", "--yes")

    assert "of these went out already: 1" in restored.stdout
    pause = restored.stdout.split("held back by pause ")[1].split()[0].rstrip(".;")
    assert f"sudo mailworkers resume {pause}" in restored.stdout
    host.send("waits")
    eventually(lambda: host.stored("SELECT count(*) FROM mail.deliveries WHERE status = 'queued'")
               == "2", 60)  # fmt: skip
    assert host.arrivals()["waits"] == 0
    relay_log = ("--relay-log", "/root/ledger")
    withdrawn = host.run(f"{OPS}/restore", "--compare", *relay_log, "--cancel")
    assert "is cancelled" in withdrawn.stdout
    host.say("resume", "--all", "--reason", "compared")
    host.expect("gone", "waits")


def _is_removed_and_found_again(host: Host) -> None:
    """Data, settings and backups stay; another installation works with them."""
    mail = host.stored("SELECT count(*) FROM mail.deliveries")
    host.run(f"{OPS}/uninstall", "--yes")

    left = host.run("sh", "-c", "ls -d /opt/mailworkers /usr/local/bin/mailworkers || true").stdout
    assert left == ""
    assert host.stored("SELECT count(*) FROM mail.deliveries") == mail
    host.run(f"{SOURCE}/ops/install", "--wheelhouse", WHEELHOUSE)
    host.send("second")
    host.expect("second")


def _is_purged(host: Host) -> None:
    """Nothing of the service is left but backups and the log of what was done."""
    host.run(f"{OPS}/uninstall", "--purge", "--yes")

    places = "/opt/mailworkers /etc/mailworkers /var/lib/mailworkers /var/log/mailworkers"
    assert host.run("sh", "-c", f"ls -d {places} 2>/dev/null || true").stdout == ""
    assert host.run("getent", "passwd", "mailworkers", check=False).returncode != 0
    databases = "cd / && runuser -u postgres -- psql -XAtc 'SELECT datname FROM pg_database'"
    assert "mailworkers" not in host.run("sh", "-c", databases).stdout
    processes = "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '"
    assert "supervise" not in host.run("sh", "-c", processes).stdout
    assert host.run("ls", "/var/backups/mailworkers").stdout != ""


def _rises_again_from_its_backup(host: Host) -> None:
    """An empty host takes the place of a lost one, with its settings, and sends after a release."""
    installed = host.run(f"{SOURCE}/ops/install", "--no-systemd", "--wheelhouse", WHEELHOUSE,
                         check=False)  # fmt: skip
    assert installed.returncode == 78
    host.run(f"{OPS}/restore", "latest", "--settings", "--yes")

    host.say("resume", "--all", "--reason", "compared")
    assert "FAIL" not in host.say("doctor")
    host.send("risen")
    host.expect("risen")
